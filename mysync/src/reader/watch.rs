//! What of the stream is looked at beside being published: rows counted by table, and the reader's own heartbeat row, which
//! tells the lag and is the anchor by which a place is found on another server.
//!
//! The heartbeat's table is followed by nobody: its rows go to no topic and are only looked at here.

use crate::checkpoint::Anchor;
use crate::decode::{ColumnSchema, DateTime, RowsEvent, TableMap, Value};
use crate::metrics::{Beat, ReaderMetrics, TableCounters};
use crate::reader::Options;
use crate::tables::{HEARTBEAT_TABLE, INTERNAL_DATABASE};
use std::sync::Arc;

/// What of one table is watched.
pub(super) enum Watch {
    /// Its changes are published, and counted.
    Counted(TableCounters),
    /// Heartbeats, of the reader of this name and of others.
    Heartbeats(String, Arc<ReaderMetrics>),
    /// Nothing.
    Nothing,
}

impl Watch {
    pub(super) fn new(map: &mut TableMap, is_followed: bool, options: &Options) -> Self {
        if is_followed {
            return Self::Counted(options.metrics.table(&map.database, &map.table));
        }
        if !is_heartbeats(&map.database, &map.table) {
            return Self::Nothing;
        }
        // Where the server does not describe its columns: the table is our own.
        match map.supply(&columns()) {
            Ok(()) => Self::Heartbeats(options.heartbeat_name.clone(), Arc::clone(&options.metrics)),
            Err(error) => {
                tracing::warn!(%error, "the heartbeat's table is not as mysync makes it: the lag is unknown");
                Self::Nothing
            }
        }
    }

    /// Takes a rows event of the table; `changes` are those that were published. Returns the heartbeat in it.
    pub(super) fn rows(&self, rows: &RowsEvent<'_>, map: &TableMap, changes: u64) -> Option<Sighting> {
        match self {
            Self::Counted(counters) => {
                counters.count(rows.kind, changes);
                None
            }
            Self::Heartbeats(reader, metrics) => {
                let sighting = last_beat(rows, map, reader)?;
                metrics.beat(sighting.beat);
                Some(sighting)
            }
            Self::Nothing => None,
        }
    }
}

/// A heartbeat of this reader, seen in the stream.
#[derive(Debug, Clone)]
pub(super) struct Sighting {
    pub(super) beat: Beat,
    /// The server that it was written on.
    pub(super) server_uuid: String,
}

impl Sighting {
    /// The anchor that it is.
    pub(super) fn anchor(self, hash: u64, place: Option<(String, u64)>) -> Anchor {
        Anchor {
            sequence: self.beat.sequence,
            server_uuid: self.server_uuid,
            written_us: self.beat.written_us,
            hash,
            place,
        }
    }

    /// Whether they are the same heartbeat.
    pub(super) fn is_of(&self, anchor: &Anchor) -> bool {
        (self.beat.sequence, self.beat.written_us, self.server_uuid.as_str())
            == (anchor.sequence, anchor.written_us, anchor.server_uuid.as_str())
    }
}

/// Whether rows of this table are heartbeats.
pub(super) fn is_heartbeats(database: &str, table: &str) -> bool {
    database == INTERNAL_DATABASE && table == HEARTBEAT_TABLE
}

/// Columns in the table's order; see `source::mysql::heartbeat`.
const NAMES: [&str; 5] = ["id", "reader", "sequence", "server_uuid", "written_at"];
const READER: usize = 1;
const SEQUENCE: usize = 2;
const SERVER_UUID: usize = 3;
const WRITTEN_AT: usize = 4;

/// The id of the collation `ascii_bin`.
const ASCII_BIN: u16 = 65;

pub(super) fn columns() -> Vec<ColumnSchema> {
    let column = |name: &str| ColumnSchema {
        name: name.to_owned(),
        unsigned: matches!(name, "id" | "sequence"),
        collation: matches!(name, "reader" | "server_uuid").then_some(ASCII_BIN),
        ..ColumnSchema::default()
    };
    NAMES.map(column).into()
}

/// The last heartbeat of this reader in the event. A row that cannot be read is none: the lag then stays what it was.
pub(super) fn last_beat(rows: &RowsEvent<'_>, map: &TableMap, reader: &str) -> Option<Sighting> {
    let images = rows.rows(map).ok()?.filter_map(|change| change.ok()?.after);
    let sighting = |row: crate::decode::Row<'_>| {
        let value = |column| row.value(column).ok().flatten();
        let text = |column| match value(column)? {
            Value::Text { bytes, .. } => Some(bytes),
            _ => None,
        };
        if text(READER)? != reader.as_bytes() {
            return None;
        }
        let (Value::UInt(sequence), Value::DateTime(written_at)) = (value(SEQUENCE)?, value(WRITTEN_AT)?) else {
            return None;
        };
        Some(Sighting {
            beat: Beat {
                sequence,
                written_us: unix_us(&written_at)?,
            },
            server_uuid: String::from_utf8_lossy(text(SERVER_UUID)?).into_owned(),
        })
    };
    images.filter_map(sighting).last()
}

/// Microseconds since 1970 of a time in UTC; `None` for a date that no calendar has.
fn unix_us(time: &DateTime) -> Option<i64> {
    let (year, month, day) = (
        i64::from(time.date.year),
        i64::from(time.date.month),
        i64::from(time.date.day),
    );
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March end with the leap day, so the days before a month need no table.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
    let seconds = days * 86_400 + i64::from(time.hour) * 3_600 + i64::from(time.minute) * 60 + i64::from(time.second);
    Some(seconds * 1_000_000 + i64::from(time.microsecond))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Date;

    #[test]
    fn times_become_microseconds_since_1970() {
        let us = |year, month, day, hour, microsecond| {
            unix_us(&DateTime {
                date: Date { year, month, day },
                hour,
                minute: 0,
                second: 0,
                microsecond,
                digits: 6,
            })
        };
        assert_eq!(us(1970, 1, 1, 0, 0), Some(0));
        assert_eq!(us(2000, 2, 29, 0, 0), Some(951_782_400_000_000));
        assert_eq!(us(2000, 3, 1, 0, 0), Some(951_868_800_000_000));
        assert_eq!(us(2026, 11, 25, 10, 7), Some(1_795_600_800_000_007));
        assert_eq!(us(2026, 0, 0, 0, 0), None);
    }
}
