//! The clauses of ALTER TABLE.

use super::column::{self, Definition};
use super::statement::{Change, TableChange};
use super::tokens::{Token, Tokens};

/// What a clause of ALTER TABLE does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clause {
    /// ADD COLUMN.
    Add(Box<Definition>),
    /// DROP COLUMN.
    Drop(String),
    /// CHANGE COLUMN, and MODIFY COLUMN, which keeps the name.
    Change {
        /// The column that was.
        old: String,
        /// What it is now.
        new: Box<Definition>,
    },
    /// RENAME COLUMN.
    Rename {
        /// Name before.
        old: String,
        /// Name from now on.
        new: String,
    },
    /// ADD PRIMARY KEY.
    AddPrimaryKey(Vec<String>),
    /// DROP PRIMARY KEY.
    DropPrimaryKey,
    /// CONVERT TO CHARACTER SET; `None` for a default that is not known.
    Convert(Option<String>),
    /// The character set of columns to come.
    DefaultCharset(Option<String>),
    /// A foreign key that cascades.
    Cascade,
    /// A foreign key goes, or another constraint.
    DropConstraint,
    /// The columns stay, the rows may not: DROP PARTITION, IMPORT TABLESPACE, IGNORE.
    Rows,
    /// The rows and the columns stay.
    Harmless,
    /// Not understood.
    Unclear,
}

impl Clause {
    pub(super) fn changes_rows(&self) -> bool {
        match self {
            Clause::Add(definition) => !definition.fills_with_null,
            Clause::DefaultCharset(_) | Clause::Cascade | Clause::DropConstraint | Clause::Harmless => false,
            _ => true,
        }
    }
}

/// What follows ALTER. Of other things than tables nothing is known, nor needed.
pub(super) fn statement(tokens: &mut Tokens, schema: &str) -> Option<Vec<TableChange>> {
    let mut ignores = false;
    while let Some(word) = ["ONLINE", "OFFLINE", "IGNORE"].iter().find(|word| tokens.skip(word)) {
        ignores |= *word == "IGNORE";
    }
    if !tokens.skip("TABLE") {
        return Some(Vec::new());
    }
    let (database, table) = tokens.table(schema)?;
    let mut alter = Alter {
        schema,
        // ALTER IGNORE deletes rows that a new unique key has no place for.
        clauses: if ignores { vec![Clause::Rows] } else { Vec::new() },
        renamed: None,
        exchanged: None,
        is_ordered: false,
    };
    let of_partitions = is_about_partitions(tokens.clone());
    let parts = tokens.clone().parts();
    // A command for partitions stands alone, and its commas are between partitions.
    for mut part in parts.into_iter().take(if of_partitions { 1 } else { usize::MAX }) {
        if alter.take(&mut part).is_none() {
            alter.clauses.push(Clause::Unclear);
        }
    }
    let change_of = |(database, table), change| TableChange {
        database,
        table,
        change,
    };
    let own = (database, table);
    let mut changes = vec![change_of(own.clone(), Change::Alter(alter.clauses))];
    if let Some((database, table)) = alter.renamed {
        changes.push(change_of(own.clone(), Change::RenameTo { database, table }));
    }
    if let Some(other) = alter.exchanged {
        changes.push(change_of(own, Change::Exchange));
        changes.push(change_of(other, Change::Exchange));
    }
    Some(changes)
}

fn is_about_partitions(mut tokens: Tokens) -> bool {
    tokens.word();
    tokens.skip("PARTITION") && tokens.word_ahead() != "BY"
}

struct Alter<'a> {
    schema: &'a str,
    clauses: Vec<Clause>,
    renamed: Option<(String, String)>,
    exchanged: Option<(String, String)>,
    /// ORDER BY came, and its columns may go on.
    is_ordered: bool,
}

