//! One value of Debezium's, as JSON of the default form (docs/types.md). What has a form in the decoder is written by it, so
//! that the texts are those of mysync's own reader.

use super::columns::{Form, Sign};
use super::documents;
use super::times::{date, date_time, time, timestamp};
use crate::decode::{Value, json_string};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// 32 bits each; the largest DECIMAL has 217 bits with its sign.
const DECIMAL_WORDS: usize = 8;

/// What a YEAR 0000 is to Debezium, and no YEAR of MySQL's.
const YEAR_OF_ZERO: i64 = 1900;

/// Why a value cannot be written.
pub(super) type Wrong = String;

/// Appends a value that is not null.
pub(super) fn write(form: Form, raw: &RawValue, out: &mut Vec<u8>) -> Result<(), Wrong> {
    let raw = raw.get();
    match form {
        Form::Int(sign) => write_int(sign, number(raw)?, out),
        Form::Boolean => match raw {
            "true" => canonical(&Value::Bit(1), out),
            "false" => canonical(&Value::Bit(0), out),
            _ => Err(unexpected("true or false", raw)),
        },
        Form::Single => canonical(&Value::Float(single(raw)?), out),
        Form::Double => canonical(&Value::Double(double(raw)?), out),
        Form::Text => {
            // Most texts have no escape, and stand as they will.
            match raw.starts_with('"') && !raw.contains('\\') {
                true => out.extend_from_slice(raw.as_bytes()),
                false => json_string(out, text(raw)?.as_bytes()),
            }
            Ok(())
        }
        Form::Bytes => {
            bytes(raw)?;
            out.extend_from_slice(raw.as_bytes());
            Ok(())
        }
        Form::Decimal { scale, is_integer } => write_decimal(&bytes(raw)?, scale, is_integer, out),
        Form::Date => canonical(&Value::Date(date(number(raw)?)?), out),
        Form::Time { per_second, digits } => canonical(&Value::Time(time(number(raw)?, per_second, digits)?), out),
        Form::DateTime { per_second, digits } => {
            canonical(&Value::DateTime(date_time(number(raw)?, per_second, digits)?), out)
        }
        Form::Timestamp { digits } => canonical(&Value::Timestamp(timestamp(&text(raw)?, digits)?), out),
        Form::Year => match number(raw)? {
            YEAR_OF_ZERO => canonical(&Value::Year(0), out),
            year => match u16::try_from(year) {
                Ok(year) if year < 10_000 => canonical(&Value::Year(year), out),
                _ => Err(unexpected("a year", raw)),
            },
        },
        Form::Bits => write_bits(&bytes(raw)?, out),
        Form::Json => {
            let document = documents::as_mysql(&text(raw)?)?;
            json_string(out, document.as_bytes());
            Ok(())
        }
        Form::Geometry => write_geometry(raw, out),
        Form::SingleVector => write_vector(raw, out, |raw| Ok(Value::Float(single(raw)?))),
        Form::DoubleVector => write_vector(raw, out, |raw| Ok(Value::Double(double(raw)?))),
    }
}

fn canonical(value: &Value<'_>, out: &mut Vec<u8>) -> Result<(), Wrong> {
    value.write_json(out).map_err(|error| error.to_string())
}

pub(super) fn unexpected(expected: &str, raw: &str) -> Wrong {
    let shown: String = raw.chars().take(40).collect();
    format!("expected {expected}, found {shown}")
}

fn number(raw: &str) -> Result<i64, Wrong> {
    raw.parse().map_err(|_| unexpected("a whole number of 64 bits", raw))
}

fn single(raw: &str) -> Result<f32, Wrong> {
    let number = raw.parse::<f32>().ok().filter(|number| number.is_finite());
    number.ok_or_else(|| unexpected("a number", raw))
}

fn double(raw: &str) -> Result<f64, Wrong> {
    let number = raw.parse::<f64>().ok().filter(|number| number.is_finite());
    number.ok_or_else(|| unexpected("a number", raw))
}

