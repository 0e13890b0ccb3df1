//! What the outside may know of a running reader or writer: `/metrics` for Prometheus, `/health` for supervisors, `/status`
//! for `mysync status`.
//!
//! Reader and writer add to counters, once an event or a batch and never once a value; they serve nothing themselves. The
//! server ([`serve`]) asks an [`Exposed`] only when somebody asks it.
//!
//! # What is not known is -1
//! A lag that cannot be told, since there is no heartbeat or no answer about the ends of partitions, is -1 and never 0.
//!
//! # Healthy
//! is a reader whose stream brings events (an idle server sends one a second) and whose commits go through, and a writer that
//! is connected to its target, whose steps are answered, whose brokers answer, and of whose partitions none is stopped. Anything
//! else is unhealthy, with the reason.
//!
//! # Labels
//! are few: tables (the first [`TABLES_MAX`]), operations, partitions. What changes all the time, such as a GTID set, is in
//! the status and not in a label.

pub mod orders;

mod client;
mod condition;
mod lag;
mod process;
mod reader;
mod server;
mod status;
mod writer;

pub use condition::{Condition, Phase};
pub use lag::Beat;
pub use reader::{ReaderMetrics, TableCounters};
pub use server::serve;
pub use status::{LastError, ReaderStatus, Status, StoppedPartition, WriterStatus, ask};
pub use writer::WriterMetrics;

use tokio::sync::mpsc;

/// Tables that have series of their own; further ones count as [`OTHER_TABLES`].
pub const TABLES_MAX: usize = 2_000;

/// What stands for database and table of all tables beyond [`TABLES_MAX`].
pub const OTHER_TABLES: &str = "(other)";

/// Buckets of histograms of waits, seconds.
const SECONDS_BUCKETS: [f64; 14] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
];

/// What a server serves. It reads, other than that orders are passed on.
pub trait Exposed: Send + Sync + 'static {
    /// The text of `/metrics`.
    fn text(&self) -> String;

    /// The answer to `/status`; [`Status::healthy`] decides `/health`.
    fn status(&self) -> Status;

    /// Where the orders of people go, if any are taken.
    fn orders(&self) -> Option<mpsc::Sender<orders::Asked>> {
        None
    }

    /// Called once a second while somebody serves it.
    fn tick(&self) {}
}
