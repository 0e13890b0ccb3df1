//! Differences made by hand between a real MySQL and a real HBase: found, named, and told from the writer's own rows.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use consistency::{Config, ErrorKind, FindingKind, Options, Silent, StoreName, Verdict};
use fixtures::Lab;
use support::rows::Rows;
use support::{TwoSides, no_fence, only, single};

const ACCOUNTS: &str = "bank.accounts";

fn in_hbase() -> Options {
    Options {
        stores: vec![StoreName::Hbase],
        ..no_fence()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_difference_is_found_and_named() {
    let lab = Lab::builder().name("check-hbase").mysql("8.0").hbase();
    let mut sides = TwoSides::start_with(lab, &["bank.*"]).await;
    let mut rows = Rows::of(sides.lab());
    sides.with_more("", &rows.section());
    for statement in [
        "CREATE DATABASE bank",
        "CREATE TABLE bank.accounts (id BIGINT PRIMARY KEY, owner VARCHAR(20), balance DECIMAL(9,2))",
        "INSERT INTO bank.accounts VALUES (1, 'ada', 10), (2, NULL, 20.5), (3, '', 30)",
    ] {
        sides.sql(statement).await;
    }
    rows.create(ACCOUNTS, &["r", "x"]);
    rows.put(ACCOUNTS, "1", &[("id", "1"), ("owner", "ada"), ("balance", "10.00")]);
    rows.put(ACCOUNTS, "2", &[("id", "2"), ("balance", "20.50")]);
    three(&mut rows);
    // The writer's own, and what was deleted.
    rows.put(ACCOUNTS, "%mysync", &[("id", "7"), ("column:owner", "1")]);
    rows.put(ACCOUNTS, "9", &[("id", "9")]);
    rows.delete(ACCOUNTS, "9", None);

    values(&sides, &mut rows).await;
    keys(&mut sides, &mut rows).await;
    salt(&mut sides, &mut rows).await;
    ways_to_the_gateway(&mut sides, &rows).await;
}

fn three(rows: &mut Rows) {
    rows.put(ACCOUNTS, "3", &[("id", "3"), ("owner", ""), ("balance", "30.00")]);
}

async fn values(sides: &TwoSides, rows: &mut Rows) {
    let report = sides.check(in_hbase()).await;
    assert_eq!(report.verdict, Verdict::Consistent, "{report:#?}");
    let table = &single(&report).tables[0];
    assert_eq!((table.rows_mysql, table.rows_store), (3, 3));

    // A row for each difference.
    let differences = [
        ("11", "balance", Some("31.00"), Some("30.00"), Some("31.00")),
        ("12", "balance", Some("30"), Some("30.00"), Some("30")),
        ("13", "owner", None, Some(""), None),
        ("14", "ghost", Some("x"), None, Some("x")),
        ("15", "x:owner", Some(""), None, Some("")),
    ];
    for (id, cell, value, ..) in differences {
        let statement = format!("INSERT INTO bank.accounts VALUES ({id}, '', 30)");
        sides.sql(&statement).await;
        rows.put(ACCOUNTS, id, &[("id", id), ("owner", ""), ("balance", "30.00")]);
        match value {
            Some(value) => rows.put(ACCOUNTS, id, &[(cell, value)]),
            None => rows.delete(ACCOUNTS, id, Some(cell)),
        }
    }
    let report = sides.check(in_hbase()).await;
    let found = &single(&report).findings;
    assert_eq!(found.len(), differences.len(), "{report:#?}");
    for (id, cell, _, mysql, store) in differences {
        let found = found.iter().find(|found| found.store_key == id).expect(id);
        assert_eq!(
            (found.kind, found.columns.len()),
            (FindingKind::Different, 1),
            "{found:?}"
        );
        let column = &found.columns[0];
        assert_eq!(
            (column.name.as_str(), column.mysql.as_deref(), column.store.as_deref()),
            (cell, mysql, store)
        );
        rows.delete(ACCOUNTS, id, None);
    }
    sides.sql("DELETE FROM bank.accounts WHERE id > 10").await;
}

async fn keys(sides: &mut TwoSides, rows: &mut Rows) {
    // A row that is gone, one that MySQL does not have, and a row key that no row can have: this table is nobody else's.
    rows.delete(ACCOUNTS, "3", None);
    rows.put(ACCOUNTS, "4", &[("id", "4")]);
    rows.put(ACCOUNTS, "04", &[("id", "4")]);
    let report = sides.check(in_hbase()).await;
    let found = &single(&report).findings;
    assert_eq!(found.len(), 3, "{report:#?}");
    for (store_key, kind, key) in [
        ("3", FindingKind::Missing, Some("3")),
        ("4", FindingKind::Extra, Some("4")),
        ("04", FindingKind::Extra, None),
    ] {
        let found = found
            .iter()
            .find(|found| found.store_key == store_key)
            .expect(store_key);
        let found_key = found.key.first().map(|(_, text)| text.as_str());
        assert_eq!((found.kind, found_key), (kind, key));
    }
    three(rows);
    rows.delete(ACCOUNTS, "4", None);
    rows.delete(ACCOUNTS, "04", None);

    // Keys and names that are spelled otherwise.
    for statement in [
        "CREATE TABLE bank.`no-tes` (k VARCHAR(20) PRIMARY KEY)",
        "CREATE TABLE bank.log (at INT, line VARCHAR(20), PRIMARY KEY (at, line))",
        "INSERT INTO bank.`no-tes` VALUES (''), ('%mysync')",
        "INSERT INTO bank.log VALUES (1, 'a:b'), (1, '%')",
        "CREATE TABLE bank.empty (id INT PRIMARY KEY)",
    ] {
        sides.sql(statement).await;
    }
    rows.create("bank.no-2dtes", &["r"]);
    rows.put("bank.no-2dtes", "%empty", &[("k", "")]);
    rows.put("bank.no-2dtes", "%25mysync", &[("k", "%mysync")]);
    rows.create("bank.log", &["r"]);
    rows.put("bank.log", "1:a%3Ab", &[("at", "1"), ("line", "a:b")]);
    rows.put("bank.log", "1:%25", &[("at", "1"), ("line", "%")]);
    // A table without rows needs none in HBase, and one whose rows are nowhere lacks them all.
    let report = sides.check(in_hbase()).await;
    assert_eq!(report.verdict, Verdict::Consistent, "{report:#?}");
    sides.sql("INSERT INTO bank.empty VALUES (1)").await;
    let report = sides.check(in_hbase()).await;
    assert_eq!(
        (only(&report).kind, only(&report).table.as_str()),
        (FindingKind::Missing, "bank.empty")
    );
    sides.sql("DROP TABLE bank.empty").await;
}

async fn salt(sides: &mut TwoSides, rows: &mut Rows) {
    let section = rows.section();
    sides.with_more(
        "",
        &format!("{section}salt_buckets = 16\ntable = \"salted-{{table}}\"\n"),
    );
    let of_accounts = || Options {
        tables: vec![ACCOUNTS.to_owned()],
        ..in_hbase()
    };
    // python3 -c 'import zlib; print([zlib.crc32(str(n).encode()) % 16 for n in (1, 2, 3)])'
    let salts = ["07", "0d", "0b"];
    rows.create("salted-accounts", &["r"]);
    rows.put("salted-accounts", "%mysync", &[("id", "7")]);
    for (id, cells) in [
        ("1", &[("id", "1"), ("owner", "ada"), ("balance", "10.00")][..]),
        ("2", &[("id", "2"), ("balance", "20.50")]),
        ("3", &[("id", "3"), ("owner", ""), ("balance", "30.00")]),
    ] {
        let salt = salts[id.parse::<usize>().expect("a number") - 1];
        rows.put("salted-accounts", &format!("{salt}:{id}"), cells);
    }
    let report = sides.check(of_accounts()).await;
    assert_eq!(report.verdict, Verdict::Consistent, "{report:#?}");
    // What has another salt, or none, is no row of this table.
    for foreign in ["0f:1", "1"] {
        rows.put("salted-accounts", foreign, &[("id", "1")]);
    }
    let report = sides.check(of_accounts()).await;
    let found = &single(&report).findings;
    let found: Vec<_> = found
        .iter()
        .map(|found| (found.kind, found.key.len(), found.store_key.as_str()))
        .collect();
    let extra = FindingKind::Extra;
    assert_eq!(found, [(extra, 0, "0f:1"), (extra, 0, "1")], "{report:#?}");
    sides.with_more("", &section);
}

async fn ways_to_the_gateway(sides: &mut TwoSides, rows: &Rows) {
    let output = sides.mysync_check(&["--no-fence"]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        printed.contains("consistent: every row of MySQL is in hbase"),
        "{printed}"
    );

    // A gateway that speaks otherwise, or is not there, is named.
    let section = rows.section();
    for (section, said) in [
        (
            format!("{section}protocol = \"compact\"\n"),
            "hbase did not answer as it should",
        ),
        (
            "[writer.hbase]\nthrift = \"127.0.0.1:1\"\n".to_owned(),
            "cannot open an HBase session: 127.0.0.1:1: ",
        ),
    ] {
        sides.with_more("", &section);
        let config = Config::parse(&sides.toml(), "mysync.toml").expect("a good configuration");
        let error = consistency::check(&config, &in_hbase(), &Silent)
            .await
            .expect_err("refused");
        assert_eq!(error.kind, ErrorKind::Failed);
        assert!(error.to_string().contains(said), "{error}");
    }
}
