//! Encoded records on their way to the queue: one arena of bytes, so that a record costs no allocation of its own.

use super::TopicId;
use crate::version::Version;
use std::ops::Range;

/// Where in the binlog a change came from, as it stands in the header `mysync.origin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Number of the binlog file, from its name.
    pub file_number: u64,
    /// End position of the row event (of its enclosing event inside a compressed transaction).
    pub offset: u64,
    /// Index of the row in the event.
    pub row: u32,
}

/// Encoded records in stream order.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    slots: Vec<Slot>,
    /// In the order of their slots: most records have none.
    headers: Vec<ExtraHeader>,
}

#[derive(Debug, Clone)]
struct ExtraHeader {
    slot: usize,
    name: &'static str,
    value: Range<usize>,
}

#[derive(Debug, Clone)]
struct Slot {
    topic: TopicId,
    timestamp_ms: i64,
    version: Version,
    origin: Origin,
    key: Range<usize>,
    value: Option<Range<usize>>,
}

/// The header of a tombstone that ends a key, and no row: stores hold the row by its values, which have another key now.
pub const MOVED: &str = "mysync.moved";

/// One record, borrowed from its batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// The topic that was declared.
    pub topic: TopicId,
    /// When the change was made at the source, ms since 1970.
    pub timestamp_ms: i64,
    /// Header `mysync.version`.
    pub version: Version,
    /// Header `mysync.origin`.
    pub origin: Origin,
    /// The row's key.
    pub key: &'a [u8],
    /// The envelope; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// One more header: its name and value.
    pub header: Option<(&'static str, &'a [u8])>,
}

impl Batch {
    /// Where to append the bytes of keys and values; [`Batch::push`] then says which of them make a record.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Adds a record over bytes that were appended before.
    pub fn push(
        &mut self,
        topic: TopicId,
        timestamp_ms: i64,
        version: Version,
        origin: Origin,
        key: Range<usize>,
        value: Option<Range<usize>>,
    ) {
        debug_assert!(key.end <= self.bytes.len(), "a key outside of the arena");
        self.slots.push(Slot {
            topic,
            timestamp_ms,
            version,
            origin,
            key,
            value,
        });
    }

    /// Gives the record that was added last a header over bytes that were appended before; one at most.
    pub fn add_header(&mut self, name: &'static str, value: Range<usize>) {
        debug_assert!(value.end <= self.bytes.len(), "a header outside of the arena");
        debug_assert!(!self.slots.is_empty(), "a header belongs to a record");
        self.headers.push(ExtraHeader {
            slot: self.slots.len().saturating_sub(1),
            name,
            value,
        });
    }

    /// The records in order.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let mut headers = self.headers.iter().peekable();
        self.slots.iter().enumerate().map(move |(place, slot)| {
            let header = headers.next_if(|header| header.slot == place);
            self.borrow(slot, header)
        })
    }

    /// The record at a place, counted from 0.
    #[must_use]
    pub fn record(&self, place: usize) -> Option<Record<'_>> {
        let header = self.headers.binary_search_by_key(&place, |header| header.slot);
        let header = header.ok().and_then(|found| self.headers.get(found));
        self.slots.get(place).map(|slot| self.borrow(slot, header))
    }

    fn borrow(&self, slot: &Slot, header: Option<&ExtraHeader>) -> Record<'_> {
        Record {
            header: header.map(|header| (header.name, &self.bytes[header.value.clone()])),
            topic: slot.topic,
            timestamp_ms: slot.timestamp_ms,
            version: slot.version,
            origin: slot.origin,
            key: &self.bytes[slot.key.clone()],
            value: slot.value.clone().map(|range| &self.bytes[range]),
        }
    }

    /// Takes the records out that are not `kept`, both halves in order. A batch that keeps all stays as it is.
    #[must_use]
    pub fn split(self, kept: impl Fn(TopicId) -> bool) -> (Self, Self) {
        if self.slots.iter().all(|slot| kept(slot.topic)) {
            return (self, Self::default());
        }
        let (mut left, mut right) = (Self::default(), Self::default());
        for record in self.records() {
            let half = if kept(record.topic) { &mut left } else { &mut right };
            half.append(&record);
        }
        (left, right)
    }

    fn append(&mut self, record: &Record<'_>) {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(record.key);
        let key = from..self.bytes.len();
        let value = record.value.map(|value| {
            self.bytes.extend_from_slice(value);
            key.end..self.bytes.len()
        });
        self.push(
            record.topic,
            record.timestamp_ms,
            record.version,
            record.origin,
            key,
            value,
        );
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that the batch takes in memory, filled or not.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.bytes.capacity()
            + self.slots.capacity() * size_of::<Slot>()
            + self.headers.capacity() * size_of::<ExtraHeader>()
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Empties the batch and keeps its memory, unless one large row has blown it up past `bytes_kept_max`.
    pub fn clear(&mut self, bytes_kept_max: usize) {
        self.slots.clear();
        self.headers.clear();
        self.bytes.clear();
        self.bytes.shrink_to(bytes_kept_max);
    }
}
