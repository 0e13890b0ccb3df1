//! The message form of a change.
//!
//! | change | records, all of one version |
//! | --- | --- |
//! | insert | `op` c |
//! | update | `op` u |
//! | update of the key | `op` d and a tombstone under the old key, `op` c under the new one |
//! | delete | `op` d and a tombstone |
//! | row read anew by a refresh | `op` r; `op` d and a tombstone if it is gone |
//!
//! A value is Debezium's MySQL envelope as JSON ([`envelope`]), with values in their canonical form (docs/types.md) or in
//! that of Debezium's defaults ([`strict`]), or the compact form of `proto/change.proto` ([`protobuf`]). Keys are JSON in
//! all of them. Columns can be left out or masked ([`columns`]).
//!
//! # Speed
//! Everything is appended to a batch's arena. What the rows of one event share is written once an event into a [`Frame`];
//! what the events of one table share (form, key, plans for columns) is decided once a table in a [`TableEncoder`]. A row
//! costs no allocation.
//!
//! # TRUNCATE
//! There is no `op` t: Debezium's has no key, and a compacted topic takes no record without one. What becomes of a TRUNCATE
//! is up to `reader.on_ddl`. Debezium leaves them out by default, too.

pub(crate) mod key;

mod columns;
mod envelope;
mod marks;
mod protobuf;
mod refreshed;
mod strict;
mod text;

pub use marks::{MarkPlace, heartbeat, transaction_begin, transaction_end};

use crate::config::{Config, Format, Messages, Topics};
use crate::decode::{Row, RowChange, TableMap};
use crate::error::{Error, Result};
use crate::queue::{Batch, Origin, Topic, TopicId};
use crate::tables::INTERNAL_DATABASE;
use crate::version::Version;
use columns::ColumnRules;
use std::ops::Range;

/// Headers of Debezium's on the records of a changed key: the other record's key.
const NEW_KEY: &str = "__debezium.newkey";
const OLD_KEY: &str = "__debezium.oldkey";

/// The member of a key that names its table where all tables share a topic, as Debezium's routing has it.
pub const TABLE_IN_KEY: &str = "__dbz__physicalTableIdentifier";

/// How all messages of a reader look.
#[derive(Debug, Clone)]
pub struct Form {
    prefix: String,
    messages: Messages,
    rules: ColumnRules,
}

impl Form {
    /// Takes it from a configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            prefix: config.kafka.prefix.clone(),
            messages: config.messages.clone(),
            rules: ColumnRules::new(config),
        }
    }

    /// What topics and source blocks begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Section `[messages]`.
    #[must_use]
    pub fn messages(&self) -> &Messages {
        &self.messages
    }

    /// The topic of a table's changes.
    #[must_use]
    pub fn topic<'t>(&self, database: &'t str, table: &'t str) -> Topic<'t> {
        match self.has_own_topic(database) {
            true => Topic::Table { database, table },
            false => Topic::Changes { database, table },
        }
    }

    /// The checker's mark always has one: writers hold it back by its topic.
    fn has_own_topic(&self, database: &str) -> bool {
        self.messages.topics == Topics::Table || database == INTERNAL_DATABASE
    }

    /// Prepares a table; `configured` are the columns of `source.keys`, needed where there is no primary key.
    pub fn table(&self, map: &TableMap, topic: TopicId, configured: Option<&[String]>) -> Result<TableEncoder> {
        let key = key_columns(map, configured)?;
        // The checker's own table is always written so that it finds its mark.
        let format = match map.database == INTERNAL_DATABASE {
            true => Format::Debezium,
            false => self.messages.format,
        };
        let plans = self.rules.plans(map, &key, format)?;
        Ok(TableEncoder {
            topic,
            key,
            key_end: self.key_end(map)?,
            protobuf: (format == Format::Protobuf).then(|| protobuf::Table::new(map, &self.prefix, plans.clone())),
            envelope: envelope::Table::new(map, &self.prefix, plans),
            scratch: Vec::new(),
        })
    }

    /// What a key ends with instead of its brace; empty where every table has its own topic.
    fn key_end(&self, map: &TableMap) -> Result<Vec<u8>> {
        if self.has_own_topic(&map.database) {
            return Ok(Vec::new());
        }
        if map.column_index(TABLE_IN_KEY).is_some() {
            let what = format!("a column has the name that tells tables apart in one topic: {TABLE_IN_KEY}");
            return Err(Error::configuration(what)
                .detail(format!("table {}.{}", map.database, map.table))
                .hint("rename the column, or set messages.topics = \"table\""));
        }
        Ok(self.key_end_of(&map.database, &map.table))
    }

    /// What all keys of a table end with, where tables share a topic; else empty.
    #[must_use]
    pub fn key_end_of(&self, database: &str, table: &str) -> Vec<u8> {
        if self.has_own_topic(database) {
            return Vec::new();
        }
        // Dots within a name are told from those between names.
        let [database, table] = [database, table].map(|name| name.replace('%', "%25").replace('.', "%2E"));
        let name = serde_json::to_string(&format!("{}.{database}.{table}", self.prefix)).unwrap_or_default();
        format!(",\"{TABLE_IN_KEY}\":{name}}}").into()
    }
}

