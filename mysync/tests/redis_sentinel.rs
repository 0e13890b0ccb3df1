//! A failover of Redis that loses writes which were acknowledged: the new master's cursor is older, so they are played again.
//! Needs Docker and the lab's images.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "redis/feed.rs"]
mod feed;

use feed::{DEADLINE, Feed, PREFIX, Writer, config, parse, rows_of, wait_for_error, wait_for_rows};
use fixtures::{Lab, Redis};
use mysync::error::Kind;
use mysync::target::Target;
use mysync::target::redis::RedisTarget;

/// Writes that the master acknowledges and the replica never gets: it is off the network. Then the master dies.
async fn lose_writes(lab: &Lab, feed: &Feed) {
    let [master, replica] = lab.redis_servers() else {
        panic!("{:?}", lab.redis_servers());
    };
    replica.cut_off().await.unwrap();
    feed.make(300);
    let expected = feed.expected();
    fixtures::wait_for("the master has acknowledged everything", DEADLINE, async || {
        feed::compare(&rows_of(master).await?, &expected)
    })
    .await
    .unwrap();
    master.kill().await.unwrap();
    replica.reconnect().await.unwrap();
    assert_ne!(rows_of(replica).await.unwrap(), expected, "nothing was lost");
}

async fn wait_for_role(server: &Redis, role: &str) {
    fixtures::wait_for(&format!("{} is {role}", server.name()), DEADLINE, async || match server
        .command::<String>("INFO replication")
        .await
    {
        Ok(text) if text.contains(&format!("role:{role}")) => Ok(()),
        Ok(text) => Err(text),
        Err(error) => Err(error.to_string()),
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_failover_by_sentinels_loses_is_played_again() {
    let builder = Lab::builder().name("redis-sentinel").redis_sentinel();
    let lab = builder.start().await.unwrap();
    let toml = config(&lab, "");
    let feed = Feed::new();
    let writer = Writer::start(&toml, &feed);
    feed.make(500);
    wait_for_rows(&lab, &feed).await;
    lose_writes(&lab, &feed).await;
    feed.make(100);
    wait_for_role(&lab.redis_servers()[1], "master").await;
    wait_for_rows(&lab, &feed).await;
    let back = writer.story().back.clone();
    assert!(!back.is_empty() && !back.contains(&0), "{back:?}");

    // The old master comes back, and is made a replica under the writer's eyes.
    lab.redis_servers()[0].start().await.unwrap();
    wait_for_role(&lab.redis_servers()[0], "slave").await;
    feed.make(100);
    wait_for_rows(&lab, &feed).await;
    writer.stop().await;

    // Whoever is not up is passed over; a name that nobody knows is the configuration's fault.
    let alive = &toml.sentinels[0];
    let section = |sentinels: &str, name: &str| {
        parse(
            "[writer.redis]\n",
            &format!("sentinels = {sentinels}\nmaster_name = {name:?}"),
        )
    };
    let mut target = RedisTarget::new(&section(&format!("[\"127.0.0.1:1\", {alive:?}]"), "lab"), PREFIX).unwrap();
    target.connect().await.unwrap();
    for (sentinels, name, kind, what) in [
        (
            format!("[{alive:?}]"),
            "other",
            Kind::Configuration,
            "no sentinel names the master \"other\"",
        ),
        (
            "[\"127.0.0.1:1\"]".into(),
            "lab",
            Kind::Transient,
            "no sentinel names the master \"lab\"",
        ),
    ] {
        let mut target = RedisTarget::new(&section(&sentinels, name), PREFIX).unwrap();
        let error = target.connect().await.unwrap_err();
        assert_eq!((error.kind, error.what.as_str()), (kind, what), "{error}");
    }
    lab.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replica_promoted_by_hand_lacks_is_played_again() {
    let builder = Lab::builder().name("redis-replica").redis_replicas(1);
    let lab = builder.start().await.unwrap();
    let [old, new] = lab.redis_servers() else {
        panic!("{:?}", lab.redis_servers());
    };
    let addresses = format!("addresses = [{:?}, {:?}]", new.address(), old.address());
    let toml = parse("[writer.redis]\n", &addresses);
    let feed = Feed::new();
    let writer = Writer::start(&toml, &feed);
    feed.make(500);
    wait_for_rows(&lab, &feed).await;
    lose_writes(&lab, &feed).await;
    feed.make(100);
    wait_for_error(&writer, "no Redis server of writer.redis.addresses is a master").await;
    new.command::<()>("REPLICAOF NO ONE").await.unwrap();
    wait_for_rows(&lab, &feed).await;
    let story = writer.stop().await;
    assert!(!story.back.is_empty() && !story.back.contains(&0), "{story:?}");

    // The old master comes back as one: nobody can tell which is right.
    old.start().await.unwrap();
    let mut target = RedisTarget::new(&toml, PREFIX).unwrap();
    let error = target.connect().await.unwrap_err();
    assert!(
        error.is_transient() && error.what.contains("several Redis servers are masters"),
        "{error}"
    );
    let master = format!("REPLICAOF {} {}", new.host(), new.port());
    old.command::<()>(&master).await.unwrap();
    target.connect().await.unwrap();
    lab.down().await.unwrap();
}
