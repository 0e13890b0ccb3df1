//! Requests for dumps and how far they are: the tables `t_signal` and `t_dump` of mysync's own database.
//!
//! | table | a row is | written by |
//! | --- | --- | --- |
//! | `t_signal` | a request to a reader; it reaches the reader through the binlog | whoever asks, on the primary |
//! | `t_dump` | how far a table of a request is | the reader |

use super::MySqlSource;
use super::rows::{read_only, write};
use crate::error::{Error, Result};
use crate::reader::signal::{Signal, Wanted};
use crate::source::{Progress, State};
use crate::tables::{DUMP_TABLE, INTERNAL_DATABASE, SIGNAL_TABLE};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, params};

/// Requests and their progress are kept for so long.
const KEPT_DAYS: u32 = 30;

/// A line of `t_dump`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What the reader told last.
    pub progress: Progress,
    /// How long ago, seconds.
    pub ago_s: u64,
}

/// Writes down how far refreshes are.
pub(super) async fn tell(source: MySqlSource, progress: Vec<Progress>) -> Result<()> {
    let mut connection = source.connect().await?;
    prepare(&source, &mut connection, DUMP_TABLE).await?;
    // A detail quotes whatever a person wrote: what its column cannot hold is told as far as it can.
    write(&source, &mut connection, "SET SESSION sql_mode = ''").await?;
    write(&source, &mut connection, "START TRANSACTION").await?;
    let statement = format!(
        "INSERT INTO {INTERNAL_DATABASE}.{DUMP_TABLE} \
         (reader, request, database_name, table_name, state, rows_read, rows_gone, detail, updated_at) \
         VALUES (:reader, :request, :database, :table, :state, :rows, :gone, :detail, UTC_TIMESTAMP(6)) \
         ON DUPLICATE KEY UPDATE state = VALUES(state), rows_read = VALUES(rows_read), rows_gone = VALUES(rows_gone), \
         detail = VALUES(detail), updated_at = VALUES(updated_at)"
    );
    for line in &progress {
        let values = params! {
            "reader" => &source.reader,
            "request" => &line.request,
            "database" => &line.table.0,
            "table" => &line.table.1,
            "state" => line.state.name(),
            "rows" => line.rows,
            "gone" => line.gone,
            "detail" => &line.detail,
        };
        let told = connection.exec_drop(&statement, values).await;
        told.map_err(|error| {
            read_only(&source, &error).unwrap_or_else(|| source.sort(error, "cannot tell how far a dump is"))
        })?;
    }
    write(&source, &mut connection, "COMMIT").await?;
    connection.disconnect().await.ok();
    Ok(())
}

/// Requests of which nothing is told, oldest first. One that calls something off is none: it was carried out when it came, or
/// what it is about was never begun, and then the tables are not asked for any more.
pub(super) async fn asked(source: &MySqlSource, connection: &mut Conn) -> Result<Vec<String>> {
    if !is_there(source, connection, SIGNAL_TABLE).await? || !is_there(source, connection, DUMP_TABLE).await? {
        return Ok(Vec::new());
    }
    let reader = &source.reader;
    let texts = async |connection: &mut Conn, column: &str, table: &str, order: &str| -> Result<Vec<String>> {
        let statement = format!("SELECT {column} FROM {INTERNAL_DATABASE}.{table} WHERE reader = '{reader}'{order}");
        let rows = source.rows(connection, &statement).await?;
        Ok(rows.iter().filter_map(|row| row.get::<String, usize>(0)).collect())
    };
    let told = texts(connection, "request", DUMP_TABLE, "").await?;
    let asked = texts(connection, "request", SIGNAL_TABLE, " ORDER BY id").await?;
    let mut open: Vec<Signal> = Vec::new();
    for signal in asked.iter().filter_map(|text| Signal::read(text).ok()) {
        match signal.cancel {
            true => call_off(&mut open, &signal),
            false => open.push(signal),
        }
    }
    open.retain(|signal| !signal.tables.is_empty() && !told.contains(&signal.request));
    Ok(open
        .iter()
        .filter_map(|signal| serde_json::to_string(signal).ok())
        .collect())
}

/// Takes what a request calls off out of the earlier ones.
fn call_off(open: &mut [Signal], cancel: &Signal) {
    for signal in open {
        signal.tables.retain(|wanted| {
            let is_it = |other: &Wanted| (&other.database, &other.table) == (&wanted.database, &wanted.table);
            !cancel.tables.is_empty() && !cancel.tables.iter().any(is_it)
        });
    }
}

