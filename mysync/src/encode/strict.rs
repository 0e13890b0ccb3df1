//! Values as Debezium's own defaults write them, schemas off: decimal.handling.mode=precise,
//! time.precision.mode=adaptive_time_microseconds, bigint.unsigned.handling.mode=long, binary.handling.mode=bytes.
//!
//! Where a value cannot be said in that form at all (a date that is in no calendar), the reader stops. For zero dates
//! Debezium has a rule, which is followed: NULL where the column allows it, else the first instant of 1970.
//! What of Debezium is not followed, since it changes values, is listed in docs/types.md.

use crate::decode::{Column, ColumnType, Date, DateTime, Decimal, Error, Reason, Time, Value, base64};

/// Bits of the largest DECIMAL, 65 digits, with its sign: 217.
const DECIMAL_WORDS: usize = 7;

const SECONDS_A_DAY: i64 = 86_400;

/// A type whose values differ from the canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strict {
    /// The unscaled number, big-endian in two's complement, as base64.
    Decimal,
    /// Days since 1970.
    Date { nullable: bool },
    /// Microseconds.
    Time,
    /// Milliseconds since 1970 for up to three digits of fraction, else microseconds.
    DateTime { nullable: bool },
    /// ISO 8601, as the canonical form; but for the zero value.
    Timestamp { nullable: bool },
    /// A BIGINT UNSIGNED as the signed number of the same bits.
    Unsigned,
    /// BIT(1): true or false.
    Boolean,
    /// BIT(n): so many bytes, the lowest first, as base64.
    Bits { bytes: u8 },
    /// An object of `wkb` and `srid`.
    Geometry,
    /// The same with `x` and `y`.
    Point,
}

impl Strict {
    /// How the column's values are written; none if in the canonical form.
    pub(super) fn of(column: &Column) -> Option<Self> {
        const POINT: u8 = 1;
        let nullable = column.nullable;
        Some(match column.column_type {
            ColumnType::Decimal { .. } => Self::Decimal,
            ColumnType::Date => Self::Date { nullable },
            ColumnType::Time { .. } | ColumnType::TimeOld => Self::Time,
            ColumnType::DateTime { .. } | ColumnType::DateTimeOld => Self::DateTime { nullable },
            ColumnType::Timestamp { .. } | ColumnType::TimestampOld => Self::Timestamp { nullable },
            ColumnType::BigInt if column.unsigned == Some(true) => Self::Unsigned,
            ColumnType::Bit { bits: 1 } => Self::Boolean,
            ColumnType::Bit { bits } => Self::Bits {
                bytes: bits.div_ceil(8),
            },
            ColumnType::Geometry { .. } if column.geometry_type == Some(POINT) => Self::Point,
            ColumnType::Geometry { .. } => Self::Geometry,
            _ => return None,
        })
    }
}

/// Appends a value that is not NULL.
pub(super) fn write_json(strict: Strict, value: &Value<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
    match (strict, value) {
        (Strict::Decimal, Value::Decimal(decimal)) => quoted(out, |out| write_decimal(decimal, out)),
        (Strict::Date { nullable }, Value::Date(date)) => match days(date)? {
            Some(days) => write_number(days, out),
            None => write_zero(nullable, b"0", out),
        },
        (Strict::Time, Value::Time(time)) => write_number(microseconds(time), out),
        (Strict::DateTime { nullable }, Value::DateTime(date_time)) => match since_1970(date_time)? {
            Some(number) => write_number(number, out),
            None => write_zero(nullable, b"0", out),
        },
        (Strict::Timestamp { nullable }, Value::Timestamp(timestamp)) if timestamp.seconds == 0 => {
            write_zero(nullable, b"\"1970-01-01T00:00:00Z\"", out)
        }
        (Strict::Unsigned, Value::UInt(number)) => write_number(number.cast_signed(), out),
        (Strict::Boolean, Value::Bit(bit)) => {
            out.extend_from_slice(if *bit == 0 { b"false" } else { b"true" });
            Ok(())
        }
        (Strict::Bits { bytes }, Value::Bit(bits)) => {
            let all = bits.to_le_bytes();
            quoted(out, |out| base64(out, all.get(..usize::from(bytes)).unwrap_or(&all)))
        }
        (Strict::Geometry, Value::Geometry { srid, wkb }) => {
            out.push(b'{');
            write_geometry(*srid, wkb, out)
        }
        (Strict::Point, Value::Geometry { srid, wkb }) => {
            let (x, y) = coordinates(wkb)?;
            out.extend_from_slice(b"{\"x\":");
            Value::Double(x).write_json(out)?;
            out.extend_from_slice(b",\"y\":");
            Value::Double(y).write_json(out)?;
            out.push(b',');
            write_geometry(*srid, wkb, out)
        }
        _ => value.write_json(out),
    }
}

fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>) -> Result<(), Error> {
    out.push(b'"');
    write(out)?;
    out.push(b'"');
    Ok(())
}

fn write_number(number: i64, out: &mut Vec<u8>) -> Result<(), Error> {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    Ok(())
}

fn write_zero(nullable: bool, epoch: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    out.extend_from_slice(if nullable { b"null" } else { epoch });
    Ok(())
}

/// The digits without their point are the unscaled number.
fn write_decimal(decimal: &Decimal<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
    let start = out.len();
    decimal.write(out)?;
    let negative = out.get(start) == Some(&b'-');
    // 32 bits a word, the lowest first.
    let mut words = [0_u32; DECIMAL_WORDS];
    for digit in out[start..].iter().filter(|byte| byte.is_ascii_digit()) {
        let mut carry = u64::from(digit - b'0');
        for word in &mut words {
            let product = u64::from(*word) * 10 + carry;
            *word = product as u32;
            carry = product >> 32;
        }
    }
    out.truncate(start);
    if negative {
        let mut carry = true;
        for word in &mut words {
            (*word, carry) = (!*word).overflowing_add(u32::from(carry));
        }
    }
    let mut bytes = [0; 4 * DECIMAL_WORDS];
    for (place, word) in bytes.rchunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_be_bytes());
    }
    // As few bytes as keep the sign.
    let filler = if negative { 0xff } else { 0 };
    let has_sign = |byte: u8| (byte ^ filler) & 0x80 == 0;
    let surplus = bytes
        .windows(2)
        .take_while(|pair| pair[0] == filler && has_sign(pair[1]))
        .count();
    base64(out, &bytes[surplus..])
}

