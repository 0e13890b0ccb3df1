//! The same workload on 5.6, 8.0 and 9.7 gives the same rows in Redis, byte for byte. Two of the servers are set up as old
//! installations are: not in UTC, without strictness, TIMESTAMPs that fill themselves, names in lower case; what their own
//! settings make of values arrives as it is, with the checker as the judge.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "servers/workload.rs"]
mod workload;

use chaos::pipeline;
use consistency::{Config, Options, Silent, Verdict, check};
use fixtures::Lab;
use redis::AsyncCommands;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;

const SEED: u64 = 20_261_125;
/// Longest time for reader or writer to catch up.
const DEADLINE: Duration = Duration::from_secs(90);

/// An old installation.
const OLD_SETTINGS: [&str; 4] = [
    "default-time-zone=+09:30",
    "sql-mode=",
    "explicit-defaults-for-timestamp=OFF",
    "lower-case-table-names=1",
];

/// Keys, fields and values.
type Rows = BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>;

/// A server's settings at work: names in any case, an hour of its own time zone, values that do not fit.
const OLD_STATEMENTS: [&str; 8] = [
    "CREATE DATABASE Odd CHARACTER SET utf8mb4",
    "CREATE TABLE Odd.MixedCase (Id INT PRIMARY KEY, Filled TIMESTAMP, Given TIMESTAMP(3) NULL, Day DATE, At DATETIME, \
     Short VARCHAR(3), Tiny TINYINT UNSIGNED, Kind ENUM('a','b'), Needed INT NOT NULL) CHARACTER SET utf8mb4",
    "INSERT INTO ODD.mixedcase VALUES (1, '2026-07-08 09:10:11', '2026-07-08 09:10:11.123', '2026-02-31', '2026-00-00', \
     'abcdef', 300, 'x', 1), (2, '0000-00-00', '1969-01-01 00:00:00', '0000-00-00', '0000-00-00 00:00:00', 'äöüß', -1, 'b', 2)",
    // NULL in a TIMESTAMP is the time, and what has no default gets one.
    "INSERT INTO odd.MIXEDCASE (Id, Filled) VALUES (3, NULL)",
    "INSERT INTO odd.MIXEDCASE (Id, Filled, Short) VALUES (4, '2026-01-01 00:00:00', 'x')",
    // Its first TIMESTAMP changes by itself.
    "UPDATE Odd.MixedCase SET Short = 'wxyz' WHERE ID = 4",
    // Rows that are there show NULL, and the stores have no field.
    "ALTER TABLE ODD.MixedCase ADD COLUMN Extra INT",
    "INSERT INTO Odd.MixedCase (Id, Filled, Extra) VALUES (5, '2026-12-31 23:59:59', 5)",
];

