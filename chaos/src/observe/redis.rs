//! Polls the field `written_by` of some rows in Redis and records every change that is seen.
//!
//! A poll sees the last of several changes between two looks, never one that was not applied, so a change is seen at most
//! [`POLL_INTERVAL`] after it was applied. Redis that is away is asked again until it is back.

use crate::error::{Doing, Result};
use crate::history::{Applied, Record, Recorder};
use redis::aio::MultiplexedConnection;
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// Between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Longest wait for an answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(1);

/// Watches until it is dropped.
pub struct RowObserver {
    task: JoinHandle<()>,
    /// Changes seen.
    seen: watch::Receiver<u64>,
}

impl RowObserver {
    /// Starts to watch `keys` of a table, whose rows are hashes `{db}:{table}:{pk}`.
    pub fn start(url: &str, table: &str, keys: Vec<u64>, recorder: &Recorder) -> Result<Self> {
        let client = redis::Client::open(url).doing(|| "the observer has no address of Redis".into())?;
        let (saw, seen) = watch::channel(0);
        let watcher = Watcher {
            client,
            table: table.to_owned(),
            keys,
            recorder: recorder.clone(),
            last: HashMap::new(),
            saw,
        };
        Ok(Self {
            task: tokio::spawn(watcher.watch()),
            seen,
        })
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
    client: redis::Client,
    table: String,
    keys: Vec<u64>,
    recorder: Recorder,
    last: HashMap<u64, u64>,
    saw: watch::Sender<u64>,
}

impl Watcher {
    async fn watch(mut self) {
        let mut pipeline = redis::pipe();
        for key in &self.keys {
            pipeline.hget(format!("{}:{key}", self.table.replacen('.', ":", 1)), "written_by");
        }
        let mut connection: Option<MultiplexedConnection> = None;
        let mut ticks = tokio::time::interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let look = async {
                let mut connected = match connection.take() {
                    Some(connected) => connected,
                    None => self.client.get_multiplexed_async_connection().await?,
                };
                let values: Vec<Option<u64>> = pipeline.query_async(&mut connected).await?;
                connection = Some(connected);
                Ok::<_, redis::RedisError>(values)
            };
            match tokio::time::timeout(ANSWER_DEADLINE, look).await {
                Ok(Ok(values)) => self.take(&values),
                Ok(Err(error)) => tracing::debug!(%error, "redis is away"),
                Err(_) => tracing::debug!("redis does not answer"),
            }
        }
    }

    fn take(&mut self, values: &[Option<u64>]) {
        let at_us = self.recorder.now_us();
        for (key, value) in self.keys.iter().zip(values) {
            let Some(written_by) = *value else { continue };
            if self.last.insert(*key, written_by) != Some(written_by) {
                let table = self.table.clone();
                self.recorder.append(&Record::Applied(Applied {
                    at_us,
                    table,
                    key: *key,
                    written_by,
                }));
                self.saw.send_modify(|seen| *seen += 1);
            }
        }
    }
}
