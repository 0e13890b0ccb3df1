//! What was published, one line a MySQL transaction: the topic `<prefix>.__history`, which is kept for a week.
//!
//! Each Kafka transaction that ends with a checkpoint has a record of the MySQL transactions in it (several records, where
//! there are very many): the version of its first change, then for each transaction that changed followed rows, tables or XA
//! transactions the number of its changes and its identity, which is its GTID, or, on a server without, the running hash at
//! its end ([`super::digest`]). Between them stand the anchors that were read ([`super::anchor`]). So it costs a few
//! bytes a transaction and nothing a row, and tells after a switch which versions a transaction had that the new
//! server lacks.
//!
//! A record also has the hash before its first line. After a lossy switch the hash goes on from an earlier line: what stands
//! between that line and the record is what was lost, and no part of the history any more. When the hash begins anew, since
//! other tables are followed, nothing before it is.
//!
//! It is read backwards, from the end in widening windows: who asks wants the last seconds, rarely hours.

use super::digest::Marks;
use crate::checkpoint::Anchor;
use crate::error::{Error, Result};
use crate::queue::{Batch, Origin, Queue, TopicId};
use crate::version::Version;
use prost::Message;
use std::collections::VecDeque;
use std::sync::Arc;

/// The topic's name without prefix and underscores.
pub(super) const TOPIC: &str = "history";

/// Lines after which a record is complete.
const RECORD_LINES_MAX: usize = 4_096;

/// Offsets before the end that are read first. Marks of Kafka transactions take offsets, too.
pub(super) const WINDOW_FIRST: i64 = 512;

/// How much wider each further window is.
const WINDOW_FACTOR: i64 = 8;

/// Bytes of records that are read back at most, some million transactions; what is older does not count.
const PAST_BYTES_MAX: usize = 16 << 20;

/// The window after this one.
pub(super) fn wider(window: i64) -> i64 {
    window.saturating_mul(WINDOW_FACTOR)
}

/// What makes a MySQL transaction the same on every server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Identity {
    /// Its GTID.
    Gtid {
        /// server_uuid, and `:tag` where there is one.
        source: Arc<str>,
        /// Its number.
        number: u64,
    },
    /// The running hash at its end.
    Hash(u64),
}

/// A MySQL transaction that was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Committed {
    /// The version of its first change.
    pub(super) first: Version,
    /// Its changes: the versions that follow.
    pub(super) changes: u64,
    /// What makes it the same on every server.
    pub(super) identity: Identity,
    /// It has a statement about tables.
    pub(super) ddl: bool,
    /// Such a statement changed rows of followed tables without row events.
    pub(super) rewrites: bool,
    /// An XA transaction was prepared or decided by it.
    pub(super) xa: bool,
}

impl Committed {
    /// The running hash at its end, on a server without GTID.
    pub(super) fn hash(&self) -> Option<u64> {
        match &self.identity {
            Identity::Hash(hash) => Some(*hash),
            Identity::Gtid { .. } => None,
        }
    }
}

/// A line of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// A transaction.
    Transaction(Committed),
    /// An anchor that was read.
    Anchor(Anchor),
}

impl Line {
    /// The running hash there; 0 on a server with GTID.
    fn hash(&self) -> u64 {
        match self {
            Line::Transaction(committed) => committed.hash().unwrap_or(0),
            Line::Anchor(anchor) => anchor.hash,
        }
    }
}

/// The last part of the history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Past {
    /// Oldest first.
    pub(super) lines: Vec<Line>,
    /// There is nothing older.
    pub(super) is_whole: bool,
}

/// Value of a record.
#[derive(Clone, PartialEq, Message)]
struct Record {
    /// Always 1.
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(sfixed64, tag = "2")]
    first_version: i64,
    #[prost(fixed64, tag = "3")]
    hash_before: u64,
    #[prost(message, repeated, tag = "4")]
    lines: Vec<StoredLine>,
}

/// A transaction, or an anchor.
#[derive(Clone, PartialEq, Message)]
struct StoredLine {
    /// Versions before the transaction that are no transaction's.
    #[prost(uint64, tag = "1")]
    skipped: u64,
    #[prost(uint64, tag = "2")]
    changes: u64,
    #[prost(fixed64, tag = "3")]
    hash: u64,
    /// Empty: as in the line before.
    #[prost(string, tag = "4")]
    gtid_source: String,
    #[prost(uint64, tag = "5")]
    gtid_number: u64,
    #[prost(bool, tag = "6")]
    ddl: bool,
    #[prost(bool, tag = "7")]
    xa: bool,
    #[prost(message, optional, tag = "8")]
    anchor: Option<StoredAnchor>,
    #[prost(bool, tag = "9")]
    rewrites: bool,
}

