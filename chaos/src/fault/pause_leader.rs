//! SIGSTOP of the reader that leads, while another one stands by; the cure lets it go on, with what it had in its hands.

use super::{Fault, Surroundings};
use crate::drill::FaultKind;
use crate::error::Result;
use crate::history::FaultStep;
use crate::pipeline::Role;
use futures::FutureExt;
use futures::future::LocalBoxFuture;

/// Knows whether it paused.
#[derive(Default)]
pub struct PauseLeader {
    paused: bool,
}

impl Fault for PauseLeader {
    fn strike<'a>(&'a mut self, surroundings: Surroundings<'a>) -> LocalBoxFuture<'a, Result<()>> {
        self.pause(surroundings).boxed_local()
    }

    fn cure<'a>(&'a mut self, surroundings: Surroundings<'a>) -> LocalBoxFuture<'a, Result<()>> {
        self.resume(surroundings).boxed_local()
    }
}

impl PauseLeader {
    async fn pause(&mut self, surroundings: Surroundings<'_>) -> Result<()> {
        // It was the first to come, and leads until it goes.
        surroundings.record(FaultKind::PauseLeader, FaultStep::Aimed, Role::Reader.name());
        self.paused = true;
        surroundings.pipeline.pause(Role::Reader).await?;
        surroundings.record(FaultKind::PauseLeader, FaultStep::Struck, Role::Reader.name());
        Ok(())
    }

    async fn resume(&mut self, surroundings: Surroundings<'_>) -> Result<()> {
        if std::mem::take(&mut self.paused) {
            surroundings.record(FaultKind::PauseLeader, FaultStep::CureBegun, Role::Reader.name());
            surroundings.pipeline.resume(Role::Reader).await?;
            surroundings.record(FaultKind::PauseLeader, FaultStep::Cured, Role::Reader.name());
        }
        Ok(())
    }
}
