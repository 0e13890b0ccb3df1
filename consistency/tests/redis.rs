//! Differences made by hand between a real MySQL and a real Redis: found, named, and told apart from lag.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use consistency::{ErrorKind, FindingKind, Options, Verdict};
use redis::aio::MultiplexedConnection;
use support::{TwoSides, no_fence, only, single};

async fn accounts(name: &str) -> TwoSides {
    let sides = TwoSides::start(name, "8.0", &["bank.*"]).await;
    sides.sql("CREATE DATABASE bank").await;
    sides
        .sql("CREATE TABLE bank.accounts (id INT PRIMARY KEY, owner VARCHAR(20), balance INT NOT NULL)")
        .await;
    sides
        .sql("INSERT INTO bank.accounts VALUES (1, 'ada', 10), (2, NULL, 20), (3, '', 30)")
        .await;
    sides
        .redis_do(&["HSET", "bank:accounts:1", "id", "1", "owner", "ada", "balance", "10"])
        .await;
    sides
        .redis_do(&["HSET", "bank:accounts:2", "id", "2", "balance", "20"])
        .await;
    sides
        .redis_do(&["HSET", "bank:accounts:3", "balance", "30", "owner", "", "id", "3"])
        .await;
    sides
}

#[tokio::test]
async fn each_difference_is_found_and_named() {
    let sides = accounts("check-differences").await;
    // What is not ours stays out of it.
    sides
        .redis_do(&["SET", "bank:accounts:x", "no row can have this key"])
        .await;
    sides.redis_do(&["SET", "session:1", "somebody else's"]).await;
    sides
        .redis_do(&["SET", "__mysync:cursor:mysync.redis:mysync.bank.accounts:0", "7"])
        .await;
    assert_eq!(sides.check(no_fence()).await.verdict, Verdict::Consistent);

    sides.redis_do(&["HSET", "bank:accounts:1", "balance", "11"]).await;
    let report = sides.check(no_fence()).await;
    let found = only(&report);
    assert_eq!(
        (found.kind, found.store_key.as_str()),
        (FindingKind::Different, "bank:accounts:1")
    );
    assert_eq!(found.key, [("id".to_owned(), "1".to_owned())]);
    assert_eq!(found.columns.len(), 1);
    assert_eq!(found.columns[0].name, "balance");
    assert_eq!(
        (found.columns[0].mysql.as_deref(), found.columns[0].store.as_deref()),
        (Some("10"), Some("11"))
    );
    sides.redis_do(&["HSET", "bank:accounts:1", "balance", "10"]).await;

    sides.redis_do(&["HSET", "bank:accounts:2", "owner", ""]).await;
    let report = sides.check(no_fence()).await;
    let column = &only(&report).columns[0];
    assert_eq!(
        (column.name.as_str(), column.mysql.as_deref(), column.store.as_deref()),
        ("owner", None, Some(""))
    );
    sides.redis_do(&["HDEL", "bank:accounts:2", "owner"]).await;

    sides.redis_do(&["HSET", "bank:accounts:2", "ghost", "1"]).await;
    assert_eq!(only(&sides.check(no_fence()).await).columns[0].name, "ghost");
    sides.redis_do(&["HDEL", "bank:accounts:2", "ghost"]).await;

    sides.redis_do(&["RENAME", "bank:accounts:3", "kept"]).await;
    let report = sides.check(no_fence()).await;
    assert_eq!(
        (only(&report).kind, only(&report).key[0].1.as_str()),
        (FindingKind::Missing, "3")
    );
    sides.redis_do(&["RENAME", "kept", "bank:accounts:3"]).await;

    sides
        .redis_do(&["HSET", "bank:accounts:4", "id", "4", "balance", "40"])
        .await;
    let report = sides.check(no_fence()).await;
    assert_eq!(
        (only(&report).kind, only(&report).key[0].1.as_str()),
        (FindingKind::Extra, "4")
    );
    sides.redis_do(&["DEL", "bank:accounts:4", "bank:accounts:1"]).await;

    sides.redis_do(&["RPUSH", "bank:accounts:1", "a list"]).await;
    assert!(only(&sides.check(no_fence()).await).unreadable.is_some());
}

