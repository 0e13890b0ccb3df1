//! What a writer did, for the end of a run.

use super::lanes::Round;
use crate::usage;
use std::fmt;
use tokio::time::Instant;

/// What a writer did.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Summary {
    /// Records that were read and are applied.
    pub records: u64,
    /// Those of them that were further copies of changes, and were passed over.
    pub copies: u64,
    /// Changes that were applied after folding.
    pub changes: u64,
    /// Rounds of steps that the target was sent.
    pub rounds: u64,
    /// From the start of the writer to the last change applied.
    pub seconds: f64,
    /// CPU seconds of the process, user and system.
    pub cpu_seconds: f64,
    /// Peak resident memory of the process.
    pub resident_mb_max: u64,
}

impl Summary {
    /// Records a second.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // A figure for people.
    pub fn records_per_second(&self) -> f64 {
        match self.seconds > 0.0 {
            true => self.records as f64 / self.seconds,
            false => 0.0,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} records read ({} copies), {} changes applied in {} rounds, {:.1} s, {:.0} records/s, {:.1} CPU s, {} MB peak",
            self.records,
            self.copies,
            self.changes,
            self.rounds,
            self.seconds,
            self.records_per_second(),
            self.cpu_seconds,
            self.resident_mb_max,
        )
    }
}

/// Counts while a writer runs.
#[derive(Debug)]
pub(super) struct Counters {
    began: Instant,
    summary: Summary,
}

impl Counters {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            summary: Summary::default(),
        }
    }

    pub(super) fn round_applied(&mut self, round: &Round) {
        let changes: usize = round.steps.iter().map(|step| step.changes.len()).sum();
        let changes = changes as u64;
        self.summary.records += round.read.iter().map(|read| read.records).sum::<u64>();
        self.summary.copies += round.read.iter().map(|read| read.copies).sum::<u64>();
        self.summary.changes += changes;
        self.summary.rounds += 1;
        if changes > 0 {
            self.summary.seconds = self.began.elapsed().as_secs_f64();
        }
    }

    pub(super) fn finish(self) -> Summary {
        Summary {
            cpu_seconds: usage::cpu_seconds(),
            resident_mb_max: usage::resident_mb_max(),
            ..self.summary
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_one_line() {
        let summary = Summary {
            records: 1_400,
            copies: 12,
            changes: 1_200,
            rounds: 300,
            seconds: 7.0,
            cpu_seconds: 5.25,
            resident_mb_max: 61,
        };
        insta::assert_snapshot!(summary, @"1400 records read (12 copies), 1200 changes applied in 300 rounds, 7.0 s, 200 records/s, 5.2 CPU s, 61 MB peak");
        assert!(Summary::default().records_per_second().abs() < f64::EPSILON);
    }
}
