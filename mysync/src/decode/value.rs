//! One value of a row, and its canonical JSON form (docs/types.md).

use super::charset::Charset;
use super::column::{COLLATION_BINARY, Column, ColumnType};
use super::cursor::{big_endian, little_endian};
use super::decimal::Decimal;
use super::error::Error;
use super::jsonb;
use super::temporal::{Date, DateTime, Time, Timestamp};
use super::write;

/// A value of a row. It borrows from the event, and from the table map for members of ENUM and SET.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// NULL.
    Null,
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    UInt(u64),
    /// FLOAT.
    Float(f32),
    /// DOUBLE.
    Double(f64),
    /// DECIMAL.
    Decimal(Decimal<'a>),
    /// DATE.
    Date(Date),
    /// TIME.
    Time(Time),
    /// DATETIME.
    DateTime(DateTime),
    /// TIMESTAMP.
    Timestamp(Timestamp),
    /// YEAR: 0, or 1901 to 2155.
    Year(u16),
    /// BIT.
    Bit(u64),
    /// CHAR, VARCHAR and TEXT, as stored.
    Text {
        /// Bytes in the column's character set, without the spaces that a CHAR ends with.
        bytes: &'a [u8],
        /// The column's character set.
        charset: Charset,
    },
    /// BINARY, VARBINARY and BLOB.
    Bytes {
        /// Bytes as logged: a BINARY comes without the zeros it ends with.
        bytes: &'a [u8],
        /// Zeros belong behind the bytes up to this length: n of a BINARY(n), else 0.
        pad_to: usize,
    },
    /// The member of an ENUM; empty for index 0, which marks an invalid value that was let in.
    Enum(&'a str),
    /// The members of a SET.
    Set(Members<'a>),
    /// JSON in MySQL's binary form.
    Json(&'a [u8]),
    /// JSON as MySQL prints it.
    JsonText(&'a [u8]),
    /// A geometry.
    Geometry {
        /// Reference system.
        srid: u32,
        /// Well-known binary.
        wkb: &'a [u8],
    },
    /// A VECTOR: little-endian singles.
    Vector(&'a [u8]),
}

/// The chosen members of a SET.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Members<'a> {
    members: &'a [String],
    bits: u64,
}

impl<'a> Members<'a> {
    /// A bit a member, the lowest for the first one.
    pub fn bits(&self) -> u64 {
        self.bits
    }

    /// The members in the order of their definition.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let bits = self.bits;
        self.members
            .iter()
            .enumerate()
            .filter(move |(index, _)| bits >> index & 1 != 0)
            .map(|(_, member)| member.as_str())
    }
}

/// Decodes the bytes of one value (without the length before them).
#[inline]
pub(crate) fn decode<'a>(column: &'a Column, bytes: &'a [u8]) -> Result<Value<'a>, Error> {
    let unsigned = column.unsigned == Some(true);
    Ok(match column.column_type {
        ColumnType::TinyInt | ColumnType::SmallInt | ColumnType::MediumInt | ColumnType::Int | ColumnType::BigInt => {
            integer(bytes, unsigned)
        }
        ColumnType::Float => Value::Float(f32::from_bits(little_endian(bytes) as u32)),
        ColumnType::Double => Value::Double(f64::from_bits(little_endian(bytes))),
        ColumnType::Decimal { precision, scale } => Value::Decimal(Decimal::new(bytes, precision, scale)),
        ColumnType::Year => match little_endian(bytes) as u16 {
            0 => Value::Year(0),
            years => Value::Year(1900 + years),
        },
        ColumnType::Date => Value::Date(Date::decode(bytes)?),
        ColumnType::TimeOld => Value::Time(Time::decode_old(bytes)?),
        ColumnType::DateTimeOld => Value::DateTime(DateTime::decode_old(bytes)?),
        ColumnType::TimestampOld => Value::Timestamp(Timestamp::decode_old(bytes)),
        ColumnType::Time { digits } => Value::Time(Time::decode(bytes, digits)?),
        ColumnType::DateTime { digits } => Value::DateTime(DateTime::decode(bytes, digits)?),
        ColumnType::Timestamp { digits } => Value::Timestamp(Timestamp::decode(bytes, digits)?),
        ColumnType::Bit { .. } => Value::Bit(big_endian(bytes)),
        ColumnType::Char { bytes_max } => match column.collation {
            Some(COLLATION_BINARY) => Value::Bytes {
                bytes,
                pad_to: usize::from(bytes_max),
            },
            _ => Value::Text {
                bytes: column.charset.without_trailing_spaces(bytes),
                charset: column.charset,
            },
        },
        ColumnType::VarChar { .. } | ColumnType::Blob { .. } => match column.collation {
            Some(COLLATION_BINARY) => Value::Bytes { bytes, pad_to: 0 },
            _ => Value::Text {
                bytes,
                charset: column.charset,
            },
        },
        ColumnType::Json { .. } => Value::Json(bytes),
        ColumnType::JsonText { .. } => Value::JsonText(bytes),
        ColumnType::Geometry { .. } => geometry(bytes)?,
        ColumnType::Vector { .. } => Value::Vector(bytes),
        ColumnType::Enum { .. } => enumerated(column, little_endian(bytes))?,
        ColumnType::Set { .. } => set(column, little_endian(bytes))?,
    })
}

/// An integer of 1 to 8 bytes; a signed one is extended from its highest bit.
#[inline]
fn integer(bytes: &[u8], unsigned: bool) -> Value<'static> {
    let value = little_endian(bytes);
    if unsigned {
        return Value::UInt(value);
    }
    let spare_bits = 64 - 8 * bytes.len().clamp(1, 8);
    Value::Int((value << spare_bits) as i64 >> spare_bits)
}

fn geometry(bytes: &[u8]) -> Result<Value<'_>, Error> {
    match bytes.split_first_chunk::<4>() {
        Some((srid, wkb)) => Ok(Value::Geometry {
            srid: u32::from_le_bytes(*srid),
            wkb,
        }),
        None => Err(Error::truncated("geometry", 4, bytes.len())),
    }
}

fn enumerated(column: &Column, number: u64) -> Result<Value<'_>, Error> {
    let index = usize::try_from(number).unwrap_or(usize::MAX);
    match index.checked_sub(1).map(|index| column.members.get(index)) {
        None => Ok(Value::Enum("")),
        Some(Some(member)) => Ok(Value::Enum(member)),
        Some(None) => Err(Error::malformed(
            "ENUM value",
            format!("member {number} of {} members", column.members.len()),
        )),
    }
}

