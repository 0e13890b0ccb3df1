//! Finding the last committed checkpoint.
//!
//! It is near the end of its topic, so the search begins there and widens: offsets are also taken by the marks of
//! transactions, by aborted records and by the checkpoints of readers of other names.
//!
//! # Transactions without an outcome
//! Who has opened all lanes has no transaction under way ([`super::publisher`]), by what the coordinator says. But a broker that
//! starts can take partitions whose leader it does not know yet for deleted, and end a transaction without its marks there
//! (seen with Kafka 4.3.1: "likely deleted already and hence can be skipped"). Its checkpoint can then not be read, and would
//! become visible with a later mark of the same producer, its changes too: behind those that were published again from the
//! checkpoint before it. So transactional delivery does not begin before every transaction in the topic has an outcome.

use super::topics::Quiet;
use super::{ANSWER_TIMEOUT, KafkaQueue, sort};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::{Message, Offset, TopicPartitionList};
use std::time::{Duration, Instant};

/// Offsets before the end that are read first; eightfold at each further try.
const FIRST_WINDOW: i64 = 64;

/// How long reading one window may take.
const WINDOW_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a transaction of another reader's may take to be decided: its checkpoint is its last record.
const DECISION_TIMEOUT: Duration = Duration::from_secs(10);

const DECISION_INTERVAL: Duration = Duration::from_millis(50);

/// The header with the process that wrote a checkpoint.
pub(super) const WRITTEN_BY_HEADER: &str = "mysync.reader";

/// A checkpoint as it stands in the topic.
pub(super) struct Found {
    pub(super) checkpoint: Checkpoint,
    pub(super) offset: i64,
    /// The process; older versions did not say it.
    pub(super) written_by: Option<String>,
}

pub(super) async fn last(queue: &KafkaQueue) -> Result<Option<Found>> {
    let queue = queue.clone();
    tokio::task::spawn_blocking(move || search(&queue))
        .await
        .map_err(Error::transient_join)?
}

/// Waits until the transactions that stand in the topic now have their outcomes.
pub(super) async fn decided(queue: &KafkaQueue) -> Result<()> {
    let written = end(queue, "read_uncommitted").await?;
    let deadline = Instant::now() + DECISION_TIMEOUT;
    loop {
        let at = end(queue, "read_committed").await?;
        if at >= written {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let (topic, prefix) = (queue.internal_topic("checkpoint"), &queue.config.kafka.prefix);
            return Err(Error::transient(format!("a transaction in topic {topic} has no outcome"))
                .detail(format!("it begins at offset {at}, the topic ends at {written}"))
                .hint(format!(
                    "was a broker started anew? Kafka then leaves transactions hanging: find them with kafka-transactions.sh \
                     find-hanging, and abort them in all topics {prefix}.* with kafka-transactions.sh abort; the reader waits"
                )));
        }
        tokio::time::sleep(DECISION_INTERVAL).await;
    }
}

/// Where the topic ends for whom reads so.
async fn end(queue: &KafkaQueue, isolation: &'static str) -> Result<i64> {
    let queue = queue.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let topic = queue.internal_topic("checkpoint");
        let watermarks = consumer(&queue, &topic, isolation)?.fetch_watermarks(&topic, 0, ANSWER_TIMEOUT);
        let (_, end) = watermarks.map_err(|error| sort(&error, format!("cannot read the ends of topic {topic}")))?;
        Ok(end)
    });
    asked.await.map_err(Error::transient_join)?
}

fn search(queue: &KafkaQueue) -> Result<Option<Found>> {
    let topic = queue.internal_topic("checkpoint");
    let consumer = consumer(queue, &topic, "read_committed")?;
    let watermarks = consumer.fetch_watermarks(&topic, 0, ANSWER_TIMEOUT);
    let (low, high) = watermarks.map_err(|error| sort(&error, format!("cannot read the ends of topic {topic}")))?;
    if low == high {
        return Ok(None);
    }
    let mut window = FIRST_WINDOW;
    loop {
        let from = low.max(high - window);
        if let Some(found) = read(queue, &consumer, &topic, from)? {
            return Ok(Some(found));
        }
        if from == low {
            return Ok(None);
        }
        window = window.saturating_mul(8);
    }
}

fn consumer(queue: &KafkaQueue, topic: &str, isolation: &str) -> Result<BaseConsumer<Quiet>> {
    queue
        .reading_config(format!("{topic}.lookup"), isolation)
        .set("auto.offset.reset", "error")
        .create_with_context(Quiet)
        .map_err(|error| sort(&error, "cannot make a Kafka consumer"))
}

/// The last record of this reader's name between `from` and the end.
fn read(queue: &KafkaQueue, consumer: &BaseConsumer<Quiet>, topic: &str, from: i64) -> Result<Option<Found>> {
    let what = || format!("cannot read topic {topic}");
    let mut assignment = TopicPartitionList::new();
    assignment
        .add_partition_offset(topic, 0, Offset::Offset(from))
        .map_err(|error| sort(&error, what()))?;
    consumer.assign(&assignment).map_err(|error| sort(&error, what()))?;
    let deadline = Instant::now() + WINDOW_TIMEOUT;
    let mut found = None;
    while Instant::now() < deadline {
        match consumer.poll(Duration::from_millis(500)) {
            Some(Ok(message)) if message.key() == Some(queue.config.reader.name.as_bytes()) => {
                found = message
                    .payload()
                    .map(<[u8]>::to_vec)
                    .map(|value| (value, message.offset(), written_by(&message)));
            }
            Some(Ok(_)) | None => {}
            Some(Err(KafkaError::PartitionEOF(_))) => {
                let Some((value, offset, written_by)) = found else {
                    return Ok(None);
                };
                let checkpoint = Checkpoint::decode(&value)?;
                return Ok(Some(Found {
                    checkpoint,
                    offset,
                    written_by,
                }));
            }
            Some(Err(error)) => return Err(sort(&error, what())),
        }
    }
    Err(Error::transient(format!(
        "reading topic {topic} took more than {} s",
        WINDOW_TIMEOUT.as_secs()
    )))
}

fn written_by(message: &BorrowedMessage<'_>) -> Option<String> {
    let headers = message.headers()?;
    let header = headers.iter().find(|header| header.key == WRITTEN_BY_HEADER)?;
    Some(String::from_utf8_lossy(header.value?).into_owned())
}
