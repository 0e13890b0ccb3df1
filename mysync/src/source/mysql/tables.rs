//! What followed tables are now, by information_schema.

use super::MySqlSource;
use crate::decode::TableMap;
use crate::error::{Error, Result};
use crate::schema::{Column, SqlType, TableName, TableSchema, charset, charset_of_collation};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use std::collections::BTreeMap;

/// How long a table may be locked by others before the reader starts anew, seconds.
const LOCK_SECONDS_MAX: u32 = 15;

/// There is no such table, or no such database.
const NO_TABLE: [u16; 2] = [1146, 1049];

/// It is a view that is broken, or no table in another way.
const NO_BASE_TABLE: u16 = 1347;

pub(super) async fn followed(source: &MySqlSource, connection: &mut Conn) -> Result<Vec<TableName>> {
    let statement = "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE' \
                     AND table_schema NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')";
    let rows = source.rows(connection, statement).await?;
    let pair = |row: &Row| Some((row.get::<String, usize>(0)?, row.get::<String, usize>(1)?));
    let names = rows.iter().filter_map(pair);
    Ok(names
        .filter(|(database, table)| source.filter.follows(database, table))
        .collect())
}

pub(super) async fn describe(
    source: &MySqlSource,
    connection: &mut Conn,
    tables: &[TableName],
) -> Result<Vec<Option<TableSchema>>> {
    prepare(source, connection).await?;
    let mut described = Vec::with_capacity(tables.len());
    for name in tables {
        described.push(describe_one(source, connection, name).await?);
    }
    Ok(described)
}

/// Settings of the session for [`open`].
pub(super) async fn prepare(source: &MySqlSource, connection: &mut Conn) -> Result<()> {
    source.rows(connection, &settings()).await.map(drop)
}

/// The statement that sets them.
pub(super) fn settings() -> String {
    format!("SET SESSION lock_wait_timeout = {LOCK_SECONDS_MAX}, SESSION sql_mode = ''")
}

async fn describe_one(source: &MySqlSource, connection: &mut Conn, name: &TableName) -> Result<Option<TableSchema>> {
    let table = open(source, connection, name).await?;
    source.rows(connection, "COMMIT").await?;
    Ok(table)
}

/// Locks the table against DDL, by a transaction that has opened it, and describes it. A statement that changes the table stands
/// in the binlog before it lets go of its lock, so it has either been seen whole, or comes later in the binlog. The transaction
/// stays open.
pub(super) async fn open(source: &MySqlSource, connection: &mut Conn, name: &TableName) -> Result<Option<TableSchema>> {
    source.rows(connection, "START TRANSACTION").await?;
    let lock = lock_of(name);
    match is_locked(source, connection.query_drop(&lock).await, &lock)? {
        true => read(source, connection, name).await,
        false => Ok(None),
    }
}

/// The statement that locks a table against DDL, by opening it in a transaction.
pub(super) fn lock_of(name: &TableName) -> String {
    let quoted = [&name.0, &name.1].map(|part| format!("`{}`", part.replace('`', "``")));
    format!("SELECT 1 FROM {}.{} LIMIT 0", quoted[0], quoted[1])
}

/// Whether that statement has found a table.
pub(super) fn is_locked(source: &MySqlSource, outcome: mysql_async::Result<()>, lock: &str) -> Result<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(mysql_async::Error::Server(error)) if NO_TABLE.contains(&error.code) || error.code == NO_BASE_TABLE => {
            Ok(false)
        }
        Err(error) => Err(source.sort(error, "cannot look at a table").detail(lock)),
    }
}

/// The collations of the columns that have one, by the columns' names.
pub(super) async fn collations(
    source: &MySqlSource,
    connection: &mut Conn,
    name: &TableName,
) -> Result<BTreeMap<String, String>> {
    let statement = format!(
        "SELECT column_name, collation_name FROM information_schema.columns {} AND collation_name IS NOT NULL",
        within(name)
    );
    let rows = source.rows(connection, &statement).await?;
    let pair = |row: &Row| Some((row.get::<String, usize>(0)?, row.get::<String, usize>(1)?));
    Ok(rows.iter().filter_map(pair).collect())
}

