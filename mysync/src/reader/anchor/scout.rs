//! Looking for anchors: a stream in which nothing but heartbeats counts.
//!
//! It may begin long before anything that the reader has read, so what would stop the reader there does not stop it.

use crate::checkpoint::Position;
use crate::decode::{Body, Event, Format, TableMap};
use crate::encode::refuse;
use crate::error::Result;
use crate::reader::tracker::{Meaning, Target, Tracker};
use crate::reader::watch::{Sighting, columns, is_heartbeats, last_beat};
use std::collections::HashMap;

/// Follows a stream from a position on.
pub(super) struct Scout<'r> {
    tracker: Tracker,
    format: Format,
    /// The reader's name in its heartbeat row.
    reader: &'r str,
    /// The heartbeats' table, by its numbers.
    tables: HashMap<u64, TableMap>,
    sighted: Option<Sighting>,
}

impl<'r> Scout<'r> {
    pub(super) fn new(begin: &Position, reader: &'r str) -> Result<Self> {
        Ok(Self {
            tracker: Tracker::new(begin.clone())?,
            format: Format::default(),
            reader,
            tables: HashMap::new(),
            sighted: None,
        })
    }

    /// The end of the last complete transaction.
    pub(super) fn position(&self) -> Position {
        self.tracker.position()
    }

    pub(super) fn has_reached(&self, end: &Target) -> bool {
        self.tracker.has_reached(end)
    }

    /// Takes an event. Returns the heartbeat in the transaction that it completes.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Option<Sighting>> {
        let event = Event::parse(bytes, &mut self.format).map_err(|error| self.tracker.locate(refuse(error)))?;
        let Body::TransactionPayload(payload) = &event.body else {
            return Ok(self.take_one(&event));
        };
        self.tracker.take(&event).ok();
        let mut events = payload.events().map_err(|error| self.tracker.locate(refuse(error)))?;
        let mut found = None;
        while let Some(mut event) = events
            .next_event()
            .map_err(|error| self.tracker.locate(refuse(error)))?
        {
            event.header.next_position = 0;
            found = self.take_one(&event).or(found);
        }
        Ok(found)
    }

    fn take_one(&mut self, event: &Event<'_>) -> Option<Sighting> {
        let meaning = self.tracker.take(event);
        match &event.body {
            Body::TableMap(map) if is_heartbeats(map.database, map.table) => {
                let described = map
                    .table_map()
                    .ok()
                    .and_then(|mut map| map.supply(&columns()).is_ok().then_some(map));
                drop(described.map(|described| self.tables.insert(map.table_id, described)));
            }
            Body::TableMap(map) => drop(self.tables.remove(&map.table_id)),
            Body::Rows(rows) => {
                let beat = self
                    .tables
                    .get(&rows.table_id)
                    .and_then(|map| last_beat(rows, map, self.reader));
                self.sighted = beat.or(self.sighted.take());
            }
            _ => {}
        }
        match meaning {
            Ok(Meaning::TransactionEnd | Meaning::XaPrepared(_)) => self.sighted.take(),
            Ok(Meaning::XaDecided(_)) => {
                self.tracker.decided();
                self.sighted.take()
            }
            _ => None,
        }
    }
}
