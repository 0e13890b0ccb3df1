//! Two readers of one name at once, in both ways of delivery: the one that was started last goes on, the other ends and says
//! so; a reader that was fenced by nobody goes on. Needs Docker and the lab's images; without them it fails with the remedy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "reader/consumer.rs"]
#[allow(dead_code)] // The tests of the reader look at more of a record.
mod consumer;

use consumer::{Seen, read_all};
use fixtures::Lab;
use mysync::config::{self, Config, Delivery};
use mysync::error::Error;
use mysync::queue::kafka::KafkaQueue;
use mysync::reader::{self, Options, Summary};
use mysync::source::mysql::MySqlSource;
use mysync::stop;
use mysync::tables::TableFilter;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// A reader that was fenced waits half a minute for the other one's checkpoint.
const DEADLINE: Duration = Duration::from_secs(90);
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// A reader that runs until it is stopped or ends by itself.
struct Reader {
    stop: stop::StopSender,
    running: JoinHandle<Result<Summary, Error>>,
}

impl Reader {
    fn start(config: &Config) -> Self {
        Self::with(config, false)
    }

    fn with(config: &Config, until_caught_up: bool) -> Self {
        let (stop, stopped) = stop::channel();
        let config = config.clone();
        let running = tokio::task::spawn_blocking(move || {
            let options = Options::new(&config, until_caught_up);
            let filter = TableFilter::new(&config);
            let mut source = MySqlSource::new(&config);
            let queue = KafkaQueue::new(&config);
            let run = reader::run(&mut source, &queue, &filter, &config.source.keys, &options, stopped);
            Handle::current().block_on(run)
        });
        Self { stop, running }
    }

    async fn end(self) -> Result<Summary, Error> {
        self.stop.stop();
        self.outcome().await
    }

    async fn outcome(self) -> Result<Summary, Error> {
        let outcome = tokio::time::timeout(DEADLINE, self.running).await;
        outcome.expect("the reader did not end").unwrap()
    }
}

/// The rows of one test, each inserted once.
struct Rows<'l> {
    lab: &'l Lab,
    table: String,
    next: u64,
}

impl Rows<'_> {
    async fn insert(&mut self) {
        self.next += 1;
        let statement = format!("INSERT INTO {} VALUES ({})", self.table, self.next);
        self.lab.primary().unwrap().sql(&statement).await.unwrap();
    }

    /// Until all of them are in the topic.
    async fn wait(&self, topic: &str) -> Vec<Seen> {
        let begun = Instant::now();
        loop {
            let seen = read_all(self.lab, topic).await;
            let keys: BTreeSet<&str> = seen.iter().map(|record| record.key.as_str()).collect();
            if keys.len() as u64 == self.next {
                return seen;
            }
            assert!(begun.elapsed() < DEADLINE, "{} of {} rows came", keys.len(), self.next);
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}

async fn set_up<'l>(lab: &'l Lab, prefix: &str, server_id: u32, delivery: Delivery) -> (Config, Rows<'l>, String) {
    let table = format!("shop.{prefix}");
    let text = lab.config_toml(prefix, &[&table]);
    let mut config = config::parse(&text, "test.toml").unwrap();
    config.reader.delivery = delivery;
    config.source.server_id = server_id;
    let create = format!("CREATE TABLE {table} (id BIGINT PRIMARY KEY)");
    lab.primary().unwrap().sql(&create).await.unwrap();
    let topic = format!("{prefix}.{table}");
    let mut rows = Rows { lab, table, next: 0 };
    rows.insert().await;
    // The topic is there.
    Reader::with(&config, true).outcome().await.unwrap();
    (config, rows, topic)
}

/// The records that a consumer does not know yet by their versions.
fn firsts(mut seen: Vec<Seen>) -> Vec<String> {
    let mut versions = BTreeSet::new();
    seen.retain(|record| versions.insert(record.version));
    seen.sort_by_key(|record| record.version);
    seen.into_iter().map(|record| record.key).collect()
}

async fn the_newer_one_goes_on(lab: &Lab, prefix: &str, server_id: u32, delivery: Delivery) {
    let (mut config, mut rows, topic) = set_up(lab, prefix, server_id, delivery).await;
    let mut reader = Reader::start(&config);
    rows.insert().await;
    rows.wait(&topic).await;
    // Once it is Kafka that lets only one of them go on, once MySQL may be the first to do so.
    for newer_server_id in [server_id + 1, server_id + 1] {
        let is_served_too = newer_server_id != config.source.server_id;
        config.source.server_id = newer_server_id;
        let newer = Reader::start(&config);
        // Its first commits go on while changes come.
        let begun = Instant::now();
        while !reader.running.is_finished() {
            if begun.elapsed() > DEADLINE {
                let both = tokio::join!(newer.end(), reader.end());
                panic!("the older reader did not end: {both:?}");
            }
            rows.insert().await;
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        let error = reader.outcome().await.unwrap_err();
        assert!(!error.is_transient(), "{error}");
        if is_served_too
            || !error
                .what
                .starts_with("another client reads the binlog with the same server id, ")
        {
            assert_eq!(error.what, "another reader of the same name has taken over: default");
            assert!(error.detail.unwrap().contains("the last checkpoint is by process"));
        }
        assert!(error.hint.unwrap().contains("stop what starts the other"));
        reader = newer;
    }
    rows.insert().await;
    let seen = rows.wait(&topic).await;
    assert_eq!(
        reader.end().await.unwrap().resumptions,
        0,
        "nobody took over from the last one"
    );
    if delivery == Delivery::Transactional {
        assert_eq!(seen.len() as u64, rows.next, "each change once");
    }
    let expected: Vec<String> = (1..=rows.next).map(|id| format!("{{\"id\":{id}}}")).collect();
    assert_eq!(firsts(seen), expected);
}

/// A fence without a reader behind it, as of a transaction that was open for too long.
async fn fenced_by_nobody(lab: &Lab) {
    let (config, mut rows, topic) = set_up(lab, "alone", 901, Delivery::Transactional).await;
    let reader = Reader::start(&config);
    rows.insert().await;
    rows.wait(&topic).await;
    let mut fence = ClientConfig::new();
    fence.set("bootstrap.servers", lab.kafka().unwrap().bootstrap());
    let fenced = tokio::task::spawn_blocking(move || {
        for lane in 0..3 {
            fence.set("transactional.id", format!("mysync.alone.default#{lane}"));
            let producer: BaseProducer = fence.create().unwrap();
            producer.init_transactions(DEADLINE).unwrap();
        }
    });
    fenced.await.unwrap();
    rows.insert().await;
    let seen = rows.wait(&topic).await;
    assert_eq!(seen.len() as u64, rows.next);
    assert_eq!(reader.end().await.unwrap().resumptions, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_reader_of_a_name_goes_on() {
    let lab = Lab::builder().mysql("8.0").brokers(1).start().await.unwrap();
    lab.primary().unwrap().sql("CREATE DATABASE shop").await.unwrap();
    tokio::join!(
        the_newer_one_goes_on(&lab, "whole", 911, Delivery::Transactional),
        the_newer_one_goes_on(&lab, "numbered", 921, Delivery::Sequenced),
        fenced_by_nobody(&lab),
    );
    lab.down().await.unwrap();
}
