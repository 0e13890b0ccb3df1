//! Row images made from the answer to a SELECT, in the form that rows have in the binlog: so the same code makes the same
//! message of both.
//!
//! A value comes as MySQL's binary protocol has it, text in its column's character set; what that protocol cannot say
//! exactly is asked for in another way: ENUM and SET as their numbers, TIMESTAMP as Unix seconds, JSON as its text.

use super::column::{Column, ColumnType};
use super::cursor::Cursor;
use super::decimal;
use super::error::{Error, Reason};
use super::rows::Row;
use super::table_map::TableMap;
use super::temporal::{Date, DateTime, Time};

const WHAT: &str = "value in the answer to a SELECT";

/// A value as a SELECT answers it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// NULL.
    Null,
    /// An integer, a YEAR, the number of an ENUM's member, whole Unix seconds.
    Int(i64),
    /// The same from an unsigned expression; the bits of a SET.
    UInt(u64),
    /// FLOAT.
    Float(f32),
    /// DOUBLE.
    Double(f64),
    /// DATE, DATETIME. Its digits do not count.
    DateTime(DateTime),
    /// TIME. Its digits do not count.
    Time(Time),
    /// Everything else: strings in their column's character set, digits of a DECIMAL, Unix seconds with a fraction, BIT with
    /// the highest byte first, MySQL's own bytes of a GEOMETRY or VECTOR.
    Bytes(&'a [u8]),
}

/// A table's shape and some of its rows.
#[derive(Debug, Clone)]
pub struct TableRows {
    map: TableMap,
    bytes: Vec<u8>,
    /// Where each row ends.
    ends: Vec<usize>,
}

impl TableRows {
    /// No rows yet.
    #[must_use]
    pub fn new(map: TableMap) -> Self {
        Self {
            map,
            bytes: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// The table's shape.
    #[must_use]
    pub fn map(&self) -> &TableMap {
        &self.map
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all rows.
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a row: a cell a column.
    pub fn push<'c>(&mut self, cells: impl ExactSizeIterator<Item = Cell<'c>>) -> Result<(), Error> {
        if cells.len() != self.map.columns.len() {
            let detail = format!("{} values of {} columns", cells.len(), self.map.columns.len());
            return Err(Error::new(Reason::Metadata, WHAT, detail));
        }
        let nulls = self.bytes.len();
        self.bytes.resize(nulls + cells.len().div_ceil(8), 0);
        for (index, (column, cell)) in self.map.columns.iter().zip(cells).enumerate() {
            if cell == Cell::Null {
                self.bytes[nulls + index / 8] |= 1 << (index % 8);
            } else {
                append(column, &cell, &mut self.bytes).map_err(|error| self.map.locate(error, index))?;
            }
        }
        self.ends.push(self.bytes.len());
        Ok(())
    }

    /// A row, counted from 0.
    pub fn row(&self, index: usize) -> Result<Row<'_>, Error> {
        let begin = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        Row::of_image(&self.map, Cursor::new(&self.bytes[begin..self.ends[index]], 0))
    }
}

/// Appends a value that is not NULL as it stands in a row image.
fn append(column: &Column, cell: &Cell<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
    let integer = match *cell {
        Cell::Int(number) => Some(number.cast_unsigned()),
        Cell::UInt(number) => Some(number),
        _ => None,
    };
    match (column.column_type, cell, integer) {
        (ColumnType::TinyInt, _, Some(number)) => little_endian(number, 1, out),
        (ColumnType::SmallInt, _, Some(number)) => little_endian(number, 2, out),
        (ColumnType::MediumInt, _, Some(number)) => little_endian(number, 3, out),
        (ColumnType::Int, _, Some(number)) => little_endian(number, 4, out),
        (ColumnType::BigInt, _, Some(number)) => little_endian(number, 8, out),
        (ColumnType::Enum { bytes } | ColumnType::Set { bytes }, _, Some(number)) => {
            little_endian(number, bytes.into(), out);
        }
        (ColumnType::Year, _, Some(year)) => little_endian(year.saturating_sub(1900), 1, out),
        (ColumnType::Float, Cell::Float(number), _) => out.extend_from_slice(&number.to_le_bytes()),
        (ColumnType::Double, Cell::Double(number), _) => out.extend_from_slice(&number.to_le_bytes()),
        (ColumnType::Decimal { precision, scale }, Cell::Bytes(text), _) => {
            decimal::encode(text, precision, scale, out)?;
        }
        (ColumnType::Date, Cell::DateTime(time), _) => little_endian(date(&time.date), 3, out),
        (ColumnType::DateTime { digits }, Cell::DateTime(time), _) => {
            let months = u64::from(time.date.year) * 13 + u64::from(time.date.month);
            let whole =
                (months << 5 | u64::from(time.date.day)) << 17 | in_day(time.hour.into(), time.minute, time.second);
            big_endian(whole + 0x80_0000_0000, 5, out);
            fraction(time.microsecond, digits, out);
        }
        (ColumnType::Time { digits }, Cell::Time(time), _) => append_time(time, digits, out),
        (ColumnType::Timestamp { digits }, _, Some(seconds)) => {
            big_endian(seconds, 4, out);
            fraction(0, digits, out);
        }
        (ColumnType::Timestamp { digits }, Cell::Bytes(text), _) => {
            let (seconds, microsecond) = unix_time(text)?;
            big_endian(seconds, 4, out);
            fraction(microsecond, digits, out);
        }
        (ColumnType::Bit { bits }, Cell::Bytes(bytes), _) => {
            let width = usize::from(bits.div_ceil(8));
            let number = bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
            big_endian(number, width, out);
        }
        (
            ColumnType::Blob { length_bytes: 4 }
            | ColumnType::JsonText { length_bytes: 4 }
            | ColumnType::Geometry { length_bytes: 4 }
            | ColumnType::Vector { length_bytes: 4 },
            Cell::Bytes(bytes),
            _,
        ) => {
            little_endian(bytes.len() as u64, 4, out);
            out.extend_from_slice(bytes);
        }
        (column_type, cell, _) => {
            let kind = format!("{cell:?}");
            let kind = kind.split('(').next().unwrap_or_default();
            return Err(Error::new(
                Reason::Unsupported,
                WHAT,
                format!("{kind} for {column_type:?}"),
            ));
        }
    }
    Ok(())
}

fn little_endian(number: u64, width: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_le_bytes()[..width]);
}

