//! The canonical text of a value by itself, as a Redis hash field holds it: the JSON form without quotes and escapes.
//!
//! It is made from the JSON form, so that the two cannot part.

use crate::decode::{Error, Value, json_string};

/// Appends the canonical text of a value; of NULL, `null`.
pub(super) fn append(value: &Value<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
    let start = out.len();
    value.write_json(out)?;
    unquote(out, start);
    Ok(())
}

/// Appends a text as a JSON string with its quotes.
pub(super) fn append_json(text: &str, out: &mut Vec<u8>) {
    json_string(out, text.as_bytes());
}

/// Takes quotes and escapes out of what begins at `start`, if it is a string. It was written by this crate, so besides
/// single letters there is only `\u00XX`.
fn unquote(out: &mut Vec<u8>, start: usize) {
    if out.get(start) != Some(&b'"') {
        return;
    }
    out.pop();
    let Some(first) = out[start + 1..].iter().position(|byte| *byte == b'\\') else {
        out.remove(start);
        return;
    };
    let (mut read, mut write) = (start + 1 + first, start + first);
    out.copy_within(start + 1..read, start);
    while read < out.len() {
        let (byte, used) = match (out[read], out.get(read + 1)) {
            (b'\\', Some(b'u')) => (hexadecimal(out.get(read + 4..read + 6)), 6),
            (b'\\', Some(letter)) => (escaped(*letter), 2),
            (byte, _) => (byte, 1),
        };
        out[write] = byte;
        write += 1;
        read += used;
    }
    out.truncate(write);
}

fn escaped(letter: u8) -> u8 {
    match letter {
        b'b' => 0x08,
        b't' => b'\t',
        b'n' => b'\n',
        b'f' => 0x0c,
        b'r' => b'\r',
        other => other,
    }
}

fn hexadecimal(digits: Option<&[u8]>) -> u8 {
    let value = |digit: &u8| match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20).wrapping_sub(b'a') + 10,
    };
    digits.map_or(0, |digits| {
        digits.iter().fold(0, |byte, digit| byte << 4 | value(digit) & 15)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_escaped_comes_back(before in "[a-z]{0,3}", text in ".{0,40}|[\\x00-\\x20\"\\\\]{0,20}") {
            let mut out = before.clone().into_bytes();
            append_json(&text, &mut out);
            unquote(&mut out, before.len());
            prop_assert_eq!(String::from_utf8(out).unwrap(), before + &text);
        }
    }

    #[test]
    fn numbers_and_objects_are_their_own_text() {
        for text in ["-1", "null", "{\"a\":1}"] {
            let mut out = text.as_bytes().to_vec();
            unquote(&mut out, 0);
            assert_eq!(out, text.as_bytes());
        }
    }
}
