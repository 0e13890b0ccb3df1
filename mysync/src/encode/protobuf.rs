//! The compact form of a change, `proto/change.proto`, written straight into the arena.
//!
//! A message within a message stands behind its length, which is known only after it was written. So room for a length of
//! the usual size is left before it; for any other what was written is moved by the difference. Fields are written in the
//! order of their numbers, and every length in as few bytes as it needs, as other encoders do.

use super::columns::{Plan, append_hash};
use super::{EventPlace, Frame, refuse, text};
use crate::decode::{Column, ColumnType, Error as DecodeError, Row, TableMap, Value};
use crate::error::Result;

/// Wire types, in the lowest three bits of a field's tag.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const DELIMITED: u8 = 2;
const FIXED32: u8 = 5;

/// Bytes of the longest varint.
const VARINT_BYTES_MAX: usize = 10;

/// What all records of a table have.
#[derive(Debug)]
pub(super) struct Table {
    /// The field `columns`, and of `source` what does not change.
    columns: Vec<u8>,
    source_head: Vec<u8>,
    plans: Option<Vec<Plan>>,
}

impl Table {
    pub(super) fn new(map: &TableMap, prefix: &str, plans: Option<Vec<Plan>>) -> Self {
        let mut columns = Vec::new();
        for (index, column) in map.columns.iter().enumerate() {
            let column_type = match plans.as_ref().map(|plans| &plans[index]) {
                Some(Plan::LeftOut) => continue,
                Some(Plan::Text(_) | Plan::Hash(_)) => MASKED,
                _ => type_of(column),
            };
            message(&mut columns, 2, 1, |out| {
                bytes(out, 1, column.name.as_bytes());
                number(out, 2, column_type);
            });
        }
        let mut source_head = Vec::new();
        bytes(&mut source_head, 1, map.database.as_bytes());
        bytes(&mut source_head, 2, map.table.as_bytes());
        bytes(&mut source_head, 3, prefix.as_bytes());
        Self {
            columns,
            source_head,
            plans,
        }
    }

    /// What the rows of an event share.
    pub(super) fn frame(&self, place: &EventPlace<'_>, frame: &mut Frame) {
        frame.head.clear();
        message(&mut frame.head, 5, 1, |out| {
            out.extend_from_slice(&self.source_head);
            number(out, 4, place.commit_microseconds());
            number(out, 5, place.server_id.into());
            bytes(out, 6, place.gtid.as_bytes());
            bytes(out, 7, place.file.as_bytes());
            number(out, 8, place.begin);
            if let Some(thread_id) = place.thread_id {
                tag(out, 9, VARINT);
                varint(out, thread_id.into());
            }
            if let Some(query) = place.query {
                delimited(out, 10, query.as_bytes());
            }
            number(out, 11, place.is_refresh.into());
        });
        frame.tail.clear();
        number(&mut frame.tail, 7, place.read_ns.unsigned_abs());
        frame.transaction.clear();
        if let Some(transaction) = &place.transaction {
            bytes(&mut frame.transaction, 1, transaction.id.as_bytes());
        }
    }

    /// Appends the record's value.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        [before, after]: [Option<&Row<'_>>; 2],
        operation: u8,
        row_index: u32,
        frame: &Frame,
    ) -> Result<()> {
        number(
            out,
            1,
            match operation {
                b'c' => 1,
                b'u' => 2,
                b'd' => 3,
                _ => 4,
            },
        );
        out.extend_from_slice(&self.columns);
        for (field, row) in [(3, before), (4, after)] {
            if let Some(row) = row {
                let mut written = Ok(());
                message(out, field, 2, |out| written = self.write_row(out, row));
                written?;
            }
        }
        out.extend_from_slice(&frame.head);
        number(out, 6, row_index.into());
        out.extend_from_slice(&frame.tail);
        if let Some(orders) = &frame.orders {
            message(out, 8, 1, |out| {
                out.extend_from_slice(&frame.transaction);
                number(out, 2, orders.total);
                number(out, 3, orders.table);
            });
        }
        Ok(())
    }

    fn write_row(&self, out: &mut Vec<u8>, row: &Row<'_>) -> Result<()> {
        for item in row.values() {
            let (index, offset, value) = item.map_err(refuse)?;
            let plan = self.plans.as_ref().map_or(&Plan::Plain, |plans| &plans[index]);
            if matches!(plan, Plan::LeftOut) {
                continue;
            }
            write_value(out, plan, &value).map_err(|error| refuse(row.table_map().locate(error.at(offset), index)))?;
        }
        Ok(())
    }
}

const MASKED: u64 = 19;

/// The number of the column's type in the schema.
fn type_of(column: &Column) -> u64 {
    match column.column_type {
        column_type if column_type.is_integer() => match column.unsigned {
            Some(true) => 2,
            _ => 1,
        },
        ColumnType::Float => 3,
        ColumnType::Double => 4,
        ColumnType::Decimal { .. } => 5,
        ColumnType::Date => 6,
        ColumnType::Time { .. } | ColumnType::TimeOld => 7,
        ColumnType::DateTime { .. } | ColumnType::DateTimeOld => 8,
        ColumnType::Timestamp { .. } | ColumnType::TimestampOld => 9,
        ColumnType::Year => 10,
        ColumnType::Bit { .. } => 11,
        _ if column.is_binary_string() => 13,
        ColumnType::Enum { .. } => 14,
        ColumnType::Set { .. } => 15,
        ColumnType::Json { .. } | ColumnType::JsonText { .. } => 16,
        ColumnType::Geometry { .. } => 17,
        ColumnType::Vector { .. } => 18,
        _ => 12,
    }
}

