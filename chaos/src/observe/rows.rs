//! Polls the column `written_by` of some rows in a store and records every change that is seen.
//!
//! A poll sees the last of several changes between two looks, never one that was not applied, so a change is seen at most
//! one interval after it was applied. A store that is away is asked again until it is back.

use super::{elasticsearch, hbase, redis};
use crate::drill::TargetName;
use crate::error::Result;
use crate::history::{Applied, Record, Recorder};
use futures::future::BoxFuture;
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// Longest wait for an answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(1);

/// Which rows are watched, and where.
#[derive(Debug, Clone)]
pub struct Watched {
    /// The store.
    pub store: TargetName,
    /// Its address: a URL of Redis or Elasticsearch, `<host>:<port>` of HBase's gateway.
    pub address: String,
    /// `database.table`, of names that no store spells otherwise.
    pub table: String,
    /// The rows' primary keys.
    pub keys: Vec<u64>,
}

/// Watches until it is dropped.
pub struct RowObserver {
    store: TargetName,
    task: JoinHandle<()>,
    /// Changes seen.
    seen: watch::Receiver<u64>,
}

/// Asks a store for `written_by` of all watched rows, none where there is none. After an error it connects anew.
pub(super) trait Look: Send {
    fn look(&mut self) -> BoxFuture<'_, std::result::Result<Vec<Option<u64>>, String>>;
}

impl RowObserver {
    /// Starts to watch.
    pub fn start(watched: Watched, recorder: &Recorder) -> Result<Self> {
        let (look, interval): (Box<dyn Look>, Duration) = match watched.store {
            TargetName::Redis => (Box::new(redis::Looker::new(&watched)?), redis::POLL_INTERVAL),
            TargetName::Elasticsearch => (
                Box::new(elasticsearch::Looker::new(&watched)?),
                elasticsearch::POLL_INTERVAL,
            ),
            TargetName::Hbase => (Box::new(hbase::Looker::new(&watched)), hbase::POLL_INTERVAL),
        };
        let (saw, seen) = watch::channel(0);
        let store = watched.store;
        let watcher = Watcher {
            watched,
            recorder: recorder.clone(),
            last: HashMap::new(),
            saw,
        };
        Ok(Self {
            store,
            task: tokio::spawn(watcher.watch(look, interval)),
            seen,
        })
    }

    /// The store that it watches.
    #[must_use]
    pub fn store(&self) -> TargetName {
        self.store
    }

    /// Waits until any change was seen; false when the deadline passed.
    pub async fn wait_for_first(&self, deadline: Duration) -> bool {
        let mut seen = self.seen.clone();
        let first = seen.wait_for(|seen| *seen > 0);
        matches!(tokio::time::timeout(deadline, first).await, Ok(Ok(_)))
    }

    /// Waits until a change is seen that was not seen yet; false when the deadline passed.
    pub async fn wait_for_change(&self, deadline: Duration) -> bool {
        let mut seen = self.seen.clone();
        seen.mark_unchanged();
        matches!(tokio::time::timeout(deadline, seen.changed()).await, Ok(Ok(())))
    }
}

impl Drop for RowObserver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Watcher {
    watched: Watched,
    recorder: Recorder,
    last: HashMap<u64, u64>,
    saw: watch::Sender<u64>,
}

impl Watcher {
    async fn watch(mut self, mut look: Box<dyn Look>, interval: Duration) {
        let store = self.watched.store.word();
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match tokio::time::timeout(ANSWER_DEADLINE, look.look()).await {
                Ok(Ok(values)) => self.take(&values),
                Ok(Err(error)) => tracing::debug!(error, store, "the store is away"),
                Err(_) => tracing::debug!(store, "the store does not answer"),
            }
        }
    }

    fn take(&mut self, values: &[Option<u64>]) {
        let at_us = self.recorder.now_us();
        for (key, value) in self.watched.keys.iter().zip(values) {
            let Some(written_by) = *value else { continue };
            if self.last.insert(*key, written_by) != Some(written_by) {
                self.recorder.append(&Record::Applied(Applied {
                    at_us,
                    store: self.watched.store,
                    table: self.watched.table.clone(),
                    key: *key,
                    written_by,
                }));
                self.saw.send_modify(|seen| *seen += 1);
            }
        }
    }
}
