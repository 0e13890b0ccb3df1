//! A read-committed consumer over all topics of the pipeline, that records every record with the time it was seen.
//!
//! Partitions are found by asking for the cluster's metadata and assigned by hand, from their first offset: a consumer
//! group would stand still whenever the broker that coordinates it is killed. Finding topics goes on beside, on a client of
//! its own, so that a broker that does not answer never delays the time at which a record is seen.

use crate::error::{Doing, Error, Result};
use crate::history::{Listed, Observed, Op, Record, Recorder};
use fixtures::mysql::Position;
use rdkafka::consumer::{BaseConsumer, Consumer, StreamConsumer};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde::{Deserialize, Deserializer};
use serde_json::value::{RawValue, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Between two looks for new topics.
const DISCOVERY_INTERVAL: Duration = Duration::from_millis(500);
/// Longest wait for the cluster's metadata.
const METADATA_DEADLINE: Duration = Duration::from_secs(2);
/// Discoveries that may wait for the consumer.
const DISCOVERIES_MAX: usize = 16;
/// Where the reader lists what MySQL lost, without the prefix and its dot.
const LOST_TOPIC: &str = "__lost";
/// Bits of a version that number the changes of an epoch.
const SEQ_BITS: u32 = 48;

/// One partition of one topic.
type Place = (String, i32);

/// Watches until it is dropped.
pub struct TopicObserver {
    seen: watch::Receiver<Seen>,
    counts: Arc<Mutex<HashMap<Place, u64>>>,
    tasks: JoinSet<Result<()>>,
}

/// What was seen so far, as much as waiting for it needs.
#[derive(Debug, Clone, Default)]
struct Seen {
    /// The highest `written_by` in the table of pulses.
    pulse: u64,
    /// Sequence numbers seen above a hole, and the last one below it, of each epoch.
    epochs: BTreeMap<i64, Epoch>,
    /// Where in a binlog the change is that was seen last: the file's number, and the offset.
    origin: (u64, u64),
}

#[derive(Debug, Clone, Default)]
struct Epoch {
    /// All from 1 to this one were seen.
    whole_to: i64,
    /// Seen beyond.
    beyond: BTreeSet<i64>,
}

impl TopicObserver {
    /// Starts to watch. `pulse_table` is `database.table` of the rows that [`TopicObserver::wait_for_pulse`] waits for.
    pub fn start(bootstrap: &str, prefix: &str, pulse_table: &str, recorder: &Recorder) -> Result<Self> {
        let consumer: StreamConsumer = configuration(bootstrap)
            .create()
            .doing(|| "the observer's consumer cannot be made".into())?;
        let finder: BaseConsumer = configuration(bootstrap)
            .create()
            .doing(|| "the observer's consumer cannot be made".into())?;
        let (found, discoveries) = mpsc::channel(DISCOVERIES_MAX);
        let (saw, seen) = watch::channel(Seen::default());
        let counts = Arc::new(Mutex::new(HashMap::new()));
        let mut tasks = JoinSet::new();
        tasks.spawn(find(finder, format!("{prefix}."), found));
        let watcher = Watcher {
            consumer,
            next: BTreeMap::new(),
            pulse_topic: format!("{prefix}.{pulse_table}"),
            lost_topic: format!("{prefix}.{LOST_TOPIC}"),
            recorder: recorder.clone(),
            counts: Arc::clone(&counts),
            saw,
        };
        tasks.spawn(watcher.watch(discoveries));
        Ok(Self { seen, counts, tasks })
    }

    /// Waits until a pulse of this number or a later one was seen; false when the deadline passed.
    pub async fn wait_for_pulse(&mut self, number: u64, deadline: Duration) -> bool {
        let arrived = self.seen.wait_for(|seen| seen.pulse >= number);
        matches!(tokio::time::timeout(deadline, arrived).await, Ok(Ok(_)))
    }

    /// Waits until the sequence numbers seen have no hole; says how many are seen beyond one when the deadline passed.
    pub async fn wait_for_no_hole(&self, deadline: Duration) -> Result<(), String> {
        let mut seen = self.seen.clone();
        let whole = seen.wait_for(|seen| seen.epochs.values().all(|epoch| epoch.beyond.is_empty()));
        if matches!(tokio::time::timeout(deadline, whole).await, Ok(Ok(_))) {
            return Ok(());
        }
        let seen = self.seen.borrow();
        let holes: Vec<String> = seen
            .epochs
            .values()
            .filter(|epoch| !epoch.beyond.is_empty())
            .map(|epoch| {
                format!(
                    "no change {} although {} later ones were seen",
                    epoch.whole_to + 1,
                    epoch.beyond.len()
                )
            })
            .collect();
        Err(holes.join("; "))
    }

    /// Waits until a change was seen from behind this place in a binlog; false when the deadline passed.
    pub async fn wait_for_origin(&self, place: &Position, deadline: Duration) -> bool {
        let number = place.file.rsplit('.').next().and_then(|digits| digits.parse().ok());
        let place = (number.unwrap_or(u64::MAX), place.offset);
        let mut seen = self.seen.clone();
        let arrived = seen.wait_for(|seen| seen.origin > place);
        matches!(tokio::time::timeout(deadline, arrived).await, Ok(Ok(_)))
    }

    /// The topic with the most records so far, among those with this prefix.
    pub fn busiest_topic(&self, prefix: &str) -> Result<String> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut by_topic: BTreeMap<&str, u64> = BTreeMap::new();
        for ((topic, _), count) in counts.iter().filter(|((topic, _), _)| topic.starts_with(prefix)) {
            *by_topic.entry(topic).or_default() += count;
        }
        let busiest = by_topic
            .into_iter()
            .max_by_key(|(_, count)| *count)
            .map(|(topic, _)| topic.to_owned());
        busiest.ok_or_else(|| {
            Error::definite(format!("no record was seen in any topic {prefix}*"))
                .hint("the reader's log is in the run folder")
        })
    }

    /// Records seen so far in topics with this prefix.
    #[must_use]
    pub fn records(&self, prefix: &str) -> u64 {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let of_prefix = counts.iter().filter(|((topic, _), _)| topic.starts_with(prefix));
        of_prefix.map(|(_, count)| count).sum()
    }

    /// The partitions of a topic that have records.
    #[must_use]
    pub fn partitions(&self, topic: &str) -> Vec<i32> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let partitions: BTreeSet<i32> = counts
            .keys()
            .filter(|(known, _)| known == topic)
            .map(|(_, partition)| *partition)
            .collect();
        partitions.into_iter().collect()
    }

    /// An error if watching has ended by itself.
    pub async fn check(&mut self) -> Result<()> {
        match self.tasks.try_join_next() {
            None => Ok(()),
            Some(ended) => ended.doing(|| "the observer panicked".into())?,
        }
    }
}

