//! Which tables are followed: patterns `<database>.<table>` in which `*` and `?` match.

use crate::config::Config;

/// MySync's own database: always followed, never refused for want of a pattern.
pub const INTERNAL_DATABASE: &str = "__db_mysync";

/// The table by which the checker marks a point in the stream.
pub const FENCE_TABLE: &str = "t_fence";

/// The patterns of a configuration.
#[derive(Debug, Clone)]
pub struct TableFilter {
    patterns: Vec<String>,
}

impl TableFilter {
    /// Takes the patterns of `source.tables`.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            patterns: config.source.tables.clone(),
        }
    }

    /// Whether changes of this table are published.
    #[must_use]
    pub fn follows(&self, database: &str, table: &str) -> bool {
        if database == INTERNAL_DATABASE {
            return table == FENCE_TABLE;
        }
        let name = format!("{database}.{table}");
        self.patterns
            .iter()
            .any(|pattern| matches(pattern.as_bytes(), name.as_bytes()))
    }

    /// Like [`TableFilter::follows`]; an empty table stands for all tables of the database.
    #[must_use]
    pub fn follows_any(&self, database: &str, table: &str) -> bool {
        if !table.is_empty() {
            return self.follows(database, table);
        }
        let databases = self.patterns.iter().filter_map(|pattern| pattern.split('.').next());
        databases
            .chain([INTERNAL_DATABASE])
            .any(|pattern| matches(pattern.as_bytes(), database.as_bytes()))
    }
}

/// `*` matches any run of bytes, `?` one byte, everything else itself. Linear in practice: only the last `*` is retried.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut position) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while position < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                retry = Some((at + 1, position));
                at += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[position] => {
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
    pattern[at..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_a_shell_would() {
        for (pattern, text, expected) in [
            ("bank.*", "bank.account", true),
            ("bank.*", "banking.account", false),
            ("*.account", "bank.account", true),
            ("b?nk.acc*t", "bank.account", true),
            ("bank.account", "bank.account", true),
            ("bank.account", "bank.account2", false),
            ("*", "", true),
            ("a*b*c", "a.xx.b.yy.b.c", true),
            ("a*b*c", "a.xx.b.yy.b", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        }
    }
}
