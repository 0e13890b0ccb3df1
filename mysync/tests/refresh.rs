//! Refreshes on a real server and through real Kafka: rows that differ from what was published come right, whatever the stream
//! does meanwhile and however often the reader is stopped. Needs Docker and the lab's images; without them it fails with the
//! remedy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code, reason = "each test uses a part of it")]
#[path = "reader/consumer.rs"]
mod consumer;

use consumer::{Seen, read_partitions};
use fixtures::{Lab, Mysql};
use mysync::checkpoint::Checkpoint;
use mysync::config::{self, Config, OnLost};
use mysync::error::Result;
use mysync::queue::kafka::KafkaQueue;
use mysync::queue::{Batch, Origin, Publisher, Queue, Topic};
use mysync::reader::{self, Options, Summary};
use mysync::source::mysql::MySqlSource;
use mysync::stop;
use mysync::tables::TableFilter;
use mysync::version::Version;
use mysync::writer;
use redis::AsyncCommands;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

const ROWS: u32 = 1_200;

/// A reader that waits for something that never comes fails its test.
const CATCH_UP_MAX: Duration = Duration::from_secs(90);

/// Rows change behind the stream's back, so that what was published is wrong.
const UNSEEN: &[&str] = &[
    "SET sql_log_bin = 0",
    "UPDATE shop.t SET name = 'unseen' WHERE id % 7 = 0",
    "DELETE FROM shop.t WHERE id % 11 = 0",
    "INSERT INTO shop.t (id, name, amount) SELECT id + 5000, 'unseen', 1.5 FROM shop.t WHERE id <= 50",
    "UPDATE shop.pair SET v = x'00ff' WHERE a = 'ä'",
    "DELETE FROM shop.pair WHERE a = 'b'",
    "DROP TABLE shop.gone",
];

/// A reader's whole life, or until it is stopped.
async fn read(config: &Config, stop_after: Option<Duration>) -> Result<Summary> {
    let (sender, stop) = stop::channel();
    let (filter, options) = (TableFilter::new(config), Options::new(config, stop_after.is_none()));
    let mut source = MySqlSource::new(config).with_heartbeat(config, &options.metrics);
    let queue = KafkaQueue::new(config);
    let reading = reader::run(&mut source, &queue, &filter, &config.source.keys, &options, stop);
    match stop_after {
        None => tokio::time::timeout(CATCH_UP_MAX, reading)
            .await
            .expect("a reader that catches up"),
        Some(after) => {
            let stopping = async {
                tokio::time::sleep(after).await;
                sender.stop();
                std::future::pending::<()>().await;
            };
            tokio::select! {
                done = reading => done,
                () = stopping => unreachable!("a reader that is asked to stop ends"),
            }
        }
    }
}

/// Lays requests as a reader leaves them when it dies: in the Kafka transaction of a checkpoint.
async fn request(config: &Config, requests: &[(&str, Vec<String>)]) {
    let queue = KafkaQueue::new(config);
    let (mut publisher, checkpoint) = queue.publisher().await.unwrap();
    let checkpoint = checkpoint.unwrap();
    let topic = publisher.declare(Topic::Compacted("refresh")).await.unwrap();
    let mut batch = Batch::default();
    for (number, (table, keys)) in requests.iter().enumerate() {
        let value = serde_json::json!({"database": "shop", "table": table, "keys": keys});
        let bytes = batch.bytes();
        let begin = bytes.len();
        bytes.extend_from_slice(format!("{number}").as_bytes());
        let middle = bytes.len();
        bytes.extend_from_slice(value.to_string().as_bytes());
        let end = bytes.len();
        let origin = Origin {
            file_number: 0,
            offset: 0,
            row: 0,
        };
        batch.push(topic, 0, Version::FIRST, origin, begin..middle, Some(middle..end));
    }
    publisher.send(batch).await.unwrap();
    let checkpoint = Checkpoint {
        refreshes: requests.len(),
        ..checkpoint
    };
    publisher.commit(checkpoint).await.unwrap();
    publisher.committed().await.unwrap();
}

/// The last record of each key, after looking at all of them: a row's versions rise.
fn last(records: &[Seen]) -> BTreeMap<String, &Seen> {
    let mut last: BTreeMap<String, &Seen> = BTreeMap::new();
    for record in records {
        if let Some(before) = last.insert(record.key.clone(), record) {
            assert!(
                record.version >= before.version,
                "{} {} {}",
                record.key,
                before.version,
                record.version
            );
        }
    }
    last
}

