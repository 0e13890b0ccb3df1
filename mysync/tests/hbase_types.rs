//! From MySQL to HBase: values of every type arrive as the texts that MySQL itself prints, a changed primary key leaves no old
//! row, a writer that is killed with -9 goes on, and a replay of everything changes nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/process.rs"]
mod process;
#[path = "hbase/store.rs"]
mod store;

use fixtures::Lab;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row as SqlRow};
use mysync::config::{self, Config};
use mysync::queue::kafka::KafkaQueue;
use mysync::reader::{self, Options};
use mysync::source::mysql::MySqlSource;
use mysync::stop;
use mysync::tables::TableFilter;
use mysync::writer::{self, Summary};
use process::Process;
use std::collections::BTreeMap;
use std::time::Duration;
use store::{client, drop_table, rows};

const STATEMENTS: &str = include_str!("../../chaos/tests/every_type.sql");

/// Tables, and the columns of their keys in the order of the key.
const TABLES: [(&str, &[&str]); 4] = [
    ("types.wide", &["id"]),
    ("types.pair", &["number", "code"]),
    ("types.bytes_key", &["id"]),
    ("types.busy", &["id"]),
];

const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn what_mysql_holds_arrives_in_hbase() {
    let lab = Lab::builder().mysql("8.0").brokers(1).hbase().start().await.unwrap();
    let text = lab.config_toml("p", &["types.*"]);
    let config = config::parse(&text, "test.toml").unwrap();
    let mut mysql = lab.primary().unwrap().connect().await.unwrap();
    mysql
        .query_drop("CREATE DATABASE types CHARACTER SET utf8mb4")
        .await
        .unwrap();
    for statement in STATEMENTS
        .split(";\n")
        .map(str::trim)
        .filter(|statement| !statement.is_empty())
    {
        mysql
            .query_drop(statement)
            .await
            .unwrap_or_else(|error| panic!("{error}: {statement}"));
    }
    mysql
        .query_drop("CREATE TABLE types.busy (id INT PRIMARY KEY, n INT, note VARCHAR(9))")
        .await
        .unwrap();
    mysql
        .query_drop("INSERT INTO types.busy VALUES (999, 0, NULL)")
        .await
        .unwrap();
    read(&config).await;
    let summary = write(&config).await;
    assert!(summary.changes > 10, "{summary}");
    arrived(&lab, &mut mysql).await;
    let wide = rows(&mut client(&lab), "types.wide");
    assert!(
        wide.contains_key("60") && !wide.contains_key("6"),
        "a changed primary key leaves no old row"
    );
    assert_eq!(wide["1"], store::row(&[("id", "1")]), "NULL is no cell");
    for (column, text) in [
        ("big_unsigned", "18446744073709551615"),
        ("single", "-3.4028235e38"),
        ("stamp_0", "2038-01-19T03:14:07Z"),
        ("bytes_fixed", "YWIAAAAAAAA="),
        ("text_tiny", ""),
        ("flags", "a,c,é"),
    ] {
        assert_eq!(wide["2"][column], text, "{column}");
    }

    // Keys that move and come back, while the writer is killed again and again.
    let path = std::env::temp_dir().join(format!("mysync-{}-types.toml", std::process::id()));
    std::fs::write(&path, &text).unwrap();
    let file = path.display().to_string();
    for round in 0..4 {
        for id in 0..60 {
            let note = if (id + round) % 3 == 0 {
                "NULL".into()
            } else {
                format!("'{id}'")
            };
            mysql
                .query_drop(format!("REPLACE INTO types.busy VALUES ({id}, {round}, {note})"))
                .await
                .unwrap();
        }
        let moved = 100 * (round + 1);
        mysql
            .query_drop(format!(
                "UPDATE types.busy SET id = id + {moved} WHERE id % 7 = 0 AND id < 100"
            ))
            .await
            .unwrap();
        mysql
            .query_drop("DELETE FROM types.busy WHERE id % 11 = 5")
            .await
            .unwrap();
        let writer = Process::start("types", &["writer", "hbase", "--config", &file], "mysync=info");
        read(&config).await;
        process::wait_until("the writer has begun", || {
            writer.stderr().contains("partitions assigned").then_some(())
        });
        writer.kill();
    }
    write(&config).await;
    arrived(&lab, &mut mysql).await;

    // The whole topic once more over the filled store.
    drop_table(&mut client(&lab), "mysync-cursors");
    let again = write(&config).await;
    assert!(again.records > summary.records, "{again}");
    arrived(&lab, &mut mysql).await;
    std::fs::remove_file(path).unwrap();
    lab.down().await.unwrap();
}

