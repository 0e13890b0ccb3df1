//! SIGKILL of the reader; when clients have gone on for a while, the primary removes the binlog files that the reader has not read
//! to the end, and the reader is started. It must stop: nothing can bring back what is gone, so there is no cure.

use super::switch_without_reader::written;
use super::{Fault, Surroundings};
use crate::drill::FaultKind;
use crate::error::{Doing, Result};
use crate::history::FaultStep;
use crate::pipeline::Role;
use futures::FutureExt;
use futures::future::{LocalBoxFuture, ready};
use std::time::Duration;

/// Longest time until the reader stops by itself; whether it did, the check says.
const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// Nothing to remember.
pub struct PurgePosition;

impl Fault for PurgePosition {
    fn strike<'a>(&'a mut self, surroundings: Surroundings<'a>) -> LocalBoxFuture<'a, Result<()>> {
        strike(surroundings).boxed_local()
    }

    fn cure<'a>(&'a mut self, _: Surroundings<'a>) -> LocalBoxFuture<'a, Result<()>> {
        ready(Ok(())).boxed_local()
    }
}

async fn strike(surroundings: Surroundings<'_>) -> Result<()> {
    let Surroundings { pipeline, .. } = surroundings;
    let primary = surroundings.primary()?;
    surroundings.record(FaultKind::PurgePosition, FaultStep::Aimed, primary.name());
    pipeline.kill9(Role::Reader).await?;
    written(primary).await?;
    primary
        .purge_binlogs()
        .await
        .doing(|| format!("{}: binlogs cannot be purged", primary.name()))?;
    surroundings.record(FaultKind::PurgePosition, FaultStep::Struck, primary.name());
    written(primary).await?;
    surroundings.record(
        FaultKind::PurgePosition,
        FaultStep::Recoverable,
        "the reader is started",
    );
    pipeline.start_to_stop(Role::Reader)?;
    pipeline.wait_for_death(Role::Reader, STOP_DEADLINE).await;
    Ok(())
}
