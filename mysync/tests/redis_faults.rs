//! A Redis server that is killed, paused, cut off, slow, restarted empty or restored from an older backup while changes come:
//! the rows are right in the end. (A full one is in redis_versions.rs.) Needs Docker and the lab's images.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "redis/feed.rs"]
mod feed;

use feed::{Feed, Writer, config, wait_for_error, wait_for_rows};
use fixtures::{Lab, Redis};

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_right_after_every_fault_of_the_server() {
    let lab = Lab::builder().name("redis-faults").redis().start().await.unwrap();
    let redis = lab.redis().unwrap();
    let feed = Feed::new();
    let writer = Writer::start(&config(&lab, ""), &feed);
    feed.make(600);
    wait_for_rows(&lab, &feed).await;

    // Killed while changes are on their way: what was acknowledged is there, so nothing goes back.
    feed.make(2_000);
    redis.kill().await.unwrap();
    feed.make(100);
    wait_for_error(&writer, "Connection refused").await;
    redis.start().await.unwrap();
    wait_for_rows(&lab, &feed).await;
    assert_eq!(writer.story().back, [0; 0]);

    // Frozen for longer than an answer may take, then awake with commands of a connection that was given up.
    redis.pause().await.unwrap();
    feed.make(400);
    wait_for_error(&writer, "timed out").await;
    redis.unpause().await.unwrap();
    wait_for_rows(&lab, &feed).await;

    // Off the network.
    redis.cut_off().await.unwrap();
    writer.story().errors.clear();
    feed.make(400);
    wait_for_error(&writer, "Redis").await;
    redis.reconnect().await.unwrap();
    wait_for_rows(&lab, &feed).await;

    slow(redis, &feed).await;
    wait_for_rows(&lab, &feed).await;
    assert_eq!(writer.story().back, [0; 0]);

    // An older backup: what came since is played again.
    copy(redis, "cp -r appendonlydir backup").await;
    feed.make(400);
    wait_for_rows(&lab, &feed).await;
    copy(redis, "rm -r appendonlydir && mv backup appendonlydir").await;
    redis.kill().await.unwrap();
    feed.make(50);
    redis.start().await.unwrap();
    wait_for_rows(&lab, &feed).await;
    let back = std::mem::take(&mut writer.story().back);
    assert!(!back.is_empty() && !back.contains(&0), "{back:?}");

    // Nothing is left: everything is played again.
    copy(redis, "rm -r appendonlydir").await;
    redis.kill().await.unwrap();
    feed.make(50);
    redis.start().await.unwrap();
    wait_for_rows(&lab, &feed).await;
    assert!(writer.story().back.contains(&0), "{:?}", writer.story().back);
    writer.stop().await;
    lab.down().await.unwrap();
}

/// Every command waits for a third of a second, again and again.
async fn slow(redis: &Redis, feed: &Feed) {
    for _ in 0..5 {
        feed.make(100);
        redis.command::<()>("CLIENT PAUSE 300 ALL").await.unwrap();
        // Answered when the pause is over.
        redis.command::<String>("PING").await.unwrap();
    }
}

/// Changes the files below the running server, which goes on writing to those that it has open.
async fn copy(redis: &Redis, command: &str) {
    redis.exec(&["sh", "-c", command]).await.unwrap();
}
