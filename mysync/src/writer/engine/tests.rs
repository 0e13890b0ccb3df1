//! The loop with a queue and a target in memory: what stops a partition, what a person says, and in which order things happen.

mod world;

use super::barriers::Wait;
use super::{Done, Engine};
use crate::error::Error;
use crate::metrics::WriterMetrics;
use crate::metrics::orders::{Order, Place};
use crate::source::mysql::DescribedColumn;
use crate::writer::Barrier;
use crate::writer::lanes::Round;
use std::sync::Arc;
use world::{Memory, World, embedded, message, partition, status, tell, until, until_stopped};

const DATA: &str = "p.d.t";
const OTHER: &str = "p.d.u";
const FENCES: &str = "p.__db_mysync.t_fence";

fn place() -> Place {
    Place {
        topic: DATA.into(),
        partition: 0,
    }
}

/// Nobody is there.
async fn forever(_: &Arc<WriterMetrics>) {
    std::future::pending().await
}

/// Ten rows, of which the target refuses the sixth, and another partition.
fn world() -> World {
    let mut messages: Vec<_> = (0..10)
        .map(|offset| message(DATA, offset, &offset.to_string(), true))
        .collect();
    messages.push(message(OTHER, 0, "a", true));
    let world = World::of(messages);
    world.0.borrow_mut().refused = Some("5".into());
    world
}

