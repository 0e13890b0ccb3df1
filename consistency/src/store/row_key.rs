//! How the key columns of a row become one text, and back.
//!
//! One column: its canonical text as it is, since nothing follows that it could run into. Several: each with `%` as
//! `%25` and `:` as `%3A`, joined by `:`, so that no two keys meet. That is the whole of it in Redis.
//!
//! Elasticsearch and HBase have no empty key, and their writers keep keys of their own beside the rows, which begin with
//! `%` and a letter that is no hexadecimal digit. So there the text of one column that begins with `%` has that one
//! written `%25`, and the empty text is `%empty`.

use crate::canonical::{Text, is_canonical};
use crate::table::{Key, Table};

const EMPTY: &[u8] = b"%empty";

/// Appends the text of a key.
pub fn join(parts: &[&[u8]], into: &mut Vec<u8>) {
    match parts {
        [part] => into.extend_from_slice(part),
        _ => {
            for (place, part) in parts.iter().enumerate() {
                if place > 0 {
                    into.push(b':');
                }
                encode(part, into);
            }
        }
    }
}

/// The other way: the key columns' texts, if a row of this table can have them.
pub fn split(table: &Table, text: &[u8]) -> Option<Key> {
    let parts = match table.key.len() {
        1 => vec![text.to_vec()],
        _ => text
            .split(|byte| *byte == b':')
            .map(decode)
            .collect::<Option<Vec<Text>>>()?,
    };
    let canonical = parts.len() == table.key.len()
        && table
            .key_columns()
            .zip(&parts)
            .all(|(column, part)| is_canonical(column.kind, part));
    canonical.then_some(parts)
}

/// The text of a key where it stands alone.
pub fn join_alone(parts: &[&[u8]]) -> Vec<u8> {
    let mut text = Vec::with_capacity(24);
    match parts {
        [b""] => text.extend_from_slice(EMPTY),
        [part] if part.starts_with(b"%") => {
            text.extend_from_slice(b"%25");
            text.extend_from_slice(&part[1..]);
        }
        _ => join(parts, &mut text),
    }
    text
}

/// The other way.
pub fn split_alone(table: &Table, text: &[u8]) -> Option<Key> {
    match (table.key.len(), text.strip_prefix(b"%25")) {
        (1, _) if text == EMPTY => split(table, b""),
        (1, Some(rest)) => split(table, &[b"%", rest].concat()),
        (1, None) if text.starts_with(b"%") || text.is_empty() => None,
        _ => split(table, text),
    }
}

/// Appends a text with `%` and `:` written so that it cannot run into what follows.
pub fn encode(text: &[u8], into: &mut Vec<u8>) {
    for byte in text {
        match byte {
            b'%' => into.extend_from_slice(b"%25"),
            b':' => into.extend_from_slice(b"%3A"),
            _ => into.push(*byte),
        }
    }
}

fn decode(encoded: &[u8]) -> Option<Text> {
    let mut text = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        text.push(match byte {
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                match digits {
                    b"25" => b'%',
                    b"3A" => b':',
                    _ => return None,
                }
            }
            _ => *byte,
        });
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::canonical::Kind;
    use crate::table::Column;

    fn table(columns: usize) -> Table {
        Table {
            number: 0,
            database: "bank".into(),
            name: "accounts".into(),
            columns: vec![Column::plain("k", Kind::Characters); columns],
            key: (0..columns).collect(),
            key_is_primary: true,
            rows_estimate: 0,
        }
    }

    #[test]
    fn a_key_that_stands_alone_is_never_empty_nor_like_the_writers_own() {
        for (parts, text) in [
            (&["7"][..], "7"),
            (&[""], "%empty"),
            (&["%"], "%25"),
            (&["%empty"], "%25empty"),
            (&["%25"], "%2525"),
            (&["a%b:c"], "a%b:c"),
            (&["%", "a:b"], "%25:a%3Ab"),
            (&["", ""], ":"),
        ] {
            let bytes: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
            assert_eq!(join_alone(&bytes), text.as_bytes(), "{parts:?}");
            let back = split_alone(&table(parts.len()), text.as_bytes()).expect("our own key");
            assert_eq!(back, bytes, "{text}");
        }
        for foreign in ["", "%", "%mysync:x", "%sha256:00", "%3Aa"] {
            assert_eq!(split_alone(&table(1), foreign.as_bytes()), None, "{foreign}");
        }
        for foreign in ["", "a", "%empty", "%41:b", "%sha256:00", "a:b:c"] {
            assert_eq!(split_alone(&table(2), foreign.as_bytes()), None, "{foreign}");
        }
    }

    fn part() -> impl Strategy<Value = String> {
        let characters = vec!['a', ':', '%', '2', '5', 'e', '\u{1f600}'];
        proptest::collection::vec(prop::sample::select(characters), 0..6)
            .prop_map(|characters| characters.into_iter().collect())
    }

    proptest! {
        #[test]
        fn a_key_that_stands_alone_reads_back_as_its_parts(parts in proptest::collection::vec(part(), 1..4)) {
            let bytes: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
            let text = join_alone(&bytes);
            prop_assert!(!text.is_empty());
            prop_assert!(text == EMPTY || text[0] != b'%' || text[1].is_ascii_hexdigit());
            prop_assert_eq!(split_alone(&table(parts.len()), &text), Some(bytes.iter().map(|part| part.to_vec()).collect()));
        }
    }
}
