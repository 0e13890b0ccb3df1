//! The writer's metrics.

use super::condition::Condition;
use super::orders::{self, Asked};
use super::status::{Status, StoppedPartition, WriterStatus};
use super::{Exposed, OTHER_TABLES, SECONDS_BUCKETS, TABLES_MAX, process};
use crate::error::Error;
use crate::queue::Partition;
use crate::target::TableName;
use crate::writer::{Obstacle, Progress, Round};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

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
    lag_seconds: Gauge<f64, AtomicU64>,
    partition_lag_records: Family<PartitionLabels, Gauge>,
    partitions_stopped: Gauge,
    skipped: Counter,
    targets: Family<TargetLabels, Gauge>,
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

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TargetLabels {
    target: String,
}

/// When the oldest record was written that is not applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Behind {
    #[default]
    Unknown,
    Nothing,
    /// Milliseconds since 1970.
    SinceMs(i64),
}

#[derive(Debug, Default)]
struct State {
    target: String,
    tables: HashMap<Arc<TableName>, Counter>,
    /// Series of partitions that there are.
    partitions: BTreeSet<Partition>,
    partitions_owned: u64,
    behind: Behind,
    /// When everything of a partition was last known to be applied, milliseconds since 1970.
    caught_up_ms: BTreeMap<Partition, i64>,
    stopped: Vec<(StoppedPartition, Instant)>,
    fence_waits: Option<String>,
    orders: Option<mpsc::Sender<Asked>>,
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
            lag_seconds: Gauge::default(),
            partition_lag_records: Family::default(),
            partitions_stopped: Gauge::default(),
            skipped: Counter::default(),
            targets: Family::default(),
            state: Mutex::new(State::default()),
        };
        metrics.lag_records.set(-1);
        metrics.lag_seconds.set(-1.0);
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
        registry.register(
            "lag_seconds",
            "Time since the oldest record was written that is not applied; 0 when all are, -1 when unknown",
            self.lag_seconds.clone(),
        );
        registry.register(
            "partitions_stopped",
            "Partitions that a record stops which cannot be applied: a person has to look",
            self.partitions_stopped.clone(),
        );
        registry.register("skipped", "Records that a person has skipped", self.skipped.clone());
        registry.register("target", "1, with the name of the target", self.targets.clone());
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
        let target = target.to_owned();
        self.targets.get_or_create(&TargetLabels { target }).set(1);
    }

    /// The end at which orders come out, for the one loop that obeys them.
    pub fn take_orders(&self) -> mpsc::Receiver<Asked> {
        let (sender, receiver) = orders::channel();
        self.state().orders = Some(sender);
        receiver
    }

    /// These partitions are stopped, and no others.
    pub fn set_stopped<'a>(&self, stopped: impl Iterator<Item = (&'a Partition, &'a Obstacle)>) {
        let mut state = self.state();
        let before = std::mem::take(&mut state.stopped);
        let since = |partition: &Partition, offset: i64| {
            let is_it = |stopped: &StoppedPartition| {
                (&*stopped.topic, stopped.partition, stopped.offset) == (&*partition.topic, partition.number, offset)
            };
            let known = before.iter().find(|(stopped, _)| is_it(stopped));
            known.map_or_else(Instant::now, |(_, since)| *since)
        };
        let told = stopped.map(|(partition, obstacle)| {
            let stopped = StoppedPartition {
                topic: partition.topic.to_string(),
                partition: partition.number,
                offset: obstacle.offset,
                since_s: 0,
                reason: obstacle.reason.one_line(),
            };
            (stopped, since(partition, obstacle.offset))
        });
        state.stopped = told.collect();
        self.partitions_stopped
            .set(i64::try_from(state.stopped.len()).unwrap_or(i64::MAX));
    }

    /// What a fence row waits for, in words.
    pub fn set_fence_waits(&self, waits: Option<String>) {
        self.state().fence_waits = waits;
    }

    /// A record was skipped.
    pub fn skipped(&self) {
        self.skipped.inc();
    }

    /// A round of steps is on its way to the target.
    pub fn apply_begun(&self) {
        self.state().applying_since = Some(Instant::now());
    }

    /// The target has answered; `applied` are the steps, unless it failed.
    pub fn apply_done(&self, applied: Option<&Round>) {
        let mut state = self.state();
        let begun = state.applying_since.take();
        let Some(Round { steps, read }) = applied else {
            return;
        };
        if let Some(begun) = begun {
            self.apply_seconds.observe(begun.elapsed().as_secs_f64());
        }
        self.records.inc_by(read.iter().map(|read| read.records).sum());
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
    pub fn lag<'a>(&self, ends: &BTreeMap<Partition, i64>, progress: impl Iterator<Item = (&'a Partition, Progress)>) {
        let now_ms = now_ms();
        let mut state = self.state();
        let (mut sum, mut owned, mut behind) = (Some(0), 0, Behind::Nothing);
        let (mut seen, mut caught_up) = (BTreeSet::new(), BTreeMap::new());
        for (partition, progress) in progress {
            owned += 1;
            let end = ends.get(partition).zip(progress.applied_to);
            let lag = end.map(|(end, applied_to)| (end - applied_to).max(0));
            sum = sum.zip(lag).map(|(sum, lag)| sum + lag);
            // What is not here yet was written after everything that is known to be applied.
            let after = progress.applied_ms.max(state.caught_up_ms.get(partition).copied());
            behind = behind.and(match lag {
                None => Behind::Unknown,
                Some(0) => Behind::Nothing,
                Some(_) => progress
                    .waiting_since_ms
                    .or(after)
                    .map_or(Behind::Unknown, Behind::SinceMs),
            });
            let known = if lag == Some(0) {
                Some(now_ms)
            } else {
                state.caught_up_ms.remove(partition)
            };
            caught_up.extend(known.map(|known| (partition.clone(), known)));
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
        state.caught_up_ms = caught_up;
        state.partitions_owned = owned;
        state.unanswered = None;
        // Who has no partition yet does not know what will be its own.
        self.lag_records.set(sum.filter(|_| owned > 0).unwrap_or(-1));
        state.behind = if owned > 0 { behind } else { Behind::Unknown };
    }

    /// The brokers did not tell where partitions end.
    pub fn lag_unknown(&self, error: &Error) {
        self.condition.note(error);
        self.lag_records.set(-1);
        let mut state = self.state();
        state.behind = Behind::Unknown;
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
        if let Some((stopped, _)) = state.stopped.first() {
            let StoppedPartition {
                topic,
                partition,
                offset,
                reason,
                ..
            } = stopped;
            let count = state.stopped.len();
            return Some(format!(
                "{count} partitions are stopped, the first: {topic}[{partition}] at offset {offset}: {reason}"
            ));
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

impl Behind {
    /// Of two partitions: what is not known of one is not known of both.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Behind::Unknown, _) | (_, Behind::Unknown) => Behind::Unknown,
            (Behind::Nothing, behind) | (behind, Behind::Nothing) => behind,
            (Behind::SinceMs(left), Behind::SinceMs(right)) => Behind::SinceMs(left.min(right)),
        }
    }

    /// Seconds; -1 when unknown.
    fn seconds(self, now_ms: i64) -> f64 {
        match self {
            Behind::Unknown => -1.0,
            Behind::Nothing => 0.0,
            #[allow(clippy::cast_precision_loss)] // A difference of times: milliseconds of centuries fit.
            Behind::SinceMs(since_ms) => (now_ms - since_ms).max(0) as f64 / 1e3,
        }
    }
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

fn labels(partition: &Partition) -> PartitionLabels {
    PartitionLabels {
        topic: partition.topic.to_string(),
        partition: partition.number,
    }
}

impl Exposed for WriterMetrics {
    fn text(&self) -> String {
        self.lag_seconds.set(self.state().behind.seconds(now_ms()));
        let mut text = String::new();
        // Writing to a String cannot fail.
        encode(&mut text, &self.registry).ok();
        text
    }

    fn orders(&self) -> Option<mpsc::Sender<Asked>> {
        self.state().orders.clone()
    }

    fn status(&self) -> Status {
        let since = |(stopped, since): &(StoppedPartition, Instant)| StoppedPartition {
            since_s: since.elapsed().as_secs(),
            ..stopped.clone()
        };
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
                lag_seconds: state.behind.seconds(now_ms()),
                changes: state.changes,
                retries: state.retries,
                skipped: self.skipped.get(),
                stopped: state.stopped.iter().map(since).collect(),
                fence_waits: state.fence_waits.clone(),
            }),
        }
    }
}
