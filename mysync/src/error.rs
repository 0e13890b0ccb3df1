//! Errors, sorted by what to do about them.
//!
//! - [`Kind::Transient`]: the world is expected to mend (a broker is down, a connection broke): back off and try again.
//! - [`Kind::Definite`]: trying again cannot help (unknown input, an unsafe setting, a position that is gone): stop and say why.
//! - [`Kind::Configuration`]: a file, key or argument is wrong: stop, exit code 3.
//!
//! A bug is neither: it panics.
//!
//! Every error says *what* failed in lower case with the values last, may add a *detail* (what the server said, where it
//! happened), and names a remedy in the *hint*. No secret ever gets into any of the three.

use std::fmt;
use std::process::ExitCode;

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Back off and try again.
    Transient,
    /// Stop: a person has to change something.
    Definite,
    /// Stop: the configuration or the arguments are wrong.
    Configuration,
}

/// What went wrong, where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Error {
    /// What to do about it.
    pub kind: Kind,
    /// One lower-case sentence, values last.
    pub what: String,
    /// Where it happened or what the server said.
    pub detail: Option<String>,
    /// The remedy.
    pub hint: Option<String>,
    /// What is needed of the stream is not there any more; reading all tables anew mends that.
    pub is_gap: bool,
}

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error after which trying again makes sense.
    pub fn transient(what: impl Into<String>) -> Self {
        Self::new(Kind::Transient, what.into())
    }

    /// An error that only a person can mend.
    pub fn definite(what: impl Into<String>) -> Self {
        Self::new(Kind::Definite, what.into())
    }

    /// An error in the configuration file or the arguments.
    pub fn configuration(what: impl Into<String>) -> Self {
        Self::new(Kind::Configuration, what.into())
    }

    /// Adds where it happened or what the server said.
    #[must_use]
    pub fn detail(mut self, detail: impl fmt::Display) -> Self {
        self.detail = Some(match self.detail.take() {
            Some(before) => format!("{before}; {detail}"),
            None => detail.to_string(),
        });
        self
    }

    /// Adds the remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What is needed of the stream is not there any more (`reader.on_gap`).
    #[must_use]
    pub fn gap(mut self) -> Self {
        self.is_gap = true;
        self
    }

    /// Whether trying again makes sense.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.kind == Kind::Transient
    }

    /// The whole error in one line, for logs and the status.
    #[must_use]
    pub fn one_line(&self) -> String {
        self.to_string().replace("\n  ", "; ").replace('\n', " ")
    }

    /// 3 for a wrong configuration, 4 for anything else that stopped the work.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self.kind {
            Kind::Configuration => ExitCode::from(3),
            Kind::Transient | Kind::Definite => ExitCode::from(4),
        }
    }

    /// A blocking task that panicked, or a runtime that shuts down.
    pub(crate) fn transient_join(error: tokio::task::JoinError) -> Self {
        Self::transient("a background task ended early").detail(error)
    }

    fn new(kind: Kind, what: String) -> Self {
        Self {
            kind,
            what,
            detail: None,
            hint: None,
            is_gap: false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.what)?;
        if let Some(detail) = &self.detail {
            write!(formatter, "\n  detail: {detail}")?;
        }
        if let Some(hint) = &self.hint {
            write!(formatter, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_detail_and_hint_in_this_order() {
        let error = Error::definite("binlog is off on 127.0.0.1:3306")
            .detail("log_bin = OFF")
            .hint("start mysqld with --log-bin");
        assert_eq!(
            error.to_string(),
            "binlog is off on 127.0.0.1:3306\n  detail: log_bin = OFF\n  hint: start mysqld with --log-bin"
        );
    }

    #[test]
    fn details_add_up() {
        assert_eq!(
            Error::transient("a").detail("b").detail("c").detail.as_deref(),
            Some("b; c")
        );
    }
}
