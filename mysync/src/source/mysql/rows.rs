//! Rows of a table by SELECT, between two watermarks.
//!
//! # Between watermarks
//! A row may change while it is read, and the change's event is somewhere in the stream. So two marks are written into
//! a row of `__db_mysync.t_watermark`, one before the rows are read and one afterwards: what was committed before the first is in
//! the answer, what comes after the second is not, and a row that the stream changes in between is not taken from the answer
//! but from the stream. The first mark is needed for what is on its way: an event can reach the stream shortly before
//! a SELECT sees its transaction, but not behind the event of a mark that is committed (`binlog_order_commits`).
//!
//! # Exactness
//! The answer comes in the binary protocol, text in its column's character set (`character_set_results = NULL`), and becomes row
//! images as the binlog has them: [`TableRows`]. The table is locked against DDL by the transaction that reads it.

use super::condition::{Keys, of_key, quoted};
use super::endpoint::ANSWER_SECONDS_MAX;
use super::{MySqlSource, tables};
use crate::decode::{Cell, Column, ColumnType, Date, DateTime, TableMap, TableRows, Time};
use crate::encode::{key_columns, refuse};
use crate::error::{Error, Result};
use crate::source::{RowsAnswer, RowsRequest};
use crate::tables::{INTERNAL_DATABASE, WATERMARK_TABLE};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value};
use std::time::Duration;

/// How long all rows of a request may take.
const READ_SECONDS_MAX: u64 = 120;

/// Reads what is asked for.
pub(super) async fn read(source: MySqlSource, request: RowsRequest) -> Result<RowsAnswer> {
    let mut connection = source.connect().await?;
    prepare(&source, &mut connection).await?;
    mark(&source, &mut connection, &request, "low").await?;
    let read = tokio::time::timeout(
        Duration::from_secs(READ_SECONDS_MAX),
        select(&source, &mut connection, &request),
    );
    let answer = read.await.map_err(|_| {
        let (database, table) = &request.table;
        Error::transient(format!(
            "reading rows of {database}.{table} took more than {READ_SECONDS_MAX} s: {}",
            source.address()
        ))
    })??;
    mark(&source, &mut connection, &request, &request.mark).await?;
    connection.disconnect().await.ok();
    Ok(answer)
}

/// Creates what is missing, and leaves no statement in the binlog where nothing is.
async fn prepare(source: &MySqlSource, connection: &mut Conn) -> Result<()> {
    let found = format!(
        "SELECT 1 FROM information_schema.tables WHERE table_schema = '{INTERNAL_DATABASE}' AND table_name = '{WATERMARK_TABLE}'"
    );
    if !source.rows(connection, &found).await?.is_empty() {
        return Ok(());
    }
    let table = format!(
        "CREATE TABLE IF NOT EXISTS {INTERNAL_DATABASE}.{WATERMARK_TABLE} (\
           reader VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY, \
           mark VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL\
         ) ENGINE = InnoDB"
    );
    let database = format!("CREATE DATABASE IF NOT EXISTS {INTERNAL_DATABASE}");
    write(source, connection, &database).await?;
    write(source, connection, &table).await
}

/// Commits a mark. Names and marks hold letters, digits, '.', '_' and '-' only.
async fn mark(source: &MySqlSource, connection: &mut Conn, request: &RowsRequest, mark: &str) -> Result<()> {
    let reader = &request.reader;
    let statement = format!(
        "INSERT INTO {INTERNAL_DATABASE}.{WATERMARK_TABLE} SET reader = '{reader}', mark = '{mark}' ON DUPLICATE KEY UPDATE \
         mark = '{mark}'"
    );
    write(source, connection, &statement).await
}

/// A statement that changes something. A server that has become read-only is about to be left.
async fn write(source: &MySqlSource, connection: &mut Conn, statement: &str) -> Result<()> {
    const READ_ONLY: [u16; 2] = [1290, 1836];
    let answer = tokio::time::timeout(
        Duration::from_secs(ANSWER_SECONDS_MAX),
        connection.query_drop(statement),
    );
    match answer.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(mysql_async::Error::Server(error))) if READ_ONLY.contains(&error.code) => {
            Err(Error::transient(format!("the server takes no writes any more: {}", source.address())).detail(error))
        }
        Ok(Err(error)) => Err(source.sort(error, "cannot write a watermark")),
        Err(_) => Err(Error::transient(format!(
            "MySQL did not answer in {ANSWER_SECONDS_MAX} s: {}",
            source.address()
        ))
        .detail(statement)),
    }
}

