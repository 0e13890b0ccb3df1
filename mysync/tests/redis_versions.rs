//! What the target Redis promises holds on Redis 7, Redis 8 and Valkey 8, on a server alone and on a cluster. Needs Docker and
//! the lab's images.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "redis/feed.rs"]
mod feed;

use feed::{
    Feed, PREFIX, Row, Rows, Writer, change, compare, config, partition, rows, step, wait_for_error, wait_for_rows,
};
use fixtures::{Lab, Redis};
use mysync::target::redis::RedisTarget;
use mysync::target::{Outcome, Target};
use redis::FromRedisValue;

#[tokio::test(flavor = "multi_thread")]
async fn redis_7() {
    promises(Lab::builder().redis_image("redis-7")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_8() {
    promises(Lab::builder().redis_image("redis")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn valkey_8() {
    promises(Lab::builder().redis_image("valkey-8")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_redis_7() {
    promises(Lab::builder().redis_image("redis-7").redis_cluster()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_redis_8() {
    promises(Lab::builder().redis_image("redis").redis_cluster()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_valkey_8() {
    promises(Lab::builder().redis_image("valkey-8").redis_cluster()).await;
}

async fn promises(builder: fixtures::LabBuilder) {
    let lab = builder.name("redis-versions").start().await.unwrap();
    a_writer_that_was_replaced_changes_nothing(&lab).await;
    wide_rows_and_rows_as_json(&lab).await;
    nothing_is_left_of_other_columns_or_layouts(&lab).await;
    rows_expire_and_cursors_do_not(&lab).await;
    replays_end_as_they_began(&lab).await;
    a_full_server_is_waited_for_and_deletes_make_room(&lab).await;
    lab.down().await.unwrap();
}

async fn target(lab: &Lab, more: &str) -> RedisTarget {
    let mut target = RedisTarget::new(&config(lab, more), PREFIX).unwrap();
    target.connect().await.unwrap();
    target
}

/// The server that holds a key.
async fn holder<'l>(lab: &'l Lab, key: &str) -> &'l Redis {
    for server in lab.redis_servers() {
        if server.command::<u32>(&format!("EXISTS {key}")).await.is_ok() {
            return server;
        }
    }
    panic!("no server holds {key}");
}

async fn ask<T: FromRedisValue>(lab: &Lab, command: &str, key: &str) -> T {
    let server = holder(lab, key).await;
    server.command(&format!("{command} {key}")).await.unwrap()
}

async fn everywhere(lab: &Lab, command: &str) {
    for server in lab.redis_servers() {
        server.command::<redis::Value>(command).await.unwrap();
    }
}

async fn applied(target: &mut RedisTarget, step: mysync::target::Step) {
    let outcomes = target.apply(&[step]).await.unwrap();
    assert!(matches!(outcomes[..], [Outcome::Applied]), "{outcomes:?}");
}

fn row(columns: &[(&str, &str)]) -> Row {
    let columns = columns.iter();
    columns.map(|(name, text)| ((*name).into(), (*text).into())).collect()
}

async fn a_writer_that_was_replaced_changes_nothing(lab: &Lab) {
    let (mut zombie, mut successor) = (target(lab, "").await, target(lab, "").await);
    let stale = r#"{"id":1,"v":"a","w":"stale"}"#;
    applied(
        &mut zombie,
        step(None, 5, vec![change(1, 5, Some(stale)), change(2, 4, Some(stale))]),
    )
    .await;
    let fresh = r#"{"id":1,"v":"b","w":null}"#;
    applied(
        &mut successor,
        step(Some(5), 9, vec![change(1, 9, Some(fresh)), change(2, 8, None)]),
    )
    .await;
    let expected = Rows::from([("shop:a:1".into(), row(&[("id", "1"), ("v", "b")]))]);
    for stale_step in [
        step(Some(5), 7, vec![change(1, 7, Some(stale)), change(2, 7, Some(stale))]),
        step(None, 7, vec![change(1, 7, None)]),
        step(Some(10), 11, vec![change(2, 11, Some(stale))]),
    ] {
        let error = zombie.apply(&[stale_step]).await.unwrap_err();
        assert!(
            error.is_transient() && error.to_string().contains("CURSORMOVED"),
            "{error}"
        );
    }
    compare(&rows(lab).await.unwrap(), &expected).unwrap();
    let cursors = zombie.cursors(&[partition(0)]).await.unwrap();
    assert_eq!(cursors[&partition(0)].unwrap().offset, 9);
    everywhere(lab, "FLUSHALL").await;
}

async fn wide_rows_and_rows_as_json(lab: &Lab) {
    // More columns than Lua unpacks at once.
    let wide: Row = (0..1_500)
        .map(|column| (format!("c{column}"), column.to_string()))
        .collect();
    let text = serde_json::to_string(&wide).unwrap();
    let mut hashes = target(lab, "").await;
    applied(
        &mut hashes,
        step(None, 2, vec![change(1, 2, Some(&text)), change(2, 1, Some(&text))]),
    )
    .await;
    assert_eq!(rows(lab).await.unwrap()["shop:a:1"], wide);
    let mut strings = target(lab, "layout = \"json\"").await;
    applied(
        &mut strings,
        step(Some(2), 3, vec![change(1, 3, Some(r#"{"id":1, "v":null}"#))]),
    )
    .await;
    assert_eq!(ask::<String>(lab, "GET", "shop:a:1").await, r#"{"id":1, "v":null}"#);
    applied(&mut strings, step(Some(3), 4, vec![change(1, 4, None)])).await;
    assert_eq!(ask::<u32>(lab, "EXISTS", "shop:a:1").await, 0);

    // What is no row stops its step and no other, and its cursor stays.
    let outcomes = hashes
        .apply(&[step(Some(4), 6, vec![change(2, 6, Some("[1]"))])])
        .await
        .unwrap();
    let [Outcome::Refused(error)] = &outcomes[..] else {
        panic!("{outcomes:?}");
    };
    assert_eq!(
        error.what,
        "a row of table shop.a is not a JSON object of columns: id=2"
    );
    assert_eq!(rows(lab).await.unwrap()["shop:a:2"], wide);
    assert_eq!(
        hashes.cursors(&[partition(0)]).await.unwrap()[&partition(0)]
            .unwrap()
            .offset,
        4
    );
    everywhere(lab, "FLUSHALL").await;
}

async fn nothing_is_left_of_other_columns_or_layouts(lab: &Lab) {
    let columns = |range: std::ops::Range<u32>| -> Row { range.map(|n| (format!("c{n}"), n.to_string())).collect() };
    let mut hashes = target(lab, "").await;
    let mut strings = target(lab, "layout = \"json\"").await;
    applied(&mut strings, step(None, 1, vec![change(1, 1, Some("{}"))])).await;
    // Over a string; some columns shared, more and fewer than Lua unpacks at once; none shared.
    let shapes = [
        0..3,
        1..4,
        0..2_500,
        100..2_600,
        3_000..3_002,
        4_000..6_500,
        7_000..7_001,
    ];
    for (before, shape) in (1..).zip(shapes) {
        let row = columns(shape);
        let text = serde_json::to_string(&row).unwrap();
        applied(
            &mut hashes,
            step(Some(before), before + 1, vec![change(1, before + 1, Some(&text))]),
        )
        .await;
        assert_eq!(rows(lab).await.unwrap()["shop:a:1"], row);
    }
    everywhere(lab, "FLUSHALL").await;
}

async fn rows_expire_and_cursors_do_not(lab: &Lab) {
    let row = r#"{"id":1,"v":"a"}"#;
    let mut long = target(lab, "ttl_seconds = 1000").await;
    applied(&mut long, step(None, 1, vec![change(1, 1, Some(row))])).await;
    let left: i64 = ask(lab, "TTL", "shop:a:1").await;
    assert!((900..=1_000).contains(&left), "{left}");
    let mut strings = target(lab, "ttl_seconds = 1000\nlayout = \"json\"").await;
    applied(&mut strings, step(Some(1), 2, vec![change(2, 2, Some(row))])).await;
    assert!(ask::<i64>(lab, "TTL", "shop:a:2").await > 900);

    let mut short = target(lab, "ttl_seconds = 1").await;
    applied(
        &mut short,
        step(Some(2), 3, vec![change(1, 3, Some(row)), change(2, 3, Some(row))]),
    )
    .await;
    fixtures::wait_for("the rows have expired", feed::DEADLINE, async || {
        match rows(lab).await?.len() {
            0 => Ok(()),
            count => Err(format!("{count} rows are there")),
        }
    })
    .await
    .unwrap();
    assert_eq!(
        short.cursors(&[partition(0)]).await.unwrap()[&partition(0)]
            .unwrap()
            .offset,
        3
    );

    // Without the option a row that is written again lasts.
    let mut lasting = target(lab, "").await;
    applied(&mut lasting, step(Some(3), 4, vec![change(1, 4, Some(row))])).await;
    assert_eq!(ask::<i64>(lab, "TTL", "shop:a:1").await, -1);
    everywhere(lab, "FLUSHALL").await;
}

async fn replays_end_as_they_began(lab: &Lab) {
    let feed = Feed::new();
    feed.make(1_500);
    let writer = Writer::start(&config(lab, ""), &feed);
    wait_for_rows(lab, &feed).await;
    // Emptied while the writer is connected.
    everywhere(lab, "FLUSHALL").await;
    feed.make(300);
    wait_for_rows(lab, &feed).await;
    let story = writer.stop().await;
    assert!(story.back.contains(&0), "{story:?}");

    // All cursors are gone, and all rows are there.
    for server in lab.redis_servers() {
        for key in server.command::<Vec<String>>("KEYS __mysync:cursor:*").await.unwrap() {
            server.command::<u32>(&format!("DEL {key}")).await.unwrap();
        }
    }
    let story = Writer::start(&config(lab, ""), &feed).stop().await;
    assert!(story.errors.is_empty(), "{story:?}");
    wait_for_rows(lab, &feed).await;
}

async fn a_full_server_is_waited_for_and_deletes_make_room(lab: &Lab) {
    let mut cursors = target(lab, "").await;
    let before = cursors.cursors(&[partition(0)]).await.unwrap()[&partition(0)].unwrap();
    let feed = Feed::new();
    everywhere(lab, "CONFIG SET maxmemory 1").await;
    // Deletes go through, and nothing else does.
    let after = |offset| mysync::target::Cursor {
        offset: before.offset + offset,
        version: before.version,
    };
    let version = before.version.unwrap();
    let ids: Vec<u64> = rows(lab)
        .await
        .unwrap()
        .keys()
        .map(|key| key[7..].parse().unwrap())
        .collect();
    let mut deletes = step(None, 0, ids.iter().map(|id| change(*id, version + 1, None)).collect());
    (deletes.cursor_before, deletes.cursor_after) = (Some(before), after(1));
    let mut mixed = step(None, 0, vec![change(1, version + 2, Some(r#"{"id":1}"#))]);
    (mixed.cursor_before, mixed.cursor_after) = (Some(after(1)), after(2));
    let outcome = cursors.apply(&[deletes]).await;
    compare(&rows(lab).await.unwrap(), &Rows::new()).unwrap();
    if lab.redis_servers().len() == 1 {
        assert!(matches!(outcome.unwrap()[..], [Outcome::Applied]));
        let error = cursors.apply(&[mixed]).await.unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("OOM"), "{error}");
        assert_eq!(
            cursors.cursors(&[partition(0)]).await.unwrap()[&partition(0)],
            Some(after(1))
        );
    } else {
        // The cursor moves when there is room for it.
        let error = outcome.unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("OOM"), "{error}");
    }
    everywhere(lab, "CONFIG SET maxmemory 0").await;
    everywhere(lab, "FLUSHALL").await;

    everywhere(lab, "CONFIG SET maxmemory 1").await;
    feed.make(400);
    let writer = Writer::start(&config(lab, ""), &feed);
    wait_for_error(&writer, "OOM").await;
    compare(&rows(lab).await.unwrap(), &Rows::new()).unwrap();
    everywhere(lab, "CONFIG SET maxmemory 0").await;
    wait_for_rows(lab, &feed).await;
    writer.stop().await;
}
