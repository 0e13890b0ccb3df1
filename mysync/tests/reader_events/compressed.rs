//! Compressed transactions give what the same transactions give uncompressed.

use super::life::{change, config, connect, origin, published, read, run_all};
use fixtures::Lab;

/// Rows of several tables and kinds in one transaction, a large one, and some alone.
const WORKLOAD: &[&str] = &[
    "CREATE TABLE numbers (n INT PRIMARY KEY) SELECT a.i + 10 * b.i + 100 * c.i AS n FROM ten a, ten b, ten c",
    "CREATE TABLE t (id INT PRIMARY KEY, v LONGTEXT, d DECIMAL(20, 4), j JSON)",
    "CREATE TABLE u (id INT PRIMARY KEY, v VARCHAR(50))",
    "BEGIN",
    "INSERT INTO t SELECT n, REPEAT(SHA2(n, 512), 3), n / 7, JSON_OBJECT('n', n) FROM numbers",
    "INSERT INTO u SELECT n, 'u' FROM numbers WHERE n < 10",
    "UPDATE t SET v = 'changed' WHERE id % 2 = 0",
    "UPDATE u SET id = id + 1000",
    "DELETE FROM t WHERE id % 3 = 0",
    "COMMIT",
    "INSERT INTO t VALUES (5000, REPEAT('x', 3000000), 1, NULL)",
    "UPDATE t SET d = -d WHERE id = 5000",
    "DELETE FROM u",
];

pub async fn same_as_uncompressed(lab: &Lab) {
    let mut conn = connect(lab).await;
    for (database, compression) in [("plain", "OFF"), ("packed", "ON")] {
        let setup = [
            format!("CREATE DATABASE {database}"),
            format!("USE {database}"),
            format!("SET binlog_transaction_compression = {compression}"),
            "CREATE TABLE ten (i INT PRIMARY KEY)".into(),
            "INSERT INTO ten VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)".into(),
        ];
        run_all(&mut conn, &setup.each_ref().map(String::as_str)).await;
        run_all(&mut conn, WORKLOAD).await;
    }
    let events = lab.primary().unwrap().sql("SHOW BINLOG EVENTS").await.unwrap();
    let payloads = events
        .iter()
        .filter(|row| row[2].as_deref() == Some("Transaction_payload"));
    assert!(payloads.count() >= 4, "the server compresses");

    let config = config(lab, "packed", &["plain.*", "packed.*"]);
    read(&config).await.unwrap();
    let mut rows: Vec<Vec<u64>> = Vec::new();
    for table in ["numbers", "t", "u"] {
        let plain = published(lab, &format!("packed.plain.{table}")).await;
        let packed = published(lab, &format!("packed.packed.{table}")).await;
        assert!(plain.len() >= 30, "{table}");
        assert_eq!(
            plain.iter().map(change).collect::<Vec<_>>(),
            packed.iter().map(change).collect::<Vec<_>>(),
            "{table}"
        );
        if table != "numbers" {
            rows.extend(packed.iter().map(origin));
        }
        let versions = packed.windows(2).filter(|pair| pair[0].version < pair[1].version);
        for pair in versions {
            assert!(
                origin(&pair[0]) < origin(&pair[1]),
                "{:?} {:?}",
                origin(&pair[0]),
                origin(&pair[1])
            );
        }
    }
    // All rows of one compressed transaction have one place and rising numbers: 1000 + 10 + 500 + 10 + 334.
    rows.sort();
    rows.dedup();
    let first = rows[0].clone();
    let of_first: Vec<u64> = rows
        .iter()
        .filter(|place| place[..2] == first[..2])
        .map(|place| place[2])
        .collect();
    assert_eq!(of_first, (0..1_854).collect::<Vec<_>>());
    // Nothing was taken twice, and the next life finds nothing left.
    assert_eq!(read(&config).await.unwrap().changes, 0);
}
