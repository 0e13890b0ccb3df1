//! What is broken on purpose, one file a fault. The only module that breaks things.
//!
//! A fault owns its cure. The run calls [`Fault::cure`] on every fault that was made, whatever happened before: after a
//! failure, a panic and Ctrl-C too; a cure of something that was never broken, or is whole again, does nothing.

mod kill_partition_leader;

pub use kill_partition_leader::KillPartitionLeader;

use crate::drill::{FaultKind, FaultPlan};
use crate::error::Result;
use crate::history::Recorder;
use crate::observe::TopicObserver;
use fixtures::Lab;
use futures::future::LocalBoxFuture;

/// What a fault may look at and break.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The servers.
    pub lab: &'a Lab,
    /// What was seen in the topics.
    pub topics: &'a TopicObserver,
    /// Where each step is recorded.
    pub recorder: &'a Recorder,
    /// Prefix of the topics whose busiest one is aimed at.
    pub topics_prefix: &'a str,
    /// Decides what is left to chance.
    pub seed: u64,
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
    match plan.kind {
        FaultKind::KillPartitionLeader => Box::new(KillPartitionLeader::default()),
    }
}
