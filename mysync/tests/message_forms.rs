//! The forms of messages through real Kafka into a real Redis: whatever the form and the topics, the same rows.
//! Needs Docker and the lab's images; without them it fails with the remedy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code, reason = "each test uses a part of it")]
#[path = "reader/consumer.rs"]
mod consumer;

use consumer::{Seen, read_partitions};
use fixtures::Lab;
use mysync::config::{self, Config, Layout};
use mysync::queue::kafka::KafkaQueue;
use mysync::reader::{self, Options};
use mysync::source::mysql::MySqlSource;
use mysync::stop;
use mysync::tables::TableFilter;
use mysync::writer;
use redis::AsyncCommands;
use serde_json::Value;
use std::collections::BTreeMap;

const STATEMENTS: &[&str] = &[
    "CREATE DATABASE shop CHARACTER SET utf8mb4",
    "CREATE TABLE shop.every (id BIGINT UNSIGNED PRIMARY KEY, a TINYINT, b SMALLINT UNSIGNED, c MEDIUMINT, d BIGINT, e FLOAT, \
     f DOUBLE, g DECIMAL(30, 12), h DATE, i TIME(1), j TIME(6), k DATETIME(3), l TIMESTAMP(2) NULL, m YEAR, n BIT(33), \
     o CHAR(10), p VARCHAR(300), q TEXT, r BINARY(8), s VARBINARY(8), t LONGBLOB, u ENUM('x', 'y'), v SET('p', 'q', 'r'), \
     w JSON, x GEOMETRY, y CHAR(20) CHARACTER SET gbk, z VARCHAR(20) CHARACTER SET utf16)",
    "INSERT INTO shop.every VALUES (18446744073709551615, -1, 65535, -8388608, 9223372036854775807, 0.1, -2.5e300, \
     -123456789012345678.123456789012, '2026-11-25', '-00:00:00.9', '12:34:56.789012', '2026-11-25 01:02:03.456', \
     '2026-11-25 01:02:03.45', 2026, b'101', 'char', 'a \"quoted\" \\\\ text\\n\\0', REPEAT('é', 300), x'01', x'0200', x'ff', 'y', \
     'p,r', '{\"a\": [1, 1.5, \"te\\\\\"xt\", null], \"c\": 18446744073709551615}', ST_GeomFromText('POINT(1 2)', 4326), '中文', '中文😀')",
    "INSERT INTO shop.every (id) VALUES (2), (3)",
    "CREATE TABLE shop.pair (part VARCHAR(10), id INT, name VARCHAR(20), PRIMARY KEY (part, id))",
    "INSERT INTO shop.pair VALUES ('x', 1, 'one'), ('x', 2, ''), ('y:%', 3, NULL)",
    "UPDATE shop.pair SET name = 'more' WHERE id = 2",
    "UPDATE shop.pair SET id = 10 WHERE id = 1",
    "DELETE FROM shop.every WHERE id = 3",
];

fn config(lab: &Lab, prefix: &str, messages: &str, layout: Layout) -> Config {
    let text = format!("{}\n[messages]\n{messages}\n", lab.config_toml(prefix, &["shop.*"]));
    let mut config = config::parse(&text, "test.toml").unwrap();
    let redis = config.writer.redis.as_mut().unwrap();
    redis.layout = layout;
    redis.key = format!("{prefix}|{{db}}:{{table}}:{{pk}}");
    config
}

/// A reader's whole life, and a writer's.
async fn pass_on(config: &Config) {
    let (_sender, stop) = stop::channel();
    let (filter, keys, options) = (
        TableFilter::new(config),
        &config.source.keys,
        Options::new(config, true),
    );
    let (mut source, queue) = (MySqlSource::new(config), KafkaQueue::new(config));
    reader::run(&mut source, &queue, &filter, keys, &options, stop)
        .await
        .unwrap();
    writer::run_redis(config, true, std::sync::Arc::default(), std::future::pending())
        .await
        .unwrap();
}

/// What stands in Redis under a prefix, without it: of a hash the fields, of a string the text.
async fn stored(lab: &Lab, config: &Config) -> BTreeMap<String, Vec<(String, String)>> {
    let mut redis = lab.redis().unwrap().connect().await.unwrap();
    let prefix = format!("{}|", config.kafka.prefix);
    let keys: Vec<String> = redis.keys(format!("{prefix}*")).await.unwrap();
    let mut rows = BTreeMap::new();
    for key in keys {
        let row = match config.writer.redis.as_ref().unwrap().layout {
            Layout::Hash => redis.hgetall(&key).await.unwrap(),
            Layout::Json => vec![(String::new(), redis.get(&key).await.unwrap())],
        };
        rows.insert(key.strip_prefix(&prefix).unwrap().to_owned(), row);
    }
    rows
}

#[tokio::test]
async fn redis_is_the_same_whatever_the_form() {
    let lab = Lab::builder().mysql("8.0").brokers(1).redis().start().await.unwrap();
    for statement in STATEMENTS {
        lab.primary().unwrap().sql(statement).await.unwrap();
    }
    for (name, layout) in [("hash", Layout::Hash), ("json", Layout::Json)] {
        let plain = config(&lab, &format!("plain-{name}"), "", layout);
        pass_on(&plain).await;
        let expected = stored(&lab, &plain).await;
        assert_eq!(expected.len(), 5, "{expected:?}");
        for (form, messages) in [
            ("compact", "format = \"protobuf\""),
            (
                "one",
                "format = \"protobuf\"\ntopics = \"one\"\ntransaction_metadata = true\nheartbeat_interval_ms = 100",
            ),
        ] {
            let config = config(&lab, &format!("{form}-{name}"), messages, layout);
            pass_on(&config).await;
            assert_eq!(stored(&lab, &config).await, expected, "{form} {name}");
        }
    }
    let records = read_partitions(&lab, "one-hash.changes", 3).await;
    // Five inserted rows, an update, a delete with its tombstone, a changed key of three records; the key names the table.
    assert_eq!(records.len(), 3 + 3 + 1 + 2 + 3);
    assert!(records.iter().all(|record| {
        record
            .key
            .contains("\"__dbz__physicalTableIdentifier\":\"one-hash.shop.")
    }));
    // Nobody lays out the topics of a prefix in two ways.
    for (prefix, messages) in [("one-hash", ""), ("plain-hash", "topics = \"one\"")] {
        let checks = KafkaQueue::new(&config(&lab, prefix, messages, Layout::Hash))
            .preflight()
            .await
            .unwrap();
        let failed: Vec<_> = checks.iter().filter(|check| !check.holds && !check.waivable).collect();
        assert_eq!((failed.len(), failed[0].name), (1, "messages.topics"), "{checks:?}");
    }
    let header = |name: &str| {
        let with = records
            .iter()
            .filter(|record| record.headers.iter().any(|(header, _)| header == name));
        with.count()
    };
    assert_eq!((header("__debezium.newkey"), header("__debezium.oldkey")), (2, 1));

    let marks = read_partitions(&lab, "one-hash.transaction", 1).await;
    let statuses: Vec<Value> = marks.iter().map(|mark| mark_of(mark)["status"].clone()).collect();
    assert_eq!(statuses, ["BEGIN", "END"].repeat(6));
    assert_eq!(mark_of(&marks[9])["data_collections"][0]["event_count"], 2);
    assert!(!read_partitions(&lab, "one-hash.__heartbeat", 1).await.is_empty());
}

fn mark_of(record: &Seen) -> Value {
    serde_json::from_str(record.value.as_ref().unwrap()).unwrap()
}
