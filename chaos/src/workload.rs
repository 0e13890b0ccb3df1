//! What writes to MySQL during a drill, one file a workload.
//!
//! A workload records every transaction with its outcome. Whatever it writes carries the number of the transaction in a
//! column `written_by`, so that every change can be told from every other one, in Kafka and in Redis.

pub mod bank;
