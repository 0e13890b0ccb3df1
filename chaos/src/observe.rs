//! Watches what comes out of each hop: a consumer of the topics that reads committed, and a poll of rows in each store.

mod elasticsearch;
mod hbase;
mod kafka;
mod redis;
mod rows;

pub use kafka::TopicObserver;
pub use rows::{RowObserver, Watched};
