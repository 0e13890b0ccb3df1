//! Internal topics on a real broker: what was committed is read back, from any offset, and nothing else is; and no publisher
//! begins while a transaction among the checkpoints has no outcome.
//! Needs Docker and the lab's images; without them it fails with the remedy.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use fixtures::Lab;
use mysync::checkpoint::{Checkpoint, Position};
use mysync::config::{self, Delivery};
use mysync::queue::kafka::KafkaQueue;
use mysync::queue::{Batch, Origin, Publisher, Queue, StoredRecord, Topic, TopicId};
use mysync::version::Version;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);

fn batch(topic: TopicId, records: &[(&str, Option<&str>)]) -> Batch {
    let mut batch = Batch::default();
    let append = |batch: &mut Batch, text: &str| {
        let begin = batch.bytes_len();
        batch.bytes().extend_from_slice(text.as_bytes());
        begin..batch.bytes_len()
    };
    for (key, value) in records {
        let key = append(&mut batch, key);
        let value = value.map(|value| append(&mut batch, value));
        let origin = Origin {
            file_number: 1,
            offset: 4,
            row: 0,
        };
        batch.push(topic, 0, Version::FIRST, origin, key, value);
    }
    batch
}

async fn scan(queue: &KafkaQueue, topic: &str, from_offset: i64) -> Vec<StoredRecord> {
    let mut scan = queue.scan(topic, from_offset).await.unwrap();
    let mut records = Vec::new();
    while let Some(record) = scan.next().await.unwrap() {
        records.push(record);
    }
    records
}

fn checkpoint() -> Checkpoint {
    Checkpoint {
        position: Position {
            server_uuid: "3e11fa47-71ca-11e1-9e33-c80aa9429562".into(),
            file: "binlog.000001".into(),
            offset: 4,
            file_born_s: 0,
            gtid_set: None,
        },
        next_version: Version::FIRST,
        prepared: Vec::new(),
        refreshes: 0,
        is_sequenced: false,
        numbering: 0,
        trail: None,
        unseen: None,
    }
}

/// A queue of a lab, and one of the same topics in sequenced delivery.
fn queues(lab: &Lab) -> [KafkaQueue; 2] {
    [Delivery::Transactional, Delivery::Sequenced].map(|delivery| {
        let mut config = config::parse(&lab.config_toml("internal", &["shop.*"]), "test.toml").unwrap();
        config.reader.delivery = delivery;
        KafkaQueue::new(&config)
    })
}

/// As a broker leaves it that ends a transaction without its marks.
#[tokio::test]
async fn a_transaction_without_an_outcome_is_waited_for() {
    let lab = Lab::builder().mysql("8.0").brokers(1).start().await.unwrap();
    let [queue, sequenced] = queues(&lab);
    let (mut publisher, _) = queue.publisher().await.unwrap();
    publisher.commit(checkpoint()).await.unwrap();
    publisher.committed().await.unwrap();
    drop(publisher);
    let mut hanging = ClientConfig::new();
    hanging
        .set("bootstrap.servers", lab.kafka().unwrap().bootstrap())
        .set("transactional.id", "hanging");
    let hanging: BaseProducer = hanging.create().unwrap();
    hanging.init_transactions(DEADLINE).unwrap();
    hanging.begin_transaction().unwrap();
    let record = BaseRecord::to("internal.__checkpoint").key("default").payload("{}");
    hanging.send(record).unwrap();
    hanging.flush(DEADLINE).unwrap();

    let error = queue.publisher().await.err().unwrap();
    assert_eq!(
        error.what,
        "a transaction in topic internal.__checkpoint has no outcome"
    );
    assert!(error.is_transient(), "{error}");
    assert!(error.hint.unwrap().contains("kafka-transactions.sh find-hanging"));
    // Further copies are allowed there, and have the versions of the first ones.
    let (_, found) = sequenced.publisher().await.unwrap();
    assert_eq!(found, Some(checkpoint()));

    hanging.abort_transaction(DEADLINE).unwrap();
    let (_, found) = queue.publisher().await.unwrap();
    assert_eq!(found, Some(checkpoint()));
}

#[tokio::test]
async fn committed_records_are_read_back() {
    let lab = Lab::builder().mysql("8.0").brokers(1).start().await.unwrap();
    let [queue, _] = queues(&lab);
    let checkpoint = checkpoint();
    let (mut publisher, _) = queue.publisher().await.unwrap();
    let topic = publisher.declare(Topic::Compacted("notes")).await.unwrap();
    assert_eq!(publisher.declare(Topic::Compacted("notes")).await.unwrap(), topic);
    assert!(scan(&queue, "notes", 0).await.is_empty(), "a topic without records");
    publisher
        .send(batch(topic, &[("a", Some("1")), ("a", None), ("b", Some("2"))]))
        .await
        .unwrap();
    publisher.commit(checkpoint.clone()).await.unwrap();
    publisher.committed().await.unwrap();
    publisher
        .send(batch(topic, &[("c", Some("not committed"))]))
        .await
        .unwrap();
    drop(publisher);

    let found = scan(&queue, "notes", 0).await;
    let pairs: Vec<_> = found
        .iter()
        .map(|record| (record.key.as_slice(), record.value.as_deref()))
        .collect();
    let expected: [(&[u8], Option<&[u8]>); 3] = [(b"a", Some(b"1")), (b"a", None), (b"b", Some(b"2"))];
    assert_eq!(pairs, expected);
    assert_eq!(scan(&queue, "notes", found[2].offset).await, found[2..]);

    // The next publisher aborts what was not committed; its own records come after.
    let (mut publisher, found) = queue.publisher().await.unwrap();
    assert_eq!(found, Some(checkpoint.clone()));
    let topic = publisher.declare(Topic::Compacted("notes")).await.unwrap();
    publisher.send(batch(topic, &[("d", Some("4"))])).await.unwrap();
    publisher.commit(checkpoint).await.unwrap();
    publisher.committed().await.unwrap();
    let keys: Vec<_> = scan(&queue, "notes", 0)
        .await
        .into_iter()
        .map(|record| record.key)
        .collect();
    assert_eq!(keys, [b"a", b"a", b"b", b"d"]);
}
