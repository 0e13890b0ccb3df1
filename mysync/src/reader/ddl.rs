//! What a statement in the binlog means for the rows of tables: enough to stop where rows change without row events.
//!
//! Nothing is parsed to the end. A statement that is not recognised is [`Statement::Unknown`], and the reader stops at it.

use std::iter::Peekable;
use std::vec::IntoIter;

/// What a statement means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// BEGIN.
    Begin,
    /// COMMIT.
    Commit,
    /// ROLLBACK of the whole transaction.
    Rollback,
    /// ROLLBACK TO a savepoint.
    RollbackTo,
    /// SAVEPOINT, RELEASE SAVEPOINT.
    Savepoint,
    /// Any statement of XA.
    Xa,
    /// It leaves the rows of all tables as they are.
    Harmless,
    /// It changes rows of these tables, `(database, table)`; an empty table means all of the database.
    ChangesRows(Vec<(String, String)>),
    /// Rows changed by a statement that is logged as text.
    Text,
    /// None of these.
    Unknown,
}

/// Looks at a statement; `schema` is the default database.
#[must_use]
pub fn classify(text: &str, schema: &str) -> Statement {
    let mut tokens = Tokens {
        rest: tokenize(text).into_iter().peekable(),
        schema,
    };
    let first = tokens.word();
    match first.as_str() {
        "BEGIN" => Statement::Begin,
        "START" if tokens.skip("TRANSACTION") => Statement::Begin,
        "COMMIT" => Statement::Commit,
        "ROLLBACK" => match tokens.skip("TO") {
            true => Statement::RollbackTo,
            false => Statement::Rollback,
        },
        "SAVEPOINT" | "RELEASE" => Statement::Savepoint,
        "XA" => Statement::Xa,
        "INSERT" | "UPDATE" | "DELETE" | "REPLACE" | "LOAD" | "CALL" | "DO" => Statement::Text,
        "TRUNCATE" => {
            tokens.skip("TABLE");
            tokens.tables()
        }
        "DROP" => drop(&mut tokens),
        "RENAME" => match tokens.skip("TABLE") || tokens.skip("TABLES") {
            true => tokens.tables(),
            false => Statement::Harmless,
        },
        "ALTER" => alter(&mut tokens),
        "CREATE" | "GRANT" | "REVOKE" | "SET" | "ANALYZE" | "OPTIMIZE" | "REPAIR" | "CHECK" | "FLUSH" | "INSTALL"
        | "UNINSTALL" | "COMMENT" => Statement::Harmless,
        _ => Statement::Unknown,
    }
}

fn drop(tokens: &mut Tokens<'_>) -> Statement {
    if tokens.skip("TEMPORARY") {
        return Statement::Harmless;
    }
    let database = tokens.skip("DATABASE") || tokens.skip("SCHEMA");
    if !database && !tokens.skip("TABLE") && !tokens.skip("TABLES") {
        return Statement::Harmless;
    }
    if tokens.skip("IF") {
        tokens.skip("EXISTS");
    }
    if !database {
        return tokens.tables();
    }
    match tokens.name() {
        Some(name) => Statement::ChangesRows(vec![(name, String::new())]),
        None => Statement::Unknown,
    }
}

fn alter(tokens: &mut Tokens<'_>) -> Statement {
    while tokens.skip("ONLINE") || tokens.skip("OFFLINE") || tokens.skip("IGNORE") {}
    if !tokens.skip("TABLE") {
        return Statement::Harmless;
    }
    let Some(table) = tokens.table() else {
        return Statement::Unknown;
    };
    match tokens.clauses().iter().all(|clause| leaves_rows(clause)) {
        true => Statement::Harmless,
        false => Statement::ChangesRows(vec![table]),
    }
}

