//! Differences made by hand between a real MySQL and a real Elasticsearch: found, named, and told from what is only not
//! refreshed yet or a mark of a deleted row. And a check of two stores at once.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use consistency::{Config, Error, ErrorKind, FindingKind, Options, Silent, StoreName, Verdict};
use fixtures::Lab;
use support::documents::Documents;
use support::{TwoSides, no_fence, only, single};

const ACCOUNTS: &str = "bank.accounts~rows";
const FENCES: &str = "~5f_db_mysync.t_fence~rows";

/// Three accounts and a mark of a deleted one, on both sides.
async fn fill(sides: &TwoSides, documents: &Documents) {
    for statement in [
        "CREATE DATABASE bank",
        "CREATE TABLE bank.accounts (id BIGINT UNSIGNED PRIMARY KEY, owner VARCHAR(20), balance DECIMAL(9,2), f DOUBLE)",
        "INSERT INTO bank.accounts VALUES (18446744073709551615, 'ada', 10, 1e16), (2, NULL, 20.5, NULL), (3, '', 30, 0.1)",
    ] {
        sides.sql(statement).await;
    }
    documents.create(ACCOUNTS).await;
    let rows = [
        (
            "18446744073709551615",
            r#"{"id":18446744073709551615,"owner":"ada","balance":"10.00","f":1e16}"#,
        ),
        ("2", TWO),
        ("3", THREE),
        ("4", r#"{"__mysync_deleted":true,"__mysync_deleted_at":1764288000000}"#),
    ];
    documents.put(ACCOUNTS, &rows).await;
}

const TWO: &str = r#"{"id":2,"balance":"20.50","f":null,"owner":null}"#;
const THREE: &str = r#"{"id":3,"owner":"","balance":"30.00","f":0.1}"#;

#[tokio::test(flavor = "multi_thread")]
async fn each_difference_is_found_and_named() {
    let lab = Lab::builder()
        .name("check-elastic")
        .mysql("8.0")
        .redis()
        .elasticsearch();
    let mut sides = TwoSides::start_with(lab, &["bank.*"]).await;
    let documents = Documents::of(sides.lab());
    fill(&sides, &documents).await;
    sides.with_more("", &documents.section());

    values(&sides, &documents).await;
    keys(&sides, &documents).await;
    names_and_other_writers(&mut sides, &documents).await;
    two_stores_at_once(&mut sides, &documents).await;
}

fn in_elasticsearch() -> Options {
    Options {
        stores: vec![StoreName::Elasticsearch],
        ..no_fence()
    }
}

async fn values(sides: &TwoSides, documents: &Documents) {
    // Nothing was refreshed yet, so that no search would show any of it.
    let report = sides.check(in_elasticsearch()).await;
    assert_eq!(report.verdict, Verdict::Consistent, "{report:#?}");
    let table = &single(&report).tables[0];
    assert_eq!((table.rows_mysql, table.rows_store), (3, 3));

    // A row for each difference. The same number in other digits, or as another type, is not what the row's form says.
    let differences = [
        ("11", ["30.00", "31.00"], ("balance", Some("30.00"), Some("31.00"))),
        ("12", ["0.1", "0.10"], ("f", Some("0.1"), Some("0.10"))),
        (
            "13",
            ["\"30.00\"", "30.00"],
            ("balance", Some("30.00"), Some("(not a string) 30.00")),
        ),
        ("14", ["\"\"", "null"], ("owner", Some(""), None)),
        ("15", ["}", ",\"ghost\":[1]}"], ("ghost", None, Some("[1]"))),
    ];
    for (id, [from, to], _) in differences {
        let statement = format!("INSERT INTO bank.accounts VALUES ({id}, '', 30, 0.1)");
        sides.sql(&statement).await;
        let source = THREE.replace(":3,", &format!(":{id},")).replace(from, to);
        documents.put(ACCOUNTS, &[(id, &source)]).await;
    }
    let report = sides.check(in_elasticsearch()).await;
    let found = &single(&report).findings;
    assert_eq!(found.len(), differences.len(), "{report:#?}");
    for (id, _, difference) in differences {
        let found = found.iter().find(|found| found.store_key == id).expect(id);
        assert_eq!(
            (found.kind, found.store.as_str()),
            (FindingKind::Different, "elasticsearch")
        );
        let columns: Vec<_> = found
            .columns
            .iter()
            .map(|column| (column.name.as_str(), column.mysql.as_deref(), column.store.as_deref()))
            .collect();
        assert_eq!(columns, [difference], "{id}");
        documents.delete(ACCOUNTS, id).await;
    }
    sides.sql("DELETE FROM bank.accounts WHERE id BETWEEN 11 AND 15").await;
}

async fn keys(sides: &TwoSides, documents: &Documents) {
    // Rows that are gone, by a mark or by deletion; one that MySQL does not have; and an id that no row can have: this
    // index is nobody else's.
    documents.put(ACCOUNTS, &[("3", r#"{"__mysync_deleted":true}"#)]).await;
    documents.delete(ACCOUNTS, "2").await;
    let extra = THREE.replace(":3,", ":5,");
    documents.put(ACCOUNTS, &[("5", &extra), ("05", &extra)]).await;
    let report = sides.check(in_elasticsearch()).await;
    let found = &single(&report).findings;
    assert_eq!(found.len(), 4, "{report:#?}");
    for (store_key, kind, key) in [
        ("3", FindingKind::Missing, Some("3")),
        ("2", FindingKind::Missing, Some("2")),
        ("5", FindingKind::Extra, Some("5")),
        ("05", FindingKind::Extra, None),
    ] {
        let found = found
            .iter()
            .find(|found| found.store_key == store_key)
            .expect(store_key);
        let found_key = found.key.first().map(|(_, text)| text.as_str());
        assert_eq!((found.kind, found_key), (kind, key));
    }
    documents.put(ACCOUNTS, &[("2", TWO), ("3", THREE)]).await;
    documents.delete(ACCOUNTS, "5").await;
    documents.delete(ACCOUNTS, "05").await;

    // Keys that are spelled otherwise, and one that is hashed.
    let long = "x".repeat(600);
    // printf %600s | tr ' ' x | sha256sum
    let hashed = "%sha256:5130b33e6b87fbf5316ed9049e98924eb110800bcbaaad8050f642fba6df37c9";
    sides
        .sql("CREATE TABLE bank.notes (k VARCHAR(700) PRIMARY KEY) CHARACTER SET latin1")
        .await;
    sides
        .sql("CREATE TABLE bank.log (at INT, line VARCHAR(20), PRIMARY KEY (at, line))")
        .await;
    sides
        .sql(&format!("INSERT INTO bank.notes VALUES (''), ('%a'), ('{long}')"))
        .await;
    sides.sql("INSERT INTO bank.log VALUES (1, 'a:b'), (1, '%')").await;
    let source = |key: &str| format!("{{\"k\":\"{key}\"}}");
    documents.create("bank.notes~rows").await;
    let notes = [("%empty", source("")), ("%25a", source("%a")), (hashed, source(&long))];
    let notes: Vec<(&str, &str)> = notes.iter().map(|(id, source)| (*id, source.as_str())).collect();
    documents.put("bank.notes~rows", &notes).await;
    documents.create("bank.log~rows").await;
    let log = [
        ("1:a%3Ab", r#"{"at":1,"line":"a:b"}"#),
        ("1:%25", r#"{"at":1,"line":"%"}"#),
    ];
    documents.put("bank.log~rows", &log).await;
    let report = sides.check(in_elasticsearch()).await;
    assert_eq!(report.verdict, Verdict::Consistent, "{report:#?}");
    // The key of an extra row is read from its document, as long as that one is of its id.
    sides.sql(&format!("DELETE FROM bank.notes WHERE k = '{long}'")).await;
    let report = sides.check(in_elasticsearch()).await;
    assert_eq!(
        (only(&report).kind, &only(&report).key[0].1),
        (FindingKind::Extra, &long)
    );
    documents.put("bank.notes~rows", &[(hashed, r#"{"k":"%a"}"#)]).await;
    let report = sides.check(in_elasticsearch()).await;
    assert_eq!(
        (only(&report).kind, only(&report).store_key.as_str()),
        (FindingKind::Extra, hashed)
    );
    assert!(only(&report).key.is_empty());
    documents.delete("bank.notes~rows", hashed).await;
}

async fn names_and_other_writers(sides: &mut TwoSides, documents: &Documents) {
    // A table without rows needs no index, and one whose rows are nowhere lacks them all.
    sides.sql("CREATE TABLE bank.Empty (id INT PRIMARY KEY)").await;
    let report = sides.check(in_elasticsearch()).await;
    assert_eq!(report.verdict, Verdict::Consistent, "{report:#?}");
    sides.sql("INSERT INTO bank.Empty VALUES (1)").await;
    let report = sides.check(in_elasticsearch()).await;
    assert_eq!(
        (only(&report).kind, only(&report).table.as_str()),
        (FindingKind::Missing, "bank.Empty")
    );
    // Behind another writer the index has the plain name.
    documents.create("bank.~45mpty").await;
    documents.put("bank.~45mpty", &[("1", r#"{"id":1}"#)]).await;
    let report = sides.check(in_elasticsearch()).await;
    assert_eq!(report.verdict, Verdict::Consistent, "{report:#?}");

    // Two tables in one index cannot be told apart.
    sides
        .sql("CREATE DATABASE shop; CREATE TABLE shop.log (id INT PRIMARY KEY)")
        .await;
    let section = documents.section();
    sides.with_more("", &format!("{section}index = \"{{table}}\"\n"));
    let error = refused(&sides.toml().replace("\"bank.*\"]", "\"bank.*\", \"shop.*\"]")).await;
    assert_eq!(error.kind, ErrorKind::Configuration);
    let said = "bank.log and shop.log share an index";
    assert!(error.to_string().contains(said), "{error}");
    // Of several nodes one that is not there is passed over; where none is there, it is named.
    sides.with_more("", &section.replace("[\"", "[\"http://127.0.0.1:1\", \""));
    let report = sides.check(in_elasticsearch()).await;
    assert_eq!(report.verdict, Verdict::Consistent, "{report:#?}");
    sides.with_more("", "[writer.elasticsearch]\nurls = [\"http://127.0.0.1:1\"]\n");
    let error = refused(&sides.toml()).await;
    assert_eq!(error.kind, ErrorKind::Failed);
    let said = "cannot reach Elasticsearch: http://127.0.0.1:1: ";
    assert!(error.to_string().contains(said), "{error}");
    sides.with_more("", &section);
}

async fn refused(toml: &str) -> Error {
    let config = Config::parse(toml, "mysync.toml").expect("a good configuration");
    let checked = consistency::check(&config, &in_elasticsearch(), &Silent).await;
    checked.expect_err("refused")
}

/// Copies fences, and nothing else, to the stores.
async fn carry(sides: &TwoSides, documents: Option<&Documents>) {
    let mut redis = sides.redis().await;
    loop {
        let fences = sides.mysql().sql("SELECT id, token FROM __db_mysync.t_fence").await;
        // The table is made by the first check.
        for row in fences.unwrap_or_default() {
            let [id, token] = [&row[0], &row[1]].map(|value| value.clone().expect("a value"));
            let mut command = redis::cmd("HSET");
            command.arg(format!("__db_mysync:t_fence:{id}"));
            command.arg(&["id", &id, "token", &token]);
            command.exec_async(&mut redis).await.expect("a good command");
            if let Some(documents) = documents {
                let source = format!("{{\"id\":\"{id}\",\"token\":\"{token}\"}}");
                documents.put(FENCES, &[(&id, &source)]).await;
            }
        }
    }
}

async fn two_stores_at_once(sides: &mut TwoSides, documents: &Documents) {
    for row in [
        &[
            "bank:accounts:18446744073709551615",
            "id",
            "18446744073709551615",
            "owner",
            "ada",
            "balance",
            "10.00",
            "f",
            "1e16",
        ][..],
        &["bank:accounts:2", "id", "2", "balance", "20.50"],
        &[
            "bank:accounts:3",
            "id",
            "3",
            "owner",
            "",
            "balance",
            "30.00",
            "f",
            "0.1",
        ],
    ] {
        sides.redis_do(&[&["HSET"], row].concat()).await;
    }
    let of_accounts = |fence| Options {
        fence,
        tables: vec!["bank.accounts".to_owned()],
        ..Options::default()
    };
    let report = sides.check(of_accounts(false)).await;
    assert_eq!(report.verdict, Verdict::Consistent, "{report:#?}");
    let names: Vec<&str> = report.stores.iter().map(|store| store.store.as_str()).collect();
    assert_eq!(names, ["redis", "elasticsearch"]);
    assert_eq!(report.rows_mysql(), 3);

    // The fence reaches one of them only: of the other nothing is known.
    let report = tokio::select! {
        report = sides.check(of_accounts(true)) => report,
        () = carry(sides, None) => panic!("it never ends"),
    };
    let [redis, elasticsearch] = report.stores.as_slice() else {
        panic!("{report:#?}")
    };
    assert_eq!(
        (redis.verdict, redis.rows_mysql()),
        (Verdict::Consistent, 3),
        "{report:#?}"
    );
    assert_eq!(
        (elasticsearch.verdict, elasticsearch.rows_mysql()),
        (Verdict::Unknown, 0)
    );
    let reason = elasticsearch.reason.clone().expect("a reason").what;
    assert!(
        reason.contains("the fence did not arrive in elasticsearch within 1 s"),
        "{reason}"
    );
    assert_eq!(report.verdict, Verdict::Unknown);

    // It reaches both, and a difference in one of them is asked again behind fences of both.
    sides.with_settle_seconds_max(20);
    documents.create(FENCES).await;
    documents
        .put(ACCOUNTS, &[("3", &THREE.replace("30.00", "31.00"))])
        .await;
    let report = tokio::select! {
        report = sides.check(of_accounts(true)) => report,
        () = carry(sides, Some(documents)) => panic!("it never ends"),
    };
    let [redis, elasticsearch] = report.stores.as_slice() else {
        panic!("{report:#?}")
    };
    assert_eq!(
        (redis.verdict, elasticsearch.verdict),
        (Verdict::Consistent, Verdict::Inconsistent)
    );
    assert_eq!(
        (elasticsearch.findings.len(), report.findings_total()),
        (1, 1),
        "{report:#?}"
    );
    assert!(elasticsearch.fence.passed >= 3 && redis.fence.passed == elasticsearch.fence.passed);

    let arguments = ["--no-fence", "--table", "bank.accounts"];
    let output = sides.mysync_check(&arguments).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let printed = String::from_utf8_lossy(&output.stdout);
    for part in [
        "consistent: every row of MySQL is in redis",
        "inconsistent: 0 missing from elasticsearch, 0 extra, 1 different",
        "(elasticsearch key 3)",
        "\ninconsistent: 1 of 2 stores, elasticsearch\n",
    ] {
        assert!(printed.contains(part), "{part} in {printed}");
    }
    let output = sides
        .mysync_check(&[&arguments[..], &["--store", "redis"]].concat())
        .await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let output = sides
        .mysync_check(&[&arguments[..], &["--store", "hbase"]].concat())
        .await;
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(
        printed.contains("section [writer.hbase]: expected, not found"),
        "{printed}"
    );
}
