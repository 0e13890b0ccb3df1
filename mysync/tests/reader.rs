//! The reader on real servers: resumed by GTID and by file and offset, the messages and the topics that it makes, and what
//! it refuses. Needs Docker and the lab's images; without them it fails with the remedy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "reader/consumer.rs"]
mod consumer;

use consumer::{Seen, murmur2, read_all};
use fixtures::Lab;
use mysync::config::{self, Config};
use mysync::error::{Error, Kind};
use mysync::queue::kafka::KafkaQueue;
use mysync::reader::{self, Options, Summary};
use mysync::source::mysql::MySqlSource;
use mysync::source::{Source, preflight};
use mysync::stop;
use mysync::tables::TableFilter;

async fn lab(gtid: bool) -> Lab {
    Lab::builder().mysql("8.0").gtid(gtid).brokers(1).start().await.unwrap()
}

fn config(lab: &Lab, prefix: &str, tables: &[&str], more: &str) -> Config {
    let text = format!("{}\n{more}", lab.config_toml(prefix, tables));
    config::parse(&text, "test.toml").unwrap()
}

/// A reader's whole life: preflight, and all that the server has now.
async fn read(config: &Config) -> Result<Summary, Error> {
    let mut source = MySqlSource::new(config);
    preflight::require(&source.preflight().await?, config.reader.allow_unsafe)?;
    let queue = KafkaQueue::new(config);
    let (_sender, stop) = stop::channel();
    let options = Options::new(config, true);
    reader::run(
        &mut source,
        &queue,
        &TableFilter::new(config),
        &config.source.keys,
        &options,
        stop,
    )
    .await
}

async fn sql(lab: &Lab, statements: &[&str]) {
    for statement in statements {
        lab.primary().unwrap().sql(statement).await.unwrap();
    }
}

fn ids(seen: &[Seen]) -> Vec<String> {
    seen.iter().map(|record| record.key.clone()).collect()
}

/// Each life begins exactly where the one before ended, over a rotation and a restart of the server too.
async fn resumes_exactly(gtid: bool) {
    let lab = lab(gtid).await;
    let config = config(&lab, "resume", &["shop.*"], "");
    sql(
        &lab,
        &[
            "CREATE DATABASE shop",
            "CREATE TABLE shop.a (id INT PRIMARY KEY, v INT)",
            "INSERT INTO shop.a VALUES (1, 1), (2, 2)",
        ],
    )
    .await;
    assert_eq!(read(&config).await.unwrap().changes, 2);
    assert_eq!(read(&config).await.unwrap().changes, 0);
    sql(
        &lab,
        &[
            "INSERT INTO shop.a VALUES (3, 3)",
            "FLUSH BINARY LOGS",
            "INSERT INTO shop.a VALUES (4, 4)",
        ],
    )
    .await;
    assert_eq!(read(&config).await.unwrap().changes, 2);
    lab.primary().unwrap().kill().await.unwrap();
    lab.primary().unwrap().start().await.unwrap();
    sql(&lab, &["UPDATE shop.a SET v = 9 WHERE id = 1"]).await;
    assert_eq!(read(&config).await.unwrap().changes, 1);

    let mut seen = read_all(&lab, "resume.shop.a").await;
    for record in &seen {
        let partition = (murmur2(record.key.as_bytes()) & 0x7fff_ffff) % 3;
        assert_eq!(record.partition, i32::try_from(partition).unwrap(), "{}", record.key);
    }
    seen.sort_by_key(|record| record.version);
    assert_eq!(ids(&seen), [1, 2, 3, 4, 1].map(|id| format!("{{\"id\":{id}}}")));
    let first = mysync::version::Version::FIRST.as_i64();
    assert_eq!(
        seen.iter().map(|record| record.version).collect::<Vec<_>>(),
        (first..first + 5).collect::<Vec<_>>()
    );

    // A server that was reset uses the same names again, and is found out.
    let reset = if gtid { "RESET MASTER" } else { "RESET MASTER TO 1" };
    sql(
        &lab,
        &[
            reset,
            "INSERT INTO shop.a VALUES (10, 10), (11, 11)",
            "INSERT INTO shop.a VALUES (12, 12)",
        ],
    )
    .await;
    sql(
        &lab,
        &[
            "FLUSH BINARY LOGS",
            "FLUSH BINARY LOGS",
            "INSERT INTO shop.a VALUES (13, 13)",
        ],
    )
    .await;
    // Once with fewer transactions than were published before, and once with the GTIDs of all of them used again.
    for id in [20, 30] {
        let error = read(&config).await.unwrap_err();
        assert_eq!(error.kind, Kind::Definite, "{error}");
        assert!(error.hint.is_some_and(|hint| hint.contains("anew")));
        for id in id..id + 10 {
            sql(&lab, &[&format!("INSERT INTO shop.a VALUES ({id}, {id})")]).await;
        }
    }
    let error = read(&config).await.unwrap_err();
    assert!(
        error.what.contains("is not the one that the checkpoint was taken in"),
        "{error}"
    );
    assert_eq!(read_all(&lab, "resume.shop.a").await.len(), 5);
}

