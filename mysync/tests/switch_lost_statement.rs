//! What the new primary has never seen and no change's record tells of: a statement that emptied a table, and changes from before
//! the stream began that a dump has shown. The rows are as they are on the new primary. On real servers with GTID. Needs Docker and
//! the lab's images; without them it fails with the remedy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "reader/consumer.rs"]
#[allow(dead_code)] // The tests of the reader look at more of a record.
mod consumer;
#[path = "switch/world.rs"]
#[allow(dead_code)] // The other tests of switches do more.
mod world;

use consumer::{read_all, read_partitions};
use fixtures::Lab;
use mysync::config::{self, Config, OnDdl, Start};
use mysync::source::Source;
use mysync::source::mysql::MySqlSource;
use mysync::stop;
use std::collections::BTreeMap;
use std::sync::Arc;
use world::{TOPIC, World, read, wait};

impl World {
    /// Of each row, whether its last record has a value.
    async fn rows(&self) -> BTreeMap<String, bool> {
        let mut seen = read_all(&self.lab, TOPIC).await;
        seen.sort_by_key(|record| record.version);
        let is_there = |value: Option<String>| value.is_some_and(|value| !value.contains("\"op\":\"d\""));
        seen.into_iter()
            .map(|record| (record.key, is_there(record.value)))
            .collect()
    }
}

/// A primary and a replica with GTID, and a reader's configuration.
async fn pair() -> (Lab, Config) {
    let lab = Lab::builder().mysql("8.0").replicas(1).gtid(true).brokers(1);
    let lab = lab.start().await.unwrap();
    let config = config::parse(&lab.config_toml("switch", &["shop.*"]), "test.toml").unwrap();
    (lab, config)
}

#[tokio::test]
async fn rows_that_a_lost_truncate_took_come_back() {
    let (lab, mut config) = pair().await;
    config.reader.on_ddl = OnDdl::Refresh;
    let [primary, replica] = [0, 1].map(|index| lab.mysql(index).unwrap().clone());
    primary
        .sql("CREATE DATABASE shop; CREATE TABLE shop.a (id INT PRIMARY KEY)")
        .await
        .unwrap();
    let mut world = World {
        lab,
        metrics: Arc::default(),
        written: Vec::new(),
    };
    let (sender, stop) = stop::channel();
    let reading = read(config, Arc::clone(&world.metrics), stop);
    let steps = async {
        for _ in 0..3 {
            world.insert(&primary).await;
        }
        world.published().await;
        replica.wait_until_caught_up(&primary).await.unwrap();
        replica.stop_receiving().await.unwrap();
        primary.sql("TRUNCATE TABLE shop.a").await.unwrap();
        let all = |rows: BTreeMap<String, bool>, there: bool| rows.len() == 3 && rows.values().all(|is| *is == there);
        wait("the rows are published as gone", async || {
            all(world.rows().await, false).then_some(())
        })
        .await;
        primary.kill().await.unwrap();
        replica.promote().await.unwrap();
        wait("they are back", async || all(world.rows().await, true).then_some(())).await;
        assert_eq!(world.status().lost_transactions, 1);
        sender.stop();
        world
    };
    let (summary, world) = tokio::join!(reading, steps);
    summary.unwrap();
    let lost = read_partitions(&world.lab, "switch.__lost", 1).await;
    let values: Vec<&str> = lost.iter().filter_map(|record| record.value.as_deref()).collect();
    assert!(values.len() == 1 && values[0].contains("\"changes\":0"), "{values:?}");
    world.lab.down().await.unwrap();
}

#[tokio::test]
async fn what_a_dump_showed_of_before_the_stream_is_read_again_when_it_is_lost() {
    let (lab, mut config) = pair().await;
    config.reader.start = Start::Newest;
    let [primary, replica] = [0, 1].map(|index| lab.mysql(index).unwrap().clone());
    primary
        .sql("CREATE DATABASE shop; CREATE TABLE shop.a (id INT PRIMARY KEY); INSERT INTO shop.a VALUES (1), (2)")
        .await
        .unwrap();
    replica.wait_until_caught_up(&primary).await.unwrap();
    replica.stop_receiving().await.unwrap();
    primary
        .sql("INSERT INTO shop.a VALUES (3); DELETE FROM shop.a WHERE id = 1")
        .await
        .unwrap();
    let mut source = MySqlSource::new(&config);
    source.choose(None).await.unwrap();
    let dump = r#"{"request":"test","tables":[{"database":"shop","table":"a"}]}"#;
    source.signal(dump).await.unwrap();
    let world = World {
        lab,
        metrics: Arc::default(),
        written: Vec::new(),
    };
    let (sender, stop) = stop::channel();
    let reading = read(config, Arc::clone(&world.metrics), stop);
    let steps = async {
        let has = async |expected: &[(&str, bool)]| {
            let expected = expected.iter().map(|(key, there)| ((*key).to_owned(), *there));
            (world.rows().await == expected.collect()).then_some(())
        };
        let (one, two, three) = (r#"{"id":1}"#, r#"{"id":2}"#, r#"{"id":3}"#);
        wait("the table is dumped", async || has(&[(two, true), (three, true)]).await).await;
        primary.kill().await.unwrap();
        replica.promote().await.unwrap();
        wait("the rows are the new primary's", async || {
            has(&[(one, true), (two, true), (three, false)]).await
        })
        .await;
        sender.stop();
    };
    let (summary, ()) = tokio::join!(reading, steps);
    summary.unwrap();
    world.lab.down().await.unwrap();
}