/// What is published of a table now: `after` of the last record of each row that there is.
async fn published(lab: &Lab, config: &Config, table: &str) -> BTreeMap<String, Value> {
    let records = read_partitions(lab, &format!("{}.shop.{table}", config.kafka.prefix), 3).await;
    let rows = last(&records).into_iter().filter_map(|(key, record)| {
        let envelope: Value = serde_json::from_str(record.value.as_ref()?).unwrap();
        // A delete is followed by its tombstone.
        assert_ne!(envelope["op"], "d", "{key}");
        Some((key, envelope["after"].clone()))
    });
    rows.collect()
}

async fn rows(server: &Mysql, statement: &str) -> BTreeMap<String, Value> {
    let rows = server.sql(statement).await.unwrap();
    let pair = |row: Vec<Option<String>>| {
        let text = |index: usize| row[index].clone().unwrap();
        (text(0), serde_json::from_str(&text(1)).unwrap())
    };
    rows.into_iter().map(pair).collect()
}

const T: &str = "SELECT CONCAT('{\"id\":', id, '}'), CONCAT('{\"id\":', id, ',\"name\":\"', name, '\",\"amount\":\"', amount, '\"}') FROM shop.t";
const PAIR: &str = "SELECT CONCAT('{\"a\":\"', a, '\",\"n\":', n, '}'), CONCAT('{\"n\":', n, ',\"a\":\"', a, '\",\"v\":\"', TO_BASE64(v), '\"}') \
                    FROM shop.pair";

