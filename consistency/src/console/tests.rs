//! Tests: what a person reads.

use super::*;
use crate::report::{FenceReport, FindingKind, Reason};

fn report() -> Report {
    let table = |name: &str, rows| TableReport {
        name: name.into(),
        rows_mysql: rows,
        rows_store: rows,
        ..Default::default()
    };
    Report {
        verdict: Verdict::Consistent,
        reason: None,
        store: "redis".into(),
        seconds: 8.0,
        fence: FenceReport {
            used: true,
            passed: 1,
            wait_seconds_max: 0.0431,
        },
        tables: vec![table("bank.accounts", 1_200_000), table("shop.orders", 40)],
        findings: Vec::new(),
        findings_omitted: 0,
        not_compared: Vec::new(),
    }
}

fn finding(kind: FindingKind, columns: Vec<ColumnDifference>) -> Finding {
    Finding {
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
    let mut report = report();
    report.verdict = Verdict::Inconsistent;
    report.tables[0].different = 2;
    report.tables[0].missing = 3;
    report.tables[1].extra = 1;
    report.fence.passed = 3;
    report.findings = vec![
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
    report.findings_omitted = 1234;
    insta::assert_snapshot!(report_text(&report, false));
}

#[test]
fn an_unknown_report_says_what_to_do() {
    let mut fence_missed = Report::unknown("redis", "the fence did not arrive within 30 s", "start the writer");
    let first = report_text(&fence_missed, false);
    fence_missed.seconds = 8.0;
    fence_missed.tables = report().tables;
    fence_missed.tables[1].unsettled = 2;
    fence_missed.reason = Some(Reason {
        what: "rows that kept changing: 2".into(),
        hint: "fewer writes".into(),
    });
    insta::assert_snapshot!(first + "--\n" + &report_text(&fence_missed, false));
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
