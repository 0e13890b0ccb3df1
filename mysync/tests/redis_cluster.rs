//! A Redis Cluster whose slots move and whose nodes die, lose writes or come back empty while changes come: the rows are right in
//! the end, and none goes back meanwhile. Needs Docker and the lab's images.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "redis/feed.rs"]
mod feed;

use feed::{DEADLINE, Feed, Rows, Writer, change, compare, config, rows_of, step, wait_for_error, wait_for_rows};
use fixtures::{Lab, Redis};
use mysync::target::Target;
use mysync::target::redis::RedisTarget;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const SLOTS_MOVED: usize = 25;

async fn lab() -> Lab {
    let builder = Lab::builder().name("redis-cluster").redis_image("redis-7");
    builder.redis_cluster().start().await.unwrap()
}

async fn id(node: &Redis) -> String {
    node.command("CLUSTER MYID").await.unwrap()
}

/// Moves a slot as redis-cli does, key by key.
async fn move_slot(lab: &Lab, slot: u16, from: &Redis, to: &Redis) {
    let (from_id, to_id) = (id(from).await, id(to).await);
    let set = |what: String| format!("CLUSTER SETSLOT {slot} {what}");
    to.command::<()>(&set(format!("IMPORTING {from_id}"))).await.unwrap();
    from.command::<()>(&set(format!("MIGRATING {to_id}"))).await.unwrap();
    let mut connection = from.connect().await.unwrap();
    loop {
        let next = format!("CLUSTER GETKEYSINSLOT {slot} 1");
        let keys: Vec<String> = from.command(&next).await.unwrap();
        let Some(key) = keys.first() else {
            break;
        };
        let mut migrate = redis::cmd("MIGRATE");
        migrate
            .arg(to.host().to_string())
            .arg(to.port())
            .arg(key)
            .arg(0)
            .arg(5_000);
        migrate.exec_async(&mut connection).await.unwrap();
    }
    for node in [to, from].into_iter().chain(lab.redis_servers()) {
        node.command::<()>(&set(format!("NODE {to_id}"))).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_move_under_load() {
    let lab = lab().await;
    let nodes = lab.redis_servers();
    let feed = Feed::new();
    feed.make(800);
    let writer = Writer::start(&config(&lab, ""), &feed);
    wait_for_rows(&lab, &feed).await;

    // Slot 0, where the first node's cursor is, and those of some of its rows.
    let mut slots = vec![0];
    for number in 0..300 {
        let slot: u16 = nodes[0]
            .command(&format!("CLUSTER KEYSLOT shop:a:{number}"))
            .await
            .unwrap();
        if slot < 5_461 && !slots.contains(&slot) && slots.len() <= SLOTS_MOVED {
            slots.push(slot);
        }
    }
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn({
        let (feed, stop) = (feed.clone(), Arc::clone(&stop));
        async move {
            let mut pace = tokio::time::interval(Duration::from_millis(2));
            while !stop.load(Ordering::SeqCst) {
                pace.tick().await;
                feed.make(20);
            }
        }
    });
    for slot in &slots {
        move_slot(&lab, *slot, &nodes[0], &nodes[3]).await;
    }
    stop.store(true, Ordering::SeqCst);
    load.await.unwrap();
    wait_for_rows(&lab, &feed).await;
    let there = rows_of(&nodes[3]).await.unwrap().len();
    assert!(there > SLOTS_MOVED / 2, "{there} rows in {SLOTS_MOVED} slots");

    // Whoever comes now finds all cursors, and nothing to do.
    let story = writer.stop().await;
    assert!(story.errors.is_empty(), "{story:?}");
    let story = Writer::start(&config(&lab, ""), &feed).stop().await;
    assert!(story.errors.is_empty(), "{story:?}");
    feed.make(500);
    let writer = Writer::start(&config(&lab, ""), &feed);
    wait_for_rows(&lab, &feed).await;
    // What has moved there is lost there.
    restart(&nodes[3], "rm -r appendonlydir").await;
    feed.make(50);
    wait_for_rows(&lab, &feed).await;
    assert!(writer.story().back.contains(&0), "{:?}", writer.story().back);
    writer.stop().await;
    lab.down().await.unwrap();
}

/// Changes what is on the disk of a running node, kills it, and starts it.
async fn restart(node: &Redis, command: &str) {
    node.exec(&["sh", "-c", command]).await.unwrap();
    node.kill().await.unwrap();
    node.start().await.unwrap();
}

/// Has a node come back with less than it had, while changes come: the rows are right in the end, and until then no row of
/// another node is older than it was.
async fn loses(lab: &Lab, feed: &Feed, node: &Redis, command: &str) {
    let before = feed.expected();
    let version = |row: &feed::Row| row["v"].parse::<i64>().unwrap();
    restart(node, command).await;
    feed.make(50);
    let expected = feed.expected();
    fixtures::wait_for("the lost rows are there again", DEADLINE, async || {
        let mut found = Rows::new();
        for other in lab.redis_servers().iter().take(3) {
            let rows = rows_of(other).await?;
            for (key, row) in rows.iter().filter(|_| other.name() != node.name()) {
                let least = before.get(key).map_or(0, version);
                assert!(version(row) >= least, "{key} went back");
            }
            found.extend(rows);
        }
        compare(&found, &expected)
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_right_after_every_fault_of_a_node() {
    let lab = lab().await;
    let nodes = lab.redis_servers();
    let feed = Feed::new();
    feed.make(1_000);
    let writer = Writer::start(&config(&lab, ""), &feed);
    wait_for_rows(&lab, &feed).await;

    // Killed, and started again with all it had.
    feed.make(1_000);
    nodes[0].kill().await.unwrap();
    feed.make(100);
    wait_for_error(&writer, "Redis").await;
    nodes[0].start().await.unwrap();
    wait_for_rows(&lab, &feed).await;
    assert_eq!(writer.story().back, [0; 0]);

    // Frozen until the others take it for dead.
    nodes[1].pause().await.unwrap();
    feed.make(200);
    fixtures::wait_for("the node is taken for dead", DEADLINE, async || {
        match nodes[0].command::<String>("CLUSTER INFO").await {
            Ok(text) if text.contains("cluster_state:fail") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    nodes[1].unpause().await.unwrap();
    wait_for_rows(&lab, &feed).await;

    // Empty: everything is played again, and the rows of the other nodes do not go back meanwhile.
    loses(&lab, &feed, &nodes[1], "rm -r appendonlydir").await;
    assert!(writer.story().back.contains(&0), "{:?}", writer.story().back);

    // An older backup of one node.
    writer.story().back.clear();
    nodes[2].exec(&["cp", "-r", "appendonlydir", "backup"]).await.unwrap();
    feed.make(600);
    wait_for_rows(&lab, &feed).await;
    let older = "rm -r appendonlydir && mv backup appendonlydir";
    loses(&lab, &feed, &nodes[2], older).await;
    let back = std::mem::take(&mut writer.story().back);
    assert!(!back.is_empty() && !back.contains(&0), "{back:?}");

    failover(&lab, &feed).await;
    wait_for_rows(&lab, &feed).await;
    let back = std::mem::take(&mut writer.story().back);
    assert!(!back.is_empty() && !back.contains(&0), "{back:?}");
    writer.stop().await;
    a_late_writer_takes_no_row_back(&lab, &feed).await;
    lab.down().await.unwrap();
}

/// The third node's replica takes over without its last writes, and the third node comes back as its replica.
async fn failover(lab: &Lab, feed: &Feed) {
    let (master, replica) = (&lab.redis_servers()[2], &lab.redis_servers()[3]);
    replica
        .command::<()>(&format!("CLUSTER REPLICATE {}", id(master).await))
        .await
        .unwrap();
    let expected = rows_of(master).await.unwrap();
    fixtures::wait_for("the replica has everything", DEADLINE, async || {
        compare(&rows_of_replica(replica).await?, &expected)
    })
    .await
    .unwrap();
    replica.cut_off().await.unwrap();
    feed.make(600);
    wait_for_rows(lab, feed).await;
    master.kill().await.unwrap();
    replica.reconnect().await.unwrap();
    assert_eq!(rows_of_replica(replica).await.unwrap(), expected, "nothing was lost");
    replica.command::<()>("CLUSTER FAILOVER TAKEOVER").await.unwrap();
    feed.make(100);
    wait_for_rows(lab, feed).await;
    master.start().await.unwrap();
    fixtures::wait_for("the old master is a replica", DEADLINE, async || {
        match master.command::<String>("INFO replication").await {
            Ok(text) if text.contains("role:slave") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
}

/// A replica gives its keys, but rows only to who says that stale ones will do.
async fn rows_of_replica(replica: &Redis) -> Result<Rows, String> {
    let mut connection = replica.connect().await.map_err(|error| error.to_string())?;
    let keys: Vec<String> = replica
        .command("KEYS shop:*")
        .await
        .map_err(|error| error.to_string())?;
    let mut pipeline = redis::Pipeline::new();
    pipeline.cmd("READONLY").ignore();
    for key in &keys {
        pipeline.cmd("HGETALL").arg(key);
    }
    let rows: Vec<feed::Row> = pipeline
        .query_async(&mut connection)
        .await
        .map_err(|error| error.to_string())?;
    Ok(keys.into_iter().zip(rows).collect())
}

/// Rows that a writer has written whose cursors it could not move any more are not taken back by one that knows less.
async fn a_late_writer_takes_no_row_back(lab: &Lab, feed: &Feed) {
    let newest = 1 << 60;
    let row = |text: &str| format!("{{\"id\":1,\"v\":{text:?}}}");
    // Another group's cursors: as if this writer had died before it moved its own.
    let mut early = RedisTarget::new(&config(lab, ""), "other").unwrap();
    early.connect().await.unwrap();
    let step_of = |one, two| step(None, 1, vec![change(1, newest, one), change(2, newest, two)]);
    early.apply(&[step_of(Some(row("new").as_str()), None)]).await.unwrap();

    let mut late = RedisTarget::new(&config(lab, ""), "late").unwrap();
    late.connect().await.unwrap();
    let old = row("old");
    let changes = vec![change(1, newest - 1, Some(&old)), change(2, newest - 1, Some(&old))];
    late.apply(&[step(None, 1, changes)]).await.unwrap();
    let mut expected = feed.expected();
    expected.insert(
        "shop:a:1".into(),
        [("id", "1"), ("v", "new")]
            .map(|(name, text)| (name.into(), text.into()))
            .into(),
    );
    expected.remove("shop:a:2");
    compare(&feed::rows(lab).await.unwrap(), &expected).unwrap();

    // A row that is gone without having been deleted is written whatever its version says.
    for node in lab.redis_servers() {
        drop(node.command::<u32>("DEL shop:a:1").await);
    }
    late.apply(&[{
        let mut again = step(Some(1), 2, vec![change(1, newest - 1, Some(&old))]);
        again.cursor_before = Some(step(None, 1, vec![]).cursor_after);
        again
    }])
    .await
    .unwrap();
    let rows = feed::rows(lab).await.unwrap();
    assert_eq!(rows["shop:a:1"]["v"], "old");
}