/// Whether a clause of ALTER TABLE, given by its first words, leaves the stored rows and their columns as they are.
fn leaves_rows(clause: &[String]) -> bool {
    let words: Vec<&str> = clause.iter().map(String::as_str).collect();
    matches!(
        words[..],
        [
            "ADD",
            "INDEX" | "KEY" | "UNIQUE" | "FULLTEXT" | "SPATIAL" | "FOREIGN" | "CHECK",
            ..
        ] | ["ADD", "CONSTRAINT", _, "UNIQUE" | "FOREIGN" | "CHECK", ..]
            | ["DROP", "INDEX" | "KEY" | "FOREIGN" | "CHECK" | "CONSTRAINT", ..]
            | ["RENAME", "INDEX" | "KEY", ..]
            | [
                "COMMENT"
                    | "AUTO_INCREMENT"
                    | "ALGORITHM"
                    | "LOCK"
                    | "ANALYZE"
                    | "ENGINE"
                    | "FORCE"
                    | "STATS_PERSISTENT",
                ..
            ]
            | ["ALTER", "INDEX", ..]
            | []
    )
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// A bare word, as written.
    Word(String),
    /// A name in backticks.
    Quoted(String),
    /// A string.
    Text,
    /// Anything else.
    Sign(char),
}

struct Tokens<'a> {
    rest: Peekable<IntoIter<Token>>,
    schema: &'a str,
}

impl Tokens<'_> {
    /// The next word in upper case, empty if it is none.
    fn word(&mut self) -> String {
        match self.rest.next() {
            Some(Token::Word(word)) => word.to_ascii_uppercase(),
            _ => String::new(),
        }
    }

    fn skip(&mut self, word: &str) -> bool {
        self.rest
            .next_if(|token| matches!(token, Token::Word(next) if next.eq_ignore_ascii_case(word)))
            .is_some()
    }

    fn skip_sign(&mut self, sign: char) -> bool {
        self.rest.next_if_eq(&Token::Sign(sign)).is_some()
    }

    fn name(&mut self) -> Option<String> {
        match self.rest.next() {
            Some(Token::Word(name) | Token::Quoted(name)) => Some(name),
            _ => None,
        }
    }

    fn table(&mut self) -> Option<(String, String)> {
        let first = self.name()?;
        if self.skip_sign('.') {
            return Some((first, self.name()?));
        }
        Some((self.schema.to_owned(), first))
    }

    /// `name[, name]…` and `name TO name[, …]`.
    fn tables(&mut self) -> Statement {
        let mut tables = Vec::new();
        loop {
            match self.table() {
                Some(table) => tables.push(table),
                None => return Statement::Unknown,
            }
            if !self.skip_sign(',') && !self.skip("TO") {
                return Statement::ChangesRows(tables);
            }
        }
    }

    /// The first words, in upper case, of each part between commas outside of parentheses.
    fn clauses(&mut self) -> Vec<Vec<String>> {
        let mut clauses = vec![Vec::new()];
        let mut depth = 0_i32;
        for token in self.rest.by_ref() {
            match token {
                Token::Sign('(') => depth += 1,
                Token::Sign(')') => depth -= 1,
                Token::Sign(',') if depth == 0 => clauses.push(Vec::new()),
                Token::Word(word) | Token::Quoted(word) if depth == 0 => {
                    if let Some(clause) = clauses.last_mut() {
                        clause.push(word.to_ascii_uppercase());
                    }
                }
                _ => {}
            }
        }
        clauses
    }
}