impl Alter<'_> {
    /// Takes one clause; none if any of it is not understood.
    fn take(&mut self, tokens: &mut Tokens) -> Option<()> {
        let word = tokens.word_ahead();
        let before = tokens.clone();
        tokens.next();
        match word.as_str() {
            "ADD" => self.add(tokens)?,
            "DROP" => self.drop(tokens)?,
            "MODIFY" => {
                tokens.skip("COLUMN");
                let new = Box::new(Definition::parse(tokens)?);
                let old = new.column.name.clone();
                self.defined(&new);
                self.clauses.push(Clause::Change { old, new });
            }
            "CHANGE" => {
                tokens.skip("COLUMN");
                let old = tokens.name()?;
                let new = Box::new(Definition::parse(tokens)?);
                self.defined(&new);
                self.clauses.push(Clause::Change { old, new });
            }
            "RENAME" => self.rename(tokens)?,
            "ALTER" => self.alter(tokens)?,
            "CONVERT" if tokens.skip("TO") && (tokens.skip("CHARSET") || tokens.skip_all(&["CHARACTER", "SET"])) => {
                let mut charset = match tokens.skip("DEFAULT") {
                    true => None,
                    false => column::charset(&tokens.name().or_else(|| tokens.text())?),
                };
                if tokens.skip("COLLATE") {
                    charset = column::charset_of_collation(&tokens.name().or_else(|| tokens.text())?);
                }
                self.clauses.push(Clause::Convert(charset));
            }
            "ORDER" if tokens.skip("BY") => {
                self.is_ordered = true;
                return order(tokens);
            }
            "DISABLE" | "ENABLE" if tokens.skip("KEYS") => {}
            "FORCE" | "UPGRADE" => drop(tokens.skip("PARTITIONING")),
            "WITH" | "WITHOUT" if tokens.skip("VALIDATION") => {}
            "DISCARD" | "IMPORT" => self.rows(tokens),
            "TRUNCATE" if tokens.skip("PARTITION") => self.rows(tokens),
            "EXCHANGE" if tokens.skip("PARTITION") => {
                tokens.name()?;
                if !tokens.skip_all(&["WITH", "TABLE"]) {
                    return None;
                }
                self.exchanged = Some(tokens.table(self.schema)?);
                while tokens.next().is_some() {}
            }
            // These move rows about, and lose none.
            "COALESCE" | "REORGANIZE" | "REBUILD" | "ANALYZE" | "CHECK" | "OPTIMIZE" | "REPAIR"
                if tokens.skip("PARTITION") =>
            {
                while tokens.next().is_some() {}
            }
            "REMOVE" if tokens.skip("PARTITIONING") => {}
            "SECONDARY_LOAD" | "SECONDARY_UNLOAD" => {}
            _ => {
                *tokens = before;
                if self.is_ordered && order(&mut tokens.clone()).is_some() {
                    return Some(());
                }
            }
        }
        // Options can follow each other, and the partitions follow them, without a comma.
        while !tokens.is_empty() && table_option(tokens, &mut self.clauses)? {}
        Some(())
    }

    fn rows(&mut self, tokens: &mut Tokens) {
        while tokens.next().is_some() {}
        self.clauses.push(Clause::Rows);
    }

    fn defined(&mut self, definition: &Definition) {
        if definition.cascades {
            self.clauses.push(Clause::Cascade);
        }
    }

    fn add(&mut self, tokens: &mut Tokens) -> Option<()> {
        if tokens.skip("PARTITION") {
            while tokens.next().is_some() {}
            return Some(());
        }
        if let Some(clause) = key(tokens)? {
            self.clauses.push(clause);
            return Some(());
        }
        tokens.skip("COLUMN");
        let mut columns = match tokens.group() {
            Some(group) => group.parts(),
            None => {
                let definition = Definition::parse(tokens)?;
                self.defined(&definition);
                self.clauses.push(Clause::Add(Box::new(definition)));
                return Some(());
            }
        };
        for part in &mut columns {
            match key(part)? {
                Some(clause) => self.clauses.push(clause),
                None => {
                    let definition = Definition::parse(part)?;
                    self.defined(&definition);
                    self.clauses.push(Clause::Add(Box::new(definition)));
                }
            }
            if !part.is_empty() {
                return None;
            }
        }
        Some(())
    }

    fn drop(&mut self, tokens: &mut Tokens) -> Option<()> {
        let word = tokens.word_ahead();
        match word.as_str() {
            "PRIMARY" => {
                self.clauses.push(Clause::DropPrimaryKey);
                return tokens.skip_all(&["PRIMARY", "KEY"]).then_some(());
            }
            "PARTITION" => {
                self.rows(tokens);
                return Some(());
            }
            "FOREIGN" => {
                tokens.next();
                self.clauses.push(Clause::DropConstraint);
                return tokens.skip("KEY").then(|| tokens.name()).flatten().map(drop);
            }
            "CONSTRAINT" => {
                tokens.next();
                self.clauses.push(Clause::DropConstraint);
                return tokens.name().map(drop);
            }
            "INDEX" | "KEY" => {
                tokens.next();
                let is_primary = tokens.name()?.eq_ignore_ascii_case("PRIMARY");
                self.clauses.extend(is_primary.then_some(Clause::DropPrimaryKey));
                return Some(());
            }
            "CHECK" => {
                tokens.next();
                return tokens.name().map(drop);
            }
            "COLUMN" => drop(tokens.next()),
            _ => {}
        }
        self.clauses.push(Clause::Drop(tokens.name()?));
        let _ = tokens.skip("RESTRICT") || tokens.skip("CASCADE");
        Some(())
    }

    fn rename(&mut self, tokens: &mut Tokens) -> Option<()> {
        if tokens.skip("COLUMN") {
            let old = tokens.name()?;
            let new = tokens.skip("TO").then(|| tokens.name()).flatten()?;
            self.clauses.push(Clause::Rename { old, new });
            return Some(());
        }
        if tokens.skip("INDEX") || tokens.skip("KEY") {
            tokens.name()?;
            return tokens.skip("TO").then(|| tokens.name()).flatten().map(drop);
        }
        let _ = tokens.skip("TO") || tokens.skip("AS") || tokens.skip_sign('=');
        self.renamed = Some(tokens.table(self.schema)?);
        Some(())
    }

    /// Defaults of a column, and what the optimizer sees: none of the stored rows changes.
    fn alter(&mut self, tokens: &mut Tokens) -> Option<()> {
        if tokens.skip("INDEX") || tokens.skip("CHECK") || tokens.skip("CONSTRAINT") {
            tokens.name()?;
            while tokens.next().is_some() {}
            return Some(());
        }
        tokens.skip("COLUMN");
        tokens.name()?;
        let understood = tokens.skip_all(&["DROP", "DEFAULT"])
            || tokens.skip_all(&["SET", "VISIBLE"])
            || tokens.skip_all(&["SET", "INVISIBLE"])
            || tokens.skip_all(&["SET", "DEFAULT"]);
        while tokens.next().is_some() {}
        understood.then_some(())
    }
}

