//! The template of a row's key in Redis: `{db}`, `{table}`, `{pk}` and literal text.
//!
//! `{pk}` is the key columns' canonical texts. Several are joined by `:`, and then each has `%` as `%25` and `:` as
//! `%3A`, so that no two keys meet; one alone stands as it is, since nothing follows that it could run into. Names of
//! databases and tables are always encoded.
//!
//! The checker has to read the template backwards, from a key found in Redis to the table and the key columns. A
//! template in which that has more than one answer is refused, when it is read or when the tables are known.

use std::fmt;

use crate::canonical::Text;
use crate::store::row_key::{encode, join, split};
use crate::table::Table;

/// A key template as configured.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyTemplate {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Database,
    Table,
    Key,
}

impl KeyTemplate {
    /// Reads a template. The error says what is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once('{') {
            let (name, after) = after
                .split_once('}')
                .ok_or_else(|| format!("expected a closing brace after `{{` in `{text}`"))?;
            if !literal.is_empty() {
                pieces.push(Piece::Literal(literal.to_owned()));
            }
            pieces.push(match name {
                "db" => Piece::Database,
                "table" => Piece::Table,
                "pk" => Piece::Key,
                _ => return Err(format!("expected {{db}}, {{table}} or {{pk}}, found `{{{name}}}`")),
            });
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Literal(rest.to_owned()));
        }
        if pieces.iter().filter(|piece| **piece == Piece::Key).count() != 1 {
            return Err(format!("expected {{pk}} exactly once, found `{text}`"));
        }
        let is_name = |piece: &Piece| !matches!(piece, Piece::Literal(_));
        if pieces.windows(2).any(|pair| pair.iter().all(is_name)) {
            return Err(format!(
                "expected literal text between two names in braces, found `{text}`"
            ));
        }
        Ok(Self { pieces })
    }

    /// The template filled in for one table, all but the row's own part.
    pub fn frame(&self, database: &str, table: &str) -> KeyFrame {
        let mut frame = KeyFrame {
            prefix: Vec::new(),
            suffix: Vec::new(),
        };
        let mut part = &mut frame.prefix;
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => part.extend_from_slice(text.as_bytes()),
                Piece::Database => encode(database.as_bytes(), part),
                Piece::Table => encode(table.as_bytes(), part),
                Piece::Key => part = &mut frame.suffix,
            }
        }
        frame
    }
}

impl fmt::Debug for KeyTemplate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces.iter().try_for_each(|piece| match piece {
            Piece::Literal(text) => formatter.write_str(text),
            Piece::Database => formatter.write_str("{db}"),
            Piece::Table => formatter.write_str("{table}"),
            Piece::Key => formatter.write_str("{pk}"),
        })
    }
}

/// A table's keys: what stands before and behind the row's own part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFrame {
    /// What every key of the table begins with.
    pub prefix: Vec<u8>,
    /// What every key of the table ends with.
    pub suffix: Vec<u8>,
}

