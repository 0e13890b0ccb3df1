//! A store is killed, frozen, or cut off from the network; the cure brings it back, and waits until it answers again.

use super::{Fault, Surroundings};
use crate::drill::{FaultKind, TargetName};
use crate::error::{Doing, Result};
use crate::history::FaultStep;
use fixtures::Server;
use futures::FutureExt;
use futures::future::LocalBoxFuture;

/// How a store is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// SIGKILL: its connections break, and new ones are refused.
    Kill,
    /// All of its processes are frozen: connections stay, and nothing comes.
    Pause,
    /// Packets to it go nowhere.
    Isolate,
}

/// Knows whether it broke the store.
pub struct BreakTarget {
    way: Way,
    target: TargetName,
    broken: bool,
}

impl BreakTarget {
    /// Not struck yet.
    #[must_use]
    pub fn new(way: Way, target: TargetName) -> Self {
        let broken = false;
        Self { way, target, broken }
    }

    fn kind(&self) -> FaultKind {
        match self.way {
            Way::Kill => FaultKind::KillTarget,
            Way::Pause => FaultKind::PauseTarget,
            Way::Isolate => FaultKind::IsolateTarget,
        }
    }

    fn record(&self, surroundings: Surroundings<'_>, step: FaultStep) {
        surroundings.record_of(self.kind(), Some(self.target), step, self.target.word());
    }

    async fn strike(&mut self, surroundings: Surroundings<'_>) -> Result<()> {
        let server = server(surroundings, self.target)?;
        self.record(surroundings, FaultStep::Aimed);
        // Known before it is broken: the cure mends it even if this ends half way.
        self.broken = true;
        match self.way {
            Way::Kill => server.kill().await,
            Way::Pause => server.pause().await,
            Way::Isolate => server.cut_off().await,
        }
        .doing(|| format!("{} cannot be broken", server.name()))?;
        self.record(surroundings, FaultStep::Struck);
        Ok(())
    }

    async fn mend(&mut self, surroundings: Surroundings<'_>) -> Result<()> {
        if !std::mem::take(&mut self.broken) {
            return Ok(());
        }
        let server = server(surroundings, self.target)?;
        self.record(surroundings, FaultStep::CureBegun);
        match self.way {
            Way::Kill => server.start().await,
            Way::Pause => server.unpause().await,
            Way::Isolate => server.reconnect().await,
        }
        .doing(|| format!("{} does not come back", server.name()))?;
        self.record(surroundings, FaultStep::Recoverable);
        self.record(surroundings, FaultStep::Cured);
        Ok(())
    }
}

impl Fault for BreakTarget {
    fn strike<'a>(&'a mut self, surroundings: Surroundings<'a>) -> LocalBoxFuture<'a, Result<()>> {
        self.strike(surroundings).boxed_local()
    }

    fn cure<'a>(&'a mut self, surroundings: Surroundings<'a>) -> LocalBoxFuture<'a, Result<()>> {
        self.mend(surroundings).boxed_local()
    }
}

fn server(surroundings: Surroundings<'_>, target: TargetName) -> Result<Server> {
    let lab = surroundings.lab;
    let server = match target {
        TargetName::Redis => lab.redis().map(|server| (**server).clone()),
        TargetName::Elasticsearch => lab.elasticsearch().map(|server| (**server).clone()),
        TargetName::Hbase => lab.hbase().map(|server| (**server).clone()),
    };
    server.doing(|| format!("the drill's lab has no {}", target.title()))
}
