//! The thread that polls the consumer.
//!
//! All of the client's callbacks run inside its `poll`, so on this thread, one at a time; a poll during which one ran
//! returns no record. Whatever was gathered is handed over before anything else happens.

use super::super::brokers::Brokers;
use super::super::sort;
use super::member::Place;
use crate::error::{Error, Result};
use crate::queue::{Delivery, MOVED, Message, Partition};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message as _};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// Records of one delivery, at most.
const DELIVERY_RECORDS_MAX: usize = 1_000;

/// A delivery is handed over as soon as it holds so many bytes.
const DELIVERY_BYTES_MAX: usize = 1024 * 1024;

/// How long a command may wait for the thread while no record comes.
const POLL_TIMEOUT: Duration = Duration::from_millis(20);

/// How long moving partitions may take.
const SEEK_TIMEOUT: Duration = Duration::from_secs(10);

/// What the thread is asked to do.
#[derive(Debug)]
pub(super) enum Command {
    Start(BTreeMap<Partition, i64>),
    Pause(Vec<Partition>),
    Resume(Vec<Partition>),
    Commit(BTreeMap<Partition, i64>),
}

/// What the thread tells, in order.
#[derive(Debug)]
pub(super) enum Event {
    Delivery(Delivery),
    /// A start is done; records from before it stand before this.
    Started(Result<()>),
    Failed(Error),
    /// Another member has taken this one's name.
    Fenced,
}

/// The other side has hung up.
struct Closed;

/// What the thread and the callbacks inside its polls share.
pub(super) struct Context {
    commands: Mutex<blocking::Receiver<Command>>,
    events: mpsc::Sender<Event>,
    state: Mutex<State>,
    brokers: Brokers,
}

#[derive(Default)]
struct State {
    owned: BTreeSet<Partition>,
    messages: Vec<Message>,
    bytes: usize,
    /// A partition was read to its end since the last delivery.
    at_end: bool,
    names: HashMap<String, Arc<str>>,
}

/// Joins the group, polls until the other side hangs up, and leaves the group.
pub(super) fn run(consumer: BaseConsumer<Context>, place: &Place) {
    let context = Arc::clone(consumer.context());
    if let Err(error) = place.join(&consumer, || !context.events.is_closed()) {
        // Nobody left to tell is fine.
        context.tell(Event::Failed(error)).ok();
        return;
    }
    while context.turn(&consumer).is_ok() {}
    place.leave(&consumer);
}

impl Context {
    pub(super) fn new(commands: blocking::Receiver<Command>, events: mpsc::Sender<Event>) -> Self {
        Self {
            commands: Mutex::new(commands),
            events,
            state: Mutex::new(State::default()),
            brokers: Brokers::default(),
        }
    }

    fn turn(&self, consumer: &BaseConsumer<Self>) -> Result<(), Closed> {
        self.serve_commands(consumer)?;
        let failure = self.gather(consumer).or_else(|| self.brokers.lost());
        self.hand_over(consumer)?;
        let fatal = failure.as_ref().and_then(|_| consumer.client().fatal_error());
        match (failure, fatal) {
            (Some(_), Some((RDKafkaErrorCode::FencedInstanceId, _))) => self.tell(Event::Fenced),
            (Some(error), _) => self.tell(Event::Failed(error)),
            (None, _) => Ok(()),
        }
    }

    fn serve_commands(&self, consumer: &BaseConsumer<Self>) -> Result<(), Closed> {
        loop {
            let command = lock(&self.commands).try_recv();
            match command {
                Ok(Command::Start(starts)) => {
                    let outcome = self.seek(consumer, &starts);
                    self.tell(Event::Started(outcome))?;
                }
                Ok(command) => serve_simple(consumer, command),
                Err(blocking::TryRecvError::Empty) => return Ok(()),
                Err(blocking::TryRecvError::Disconnected) => return Err(Closed),
            }
        }
    }

