//! The reader and what servers write besides plain rows: compressed and XA transactions, DDL within transactions, statements as
//! text, images that are not full, binlogs that are gone, transactions and rows of any size. Needs Docker and the lab's
//! images; without them it fails with the remedy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "reader_events/compressed.rs"]
mod compressed;
#[allow(dead_code)] // Each file of tests uses its own part.
#[path = "reader/consumer.rs"]
mod consumer;
#[path = "reader_events/huge.rs"]
mod huge;
#[path = "reader_events/life.rs"]
mod life;
#[path = "reader_events/refused.rs"]
mod refused;
#[path = "reader_events/stream.rs"]
mod stream;
#[path = "reader_events/within.rs"]
mod within;
#[path = "reader_events/xa.rs"]
mod xa;

use fixtures::Lab;

/// One lab a version serves all of these, for starting it costs more than they do.
async fn events_of(version: &str, gtid: bool) {
    let lab = Lab::builder()
        .mysql(version)
        .gtid(gtid)
        .brokers(1)
        .start()
        .await
        .unwrap();
    compressed::same_as_uncompressed(&lab).await;
    within::read_through(&lab, version).await;
    xa::published_at_the_commit(&lab).await;
    xa::larger_than_memory(&lab).await;
    lab.down().await.unwrap();
}

#[tokio::test]
async fn events_of_8_0() {
    events_of("8.0", false).await;
}

#[tokio::test]
async fn events_of_9_7() {
    events_of("9.7", true).await;
}