/// Appends an element of `values`.
fn write_value(out: &mut Vec<u8>, plan: &Plan, value: &Value<'_>) -> std::result::Result<(), DecodeError> {
    const FIELD: u32 = 1;
    let mut written = Ok(());
    message(out, FIELD, 1, |out| {
        written = match (plan, value) {
            (_, Value::Null) => Ok(()),
            (Plan::Text(mask), _) => {
                delimited(out, 5, mask.as_bytes());
                Ok(())
            }
            (Plan::Hash(hasher), _) => write_text(out, |out| append_hash(hasher, value, out)),
            _ => write_kind(out, value),
        };
    });
    written
}

fn write_kind(out: &mut Vec<u8>, value: &Value<'_>) -> std::result::Result<(), DecodeError> {
    match value {
        Value::Int(number) => {
            tag(out, 1, VARINT);
            // Small numbers of either sign become small ones without.
            varint(out, ((number << 1) ^ (number >> 63)).cast_unsigned());
        }
        Value::UInt(number) | Value::Bit(number) => {
            tag(out, 2, VARINT);
            varint(out, *number);
        }
        Value::Year(year) => {
            tag(out, 2, VARINT);
            varint(out, (*year).into());
        }
        Value::Float(single) if single.is_finite() => {
            tag(out, 3, FIXED32);
            out.extend_from_slice(&single.to_le_bytes());
        }
        Value::Double(double) if double.is_finite() => {
            tag(out, 4, FIXED64);
            out.extend_from_slice(&double.to_le_bytes());
        }
        Value::Bytes { bytes, pad_to } => {
            let length = bytes.len().max(*pad_to);
            tag(out, 6, DELIMITED);
            varint(out, length as u64);
            let end = out.len() + length;
            out.extend_from_slice(bytes);
            out.resize(end, 0);
        }
        Value::Geometry { srid, wkb } => message(out, 7, 1, |out| {
            number(out, 1, (*srid).into());
            bytes(out, 2, wkb);
        }),
        Value::Vector(numbers) if numbers.len().is_multiple_of(4) => message(out, 8, 1, |out| bytes(out, 1, numbers)),
        // Numbers that MySQL cannot hold, too: they are refused there.
        _ => return write_text(out, |out| text::append(value, out)),
    }
    Ok(())
}

fn write_text(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> std::result::Result<(), DecodeError>,
) -> std::result::Result<(), DecodeError> {
    let mut written = Ok(());
    message(out, 5, 1, |out| written = write(out));
    written
}

fn tag(out: &mut Vec<u8>, field: u32, wire_type: u8) {
    varint(out, u64::from(field << 3) | u64::from(wire_type));
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A number that is absent when it is 0.
fn number(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        tag(out, field, VARINT);
        varint(out, value);
    }
}

/// Bytes or text that are absent when they are empty.
fn bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    if !value.is_empty() {
        delimited(out, field, value);
    }
}

fn delimited(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    tag(out, field, DELIMITED);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// A field whose length is known only when it has been written. `length_bytes` is what it takes usually.
fn message(out: &mut Vec<u8>, field: u32, length_bytes: usize, write: impl FnOnce(&mut Vec<u8>)) {
    tag(out, field, DELIMITED);
    let at = out.len();
    out.resize(at + length_bytes, 0);
    let start = out.len();
    write(out);
    let mut length = [0; VARINT_BYTES_MAX];
    let mut left = (out.len() - start) as u64;
    let mut used = 0;
    loop {
        length[used] = left as u8 | 0x80;
        left >>= 7;
        used += 1;
        if left == 0 {
            break;
        }
    }
    length[used - 1] &= 0x7f;
    if used != length_bytes {
        let end = out.len();
        if used > length_bytes {
            out.resize(end + used - length_bytes, 0);
        }
        out.copy_within(start..end, at + used);
        out.truncate(end + used - length_bytes);
    }
    out[at..at + used].copy_from_slice(&length[..used]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_length_takes_as_few_bytes_as_it_needs(content in 0_usize..40_000, room in 1_usize..4, before in 0_usize..3) {
            let mut out = vec![9; before];
            message(&mut out, 3, room, |out| out.extend((0..content).map(|index| index as u8)));
            let mut expected = vec![9; before];
            let all: Vec<u8> = (0..content).map(|index| index as u8).collect();
            delimited(&mut expected, 3, &all);
            prop_assert_eq!(out, expected);
        }

        #[test]
        fn numbers_read_back_as_another_library_reads_them(value in any::<u64>()) {
            let mut out = Vec::new();
            varint(&mut out, value);
            prop_assert_eq!(prost::encoding::decode_varint(&mut out.as_slice()).unwrap(), value);
        }
    }
}
