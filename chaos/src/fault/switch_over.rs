//! A planned switch: the primary becomes read-only, a replica that has all takes over, and the old primary follows it. What
//! clients try meanwhile is refused. All servers are well afterwards, so there is nothing to cure.

use super::take_over::pair;
use super::{Fault, Surroundings};
use crate::drill::FaultKind;
use crate::error::{Doing, Result};
use crate::history::FaultStep;
use futures::FutureExt;
use futures::future::{LocalBoxFuture, ready};

/// Nothing to remember.
pub struct SwitchOver;

impl Fault for SwitchOver {
    fn strike<'a>(&'a mut self, surroundings: Surroundings<'a>) -> LocalBoxFuture<'a, Result<()>> {
        strike(surroundings).boxed_local()
    }

    fn cure<'a>(&'a mut self, _: Surroundings<'a>) -> LocalBoxFuture<'a, Result<()>> {
        ready(Ok(())).boxed_local()
    }
}

async fn strike(surroundings: Surroundings<'_>) -> Result<()> {
    let kind = FaultKind::SwitchOver;
    let (primary, replica) = pair(&surroundings)?;
    let what = || format!("{} cannot take over from {}", replica.name(), primary.name());
    surroundings.record(kind, FaultStep::Aimed, primary.name());
    primary.set_read_only(true).await.doing(what)?;
    surroundings.record(kind, FaultStep::Struck, format!("{} is read-only", primary.name()));
    replica.wait_until_caught_up(primary).await.doing(what)?;
    replica.promote().await.doing(what)?;
    surroundings.record(kind, FaultStep::Recoverable, format!("{} is writable", replica.name()));
    surroundings.clients.follow(replica);
    primary.repoint(replica).await.doing(what)
}
