//! Reading an internal topic back, on a thread of its own.

use super::topics::Quiet;
use super::{ANSWER_TIMEOUT, KafkaQueue, sort};
use crate::error::{Error, Result};
use crate::queue::{Scan, StoredRecord};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Message, Offset, TopicPartitionList};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How long one wait for records lasts.
const POLL_TIMEOUT: Duration = Duration::from_millis(500);

/// Fetched ahead at most, unless one record alone is larger, kB.
const FETCHED_KILOBYTES_MAX: u32 = 8 << 10;

/// How long nothing at all may come before the scan is given up.
const SILENCE_MAX: Duration = Duration::from_secs(60);

pub(super) fn start(queue: &KafkaQueue, name: &str, from_offset: i64) -> Result<Scan> {
    let topic = queue.internal_topic(name);
    let from = match from_offset {
        0 => Offset::Beginning,
        offset => Offset::Offset(offset),
    };
    start_at(consumer(queue, &topic)?, topic, from)
}

/// From so many offsets before the end on, and whether that is all.
pub(super) async fn start_near_end(queue: &KafkaQueue, name: &str, offsets: i64) -> Result<(Scan, bool)> {
    let topic = queue.internal_topic(name);
    let consumer = consumer(queue, &topic)?;
    let asked = tokio::task::spawn_blocking(move || {
        let watermarks = consumer.fetch_watermarks(&topic, 0, ANSWER_TIMEOUT);
        let (low, high) = watermarks.map_err(|error| sort(&error, format!("cannot read the ends of topic {topic}")))?;
        let from = high.saturating_sub(offsets);
        let scan = start_at(consumer, topic, Offset::Offset(from.max(low)))?;
        Ok((scan, from <= low))
    });
    asked.await.map_err(Error::transient_join)?
}

fn consumer(queue: &KafkaQueue, topic: &str) -> Result<BaseConsumer<Quiet>> {
    queue
        .reading_config(format!("{topic}.scan"), "read_committed")
        .set("queued.max.messages.kbytes", FETCHED_KILOBYTES_MAX.to_string())
        .set("auto.offset.reset", "earliest")
        .create_with_context(Quiet)
        .map_err(|error| sort(&error, "cannot make a Kafka consumer"))
}

fn start_at(consumer: BaseConsumer<Quiet>, topic: String, from: Offset) -> Result<Scan> {
    let (records, scan) = Scan::channel();
    std::thread::Builder::new()
        .name("kafka-scan".into())
        .spawn(move || {
            if let Err(error) = read(&consumer, &topic, from, &records) {
                // Nobody left to tell is fine.
                records.blocking_send(Err(error)).ok();
            }
        })
        .map_err(|error| Error::transient("cannot start a thread").detail(error))?;
    Ok(scan)
}

fn read(
    consumer: &BaseConsumer<Quiet>,
    topic: &str,
    from: Offset,
    records: &mpsc::Sender<Result<StoredRecord>>,
) -> Result<()> {
    let what = || format!("cannot read topic {topic}");
    let mut assignment = TopicPartitionList::new();
    assignment
        .add_partition_offset(topic, 0, from)
        .map_err(|error| sort(&error, what()))?;
    consumer.assign(&assignment).map_err(|error| sort(&error, what()))?;
    let mut heard_at = Instant::now();
    while heard_at.elapsed() < SILENCE_MAX {
        match consumer.poll(POLL_TIMEOUT) {
            Some(Ok(message)) => {
                heard_at = Instant::now();
                let record = StoredRecord {
                    offset: message.offset(),
                    key: message.key().unwrap_or_default().to_vec(),
                    value: message.payload().map(<[u8]>::to_vec),
                };
                if records.blocking_send(Ok(record)).is_err() {
                    return Ok(());
                }
            }
            None => {}
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
            Some(Err(error)) => return Err(sort(&error, what())),
        }
    }
    Err(Error::transient(format!(
        "topic {topic} gave nothing for {} s",
        SILENCE_MAX.as_secs()
    )))
}
