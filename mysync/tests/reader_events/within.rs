//! What stands within and between transactions, and changes nothing in their rows.

use super::life::{config, connect, inserted, published, read, run_all};
use fixtures::Lab;

pub async fn read_through(lab: &Lab, version: &str) {
    let mut conn = connect(lab).await;
    let statements = [
        "CREATE DATABASE within",
        "USE within",
        "CREATE TABLE ten (id INT PRIMARY KEY)",
        "SET binlog_rows_query_log_events = ON",
        "INSERT INTO ten VALUES (1), (2), (3)",
        "SET binlog_rows_query_log_events = OFF",
        // From 8.0.21 on one transaction: the DDL, then the rows.
        "CREATE TABLE copied (PRIMARY KEY (id)) SELECT id FROM ten",
        "SET binlog_transaction_compression = ON",
        "CREATE TABLE copied_packed (PRIMARY KEY (id)) SELECT id FROM ten",
        "SET binlog_transaction_compression = OFF",
        "BEGIN",
        "SAVEPOINT one",
        "INSERT INTO ten VALUES (4)",
        "SAVEPOINT two",
        "INSERT INTO ten VALUES (5)",
        "ROLLBACK TO SAVEPOINT two",
        "INSERT INTO ten VALUES (6)",
        "RELEASE SAVEPOINT one",
        "COMMIT",
        "BEGIN",
        "INSERT INTO ten VALUES (7)",
        "ROLLBACK",
        "INSERT INTO ten VALUES (8)",
    ];
    run_all(&mut conn, &statements).await;
    if version == "9.7" {
        run_all(
            &mut conn,
            &["SET gtid_next = 'AUTOMATIC:some_tag'", "INSERT INTO ten VALUES (9)"],
        )
        .await;
        run_all(&mut conn, &["SET gtid_next = 'AUTOMATIC'"]).await;
    }
    let config = config(lab, "within", &["within.*"]);
    read(&config).await.unwrap();
    run_all(&mut conn, &["INSERT INTO ten VALUES (10)"]).await;
    assert_eq!(
        read(&config).await.unwrap().changes,
        1,
        "resumed behind a tagged transaction too"
    );
    let ids = |seen: Vec<super::consumer::Seen>| {
        let mut ids: Vec<String> = seen.into_iter().map(|record| record.key).collect();
        ids.dedup();
        ids
    };
    let expected: &[i32] = if version == "9.7" {
        &[1, 2, 3, 4, 6, 8, 9, 10]
    } else {
        &[1, 2, 3, 4, 6, 8, 10]
    };
    let keys: Vec<String> = expected.iter().map(|id| format!("{{\"id\":{id}}}")).collect();
    assert_eq!(ids(published(lab, "within.within.ten").await), keys);
    for table in ["copied", "copied_packed"] {
        assert_eq!(
            inserted(&published(lab, &format!("within.within.{table}")).await),
            [1, 2, 3],
            "{table}"
        );
    }
}