/// One column of ORDER BY.
fn order(tokens: &mut Tokens) -> Option<()> {
    tokens.name()?;
    let _ = tokens.skip("ASC") || tokens.skip("DESC");
    tokens.is_empty().then_some(())
}

/// A key, a constraint or a foreign key in ADD or CREATE TABLE, if one comes; the outer none if it is not understood.
#[allow(clippy::option_option)] // "is none" and "is not understood" are two answers
pub(super) fn key(tokens: &mut Tokens) -> Option<Option<Clause>> {
    let mut ahead = tokens.clone();
    let mut word = ahead.word_ahead();
    if word == "CONSTRAINT" {
        ahead.next();
        if !matches!(ahead.word_ahead().as_str(), "PRIMARY" | "UNIQUE" | "FOREIGN" | "CHECK") {
            ahead.name()?;
        }
        word = ahead.word_ahead();
        if !matches!(word.as_str(), "PRIMARY" | "UNIQUE" | "FOREIGN" | "CHECK") {
            return None;
        }
    }
    ahead.next();
    let clause = match word.as_str() {
        "PRIMARY" if ahead.skip("KEY") => {
            while ahead.peek().is_some() && ahead.peek() != Some(&Token::Sign('(')) {
                ahead.next();
            }
            let mut columns = Vec::new();
            for mut part in ahead.group()?.parts() {
                columns.push(part.name()?);
            }
            Clause::AddPrimaryKey(columns)
        }
        "FOREIGN" if ahead.skip("KEY") => {
            while ahead.peek().is_some() && ahead.peek() != Some(&Token::Sign('(')) {
                ahead.next();
            }
            ahead.group()?;
            if !ahead.skip("REFERENCES") {
                return None;
            }
            match column::references_cascade(&mut ahead)? {
                true => Clause::Cascade,
                false => Clause::Harmless,
            }
        }
        "UNIQUE" | "INDEX" | "KEY" | "FULLTEXT" | "SPATIAL" => {
            while ahead.peek().is_some() && ahead.peek() != Some(&Token::Sign('(')) {
                ahead.next();
            }
            ahead.group()?;
            index_options(&mut ahead)?;
            *tokens = ahead;
            return Some(Some(Clause::Harmless));
        }
        "CHECK" => {
            ahead.group()?;
            ahead.skip("NOT");
            ahead.skip("ENFORCED");
            Clause::Harmless
        }
        _ => return Some(None),
    };
    if clause != Clause::Harmless && !matches!(clause, Clause::Cascade) {
        index_options(&mut ahead)?;
    }
    *tokens = ahead;
    Some(Some(clause))
}

