//! Tests: what a person reads.

use super::*;
use crate::report::{FenceReport, FindingKind, Reason};

fn report() -> Report {
    Report::of(vec![in_redis()], Vec::new(), 8.0)
}

fn in_redis() -> StoreReport {
    let table = |name: &str, rows| TableReport {
        name: name.into(),
        rows_mysql: rows,
        rows_store: rows,
        ..Default::default()
    };
    StoreReport {
        verdict: Verdict::Consistent,
        reason: None,
        store: "redis".into(),
        fence: FenceReport {
            used: true,
            passed: 1,
            wait_seconds_max: 0.0431,
        },
        tables: vec![table("bank.accounts", 1_200_000), table("shop.orders", 40)],
        findings: Vec::new(),
        findings_omitted: 0,
    }
}

fn finding(kind: FindingKind, columns: Vec<ColumnDifference>) -> Finding {
    Finding {
        store: "redis".into(),
        kind,
        table: "bank.accounts".into(),
        key: vec![("id".into(), "7".into())],
        store_key: "bank:accounts:7".into(),
        columns,
        unreadable: None,
    }
}

fn differs(name: &str, mysql: Option<&str>, store: Option<&str>) -> ColumnDifference {
    ColumnDifference {
        name: name.into(),
        mysql: mysql.map(str::to_owned),
        store: store.map(str::to_owned),
    }
}

#[test]
fn a_consistent_report() {
    insta::assert_snapshot!(report_text(&report(), false));
}

#[test]
fn columns_that_were_not_compared_are_named() {
    let mut report = report();
    report.not_compared = vec!["shop.orders.email".into(), "shop.orders.phone".into()];
    insta::assert_snapshot!(report_text(&report, false));
}

#[test]
fn an_inconsistent_report_names_key_and_column() {
    let long = "x".repeat(200);
    let mut redis = in_redis();
    redis.verdict = Verdict::Inconsistent;
    redis.tables[0].different = 2;
    redis.tables[0].missing = 3;
    redis.tables[1].extra = 1;
    redis.fence.passed = 3;
    redis.findings = vec![
        finding(
            FindingKind::Different,
            vec![
                differs("balance", Some("100"), Some("99")),
                differs("owner", None, Some("")),
                differs("note", Some(&format!("{long}a{long}")), Some(&format!("{long}b\n"))),
            ],
        ),
        finding(FindingKind::Missing, Vec::new()),
        finding(FindingKind::Extra, Vec::new()),
        Finding {
            unreadable: Some("redis answered: WRONGTYPE".into()),
            ..finding(FindingKind::Different, Vec::new())
        },
    ];
    redis.findings_omitted = 1234;
    insta::assert_snapshot!(report_text(&Report::of(vec![redis], Vec::new(), 8.0), false));
}

#[test]
fn rows_that_may_have_expired_are_told_from_equal_ones() {
    let mut redis = in_redis();
    redis.tables[0].rows_store = 1_199_000;
    redis.tables[0].expired = 1000;
    insta::assert_snapshot!(report_text(&Report::of(vec![redis], Vec::new(), 8.0), false));
}

#[test]
fn an_unknown_report_says_what_to_do() {
    let text = |store: StoreReport, seconds| report_text(&Report::of(vec![store], Vec::new(), seconds), false);
    let mut fence_missed = StoreReport::unknown("redis", "the fence did not arrive within 30 s", "start the writer");
    let first = text(fence_missed.clone(), 0.0);
    fence_missed.tables = in_redis().tables;
    fence_missed.tables[1].unsettled = 2;
    fence_missed.reason = Some(Reason {
        what: "rows that kept changing: 2".into(),
        hint: "fewer writes".into(),
    });
    insta::assert_snapshot!(first + "--\n" + &text(fence_missed, 8.0));
}

#[test]
fn several_stores_have_a_part_each_and_a_last_word() {
    let mut elasticsearch = StoreReport {
        store: "elasticsearch".into(),
        verdict: Verdict::Inconsistent,
        ..in_redis()
    };
    elasticsearch.tables[0].different = 1;
    elasticsearch.tables[1].extra = 1;
    elasticsearch.findings = vec![
        finding(
            FindingKind::Different,
            vec![differs("balance", Some("100"), Some("99"))],
        ),
        Finding {
            key: Vec::new(),
            store_key: "%x".into(),
            ..finding(FindingKind::Extra, Vec::new())
        },
    ];
    for finding in &mut elasticsearch.findings {
        finding.store = "elasticsearch".into();
    }
    let hbase = StoreReport::unknown("hbase", "the fence did not arrive within 30 s", "start the writer");
    let text = |stores: &[&StoreReport]| {
        let stores = stores.iter().map(|store| (*store).clone()).collect();
        report_text(&Report::of(stores, Vec::new(), 8.0), false)
    };
    let (redis, mut other) = (in_redis(), in_redis());
    other.store = "hbase".into();
    insta::assert_snapshot!(text(&[&redis, &elasticsearch, &hbase]) + "--\n" + &text(&[&redis, &other]));
}

#[test]
fn colour_stands_beside_the_word() {
    let text = report_text(&report(), true);
    assert!(
        text.contains("\u{1b}[1m\u{1b}[32mconsistent\u{1b}[0m: every row"),
        "{text:?}"
    );
}

#[test]
fn an_error_says_what_detail_and_hint() {
    let error = Error::configuration(
        "the configuration is wrong",
        "mysync.toml: key check.x: unknown",
        "drop it",
    );
    insta::assert_snapshot!(error_text(&error, false));
}

#[test]
fn thousands_are_grouped() {
    assert_eq!(
        [0, 999, 1000, 1_234_567].map(grouped),
        ["0", "999", "1,000", "1,234,567"]
    );
}
