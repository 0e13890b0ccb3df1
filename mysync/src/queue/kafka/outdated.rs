//! Finding outdated keys in a table's topic, on a thread of its own ([`crate::queue::outdated`]).
//!
//! Each partition is read up to where it ended at the start, however long a transaction there stays undecided: a record that is
//! passed over would be a row that nobody ever deletes.

use super::topics::Quiet;
use super::{ANSWER_TIMEOUT, KafkaQueue, sort};
use crate::error::{Error, Result};
use crate::queue::outdated::{HASHES_MAX, Outdated, Pass};
use crate::version::Version;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::{Message, Offset, TopicPartitionList};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Keys in a list.
const LIST_KEYS_MAX: usize = 1_000;

/// Bytes of a list's keys, unless one alone is larger.
const LIST_BYTES_MAX: usize = 256 << 10;

/// Fetched ahead at most, unless one record alone is larger, kB.
const FETCHED_KILOBYTES_MAX: u32 = 8 << 10;

const POLL_TIMEOUT: Duration = Duration::from_millis(500);

/// After so long without any record a person is told.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is looked for.
struct Search {
    topic: String,
    before: i64,
    /// What a key of the table ends with, where all tables share a topic.
    key_end: Vec<u8>,
    consumer: BaseConsumer<Quiet>,
    lists: mpsc::Sender<Result<Vec<Vec<u8>>>>,
}

/// Searches on a thread of its own.
pub(super) fn start(queue: &KafkaQueue, topic: String, before: Version, key_end: Vec<u8>) -> Result<Outdated> {
    let (lists, outdated) = Outdated::channel();
    let consumer = consumer(queue, "read_committed", &topic)?;
    let observer = consumer_of_ends(queue, &topic)?;
    let search = Search {
        topic,
        before: before.as_i64(),
        key_end,
        consumer,
        lists,
    };
    std::thread::Builder::new()
        .name("kafka-outdated".into())
        .spawn(move || {
            if let Err(error) = search.run(&observer) {
                // Nobody left to tell is fine.
                search.lists.blocking_send(Err(error)).ok();
            }
        })
        .map_err(|error| Error::transient("cannot start a thread").detail(error))?;
    Ok(outdated)
}

fn consumer(queue: &KafkaQueue, isolation: &str, topic: &str) -> Result<BaseConsumer<Quiet>> {
    queue
        .reading_config(format!("{topic}.outdated"), isolation)
        .set("queued.max.messages.kbytes", FETCHED_KILOBYTES_MAX.to_string())
        .set("auto.offset.reset", "error")
        .create_with_context(Quiet)
        .map_err(|error| sort(&error, "cannot make a Kafka consumer"))
}

/// Its end of a partition is behind records of transactions that are not decided, too.
fn consumer_of_ends(queue: &KafkaQueue, topic: &str) -> Result<BaseConsumer<Quiet>> {
    consumer(queue, "read_uncommitted", topic)
}

/// What of a record is looked at.
struct Seen<'m> {
    key: &'m [u8],
    is_old: bool,
    has_value: bool,
    offset: i64,
}