async fn is_there(source: &MySqlSource, connection: &mut Conn, table: &str) -> Result<bool> {
    let found = format!(
        "SELECT 1 FROM information_schema.tables WHERE table_schema = '{INTERNAL_DATABASE}' AND table_name = '{table}'"
    );
    Ok(!source.rows(connection, &found).await?.is_empty())
}

/// Creates a table of mysync's own that is missing, and leaves no statement in the binlog where it is there.
async fn prepare(source: &MySqlSource, connection: &mut Conn, table: &str) -> Result<()> {
    if is_there(source, connection, table).await? {
        return Ok(());
    }
    let columns = match table {
        SIGNAL_TABLE => {
            "id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, \
             reader VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
             request MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, \
             written_at DATETIME(6) NOT NULL"
        }
        _ => {
            "reader VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
             request VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
             database_name VARCHAR(64) CHARACTER SET utf8 COLLATE utf8_bin NOT NULL, \
             table_name VARCHAR(64) CHARACTER SET utf8 COLLATE utf8_bin NOT NULL, \
             state VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
             rows_read BIGINT UNSIGNED NOT NULL, \
             rows_gone BIGINT UNSIGNED NOT NULL, \
             detail TEXT CHARACTER SET utf8 COLLATE utf8_bin NOT NULL, \
             updated_at DATETIME(6) NOT NULL, \
             PRIMARY KEY (reader, request, database_name, table_name)"
        }
    };
    for statement in [
        format!("CREATE DATABASE IF NOT EXISTS {INTERNAL_DATABASE}"),
        format!("CREATE TABLE IF NOT EXISTS {INTERNAL_DATABASE}.{table} ({columns}) ENGINE = InnoDB"),
    ] {
        write(source, connection, &statement).await?;
    }
    Ok(())
}

impl MySqlSource {
    /// Asks this configuration's reader for something, unless that has been asked; the server must be the primary
    /// ([`crate::source::Source::choose`]).
    pub async fn signal(&self, request: &str) -> Result<()> {
        let mut connection = self.connect().await?;
        for table in [SIGNAL_TABLE, DUMP_TABLE] {
            prepare(self, &mut connection, table).await?;
        }
        for (table, column) in [(SIGNAL_TABLE, "written_at"), (DUMP_TABLE, "updated_at")] {
            let statement = format!(
                "DELETE FROM {INTERNAL_DATABASE}.{table} WHERE reader = '{}' AND {column} < UTC_TIMESTAMP() - INTERVAL {KEPT_DAYS} DAY",
                self.reader
            );
            write(self, &mut connection, &statement).await?;
        }
        let statement = format!(
            "INSERT INTO {INTERNAL_DATABASE}.{SIGNAL_TABLE} (reader, request, written_at) \
             SELECT :reader, :request, UTC_TIMESTAMP(6) FROM DUAL WHERE NOT EXISTS \
             (SELECT 1 FROM {INTERNAL_DATABASE}.{SIGNAL_TABLE} WHERE reader = :reader AND request = :request)"
        );
        let values = params! { "reader" => &self.reader, "request" => request };
        let inserted = connection.exec_drop(statement, values).await;
        inserted.map_err(|error| self.sort(error, "cannot ask the reader"))?;
        connection.disconnect().await.ok();
        Ok(())
    }

    /// What this configuration's reader has told of refreshes, the latest first.
    pub async fn told(&self) -> Result<Vec<Told>> {
        let mut connection = self.connect().await?;
        prepare(self, &mut connection, DUMP_TABLE).await?;
        let statement = format!(
            "SELECT request, database_name, table_name, state, rows_read, rows_gone, detail, \
             CAST(GREATEST(0, TIMESTAMPDIFF(SECOND, updated_at, UTC_TIMESTAMP(6))) AS UNSIGNED) \
             FROM {INTERNAL_DATABASE}.{DUMP_TABLE} WHERE reader = '{}' \
             ORDER BY updated_at DESC, request, database_name, table_name",
            self.reader
        );
        let rows = self.rows(&mut connection, &statement).await?;
        connection.disconnect().await.ok();
        let line = |row: &Row| {
            let text = |index: usize| row.get::<String, usize>(index).unwrap_or_default();
            let number = |index: usize| row.get::<u64, usize>(index).unwrap_or(0);
            let state = State::named(&text(3)).ok_or_else(|| {
                Error::definite(format!("the reader tells something that is not known: {}", text(3)))
                    .hint("use the same version of mysync as the reader's")
            })?;
            Ok(Told {
                progress: Progress {
                    request: text(0),
                    table: (text(1), text(2)),
                    state,
                    rows: number(4),
                    gone: number(5),
                    detail: text(6),
                },
                ago_s: number(7),
            })
        };
        rows.iter().map(line).collect()
    }
}
