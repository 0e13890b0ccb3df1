//! The reader's metrics.

use super::condition::{Condition, Phase};
use super::lag::{Beat, Lag};
use super::status::{ReaderStatus, Status};
use super::{Exposed, OTHER_TABLES, SECONDS_BUCKETS, TABLES_MAX, process};
use crate::checkpoint::Position;
use crate::decode::RowsKind;
use crate::error::Error;
use crate::queue::leadership::Leadership;
use crate::source::gtid_set::GtidSet;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// A stream without any event for so long is not alive: the server is asked for one a second.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// A commit that takes longer does not go through.
const COMMIT_MAX: Duration = Duration::from_secs(30);

/// A reader whose place among its rivals was not confirmed for so long does not reach the brokers.
const CONFIRMATION_MAX: Duration = Duration::from_secs(15);

/// What a reader counts. Nothing in here is per value.
#[derive(Debug)]
pub struct ReaderMetrics {
    /// How it is, in words.
    pub condition: Arc<Condition>,
    registry: Registry,
    begun: Instant,
    changes_read: Family<TableLabels, Counter>,
    changes: Counter,
    transactions: Counter,
    events: Counter,
    bytes: Counter,
    in_flight: Gauge,
    commit_seconds: Histogram,
    resumptions: Counter,
    switches: Counter,
    stray_servers: Gauge,
    refreshed: Counter,
    refresh_pending: Gauge,
    lost_transactions: Counter,
    leading: Gauge,
    lag_seconds: Gauge<f64, AtomicU64>,
    position_file: Gauge<u64, AtomicU64>,
    position_offset: Gauge<u64, AtomicU64>,
    state: Mutex<State>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TableLabels {
    database: String,
    table: String,
    op: &'static str,
}

#[derive(Debug)]
struct State {
    server: String,
    others: Vec<String>,
    errant: Option<String>,
    lag: Lag,
    /// Where others of its name may run, and since when it stands among them.
    leadership: Option<(Leadership, Instant)>,
    tables: BTreeSet<(String, String)>,
    /// The position that a commit on its way leads to, and since when.
    commit: Option<(Position, Instant)>,
    position: Option<Position>,
    /// How many events had come at the last look, and when that number had changed.
    events_seen: u64,
    events_seen_at: Instant,
}

/// The counters of one table.
#[derive(Debug, Clone)]
pub struct TableCounters {
    inserts: Counter,
    updates: Counter,
    deletes: Counter,
    in_flight: Gauge,
}

impl TableCounters {
    /// The row changes of one event were read.
    pub fn count(&self, kind: RowsKind, changes: u64) {
        let counter = match kind {
            RowsKind::Insert => &self.inserts,
            RowsKind::Update => &self.updates,
            RowsKind::Delete => &self.deletes,
        };
        counter.inc_by(changes);
        self.in_flight.inc_by(changes.cast_signed());
    }
}

impl Default for ReaderMetrics {
    fn default() -> Self {
        let mut metrics = Self {
            condition: Arc::default(),
            registry: Registry::default(),
            begun: Instant::now(),
            changes_read: Family::default(),
            changes: Counter::default(),
            transactions: Counter::default(),
            events: Counter::default(),
            bytes: Counter::default(),
            in_flight: Gauge::default(),
            commit_seconds: Histogram::new(SECONDS_BUCKETS),
            resumptions: Counter::default(),
            switches: Counter::default(),
            stray_servers: Gauge::default(),
            refreshed: Counter::default(),
            refresh_pending: Gauge::default(),
            lost_transactions: Counter::default(),
            leading: Gauge::default(),
            lag_seconds: Gauge::default(),
            position_file: Gauge::default(),
            position_offset: Gauge::default(),
            state: Mutex::new(State {
                server: String::new(),
                others: Vec::new(),
                errant: None,
                lag: Lag::default(),
                leadership: None,
                tables: BTreeSet::new(),
                commit: None,
                position: None,
                events_seen: 0,
                events_seen_at: Instant::now(),
            }),
        };
        metrics.register();
        metrics
    }
}

impl ReaderMetrics {
    fn register(&mut self) {
        process::register(&mut self.registry);
        let registry = self.registry.sub_registry_with_prefix("mysync_reader");
        registry.register(
            "leading",
            "1 while this reader leads, 0 while it stands by for another one",
            self.leading.clone(),
        );
        registry.register(
            "lag_seconds",
            "Seconds since the last heartbeat was written before which everything is committed; -1 when unknown",
            self.lag_seconds.clone(),
        );
        registry.register(
            "changes_read",
            "Row changes read, by table and operation; those read again after an error too",
            self.changes_read.clone(),
        );
        registry.register("changes", "Row changes committed to Kafka", self.changes.clone());
        registry.register(
            "transactions",
            "MySQL transactions committed to Kafka",
            self.transactions.clone(),
        );
        registry.register("binlog_events", "Binlog events read", self.events.clone());
        registry.register("binlog_bytes", "Bytes of binlog events read", self.bytes.clone());
        registry.register(
            "changes_in_flight",
            "Row changes read and not committed",
            self.in_flight.clone(),
        );
        registry.register(
            "commit_seconds",
            "Time from asking for a Kafka commit to its acknowledgement",
            self.commit_seconds.clone(),
        );
        registry.register(
            "resumptions",
            "Times that the reader went back to its checkpoint after an error",
            self.resumptions.clone(),
        );
        registry.register(
            "switches",
            "Times that the reader went on from its checkpoint on another MySQL server",
            self.switches.clone(),
        );
        registry.register(
            "stray_servers",
            "Servers of source.servers that have transactions which the followed one lacks",
            self.stray_servers.clone(),
        );
        registry.register(
            "refreshed",
            "Rows read from their tables and published, or published as gone",
            self.refreshed.clone(),
        );
        registry.register(
            "refresh_pending_keys",
            "Rows that are still to be read from their tables",
            self.refresh_pending.clone(),
        );
        registry.register(
            "lost_transactions",
            "MySQL transactions that were published and that MySQL lost in a switch",
            self.lost_transactions.clone(),
        );
        registry.register(
            "position_file_number",
            "Number of the binlog file of the last committed checkpoint",
            self.position_file.clone(),
        );
        registry.register(
            "position_offset_bytes",
            "Offset in that file",
            self.position_offset.clone(),
        );
    }

