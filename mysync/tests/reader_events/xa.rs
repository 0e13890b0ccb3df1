//! XA transactions: published at their commit, in the order of the commits, never at a rollback, in whatever lives of the reader
//! prepare and decision come.

use super::life::{config, connect, inserted, published, read, read_and_die, run_all};
use fixtures::Lab;
use mysync::config::Config;
use mysync::error::Kind;
use mysync::queue::Queue;
use mysync::queue::kafka::KafkaQueue;
use std::collections::BTreeMap;

/// Statements of a client that prepares a transaction; a prepared one is decided by another client.
async fn prepare(lab: &Lab, xid: &str, statements: &[&str]) {
    prepare_with(lab, "OFF", xid, statements).await;
}

async fn prepare_with(lab: &Lab, compression: &str, xid: &str, statements: &[&str]) {
    let mut conn = connect(lab).await;
    let compression = format!("SET binlog_transaction_compression = {compression}");
    run_all(&mut conn, &["USE xa", &compression, &format!("XA START {xid}")]).await;
    run_all(&mut conn, statements).await;
    run_all(&mut conn, &[&format!("XA END {xid}"), &format!("XA PREPARE {xid}")]).await;
    conn.disconnect().await.unwrap();
}

/// Keys of the topic of prepared transactions whose last record is no tombstone.
async fn waiting(config: &Config) -> usize {
    let mut scan = KafkaQueue::new(config).scan("prepared", 0).await.unwrap();
    let mut last = BTreeMap::new();
    while let Some(record) = scan.next().await.unwrap() {
        last.insert(record.key, record.value.is_some());
    }
    last.values().filter(|is_there| **is_there).count()
}

pub async fn published_at_the_commit(lab: &Lab) {
    let mut conn = connect(lab).await;
    run_all(
        &mut conn,
        &[
            "CREATE DATABASE xa",
            "USE xa",
            "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(100))",
            "CREATE TABLE other (id INT PRIMARY KEY)",
            "INSERT INTO t VALUES (1, 'plain')",
        ],
    )
    .await;
    let config = config(lab, "xa", &["xa.t"]);
    prepare(
        lab,
        "'a', X'00ff27', 7",
        &[
            "INSERT INTO t VALUES (2, 'a'), (3, 'a')",
            "INSERT INTO other VALUES (1)",
        ],
    )
    .await;
    prepare(lab, "'b'", &["INSERT INTO t VALUES (4, 'b')"]).await;
    prepare(lab, "'c'", &["INSERT INTO t VALUES (5, 'c')"]).await;
    prepare(lab, "'unfollowed'", &["INSERT INTO other VALUES (2)"]).await;
    run_all(&mut conn, &["INSERT INTO t VALUES (6, 'plain')"]).await;
    read_and_die(lab, &config, "xa.xa.t", 2).await;
    read(&config).await.unwrap();
    assert_eq!(inserted(&published(lab, "xa.xa.t").await), [1, 6]);
    assert_eq!(waiting(&config).await, 3, "the rows of three transactions wait");

    // Decided in other lives, behind rotations, and in another order than they were prepared.
    run_all(&mut conn, &["FLUSH BINARY LOGS", "INSERT INTO t VALUES (7, 'plain')"]).await;
    run_all(&mut conn, &["XA COMMIT 'b'", "XA ROLLBACK 'c'"]).await;
    assert_eq!(read(&config).await.unwrap().changes, 2);
    assert_eq!(waiting(&config).await, 1);
    run_all(
        &mut conn,
        &[
            "FLUSH BINARY LOGS",
            "XA COMMIT 'unfollowed'",
            "XA COMMIT 'a', X'00ff27', 7",
        ],
    )
    .await;
    // Prepared and decided in one life; a name used anew; in one phase; rolled back before it is prepared; compressed.
    prepare(lab, "'b'", &["INSERT INTO t VALUES (8, 'b')"]).await;
    prepare(lab, "'gone'", &["INSERT INTO t VALUES (9, 'gone')"]).await;
    run_all(
        &mut conn,
        &[
            "XA ROLLBACK 'gone'",
            "XA COMMIT 'b'",
            "XA START 'one'",
            "INSERT INTO t VALUES (10, 'one phase')",
            "SAVEPOINT s",
            "INSERT INTO t VALUES (11, 'undone')",
            "ROLLBACK TO s",
            "INSERT INTO t VALUES (12, 'one phase')",
            "XA END 'one'",
            "XA COMMIT 'one' ONE PHASE",
            "XA START 'never'",
            "INSERT INTO t VALUES (13, 'never')",
            "XA END 'never'",
            "XA ROLLBACK 'never'",
            "XA START 'empty'",
            "XA END 'empty'",
            "XA PREPARE 'empty'",
            "XA COMMIT 'empty'",
            "SET binlog_transaction_compression = ON",
            "XA START 'packed one'",
            "INSERT INTO t VALUES (14, REPEAT('p', 100)), (15, REPEAT('p', 100))",
            "XA END 'packed one'",
            "XA COMMIT 'packed one' ONE PHASE",
        ],
    )
    .await;
    let packed = "INSERT INTO t VALUES (16, REPEAT('q', 100)), (17, REPEAT('q', 100))";
    prepare_with(lab, "ON", "'packed two'", &[packed]).await;
    run_all(
        &mut conn,
        &["INSERT INTO t VALUES (18, 'plain')", "XA COMMIT 'packed two'"],
    )
    .await;
    read(&config).await.unwrap();
    let expected = [1, 6, 7, 4, 2, 3, 8, 10, 12, 14, 15, 18, 16, 17];
    assert_eq!(inserted(&published(lab, "xa.xa.t").await), expected);
    assert_eq!(waiting(&config).await, 0);
    assert_eq!(read(&config).await.unwrap().changes, 0);

    // A reader that begins between prepare and commit has not seen the rows.
    prepare(lab, "'before'", &["INSERT INTO t VALUES (20, 'before')"]).await;
    let mut late = super::life::config(lab, "xa_late", &["xa.t"]);
    late.reader.start = mysync::config::Start::Newest;
    read(&late).await.unwrap();
    run_all(&mut conn, &["XA COMMIT 'before'"]).await;
    let error = read(&late).await.unwrap_err();
    assert_eq!(error.kind, Kind::Definite);
    assert!(
        error
            .what
            .contains("prepared before the reader's beginning: 6265666f7265,,1"),
        "{error}"
    );
    assert!(error.hint.unwrap().contains("XA RECOVER"));
}

