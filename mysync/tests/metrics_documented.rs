//! Every series that is served stands in docs/metrics.md, and every series that stands there is served.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use mysync::decode::RowsKind;
use mysync::error::Error;
use mysync::metrics::{Exposed, ReaderMetrics, WriterMetrics};
use mysync::queue::Partition;
use mysync::target::{RowChange, Step, TableName};
use mysync::writer::{Obstacle, Progress, Read, Round};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Names of the series of a scrape; a histogram's as one.
fn served(text: &str) -> BTreeSet<String> {
    let name = |line: &str| {
        let name = line.split(['{', ' ']).next().unwrap();
        let histogram = ["_bucket", "_sum", "_count"];
        let end = histogram.iter().find_map(|end| name.strip_suffix(end));
        end.unwrap_or(name).to_owned()
    };
    text.lines().filter(|line| !line.starts_with('#')).map(name).collect()
}

fn reader() -> ReaderMetrics {
    let metrics = ReaderMetrics::default();
    metrics.table("shop", "a").count(RowsKind::Insert, 1);
    metrics
}

fn writer() -> WriterMetrics {
    let metrics = WriterMetrics::default();
    let change = RowChange {
        table: Arc::new(TableName {
            database: "shop".into(),
            table: "a".into(),
        }),
        key: Vec::new(),
        row: None,
        version: 1,
        columns_changed: None,
    };
    let step = Step {
        partition: partition(),
        cursor_before: None,
        cursor_after: mysync::target::Cursor {
            offset: 1,
            version: None,
        },
        changes: vec![change],
    };
    let read = Read { records: 1, copies: 0 };
    metrics.set_target("redis");
    metrics.apply_begun();
    metrics.apply_done(Some(&Round {
        steps: vec![step],
        read: vec![read],
    }));
    metrics.retried("queue", &Error::transient("down"));
    lag(&metrics, Some(2), None);
    metrics
}

fn partition() -> Partition {
    Partition {
        topic: "p.shop.a".into(),
        number: 0,
    }
}

/// The partition ends at 5; what is here and not applied was written so many seconds ago.
fn lag(metrics: &WriterMetrics, applied_to: Option<i64>, waits_s: Option<u64>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let ago_ms = |seconds| i64::try_from((now - Duration::from_secs(seconds)).as_millis()).unwrap();
    let progress = Progress {
        applied_to,
        waiting_since_ms: waits_s.map(ago_ms),
        applied_ms: None,
    };
    metrics.lag(
        &BTreeMap::from([(partition(), 5)]),
        [(&partition(), progress)].into_iter(),
    );
}

/// The value of a series without labels.
fn value(metrics: &WriterMetrics, name: &str) -> f64 {
    let text = metrics.text();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap().parse().unwrap()
}

#[test]
fn seconds_behind_are_those_of_the_oldest_record_that_waits_and_unknown_is_no_zero() {
    let metrics = WriterMetrics::default();
    let is = |expected: f64| {
        let seconds = value(&metrics, "mysync_writer_lag_seconds");
        assert!(
            (expected..expected + 5.0).contains(&seconds),
            "{seconds} instead of {expected}"
        );
    };
    is(-1.0);
    // Something is to be applied, and nothing of it is here.
    lag(&metrics, Some(2), None);
    is(-1.0);
    lag(&metrics, Some(2), Some(700));
    is(700.0);
    lag(&metrics, Some(5), None);
    assert!(value(&metrics, "mysync_writer_lag_seconds").abs() < f64::EPSILON);
    // What came since was written since.
    lag(&metrics, Some(2), None);
    is(0.0);
    lag(&metrics, None, None);
    is(-1.0);
    assert!(metrics.text().contains("mysync_writer_lag_records -1"));
}

#[test]
fn a_stopped_partition_is_told_everywhere_and_is_not_healthy() {
    let metrics = WriterMetrics::default();
    metrics.condition.run();
    assert!(metrics.status().healthy);
    let obstacle = Obstacle {
        offset: 41,
        reason: Error::definite("a record's value is not a Debezium envelope").hint("look"),
        written_ms: None,
    };
    metrics.set_stopped([(&partition(), &obstacle)].into_iter());
    metrics.set_fence_waits(Some("1 partitions".into()));
    let status = metrics.status();
    assert_eq!(
        status.reason.unwrap(),
        "1 partitions are stopped, the first: p.shop.a[0] at offset 41: a record's value is not a Debezium envelope; hint: look"
    );
    let writer = status.writer.unwrap();
    assert_eq!(
        (writer.stopped[0].offset, writer.fence_waits),
        (41, Some("1 partitions".into()))
    );
    assert!((value(&metrics, "mysync_writer_partitions_stopped") - 1.0).abs() < f64::EPSILON);
    metrics.set_stopped(std::iter::empty());
    assert!(metrics.status().healthy);
}

#[test]
fn every_series_is_documented_and_served() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .join("docs/metrics.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.split("## Series").nth(1).unwrap().lines();
    let documented: BTreeSet<String> = rows
        .filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned()))
        .collect();
    let mut all = served(&reader().text());
    all.extend(served(&writer().text()));
    assert_eq!(documented, all);
}

#[test]
fn tables_beyond_the_bound_count_together_and_partitions_that_are_gone_have_no_series() {
    let metrics = ReaderMetrics::default();
    for number in 0..=mysync::metrics::TABLES_MAX {
        metrics.table("shop", &format!("t{number}")).count(RowsKind::Update, 2);
    }
    let text = metrics.text();
    assert!(text.contains("mysync_reader_changes_read_total{database=\"shop\",table=\"t1999\",op=\"update\"} 2"));
    assert!(text.contains("mysync_reader_changes_read_total{database=\"(other)\",table=\"(other)\",op=\"update\"} 2"));
    assert!(!text.contains("table=\"t2000\""));

    let metrics = writer();
    assert!(metrics.text().contains("mysync_writer_lag_records 3"));
    assert!(
        metrics
            .text()
            .contains("mysync_writer_partition_lag_records{topic=\"p.shop.a\",partition=\"0\"} 3")
    );
    metrics.lag_unknown(&Error::transient("the brokers do not answer"));
    assert!(
        metrics
            .text()
            .contains("mysync_writer_partition_lag_records{topic=\"p.shop.a\",partition=\"0\"} -1")
    );
    metrics.lag(&BTreeMap::new(), std::iter::empty());
    assert!(
        !metrics.text().contains("partition=\"0\""),
        "it is another writer's now"
    );
    assert!(metrics.text().contains("mysync_writer_lag_records -1"), "not 0");
}
