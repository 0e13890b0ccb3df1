//! Heartbeats: a record now and then, whether or not anything changes, so that consumers can tell a quiet source from a
//! reader that is gone. Each is committed at once, and the checkpoint with it.

use crate::encode::{MarkPlace, heartbeat};
use crate::error::Result;
use crate::queue::{Batch, Origin, Publisher, Topic, TopicId};
use crate::version::Version;
use std::time::Duration;
use tokio::time::Instant;

/// When the next one is due; never where they are off.
#[derive(Debug)]
pub(super) struct Heartbeat {
    interval: Duration,
    topic: Option<TopicId>,
    next_at: Instant,
}

impl Heartbeat {
    /// Declares the topic, unless the interval is 0 for never.
    pub(super) async fn open<P: Publisher>(interval_ms: u64, publisher: &mut P) -> Result<Self> {
        let topic = match interval_ms {
            0 => None,
            _ => Some(publisher.declare(Topic::Compacted("heartbeat")).await?),
        };
        Ok(Self {
            interval: Duration::from_millis(interval_ms),
            topic,
            next_at: Instant::now(),
        })
    }

    /// When the next one is due.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.topic.map(|_| self.next_at)
    }

    pub(super) fn is_due(&self) -> bool {
        self.topic.is_some() && Instant::now() >= self.next_at
    }

    /// Appends one; all changes before `version` are in the batch or before it.
    pub(super) fn beat(&mut self, prefix: &str, now_ms: i64, version: Version, origin: Origin, batch: &mut Batch) {
        let Some(topic) = self.topic else { return };
        let place = MarkPlace {
            topic,
            timestamp_ms: now_ms,
            version,
            origin,
        };
        heartbeat(prefix, place, batch);
        self.next_at = Instant::now() + self.interval;
    }
}
