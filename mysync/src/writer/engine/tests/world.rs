//! A queue and a target in memory, on a paused clock, and a person who waits for things to happen.

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::metrics::orders::{Asked, Order};
use crate::metrics::{Exposed, WriterMetrics, WriterStatus};
use crate::queue::kafka::KafkaPublisher;
use crate::queue::outdated::Outdated;
use crate::queue::{Delivery, Message, Partition, Published, Queue, Scan, Subscriber, Topic};
use crate::schema::TableName;
use crate::source::mysql::DescribedColumn;
use crate::target::{Cursor, Outcome, Step, Target};
use crate::version::Version;
use crate::writer::{AskColumns, Bounds, Options, Summary};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How often somebody looks whether something has happened.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Looks until it does not happen any more.
const LOOKS_MAX: usize = 10_000;

pub(super) fn partition(topic: &str) -> Partition {
    Partition {
        topic: topic.into(),
        number: 0,
    }
}

/// A row of a table, or what nobody understands.
pub(super) fn message(topic: &str, offset: i64, id: &str, is_understood: bool) -> Message {
    let row = format!("{{\"op\":\"u\",\"after\":{{\"id\":{id:?}}},\"source\":{{\"db\":\"d\",\"table\":\"t\"}}}}");
    Message {
        partition: partition(topic),
        offset,
        version: None,
        table: None,
        timestamp_ms: Some(1),
        key: format!("{{\"id\":{id:?}}}").into_bytes(),
        value: Some(if is_understood {
            row.into_bytes()
        } else {
            b"{}".to_vec()
        }),
    }
}

/// A row of a table whose key is a BIGINT UNSIGNED, as Debezium publishes it; none is its tombstone.
pub(super) fn embedded(topic: &str, offset: i64, id: i64, is_row: bool) -> Message {
    let fields = "[{\"type\":\"int64\",\"field\":\"id\"}]";
    let row = format!("{{\"type\":\"struct\",\"fields\":{fields},\"field\":\"after\"}}");
    let payload = format!("{{\"op\":\"c\",\"after\":{{\"id\":{id}}},\"source\":{{\"db\":\"d\",\"table\":\"t\"}}}}");
    let framed = |fields: &str, payload: &str| {
        let schema = format!("{{\"type\":\"struct\",\"fields\":{fields}}}");
        format!("{{\"schema\":{schema},\"payload\":{payload}}}").into_bytes()
    };
    Message {
        key: framed(fields, &format!("{{\"id\":{id}}}")),
        value: is_row.then(|| framed(&format!("[{row}]"), &payload)),
        ..message(topic, offset, "", true)
    }
}

/// What is written and what is kept, and how both sides fail.
#[derive(Default)]
pub(super) struct State {
    pub(super) logs: BTreeMap<Partition, Vec<Message>>,
    pub(super) dead: Vec<(Partition, i64, String)>,
    pub(super) burial_fails: bool,
    /// Keys of rows, as they are now.
    pub(super) rows: BTreeSet<(Partition, String)>,
    pub(super) cursors: BTreeMap<Partition, Cursor>,
    /// The key of a row that the target refuses.
    pub(super) refused: Option<String>,
    /// A step to this offset fails once.
    pub(super) fails_at: Option<i64>,
    /// The target refuses whoever asks.
    pub(super) is_locked: bool,
    /// Where the records are Debezium's: what MySQL answers, one after the other.
    pub(super) answers: Option<VecDeque<Result<Option<Vec<DescribedColumn>>>>>,
}

#[derive(Clone, Default)]
pub(super) struct World(pub(super) Rc<RefCell<State>>);

impl World {
    pub(super) fn of(messages: Vec<Message>) -> Self {
        let world = Self::default();
        world.write(messages);
        world
    }

    pub(super) fn write(&self, messages: Vec<Message>) {
        let mut state = self.0.borrow_mut();
        for message in messages {
            let log = state.logs.entry(message.partition.clone()).or_default();
            log.push(message);
        }
    }

