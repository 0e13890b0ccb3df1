//! A JSON document as MySQL prints it, from the text that Debezium makes of it.
//!
//! Debezium's snapshot has MySQL's own text. Its stream has no spaces, and writes each double that Java would give an
//! exponent as all of its digits: 1e100 as the 101 digits of the nearest double, 0.0001 as 69. Such a number is found again by its
//! being exactly a double; a DECIMAL in a document has no more than 65 digits and 30 behind the point, and is left as it is. What
//! cannot be found again: whole doubles from 10^7 to 2^64 lost their point, and times in documents lost the zeros of their fraction.

use super::values::Wrong;
use crate::decode::{json_double, json_string};
use serde::de::IgnoredAny;
use std::borrow::Cow;

/// Digits that name a double; one that is written with more may be all of its digits.
const DOUBLE_DIGITS_MAX: usize = 17;

/// MySQL prints a double of more with an exponent.
const WHOLE_DIGITS_MAX: usize = 15;

/// The text that MySQL has for the document.
pub(super) fn as_mysql(document: &str) -> Result<String, Wrong> {
    if let Err(error) = serde_json::from_str::<IgnoredAny>(document) {
        return Err(format!("a JSON document that is none: {error}"));
    }
    let mut out = Vec::with_capacity(document.len() + document.len() / 8);
    let mut rest = document;
    while let Some(first) = rest.bytes().next() {
        let length = match first {
            b'"' => string_length(rest),
            b'-' | b'0'..=b'9' => {
                let is_of_number = |byte: u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                rest.bytes().position(|byte| !is_of_number(byte)).unwrap_or(rest.len())
            }
            _ => 1,
        };
        let (token, after) = rest.split_at(length);
        match first {
            b'"' if token.contains('\\') => {
                let text: Cow<'_, str> = serde_json::from_str(token).map_err(|error| error.to_string())?;
                json_string(&mut out, text.as_bytes());
            }
            b'-' | b'0'..=b'9' => write_number(token, &mut out)?,
            b',' | b':' => out.extend_from_slice(&[first, b' ']),
            b' ' | b'\t' | b'\n' | b'\r' => {}
            _ => out.extend_from_slice(token.as_bytes()),
        }
        rest = after;
    }
    String::from_utf8(out).map_err(|error| error.to_string())
}

/// With both quotes; the document is known to be well formed.
fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 2)
}

fn write_number(token: &str, out: &mut Vec<u8>) -> Result<(), Wrong> {
    let has_exponent = token.contains(['e', 'E']);
    let fraction_digits = token.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let is_short = || {
        let digits = token
            .bytes()
            .filter(u8::is_ascii_digit)
            .skip_while(|digit| *digit == b'0');
        let whole = token.trim_start_matches('-').bytes().take_while(u8::is_ascii_digit);
        digits.count() <= DOUBLE_DIGITS_MAX && whole.count() <= WHOLE_DIGITS_MAX
    };
    let is_integer = fraction_digits == 0 && (token.parse::<i64>().is_ok() || token.parse::<u64>().is_ok());
    if !has_exponent && (is_integer || is_short()) {
        out.extend_from_slice(token.as_bytes());
        return Ok(());
    }
    let double: f64 = token.parse().map_err(|_| format!("a number that is none: {token}"))?;
    match has_exponent || format!("{double:.fraction_digits$}") == token {
        true => json_double(double, out).map_err(|error| error.to_string()),
        false => {
            out.extend_from_slice(token.as_bytes());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As Debezium writes a double: Java's text where that has no exponent, else all digits.
    fn as_debezium(double: f64) -> String {
        let magnitude = double.abs();
        if magnitude != 0.0 && !(1e-3..1e7).contains(&magnitude) {
            let all = format!("{double:.1074}");
            return all.trim_end_matches('0').trim_end_matches('.').to_owned();
        }
        format!("{double:?}")
    }

    #[test]
    fn a_document_has_mysqls_text() {
        for (debezium, mysql) in [
            (
                r#"{"a":[1,-70000,1.5,"te:x,t",null,true,{"b":{}}],"c":18446744073709551615}"#,
                r#"{"a": [1, -70000, 1.5, "te:x,t", null, true, {"b": {}}], "c": 18446744073709551615}"#,
            ),
            (r#"{"k":"a\"b\\nü\/\u0001\\\\"}"#, r#"{"k": "a\"b\\nü/\u0001\\\\"}"#),
            (
                "0.000100000000000000004792173602385929598312941379845142364501953125",
                "0.0001",
            ),
            (
                "10000000000000000159028911097599180468360808563945281389781327557747838772170381060813469985856815104",
                "1e100",
            ),
            ("123456789.5", "123456789.5"),
            ("3999109529638975.5", "3.9991095296389755e15"),
            ("-0.0", "-0.0"),
            ("-1.50", "-1.50"),
            ("12345678901234567890123.123456789", "12345678901234567890123.123456789"),
            ("1e15", "1e15"),
            (" [ ] ", "[]"),
            ("\"\"", "\"\""),
            (r#""\\""#, r#""\\""#),
        ] {
            assert_eq!(as_mysql(debezium).as_deref(), Ok(mysql), "{debezium}");
            assert_eq!(as_mysql(mysql).as_deref(), Ok(mysql), "{mysql}");
        }
    }

    #[test]
    fn what_is_no_document_is_refused() {
        for text in ["", "{", "[1,]", "1 2", "\"\\x\"", "nul", "01"] {
            assert!(as_mysql(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn doubles_are_found_again(double in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL) {
            // A whole one below 2^64 has lost what makes it a double.
            prop_assume!(double.fract() != 0.0 || double.abs() < 1e7 || double.abs() >= 2_f64.powi(64));
            let mut expected = Vec::new();
            json_double(double, &mut expected).unwrap();
            prop_assert_eq!(as_mysql(&as_debezium(double)), Ok(String::from_utf8(expected).unwrap()));
        }

        #[test]
        fn texts_and_names_come_through(name in any::<String>(), text in any::<String>()) {
            let document = serde_json::json!({ name: [text] });
            let found = as_mysql(&document.to_string()).unwrap();
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&found).unwrap(), document);
        }
    }
}
