//! What a statement in the binlog means for tables: which it names, whether rows change without row events, and, as far as
//! it can be told exactly, what becomes of the columns.
//!
//! A statement that is not recognised is [`Statement::Unknown`]; a part of one that is not understood counts as one that
//! changes rows and leaves the columns unknown.

use super::alter::{self, Clause};
use super::create::{self, Columns, Create};
use super::tokens::{Quoting, Tokens};

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
    /// It changes neither rows nor columns of a table.
    Harmless,
    /// It is about these tables, in the order in which it changes them.
    Ddl(Vec<TableChange>),
    /// Rows changed by a statement that is logged as text.
    Text,
    /// None of these.
    Unknown,
}

/// What a statement does to one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableChange {
    /// Database.
    pub database: String,
    /// Table; empty for all of the database.
    pub table: String,
    /// What becomes of it.
    pub change: Change,
}

impl TableChange {
    /// With the names as a server keeps them that keeps them in lower case.
    #[must_use]
    pub fn in_lower_case(mut self) -> Self {
        let lower = |name: &mut String| *name = name.to_lowercase();
        lower(&mut self.database);
        lower(&mut self.table);
        match &mut self.change {
            Change::RenameTo { database, table } => {
                lower(database);
                lower(table);
            }
            Change::Create(create) => {
                if let Columns::Like(database, table) = &mut create.columns {
                    lower(database);
                    lower(table);
                }
            }
            _ => {}
        }
        self
    }

    /// The tables that it names: its own, and the one that it becomes.
    pub fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        let new = match &self.change {
            Change::RenameTo { database, table } => Some((database.as_str(), table.as_str())),
            _ => None,
        };
        std::iter::once((self.database.as_str(), self.table.as_str())).chain(new)
    }
}

/// What becomes of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// CREATE TABLE.
    Create(Create),
    /// ALTER TABLE.
    Alter(Vec<Clause>),
    /// It has another name from now on.
    RenameTo {
        /// Its new database.
        database: String,
        /// Its new name.
        table: String,
    },
    /// DROP TABLE, DROP DATABASE.
    Drop,
    /// TRUNCATE.
    Truncate,
    /// EXCHANGE PARTITION: its rows change places with another table's.
    Exchange,
}

impl Change {
    /// Whether rows of the table change, or the table goes, and the binlog has no row events of that.
    #[must_use]
    pub fn changes_rows(&self) -> bool {
        match self {
            Change::Create(_) => false,
            Change::Alter(clauses) => clauses.iter().any(Clause::changes_rows),
            Change::RenameTo { .. } | Change::Drop | Change::Truncate | Change::Exchange => true,
        }
    }

    /// Whether rows that are read before and after it are the same rows in the same form.
    #[must_use]
    pub fn is_harmless_to_readers(&self) -> bool {
        let is_harmless = |clause: &Clause| {
            use Clause::{Cascade, DefaultCharset, DropConstraint, Harmless};
            matches!(clause, DefaultCharset(_) | Cascade | DropConstraint | Harmless)
        };
        matches!(self, Change::Alter(clauses) if clauses.iter().all(is_harmless))
    }

    /// Whether a foreign key is added by which rows of the table change when a parent's row goes or gets another key.
    #[must_use]
    pub fn adds_cascade(&self) -> bool {
        match self {
            Change::Create(create) => create.cascades,
            Change::Alter(clauses) => clauses.contains(&Clause::Cascade),
            _ => false,
        }
    }

    /// Whether a foreign key of the table may go by it.
    #[must_use]
    pub fn drops_constraint(&self) -> bool {
        matches!(self, Change::Alter(clauses) if clauses.contains(&Clause::DropConstraint))
    }

    /// What kind of statement it was, for people and programs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Change::Create(_) => "create",
            Change::Alter(_) => "alter",
            Change::RenameTo { .. } => "rename",
            Change::Drop => "drop",
            Change::Truncate => "truncate",
            Change::Exchange => "exchange",
        }
    }
}