#[tokio::test]
async fn rows_that_may_have_expired_are_no_findings() {
    let mut sides = accounts("check-ttl").await;
    sides.redis_do(&["DEL", "bank:accounts:3"]).await;
    let report = sides.check(no_fence()).await;
    assert_eq!(only(&report).kind, FindingKind::Missing);

    sides.with_ttl_seconds(3600);
    let report = sides.check(no_fence()).await;
    assert_eq!(report.verdict, Verdict::Consistent, "{report:#?}");
    let table = &single(&report).tables[0];
    assert_eq!((table.rows_mysql, table.rows_store, table.expired), (3, 2, 1));
    // What is there has to be right.
    sides.redis_do(&["HSET", "bank:accounts:1", "balance", "11"]).await;
    sides.redis_do(&["HSET", "bank:accounts:4", "id", "4"]).await;
    let report = sides.check(no_fence()).await;
    let table = &single(&report).tables[0];
    assert_eq!(
        (report.verdict, table.different, table.extra),
        (Verdict::Inconsistent, 1, 1)
    );
    // Where nothing is there, nothing is proven.
    sides.redis_do(&["FLUSHALL"]).await;
    let report = sides.check(no_fence()).await;
    assert_eq!(report.verdict, Verdict::Unknown, "{report:#?}");
}

/// HMAC-SHA-256, as `printf %s ada | openssl dgst -sha256 -hmac pepper` prints it.
const HASH_OF_ADA: &str = "48361492d3e8dd57e0cd7ab8f3b057084d7589b073d599da896bac27c626f339";
const HASH_OF_10: &str = "055777d9c8133ea6ad8c408389dc447ff764038369abedbb85aaafa5b58924ae";

#[tokio::test]
async fn masked_columns_are_compared_by_their_masks_and_excluded_ones_not_at_all() {
    let mut sides = TwoSides::start("check-masks", "8.0", &["bank.*"]).await;
    sides
        .sql("CREATE DATABASE bank; CREATE TABLE bank.tmp (id INT PRIMARY KEY); INSERT INTO bank.tmp VALUES (1)")
        .await;
    sides
        .sql("CREATE TABLE bank.a (id INT PRIMARY KEY, owner VARCHAR(20), n DECIMAL(4,1), note TEXT, t DATE)")
        .await;
    sides
        .sql("INSERT INTO bank.a VALUES (1, 'ada', 10, 'secret', '2026-11-25'), (2, NULL, NULL, NULL, NULL)")
        .await;
    let exclude = "tables_exclude = [\"bank.t*\"]\ncolumns_exclude = [\"bank.*.NOTE\"]";
    let mask =
        |salt: &str| format!("[mask]\n{salt}\nhash = [\"*.a.owner\", \"*.a.n\"]\ntext = {{ \"*.a.t\" = \"***\" }}\n");
    for layout in ["hash", "json"] {
        sides.with_layout(layout);
        sides.redis_do(&["FLUSHALL"]).await;
        if layout == "hash" {
            let row = [
                "HSET",
                "bank:a:1",
                "id",
                "1",
                "owner",
                HASH_OF_ADA,
                "n",
                HASH_OF_10,
                "t",
                "***",
            ];
            sides.redis_do(&row).await;
            sides.redis_do(&["HSET", "bank:a:2", "id", "2"]).await;
        } else {
            let row = format!("{{\"id\":1,\"owner\":\"{HASH_OF_ADA}\",\"n\":\"{HASH_OF_10}\",\"t\":\"***\"}}");
            sides.redis_do(&["SET", "bank:a:1", &row]).await;
            let row = "{\"id\":2,\"owner\":null,\"n\":null,\"t\":null}";
            sides.redis_do(&["SET", "bank:a:2", row]).await;
        }
        sides.with_more(exclude, &mask("salt = \"pepper\""));
        let report = sides.check(no_fence()).await;
        assert_eq!(
            (report.verdict, single(&report).tables.len()),
            (Verdict::Consistent, 1),
            "{report:#?}"
        );
        assert!(report.not_compared.is_empty());

        // Another salt: both hashes differ. None at hand: they are not compared, and the report says so.
        sides.with_more(exclude, &mask("salt = \"other\""));
        assert_eq!(only(&sides.check(no_fence()).await).columns.len(), 2);
        sides.with_more(exclude, &mask("salt_env = \"MYSYNC_NO_SUCH_VARIABLE\""));
        let report = sides.check(no_fence()).await;
        assert_eq!(report.verdict, Verdict::Consistent, "{report:#?}");
        assert_eq!(report.not_compared, ["bank.a.owner", "bank.a.n"]);
    }
    // What should have been masked or left out is found.
    sides.with_layout("hash");
    sides.redis_do(&["DEL", "bank:a:1"]).await;
    sides
        .redis_do(&[
            "HSET", "bank:a:1", "id", "1", "owner", "ada", "n", HASH_OF_10, "t", "***", "note", "secret",
        ])
        .await;
    sides.redis_do(&["DEL", "bank:a:2"]).await;
    sides.redis_do(&["HSET", "bank:a:2", "id", "2"]).await;
    let report = sides.check(no_fence()).await;
    let names: Vec<&str> = only(&report)
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    assert_eq!(names, ["owner", "note"]);
}