#[tokio::test(start_paused = true)]
async fn the_cursor_moves_only_when_the_record_cannot_be_lost() {
    let world = world();
    world.0.borrow_mut().burial_fails = true;
    let person = async |metrics: &Arc<WriterMetrics>| {
        until_stopped(metrics, 5).await;
        assert_eq!(world.cursor(DATA), Some(5));
        let error = tell(metrics, Order::Skip(place(), 5)).await.unwrap_err();
        assert_eq!(error.what, "the brokers do not acknowledge it");
        assert_eq!(world.cursor(DATA), Some(5));
        until_stopped(metrics, 5).await;

        world.0.borrow_mut().burial_fails = false;
        // Others go on.
        world.write(vec![message(OTHER, 1, "b", true)]);
        until("the other partition's row is there", || world.has_row(OTHER, "b")).await;
        let told = tell(metrics, Order::Skip(place(), 5)).await.unwrap();
        assert_eq!(told, "skipped p.d.t[0] at offset 5; the record stands in topic __dead");
        assert_eq!(world.0.borrow().dead, [(partition(DATA), 5, "poison".to_owned())]);
        until("the rest is there", || world.cursor(DATA) == Some(10)).await;
        until("it is told", || status(metrics).stopped.is_empty()).await;
        assert_eq!(status(metrics).skipped, 1);
        assert!(!world.has_row(DATA, "5") && world.has_row(DATA, "6"));
    };
    world.run(false, person).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_skip_whose_step_fails_is_told_and_can_be_said_again() {
    let world = world();
    let person = async |metrics: &Arc<WriterMetrics>| {
        until_stopped(metrics, 5).await;
        world.0.borrow_mut().fails_at = Some(6);
        let error = tell(metrics, Order::Skip(place(), 5)).await.unwrap_err();
        assert_eq!(error.what, "p.d.t[0] was not skipped");
        assert_eq!(world.cursor(DATA), Some(5));
        until_stopped(metrics, 5).await;
        tell(metrics, Order::Skip(place(), 5)).await.unwrap();
        assert_eq!(world.0.borrow().dead.len(), 2, "it stands there twice");
        until("the rest is there", || world.cursor(DATA) == Some(10)).await;
    };
    world.run(false, person).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn only_what_is_stopped_is_tried_again_or_skipped() {
    let world = world();
    let person = async |metrics: &Arc<WriterMetrics>| {
        until_stopped(metrics, 5).await;
        let error = tell(metrics, Order::Skip(place(), 6)).await.unwrap_err();
        assert_eq!(
            (&*error.what, error.detail.as_deref()),
            ("p.d.t[0] is not stopped at offset 6", Some("it is at 5: poison"))
        );
        let other = Place {
            topic: OTHER.into(),
            partition: 0,
        };
        for order in [Order::Retry(Some(other.clone())), Order::Skip(other, 0)] {
            let error = tell(metrics, order).await.unwrap_err();
            assert_eq!(error.what, "p.d.u[0] is not stopped here");
        }
        assert!(world.0.borrow().dead.is_empty());
        world.0.borrow_mut().refused = None;
        let told = tell(metrics, Order::Retry(None)).await.unwrap();
        assert!(told.contains("1 partitions"), "{told}");
        until("all is there", || {
            world.cursor(DATA) == Some(10) && world.has_row(DATA, "5")
        })
        .await;
        assert_eq!(
            tell(metrics, Order::Retry(None)).await.unwrap(),
            "no partition of this writer is stopped"
        );
    };
    world.run(false, person).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_fence_waits_for_a_stopped_partition_and_says_so() {
    let world = world();
    world.write(vec![message(FENCES, 0, "f", true)]);
    let person = async |metrics: &Arc<WriterMetrics>| {
        until_stopped(metrics, 5).await;
        world.write(vec![message(FENCES, 1, "g", true)]);
        let waits = || status(metrics).fence_waits;
        let expected = "1 partitions, of which 1 are stopped: p.d.t[0]";
        until("it says what it waits for", || waits().as_deref() == Some(expected)).await;
        assert!(!world.has_row(FENCES, "f") && !world.has_row(FENCES, "g"));
        tell(metrics, Order::Skip(place(), 5)).await.unwrap();
        until("both pass", || world.has_row(FENCES, "f") && world.has_row(FENCES, "g")).await;
        until("it is told", || waits().is_none()).await;
    };
    world.run(false, person).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_run_to_the_end_ends_with_what_stops_it() {
    let world = world();
    world.write(vec![message(FENCES, 0, "f", true)]);
    let error = world.run(true, forever).await.unwrap_err();
    assert_eq!(error.what, "partition p.d.t[0] is stopped at offset 5: poison");
    assert!(world.has_row(OTHER, "a") && !world.has_row(FENCES, "f"));
    // Without it, the same run ends well.
    world.0.borrow_mut().refused = None;
    let summary = world.run(true, forever).await.unwrap();
    assert_eq!(summary.records, 6, "five rows and the fence were left");
}

#[tokio::test(start_paused = true)]
async fn what_is_about_the_whole_target_ends_the_writer() {
    let world = world();
    world.0.borrow_mut().is_locked = true;
    let error = world.run(false, forever).await.unwrap_err();
    assert_eq!(error.what, "wrong password");
}

fn unsigned() -> Vec<DescribedColumn> {
    vec![DescribedColumn {
        name: "id".into(),
        data_type: "bigint".into(),
        column_type: "bigint unsigned".into(),
        precision: Some(20),
        fraction_digits: None,
    }]
}

#[tokio::test(start_paused = true)]
async fn records_of_debezium_wait_for_what_mysql_says_of_their_columns() {
    let world = World::of(vec![embedded(DATA, 0, -1, true), embedded(DATA, 1, -2, true)]);
    let away = || Err(Error::transient("MySQL is away"));
    world.0.borrow_mut().answers = Some([away(), away(), Ok(Some(unsigned()))].into());
    let person = async |metrics: &Arc<WriterMetrics>| {
        until("the rows are there", || world.cursor(DATA) == Some(2)).await;
        assert!(world.has_row(DATA, "18446744073709551615") && world.has_row(DATA, "18446744073709551614"));
        assert_eq!(world.0.borrow().answers.as_ref().unwrap().len(), 0);
        assert!(status(metrics).stopped.is_empty());
        world.write(vec![embedded(DATA, 2, -1, false), embedded(DATA, 3, 7, true)]);
        // By now it is a while that MySQL was asked.
        world.0.borrow_mut().answers = Some([Ok(Some(unsigned()))].into());
        tokio::time::advance(std::time::Duration::from_secs(11)).await;
        until("the next are there", || world.cursor(DATA) == Some(4)).await;
        assert!(world.has_row(DATA, "7") && !world.has_row(DATA, "18446744073709551615"));
    };
    world.run(false, person).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_record_that_debezium_did_not_publish_stops_its_partition_and_asks_nothing() {
    let world = World::of(vec![message(DATA, 0, "1", true), embedded(OTHER, 0, 1, true)]);
    world.0.borrow_mut().answers = Some([Ok(None)].into());
    let person = async |metrics: &Arc<WriterMetrics>| {
        until_stopped(metrics, 0).await;
        until("the other partition's row is there", || world.has_row(OTHER, "1")).await;
        let reason = &status(metrics).stopped[0].reason;
        assert!(reason.contains("a record has no schema"), "{reason}");
    };
    world.run(false, person).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_source_that_refuses_to_say_ends_the_writer() {
    let world = World::of(vec![embedded(DATA, 0, -1, true)]);
    world.0.borrow_mut().answers = Some([Err(Error::definite("wrong password"))].into());
    let error = world.run(false, forever).await.unwrap_err();
    assert_eq!(error.what, "wrong password");
    assert_eq!(error.detail.as_deref(), Some("asked for the columns of d.t"));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_run_is_looked_for_anew_when_partitions_begin_anew() {
    let world = world();
    let options = world.options(true, &Arc::default());
    let mut engine = Engine::new(&world, Memory(world.clone()), &options).await.unwrap();
    let broken = || Error::transient("the connection broke");
    engine.goal = Wait::For(Barrier::new([(partition(DATA), 10)].into()));
    engine
        .done(Done::Applied(Round::default(), Err(broken())))
        .await
        .unwrap();
    assert!(matches!(engine.goal, Wait::ToAsk), "{:?}", engine.goal);
    engine.goal = Wait::For(Barrier::new([(partition(DATA), 10)].into()));
    engine.join_again(broken()).await.unwrap();
    assert!(matches!(engine.goal, Wait::ToAsk), "{:?}", engine.goal);
    // A writer that runs for ever has none.
    engine.goal = Wait::None;
    engine.join_again(broken()).await.unwrap();
    assert!(matches!(engine.goal, Wait::None), "{:?}", engine.goal);
}