fn configuration(bootstrap: &str) -> ClientConfig {
    let mut configuration = ClientConfig::new();
    configuration
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "mysync-drill")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("fetch.wait.max.ms", "10")
        .set("reconnect.backoff.max.ms", "500")
        .set("topic.metadata.refresh.interval.ms", "1000")
        .set("allow.auto.create.topics", "false")
        .set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg);
    configuration
}

/// Sends every partition of the pipeline's table topics that was not known.
async fn find(finder: BaseConsumer, prefix: String, found: mpsc::Sender<Vec<Place>>) -> Result<()> {
    let finder = Arc::new(finder);
    let internal = format!("{prefix}__");
    let own = format!("{prefix}__db_mysync.");
    let lost = format!("{prefix}{LOST_TOPIC}");
    let mut known: BTreeSet<Place> = BTreeSet::new();
    let mut ticks = tokio::time::interval(DISCOVERY_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let asked = Arc::clone(&finder);
        let answer = tokio::task::spawn_blocking(move || asked.fetch_metadata(None, METADATA_DEADLINE)).await;
        // While brokers are down there is no answer; the next look comes soon.
        let Ok(metadata) = answer.doing(|| "the observer panicked".into())? else {
            continue;
        };
        let mut new = Vec::new();
        for topic in metadata.topics() {
            let name = topic.name();
            let is_watched = !name.starts_with(&internal) || name.starts_with(&own) || name == lost;
            if !name.starts_with(&prefix) || !is_watched {
                continue;
            }
            new.extend(
                topic
                    .partitions()
                    .iter()
                    .map(|partition| (name.to_owned(), partition.id())),
            );
        }
        new.retain(|place| known.insert(place.clone()));
        if !new.is_empty() && found.send(new).await.is_err() {
            return Ok(());
        }
    }
}

