//! CREATE TABLE.

use super::alter::{Clause, key, table_option};
use super::column::{Definition, Place};
use super::statement::{Change, TableChange};
use super::tokens::{Token, Tokens};

/// What CREATE TABLE makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Create {
    /// IF NOT EXISTS: nothing at all, if the table was there.
    pub if_not_exists: bool,
    /// Its columns.
    pub columns: Columns,
    /// It has a foreign key by which its rows change with a parent's.
    pub cascades: bool,
}

/// Columns of a new table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Columns {
    /// These.
    Listed {
        /// In order.
        definitions: Vec<Definition>,
        /// Columns of the primary key, in its order; `None` without one.
        primary_key: Option<Vec<String>>,
        /// The table's own character set; `None` if it is the database's.
        charset: Option<String>,
    },
    /// Those of another table.
    Like(String, String),
    /// Not understood.
    Unclear,
}

/// What follows CREATE. Of other things than tables nothing is known, nor needed.
pub(super) fn statement(tokens: &mut Tokens, schema: &str) -> Option<Vec<TableChange>> {
    if !tokens.skip("TABLE") {
        return Some(Vec::new());
    }
    let if_not_exists = tokens.skip_all(&["IF", "NOT", "EXISTS"]);
    let (database, table) = tokens.table(schema)?;
    let mut cascades = false;
    let mut rest = tokens.clone();
    let columns = columns(&mut rest, schema, &mut cascades);
    // What was not understood may hold a foreign key.
    if columns.is_none() {
        cascades = may_cascade(tokens.clone());
    }
    let create = Create {
        if_not_exists,
        columns: columns.unwrap_or(Columns::Unclear),
        cascades,
    };
    Some(vec![TableChange {
        database,
        table,
        change: Change::Create(create),
    }])
}

fn may_cascade(mut tokens: Tokens) -> bool {
    while let Some(token) = tokens.next() {
        let is_on = matches!(&token, Token::Word(word) if word.eq_ignore_ascii_case("ON"));
        if is_on
            && (tokens.skip("DELETE") || tokens.skip("UPDATE"))
            && (tokens.skip("CASCADE") || tokens.skip_all(&["SET", "NULL"]))
        {
            return true;
        }
    }
    false
}

fn columns(tokens: &mut Tokens, schema: &str, cascades: &mut bool) -> Option<Columns> {
    if tokens.skip("LIKE") {
        let (database, table) = tokens.table(schema)?;
        return tokens.is_empty().then_some(Columns::Like(database, table));
    }
    let mut group = tokens.group()?;
    if group.skip("LIKE") {
        let (database, table) = group.table(schema)?;
        return (group.is_empty() && tokens.is_empty()).then_some(Columns::Like(database, table));
    }
    let (mut definitions, mut primary_key) = (Vec::new(), None);
    for mut part in group.parts() {
        match key(&mut part)? {
            Some(Clause::AddPrimaryKey(columns)) => primary_key = Some(columns),
            Some(clause) => *cascades |= clause == Clause::Cascade,
            None => {
                let definition = Definition::parse(&mut part)?;
                if definition.place != Place::Unchanged || definition.ended_by_table_option {
                    return None;
                }
                if definition.is_primary_key {
                    primary_key = Some(vec![definition.column.name.clone()]);
                }
                *cascades |= definition.cascades;
                definitions.push(definition);
            }
        }
        if !part.is_empty() {
            return None;
        }
    }
    let mut options = Vec::new();
    while !tokens.is_empty() {
        tokens.skip_sign(',');
        // The columns of a SELECT would come on top; it is understood as no option, like anything else that is unknown.
        if !table_option(tokens, &mut options)? {
            break;
        }
    }
    let mut charset = None;
    for option in options {
        if let Clause::DefaultCharset(name) = option {
            charset = Some(name?);
        }
    }
    Some(Columns::Listed {
        definitions,
        primary_key,
        charset,
    })
}
