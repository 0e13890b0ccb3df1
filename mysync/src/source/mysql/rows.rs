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
//! images as the binlog has them: [`TableRows`]. The table is locked against DDL by the transaction that reads it, for as long as
//! that takes; nothing else is locked.

use super::condition::{Keys, of_key, quoted};
use super::endpoint::ANSWER_SECONDS_MAX;
use super::range::Order;
use super::{MySqlSource, tables};
use crate::decode::{Cell, Column, ColumnType, Date, DateTime, TableMap, TableRows, Time};
use crate::encode::{key_columns, refuse};
use crate::error::{Error, Result};
use crate::source::{Edge, Refusal, RowsAnswer, RowsRequest, Wanted};
use crate::tables::{INTERNAL_DATABASE, WATERMARK_TABLE};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value};
use std::time::{Duration, Instant};

/// How long all rows of a request may take.
const READ_SECONDS_MAX: u64 = 120;

/// A connection for requests.
pub(super) async fn connect(source: &MySqlSource) -> Result<Conn> {
    let mut connection = source.connect().await?;
    prepare(source, &mut connection).await?;
    tables::prepare(source, &mut connection).await?;
    // Times as they are stored, and text too.
    for settings in [
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "SET SESSION time_zone = '+00:00', character_set_results = NULL",
    ] {
        source.rows(&mut connection, settings).await?;
    }
    Ok(connection)
}

/// Reads what is asked for.
pub(super) async fn read(source: &MySqlSource, connection: &mut Conn, request: &RowsRequest) -> Result<RowsAnswer> {
    mark(source, connection, &request.reader, &request.low).await?;
    let read = tokio::time::timeout(
        Duration::from_secs(READ_SECONDS_MAX),
        select(source, connection, request),
    );
    let answer = match read.await {
        Ok(answer) => answer?,
        Err(_) => return too_slow(source, request),
    };
    if answer.refusal.is_none() {
        mark(source, connection, &request.reader, &request.mark).await?;
    }
    Ok(answer)
}

fn too_slow(source: &MySqlSource, request: &RowsRequest) -> Result<RowsAnswer> {
    let ((database, table), address) = (&request.table, source.address());
    let what = format!("reading rows of {database}.{table} took more than {READ_SECONDS_MAX} s: {address}");
    match request.wanted {
        Wanted::Keys { .. } => Err(Error::transient(what)),
        Wanted::Range { .. } => Ok(refused(Refusal::Definite(
            Error::definite(what)
                .hint("give the table a primary key, or a unique index of the columns in [source.keys]"),
        ))),
    }
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
async fn mark(source: &MySqlSource, connection: &mut Conn, reader: &str, mark: &str) -> Result<()> {
    let statement = format!(
        "INSERT INTO {INTERNAL_DATABASE}.{WATERMARK_TABLE} SET reader = '{reader}', mark = '{mark}' ON DUPLICATE KEY UPDATE \
         mark = '{mark}'"
    );
    write(source, connection, &statement).await
}

/// A statement that changes something. A server that has become read-only is about to be left.
pub(super) async fn write(source: &MySqlSource, connection: &mut Conn, statement: &str) -> Result<()> {
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
        Ok(Err(error)) => Err(source.sort(error, "cannot write into mysync's own tables")),
        Err(_) => Err(Error::transient(format!(
            "MySQL did not answer in {ANSWER_SECONDS_MAX} s: {}",
            source.address()
        ))
        .detail(statement)),
    }
}

/// Reads the rows in a transaction.
async fn select(source: &MySqlSource, connection: &mut Conn, request: &RowsRequest) -> Result<RowsAnswer> {
    let answered = answer(source, connection, request).await;
    match answered {
        Ok(answer) => {
            source.rows(connection, "COMMIT").await?;
            Ok(answer)
        }
        // What a person has to mend about one table is no reason to stop everything else.
        Err(error) if !error.is_transient() && matches!(request.wanted, Wanted::Range { .. }) => {
            source.rows(connection, "ROLLBACK").await?;
            Ok(refused(Refusal::Definite(error)))
        }
        Err(error) => Err(error),
    }
}

