//! Reading on from an anchor: the running hash of what a server's binlog has there.

use crate::checkpoint::Position;
use crate::decode::{Body, Event, Format};
use crate::encode::refuse;
use crate::error::Result;
use crate::reader::digest::Digest;
use crate::reader::tracker::{Meaning, Target, Tracker};
use crate::tables::TableFilter;

/// Follows a stream from a position on.
pub(super) struct Replay<'f> {
    tracker: Tracker,
    format: Format,
    filter: &'f TableFilter,
    digest: Digest,
}

impl<'f> Replay<'f> {
    /// Begins at a position with the hash there.
    pub(super) fn new(begin: &Position, hash: u64, filter: &'f TableFilter) -> Result<Self> {
        Ok(Self {
            tracker: Tracker::new(begin.clone())?,
            format: Format::default(),
            filter,
            digest: Digest::new(Some(hash)),
        })
    }

    /// The end of the last complete transaction.
    pub(super) fn position(&self) -> Position {
        self.tracker.position()
    }

    /// The hash there.
    pub(super) fn hash(&self) -> u64 {
        self.digest.hash().unwrap_or(0)
    }

    pub(super) fn has_reached(&self, end: &Target) -> bool {
        self.tracker.has_reached(end)
    }

    /// Takes an event. Returns whether it completes a transaction that counts.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<bool> {
        let event = Event::parse(bytes, &mut self.format).map_err(|error| self.tracker.locate(refuse(error)))?;
        let taken = match &event.body {
            Body::TransactionPayload(_) => self.take_payload(&event),
            _ => self.take_one(&event),
        };
        taken.map_err(|error| self.tracker.locate(error))
    }

    fn take_payload(&mut self, event: &Event<'_>) -> Result<bool> {
        self.tracker.take(event)?;
        let Body::TransactionPayload(payload) = &event.body else {
            return Ok(false);
        };
        let mut events = payload.events().map_err(refuse)?;
        let mut counts = false;
        while let Some(mut event) = events.next_event().map_err(refuse)? {
            event.header.next_position = 0;
            counts |= self.take_one(&event)?;
        }
        Ok(counts)
    }

    fn take_one(&mut self, event: &Event<'_>) -> Result<bool> {
        let meaning = self.tracker.take(event)?;
        self.digest.event(event, self.filter)?;
        match meaning {
            Meaning::Nothing | Meaning::XaBegin => return Ok(false),
            Meaning::NewFile => {
                self.digest.forget_tables();
                return Ok(false);
            }
            Meaning::Ddl(ddl) => {
                self.digest.statement(&ddl.statement, self.filter);
                if !ddl.ends_transaction {
                    return Ok(false);
                }
            }
            Meaning::TransactionEnd => {}
            Meaning::XaPrepared(xid) => self.digest.prepared(&xid),
            Meaning::XaDecided(decision) => {
                self.digest.decided(&decision);
                self.tracker.decided();
            }
        }
        Ok(self.digest.end().is_some())
    }
}
