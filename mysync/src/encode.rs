//! The message form of a change: Debezium's MySQL envelope as JSON, schemas off.
//!
//! Everything is appended to a batch's arena. What the rows of one event share (the source block up to the row's index, the
//! end) is written once an event into a [`Frame`]; what the events of one table share (key columns, topic) is in a
//! [`TableEncoder`]. A row costs no allocation.
//!
//! | change | records, all of one version |
//! | --- | --- |
//! | insert | `op` c |
//! | update | `op` u |
//! | update of the key | `op` d and a tombstone under the old key, `op` c under the new one |
//! | delete | `op` d and a tombstone |

use crate::decode::{Row, RowChange, TableMap};
use crate::error::{Error, Result};
use crate::queue::{Batch, Origin, TopicId};
use crate::version::Version;
use std::io::Write;
use std::ops::Range;

/// How the changes of one table become records.
#[derive(Debug)]
pub struct TableEncoder {
    topic: TopicId,
    /// Key columns in the key's order, indexes into the table's columns.
    key: Vec<usize>,
    /// `"source":{…` up to the time, and from there up to the server id.
    source_head: Vec<u8>,
    source_table: Vec<u8>,
    scratch: Vec<u8>,
}

/// What the rows of one event share.
#[derive(Debug, Default)]
pub struct Frame {
    head: Vec<u8>,
    tail: Vec<u8>,
    timestamp_ms: i64,
    file_number: u64,
    offset: u64,
}

/// Where and when an event was written.
#[derive(Debug)]
pub struct EventPlace<'a> {
    /// Seconds since 1970, from the event's header.
    pub timestamp_s: u32,
    /// Server that wrote it first.
    pub server_id: u32,
    /// The transaction's GTID, `uuid[:tag]:number`; empty without GTID.
    pub gtid: &'a str,
    /// Binlog file.
    pub file: &'a str,
    /// Number in the file's name.
    pub file_number: u64,
    /// Byte after the event.
    pub offset: u64,
    /// When the reader took it, ms since 1970.
    pub read_ms: i64,
}

impl TableEncoder {
    /// Prepares a table; `configured` are the columns of `source.keys`, needed where there is no primary key.
    pub fn new(map: &TableMap, prefix: &str, topic: TopicId, configured: Option<&[String]>) -> Result<Self> {
        let key = key_columns(map, configured)?;
        let text = |text: &str| serde_json::to_string(text).unwrap_or_default();
        let source_head = format!(
            r#","source":{{"version":"{}","connector":"mysql","name":{},"ts_ms":"#,
            env!("CARGO_PKG_VERSION"),
            text(prefix)
        );
        let source_table = format!(
            r#","snapshot":"false","db":{},"table":{},"server_id":"#,
            text(&map.database),
            text(&map.table)
        );
        Ok(Self {
            topic,
            key,
            source_head: source_head.into(),
            source_table: source_table.into(),
            scratch: Vec::new(),
        })
    }

    /// Writes what the rows of an event share.
    pub fn frame(&self, place: &EventPlace<'_>, frame: &mut Frame) {
        frame.timestamp_ms = i64::from(place.timestamp_s) * 1_000;
        frame.file_number = place.file_number;
        frame.offset = place.offset;
        let head = &mut frame.head;
        head.clear();
        head.extend_from_slice(&self.source_head);
        append_number(head, frame.timestamp_ms);
        head.extend_from_slice(&self.source_table);
        append_number(head, place.server_id);
        head.extend_from_slice(b",\"gtid\":");
        if place.gtid.is_empty() {
            head.extend_from_slice(b"null");
        } else {
            write!(head, "\"{}\"", place.gtid).ok();
        }
        write!(head, ",\"file\":\"{}\",\"pos\":", place.file).ok();
        append_number(head, place.offset);
        head.extend_from_slice(b",\"row\":");
        frame.tail.clear();
        frame.tail.extend_from_slice(b",\"ts_ms\":");
        append_number(&mut frame.tail, place.read_ms);
        frame.tail.extend_from_slice(b",\"transaction\":null}");
    }

    /// Appends the records of one change.
    pub fn encode(
        &mut self,
        change: &RowChange<'_>,
        row: u32,
        frame: &Frame,
        version: Version,
        batch: &mut Batch,
    ) -> Result<()> {
        for image in [&change.before, &change.after].into_iter().flatten() {
            require_full(image)?;
        }
        let mut records = Records {
            topic: self.topic,
            row,
            frame,
            version,
            batch,
        };
        match (&change.before, &change.after) {
            (None, Some(after)) => {
                let key = records.key(after, &self.key)?;
                records.envelope(key, None, Some(after), b'c')
            }
            (Some(before), None) => {
                let key = records.key(before, &self.key)?;
                records.envelope(key.clone(), Some(before), None, b'd')?;
                records.push(key, None);
                Ok(())
            }
            (Some(before), Some(after)) => {
                self.scratch.clear();
                before.write_json_of(&self.key, &mut self.scratch).map_err(refuse)?;
                let key = records.key(after, &self.key)?;
                if records.batch.bytes()[key.clone()] == self.scratch[..] {
                    return records.envelope(key, Some(before), Some(after), b'u');
                }
                let old_key = records.append(|bytes| bytes.extend_from_slice(&self.scratch));
                records.envelope(old_key.clone(), Some(before), None, b'd')?;
                records.push(old_key, None);
                records.envelope(key, None, Some(after), b'c')
            }
            (None, None) => Ok(()),
        }
    }
}

/// Appends the records of one change to a batch.
struct Records<'b> {
    topic: TopicId,
    row: u32,
    frame: &'b Frame,
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

    fn key(&mut self, row: &Row<'_>, columns: &[usize]) -> Result<Range<usize>> {
        let mut written = Ok(());
        let range = self.append(|bytes| written = row.write_json_of(columns, bytes));
        written.map_err(refuse)?;
        Ok(range)
    }

    fn envelope(&mut self, key: Range<usize>, before: Option<&Row<'_>>, after: Option<&Row<'_>>, op: u8) -> Result<()> {
        let (frame, row_index) = (self.frame, self.row);
        let mut written = Ok(());
        let value = self.append(|bytes| {
            written = image(bytes, b"{\"before\":", before).and_then(|()| image(bytes, b",\"after\":", after));
            bytes.extend_from_slice(&frame.head);
            append_number(bytes, row_index);
            bytes.extend_from_slice(b",\"thread\":null,\"query\":null},\"op\":\"");
            bytes.push(op);
            bytes.push(b'"');
            bytes.extend_from_slice(&frame.tail);
        });
        written?;
        self.push(key, Some(value));
        Ok(())
    }

    fn push(&mut self, key: Range<usize>, value: Option<Range<usize>>) {
        let origin = Origin {
            file_number: self.frame.file_number,
            offset: self.frame.offset,
            row: self.row,
        };
        self.batch
            .push(self.topic, self.frame.timestamp_ms, self.version, origin, key, value);
    }
}

fn image(bytes: &mut Vec<u8>, name: &[u8], row: Option<&Row<'_>>) -> Result<()> {
    bytes.extend_from_slice(name);
    match row {
        Some(row) => row.write_json(bytes).map_err(refuse),
        None => {
            bytes.extend_from_slice(b"null");
            Ok(())
        }
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

fn key_columns(map: &TableMap, configured: Option<&[String]>) -> Result<Vec<usize>> {
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
