//! SIGSTOP of a store's writer, and another one is started, which takes over; the cure lets the first one go on (SIGCONT). It wakes
//! with a batch in hand that the other one has long applied: a zombie, which must change nothing.

use super::{Fault, Surroundings};
use crate::drill::{FaultKind, TargetName};
use crate::error::{Error, Result};
use crate::history::FaultStep;
use crate::pipeline::Role;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use std::time::Duration;

/// The group takes the sleeper for dead after its session's time; then the other one is given its partitions.
const TAKE_OVER_DEADLINE: Duration = Duration::from_secs(60);

/// Knows whether it paused.
pub struct PauseWriter {
    target: TargetName,
    paused: bool,
}

impl PauseWriter {
    /// Not struck yet.
    #[must_use]
    pub fn new(target: TargetName) -> Self {
        Self { target, paused: false }
    }

    fn record(&self, surroundings: Surroundings<'_>, step: FaultStep, role: Role) {
        surroundings.record_of(FaultKind::PauseWriter, Some(self.target), step, role.name());
    }

    async fn pause(&mut self, surroundings: Surroundings<'_>) -> Result<()> {
        let (sleeper, other) = (Role::Writer(self.target), Role::SecondWriter(self.target));
        let rows = surroundings.rows_of(self.target)?;
        self.record(surroundings, FaultStep::Aimed, sleeper);
        self.paused = true;
        surroundings.pipeline.pause(sleeper).await?;
        self.record(surroundings, FaultStep::Struck, sleeper);
        surroundings.pipeline.start(other)?;
        // What the sleeper had sent may still be seen for a moment; what comes behind that is the other one's.
        let settled = Duration::from_secs(1);
        while rows.wait_for_change(settled).await {}
        if !rows.wait_for_change(TAKE_OVER_DEADLINE).await {
            let what = format!(
                "nobody took over from the {} within {} s",
                sleeper.name(),
                TAKE_OVER_DEADLINE.as_secs()
            );
            return Err(Error::definite(what).hint(format!("the log of the {} is in the run folder", other.name())));
        }
        self.record(surroundings, FaultStep::Recoverable, other);
        Ok(())
    }

    async fn resume(&mut self, surroundings: Surroundings<'_>) -> Result<()> {
        if std::mem::take(&mut self.paused) {
            let sleeper = Role::Writer(self.target);
            self.record(surroundings, FaultStep::CureBegun, sleeper);
            surroundings.pipeline.resume(sleeper).await?;
            self.record(surroundings, FaultStep::Cured, sleeper);
        }
        Ok(())
    }
}

impl Fault for PauseWriter {
    fn strike<'a>(&'a mut self, surroundings: Surroundings<'a>) -> LocalBoxFuture<'a, Result<()>> {
        self.pause(surroundings).boxed_local()
    }

    fn cure<'a>(&'a mut self, surroundings: Surroundings<'a>) -> LocalBoxFuture<'a, Result<()>> {
        self.resume(surroundings).boxed_local()
    }
}
