//! Watches what comes out of each hop: a consumer of the topics that reads committed, and a poll of rows in Redis.

mod kafka;
mod redis;

pub use kafka::TopicObserver;
pub use redis::RowObserver;
