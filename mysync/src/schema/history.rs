//! The tables as they are known at the reader's place, and the records that keep it so.

use super::statement::{Change, TableChange};
use super::table::{HINT, TableSchema};
use super::{EventEnd, Survey, TableName};
use crate::decode::TableMap;
use crate::error::{Error, Result};
use crate::queue::Scan;
use crate::tables::TableFilter;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The tables whose columns are known.
#[derive(Debug, Default)]
pub struct History {
    tables: BTreeMap<TableName, TableSchema>,
    /// Tables whose record is not the latest any more.
    changed: BTreeSet<TableName>,
    /// Tables that are not known, and why.
    unknown: BTreeMap<TableName, String>,
    /// Table_maps say what character set a column has, so it need not be known.
    charsets_in_events: bool,
}

/// Where a record of the schema topic was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Version of the next change.
    pub version: i64,
    /// Binlog file.
    pub file: String,
    /// Byte after the statement.
    pub offset: u64,
}

/// Value of a record of the schema topic.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored<T> {
    from: Origin,
    table: T,
}

impl History {
    /// Reads the topic back.
    pub async fn load(mut scan: Scan, charsets_in_events: bool) -> Result<Self> {
        let mut history = Self {
            charsets_in_events,
            ..Self::default()
        };
        let refuse = |error: serde_json::Error| {
            Error::definite("a record of the schema topic cannot be read")
                .detail(error)
                .hint("was it written by a newer version of mysync? run that version, or choose a new kafka.prefix to start anew")
        };
        while let Some(record) = scan.next().await? {
            let name: TableName = serde_json::from_slice(&record.key).map_err(refuse)?;
            match record.value {
                Some(value) => {
                    let stored: Stored<TableSchema> = serde_json::from_slice(&value).map_err(refuse)?;
                    history.tables.insert(name, stored.table);
                }
                None => drop(history.tables.remove(&name)),
            }
        }
        Ok(history)
    }

    /// Those of `tables` that are not known.
    #[must_use]
    pub fn missing(&self, tables: Vec<TableName>) -> Vec<TableName> {
        tables
            .into_iter()
            .filter(|name| !self.tables.contains_key(name))
            .collect()
    }

    /// Those that are known, and `tables`.
    #[must_use]
    pub fn known_and(&self, tables: Vec<TableName>) -> Vec<TableName> {
        let all: BTreeSet<TableName> = self.tables.keys().cloned().chain(tables).collect();
        all.into_iter().collect()
    }

    /// Applies a statement. Returns the followed tables that have to be looked up, as they cannot be told from it.
    pub fn apply(&mut self, changes: &[TableChange], filter: &TableFilter) -> Vec<TableName> {
        let mut unclear: BTreeMap<TableName, String> = BTreeMap::new();
        for change in changes {
            let name = (change.database.clone(), change.table.clone());
            let outcome = match &change.change {
                Change::Create(create) if create.if_not_exists && self.tables.contains_key(&name) => continue,
                Change::Create(create) if create.if_not_exists && self.unknown.contains_key(&name) => {
                    Err("it may have been there before")
                }
                Change::Create(create) => TableSchema::create(&create.columns, |database, table| {
                    self.tables.get(&(database.to_owned(), table.to_owned()))
                }),
                Change::Alter(clauses) => match self.tables.get(&name) {
                    Some(table) => table.alter(clauses),
                    None => Err("it was not known before"),
                },
                Change::RenameTo { database, table } => {
                    let new = (database.clone(), table.clone());
                    unclear.remove(&name);
                    self.unknown.remove(&name);
                    match self.forget(&name) {
                        Some(schema) => self.learn(new, schema),
                        None => {
                            self.forget(&new);
                            unclear.insert(new, "the table that was renamed to it was not known".into());
                        }
                    }
                    continue;
                }
                Change::Drop => {
                    self.drop(&name);
                    unclear.retain(|other, _| !is_within(other, &name));
                    continue;
                }
                Change::Truncate | Change::Exchange => continue,
            };
            match outcome.and_then(|table| self.require_charsets(table)) {
                Ok(table) if self.tables.get(&name) == Some(&table) => {}
                Ok(table) if filter.follows_any(&name.0, "") => self.learn(name, table),
                // Of a table that is not followed nothing is kept, not what was known of it while it was, either.
                Ok(_) => drop(self.forget(&name)),
                Err(why) => {
                    self.forget(&name);
                    unclear.insert(name, why.to_owned());
                }
            }
        }
        unclear.retain(|(database, table), _| filter.follows(database, table));
        let names = unclear.keys().cloned().collect();
        self.unknown.extend(unclear);
        names
    }

