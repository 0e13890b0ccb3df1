//! SIGKILL of a store's writer; the cure starts it again.

use super::{Fault, Surroundings};
use crate::drill::{FaultKind, TargetName};
use crate::error::Result;
use crate::history::FaultStep;
use crate::pipeline::Role;
use futures::FutureExt;
use futures::future::LocalBoxFuture;

/// Knows whether it killed.
pub struct KillWriter {
    target: TargetName,
    killed: bool,
}

impl KillWriter {
    /// Not struck yet.
    #[must_use]
    pub fn new(target: TargetName) -> Self {
        Self { target, killed: false }
    }

    fn record(&self, surroundings: Surroundings<'_>, step: FaultStep) {
        let name = Role::Writer(self.target).name();
        surroundings.record_of(FaultKind::KillWriter, Some(self.target), step, name);
    }

    async fn kill(&mut self, surroundings: Surroundings<'_>) -> Result<()> {
        self.record(surroundings, FaultStep::Aimed);
        self.killed = true;
        surroundings.pipeline.kill9(Role::Writer(self.target)).await?;
        self.record(surroundings, FaultStep::Struck);
        Ok(())
    }

    async fn start_again(&mut self, surroundings: Surroundings<'_>) -> Result<()> {
        let role = Role::Writer(self.target);
        if std::mem::take(&mut self.killed) && !surroundings.pipeline.runs(role) {
            self.record(surroundings, FaultStep::CureBegun);
            surroundings.pipeline.start(role)?;
            self.record(surroundings, FaultStep::Recoverable);
            self.record(surroundings, FaultStep::Cured);
        }
        Ok(())
    }
}

impl Fault for KillWriter {
    fn strike<'a>(&'a mut self, surroundings: Surroundings<'a>) -> LocalBoxFuture<'a, Result<()>> {
        self.kill(surroundings).boxed_local()
    }

    fn cure<'a>(&'a mut self, surroundings: Surroundings<'a>) -> LocalBoxFuture<'a, Result<()>> {
        self.start_again(surroundings).boxed_local()
    }
}