impl Search {
    fn run(&self, observer: &BaseConsumer<Quiet>) -> Result<()> {
        let what = || format!("cannot read the ends of topic {}", self.topic);
        // Asked by both: who does not know a topic's leader yet waits for the library's next look at its topics, a second.
        let asked = observer.fetch_metadata(Some(&self.topic), ANSWER_TIMEOUT);
        asked.map_err(|error| sort(&error, what()))?;
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), ANSWER_TIMEOUT);
        let metadata = metadata.map_err(|error| sort(&error, what()))?;
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions().iter());
        for partition in partitions.map(rdkafka::metadata::MetadataPartition::id) {
            let ends = observer.fetch_watermarks(&self.topic, partition, ANSWER_TIMEOUT);
            let (low, high) = ends.map_err(|error| sort(&error, what()))?;
            if !self.search(partition, low, high)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Passes the outdated keys of a partition on; false if nobody wants more.
    fn search(&self, partition: i32, low: i64, high: i64) -> Result<bool> {
        let seed = u64::from_le_bytes(self.before.to_le_bytes());
        let mut pass = Some(Pass::new(0, seed, HASHES_MAX));
        while let Some(mut now) = pass {
            // Versions rise. Where nothing is missing before the first record, all are as new as that one, or copies of it.
            let mut is_first = true;
            let mut has_old = true;
            let mut old_end = low;
            self.read(partition, low, high, |seen| {
                if std::mem::take(&mut is_first) && seen.offset == 0 && !seen.is_old {
                    has_old = false;
                    return false;
                }
                if seen.key.ends_with(&self.key_end) {
                    now.take(seen.key, seen.is_old, seen.has_value);
                }
                if seen.is_old {
                    old_end = seen.offset + 1;
                }
                true
            })?;
            if !has_old {
                return Ok(true);
            }
            if !now.is_empty() && !self.give(partition, low, old_end, &mut now)? {
                return Ok(false);
            }
            pass = now.next();
        }
        Ok(true)
    }

    /// Reads the old part again and passes the keys on that the pass has found; false if nobody wants more.
    fn give(&self, partition: i32, low: i64, end: i64, pass: &mut Pass) -> Result<bool> {
        let (mut list, mut bytes, mut is_wanted) = (Vec::new(), 0, true);
        self.read(partition, low, end, |seen| {
            if seen.has_value && seen.is_old && pass.give(seen.key) {
                bytes += seen.key.len();
                list.push(seen.key.to_vec());
                if list.len() >= LIST_KEYS_MAX || bytes > LIST_BYTES_MAX {
                    bytes = 0;
                    is_wanted = self.lists.blocking_send(Ok(std::mem::take(&mut list))).is_ok();
                }
            }
            is_wanted && !pass.is_empty()
        })?;
        if is_wanted && !list.is_empty() {
            is_wanted = self.lists.blocking_send(Ok(list)).is_ok();
        }
        Ok(is_wanted)
    }

    /// Reads a partition's committed records up to an end, or until nobody wants more.
    fn read(&self, partition: i32, low: i64, end: i64, mut take: impl FnMut(&Seen<'_>) -> bool) -> Result<()> {
        if low >= end {
            return Ok(());
        }
        let what = || format!("cannot read topic {}", self.topic);
        let mut assignment = TopicPartitionList::new();
        assignment
            .add_partition_offset(&self.topic, partition, Offset::Offset(low))
            .map_err(|error| sort(&error, what()))?;
        self.consumer
            .assign(&assignment)
            .map_err(|error| sort(&error, what()))?;
        let mut heard_at = Instant::now();
        loop {
            match self.consumer.poll(POLL_TIMEOUT) {
                Some(Ok(message)) => {
                    heard_at = Instant::now();
                    if message.offset() >= end || !take(&self.seen(&message)) {
                        return Ok(());
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) | None => {
                    if self.position(partition)? >= end {
                        return Ok(());
                    }
                    if self.lists.is_closed() {
                        return Ok(());
                    }
                    if heard_at.elapsed() > PATIENCE {
                        heard_at = Instant::now();
                        tracing::warn!(
                            topic = self.topic,
                            partition,
                            "waiting for an open transaction in a topic that is looked through for rows that are gone"
                        );
                    }
                }
                Some(Err(error)) => return Err(sort(&error, what())),
            }
        }
    }

    fn seen<'m>(&self, message: &'m BorrowedMessage<'_>) -> Seen<'m> {
        let version = message.headers().and_then(|headers| {
            let header = headers.iter().find(|header| header.key == "mysync.version")?;
            std::str::from_utf8(header.value?).ok()?.parse::<i64>().ok()
        });
        Seen {
            key: message.key().unwrap_or_default(),
            // Of a record without a version, by whomever, nothing is known.
            is_old: version.is_none_or(|version| version < self.before),
            has_value: message.payload().is_some(),
            offset: message.offset(),
        }
    }

    /// How far the partition has been read, marks of transactions included.
    fn position(&self, partition: i32) -> Result<i64> {
        let what = || format!("cannot read topic {}", self.topic);
        let positions = self.consumer.position().map_err(|error| sort(&error, what()))?;
        let found = positions.find_partition(&self.topic, partition);
        Ok(match found.map(|element| element.offset()) {
            Some(Offset::Offset(offset)) => offset,
            _ => -1,
        })
    }
}
