//! Telling how far refreshes are, in the table that those look at who asked for them: once a second, and at
//! once when nothing is left to be done, beside the stream.

use crate::error::{Error, Result};
use crate::source::{Progress, Source};
use std::collections::BTreeMap;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

const INTERVAL: Duration = Duration::from_secs(1);

/// What was told, and what is being told.
#[derive(Debug, Default)]
pub(super) struct Telling {
    /// By the works' ids.
    told: BTreeMap<String, Progress>,
    sending: Vec<(String, Progress)>,
    task: Option<JoinHandle<Result<()>>>,
    next_at: Option<Instant>,
    is_refused: bool,
}

impl Telling {
    /// Tells what differs from what was told last; `is_over` when nothing is left to be done.
    pub(super) fn tell<S: Source>(&mut self, source: &S, is_over: bool, now: impl FnOnce() -> Vec<(String, Progress)>) {
        let is_early = self.next_at.is_some_and(|at| at > Instant::now());
        // A server that did not take it is not asked at once again.
        if self.task.is_some() || (is_early && (!is_over || self.is_refused)) {
            return;
        }
        let now = now();
        self.told.retain(|id, _| now.iter().any(|(other, _)| other == id));
        let differs = |(id, progress): &(String, Progress)| self.told.get(id) != Some(progress);
        self.sending = now.into_iter().filter(differs).collect();
        self.next_at = Some(Instant::now() + INTERVAL);
        if !self.sending.is_empty() {
            let progress = self.sending.iter().map(|(_, progress)| progress.clone()).collect();
            self.task = Some(tokio::spawn(source.tell(progress)));
        }
    }

    /// Whether what was being told has been; a server that does not take it is not asked for ever.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(task) = &mut self.task else {
            return Poll::Pending;
        };
        let told = std::task::ready!(std::pin::Pin::new(task).poll(context));
        self.task = None;
        let sent = std::mem::take(&mut self.sending);
        match told.map_err(Error::transient_join) {
            Ok(Ok(())) => self.told.extend(sent),
            Ok(Err(error)) | Err(error) => {
                if !self.is_refused {
                    tracing::warn!("how far refreshes are cannot be told: {}", error.one_line());
                }
                self.is_refused = true;
                if !error.is_transient() {
                    self.told.extend(sent);
                }
            }
        }
        Poll::Ready(())
    }

    /// Whether this is what was told last, and is the end.
    pub(super) fn has_told_end(&self, id: &str, progress: &Progress) -> bool {
        progress.state.is_end() && self.told.get(id) == Some(progress)
    }

    /// When it wants to tell more.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.next_at.filter(|_| self.task.is_none())
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}
