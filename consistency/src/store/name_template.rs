//! The template of a table's name in a store that has a place of its own for each table: `{db}`, `{table}` and literal
//! text.
//!
//! The store allows few characters in such a name. Any other byte of `{db}` and `{table}` is written as the store's mark
//! and two lowercase hexadecimal digits, so no two tables of MySQL meet in one name, as long as something stands between
//! the two that neither of them can hold. Whether they do is asked of the names that there are.

use std::fmt;

/// What names may be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alphabet {
    /// An index of Elasticsearch: `[a-z0-9_-]`, but not `_` or `-` at the begin; the mark is `~`.
    Elasticsearch,
    /// A table of HBase: `[A-Za-z0-9_]`; the mark is `-`.
    Hbase,
}

/// A name template as configured.
#[derive(Clone, PartialEq, Eq)]
pub struct NameTemplate {
    alphabet: Alphabet,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Database,
    Table,
}

impl NameTemplate {
    /// Reads a template. The error says what is expected.
    pub fn parse(alphabet: Alphabet, text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let (literal, marked) = rest.split_at(open);
            let (name, after) = marked[1..]
                .split_once('}')
                .ok_or_else(|| format!("expected a closing brace after `{{` in `{text}`"))?;
            pieces.push(Piece::Literal(literal.to_owned()));
            pieces.push(match name {
                "db" => Piece::Database,
                "table" => Piece::Table,
                _ => return Err(format!("expected {{db}} or {{table}}, found `{{{name}}}`")),
            });
            rest = after;
        }
        pieces.push(Piece::Literal(rest.to_owned()));
        let allowed = |byte: u8| match alphabet {
            Alphabet::Elasticsearch => byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte),
            Alphabet::Hbase => byte.is_ascii_alphanumeric() || b"._-".contains(&byte),
        };
        let literals = pieces.iter().filter_map(|piece| match piece {
            Piece::Literal(text) => Some(text),
            _ => None,
        });
        if let Some(byte) = literals.flat_map(|text| text.bytes()).find(|byte| !allowed(*byte)) {
            let found = byte.escape_ascii();
            return Err(format!(
                "expected what a name may hold between the braces, found `{found}`"
            ));
        }
        if !pieces.contains(&Piece::Table) {
            return Err(format!("expected {{table}} in it, found `{text}`"));
        }
        Ok(Self { alphabet, pieces })
    }

    /// The name for one table.
    pub fn name(&self, database: &str, table: &str) -> String {
        let mut name = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => name.push_str(text),
                Piece::Database => self.alphabet.encode(database, &mut name),
                Piece::Table => self.alphabet.encode(table, &mut name),
            }
        }
        name
    }
}

impl Alphabet {
    fn encode(self, text: &str, into: &mut String) {
        for (place, byte) in text.bytes().enumerate() {
            let (mark, is_plain) = match self {
                Self::Elasticsearch => {
                    let may_begin = byte.is_ascii_lowercase() || byte.is_ascii_digit();
                    ('~', may_begin || place > 0 && matches!(byte, b'_' | b'-'))
                }
                Self::Hbase => ('-', byte.is_ascii_alphanumeric() || byte == b'_'),
            };
            match is_plain {
                true => into.push(char::from(byte)),
                false => into.push_str(&format!("{mark}{byte:02x}")),
            }
        }
    }
}

impl fmt::Debug for NameTemplate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces.iter().try_for_each(|piece| match piece {
            Piece::Literal(text) => formatter.write_str(text),
            Piece::Database => formatter.write_str("{db}"),
            Piece::Table => formatter.write_str("{table}"),
        })
    }
}

/// The places of two tables with the same name, if there are any.
pub fn same(names: &[String]) -> Option<(usize, usize)> {
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by_key(|place| &names[*place]);
    let pair = order.windows(2).find(|pair| names[pair[0]] == names[pair[1]])?;
    Some((pair[0], pair[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_a_name_cannot_have_are_written_in_digits() {
        let template = NameTemplate::parse(Alphabet::Elasticsearch, "{db}.{table}").expect("a good template");
        for (database, table, name) in [
            ("bank", "accounts", "bank.accounts"),
            ("__db_mysync", "t_fence", "~5f_db_mysync.t_fence"),
            ("Shop", "a.b", "~53hop.a~2eb"),
            ("d", "-x-\u{e9}~", "d.~2dx-~c3~a9~7e"),
        ] {
            assert_eq!(template.name(database, table), name);
        }
        let hbase = NameTemplate::parse(Alphabet::Hbase, "{db}.{table}").expect("a good template");
        for (database, table, name) in [
            ("bank", "accounts", "bank.accounts"),
            ("__db_mysync", "t_fence", "__db_mysync.t_fence"),
            ("Shop", "a.b-\u{e9}", "Shop.a-2eb-2d-c3-a9"),
        ] {
            assert_eq!(hbase.name(database, table), name);
        }
        let other = NameTemplate::parse(Alphabet::Elasticsearch, "my-{table}-v1").expect("a good template");
        assert_eq!(other.name("bank", "accounts"), "my-accounts-v1");
    }

    #[test]
    fn templates_without_a_table_or_with_unknown_marks_are_refused() {
        for wrong in [
            "",
            "{db}",
            "{table",
            "{pk}.{table}",
            "{table}~rows",
            "My.{table}",
            "a/{table}",
            "{table}}",
        ] {
            assert!(NameTemplate::parse(Alphabet::Elasticsearch, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn tables_that_meet_are_found() {
        let names = ["b", "a", "b"].map(str::to_owned);
        assert_eq!(same(&names), Some((0, 2)));
        assert_eq!(same(&names[..2]), None);
    }
}
