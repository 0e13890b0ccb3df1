//! What things are called in HBase: tables, from a template, and rows, from their keys.

use crate::error::{Error, Result};
use crate::target::{RowChange, TableName};

/// A longer name is a folder's that file systems refuse, and HBase 2.6 tries to make it again and again.
const TABLE_BYTES_MAX: usize = 240;

/// HBase's own limit: a row's length is a signed 16-bit number.
pub(super) const KEY_BYTES_MAX: usize = 32_767;

/// The row that holds what the writer knows of a table. No row of a table's own has its key: `%` stands in those in front of two
/// hexadecimal digits, or of `empty`.
pub(super) const MARK: &[u8] = b"%mysync";

/// A parsed template of the names of tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableTemplate {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Database,
    Table,
}

impl TableTemplate {
    /// Parses a template of `{db}`, `{table}` and literal text.
    #[must_use]
    pub fn parse(template: &str) -> Self {
        let mut pieces = Vec::new();
        let mut rest = template;
        while !rest.is_empty() {
            let marks = [("{db}", Piece::Database), ("{table}", Piece::Table)];
            if let Some((mark, piece)) = marks.into_iter().find(|(mark, _)| rest.starts_with(mark)) {
                rest = &rest[mark.len()..];
                pieces.push(piece);
                continue;
            }
            let next = rest[1..].find('{').map_or(rest.len(), |at| at + 1);
            pieces.push(Piece::Literal(rest[..next].to_owned()));
            rest = &rest[next..];
        }
        Self { pieces }
    }

    /// A table's name: other bytes than letters, digits and `_` of database and table are written `-xx`.
    pub fn render(&self, table: &TableName) -> Result<String> {
        let mut name = String::with_capacity(64);
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => name.push_str(text),
                Piece::Database => encode(&mut name, &table.database),
                Piece::Table => encode(&mut name, &table.table),
            }
        }
        let refuse = |why: &str| {
            Error::definite(format!("HBase can have no table of the name {name}"))
                .detail(format!("of table {}.{}: {why}", table.database, table.table))
                .hint("set writer.hbase.table to a template that makes another name, as \"t_{db}.{table}\"")
        };
        if name.starts_with(['-', '.']) {
            return Err(refuse("a name begins with a letter, a digit or _"));
        }
        if name.len() > TABLE_BYTES_MAX {
            return Err(refuse(&format!(
                "{} bytes, at most {TABLE_BYTES_MAX} are allowed",
                name.len()
            )));
        }
        Ok(name)
    }
}

fn encode(name: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'_' => name.push('_'),
            byte if byte.is_ascii_alphanumeric() => name.push(char::from(byte)),
            byte => {
                name.push('-');
                push_hex(name, byte);
            }
        }
    }
}

fn push_hex(text: &mut String, byte: u8) {
    for digit in [byte >> 4, byte & 15] {
        text.extend(char::from_digit(u32::from(digit), 16));
    }
}

/// The key of a row: its canonical text, or those of its columns joined by `:`, with a bucket in front where there are some.
#[must_use]
pub fn row_key(change: &RowChange, salt_buckets: u16) -> Vec<u8> {
    let mut key = String::with_capacity(24);
    match change.key.as_slice() {
        [(_, text)] if text.is_empty() => key.push_str("%empty"),
        [(_, text)] => match text.strip_prefix('%') {
            Some(rest) => {
                key.push_str("%25");
                key.push_str(rest);
            }
            None => key.push_str(text),
        },
        columns => {
            for (index, (_, text)) in columns.iter().enumerate() {
                if index > 0 {
                    key.push(':');
                }
                for character in text.chars() {
                    match character {
                        '%' => key.push_str("%25"),
                        ':' => key.push_str("%3A"),
                        other => key.push(other),
                    }
                }
            }
        }
    }
    if salt_buckets == 0 {
        return key.into_bytes();
    }
    let bucket = crc32fast::hash(key.as_bytes()) % u32::from(salt_buckets);
    let mut salted = bucket_key(u8::try_from(bucket).unwrap_or(u8::MAX)).into_bytes();
    salted.extend_from_slice(key.as_bytes());
    salted
}

