//! The writer: applies the changes of the queue to one target, in order, each exactly once in effect.
//!
//! # What is kept
//! Within a partition changes are applied in order, many to one atomic step with the cursor ([`crate::target`]); of the changes
//! of a step only the last one of each key is applied (`fold`). A row lives in one partition, so its changes never overtake
//! each other. Where to go on is decided by the cursor in the target alone.
//!
//! # What cannot be applied
//! No change is skipped. A record that is not understood, or that the target refuses for good, stops its partition, and
//! nothing else: it is said in log, metrics and status, and a person decides ([`crate::metrics::orders`]) whether it is tried
//! again, or passed over; then it is kept in `<prefix>.__dead`, which the brokers acknowledge before the cursor moves. A fence
//! waits as long. The stop is kept nowhere: a writer that starts again comes to the same record.
//!
//! # The loop
//! One task drives everything (`engine`). Reading and applying overlap: while the target works on one round of steps, the
//! next is read, parsed and folded, up to the bounds. When the target is idle, whatever is there is applied at once, so a
//! round is small when little comes and grows under load by itself.
//!
//! # When something breaks
//! - **The target**: everything that waits is forgotten, the target is connected to again, for ever, the cursors are read
//!   anew and every partition starts from them. Nothing is read meanwhile. The same happens when a cursor is not where this
//!   writer left it: another writer has taken over, or the target has lost its last writes.
//! - **The queue**: brokers that come and go are the client's to bear. When the client itself gives up, a new one joins.
//! - **Another writer joins the group**: partitions move; what is still on its way to the target from here is guarded by
//!   the cursor.
//!
//! # Fences
//! A row of the fence table ([`crate::tables::FENCE_TABLE`]) is applied only after everything that was committed when the
//! writer met it has been applied, of *every* followed partition: it takes the ends of all partitions (records of
//! transactions whose marks are still on their way to some partition count already), holds the row, and goes on with the
//! rest until these ends are applied (`barrier`). Partitions of other writers of the group, or of a topic that no writer has found
//! yet, are looked up by their cursors in the target. So a fence row that is seen in the target means: all that was
//! committed before it is there.

mod barrier;
mod debezium;
mod engine;
mod envelope;
mod fold;
mod lanes;
mod protobuf;
mod retry;
mod summary;

pub use barrier::Barrier;
pub use engine::{AskColumns, run};
pub use envelope::Parser;
pub use fold::Fold;
pub use lanes::{Bounds, Lanes, Obstacle, Progress, Read, Round};
pub use summary::Summary;

use crate::config::{Config, WriterFormat};
use crate::error::{Error, Result};
use crate::metrics::WriterMetrics;
use crate::queue::kafka::KafkaQueue;
use crate::target::Target;
use crate::target::columns::SourceColumns;
use crate::target::elasticsearch::ElasticsearchTarget;
use crate::target::hbase::HbaseTarget;
use crate::target::redis::RedisTarget;
use std::sync::Arc;

/// Bytes of records that wait to be applied, and as many that are on their way to the target, unless a target wants less.
pub const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How a writer runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Prefix of the topics.
    pub prefix: String,
    /// What is applied in one atomic step, at most.
    pub bounds: Bounds,
    /// Stop when everything that was there at the start has been applied.
    pub until_caught_up: bool,
    /// What is counted; shared with who serves it.
    pub metrics: Arc<WriterMetrics>,
    /// Where the records are Debezium's own: how to ask what the columns in MySQL are.
    pub debezium: Option<AskColumns>,
}

/// Runs the writer for Redis until `stop` is done, or everything is applied.
pub async fn run_redis(
    config: &Config,
    until_caught_up: bool,
    metrics: Arc<WriterMetrics>,
    stop: impl Future<Output = ()>,
) -> Result<Summary> {
    let redis = config.writer.redis.as_ref().ok_or_else(|| {
        Error::configuration("the configuration has no section [writer.redis]")
            .hint("add it: mysync config template shows its keys")
    })?;
    let target = RedisTarget::new(redis, &config.kafka.prefix)?;
    let bounds = bounds(redis.batch_changes_max);
    run_target(config, target, bounds, until_caught_up, metrics, stop).await
}

/// Runs the writer for Elasticsearch or OpenSearch until `stop` is done, or everything is applied.
pub async fn run_elasticsearch(
    config: &Config,
    until_caught_up: bool,
    metrics: Arc<WriterMetrics>,
    stop: impl Future<Output = ()>,
) -> Result<Summary> {
    let section = config.writer.elasticsearch.as_ref().ok_or_else(|| {
        Error::configuration("the configuration has no section [writer.elasticsearch]")
            .hint("add it: mysync config template shows its keys")
    })?;
    let target = ElasticsearchTarget::new(section, &config.kafka.prefix, SourceColumns::new(config))?;
    let bounds = bounds(section.batch_changes_max);
    run_target(config, target, bounds, until_caught_up, metrics, stop).await
}

/// Runs the writer for HBase until `stop` is done, or everything is applied.
pub async fn run_hbase(
    config: &Config,
    until_caught_up: bool,
    metrics: Arc<WriterMetrics>,
    stop: impl Future<Output = ()>,
) -> Result<Summary> {
    let hbase = config.writer.hbase.as_ref().ok_or_else(|| {
        Error::configuration("the configuration has no section [writer.hbase]")
            .hint("add it: mysync config template shows its keys")
    })?;
    let target = HbaseTarget::new(hbase, &config.kafka.prefix);
    let bounds = bounds(hbase.batch_changes_max);
    run_target(config, target, bounds, until_caught_up, metrics, stop).await
}

fn bounds(changes_max: usize) -> Bounds {
    Bounds {
        changes_max,
        bytes_max: BATCH_BYTES_MAX,
    }
}

async fn run_target(
    config: &Config,
    target: impl Target,
    bounds: Bounds,
    until_caught_up: bool,
    metrics: Arc<WriterMetrics>,
    stop: impl Future<Output = ()>,
) -> Result<Summary> {
    let options = Options {
        prefix: config.kafka.prefix.clone(),
        bounds,
        until_caught_up,
        metrics,
        debezium: match config.writer.format {
            WriterFormat::Mysync => None,
            WriterFormat::Debezium => Some(AskColumns::of_source(config)),
        },
    };
    run(&KafkaQueue::new(config), target, &options, stop).await
}