async fn answer(source: &MySqlSource, connection: &mut Conn, request: &RowsRequest) -> Result<RowsAnswer> {
    let Some(schema) = tables::open(source, connection, &request.table).await? else {
        return Ok(RowsAnswer {
            rows: None,
            is_complete: true,
            last: None,
            took: Duration::ZERO,
            refusal: None,
        });
    };
    let (database, table) = &request.table;
    let map = schema.selected(database, table)?;
    let key = key_columns(&map, request.key.as_deref())?;
    let collations = tables::collations(source, connection, &request.table).await?;
    let rows = TableRows::new(map.clone());
    let begun = Instant::now();
    match &request.wanted {
        Wanted::Keys { keys, strict } => {
            let found = Keys {
                map: &map,
                columns: &key,
                collations: &collations,
                strict: *strict,
            };
            let conditions: Vec<String> = keys.iter().filter_map(|text| of_key(&found, text)).collect();
            let mut read = Read::new(rows, request.bytes_max);
            if !conditions.is_empty() {
                let statement = format!(
                    "SELECT {} FROM {}.{} WHERE {}",
                    selected(&map),
                    quoted(database),
                    quoted(table),
                    conditions.join(" OR ")
                );
                read.fetch(source, connection, &statement).await?;
            }
            Ok(RowsAnswer {
                is_complete: read.is_whole,
                rows: Some(read.rows),
                last: None,
                took: begun.elapsed(),
                refusal: None,
            })
        }
        Wanted::Range {
            after,
            condition,
            rows_max,
        } => {
            let index = match &request.key {
                None => Some("PRIMARY".to_owned()),
                Some(_) => tables::unique_index(source, connection, &request.table, &map, &key).await?,
            };
            let order = Order {
                map: &map,
                columns: &key,
                collations: &collations,
                index,
            };
            order.require()?;
            if after.as_ref().is_some_and(|edge| edge.columns != order.names()) {
                return Ok(refused(Refusal::OtherKey));
            }
            let range = Range {
                order,
                after: after.as_ref(),
                condition: condition.as_deref(),
                rows_max: *rows_max,
                bytes_max: request.bytes_max,
            };
            let (read, last, is_complete) = range.read(source, connection, rows).await?;
            Ok(RowsAnswer {
                is_complete,
                rows: Some(read.rows),
                last,
                took: begun.elapsed(),
                refusal: None,
            })
        }
    }
}

/// A range of rows.
struct Range<'r> {
    order: Order<'r>,
    after: Option<&'r Edge>,
    condition: Option<&'r str>,
    rows_max: usize,
    bytes_max: usize,
}

impl Range<'_> {
    /// The rows, the place at which the next range begins, and whether there is none behind.
    async fn read(
        &self,
        source: &MySqlSource,
        connection: &mut Conn,
        rows: TableRows,
    ) -> Result<(Read, Option<Edge>, bool)> {
        let (order, selected) = (&self.order, selected(self.order.map));
        let Some(condition) = self.condition else {
            let statement = order.statement(&selected, &[order.behind(self.after)?], self.rows_max, 0);
            let mut read = Read::new(rows, self.bytes_max);
            read.fetch(source, connection, &statement).await?;
            let last = self.last_of(&read.rows)?;
            let is_complete = read.is_whole && read.rows.len() < self.rows_max;
            return Ok((read, last, is_complete));
        };
        // Where few rows meet the condition, a range of so many of them would take for ever. So it ends where it would end without.
        let behind = order.behind(self.after)?;
        let mut end = Read::new(TableRows::new(order.map.clone()), self.bytes_max);
        let statement = order.statement(&selected, std::slice::from_ref(&behind), 1, self.rows_max - 1);
        end.fetch(source, connection, &statement).await?;
        let end = self.last_of(&end.rows)?;
        let up_to = order.up_to(end.as_ref())?;
        // The line's end ends a comment, too.
        let condition = Some(format!("({condition}\n)"));
        let statement = order.statement(&selected, &[behind, up_to, condition], self.rows_max, 0);
        let mut read = Read::new(rows, self.bytes_max);
        read.fetch(source, connection, &statement).await?;
        match read.is_whole {
            true => Ok((read, end.clone(), end.is_none())),
            false => {
                let last = self.last_of(&read.rows)?;
                Ok((read, last, false))
            }
        }
    }

    fn last_of(&self, rows: &TableRows) -> Result<Option<Edge>> {
        let Some(last) = rows.len().checked_sub(1) else {
            return Ok(None);
        };
        let row = rows.row(last).map_err(refuse)?;
        self.order.edge(&row).map(Some)
    }
}

fn refused(refusal: Refusal) -> RowsAnswer {
    RowsAnswer {
        rows: None,
        is_complete: false,
        last: None,
        took: Duration::ZERO,
        refusal: Some(refusal),
    }
}

/// Rows on their way from the server.
struct Read {
    rows: TableRows,
    bytes_max: usize,
    /// No row was passed over.
    is_whole: bool,
}

impl Read {
    fn new(rows: TableRows, bytes_max: usize) -> Self {
        Self {
            rows,
            bytes_max,
            is_whole: true,
        }
    }

    /// Adds the rows of the statement's answer until they are too many bytes.
    async fn fetch(&mut self, source: &MySqlSource, connection: &mut Conn, statement: &str) -> Result<()> {
        let failed = |error| source.sort(error, "cannot read rows of a table");
        let mut found = connection.exec_iter(statement, ()).await.map_err(failed)?;
        while let Some(row) = found.next().await.map_err(failed)? {
            // The rest of the answer is passed over.
            if self.rows.bytes_len() < self.bytes_max {
                push(&row, &mut self.rows)?;
            } else {
                self.is_whole = false;
            }
        }
        Ok(())
    }
}

/// What is selected: all columns, in the forms in which their values come exactly.
fn selected(map: &TableMap) -> String {
    let columns: Vec<String> = map.columns.iter().map(expression).collect();
    columns.join(", ")
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