/// Looks at a statement; `schema` is the default database.
#[must_use]
pub fn classify(text: &str, schema: &str, quoting: Quoting) -> Statement {
    let mut tokens = Tokens::new(text, quoting);
    let tokens = &mut tokens;
    let first = tokens.word().unwrap_or_default();
    let changes = match first.as_str() {
        "BEGIN" => return Statement::Begin,
        "START" if tokens.skip("TRANSACTION") => return Statement::Begin,
        "COMMIT" => return Statement::Commit,
        "ROLLBACK" if tokens.skip("TO") => return Statement::RollbackTo,
        "ROLLBACK" if tokens.skip_all(&["WORK", "TO"]) => return Statement::RollbackTo,
        "ROLLBACK" => return Statement::Rollback,
        "SAVEPOINT" | "RELEASE" => return Statement::Savepoint,
        "XA" => return Statement::Xa,
        "INSERT" | "UPDATE" | "DELETE" | "REPLACE" | "LOAD" | "CALL" | "DO" | "WITH" => return Statement::Text,
        "TRUNCATE" => truncate(tokens, schema),
        "DROP" => drop_statement(tokens, schema),
        "RENAME" if tokens.skip("TABLE") || tokens.skip("TABLES") => rename(tokens, schema),
        "ALTER" => alter::statement(tokens, schema),
        "CREATE" => create::statement(tokens, schema),
        "RENAME" | "GRANT" | "REVOKE" | "SET" | "ANALYZE" | "OPTIMIZE" | "REPAIR" | "CHECK" | "FLUSH" | "INSTALL"
        | "UNINSTALL" | "COMMENT" => return Statement::Harmless,
        _ => None,
    };
    match changes {
        Some(changes) if changes.is_empty() => Statement::Harmless,
        Some(changes) => Statement::Ddl(changes),
        None => Statement::Unknown,
    }
}

/// Nothing but the end, or what a server adds for itself.
fn ends(tokens: &mut Tokens) -> bool {
    tokens.skip_sign(';');
    tokens.is_empty()
}

fn truncate(tokens: &mut Tokens, schema: &str) -> Option<Vec<TableChange>> {
    tokens.skip("TABLE");
    let (database, table) = tokens.table(schema)?;
    ends(tokens).then(|| {
        vec![TableChange {
            database,
            table,
            change: Change::Truncate,
        }]
    })
}

/// Only that of the primary key says how rows are known.
fn drop_index(tokens: &mut Tokens, schema: &str) -> Option<Vec<TableChange>> {
    if !tokens.name()?.eq_ignore_ascii_case("PRIMARY") {
        return Some(Vec::new());
    }
    let (database, table) = tokens.skip("ON").then(|| tokens.table(schema)).flatten()?;
    Some(vec![TableChange {
        database,
        table,
        change: Change::Alter(vec![Clause::DropPrimaryKey]),
    }])
}

fn drop_statement(tokens: &mut Tokens, schema: &str) -> Option<Vec<TableChange>> {
    if tokens.skip("TEMPORARY") {
        return Some(Vec::new());
    }
    if tokens.skip("INDEX") {
        return drop_index(tokens, schema);
    }
    let is_database = tokens.skip("DATABASE") || tokens.skip("SCHEMA");
    if !is_database && !tokens.skip("TABLE") && !tokens.skip("TABLES") {
        return Some(Vec::new());
    }
    tokens.skip_all(&["IF", "EXISTS"]);
    let dropped = |(database, table)| TableChange {
        database,
        table,
        change: Change::Drop,
    };
    if is_database {
        let database = tokens.name()?;
        return ends(tokens).then(|| vec![dropped((database, String::new()))]);
    }
    let mut changes = Vec::new();
    loop {
        changes.push(dropped(tokens.table(schema)?));
        if !tokens.skip_sign(',') {
            let _ = tokens.skip("RESTRICT") || tokens.skip("CASCADE");
            return ends(tokens).then_some(changes);
        }
    }
}

fn rename(tokens: &mut Tokens, schema: &str) -> Option<Vec<TableChange>> {
    let mut changes = Vec::new();
    loop {
        let (database, table) = tokens.table(schema)?;
        if !tokens.skip("TO") {
            return None;
        }
        let (new_database, new_table) = tokens.table(schema)?;
        changes.push(TableChange {
            database,
            table,
            change: Change::RenameTo {
                database: new_database,
                table: new_table,
            },
        });
        if !tokens.skip_sign(',') {
            return ends(tokens).then_some(changes);
        }
    }
}

#[cfg(test)]
#[path = "statement/tests.rs"]
mod tests;
