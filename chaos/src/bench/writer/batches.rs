//! A topic as a writer sees it: batches of changes, of each row the last one in its batch, as large as the writer's own.

use crate::error::{Doing, Error, Result};
use mysync::config::Config;
use mysync::queue::{Message, Partition};
use mysync::target::RowChange;
use mysync::writer::{BATCH_BYTES_MAX, Fold, Parser};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Headers;
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use std::sync::Arc;
use std::time::Duration;

/// Nothing at all for so long: the broker is gone.
const SILENCE_MAX: Duration = Duration::from_secs(30);

pub(super) struct Batches {
    pub(super) records: u64,
    pub(super) batches: Vec<Vec<RowChange>>,
}

impl Batches {
    /// Reads the topic of the benchmark's table to its end.
    pub(super) fn read(config: &Config, changes_max: usize) -> Result<Self> {
        let prefix = &config.kafka.prefix;
        let topic: Arc<str> = format!("{prefix}.{}", super::TABLE).into();
        let consumer = open(config, &topic)?;
        let mut parser = Parser::new(prefix);
        let mut this = Self {
            records: 0,
            batches: Vec::new(),
        };
        let mut fold = Fold::default();
        loop {
            match consumer.poll(SILENCE_MAX) {
                None => return Err(Error::definite(format!("topic {topic} gave nothing"))),
                Some(Err(KafkaError::PartitionEOF(_))) => break,
                Some(record) => {
                    let record = record.doing(|| format!("topic {topic} cannot be read"))?;
                    let message = message_of(&record, &topic);
                    let bytes = message.key.len() + message.value.as_ref().map_or(0, Vec::len);
                    let change = parser.parse(&message).doing(|| "a record is not understood".into())?;
                    this.records += 1;
                    fold.push(message.key, change, bytes);
                    if fold.len() >= changes_max || fold.bytes() >= BATCH_BYTES_MAX {
                        this.batches.push(std::mem::take(&mut fold).into_changes());
                    }
                }
            }
        }
        this.batches.push(fold.into_changes());
        this.batches.retain(|batch| !batch.is_empty());
        Ok(this)
    }

    pub(super) fn changes(&self) -> usize {
        self.batches.iter().map(Vec::len).sum()
    }
}

fn open(config: &Config, topic: &str) -> Result<BaseConsumer> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", config.kafka.brokers.join(","))
        .set("group.id", "bare")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()
        .doing(|| "no Kafka client".into())?;
    let mut partitions = TopicPartitionList::new();
    let assigned = partitions
        .add_partition_offset(topic, 0, Offset::Beginning)
        .and_then(|()| consumer.assign(&partitions));
    assigned.doing(|| format!("topic {topic} cannot be read"))?;
    Ok(consumer)
}

fn message_of(record: &rdkafka::message::BorrowedMessage<'_>, topic: &Arc<str>) -> Message {
    let header = |name: &str| {
        let mut headers = record.headers()?.iter();
        let value = headers.find(|header| header.key == name)?.value?;
        std::str::from_utf8(value).ok().map(str::to_owned)
    };
    Message {
        partition: Partition {
            topic: Arc::clone(topic),
            number: record.partition(),
        },
        offset: record.offset(),
        version: header("mysync.version").and_then(|text| text.parse().ok()),
        table: header("mysync.table"),
        timestamp_ms: None,
        key: record.key().unwrap_or_default().to_vec(),
        value: record.payload().map(<[u8]>::to_vec),
    }
}
