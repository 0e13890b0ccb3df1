//! A record that a person passes over: kept as it was in `<prefix>.__dead`, with its place and the reason.
//!
//! It is read anew from its partition, so that key, value and headers are what they were, whatever the writer had made of them.
//! When the brokers have acknowledged it, and not before, the caller moves its cursor. A writer that dies in between does it
//! again, so a record can stand there twice, with the same place.

use super::topics::{self, Quiet};
use super::{ANSWER_TIMEOUT, KafkaQueue, sort};
use crate::error::{Error, Result};
use crate::queue::{Partition, Topic};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Message, Offset, TopicPartitionList};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The topic, without prefix and underscores.
const TOPIC: &str = "dead";

/// What the added headers may take more than the record.
const MORE_BYTES: u32 = 64 << 10;

const POLL_TIMEOUT: Duration = Duration::from_millis(100);

/// How long the record may take to come.
const READ_TIMEOUT: Duration = Duration::from_secs(15);

/// How long the brokers may take to acknowledge it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// Writes the record at this offset there; done when the brokers have acknowledged it.
pub(super) async fn bury(
    queue: KafkaQueue,
    group: String,
    partition: Partition,
    offset: i64,
    reason: String,
) -> Result<()> {
    topics::create(&queue, Topic::Log(TOPIC)).await?;
    let (reader, place) = (queue.clone(), partition.clone());
    let read = tokio::task::spawn_blocking(move || read(&reader, &place, offset)).await;
    let record = read.map_err(Error::transient_join)??;
    write(&queue, &group, &record, &reason).await
}

fn read(queue: &KafkaQueue, partition: &Partition, offset: i64) -> Result<OwnedMessage> {
    let what = || format!("cannot read the record again: {partition} at offset {offset}");
    let bytes_max = queue.config.kafka.message_bytes_max.saturating_add(MORE_BYTES);
    let consumer: BaseConsumer<Quiet> = queue
        .reading_config(format!("{}.{TOPIC}", partition.topic), "read_committed")
        .set("auto.offset.reset", "error")
        .set("fetch.message.max.bytes", bytes_max.to_string())
        .set(
            "receive.message.max.bytes",
            bytes_max.saturating_add(1 << 20).to_string(),
        )
        .create_with_context(Quiet)
        .map_err(|error| sort(&error, "cannot make a Kafka consumer"))?;
    let mut assignment = TopicPartitionList::new();
    assignment
        .add_partition_offset(&partition.topic, partition.number, Offset::Offset(offset))
        .and_then(|()| consumer.assign(&assignment))
        .map_err(|error| sort(&error, what()))?;
    let gone = || {
        Error::definite(format!(
            "the record is not there any more: {partition} at offset {offset}"
        ))
        .detail("a later record of its key has taken its place")
        .hint("nothing is to be skipped: mysync writer retry")
    };
    let deadline = Instant::now() + READ_TIMEOUT;
    while Instant::now() < deadline {
        match consumer.poll(POLL_TIMEOUT) {
            Some(Ok(record)) if record.offset() == offset => return Ok(record.detach()),
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => return Err(gone()),
            Some(Err(error)) => return Err(sort(&error, what())),
            None => {}
        }
    }
    Err(Error::transient(what()).detail(format!("nothing came in {} s", READ_TIMEOUT.as_secs())))
}

async fn write(queue: &KafkaQueue, group: &str, record: &OwnedMessage, reason: &str) -> Result<()> {
    let topic = queue.internal_topic(TOPIC);
    let bytes_max = queue.config.kafka.message_bytes_max.saturating_add(MORE_BYTES);
    let producer: FutureProducer = queue
        .client_config()
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.type", queue.config.kafka.compression.name())
        .set("message.max.bytes", bytes_max.to_string())
        .set("delivery.timeout.ms", WRITE_TIMEOUT.as_millis().to_string())
        .create()
        .map_err(|error| sort(&error, "cannot make a Kafka producer"))?;
    let headers = headers(record, group, reason);
    let mut buried: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&topic).partition(0).headers(headers);
    if let Some(key) = record.key() {
        buried = buried.key(key);
    }
    if let Some(value) = record.payload() {
        buried = buried.payload(value);
    }
    let sent = producer.send(buried, ANSWER_TIMEOUT).await;
    sent.map(drop)
        .map_err(|(error, _)| sort(&error, format!("cannot write the record to topic {topic}")))
}

/// Its own headers, and behind them where it stood and why it was passed over.
fn headers(record: &OwnedMessage, group: &str, reason: &str) -> OwnedHeaders {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let own = record.headers().map_or_else(OwnedHeaders::new, OwnedHeaders::clone);
    let added = [
        ("mysync.dead.topic", record.topic().to_owned()),
        ("mysync.dead.partition", record.partition().to_string()),
        ("mysync.dead.offset", record.offset().to_string()),
        (
            "mysync.dead.written_ms",
            record
                .timestamp()
                .to_millis()
                .map_or_else(String::new, |ms| ms.to_string()),
        ),
        ("mysync.dead.group", group.to_owned()),
        ("mysync.dead.reason", reason.to_owned()),
        ("mysync.dead.skipped_ms", now.as_millis().to_string()),
    ];
    added.iter().fold(own, |headers, (key, value)| {
        headers.insert(Header {
            key,
            value: Some(value.as_bytes()),
        })
    })
}