/// A unique index of exactly these columns, in this order, over their whole values.
pub(super) async fn unique_index(
    source: &MySqlSource,
    connection: &mut Conn,
    name: &TableName,
    map: &TableMap,
    columns: &[usize],
) -> Result<Option<String>> {
    let statement = format!(
        "SELECT index_name, column_name, sub_part IS NULL FROM information_schema.statistics {} AND non_unique = 0 \
         ORDER BY index_name, seq_in_index",
        within(name)
    );
    let rows = source.rows(connection, &statement).await?;
    let mut indexes: BTreeMap<String, Vec<(String, bool)>> = BTreeMap::new();
    for row in &rows {
        let text = |index: usize| row.get::<Option<String>, usize>(index).flatten().unwrap_or_default();
        let is_whole = row.get::<u8, usize>(2) == Some(1);
        indexes.entry(text(0)).or_default().push((text(1), is_whole));
    }
    let is_it = |parts: &Vec<(String, bool)>| {
        parts.len() == columns.len()
            && parts
                .iter()
                .zip(columns)
                .all(|((part, is_whole), index)| *is_whole && map.columns[*index].name == *part)
    };
    Ok(indexes
        .into_iter()
        .find(|(_, parts)| is_it(parts))
        .map(|(index, _)| index))
}

/// The condition by which information_schema finds a table. The names' collation may take two tables for one.
pub(super) fn within(name: &TableName) -> String {
    let [database, table] =
        [&name.0, &name.1].map(|part| format!("'{}'", part.replace('\\', "\\\\").replace('\'', "''")));
    format!(
        "WHERE table_schema = {database} AND table_name = {table} AND CAST(table_schema AS BINARY) = CAST({database} AS BINARY) \
         AND CAST(table_name AS BINARY) = CAST({table} AS BINARY)"
    )
}

/// What a table is, which is locked against DDL.
pub(super) async fn read(source: &MySqlSource, connection: &mut Conn, name: &TableName) -> Result<Option<TableSchema>> {
    let within = within(name);
    let statement = format!("SELECT table_collation FROM information_schema.tables {within}");
    let rows = source.rows(connection, &statement).await?;
    let Some(collation) = rows.first().map(|row| row.get::<Option<String>, usize>(0).flatten()) else {
        return Ok(None);
    };
    let statement = format!(
        "SELECT column_name, column_type, character_set_name, is_nullable FROM information_schema.columns {within} ORDER BY \
         ordinal_position"
    );
    let rows = source.rows(connection, &statement).await?;
    let columns = rows.iter().map(|row| column(name, row)).collect::<Result<_>>()?;
    let statement = format!(
        "SELECT column_name FROM information_schema.statistics {within} AND index_name = 'PRIMARY' ORDER BY seq_in_index"
    );
    let rows = source.rows(connection, &statement).await?;
    Ok(Some(TableSchema {
        columns,
        primary_key: rows.iter().filter_map(|row| row.get::<String, usize>(0)).collect(),
        charset: collation.as_deref().and_then(charset_of_collation),
    }))
}

fn column(table: &TableName, row: &Row) -> Result<Column> {
    let text = |index: usize| row.get::<Option<String>, usize>(index).flatten();
    let (name, type_text) = (text(0).unwrap_or_default(), text(1).unwrap_or_default());
    let refuse = |what: &str, value: &str| {
        Error::definite(format!(
            "{what} of a column is not known: {}.{}.{name}: {value}",
            table.0, table.1
        ))
        .hint("leave the table out of source.tables, or use a version of mysync that knows it")
    };
    let charset = match text(2) {
        Some(name) => Some(charset(&name).ok_or_else(|| refuse("the character set", &name))?),
        None => None,
    };
    let sql_type = SqlType::of_text(&type_text).ok_or_else(|| refuse("the type", &type_text))?;
    Ok(Column {
        sql_type,
        charset,
        nullable: Some(text(3).is_some_and(|word| word == "YES")),
        name,
    })
}
