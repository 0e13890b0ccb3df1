//! `kill -9` of the reader and of the writer at any time, and restart, in transactional delivery: nothing lost, nothing twice
//! in the topics for a read-committed consumer, no transaction seen in part, Redis equal to MySQL and never set back.
//! `MYSYNC_KILLS=200` for the long run.

#![allow(clippy::unwrap_used)]

#[path = "kill_nine/schedule.rs"]
mod schedule;

use chaos::drill::Delivery;

#[tokio::test(flavor = "multi_thread")]
async fn transactional_delivery_survives_kill_nine_at_any_moment() {
    schedule::kill_and_judge("kill-nine", Delivery::Transactional, 8).await;
}