    /// Waits a while for a record, then takes what is there. Returns an error that the other side must know.
    fn gather(&self, consumer: &BaseConsumer<Self>) -> Option<Error> {
        let mut timeout = POLL_TIMEOUT;
        loop {
            match consumer.poll(timeout) {
                None => return None,
                Some(Ok(record)) => {
                    let mut state = lock(&self.state);
                    state.take(&record);
                    if state.messages.len() >= DELIVERY_RECORDS_MAX || state.bytes >= DELIVERY_BYTES_MAX {
                        return None;
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => lock(&self.state).at_end = true,
                Some(Err(error)) => match judge(&error) {
                    Some(error) => return Some(error),
                    None => tracing::debug!(%error, "librdkafka"),
                },
            }
            timeout = Duration::ZERO;
        }
    }

    /// Hands over what was gathered, with the positions where a partition was read to its end.
    fn hand_over(&self, consumer: &BaseConsumer<Self>) -> Result<(), Closed> {
        let mut state = lock(&self.state);
        if state.messages.is_empty() && !state.at_end {
            return Ok(());
        }
        let positions = match std::mem::take(&mut state.at_end) {
            true => state.positions(consumer),
            false => BTreeMap::new(),
        };
        state.bytes = 0;
        let messages = std::mem::take(&mut state.messages);
        drop(state);
        self.tell(Event::Delivery(Delivery::Records { messages, positions }))
    }

    fn tell(&self, event: Event) -> Result<(), Closed> {
        self.events.blocking_send(event).map_err(|_| Closed)
    }

    /// In the callback: says what was assigned, and waits for the start that names all of it.
    fn assigned(&self, consumer: &BaseConsumer<Self>, partitions: &BTreeSet<Partition>) -> Result<(), Closed> {
        self.hand_over(consumer)?;
        self.tell(Event::Delivery(Delivery::Assigned(
            partitions.iter().cloned().collect(),
        )))?;
        loop {
            let command = lock(&self.commands).recv().map_err(|_| Closed)?;
            match command {
                Command::Start(starts) => {
                    let moved = self.seek(consumer, &starts);
                    let all = partitions.iter().all(|partition| starts.contains_key(partition));
                    if moved.is_ok() && all {
                        let outcome = assign(consumer, partitions, &starts);
                        lock(&self.state).owned.extend(partitions.iter().cloned());
                        return self.tell(Event::Started(outcome));
                    }
                    self.tell(Event::Started(moved))?;
                }
                command => serve_simple(consumer, command),
            }
        }
    }

    /// In the callback: gives partitions up at once. What the other side still applies of them is guarded by the cursor.
    fn revoked(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) -> Result<(), Closed> {
        let handed_over = self.hand_over(consumer);
        // A partition that comes back one day must not come back paused.
        let resumed = consumer.resume(list);
        let unassigned = consumer.incremental_unassign(list);
        if let Err(error) = resumed.and(unassigned) {
            tracing::debug!(%error, "librdkafka");
        }
        handed_over?;
        let mut state = lock(&self.state);
        let partitions = state.partitions(list);
        for partition in &partitions {
            state.owned.remove(partition);
        }
        drop(state);
        self.tell(Event::Delivery(Delivery::Revoked(partitions)))
    }

    /// Moves those of the partitions that are this member's already.
    fn seek(&self, consumer: &BaseConsumer<Self>, starts: &BTreeMap<Partition, i64>) -> Result<()> {
        let state = lock(&self.state);
        let owned: Vec<&Partition> = starts
            .keys()
            .filter(|partition| state.owned.contains(partition))
            .collect();
        if owned.is_empty() {
            return Ok(());
        }
        let what = "cannot move partitions to the target's cursors";
        let list = offsets_list(owned.into_iter(), starts).map_err(|error| sort(&error, what))?;
        consumer.resume(&list).map_err(|error| sort(&error, what))?;
        let answer = consumer
            .seek_partitions(list, SEEK_TIMEOUT)
            .map_err(|error| sort(&error, what))?;
        for element in answer.elements() {
            element.error().map_err(|error| {
                Error::transient(what)
                    .detail(error)
                    .detail(format!("{}[{}]", element.topic(), element.partition()))
            })?;
        }
        Ok(())
    }
}

impl State {
    fn take(&mut self, record: &BorrowedMessage<'_>) {
        let mut version = None;
        let mut table = None;
        for header in record.headers().iter().flat_map(|headers| headers.iter()) {
            let text = || header.value.and_then(|bytes| std::str::from_utf8(bytes).ok());
            match header.key {
                "mysync.version" => version = text().and_then(|text| text.parse().ok()),
                "mysync.table" => table = text().map(str::to_owned),
                // It ends a key, and no row: like a mark, it moves the position only.
                MOVED if record.payload().is_none() => return,
                _ => {}
            }
        }
        let key = record.key().unwrap_or_default().to_vec();
        let value = record.payload().map(<[u8]>::to_vec);
        self.bytes += key.len() + value.as_ref().map_or(0, Vec::len);
        let partition = Partition {
            topic: self.name(record.topic()),
            number: record.partition(),
        };
        self.messages.push(Message {
            partition,
            offset: record.offset(),
            version,
            table,
            timestamp_ms: record.timestamp().to_millis(),
            key,
            value,
        });
    }

    fn name(&mut self, topic: &str) -> Arc<str> {
        if let Some(last) = self.messages.last().filter(|last| &*last.partition.topic == topic) {
            return Arc::clone(&last.partition.topic);
        }
        let known = self.names.entry(topic.to_owned());
        Arc::clone(known.or_insert_with(|| topic.into()))
    }

    fn partitions(&mut self, list: &TopicPartitionList) -> Vec<Partition> {
        let elements = list.elements();
        let partition = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| Partition {
            topic: self.name(element.topic()),
            number: element.partition(),
        };
        elements.iter().map(partition).collect()
    }

    fn positions(&mut self, consumer: &BaseConsumer<Context>) -> BTreeMap<Partition, i64> {
        let list = match consumer.position() {
            Ok(list) => list,
            Err(error) => {
                tracing::debug!(%error, "librdkafka");
                return BTreeMap::new();
            }
        };
        let partitions = self.partitions(&list);
        let known = partitions
            .into_iter()
            .zip(list.elements())
            .filter_map(|(partition, element)| match element.offset() {
                Offset::Offset(offset) => Some((partition, offset)),
                _ => None,
            });
        known.collect()
    }
}

impl ClientContext for Context {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.brokers.look(statistics);
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let outcome = if err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let partitions: BTreeSet<Partition> = lock(&self.state).partitions(list).into_iter().collect();
            match partitions.is_empty() {
                true => Err(Closed),
                false => self.assigned(consumer, &partitions),
            }
            // The protocol wants an answer to every assignment: to an empty one, and to one that comes while this member is
            // closed and nobody reads any more.
            .or_else(|Closed| consumer.incremental_assign(list))
        } else {
            // Nobody reads any more: there is nobody to tell.
            self.revoked(consumer, list).or_else(|Closed| Ok(()))
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "librdkafka");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "offsets for lag monitors were not stored");
        }
    }
}

