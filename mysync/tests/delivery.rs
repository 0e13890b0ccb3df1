//! The two ways of delivery on real servers: one after the other under one name, and what each takes over from the other.
//! Needs Docker and the lab's images; without them it fails with the remedy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "reader/consumer.rs"]
#[allow(dead_code)] // The tests of the reader look at more of a record.
mod consumer;

use consumer::{Seen, read_all};
use fixtures::Lab;
use mysync::config::{self, Config};
use mysync::queue::kafka::KafkaQueue;
use mysync::reader::{self, Options, Summary};
use mysync::source::mysql::MySqlSource;
use mysync::stop;
use mysync::tables::TableFilter;
use mysync::version::Version;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::time::Duration;

const PREFIX: &str = "both";
const DEADLINE: Duration = Duration::from_secs(90);

fn config(lab: &Lab, delivery: &str, tables: &[&str]) -> Config {
    let text = lab
        .config_toml(PREFIX, tables)
        .replace("[reader]", &format!("[reader]\ndelivery = \"{delivery}\""));
    config::parse(&text, "test.toml").unwrap()
}

/// All that the server has now.
async fn read(config: &Config) -> Summary {
    let (_sender, stop) = stop::channel();
    reader::run(
        &mut MySqlSource::new(config),
        &KafkaQueue::new(config),
        &TableFilter::new(config),
        &config.source.keys,
        &Options::new(config, true),
        stop,
    )
    .await
    .unwrap()
}

async fn sql(lab: &Lab, statements: &[&str]) {
    for statement in statements {
        lab.primary().unwrap().sql(statement).await.unwrap();
    }
}

/// A reader in transactional delivery that stops in the middle: some lane's transaction stays open, with a record in it.
async fn leave_a_transaction_open(lab: &Lab, lane: usize) -> BaseProducer {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", lab.kafka().unwrap().bootstrap())
        .set("transactional.id", format!("mysync.{PREFIX}.default#{lane}"));
    tokio::task::spawn_blocking(move || {
        let producer: BaseProducer = config.create().unwrap();
        producer.init_transactions(DEADLINE).unwrap();
        producer.begin_transaction().unwrap();
        let record = BaseRecord::to("both.shop.a")
            .key("{\"id\":99}")
            .payload("never committed");
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(DEADLINE).unwrap();
        producer
    })
    .await
    .unwrap()
}

async fn versions(lab: &Lab, topic: &str) -> Vec<(u16, u64)> {
    let mut seen: Vec<Seen> = read_all(lab, topic).await;
    seen.sort_by_key(|record| record.version);
    let parts = |record: &Seen| ((record.version >> 48) as u16, (record.version & ((1 << 48) - 1)) as u64);
    seen.iter().map(parts).collect()
}

#[tokio::test]
async fn each_way_of_delivery_goes_on_where_the_other_ended() {
    let lab = Lab::builder().mysql("8.0").brokers(1).start().await.unwrap();
    let [sequenced, transactional] = ["sequenced", "transactional"].map(|delivery| config(&lab, delivery, &["shop.a"]));
    sql(
        &lab,
        &[
            "CREATE DATABASE shop",
            "CREATE TABLE shop.a (id INT PRIMARY KEY, v INT)",
            "CREATE TABLE shop.b (id INT PRIMARY KEY)",
            "INSERT INTO shop.a VALUES (1, 1), (2, 2)",
            "INSERT INTO shop.b VALUES (1)",
        ],
    )
    .await;
    assert_eq!(read(&sequenced).await.changes, 2);
    assert_eq!(
        read(&sequenced).await.changes,
        0,
        "the checkpoint stands behind the changes"
    );
    sql(
        &lab,
        &[
            "INSERT INTO shop.a VALUES (3, 3)",
            "UPDATE shop.a SET id = 4 WHERE id = 1",
        ],
    )
    .await;
    assert_eq!(read(&transactional).await.changes, 2);
    sql(
        &lab,
        &["DELETE FROM shop.a WHERE id = 2", "INSERT INTO shop.b VALUES (2)"],
    )
    .await;

    // Every lane of the older reader is taken over, also those that the newer one does not need.
    let zombies = [
        leave_a_transaction_open(&lab, 0).await,
        leave_a_transaction_open(&lab, 2).await,
    ];
    assert_eq!(read(&sequenced).await.changes, 1);
    let first = Version::FIRST.epoch();
    let numbers = |numbers: &[u64]| numbers.iter().map(|seq| (first, *seq)).collect::<Vec<_>>();
    // The changed key is a delete, a tombstone and an insert, the delete has a tombstone too.
    assert_eq!(versions(&lab, "both.shop.a").await, numbers(&[1, 2, 3, 4, 4, 4, 5, 5]));
    for zombie in zombies {
        let refused = tokio::task::spawn_blocking(move || zombie.commit_transaction(DEADLINE))
            .await
            .unwrap();
        assert!(refused.is_err(), "a reader that was replaced commits nothing");
    }

    // Another table is followed: the changes are numbered otherwise, so consumers must not take them for the old ones.
    let wider = config(&lab, "sequenced", &["shop.a", "shop.b"]);
    sql(
        &lab,
        &["INSERT INTO shop.b VALUES (3)", "INSERT INTO shop.a VALUES (7, 7)"],
    )
    .await;
    assert_eq!(read(&wider).await.changes, 2);
    assert_eq!(versions(&lab, "both.shop.b").await, [(first + 1, 1)]);
    assert_eq!(versions(&lab, "both.shop.a").await.last(), Some(&(first + 1, 2)));
}
