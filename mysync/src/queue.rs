//! The queue between reader and writers, as the reader and the writers see it.
//!
//! The reader's half ([`Publisher`]) takes batches of encoded records and commits them with a checkpoint. In transactional
//! delivery consumers that read committed see either all records up to a checkpoint, or none of those since the one before.
//! In sequenced delivery they see records at once, and a checkpoint stands only behind records that all can be seen: a
//! reader that goes on from it publishes some again, with the same versions. Opening a publisher fences every older one of
//! the same name: it commits nothing more.
//!
//! The writers' half ([`Subscriber`]) hands out committed records, each partition in order, and takes offsets back for
//! lag monitors. Where a writer goes on after a restart is not decided here but by the cursor in its target.
//!
//! Errors: a transient one means that the outcome of what was uncommitted is unknown; the caller opens a new publisher
//! (which settles it) and goes on from the checkpoint found there. The real queue is [`kafka`].

pub mod kafka;
pub mod leadership;
pub mod outdated;
pub mod window;

mod batch;
mod scan;

pub use batch::{Batch, MOVED, Origin, Record};
pub use scan::{Published, Scan, StoredRecord};

use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::schema::TableName;
use crate::version::Version;
use leadership::Leadership;
use outdated::Outdated;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Index of a declared topic, given out by [`Publisher::declare`].
pub type TopicId = u32;

/// A topic that the reader writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic<'a> {
    /// `<prefix>.<database>.<table>`: the changes of a table. The last record of each key is kept for ever.
    Table {
        /// The table's database.
        database: &'a str,
        /// The table.
        table: &'a str,
    },
    /// `<prefix>.changes`: the changes of all tables, told apart by their keys; given out anew for each table. Else like a
    /// table's.
    Changes {
        /// The table's database.
        database: &'a str,
        /// The table.
        table: &'a str,
    },
    /// `<prefix>.transaction`, one partition: where transactions begin and end, kept for a week.
    Transactions,
    /// `<prefix>.__<name>`, one partition: the last record of each key is kept for ever.
    Compacted(&'a str),
    /// `<prefix>.__<name>`, one partition: every record is kept for ever.
    Log(&'a str),
    /// `<prefix>.__<name>`, one partition: every record is kept for a week.
    Recent(&'a str),
}

/// One partition of one topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    /// Name of the topic. Shared, because every record has one.
    pub topic: Arc<str>,
    /// Number of the partition.
    pub number: i32,
}

impl fmt::Display for Partition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}[{}]", self.topic, self.number)
    }
}

/// What the reader and the writers need of Kafka.
#[allow(async_fn_in_trait)] // The reader and the writer drive one queue on one task each.
pub trait Queue {
    /// The reader's half.
    type Publisher: Publisher;
    /// The writers' half.
    type Subscriber: Subscriber;

    /// What is known of the election among readers of one name.
    fn leadership(&self) -> Leadership {
        Leadership::alone()
    }

    /// Becomes the only publisher of its name, after every older one's transaction has ended, and finds the last
    /// committed checkpoint.
    async fn publisher(&self) -> Result<(Self::Publisher, Option<Checkpoint>)>;

    /// Reads an internal topic, given by its name without prefix and underscores, from an offset on (0 is the oldest) up
    /// to its end as it is now, committed records only. The topic must have been declared. What the caller's own publisher
    /// has not committed yet is not seen.
    async fn scan(&self, internal_topic: &str, from_offset: i64) -> Result<Scan>;

    /// Like [`Queue::scan`], from so many offsets before the end on; and whether that is all that the topic has. Some offsets
    /// hold no record.
    async fn scan_end(&self, internal_topic: &str, offsets: i64) -> Result<(Scan, bool)>;

    /// Finds all committed records of the topics of tables whose version is `from` or higher, each partition's in order.
    async fn published(&self, from: Version) -> Result<Published>;

    /// The tables of which there are records.
    async fn tables(&self) -> Result<Vec<TableName>>;

    /// Finds the keys of a table whose last record is no tombstone and has a version below `before`, or none at all. The topic
    /// must have been declared; where it is that of all tables, `key_end` is what the table's keys end with. Some keys may be
    /// among them of which later records are not committed yet.
    async fn outdated(&self, topic: Topic<'_>, key_end: &[u8], before: Version) -> Result<Outdated>;

    /// Joins a group of writers, `<prefix>.<target>`.
    async fn subscriber(&self, group: &str) -> Result<Self::Subscriber>;
}

/// The reader's half of the queue.
#[allow(async_fn_in_trait)] // The reader drives one publisher on one task.
pub trait Publisher {
    /// Makes sure that the topic exists with settings that lose nothing. Asked again, it gives the same id.
    async fn declare(&mut self, topic: Topic<'_>) -> Result<TopicId>;

    /// Appends the batch after all that was sent before. Waits while the buffer is full; returns an empty batch to fill.
    async fn send(&mut self, batch: Batch) -> Result<Batch>;

    /// Whether a batch sent now would be taken without waiting.
    fn has_room(&self) -> bool;

    /// Commits all that was sent, and the checkpoint with it, or behind it. Returns at once; the outcome comes from
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
    /// These partitions are another writer's from now on, or gone.
    Revoked(Vec<Partition>),
    /// Committed records, each partition's in order.
    Records {
        /// The records.
        messages: Vec<Message>,
        /// How far partitions have been read once these records are taken, marks of transactions that carry no record
        /// included. Holds at least the partitions that have been read to their end since the delivery before.
        positions: BTreeMap<Partition, i64>,
    },
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
    /// When it was written, milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    /// The record's key.
    pub key: Vec<u8>,
    /// The record's value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
}

/// The writers' half of the queue.
#[allow(async_fn_in_trait)] // A writer drives one subscriber on one task.
pub trait Subscriber {
    /// Waits for the next delivery. May be dropped while waiting and called again.
    async fn next(&mut self) -> Result<Delivery>;

    /// Starts partitions that were assigned, or moves ones that were started before, to the cursors given; `None` is the
    /// oldest record. Returns where each starts. A cursor that the partition does not reach to, on either side, is a
    /// definite error. No record from before the move comes afterwards. All partitions of one [`Delivery::Assigned`] are
    /// started together.
    async fn start(&mut self, cursors: &BTreeMap<Partition, Option<i64>>) -> Result<BTreeMap<Partition, i64>>;

    /// Asks for the end of every followed partition, this writer's or not, as they are now. Records count as soon as they
    /// are written, before their transaction is decided: a writer that has read up to these ends has seen everything
    /// that was committed before, in a transaction whose marks have not reached every partition yet too.
    fn ends(&self) -> impl Future<Output = Result<BTreeMap<Partition, i64>>> + 'static;

    /// Stops reading these partitions; what is on its way still comes.
    fn pause(&mut self, partitions: &[Partition]);

    /// Goes on reading these partitions.
    fn resume(&mut self, partitions: &[Partition]);

    /// Stores offsets for lag monitors, some time later; nothing depends on them.
    fn commit(&mut self, offsets: &BTreeMap<Partition, i64>);

    /// Keeps the record at this offset, as it is, with its place and the reason, where dead ones are kept, `<prefix>.__dead`.
    /// Done when it cannot be lost any more.
    fn bury(&self, partition: Partition, offset: i64, reason: String) -> impl Future<Output = Result<()>> + 'static;

    /// Leaves the group, so that its partitions need not wait for a timeout to be another writer's.
    async fn close(self);
}
