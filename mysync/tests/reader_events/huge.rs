//! One transaction of very many rows, plain and compressed, and one row of very many bytes: the reader's memory stays within
//! its bound beside the largest row. `MYSYNC_HUGE_ROWS` and `MYSYNC_HUGE_ROW_MB` give sizes that a test run has no time for.

use super::life::{connect, run_all};
use fixtures::Lab;
use mysql_async::prelude::Queryable;
use std::process::Command;

/// Resident memory of the reader beside its largest row, MB.
const BESIDE_LARGEST_ROW_MB_MAX: u64 = 200;

fn size(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |value| value.parse().expect(name))
}

/// The reader as a process of its own, for its memory is asked for. Gives changes and MB.
fn read_as_a_process(lab: &Lab, prefix: &str) -> (u64, u64) {
    let path = lab.folder().join(format!("{prefix}.toml"));
    std::fs::write(&path, lab.config_toml(prefix, &["huge.*"])).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_mysync"))
        .args(["reader", "--until-caught-up", "--config"])
        .arg(&path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    println!("{prefix}: {said}");
    let number = |before: &str, after: &str| {
        let begin = said.find(before).unwrap() + before.len();
        let rest = &said[begin..];
        rest[..rest.find(after).unwrap()].parse().unwrap()
    };
    (number("read ", " changes"), number("peak ", " MB"))
}

/// Text that does not compress.
fn noise(bytes: usize) -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut text = String::with_capacity(bytes);
    while text.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push(char::from(b'0' + u8::try_from(state % 75).unwrap()));
    }
    text
}

#[tokio::test]
async fn memory_is_bounded_whatever_the_size() {
    let (rows, row_mb) = (size("MYSYNC_HUGE_ROWS", 300_000), size("MYSYNC_HUGE_ROW_MB", 16));
    let lab = Lab::builder()
        .mysql("8.0")
        .mysql_option("innodb-redo-log-capacity=2G")
        .brokers(1)
        .start()
        .await
        .unwrap();
    let mut conn = connect(&lab).await;
    let rows_of = |table: &str| {
        format!(
            "INSERT INTO {table} WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
             SELECT i, SHA2(i, 512) FROM n"
        )
    };
    run_all(
        &mut conn,
        &[
            "CREATE DATABASE huge",
            "USE huge",
            "SET SESSION cte_max_recursion_depth = 100000000",
            "CREATE TABLE many (id INT PRIMARY KEY, v CHAR(128) CHARACTER SET latin1)",
            &rows_of("many"),
        ],
    )
    .await;
    let (changes, peak_mb) = read_as_a_process(&lab, "many");
    assert_eq!(changes, rows);
    assert!(peak_mb < BESIDE_LARGEST_ROW_MB_MAX, "{peak_mb} MB");

    // Each reader begins at the oldest event: what is largest comes last.
    run_all(
        &mut conn,
        &["CREATE TABLE wide (id INT PRIMARY KEY, v LONGTEXT CHARACTER SET latin1)"],
    )
    .await;
    let text = noise(usize::try_from(row_mb).unwrap() << 20);
    conn.exec_drop("INSERT INTO wide VALUES (1, ?)", (text,)).await.unwrap();
    run_all(&mut conn, &["INSERT INTO wide VALUES (2, 'small')"]).await;
    let (changes, peak_mb) = read_as_a_process(&lab, "wide");
    assert_eq!(changes, rows + 2);
    assert!(peak_mb < BESIDE_LARGEST_ROW_MB_MAX + row_mb, "{peak_mb} MB");

    // The same again as one compressed transaction: that is one event, which is unpacked as it comes.
    let before = lab.primary().unwrap().position().await.unwrap();
    run_all(
        &mut conn,
        &[
            "CREATE TABLE packed (id INT PRIMARY KEY, v CHAR(128) CHARACTER SET latin1)",
            "SET binlog_transaction_compression = ON",
            &rows_of("packed"),
            "SET binlog_transaction_compression = OFF",
        ],
    )
    .await;
    let after = lab.primary().unwrap().position().await.unwrap();
    assert_eq!(before.file, after.file);
    let packed_mb = (after.offset - before.offset) >> 20;
    let (changes, peak_mb) = read_as_a_process(&lab, "packed");
    assert_eq!(changes, 2 * rows + 2);
    println!("packed: {packed_mb} MB in one event");
    assert!(peak_mb < BESIDE_LARGEST_ROW_MB_MAX + row_mb, "{peak_mb} MB");
    lab.down().await.unwrap();
}
