//! One column: its definition in SQL, what is kept of it, and what a Table_map must say to agree.

use super::sql_type::SqlType;
use super::tokens::{Token, Tokens};
use crate::decode::{self, Charset, ColumnSchema};

/// Collation of bytes.
const COLLATION_BINARY: u16 = 63;

/// A column as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name as it was given.
    pub name: String,
    /// Type.
    pub sql_type: SqlType,
    /// Character set of text, ENUM and SET; `None` if there is none, or where it comes from a default that is not known.
    pub charset: Option<String>,
    /// Whether NULL is possible; `None` where settings of the session decide.
    pub nullable: Option<bool>,
}

/// Where a column goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Place {
    /// Behind the last one, or where it was.
    #[default]
    Unchanged,
    /// Before the first one.
    First,
    /// Behind another.
    After(String),
}

/// A column's definition in a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// The column.
    pub column: Column,
    /// Where it goes.
    pub place: Place,
    /// It is the primary key.
    pub is_primary_key: bool,
    /// Rows that are there already get NULL in it.
    pub fills_with_null: bool,
    /// Its foreign key deletes or changes rows when the parent's row goes.
    pub cascades: bool,
    /// What follows belongs to the table.
    pub ended_by_table_option: bool,
}

impl Definition {
    /// Reads `name type attributes…`; none if any of it is not understood.
    pub(super) fn parse(tokens: &mut Tokens) -> Option<Self> {
        let name = tokens.name()?;
        Self::parse_after_name(name, tokens)
    }

    pub(super) fn parse_after_name(name: String, tokens: &mut Tokens) -> Option<Self> {
        let (sql_type, implied) = SqlType::parse(tokens)?;
        let mut attributes = Attributes {
            charset: implied.charset.map(str::to_owned),
            nullable: if implied.serial { Some(false) } else { None },
            is_default_null: !implied.serial,
            ..Attributes::default()
        };
        while !tokens.is_empty() && attributes.take(tokens)? {}
        let mut column = Column {
            name,
            sql_type,
            charset: attributes.charset,
            nullable: attributes.nullable,
        };
        if column.charset.as_deref() == Some("binary") {
            column.sql_type = column.sql_type.as_bytes();
            column.charset = column.charset.filter(|_| column.sql_type.has_charset());
        }
        if !column.sql_type.has_charset() {
            column.charset = None;
        }
        // A TIMESTAMP without either word is NOT NULL, and gets the time by default, with explicit_defaults_for_timestamp off.
        if column.nullable.is_none() && !column.sql_type.is_timestamp() {
            column.nullable = Some(true);
        }
        Some(Self {
            fills_with_null: column.nullable == Some(true) && attributes.is_default_null,
            column,
            place: attributes.place,
            is_primary_key: attributes.is_primary_key,
            cascades: attributes.cascades,
            ended_by_table_option: attributes.ended_by_table_option,
        })
    }
}

#[derive(Default)]
struct Attributes {
    charset: Option<String>,
    nullable: Option<bool>,
    is_default_null: bool,
    is_primary_key: bool,
    cascades: bool,
    place: Place,
    ended_by_table_option: bool,
}

impl Attributes {
    /// Takes one attribute; false at the end of the definition, none if it is not understood.
    fn take(&mut self, tokens: &mut Tokens) -> Option<bool> {
        let word = tokens.word_ahead();
        if word == "PARTITION" || (word.is_empty() && !tokens.is_empty()) {
            self.ended_by_table_option = word == "PARTITION";
            return self.ended_by_table_option.then_some(false);
        }
        tokens.next();
        match word.as_str() {
            "NOT" if tokens.skip("NULL") => self.nullable = Some(false),
            "NOT" if tokens.skip("SECONDARY") || tokens.skip("ENFORCED") => {}
            "NULL" => self.nullable = Some(true),
            "ENFORCED" | "VISIBLE" | "INVISIBLE" | "VIRTUAL" | "STORED" => {}
            "DEFAULT" => self.is_default_null = default_value(tokens)?,
            "ON" if tokens.skip("UPDATE") => drop(default_value(tokens)?),
            "AUTO_INCREMENT" => self.not_null(),
            "SERIAL" if tokens.skip_all(&["DEFAULT", "VALUE"]) => self.not_null(),
            "UNIQUE" => drop(tokens.skip("KEY")),
            "PRIMARY" if tokens.skip("KEY") => self.primary_key(),
            "KEY" => self.primary_key(),
            "COMMENT" => drop(tokens.text()?),
            "COLLATE" => self.charset = Some(charset_of_collation(&tokens.name().or_else(|| tokens.text())?)?),
            "CHARACTER" | "CHARSET" => {
                if word == "CHARACTER" && !tokens.skip("SET") {
                    return None;
                }
                let name = tokens.name().or_else(|| tokens.text())?;
                self.charset = Some(charset(&name)?);
            }
            "ASCII" => self.charset = Some("latin1".into()),
            "UNICODE" => self.charset = Some("ucs2".into()),
            "BYTE" => self.charset = Some("binary".into()),
            // The character set's binary collation.
            "BINARY" => {}
            "COLUMN_FORMAT" | "STORAGE" => drop(tokens.word()?),
            "SRID" => drop(tokens.number()?),
            "ENGINE_ATTRIBUTE" | "SECONDARY_ENGINE_ATTRIBUTE" => {
                tokens.skip_sign('=');
                tokens.text()?;
            }
            "GENERATED" if tokens.skip_all(&["ALWAYS", "AS"]) => self.generated(tokens)?,
            "AS" => self.generated(tokens)?,
            "CONSTRAINT" => {
                if tokens.word_ahead() != "CHECK" {
                    tokens.name()?;
                }
            }
            "CHECK" => drop(tokens.group()?),
            "REFERENCES" => self.cascades |= references_cascade(tokens)?,
            "FIRST" => self.place = Place::First,
            "AFTER" => self.place = Place::After(tokens.name()?),
            _ => return None,
        }
        Some(true)
    }

