//! Which tables have records: a topic's name does not tell, since Kafka does not allow every character in it.

use super::subscriber::Topics;
use super::topics::{CHANGES, Quiet};
use super::{ANSWER_TIMEOUT, KafkaQueue, sort};
use crate::error::{Error, Result};
use crate::queue::{Message, Partition};
use crate::schema::TableName;
use crate::tables::INTERNAL_DATABASE;
use crate::writer::Parser;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::{Message as _, Offset, TopicPartitionList};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

const POLL_TIMEOUT: Duration = Duration::from_millis(500);

/// How long nothing at all may come from a topic.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The tables of all topics of the prefix: of a table's topic the first record tells, of the one of all tables each does.
pub(super) async fn find(queue: &KafkaQueue) -> Result<Vec<TableName>> {
    let queue = queue.clone();
    let found = tokio::task::spawn_blocking(move || find_blocking(&queue)).await;
    found.map_err(Error::transient_join)?
}

fn find_blocking(queue: &KafkaQueue) -> Result<Vec<TableName>> {
    let prefix = &queue.config.kafka.prefix;
    let consumer: BaseConsumer<Quiet> = queue
        .reading_config(format!("{prefix}.__tables"), "read_committed")
        .set("auto.offset.reset", "earliest")
        .create_with_context(Quiet)
        .map_err(|error| sort(&error, "cannot make a Kafka consumer"))?;
    let metadata = consumer.fetch_metadata(None, ANSWER_TIMEOUT);
    let metadata = metadata.map_err(|error| sort(&error, "the brokers do not name their topics"))?;
    let topics = Topics::new(prefix);
    let mut tables = BTreeSet::new();
    for topic in metadata.topics().iter().filter(|topic| topics.follows(topic.name())) {
        let partitions: Vec<i32> = topic.partitions().iter().map(|partition| partition.id()).collect();
        let is_shared = topic.name() == format!("{prefix}.{CHANGES}");
        look(&consumer, prefix, topic.name(), &partitions, is_shared, &mut tables)?;
    }
    tables.retain(|(database, _)| database != INTERNAL_DATABASE);
    Ok(tables.into_iter().collect())
}

fn look(
    consumer: &BaseConsumer<Quiet>,
    prefix: &str,
    topic: &str,
    partitions: &[i32],
    is_shared: bool,
    tables: &mut BTreeSet<TableName>,
) -> Result<()> {
    let what = || format!("cannot read topic {topic}");
    let mut assignment = TopicPartitionList::new();
    for partition in partitions {
        let added = assignment.add_partition_offset(topic, *partition, Offset::Beginning);
        added.map_err(|error| sort(&error, what()))?;
    }
    consumer.assign(&assignment).map_err(|error| sort(&error, what()))?;
    let (name, mut parser) = (Arc::<str>::from(topic), Parser::new(prefix));
    let (mut ended, mut heard_at) = (0, Instant::now());
    while ended < partitions.len() {
        match consumer.poll(POLL_TIMEOUT) {
            Some(Ok(record)) => {
                heard_at = Instant::now();
                let table = parser.parse(&message_of(&record, &name))?.table;
                tables.insert((table.database.clone(), table.table.clone()));
                if !is_shared {
                    return Ok(());
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => return Err(sort(&error, what())),
            None if heard_at.elapsed() > SILENCE_MAX => {
                let seconds = SILENCE_MAX.as_secs();
                return Err(Error::transient(format!("topic {topic} gave nothing for {seconds} s")));
            }
            None => {}
        }
    }
    Ok(())
}

fn message_of(record: &BorrowedMessage<'_>, topic: &Arc<str>) -> Message {
    let text = |name: &str| {
        let mut headers = record.headers()?.iter();
        let header = headers.find(|header| header.key == name)?;
        std::str::from_utf8(header.value?).ok().map(str::to_owned)
    };
    Message {
        partition: Partition {
            topic: Arc::clone(topic),
            number: record.partition(),
        },
        offset: record.offset(),
        version: text("mysync.version").and_then(|version| version.parse().ok()),
        timestamp_ms: record.timestamp().to_millis(),
        table: text("mysync.table"),
        key: record.key().unwrap_or_default().to_vec(),
        value: record.payload().map(<[u8]>::to_vec),
    }
}