    pub(super) fn cursor(&self, topic: &str) -> Option<i64> {
        Some(self.0.borrow().cursors.get(&partition(topic))?.offset)
    }

    pub(super) fn has_row(&self, topic: &str, id: &str) -> bool {
        self.0.borrow().rows.contains(&(partition(topic), id.to_owned()))
    }

    /// Runs a writer until the person is done, or until it ends by itself.
    pub(super) async fn run(
        &self,
        until_caught_up: bool,
        person: impl AsyncFnOnce(&Arc<WriterMetrics>),
    ) -> Result<Summary> {
        let metrics: Arc<WriterMetrics> = Arc::default();
        let options = self.options(until_caught_up, &metrics);
        super::super::run(self, Memory(self.clone()), &options, person(&metrics)).await
    }
}

impl World {
    pub(super) fn options(&self, until_caught_up: bool, metrics: &Arc<WriterMetrics>) -> Options {
        Options {
            prefix: "p".into(),
            bounds: Bounds {
                changes_max: 100,
                bytes_max: 1_000_000,
            },
            until_caught_up,
            metrics: Arc::clone(metrics),
            debezium: self.asks(),
        }
    }

    fn asks(&self) -> Option<AskColumns> {
        self.0.borrow().answers.as_ref()?;
        let world = self.clone();
        Some(AskColumns::new(move |_| {
            let answer = world.0.borrow_mut().answers.as_mut().and_then(VecDeque::pop_front);
            Box::pin(std::future::ready(answer.unwrap()))
        }))
    }
}

