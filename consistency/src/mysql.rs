//! MySQL, read as SQL text.
//!
//! Every row comes over the text protocol as the server prints it, so a mistake in anybody's decoding of the binlog
//! cannot repeat itself here. The session is pinned: utf8mb4, time zone +00:00, no sql_mode.
//!
//! A table is read with one streaming SELECT (in primary key order where there is one; otherwise in any order, since
//! nothing here depends on it), never held whole: the rows go in batches bounded by count and by bytes through a short
//! channel. Rows that change meanwhile look different to the store and are asked again by key.

pub mod primary;
pub mod schema;
pub mod tls;

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use futures::TryStreamExt;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Value};
use tokio::sync::mpsc;

use crate::canonical::{Kind, canonical, literal};
use crate::config::Source;
use crate::error::Error;
use crate::table::{Column, Key, Row, Table};

/// Rows of a batch at most.
const BATCH_ROWS_MAX: usize = 1000;
/// Bytes of a batch at most, but for the last row of it.
const BATCH_BYTES_MAX: usize = 2 << 20;
/// Batches that wait to be compared.
const BATCHES_WAITING_MAX: usize = 2;
/// How long the server may wait while its rows are compared.
const NET_WRITE_TIMEOUT_SECONDS: u32 = 3600;
/// How long a session may have nothing to do while others read large tables: the longest that a server allows.
const WAIT_TIMEOUT_SECONDS: u32 = 31_536_000;
/// After so long without a word the server is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// A row is at most as large as the protocol allows.
const PACKET_BYTES_MAX: usize = 1 << 30;

/// Rows to compare together.
pub type Batch = Vec<Row>;

/// Which columns of a row are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Projection {
    /// All of them.
    Whole,
    /// Those of the key; the others come as NULL.
    Key,
}

/// Opens a session with everything pinned that the text of a value depends on.
pub async fn connect(source: &Source) -> Result<Conn, Error> {
    let tls = source.tls.as_ref().map(tls::options).transpose()?.flatten();
    let options: Opts = OptsBuilder::default()
        .ssl_opts(tls)
        .ip_or_hostname(source.server.host.clone())
        .tcp_port(source.server.port)
        .user(Some(source.user.clone()))
        .pass(Some(source.password.reveal().to_owned()))
        .prefer_socket(false)
        .tcp_nodelay(true)
        // A server that is gone without a word is noticed, however long nothing is asked or answered.
        .tcp_keepalive(Some(KEEPALIVE))
        .max_allowed_packet(Some(PACKET_BYTES_MAX))
        .setup(vec![format!(
            "SET NAMES utf8mb4, SESSION time_zone = '+00:00', SESSION sql_mode = '', \
             SESSION net_write_timeout = {NET_WRITE_TIMEOUT_SECONDS}, SESSION wait_timeout = {WAIT_TIMEOUT_SECONDS}"
        )])
        .into();
    Conn::new(options).await.map_err(|error| {
        Error::failed(
            "cannot open a MySQL session",
            format!("{} as `{}`: {error}", source.server, source.user),
            "start the server, or correct servers, user and password in [source], and section [source.tls]",
        )
    })
}

/// Streams a table. The rows arrive in batches; the last answer is the end or an error.
pub fn stream(mut session: Conn, table: Table, projection: Projection) -> mpsc::Receiver<Result<Batch, Error>> {
    let (sender, receiver) = mpsc::channel(BATCHES_WAITING_MAX);
    tokio::spawn(async move {
        if let Err(error) = send_rows(&mut session, &table, projection, &sender).await {
            // Nobody listens any more when the check has already ended for another reason.
            let _ = sender.send(Err(error)).await;
        }
    });
    receiver
}

/// Looks rows up by their keys. Absent rows are absent from the answer.
pub async fn rows_by_key(session: &mut Conn, table: &Table, keys: &[&Key]) -> Result<HashMap<Key, Row>, Error> {
    let mut found = HashMap::with_capacity(keys.len());
    let mut rows: Vec<mysql_async::Row> = Vec::with_capacity(keys.len());
    // A store can hold keys that MySQL does not even compare: no date, not in the column's character set. They are found by halves.
    let mut parts = vec![keys];
    while let Some(part) = parts.pop().filter(|part| !part.is_empty()) {
        match session.query(by_keys(table, part, plainly)).await {
            Ok(answer) => rows.extend::<Vec<_>>(answer),
            Err(mysql_async::Error::Server(_)) if part.len() > 1 => {
                let (left, right) = part.split_at(part.len() / 2);
                parts.extend([left, right]);
            }
            Err(mysql_async::Error::Server(_)) => {
                let answer: Result<Vec<_>, _> = session.query(by_keys(table, part, as_text)).await;
                rows.extend(answer.map_err(|error| refused(&table.full_name(), &error))?);
            }
            Err(error) => return Err(refused(&table.full_name(), &error)),
        }
    }
    for row in rows {
        let row = canonical_row(table, Projection::Whole, row)?;
        let key = table.key_of(&row).ok_or_else(|| null_in_key(table))?;
        if found.insert(key.clone(), row).is_some() && keys.contains(&&key) {
            return Err(Error::configuration(
                "the configured key does not identify a row",
                format!("{} has two rows with the key {}", table.full_name(), shown(&key)),
                "name columns in [source.keys] that are unique together",
            ));
        }
    }
    Ok(found)
}

fn by_keys(table: &Table, keys: &[&Key], equal: impl Fn(&Column, &[u8]) -> String) -> String {
    let conditions = keys.iter().map(|key| {
        let parts = table.key_columns().zip(key.iter());
        let parts: Vec<String> = parts.map(|(column, part)| equal(column, part)).collect();
        format!("({})", parts.join(" AND "))
    });
    let conditions: Vec<String> = conditions.collect();
    format!("{} WHERE {}", select(table, Projection::Whole), conditions.join(" OR "))
}