#[derive(Clone, PartialEq, Message)]
struct StoredAnchor {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    /// Empty: as in the anchor before.
    #[prost(string, tag = "2")]
    server_uuid: String,
    #[prost(sfixed64, tag = "3")]
    written_us: i64,
}

/// Writes the history.
#[derive(Debug)]
pub(super) struct Recorder {
    topic: TopicId,
    /// The records' key: the history of each reader is its own.
    reader: String,
    open: Record,
    /// The server_uuid and tag of the last line with a GTID.
    gtid_source: (String, String),
    /// The server of the last anchor.
    anchor_server: String,
    /// The version behind the last line.
    version: Version,
    hash: u64,
}

impl Recorder {
    /// Goes on at a version and, on a server without GTID, at a hash.
    pub(super) fn new(topic: TopicId, reader: &str, version: Version, hash: u64) -> Self {
        let mut recorder = Self {
            topic,
            reader: reader.to_owned(),
            open: Record::default(),
            gtid_source: Default::default(),
            anchor_server: String::new(),
            version,
            hash,
        };
        recorder.begin();
        recorder
    }

    fn begin(&mut self) {
        self.open.lines.clear();
        self.open.format = 1;
        self.open.first_version = self.version.as_i64();
        self.open.hash_before = self.hash;
        self.gtid_source = Default::default();
        self.anchor_server.clear();
    }

    /// Adds a transaction of a server without GTID; it is the latest.
    pub(super) fn hashed(&mut self, first: Version, changes: u64, marks: Marks, hash: u64) -> Result<()> {
        self.hash = hash;
        self.add(first, changes, marks, |line| line.hash = hash)
    }

    /// Adds a transaction by its GTID: server_uuid, tag or nothing, number; it is the latest.
    pub(super) fn gtid(&mut self, first: Version, changes: u64, marks: Marks, gtid: (&str, &str, u64)) -> Result<()> {
        let (uuid, tag, number) = gtid;
        let is_known = self.gtid_source.0 == uuid && self.gtid_source.1 == tag;
        if !is_known {
            self.gtid_source = (uuid.to_owned(), tag.to_owned());
        }
        self.add(first, changes, marks, |line| {
            line.gtid_number = number;
            if !is_known {
                let separator = if tag.is_empty() { "" } else { ":" };
                line.gtid_source = format!("{uuid}{separator}{tag}");
            }
        })
    }

    fn add(
        &mut self,
        first: Version,
        changes: u64,
        marks: Marks,
        identify: impl FnOnce(&mut StoredLine),
    ) -> Result<()> {
        let mut line = StoredLine {
            skipped: first.seq().saturating_sub(self.version.seq()),
            changes,
            ddl: marks.ddl,
            rewrites: marks.rewrites,
            xa: marks.xa,
            ..StoredLine::default()
        };
        identify(&mut line);
        self.version = advanced(first, changes)?;
        self.open.lines.push(line);
        Ok(())
    }

    /// Adds an anchor that was read; it is the latest.
    pub(super) fn anchor(&mut self, anchor: &Anchor) {
        debug_assert_eq!(
            anchor.hash, self.hash,
            "an anchor has the hash of the transaction before it"
        );
        let is_known = self.anchor_server == anchor.server_uuid;
        self.anchor_server.clone_from(&anchor.server_uuid);
        let stored = StoredAnchor {
            sequence: anchor.sequence,
            server_uuid: if is_known {
                String::new()
            } else {
                anchor.server_uuid.clone()
            },
            written_us: anchor.written_us,
        };
        self.open.lines.push(StoredLine {
            anchor: Some(stored),
            ..StoredLine::default()
        });
    }

    /// Whether a record is complete already.
    pub(super) fn is_full(&self) -> bool {
        self.open.lines.len() >= RECORD_LINES_MAX
    }

