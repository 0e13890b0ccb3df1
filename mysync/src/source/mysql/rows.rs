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
//! The answer comes in the binary protocol ([`super::select`]), text in its column's character set (`character_set_results = NULL`),
//! and becomes row images as the binlog has them: [`TableRows`]. The table is locked against DDL by the transaction that reads it, for
//! as long as that takes; nothing else is locked.

use super::condition::{Keys, of_key, quoted};
use super::endpoint::ANSWER_SECONDS_MAX;
use super::range::Order;
use super::wire::Wire;
use super::{MySqlSource, select, stream, tables};
use crate::decode::{Column, ColumnType, TableMap, TableRows};
use crate::encode::{key_columns, refuse};
use crate::error::{Error, Result};
use crate::source::{Edge, Refusal, RowsAnswer, RowsRequest, Wanted};
use crate::tables::{INTERNAL_DATABASE, WATERMARK_TABLE};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::time::{Duration, Instant};

/// How long all rows of a request may take.
const READ_SECONDS_MAX: u64 = 120;

/// The connections for requests: one for questions, and one that reads rows.
pub(super) struct Link {
    conn: Conn,
    wire: Wire,
}

impl Link {
    pub(super) async fn open(source: &MySqlSource) -> Result<Self> {
        let mut conn = source.connect().await?;
        prepare(source, &mut conn).await?;
        let opening = tokio::time::timeout(Duration::from_secs(ANSWER_SECONDS_MAX), open_wire(source));
        let wire = opening.await.map_err(|_| {
            Error::transient(format!(
                "MySQL did not answer in {ANSWER_SECONDS_MAX} s: {}",
                source.address()
            ))
        })??;
        Ok(Self { conn, wire })
    }

    /// Reads what is asked for.
    pub(super) async fn read(&mut self, source: &MySqlSource, request: &RowsRequest) -> Result<RowsAnswer> {
        mark(source, &mut self.conn, &request.reader, &request.low).await?;
        let limit = Duration::from_secs(READ_SECONDS_MAX);
        let answer = match tokio::time::timeout(limit, self.select(source, request)).await {
            Ok(answer) => answer?,
            Err(_) => return too_slow(source, request),
        };
        if answer.refusal.is_none() {
            mark(source, &mut self.conn, &request.reader, &request.mark).await?;
        }
        Ok(answer)
    }

    pub(super) async fn close(self) {
        self.conn.disconnect().await.ok();
    }

    /// Reads the rows in a transaction, which locks the table against DDL.
    async fn select(&mut self, source: &MySqlSource, request: &RowsRequest) -> Result<RowsAnswer> {
        let failed = |error| source.sort(error, "cannot read rows of a table");
        self.wire.run("START TRANSACTION").await.map_err(failed)?;
        let answered = self.answer(source, request).await;
        match answered {
            Ok(answer) => {
                self.wire.run("COMMIT").await.map_err(failed)?;
                Ok(answer)
            }
            // What a person has to mend about one table is no reason to stop everything else.
            Err(error) if !error.is_transient() && matches!(request.wanted, Wanted::Range { .. }) => {
                Ok(refused(Refusal::Definite(error)))
            }
            Err(error) => Err(error),
        }
    }