fn text(raw: &str) -> Result<Cow<'_, str>, Wrong> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    match serde_json::from_str(raw) {
        Ok(Text(text)) => Ok(text),
        Err(_) => Err(unexpected("a text", raw)),
    }
}

fn bytes(raw: &str) -> Result<Vec<u8>, Wrong> {
    let inner = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let decoded = inner.and_then(|inner| STANDARD.decode(inner).ok());
    decoded.ok_or_else(|| unexpected("bytes in base64", raw))
}

fn write_int(sign: Sign, number: i64, out: &mut Vec<u8>) -> Result<(), Wrong> {
    match sign {
        Sign::Unsigned => canonical(&Value::UInt(number.cast_unsigned()), out),
        Sign::Unknown if number < 0 => Err(format!(
            "{number}, which may be an unsigned number, of a column that is no BIGINT any more"
        )),
        Sign::Signed | Sign::Unknown => canonical(&Value::Int(number), out),
    }
}

/// Big-endian in two's complement.
fn write_decimal(unscaled: &[u8], scale: u16, is_integer: bool, out: &mut Vec<u8>) -> Result<(), Wrong> {
    let is_negative = unscaled.first().is_some_and(|byte| byte & 0x80 != 0);
    let mut bytes = [if is_negative { 0xff } else { 0 }; 4 * DECIMAL_WORDS];
    let place = bytes.len().checked_sub(unscaled.len());
    match place
        .and_then(|place| bytes.get_mut(place..))
        .filter(|_| !unscaled.is_empty())
    {
        Some(place) => place.copy_from_slice(unscaled),
        None => return Err(format!("a decimal of {} bytes", unscaled.len())),
    }
    // The highest word first.
    let mut words = [0_u32; DECIMAL_WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    if is_negative {
        let mut carry = true;
        for word in words.iter_mut().rev() {
            (*word, carry) = (!*word).overflowing_add(u32::from(carry));
        }
    }
    // The lowest digit first.
    let (mut digits, scale) = (Vec::with_capacity(80), usize::from(scale));
    while words.iter().any(|word| *word != 0) || digits.len() <= scale {
        let mut rest = 0_u64;
        for word in &mut words {
            let part = rest << 32 | u64::from(*word);
            *word = (part / 10) as u32;
            rest = part % 10;
        }
        if digits.len() == scale && scale > 0 {
            digits.push(b'.');
        }
        digits.push(b'0' + rest as u8);
    }
    let quote: &[u8] = if is_integer { b"" } else { b"\"" };
    out.extend_from_slice(quote);
    if is_negative {
        out.push(b'-');
    }
    out.extend(digits.iter().rev());
    out.extend_from_slice(quote);
    Ok(())
}

fn write_bits(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Wrong> {
    let mut all = [0; 8];
    match all.get_mut(..bytes.len()) {
        Some(place) => place.copy_from_slice(bytes),
        None => return Err(format!("a BIT of {} bytes", bytes.len())),
    }
    canonical(&Value::Bit(u64::from_le_bytes(all)), out)
}

fn write_geometry(raw: &str, out: &mut Vec<u8>) -> Result<(), Wrong> {
    #[derive(Deserialize)]
    struct Geometry<'a> {
        #[serde(borrow)]
        wkb: &'a RawValue,
        srid: Option<u32>,
    }
    let Ok(geometry) = serde_json::from_str::<Geometry<'_>>(raw) else {
        return Err(unexpected("a geometry with wkb and srid", raw));
    };
    let wkb = bytes(geometry.wkb.get())?;
    let srid = geometry.srid.unwrap_or(0);
    canonical(&Value::Geometry { srid, wkb: &wkb }, out)
}

