//! Every series that is served stands in docs/metrics.md, and every series that stands there is served.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use mysync::decode::RowsKind;
use mysync::error::Error;
use mysync::metrics::{Exposed, ReaderMetrics, WriterMetrics};
use mysync::queue::Partition;
use mysync::target::{RowChange, Step, TableName};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

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
    let partition = Partition {
        topic: "p.shop.a".into(),
        number: 0,
    };
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
        partition: partition.clone(),
        cursor_before: None,
        cursor_after: mysync::target::Cursor {
            offset: 1,
            version: None,
        },
        changes: vec![change],
    };
    metrics.apply_begun();
    metrics.apply_done(Some((&[step], 1)));
    metrics.retried("queue", &Error::transient("down"));
    metrics.lag(&BTreeMap::from([(partition.clone(), 5)]), [(&partition, 2)].into_iter());
    metrics
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
