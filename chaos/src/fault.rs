//! What is broken on purpose, one file a fault. The only module that breaks things.
//!
//! A fault owns its cure. The run calls [`Fault::cure`] on every fault that was made, whatever happened before: after a
//! failure, a panic and Ctrl-C too; a cure of something that was never broken, or is whole again, does nothing.

mod break_target;
mod isolate_primary;
mod kill_leader;
mod kill_partition_leader;
mod kill_primary;
mod kill_writer;
mod lossy_kill_primary;
mod pause_leader;
mod pause_writer;
mod purge_position;
mod reset_binlog;
mod return_old_primary;
mod switch_over;
mod switch_without_reader;
mod take_over;

pub use break_target::{BreakTarget, Way};
pub use isolate_primary::IsolatePrimary;
pub use kill_leader::KillLeader;
pub use kill_partition_leader::KillPartitionLeader;
pub use kill_primary::KillPrimary;
pub use kill_writer::KillWriter;
pub use lossy_kill_primary::LossyKillPrimary;
pub use pause_leader::PauseLeader;
pub use pause_writer::PauseWriter;
pub use purge_position::PurgePosition;
pub use reset_binlog::ResetBinlog;
pub use return_old_primary::ReturnOldPrimary;
pub use switch_over::SwitchOver;
pub use switch_without_reader::SwitchWithoutReader;

use crate::drill::{FaultKind, FaultPlan, TargetName};
use crate::error::{Doing, Error, Result};
use crate::history::{FaultEvent, FaultStep, Record, Recorder};
use crate::observe::{RowObserver, TopicObserver};
use crate::pipeline::Pipeline;
use crate::proxy::Proxy;
use crate::workload::bank::Clients;
use fixtures::{Lab, Mysql};
use futures::future::LocalBoxFuture;

/// What a fault may look at and break.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The servers.
    pub lab: &'a Lab,
    /// Readers and writers.
    pub pipeline: &'a Pipeline,
    /// The clients of MySQL, which have to be told where the primary is.
    pub clients: &'a Clients,
    /// The readers' ways to the MySQL servers, in the order of the lab; empty where the plan has none.
    pub proxies: &'a [Proxy],
    /// What was seen in the topics.
    pub topics: &'a TopicObserver,
    /// What was seen in each store.
    pub rows: &'a [RowObserver],
    /// Where each step is recorded.
    pub recorder: &'a Recorder,
    /// Prefix of the topics whose busiest one is aimed at.
    pub topics_prefix: &'a str,
    /// Decides what is left to chance.
    pub seed: u64,
}

impl<'a> Surroundings<'a> {
    fn primary(&self) -> Result<&'a Mysql> {
        self.lab.primary().doing(|| "the drill's lab has no MySQL".into())
    }

    fn rows_of(&self, target: TargetName) -> Result<&'a RowObserver> {
        let found = self.rows.iter().find(|rows| rows.store() == target);
        found.ok_or_else(|| Error::definite(format!("the drill does not fill {}", target.title())).hint("lab.targets"))
    }

    fn record(&self, fault: FaultKind, step: FaultStep, detail: impl Into<String>) {
        self.record_of(fault, None, step, detail);
    }

    /// The same for a fault that hits a store or its writer.
    fn record_of(&self, fault: FaultKind, target: Option<TargetName>, step: FaultStep, detail: impl Into<String>) {
        self.recorder.append(&Record::Fault(FaultEvent {
            at_us: self.recorder.now_us(),
            fault,
            step,
            detail: detail.into(),
            target,
            topic: None,
            partition: None,
            broker: None,
        }));
    }
}

/// Something broken on purpose, which owns its cure.
pub trait Fault {
    /// Breaks it, and returns when it is known to be broken and how the others took it.
    fn strike<'a>(&'a mut self, surroundings: Surroundings<'a>) -> LocalBoxFuture<'a, Result<()>>;

    /// Mends it, and returns when all is as it was before.
    fn cure<'a>(&'a mut self, surroundings: Surroundings<'a>) -> LocalBoxFuture<'a, Result<()>>;
}

/// A fault of the plan, not yet struck.
#[must_use]
pub fn of(plan: &FaultPlan) -> Box<dyn Fault> {
    // A plan that was read has a target where the fault needs one.
    let target = plan.target.unwrap_or_default();
    match plan.kind {
        FaultKind::KillPartitionLeader => Box::new(KillPartitionLeader::default()),
        FaultKind::KillPrimary => Box::new(KillPrimary),
        FaultKind::LossyKillPrimary => Box::new(LossyKillPrimary),
        FaultKind::SwitchOver => Box::new(SwitchOver),
        FaultKind::ReturnOldPrimary => Box::new(ReturnOldPrimary),
        FaultKind::SwitchWithoutReader => Box::new(SwitchWithoutReader),
        FaultKind::KillLeader => Box::new(KillLeader::default()),
        FaultKind::PauseLeader => Box::new(PauseLeader::default()),
        FaultKind::IsolatePrimary => Box::new(IsolatePrimary::default()),
        FaultKind::PurgePosition => Box::new(PurgePosition),
        FaultKind::ResetBinlog => Box::new(ResetBinlog),
        FaultKind::KillTarget => Box::new(BreakTarget::new(Way::Kill, target)),
        FaultKind::PauseTarget => Box::new(BreakTarget::new(Way::Pause, target)),
        FaultKind::IsolateTarget => Box::new(BreakTarget::new(Way::Isolate, target)),
        FaultKind::KillWriter => Box::new(KillWriter::new(target)),
        FaultKind::PauseWriter => Box::new(PauseWriter::new(target)),
    }
}
