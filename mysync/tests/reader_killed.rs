//! A reader that is killed again and again while statements change the tables that it follows, on a server that does not
//! describe them in the binlog, and while XA transactions are prepared and decided: in both ways of delivery, with two policies
//! for statements. What it published equals what the server says of each row, and what a reader published that was
//! left alone. Needs Docker and the lab's images; without them it fails with the remedy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "reader/consumer.rs"]
#[allow(dead_code)] // The tests of the reader look at more of a record.
mod consumer;
#[path = "support/process.rs"]
mod process;
#[path = "schema_history/script.rs"]
#[allow(dead_code)] // Only the statements that can be applied from a backlog are used.
mod script;

use consumer::{Seen, read_all};
use fixtures::Lab;
use mysql_async::prelude::Queryable;
use mysync::config::{self, Config};
use mysync::queue::Queue;
use mysync::queue::kafka::KafkaQueue;
use mysync::reader::{self, Options};
use mysync::source::mysql::MySqlSource;
use mysync::stop;
use mysync::tables::TableFilter;
use process::{Process, wait_until};
use script::{Expected, Script};
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

const KILLS: usize = 8;
const TABLES: [&str; 4] = ["shop.t", "shop.u", "shop.s*", "xa.t"];

/// A reader that is killed, or one that is not.
struct Reader {
    name: &'static str,
    delivery: &'static str,
    file: PathBuf,
    config: Config,
}

impl Reader {
    fn new(lab: &Lab, name: &'static str, delivery: &'static str, on_ddl: &str, server_id: u32) -> Self {
        let text = lab.config_toml(name, &TABLES).replace(
            "[reader]",
            &format!("[reader]\ndelivery = \"{delivery}\"\non_ddl = \"{on_ddl}\""),
        );
        let text = text.replace("server_id = 4271", &format!("server_id = {server_id}"));
        let file =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("killed-{name}-{}.toml", std::process::id()));
        std::fs::write(&file, &text).unwrap();
        let config = config::parse(&text, "test.toml").unwrap();
        assert_eq!(config.source.server_id, server_id);
        Self {
            name,
            delivery,
            file,
            config,
        }
    }

    fn start(&self) -> Process {
        Process::start(self.name, &["reader", "--config", self.file.to_str().unwrap()], "info")
    }

    /// All that the server has now.
    async fn read(&self) {
        let (_sender, stop) = stop::channel();
        let config = &self.config;
        let mut source = MySqlSource::new(config);
        let options = Options::new(config, true);
        let (queue, filter) = (KafkaQueue::new(config), TableFilter::new(config));
        let read = reader::run(&mut source, &queue, &filter, &config.source.keys, &options, stop);
        read.await.unwrap();
    }

    /// What a consumer takes of a table's topic: the first copies, in the order of their versions.
    async fn taken(&self, lab: &Lab, table: &str) -> Vec<Seen> {
        let mut firsts: HashMap<(i64, String, bool), Option<serde_json::Value>> = HashMap::new();
        let mut highest: HashMap<i32, i64> = HashMap::new();
        let mut taken = Vec::new();
        for record in read_all(lab, &format!("{}.{table}", self.name)).await {
            let key = (record.version, record.key.clone(), record.value.is_none());
            let content = content(&record);
            if let Some(first) = firsts.get(&key) {
                assert_eq!(self.delivery, "sequenced", "a second copy of {record:?}");
                assert_eq!(*first, content, "a copy says what the first one said");
                continue;
            }
            firsts.insert(key, content);
            let before = highest.insert(record.partition, record.version);
            assert!(before <= Some(record.version), "{before:?} stands before {record:?}");
            taken.push(record);
        }
        taken.sort_by_key(|record| record.version);
        taken
    }

    async fn rows(&self, lab: &Lab, tables: impl Iterator<Item = &String>) -> Expected {
        let mut rows = Expected::new();
        for table in tables {
            let taken = self.taken(lab, table).await;
            let after = taken.iter().filter_map(|record| {
                let envelope: HashMap<String, Box<serde_json::value::RawValue>> =
                    serde_json::from_str(record.value.as_ref()?).unwrap();
                let after = envelope["after"].get();
                // What a statement changed was read from the table again, too.
                let is_of_stream = !envelope["source"].get().contains("\"snapshot\":\"incremental\"");
                (after != "null" && is_of_stream).then(|| script::columns_of_json(after))
            });
            rows.insert(table.clone(), after.collect());
        }
        rows
    }

    /// The records of an internal topic, without the policy.
    async fn stored(&self, topic: &str) -> Vec<String> {
        let mut scan = KafkaQueue::new(&self.config).scan(topic, 0).await.unwrap();
        let mut records = Vec::new();
        while let Some(record) = scan.next().await.unwrap() {
            let value = record.value.unwrap();
            let mut value: serde_json::Value = serde_json::from_slice(&value).unwrap();
            value.as_object_mut().unwrap().remove("policy");
            records.push(format!("{} {value}", String::from_utf8(record.key).unwrap()));
        }
        records
    }
}

