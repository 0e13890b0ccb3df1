//! One name that moves from server to server, as of a proxy or in DNS, is all that the reader knows: it follows whoever stands
//! behind it, a replica too, and publishes each change once. Needs Docker and the lab's images; without them it fails with the
//! remedy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "reader/consumer.rs"]
#[allow(dead_code)] // The tests of the reader look at more of a record.
mod consumer;
#[path = "support/way.rs"]
mod way;
#[path = "switch/world.rs"]
#[allow(dead_code)] // Where all servers are known, more is told of them.
mod world;

use consumer::read_all;
use fixtures::{Lab, Mysql};
use mysync::{config, stop};
use std::sync::Arc;
use way::Way;
use world::{TOPIC, World, promote, read, wait};

#[tokio::test]
async fn every_change_once_whoever_stands_behind_the_name() {
    let lab = Lab::builder().mysql("8.0").replicas(1).gtid(true).brokers(1);
    let lab = lab.start().await.unwrap();
    let [first, second] = [0, 1].map(|index| lab.mysql(index).unwrap().clone());
    let name = Way::to(&first.address()).await;
    let mut config = config::parse(&lab.config_toml("switch", &["shop.*"]), "test.toml").unwrap();
    config.source.servers = vec![name.address.clone()];
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
        a_planned_move(&mut world, &name, [&first, &second]).await;
        the_name_moves_too_early(&mut world, &name, [&second, &first]).await;
        the_primary_dies(&mut world, &name, [&first, &second]).await;
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
}

/// Its connections stay with the old server until it asks for the name again.
async fn follows_the_name(world: &World, switches: u64) {
    let what = format!("the reader has gone to another server {switches} times");
    wait(&what, async || (world.status().switches >= switches).then_some(())).await;
    assert_eq!(world.status().switches, switches);
}

/// The old primary is a replica then, and the reader hears of everything on either.
async fn a_planned_move(world: &mut World, name: &Way, [old, new]: [&Mysql; 2]) {
    old.sql("SET GLOBAL super_read_only = ON").await.unwrap();
    promote(new, old).await;
    old.repoint(new).await.unwrap();
    name.moves_to(&new.address());
    world.insert(new).await;
    world.published().await;
    follows_the_name(world, 1).await;
    world.insert(new).await;
    world.published().await;
}

/// A replica stands behind it for a while.
async fn the_name_moves_too_early(world: &mut World, name: &Way, [old, new]: [&Mysql; 2]) {
    name.moves_to(&new.address());
    world.insert(old).await;
    follows_the_name(world, 2).await;
    world.insert(old).await;
    world.published().await;
    old.sql("SET GLOBAL super_read_only = ON").await.unwrap();
    promote(new, old).await;
    old.repoint(new).await.unwrap();
    world.insert(new).await;
    world.published().await;
}

async fn the_primary_dies(world: &mut World, name: &Way, [old, new]: [&Mysql; 2]) {
    new.wait_until_caught_up(old).await.unwrap();
    old.kill().await.unwrap();
    name.moves_to(&new.address());
    new.promote().await.unwrap();
    world.insert(new).await;
    world.published().await;
    follows_the_name(world, 3).await;
}