    fn not_null(&mut self) {
        self.nullable = Some(false);
        self.is_default_null = false;
    }

    fn primary_key(&mut self) {
        self.nullable = Some(false);
        self.is_primary_key = true;
    }

    fn generated(&mut self, tokens: &mut Tokens) -> Option<()> {
        tokens.group()?;
        self.is_default_null = false;
        Some(())
    }
}

/// Takes the value behind DEFAULT or ON UPDATE; whether it is NULL.
fn default_value(tokens: &mut Tokens) -> Option<bool> {
    if tokens.group().is_some() {
        return Some(false);
    }
    while tokens.skip_sign('-') || tokens.skip_sign('+') {}
    if tokens.skip("NULL") {
        return Some(true);
    }
    match tokens.next()? {
        Token::Text(_) => while tokens.text().is_some() {},
        Token::Word(word) if word.starts_with(|first: char| first.is_ascii_digit()) => rest_of_number(&word, tokens),
        Token::Sign('.') => rest_of_number(&tokens.word()?, tokens),
        // A function, or a character set before a string.
        Token::Word(_) => drop(tokens.group().map(drop).or_else(|| tokens.text().map(drop))),
        _ => return None,
    }
    Some(false)
}

/// `1.5e-3` is several tokens.
fn rest_of_number(first: &str, tokens: &mut Tokens) {
    let mut last = first.to_owned();
    loop {
        let is_exponent = last.ends_with(['e', 'E']) && !last.starts_with("0x");
        let goes_on = tokens.skip_sign('.') || (is_exponent && (tokens.skip_sign('-') || tokens.skip_sign('+')));
        let next_is_digits =
            matches!(tokens.peek(), Some(Token::Word(word)) if word.starts_with(|first: char| first.is_ascii_digit()));
        if !goes_on || !next_is_digits {
            return;
        }
        last = tokens.word().unwrap_or_default();
    }
}

/// Takes what follows REFERENCES; whether rows of the child change with the parent's.
pub(super) fn references_cascade(tokens: &mut Tokens) -> Option<bool> {
    tokens.table("")?;
    tokens.group();
    if tokens.skip("MATCH") {
        tokens.word()?;
    }
    let mut cascades = false;
    while tokens.skip("ON") {
        if !tokens.skip("DELETE") && !tokens.skip("UPDATE") {
            return None;
        }
        match tokens.word()?.as_str() {
            "CASCADE" => cascades = true,
            "SET" if tokens.skip("NULL") => cascades = true,
            "SET" if tokens.skip("DEFAULT") => {}
            "NO" if tokens.skip("ACTION") => {}
            "RESTRICT" => {}
            _ => return None,
        }
    }
    Some(cascades)
}

/// A character set by its name, in lower case and without synonyms; none if it is not known.
pub(crate) fn charset(name: &str) -> Option<String> {
    Charset::of_name(&name.to_ascii_lowercase()).map(|charset| charset.name().to_owned())
}

/// The character set that a collation is of: the beginning of its name.
pub(crate) fn charset_of_collation(collation: &str) -> Option<String> {
    charset(collation.split('_').next()?)
}

impl Column {
    /// Members are compared and shown as text, so they must have come through the column's character set unharmed.
    pub(super) fn has_reliable_members(&self) -> bool {
        self.sql_type.has_only_ascii_members() || self.charset.as_deref().is_some_and(|name| name.starts_with("utf"))
    }

    /// What the decoder needs.
    pub(super) fn supply(&self) -> ColumnSchema {
        let collation = match &self.charset {
            Some(name) => Charset::collation_of_name(name),
            None if self.sql_type.has_charset() => None,
            None => Some(COLLATION_BINARY),
        };
        ColumnSchema {
            name: self.name.clone(),
            unsigned: self.sql_type.is_unsigned(),
            collation,
            members: self.sql_type.members().to_vec(),
            geometry_type: self.sql_type.geometry_type(),
        }
    }

    /// In what a Table_map's column is another one; none if it can be this one.
    pub(super) fn difference(&self, found: &decode::Column) -> Option<String> {
        let charset = self.charset.as_deref().and_then(Charset::of_name);
        let found_charset = found.collation.map(Charset::of_collation);
        if !self.sql_type.agrees(found.column_type, charset.or(found_charset)) {
            return Some(format!("{:?} instead of {}", found.column_type, self.sql_type));
        }
        if self.nullable.is_some_and(|nullable| nullable != found.nullable) {
            let words = if found.nullable {
                "NULL instead of NOT NULL"
            } else {
                "NOT NULL instead of NULL"
            };
            return Some(words.to_owned());
        }
        if let (Some(known), Some(found)) = (charset, found_charset)
            && known != found
        {
            return Some(format!("character set {} instead of {}", found.name(), known.name()));
        }
        None
    }

    /// As CONVERT TO CHARACTER SET makes it.
    pub(super) fn convert(&mut self, charset: &str) {
        if self.sql_type.has_charset() && self.charset.as_deref() != Some("binary") {
            self.charset = Some(charset.to_owned());
        }
    }
}

/// Whether two names are one column's: they are compared without case.
pub(super) fn is_same_name(one: &str, other: &str) -> bool {
    one == other || one.to_lowercase() == other.to_lowercase()
}
