//! The queue between reader and writers, as the reader and the writers see it.
//!
//! The reader's half ([`Publisher`]) takes batches of encoded records and commits them together with a checkpoint: either
//! consumers that read committed see all records up to a checkpoint, or none of those since the one before. Opening a
//! publisher fences every older one of the same name.
//!
//! The writers' half ([`Subscriber`]) hands out committed records, each partition in order, and takes offsets back for
//! lag monitors. Where a writer goes on after a restart is not decided here but by the cursor in its target.
//!
//! Errors: a transient one means that the outcome of what was uncommitted is unknown; the caller opens a new publisher
//! (which settles it) and goes on from the checkpoint found there. The real queue is [`kafka`].

pub mod kafka;

mod batch;

pub use batch::{Batch, Origin, Record};

use crate::checkpoint::Checkpoint;
use crate::error::Result;
use std::collections::BTreeMap;

/// Index of a declared topic, given out by [`Publisher::declare`].
pub type TopicId = u32;

/// One partition of one topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    /// Name of the topic.
    pub topic: String,
    /// Number of the partition.
    pub number: i32,
}

/// What the reader and the writers need of Kafka.
#[allow(async_fn_in_trait)] // The reader and the writer drive one queue on one task each.
pub trait Queue {
    /// The reader's half.
    type Publisher: Publisher;

    /// Becomes the only publisher of its name, after every older one's transaction has ended, and finds the last
    /// committed checkpoint.
    async fn publisher(&self) -> Result<(Self::Publisher, Option<Checkpoint>)>;
}

/// The reader's half of the queue.
#[allow(async_fn_in_trait)] // The reader drives one publisher on one task.
pub trait Publisher {
    /// Makes sure that the table's topic exists with settings that lose nothing.
    async fn declare(&mut self, database: &str, table: &str) -> Result<TopicId>;

    /// Appends the batch after all that was sent before. Waits while the buffer is full; returns an empty batch to fill.
    async fn send(&mut self, batch: Batch) -> Result<Batch>;

    /// Commits all that was sent, and the checkpoint with it. Returns at once; the outcome comes from
    /// [`Publisher::committed`], and only one commit may be on its way.
    async fn commit(&mut self, checkpoint: Checkpoint) -> Result<()>;

    /// Waits for the outcome of the commit that is on its way. May be dropped while waiting and called again.
    async fn committed(&mut self) -> Result<()>;
}

/// What a subscriber hands out.
#[derive(Debug)]
pub enum Delivery {
    /// These partitions are this writer's now; nothing of them comes before [`Subscriber::start`].
    Assigned(Vec<Partition>),
    /// These partitions are another writer's from now on.
    Revoked(Vec<Partition>),
    /// Committed records, each partition's in order.
    Records(Vec<Message>),
}

/// One committed record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it came from.
    pub partition: Partition,
    /// Its offset there.
    pub offset: i64,
    /// The header `mysync.version`, where there is one.
    pub version: Option<i64>,
    /// The header `mysync.table` of a tombstone, `["database","table"]`: a topic's name alone does not tell them.
    pub table: Option<String>,
    /// The record's key.
    pub key: Vec<u8>,
    /// The record's value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
}

/// The writers' half of the queue.
#[allow(async_fn_in_trait)] // A writer drives one subscriber on one task.
pub trait Subscriber {
    /// Waits for the next delivery, at most `wait`; an empty `Records` when there was none.
    async fn next(&mut self, wait: std::time::Duration) -> Result<Delivery>;

    /// Starts, or moves, partitions to the offsets given; `None` is the oldest record.
    async fn start(&mut self, offsets: &BTreeMap<Partition, Option<i64>>) -> Result<()>;

    /// The end of each partition for consumers that read committed.
    async fn ends(&mut self, partitions: &[Partition]) -> Result<BTreeMap<Partition, i64>>;

    /// How far each partition has been read, marks of transactions that carry no record included.
    async fn positions(&mut self, partitions: &[Partition]) -> Result<BTreeMap<Partition, i64>>;

    /// Stores offsets for lag monitors; nothing depends on them.
    async fn commit(&mut self, offsets: &BTreeMap<Partition, i64>) -> Result<()>;
}
