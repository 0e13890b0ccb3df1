//! A reader's lives, and what they published.

use super::consumer::{Seen, read_all};
use fixtures::Lab;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use mysync::config::{self, Config};
use mysync::error::Error;
use mysync::queue::kafka::KafkaQueue;
use mysync::reader::{self, Options, Summary};
use mysync::source::mysql::MySqlSource;
use mysync::source::{Source, preflight};
use mysync::stop;
use mysync::tables::TableFilter;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(60);

pub fn config(lab: &Lab, prefix: &str, tables: &[&str]) -> Config {
    config::parse(&lab.config_toml(prefix, tables), "test.toml").unwrap()
}

/// A reader's whole life: preflight, and all that the server has now.
pub async fn read(config: &Config) -> Result<Summary, Error> {
    let mut source = MySqlSource::new(config);
    preflight::require(&source.preflight().await?, config.reader.allow_unsafe)?;
    run(&mut source, config, true).await
}

async fn run(source: &mut MySqlSource, config: &Config, until_caught_up: bool) -> Result<Summary, Error> {
    let queue = KafkaQueue::new(config);
    let (_sender, stop) = stop::channel();
    let options = Options::new(config, until_caught_up);
    let filter = TableFilter::new(config);
    reader::run(source, &queue, &filter, &config.source.keys, &options, stop).await
}

/// A reader that goes on until it stops by itself, with an error, while `act` runs.
pub async fn read_while(config: &Config, act: impl Future<Output = ()>) -> Error {
    let mut source = MySqlSource::new(config);
    let both = async {
        let (outcome, ()) = tokio::join!(run(&mut source, config, false), act);
        outcome.unwrap_err()
    };
    tokio::time::timeout(DEADLINE, both)
        .await
        .expect("the reader stops with an error")
}

/// A reader that is gone without a word as soon as a topic has so many records.
pub async fn read_and_die(lab: &Lab, config: &Config, topic: &str, records: usize) {
    let mut source = MySqlSource::new(config);
    let deadline = Instant::now() + DEADLINE;
    let seen = async {
        while read_all(lab, topic).await.len() < records {
            assert!(
                Instant::now() < deadline,
                "{topic} has not {records} records in {DEADLINE:?}"
            );
        }
    };
    tokio::select! {
        outcome = run(&mut source, config, false) => panic!("the reader ended: {outcome:?}"),
        () = seen => {}
    }
}

/// A connection, so that session variables and XA transactions last.
pub async fn connect(lab: &Lab) -> Conn {
    lab.primary().unwrap().connect().await.unwrap()
}

pub async fn run_all(conn: &mut Conn, statements: &[&str]) {
    for statement in statements {
        if let Err(error) = conn.query_drop(*statement).await {
            panic!("{statement:.200}: {error}");
        }
    }
}

/// All records of a topic, in the order of their versions.
pub async fn published(lab: &Lab, topic: &str) -> Vec<Seen> {
    let mut seen = read_all(lab, topic).await;
    seen.sort_by_key(|record| (record.version, record.key.clone(), record.value.is_none()));
    seen
}

/// What a record says of the row: operation, before, after.
pub fn change(record: &Seen) -> (String, String) {
    let Some(value) = &record.value else {
        return (record.key.clone(), "tombstone".into());
    };
    let value: serde_json::Value = serde_json::from_str(value).unwrap();
    (
        record.key.clone(),
        format!("{} {} {}", value["op"], value["before"], value["after"]),
    )
}

/// The ids that were inserted, in the order of their versions, which must have no gap.
pub fn inserted(seen: &[Seen]) -> Vec<i64> {
    for pair in seen.windows(2) {
        assert_eq!(pair[0].version + 1, pair[1].version, "versions have no gap");
        assert!(origin(&pair[0]) < origin(&pair[1]), "places rise with versions");
    }
    let id = |record: &Seen| {
        let key: serde_json::Value = serde_json::from_str(&record.key).unwrap();
        key["id"].as_i64().unwrap()
    };
    seen.iter().map(id).collect()
}

/// File, event and row.
pub fn origin(record: &Seen) -> Vec<u64> {
    let header = record.headers.iter().find(|(name, _)| name == "mysync.origin").unwrap();
    header.1.split(':').map(|number| number.parse().unwrap()).collect()
}