/// Row, column, text in Redis; none for NULL.
const OLD_EXPECTED: [(u32, &str, Option<&str>); 22] = [
    (1, "Filled", Some("2026-07-07T23:40:11Z")),
    (1, "Given", Some("2026-07-07T23:40:11.123Z")),
    (1, "Day", Some("0000-00-00")),
    (1, "At", Some("2026-00-00 00:00:00")),
    (1, "Short", Some("abc")),
    (1, "Tiny", Some("255")),
    (1, "Kind", Some("")),
    (1, "Extra", None),
    (2, "Filled", Some("0000-00-00T00:00:00Z")),
    (2, "Given", Some("0000-00-00T00:00:00.000Z")),
    (2, "Day", Some("0000-00-00")),
    (2, "At", Some("0000-00-00 00:00:00")),
    (2, "Short", Some("äöü")),
    (2, "Tiny", Some("0")),
    (2, "Kind", Some("b")),
    (3, "Given", None),
    (3, "Short", None),
    (3, "Needed", Some("0")),
    (4, "Short", Some("wxy")),
    (5, "Filled", Some("2026-12-31T14:29:59Z")),
    (5, "Extra", Some("5")),
    (5, "Id", Some("5")),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_same_workload_gives_the_same_rows_whatever_the_server() {
    let (old_56, old_80, new_97) = tokio::join!(
        rows_of("5.6", &OLD_SETTINGS),
        rows_of("8.0", &OLD_SETTINGS),
        rows_of("9.7", &[]),
    );
    for (version, rows) in [("5.6", &old_56), ("8.0", &old_80)] {
        for (id, column, expected) in OLD_EXPECTED {
            let row = &rows[&format!("odd:mixedcase:{id}")];
            let found = row
                .get(column.as_bytes())
                .map(|text| String::from_utf8(text.clone()).unwrap());
            assert_eq!(found.as_deref(), expected, "{version}, row {id}, {column}");
        }
        let filled = |id: u32| rows[&format!("odd:mixedcase:{id}")][&b"Filled"[..]].clone();
        assert!(
            filled(3) > b"2026".to_vec() && filled(4) != b"2025-12-31T14:30:00Z".to_vec(),
            "{version}"
        );
    }
    let common = |rows: &Rows| -> Rows {
        let of_workload = rows.iter().filter(|(key, _)| key.starts_with("common:"));
        of_workload.map(|(key, row)| (key.clone(), row.clone())).collect()
    };
    let expected = common(&new_97);
    assert!(expected.len() > 100, "the workload leaves rows: {}", expected.len());
    for (version, rows) in [("5.6", common(&old_56)), ("8.0", common(&old_80))] {
        assert_eq!(
            rows.keys().collect::<Vec<_>>(),
            expected.keys().collect::<Vec<_>>(),
            "{version}"
        );
        for (key, row) in &rows {
            assert_eq!(row, &expected[key], "{version} and 9.7, {key}");
        }
    }
}

/// What stands in Redis after the workload has gone through reader and writer, and the checker agrees with it.
async fn rows_of(version: &str, settings: &[&str]) -> Rows {
    let name = format!("servers-{}", version.replace('.', "-"));
    let builder = Lab::builder().name(name).mysql(version).brokers(1).redis();
    let builder = settings
        .iter()
        .fold(builder, |builder, option| builder.mysql_option(*option));
    let lab = builder.start().await.unwrap();
    let config = lab.folder().join("mysync.toml");
    std::fs::write(&config, lab.config_toml("servers", &["common.*", "odd.*"])).unwrap();
    if !settings.is_empty() {
        refuses_capitals(&lab, &config).await;
    }
    workload::run(&lab, SEED).await;
    if !settings.is_empty() {
        for statement in OLD_STATEMENTS {
            if let Err(error) = lab.primary().unwrap().sql(statement).await {
                panic!("{version}: {error}: {statement}");
            }
        }
    }
    for words in [&["reader"][..], &["writer", "redis"]] {
        catch_up(version, words, &config).await;
    }
    let no_fence = Options {
        fence: false,
        ..Options::default()
    };
    let checked = Config::parse(&std::fs::read_to_string(&config).unwrap(), "mysync.toml").unwrap();
    let report = check(&checked, &no_fence, &Silent).await.unwrap();
    assert_eq!(report.verdict, Verdict::Consistent, "{version}: {report:#?}");

    let mut connection = lab.redis().unwrap().connect().await.unwrap();
    let mut rows = Rows::new();
    for pattern in ["common:*", "odd:*"] {
        let keys: Vec<String> = connection.keys(pattern).await.unwrap();
        for key in keys {
            let row = connection.hgetall(&key).await.unwrap();
            rows.insert(key, row);
        }
    }
    rows
}

/// A pattern that no name of the server can match is no silence, but an error with the remedy.
async fn refuses_capitals(lab: &Lab, config: &Path) {
    let wrong = config.with_extension("wrong.toml");
    std::fs::write(&wrong, lab.config_toml("servers", &["Odd.*"])).unwrap();
    let mut command = Command::new(pipeline::binary().unwrap());
    let output = command
        .args(["reader", "--config"])
        .arg(wrong)
        .kill_on_drop(true)
        .output();
    let said = String::from_utf8(tokio::time::timeout(DEADLINE, output).await.unwrap().unwrap().stderr).unwrap();
    assert!(
        said.contains("source.tables: expected lower case") && said.contains("found Odd.*"),
        "{said}"
    );
}

/// Runs a process of the pipeline until it has caught up.
async fn catch_up(version: &str, words: &[&str], config: &Path) {
    let mut command = Command::new(pipeline::binary().unwrap());
    command
        .args(words)
        .arg("--config")
        .arg(config)
        .arg("--until-caught-up")
        .kill_on_drop(true);
    let output = tokio::time::timeout(DEADLINE, command.output()).await;
    let output = output
        .unwrap_or_else(|_| panic!("{version}: {words:?} is not caught up after {DEADLINE:?}"))
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{version}: {words:?}: {said}");
}