#[tokio::test]
async fn the_binary_names_key_and_column_and_exits_with_the_verdict() {
    let sides = accounts("check-binary").await;
    let output = sides.mysync_check(&["--no-fence"]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        printed.contains("consistent: every row of MySQL is in redis"),
        "{printed}"
    );

    sides
        .redis_do(&["HSET", "bank:accounts:1", "owner", "eve", "balance", "11"])
        .await;
    sides.redis_do(&["DEL", "bank:accounts:3"]).await;
    let output = sides.mysync_check(&["--no-fence"]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let printed = String::from_utf8_lossy(&output.stdout);
    for part in [
        "id=1",
        "bank:accounts:1",
        "balance",
        "mysql \"10\"",
        "redis \"11\"",
        "1 missing from redis",
    ] {
        assert!(printed.contains(part), "{part} in {printed}");
    }

    let file = sides.file("findings.jsonl");
    let arguments = [
        "--no-fence",
        "--json",
        "--findings-max",
        "1",
        "--findings-file",
        file.to_str().expect("a text path"),
    ];
    let output = sides.mysync_check(&arguments).await;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(report["verdict"], "inconsistent");
    assert_eq!(
        (
            report["stores"][0]["findings"].as_array().map(Vec::len),
            &report["stores"][0]["findings_omitted"]
        ),
        (Some(1), &1.into())
    );
    let findings = std::fs::read_to_string(file).expect("a file of findings");
    assert_eq!(findings.lines().count(), 2, "{findings}");

    let output = sides.mysync_check(&["--no-fence", "--table", "bank.nothing"]).await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let output = sides.mysync_check(&["--table", "bank"]).await;
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(printed.contains("hint:"), "{printed}");
}

#[tokio::test]
async fn nothing_observed_is_unknown() {
    let sides = TwoSides::start("check-nothing", "8.0", &["bank.*"]).await;
    let report = sides.check(no_fence()).await;
    assert_eq!(report.verdict, Verdict::Unknown);
    assert!(
        single(&report)
            .reason
            .clone()
            .expect("a reason")
            .what
            .contains("no table")
    );

    sides.sql("CREATE DATABASE bank").await;
    sides.sql("CREATE TABLE bank.accounts (id INT PRIMARY KEY)").await;
    let report = sides.check(no_fence()).await;
    assert_eq!(report.verdict, Verdict::Unknown);
    assert!(
        single(&report)
            .reason
            .clone()
            .expect("a reason")
            .what
            .contains("nothing observed")
    );

    // Nobody carries the fence over.
    sides.sql("INSERT INTO bank.accounts VALUES (1)").await;
    sides.redis_do(&["HSET", "bank:accounts:1", "id", "1"]).await;
    let report = sides.check(Options::default()).await;
    assert_eq!(report.verdict, Verdict::Unknown);
    let reason = single(&report).reason.clone().expect("a reason");
    assert_eq!(
        reason.what,
        "the fence did not arrive in redis within 1 s: is reader/writer running?"
    );
    assert_eq!(
        sides
            .mysql()
            .value("SELECT COUNT(*) FROM __db_mysync.t_fence")
            .await
            .expect("the fence's table"),
        "0"
    );
}

#[tokio::test]
async fn keys_and_tables_that_do_not_fit_are_refused_with_a_remedy() {
    let sides = TwoSides::start("check-keyless", "8.0", &["shop.*"]).await;
    sides.sql("CREATE DATABASE shop").await;
    sides
        .sql("CREATE TABLE shop.log (at INT NOT NULL, line VARCHAR(20) NOT NULL, note INT)")
        .await;
    sides
        .sql("INSERT INTO shop.log VALUES (1, 'a:b', 5), (1, '%', 6)")
        .await;
    let refused = |keys: &str| {
        let text = sides
            .toml()
            .replace("[writer.redis]", &format!("{keys}\n[writer.redis]"));
        async move {
            let config = consistency::Config::parse(&text, "mysync.toml").expect("a good file");
            consistency::check(&config, &no_fence(), &consistency::Silent).await
        }
    };
    for (keys, part) in [
        ("", "shop.log has no primary key"),
        ("[source.keys]\n\"shop.log\" = [\"nothing\"]", "no column `nothing`"),
        ("[source.keys]\n\"shop.log\" = [\"note\"]", "column `note` may be NULL"),
    ] {
        let error = refused(keys).await.expect_err("refused");
        assert_eq!(error.kind, ErrorKind::Configuration);
        assert!(error.to_string().contains(part), "{error}");
    }
    sides
        .redis_do(&["HSET", "shop:log:1:a%3Ab", "at", "1", "line", "a:b", "note", "5"])
        .await;
    sides
        .redis_do(&["HSET", "shop:log:1:%25", "at", "1", "line", "%", "note", "6"])
        .await;
    let report = refused("[source.keys]\n\"shop.log\" = [\"at\", \"line\"]")
        .await
        .expect("a report");
    assert_eq!(report.verdict, Verdict::Consistent, "{report:#?}");
}

/// Copies accounts and fences from MySQL to Redis, in that order, until told to stop: a writer of the simplest kind.
async fn carry(sides: Arc<TwoSides>, mut redis: MultiplexedConnection, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        // A fence row read before the accounts are is behind everything committed before it.
        let fences = sides
            .mysql()
            .sql("SELECT id, token FROM __db_mysync.t_fence")
            .await
            .unwrap_or_default();
        let accounts = sides
            .mysql()
            .sql("SELECT id, balance FROM bank.accounts WHERE id < 100")
            .await;
        let mut pipeline = redis::pipe();
        for row in accounts.expect("accounts") {
            let id = row[0].clone().expect("an id");
            let balance = row[1].clone().expect("a balance");
            pipeline
                .cmd("HSET")
                .arg(format!("bank:accounts:{id}"))
                .arg("balance")
                .arg(balance)
                .ignore();
        }
        for row in fences {
            let id = row[0].clone().expect("an id");
            let token = row[1].clone().expect("a token");
            let key = format!("__db_mysync:t_fence:{id}");
            pipeline
                .cmd("HSET")
                .arg(key)
                .arg("id")
                .arg(id)
                .arg("token")
                .arg(token)
                .ignore();
        }
        pipeline.exec_async(&mut redis).await.expect("a pipeline");
    }
}

