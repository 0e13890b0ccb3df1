//! The heartbeat: one row a reader in `__db_mysync.t_binlog_record` of the primary, advanced once a second. It travels
//! through the binlog like any change, and replication carries it to every server: so it measures the reader's lag, and
//! marks the same point in every server's binlog.
//!
//! | column | what |
//! | --- | --- |
//! | `id` | the row's own |
//! | `reader` | `<kafka.prefix>.<reader.name>` |
//! | `sequence` | grows by one with each heartbeat |
//! | `server_uuid` | the server that it was written on |
//! | `written_at` | when, by the reader's clock, UTC |
//!
//! Database and table are created where they are missing. A server that does not let the account write (a privilege, a
//! read-only replica) does not stop the reader: its lag is unknown (-1), and a warning says what to grant.

use super::MySqlSource;
use crate::config::Config;
use crate::error::Result;
use crate::metrics::ReaderMetrics;
use crate::tables::{HEARTBEAT_TABLE, INTERNAL_DATABASE};
use mysql_async::Conn;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::MissedTickBehavior;

/// After a refusal, until the next try: a person has to change something.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);

/// The name of a reader's row.
#[must_use]
pub fn name(config: &Config) -> String {
    format!("{}.{}", config.kafka.prefix, config.reader.name)
}

/// Advances the row for as long as it is polled; ends at once where `source.heartbeat_interval_ms` is 0.
pub async fn run(config: Config, metrics: Arc<ReaderMetrics>) {
    if config.source.heartbeat_interval_ms == 0 {
        return;
    }
    let mut writer = Writer {
        source: MySqlSource::new(&config),
        name: name(&config),
        connection: None,
    };
    let mut interval = tokio::time::interval(Duration::from_millis(config.source.heartbeat_interval_ms));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_refused = false;
    loop {
        interval.tick().await;
        match writer.beat().await {
            Ok(()) if is_refused => {
                is_refused = false;
                metrics.refuse_heartbeat(false);
                tracing::info!("the heartbeat can be written again");
            }
            Ok(()) => {}
            Err(error) => {
                writer.connection = None;
                if error.is_transient() {
                    // The stream from the same server says so too.
                    tracing::debug!(error = error.one_line(), "no heartbeat was written");
                    continue;
                }
                metrics.refuse_heartbeat(true);
                metrics.condition.note(&error);
                if !is_refused {
                    tracing::warn!(
                        error = error.one_line(),
                        "the heartbeat cannot be written, so the lag is unknown: grant the account ALL ON \
                         {INTERNAL_DATABASE}.*, or set source.heartbeat_interval_ms = 0"
                    );
                }
                is_refused = true;
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
        }
    }
}

struct Writer {
    source: MySqlSource,
    name: String,
    connection: Option<Conn>,
}

impl Writer {
    async fn beat(&mut self) -> Result<()> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let mut connection = self.source.connect().await?;
                self.prepare(&mut connection).await?;
                connection
            }
        };
        // The name holds letters, digits, '.', '_' and '-' only.
        let values = format!("server_uuid = @@server_uuid, written_at = {}", now());
        let update = format!(
            "UPDATE {INTERNAL_DATABASE}.{HEARTBEAT_TABLE} SET sequence = sequence + 1, {values} WHERE reader = '{}'",
            self.name
        );
        self.source.rows(&mut connection, &update).await?;
        if connection.affected_rows() == 0 {
            let insert = format!(
                "INSERT INTO {INTERNAL_DATABASE}.{HEARTBEAT_TABLE} SET reader = '{}', sequence = 1, {values}",
                self.name
            );
            self.source.rows(&mut connection, &insert).await?;
        }
        self.connection = Some(connection);
        Ok(())
    }

    /// Creates what is missing, and leaves no statement in the binlog where nothing is.
    async fn prepare(&self, connection: &mut Conn) -> Result<()> {
        let found = format!(
            "SELECT 1 FROM information_schema.tables WHERE table_schema = '{INTERNAL_DATABASE}' \
             AND table_name = '{HEARTBEAT_TABLE}'"
        );
        if !self.source.rows(connection, &found).await?.is_empty() {
            return Ok(());
        }
        let table = format!(
            "CREATE TABLE IF NOT EXISTS {INTERNAL_DATABASE}.{HEARTBEAT_TABLE} (\
               id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, \
               reader VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL UNIQUE, \
               sequence BIGINT UNSIGNED NOT NULL, \
               server_uuid CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
               written_at DATETIME(6) NOT NULL\
             ) ENGINE = InnoDB"
        );
        let database = format!("CREATE DATABASE IF NOT EXISTS {INTERNAL_DATABASE}");
        for statement in [database, table] {
            self.source.rows(connection, &statement).await?;
        }
        Ok(())
    }
}

/// The clock as an SQL expression. Additions to a date know no time zone.
fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!(
        "TIMESTAMP '1970-01-01 00:00:00' + INTERVAL {} SECOND + INTERVAL {} MICROSECOND",
        since.as_secs(),
        since.subsec_micros()
    )
}
