//! How far a reader is behind, by its heartbeat row.
//!
//! The reader advances its row on the primary once a second and meets it again in the stream. A heartbeat counts when all
//! changes before it are committed to Kafka: consumers can see all that was written before it. The lag is the time since
//! the last such heartbeat was written, both by this machine's clock. So it is never less than the time that a heartbeat
//! takes, and in between grows up to the interval.
//!
//! No heartbeat yet, none that can be written, or a clock that was set back: the lag is unknown.

use std::time::{SystemTime, UNIX_EPOCH};

/// A heartbeat that was met in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    /// Its number; it grows by one with each.
    pub sequence: u64,
    /// When it was written, microseconds since 1970 by the reader's clock.
    pub written_us: i64,
}

/// Heartbeats between being read and being committed.
#[derive(Debug, Default)]
pub(super) struct Lag {
    /// Read, and not part of any commit yet.
    read: Option<Beat>,
    /// Part of the commit that is on its way.
    on_its_way: Option<Beat>,
    committed: Option<Beat>,
    /// The heartbeat cannot be written: what was committed last says nothing.
    refused: bool,
}

impl Lag {
    /// A heartbeat came; `in_flight` are the changes before it that are not committed.
    pub(super) fn beat(&mut self, beat: Beat, in_flight: i64) {
        self.read = Some(beat);
        self.settle(in_flight);
    }

    pub(super) fn commit_begun(&mut self) {
        if let Some(beat) = self.read.take() {
            self.on_its_way = Some(beat);
        }
    }

    pub(super) fn commit_done(&mut self, in_flight: i64) {
        if let Some(beat) = self.on_its_way.take() {
            self.committed = Some(beat);
        }
        self.settle(in_flight);
    }

    /// What was read and not committed will be read again.
    pub(super) fn forget_uncommitted(&mut self) {
        self.read = None;
        self.on_its_way = None;
    }

    /// Others are behind or not.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    pub(super) fn refuse(&mut self, refused: bool) {
        self.refused = refused;
    }

    /// Nothing is on its way, so everything before the heartbeat is there.
    fn settle(&mut self, in_flight: i64) {
        if in_flight == 0
            && let Some(beat) = self.read.take()
        {
            self.committed = Some(beat);
        }
    }

    /// Seconds; -1 when unknown.
    pub(super) fn seconds(&self, now: SystemTime) -> f64 {
        let now_us = now.duration_since(UNIX_EPOCH).map(|since| since.as_micros());
        match (self.committed, now_us.map(i64::try_from)) {
            (Some(beat), Ok(Ok(now_us))) if !self.refused && now_us >= beat.written_us => {
                #[allow(clippy::cast_precision_loss)] // A difference of times: microseconds of centuries fit.
                let seconds = (now_us - beat.written_us) as f64 / 1e6;
                seconds
            }
            _ => -1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(second)
    }

    fn beat(second: i64) -> Beat {
        Beat {
            sequence: 1,
            written_us: second * 1_000_000,
        }
    }

    fn is(lag: &Lag, second: u64, expected: f64) {
        let seconds = lag.seconds(at(second));
        assert!((seconds - expected).abs() < 1e-9, "{seconds} instead of {expected}");
    }

    #[test]
    fn unknown_until_a_heartbeat_is_committed_and_never_a_wrong_zero() {
        let mut lag = Lag::default();
        is(&lag, 100, -1.0);
        lag.beat(beat(90), 5);
        is(&lag, 100, -1.0);
        lag.commit_begun();
        lag.beat(beat(91), 8);
        is(&lag, 100, -1.0);
        lag.commit_done(3);
        is(&lag, 100, 10.0);
        is(&lag, 110, 20.0);
        // A clock that was set back.
        is(&lag, 80, -1.0);
        lag.refuse(true);
        is(&lag, 110, -1.0);
    }

    #[test]
    fn a_heartbeat_behind_which_nothing_waits_counts_at_once() {
        let mut lag = Lag::default();
        lag.beat(beat(50), 0);
        is(&lag, 51, 1.0);
        // One that came after a commit had begun counts when nothing else is left.
        lag.commit_begun();
        lag.beat(beat(60), 2);
        is(&lag, 61, 11.0);
        lag.commit_done(0);
        is(&lag, 61, 1.0);
    }

    #[test]
    fn what_was_read_and_then_aborted_does_not_count() {
        let mut lag = Lag::default();
        lag.beat(beat(10), 1);
        lag.commit_begun();
        lag.forget_uncommitted();
        lag.commit_done(0);
        is(&lag, 20, -1.0);
    }
}
