//! SIGKILL of the reader; when clients have gone on for a while, SIGKILL of the primary, and a replica takes over; then the reader
//! is started. The switch is the cure.

use super::take_over::{kill, pair, take_over};
use super::{Fault, Surroundings};
use crate::drill::FaultKind;
use crate::error::{Doing, Error, Result};
use crate::history::FaultStep;
use crate::pipeline::Role;
use fixtures::Mysql;
use futures::FutureExt;
use futures::future::{LocalBoxFuture, ready};
use std::time::Duration;

/// So much is written while the reader is down: some dozen transactions.
const WRITTEN_BYTES_MIN: u64 = 100_000;
/// Longest time until it is.
const WRITTEN_DEADLINE: Duration = Duration::from_secs(30);

/// Nothing to remember.
pub struct SwitchWithoutReader;

impl Fault for SwitchWithoutReader {
    fn strike<'a>(&'a mut self, surroundings: Surroundings<'a>) -> LocalBoxFuture<'a, Result<()>> {
        strike(surroundings).boxed_local()
    }

    fn cure<'a>(&'a mut self, _: Surroundings<'a>) -> LocalBoxFuture<'a, Result<()>> {
        ready(Ok(())).boxed_local()
    }
}

async fn strike(surroundings: Surroundings<'_>) -> Result<()> {
    let (primary, replica) = pair(&surroundings)?;
    surroundings.pipeline.kill9(Role::Reader).await?;
    written(primary).await?;
    kill(&surroundings, FaultKind::SwitchWithoutReader, primary).await?;
    take_over(&surroundings, FaultKind::SwitchWithoutReader, replica).await?;
    written(replica).await?;
    surroundings.pipeline.start(Role::Reader)?;
    surroundings.record(
        FaultKind::SwitchWithoutReader,
        FaultStep::Recoverable,
        "the reader is started",
    );
    Ok(())
}

/// Waits until clients have written something more to a server.
pub(super) async fn written(server: &Mysql) -> Result<()> {
    let what = || format!("nothing is written to {}", server.name());
    let before = server.position().await.doing(what)?;
    let condition = format!("{} has {WRITTEN_BYTES_MIN} bytes more", server.name());
    fixtures::wait_for(&condition, WRITTEN_DEADLINE, async || {
        let position = server.position().await.map_err(|error| error.to_string())?;
        let grown = position.file != before.file || position.offset >= before.offset + WRITTEN_BYTES_MIN;
        if grown { Ok(()) } else { Err(position.to_string()) }
    })
    .await
    .map_err(|error| Error::definite(what()).detail(error))
}