    /// The MySQL server that is followed, `host:port`.
    pub fn set_server(&self, server: &str) {
        server.clone_into(&mut self.state().server);
    }

    /// What the other servers are, one line each, and how many of them have transactions of their own.
    pub fn set_others(&self, others: Vec<String>, strays: usize) {
        self.stray_servers.set(i64::try_from(strays).unwrap_or(i64::MAX));
        self.state().others = others;
    }

    /// Others of its name may run.
    pub fn set_leadership(&self, leadership: Leadership) {
        self.state().leadership = Some((leadership, Instant::now()));
    }

    /// It leads, or is the only one.
    pub fn lead(&self) {
        self.leading.set(1);
    }

    /// Another one may lead: what this one knows of the stream is old.
    pub fn stand_by(&self) {
        self.leading.set(0);
        self.in_flight.set(0);
        let mut state = self.state();
        state.lag.forget();
        state.commit = None;
        state.others.clear();
        self.stray_servers.set(0);
        drop(state);
        self.condition.stand_by();
    }

    /// Transactions that the followed server made of its own before it had all that was published; empty for none.
    pub fn set_errant(&self, gtids: &GtidSet) {
        self.state().errant = (!gtids.is_empty()).then(|| gtids.to_string());
    }

    /// The counters of a table, to be kept while its table map is valid.
    pub fn table(&self, database: &str, table: &str) -> TableCounters {
        let mut state = self.state();
        let name = (database.to_owned(), table.to_owned());
        let (database, table) = match state.tables.contains(&name) || state.tables.len() < TABLES_MAX {
            true => {
                state.tables.insert(name.clone());
                name
            }
            false => (OTHER_TABLES.to_owned(), OTHER_TABLES.to_owned()),
        };
        let counter = |op| {
            let labels = TableLabels {
                database: database.clone(),
                table: table.clone(),
                op,
            };
            self.changes_read.get_or_create(&labels).clone()
        };
        TableCounters {
            inserts: counter("insert"),
            updates: counter("update"),
            deletes: counter("delete"),
            in_flight: self.in_flight.clone(),
        }
    }

    /// An event came.
    pub fn event(&self, bytes: usize) {
        self.events.inc();
        self.bytes.inc_by(bytes as u64);
    }

    /// A heartbeat of this reader came.
    pub fn beat(&self, beat: Beat) {
        self.state().lag.beat(beat, self.in_flight.get());
    }

    /// So many rows are still to be read from their tables.
    pub fn refresh_pending(&self, keys: usize) {
        self.refresh_pending.set(i64::try_from(keys).unwrap_or(i64::MAX));
    }

    /// So many rows were read from their tables, or found to be gone.
    pub fn refreshed(&self, rows: u64) {
        self.refreshed.inc_by(rows);
        self.in_flight.inc_by(rows.cast_signed());
    }

    /// MySQL lost so many transactions that were published.
    pub fn lost(&self, transactions: u64) {
        self.lost_transactions.inc_by(transactions);
    }

    /// The heartbeat cannot be written, or can again.
    pub fn refuse_heartbeat(&self, refused: bool) {
        self.state().lag.refuse(refused);
    }

    /// A stream begins, at the last committed checkpoint: what was read before and not committed will come again. `is_switched`
    /// if the checkpoint was taken on another server.
    pub fn opened(&self, position: &Position, is_switched: bool) {
        self.switches.inc_by(u64::from(is_switched));
        self.in_flight.set(0);
        let mut state = self.state();
        state.lag.forget_uncommitted();
        state.commit = None;
        state.events_seen_at = Instant::now();
        self.reached(&mut state, position.clone());
        drop(state);
        self.condition.run();
    }

