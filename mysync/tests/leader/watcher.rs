//! A consumer that reads committed all the while, notes when each record came, and judges them at the end.

use super::process::wait_until;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PARTITIONS: i32 = 3;
const POLL_TIMEOUT: Duration = Duration::from_millis(100);
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);

/// One record: an inserted row, or the counter's new value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    at: Instant,
    partition: i32,
    version: i64,
    id: i64,
    v: i64,
}

pub struct Watcher {
    topic: String,
    config: ClientConfig,
    seen: Arc<Mutex<Vec<Seen>>>,
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    pub fn new(bootstrap: &str, topic: &str) -> Self {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", bootstrap)
            .set("group.id", "test")
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("reconnect.backoff.max.ms", "500");
        Self {
            topic: topic.to_owned(),
            config,
            seen: Arc::default(),
            done: Arc::default(),
            thread: None,
        }
    }

    /// Reads from the topic's beginning on, as soon as there is one.
    pub fn start(&mut self) {
        let consumer: BaseConsumer = self.config.create().unwrap();
        let mut assignment = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            let added = assignment.add_partition_offset(&self.topic, partition, Offset::Beginning);
            added.unwrap();
        }
        wait_until(&format!("there is a topic {}", self.topic), || {
            let metadata = consumer.fetch_metadata(None, METADATA_TIMEOUT).ok()?;
            metadata
                .topics()
                .iter()
                .find(|topic| topic.name() == self.topic)
                .map(drop)
        });
        consumer.assign(&assignment).unwrap();
        let (seen, done) = (Arc::clone(&self.seen), Arc::clone(&self.done));
        let watch = move || {
            while !done.load(Ordering::Relaxed) {
                // The brokers may be away.
                if let Some(Ok(message)) = consumer.poll(POLL_TIMEOUT) {
                    let at = Instant::now();
                    let value: serde_json::Value = serde_json::from_slice(message.payload().unwrap()).unwrap();
                    let header = message.headers().unwrap().get(0);
                    assert_eq!(header.key, "mysync.version");
                    seen.lock().unwrap().push(Seen {
                        at,
                        partition: message.partition(),
                        version: std::str::from_utf8(header.value.unwrap()).unwrap().parse().unwrap(),
                        id: value["after"]["id"].as_i64().unwrap(),
                        v: value["after"]["v"].as_i64().unwrap(),
                    });
                }
            }
        };
        self.thread = Some(std::thread::spawn(watch));
    }

    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// Waits until something comes.
    pub fn wait_for_more(&self) {
        let count = self.count();
        wait_until(&format!("more than {count} records of {}", self.topic), || {
            (self.count() > count).then_some(())
        });
    }

    /// From a moment to the end of the longest silence since then.
    pub fn silence_after(&self, moment: Instant) -> Duration {
        let seen = self.seen.lock().unwrap();
        let pairs = seen.windows(2).map(|pair| (pair[0].at, pair[1].at));
        let since = pairs.filter(|(_, to)| *to > moment);
        let (_, end) = since.max_by_key(|(from, to)| *to - *from).unwrap();
        end - moment
    }

    /// Waits for the last transaction's changes, and requires those of all, in order; each once, or with further copies that
    /// say the same and come behind.
    pub fn judge(&mut self, transactions: u64, exactly_once: bool) {
        let expected = usize::try_from(transactions * 2 + 1).unwrap();
        let distinct = |seen: &[Seen]| seen.iter().map(|seen| seen.version).collect::<BTreeSet<_>>().len();
        let first = mysync::version::Version::FIRST.as_i64();
        let last = first + i64::try_from(expected).unwrap() - 1;
        wait_until(&format!("{expected} changes in {}", self.topic), || {
            (distinct(&self.seen.lock().unwrap()) >= expected).then_some(())
        });
        self.done.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();

        let (mut changes, mut highest, mut copies) = (BTreeMap::new(), BTreeMap::new(), 0);
        for seen in self.seen.lock().unwrap().iter() {
            let highest = highest.entry(seen.partition).or_insert(0);
            if seen.version > *highest {
                *highest = seen.version;
                assert!(changes.insert(seen.version, (seen.id, seen.v)).is_none(), "{seen:?}");
            } else {
                copies += 1;
                assert!(!exactly_once, "a duplicate, or out of order: {seen:?}");
                assert_eq!(changes.get(&seen.version), Some(&(seen.id, seen.v)), "{seen:?}");
            }
        }
        eprintln!("{}: {} changes, {copies} copies", self.topic, changes.len());
        assert_eq!(
            changes.keys().copied().collect::<Vec<_>>(),
            (first..=last).collect::<Vec<_>>()
        );
        let transactions = i64::try_from(transactions).unwrap();
        let written = (1..=transactions).flat_map(|number| [(number, 0), (0, number)]);
        assert_eq!(
            changes.into_values().collect::<Vec<_>>(),
            std::iter::once((0, 0)).chain(written).collect::<Vec<_>>()
        );
    }
}
