//! Names: the alias that users query, the index behind it, and a document's id.
//!
//! Different tables get different aliases and different rows different ids. What is ours begins with what no name of a user's
//! can begin with: `~rows` in an index's name, `%` and no hexadecimal digit in an id.

use crate::error::{Error, Result};
use crate::target::{RowChange, TableName};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt::Write;

/// The index in which the cursors are.
pub(super) const CURSORS: &str = "mysync~cursors";

/// What the index of a table has behind its alias.
const ROWS: &str = "~rows";

/// The store's limit on the name of an index, bytes.
const INDEX_BYTES_MAX: usize = 255;

/// The store's limit on a document's id, bytes.
const ID_BYTES_MAX: usize = 512;

const EMPTY: &str = "%empty";
const HASHED: &str = "%sha256:";

/// The template of the aliases.
#[derive(Debug, Clone)]
pub(super) struct IndexTemplate(String);

impl IndexTemplate {
    /// Takes the template as the configuration has checked it.
    pub(super) fn new(template: &str) -> Self {
        Self(template.to_owned())
    }

    /// The alias that users query, and the index behind it.
    pub(super) fn names(&self, table: &TableName) -> Result<(String, String)> {
        let alias = self.alias(table);
        let index = format!("{alias}{ROWS}");
        if index.len() <= INDEX_BYTES_MAX {
            return Ok((alias, index));
        }
        let what = format!(
            "the index of a table would have too long a name: {}.{}",
            table.database, table.table
        );
        Err(Error::definite(what)
            .detail(format!(
                "{} bytes, at most {INDEX_BYTES_MAX} are possible: {index}",
                index.len()
            ))
            .hint("set a shorter template in writer.elasticsearch.index, or leave the table out of source.tables"))
    }

    fn alias(&self, table: &TableName) -> String {
        let mut alias = String::with_capacity(64);
        let mut rest = self.0.as_str();
        while let Some(open) = rest.find('{') {
            alias.push_str(&rest[..open]);
            rest = &rest[open..];
            let close = rest.find('}').map_or(rest.len(), |close| close + 1);
            match &rest[..close] {
                "{db}" => encode_name(&mut alias, &table.database),
                "{table}" => encode_name(&mut alias, &table.table),
                other => alias.push_str(other),
            }
            rest = &rest[close..];
        }
        alias.push_str(rest);
        alias
    }
}

/// Lower-case letters, digits, `_` and `-` as they are, the latter two not at the beginning; any other byte as `~xx`.
fn encode_name(into: &mut String, name: &str) {
    for (index, byte) in name.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' => into.push(char::from(byte)),
            b'_' | b'-' if index > 0 => into.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => drop(write!(into, "~{byte:02x}")),
        }
    }
}

/// The id of a row's document.
pub(super) fn id(change: &RowChange) -> Cow<'_, str> {
    let text = match change.key.as_slice() {
        [(_, text)] if text.is_empty() => return Cow::Borrowed(EMPTY),
        [(_, text)] => match text.strip_prefix('%') {
            Some(rest) => Cow::Owned(format!("%25{rest}")),
            None => Cow::Borrowed(text.as_str()),
        },
        columns => {
            let parts: Vec<String> = columns
                .iter()
                .map(|(_, text)| text.replace('%', "%25").replace(':', "%3A"))
                .collect();
            Cow::Owned(parts.join(":"))
        }
    };
    match text.len() <= ID_BYTES_MAX {
        true => text,
        false => Cow::Owned(format!("{HASHED}{:x}", Sha256::digest(text.as_bytes()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn table(database: &str, table: &str) -> TableName {
        TableName {
            database: database.into(),
            table: table.into(),
        }
    }

    fn id_of(key: &[&str]) -> String {
        let change = RowChange {
            table: Arc::new(table("d", "t")),
            key: key.iter().map(|text| ("k".to_owned(), (*text).to_owned())).collect(),
            row: None,
            version: 1,
            columns_changed: None,
        };
        id(&change).into_owned()
    }

    #[test]
    fn an_alias_has_only_what_an_index_may_be_called() {
        let template = IndexTemplate::new("{db}.{table}");
        for (name, expected) in [
            (table("shop", "order_1-x"), "shop.order_1-x"),
            (table("__db_mysync", "t_fence"), "~5f_db_mysync.t_fence"),
            (table("Shop", "größe~a.b"), "~53hop.gr~c3~b6~c3~9fe~7ea~2eb"),
            (table("-", ""), "~2d."),
        ] {
            let (alias, index) = template.names(&name).unwrap();
            assert_eq!(alias, expected);
            assert_eq!(index, format!("{expected}~rows"));
        }
        let other = IndexTemplate::new("rows-{table}-in-{db}");
        assert_eq!(other.names(&table("d", "t")).unwrap().0, "rows-t-in-d");
    }

    #[test]
    fn too_long_a_name_is_refused_with_the_remedy() {
        let error = IndexTemplate::new("{db}.{table}")
            .names(&table(&"ü".repeat(64), "t"))
            .unwrap_err();
        assert!(!error.is_transient(), "{error}");
        assert!(error.to_string().contains("writer.elasticsearch.index"), "{error}");
    }

    #[test]
    fn an_id_is_the_key_s_text_where_that_can_be_an_id() {
        for (key, expected) in [
            (&["7"][..], "7"),
            (&["a:b%"], "a:b%"),
            (&["%sha256:"], "%25sha256:"),
            (&[""], "%empty"),
            (&["", ""], ":"),
            (&["a:b", "%"], "a%3Ab:%25"),
        ] {
            assert_eq!(id_of(key), expected);
        }
        assert_eq!(id_of(&[&"x".repeat(512)]), "x".repeat(512));
        // printf 'x%.0s' $(seq 513) | sha256sum
        let hashed = id_of(&[&"x".repeat(513)]);
        assert_eq!(hashed, format!("%sha256:{:x}", Sha256::digest("x".repeat(513))));
        assert_eq!(hashed.len(), "%sha256:".len() + 64);
    }

    proptest! {
        #[test]
        fn different_rows_and_tables_stay_different(
            left in proptest::collection::vec("[a:%~_]{0,3}", 2..3),
            right in proptest::collection::vec("[a:%~_]{0,3}", 2..3),
        ) {
            fn texts(parts: &[String]) -> Vec<&str> {
                parts.iter().map(String::as_str).collect()
            }
            prop_assert_eq!(id_of(&texts(&left)) == id_of(&texts(&right)), left == right);
            prop_assert_eq!(id_of(&[&left[0]]) == id_of(&[&right[0]]), left[0] == right[0]);
            let template = IndexTemplate::new("{db}.{table}");
            let alias = |parts: &[String]| template.names(&table(&parts[0], &parts[1])).unwrap();
            prop_assert_eq!(alias(&left) == alias(&right), left == right);
        }
    }
}
