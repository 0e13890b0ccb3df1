//! Records that Debezium published, through real Kafka into a real Redis, with MySQL asked for what their schemas leave open: the
//! rows are those that mysync's own reader leads to. Needs Docker and the lab's images; without them it fails with the remedy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use fixtures::Lab;
use mysync::config::{self, Config};
use mysync::queue::kafka::KafkaQueue;
use mysync::reader::{self, Options};
use mysync::source::mysql::MySqlSource;
use mysync::stop;
use mysync::tables::TableFilter;
use mysync::writer;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use redis::AsyncCommands;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const STATEMENTS: &str = include_str!("messages_data/debezium-schemas.sql");
const RECORDED: &str = include_str!("messages_data/debezium-schemas.jsonl");

const DEADLINE: Duration = Duration::from_secs(90);

/// Rows of which Debezium loses something; tests/messages/embedded.rs says what.
const LOSSY: [&str; 9] = [
    "t:every:103",
    "t:every:104",
    "t:every:105",
    "t:every:106",
    "t:every:107",
    "t:nn:1",
    "t:nn:101",
    "t:dflt:1",
    "t:dflt:101",
];

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
    config.writer.redis.as_mut().unwrap().key = format!("{prefix}|{{db}}:{{table}}:{{pk}}");
    config
}

async fn write(config: &Config) {
    let done = writer::run_redis(config, true, std::sync::Arc::default(), std::future::pending());
    done.await.unwrap();
}

/// The hashes of a prefix, by what stands behind it.
async fn stored(lab: &Lab, prefix: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut redis = lab.redis().unwrap().connect().await.unwrap();
    let keys: Vec<String> = redis.keys(format!("{prefix}|*")).await.unwrap();
    let mut rows = BTreeMap::new();
    for key in keys {
        let row = redis.hgetall(&key).await.unwrap();
        rows.insert(key.split_once('|').unwrap().1.to_owned(), row);
    }
    rows
}

#[tokio::test]
async fn redis_is_the_same_behind_debezium_and_behind_mysyncs_reader() {
    let lab = Lab::builder().mysql("9.7").brokers(1).redis().start().await.unwrap();
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
    write(&own).await;
    let expected = stored(&lab, "own").await;

    publish(&lab, &recorded()).await;
    write(&config(&lab, "dbz", "[writer]\nformat = \"debezium\"")).await;
    let found = stored(&lab, "dbz").await;
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (key, row) in &expected {
        assert_eq!(
            found[key] != *row,
            LOSSY.contains(&key.as_str()),
            "{key}: {row:?}, {:?}",
            found[key]
        );
    }
    assert!(expected.len() > 2 * LOSSY.len());

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
    let refused = writer::run_redis(&blind, true, std::sync::Arc::default(), std::future::pending()).await;
    let refused = refused.unwrap_err();
    assert!(
        !refused.is_transient() && refused.to_string().contains("SELECT"),
        "{refused}"
    );
    assert!(stored(&lab, "blind").await.is_empty());
    lab.down().await.unwrap();
}
