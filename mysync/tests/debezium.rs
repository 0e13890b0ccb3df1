//! Records that Debezium published, through real Kafka into real stores, with MySQL asked for what their schemas leave open: the
//! rows are those that mysync's own reader leads to, in each of the three. Needs Docker and the lab's images; without them it fails with the remedy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "hbase/store.rs"]
mod store;
#[path = "debezium/stores.rs"]
mod stores;

use fixtures::Lab;
use mysync::config::{self, Config};
use mysync::queue::kafka::KafkaQueue;
use mysync::reader::{self, Options};
use mysync::source::mysql::MySqlSource;
use mysync::stop;
use mysync::tables::TableFilter;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use redis::AsyncCommands;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::time::Duration;
use stores::Store;

const STATEMENTS: &str = include_str!("messages_data/debezium-schemas.sql");
const RECORDED: &str = include_str!("messages_data/debezium-schemas.jsonl");

const DEADLINE: Duration = Duration::from_secs(90);

/// Rows of which Debezium loses something; tests/messages/embedded.rs says what.
const LOSSY: [&str; 9] = [
    "every:103",
    "every:104",
    "every:105",
    "every:106",
    "every:107",
    "nn:1",
    "nn:101",
    "dflt:1",
    "dflt:101",
];

/// Tables whose records leave nothing open.
const PLAIN: [&str; 4] = ["done", "pair", "shapes", "vec"];

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
    run: Option<&'a str>,
    topic: Option<&'a str>,
    #[serde(borrow)]
    key: Option<(usize, &'a RawValue)>,
    #[serde(borrow)]
    value: Option<(usize, &'a RawValue)>,
}

/// Topic, key and value of each record that Debezium published by its defaults.
fn recorded() -> Vec<(String, String, Option<String>)> {
    let (mut schemas, mut records) = (Vec::new(), Vec::new());
    for line in RECORDED.lines() {
        let line: Line<'_> = serde_json::from_str(line).unwrap();
        schemas.extend(line.schema);
        let framed =
            |(number, payload): (usize, &RawValue)| format!("{{\"schema\":{},\"payload\":{payload}}}", schemas[number]);
        if line.run == Some("defaults") {
            let key = framed(line.key.unwrap());
            records.push((line.topic.unwrap().to_owned(), key, line.value.map(framed)));
        }
    }
    records
}

/// Publishes them as Kafka Connect does, and beside them what a connector has for no store.
async fn publish(lab: &Lab, records: &[(String, String, Option<String>)]) {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", lab.kafka().unwrap().bootstrap());
    let admin: AdminClient<DefaultClientContext> = client.create().unwrap();
    let mut topics: BTreeSet<&str> = records.iter().map(|(topic, ..)| topic.as_str()).collect();
    topics.extend(["dbz", "dbz.transaction"]);
    let new = topics
        .iter()
        .map(|topic| NewTopic::new(topic, 3, TopicReplication::Fixed(1)));
    let created = admin
        .create_topics(&new.collect::<Vec<_>>(), &AdminOptions::new())
        .await
        .unwrap();
    created.into_iter().for_each(|result| drop(result.unwrap()));
    let producer: FutureProducer = client.create().unwrap();
    let others = ["dbz", "dbz.transaction"].map(|topic| (topic.to_owned(), "{}".to_owned(), Some("{}".to_owned())));
    for (topic, key, value) in others.iter().chain(records) {
        let record = FutureRecord {
            payload: value.as_ref(),
            ..FutureRecord::<str, String>::to(topic).key(key.as_str())
        };
        producer.send(record, DEADLINE).await.unwrap();
    }
}

fn config(lab: &Lab, prefix: &str, writer: &str) -> Config {
    let text = lab
        .config_toml(prefix, &["t.*"])
        .replace("[writer.redis]", &format!("{writer}\n[writer.redis]"));
    let mut config = config::parse(&text, "test.toml").unwrap();
    Store::configure(&mut config, prefix);
    config
}

#[tokio::test]
async fn the_stores_are_the_same_behind_debezium_and_behind_mysyncs_reader() {
    let lab = Lab::builder().mysql("9.7").brokers(1).redis().elasticsearch().hbase();
    let lab = lab.start().await.unwrap();
    for statement in STATEMENTS.lines().filter(|line| !line.starts_with("--")) {
        let session = "SET sql_mode = ''; SET time_zone = '+00:00'; ";
        lab.primary()
            .unwrap()
            .sql(&format!("{session}{statement}"))
            .await
            .unwrap();
    }
    let own = config(&lab, "own", "");
    let (_sender, stop) = stop::channel();
    let (filter, keys, options) = (TableFilter::new(&own), &own.source.keys, Options::new(&own, true));
    let (mut source, queue) = (MySqlSource::new(&own), KafkaQueue::new(&own));
    reader::run(&mut source, &queue, &filter, keys, &options, stop)
        .await
        .unwrap();
    publish(&lab, &recorded()).await;
    let debezium = config(&lab, "dbz", "[writer]\nformat = \"debezium\"");
    let mut tables = BTreeSet::new();
    for store in Store::ALL {
        store.write(&own).await.unwrap();
        store.write(&debezium).await.unwrap();
        let expected = store.rows(&lab, "own", &tables).await;
        let found = store.rows(&lab, "dbz", &tables).await;
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            expected.keys().collect::<Vec<_>>(),
            "{store:?}"
        );
        for (key, row) in &expected {
            let is_lossy = LOSSY.contains(&key.as_str());
            assert_eq!(
                found[key] != *row,
                is_lossy,
                "{store:?}, {key}: {row:?}, {:?}",
                found[key]
            );
        }
        assert!(expected.len() > 2 * LOSSY.len(), "{store:?}");
        let table = |key: &String| key.split(':').next().unwrap().to_owned();
        tables.extend(expected.keys().map(table));
    }

    // What the account may not read is not taken for a table that is gone.
    lab.primary()
        .unwrap()
        .sql("CREATE USER blind IDENTIFIED BY 'blind'")
        .await
        .unwrap();
    let text = lab.config_toml("dbz", &["t.*"]);
    let text = text.replace(
        "[writer.redis]",
        "[writer]\nformat = \"debezium\"\n[writer.redis]\nkey = \"blind|{db}:{table}:{pk}\"",
    );
    let text = text.replace(
        "user = \"mysync\"\npassword = \"lab-mysync\"",
        "user = \"blind\"\npassword = \"blind\"",
    );
    let blind = config::parse(&text, "test.toml").unwrap();
    let mut redis = lab.redis().unwrap().connect().await.unwrap();
    let () = redis.flushall().await.unwrap();
    let refused = Store::Redis.write(&blind).await.unwrap_err();
    assert!(
        !refused.is_transient() && refused.to_string().contains("SELECT"),
        "{refused}"
    );
    // Other tables may have come before it.
    let written = Store::Redis.rows(&lab, "blind", &tables).await;
    let is_plain = |key: &&String| PLAIN.contains(&key.split(':').next().unwrap());
    assert_eq!(written.keys().find(|key| !is_plain(key)), None);
    lab.down().await.unwrap();
}