/// Days since 1970; none for a zero date and for one with parts that are zero.
fn days(date: &Date) -> Result<Option<i64>, Error> {
    let (year, month, day) = (i64::from(date.year), i64::from(date.month), i64::from(date.day));
    if year == 0 || month == 0 || day == 0 {
        return Ok(None);
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if day > days_in_month {
        let error = Error::new(
            Reason::Unsupported,
            "date",
            format!("{year}-{month:02}-{day:02} is in no calendar"),
        );
        return Err(error
            .with_hint("correct the row on the server, or set messages.format = \"debezium\", which has it as it is"));
    }
    // Years that begin in March, so that the leap day is the last; 719468 days lie between year 0 and 1970.
    let year_from_march = if month > 2 { year } else { year - 1 };
    let days_before_month = (153 * ((month + 9) % 12) + 2) / 5;
    let leap_days = year_from_march / 4 - year_from_march / 100 + year_from_march / 400;
    Ok(Some(
        365 * year_from_march + leap_days + days_before_month + day - 1 - 719_468,
    ))
}

fn microseconds(time: &Time) -> i64 {
    let seconds = i64::from(time.hours) * 3_600 + i64::from(time.minute) * 60 + i64::from(time.second);
    let magnitude = seconds * 1_000_000 + i64::from(time.microsecond);
    if time.negative { -magnitude } else { magnitude }
}

/// Milliseconds or microseconds, by the digits of the column.
fn since_1970(date_time: &DateTime) -> Result<Option<i64>, Error> {
    let in_day = i64::from(date_time.hour) * 3_600 + i64::from(date_time.minute) * 60 + i64::from(date_time.second);
    let microsecond = i64::from(date_time.microsecond);
    Ok(days(&date_time.date)?.map(|days| {
        let seconds = days * SECONDS_A_DAY + in_day;
        match date_time.digits {
            0..=3 => seconds * 1_000 + microsecond / 1_000,
            _ => seconds * 1_000_000 + microsecond,
        }
    }))
}

/// The reference system 0 stands for none.
fn write_geometry(srid: u32, wkb: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    out.extend_from_slice(b"\"wkb\":");
    quoted(out, |out| base64(out, wkb))?;
    out.extend_from_slice(b",\"srid\":");
    match srid {
        0 => out.extend_from_slice(b"null"),
        _ => write_number(srid.into(), out)?,
    }
    out.push(b'}');
    Ok(())
}

/// A point's well-known binary: byte order 1, type 1 in four bytes, two doubles.
fn coordinates(wkb: &[u8]) -> Result<(f64, f64), Error> {
    let double = |at: usize| {
        wkb.get(at..)
            .and_then(|rest| rest.first_chunk())
            .map(|bytes| f64::from_le_bytes(*bytes))
    };
    match (wkb.get(..5), double(5), double(13)) {
        (Some([1, 1, 0, 0, 0]), Some(x), Some(y)) => Ok((x, y)),
        _ => Err(Error::malformed(
            "POINT value",
            format!("{} bytes that are no point", wkb.len()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::base64::Engine;
    use ::base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    fn date(year: u16, month: u8, day: u8) -> Date {
        Date { year, month, day }
    }

    #[test]
    fn days_count_from_1970_over_all_calendars_rules() {
        for (date, expected) in [
            (date(1970, 1, 1), Some(0)),
            (date(1969, 12, 31), Some(-1)),
            (date(2000, 2, 29), Some(11_016)),
            (date(2026, 11, 25), Some(20_782)),
            (date(9999, 12, 31), Some(2_932_896)),
            (date(1, 1, 1), Some(-719_162)),
            (date(0, 0, 0), None),
            (date(2026, 0, 1), None),
            (date(2026, 1, 0), None),
        ] {
            assert_eq!(days(&date).unwrap(), expected, "{date:?}");
        }
        for wrong in [date(2026, 2, 29), date(1900, 2, 29), date(2026, 4, 31)] {
            assert!(days(&wrong).unwrap_err().hint().contains("debezium"));
        }
    }

    proptest! {
        #[test]
        fn days_follow_each_other(year in 1_u16..9999, month in 1_u8..=12, day in 1_u8..=31) {
            let next = |date: &Date| [
                Date { day: date.day + 1, ..*date },
                Date { month: date.month + 1, day: 1, ..*date },
                Date { year: date.year + 1, month: 1, day: 1 },
            ];
            let today = date(year, month, day);
            if let Ok(Some(number)) = days(&today) {
                let tomorrow = next(&today).into_iter().find_map(|date| {
                    (date.month <= 12).then(|| days(&date).ok().flatten()).flatten()
                });
                prop_assert_eq!(tomorrow, Some(number + 1));
            }
        }

        #[test]
        fn decimals_read_back_as_the_unscaled_number(unscaled in any::<i64>(), shift in 0_u32..63) {
            let unscaled = unscaled >> shift;
            // DECIMAL(20,0): 2 digits in a byte, then two groups of nine; negative ones inverted, the highest bit flipped.
            let magnitude = unscaled.unsigned_abs();
            let mut bytes = vec![(magnitude / 1_000_000_000_000_000_000) as u8];
            bytes.extend_from_slice(&((magnitude / 1_000_000_000 % 1_000_000_000) as u32).to_be_bytes());
            bytes.extend_from_slice(&((magnitude % 1_000_000_000) as u32).to_be_bytes());
            if unscaled < 0 {
                bytes.iter_mut().for_each(|byte| *byte = !*byte);
            }
            bytes[0] ^= 0x80;
            let mut out = Vec::new();
            write_decimal(&Decimal::new(&bytes, 20, 0), &mut out).unwrap();
            let found = STANDARD.decode(out).unwrap();
            let filler = if unscaled < 0 { 0xff } else { 0 };
            let mut wide = [filler; 8];
            wide[8 - found.len()..].copy_from_slice(&found);
            prop_assert_eq!(i64::from_be_bytes(wide), unscaled);
            // No byte too many.
            prop_assert!(found.len() == 1 || found[0] != filler || (found[1] ^ filler) & 0x80 != 0);
        }
    }
}