fn index_options(tokens: &mut Tokens) -> Option<()> {
    loop {
        match tokens.word_ahead().as_str() {
            "USING" => {
                tokens.next();
                tokens.word()?;
            }
            "KEY_BLOCK_SIZE" | "COMMENT" | "ENGINE_ATTRIBUTE" | "SECONDARY_ENGINE_ATTRIBUTE" => {
                tokens.next();
                tokens.skip_sign('=');
                tokens.next()?;
            }
            "WITH" => {
                tokens.next();
                tokens.skip("PARSER").then(|| tokens.name()).flatten()?;
            }
            "VISIBLE" | "INVISIBLE" => drop(tokens.next()),
            _ => return Some(()),
        }
    }
}

/// Takes one option of a table; false at what is no option, none if it is not understood.
pub(super) fn table_option(tokens: &mut Tokens, clauses: &mut Vec<Clause>) -> Option<bool> {
    let is_default = tokens.skip("DEFAULT");
    let word = tokens.word()?;
    match word.as_str() {
        "PARTITION" if !is_default => {
            let mut depth = 0_i32;
            while let Some(token) = tokens.next() {
                match token {
                    Token::Sign('(') => depth += 1,
                    Token::Sign(')') => depth -= 1,
                    // Its columns would come on top.
                    Token::Word(word) if depth == 0 && word.eq_ignore_ascii_case("SELECT") => return None,
                    _ => {}
                }
            }
            return Some(false);
        }
        "CHARSET" | "CHARACTER" => {
            if word == "CHARACTER" && !tokens.skip("SET") {
                return None;
            }
            tokens.skip_sign('=');
            let name = tokens.name().or_else(|| tokens.text())?;
            clauses.push(Clause::DefaultCharset(column::charset(&name)));
        }
        "COLLATE" => {
            tokens.skip_sign('=');
            let name = tokens.name().or_else(|| tokens.text())?;
            clauses.push(Clause::DefaultCharset(column::charset_of_collation(&name)));
        }
        _ if is_default => return None,
        "ENGINE" | "TYPE" => {
            tokens.skip_sign('=');
            let engine = tokens.name().or_else(|| tokens.text())?.to_ascii_uppercase();
            // Others keep what they get in their own way, and BLACKHOLE nothing at all.
            clauses.push(match engine.as_str() {
                "INNODB" | "MYISAM" | "NDB" | "NDBCLUSTER" | "ROCKSDB" => Clause::Harmless,
                _ => Clause::Rows,
            });
        }
        "DATA" | "INDEX" if tokens.skip("DIRECTORY") => {
            tokens.skip_sign('=');
            tokens.text()?;
        }
        "START" if tokens.skip("TRANSACTION") => {}
        "STORAGE" => drop(tokens.word()?),
        "ALGORITHM"
        | "LOCK"
        | "COMMENT"
        | "AUTO_INCREMENT"
        | "AUTOEXTEND_SIZE"
        | "AVG_ROW_LENGTH"
        | "CHECKSUM"
        | "TABLE_CHECKSUM"
        | "COMPRESSION"
        | "CONNECTION"
        | "DELAY_KEY_WRITE"
        | "ENCRYPTION"
        | "ENGINE_ATTRIBUTE"
        | "INSERT_METHOD"
        | "KEY_BLOCK_SIZE"
        | "MAX_ROWS"
        | "MIN_ROWS"
        | "PACK_KEYS"
        | "PASSWORD"
        | "ROW_FORMAT"
        | "SECONDARY_ENGINE"
        | "SECONDARY_ENGINE_ATTRIBUTE"
        | "STATS_AUTO_RECALC"
        | "STATS_PERSISTENT"
        | "STATS_SAMPLE_PAGES"
        | "TABLESPACE" => {
            tokens.skip_sign('=');
            tokens.next()?;
        }
        _ => return None,
    }
    Some(true)
}