fn write_vector(
    raw: &str,
    out: &mut Vec<u8>,
    value: impl Fn(&str) -> Result<Value<'static>, Wrong>,
) -> Result<(), Wrong> {
    let Ok(numbers) = serde_json::from_str::<Vec<&RawValue>>(raw) else {
        return Err(unexpected("an array of numbers", raw));
    };
    out.push(b'[');
    for (index, number) in numbers.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        canonical(&value(number.get())?, out)?;
    }
    out.push(b']');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(form: Form, raw: &str) -> Result<String, Wrong> {
        let raw = RawValue::from_string(raw.to_owned()).unwrap();
        let mut out = Vec::new();
        write(form, &raw, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn milliseconds(digits: u8) -> Form {
        Form::DateTime {
            per_second: 1_000,
            digits,
        }
    }

    #[test]
    fn each_form_has_the_default_forms_text() {
        let decimal = |scale| Form::Decimal {
            scale,
            is_integer: false,
        };
        let micro_time = |digits| Form::Time {
            per_second: 1_000_000,
            digits,
        };
        let timestamp = |digits| Form::Timestamp { digits };
        for (form, raw, expected) in [
            (Form::Int(Sign::Signed), "-1", "-1"),
            (Form::Int(Sign::Unsigned), "-1", "18446744073709551615"),
            (Form::Int(Sign::Unknown), "4294967295", "4294967295"),
            (Form::Boolean, "true", "1"),
            (Form::Single, "1.00000003E16", "1e16"),
            (Form::Single, "16777.216796875", "16777.217"),
            (Form::Double, "-2.5E300", "-2.5e300"),
            (Form::Text, r#""中\uD83D\uDE00\/\u000A""#, "\"中😀/\\n\""),
            (Form::Text, "\"plain\"", "\"plain\""),
            (Form::Bytes, "\"AP8=\"", "\"AP8=\""),
            (decimal(2), "\"gA==\"", "\"-1.28\""),
            (decimal(2), "\"/w==\"", "\"-0.01\""),
            (decimal(0), "\"AIA=\"", "\"128\""),
            (decimal(3), "\"AA==\"", "\"0.000\""),
            (decimal(0), "\"AA==\"", "\"0\""),
            (
                Form::Decimal {
                    scale: 0,
                    is_integer: true,
                },
                "\"AP//////////\"",
                "18446744073709551615",
            ),
            (Form::Date, "20782", "\"2026-11-25\""),
            (Form::Date, "-719162", "\"0001-01-01\""),
            (Form::Date, "2932896", "\"9999-12-31\""),
            (micro_time(0), "-3020399000000", "\"-838:59:59\""),
            (micro_time(1), "-900000", "\"-00:00:00.9\""),
            (micro_time(6), "-1", "\"-00:00:00.000001\""),
            (
                Form::Time {
                    per_second: 1_000,
                    digits: 0,
                },
                "3723000",
                "\"01:02:03\"",
            ),
            (
                Form::Time {
                    per_second: 1_000_000_000,
                    digits: 6,
                },
                "1000",
                "\"00:00:00.000001\"",
            ),
            (milliseconds(0), "1795568523000", "\"2026-11-25 01:02:03\""),
            (milliseconds(3), "-1", "\"1969-12-31 23:59:59.999\""),
            (milliseconds(2), "-30610223999999", "\"1000-01-01 00:00:00.001\""),
            (
                timestamp(2),
                "\"2026-11-25T01:02:03.1Z\"",
                "\"2026-11-25T01:02:03.10Z\"",
            ),
            (
                timestamp(0),
                "\"2026-11-25T02:32:03+01:30\"",
                "\"2026-11-25T01:02:03Z\"",
            ),
            (
                timestamp(6),
                "\"1970-01-01T00:00:00Z\"",
                "\"0000-00-00T00:00:00.000000Z\"",
            ),
            (Form::Year, "2026", "2026"),
            (Form::Year, "1900", "0"),
            (Form::Bits, "\"BQAAAAA=\"", "5"),
            (Form::Bits, "\"//////////8=\"", "18446744073709551615"),
            (
                Form::Geometry,
                r#"{"wkb":"AQE=","srid":null}"#,
                r#"{"srid":0,"wkb":"AQE="}"#,
            ),
            (
                Form::Geometry,
                r#"{"x":2.0,"y":1.0,"wkb":"AQE=","srid":4326}"#,
                r#"{"srid":4326,"wkb":"AQE="}"#,
            ),
            (Form::SingleVector, "[1.0,2.5,-3.0E-10]", "[1.0,2.5,-3e-10]"),
            (Form::DoubleVector, "[]", "[]"),
        ] {
            assert_eq!(written(form, raw), Ok(expected.to_owned()), "{form:?} {raw}");
        }
    }

    #[test]
    fn what_does_not_fit_its_type_is_refused() {
        for (form, raw) in [
            (Form::Int(Sign::Signed), "1.5"),
            (Form::Int(Sign::Unknown), "-1"),
            (Form::Boolean, "1"),
            (Form::Single, "\"NaN\""),
            (Form::Single, "1e39"),
            (Form::Text, "1"),
            (Form::Bytes, "\"%\""),
            (
                Form::Decimal {
                    scale: 2,
                    is_integer: false,
                },
                "12.50",
            ),
            (
                Form::Decimal {
                    scale: 2,
                    is_integer: false,
                },
                "\"\"",
            ),
            (Form::Date, "2932897"),
            (Form::Date, "9223372036854775807"),
            (
                Form::Time {
                    per_second: 1_000_000,
                    digits: 0,
                },
                "3020400000000",
            ),
            (
                Form::Time {
                    per_second: 1_000,
                    digits: 0,
                },
                "-9223372036854775808",
            ),
            (
                Form::DateTime {
                    per_second: 1_000_000_000,
                    digits: 6,
                },
                "1",
            ),
            (Form::Timestamp { digits: 0 }, "\"2026-11-25 01:02:03Z\""),
            (Form::Timestamp { digits: 0 }, "\"2026-11-25T01:02:03\""),
            (Form::Timestamp { digits: 0 }, "\"1960-11-25T01:02:03Z\""),
            (Form::Timestamp { digits: 0 }, "\"2026-11-25T01:02:03.0000001Z\""),
            (Form::Timestamp { digits: 0 }, "\"ééééééééééééé\""),
            (Form::Year, "-1"),
            (Form::Bits, "\"AAAAAAAAAAAA\""),
            (Form::Json, "\"{\""),
            (Form::Geometry, "{}"),
            (Form::SingleVector, "[null]"),
        ] {
            assert!(written(form, raw).is_err(), "{form:?} {raw}");
        }
    }

    proptest! {
        #[test]
        fn decimals_are_those_of_the_unscaled_number(unscaled in any::<i128>(), shift in 0_u32..127, scale in 0_u16..=30) {
            let unscaled = unscaled >> shift;
            let raw = format!("\"{}\"", STANDARD.encode(unscaled.to_be_bytes()));
            let width = usize::from(scale) + 1;
            let digits = format!("{:0>width$}", unscaled.unsigned_abs());
            let (whole, fraction) = digits.split_at(digits.len() - usize::from(scale));
            let point = if scale > 0 { "." } else { "" };
            let sign = if unscaled < 0 { "-" } else { "" };
            let expected = format!("\"{sign}{whole}{point}{fraction}\"");
            prop_assert_eq!(written(Form::Decimal { scale, is_integer: false }, &raw), Ok(expected));
        }

        #[test]
        fn any_text_comes_through(text in any::<String>()) {
            let raw = serde_json::to_string(&text).unwrap();
            let found = written(Form::Text, &raw).unwrap();
            prop_assert_eq!(serde_json::from_str::<String>(&found).unwrap(), text);
        }

        #[test]
        fn no_value_panics(number in any::<i64>(), text in "[-0-9T:.Z+é]{0,30}", digits in 0_u8..=6) {
            let text = serde_json::to_string(&text).unwrap();
            for raw in [number.to_string(), text] {
                for per_second in [1_000, 1_000_000, 1_000_000_000] {
                    let _ = written(Form::DateTime { per_second, digits }, &raw);
                    let _ = written(Form::Time { per_second, digits }, &raw);
                }
                for form in [Form::Date, Form::Year, Form::Timestamp { digits }, Form::Bits, Form::Json, Form::Geometry] {
                    let _ = written(form, &raw);
                }
            }
        }
    }
}