impl KeyFrame {
    /// The key of a row.
    pub fn key(&self, parts: &[&[u8]]) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.prefix.len() + self.suffix.len() + 24);
        key.extend_from_slice(&self.prefix);
        join(parts, &mut key);
        key.extend_from_slice(&self.suffix);
        key
    }

    /// The other way: the key columns' texts, if a row of this table can have produced the key.
    pub fn parts(&self, table: &Table, key: &[u8]) -> Option<Vec<Text>> {
        let own = key
            .strip_prefix(self.prefix.as_slice())?
            .strip_suffix(self.suffix.as_slice())?;
        split(table, own)
    }

    /// Whether some key could belong to both tables.
    pub fn overlaps(&self, other: &Self) -> bool {
        let begins = self.prefix.starts_with(&other.prefix) || other.prefix.starts_with(&self.prefix);
        let ends = self.suffix.ends_with(&other.suffix) || other.suffix.ends_with(&self.suffix);
        begins && ends
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::canonical::Kind;
    use crate::table::Column;

    fn table(kinds: &[Kind]) -> Table {
        let columns = kinds.iter().map(|kind| Column::plain("k", *kind)).collect();
        Table {
            number: 0,
            database: "bank".into(),
            name: "accounts".into(),
            columns,
            key: (0..kinds.len()).collect(),
            key_is_primary: true,
            rows_estimate: 0,
        }
    }

    fn frame(template: &str) -> KeyFrame {
        KeyTemplate::parse(template)
            .expect("a good template")
            .frame("bank", "accounts")
    }

    #[test]
    fn keys_follow_the_template() {
        let frame = frame("{db}:{table}:{pk}");
        assert_eq!(frame.key(&[b"7"]), b"bank:accounts:7");
        assert_eq!(frame.key(&[b"a:b%c"]), b"bank:accounts:a:b%c");
        let odd = KeyTemplate::parse("x:{pk}/{table}")
            .expect("a good template")
            .frame("d", "a:b%");
        assert_eq!(odd.key(&[b"a:b", b"%"]), b"x:a%3Ab:%25/a%3Ab%25");
    }

    #[test]
    fn templates_that_cannot_be_read_backwards_are_refused() {
        for wrong in [
            "",
            "{db}:{table}",
            "{pk}{pk}",
            "{db}{pk}",
            "{db}:{id}:{pk}",
            "{db",
            "{pk}:{pk}",
        ] {
            assert!(KeyTemplate::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn keys_that_no_row_can_have_are_not_ours() {
        let frame = frame("{db}:{table}:{pk}");
        let table = table(&[Kind::Integer, Kind::Characters]);
        assert_eq!(
            frame.parts(&table, b"bank:accounts:7:a%3A"),
            Some(vec![b"7".to_vec(), b"a:".to_vec()])
        );
        for foreign in [
            "bank:accounts:7",
            "bank:accounts:7:a:b",
            "bank:accounts:07:a",
            "bank:accounts:7:%41",
            "bank",
        ] {
            assert_eq!(frame.parts(&table, foreign.as_bytes()), None, "{foreign}");
        }
    }

    #[test]
    fn tables_whose_keys_could_meet_are_noticed() {
        let template = KeyTemplate::parse("{db}-{table}-{pk}").expect("a good template");
        assert!(template.frame("a", "b").overlaps(&template.frame("a", "b-1")));
        let template = KeyTemplate::parse("{db}:{table}:{pk}").expect("a good template");
        assert!(!template.frame("a", "b").overlaps(&template.frame("a", "b:1")));
        assert!(!template.frame("a", "b").overlaps(&template.frame("a", "b1")));
        let template = KeyTemplate::parse("{table}/{pk}").expect("a good template");
        assert!(template.frame("a", "t").overlaps(&template.frame("b", "t")));
    }

    fn part() -> impl Strategy<Value = String> {
        proptest::collection::vec(
            prop::sample::select(vec!['a', ':', '%', '2', '5', '3', 'A', '\u{1f600}']),
            0..6,
        )
        .prop_map(|characters| characters.into_iter().collect())
    }

    proptest! {
        #[test]
        fn a_key_reads_back_as_its_parts(parts in proptest::collection::vec(part(), 1..4)) {
            let table = table(&vec![Kind::Characters; parts.len()]);
            let frame = frame("{db}:{table}:{pk}");
            let bytes: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
            let back = frame.parts(&table, &frame.key(&bytes)).expect("our own key");
            prop_assert_eq!(back, bytes.iter().map(|part| part.to_vec()).collect::<Vec<_>>());
        }

        #[test]
        fn different_rows_never_share_a_key(one in [part(), part()], other in [part(), part()]) {
            let frame = frame("{db}:{table}:{pk}");
            let key = |parts: &[String; 2]| frame.key(&[parts[0].as_bytes(), parts[1].as_bytes()]);
            prop_assert_eq!(key(&one) == key(&other), one == other);
        }

        #[test]
        fn different_tables_never_share_a_key(one in [part(), part(), part()], other in [part(), part(), part()]) {
            let template = KeyTemplate::parse("{db}:{table}:{pk}").expect("a good template");
            let key = |names: &[String; 3]| template.frame(&names[0], &names[1]).key(&[names[2].as_bytes()]);
            prop_assert_eq!(key(&one) == key(&other), one == other);
        }
    }
}
