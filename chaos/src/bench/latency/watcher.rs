//! A consumer that reads committed and notes when it first saw each id.

use crate::error::{Doing, Error, Result};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const POLL_TIMEOUT: Duration = Duration::from_millis(100);

/// Microseconds since 1970.
pub(super) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

pub(super) struct Watcher {
    seen_at_us: Arc<Vec<AtomicU64>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Watches a topic for keys that hold an id below `count`; waits until the topic is there.
    pub(super) async fn start(bootstrap: &str, topic: &str, count: u64, deadline: Duration) -> Result<Self> {
        let seen_at_us: Arc<Vec<AtomicU64>> = Arc::new((0..count).map(|_| AtomicU64::new(0)).collect());
        let stop = Arc::new(AtomicBool::new(false));
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", "bench")
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.queue.backoff.ms", "1")
            .create()
            .doing(|| "no Kafka client".into())?;
        assign(&consumer, topic, deadline).await?;
        let (seen, stopped) = (Arc::clone(&seen_at_us), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let Some(Ok(message)) = consumer.poll(POLL_TIMEOUT) else {
                    continue;
                };
                let at_us = now_us();
                if let Some(slot) = id(message.key().unwrap_or_default()).and_then(|id| seen.get(id)) {
                    // Only the first time counts.
                    slot.compare_exchange(0, at_us, Ordering::Relaxed, Ordering::Relaxed)
                        .ok();
                }
            }
        });
        Ok(Self {
            seen_at_us,
            stop,
            thread: Some(thread),
        })
    }

    /// Waits until all these ids were seen.
    pub(super) async fn wait_for(&self, ids: Range<u64>, deadline: Duration) -> Result<()> {
        let begun = Instant::now();
        let slots = &self.seen_at_us[ids.start as usize..ids.end as usize];
        loop {
            let missing = slots.iter().filter(|slot| slot.load(Ordering::Relaxed) == 0).count();
            if missing == 0 {
                return Ok(());
            }
            if begun.elapsed() > deadline {
                let seconds = deadline.as_secs();
                return Err(
                    Error::definite(format!("{missing} records did not come within {seconds} s"))
                        .hint("the reader's log is in the lab's folder"),
                );
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// When each id was first seen, 0 for never.
    pub(super) fn seen_at_us(&self) -> Vec<u64> {
        self.seen_at_us
            .iter()
            .map(|slot| slot.load(Ordering::Relaxed))
            .collect()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

async fn assign(consumer: &BaseConsumer, topic: &str, deadline: Duration) -> Result<()> {
    let begun = Instant::now();
    let partitions = loop {
        let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10));
        let metadata = metadata.doing(|| format!("the brokers do not answer about topic {topic}"))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        match found.map(|found| found.partitions().len()) {
            Some(count) if count > 0 => break count,
            _ if begun.elapsed() > deadline => return Err(Error::definite(format!("there is no topic {topic}"))),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        let number = i32::try_from(partition).unwrap_or(i32::MAX);
        let added = assignment.add_partition_offset(topic, number, Offset::Beginning);
        added.doing(|| "no assignment".into())?;
    }
    consumer
        .assign(&assignment)
        .doing(|| format!("topic {topic} cannot be read"))
}

/// The number in a key such as `{"id":17}` or `17`.
fn id(key: &[u8]) -> Option<usize> {
    let digits: Vec<u8> = key.iter().copied().filter(u8::is_ascii_digit).collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}