async fn select(source: &MySqlSource, connection: &mut Conn, request: &RowsRequest) -> Result<RowsAnswer> {
    tables::prepare(source, connection).await?;
    source
        .rows(connection, "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        .await?;
    let Some(schema) = tables::open(source, connection, &request.table).await? else {
        source.rows(connection, "COMMIT").await?;
        return Ok(RowsAnswer {
            rows: None,
            is_complete: true,
        });
    };
    let (database, table) = &request.table;
    let map = schema.selected(database, table)?;
    let key = key_columns(&map, request.key.as_deref())?;
    let keys = Keys {
        map: &map,
        columns: &key,
        collations: &tables::collations(source, connection, &request.table).await?,
        strict: request.strict,
    };
    let conditions: Vec<String> = request.keys.iter().filter_map(|text| of_key(&keys, text)).collect();
    let mut answer = RowsAnswer {
        rows: None,
        is_complete: true,
    };
    let mut rows = TableRows::new(map);
    if !conditions.is_empty() {
        let statement = statement(rows.map(), &conditions.join(" OR "));
        answer.is_complete = fetch(source, connection, request, &statement, &mut rows).await?;
    }
    answer.rows = Some(rows);
    source.rows(connection, "COMMIT").await?;
    Ok(answer)
}

/// Adds the rows of the statement's answer until they are too many bytes; whether all were added.
async fn fetch(
    source: &MySqlSource,
    connection: &mut Conn,
    request: &RowsRequest,
    statement: &str,
    rows: &mut TableRows,
) -> Result<bool> {
    let failed = |error| source.sort(error, "cannot read rows of a table");
    // Times as they are stored, and text too.
    let settings = "SET SESSION time_zone = '+00:00', character_set_results = NULL";
    source.rows(connection, settings).await?;
    let mut found = connection.exec_iter(statement, ()).await.map_err(failed)?;
    let mut is_complete = true;
    while let Some(row) = found.next().await.map_err(failed)? {
        // The rest of the answer is passed over.
        if rows.bytes_len() < request.bytes_max {
            push(&row, rows)?;
        } else {
            is_complete = false;
        }
    }
    Ok(is_complete)
}

fn statement(map: &TableMap, condition: &str) -> String {
    let columns: Vec<String> = map.columns.iter().map(expression).collect();
    let (database, table) = (quoted(&map.database), quoted(&map.table));
    format!(
        "SELECT {} FROM {database}.{table} WHERE {condition}",
        columns.join(", ")
    )
}

fn expression(column: &Column) -> String {
    let name = quoted(&column.name);
    match column.column_type {
        ColumnType::Enum { .. } | ColumnType::Set { .. } => format!("CAST({name} AS UNSIGNED)"),
        ColumnType::Timestamp { .. } => format!("UNIX_TIMESTAMP({name})"),
        _ => name,
    }
}

fn push(row: &Row, rows: &mut TableRows) -> Result<()> {
    let cells = (0..row.len()).map(|index| row.as_ref(index).map_or(Cell::Null, cell));
    rows.push(cells).map_err(refuse)
}

fn cell(value: &Value) -> Cell<'_> {
    match value {
        Value::NULL => Cell::Null,
        Value::Bytes(bytes) => Cell::Bytes(bytes),
        Value::Int(number) => Cell::Int(*number),
        Value::UInt(number) => Cell::UInt(*number),
        Value::Float(number) => Cell::Float(*number),
        Value::Double(number) => Cell::Double(*number),
        Value::Date(year, month, day, hour, minute, second, microsecond) => Cell::DateTime(DateTime {
            date: Date {
                year: *year,
                month: *month,
                day: *day,
            },
            hour: *hour,
            minute: *minute,
            second: *second,
            microsecond: *microsecond,
            digits: 6,
        }),
        Value::Time(negative, days, hours, minute, second, microsecond) => Cell::Time(Time {
            negative: *negative,
            // At most 34 days.
            hours: u16::try_from(*days)
                .unwrap_or(u16::MAX)
                .saturating_mul(24)
                .saturating_add((*hours).into()),
            minute: *minute,
            second: *second,
            microsecond: *microsecond,
            digits: 6,
        }),
    }
}
