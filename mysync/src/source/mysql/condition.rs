//! A record's key as a condition of a SELECT: the inverse of how keys are written (docs/types.md).
//!
//! A key from before its columns were renamed, reordered or given other types stands for the row that has its values, column by
//! column: stores know rows by them. One whose values cannot be those of a row has no condition.

use crate::decode::{Column, ColumnType, TableMap};
use crate::encode::key::{self, KeyValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;
use std::fmt::Write;

/// How a table's rows are told apart.
pub(super) struct Keys<'t> {
    pub(super) map: &'t TableMap,
    /// The key's columns.
    pub(super) columns: &'t [usize],
    /// Of columns that have one, by their names.
    pub(super) collations: &'t BTreeMap<String, String>,
    /// Keys have Debezium's own forms of values.
    pub(super) strict: bool,
}

/// What the key says of its columns: `(a IN (1) AND b IN ('x'))`.
pub(super) fn of_key(keys: &Keys<'_>, key: &[u8]) -> Option<String> {
    let (map, columns) = (keys.map, keys.columns);
    let values = key::parse(key).ok()?;
    if values.len() != columns.len() {
        return None;
    }
    let mut condition = String::from("(");
    for (index, (_, value)) in columns.iter().zip(&values) {
        let column = &map.columns[*index];
        let literal = if keys.strict {
            strict_literal(column, value)
        } else {
            None
        };
        let collation = keys.collations.get(&column.name).map(String::as_str);
        let of_another = || {
            let mut others = value.of_other_types().into_iter();
            others.find_map(|other| literal_of(column, collation, &other))
        };
        let literal = literal
            .or_else(|| literal_of(column, collation, value))
            .or_else(of_another)?;
        let and = if condition.len() > 1 { " AND " } else { "" };
        write!(condition, "{and}{} IN ({literal})", quoted(&column.name)).ok()?;
    }
    condition.push(')');
    Some(condition)
}

/// A name in backticks.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A value in its canonical form.
fn literal_of(column: &Column, collation: Option<&str>, value: &KeyValue) -> Option<String> {
    match (column.column_type, value) {
        (column_type, KeyValue::Int(number)) if has_whole_numbers(column_type) => Some(number.to_string()),
        (column_type, KeyValue::UInt(number)) if has_whole_numbers(column_type) => Some(number.to_string()),
        // The single's exact value is a double.
        (ColumnType::Float, KeyValue::Double(number)) => Some(format!("{:?}", f64::from(*number as f32))),
        (ColumnType::Double, KeyValue::Double(number)) => Some(format!("{number:?}")),
        (ColumnType::Decimal { .. }, KeyValue::Text(text)) => plain(text, "-."),
        (ColumnType::Date, KeyValue::Text(text)) => plain(text, "-").map(in_quotes),
        (ColumnType::Time { .. }, KeyValue::Text(text)) => plain(text, "-:.").map(in_quotes),
        (ColumnType::DateTime { .. }, KeyValue::Text(text)) => plain(text, "-:. ").map(in_quotes),
        (ColumnType::Timestamp { .. }, KeyValue::Text(text)) => {
            plain(&text.strip_suffix('Z')?.replace('T', " "), "-:. ").map(in_quotes)
        }
        (ColumnType::Blob { .. }, KeyValue::Text(text)) if column.is_binary_string() => {
            Some(hexadecimal("", &STANDARD.decode(text).ok()?))
        }
        (ColumnType::Blob { .. } | ColumnType::Enum { .. } | ColumnType::Set { .. }, KeyValue::Text(text)) => {
            let literal = hexadecimal("_utf8mb4 ", text.as_bytes());
            // In the column's own character set and collation its index serves, and a text that the character set does not have is
            // no error. Some other row may be found for it, with another key.
            Some(match collation {
                Some(collation) => {
                    let charset = collation.split('_').next()?;
                    format!("CONVERT({literal} USING {charset}) COLLATE {collation}")
                }
                None => literal,
            })
        }
        _ => None,
    }
}

fn has_whole_numbers(column_type: ColumnType) -> bool {
    matches!(
        column_type,
        ColumnType::TinyInt
            | ColumnType::SmallInt
            | ColumnType::MediumInt
            | ColumnType::Int
            | ColumnType::BigInt
            | ColumnType::Year
            | ColumnType::Bit { .. }
    )
}

