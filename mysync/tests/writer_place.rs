//! A writer keeps its place in its group when the broker dies that coordinates it, and has it again at once when it was killed
//! and started anew. Needs Docker and the lab's images.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "writer/load.rs"]
mod load;
#[path = "support/process.rs"]
mod process;
#[path = "writer/world.rs"]
mod world;

use fixtures::Lab;
use load::Load;
use process::{Process, wait_until};
use std::time::{Duration, Instant};
use world::{Source, create_replicated, wait_for_key, wait_for_rows};

const TABLES: [&str; 2] = ["shop.a", "shop.b"];

/// The default, in which the brokers do not give up a writer that they do not hear of.
const SESSION: Duration = Duration::from_secs(20);

/// Partitions of the topic that holds the groups, in the lab.
const GROUPS_PARTITIONS: i32 = 3;

/// The partition of `__consumer_offsets` whose leader coordinates a group: Java's hash of its name.
fn groups_partition(group: &str) -> i32 {
    let hash = group
        .bytes()
        .fold(0_i32, |hash, byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte)));
    (hash & i32::MAX) % GROUPS_PARTITIONS
}

fn start(name: &str, file: &str) -> Process {
    Process::start(name, &["writer", "redis", "--config", file], "mysync=info")
}

/// Waits until it has been given partitions.
async fn wait_for_partitions(writer: Process) -> Process {
    tokio::task::spawn_blocking(move || {
        wait_until("the writer has its partitions", || {
            writer.stderr().contains("partitions assigned").then_some(())
        });
        writer
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_kept_when_the_coordinator_dies_and_had_again_at_once_after_a_kill() {
    let lab = Lab::builder().brokers(3).redis().start().await.unwrap();
    for table in TABLES {
        create_replicated(&lab, &format!("w.{table}"), 3, 3).await;
    }
    let file = lab.folder().join("mysync.toml");
    std::fs::write(&file, world::toml(&lab, "")).unwrap();
    let file = file.to_str().unwrap();
    let writer = wait_for_partitions(start("place", file)).await;
    let load = Load::start(Source::open(&lab, "reader").await, &TABLES);
    load.goes_on().await;

    let kafka = lab.kafka().unwrap();
    let partition = groups_partition("w.redis");
    let coordinator = kafka.leader_of("__consumer_offsets", partition).await.unwrap();
    kafka.broker(coordinator).unwrap().kill().await.unwrap();
    kafka
        .wait_for_other_leader("__consumer_offsets", partition, coordinator)
        .await
        .unwrap();
    load.goes_on().await;
    kafka.broker(coordinator).unwrap().start().await.unwrap();
    load.goes_on().await;
    let expected = load.stop().await;
    wait_for_rows(&lab, &expected).await;
    assert!(!writer.stderr().contains("partitions revoked"), "{}", writer.stderr());

    // Killed: the brokers go on waiting for it. A table comes while it is dead.
    writer.kill();
    create_replicated(&lab, "w.shop.new", 1, 3).await;
    let source = Source::open(&lab, "late").await;
    source.begin();
    source.put("shop.new", r#"{"id":1}"#, r#"{"id":1}"#);
    source.put("shop.a", r#"{"id":99}"#, r#"{"id":99}"#);
    source.commit().await;
    let begun = Instant::now();
    let mut writer = start("again", file);
    for key in ["shop:a:99", "shop:new:1"] {
        wait_for_key(&lab, key).await;
    }
    let took = begun.elapsed();
    assert!(
        took < SESSION / 2,
        "it waited for its own end: {took:?}\n{}",
        writer.stderr()
    );
    assert!(writer.stderr().contains("taking the place of a writer of this name"));

    // Ended in good order it leaves at once: its successor finds nobody.
    assert_eq!(writer.terminate(), 0);
    let writer = wait_for_partitions(start("successor", file)).await;
    assert!(!writer.stderr().contains("taking the place"), "{}", writer.stderr());
    writer.kill();

    // Of two of one name the newest goes on.
    let named = lab.folder().join("named.toml");
    std::fs::write(
        &named,
        world::toml(&lab, "[writer]\nmember = \"one\"\nsession_seconds = 6\n"),
    )
    .unwrap();
    let named = named.to_str().unwrap();
    let mut older = wait_for_partitions(start("older", named)).await;
    let newer = wait_for_partitions(start("newer", named)).await;
    let (code, told) = tokio::task::spawn_blocking(move || (older.ended(), older.stderr()))
        .await
        .unwrap();
    assert_eq!(code, 4, "{told}");
    assert!(
        told.contains("another writer of group w.redis has the same name: one"),
        "{told}"
    );
    newer.kill();
    lab.down().await.unwrap();
}
