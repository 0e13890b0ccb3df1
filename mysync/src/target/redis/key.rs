//! A row's key, from a template of `{db}`, `{table}`, `{pk}` and literal text.
//!
//! Different rows of one table get different keys: a key of several columns is joined by `:`, and within each part `%` becomes
//! `%25` and `:` becomes `%3A`. The key of a single column is used as it is. Database and table are always encoded.

use crate::error::{Error, Result};
use crate::target::RowChange;

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyTemplate {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Database,
    Table,
    PrimaryKey,
}

impl KeyTemplate {
    /// Parses a template; it must hold `{pk}`.
    pub fn parse(template: &str) -> Result<Self> {
        let refuse = || {
            Error::configuration(format!("the template of keys is wrong: {template}"))
                .hint("writer.redis.key is made of {db}, {table}, {pk} and literal text, with {pk} in it")
        };
        let mut pieces = Vec::new();
        let mut rest = template;
        while let Some(open) = rest.find(['{', '}']) {
            let (literal, marked) = rest.split_at(open);
            let close = marked.find('}').ok_or_else(refuse)?;
            let piece = match &marked[..=close] {
                "{db}" => Piece::Database,
                "{table}" => Piece::Table,
                "{pk}" => Piece::PrimaryKey,
                _ => return Err(refuse()),
            };
            if !literal.is_empty() {
                pieces.push(Piece::Literal(literal.to_owned()));
            }
            pieces.push(piece);
            rest = &marked[close + 1..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Literal(rest.to_owned()));
        }
        match pieces.contains(&Piece::PrimaryKey) {
            true => Ok(Self { pieces }),
            false => Err(refuse()),
        }
    }

    /// The key of a row.
    #[must_use]
    pub fn render(&self, change: &RowChange) -> String {
        let mut key = String::with_capacity(64);
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => key.push_str(text),
                Piece::Database => encode(&mut key, &change.table.database),
                Piece::Table => encode(&mut key, &change.table.table),
                Piece::PrimaryKey => primary_key(&mut key, &change.key),
            }
        }
        key
    }
}

fn primary_key(into: &mut String, columns: &[(String, String)]) {
    if let [(_, text)] = columns {
        into.push_str(text);
        return;
    }
    for (index, (_, text)) in columns.iter().enumerate() {
        if index > 0 {
            into.push(':');
        }
        encode(into, text);
    }
}

fn encode(into: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '%' => into.push_str("%25"),
            ':' => into.push_str("%3A"),
            other => into.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::TableName;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn change(database: &str, table: &str, key: &[&str]) -> RowChange {
        let table = Arc::new(TableName {
            database: database.into(),
            table: table.into(),
        });
        let key = key
            .iter()
            .enumerate()
            .map(|(index, text)| (format!("k{index}"), (*text).to_owned()))
            .collect();
        RowChange {
            table,
            key,
            row: None,
            version: 1,
            columns_changed: None,
        }
    }

    #[test]
    fn single_keys_are_raw_and_joined_ones_are_encoded() {
        let template = KeyTemplate::parse("{db}:{table}:{pk}").unwrap();
        for (found, expected) in [
            (change("bank", "account", &["7"]), "bank:account:7"),
            (change("bank", "account", &["a:b%"]), "bank:account:a:b%"),
            (change("a:b", "c%d", &["a:b", "%", ""]), "a%3Ab:c%25d:a%3Ab:%25:"),
        ] {
            assert_eq!(template.render(&found), expected);
        }
        let other = KeyTemplate::parse("row/{pk}@{table}!").unwrap();
        assert_eq!(other.render(&change("bank", "account", &["7"])), "row/7@account!");
    }

    #[test]
    fn templates_without_a_key_or_with_unknown_marks_are_refused() {
        for template in ["", "{db}:{table}", "{pk}{x}", "{pk}{", "{pk}}", "{{pk}}"] {
            assert!(KeyTemplate::parse(template).is_err(), "{template}");
        }
    }

    proptest! {
        #[test]
        fn different_joined_keys_stay_different(left in proptest::collection::vec("[a:%]{0,3}", 2..4), right in proptest::collection::vec("[a:%]{0,3}", 2..4)) {
            let template = KeyTemplate::parse("{pk}").unwrap();
            let render = |parts: &[String]| template.render(&change("d", "t", &parts.iter().map(String::as_str).collect::<Vec<_>>()));
            prop_assert_eq!(render(&left) == render(&right), left == right);
        }
    }
}