/// Splits a statement; comments vanish, the text of `/*! … */` stays since the server executes it.
fn tokenize(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let used = if first.is_whitespace() || rest.starts_with("*/") {
            if first.is_whitespace() { first.len_utf8() } else { 2 }
        } else if let Some(executed) = rest.strip_prefix("/*!") {
            3 + executed.bytes().take_while(u8::is_ascii_digit).count()
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if first == '#' || rest.starts_with("--") {
            rest.find('\n').unwrap_or(rest.len())
        } else if matches!(first, '`' | '\'' | '"') {
            let (content, used) = quoted(rest, first);
            tokens.push(if first == '`' {
                Token::Quoted(content)
            } else {
                Token::Text
            });
            used
        } else {
            let length = rest.find(|character: char| !is_name(character)).unwrap_or(rest.len());
            tokens.push(if length == 0 {
                Token::Sign(first)
            } else {
                Token::Word(rest[..length].to_owned())
            });
            length.max(first.len_utf8())
        };
        rest = &rest[used.min(rest.len())..];
    }
    tokens
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '$') || !character.is_ascii()
}

/// The content of a quoted text at the start of `rest`, and how many bytes it took. A doubled quote stands for itself.
fn quoted(rest: &str, quote: char) -> (String, usize) {
    let mut content = String::new();
    let mut characters = rest.char_indices().skip(1).peekable();
    while let Some((index, character)) = characters.next() {
        if character == quote {
            if characters.next_if(|&(_, next)| next == quote).is_none() {
                return (content, index + quote.len_utf8());
            }
        } else if character == '\\' && quote != '`' {
            characters.next();
            continue;
        }
        content.push(character);
    }
    (content, rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn changes(tables: &[(&str, &str)]) -> Statement {
        Statement::ChangesRows(
            tables
                .iter()
                .map(|(database, table)| (database.to_string(), table.to_string()))
                .collect(),
        )
    }

    #[test]
    fn statements_are_told_apart() {
        for (text, expected) in [
            ("BEGIN", Statement::Begin),
            ("COMMIT", Statement::Commit),
            ("ROLLBACK", Statement::Rollback),
            ("ROLLBACK TO `a`", Statement::RollbackTo),
            ("SAVEPOINT `a`", Statement::Savepoint),
            ("XA START X'61',X'',1", Statement::Xa),
            ("insert into t values (1)", Statement::Text),
            ("TRUNCATE t", changes(&[("shop", "t")])),
            ("truncate table `a.b`.`c``d`", changes(&[("a.b", "c`d")])),
            (
                "DROP TABLE IF EXISTS `a`,b.c /* generated by server */",
                changes(&[("shop", "a"), ("b", "c")]),
            ),
            ("DROP TEMPORARY TABLE a", Statement::Harmless),
            ("DROP /*!40005 TEMPORARY */ TABLE a", Statement::Harmless),
            ("DROP DATABASE IF EXISTS x", changes(&[("x", "")])),
            ("DROP INDEX i ON t", Statement::Harmless),
            (
                "/* online */ RENAME TABLE a TO b, c.d TO c.e",
                changes(&[("shop", "a"), ("shop", "b"), ("c", "d"), ("c", "e")]),
            ),
            ("RENAME USER a TO b", Statement::Harmless),
            (
                "ALTER TABLE t ADD INDEX (a, b), COMMENT 'x, DROP COLUMN y'",
                Statement::Harmless,
            ),
            ("ALTER TABLE t ADD INDEX (a), DROP COLUMN b", changes(&[("shop", "t")])),
            ("ALTER TABLE t ADD COLUMN a INT DEFAULT 5", changes(&[("shop", "t")])),
            (
                "ALTER TABLE t ADD CONSTRAINT c PRIMARY KEY (a)",
                changes(&[("shop", "t")]),
            ),
            ("ALTER USER a IDENTIFIED BY 'x'", Statement::Harmless),
            ("CREATE TABLE a (b int)", Statement::Harmless),
            ("-- c\n# d\nGRANT ALL ON *.* TO a", Statement::Harmless),
            ("IMPORT TABLE FROM 'x'", Statement::Unknown),
            ("", Statement::Unknown),
        ] {
            assert_eq!(classify(text, "shop"), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,80}", prefix in "(DROP TABLE |ALTER TABLE |/\\*!|`|'|--)?") {
            let _ = classify(&format!("{prefix}{text}"), "shop");
        }
    }
}
