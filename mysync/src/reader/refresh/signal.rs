//! The rows of mysync's own tables that the reader acts upon as they come in the stream: its watermarks, and requests for dumps.
//!
//! A request is a row that somebody inserts into `__db_mysync.t_signal` of the primary. It travels in the binlog like any other
//! change, so it is taken up in its place in the stream, once, whichever server the reader follows by then.

use crate::decode::{ColumnSchema, RowsEvent, RowsKind, TableMap, Value};
use crate::tables::{INTERNAL_DATABASE, SIGNAL_TABLE, WATERMARK_TABLE};
use serde::{Deserialize, Serialize};

/// What the name of a request begins with that nobody has made but a policy of the reader.
pub const OF_POLICY: &str = "policy-";

/// A table whose rows are acted upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::reader) enum Watched {
    /// Watermarks.
    Marks,
    /// Requests.
    Signals,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signal {
    /// Its name, by which its progress is told.
    pub request: String,
    /// Nothing is to be begun, but called off: these tables, or all that people have asked for.
    #[serde(default)]
    pub cancel: bool,
    /// The tables.
    pub tables: Vec<Wanted>,
}

/// A table that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Its database.
    pub database: String,
    /// The table.
    pub table: String,
    /// Only rows that meet this SQL condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
}

impl Signal {
    /// Reads a request.
    pub fn read(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

/// The ids of the collations `ascii_bin` and `utf8mb4_bin`.
const ASCII_BIN: u16 = 65;
const UTF8MB4_BIN: u16 = 46;

/// A column's name, whether it is unsigned, and the id of its collation.
type KnownColumn = (&'static str, bool, Option<u16>);

/// Which of the tables it is, if any; adds what the binlog does not say of it.
pub(in crate::reader) fn watched(map: &mut TableMap) -> Option<Watched> {
    if map.database != INTERNAL_DATABASE {
        return None;
    }
    let (watched, columns): (Watched, &[KnownColumn]) = match map.table.as_str() {
        WATERMARK_TABLE => (
            Watched::Marks,
            &[("reader", false, Some(ASCII_BIN)), ("mark", false, Some(ASCII_BIN))],
        ),
        SIGNAL_TABLE => (
            Watched::Signals,
            &[
                ("id", true, None),
                ("reader", false, Some(ASCII_BIN)),
                ("request", false, Some(UTF8MB4_BIN)),
                ("written_at", false, None),
            ],
        ),
        _ => return None,
    };
    let column = |(name, unsigned, collation): &(&str, bool, Option<u16>)| ColumnSchema {
        name: (*name).to_owned(),
        unsigned: *unsigned,
        collation: *collation,
        ..ColumnSchema::default()
    };
    match map.supply(&columns.iter().map(column).collect::<Vec<_>>()) {
        Ok(()) => Some(watched),
        Err(error) => {
            tracing::warn!(%error, "a table is not as mysync makes it: no rows can be refreshed");
            None
        }
    }
}

/// The last mark of this reader in the event.
pub(super) fn last_mark<'r>(rows: &RowsEvent<'r>, map: &'r TableMap, reader: &str) -> Option<&'r [u8]> {
    let images = rows.rows(map).ok()?.filter_map(|change| change.ok()?.after);
    let mark = |row: crate::decode::Row<'r>| match (row.value(0).ok()??, row.value(1).ok()??) {
        (Value::Text { bytes: name, .. }, Value::Text { bytes: mark, .. }) if name == reader.as_bytes() => Some(mark),
        _ => None,
    };
    images.filter_map(mark).last()
}

/// The requests to this reader that the event inserts.
pub(super) fn inserted(rows: &RowsEvent<'_>, map: &TableMap, reader: &str) -> Vec<String> {
    let Ok(changes) = rows.rows(map) else {
        return Vec::new();
    };
    if rows.kind != RowsKind::Insert {
        return Vec::new();
    }
    let images = changes.filter_map(|change| change.ok()?.after);
    let request = |row: crate::decode::Row<'_>| match (row.value(1).ok()??, row.value(2).ok()??) {
        (Value::Text { bytes: name, .. }, Value::Text { bytes: text, .. }) if name == reader.as_bytes() => {
            Some(String::from_utf8_lossy(text).into_owned())
        }
        _ => None,
    };
    images.filter_map(request).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_whole_or_not_at_all() {
        let text = r#"{"request":"r1","tables":[{"database":"d","table":"t","condition":"a > 1"},{"database":"d","table":"u"}]}"#;
        let signal = Signal::read(text).unwrap();
        assert_eq!((signal.tables.len(), signal.cancel), (2, false));
        assert_eq!(
            serde_json::to_string(&signal).unwrap(),
            text.replace("\"tables\"", "\"cancel\":false,\"tables\"")
        );
        for wrong in [
            "",
            "{}",
            r#"{"request":"r","tables":[{"database":"d"}]}"#,
            r#"{"request":"r","tables":[],"order":1}"#,
        ] {
            assert!(Signal::read(wrong).is_err(), "{wrong}");
        }
    }
}
