//! What goes out beside changes: marks of transactions, and heartbeats.

use super::{Progress, Session, now_ns};
use crate::decode::Event;
use crate::error::Result;
use crate::queue::{Origin, Queue};
use crate::reader::transaction::Place;
use crate::source::Source;

impl<S: Source, Q: Queue> Session<'_, S, Q> {
    /// Commits a heartbeat with all that came before it.
    pub(super) async fn beat(&mut self) -> Result<()> {
        let progress = &mut self.progress;
        let origin = progress.place_at(0).origin;
        let (prefix, now_ms) = (self.context.options.form.prefix(), now_ns() / 1_000_000);
        self.heartbeat
            .beat(prefix, now_ms, progress.next_version, origin, &mut progress.batch);
        self.commit().await
    }
}

impl Progress {
    /// A MySQL transaction is complete.
    pub(super) fn end_transaction(&mut self, timestamp_s: u32) -> Result<()> {
        let place = self.place_at(timestamp_s);
        self.transaction.end(place, &mut self.batch);
        self.open.transactions += 1;
        self.trail.end(&self.tracker, self.next_version)?;
        if self.trail.is_full() {
            self.record_history();
        }
        Ok(())
    }

    /// Appends the history of the transactions that are complete.
    pub(super) fn record_history(&mut self) {
        self.trail.flush(now_ns() / 1_000_000, &mut self.batch);
    }

    /// Where the reader stands.
    pub(super) fn place_at(&self, timestamp_s: u32) -> Place {
        let (_, file_number, offset) = self.tracker.place();
        let origin = Origin {
            file_number,
            offset,
            row: 0,
        };
        Place {
            timestamp_s,
            version: self.next_version,
            origin,
        }
    }
}

/// The first byte of an event that ends at `offset`; an event within a compressed transaction has no place of its own.
pub(super) fn begin_of(event: &Event<'_>, offset: u64) -> u64 {
    match event.header.next_position {
        0 => offset,
        _ => offset.saturating_sub(event.header.size.into()),
    }
}