struct Watcher {
    consumer: StreamConsumer,
    /// Next offset of each partition.
    next: BTreeMap<Place, i64>,
    pulse_topic: String,
    lost_topic: String,
    recorder: Recorder,
    counts: Arc<Mutex<HashMap<Place, u64>>>,
    saw: watch::Sender<Seen>,
}

impl Watcher {
    async fn watch(mut self, mut discoveries: mpsc::Receiver<Vec<Place>>) -> Result<()> {
        loop {
            let mut fresh = None;
            tokio::select! {
                biased;
                discovered = discoveries.recv() => match discovered {
                    Some(places) => fresh = Some(places),
                    None => return Ok(()),
                },
                received = self.consumer.recv(), if !self.next.is_empty() => match received {
                    Ok(message) if message.topic() == self.lost_topic => {
                        let listed = listed(&message, self.recorder.now_us());
                        let place = (self.lost_topic.clone(), message.partition());
                        self.next.insert(place, listed.offset + 1);
                        self.recorder.append(&Record::Listed(listed));
                    }
                    Ok(message) => {
                        let observed = observed(&message, self.recorder.now_us());
                        self.take(observed);
                    }
                    Err(error) => tracing::debug!(%error, "the observer's consumer goes on after an error"),
                },
            }
            if let Some(places) = fresh {
                self.assign(places)?;
            }
        }
    }

    fn assign(&mut self, places: Vec<Place>) -> Result<()> {
        for place in places {
            self.next.entry(place).or_insert(0);
        }
        let mut list = TopicPartitionList::new();
        for ((topic, partition), next) in &self.next {
            let offset = if *next == 0 {
                Offset::Beginning
            } else {
                Offset::Offset(*next)
            };
            list.add_partition_offset(topic, *partition, offset)
                .doing(|| format!("{topic} cannot be watched"))?;
        }
        self.consumer
            .assign(&list)
            .doing(|| "the topics cannot be watched".into())
    }

    fn take(&mut self, observed: Observed) {
        let place = (observed.topic.clone(), observed.partition);
        self.next.insert(place.clone(), observed.offset + 1);
        *self
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(place)
            .or_default() += 1;
        let pulse = observed.written_by.filter(|_| observed.topic == self.pulse_topic);
        let (version, origin) = (observed.version, observed.origin.clone());
        self.recorder.append(&Record::Observed(observed));
        self.saw.send_modify(|seen| {
            seen.take(pulse, version);
            seen.origin = origin.as_deref().and_then(place_of).unwrap_or_default();
        });
    }
}

impl Seen {
    fn take(&mut self, pulse: Option<u64>, version: Option<i64>) {
        self.pulse = self.pulse.max(pulse.unwrap_or(0));
        let Some(version) = version else { return };
        let (epoch, seq) = (version >> SEQ_BITS, version & ((1 << SEQ_BITS) - 1));
        let epoch = self.epochs.entry(epoch).or_default();
        if seq > epoch.whole_to {
            epoch.beyond.insert(seq);
        }
        while epoch.beyond.first() == Some(&(epoch.whole_to + 1)) {
            epoch.beyond.pop_first();
            epoch.whole_to += 1;
        }
    }
}

/// The file's number and the offset of `file:offset:row`.
fn place_of(origin: &str) -> Option<(u64, u64)> {
    let (file, rest) = origin.split_once(':')?;
    let (offset, _) = rest.split_once(':')?;
    Some((file.parse().ok()?, offset.parse().ok()?))
}

