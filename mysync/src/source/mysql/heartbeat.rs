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
//! Database and table are created where they are missing. It is written only while a stream runs, only on the server that
//! the stream is from, and only if that one takes writes and nobody else's: a replica must not get transactions of its own.
//! A server that does not let the account write does not stop the reader: its lag is unknown (-1), and a warning says
//! what to grant.

use super::endpoint::Endpoint;
use super::servers::Board;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::metrics::ReaderMetrics;
use crate::source::Server;
use crate::tables::{HEARTBEAT_TABLE, INTERNAL_DATABASE};
use mysql_async::Conn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// After a refusal, until the next try: a person has to change something.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);

/// The name of a reader's row.
#[must_use]
pub fn name(config: &Config) -> String {
    format!("{}.{}", config.kafka.prefix, config.reader.name)
}

/// A reader's heartbeat, on whichever server is followed.
pub(super) struct Heartbeat {
    name: String,
    interval: Duration,
    metrics: Arc<ReaderMetrics>,
    /// The last number that was written: on a server that lacks the last heartbeats of the one before, numbers rise all the same.
    sequence: Arc<AtomicU64>,
    task: Option<JoinHandle<()>>,
}

impl Heartbeat {
    /// None where `source.heartbeat_interval_ms` is 0.
    pub(super) fn new(config: &Config, metrics: &Arc<ReaderMetrics>) -> Option<Self> {
        let interval_ms = config.source.heartbeat_interval_ms;
        (interval_ms > 0).then(|| Self {
            name: name(config),
            interval: Duration::from_millis(interval_ms),
            metrics: Arc::clone(metrics),
            sequence: Arc::default(),
            task: None,
        })
    }

    /// Advances the row on this server, unless it does already; `index` is its place on the board.
    pub(super) fn beat_on(
        &mut self,
        endpoint: &Endpoint,
        server: &Server,
        index: usize,
        board: watch::Receiver<Board>,
    ) {
        if self.task.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let writer = Writer {
            endpoint: endpoint.clone(),
            server_uuid: server.uuid.clone(),
            name: self.name.clone(),
            sequence: Arc::clone(&self.sequence),
            connection: None,
        };
        let may_write = move || board.borrow().is_primary(index);
        self.task = Some(tokio::spawn(run(
            writer,
            self.interval,
            Arc::clone(&self.metrics),
            may_write,
        )));
    }

    /// Writes no more.
    pub(super) fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Advances the row for as long as it is polled. `may_write` says whether the server takes writes of its own, where that is
/// known.
async fn run(
    mut writer: Writer,
    interval: Duration,
    metrics: Arc<ReaderMetrics>,
    may_write: impl Fn() -> Option<bool>,
) {
    let mut interval = tokio::time::interval(interval);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_refused = false;
    loop {
        interval.tick().await;
        let beaten = match may_write() {
            Some(true) => writer.beat().await,
            Some(false) => Err(writer.not_here()),
            None => continue,
        };
        match beaten {
            Ok(()) => {
                metrics.refuse_heartbeat(false);
                if is_refused {
                    is_refused = false;
                    tracing::info!("the heartbeat can be written again");
                }
            }
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
                        "the heartbeat cannot be written, so the lag is unknown; source.heartbeat_interval_ms = 0 turns it off"
                    );
                }
                is_refused = true;
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
        }
    }
}

struct Writer {
    endpoint: Endpoint,
    server_uuid: String,
    name: String,
    sequence: Arc<AtomicU64>,
    connection: Option<Conn>,
}

impl Writer {
    async fn beat(&mut self) -> Result<()> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let mut connection = self.endpoint.connect().await?;
                self.prepare(&mut connection).await?;
                connection
            }
        };
        // The name holds letters, digits, '.', '_' and '-' only.
        let (name, uuid) = (&self.name, &self.server_uuid);
        let known = self.sequence.load(Ordering::Relaxed);
        let values = |sequence: &str| {
            format!(
                "sequence = LAST_INSERT_ID(GREATEST({sequence}, {known}) + 1), server_uuid = '{uuid}', written_at = {}",
                now()
            )
        };
        // The name may have moved to another server meanwhile, or the server may have become a replica.
        let here = format!("@@GLOBAL.server_uuid = '{uuid}' AND @@GLOBAL.read_only = 0");
        let update = format!(
            "UPDATE {INTERNAL_DATABASE}.{HEARTBEAT_TABLE} SET {} WHERE reader = '{name}' AND {here}",
            values("sequence")
        );
        self.endpoint.rows(&mut connection, &update).await?;
        if connection.affected_rows() == 0 {
            let found = format!("SELECT {here}");
            let rows = self.endpoint.rows(&mut connection, &found).await?;
            if rows.first().and_then(|row| row.get::<u8, usize>(0)) != Some(1) {
                return Err(Error::transient(format!(
                    "the server takes no heartbeat any more: {}",
                    self.endpoint.address
                )));
            }
            let insert = format!(
                "INSERT INTO {INTERNAL_DATABASE}.{HEARTBEAT_TABLE} SET reader = '{name}', {}",
                values("0")
            );
            self.endpoint.rows(&mut connection, &insert).await?;
        }
        if let Some(sequence) = connection.last_insert_id() {
            // Of the first one it is the row's id instead, which does no harm.
            self.sequence.fetch_max(sequence, Ordering::Relaxed);
        }
        self.connection = Some(connection);
        Ok(())
    }

    fn not_here(&self) -> Error {
        Error::definite(format!(
            "the server takes no writes of its own, so no heartbeat either: {}",
            self.endpoint.address
        ))
        .detail("it is read-only, or it replicates from another server")
        .hint("follow the primary, if the lag is to be known")
    }

    /// Creates what is missing, and leaves no statement in the binlog where nothing is.
    async fn prepare(&self, connection: &mut Conn) -> Result<()> {
        let found = format!(
            "SELECT 1 FROM information_schema.tables WHERE table_schema = '{INTERNAL_DATABASE}' \
             AND table_name = '{HEARTBEAT_TABLE}'"
        );
        if !self.endpoint.rows(connection, &found).await?.is_empty() {
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
            self.endpoint.rows(connection, &statement).await?;
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
