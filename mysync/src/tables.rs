//! Which tables are followed: patterns `<database>.<table>` in which `*` and `?` match, and patterns of columns.

use crate::config::Config;
use std::collections::BTreeSet;

/// MySync's own database: always followed, never refused for want of a pattern.
pub const INTERNAL_DATABASE: &str = "__db_mysync";

/// The table by which the checker marks a point in the stream.
pub const FENCE_TABLE: &str = "t_fence";

/// The table with the heartbeat row of each reader: read by the reader itself, published by nobody.
pub const HEARTBEAT_TABLE: &str = "t_binlog_record";

/// The table in which the reader marks what it reads from tables themselves: read by the reader, published by nobody.
pub const WATERMARK_TABLE: &str = "t_watermark";

/// The table by whose rows people ask a reader for dumps: read by the reader, published by nobody.
pub const SIGNAL_TABLE: &str = "t_signal";

/// The table in which the reader tells how far dumps are: published by nobody.
pub const DUMP_TABLE: &str = "t_dump";

/// The patterns of a configuration.
#[derive(Debug, Clone)]
pub struct TableFilter {
    followed: Vec<Pattern>,
    excluded: Vec<Pattern>,
}

impl TableFilter {
    /// Takes the patterns of `source.tables` and `source.tables_exclude`.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let patterns = |texts: &[String]| texts.iter().map(|text| Pattern::new(text)).collect();
        Self {
            followed: patterns(&config.source.tables),
            excluded: patterns(&config.source.tables_exclude),
        }
    }

    /// A text that is the same for filters with the same patterns, in whatever order.
    #[must_use]
    pub fn canonical(&self) -> String {
        let lines = |patterns: &[Pattern], mark: &str| {
            let line = |pattern: &Pattern| {
                let parts: Vec<&str> = pattern.parts.iter().map(|part| part.text.as_str()).collect();
                format!("{mark}{}\n", parts.join("."))
            };
            patterns.iter().map(line).collect::<BTreeSet<_>>()
        };
        let mut lines_all = lines(&self.followed, "+");
        lines_all.append(&mut lines(&self.excluded, "-"));
        lines_all.into_iter().collect()
    }

    /// Whether changes of this table are published.
    #[must_use]
    pub fn follows(&self, database: &str, table: &str) -> bool {
        if database == INTERNAL_DATABASE {
            return table == FENCE_TABLE;
        }
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(&[database, table]));
        any(&self.followed) && !any(&self.excluded)
    }

    /// Like [`TableFilter::follows`]; an empty table stands for all tables of the database.
    #[must_use]
    pub fn follows_any(&self, database: &str, table: &str) -> bool {
        if !table.is_empty() {
            return self.follows(database, table);
        }
        let is_excluded = |pattern: &Pattern| pattern.parts[0].matches(database) && pattern.parts[1].text == "*";
        let is_followed = |pattern: &Pattern| pattern.parts[0].matches(database);
        database == INTERNAL_DATABASE || self.followed.iter().any(is_followed) && !self.excluded.iter().any(is_excluded)
    }
}

/// Whether a pattern `<database>.<table>` means this table.
#[must_use]
pub fn matches(pattern: &str, database: &str, table: &str) -> bool {
    Pattern::new(pattern).matches(&[database, table])
}

/// A pattern of names with dots between them, as `shop.*` or `shop.*.email`. Each part matches one name: `*` any run of
/// characters, dots too, `?` one, everything else itself.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
struct Part {
    text: String,
    ignores_case: bool,
}

impl Pattern {
    /// Splits the text at its dots.
    pub(crate) fn new(text: &str) -> Self {
        let parts = text.split('.').map(|part| Part {
            text: part.to_owned(),
            ignores_case: false,
        });
        Self { parts: parts.collect() }
    }

    /// A pattern of columns: like MySQL it does not look at the case of a column's name.
    pub(crate) fn of_column(text: &str) -> Self {
        let mut pattern = Self::new(text);
        if let Some(column) = pattern.parts.last_mut() {
            column.text = column.text.to_lowercase();
            column.ignores_case = true;
        }
        pattern
    }

    pub(crate) fn matches(&self, names: &[&str]) -> bool {
        self.parts.len() == names.len() && self.parts.iter().zip(names).all(|(part, name)| part.matches(name))
    }
}

impl Part {
    fn matches(&self, name: &str) -> bool {
        match self.ignores_case {
            true => matches_text(&self.text, &name.to_lowercase()),
            false => matches_text(&self.text, name),
        }
    }
}

/// `*` matches any run of characters, `?` one character, everything else itself. Linear in practice: only the last `*` is
/// retried.
fn matches_text(pattern: &str, text: &str) -> bool {
    let [pattern, text] = [pattern, text].map(|text| text.chars().collect::<Vec<char>>());
    let (mut at, mut position) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while position < text.len() {
        match pattern.get(at) {
            Some('*') => {
                retry = Some((at + 1, position));
                at += 1;
            }
            Some(&character) if character == '?' || character == text[position] => {
                at += 1;
                position += 1;
            }
            _ => match &mut retry {
                Some((after_star, from)) => {
                    *from += 1;
                    (at, position) = (*after_star, *from);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|&character| character == '*')
}

#[cfg(test)]
mod tests {
    use super::{Pattern, TableFilter, matches_text};

    #[test]
    fn patterns_match_as_a_shell_would() {
        for (pattern, text, expected) in [
            ("bank.*", "bank.account", true),
            ("bank.*", "banking.account", false),
            ("*.account", "bank.account", true),
            ("b?nk.acc*t", "bank.account", true),
            ("bank.account", "bank.account", true),
            ("bank.account", "bank.account2", false),
            ("gr??e", "größe", true),
            ("*", "", true),
            ("a*b*c", "a.xx.b.yy.b.c", true),
            ("a*b*c", "a.xx.b.yy.b", false),
        ] {
            assert_eq!(matches_text(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn each_part_of_a_pattern_matches_one_name() {
        assert!(Pattern::new("sh*.t").matches(&["shop", "t"]));
        assert!(!Pattern::new("sh*.t").matches(&["shop", "x.t"]));
        assert!(Pattern::new("shop.*").matches(&["shop", "x.t"]));
        assert!(Pattern::of_column("shop.*.EMail").matches(&["shop", "customer", "eMAIL"]));
        assert!(!Pattern::of_column("shop.*.email").matches(&["Shop", "customer", "email"]));
    }

    #[test]
    fn what_is_excluded_is_not_followed() {
        let patterns = |texts: &[&str]| texts.iter().map(|text| Pattern::new(text)).collect();
        let filter = TableFilter {
            followed: patterns(&["shop.*", "bank.*"]),
            excluded: patterns(&["*.tmp_*", "bank.*"]),
        };
        assert!(filter.follows("shop", "order") && filter.follows("__db_mysync", "t_fence"));
        assert!(!filter.follows("shop", "tmp_1") && !filter.follows("bank", "account"));
        assert!(filter.follows_any("shop", "") && filter.follows_any("__db_mysync", ""));
        assert!(!filter.follows_any("bank", "") && !filter.follows_any("other", ""));
    }
}
