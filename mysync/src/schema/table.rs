//! A table's columns as they are known, and what becomes of them when a statement changes them.

use super::alter::Clause;
use super::column::{Column, Definition, Place, is_same_name};
use super::create::Columns;
use super::sql_type::SqlType;
use crate::decode::{KeyPart, TableMap};
use crate::encode::refuse;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// A table's columns from some place in the binlog on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSchema {
    /// In table order.
    pub columns: Vec<Column>,
    /// Names of the primary key's columns in its order; empty without one.
    pub primary_key: Vec<String>,
    /// Character set that columns to come get; `None` where it is not known.
    pub charset: Option<String>,
}

/// Why a statement could not be applied exactly.
pub(super) type Unclear = &'static str;

impl TableSchema {
    /// The table that CREATE TABLE makes; `like` finds the one that it is to be like.
    pub(super) fn create<'a>(
        columns: &Columns,
        like: impl FnOnce(&str, &str) -> Option<&'a TableSchema>,
    ) -> Result<Self, Unclear> {
        match columns {
            Columns::Listed {
                definitions,
                primary_key,
                charset,
            } => {
                let mut table = Self {
                    columns: Vec::new(),
                    primary_key: Vec::new(),
                    charset: charset.clone(),
                };
                for definition in definitions {
                    let column = table.completed(&definition.column)?;
                    table.columns.push(column);
                }
                if let Some(names) = primary_key {
                    table.set_primary_key(names)?;
                }
                Ok(table)
            }
            Columns::Like(database, name) => like(database, name)
                .cloned()
                .ok_or("it is like a table that is not known"),
            Columns::Unclear => Err("its columns are given in a way that is not understood"),
        }
    }

    /// Applies ALTER TABLE in MySQL's order: first what goes and what changes in its place, then, one by one, what comes and
    /// what moves.
    pub(super) fn alter(&self, clauses: &[Clause]) -> Result<Self, Unclear> {
        let mut table = self.clone();
        // Character sets apply to all of the statement, wherever they stand in it.
        for clause in clauses {
            match clause {
                Clause::Unclear => return Err("a part of it is not understood"),
                Clause::Convert(charset) | Clause::DefaultCharset(charset) => {
                    let charset = charset.as_ref().ok_or("it uses a character set that is not known")?;
                    table.charset = Some(charset.clone());
                }
                _ => {}
            }
        }
        let converts = clauses.iter().any(|clause| matches!(clause, Clause::Convert(_)));
        let defines_text = |clause: &Clause| match clause {
            Clause::Add(new) | Clause::Change { new, .. } => new.column.sql_type.has_charset(),
            _ => false,
        };
        if converts && clauses.iter().any(defines_text) {
            return Err("it converts character sets and gives a column one");
        }
        table.columns = self.columns_in_place(clauses, &table)?;
        for clause in clauses {
            let (definition, is_new) = match clause {
                Clause::Add(definition) => (definition, true),
                Clause::Change { new, .. } if new.place != Place::Unchanged => (new, false),
                _ => continue,
            };
            if is_new && table.index_of(&definition.column.name).is_some() {
                return Err("it adds a column that is there");
            }
            let column = table.completed(&definition.column)?;
            let index = table.place(definition, clauses)?;
            table.columns.insert(index, column);
        }
        table.alter_primary_key(clauses)?;
        Ok(table)
    }

    /// The columns that stay, those that change without moving in their new form.
    fn columns_in_place(&self, clauses: &[Clause], table: &Self) -> Result<Vec<Column>, Unclear> {
        let find = |name: &str| self.index_of(name).ok_or("it is about a column that is not known");
        let mut columns: Vec<Option<Column>> = self.columns.iter().cloned().map(Some).collect();
        for clause in clauses {
            if let Clause::Convert(Some(charset)) = clause {
                columns.iter_mut().flatten().for_each(|column| column.convert(charset));
            }
        }
        let mut touched = vec![false; columns.len()];
        for clause in clauses {
            let (index, column) = match clause {
                Clause::Drop(name) => (find(name)?, None),
                Clause::Change { old, new } => {
                    let stays = new.place == Place::Unchanged;
                    (
                        find(old)?,
                        if stays {
                            Some(table.completed(&new.column)?)
                        } else {
                            None
                        },
                    )
                }
                Clause::Rename { old, new } => {
                    let index = find(old)?;
                    let renamed = columns[index].clone().map(|column| Column {
                        name: new.clone(),
                        ..column
                    });
                    (index, renamed)
                }
                _ => continue,
            };
            if std::mem::replace(&mut touched[index], true) {
                return Err("it changes a column twice");
            }
            columns[index] = column;
        }
        Ok(columns.into_iter().flatten().collect())
    }

    /// Where a column goes. Names that the same statement gives or takes are left to the server.
    fn place(&self, definition: &Definition, clauses: &[Clause]) -> Result<usize, Unclear> {
        let name = match &definition.place {
            Place::Unchanged => return Ok(self.columns.len()),
            Place::First => return Ok(0),
            Place::After(name) => name,
        };
        let is_renamed = clauses.iter().any(|clause| match clause {
            Clause::Rename { old, new } => is_same_name(old, name) || is_same_name(new, name),
            Clause::Change { old, new } if !is_same_name(old, &new.column.name) => {
                is_same_name(old, name) || is_same_name(&new.column.name, name)
            }
            _ => false,
        });
        match self.index_of(name) {
            Some(index) if !is_renamed => Ok(index + 1),
            _ => Err("it puts a column behind one that is renamed or not known"),
        }
    }

    fn alter_primary_key(&mut self, clauses: &[Clause]) -> Result<(), Unclear> {
        for clause in clauses {
            match clause {
                Clause::DropPrimaryKey => {
                    for column in &mut self.columns {
                        if self.primary_key.iter().any(|name| is_same_name(name, &column.name)) {
                            column.nullable = None;
                        }
                    }
                    self.primary_key.clear();
                }
                Clause::Drop(name) if self.primary_key.iter().any(|part| is_same_name(part, name)) => {
                    return Err("it drops a column of the primary key");
                }
                Clause::Rename { old, new } => self.rename_in_key(old, new),
                Clause::Change { old, new } => self.rename_in_key(old, &new.column.name),
                _ => {}
            }
        }
        for clause in clauses {
            match clause {
                Clause::AddPrimaryKey(names) => self.set_primary_key(names)?,
                Clause::Add(definition) if definition.is_primary_key => {
                    self.set_primary_key(std::slice::from_ref(&definition.column.name))?;
                }
                Clause::Change { new, .. } if new.is_primary_key => {
                    self.set_primary_key(std::slice::from_ref(&new.column.name))?;
                }
                _ => {}
            }
        }
        let key = self.primary_key.clone();
        if key.is_empty() {
            Ok(())
        } else {
            self.set_primary_key(&key)
        }
    }

    fn rename_in_key(&mut self, old: &str, new: &str) {
        for part in &mut self.primary_key {
            if is_same_name(part, old) {
                new.clone_into(part);
            }
        }
    }

    fn set_primary_key(&mut self, names: &[String]) -> Result<(), Unclear> {
        self.primary_key.clear();
        for name in names {
            let index = self
                .index_of(name)
                .ok_or("its primary key has a column that is not known")?;
            self.columns[index].nullable = Some(false);
            self.primary_key.push(self.columns[index].name.clone());
        }
        Ok(())
    }

    /// With what the table's default adds.
    fn completed(&self, column: &Column) -> Result<Column, Unclear> {
        let mut column = column.clone();
        if column.sql_type.has_charset() && column.charset.is_none() {
            column.charset.clone_from(&self.charset);
        }
        if column.charset.as_deref() == Some("binary") {
            column.sql_type = column.sql_type.as_bytes();
        }
        if !column.sql_type.has_charset() {
            column.charset = None;
        }
        if column.has_reliable_members() {
            Ok(column)
        } else {
            Err("members of an ENUM or SET are not plain ASCII, in a character set that may not have them all")
        }
    }

    fn index_of(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| is_same_name(&column.name, name))
    }

    /// Adds names, signedness, character sets, members and the primary key to a Table_map, after comparing all that the two
    /// have in common.
    pub fn supply(&self, map: &mut TableMap) -> Result<()> {
        let name = format!("{}.{}", map.database, map.table);
        let refuse_difference = |detail: String| {
            Error::definite(format!(
                "a table in the binlog is not as the schema history knows it: {name}"
            ))
            .detail(detail)
            .hint(HINT)
        };
        if map.columns.len() != self.columns.len() {
            let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
            return Err(refuse_difference(format!(
                "{} columns instead of {}: {}",
                map.columns.len(),
                names.len(),
                names.join(", ")
            )));
        }
        for (known, found) in self.columns.iter().zip(&map.columns) {
            if let Some(difference) = known.difference(found) {
                return Err(refuse_difference(format!("column {}: {difference}", known.name)));
            }
        }
        self.complete(map)
    }

    /// The shape of the table for rows that come from a SELECT.
    pub fn selected(&self, database: &str, table: &str) -> Result<TableMap> {
        let column = |column: &Column| {
            let refuse = || {
                Error::definite(format!("rows of a table cannot be read: {database}.{table}"))
                    .detail(format!("type {} of column {}", column.sql_type, column.name))
                    .hint("leave the table out of source.tables, or use a version of mysync that knows the type")
            };
            let column_type = column.sql_type.selected().ok_or_else(refuse)?;
            Ok((column_type, column.nullable.unwrap_or(true)))
        };
        let columns = self.columns.iter().map(column).collect::<Result<_>>()?;
        let mut map = TableMap::of_columns(database, table, columns);
        self.complete(&mut map)?;
        Ok(map)
    }

    /// Adds what the columns' types do not say.
    fn complete(&self, map: &mut TableMap) -> Result<()> {
        let supplied: Vec<_> = self.columns.iter().map(Column::supply).collect();
        map.supply(&supplied).map_err(refuse)?;
        if !map.is_complete() {
            return Err(Error::definite(format!(
                "the columns of a table are not known: {}.{}",
                map.database, map.table
            ))
            .detail("the character set of one")
            .hint(HINT));
        }
        let part = |name: &String| {
            self.index_of(name).map(|column| KeyPart {
                column,
                prefix_characters: None,
            })
        };
        map.primary_key = self.primary_key.iter().map(part).collect();
        map.metadata_is_full = true;
        Ok(())
    }
}