/// Compared as the column is, so that its index serves.
fn plainly(column: &Column, part: &[u8]) -> String {
    format!("{} = {}", quoted(&column.name), literal(column.kind, part))
}

/// Compared as texts, which MySQL never refuses.
fn as_text(column: &Column, part: &[u8]) -> String {
    let (name, literal) = (quoted(&column.name), literal(column.kind, part));
    match column.kind {
        Kind::Date | Kind::Time | Kind::DateTime | Kind::Timestamp => format!("CAST({name} AS CHAR) = {literal}"),
        Kind::Characters => format!("CONVERT({name} USING utf8mb4) COLLATE utf8mb4_bin = {literal}"),
        _ => format!("{name} = {literal}"),
    }
}

/// A name between backticks.
pub fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A query that the server refused, or a session that broke.
pub fn refused(subject: &str, error: &mysql_async::Error) -> Error {
    Error::failed(
        "MySQL did not answer",
        format!("{subject}: {error}"),
        "grant SELECT on the replicated tables, and check that the server is up",
    )
}

pub(crate) fn null_in_key(table: &Table) -> Error {
    Error::configuration(
        "a key column holds NULL",
        table.full_name(),
        "name NOT NULL columns that identify a row in [source.keys]",
    )
}

fn shown(key: &Key) -> String {
    key.iter()
        .map(|part| String::from_utf8_lossy(part))
        .collect::<Vec<_>>()
        .join(", ")
}

async fn send_rows(
    session: &mut Conn,
    table: &Table,
    projection: Projection,
    sender: &mpsc::Sender<Result<Batch, Error>>,
) -> Result<(), Error> {
    let broke = |error: mysql_async::Error| refused(&table.full_name(), &error);
    let mut statement = select(table, projection);
    if table.key_is_primary {
        let columns: Vec<String> = table.key_columns().map(|column| quoted(&column.name)).collect();
        let _ = write!(statement, " ORDER BY {}", columns.join(", "));
    }
    let mut result = session.query_iter(statement).await.map_err(broke)?;
    let Some(mut rows) = result.stream::<mysql_async::Row>().await.map_err(broke)? else {
        return Ok(());
    };
    let mut batch = Batch::with_capacity(BATCH_ROWS_MAX);
    let mut batch_bytes = 0;
    while let Some(row) = rows.try_next().await.map_err(broke)? {
        let row = canonical_row(table, projection, row)?;
        batch_bytes += row.iter().flatten().map(Vec::len).sum::<usize>();
        batch.push(row);
        if batch.len() >= BATCH_ROWS_MAX || batch_bytes >= BATCH_BYTES_MAX {
            batch_bytes = 0;
            let full = std::mem::replace(&mut batch, Batch::with_capacity(BATCH_ROWS_MAX));
            if sender.send(Ok(full)).await.is_err() {
                return Ok(());
            }
        }
    }
    if !batch.is_empty() {
        let _ = sender.send(Ok(batch)).await;
    }
    Ok(())
}

fn select(table: &Table, projection: Projection) -> String {
    let expressions: Vec<String> = asked(table, projection).map(|(_, column)| expression(column)).collect();
    format!(
        "SELECT {} FROM {}.{}",
        expressions.join(", "),
        quoted(&table.database),
        quoted(&table.name)
    )
}

fn asked(table: &Table, projection: Projection) -> impl Iterator<Item = (usize, &Column)> {
    table
        .columns
        .iter()
        .enumerate()
        .filter(move |(place, _)| projection == Projection::Whole || table.key.contains(place))
}

/// What is asked for so that the server's text is exact; `canonical.rs` says why.
fn expression(column: &Column) -> String {
    let name = quoted(&column.name);
    match column.kind_in_mysql() {
        Kind::Bit => format!("{name} + 0"),
        Kind::Float | Kind::Double => format!("{name} * 1e0"),
        Kind::Vector => format!("HEX({name})"),
        _ => name,
    }
}

fn canonical_row(table: &Table, projection: Projection, row: mysql_async::Row) -> Result<Row, Error> {
    let mut values = vec![None; table.columns.len()];
    for ((place, column), value) in asked(table, projection).zip(row.unwrap()) {
        values[place] = match value {
            Value::NULL => None,
            Value::Bytes(printed) => {
                let text = canonical(column.kind_in_mysql(), printed).map_err(|reason| {
                    Error::failed(
                        "MySQL printed an unexpected value",
                        format!("{}, column `{}`: {reason}", table.full_name(), column.name),
                        "report it with the column's type and the server's version",
                    )
                })?;
                Some(match &column.mask {
                    Some(mask) => mask.of(&text),
                    None => text,
                })
            }
            other => {
                return Err(Error::failed(
                    "MySQL sent a value that is not text",
                    format!(
                        "{}, column `{}`: {}",
                        table.full_name(),
                        column.name,
                        other.as_sql(false)
                    ),
                    "report it with the column's type and the server's version",
                ));
            }
        };
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_quote_names_and_ask_for_exact_text() {
        let column = |name: &str, kind| Column::plain(name, kind);
        let table = Table {
            number: 0,
            database: "d`b".into(),
            name: "t".into(),
            columns: vec![
                column("id", Kind::Integer),
                column("f", Kind::Float),
                column("b", Kind::Bit),
            ],
            key: vec![0],
            key_is_primary: true,
            rows_estimate: 0,
        };
        assert_eq!(
            select(&table, Projection::Whole),
            "SELECT `id`, `f` * 1e0, `b` + 0 FROM `d``b`.`t`"
        );
        assert_eq!(select(&table, Projection::Key), "SELECT `id` FROM `d``b`.`t`");
    }
}
