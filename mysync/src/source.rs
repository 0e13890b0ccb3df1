//! A MySQL server as the reader sees it: settings to check, places in its binlog, and the stream of raw events.
//!
//! Nothing is decoded here: [`Source::next`] hands out each event's bytes as they came, header and checksum included.
//! Every place is a [`Position`] at the end of a transaction. A server with `gtid_mode=ON` is resumed by its GTID set,
//! any other by file and offset, and then only if the file is still the one that the position was taken in: a server
//! that was reset begins anew with the same names, which the file's birth time tells.
//!
//! Errors: a lost connection is transient. A position that is gone, a missing privilege, a wrong setting are definite.
//! The real source is [`mysql`].

pub mod gtid_set;
pub mod mysql;
pub mod preflight;

use crate::checkpoint::Position;
use crate::error::Result;
use preflight::Check;

/// A server's binlog.
#[allow(async_fn_in_trait)] // The reader drives one source on one task.
pub trait Source {
    /// The settings that the reader depends on, each with what was found.
    async fn preflight(&mut self) -> Result<Vec<Check>>;

    /// The oldest place that the server still has.
    async fn oldest(&mut self) -> Result<Position>;

    /// The end of what the server has written.
    async fn newest(&mut self) -> Result<Position>;

    /// Begins the stream at `position`, after checking that it is in this server's history.
    async fn start(&mut self, position: &Position) -> Result<()>;

    /// Waits for the next event and hands out its bytes. May be dropped while waiting and called again.
    async fn next(&mut self) -> Result<&[u8]>;
}