/// Waits until it is so.
pub(super) async fn until(condition: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..LOOKS_MAX {
        if holds() {
            return;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    panic!("never happened: {condition}");
}

pub(super) fn status(metrics: &WriterMetrics) -> WriterStatus {
    metrics.status().writer.unwrap()
}

pub(super) async fn until_stopped(metrics: &WriterMetrics, offset: i64) {
    let is_it = || status(metrics).stopped.iter().any(|stopped| stopped.offset == offset);
    until("a partition is stopped there", is_it).await;
}

pub(super) async fn tell(metrics: &WriterMetrics, order: Order) -> Result<String> {
    let (answer, answered) = oneshot::channel();
    let orders = metrics.orders().unwrap();
    orders.send(Asked { order, answer }).await.unwrap();
    answered.await.unwrap()
}

impl Queue for World {
    type Publisher = KafkaPublisher;
    type Subscriber = Reader;

    async fn publisher(&self) -> Result<(KafkaPublisher, Option<Checkpoint>)> {
        Err(Error::definite("this queue has no readers"))
    }

    async fn scan(&self, _internal_topic: &str, _from_offset: i64) -> Result<Scan> {
        Ok(Scan::channel().1)
    }

    async fn scan_end(&self, _internal_topic: &str, _offsets: i64) -> Result<(Scan, bool)> {
        Ok((Scan::channel().1, true))
    }

    async fn published(&self, _from: Version) -> Result<Published> {
        Ok(Published::channel().1)
    }

    async fn tables(&self) -> Result<Vec<TableName>> {
        Ok(Vec::new())
    }

    async fn outdated(&self, _topic: Topic<'_>, _key_end: &[u8], _before: Version) -> Result<Outdated> {
        Ok(Outdated::channel().1)
    }

    async fn subscriber(&self, _group: &str) -> Result<Reader> {
        Ok(Reader {
            world: self.clone(),
            is_told: false,
            positions: BTreeMap::new(),
            paused: BTreeSet::new(),
        })
    }
}

/// Reads all partitions there are when it begins.
pub(super) struct Reader {
    world: World,
    is_told: bool,
    positions: BTreeMap<Partition, i64>,
    paused: BTreeSet<Partition>,
}

impl Subscriber for Reader {
    async fn next(&mut self) -> Result<Delivery> {
        if !std::mem::replace(&mut self.is_told, true) {
            return Ok(Delivery::Assigned(self.world.0.borrow().logs.keys().cloned().collect()));
        }
        loop {
            let mut messages = Vec::new();
            for (partition, position) in &mut self.positions {
                if !self.paused.contains(partition) {
                    let state = self.world.0.borrow();
                    let log = state.logs[partition].iter();
                    let new: Vec<Message> = log.filter(|message| message.offset >= *position).cloned().collect();
                    *position = new.last().map_or(*position, |last| last.offset + 1);
                    messages.extend(new);
                }
            }
            if !messages.is_empty() {
                let positions = BTreeMap::new();
                return Ok(Delivery::Records { messages, positions });
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    async fn start(&mut self, cursors: &BTreeMap<Partition, Option<i64>>) -> Result<BTreeMap<Partition, i64>> {
        let starts: BTreeMap<Partition, i64> = cursors
            .iter()
            .map(|(partition, cursor)| (partition.clone(), cursor.unwrap_or(0)))
            .collect();
        self.paused.retain(|partition| !starts.contains_key(partition));
        self.positions.extend(starts.clone());
        Ok(starts)
    }

    fn ends(&self) -> impl Future<Output = Result<BTreeMap<Partition, i64>>> + 'static {
        let world = self.world.clone();
        async move {
            let state = world.0.borrow();
            let end = |log: &Vec<Message>| log.last().map_or(0, |last| last.offset + 1);
            Ok(state
                .logs
                .iter()
                .map(|(partition, log)| (partition.clone(), end(log)))
                .collect())
        }
    }

    fn pause(&mut self, partitions: &[Partition]) {
        self.paused.extend(partitions.iter().cloned());
    }

    fn resume(&mut self, partitions: &[Partition]) {
        self.paused.retain(|partition| !partitions.contains(partition));
    }

    fn commit(&mut self, _offsets: &BTreeMap<Partition, i64>) {}

    fn bury(&self, partition: Partition, offset: i64, reason: String) -> impl Future<Output = Result<()>> + 'static {
        let world = self.world.clone();
        async move {
            // The brokers take their time.
            tokio::time::sleep(LOOK_INTERVAL).await;
            let mut state = world.0.borrow_mut();
            match state.burial_fails {
                true => Err(Error::transient("the brokers do not acknowledge it")),
                false => {
                    state.dead.push((partition, offset, reason));
                    Ok(())
                }
            }
        }
    }

    async fn close(self) {}
}

pub(super) struct Memory(pub(super) World);

impl Target for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn connect(&mut self) -> Result<()> {
        Ok(())
    }

    async fn cursors(&mut self, partitions: &[Partition]) -> Result<BTreeMap<Partition, Option<Cursor>>> {
        let state = self.0.0.borrow();
        let cursor = |partition: &Partition| (partition.clone(), state.cursors.get(partition).copied());
        Ok(partitions.iter().map(cursor).collect())
    }

    async fn apply(&mut self, steps: &[Step]) -> Result<Vec<Outcome>> {
        let mut state = self.0.0.borrow_mut();
        if state.is_locked {
            return Err(Error::definite("wrong password"));
        }
        let mut outcomes = Vec::new();
        for step in steps {
            if state.fails_at == Some(step.cursor_after.offset) {
                state.fails_at = None;
                return Err(Error::transient("the connection broke"));
            }
            assert_eq!(state.cursors.get(&step.partition).copied(), step.cursor_before);
            let mut keys = step.changes.iter().map(|change| &change.key[0].1);
            if keys.any(|key| Some(key) == state.refused.as_ref()) {
                outcomes.push(Outcome::Refused(Error::definite("poison")));
                continue;
            }
            for change in &step.changes {
                let row = (step.partition.clone(), change.key[0].1.clone());
                match change.row.is_some() {
                    true => state.rows.insert(row),
                    false => state.rows.remove(&row),
                };
            }
            state.cursors.insert(step.partition.clone(), step.cursor_after);
            outcomes.push(Outcome::Applied);
        }
        Ok(outcomes)
    }
}