fn set(column: &Column, bits: u64) -> Result<Value<'_>, Error> {
    let count = column.members.len();
    if count < 64 && bits >> count != 0 {
        return Err(Error::malformed(
            "SET value",
            format!("bits {bits:#x} of {count} members"),
        ));
    }
    Ok(Value::Set(Members {
        members: &column.members,
        bits,
    }))
}

impl Value<'_> {
    /// Appends the value's canonical JSON form. `out` is left with part of it when that fails.
    #[inline]
    pub fn write_json(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        match self {
            Value::Null => out.extend_from_slice(b"null"),
            Value::Int(value) => out.extend_from_slice(itoa::Buffer::new().format(*value).as_bytes()),
            Value::UInt(value) | Value::Bit(value) => {
                out.extend_from_slice(itoa::Buffer::new().format(*value).as_bytes())
            }
            Value::Year(year) => out.extend_from_slice(itoa::Buffer::new().format(*year).as_bytes()),
            Value::Float(value) => write::float(out, *value)?,
            Value::Double(value) => write::double(out, *value)?,
            Value::Decimal(decimal) => quoted(out, |out| decimal.write(out))?,
            Value::Date(date) => quoted_text(out, |out| date.write(out)),
            Value::Time(time) => quoted_text(out, |out| time.write(out)),
            Value::DateTime(date_time) => quoted_text(out, |out| date_time.write(out)),
            Value::Timestamp(timestamp) => quoted_text(out, |out| timestamp.write(out)),
            Value::Text { bytes, charset } => charset.write_json(bytes, out)?,
            Value::Bytes { bytes, pad_to } => quoted(out, |out| write::base64_padded(out, bytes, *pad_to))?,
            Value::Enum(member) => write::json_string(out, member.as_bytes()),
            Value::Set(members) => write_set(members, out),
            Value::Json(bytes) => quoted(out, |out| jsonb::write_escaped(bytes, out))?,
            Value::JsonText(text) => Charset::UTF8MB4.write_json(text, out)?,
            Value::Geometry { srid, wkb } => write_geometry(*srid, wkb, out)?,
            Value::Vector(bytes) => write_vector(bytes, out)?,
        }
        Ok(())
    }
}

#[inline]
fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>) -> Result<(), Error> {
    out.push(b'"');
    write(out)?;
    out.push(b'"');
    Ok(())
}

#[inline]
fn quoted_text(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

fn write_set(members: &Members<'_>, out: &mut Vec<u8>) {
    out.push(b'"');
    for (position, member) in members.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        write::json_escaped(out, member.as_bytes());
    }
    out.push(b'"');
}

fn write_geometry(srid: u32, wkb: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    out.extend_from_slice(b"{\"srid\":");
    out.extend_from_slice(itoa::Buffer::new().format(srid).as_bytes());
    out.extend_from_slice(b",\"wkb\":\"");
    write::base64(out, wkb)?;
    out.extend_from_slice(b"\"}");
    Ok(())
}

fn write_vector(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let (numbers, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(Error::malformed(
            "vector",
            format!("{} bytes, no multiple of 4", bytes.len()),
        ));
    }
    out.push(b'[');
    for (position, number) in numbers.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        write::float(out, f32::from_le_bytes(*number))?;
    }
    out.push(b']');
    Ok(())
}
