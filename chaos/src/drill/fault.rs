//! What is broken on purpose, and when, as it stands in a plan.

use super::TargetName;
use serde::{Deserialize, Serialize};

/// One fault of the schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultPlan {
    /// Which fault.
    pub kind: FaultKind,
    /// The store that is broken, or whose writer is; for faults of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetName>,
    /// When it strikes, seconds into the phase `during`.
    pub at_seconds: u64,
    /// When it strikes, seconds after the fault above it in the plan has struck, in place of the phase's beginning.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub after_the_one_above: bool,
    /// When its cure begins, seconds into the phase `during`.
    pub cure_at_seconds: u64,
}

/// The faults that there are, one file each in `fault/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// SIGKILL of the broker that leads a partition of the busiest topic.
    KillPartitionLeader,
    /// SIGKILL of the primary; a replica that has all that it acknowledged takes over.
    KillPrimary,
    /// SIGKILL of the primary after a replica has stopped to receive; the replica takes over all the same.
    LossyKillPrimary,
    /// The primary becomes read-only, a replica that has all takes over, and the old primary follows it.
    SwitchOver,
    /// A primary that was killed is started again, with transactions that nobody else has.
    ReturnOldPrimary,
    /// SIGKILL of the reader, then of the primary; the reader is started when a replica has taken over.
    SwitchWithoutReader,
    /// SIGKILL of the reader that leads.
    KillLeader,
    /// SIGSTOP of the reader that leads, until the cure lets it go on.
    PauseLeader,
    /// Nothing goes through between reader and primary, in neither direction; clients are not touched.
    IsolatePrimary,
    /// While the reader is down, the primary removes the binlog files that it has not read to the end.
    PurgePosition,
    /// While the reader is down, the primary throws its binlogs away and begins anew.
    ResetBinlog,
    /// SIGKILL of a store; the cure starts it again with the data that it has on disk.
    KillTarget,
    /// A store is frozen: it keeps its connections, and answers nothing.
    PauseTarget,
    /// A store is cut off from the network: packets to it go nowhere.
    IsolateTarget,
    /// SIGKILL of a store's writer; the cure starts it again.
    KillWriter,
    /// SIGSTOP of a store's writer while another one takes over; the cure lets it go on beside that one.
    PauseWriter,
}

impl FaultKind {
    /// The word in the plan.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            FaultKind::KillPartitionLeader => "kill-partition-leader",
            FaultKind::KillPrimary => "kill-primary",
            FaultKind::LossyKillPrimary => "lossy-kill-primary",
            FaultKind::SwitchOver => "switch-over",
            FaultKind::ReturnOldPrimary => "return-old-primary",
            FaultKind::SwitchWithoutReader => "switch-without-reader",
            FaultKind::KillLeader => "kill-leader",
            FaultKind::PauseLeader => "pause-leader",
            FaultKind::IsolatePrimary => "isolate-primary",
            FaultKind::PurgePosition => "purge-position",
            FaultKind::ResetBinlog => "reset-binlog",
            FaultKind::KillTarget => "kill-target",
            FaultKind::PauseTarget => "pause-target",
            FaultKind::IsolateTarget => "isolate-target",
            FaultKind::KillWriter => "kill-writer",
            FaultKind::PauseWriter => "pause-writer",
        }
    }

    pub(super) fn needs_replica(self) -> bool {
        matches!(
            self,
            FaultKind::KillPrimary
                | FaultKind::LossyKillPrimary
                | FaultKind::SwitchOver
                | FaultKind::ReturnOldPrimary
                | FaultKind::SwitchWithoutReader
        )
    }

    pub(super) fn needs_proxies(self) -> bool {
        self == FaultKind::IsolatePrimary
    }

    pub(super) fn needs_target(self) -> bool {
        matches!(
            self,
            FaultKind::KillTarget
                | FaultKind::PauseTarget
                | FaultKind::IsolateTarget
                | FaultKind::KillWriter
                | FaultKind::PauseWriter
        )
    }

    pub(super) fn needs_second_reader(self) -> bool {
        matches!(self, FaultKind::KillLeader | FaultKind::PauseLeader)
    }
}
