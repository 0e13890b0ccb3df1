//! How a reader or writer is, in words: its phase, the last error, the unsafe settings that were let pass.

use super::status::LastError;
use crate::error::Error;
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What it is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Phase {
    /// It has not begun: servers are looked at.
    #[default]
    Starting,
    /// It does its work.
    Running,
    /// A server is not there; it tries again.
    Waiting,
    /// Another reader of its name leads; it is ready to take over.
    Standby,
}

impl Phase {
    /// The word in the status.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Running => "running",
            Phase::Waiting => "waiting",
            Phase::Standby => "standby",
        }
    }
}

/// How it is.
#[derive(Debug, Default)]
pub struct Condition(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    last_error: Option<(Instant, String)>,
    unsafe_settings: BTreeSet<String>,
}

impl Condition {
    /// It does its work.
    pub fn run(&self) {
        self.state().phase = Phase::Running;
    }

    /// Others do the work.
    pub(super) fn stand_by(&self) {
        self.state().phase = Phase::Standby;
    }

    /// Something failed that trying again may mend.
    pub fn wait(&self, error: &Error) {
        self.state().phase = Phase::Waiting;
        self.note(error);
    }

    /// Something failed that does not hold it up.
    pub fn note(&self, error: &Error) {
        self.state().last_error = Some((Instant::now(), error.one_line()));
    }

    /// A setting that can lose changes was let pass.
    pub fn allow_unsafe(&self, settings: impl IntoIterator<Item = String>) {
        self.state().unsafe_settings.extend(settings);
    }

    /// The phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.state().phase
    }

    /// Why it is not healthy, as far as the phase tells.
    pub(super) fn complaint(&self) -> Option<String> {
        let state = self.state();
        let reason = state.last_error.as_ref().map_or("", |(_, text)| text.as_str());
        match state.phase {
            Phase::Running | Phase::Standby => None,
            Phase::Starting => Some("starting".to_owned()),
            Phase::Waiting => Some(format!("waiting: {reason}")),
        }
    }

    pub(super) fn last_error(&self) -> Option<LastError> {
        let (at, text) = self.state().last_error.clone()?;
        Some(LastError {
            ago_s: at.elapsed().as_secs(),
            text,
        })
    }

    pub(super) fn unsafe_settings(&self) -> Vec<String> {
        self.state().unsafe_settings.iter().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
