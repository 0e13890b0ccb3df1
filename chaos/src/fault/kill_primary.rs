//! SIGKILL of the primary; a replica that has all that it acknowledged takes over. The switch is the cure: a primary that died
//! is not started again here.

use super::take_over::{kill, pair, take_over};
use super::{Fault, Surroundings};
use crate::drill::FaultKind;
use crate::error::Result;
use futures::FutureExt;
use futures::future::{LocalBoxFuture, ready};

/// Nothing to remember.
pub struct KillPrimary;

impl Fault for KillPrimary {
    fn strike<'a>(&'a mut self, surroundings: Surroundings<'a>) -> LocalBoxFuture<'a, Result<()>> {
        strike(surroundings).boxed_local()
    }

    fn cure<'a>(&'a mut self, _: Surroundings<'a>) -> LocalBoxFuture<'a, Result<()>> {
        ready(Ok(())).boxed_local()
    }
}

async fn strike(surroundings: Surroundings<'_>) -> Result<()> {
    let (primary, replica) = pair(&surroundings)?;
    kill(&surroundings, FaultKind::KillPrimary, primary).await?;
    take_over(&surroundings, FaultKind::KillPrimary, replica).await
}
