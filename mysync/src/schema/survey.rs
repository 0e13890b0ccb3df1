//! Which tables the statements ahead are about, and what the tables are at the end of the binlog.

use super::history::is_within;
use super::{Change, EventEnd, TableChange, TableName, TableSchema};
use std::collections::{BTreeMap, BTreeSet};

/// What was seen between one place in the binlog and a later one.
#[derive(Debug, Default)]
pub struct SurveyDraft {
    /// The last statement about each table; an empty table stands for its database, two empty names for everything.
    last: BTreeMap<TableName, EventEnd>,
}

impl SurveyDraft {
    /// Takes a statement in.
    pub fn note(&mut self, changes: &[TableChange], at: EventEnd) {
        for change in changes {
            self.last.insert((change.database.clone(), change.table.clone()), at);
            if let Change::RenameTo { database, table } = &change.change {
                self.last.insert((database.clone(), table.clone()), at);
            }
        }
    }

    /// Takes a statement in that is not understood: it may be about any table.
    pub fn note_unknown(&mut self, at: EventEnd) {
        self.last.insert(TableName::default(), at);
    }

    /// The tables that statements were about.
    pub fn tables(&self) -> BTreeSet<TableName> {
        let is_table = |name: &&TableName| !name.1.is_empty();
        self.last.keys().filter(is_table).cloned().collect()
    }

    /// With the tables as they were at some place up to which all statements have been taken in, as they have up to `until`.
    #[must_use]
    pub fn complete(self, now: BTreeMap<TableName, Option<TableSchema>>, until: EventEnd) -> Survey {
        Survey {
            last: self.last,
            now,
            until,
        }
    }
}

/// Tables as they are NOW, and up to where back they have been so.
#[derive(Debug)]
pub struct Survey {
    last: BTreeMap<TableName, EventEnd>,
    now: BTreeMap<TableName, Option<TableSchema>>,
    until: EventEnd,
}

impl Survey {
    /// Whether it can tell what a table is at a place.
    #[must_use]
    pub fn covers(&self, name: &TableName, at: EventEnd) -> bool {
        at <= self.until && self.now.contains_key(name)
    }

    /// The table as it has been since `at`, none if there is no such table; or else the end of a later statement about it.
    pub fn table(&self, name: &TableName, at: EventEnd) -> Result<Option<&TableSchema>, EventEnd> {
        let is_about = |named: &TableName| named.0.is_empty() || is_within(name, named);
        let last = self
            .last
            .iter()
            .filter(|(named, _)| is_about(named))
            .map(|(_, end)| *end)
            .max();
        match last {
            Some(end) if end > at => Err(end),
            _ => Ok(self.now.get(name).and_then(Option::as_ref)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Quoting, Statement, classify};
    use super::*;

    fn changes(text: &str) -> Vec<TableChange> {
        match classify(text, "d", Quoting::default()) {
            Statement::Ddl(changes) => changes,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_table_is_as_it_was_only_back_to_the_last_statement_about_it() {
        let mut draft = SurveyDraft::default();
        draft.note(&changes("ALTER TABLE a ADD COLUMN x INT"), (1, 100));
        draft.note(&changes("RENAME TABLE b TO c"), (1, 200));
        draft.note(&changes("DROP DATABASE e"), (2, 50));
        let name = |database: &str, table: &str| (database.to_owned(), table.to_owned());
        assert!(draft.tables().contains(&name("d", "c")) && !draft.tables().contains(&name("e", "")));
        let table = TableSchema {
            columns: Vec::new(),
            primary_key: Vec::new(),
            charset: None,
        };
        let tables = ["a", "b", "c", "z"].map(|table_name| (name("d", table_name), Some(table.clone())));
        let mut survey = draft.complete(tables.into(), (2, 60));
        assert!(survey.covers(&name("d", "a"), (2, 60)));
        assert!(!survey.covers(&name("d", "a"), (2, 61)) && !survey.covers(&name("d", "y"), (1, 0)));
        assert_eq!(survey.table(&name("d", "a"), (1, 99)), Err((1, 100)));
        assert_eq!(survey.table(&name("d", "a"), (1, 100)), Ok(Some(&table)));
        assert_eq!(survey.table(&name("d", "b"), (1, 150)), Err((1, 200)));
        assert_eq!(survey.table(&name("d", "c"), (1, 150)), Err((1, 200)));
        assert_eq!(survey.table(&name("d", "z"), (0, 0)), Ok(Some(&table)));
        assert_eq!(survey.table(&name("e", "t"), (2, 0)), Err((2, 50)));
        assert_eq!(survey.table(&name("e", "t"), (2, 50)), Ok(None));
        survey.last.insert(TableName::default(), (3, 0));
        assert_eq!(survey.table(&name("d", "z"), (2, 0)), Err((3, 0)));
    }
}