/// A record's envelope without the times at which it was read.
fn content(record: &Seen) -> Option<serde_json::Value> {
    let mut value: serde_json::Value = serde_json::from_str(record.value.as_ref()?).unwrap();
    for name in ["ts_ms", "ts_us", "ts_ns"] {
        value.as_object_mut().unwrap().remove(name);
    }
    Some(value)
}

/// XA transactions of which each is decided a round after it was prepared, every third one by a rollback.
struct Xa<'l> {
    lab: &'l Lab,
    prepared: Option<usize>,
    /// In the order of the commits.
    expected: Vec<usize>,
}

impl Xa<'_> {
    async fn round(&mut self, round: usize) {
        let mut conn = self.lab.primary().unwrap().connect().await.unwrap();
        let [first, second, plain] = [0, 1, 5].map(|row| 10 * round + row);
        let compression = if round.is_multiple_of(2) { "ON" } else { "OFF" };
        for statement in [
            format!("SET binlog_transaction_compression = {compression}"),
            format!("INSERT INTO xa.t VALUES ({plain})"),
            format!("XA START '{round}'"),
            format!("INSERT INTO xa.t VALUES ({first}), ({second})"),
            format!("XA END '{round}'"),
            format!("XA PREPARE '{round}'"),
        ] {
            conn.query_drop(statement).await.unwrap();
        }
        conn.disconnect().await.unwrap();
        self.expected.push(plain);
        self.decide().await;
        self.prepared = Some(round);
    }

    async fn decide(&mut self) {
        let Some(round) = self.prepared.take() else { return };
        let decision = if round % 3 == 0 { "ROLLBACK" } else { "COMMIT" };
        let statement = format!("XA {decision} '{round}'");
        self.lab.primary().unwrap().sql(&statement).await.unwrap();
        if decision == "COMMIT" {
            self.expected.extend([10 * round, 10 * round + 1]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_and_xa_transactions_survive_kill_nine_in_both_ways_of_delivery() {
    let lab = Lab::builder()
        .name("killed")
        .mysql("8.0")
        .mysql_option("loose-binlog-row-metadata=MINIMAL")
        .gtid(true)
        .brokers(1)
        .start()
        .await
        .unwrap();
    let victims = [
        Reader::new(&lab, "whole", "transactional", "refresh", 801),
        Reader::new(&lab, "numbered", "sequenced", "ignore", 802),
    ];
    let script = Script::of("8.0");
    let (mut expected, mut steps) = (Expected::new(), script.exact.iter());
    for statement in ["CREATE DATABASE xa", "CREATE TABLE xa.t (id INT PRIMARY KEY)"] {
        lab.primary().unwrap().sql(statement).await.unwrap();
    }
    let mut xa = Xa {
        lab: &lab,
        prepared: None,
        expected: Vec::new(),
    };
    let steps_a_round = steps.len().div_ceil(KILLS);
    for round in 1..=KILLS {
        let lives = victims.each_ref().map(Reader::start);
        // Killed while the statements come, or while the ones of the round before are caught up with.
        if round % 2 == 0 {
            for life in &lives {
                wait_until("the reader reads", || life.stderr().contains("reading").then_some(()));
            }
        }
        for step in steps.by_ref().take(steps_a_round) {
            script::run(&lab, step, &mut expected).await;
        }
        xa.round(round).await;
        let left_ms = if round % 2 == 0 { round * 7 } else { round * 90 };
        tokio::time::sleep(Duration::from_millis(left_ms as u64)).await;
        lives.into_iter().for_each(Process::kill);
    }
    xa.decide().await;

    let control = Reader::new(&lab, "control", "transactional", "refresh", 803);
    control.read().await;
    let expected_ids: Vec<String> = xa.expected.iter().map(|id| format!("{{\"id\":{id}}}")).collect();
    for reader in victims.iter().chain([&control]) {
        let name = reader.name;
        reader.read().await;
        assert_eq!(reader.rows(&lab, expected.keys()).await, expected, "{name}");
        let ids = reader.taken(&lab, "xa.t").await;
        let ids: Vec<String> = ids.into_iter().map(|record| record.key).collect();
        assert_eq!(ids, expected_ids, "{name}");
        assert_eq!(reader.stored("ddl").await, control.stored("ddl").await, "{name}");
        std::fs::remove_file(&reader.file).unwrap();
    }
    lab.down().await.unwrap();
}
