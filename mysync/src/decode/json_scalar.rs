//! The scalars of MySQL's JSON that have a text of their own: doubles as its `my_gcvt` prints them, and values of SQL types
//! (decimals, dates and times, anything else as base64), each escaped for the inside of a JSON string.

use super::cursor::little_endian;
use super::decimal;
use super::error::Error;
use super::temporal::{DateTime, Time};
use super::write;

/// Digits before the point, or zeros after it, beyond which an exponent is printed.
const PLAIN_DIGITS_MAX: i32 = 15;
/// Bytes of base64 between line ends, three quarters as many unencoded.
const BASE64_LINE_BYTES: usize = 76;

const TYPE_TIMESTAMP: u8 = 7;
const TYPE_DATE: u8 = 10;
const TYPE_TIME: u8 = 11;
const TYPE_DATETIME: u8 = 12;
const TYPE_NEWDECIMAL: u8 = 246;

/// Appends a double: the shortest digits that read back the same, plain where the point is at most 15 digits away and with
/// an exponent beyond; ".0" marks a plain one without a fraction, since 3.0 is not the integer 3.
pub(crate) fn write_double(value: f64, out: &mut Vec<u8>) -> Result<(), Error> {
    if !value.is_finite() {
        return Err(Error::malformed("JSON value", format!("{value} is no JSON number")));
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    if value == 0.0 {
        out.extend_from_slice(b"0.0");
        return Ok(());
    }
    let mut buffer = [0; 20];
    let (length, point) = shortest_digits(value.abs(), &mut buffer);
    let digits = &buffer[..length];
    if !(1 - PLAIN_DIGITS_MAX..=PLAIN_DIGITS_MAX).contains(&point) {
        write_exponent(digits, point - 1, out);
    } else if point <= 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', point.unsigned_abs() as usize));
        out.extend_from_slice(digits);
    } else {
        let whole = point.unsigned_abs() as usize;
        out.extend_from_slice(&digits[..whole.min(length)]);
        out.extend(std::iter::repeat_n(b'0', whole.saturating_sub(length)));
        out.push(b'.');
        out.extend_from_slice(if length > whole { &digits[whole..] } else { b"0" });
    }
    Ok(())
}

fn write_exponent(digits: &[u8], exponent: i32, out: &mut Vec<u8>) {
    out.extend_from_slice(&digits[..1]);
    if digits.len() > 1 {
        out.push(b'.');
        out.extend_from_slice(&digits[1..]);
    }
    out.push(b'e');
    out.extend_from_slice(itoa::Buffer::new().format(exponent).as_bytes());
}

/// The significant digits of a positive number, how many they are, and the place of the point: 0 is before the first digit.
fn shortest_digits(value: f64, buffer: &mut [u8; 20]) -> (usize, i32) {
    let mut buffer_of_ryu = ryu::Buffer::new();
    let text = buffer_of_ryu.format_finite(value);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (mut length, mut point, mut seen_point) = (0, exponent.parse().unwrap_or(0), false);
    for byte in mantissa.bytes() {
        match byte {
            b'.' => seen_point = true,
            b'0' if length == 0 => point -= i32::from(seen_point),
            digit => {
                if let Some(place) = buffer.get_mut(length) {
                    *place = digit;
                    length += 1;
                }
                point += i32::from(!seen_point);
            }
        }
    }
    while length > 1 && buffer[length - 1] == b'0' {
        length -= 1;
    }
    (length, point)
}

/// Appends a value of an SQL type inside a document.
pub(crate) fn write_opaque(field_type: u8, data: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    match field_type {
        TYPE_NEWDECIMAL => match data {
            [precision, scale, bytes @ ..] if scale <= precision => {
                decimal::Decimal::new(bytes, *precision, *scale).write(out)
            }
            _ => Err(Error::malformed(
                "JSON value",
                format!("a decimal of {} bytes", data.len()),
            )),
        },
        TYPE_DATE | TYPE_TIME | TYPE_DATETIME | TYPE_TIMESTAMP => write_temporal(field_type, data, out),
        _ => write_base64(field_type, data, out),
    }
}

/// Dates and times are packed in eight bytes: 24 bits of microseconds, above them what DATETIME and TIME have in a row.
fn write_temporal(field_type: u8, data: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    const FRACTION_BITS: u32 = 24;
    const DIGITS: u8 = 6;
    let Ok(bytes) = <[u8; 8]>::try_from(data) else {
        return Err(Error::truncated("JSON value", 8, data.len()));
    };
    let packed = little_endian(&bytes) as i64;
    let magnitude = packed.unsigned_abs();
    let (whole, microsecond) = (
        magnitude >> FRACTION_BITS,
        (magnitude & ((1 << FRACTION_BITS) - 1)) as u32,
    );
    out.extend_from_slice(b"\\\"");
    if field_type == TYPE_TIME {
        Time::from_packed(packed < 0, whole, microsecond, DIGITS)?.write(out);
    } else {
        let date_time = DateTime::from_packed(whole, microsecond, DIGITS)?;
        match field_type {
            TYPE_DATE => date_time.date.write(out),
            _ => date_time.write(out),
        }
    }
    out.extend_from_slice(b"\\\"");
    Ok(())
}

/// MySQL's encoder ends lines at 76 bytes, and the line ends are escaped like any in a string.
fn write_base64(field_type: u8, data: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    out.extend_from_slice(b"\\\"base64:type");
    out.extend_from_slice(itoa::Buffer::new().format(field_type).as_bytes());
    out.push(b':');
    for (index, line) in data.chunks(BASE64_LINE_BYTES / 4 * 3).enumerate() {
        if index > 0 {
            out.extend_from_slice(b"\\\\n");
        }
        write::base64(out, line)?;
    }
    out.extend_from_slice(b"\\\"");
    Ok(())
}