/// How the changes of one table become records.
#[derive(Debug)]
pub struct TableEncoder {
    topic: TopicId,
    /// Key columns in the key's order, indexes into the table's columns.
    key: Vec<usize>,
    key_end: Vec<u8>,
    envelope: envelope::Table,
    /// The form of values, unless it is the envelope.
    protobuf: Option<protobuf::Table>,
    scratch: Vec<u8>,
}

/// What the rows of one event share.
#[derive(Debug, Default)]
pub struct Frame {
    head: Vec<u8>,
    tail: Vec<u8>,
    transaction: Vec<u8>,
    orders: Option<Orders>,
    timestamp_ms: i64,
    file_number: u64,
    offset: u64,
}

/// How many records with a value a transaction has had so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Orders {
    /// Of all tables.
    pub total: u64,
    /// Of the event's table.
    pub table: u64,
}

/// Where and when an event was written.
#[derive(Debug)]
pub struct EventPlace<'a> {
    /// Seconds since 1970, from the event's header.
    pub timestamp_s: u32,
    /// When the transaction was committed where it ran first, microseconds since 1970; 0 where the server does not say.
    pub commit_us: u64,
    /// Server that wrote it first.
    pub server_id: u32,
    /// The transaction's GTID, `uuid[:tag]:number`; empty without GTID.
    pub gtid: &'a str,
    /// Binlog file.
    pub file: &'a str,
    /// Number in the file's name.
    pub file_number: u64,
    /// First byte of the event.
    pub begin: u64,
    /// Byte after the event.
    pub offset: u64,
    /// The connection that made the changes.
    pub thread_id: Option<u32>,
    /// The statement that made them.
    pub query: Option<&'a str>,
    /// Only where transactions are marked.
    pub transaction: Option<TransactionPlace<'a>>,
    /// When the reader took it, ns since 1970.
    pub read_ns: i64,
    /// The rows do not stand in the event: they were read from the table up to there.
    pub is_refresh: bool,
}

/// Where in its transaction an event stands.
#[derive(Debug)]
pub struct TransactionPlace<'a> {
    /// The transaction's GTID, or `file=<file>,pos=<position>`.
    pub id: &'a str,
    /// Records before the event.
    pub orders: Orders,
}

impl EventPlace<'_> {
    fn commit_microseconds(&self) -> u64 {
        match self.commit_us {
            0 => u64::from(self.timestamp_s) * 1_000_000,
            commit_us => commit_us,
        }
    }
}

impl Frame {
    /// What the transaction has had so far, the records of this event included.
    #[must_use]
    pub fn orders(&self) -> Option<Orders> {
        self.orders
    }
}

impl TableEncoder {
    /// Writes what the rows of an event share.
    pub fn frame(&self, place: &EventPlace<'_>, frame: &mut Frame) {
        frame.timestamp_ms = i64::try_from(place.commit_microseconds() / 1_000).unwrap_or(i64::MAX);
        frame.file_number = place.file_number;
        frame.offset = place.offset;
        frame.orders = place.transaction.as_ref().map(|transaction| transaction.orders);
        match &self.protobuf {
            Some(protobuf) => protobuf.frame(place, frame),
            None => self.envelope.frame(place, frame),
        }
    }

