//! Named places at which a build for tests pauses or dies. A build without the feature `stop-points` has nothing of it:
//! [`reach`] is empty there, and `mysync/tests/stop_points.rs` looks for it in the binary.
//!
//! The build with the feature is the binary `mysync-stop-points`. Which place it is, and what happens there, stands in an
//! environment variable ([`armed`]), so a process that is started again without it goes on unharmed.

#[cfg(feature = "stop-points")]
pub mod armed;

#[cfg(feature = "stop-points")]
pub use armed::reach;

/// Passes a place.
#[cfg(not(feature = "stop-points"))]
#[inline(always)]
pub fn reach(_: StopPoint) {}

/// A place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopPoint {
    /// Older readers are fenced; the checkpoint is not looked up yet.
    Fenced,
    /// The stream has gone on to another binlog file; no checkpoint stands there yet.
    AfterRotate,
    /// Changes of a MySQL transaction have been handed out, and others of it not been read.
    MidTransaction,
    /// Between two records of one change, as of a changed primary key.
    BetweenRecords,
    /// Records were given to the library, and no acknowledgement was looked at.
    AfterSend,
    /// All records are acknowledged; the checkpoint is not committed.
    BeforeCheckpoint,
    /// The checkpoint is committed, and the reader does not know it.
    AfterCheckpoint,
}
