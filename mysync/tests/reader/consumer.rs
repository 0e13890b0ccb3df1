//! A consumer that reads committed, and Kafka's partitioner as its own clients have it.

use fixtures::Lab;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(60);

/// One record.
#[derive(Debug)]
pub struct Seen {
    pub partition: i32,
    pub key: String,
    pub value: Option<String>,
    pub version: i64,
    pub headers: Vec<(String, String)>,
}

impl Seen {
    /// The record without what differs from run to run: times, positions, uuids.
    pub fn stable_text(&self) -> String {
        let mut text = format!("key {}\n", self.key);
        for (name, value) in &self.headers {
            let value = if name == "mysync.origin" { "<origin>" } else { value };
            text.push_str(&format!("{name} {value}\n"));
        }
        let Some(value) = &self.value else {
            return text + "tombstone";
        };
        let mut value: serde_json::Value = serde_json::from_str(value).unwrap();
        for name in ["ts_ms", "ts_us", "ts_ns", "pos", "gtid", "thread"] {
            assert!(!value["source"][name].is_null(), "source.{name} is there");
            value["source"][name] = format!("<{name}>").into();
        }
        for name in ["ts_ms", "ts_us", "ts_ns"] {
            assert!(!value[name].is_null(), "{name} is there");
            value[name] = format!("<{name}>").into();
        }
        text + &serde_json::to_string_pretty(&value).unwrap()
    }
}

/// All committed records of a topic of three partitions.
pub async fn read_all(lab: &Lab, topic: &str) -> Vec<Seen> {
    read_partitions(lab, topic, 3).await
}

/// All committed records of a topic; a value that is no text is shown as well as it can be.
pub async fn read_partitions(lab: &Lab, topic: &str, partitions: i32) -> Vec<Seen> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", lab.kafka().unwrap().bootstrap())
        .set("group.id", "test")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "10")
        .set("enable.auto.commit", "false");
    let topic = topic.to_owned();
    tokio::task::spawn_blocking(move || consume(&config, &topic, partitions))
        .await
        .unwrap()
}

fn consume(config: &ClientConfig, topic: &str, partitions: i32) -> Vec<Seen> {
    let consumer: BaseConsumer = config.create().unwrap();
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment
            .add_partition_offset(topic, partition, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let (mut seen, mut ended) = (Vec::new(), 0);
    let deadline = Instant::now() + DEADLINE;
    while ended < partitions {
        assert!(
            Instant::now() < deadline,
            "the ends of {topic} were not reached in {DEADLINE:?}"
        );
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let pairs = message.headers().unwrap().iter();
                let headers: Vec<_> = pairs
                    .map(|pair| (pair.key.to_owned(), text(pair.value.unwrap())))
                    .collect();
                seen.push(Seen {
                    partition: message.partition(),
                    key: text(message.key().unwrap()),
                    value: message.payload().map(text),
                    version: headers[0].1.parse().unwrap(),
                    headers,
                });
            }
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => panic!("{error}"),
            None => {}
        }
    }
    seen
}

/// The hash by which Kafka's Java client chooses a partition.
pub fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c_u32 ^ u32::try_from(bytes.len()).unwrap();
    let (chunks, rest) = bytes.as_chunks::<4>();
    for chunk in chunks {
        let mut k = u32::from_le_bytes(*chunk).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    for (index, byte) in rest.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * index);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[test]
fn murmur2_agrees_with_kafkas_own_vectors() {
    for (text, expected) in [
        ("21", -973_932_308_i32),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
    ] {
        assert_eq!(murmur2(text.as_bytes()).cast_signed(), expected, "{text}");
    }
}