/// What to do when a table's columns are not known for certain.
pub(super) const HINT: &str = "load the table anew: begin with a new kafka.prefix and reader.start = \"newest\"; on MySQL 8.0 and later \
     SET PERSIST binlog_row_metadata = FULL makes it last";

/// A table in a record of the schema topic.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredTable {
    columns: Vec<StoredColumn>,
    primary_key: Vec<String>,
    charset: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredColumn {
    name: String,
    #[serde(rename = "type")]
    sql_type: String,
    charset: Option<String>,
    nullable: Option<bool>,
}

impl Serialize for TableSchema {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let column = |column: &Column| StoredColumn {
            name: column.name.clone(),
            sql_type: column.sql_type.to_string(),
            charset: column.charset.clone(),
            nullable: column.nullable,
        };
        StoredTable {
            columns: self.columns.iter().map(column).collect(),
            primary_key: self.primary_key.clone(),
            charset: self.charset.clone(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TableSchema {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = StoredTable::deserialize(deserializer)?;
        let column = |column: StoredColumn| match SqlType::of_text(&column.sql_type) {
            Some(sql_type) => Ok(Column {
                name: column.name,
                sql_type,
                charset: column.charset,
                nullable: column.nullable,
            }),
            None => Err(serde::de::Error::custom(format!(
                "a type that is not known: {}",
                column.sql_type
            ))),
        };
        Ok(Self {
            columns: stored.columns.into_iter().map(column).collect::<Result<_, _>>()?,
            primary_key: stored.primary_key,
            charset: stored.charset,
        })
    }
}

#[cfg(test)]
#[path = "table/tests.rs"]
mod tests;
