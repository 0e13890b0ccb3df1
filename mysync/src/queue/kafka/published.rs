//! Finding what was published from a version on, in the topics of all tables.
//!
//! In each partition versions rise, so the search begins near its end and widens until it begins below the version. In
//! sequenced delivery a reader that went on from a checkpoint wrote copies behind what the reader before it had written, so
//! that versions fall once in a while: but never by more than what can lie between two checkpoints.

use super::subscriber::Topics;
use super::topics::Quiet;
use super::{ANSWER_TIMEOUT, KafkaQueue, sort};
use crate::config::Delivery;
use crate::error::{Error, Result};
use crate::queue::{Message, Partition, Published};
use crate::version::Version;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::{Message as _, Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Offsets before a partition's end that are read first, and how much wider each further window is.
const WINDOW_FIRST: i64 = 512;
const WINDOW_FACTOR: i64 = 8;

/// Changes that a sequenced reader can have published behind its checkpoint: many times what it holds unacknowledged.
const BEHIND_CHECKPOINT_MAX: i64 = 1_000_000;

/// Fetched ahead at most, unless one record alone is larger, kB.
const FETCHED_KILOBYTES_MAX: u32 = 8 << 10;

const POLL_TIMEOUT: Duration = Duration::from_millis(500);

/// How long nothing at all may come before the search is given up.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Searches on a thread of its own.
pub(super) fn start(queue: &KafkaQueue, from: Version) -> Result<Published> {
    let (messages, published) = Published::channel();
    let queue = queue.clone();
    std::thread::Builder::new()
        .name("kafka-published".into())
        .spawn(move || {
            let search = Search::new(&queue, from, &messages);
            if let Err(error) = search.and_then(|search| search.run()) {
                // Nobody left to tell is fine.
                messages.blocking_send(Err(error)).ok();
            }
        })
        .map_err(|error| Error::transient("cannot start a thread").detail(error))?;
    Ok(published)
}

struct Search<'s> {
    topics: Topics,
    consumer: BaseConsumer<Quiet>,
    from: Version,
    /// Where a window begins with less, nothing before it is meant.
    enough: i64,
    messages: &'s mpsc::Sender<Result<Message>>,
}

/// A partition's ends, and the version of the first record that was found in the last window.
struct Ends {
    low: i64,
    high: i64,
    first: Option<i64>,
    is_done: bool,
}

impl<'s> Search<'s> {
    fn new(queue: &KafkaQueue, from: Version, messages: &'s mpsc::Sender<Result<Message>>) -> Result<Self> {
        let prefix = &queue.config.kafka.prefix;
        let consumer: BaseConsumer<Quiet> = queue
            .reading_config(format!("{prefix}.__published"), "read_committed")
            .set("queued.max.messages.kbytes", FETCHED_KILOBYTES_MAX.to_string())
            .set("auto.offset.reset", "error")
            .create_with_context(Quiet)
            .map_err(|error| sort(&error, "cannot make a Kafka consumer"))?;
        let behind = match queue.config.reader.delivery {
            Delivery::Transactional => 0,
            Delivery::Sequenced => BEHIND_CHECKPOINT_MAX,
        };
        Ok(Self {
            topics: Topics::new(prefix),
            consumer,
            from,
            enough: from.as_i64() - behind,
            messages,
        })
    }

    fn run(&self) -> Result<()> {
        let metadata = self.consumer.fetch_metadata(None, ANSWER_TIMEOUT);
        let metadata = metadata.map_err(|error| sort(&error, "the brokers do not name their topics"))?;
        for topic in metadata
            .topics()
            .iter()
            .filter(|topic| self.topics.follows(topic.name()))
        {
            let name: Arc<str> = topic.name().into();
            let mut partitions = BTreeMap::new();
            for partition in topic.partitions() {
                let ends = self.consumer.fetch_watermarks(&name, partition.id(), ANSWER_TIMEOUT);
                let what = || format!("cannot read the ends of topic {name}");
                let (low, high) = ends.map_err(|error| sort(&error, what()))?;
                if low < high {
                    let ends = Ends {
                        low,
                        high,
                        first: None,
                        is_done: false,
                    };
                    partitions.insert(partition.id(), ends);
                }
            }
            let mut window = WINDOW_FIRST;
            while !partitions.is_empty() {
                if !self.read(&name, &mut partitions, window)? {
                    return Ok(());
                }
                let is_enough =
                    |ends: &Ends| ends.high - window <= ends.low || ends.first.is_some_and(|first| first < self.enough);
                partitions.retain(|_, ends| !is_enough(ends));
                window = window.saturating_mul(WINDOW_FACTOR);
            }
        }
        Ok(())
    }

    /// Reads the last offsets of a topic's partitions and passes on what is meant; false if nobody wants more.
    fn read(&self, topic: &Arc<str>, partitions: &mut BTreeMap<i32, Ends>, window: i64) -> Result<bool> {
        let what = || format!("cannot read topic {topic}");
        let mut assignment = TopicPartitionList::new();
        for (number, ends) in partitions.iter_mut() {
            (ends.first, ends.is_done) = (None, false);
            let offset = Offset::Offset(ends.low.max(ends.high - window));
            let added = assignment.add_partition_offset(topic, *number, offset);
            added.map_err(|error| sort(&error, what()))?;
        }
        self.consumer
            .assign(&assignment)
            .map_err(|error| sort(&error, what()))?;
        let mut heard_at = Instant::now();
        while partitions.values().any(|ends| !ends.is_done) {
            if heard_at.elapsed() > SILENCE_MAX {
                return Err(Error::transient(format!(
                    "{} gave nothing for {} s",
                    topic,
                    SILENCE_MAX.as_secs()
                )));
            }
            match self.consumer.poll(POLL_TIMEOUT) {
                Some(Ok(record)) => {
                    heard_at = Instant::now();
                    let Some(message) = message_of(&record, topic) else {
                        continue;
                    };
                    if let Some(ends) = partitions.get_mut(&message.partition.number)
                        && ends.first.is_none()
                    {
                        ends.first = message.version;
                    }
                    let is_meant = message.version >= Some(self.from.as_i64());
                    if is_meant && self.messages.blocking_send(Ok(message)).is_err() {
                        return Ok(false);
                    }
                }
                None => {}
                Some(Err(KafkaError::PartitionEOF(number))) => {
                    if let Some(ends) = partitions.get_mut(&number) {
                        ends.is_done = true;
                    }
                }
                Some(Err(error)) => return Err(sort(&error, what())),
            }
        }
        Ok(true)
    }
}

/// A record with a version; others are not ours.
fn message_of(record: &BorrowedMessage<'_>, topic: &Arc<str>) -> Option<Message> {
    let text = |name: &str| {
        let mut headers = record.headers()?.iter();
        let header = headers.find(|header| header.key == name)?;
        std::str::from_utf8(header.value?).ok().map(str::to_owned)
    };
    let version = text("mysync.version")?.parse().ok()?;
    Some(Message {
        partition: Partition {
            topic: Arc::clone(topic),
            number: record.partition(),
        },
        offset: record.offset(),
        version: Some(version),
        table: text("mysync.table"),
        timestamp_ms: record.timestamp().to_millis(),
        key: record.key().unwrap_or_default().to_vec(),
        value: record.payload().map(<[u8]>::to_vec),
    })
}