    async fn answer(&mut self, source: &MySqlSource, request: &RowsRequest) -> Result<RowsAnswer> {
        let nothing = RowsAnswer {
            rows: None,
            is_complete: true,
            last: None,
            took: Duration::ZERO,
            refusal: None,
        };
        let lock = tables::lock_of(&request.table);
        if !tables::is_locked(source, self.wire.run(&lock).await, &lock)? {
            return Ok(nothing);
        }
        let Some(schema) = tables::read(source, &mut self.conn, &request.table).await? else {
            return Ok(nothing);
        };
        let (database, table) = &request.table;
        let map = schema.selected(database, table)?;
        let key = key_columns(&map, request.key.as_deref())?;
        let collations = tables::collations(source, &mut self.conn, &request.table).await?;
        let begun = Instant::now();
        let (read, last, is_complete) = match &request.wanted {
            Wanted::Keys { keys, strict } => {
                let found = Keys {
                    map: &map,
                    columns: &key,
                    collations: &collations,
                    strict: *strict,
                };
                let read = self.read_keys(source, request.bytes_max, &found, keys).await?;
                let is_complete = read.is_whole;
                (read, None, is_complete)
            }
            Wanted::Range {
                after,
                condition,
                rows_max,
            } => {
                let index = match &request.key {
                    None => Some("PRIMARY".to_owned()),
                    Some(_) => tables::unique_index(source, &mut self.conn, &request.table, &map, &key).await?,
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
                range.read(source, &mut self.wire).await?
            }
        };
        Ok(RowsAnswer {
            is_complete,
            rows: Some(read.rows),
            last,
            took: begun.elapsed(),
            refusal: None,
        })
    }

    async fn read_keys(
        &mut self,
        source: &MySqlSource,
        bytes_max: usize,
        found: &Keys<'_>,
        keys: &[Vec<u8>],
    ) -> Result<Read> {
        let conditions: Vec<String> = keys.iter().filter_map(|text| of_key(found, text)).collect();
        let mut read = Read::new(found.map, bytes_max);
        if !conditions.is_empty() {
            let statement = format!(
                "SELECT {} FROM {}.{} WHERE {}",
                selected(found.map),
                quoted(&found.map.database),
                quoted(&found.map.table),
                conditions.join(" OR ")
            );
            read.fetch(source, &mut self.wire, &statement).await?;
        }
        Ok(read)
    }
}

/// Logs in and sets the session up: times as they are stored, and text too.
async fn open_wire(source: &MySqlSource) -> Result<Wire> {
    let failed = |error| source.sort(error, "cannot set up a connection for rows");
    let mut wire = stream::log_in(&source.endpoint).await?;
    if let Some(chosen) = &source.chosen {
        let uuid = wire.text("SELECT @@GLOBAL.server_uuid").await.map_err(failed)?;
        if uuid != chosen.uuid {
            let what = format!(
                "another server answers at the address of the one that was followed: {}",
                chosen.address
            );
            return Err(Error::transient(what).detail(format!("server_uuid {uuid} instead of {}", chosen.uuid)));
        }
    }
    for statement in [
        "SET NAMES utf8mb4",
        &tables::settings(),
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "SET SESSION time_zone = '+00:00', character_set_results = NULL",
    ] {
        wire.run(statement).await.map_err(failed)?;
    }
    Ok(wire)
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
    let answer = tokio::time::timeout(
        Duration::from_secs(ANSWER_SECONDS_MAX),
        connection.query_drop(statement),
    );
    match answer.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            Err(read_only(source, &error)
                .unwrap_or_else(|| source.sort(error, "cannot write into mysync's own tables")))
        }
        Err(_) => Err(Error::transient(format!(
            "MySQL did not answer in {ANSWER_SECONDS_MAX} s: {}",
            source.address()
        ))
        .detail(statement)),
    }
}

/// A server that has become read-only is about to be left.
pub(super) fn read_only(source: &MySqlSource, error: &mysql_async::Error) -> Option<Error> {
    const READ_ONLY: [u16; 2] = [1290, 1836];
    match error {
        mysql_async::Error::Server(error) if READ_ONLY.contains(&error.code) => {
            Some(Error::transient(format!("the server takes no writes any more: {}", source.address())).detail(error))
        }
        _ => None,
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
    async fn read(&self, source: &MySqlSource, wire: &mut Wire) -> Result<(Read, Option<Edge>, bool)> {
        let (order, selected) = (&self.order, selected(self.order.map));
        let Some(condition) = self.condition else {
            let statement = order.statement(&selected, &[order.behind(self.after)?], self.rows_max, 0);
            let mut read = Read::new(order.map, self.bytes_max);
            read.fetch(source, wire, &statement).await?;
            let last = self.last_of(&read.rows)?;
            let is_complete = read.is_whole && read.rows.len() < self.rows_max;
            return Ok((read, last, is_complete));
        };
        // Where few rows meet the condition, a range of so many of them would take for ever. So it ends where it would end without.
        let behind = order.behind(self.after)?;
        let mut end = Read::new(order.map, self.bytes_max);
        let statement = order.statement(&selected, std::slice::from_ref(&behind), 1, self.rows_max - 1);
        end.fetch(source, wire, &statement).await?;
        let end = self.last_of(&end.rows)?;
        let up_to = order.up_to(end.as_ref())?;
        // The line's end ends a comment, too.
        let condition = Some(format!("({condition}\n)"));
        let statement = order.statement(&selected, &[behind, up_to, condition], self.rows_max, 0);
        let mut read = Read::new(order.map, self.bytes_max);
        read.fetch(source, wire, &statement).await?;
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
    fn new(map: &TableMap, bytes_max: usize) -> Self {
        Self {
            rows: TableRows::new(map.clone()),
            bytes_max,
            is_whole: true,
        }
    }

    /// Adds the rows of the statement's answer until they are too many bytes.
    async fn fetch(&mut self, source: &MySqlSource, wire: &mut Wire, statement: &str) -> Result<()> {
        let fetched = select::fetch(wire, statement, self.bytes_max, &mut self.rows).await;
        let sort = |error| source.sort(error, "cannot read rows of a table");
        self.is_whole = select::flatten(fetched, sort)?;
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