fn serve_simple(consumer: &BaseConsumer<Context>, command: Command) {
    let outcome = match command {
        Command::Start(_) => Ok(()),
        Command::Pause(partitions) => consumer.pause(&list_of(&partitions)),
        Command::Resume(partitions) => consumer.resume(&list_of(&partitions)),
        Command::Commit(offsets) => {
            offsets_list(offsets.keys(), &offsets).and_then(|list| consumer.commit(&list, CommitMode::Async))
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "librdkafka");
    }
}

fn assign(
    consumer: &BaseConsumer<Context>,
    partitions: &BTreeSet<Partition>,
    starts: &BTreeMap<Partition, i64>,
) -> Result<()> {
    let list = offsets_list(partitions.iter(), starts);
    list.and_then(|list| consumer.incremental_assign(&list))
        .map_err(|error| sort(&error, "cannot take over partitions"))
}

fn list_of(partitions: &[Partition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(&partition.topic, partition.number);
    }
    list
}

fn offsets_list<'a>(
    partitions: impl Iterator<Item = &'a Partition>,
    offsets: &BTreeMap<Partition, i64>,
) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        if let Some(offset) = offsets.get(partition) {
            list.add_partition_offset(&partition.topic, partition.number, Offset::Offset(*offset))?;
        }
    }
    Ok(list)
}

/// What a consumer's error means; `None` where the client mends it by itself.
fn judge(error: &KafkaError) -> Option<Error> {
    use RDKafkaErrorCode as Code;
    match (error, error.rdkafka_error_code()) {
        (KafkaError::MessageConsumptionFatal(_), _) => {
            Some(Error::transient("the Kafka consumer has failed for good").detail(error))
        }
        (_, Some(Code::InvalidSessionTimeout)) => Some(
            Error::definite("the brokers refuse the session of a writer")
                .detail(error)
                .hint("set writer.session_seconds within group.min.session.timeout.ms and group.max.session.timeout.ms of the brokers"),
        ),
        (_, Some(Code::AutoOffsetReset | Code::OffsetOutOfRange)) => Some(
            Error::definite("a partition no longer holds the offset that is to be read next")
                .detail(error)
                .hint(
                    "records were removed before they were applied: keep topics compacted with retention.ms=-1; delete \
                     the cursors of the topic in the target to replay it from its oldest records",
                ),
        ),
        (_, Some(Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed | Code::Authentication)) => {
            Some(sort(error, "the brokers refuse to let the writer read"))
        }
        _ => None,
    }
}

/// Nothing panics while it holds one of these locks; if it ever does, what they guard is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
