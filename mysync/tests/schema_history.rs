//! Servers that do not describe their tables in the binlog: DDL of each kind while rows are written, followed live and from
//! a backlog, with restarts in between; every value that arrives has the name and the text that the server itself gave it.
//! Needs Docker and the lab's images; without them it fails with the remedy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "reader/consumer.rs"]
#[allow(dead_code)] // another test uses the rest
mod consumer;
#[path = "schema_history/script.rs"]
mod script;

use consumer::read_all;
use fixtures::Lab;
use mysync::config::{self, Config};
use mysync::error::{Error, Kind};
use mysync::queue::kafka::KafkaQueue;
use mysync::reader::{self, Options};
use mysync::source::mysql::MySqlSource;
use mysync::source::{Source, preflight};
use mysync::stop;
use mysync::tables::TableFilter;
use script::{Expected, Script};
use std::collections::BTreeMap;

fn config(lab: &Lab, prefix: &str, tables: &[&str]) -> Config {
    let text = lab.config_toml(prefix, tables);
    let mut config = config::parse(&text, "test.toml").unwrap();
    config.reader.on_ddl = config::OnDdl::Ignore;
    config
}

/// A reader's whole life: preflight, and all that the server has now.
async fn read(config: &Config) -> Result<(), Error> {
    let mut source = MySqlSource::new(config);
    preflight::require(&source.preflight().await?, config.reader.allow_unsafe)?;
    let queue = KafkaQueue::new(config);
    let (_sender, stop) = stop::channel();
    let options = Options::new(config, true);
    let filter = TableFilter::new(config);
    reader::run(&mut source, &queue, &filter, &config.source.keys, &options, stop).await?;
    Ok(())
}

/// What stands in the topics of `expected`, in the same form.
async fn arrived(lab: &Lab, prefix: &str, expected: &Expected) -> Expected {
    let mut arrived = Expected::new();
    for table in expected.keys() {
        let mut records = read_all(lab, &format!("{prefix}.{table}")).await;
        records.sort_by_key(|record| record.version);
        let rows = records.iter().filter_map(|record| {
            let envelope: BTreeMap<String, Box<serde_json::value::RawValue>> =
                serde_json::from_str(record.value.as_ref()?).unwrap();
            let after = envelope["after"].get();
            (after != "null").then(|| script::columns_of_json(after))
        });
        arrived.insert(table.clone(), rows.collect());
    }
    arrived
}

/// Follows the script in several ways and compares what arrives.
async fn follows(version: &str, gtid: bool) {
    let lab = Lab::builder()
        .name("schema")
        .mysql(version)
        .mysql_option("loose-binlog-row-metadata=MINIMAL")
        .gtid(gtid)
        .brokers(1)
        .start()
        .await
        .unwrap();
    let script = Script::of(version);
    let live = config(&lab, "live", &["shop.t", "shop.u", "shop.s*"]);
    let mut expected = Expected::new();
    for (index, step) in script.exact.iter().enumerate() {
        script::run(&lab, step, &mut expected).await;
        // Restarted now and then, so that several statements come at once, or one.
        if index % 11 == 5 {
            read(&live).await.unwrap();
        }
    }
    read(&live).await.unwrap();
    assert_eq!(arrived(&lab, "live", &expected).await, expected, "live");

    // The same from the beginning, though the server shows only how it ended.
    let backlog = config(&lab, "backlog", &["shop.*"]);
    read(&backlog).await.unwrap();
    assert_eq!(arrived(&lab, "backlog", &expected).await, expected, "from a backlog");

    // Statements of which only the server knows what they made: followed live.
    let mut looked_up = Expected::new();
    for step in &script.looked_up {
        script::run(&lab, step, &mut looked_up).await;
        if step.starts_with("INSERT") {
            read(&live).await.unwrap();
        }
    }
    assert_eq!(arrived(&lab, "live", &looked_up).await, looked_up, "looked up");

    // From a backlog in which there are two of them for one table, nothing is guessed.
    let error = read(&backlog).await.unwrap_err();
    assert_eq!(error.kind, Kind::Definite, "{error}");
    assert_eq!(error.what, "the columns of a table are not known: shop.s", "{error}");
    let detail = error.detail.clone().unwrap();
    assert!(
        detail.contains("a later statement is about it") && detail.contains("at binlog.0"),
        "{error}"
    );
    assert!(error.hint.unwrap().contains("kafka.prefix"));

    // A reader that begins now finds the tables as they are now.
    let mut newest = config(&lab, "newest", &["shop.*"]);
    newest.reader.start = config::Start::Newest;
    read(&newest).await.unwrap();
    let mut expected = Expected::new();
    script::run(&lab, &script.after, &mut expected).await;
    read(&newest).await.unwrap();
    assert_eq!(arrived(&lab, "newest", &expected).await, expected, "newest");

    // What was done behind the binlog's back shows in the Table_map, or the reader could not tell.
    for statement in [
        "SET sql_log_bin = 0; ALTER TABLE shop.t ADD COLUMN unseen INT",
        "INSERT INTO shop.t (k) VALUES ('last')",
    ] {
        lab.primary().unwrap().sql(statement).await.unwrap();
    }
    let error = read(&newest).await.unwrap_err();
    assert_eq!(
        error.what, "a table in the binlog is not as the schema history knows it: shop.t",
        "{error}"
    );
    assert!(
        error
            .detail
            .unwrap()
            .contains("3 columns instead of 2: k, v; at binlog.0")
    );
}

#[tokio::test]
async fn mysql_5_6_is_followed_by_statements_and_information_schema() {
    follows("5.6", false).await;
}

#[tokio::test]
async fn minimal_metadata_is_followed_by_statements_and_information_schema() {
    follows("8.0", true).await;
}
