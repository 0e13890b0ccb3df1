//! A record that cannot be applied stops its partition and nothing else, until a person says how to go on. Needs Docker and the
//! lab's images.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/process.rs"]
mod process;
#[path = "writer/refusing.rs"]
mod refusing;
#[path = "writer/world.rs"]
mod world;

use fixtures::Lab;
use mysync::config::Config;
use mysync::error::Result;
use mysync::metrics::orders::{Asked, Order, Place};
use mysync::metrics::{Exposed, StoppedPartition, WriterMetrics};
use mysync::target::redis::RedisTarget;
use process::{Ended, Process, free_address, get, mysync, wait_until};
use refusing::{Refusal, Refusing};
use std::collections::BTreeMap;
use std::sync::Arc;
use world::{DEADLINE, FENCES, Source, Writer, create_topic, exists, row, wait_for_key, wait_for_rows};

/// Not an operation: the writer does not understand it.
const WRONG: &str = r#"{"op":"x","why":"nobody knows"}"#;

async fn put(source: &Source, table: &str, ids: impl IntoIterator<Item = usize>) {
    source.begin();
    for id in ids {
        source.put(table, &format!("{{\"id\":{id}}}"), &format!("{{\"id\":{id}}}"));
    }
    source.commit().await;
}

/// A process that may take its time.
async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    tokio::task::spawn_blocking(work).await.unwrap()
}

async fn run(arguments: &[&str]) -> Ended {
    let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
    blocking(move || mysync(&arguments.iter().map(String::as_str).collect::<Vec<_>>())).await
}

