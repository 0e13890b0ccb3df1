//! The writer's metrics.

use super::condition::Condition;
use super::status::{Status, WriterStatus};
use super::{Exposed, OTHER_TABLES, SECONDS_BUCKETS, TABLES_MAX, process};
use crate::error::Error;
use crate::queue::Partition;
use crate::target::{Step, TableName};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A request to the target that takes longer does not go through.
const APPLY_MAX: Duration = Duration::from_secs(30);

/// Partitions that have series of their own; the sum counts all.
const PARTITIONS_MAX: usize = 10_000;

/// What a writer counts. Nothing in here is per value.
#[derive(Debug)]
pub struct WriterMetrics {
    /// How it is, in words.
    pub condition: Condition,
    registry: Registry,
    begun: Instant,
    is_served: AtomicBool,
    changes: Family<TableLabels, Counter>,
    records: Counter,
    apply_seconds: Histogram,
    retries: Family<RetryLabels, Counter>,
    lag_records: Gauge,
    partition_lag_records: Family<PartitionLabels, Gauge>,
    state: Mutex<State>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TableLabels {
    database: String,
    table: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RetryLabels {
    of: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartitionLabels {
    topic: String,
    partition: i32,
}

#[derive(Debug, Default)]
struct State {
    target: String,
    tables: HashMap<Arc<TableName>, Counter>,
    /// Series of partitions that there are.
    partitions: BTreeSet<Partition>,
    partitions_owned: u64,
    applying_since: Option<Instant>,
    /// Why the brokers did not tell where partitions end, when they were last asked.
    unanswered: Option<String>,
    changes: u64,
    retries: u64,
}

impl Default for WriterMetrics {
    fn default() -> Self {
        let mut metrics = Self {
            condition: Condition::default(),
            registry: Registry::default(),
            begun: Instant::now(),
            is_served: AtomicBool::new(false),
            changes: Family::default(),
            records: Counter::default(),
            apply_seconds: Histogram::new(SECONDS_BUCKETS),
            retries: Family::default(),
            lag_records: Gauge::default(),
            partition_lag_records: Family::default(),
            state: Mutex::new(State::default()),
        };
        metrics.lag_records.set(-1);
        metrics.register();
        metrics
    }
}

impl WriterMetrics {
    fn register(&mut self) {
        process::register(&mut self.registry);
        let registry = self.registry.sub_registry_with_prefix("mysync_writer");
        registry.register(
            "changes",
            "Changes applied after folding, by table",
            self.changes.clone(),
        );
        registry.register("records", "Records read and applied", self.records.clone());
        registry.register(
            "apply_seconds",
            "Time that the target took for a round of steps",
            self.apply_seconds.clone(),
        );
        registry.register(
            "retries",
            "Times that the target or the queue was tried again",
            self.retries.clone(),
        );
        registry.register(
            "lag_records",
            "Records not applied, of all partitions of this writer; -1 when unknown",
            self.lag_records.clone(),
        );
        registry.register(
            "partition_lag_records",
            "Records not applied, by partition; those of open transactions count",
            self.partition_lag_records.clone(),
        );
    }

    /// Somebody serves these metrics: what has to be asked for is worth asking.
    pub fn set_served(&self) {
        self.is_served.store(true, Ordering::Relaxed);
    }

    /// Whether somebody serves these metrics.
    #[must_use]
    pub fn is_served(&self) -> bool {
        self.is_served.load(Ordering::Relaxed)
    }

    /// The target's name.
    pub fn set_target(&self, target: &str) {
        target.clone_into(&mut self.state().target);
    }

    /// A round of steps is on its way to the target.
    pub fn apply_begun(&self) {
        self.state().applying_since = Some(Instant::now());
    }

    /// The target has answered; `applied` are the steps, unless it failed.
    pub fn apply_done(&self, applied: Option<(&[Step], u64)>) {
        let mut state = self.state();
        let begun = state.applying_since.take();
        let Some((steps, records)) = applied else {
            return;
        };
        if let Some(begun) = begun {
            self.apply_seconds.observe(begun.elapsed().as_secs_f64());
        }
        self.records.inc_by(records);
        for step in steps {
            // Neighbours are mostly of one table.
            for run in step.changes.chunk_by(|left, right| left.table == right.table) {
                state.changes += run.len() as u64;
                self.counter(&mut state, &run[0].table).inc_by(run.len() as u64);
            }
        }
    }

    fn counter(&self, state: &mut State, table: &Arc<TableName>) -> Counter {
        if let Some(counter) = state.tables.get(table) {
            return counter.clone();
        }
        if state.tables.len() >= TABLES_MAX {
            let labels = TableLabels {
                database: OTHER_TABLES.to_owned(),
                table: OTHER_TABLES.to_owned(),
            };
            return self.changes.get_or_create(&labels).clone();
        }
        let labels = TableLabels {
            database: table.database.clone(),
            table: table.table.clone(),
        };
        let counter = self.changes.get_or_create(&labels).clone();
        state.tables.insert(Arc::clone(table), counter.clone());
        counter
    }

    /// Something failed and will be tried again; `of` is `target` or `queue`.
    pub fn retried(&self, of: &'static str, error: &Error) {
        self.retries.get_or_create(&RetryLabels { of }).inc();
        self.state().retries += 1;
        self.condition.wait(error);
    }

    /// Where partitions end, and how far those of this writer have been applied.
    pub fn lag<'a>(&self, ends: &BTreeMap<Partition, i64>, applied: impl Iterator<Item = (&'a Partition, i64)>) {
        let mut state = self.state();
        let (mut sum, mut owned) = (Some(0), 0);
        let mut seen = BTreeSet::new();
        for (partition, applied_to) in applied {
            owned += 1;
            let lag = ends.get(partition).map(|end| (end - applied_to).max(0));
            sum = sum.zip(lag).map(|(sum, lag)| sum + lag);
            if seen.len() < PARTITIONS_MAX {
                self.partition_lag_records
                    .get_or_create(&labels(partition))
                    .set(lag.unwrap_or(-1));
                seen.insert(partition.clone());
            }
        }
        for gone in state.partitions.difference(&seen) {
            self.partition_lag_records.remove(&labels(gone));
        }
        state.partitions = seen;
        state.partitions_owned = owned;
        state.unanswered = None;
        // Who has no partition yet does not know what will be its own.
        self.lag_records.set(sum.filter(|_| owned > 0).unwrap_or(-1));
    }

    /// The brokers did not tell where partitions end.
    pub fn lag_unknown(&self, error: &Error) {
        self.condition.note(error);
        self.lag_records.set(-1);
        let mut state = self.state();
        state.unanswered = Some(error.one_line());
        for partition in &state.partitions {
            self.partition_lag_records.get_or_create(&labels(partition)).set(-1);
        }
    }

    fn complaint(&self, state: &State) -> Option<String> {
        if let Some(complaint) = self.condition.complaint() {
            return Some(complaint);
        }
        if let Some(reason) = &state.unanswered {
            return Some(reason.clone());
        }
        let applying = state.applying_since.map(|begun| begun.elapsed());
        let applying = applying.filter(|elapsed| *elapsed > APPLY_MAX)?;
        Some(format!(
            "{} has not answered for {} s",
            state.target,
            applying.as_secs()
        ))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn labels(partition: &Partition) -> PartitionLabels {
    PartitionLabels {
        topic: partition.topic.to_string(),
        partition: partition.number,
    }
}

impl Exposed for WriterMetrics {
    fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        encode(&mut text, &self.registry).ok();
        text
    }

    fn status(&self) -> Status {
        let state = self.state();
        let reason = self.complaint(&state);
        Status {
            role: "writer".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            phase: Status::phase_name(self.condition.phase()),
            healthy: reason.is_none(),
            reason,
            uptime_s: self.begun.elapsed().as_secs(),
            last_error: self.condition.last_error(),
            unsafe_settings: self.condition.unsafe_settings(),
            reader: None,
            writer: Some(WriterStatus {
                target: state.target.clone(),
                partitions: state.partitions_owned,
                lag_records: self.lag_records.get(),
                changes: state.changes,
                retries: state.retries,
            }),
        }
    }
}