    /// Appends the open record, unless it is empty.
    pub(super) fn flush(&mut self, now_ms: i64, batch: &mut Batch) {
        if self.open.lines.is_empty() {
            return;
        }
        let bytes = batch.bytes();
        let begin = bytes.len();
        bytes.extend_from_slice(self.reader.as_bytes());
        let middle = bytes.len();
        // A vector takes any number of bytes.
        self.open.encode(bytes).ok();
        let end = bytes.len();
        let origin = Origin {
            file_number: 0,
            offset: 0,
            row: 0,
        };
        batch.push(
            self.topic,
            now_ms,
            self.version,
            origin,
            begin..middle,
            Some(middle..end),
        );
        self.begin();
    }
}

/// Reads the last `window` offsets of the history of a reader. The topic must have been declared.
pub(super) async fn past<Q: Queue>(queue: &Q, reader: &str, window: i64) -> Result<Past> {
    let (mut scan, mut is_whole) = queue.scan_end(TOPIC, window).await?;
    let mut records = VecDeque::new();
    let mut bytes = 0;
    while let Some(stored) = scan.next().await? {
        if stored.key != reader.as_bytes() {
            continue;
        }
        let value = stored.value.unwrap_or_default();
        bytes += value.len();
        records.push_back(value);
        while bytes > PAST_BYTES_MAX && records.len() > 1 {
            bytes -= records.pop_front().map_or(0, |oldest| oldest.len());
            is_whole = true;
        }
    }
    let mut past = Past {
        lines: Vec::new(),
        is_whole,
    };
    for record in records {
        past.take(&record)?;
    }
    Ok(past)
}

