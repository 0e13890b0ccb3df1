//! Rows that change without row events, on real servers: by statements (`reader.on_ddl`) and by foreign keys
//! (`reader.on_cascade`). Needs Docker and the lab's images; without them it fails with the remedy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "reader/consumer.rs"]
#[allow(dead_code)] // another test uses the rest
mod consumer;

use consumer::read_all;
use fixtures::Lab;
use mysync::config::{self, Config, OnCascade, OnDdl};
use mysync::error::{Error, Kind};
use mysync::queue::Queue;
use mysync::queue::kafka::KafkaQueue;
use mysync::reader::{self, Options};
use mysync::source::mysql::MySqlSource;
use mysync::source::{Source, preflight};
use mysync::stop;
use mysync::tables::TableFilter;

async fn lab(version: &str, options: &[&str]) -> Lab {
    let builder = Lab::builder().name("ddl").mysql(version).brokers(1);
    let builder = options
        .iter()
        .fold(builder, |builder, option| builder.mysql_option(*option));
    builder.start().await.unwrap()
}

fn config(lab: &Lab, prefix: &str, tables: &[&str]) -> Config {
    config::parse(&lab.config_toml(prefix, tables), "test.toml").unwrap()
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

async fn sql(lab: &Lab, statements: &[&str]) {
    for statement in statements {
        lab.primary().unwrap().sql(statement).await.unwrap();
    }
}

/// Keys and values of an internal topic, without what differs from run to run.
async fn stored(config: &Config, topic: &str) -> Vec<String> {
    let mut scan = KafkaQueue::new(config).scan(topic, 0).await.unwrap();
    let mut records = Vec::new();
    while let Some(record) = scan.next().await.unwrap() {
        let mut value: serde_json::Value = serde_json::from_slice(&record.value.unwrap()).unwrap();
        assert!(value["offset"].as_u64().unwrap() > 4);
        value["offset"] = "<offset>".into();
        value["file"] = "<file>".into();
        records.push(format!("{} {value}", String::from_utf8(record.key).unwrap()));
    }
    records
}

/// The operations in a table's topic, in order, each with its key.
async fn operations(lab: &Lab, topic: &str) -> Vec<String> {
    let mut records = read_all(lab, topic).await;
    records.retain(|record| record.value.is_some());
    records.sort_by_key(|record| record.version);
    let operation = |value: &str| serde_json::from_str::<serde_json::Value>(value).unwrap()["op"].to_string();
    records
        .iter()
        .map(|record| format!("{} {}", operation(record.value.as_ref().unwrap()), record.key))
        .collect()
}

#[tokio::test]
async fn statements_that_change_rows_stop_the_reader_or_are_published_and_marked() {
    let lab = lab("8.0", &[]).await;
    sql(
        &lab,
        &[
            "CREATE DATABASE shop",
            "CREATE TABLE shop.t (id INT PRIMARY KEY, a INT)",
            "INSERT INTO shop.t VALUES (1, 1)",
            "ALTER TABLE shop.t ADD COLUMN harmless INT, ADD INDEX (a)",
            "INSERT INTO shop.t VALUES (2, 2, 2)",
            "ALTER TABLE shop.t ADD COLUMN b INT NOT NULL DEFAULT 5",
            "INSERT INTO shop.t VALUES (3, 3, 3, 3)",
            "TRUNCATE shop.t",
            "RENAME TABLE shop.t TO shop.u",
            "INSERT INTO shop.u VALUES (4, 4, 4, 4)",
            "DROP DATABASE shop",
            "CREATE DATABASE brief",
            "CREATE TABLE brief.t (id INT PRIMARY KEY)",
            "INSERT INTO brief.t VALUES (5)",
            "DROP DATABASE brief",
        ],
    )
    .await;
    let mut config = config(&lab, "policy", &["shop.*", "brief.*"]);
    let error = read(&config).await.unwrap_err();
    assert_eq!(error.kind, Kind::Definite);
    assert_eq!(error.what, "a statement changes rows without row events: shop.t");
    let detail = error.detail.unwrap();
    assert!(
        detail.contains("ADD COLUMN b") && detail.contains("at binlog.0"),
        "{detail}"
    );
    assert!(error.hint.unwrap().contains("on_ddl"));

    config.reader.on_ddl = OnDdl::Refresh;
    read(&config).await.unwrap();
    read(&config).await.unwrap();
    // The table was read anew: it is not there any more, so its rows went.
    let mut found = operations(&lab, "policy.shop.t").await;
    found[3..].sort();
    let ids = ["{\"id\":1}", "{\"id\":2}", "{\"id\":3}"];
    let expected: Vec<String> = ["\"c\"", "\"d\""]
        .iter()
        .flat_map(|op| ids.map(|id| format!("{op} {id}")))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(
        operations(&lab, "policy.shop.u").await,
        ["\"c\" {\"id\":4}", "\"d\" {\"id\":4}"]
    );
    // Its first record was not committed yet when the statement came.
    assert_eq!(
        operations(&lab, "policy.brief.t").await,
        ["\"c\" {\"id\":5}", "\"d\" {\"id\":5}"]
    );
    let published = stored(&config, "ddl").await;
    insta::assert_snapshot!(published.join("\n"));

    config.kafka.prefix = "ignored".into();
    config.reader.on_ddl = OnDdl::Ignore;
    read(&config).await.unwrap();
    let ignored = stored(&config, "ddl").await;
    assert_eq!(ignored.len(), published.len());
    assert!(
        ignored.iter().all(|record| record.contains("\"policy\":\"ignore\"")),
        "{ignored:?}"
    );
}

const PARENT: &str = "CREATE TABLE shop.parent (id INT PRIMARY KEY, grand INT)";
const CHILD: &str = "CREATE TABLE shop.child (id INT PRIMARY KEY, parent INT, \
     CONSTRAINT to_parent FOREIGN KEY (parent) REFERENCES shop.parent (id) ON DELETE CASCADE)";
const GRANDCHILD: &str = "CREATE TABLE shop.grandchild (id INT PRIMARY KEY, child INT, \
     CONSTRAINT to_child FOREIGN KEY (child) REFERENCES shop.child (id) ON UPDATE CASCADE ON DELETE SET NULL)";

async fn refuses_cascades(version: &str, options: &[&str]) {
    let lab = lab(version, options).await;
    sql(
        &lab,
        &[
            "CREATE DATABASE shop CHARACTER SET latin1",
            PARENT,
            "CREATE TABLE shop.plain (id INT PRIMARY KEY, parent INT, FOREIGN KEY (parent) REFERENCES shop.parent (id))",
        ],
    )
    .await;
    // The parent is not followed: its children's rows change all the same.
    let mut config = config(&lab, "cascade", &["shop.plain", "shop.*child"]);
    config.reader.on_ddl = OnDdl::Ignore;
    read(&config).await.unwrap();

    // Added while the reader runs: it stops there, with the table and the statement.
    let mut source = MySqlSource::new(&config);
    let facts = source.facts().await.unwrap();
    assert!(!facts.logs_cascades);
    sql(&lab, &[CHILD, GRANDCHILD]).await;
    let error = run(&config).await.unwrap_err();
    assert_eq!(
        error.what, "a foreign key changes rows that this server does not log",
        "{error}"
    );
    let detail = error.detail.unwrap();
    assert!(
        detail.starts_with("shop.child: CREATE TABLE shop.child") && detail.contains("at binlog.0"),
        "{detail}"
    );
    assert!(error.hint.unwrap().contains("on_cascade"));

    // At the start.
    let error = read(&config).await.unwrap_err();
    let detail = error.detail.unwrap();
    for named in [
        "shop.child constraint to_parent on shop.parent ON DELETE CASCADE",
        "shop.grandchild constraint to_child on shop.child ON DELETE SET NULL, ON UPDATE CASCADE",
        "on_cascade",
    ] {
        assert!(detail.contains(named), "{named}: {detail}");
    }
    assert!(!detail.contains("shop.plain"), "{detail}");

    // Ignored, the reader goes on, and the child's delete is not in its topic: that is what refusing is for.
    config.reader.on_cascade = OnCascade::Ignore;
    sql(
        &lab,
        &[
            "INSERT INTO shop.parent VALUES (1, 1)",
            "INSERT INTO shop.child VALUES (10, 1)",
            "DELETE FROM shop.parent",
        ],
    )
    .await;
    read(&config).await.unwrap();
    assert_eq!(
        lab.primary()
            .unwrap()
            .value("SELECT COUNT(*) FROM shop.child")
            .await
            .unwrap(),
        "0"
    );
    assert_eq!(operations(&lab, "cascade.shop.child").await, ["\"c\" {\"id\":10}"]);

    // A table that brings its foreign key along under a followed name.
    config.reader.on_cascade = OnCascade::Refuse;
    config.source.tables = vec!["shop.renamed".into()];
    let hidden = CHILD
        .replace("shop.child", "shop.hidden")
        .replace("to_parent", "of_hidden");
    sql(&lab, &[&hidden]).await;
    read(&config).await.unwrap();
    sql(&lab, &["RENAME TABLE shop.hidden TO shop.renamed"]).await;
    let error = run(&config).await.unwrap_err();
    let detail = error.detail.unwrap();
    assert!(
        detail.starts_with("shop.renamed constraint of_hidden on shop.parent ON DELETE CASCADE"),
        "{detail}"
    );
}

/// Without the preflight, as if the reader had been running already.
async fn run(config: &Config) -> Result<(), Error> {
    let queue = KafkaQueue::new(config);
    let (_sender, stop) = stop::channel();
    let options = Options::new(config, true);
    let filter = TableFilter::new(config);
    let mut source = MySqlSource::new(config);
    reader::run(&mut source, &queue, &filter, &config.source.keys, &options, stop).await?;
    Ok(())
}

#[tokio::test]
async fn cascades_are_refused_on_5_6() {
    refuses_cascades("5.6", &[]).await;
}

#[tokio::test]
async fn cascades_are_refused_on_8_0() {
    refuses_cascades("8.0", &[]).await;
}

#[tokio::test]
async fn cascades_are_refused_on_9_7_that_leaves_them_to_innodb() {
    refuses_cascades("9.7", &["innodb-native-foreign-keys=ON"]).await;
}

async fn follows_cascades(version: &str) {
    let lab = lab(version, &[]).await;
    sql(
        &lab,
        &[
            "CREATE DATABASE shop CHARACTER SET latin1",
            PARENT,
            CHILD,
            GRANDCHILD,
            "INSERT INTO shop.parent VALUES (1, 1), (2, 1), (3, 1)",
            "INSERT INTO shop.child VALUES (10, 1), (20, 2), (30, 3)",
            "INSERT INTO shop.grandchild VALUES (100, 10), (200, 20), (300, 30)",
        ],
    )
    .await;
    // The parent is not followed.
    let mut config = config(&lab, "follow", &["shop.*child"]);
    config.reader.on_cascade = OnCascade::Follow;
    read(&config).await.unwrap();
    sql(
        &lab,
        &[
            "UPDATE shop.parent SET grand = 2 WHERE id = 3",
            "INSERT INTO shop.child VALUES (11, 1)",
            "INSERT INTO shop.grandchild VALUES (110, 11)",
            "DELETE FROM shop.parent WHERE id = 1",
            "UPDATE shop.child SET id = 21 WHERE id = 20",
        ],
    )
    .await;
    read(&config).await.unwrap();
    let child = last_rows(&lab, "follow.shop.child").await;
    assert_eq!(child, ["{\"id\":21,\"parent\":2}", "{\"id\":30,\"parent\":3}"]);
    let grandchild = last_rows(&lab, "follow.shop.grandchild").await;
    let expected = [
        "{\"child\":21,\"id\":200}",
        "{\"child\":30,\"id\":300}",
        "{\"child\":null,\"id\":100}",
        "{\"child\":null,\"id\":110}",
    ];
    assert_eq!(grandchild, expected);
    // A foreign key that is gone has done its work before.
    sql(
        &lab,
        &[
            "DELETE FROM shop.parent WHERE id = 3",
            "ALTER TABLE shop.child DROP FOREIGN KEY to_parent",
            "INSERT INTO shop.child VALUES (40, 4)",
        ],
    )
    .await;
    read(&config).await.unwrap();
    let child = last_rows(&lab, "follow.shop.child").await;
    assert_eq!(child, ["{\"id\":21,\"parent\":2}", "{\"id\":40,\"parent\":4}"]);
}

/// The rows that a topic's last records leave.
async fn last_rows(lab: &Lab, topic: &str) -> Vec<String> {
    let mut rows = std::collections::BTreeMap::new();
    for record in read_all(lab, topic).await {
        let value = record
            .value
            .map(|value| serde_json::from_str::<serde_json::Value>(&value).unwrap());
        rows.insert(record.key, value.map(|value| value["after"].to_string()));
    }
    let mut rows: Vec<String> = rows.into_values().flatten().collect();
    rows.sort();
    rows
}

#[tokio::test]
async fn cascades_are_followed_where_they_are_not_logged() {
    follows_cascades("8.0").await;
    follows_cascades("5.6").await;
}

#[tokio::test]
async fn cascades_are_followed_on_9_7() {
    let lab = lab("9.7", &[]).await;
    sql(
        &lab,
        &[
            "CREATE DATABASE shop",
            PARENT,
            CHILD,
            GRANDCHILD,
            "INSERT INTO shop.parent VALUES (1, 1)",
            "INSERT INTO shop.child VALUES (10, 1)",
            "INSERT INTO shop.grandchild VALUES (100, 10)",
            "UPDATE shop.child SET id = 11",
            "DELETE FROM shop.parent",
        ],
    )
    .await;
    let config = config(&lab, "cascade", &["shop.*child"]);
    read(&config).await.unwrap();
    assert_eq!(
        operations(&lab, "cascade.shop.grandchild").await,
        ["\"c\" {\"id\":100}", "\"u\" {\"id\":100}", "\"u\" {\"id\":100}"],
        "inserted, given its parent's new key, and none"
    );
    assert_eq!(
        operations(&lab, "cascade.shop.child").await.last().unwrap(),
        "\"d\" {\"id\":11}"
    );
}
