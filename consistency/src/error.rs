//! What stops a check: what happened, the detail, and what to do about it.
//!
//! Two kinds, by what the caller does: a configuration error is repaired in the file or on the command line, a failure
//! in the servers. A fence that does not arrive is neither: it is a report with the verdict `unknown`.

use std::fmt;

/// An error with its remedy. None of its texts ever holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Who has to act.
    pub kind: ErrorKind,
    /// What could not be done, lower case, without a full stop.
    pub what: String,
    /// The circumstances: file, key, server, value; values last.
    pub detail: String,
    /// What to do about it.
    pub hint: String,
}

/// Who has to act on an error, and so which exit code it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The configuration file or the arguments are wrong: exit code 3.
    Configuration,
    /// A server could not be reached, refused, or answered nonsense: exit code 4.
    Failed,
}

impl Error {
    /// The configuration file or the arguments are wrong.
    pub fn configuration(what: impl Into<String>, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::Configuration,
            what: what.into(),
            detail: detail.into(),
            hint: hint.into(),
        }
    }

    /// A server could not be reached, refused, or answered nonsense.
    pub fn failed(what: impl Into<String>, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::Failed,
            what: what.into(),
            detail: detail.into(),
            hint: hint.into(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {} (hint: {})", self.what, self.detail, self.hint)
    }
}

impl std::error::Error for Error {}