    /// Appends the records of one change.
    pub fn encode(
        &mut self,
        change: &RowChange<'_>,
        row: u32,
        frame: &mut Frame,
        version: Version,
        batch: &mut Batch,
    ) -> Result<()> {
        for image in [&change.before, &change.after].into_iter().flatten() {
            require_full(image)?;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut records = Records {
            table: self,
            row,
            frame,
            version,
            batch,
        };
        match (&change.before, &change.after) {
            (None, Some(after)) => {
                let key = records.key(after)?;
                records.value(key, [None, Some(after)], b'c')?;
            }
            (Some(before), None) => {
                let key = records.key(before)?;
                records.value(key.clone(), [Some(before), None], b'd')?;
                records.push(key, None);
            }
            (Some(before), Some(after)) => {
                scratch.clear();
                records.table.write_key(before, &mut scratch)?;
                let key = records.key(after)?;
                if records.batch.bytes()[key.clone()] == scratch[..] {
                    records.value(key, [Some(before), Some(after)], b'u')?;
                } else {
                    let old_key = records.append(|bytes| bytes.extend_from_slice(&scratch));
                    records.value(old_key.clone(), [Some(before), None], b'd')?;
                    records.batch.add_header(NEW_KEY, key.clone());
                    records.push(old_key.clone(), None);
                    records.batch.add_header(NEW_KEY, key.clone());
                    records.value(key, [None, Some(after)], b'c')?;
                    records.batch.add_header(OLD_KEY, old_key);
                }
            }
            (None, None) => {}
        }
        self.scratch = scratch;
        Ok(())
    }

    /// Appends the key of a row.
    pub fn write_key(&self, row: &Row<'_>, out: &mut Vec<u8>) -> Result<()> {
        self.envelope.write_key(row, &self.key, out)?;
        if !self.key_end.is_empty() {
            // In place of the brace.
            out.pop();
            out.extend_from_slice(&self.key_end);
        }
        Ok(())
    }
}

/// Appends the records of one change to a batch.
struct Records<'b> {
    table: &'b TableEncoder,
    row: u32,
    frame: &'b mut Frame,
    version: Version,
    batch: &'b mut Batch,
}

impl Records<'_> {
    fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
        let bytes = self.batch.bytes();
        let begin = bytes.len();
        write(bytes);
        begin..bytes.len()
    }

    fn key(&mut self, row: &Row<'_>) -> Result<Range<usize>> {
        let table = self.table;
        let mut written = Ok(());
        let range = self.append(|bytes| written = table.write_key(row, bytes));
        written?;
        Ok(range)
    }

    fn value(&mut self, key: Range<usize>, images: [Option<&Row<'_>>; 2], operation: u8) -> Result<()> {
        if let Some(orders) = &mut self.frame.orders {
            orders.total += 1;
            orders.table += 1;
        }
        let bytes = self.batch.bytes();
        let begin = bytes.len();
        match &self.table.protobuf {
            None => self
                .table
                .envelope
                .write(bytes, images, operation, self.row, self.frame)?,
            Some(protobuf) => protobuf.write(bytes, images, operation, self.row, self.frame)?,
        }
        let value = begin..bytes.len();
        self.push(key, Some(value));
        Ok(())
    }

    fn push(&mut self, key: Range<usize>, value: Option<Range<usize>>) {
        let origin = Origin {
            file_number: self.frame.file_number,
            offset: self.frame.offset,
            row: self.row,
        };
        self.batch.push(
            self.table.topic,
            self.frame.timestamp_ms,
            self.version,
            origin,
            key,
            value,
        );
    }
}

fn append_number(bytes: &mut Vec<u8>, number: impl itoa::Integer) {
    bytes.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// An error of the decoder, with its remedy.
pub(crate) fn refuse(error: crate::decode::Error) -> Error {
    Error::definite(error.to_string()).hint(error.hint().to_owned())
}
fn require_full(row: &Row<'_>) -> Result<()> {
    if row.is_full() {
        return Ok(());
    }
    let map = row.table_map();
    Err(
        Error::definite(format!("a row image lacks columns: {}.{}", map.database, map.table))
            .detail("binlog_row_image was not FULL when it was written")
            .hint(
                "SET PERSIST binlog_row_image = FULL, and load the table anew under a new kafka.prefix and reader.name",
            ),
    )
}

/// The columns that tell a table's rows apart, in the key's order; `configured` are those of `source.keys`.
pub(crate) fn key_columns(map: &TableMap, configured: Option<&[String]>) -> Result<Vec<usize>> {
    let name = format!("{}.{}", map.database, map.table);
    if !map.metadata_is_full {
        return Err(Error::definite(format!("the binlog does not name the columns of {name}"))
            .hint("SET PERSIST binlog_row_metadata = FULL (MySQL 8.0 and later), and begin after it with reader.start = \"newest\""));
    }
    if let Some(columns) = configured {
        let index_of = |column: &String| {
            let refuse = |what: &str| {
                Error::configuration(format!("key source.keys: {what}: {name}.{column}"))
                    .detail("expected NOT NULL columns that identify a row")
                    .hint("name other columns in source.keys")
            };
            let index = map.column_index(column).ok_or_else(|| refuse("no such column"))?;
            if map.columns[index].nullable {
                Err(refuse("a column that can be NULL"))
            } else {
                Ok(index)
            }
        };
        return columns.iter().map(index_of).collect();
    }
    match &map.primary_key {
        Some(parts) if !parts.is_empty() => Ok(parts.iter().map(|part| part.column).collect()),
        _ => Err(Error::definite(format!("a followed table has no primary key: {name}"))
            .hint("add one, name NOT NULL columns that identify a row in [source.keys], or leave the table out of source.tables")),
    }
}
