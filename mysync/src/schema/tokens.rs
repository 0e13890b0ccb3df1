//! The words of an SQL statement, as MySQL's own scanner takes it apart.

use std::iter::Peekable;
use std::vec::IntoIter;

/// Bits of sql_mode that decide how a statement reads.
const ANSI_QUOTES: u64 = 1 << 2;
const NO_BACKSLASH_ESCAPES: u64 = 1 << 20;

/// How the session that ran a statement reads quotes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quoting {
    /// `"a"` is a name.
    pub ansi_quotes: bool,
    /// A backslash in a string is a backslash.
    pub plain_backslash: bool,
}

impl Quoting {
    /// Of a session with this sql_mode.
    #[must_use]
    pub fn of(sql_mode: u64) -> Self {
        Self {
            ansi_quotes: sql_mode & ANSI_QUOTES != 0,
            plain_backslash: sql_mode & NO_BACKSLASH_ESCAPES != 0,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A bare word or a number, as written.
    Word(String),
    /// A name in quotes.
    Quoted(String),
    /// The content of a string.
    Text(String),
    /// Anything else.
    Sign(char),
}

/// The rest of a statement.
#[derive(Debug, Clone)]
pub(super) struct Tokens(Peekable<IntoIter<Token>>);

impl Tokens {
    pub(super) fn new(text: &str, quoting: Quoting) -> Self {
        Self::of(tokenize(text, quoting))
    }

    pub(super) fn of(tokens: Vec<Token>) -> Self {
        Self(tokens.into_iter().peekable())
    }

    pub(super) fn is_empty(&mut self) -> bool {
        self.0.peek().is_none()
    }

    pub(super) fn next(&mut self) -> Option<Token> {
        self.0.next()
    }

    pub(super) fn peek(&mut self) -> Option<&Token> {
        self.0.peek()
    }

    /// The next word in upper case; none if anything else comes.
    pub(super) fn word(&mut self) -> Option<String> {
        match self.0.next_if(|token| matches!(token, Token::Word(_))) {
            Some(Token::Word(word)) => Some(word.to_ascii_uppercase()),
            _ => None,
        }
    }

    /// The next word in upper case, left in place; empty if anything else comes.
    pub(super) fn word_ahead(&mut self) -> String {
        match self.0.peek() {
            Some(Token::Word(word)) => word.to_ascii_uppercase(),
            _ => String::new(),
        }
    }

    pub(super) fn skip(&mut self, word: &str) -> bool {
        self.0
            .next_if(|token| matches!(token, Token::Word(next) if next.eq_ignore_ascii_case(word)))
            .is_some()
    }

    /// Skips these words if all of them come, else nothing.
    pub(super) fn skip_all(&mut self, words: &[&str]) -> bool {
        let mut ahead = self.clone();
        if words.iter().all(|word| ahead.skip(word)) {
            *self = ahead;
            return true;
        }
        false
    }

    pub(super) fn skip_sign(&mut self, sign: char) -> bool {
        self.0.next_if_eq(&Token::Sign(sign)).is_some()
    }

    pub(super) fn name(&mut self) -> Option<String> {
        match self
            .0
            .next_if(|token| matches!(token, Token::Word(_) | Token::Quoted(_)))
        {
            Some(Token::Word(name) | Token::Quoted(name)) => Some(name),
            _ => None,
        }
    }

    pub(super) fn text(&mut self) -> Option<String> {
        match self.0.next_if(|token| matches!(token, Token::Text(_))) {
            Some(Token::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub(super) fn number(&mut self) -> Option<u32> {
        let Some(Token::Word(word)) = self.0.peek() else {
            return None;
        };
        let number = word.parse().ok()?;
        self.0.next();
        Some(number)
    }

    /// `table` or `database.table`; `schema` is the default database.
    pub(super) fn table(&mut self, schema: &str) -> Option<(String, String)> {
        let first = self.name()?;
        if self.skip_sign('.') {
            return Some((first, self.name()?));
        }
        Some((schema.to_owned(), first))
    }

    /// What stands in the parentheses that come next; none if none come, or if they do not end.
    pub(super) fn group(&mut self) -> Option<Tokens> {
        let mut ahead = self.clone();
        if !ahead.skip_sign('(') {
            return None;
        }
        let (mut inside, mut depth) = (Vec::new(), 1_u32);
        while let Some(token) = ahead.next() {
            match token {
                Token::Sign('(') => depth += 1,
                Token::Sign(')') => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                *self = ahead;
                return Some(Tokens::of(inside));
            }
            inside.push(token);
        }
        None
    }

    /// The parts between commas that stand in no parentheses.
    pub(super) fn parts(self) -> Vec<Tokens> {
        let (mut parts, mut depth) = (vec![Vec::new()], 0_i32);
        for token in self.0 {
            match token {
                Token::Sign('(') => depth += 1,
                Token::Sign(')') => depth -= 1,
                Token::Sign(',') if depth == 0 => {
                    parts.push(Vec::new());
                    continue;
                }
                _ => {}
            }
            if let Some(part) = parts.last_mut() {
                part.push(token);
            }
        }
        parts.into_iter().map(Tokens::of).collect()
    }
}

/// Splits a statement; comments vanish, the text of `/*! … */` stays since the server executes it: it defuses those that it
/// does not, before it logs them.
fn tokenize(text: &str, quoting: Quoting) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let used = if first.is_whitespace() || rest.starts_with("*/") {
            if first.is_whitespace() { first.len_utf8() } else { 2 }
        } else if let Some(executed) = rest.strip_prefix("/*!") {
            3 + executed.bytes().take_while(u8::is_ascii_digit).count()
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if first == '#' || is_dash_comment(rest) {
            rest.find('\n').unwrap_or(rest.len())
        } else if matches!(first, '`' | '\'' | '"') {
            let is_name = first == '`' || (first == '"' && quoting.ansi_quotes);
            let (content, used) = quoted(rest, first, !is_name && !quoting.plain_backslash);
            tokens.push(if is_name {
                Token::Quoted(content)
            } else {
                Token::Text(content)
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

/// Two dashes are a comment only before a blank or the end.
fn is_dash_comment(rest: &str) -> bool {
    rest.strip_prefix("--").is_some_and(|after| {
        after
            .chars()
            .next()
            .is_none_or(|next| next.is_whitespace() || next.is_control())
    })
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '$') || !character.is_ascii()
}

/// The content of a quoted text at the start of `rest`, and how many bytes it took. A doubled quote stands for itself.
fn quoted(rest: &str, quote: char, with_escapes: bool) -> (String, usize) {
    let mut content = String::new();
    let mut characters = rest.char_indices().skip(1).peekable();
    while let Some((index, character)) = characters.next() {
        if character == quote {
            if characters.next_if(|&(_, next)| next == quote).is_none() {
                return (content, index + quote.len_utf8());
            }
            content.push(quote);
        } else if character == '\\' && with_escapes {
            match characters.next() {
                Some((_, '0')) => content.push('\0'),
                Some((_, 'b')) => content.push('\u{8}'),
                Some((_, 'n')) => content.push('\n'),
                Some((_, 'r')) => content.push('\r'),
                Some((_, 't')) => content.push('\t'),
                Some((_, 'Z')) => content.push('\u{1a}'),
                // Before these it stands for itself, for LIKE's sake.
                Some((_, other @ ('%' | '_'))) => content.extend(['\\', other]),
                Some((_, other)) => content.push(other),
                None => {}
            }
        } else {
            content.push(character);
        }
    }
    (content, rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str, quoting: Quoting) -> Vec<Token> {
        tokenize(text, quoting)
    }

    #[test]
    fn quotes_and_comments_read_as_the_session_reads_them() {
        let word = |text: &str| Token::Word(text.into());
        let plain = Quoting::default();
        assert_eq!(
            tokens("a/*!50100 b*/ -- c\n --1 # d\n'it''s\\n\\\\' `x``y` /* z */", plain),
            [
                word("a"),
                word("b"),
                Token::Sign('-'),
                Token::Sign('-'),
                word("1"),
                Token::Text("it's\n\\".into()),
                Token::Quoted("x`y".into()),
            ]
        );
        assert_eq!(tokens("\"a\"", plain), [Token::Text("a".into())]);
        assert_eq!(tokens("\"a\"", Quoting::of(4)), [Token::Quoted("a".into())]);
        assert_eq!(tokens("'a\\'", Quoting::of(1 << 20)), [Token::Text("a\\".into())]);
        assert_eq!(tokens("'unended", plain), [Token::Text("unended".into())]);
    }

    #[test]
    fn groups_and_parts_keep_parentheses_together() {
        let mut all = Tokens::new("(a (b, c), d) e", Quoting::default());
        let parts = all.group().unwrap().parts();
        assert_eq!(parts.len(), 2);
        assert!(all.skip("E") && all.is_empty());
        assert!(Tokens::new("(a", Quoting::default()).group().is_none());
    }
}