#[derive(Deserialize)]
struct Envelope {
    op: String,
    after: Option<Row>,
}

/// All of an envelope but the time at which the reader read the change.
#[derive(Deserialize, Hash)]
struct Content<'a> {
    #[serde(borrow, deserialize_with = "raw")]
    before: &'a str,
    #[serde(borrow, deserialize_with = "raw")]
    after: &'a str,
    #[serde(borrow, deserialize_with = "raw")]
    source: &'a str,
}

/// A value as its text stands there.
fn raw<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<&'de str, D::Error> {
    <&RawValue>::deserialize(deserializer).map(RawValue::get)
}

fn content(value: &[u8]) -> Option<u64> {
    let content: Content<'_> = serde_json::from_slice(value).ok()?;
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    Some(hasher.finish())
}

/// The columns of the bank's tables that the checks look at.
#[derive(Deserialize)]
struct Row {
    written_by: Option<u64>,
    balance: Option<i64>,
}

fn observed(message: &BorrowedMessage<'_>, at_us: u64) -> Observed {
    let header = |name: &str| {
        let headers = message.headers()?;
        let found = headers.iter().find(|header| header.key == name)?;
        String::from_utf8(found.value?.to_vec()).ok()
    };
    let envelope = message.payload().map(serde_json::from_slice::<Envelope>);
    let (op, after) = match envelope {
        None => (Op::Tombstone, None),
        Some(Err(_)) => (Op::Other, None),
        Some(Ok(envelope)) => (op_of(&envelope.op), envelope.after),
    };
    Observed {
        at_us,
        topic: message.topic().into(),
        partition: message.partition(),
        offset: message.offset(),
        version: header("mysync.version").and_then(|text| text.parse().ok()),
        origin: header("mysync.origin"),
        key: String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned(),
        op,
        written_by: after.as_ref().and_then(|row| row.written_by),
        balance: after.as_ref().and_then(|row| row.balance),
        content: message.payload().and_then(content),
    }
}

fn listed(message: &BorrowedMessage<'_>, at_us: u64) -> Listed {
    let payload = message.payload().unwrap_or_default();
    let value: Value = serde_json::from_slice(payload).unwrap_or_default();
    Listed {
        at_us,
        offset: message.offset(),
        first_version: value["first_version"].as_i64(),
        changes: value["changes"].as_u64(),
        text: String::from_utf8_lossy(payload).into_owned(),
    }
}

fn op_of(op: &str) -> Op {
    match op {
        "c" => Op::Insert,
        "r" => Op::Refresh,
        "u" => Op::Update,
        "d" => Op::Delete,
        _ => Op::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_s_place_is_told_by_its_origin() {
        assert_eq!(place_of("12:522744:1"), Some((12, 522_744)));
        assert_eq!(place_of("binlog.000012:522744:1"), None);
    }

    #[test]
    fn a_copy_that_was_read_later_has_the_same_content_and_another_row_has_not() {
        let envelope = |after: &str, read_ms: u64| {
            format!(r#"{{"before":null,"after":{after},"source":{{"pos":7}},"op":"c","ts_ms":{read_ms}}}"#)
        };
        let of = |after, read_ms| content(envelope(after, read_ms).as_bytes());
        assert_eq!(of("{\"id\":1}", 5), of("{\"id\":1}", 6));
        assert_ne!(of("{\"id\":1}", 5), of("{\"id\":2}", 5));
        assert!(of("{\"id\":1}", 5).is_some());
    }

    #[test]
    fn a_hole_is_kept_in_mind_until_it_is_filled() {
        let mut seen = Seen::default();
        let version = |seq: i64| Some((1 << SEQ_BITS) | seq);
        for seq in [1, 2, 4, 4, 5] {
            seen.take(None, version(seq));
        }
        let epoch = &seen.epochs[&1];
        assert_eq!((epoch.whole_to, epoch.beyond.len()), (2, 2));
        seen.take(Some(9), version(3));
        let epoch = &seen.epochs[&1];
        assert_eq!((epoch.whole_to, epoch.beyond.len(), seen.pulse), (5, 0, 9));
    }
}
