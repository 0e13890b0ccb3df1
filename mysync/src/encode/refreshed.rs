//! Records of a refresh: rows that were read from a table, and keys that are not in it any more.
//!
//! | what was found | records, all of one version |
//! | --- | --- |
//! | the row | `op` r with the row in `after`, as Debezium's incremental snapshot has it |
//! | none | `op` d and a tombstone; of `before` nothing is known but the key |
//! | none, but a row with the same values in the key's columns, which have other names or types now | a tombstone with header `mysync.moved` |
//!
//! The first two have `source.snapshot` "incremental".

use super::key::{self, KeyValue};
use super::{Form, Frame, Records, TableEncoder, refuse};
use crate::decode::{Cell, ColumnSchema, ColumnType, KeyPart, Row, TableMap, TableRows};
use crate::error::Result;
use crate::queue::{Batch, MOVED, TopicId};
use crate::version::Version;

/// The id of a collation of UTF-8.
const COLLATION_UTF8: u16 = 45;

/// Bytes of a length before a text.
const LENGTH_BYTES: u8 = 4;

impl TableEncoder {
    fn records<'r>(&'r self, row: u32, frame: &'r mut Frame, version: Version, batch: &'r mut Batch) -> Records<'r> {
        Records {
            table: self,
            row,
            frame,
            version,
            batch,
        }
    }

    /// Appends the record of a row that was read from the table.
    pub fn encode_read(
        &mut self,
        row: &Row<'_>,
        index: u32,
        frame: &mut Frame,
        version: Version,
        batch: &mut Batch,
    ) -> Result<()> {
        let mut records = self.records(index, frame, version, batch);
        let key = records.key(row)?;
        records.value(key, [None, Some(row)], b'r')
    }

    /// Appends the records of a key that is not in the table, as [`Form::gone`] gives it.
    pub fn encode_gone(
        &mut self,
        key: &[u8],
        row: &Row<'_>,
        index: u32,
        frame: &mut Frame,
        version: Version,
        batch: &mut Batch,
    ) -> Result<()> {
        let mut records = self.records(index, frame, version, batch);
        let key = records.append(|bytes| bytes.extend_from_slice(key));
        records.value(key.clone(), [Some(row), None], b'd')?;
        records.push(key, None);
        Ok(())
    }

    /// Appends the record of a key that is not in the table, while the row of its values is.
    pub fn encode_moved(&mut self, key: &[u8], index: u32, frame: &mut Frame, version: Version, batch: &mut Batch) {
        let mut records = self.records(index, frame, version, batch);
        let key = records.append(|bytes| bytes.extend_from_slice(key));
        records.push(key.clone(), None);
        // Its value is of no meaning.
        records.batch.add_header(MOVED, key.start..key.start);
    }
}

impl Form {
    /// A table of nothing but a key's columns, and the key as its only row. The columns' types are those that the key shows: the
    /// table may be gone.
    pub fn gone(&self, database: &str, table: &str, topic: TopicId, key: &[u8]) -> Result<(TableEncoder, TableRows)> {
        let columns = key::parse(key)?;
        let types = columns.iter().map(|(_, value)| (type_of(value), false)).collect();
        let mut map = TableMap::of_columns(database, table, types);
        let known: Vec<ColumnSchema> = columns
            .iter()
            .map(|(name, value)| ColumnSchema {
                name: name.clone(),
                unsigned: matches!(value, KeyValue::UInt(_)),
                collation: Some(COLLATION_UTF8),
                ..ColumnSchema::default()
            })
            .collect();
        map.supply(&known).map_err(refuse)?;
        let part = |column| KeyPart {
            column,
            prefix_characters: None,
        };
        map.primary_key = Some((0..known.len()).map(part).collect());
        map.metadata_is_full = true;
        let encoder = self.table(&map, topic, None)?;
        let mut rows = TableRows::new(map);
        rows.push(columns.iter().map(|(_, value)| cell_of(value)))
            .map_err(refuse)?;
        Ok((encoder, rows))
    }
}

fn type_of(value: &KeyValue) -> ColumnType {
    match value {
        KeyValue::Int(_) | KeyValue::UInt(_) => ColumnType::BigInt,
        KeyValue::Double(_) => ColumnType::Double,
        KeyValue::Bool(_) => ColumnType::Bit { bits: 1 },
        KeyValue::Text(_) => ColumnType::Blob {
            length_bytes: LENGTH_BYTES,
        },
    }
}

fn cell_of(value: &KeyValue) -> Cell<'_> {
    match value {
        KeyValue::Int(number) => Cell::Int(*number),
        KeyValue::UInt(number) => Cell::UInt(*number),
        KeyValue::Double(number) => Cell::Double(*number),
        KeyValue::Bool(true) => Cell::Bytes(&[1]),
        KeyValue::Bool(false) => Cell::Bytes(&[0]),
        KeyValue::Text(text) => Cell::Bytes(text.as_bytes()),
    }
}
