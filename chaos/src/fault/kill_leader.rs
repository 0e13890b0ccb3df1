//! SIGKILL of the reader that leads, while another one stands by; the cure starts it again, to stand by itself.

use super::{Fault, Surroundings};
use crate::drill::FaultKind;
use crate::error::Result;
use crate::history::FaultStep;
use crate::pipeline::Role;
use futures::FutureExt;
use futures::future::LocalBoxFuture;

/// Knows whether it killed.
#[derive(Default)]
pub struct KillLeader {
    killed: bool,
}

impl Fault for KillLeader {
    fn strike<'a>(&'a mut self, surroundings: Surroundings<'a>) -> LocalBoxFuture<'a, Result<()>> {
        self.kill(surroundings).boxed_local()
    }

    fn cure<'a>(&'a mut self, surroundings: Surroundings<'a>) -> LocalBoxFuture<'a, Result<()>> {
        self.start_again(surroundings).boxed_local()
    }
}

impl KillLeader {
    async fn kill(&mut self, surroundings: Surroundings<'_>) -> Result<()> {
        // It was the first to come, and leads until it goes.
        surroundings.record(FaultKind::KillLeader, FaultStep::Aimed, Role::Reader.name());
        self.killed = true;
        surroundings.pipeline.kill9(Role::Reader).await?;
        surroundings.record(FaultKind::KillLeader, FaultStep::Struck, Role::Reader.name());
        Ok(())
    }

    async fn start_again(&mut self, surroundings: Surroundings<'_>) -> Result<()> {
        if std::mem::take(&mut self.killed) && !surroundings.pipeline.runs(Role::Reader) {
            surroundings.record(FaultKind::KillLeader, FaultStep::CureBegun, Role::Reader.name());
            surroundings.pipeline.start(Role::Reader)?;
            surroundings.record(FaultKind::KillLeader, FaultStep::Cured, Role::Reader.name());
        }
        Ok(())
    }
}