    /// Where the binlog does not say it, each text column's character set must be known.
    fn require_charsets(&self, table: TableSchema) -> Result<TableSchema, &'static str> {
        let lacks = |column: &super::Column| column.sql_type.has_charset() && column.charset.is_none();
        match !self.charsets_in_events && table.columns.iter().any(lacks) {
            true => Err("the character set of a column comes from a default that is not known"),
            false => Ok(table),
        }
    }

    /// Takes tables over from a survey: those that no later statement is about.
    pub fn look_up(&mut self, names: &[TableName], at: EventEnd, survey: &Survey) {
        for name in names {
            match survey.table(name, at) {
                Ok(Some(table)) => self.learn(name.clone(), table.clone()),
                Ok(None) => {
                    self.forget(name);
                    self.unknown
                        .entry(name.clone())
                        .or_insert_with(|| "it is not there any more".into());
                }
                Err(later) => {
                    let why = self.unknown.remove(name);
                    let why = why.unwrap_or_else(|| "it was not known before".into());
                    let why = format!(
                        "{why}, and a later statement is about it, too, at {}:{}",
                        later.0, later.1
                    );
                    self.unknown.insert(name.clone(), why);
                }
            }
        }
    }

    fn learn(&mut self, name: TableName, table: TableSchema) {
        self.unknown.remove(&name);
        self.changed.insert(name.clone());
        self.tables.insert(name, table);
    }

    fn forget(&mut self, name: &TableName) -> Option<TableSchema> {
        let table = self.tables.remove(name)?;
        self.changed.insert(name.clone());
        Some(table)
    }

    fn drop(&mut self, dropped: &TableName) {
        let names: Vec<TableName> = self
            .tables
            .keys()
            .filter(|name| is_within(name, dropped))
            .cloned()
            .collect();
        for name in &names {
            self.forget(name);
        }
        self.unknown.retain(|name, _| !is_within(name, dropped));
    }

    /// Keys and values of the records that are due: no value where a table is not known any more.
    pub fn records(&mut self, from: &Origin) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let changed = std::mem::take(&mut self.changed);
        let record = |name: TableName| {
            let value = self.tables.get(&name).map(|table| {
                let from = from.clone();
                serde_json::to_vec(&Stored { from, table }).unwrap_or_default()
            });
            (serde_json::to_vec(&name).unwrap_or_default(), value)
        };
        changed.into_iter().map(record).collect()
    }

    /// Adds to a Table_map what the binlog does not say.
    pub fn supply(&self, map: &mut TableMap) -> Result<()> {
        let name = (map.database.clone(), map.table.clone());
        if let Some(table) = self.tables.get(&name) {
            return table.supply(map);
        }
        let why = self
            .unknown
            .get(&name)
            .map_or("no statement and no server told them", String::as_str);
        Err(
            Error::definite(format!("the columns of a table are not known: {}.{}", name.0, name.1))
                .detail(why)
                .hint(HINT),
        )
    }
}

/// Whether a table is the one named, or in the database named.
pub(super) fn is_within(name: &TableName, named: &TableName) -> bool {
    name.0 == named.0 && (named.1.is_empty() || name.1 == named.1)
}

#[cfg(test)]
#[path = "history/tests.rs"]
mod tests;
