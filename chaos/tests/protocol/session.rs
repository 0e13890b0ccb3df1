//! A reader's session: what it has read and not yet published, and the rows that it reads back.

use super::kafka::{Checkpoint, Record, Version};
use super::mistake::Mistake;
use super::model::{Protocol, Table, due_keys};
use super::mysql::{Anchor, Entry, Server};
use std::ops::Range;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Session {
    /// What the next checkpoint says.
    pub place: Checkpoint,
    /// Its first checkpoint is committed. Nothing is read before.
    pub is_started: bool,
    /// It found no place to go on from.
    pub is_stopped: bool,
    /// Published and not on the server; told with the first checkpoint.
    pub lost: Option<Range<Version>>,
    /// Read, and not committed (or in sequenced delivery not sent) yet.
    pub buffer: Vec<Record>,
    pub refresh: Option<Refresh>,
}

/// Rows that were selected, on their way into the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Refresh {
    pub rows: Table,
    /// Those of them that the stream has not changed since.
    pub keys: u8,
    /// The log was so long before the rows were selected.
    pub low: usize,
    /// And so long afterwards.
    pub high: Option<usize>,
}

impl Session {
    pub fn at(place: Checkpoint) -> Self {
        Self {
            place,
            is_started: false,
            is_stopped: false,
            lost: None,
            buffer: Vec::new(),
            refresh: None,
        }
    }

    /// Takes the next transaction.
    pub fn read(&mut self, protocol: &Protocol, server: &Server) {
        let at = self.place.position;
        self.place.position += 1;
        match server.log[at] {
            Entry::Anchor(_) if protocol.makes(Mistake::AnchorWritten) => {}
            Entry::Anchor(anchor) => self.note_anchor(anchor),
            Entry::Changes(transaction) => {
                for (index, change) in protocol.script.changes(transaction).iter().enumerate() {
                    let version = self.take_version();
                    self.buffer.push(Record::Change {
                        version,
                        transaction,
                        index,
                    });
                    let keeps = protocol.makes(Mistake::OvertakenKept) || protocol.makes(Mistake::NoWatermarks);
                    if let Some(refresh) = self.refresh.as_mut().filter(|refresh| at >= refresh.low && !keeps) {
                        refresh.keys &= !(1 << change.key);
                    }
                }
            }
        }
        if self
            .refresh
            .and_then(|refresh| refresh.high)
            .is_some_and(|high| self.place.position >= high)
        {
            self.publish_refreshed();
        }
    }

    pub fn note_anchor(&mut self, anchor: Anchor) {
        self.place.anchors.push((anchor, self.place.next));
    }

    /// The rows that were selected are of a state of the log before `high`.
    pub fn set_watermark(&mut self, protocol: &Protocol, high: usize) {
        if let Some(refresh) = &mut self.refresh {
            refresh.high = Some(high);
        }
        if self.place.position >= high || protocol.makes(Mistake::NoWatermarks) {
            self.publish_refreshed();
        }
    }

    fn publish_refreshed(&mut self) {
        let Some(refresh) = self.refresh.take() else { return };
        for key in due_keys(refresh.keys) {
            let version = self.take_version();
            self.buffer.push(Record::Refreshed {
                version,
                key,
                value: refresh.rows[key],
            });
        }
        self.place.due = 0;
    }

    fn take_version(&mut self) -> Version {
        let version = self.place.next;
        self.place.next = version.next();
        version
    }
}