async fn run(server: &Mysql, statements: &[&str]) {
    server.sql(&statements.join("; ")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_were_requested_come_right_while_others_change() {
    let lab = Lab::builder()
        .name("refresh")
        .mysql("8.0")
        .brokers(1)
        .start()
        .await
        .unwrap();
    let server = lab.primary().unwrap();
    run(
        server,
        &[
            "CREATE DATABASE shop CHARACTER SET utf8mb4",
            "CREATE TABLE shop.t (id INT PRIMARY KEY, name VARCHAR(20), amount DECIMAL(10,2))",
            "CREATE TABLE shop.pair (n INT, a VARCHAR(5) CHARACTER SET latin1, v BINARY(2), PRIMARY KEY (a, n))",
            "CREATE TABLE shop.gone (id INT PRIMARY KEY)",
            "INSERT INTO shop.gone VALUES (1), (2)",
            "INSERT INTO shop.pair VALUES (1, 'ä', x'61'), (2, 'ä', x'62'), (1, 'b', x'63')",
        ],
    )
    .await;
    let values: Vec<String> = (1..=ROWS).map(|id| format!("({id}, 'first', {id}.25)")).collect();
    run(server, &[&format!("INSERT INTO shop.t VALUES {}", values.join(","))]).await;
    let config = config::parse(&lab.config_toml("r", &["shop.*"]), "test.toml").unwrap();
    read(&config, None).await.unwrap();
    run(server, UNSEEN).await;
    assert_ne!(published(&lab, &config, "t").await, rows(server, T).await);

    let key = |id: u32| format!("{{\"id\":{id}}}");
    let ids: Vec<u32> = (1..=ROWS).chain(5_001..=5_060).collect();
    let mut requests: Vec<(&str, Vec<String>)> = ids
        .chunks(100)
        .map(|ids| ("t", ids.iter().copied().map(key).collect()))
        .collect();
    let pairs = [
        r#"{"a":"ä","n":1}"#,
        r#"{"a":"ä","n":2}"#,
        r#"{"a":"b","n":1}"#,
        r#"{"a":"中","n":1}"#,
    ];
    // The last one is of another table that had the name once.
    requests.push(("pair", pairs.map(str::to_owned).into_iter().chain([key(7)]).collect()));
    requests.push(("gone", vec![key(1), key(2)]));
    request(&config, &requests).await;

    // A client changes the same rows meanwhile, and the reader is stopped again and again.
    let (done, is_done) = tokio::sync::watch::channel(false);
    let client = {
        let mut connection = server.connect().await.unwrap();
        tokio::spawn(async move {
            use mysql_async::prelude::Queryable;
            let mut number = 0_u32;
            while !*is_done.borrow() {
                number += 1;
                let id = number * 37 % ROWS + 1;
                let statement = match number % 5 {
                    0 => format!("DELETE FROM shop.t WHERE id = {id}"),
                    1 => format!("REPLACE INTO shop.t VALUES ({id}, 'back', {number})"),
                    2 => format!("UPDATE IGNORE shop.t SET id = id + 5001 WHERE id = {}", id % 60),
                    _ => format!("UPDATE shop.t SET name = 'client', amount = {number} WHERE id = {id}"),
                };
                connection.query_drop(&statement).await.expect(&statement);
            }
            number
        })
    };
    for after_ms in [300, 500, 700, 900] {
        read(&config, Some(Duration::from_millis(after_ms))).await.unwrap();
    }
    let finishing = read(&config, None);
    let ending = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        done.send(true).unwrap();
    };
    let (finished, ()) = tokio::join!(finishing, ending);
    finished.unwrap();
    assert!(client.await.unwrap() > 100);
    read(&config, None).await.unwrap();

    assert_eq!(published(&lab, &config, "t").await, rows(server, T).await);
    assert_eq!(published(&lab, &config, "pair").await, rows(server, PAIR).await);
    assert_eq!(published(&lab, &config, "gone").await, BTreeMap::new());
    let (_, checkpoint) = KafkaQueue::new(&config).publisher().await.unwrap();
    assert_eq!(checkpoint.unwrap().refreshes, 0);
    let all = read_partitions(&lab, "r.shop.t", 3).await;
    let reads = all.iter().filter(|record| {
        record
            .value
            .as_ref()
            .is_some_and(|value| value.contains("\"op\":\"r\""))
    });
    let snapshots = all.iter().filter(|record| {
        record
            .value
            .as_ref()
            .is_some_and(|value| value.contains("\"snapshot\":\"incremental\""))
    });
    let (reads, snapshots) = (reads.count(), snapshots.count());
    println!("{reads} rows were read, {} were gone", snapshots - reads);
    assert!(reads > 100 && snapshots > reads);
    lab.down().await.unwrap();
}

/// A switch of server in which MySQL loses what was published.
async fn lossy(version: &str, gtid: bool, delivery: &str) {
    let lab = Lab::builder()
        .name("lossy")
        .mysql(version)
        .replicas(1)
        .gtid(gtid)
        .brokers(1)
        .redis();
    let lab = lab.start().await.unwrap();
    let [old, new] = lab.mysql_servers() else {
        panic!("two servers")
    };
    run(
        old,
        &[
            "CREATE DATABASE shop CHARACTER SET utf8",
            "CREATE TABLE shop.t (id INT PRIMARY KEY, name VARCHAR(20), amount DECIMAL(10,2))",
            "INSERT INTO shop.t VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', 3), (4, 'four', 4)",
            "CREATE TABLE shop.pair (n INT, a VARCHAR(5) CHARACTER SET latin1, v BINARY(2), PRIMARY KEY (a, n))",
            "INSERT INTO shop.pair VALUES (1, 'ä', x'61'), (2, 'ä', x'62')",
        ],
    )
    .await;
    let text = lab
        .config_toml("r", &["shop.*"])
        .replace("[reader]", &format!("[reader]\ndelivery = \"{delivery}\""));
    let mut config = config::parse(&text, "test.toml").unwrap();
    config.reader.on_lost = OnLost::Stop;
    let config = config;
    beat(&config, old).await;
    new.wait_until_caught_up(old).await.unwrap();
    let stop_replica = if version == "5.6" { "STOP SLAVE" } else { "STOP REPLICA" };
    new.sql(stop_replica).await.unwrap();

    // Published, and never replicated: three transactions of four, two and one rows; one that is not followed.
    for transaction in [
        "INSERT INTO shop.t VALUES (5, 'lost', 5), (6, 'lost', 6); UPDATE shop.t SET name = 'lost' WHERE id = 1; \
         DELETE FROM shop.t WHERE id = 2",
        "UPDATE shop.t SET id = 7 WHERE id = 3; UPDATE shop.pair SET v = x'ff' WHERE n = 1",
        "DELETE FROM shop.pair WHERE n = 2",
    ] {
        run(old, &["BEGIN", transaction, "COMMIT"]).await;
    }
    beat(&config, old).await;
    let lost_version = read_partitions(&lab, "r.shop.t", 3)
        .await
        .iter()
        .map(|record| record.version)
        .max()
        .unwrap();
    old.kill().await.unwrap();
    new.promote().await.unwrap();
    run(
        new,
        &[
            "INSERT INTO shop.t VALUES (6, 'new', 60)",
            "UPDATE shop.t SET name = 'new' WHERE id = 4",
        ],
    )
    .await;

    // A person is asked first.
    let error = read(&config, None).await.unwrap_err();
    assert!(
        error
            .what
            .starts_with("MySQL lost transactions that were published: 3 are not on"),
        "{error}"
    );
    let detail = error.detail.clone().unwrap();
    assert!(
        detail.contains("4 changes of shop.t") && detail.contains("2 changes of shop.pair, shop.t"),
        "{error}"
    );
    assert!(
        error.hint.as_ref().unwrap().contains("on_lost = \"refresh\""),
        "{error}"
    );

    let mut config = config;
    config.reader.on_lost = OnLost::Refresh;
    read(&config, None).await.unwrap();
    run(new, &["UPDATE shop.t SET amount = amount + 1 WHERE id = 1"]).await;
    read(&config, None).await.unwrap();
    assert_eq!(published(&lab, &config, "t").await, rows(new, T).await);
    assert_eq!(published(&lab, &config, "pair").await, rows(new, PAIR).await);
    let epochs: Vec<i64> = read_partitions(&lab, "r.shop.t", 3)
        .await
        .iter()
        .map(|record| record.version >> 48)
        .collect();
    assert!(epochs.contains(&2) && lost_version >> 48 == 1, "{epochs:?}");

    let lost = read_partitions(&lab, "r.__lost", 1).await;
    let listed: Vec<Value> = lost
        .iter()
        .map(|record| serde_json::from_str(record.value.as_ref().unwrap()).unwrap())
        .collect();
    let changes: Vec<&Value> = listed.iter().map(|transaction| &transaction["changes"]).collect();
    assert_eq!(changes, [4, 2, 1], "{listed:#?}");
    assert_eq!(listed[0]["gtid"].is_string(), gtid);
    assert_eq!(
        listed[0]["tables"]["shop.t"].as_array().unwrap().len(),
        4,
        "{listed:#?}"
    );
    assert_eq!(
        listed[1]["first_version"],
        listed[0]["first_version"].as_i64().unwrap() + 4
    );

    // The store ends where the new primary is.
    writer::run_redis(&config, true, std::sync::Arc::default(), std::future::pending())
        .await
        .unwrap();
    let mut redis = lab.redis().unwrap().connect().await.unwrap();
    let keys: Vec<String> = redis.keys("shop:*").await.unwrap();
    let mut names = BTreeMap::new();
    for key in keys.iter().filter(|key| key.starts_with("shop:t:")) {
        let name: String = redis.hget(key, "name").await.unwrap();
        names.insert(key.clone(), name);
    }
    let expected = [("1", "one"), ("2", "two"), ("3", "three"), ("4", "new"), ("6", "new")];
    let expected = expected.map(|(id, name)| (format!("shop:t:{id}"), name.to_owned()));
    assert_eq!(names, BTreeMap::from(expected));
    assert_eq!(keys.len(), 7, "{keys:?}");
    lab.down().await.unwrap();
}

/// Reads until a further heartbeat has been written and read: it is the anchor where there is no GTID.
async fn beat(config: &Config, server: &Mysql) {
    const SESSIONS_MAX: u64 = 8;
    let sequence = "SELECT MAX(sequence) FROM __db_mysync.t_binlog_record";
    let beats = async || -> u64 {
        let beats = server.value(sequence).await.ok();
        beats.and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    let before = beats().await;
    for session in 1..=SESSIONS_MAX {
        // The heartbeat begins once a checkpoint is committed, which takes a busy machine longer.
        read(config, Some(Duration::from_secs(2 * session))).await.unwrap();
        if beats().await > before {
            read(config, None).await.unwrap();
            return;
        }
    }
    panic!("no heartbeat was written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_mysql_lost_are_read_again_with_gtid() {
    lossy("8.0", true, "transactional").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_mysql_lost_are_read_again_by_anchors() {
    lossy("5.6", false, "sequenced").await;
}
