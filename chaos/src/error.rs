//! Errors of drills: the three parts and the kinds that all of MySync uses. A wrong drill or argument is `Configuration`
//! (exit code 3); whatever else stops a drill is a harness that failed (exit code 4), which is never a verdict.

pub use mysync::error::{Error, Kind, Result};
use std::fmt;

/// Turns a client library's error into ours by saying what was being done.
pub(crate) trait Doing<T> {
    /// `what` is the sentence; the library's error becomes the detail.
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: fmt::Display> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::definite(what()).detail(error))
    }
}