#[tokio::test]
async fn resumes_exactly_by_gtid() {
    resumes_exactly(true).await;
}

#[tokio::test]
async fn resumes_exactly_by_file_and_offset() {
    resumes_exactly(false).await;
}

#[tokio::test]
async fn messages_are_debezium_envelopes() {
    let lab = lab(true).await;
    let config = config(&lab, "form", &["shop.*"], "");
    sql(
        &lab,
        &[
            "CREATE DATABASE shop",
            "CREATE TABLE shop.`a$b` (id INT, part VARCHAR(10), name VARCHAR(20), PRIMARY KEY (part, id)) CHARACTER SET utf8mb4",
            "INSERT INTO shop.`a$b` VALUES (1, 'x', 'ü\"')",
            "UPDATE shop.`a$b` SET name = NULL",
            "UPDATE shop.`a$b` SET id = 2",
            "DELETE FROM shop.`a$b`",
        ],
    )
    .await;
    read(&config).await.unwrap();
    let mut seen = read_all(&lab, "form.shop.a_b").await;
    seen.sort_by_key(|record| (record.version, record.key.clone(), record.value.is_none()));
    let text: Vec<String> = seen.iter().map(Seen::stable_text).collect();
    insta::assert_snapshot!(text.join("\n\n"));
}

#[tokio::test]
async fn a_table_without_a_key_is_refused_unless_one_is_configured() {
    let lab = lab(true).await;
    sql(
        &lab,
        &[
            "CREATE DATABASE shop",
            "CREATE TABLE shop.log (at INT NOT NULL, line INT NOT NULL, note TEXT)",
        ],
    )
    .await;
    sql(&lab, &["INSERT INTO shop.log VALUES (1, 2, 'a')"]).await;
    let error = read(&config(&lab, "keyless", &["shop.*"], "")).await.unwrap_err();
    assert!(error.detail.unwrap().contains("none in shop.log"));
    assert!(error.hint.is_some());
    let keys = |columns: &str| format!("[source.keys]\n\"shop.log\" = [{columns}]\n");
    let error = read(&config(&lab, "nullable", &["shop.*"], &keys("\"at\", \"note\"")))
        .await
        .unwrap_err();
    assert!(
        error.what.contains("a column that can be NULL: shop.log.note"),
        "{error}"
    );
    read(&config(&lab, "keyed", &["shop.*"], &keys("\"line\", \"at\"")))
        .await
        .unwrap();
    assert_eq!(ids(&read_all(&lab, "keyed.shop.log").await), ["{\"line\":2,\"at\":1}"]);

    // Topics without the checkpoint of the reader that wrote them: versions would begin again.
    let mut other = config(&lab, "keyed", &["shop.*"], &keys("\"line\", \"at\""));
    other.reader.name = "other".into();
    let error = read(&other).await.unwrap_err();
    assert!(error.what.contains("but no checkpoint of reader other"), "{error}");
}

#[tokio::test]
async fn unsafe_settings_are_refused_with_the_fix() {
    let lab = Lab::builder()
        .mysql("8.0")
        .mysql_option("binlog_row_image=MINIMAL")
        .brokers(1)
        .start()
        .await
        .unwrap();
    let mut strict = config(&lab, "unsafe", &["*.*"], "");
    strict.reader.allow_unsafe = false;
    let error = read(&strict).await.unwrap_err();
    assert_eq!(error.kind, Kind::Definite);
    assert!(
        error
            .detail
            .unwrap()
            .contains("fix: SET PERSIST binlog_row_image = FULL")
    );
    let checks = KafkaQueue::new(&strict).preflight().await.unwrap();
    let error = preflight::require(&checks, false).unwrap_err();
    assert!(
        error
            .detail
            .unwrap()
            .contains("kafka.replication_factor: expected 3 or more, found 1")
    );
    let mut wrong = strict.clone();
    wrong.source.password = config::Secret::new("not-the-password");
    let error = read(&wrong).await.unwrap_err();
    assert_eq!(error.kind, Kind::Definite);
    assert!(!error.to_string().contains("not-the-password"), "{error}");
}