/// A reader's whole life: all that the server has now.
async fn read(config: &Config) {
    let (_sender, stop) = stop::channel();
    let (mut source, queue) = (MySqlSource::new(config), KafkaQueue::new(config));
    let (filter, options) = (TableFilter::new(config), Options::new(config, true));
    reader::run(&mut source, &queue, &filter, &config.source.keys, &options, stop)
        .await
        .unwrap();
}

async fn write(config: &Config) -> Summary {
    let run = writer::run_hbase(config, true, std::sync::Arc::default(), std::future::pending());
    tokio::time::timeout(DEADLINE, run)
        .await
        .expect("the writer did not catch up in time")
        .unwrap()
}

async fn arrived(lab: &Lab, mysql: &mut Conn) {
    for (table, key) in TABLES {
        let (expected, found) = (in_mysql(mysql, table, key).await, rows(&mut client(lab), table));
        assert!(!expected.is_empty(), "{table}");
        let (keys, wanted): (Vec<_>, Vec<_>) = (found.keys().collect(), expected.keys().collect());
        assert_eq!(keys, wanted, "{table}");
        for (key, row) in &expected {
            for (column, text) in row {
                let found = found[key].get(column);
                assert!(
                    found.is_some_and(|found| is_same(found, text)),
                    "{table} {key} {column}: {found:?}, not {text:?}"
                );
            }
            assert_eq!(found[key].len(), row.len(), "{table} {key}: {:?}", found[key].keys());
        }
    }
}

/// A text, or a number that must be the same in all of its bits.
#[derive(Debug)]
enum Expected {
    Text(String),
    Single(f64),
    Double(f64),
}

fn is_same(found: &str, expected: &Expected) -> bool {
    match expected {
        Expected::Text(text) => found == text,
        Expected::Single(number) => found
            .parse::<f32>()
            .is_ok_and(|found| f64::from(found).to_bits() == number.to_bits()),
        Expected::Double(number) => found
            .parse::<f64>()
            .is_ok_and(|found| found.to_bits() == number.to_bits()),
    }
}

/// All rows of a table as MySQL prints them, in the canonical form of docs/types.md, by their keys.
async fn in_mysql(mysql: &mut Conn, table: &str, key: &[&str]) -> BTreeMap<String, BTreeMap<String, Expected>> {
    mysql.query_drop("SET time_zone = '+00:00'").await.unwrap();
    let (database, name) = table.split_once('.').unwrap();
    let columns: Vec<(String, String)> = mysql
        .query(format!(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = '{database}' AND table_name = '{name}'"
        ))
        .await
        .unwrap();
    let texts: Vec<String> = columns
        .iter()
        .map(|(name, data_type)| as_text(name, data_type))
        .collect();
    let found: Vec<SqlRow> = mysql
        .query(format!("SELECT {} FROM {table}", texts.join(", ")))
        .await
        .unwrap();
    let mut rows = BTreeMap::new();
    for row in found {
        let texts: Vec<Option<String>> = (0..columns.len()).map(|index| row.get(index).unwrap()).collect();
        let of = |wanted: &str| columns.iter().position(|(name, _)| name == wanted).unwrap();
        let parts: Vec<String> = key.iter().map(|name| texts[of(name)].clone().unwrap()).collect();
        let key = match parts.as_slice() {
            [text] if text.is_empty() => "%empty".into(),
            [text] => text.clone(),
            parts => parts
                .iter()
                .map(|part| part.replace('%', "%25").replace(':', "%3A"))
                .collect::<Vec<_>>()
                .join(":"),
        };
        let mut expected = BTreeMap::new();
        for ((name, data_type), text) in columns.iter().zip(texts) {
            if let Some(text) = text {
                let value = match data_type.as_str() {
                    "float" => Expected::Single(text.parse().unwrap()),
                    "double" => Expected::Double(text.parse().unwrap()),
                    _ => Expected::Text(text),
                };
                expected.insert(name.clone(), value);
            }
        }
        rows.insert(key, expected);
    }
    rows
}

fn as_text(name: &str, data_type: &str) -> String {
    let base64 = |bytes: &str| format!("REPLACE(TO_BASE64({bytes}), '\\n', '')");
    match data_type {
        "bit" | "year" => format!("CAST({name} + 0 AS CHAR)"),
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => base64(name),
        "timestamp" => format!("CONCAT(REPLACE(CAST({name} AS CHAR), ' ', 'T'), 'Z')"),
        // Without a cast to CHAR, which drops digits.
        "float" => format!("CAST({name} AS DOUBLE)"),
        "double" => name.to_owned(),
        "geometry" | "point" => {
            let wkb = base64(&format!("UNHEX(SUBSTRING(HEX({name}), 9))"));
            format!("CONCAT('{{\"srid\":', ST_SRID({name}), ',\"wkb\":\"', {wkb}, '\"}}')")
        }
        _ => format!("CAST({name} AS CHAR)"),
    }
}