    /// A commit of everything up to this position is on its way.
    pub fn commit_begun(&self, position: &Position) {
        let mut state = self.state();
        state.lag.commit_begun();
        state.commit = Some((position.clone(), Instant::now()));
    }

    /// The commit that was on its way is done.
    pub fn commit_done(&self, changes: u64, transactions: u64) {
        self.changes.inc_by(changes);
        self.transactions.inc_by(transactions);
        self.in_flight.dec_by(changes.cast_signed());
        let mut state = self.state();
        state.lag.commit_done(self.in_flight.get());
        if let Some((position, begun)) = state.commit.take() {
            self.commit_seconds.observe(begun.elapsed().as_secs_f64());
            self.reached(&mut state, position);
        }
    }

    /// An error after which the reader goes back to its checkpoint.
    pub fn resumed(&self, error: &Error) {
        self.resumptions.inc();
        self.condition.wait(error);
    }

    fn reached(&self, state: &mut State, position: Position) {
        let number = position.file.rsplit('.').next();
        let number = number.and_then(|number| number.parse().ok());
        self.position_file.set(number.unwrap_or(0));
        self.position_offset.set(position.offset);
        state.position = Some(position);
    }

    fn complaint(&self, state: &State) -> Option<String> {
        if let Some(complaint) = self.condition.complaint() {
            return Some(complaint);
        }
        if let Some((leadership, since)) = &state.leadership {
            let unconfirmed = leadership.confirmed_ago().unwrap_or_else(|| since.elapsed());
            if unconfirmed > CONFIRMATION_MAX {
                return Some(format!(
                    "the brokers have not confirmed this reader's place among those that may lead for {} s",
                    unconfirmed.as_secs()
                ));
            }
        }
        if self.condition.phase() == Phase::Standby {
            return None;
        }
        let silent = state.events_seen_at.elapsed();
        if silent > SILENCE_MAX && state.events_seen == self.events.get() {
            return Some(format!("no event from MySQL for {} s", silent.as_secs()));
        }
        let commit = state.commit.as_ref().map(|(_, begun)| begun.elapsed());
        let commit = commit.filter(|elapsed| *elapsed > COMMIT_MAX)?;
        Some(format!(
            "a Kafka commit has taken {} s and is not done",
            commit.as_secs()
        ))
    }

    fn leadership_name(&self) -> String {
        let name = if self.leading.get() == 1 { "leading" } else { "standby" };
        name.to_owned()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Exposed for ReaderMetrics {
    fn text(&self) -> String {
        self.lag_seconds.set(self.state().lag.seconds(SystemTime::now()));
        let mut text = String::new();
        // Writing to a String cannot fail.
        encode(&mut text, &self.registry).ok();
        text
    }

    fn status(&self) -> Status {
        let state = self.state();
        let reason = self.complaint(&state);
        Status {
            role: "reader".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            phase: Status::phase_name(self.condition.phase()),
            healthy: reason.is_none(),
            reason,
            uptime_s: self.begun.elapsed().as_secs(),
            last_error: self.condition.last_error(),
            unsafe_settings: self.condition.unsafe_settings(),
            reader: Some(ReaderStatus {
                leadership: state.leadership.as_ref().map(|_| self.leadership_name()),
                server: state.server.clone(),
                others: state.others.clone(),
                errant: state.errant.clone(),
                position: state.position.clone(),
                lag_seconds: state.lag.seconds(SystemTime::now()),
                changes_in_flight: self.in_flight.get(),
                changes: self.changes.get(),
                resumptions: self.resumptions.get(),
                switches: self.switches.get(),
                lost_transactions: self.lost_transactions.get(),
                refresh_pending_keys: self.refresh_pending.get(),
            }),
            writer: None,
        }
    }

    fn tick(&self) {
        let mut state = self.state();
        let events = self.events.get();
        if events != state.events_seen {
            state.events_seen = events;
            state.events_seen_at = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_that_stands_by_is_healthy_as_long_as_the_brokers_know_it() {
        let (candidate, leadership) = Leadership::contested();
        let metrics = ReaderMetrics::default();
        metrics.set_leadership(leadership);
        metrics.stand_by();
        candidate.confirm(tokio::time::Instant::now());
        let look = || {
            let status = metrics.status();
            (status.reader.unwrap().leadership.unwrap(), status.phase, status.healthy)
        };
        let standby = |healthy| ("standby".to_owned(), "standby".to_owned(), healthy);
        assert_eq!(look(), standby(true));
        assert!(metrics.text().contains("mysync_reader_leading 0") && metrics.text().contains("lag_seconds -1.0"));
        tokio::time::advance(CONFIRMATION_MAX * 2).await;
        assert_eq!(look(), standby(false));
        let reason = metrics.status().reason.unwrap();
        assert!(
            reason.contains("have not confirmed") && reason.ends_with("for 30 s"),
            "{reason}"
        );

        candidate.confirm(tokio::time::Instant::now());
        metrics.lead();
        metrics.condition.run();
        assert_eq!(look(), ("leading".to_owned(), "running".to_owned(), true));
        assert!(metrics.text().contains("mysync_reader_leading 1"));
    }
}
