//! The reader over switches of the primary with GTID, on real servers: each change once, whatever the old primary does. Needs
//! Docker and the lab's images; without them it fails with the remedy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "reader/consumer.rs"]
#[allow(dead_code)] // The tests of the reader look at more of a record.
mod consumer;
#[path = "switch/world.rs"]
mod world;

use consumer::read_all;
use fixtures::{Lab, Mysql};
use mysync::{config, stop};
use std::sync::Arc;
use std::time::Duration;
use world::{TOPIC, World, promote, read};

/// From the new primary's first own change to its record. It takes below a second; the machine of the tests is shared.
const RECOVERY_MAX: Duration = Duration::from_secs(10);

/// A row that the first primary gets after it was left behind.
const ERRANT: i32 = 1_000;

#[tokio::test]
async fn every_change_once_over_switches_whatever_becomes_of_the_old_primary() {
    let lab = Lab::builder()
        .mysql("8.0")
        .replicas(2)
        .gtid(true)
        .brokers(1)
        .start()
        .await
        .unwrap();
    let config = config::parse(&lab.config_toml("switch", &["shop.*"]), "test.toml").unwrap();
    let [first, second, third] = [0, 1, 2].map(|index| lab.mysql(index).unwrap().clone());
    first
        .sql("CREATE DATABASE shop; CREATE TABLE shop.a (id INT PRIMARY KEY)")
        .await
        .unwrap();
    let mut world = World {
        lab,
        metrics: Arc::default(),
        written: Vec::new(),
    };
    world.insert(&first).await;
    let (sender, stop) = stop::channel();
    let reading = read(config, Arc::clone(&world.metrics), stop);
    let steps = async {
        world.published().await;
        world.insert(&first).await;
        world.published().await;
        world.told(&second, "read-only, replicates from").await;

        the_primary_dies(&mut world, [&first, &second, &third]).await;
        the_old_primary_returns(&mut world, [&first, &second, &third]).await;
        two_take_writes(&mut world, [&second, &third]).await;
        the_primary_freezes(&mut world, [&second, &third]).await;
        a_planned_switch(&mut world, [&third, &second]).await;
        back_to_the_first(&mut world, [&second, &first]).await;
        sender.stop();
        world
    };
    let (summary, world) = tokio::join!(reading, steps);
    summary.unwrap();

    let mut seen = read_all(&world.lab, TOPIC).await;
    seen.sort_by_key(|record| record.version);
    let keys: Vec<String> = seen.iter().map(|record| record.key.clone()).collect();
    let expected: Vec<String> = world.written.iter().map(|id| format!("{{\"id\":{id}}}")).collect();
    assert_eq!(keys, expected);
    let epochs: Vec<i64> = seen.iter().map(|record| record.version >> 48).collect();
    assert_eq!(epochs, [1, 1, 2, 2, 2, 3, 3, 4, 5, 5]);
}

async fn the_primary_dies(world: &mut World, [old, new, other]: [&Mysql; 3]) {
    new.wait_until_caught_up(old).await.unwrap();
    old.kill().await.unwrap();
    world.refused("no server of source.servers is the primary").await;
    new.promote().await.unwrap();
    world.insert(new).await;
    let recovery = world.published().await;
    assert!(recovery < RECOVERY_MAX, "{recovery:?}");
    assert_eq!(world.status().server, new.address());
    other.repoint(new).await.unwrap();
}

/// With a transaction of its own, and writable, as it was.
async fn the_old_primary_returns(world: &mut World, [old, new, _]: [&Mysql; 3]) {
    old.start().await.unwrap();
    assert_eq!(old.value("SELECT @@read_only").await.unwrap(), "0");
    old.sql(&format!("INSERT INTO shop.a VALUES ({ERRANT})")).await.unwrap();
    world.told(old, "left behind when the reader went on elsewhere").await;
    world.told(old, "has transactions that the primary lacks").await;
    world.insert(new).await;
    world.published().await;
    // Not even while the new primary is away is it followed.
    new.kill().await.unwrap();
    world.refused("left behind when the reader went on elsewhere").await;
    new.start().await.unwrap();
    old.stop().await.unwrap();
}

async fn two_take_writes(world: &mut World, [primary, beside]: [&Mysql; 2]) {
    promote(beside, primary).await;
    world.refused("split brain: 2 servers").await;
    world.insert(primary).await;
    beside.repoint(primary).await.unwrap();
    world.published().await;
    assert_eq!(world.status().server, primary.address());
}

/// Its connections stay open, and nothing comes any more. It comes back writable, and is ignored.
async fn the_primary_freezes(world: &mut World, [old, new]: [&Mysql; 2]) {
    new.wait_until_caught_up(old).await.unwrap();
    old.pause().await.unwrap();
    new.promote().await.unwrap();
    world.insert(new).await;
    let recovery = world.published().await;
    assert!(recovery < RECOVERY_MAX, "{recovery:?}");
    old.unpause().await.unwrap();
    world.told(old, "left behind when the reader went on elsewhere").await;
    world.insert(new).await;
    world.published().await;
    old.repoint(new).await.unwrap();
}

async fn a_planned_switch(world: &mut World, [old, new]: [&Mysql; 2]) {
    old.sql("SET GLOBAL super_read_only = ON").await.unwrap();
    world.refused("no server of source.servers is the primary").await;
    promote(new, old).await;
    old.repoint(new).await.unwrap();
    world.insert(new).await;
    world.published().await;
    assert_eq!(world.status().server, new.address());
    assert_eq!(world.status().switches, 3);
}

/// What the first primary did by itself while it was left behind comes now, and is told.
async fn back_to_the_first(world: &mut World, [old, first]: [&Mysql; 2]) {
    first.start().await.unwrap();
    first.repoint(old).await.unwrap();
    first.wait_until_caught_up(old).await.unwrap();
    old.kill().await.unwrap();
    first.promote().await.unwrap();
    world.written.push(ERRANT);
    world.insert(first).await;
    world.published().await;
    let status = world.status();
    assert_eq!((status.server, status.switches), (first.address(), 4));
    let errant = status.errant.unwrap();
    let uuid = first.value("SELECT @@server_uuid").await.unwrap();
    assert!(errant.starts_with(&uuid) && !errant.contains(','), "{errant}");
}