/// A value in the form of Debezium's defaults, where that is another one. A zero date has the form of 1970's first instant: both
/// are looked for.
fn strict_literal(column: &Column, value: &KeyValue) -> Option<String> {
    const ZERO_DATE: &str = "'0000-00-00'";
    const ZERO_TIME: &str = "'0000-00-00 00:00:00'";
    let since = |unit: &str, number: i64, zero: &str| {
        let or_zero = if number == 0 {
            format!(", {zero}")
        } else {
            String::new()
        };
        format!("TIMESTAMP '1970-01-01 00:00:00' + INTERVAL {number} {unit}{or_zero}")
    };
    match (column.column_type, value) {
        (ColumnType::BigInt, KeyValue::Int(number)) if column.unsigned == Some(true) => {
            Some(number.cast_unsigned().to_string())
        }
        (ColumnType::Bit { .. }, KeyValue::Bool(bit)) => Some(u8::from(*bit).to_string()),
        (ColumnType::Bit { .. }, KeyValue::Text(text)) => {
            let bytes = STANDARD.decode(text).ok()?;
            let fold = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
            Some(bytes.iter().rev().fold(0, fold).to_string())
        }
        (ColumnType::Decimal { scale, .. }, KeyValue::Text(text)) => {
            unscaled(&STANDARD.decode(text).ok()?, scale.into())
        }
        (ColumnType::Date, KeyValue::Int(days)) => Some(since("DAY", *days, ZERO_DATE)),
        (ColumnType::Time { .. }, KeyValue::Int(microseconds)) => {
            let (sign, magnitude) = (if *microseconds < 0 { "-" } else { "" }, microseconds.unsigned_abs());
            let (seconds, part) = (magnitude / 1_000_000, magnitude % 1_000_000);
            let (hours, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
            Some(format!("'{sign}{hours:02}:{minute:02}:{second:02}.{part:06}'"))
        }
        (ColumnType::DateTime { digits }, KeyValue::Int(number)) => {
            let microseconds = if digits > 3 {
                *number
            } else {
                number.checked_mul(1_000)?
            };
            Some(since("MICROSECOND", microseconds, ZERO_TIME))
        }
        (ColumnType::Timestamp { .. }, KeyValue::Text(text)) if text == "1970-01-01T00:00:00Z" => {
            Some(ZERO_TIME.to_owned())
        }
        _ => None,
    }
}

/// A big-endian number in two's complement, with its point.
fn unscaled(bytes: &[u8], scale: usize) -> Option<String> {
    let negative = bytes.first()? & 0x80 != 0;
    let mut magnitude: Vec<u8> = bytes.iter().map(|byte| if negative { !byte } else { *byte }).collect();
    if negative {
        for byte in magnitude.iter_mut().rev() {
            let (sum, carry) = byte.overflowing_add(1);
            *byte = sum;
            if !carry {
                break;
            }
        }
    }
    // The last digit first.
    let mut digits = Vec::new();
    while magnitude.iter().any(|byte| *byte != 0) || digits.len() <= scale {
        let mut rest = 0_u16;
        for byte in &mut magnitude {
            let number = rest << 8 | u16::from(*byte);
            (*byte, rest) = (u8::try_from(number / 10).ok()?, number % 10);
        }
        if digits.len() == scale && scale > 0 {
            digits.push('.');
        }
        digits.push(char::from_digit(rest.into(), 10)?);
        if scale == 0 && magnitude.iter().all(|byte| *byte == 0) {
            break;
        }
    }
    if negative {
        digits.push('-');
    }
    Some(digits.iter().rev().collect())
}

/// The text, if it is made of digits and some signs only.
pub(super) fn plain(text: &str, signs: &str) -> Option<String> {
    let is_plain = |character: char| character.is_ascii_digit() || signs.contains(character);
    (!text.is_empty() && text.chars().all(is_plain)).then(|| text.to_owned())
}

pub(super) fn in_quotes(text: String) -> String {
    format!("'{text}'")
}

fn hexadecimal(introducer: &str, bytes: &[u8]) -> String {
    let mut literal = format!("{introducer}x'");
    for byte in bytes {
        write!(literal, "{byte:02x}").ok();
    }
    literal.push('\'');
    literal
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::ColumnSchema;
    use proptest::prelude::*;

    fn map(columns: &[(&str, ColumnType, bool, u16)]) -> TableMap {
        let types = columns.iter().map(|column| (column.1, false)).collect();
        let mut map = TableMap::of_columns("d", "t", types);
        let known = |column: &(&str, ColumnType, bool, u16)| ColumnSchema {
            name: column.0.into(),
            unsigned: column.2,
            collation: Some(column.3),
            members: vec!["x".into()],
            ..ColumnSchema::default()
        };
        map.supply(&columns.iter().map(known).collect::<Vec<_>>()).unwrap();
        map
    }

    #[test]
    fn keys_become_conditions() {
        const TEXT: ColumnType = ColumnType::Blob { length_bytes: 4 };
        let table = map(&[
            ("a`b", ColumnType::BigInt, true, 63),
            ("t", TEXT, false, 45),
            ("b", TEXT, false, 63),
            ("f", ColumnType::Float, false, 63),
            ("d", ColumnType::Decimal { precision: 5, scale: 2 }, false, 63),
            ("s", ColumnType::Timestamp { digits: 1 }, false, 63),
        ]);
        let key =
            r#"{"a`b":18446744073709551615,"t":"é'","b":"AP8=","f":0.1,"d":"-1.28","s":"2026-11-25T10:11:12.1Z"}"#;
        let expected = "(`a``b` IN (18446744073709551615) AND `t` IN (CONVERT(_utf8mb4 x'c3a927' USING latin1) COLLATE latin1_bin) AND `b` IN (x'00ff') \
                        AND `f` IN (0.10000000149011612) AND `d` IN (-1.28) AND `s` IN ('2026-11-25 10:11:12.1'))";
        let all = [0, 1, 2, 3, 4, 5];
        let collations = BTreeMap::from([("t".to_owned(), "latin1_bin".to_owned())]);
        let of_key = |columns: &[usize], strict, key: &str| {
            let keys = Keys {
                map: &table,
                columns,
                collations: &collations,
                strict,
            };
            of_key(&keys, key.as_bytes())
        };
        assert_eq!(of_key(&all, false, key).unwrap(), expected);
        let strict = r#"{"a`b":-1,"t":"é'","b":"AP8=","f":0.1,"d":"gA==","s":"2026-11-25T10:11:12.1Z"}"#;
        assert_eq!(of_key(&all, true, strict).unwrap(), expected);
        for earlier in [r#"{"a":1}"#, r#"{"a`b":"1"}"#] {
            assert_eq!(of_key(&[0], false, earlier).unwrap(), "(`a``b` IN (1))");
        }
        for other in [r#"{"a`b":"x"}"#, r#"{"a`b":1,"t":"x"}"#, r#"{"a`b":1.5}"#, "7"] {
            assert_eq!(of_key(&[0], false, other), None, "{other}");
        }
        let hostile = r#"{"d":"1) OR (1=1"}"#;
        assert_eq!(of_key(&[4], false, hostile), None);
    }

    #[test]
    fn strict_forms_are_undone() {
        let condition = |column_type, value: &str| {
            let key = format!(r#"{{"c":{value}}}"#);
            let keys = Keys {
                map: &map(&[("c", column_type, false, 63)]),
                columns: &[0],
                collations: &BTreeMap::new(),
                strict: true,
            };
            of_key(&keys, key.as_bytes()).unwrap_or_default()
        };
        let day = "TIMESTAMP '1970-01-01 00:00:00' + INTERVAL";
        assert_eq!(
            condition(ColumnType::Date, "20782"),
            format!("(`c` IN ({day} 20782 DAY))")
        );
        assert_eq!(
            condition(ColumnType::Date, "0"),
            format!("(`c` IN ({day} 0 DAY, '0000-00-00'))")
        );
        let digits = 3;
        assert_eq!(
            condition(ColumnType::DateTime { digits }, "-5"),
            format!("(`c` IN ({day} -5000 MICROSECOND))")
        );
        assert_eq!(
            condition(ColumnType::Time { digits }, "-900000"),
            "(`c` IN ('-00:00:00.900000'))"
        );
        assert_eq!(condition(ColumnType::Bit { bits: 9 }, "\"BQE=\""), "(`c` IN (261))");
        assert_eq!(condition(ColumnType::Bit { bits: 1 }, "true"), "(`c` IN (1))");
    }

    proptest! {
        #[test]
        fn unscaled_numbers_get_their_point(number: i64, scale in 0_usize..22) {
            let text = unscaled(&number.to_be_bytes(), scale).unwrap();
            let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
            prop_assert_eq!(part.len(), scale);
            prop_assert_eq!(format!("{whole}{part}").parse::<i64>().unwrap(), number);
        }
    }
}