fn big_endian(number: u64, width: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_be_bytes()[8 - width..]);
}

fn date(date: &Date) -> u64 {
    u64::from(date.year) << 9 | u64::from(date.month) << 5 | u64::from(date.day)
}

fn in_day(hours: u64, minute: u8, second: u8) -> u64 {
    hours << 12 | u64::from(minute) << 6 | u64::from(second)
}

/// Two digits a byte.
fn fraction(microsecond: u32, digits: u8, out: &mut Vec<u8>) {
    let (number, width) = scaled(microsecond, digits);
    big_endian(number, width, out);
}

/// A fraction of a second as it is stored, and in how many bytes.
fn scaled(microsecond: u32, digits: u8) -> (u64, usize) {
    match digits.div_ceil(2) {
        0 => (0, 0),
        1 => (u64::from(microsecond / 10_000), 1),
        2 => (u64::from(microsecond / 100), 2),
        _ => (microsecond.into(), 3),
    }
}

/// A negative time is the whole, fraction included, below the offset.
fn append_time(time: &Time, digits: u8, out: &mut Vec<u8>) {
    let (part, width) = scaled(time.microsecond, digits);
    let magnitude = in_day(time.hours.into(), time.minute, time.second) << (8 * width) | part;
    let offset = 0x80_0000_u64 << (8 * width);
    let packed = if time.negative {
        offset - magnitude
    } else {
        offset + magnitude
    };
    big_endian(packed, 3 + width, out);
}

/// `1795568523.45`
fn unix_time(text: &[u8]) -> Result<(u64, u32), Error> {
    let parsed = std::str::from_utf8(text).ok().and_then(|text| {
        let (seconds, part) = text.split_once('.').unwrap_or((text, ""));
        let microsecond = format!("{part:0<6}").parse().ok()?;
        Some((seconds.parse().ok()?, microsecond))
    });
    let refuse = || Error::malformed(WHAT, format!("no Unix time: {}", String::from_utf8_lossy(text)));
    parsed
        .filter(|(seconds, _)| *seconds <= u32::MAX.into())
        .ok_or_else(refuse)
}

#[cfg(test)]
mod tests {
    use super::super::table_map::ColumnSchema;
    use super::*;
    use proptest::prelude::*;

    fn json(column_type: ColumnType, unsigned: bool, cell: Cell<'_>) -> Result<String, Error> {
        let mut map = TableMap::of_columns("d", "t", vec![(column_type, true)]);
        let known = ColumnSchema {
            name: "c".into(),
            unsigned,
            collation: Some(63),
            members: vec!["a".into(), "b".into(), "c".into()],
            ..ColumnSchema::default()
        };
        map.supply(&[known])?;
        let mut rows = TableRows::new(map);
        rows.push([cell].into_iter())?;
        let mut out = Vec::new();
        rows.row(0)?.write_json(&mut out)?;
        let text = String::from_utf8(out).unwrap();
        Ok(text
            .strip_prefix("{\"c\":")
            .unwrap()
            .strip_suffix('}')
            .unwrap()
            .to_owned())
    }