impl Past {
    /// Drops the lines behind the last one at which the hash was this.
    pub(super) fn end_at(&mut self, hash: u64) {
        while self.lines.last().is_some_and(|last| last.hash() != hash) {
            self.lines.pop();
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        let record = Record::decode(bytes).map_err(|error| unreadable(&error))?;
        if record.format != 1 {
            return Err(unreadable(&format!("format {}", record.format)));
        }
        self.end_at(record.hash_before);
        let mut hash = record.hash_before;
        let mut version = Version::from_i64(record.first_version).ok_or_else(|| unreadable(&"its version"))?;
        let mut source: Arc<str> = "".into();
        let mut server_uuid = String::new();
        for line in record.lines {
            if let Some(anchor) = line.anchor {
                if !anchor.server_uuid.is_empty() {
                    server_uuid = anchor.server_uuid;
                }
                self.lines.push(Line::Anchor(Anchor {
                    sequence: anchor.sequence,
                    server_uuid: server_uuid.clone(),
                    written_us: anchor.written_us,
                    hash,
                    place: None,
                }));
                continue;
            }
            if !line.gtid_source.is_empty() {
                source = line.gtid_source.into();
            }
            let identity = match line.gtid_number {
                0 => Identity::Hash(line.hash),
                number => Identity::Gtid {
                    source: Arc::clone(&source),
                    number,
                },
            };
            hash = line.hash;
            let first = advanced(version, line.skipped)?;
            version = advanced(first, line.changes)?;
            self.lines.push(Line::Transaction(Committed {
                first,
                changes: line.changes,
                identity,
                ddl: line.ddl,
                rewrites: line.rewrites,
                xa: line.xa,
            }));
        }
        Ok(())
    }
}

fn advanced(version: Version, by: u64) -> Result<Version> {
    let seq = version.seq().checked_add(by);
    let advanced = seq.and_then(|seq| Version::new(version.epoch(), seq));
    advanced.ok_or_else(|| unreadable(&"its versions"))
}

fn unreadable(why: &dyn std::fmt::Display) -> Error {
    Error::definite(format!("a record of topic __{TOPIC} cannot be read"))
        .detail(why)
        .hint("was it written by a newer version of mysync? run that version, or load the tables anew under a new kafka.prefix")
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn version(seq: u64) -> Version {
        Version::new(1, seq).unwrap()
    }

    fn read(batch: &Batch) -> Vec<Line> {
        let mut past = Past::default();
        for record in batch.records() {
            assert_eq!(record.key, b"p.r");
            past.take(record.value.unwrap()).unwrap();
        }
        past.lines
    }

    fn committed(first: Version, changes: u64, identity: Identity) -> Line {
        Line::Transaction(Committed {
            first,
            changes,
            identity,
            ddl: false,
            rewrites: false,
            xa: false,
        })
    }

    fn anchor(sequence: u64, hash: u64) -> Anchor {
        Anchor {
            sequence,
            server_uuid: UUID.into(),
            written_us: -5,
            hash,
            place: None,
        }
    }

    #[test]
    fn what_was_recorded_is_read_back_over_several_records() {
        let mut batch = Batch::default();
        let mut recorder = Recorder::new(0, "p.r", version(10), 5);
        recorder.flush(0, &mut batch);
        assert!(batch.is_empty(), "nothing was published");
        recorder.anchor(&anchor(1, 5));
        recorder.hashed(version(10), 2, Marks::default(), 6).unwrap();
        recorder.anchor(&anchor(2, 6));
        recorder.anchor(&anchor(3, 6));
        recorder.flush(0, &mut batch);
        let ddl = Marks {
            ddl: true,
            rewrites: true,
            xa: false,
        };
        // Three versions were taken by nothing that stands in the binlog.
        recorder.hashed(version(15), 0, ddl, 7).unwrap();
        recorder.anchor(&anchor(4, 7));
        recorder.flush(0, &mut batch);
        let expected = vec![
            Line::Anchor(anchor(1, 5)),
            committed(version(10), 2, Identity::Hash(6)),
            Line::Anchor(anchor(2, 6)),
            Line::Anchor(anchor(3, 6)),
            Line::Transaction(Committed {
                first: version(15),
                changes: 0,
                identity: Identity::Hash(7),
                ddl: true,
                rewrites: true,
                xa: false,
            }),
            Line::Anchor(anchor(4, 7)),
        ];
        assert_eq!(read(&batch), expected);
    }

    #[test]
    fn transactions_with_gtids_cost_a_few_bytes() {
        let mut batch = Batch::default();
        let mut recorder = Recorder::new(0, "p.r", version(1), 0);
        for number in 1..=100 {
            recorder
                .gtid(version(number), 1, Marks::default(), (UUID, "", 1_000 + number))
                .unwrap();
        }
        recorder
            .gtid(version(101), 1, Marks::default(), (UUID, "tag", 7))
            .unwrap();
        recorder.flush(0, &mut batch);
        let lines = read(&batch);
        let gtid = |source: &str, number| Identity::Gtid {
            source: source.into(),
            number,
        };
        assert_eq!(lines[0], committed(version(1), 1, gtid(UUID, 1_001)));
        assert_eq!(lines[99], committed(version(100), 1, gtid(UUID, 1_100)));
        assert_eq!(lines[100], committed(version(101), 1, gtid(&format!("{UUID}:tag"), 7)));
        assert!(batch.bytes_len() < 100 * 8 + 150, "{} bytes", batch.bytes_len());
    }

    #[test]
    fn what_was_lost_is_no_part_of_it_any_more() {
        let mut batch = Batch::default();
        let mut recorder = Recorder::new(0, "p.r", version(1), 5);
        recorder.hashed(version(1), 1, Marks::default(), 6).unwrap();
        recorder.anchor(&anchor(1, 6));
        recorder.hashed(version(2), 1, Marks::default(), 7).unwrap();
        recorder.anchor(&anchor(2, 7));
        recorder.flush(0, &mut batch);
        // The next server has only the first of them.
        let next = version(3).next_epoch().unwrap();
        let mut recorder = Recorder::new(0, "p.r", next, 6);
        recorder.hashed(next, 1, Marks::default(), 8).unwrap();
        recorder.flush(0, &mut batch);
        let expected = vec![
            committed(version(1), 1, Identity::Hash(6)),
            Line::Anchor(anchor(1, 6)),
            committed(next, 1, Identity::Hash(8)),
        ];
        assert_eq!(read(&batch), expected);
        // Other tables are followed, and nothing can be compared.
        let mut recorder = Recorder::new(0, "p.r", next, 99);
        recorder.hashed(next, 1, Marks::default(), 100).unwrap();
        recorder.flush(0, &mut batch);
        assert_eq!(read(&batch), [committed(next, 1, Identity::Hash(100))]);
    }

    #[test]
    fn records_of_unknown_form_are_refused() {
        let record = Record {
            format: 2,
            ..Record::default()
        };
        for bytes in [record.encode_to_vec(), vec![0xff]] {
            let error = Past::default().take(&bytes).unwrap_err();
            assert!(!error.is_transient() && error.hint.is_some());
        }
    }
}
