//! The reader over switches of the primary without GTID, on real servers: it finds its place in another server's binlogs, which
//! group rows into other events, and when MySQL lost something it tells the first change of it. Needs Docker and the lab's
//! images; without them it fails with the remedy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "reader/consumer.rs"]
#[allow(dead_code)] // The tests of the reader look at more of a record.
mod consumer;

use consumer::read_all;
use fixtures::{Lab, Mysql};
use mysync::config::{self, Config};
use mysync::error::Result;
use mysync::metrics::{Exposed, ReaderMetrics};
use mysync::queue::kafka::KafkaQueue;
use mysync::reader::{self, Options, Summary};
use mysync::source::mysql::MySqlSource;
use mysync::stop;
use mysync::tables::TableFilter;
use mysync::version::Version;
use std::sync::Arc;
use std::time::{Duration, Instant};

const TOPIC: &str = "anchor.shop.t";
const DEADLINE: Duration = Duration::from_secs(40);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

const TABLE: &str = "CREATE TABLE shop.t (id INT PRIMARY KEY, name VARCHAR(300), amount DECIMAL(12,2), bits BIT(10), \
                     day DATETIME(3), data BLOB, kind ENUM('a','b'), ratio DOUBLE, letters CHAR(20)";

async fn wait<T>(condition: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not in {DEADLINE:?}: {condition}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

async fn read(config: Config, metrics: Arc<ReaderMetrics>, stop: stop::Stop) -> Result<Summary> {
    let mut options = Options::new(&config, false);
    options.metrics = metrics;
    let mut source = MySqlSource::new(&config).with_heartbeat(&config, &options.metrics);
    let queue = KafkaQueue::new(&config).with_condition(&options.metrics.condition);
    let (filter, keys) = (TableFilter::new(&config), &config.source.keys);
    reader::run(&mut source, &queue, &filter, keys, &options, stop).await
}

/// Sequence numbers of each epoch's changes, in order.
async fn versions(lab: &Lab) -> Vec<Version> {
    let seen = read_all(lab, TOPIC).await;
    let changes = seen.iter().filter(|record| record.value.is_some());
    let mut versions: Vec<Version> = changes
        .map(|record| Version::from_i64(record.version).unwrap())
        .collect();
    versions.sort_unstable();
    versions
}

/// Waits until so many changes of an epoch are published: each once, and no more.
async fn published(lab: &Lab, epoch: u16, count: u64) {
    let of_epoch = async || -> Vec<u64> {
        let versions = versions(lab).await.into_iter();
        versions
            .filter(|version| version.epoch() == epoch)
            .map(Version::seq)
            .collect()
    };
    wait(&format!("{count} changes of epoch {epoch} are published"), async || {
        (of_epoch().await.len() as u64 >= count).then_some(())
    })
    .await;
    assert_eq!(of_epoch().await, (1..=count).collect::<Vec<_>>());
}

/// Waits until the server has a heartbeat later than those that it has now.
async fn beats(server: &Mysql) {
    let sequence = async || -> u64 {
        let found = server
            .value("SELECT MAX(sequence) FROM __db_mysync.t_binlog_record")
            .await;
        found.ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    let now = sequence().await;
    wait("a heartbeat is written", async || {
        (sequence().await > now).then_some(())
    })
    .await;
}

fn insert(ids: std::ops::Range<u32>) -> String {
    let row = |id| {
        format!(
            "({id}, REPEAT('n{id}', 40), {id}.25, b'101', '2026-01-01 00:00:00.{id:03}', REPEAT('d', {id}), 'b', {id} / 3, 'l ')"
        )
    };
    let columns = "id, name, amount, bits, day, data, kind, ratio, letters";
    format!(
        "INSERT INTO shop.t ({columns}) VALUES {}",
        ids.map(row).collect::<Vec<_>>().join(", ")
    )
}

/// What the version can do beside plain transactions, and the changes that it makes.
fn special(version: &str) -> (String, u64) {
    match version {
        "5.6" => (insert(200..210), 10),
        _ => {
            let compressed = format!("SET SESSION binlog_transaction_compression = ON; {}", insert(200..230));
            let documents = "UPDATE shop.t SET doc = '{\"a\": [1, \"text\"]}' WHERE id < 20; \
                             UPDATE shop.t SET doc = JSON_SET(doc, '$.a[1]', 'tex') WHERE id < 10";
            let prepared = format!("XA START 'x'; {}; XA END 'x'; XA PREPARE 'x'", insert(300..305));
            (format!("{compressed}; {documents}; {prepared}"), 30 + 19 + 9)
        }
    }
}

async fn switches(version: &str) {
    let lab = Lab::builder()
        .name(format!("anchor-{}", version.replace('.', "-")))
        .mysql(version)
        .replicas(2)
        .gtid(false)
        .replica_option("binlog_row_event_max_size=256")
        .brokers(1)
        .start()
        .await
        .unwrap();
    let config = lab.config("anchor", &["shop.*"]).reader("on_lost = \"stop\"");
    let config = config::parse(&config.toml(), "test.toml").unwrap();
    let [first, second, third] = [0, 1, 2].map(|index| lab.mysql(index).unwrap().clone());
    let more = if version == "5.6" {
        ")"
    } else {
        ", doc JSON, twice INT AS (id * 2))"
    };
    first
        .sql(&format!("CREATE DATABASE shop; {TABLE}{more}"))
        .await
        .unwrap();
    let metrics = Arc::new(ReaderMetrics::default());
    let (sender, stop) = stop::channel();
    let reading = read(config, Arc::clone(&metrics), stop);
    let steps = async {
        exact(version, &lab, [&first, &second, &third]).await;
        let status = metrics.status().reader.unwrap();
        assert_eq!((status.server, status.switches), (second.address(), 1));
        let lost = lossy(version, &lab, [&second, &third]).await;
        // It ends by itself, and needs nobody to stop it.
        tokio::time::sleep(DEADLINE).await;
        sender.stop();
        lost
    };
    let steps = Box::pin(steps);
    let (ended, lost) = tokio::select! {
        ended = reading => (ended, None),
        lost = steps => (Ok(Summary::default()), Some(lost)),
    };
    assert!(lost.is_none(), "the reader goes on in spite of a loss");
    let error = ended.unwrap_err();
    let detail = error.detail.clone().unwrap_or_default();
    let first_lost = Version::new(2, after(version) + 1).unwrap().as_i64();
    assert!(
        error.what.contains("lost") && detail.contains(&first_lost.to_string()),
        "{error}"
    );
    let last_kept = Version::new(2, after(version)).unwrap().as_i64();
    assert!(!detail.contains(&last_kept.to_string()), "{error}");
}

/// Changes of the second epoch that every server has.
fn after(version: &str) -> u64 {
    if version == "5.6" { 13 } else { 18 }
}

/// The primary dies, and a replica that has everything takes over.
async fn exact(version: &str, lab: &Lab, [old, new, other]: [&Mysql; 3]) {
    let (special, special_changes) = special(version);
    let plain = format!(
        "{}; UPDATE shop.t SET amount = amount + 1; DELETE FROM shop.t WHERE id > 50",
        insert(1..61)
    );
    old.sql(&plain).await.unwrap();
    published(lab, 1, 130).await;
    beats(old).await;
    beats(old).await;
    old.sql("CREATE TABLE shop.u (id INT PRIMARY KEY)").await.unwrap();
    old.sql(&special).await.unwrap();
    old.sql(&insert(400..460)).await.unwrap();
    published(lab, 1, 190 + special_changes).await;
    for replica in [new, other] {
        replica.wait_until_caught_up(old).await.unwrap();
    }
    old.kill().await.unwrap();
    new.sql("FLUSH BINARY LOGS").await.unwrap();
    new.promote().await.unwrap();
    other.repoint(new).await.unwrap();
    new.sql(&insert(500..503)).await.unwrap();
    if version != "5.6" {
        new.sql("XA COMMIT 'x'").await.unwrap();
    }
    new.sql(&insert(510..520)).await.unwrap();
    published(lab, 2, after(version)).await;
    published(lab, 1, 190 + special_changes).await;
}

/// Replication stops, and the primary dies with what it has not passed on.
async fn lossy(version: &str, lab: &Lab, [old, new]: [&Mysql; 2]) {
    beats(old).await;
    beats(old).await;
    new.wait_until_caught_up(old).await.unwrap();
    new.stop_receiving().await.unwrap();
    old.sql(&insert(600..605)).await.unwrap();
    old.sql("UPDATE shop.t SET amount = 0 WHERE id = 600").await.unwrap();
    published(lab, 2, after(version) + 6).await;
    beats(old).await;
    old.kill().await.unwrap();
    new.promote().await.unwrap();
    new.sql(&insert(700..702)).await.unwrap();
}

#[tokio::test]
async fn a_place_is_found_on_another_8_0_and_what_it_lacks_is_told() {
    switches("8.0").await;
}

#[tokio::test]
async fn a_place_is_found_on_another_5_6_and_what_it_lacks_is_told() {
    switches("5.6").await;
}