    proptest! {
        #[test]
        fn times_come_back(
            negative: bool,
            hours in 0_u16..839,
            minute in 0_u8..60,
            second in 0_u8..60,
            micros in 0_u32..1_000_000,
            digits in 0_u8..=6,
        ) {
            let unit = 10_u32.pow(6 - u32::from(digits));
            let microsecond = micros / unit * unit;
            let is_zero = hours == 0 && minute == 0 && second == 0 && microsecond == 0;
            let time = Time { negative: negative && !is_zero, hours, minute, second, microsecond, digits };
            let mut expected = Vec::new();
            time.write(&mut expected);
            let found = json(ColumnType::Time { digits }, false, Cell::Time(time)).unwrap();
            prop_assert_eq!(found, format!("\"{}\"", String::from_utf8(expected).unwrap()));
        }

        #[test]
        fn dates_and_times_of_day_come_back(
            year in 0_u16..10_000,
            month in 0_u8..=12,
            day in 0_u8..=31,
            hour in 0_u8..24,
            micros in 0_u32..1_000_000,
            digits in 0_u8..=6,
        ) {
            let unit = 10_u32.pow(6 - u32::from(digits));
            let date = Date { year, month, day };
            let time = DateTime { date, hour, minute: 59, second: 7, microsecond: micros / unit * unit, digits };
            let mut expected = Vec::new();
            time.write(&mut expected);
            let expected = String::from_utf8(expected).unwrap();
            let found = json(ColumnType::DateTime { digits }, false, Cell::DateTime(time)).unwrap();
            prop_assert_eq!(found, format!("\"{expected}\""));
            let found = json(ColumnType::Date, false, Cell::DateTime(time)).unwrap();
            prop_assert_eq!(found, format!("\"{}\"", &expected[..10]));
        }

        #[test]
        fn decimals_come_back(negative: bool, digits in "[0-9]{1,65}", scale in 0_u8..=30) {
            let whole = digits.trim_start_matches('0');
            let (precision, scale) = (whole.len().max(scale.into()).max(1) as u8, scale);
            let padded = format!("{whole:0>width$}", width = usize::from(precision));
            let (before, after) = padded.split_at(padded.len() - usize::from(scale));
            let before = before.trim_start_matches('0');
            let mut text = format!("{}{}", if before.is_empty() { "0" } else { before }, if scale > 0 { "." } else { "" });
            text += after;
            if negative && text.bytes().any(|byte| (b'1'..=b'9').contains(&byte)) {
                text.insert(0, '-');
            }
            let found = json(ColumnType::Decimal { precision, scale }, false, Cell::Bytes(text.as_bytes())).unwrap();
            prop_assert_eq!(found, format!("\"{text}\""));
        }

        #[test]
        fn integers_come_back(number: i64) {
            prop_assert_eq!(json(ColumnType::BigInt, false, Cell::Int(number)).unwrap(), number.to_string());
            let unsigned = number.cast_unsigned();
            prop_assert_eq!(json(ColumnType::BigInt, true, Cell::UInt(unsigned)).unwrap(), unsigned.to_string());
            let medium = i64::from(number as i32 >> 8);
            prop_assert_eq!(json(ColumnType::MediumInt, false, Cell::Int(medium)).unwrap(), medium.to_string());
        }
    }

    #[test]
    fn other_types_come_back() {
        for (column_type, cell, expected) in [
            (ColumnType::Year, Cell::Int(2026), "2026"),
            (ColumnType::Year, Cell::UInt(0), "0"),
            (ColumnType::Bit { bits: 9 }, Cell::Bytes(&[1, 255]), "511"),
            (ColumnType::Enum { bytes: 1 }, Cell::UInt(2), "\"b\""),
            (ColumnType::Enum { bytes: 1 }, Cell::UInt(0), "\"\""),
            (ColumnType::Set { bytes: 1 }, Cell::UInt(5), "\"a,c\""),
            (ColumnType::Blob { length_bytes: 4 }, Cell::Bytes(&[0, 255]), "\"AP8=\""),
            (
                ColumnType::JsonText { length_bytes: 4 },
                Cell::Bytes(b"{\"a\": 1}"),
                "\"{\\\"a\\\": 1}\"",
            ),
            (
                ColumnType::Timestamp { digits: 0 },
                Cell::UInt(1),
                "\"1970-01-01T00:00:01Z\"",
            ),
            (
                ColumnType::Timestamp { digits: 2 },
                Cell::Bytes(b"1.50"),
                "\"1970-01-01T00:00:01.50Z\"",
            ),
            (
                ColumnType::Timestamp { digits: 2 },
                Cell::Bytes(b"0.00"),
                "\"0000-00-00T00:00:00.00Z\"",
            ),
            (ColumnType::Int, Cell::Null, "null"),
        ] {
            assert_eq!(json(column_type, false, cell).unwrap(), expected, "{column_type:?}");
        }
        for (column_type, cell) in [
            (ColumnType::Int, Cell::Bytes(b"1")),
            (ColumnType::Decimal { precision: 3, scale: 1 }, Cell::Bytes(b"1234.5")),
            (ColumnType::Decimal { precision: 3, scale: 1 }, Cell::Bytes(b"1.55")),
            (ColumnType::Decimal { precision: 3, scale: 1 }, Cell::Bytes(b"1e1")),
            (ColumnType::Timestamp { digits: 0 }, Cell::Bytes(b"-1")),
        ] {
            assert!(json(column_type, false, cell).is_err(), "{column_type:?} {cell:?}");
        }
    }
}