async fn wait_for_metric(address: &str, line: &str) {
    let (address, line) = (address.to_owned(), line.to_owned());
    blocking(move || {
        wait_until(&format!("the metrics say {line}"), || {
            let (_, text) = get(&address, "/metrics")?;
            text.contains(&line).then_some(())
        });
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_decides_while_all_other_partitions_go_on() {
    let lab = world::lab().await;
    for topic in ["w.shop.a", "w.shop.b", FENCES] {
        create_topic(&lab, topic, 1).await;
    }
    let source = Source::open(&lab, "reader").await;
    let address = free_address();
    let file = lab.folder().join("mysync.toml");
    let toml = world::toml(&lab, &format!("listen = \"{address}\"\n"));
    std::fs::write(&file, toml).unwrap();
    let file = file.to_str().unwrap();
    let start = |name: &str| Process::start(name, &["writer", "redis", "--config", file], "mysync=info");
    let writer = start("stops");

    put(&source, "shop.a", [1]).await;
    source.begin();
    source.send("shop.a", r#"{"id":2}"#, Some(WRONG));
    source.commit().await;
    put(&source, "shop.a", [3]).await;
    wait_for_metric(&address, "mysync_writer_partitions_stopped 1").await;
    source.begin();
    source.put("__db_mysync.t_fence", r#"{"id":"f"}"#, r#"{"id":"f","token":"t"}"#);
    source.commit().await;
    put(&source, "shop.b", [1]).await;
    wait_for_key(&lab, "shop:b:1").await;
    assert!(exists(&lab, "shop:a:1").await && !exists(&lab, "shop:a:3").await);

    let told = run(&["writer", "status", "--config", file]).await;
    assert_eq!(told.code, 1, "{told:?}");
    let stopped = "STOPPED              w.shop.a partition 0 at offset 2, for ";
    assert!(
        told.stdout.contains(stopped) && told.stdout.contains("is not a Debezium envelope"),
        "{told:?}"
    );
    assert_eq!(run(&["status", "--config", file]).await.code, 1);
    let (health_address, health) = (
        address.clone(),
        "1 partitions are stopped, the first: w.shop.a[0] at offset 2: ",
    );
    let (code, text) = blocking(move || get(&health_address, "/health")).await.unwrap();
    assert!(code == 503 && text.starts_with(health), "{text}");

    // Killed and started again it stops at the same place.
    writer.kill();
    let writer = start("stops-again");
    wait_for_metric(&address, "mysync_writer_partitions_stopped 1").await;
    let place = ["--topic", "w.shop.a", "--partition", "0", "--config", file];
    let order = |words: &[&'static str]| -> Vec<&str> { words.iter().copied().chain(place).collect() };
    let told = run(&order(&["writer", "retry"])).await;
    assert_eq!(told.code, 0, "{told:?}");
    let (writer, stops) = (writer, "the partition is stopped, others go on");
    let writer = blocking(move || {
        wait_until("it is stopped again", || {
            (writer.stderr().matches(stops).count() == 2).then_some(())
        });
        writer
    })
    .await;
    let wrong = run(&order(&["writer", "skip", "--offset", "4"])).await;
    assert_eq!(wrong.code, 4, "{wrong:?}");
    assert!(
        wrong
            .stderr
            .contains("w.shop.a[0] is not stopped at offset 4\n  detail: it is at 2: "),
        "{wrong:?}"
    );
    let told = wait_for_fence(&address).await;
    assert!(
        told.contains("1 partitions, of which 1 are stopped: w.shop.a[0]"),
        "{told}"
    );
    assert!(!exists(&lab, "__db_mysync:t_fence:f").await && !exists(&lab, "shop:a:3").await);

    let told = run(&order(&["writer", "skip", "--offset", "2"])).await;
    assert_eq!(told.code, 0, "{told:?}");
    wait_for_key(&lab, "shop:a:3").await;
    wait_for_key(&lab, "__db_mysync:t_fence:f").await;
    wait_for_metric(&address, "mysync_writer_partitions_stopped 0").await;
    wait_for_metric(&address, "mysync_writer_skipped_total 1").await;
    check_dead(&lab).await;
    for (line, code) in [
        ("POST /orders HTTP/1.1\r\n", "403"),
        (
            "POST /orders HTTP/1.1\r\nx-mysync-order: 1\r\nOrigin: http://x\r\n",
            "403",
        ),
        ("POST /metrics HTTP/1.1\r\n", "405"),
        ("GET /orders HTTP/1.1\r\n", "404"),
    ] {
        let (address, request) = (address.clone(), format!("{line}Content-Length: 0\r\n"));
        let answer = blocking(move || process::raw(&address, &request)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {code}")), "{line}: {answer}");
    }
    writer.kill();
    lab.down().await.unwrap();
}

async fn wait_for_fence(address: &str) -> String {
    let address = address.to_owned();
    blocking(move || {
        wait_until("the status says what the fence waits for", || {
            let (_, text) = get(&address, "/status")?;
            let status: serde_json::Value = serde_json::from_str(&text).unwrap();
            status["writer"]["fence_waits"].as_str().map(str::to_owned)
        })
    })
    .await
}

/// The record as it was, and where it stood.
async fn check_dead(lab: &Lab) {
    let dead = world::records(lab, "w.__dead").await;
    let [record] = dead.as_slice() else {
        panic!("{dead:?}");
    };
    assert_eq!(
        (record.key.as_deref(), record.value.as_deref()),
        (Some(r#"{"id":2}"#), Some(WRONG))
    );
    let header = |name: &str| record.headers.get(name).map(String::as_str);
    assert_eq!(header("own"), Some("kept"));
    assert_eq!(
        ["topic", "partition", "offset", "group"].map(|name| header(&format!("mysync.dead.{name}"))),
        [Some("w.shop.a"), Some("0"), Some("2"), Some("w.redis")]
    );
    assert!(
        header("mysync.dead.reason")
            .unwrap()
            .starts_with("a record's value is not a Debezium envelope")
    );
    for time in ["written_ms", "skipped_ms"] {
        header(&format!("mysync.dead.{time}")).unwrap().parse::<u64>().unwrap();
    }
}

fn start(config: &Config, refusal: &Arc<Refusal>, metrics: &Arc<WriterMetrics>) -> Writer {
    let target = Refusing {
        redis: RedisTarget::new(config.writer.redis.as_ref().unwrap(), world::PREFIX).unwrap(),
        refusal: Arc::clone(refusal),
    };
    Writer::start_for(config, target, Arc::clone(metrics))
}

async fn wait_for_stop(metrics: &WriterMetrics) -> StoppedPartition {
    fixtures::wait_for("a partition is stopped", DEADLINE, async || {
        let stopped = metrics
            .status()
            .writer
            .and_then(|writer| writer.stopped.into_iter().next());
        stopped.ok_or_else(|| "none is".to_owned())
    })
    .await
    .unwrap()
}

async fn tell(metrics: &WriterMetrics, order: Order) -> Result<String> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    let orders = metrics.orders().unwrap();
    orders.send(Asked { order, answer }).await.unwrap();
    answered.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_search_for_the_refused_record_loses_nothing_when_it_is_killed_in_the_middle() {
    const ROWS: usize = 400;
    let lab = world::lab().await;
    create_topic(&lab, "w.shop.a", 1).await;
    create_topic(&lab, "w.shop.b", 1).await;
    let source = Source::open(&lab, "reader").await;
    let config = world::config(&lab, "");
    let refusal = Refusal::of("137");
    put(&source, "shop.a", 0..ROWS).await;
    put(&source, "shop.b", 500..500 + ROWS).await;
    let rows = |ids: std::ops::Range<usize>, table: &str| -> BTreeMap<String, world::Row> {
        let row = |id: usize| (format!("shop:{table}:{id}"), row(&[("id", &id.to_string())]));
        ids.map(row).collect()
    };

    // A step of several records was refused, and a smaller one after it: in the middle of the search.
    let metrics = Arc::default();
    let writer = start(&config, &refusal, &metrics);
    fixtures::wait_for("two steps were refused", DEADLINE, async || {
        let refused = refusal.refused.lock().unwrap().len();
        if refused >= 2 {
            Ok(())
        } else {
            Err(format!("{refused}"))
        }
    })
    .await
    .unwrap();
    writer.kill().await;
    let steps = refusal.refused.lock().unwrap().clone();
    assert!(steps[0] > 100 && steps[1] < steps[0], "{steps:?}");

    let metrics: Arc<WriterMetrics> = Arc::default();
    let writer = start(&config, &refusal, &metrics);
    let stopped = wait_for_stop(&metrics).await;
    assert_eq!(
        (&*stopped.topic, stopped.partition, stopped.offset),
        ("w.shop.a", 0, 137)
    );
    assert_eq!(stopped.reason, "the store does not want this row");
    assert_eq!(refusal.refused.lock().unwrap().last(), Some(&1));
    // All before it, nothing behind it, and everything of the other partition.
    let mut expected = rows(0..137, "a");
    expected.extend(rows(500..500 + ROWS, "b"));
    wait_for_rows(&lab, &expected).await;

    // Nothing is tried by itself.
    let tries = refusal.refused.lock().unwrap().len();
    put(&source, "shop.a", [ROWS]).await;
    put(&source, "shop.b", [500 + ROWS]).await;
    wait_for_key(&lab, &format!("shop:b:{}", 500 + ROWS)).await;
    assert_eq!(refusal.refused.lock().unwrap().len(), tries);

    // The store wants it now.
    *refusal.key.lock().unwrap() = None;
    let place = Place {
        topic: "w.shop.a".into(),
        partition: 0,
    };
    tell(&metrics, Order::Retry(Some(place.clone()))).await.unwrap();
    expected.extend(rows(137..ROWS + 1, "a"));
    expected.extend(rows(500 + ROWS..501 + ROWS, "b"));
    wait_for_rows(&lab, &expected).await;
    let nothing = tell(&metrics, Order::Skip(place, 137)).await.unwrap_err();
    assert_eq!(nothing.what, "w.shop.a[0] is not stopped here");
    writer.stop().await;
    lab.down().await.unwrap();
}
