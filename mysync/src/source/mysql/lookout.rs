//! Looks at the servers while one is followed: raises the alarm where it has to be left, and reports what is not as it
//! should be, once each.

use super::servers::Board;
use crate::error::Error;
use crate::metrics::ReaderMetrics;
use crate::source::topology::{self, Reached, Seen};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// A lookout at work; it ends when this is dropped.
pub(super) struct Lookout {
    alarm: oneshot::Receiver<Error>,
    task: JoinHandle<()>,
}

/// What is followed.
pub(super) struct Followed {
    /// Its place in the list.
    pub(super) index: usize,
    /// Its uuid, and what the reader had reached when it was chosen.
    pub(super) reached: Reached,
    /// What the status shows.
    pub(super) metrics: Option<Arc<ReaderMetrics>>,
}

impl Lookout {
    pub(super) fn begin(board: watch::Receiver<Board>, followed: Followed) -> Self {
        let (sender, alarm) = oneshot::channel();
        let task = tokio::spawn(async move {
            let error = followed.watch(board).await;
            // Nobody listens any more when the stream has ended by itself.
            sender.send(error).ok();
        });
        Self { alarm, task }
    }

    /// Waits for a reason to leave the server. Not to be asked again after that.
    pub(super) async fn alarm(&mut self) -> Error {
        match (&mut self.alarm).await {
            Ok(error) => error,
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Followed {
    async fn watch(self, mut board: watch::Receiver<Board>) -> Error {
        // Strays: all others as they were when the followed server had been looked at for the last time but one. What it
        // lacks now although another one had it then is not only newer.
        let (mut before, mut looked_at) = (Vec::new(), None);
        let mut reported = BTreeSet::new();
        loop {
            let (now, begun) = {
                let board = board.borrow_and_update();
                (board.seen(), board.begun(self.index))
            };
            if let Some(error) = topology::leave(&now, self.index, &self.reached) {
                return error;
            }
            if begun != looked_at {
                self.report(&before, &now, &mut reported);
                (before, looked_at) = (now, begun);
            }
            if board.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    fn report(&self, before: &[Seen], now: &[Seen], reported: &mut BTreeSet<String>) {
        let mut others = topology::others(now, self.index, &self.reached);
        let strays = topology::strays(before, now, self.index);
        for (address, gtids) in &strays {
            let line = format!("{address}: has transactions that the primary lacks: {gtids}");
            if reported.len() < REPORTED_MAX && reported.insert(line.clone()) {
                tracing::warn!(address, %gtids, "another server has transactions that the primary lacks: they are ignored");
            }
            others.push(line);
        }
        for line in topology::left_behind(now, &self.reached) {
            if reported.len() < REPORTED_MAX && reported.insert(line.clone()) {
                tracing::warn!("a server that was left behind takes writes again, and is ignored: {line}");
            }
        }
        if let Some(metrics) = &self.metrics {
            metrics.set_others(others, strays.len());
        }
    }
}

/// Reports in the log while one server is followed.
const REPORTED_MAX: usize = 100;