async fn spend(sides: Arc<TwoSides>, stop: Arc<AtomicBool>) {
    use mysql_async::prelude::Queryable;
    let mut session = sides.mysql().connect().await.expect("a session");
    while !stop.load(Ordering::Relaxed) {
        session
            .query_drop("UPDATE bank.accounts SET balance = balance + 1 WHERE id = 1")
            .await
            .expect("an update");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_change_meanwhile_are_no_findings_and_broken_ones_are() {
    let mut sides = accounts("check-live").await;
    sides.with_settle_seconds_max(20);
    // Row 100 is one that the test's writer never carries.
    sides.sql("INSERT INTO bank.accounts VALUES (100, 'bob', 5)").await;
    sides
        .redis_do(&["HSET", "bank:accounts:100", "id", "100", "owner", "bob", "balance", "5"])
        .await;
    let (sides, stop) = (Arc::new(sides), Arc::new(AtomicBool::new(false)));
    let carrier = tokio::spawn(carry(sides.clone(), sides.redis().await, stop.clone()));
    let spender = tokio::spawn(spend(sides.clone(), stop.clone()));

    let report = sides.check(Options::default()).await;
    assert_eq!(report.verdict, Verdict::Consistent, "{report:#?}");
    let fence = single(&report).fence;
    assert!(fence.used && fence.passed >= 1);

    sides.sql("UPDATE bank.accounts SET balance = 6 WHERE id = 100").await;
    let report = sides.check(Options::default()).await;
    let found = only(&report);
    assert_eq!(
        (found.store_key.as_str(), found.columns[0].name.as_str()),
        ("bank:accounts:100", "balance")
    );
    assert!(single(&report).fence.passed >= 3, "{report:#?}");

    stop.store(true, Ordering::Relaxed);
    carrier.await.expect("the carrier ends");
    spender.await.expect("the spender ends");
}
