//! The writer against real Kafka and Redis.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "writer/world.rs"]
mod world;

use mysync::config::Layout;
use mysync::queue::Partition;
use mysync::target::redis::RedisTarget;
use mysync::target::{Cursor, RowChange, Step, TableName, Target};
use std::collections::BTreeMap;
use std::sync::Arc;
use world::{FENCES, Row, Source, Writer, create_topic, exists, row, wait_for_key, wait_for_rows};

/// Changes to the tables `shop.a` and `shop.b`, and what they lead to.
struct Changes {
    expected: BTreeMap<String, Row>,
    state: u64,
}

impl Changes {
    fn new() -> Self {
        Self {
            expected: BTreeMap::new(),
            state: 4_711,
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % bound
    }

    /// Some transactions of some changes each; every third is aborted, and leads to nothing.
    async fn make(&mut self, source: &Source, transactions: usize) {
        for transaction in 0..transactions {
            let before = self.expected.clone();
            source.begin();
            for change in 0..20 {
                let table = ["shop.a", "shop.b"][usize::from(self.below(2) == 1)];
                let id = self.below(200);
                let key = format!("{{\"id\":{id}}}");
                let row_key = format!("{}:{id}", table.replace('.', ":"));
                if self.below(4) == 0 {
                    source.delete(table, &key);
                    self.expected.remove(&row_key);
                    continue;
                }
                let note = format!("{transaction}/{change} \u{1F600}");
                let (text, mut columns) = (
                    self.below(2) == 0,
                    row(&[("id", &id.to_string()), ("n", "18446744073709551615")]),
                );
                source.put(
                    table,
                    &key,
                    &format!(
                        "{{\"id\":{id},\"n\":18446744073709551615,\"note\":{}}}",
                        if text { format!("{note:?}") } else { "null".into() }
                    ),
                );
                if text {
                    columns.insert("note".into(), note);
                }
                self.expected.insert(row_key, columns);
            }
            if transaction % 3 == 2 {
                source.flush().await;
                source.abort().await;
                self.expected = before;
            } else {
                source.commit().await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_started_again_redis_is_equal_and_aborted_changes_never_show() {
    let lab = world::lab().await;
    create_topic(&lab, "w.shop.a", 3).await;
    let source = Source::open(&lab, "reader").await;
    let mut config = world::config(&lab, "");
    config.writer.redis.as_mut().unwrap().batch_changes_max = 7;
    let mut changes = Changes::new();

    let writer = Writer::start(&config);
    // A table that comes while the writer runs.
    create_topic(&lab, "w.shop.b", 2).await;
    for _ in 0..4 {
        changes.make(&source, 10).await;
    }
    writer.kill().await;
    changes.make(&source, 10).await;
    let writer = Writer::start(&config);
    changes.make(&source, 10).await;
    wait_for_rows(&lab, &changes.expected).await;
    let summary = writer.stop().await;
    assert!(summary.changes > 0 && summary.records >= summary.changes, "{summary}");

    // Nothing is left to do, and no cursor stands before the end.
    let summary = Writer::catch_up(&config).await.unwrap();
    assert_eq!((summary.records, summary.changes), (0, 0), "{summary}");
    lab.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_comes_back_empty_gets_everything_again() {
    let lab = world::lab().await;
    create_topic(&lab, "w.shop.a", 3).await;
    create_topic(&lab, "w.shop.b", 3).await;
    let source = Source::open(&lab, "reader").await;
    let config = world::config(&lab, "");
    let mut changes = Changes::new();
    let writer = Writer::start(&config);
    changes.make(&source, 20).await;
    wait_for_rows(&lab, &changes.expected).await;

    // While the writer runs and is connected.
    let mut connection = lab.redis().unwrap().connect().await.unwrap();
    redis::cmd("FLUSHALL").exec_async(&mut connection).await.unwrap();
    changes.make(&source, 5).await;
    wait_for_rows(&lab, &changes.expected).await;

    // While it is not.
    lab.redis().unwrap().kill().await.unwrap();
    changes.make(&source, 10).await;
    lab.redis().unwrap().start().await.unwrap();
    wait_for_rows(&lab, &changes.expected).await;
    writer.stop().await;
    lab.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_that_goes_away_and_comes_back_is_waited_for() {
    let lab = world::lab().await;
    create_topic(&lab, "w.shop.a", 3).await;
    create_topic(&lab, "w.shop.b", 3).await;
    let config = world::config(&lab, "");
    let mut changes = Changes::new();
    let writer = Writer::start(&config);
    let source = Source::open(&lab, "reader").await;
    changes.make(&source, 10).await;
    wait_for_rows(&lab, &changes.expected).await;
    lab.kafka().unwrap().kill_all().await.unwrap();
    lab.kafka().unwrap().start_all().await.unwrap();
    let source = Source::open(&lab, "reader").await;
    changes.make(&source, 10).await;
    wait_for_rows(&lab, &changes.expected).await;
    writer.stop().await;
    lab.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_share_the_partitions() {
    let lab = world::lab().await;
    create_topic(&lab, "w.shop.a", 4).await;
    create_topic(&lab, "w.shop.b", 4).await;
    create_topic(&lab, FENCES, 3).await;
    let source = Source::open(&lab, "reader").await;
    let config = world::config(&lab, "");
    let mut changes = Changes::new();
    let first = Writer::start(&config);
    changes.make(&source, 10).await;
    let second = Writer::start(&config);
    changes.make(&source, 30).await;
    // A fence waits for the partitions of both.
    source.begin();
    source.put("__db_mysync.t_fence", r#"{"id":"f"}"#, r#"{"id":"f","token":"t"}"#);
    source.commit().await;
    changes
        .expected
        .insert("__db_mysync:t_fence:f".into(), row(&[("id", "f"), ("token", "t")]));
    wait_for_rows(&lab, &changes.expected).await;
    first.kill().await;
    changes.make(&source, 10).await;
    wait_for_rows(&lab, &changes.expected).await;
    second.stop().await;
    lab.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_waits_for_all_that_was_written_before_it() {
    let lab = world::lab().await;
    for topic in ["w.shop.a", "w.shop.b", FENCES] {
        create_topic(&lab, topic, 3).await;
    }
    let (slow, aborting, source) = (
        Source::open(&lab, "slow").await,
        Source::open(&lab, "aborting").await,
        Source::open(&lab, "fast").await,
    );
    let writer = Writer::start(&world::config(&lab, ""));
    let fence = |id: &str| {
        source.begin();
        source.put(
            "__db_mysync.t_fence",
            &format!("{{\"id\":\"{id}\"}}"),
            &format!("{{\"id\":\"{id}\",\"token\":\"t\"}}"),
        );
    };

    // Written, not decided yet: the marks of a transaction reach its partitions one after the other.
    for (undecided, id) in [(&slow, 1), (&aborting, 2)] {
        undecided.begin();
        undecided.put("shop.a", &format!("{{\"id\":{id}}}"), &format!("{{\"id\":{id}}}"));
        undecided.flush().await;
    }
    // Fences of several partitions, which must not wait for each other.
    for id in ["f1", "f2", "f3", "f4"] {
        fence(id);
        source.commit().await;
    }
    // A row that comes later overtakes the fences, so these have been met.
    source.begin();
    source.put("shop.b", r#"{"id":3}"#, r#"{"id":3}"#);
    source.commit().await;
    wait_for_key(&lab, "shop:b:3").await;
    // A table that comes while a fence is held.
    create_topic(&lab, "w.shop.new", 2).await;
    source.begin();
    source.put("shop.new", r#"{"id":4}"#, r#"{"id":4}"#);
    source.commit().await;
    wait_for_key(&lab, "shop:new:4").await;
    assert!(!exists(&lab, "__db_mysync:t_fence:f1").await);

    slow.commit().await;
    aborting.abort().await;
    for id in ["f1", "f2", "f3", "f4"] {
        wait_for_key(&lab, &format!("__db_mysync:t_fence:{id}")).await;
    }
    assert!(exists(&lab, "shop:a:1").await && !exists(&lab, "shop:a:2").await);

    // A fence whose table's topic the writer has not found yet.
    create_topic(&lab, "w.shop.newest", 1).await;
    source.begin();
    source.put("shop.newest", r#"{"id":5}"#, r#"{"id":5}"#);
    source.commit().await;
    fence("f1");
    source.put("__db_mysync.t_fence", r#"{"id":"f5"}"#, r#"{"id":"f5","token":"t"}"#);
    source.commit().await;
    wait_for_key(&lab, "__db_mysync:t_fence:f5").await;
    assert!(exists(&lab, "shop:newest:5").await);
    writer.stop().await;
    lab.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_was_replaced_changes_nothing() {
    let lab = world::lab().await;
    let config = world::config(&lab, "");
    let mut redis = config.writer.redis.clone().unwrap();
    let partition = Partition {
        topic: "w.shop.a".into(),
        number: 0,
    };
    let at = |offset| Cursor {
        offset,
        version: Some(1 << 48),
    };
    let step = |before: Option<i64>, after: i64, value: Option<&str>| Step {
        partition: partition.clone(),
        cursor_before: before.map(at),
        cursor_after: at(after),
        changes: vec![RowChange {
            table: Arc::new(TableName {
                database: "shop".into(),
                table: "a".into(),
            }),
            key: vec![("id".into(), "1".into())],
            row: value.map(|value| serde_json::value::RawValue::from_string(value.into()).unwrap()),
            version: 1,
            columns_changed: None,
        }],
    };
    let mut targets = Vec::new();
    for _ in 0..2 {
        let mut target = RedisTarget::new(&redis, world::PREFIX).unwrap();
        target.connect().await.unwrap();
        targets.push(target);
    }
    let [zombie, successor] = targets.as_mut_slice() else {
        unreachable!()
    };
    zombie
        .apply(&[step(None, 5, Some(r#"{"id":1,"v":"a","w":"stale"}"#))])
        .await
        .unwrap();
    successor
        .apply(&[step(Some(5), 9, Some(r#"{"id":1,"v":"b","w":null}"#))])
        .await
        .unwrap();
    // The stale step stands between two that fit: each is its own.
    for stale in [
        step(Some(5), 7, Some(r#"{"id":1,"v":"z"}"#)),
        step(None, 7, None),
        step(Some(10), 11, None),
    ] {
        let error = zombie.apply(&[stale]).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
    }
    let expected = BTreeMap::from([("shop:a:1".to_owned(), row(&[("id", "1"), ("v", "b")]))]);
    wait_for_rows(&lab, &expected).await;
    assert_eq!(
        zombie.cursors(std::slice::from_ref(&partition)).await.unwrap()[&partition],
        Some(at(9))
    );

    // A refused command leaves the cursor where it was.
    let mut connection = lab.redis().unwrap().connect().await.unwrap();
    redis::cmd("CONFIG")
        .arg("SET")
        .arg("maxmemory")
        .arg("1")
        .exec_async(&mut connection)
        .await
        .unwrap();
    let error = successor
        .apply(&[step(Some(9), 12, Some(r#"{"id":1}"#))])
        .await
        .unwrap_err();
    assert!(error.is_transient(), "{error}");
    redis::cmd("CONFIG")
        .arg("SET")
        .arg("maxmemory")
        .arg("0")
        .exec_async(&mut connection)
        .await
        .unwrap();
    wait_for_rows(&lab, &expected).await;

    // A row of 1,500 columns, more than Lua unpacks at once; and the other layout.
    let wide: BTreeMap<String, String> = (0..1_500)
        .map(|column| (format!("c{column}"), column.to_string()))
        .collect();
    successor
        .apply(&[step(Some(9), 12, Some(&serde_json::to_string(&wide).unwrap()))])
        .await
        .unwrap();
    wait_for_rows(&lab, &BTreeMap::from([("shop:a:1".to_owned(), wide)])).await;
    redis.layout = Layout::Json;
    let mut json = RedisTarget::new(&redis, world::PREFIX).unwrap();
    json.connect().await.unwrap();
    json.apply(&[step(Some(12), 13, Some(r#"{"id":1, "v":null}"#))])
        .await
        .unwrap();
    let found: String = redis::cmd("GET")
        .arg("shop:a:1")
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(found, r#"{"id":1, "v":null}"#);
    json.apply(&[step(Some(13), 14, None)]).await.unwrap();
    assert!(!exists(&lab, "shop:a:1").await);
    lab.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_applied_ends_a_run_to_the_end_and_says_where() {
    let lab = world::lab().await;
    create_topic(&lab, "w.shop.a", 1).await;
    let source = Source::open(&lab, "reader").await;
    let config = world::config(&lab, "");

    // A row of 40 MB as text, twice what a 16 MB BLOB takes, goes through.
    let blob = "x".repeat(40_000_000);
    source.begin();
    source.put("shop.a", r#"{"id":1}"#, &format!("{{\"id\":1,\"blob\":\"{blob}\"}}"));
    source.commit().await;
    let summary = Writer::catch_up(&config).await.unwrap();
    assert_eq!((summary.records, summary.changes), (1, 1));
    let mut connection = lab.redis().unwrap().connect().await.unwrap();
    let length: usize = redis::cmd("HSTRLEN")
        .arg("shop:a:1")
        .arg("blob")
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(length, blob.len());

    source.begin();
    source.send("shop.a", r#"{"id":2}"#, Some(r#"{"op":"x"}"#));
    source.commit().await;
    let error = Writer::catch_up(&config).await.unwrap_err();
    assert_eq!(
        error.what,
        "partition w.shop.a[0] is stopped at offset 2: a record's value is not a Debezium envelope"
    );
    assert!(error.detail.unwrap().contains("w.shop.a[0] at offset 2"));

    // The topic is deleted and created anew: the cursor points to nothing.
    world::delete_topic(&lab, "w.shop.a").await;
    fixtures::wait_for("the topic can be created anew", world::DEADLINE, async || {
        match lab.kafka().unwrap().partitions("w.shop.a").await {
            Ok(partitions) if !partitions.is_empty() => Err("it is still there".to_owned()),
            _ => Ok(()),
        }
    })
    .await
    .unwrap();
    create_topic(&lab, "w.shop.a", 1).await;
    let error = Writer::start(&config).failure().await;
    assert_eq!(
        error.what,
        "the target's cursor lies outside of partition w.shop.a[0]: 2"
    );
    lab.down().await.unwrap();
}
