//! Several targets at once: each has its own group and pace, and one that is added later gets everything from the oldest record
//! on. Redis is real, the others are in memory. Needs Docker and the lab's images.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "writer/load.rs"]
mod load;
#[path = "writer/memory.rs"]
mod memory;
#[path = "writer/world.rs"]
mod world;

use load::Load;
use memory::{Memory, Store};
use mysync::metrics::{Exposed, WriterMetrics};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Semaphore;
use world::{Row, Source, Writer, create_topic, wait_for_rows};

const TABLES: [&str; 2] = ["shop.a", "shop.b"];

async fn wait_for_store(store: &Store, expected: &BTreeMap<String, Row>) {
    let text = |row: &Row| format!("{{\"id\":{},\"n\":{}}}", row["id"], row["n"]);
    let expected: BTreeMap<String, String> = expected.iter().map(|(key, row)| (key.clone(), text(row))).collect();
    fixtures::wait_for(
        "the store in memory holds exactly the rows expected",
        world::DEADLINE,
        async || {
            let found = store.rows();
            match found == expected {
                true => Ok(()),
                false => Err(format!("{} rows found, {} expected", found.len(), expected.len())),
            }
        },
    )
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_stands_still_slows_no_other_and_a_later_one_gets_everything() {
    let lab = world::lab().await;
    for table in TABLES {
        create_topic(&lab, &format!("w.{table}"), 2).await;
    }
    let config = world::config(&lab, "batch_changes_max = 50\n");
    let metrics: Arc<WriterMetrics> = Arc::default();
    metrics.set_served();
    let stuck = Store::new("stuck");
    let redis = Writer::start(&config);
    let standing = Writer::start_for(&config, Memory(Arc::clone(&stuck)), Arc::clone(&metrics));
    let load = Load::start(Source::open(&lab, "reader").await, &TABLES);
    load.goes_on().await;
    load.goes_on().await;
    let expected = load.stop().await;
    wait_for_rows(&lab, &expected).await;
    assert_eq!(stuck.rows(), BTreeMap::new(), "it has not taken anything yet");
    // It knows that it is behind, and since when.
    fixtures::wait_for("the one that stands still knows its lag", world::DEADLINE, async || {
        let writer = metrics.status().writer.unwrap();
        let is_known = writer.lag_records > 0 && writer.lag_seconds > 0.0;
        if is_known { Ok(()) } else { Err(format!("{writer:?}")) }
    })
    .await
    .unwrap();

    // Months later: nothing is written any more, and everything is there.
    let late = Store::new("late");
    late.permits.add_permits(Semaphore::MAX_PERMITS);
    let added = Writer::start_for(&config, Memory(Arc::clone(&late)), Arc::default());
    wait_for_store(&late, &expected).await;
    // Slow, a round at a time, it gets there too.
    stuck.permits.add_permits(1);
    fixtures::wait_for("the slow one has taken something", world::DEADLINE, async || {
        let rows = stuck.rows().len();
        if rows > 0 { Ok(()) } else { Err("nothing".into()) }
    })
    .await
    .unwrap();
    stuck.permits.add_permits(Semaphore::MAX_PERMITS / 2);
    wait_for_store(&stuck, &expected).await;
    for writer in [redis, standing, added] {
        writer.stop().await;
    }
    lab.down().await.unwrap();
}
