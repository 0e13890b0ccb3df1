//! Writers of one group come, go, die and stand still under load: nothing is lost, nothing is applied again over something
//! newer, and the order stays. Needs Docker and the lab's images.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "writer/load.rs"]
mod load;
#[path = "support/process.rs"]
mod process;
#[path = "writer/world.rs"]
mod world;

use fixtures::Lab;
use load::{Load, Watch};
use process::{Process, wait_until};
use world::{Source, create_topic};

const TABLES: [&str; 2] = ["shop.a", "shop.b"];

/// Partitions of all tables' topics.
const PARTITIONS: usize = 8;

/// The least that brokers allow.
const SESSION: &str = "[writer]\nsession_seconds = 6\n";

/// Writes the configuration; gives its path.
fn write_config(lab: &Lab, name: &str, more: &str) -> String {
    let file = lab.folder().join(format!("{name}.toml"));
    std::fs::write(&file, world::toml(lab, &format!("batch_changes_max = 50\n{more}"))).unwrap();
    file.display().to_string()
}

fn start(name: &str, file: &str) -> Process {
    Process::start(name, &["writer", "redis", "--config", file], "mysync=info")
}

/// How many partitions a writer's log says that it has.
fn partitions(writer: &Process) -> usize {
    let log = writer.stderr();
    let mut owned = 0;
    for line in log.lines() {
        let count = || {
            line.rsplit_once("partitions=")
                .unwrap()
                .1
                .trim()
                .parse::<usize>()
                .unwrap()
        };
        if line.contains("partitions assigned") {
            owned += count();
        } else if line.contains("partitions revoked") {
            owned -= count();
        }
    }
    owned
}

fn wait_for_partitions(condition: &str, writers: &[&Process], holds: impl Fn(&[usize]) -> bool) {
    let mut last = Vec::new();
    tokio::task::block_in_place(|| {
        wait_until(condition, || {
            last = writers.iter().map(|writer| partitions(writer)).collect();
            holds(&last).then_some(())
        });
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_that_join_leave_die_and_wake_up_under_load_lose_and_repeat_nothing() {
    let lab = world::lab().await;
    for table in TABLES {
        create_topic(&lab, &format!("w.{table}"), 4).await;
    }
    let file = write_config(&lab, "mysync", SESSION);
    let load = Load::start(Source::open(&lab, "reader").await, &TABLES);
    let watch = Watch::start(&lab);
    let mut first = start("first", &file);
    wait_for_partitions("the first has all", &[&first], |owned| owned == [PARTITIONS]);

    let mut second = start("second", &file);
    wait_for_partitions("two share", &[&first, &second], |owned| owned == [4, 4]);
    load.goes_on().await;
    assert_eq!(second.terminate(), 0);
    wait_for_partitions("one that leaves is not waited for", &[&first], |owned| {
        owned == [PARTITIONS]
    });
    load.goes_on().await;

    let third = start("third", &file);
    wait_for_partitions("the third has its share", &[&first, &third], |owned| owned == [4, 4]);
    load.goes_on().await;
    third.kill();
    wait_for_partitions("the dead one's are taken over", &[&first], |owned| {
        owned == [PARTITIONS]
    });
    load.goes_on().await;

    // It stands still in the middle of its work, and wakes up when others have it.
    let fourth = start("fourth", &file);
    wait_for_partitions("the fourth has its share", &[&first, &fourth], |owned| owned == [4, 4]);
    load.goes_on().await;
    first.signal("STOP");
    wait_for_partitions("the one that stands still is replaced", &[&fourth], |owned| {
        owned == [PARTITIONS]
    });
    load.goes_on().await;
    first.signal("CONT");
    wait_for_partitions("it gets its share again", &[&first, &fourth], |owned| owned == [4, 4]);
    load.goes_on().await;

    let expected = load.stop().await;
    world::wait_for_rows(&lab, &expected).await;
    let seen = watch.stop().await;
    assert!(seen > 100, "{seen} looks");
    assert_eq!(first.terminate(), 0);
    drop(fourth);
    lab.down().await.unwrap();
}
