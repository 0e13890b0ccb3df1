//! Table patterns `<database>.<table>`, in which `*` stands for any text and `?` for one character.

/// A pattern that picks tables by their names, compared exactly as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    database: Vec<char>,
    table: Vec<char>,
}

impl Pattern {
    /// Reads `<database>.<table>`; the first dot parts the two. The error says what is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('.') {
            Some((database, table)) if !database.is_empty() && !table.is_empty() => Ok(Self {
                database: database.chars().collect(),
                table: table.chars().collect(),
            }),
            _ => Err(format!(
                "expected <database>.<table>, in which * and ? match, found `{text}`"
            )),
        }
    }

    /// The one table that the pattern stands for, if it names one.
    pub fn names(&self) -> Option<(String, String)> {
        let is_plain = |text: &[char]| !text.contains(&'*') && !text.contains(&'?');
        let text = |part: &[char]| part.iter().collect();
        (is_plain(&self.database) && is_plain(&self.table)).then(|| (text(&self.database), text(&self.table)))
    }

    /// Whether the table is one of those that the pattern stands for.
    pub fn matches(&self, database: &str, table: &str) -> bool {
        glob(&self.database, database) && glob(&self.table, table)
    }
}

/// A pattern `<database>.<table>.<column>`. As in MySQL, the case of a column's name does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnPattern {
    table: Pattern,
    column: Vec<char>,
}

impl ColumnPattern {
    /// Reads the three parts; the error says what is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('.').collect();
        match parts[..] {
            [database, table, column] if !parts.contains(&"") => Ok(Self {
                table: Pattern::parse(&format!("{database}.{table}"))?,
                column: column.to_lowercase().chars().collect(),
            }),
            _ => Err(format!(
                "expected <database>.<table>.<column>, in which * and ? match, found `{text}`"
            )),
        }
    }

    /// Whether the column is one of those that the pattern stands for.
    pub fn matches(&self, database: &str, table: &str, column: &str) -> bool {
        self.table.matches(database, table) && glob(&self.column, &column.to_lowercase())
    }
}

/// Linear in practice: on a mismatch only the last star takes one more character.
fn glob(pattern: &[char], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut at_pattern, mut at_text) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while at_text < text.len() {
        match pattern.get(at_pattern) {
            Some('*') => {
                last_star = Some((at_pattern, at_text));
                at_pattern += 1;
            }
            Some(wanted) if *wanted == '?' || *wanted == text[at_text] => {
                at_pattern += 1;
                at_text += 1;
            }
            _ => match last_star {
                Some((star, taken)) => {
                    last_star = Some((star, taken + 1));
                    at_pattern = star + 1;
                    at_text = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at_pattern..].iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_match() {
        let matches = |pattern: &str, database: &str, table: &str| {
            Pattern::parse(pattern)
                .expect("a good pattern")
                .matches(database, table)
        };
        assert!(matches("bank.*", "bank", "accounts"));
        assert!(!matches("bank.*", "banks", "accounts"));
        assert!(matches("b?nk.*a*s", "bank", "xxaaazs"));
        assert!(!matches("bank.orders", "bank", "Orders"));
        assert!(matches("*.*", "bank", "a.b"));
        assert!(matches("bank.a.b", "bank", "a.b"));
        assert!(!matches("bank.?", "bank", ""));
    }

    #[test]
    fn a_pattern_without_both_names_is_refused() {
        for wrong in ["bank", "bank.", ".orders", ""] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
    }
}