/// Rows of prepared transactions that do not fit into the reader's memory are read back from Kafka.
pub async fn larger_than_memory(lab: &Lab) {
    let mut conn = connect(lab).await;
    run_all(
        &mut conn,
        &[
            "CREATE DATABASE large",
            "USE large",
            "CREATE TABLE t (id INT PRIMARY KEY, v MEDIUMTEXT)",
            "SET SESSION cte_max_recursion_depth = 100000",
        ],
    )
    .await;
    let config = config(lab, "large", &["large.t"]);
    let rows = |from: i32| {
        format!(
            "INSERT INTO large.t WITH RECURSIVE n AS (SELECT {from} AS i UNION ALL SELECT i + 1 FROM n WHERE i < {from} + 59) \
             SELECT i, REPEAT(SHA2(i, 512), 2000) FROM n"
        )
    };
    // Each is 60 rows of 256 kB, 15 MB: two that are prepared at a time, one in one phase.
    prepare(lab, "'x'", &[&rows(0)]).await;
    prepare(lab, "'y'", &[&rows(100)]).await;
    run_all(&mut conn, &["INSERT INTO t VALUES (1000, 'plain')", "XA COMMIT 'y'"]).await;
    assert_eq!(read(&config).await.unwrap().changes, 61);
    assert!(waiting(&config).await >= 50, "x waits");
    run_all(
        &mut conn,
        &[
            "XA START 'z'",
            &rows(200),
            "XA END 'z'",
            "XA COMMIT 'z' ONE PHASE",
            "XA COMMIT 'x'",
        ],
    )
    .await;
    assert_eq!(read(&config).await.unwrap().changes, 120);
    let expected: Vec<i64> = [1000]
        .into_iter()
        .chain(100..160)
        .chain(200..260)
        .chain(0..60)
        .collect();
    let seen = published(lab, "large.large.t").await;
    assert_eq!(inserted(&seen), expected);
    assert_eq!(waiting(&config).await, 0);
    for record in &seen[1..] {
        let value: serde_json::Value = serde_json::from_str(record.value.as_ref().unwrap()).unwrap();
        let text = value["after"]["v"].as_str().unwrap();
        assert_eq!(text.len(), 256_000);
        assert!(
            text[..128] == text[128..256] && text[..128] == text[255_872..],
            "{}",
            record.key
        );
    }
}