/// With what the keys of a bucket begin.
fn bucket_key(bucket: u8) -> String {
    let mut key = String::with_capacity(16);
    push_hex(&mut key, bucket);
    key.push(':');
    key
}

/// Where a table is split when it is made: a region a bucket.
pub(super) fn split_keys(salt_buckets: u16) -> Vec<Vec<u8>> {
    let buckets = (1..salt_buckets).filter_map(|bucket| u8::try_from(bucket).ok());
    buckets.map(|bucket| bucket_key(bucket).into_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn name(database: &str, table: &str) -> TableName {
        TableName {
            database: database.into(),
            table: table.into(),
        }
    }

    fn key(texts: &[&str], salt_buckets: u16) -> String {
        let column = |(index, text): (usize, &&str)| (format!("k{index}"), (*text).to_owned());
        let change = RowChange {
            table: Arc::new(name("d", "t")),
            key: texts.iter().enumerate().map(column).collect(),
            row: None,
            version: 1,
            columns_changed: None,
        };
        String::from_utf8(row_key(&change, salt_buckets)).unwrap()
    }

    #[test]
    fn names_of_tables_are_encoded_and_those_that_hbase_cannot_have_are_refused() {
        let template = TableTemplate::parse("{db}.{table}");
        for (database, table, expected) in [
            ("shop", "order", "shop.order"),
            ("__db_mysync", "t_fence", "__db_mysync.t_fence"),
            ("a.b-c", "d$é", "a-2eb-2dc.d-24-c3-a9"),
        ] {
            assert_eq!(template.render(&name(database, table)).unwrap(), expected);
        }
        for (database, table) in [("é", "t"), ("-a", "t"), (&"ü".repeat(64), "t")] {
            let error = template.render(&name(database, table)).unwrap_err();
            assert!(!error.is_transient() && error.hint.is_some(), "{error}");
        }
        let other = TableTemplate::parse("x_{table}-{db}");
        assert_eq!(other.render(&name("é", "t")).unwrap(), "x_t--c3-a9");
    }

    #[test]
    fn keys_are_texts_and_none_is_the_writers_own() {
        for (texts, expected) in [
            (&["7"][..], "7"),
            (&["a:b%"], "a:b%"),
            (&["%mysync"], "%25mysync"),
            (&[""], "%empty"),
            (&["%empty"], "%25empty"),
            (&["a:b", "%", ""], "a%3Ab:%25:"),
        ] {
            assert_eq!(key(texts, 0), expected);
        }
        // CRC-32 of "123456789" is cbf43926.
        assert_eq!(key(&["123456789"], 256), "26:123456789");
        assert_eq!(key(&["123456789"], 10), "02:123456789");
        assert_eq!(split_keys(3), [b"01:".to_vec(), b"02:".to_vec()]);
        assert_eq!(
            (split_keys(0).len(), split_keys(1).len(), split_keys(256).len()),
            (0, 0, 255)
        );
    }

    proptest! {
        #[test]
        fn different_keys_of_a_table_stay_different(
            left in proptest::collection::vec("[a:%]{0,3}", 2),
            right in proptest::collection::vec("[a:%]{0,3}", 2),
            buckets in 0u16..5,
        ) {
            let texts = |of: &[String]| of.iter().map(String::clone).collect::<Vec<_>>();
            for count in [1, 2] {
                let (left, right) = (texts(&left[..count]), texts(&right[..count]));
                let rendered = |of: &[String]| key(&of.iter().map(String::as_str).collect::<Vec<_>>(), buckets);
                prop_assert_eq!(rendered(&left) == rendered(&right), left == right);
                prop_assert!(!rendered(&left).starts_with("%mysync"));
            }
        }
    }
}
