//! A primary that was killed in an earlier fault is started again, with transactions that nobody else has. It takes writes as
//! it did before, as if nothing had happened, until the cure makes it read-only; no client comes to it.

use super::{Fault, Surroundings};
use crate::drill::FaultKind;
use crate::error::{Doing, Error, Result};
use crate::history::FaultStep;
use fixtures::Mysql;
use futures::FutureExt;
use futures::future::LocalBoxFuture;

/// Nothing to remember.
pub struct ReturnOldPrimary;

impl Fault for ReturnOldPrimary {
    fn strike<'a>(&'a mut self, surroundings: Surroundings<'a>) -> LocalBoxFuture<'a, Result<()>> {
        start(surroundings).boxed_local()
    }

    fn cure<'a>(&'a mut self, surroundings: Surroundings<'a>) -> LocalBoxFuture<'a, Result<()>> {
        retire(surroundings).boxed_local()
    }
}

async fn start(surroundings: Surroundings<'_>) -> Result<()> {
    let Some(old) = old_primary(&surroundings)? else {
        return Err(
            Error::definite("no primary of the drill's lab was replaced").hint("put a fault before that kills one")
        );
    };
    surroundings.record(FaultKind::ReturnOldPrimary, FaultStep::Aimed, old.name());
    old.start()
        .await
        .doing(|| format!("{} cannot be started", old.name()))?;
    surroundings.record(
        FaultKind::ReturnOldPrimary,
        FaultStep::Struck,
        format!("{} takes writes", old.name()),
    );
    Ok(())
}

async fn retire(surroundings: Surroundings<'_>) -> Result<()> {
    let Some(old) = old_primary(&surroundings)? else {
        return Ok(());
    };
    let what = || format!("{} cannot be made read-only", old.name());
    if !old.is_running().await.doing(what)? {
        return Ok(());
    }
    surroundings.record(FaultKind::ReturnOldPrimary, FaultStep::CureBegun, old.name());
    old.set_read_only(true).await.doing(what)?;
    surroundings.record(
        FaultKind::ReturnOldPrimary,
        FaultStep::Recoverable,
        format!("{} is read-only", old.name()),
    );
    surroundings.record(FaultKind::ReturnOldPrimary, FaultStep::Cured, old.name());
    Ok(())
}

/// One that was made the primary and nobody's replica since, besides the primary.
fn old_primary<'a>(surroundings: &Surroundings<'a>) -> Result<Option<&'a Mysql>> {
    let primary = surroundings.primary()?.index();
    let servers = surroundings.lab.mysql_servers();
    Ok(servers
        .iter()
        .find(|server| server.is_primary() && server.index() != primary))
}
