//! The consuming half: one member of a writers' consumer group.
//!
//! # Threads
//! The consumer is driven by a thread of its own (`poller`), because the client's calls block and its callbacks run where
//! it is polled. The thread hands everything over one bounded channel, in the order in which it happened: records, the
//! positions that go with them, assignments, revocations. A second client without a group (`observer`) answers questions
//! about the ends of partitions, so that a broker that does not answer holds up nothing else.
//!
//! # Nothing is delivered before its cursor is known
//! When the group gives partitions to this member, the thread says so and then waits *inside the client's rebalance
//! callback* until [`Subscriber::start`] names the offsets; only then are the partitions assigned in the client, with
//! exactly these offsets. Offsets stored in Kafka are never read. The callback holds up neither heartbeats (the client has
//! a thread for them) nor anybody else: with the cooperative protocol the partitions that this member has already go on
//! from where they are. A writer that cannot start for [`POLL_INTERVAL_MAX`] leaves the group and joins again later.
//!
//! # Never a silent jump
//! `auto.offset.reset` is `error`. Every cursor is compared with the oldest and the newest offset of its partition first: one
//! outside means that the topic was deleted and created again, or that records were removed, and is a definite error.
//!
//! # Moving back
//! After a target has lost its last writes, `start` moves partitions to older offsets. The thread seeks between two
//! polls, after handing over what it held, and then sends a mark; records of these partitions that come before the mark are
//! dropped.
//!
//! # Topics
//! The subscription is a pattern, looked up every [`TOPICS_INTERVAL`]: a table's topic is found by itself.

mod member;
mod observer;
mod poller;
mod topics;

use super::{FETCH_QUEUE_BACKOFF_MS, KafkaQueue, brokers, dead, sort};
use crate::config::WriterFormat;
use crate::error::{Error, Result};
use crate::queue::{Delivery, Partition, Subscriber};
use member::{Member, Place};
use observer::Observer;
use poller::{Command, Context, Event};
use rdkafka::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc as blocking;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
pub(super) use topics::Topics;

/// How often new topics are looked for.
pub const TOPICS_INTERVAL: Duration = Duration::from_secs(1);

/// A member that is not polled for so long leaves the group: its target is away, and others need not wait for it.
pub const POLL_INTERVAL_MAX: Duration = Duration::from_secs(60);

/// How soon members learn that the group changes.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(1_500);

/// Deliveries on their way from the thread; with [`poller::DELIVERY_BYTES_MAX`] the bound on their memory.
const DELIVERIES_MAX: usize = 2;

/// What the client fetches ahead. Fetched records are compressed: they take several times their size in memory, and the
/// client keeps some hundred bytes more for each of them. One record may be larger than any of these.
const FETCHED_AHEAD_KILOBYTES_MAX: usize = 8 * 1024;
const FETCHED_AHEAD_RECORDS: usize = 10_000;
const FETCH_BYTES_MAX: u32 = 2 * 1024 * 1024;
const FETCH_PARTITION_BYTES_MAX: u32 = 512 * 1024;
/// A response holds one record of the largest size and what surrounds it.
const RESPONSE_OVERHEAD_BYTES: u32 = 1024 * 1024;

/// How long the brokers may take to tell where partitions begin and end before a start counts as failed.
const START_TIMEOUT: Duration = Duration::from_secs(20);
const START_RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// How long leaving the group may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A member of a group of writers.
#[derive(Debug)]
pub struct KafkaSubscriber {
    queue: KafkaQueue,
    group: String,
    member: Member,
    observer: Observer,
    commands: blocking::Sender<Command>,
    events: mpsc::Receiver<Event>,
    /// Came while a start was waited for.
    set_aside: VecDeque<Delivery>,
    thread: JoinHandle<()>,
}

impl KafkaSubscriber {
    /// Joins the group; nothing is delivered before its first assignment is started.
    pub(super) fn join(queue: &KafkaQueue, group: &str) -> Result<Self> {
        let topics = Topics::new(&queue.config.kafka.prefix);
        let observer = Observer::new(&queue.client_config(), topics.clone())?;
        let (commands, command_receiver) = blocking::channel();
        let (event_sender, events) = mpsc::channel(DELIVERIES_MAX);
        let context = Context::new(command_receiver, event_sender);
        let member = Member::new(queue, group);
        let mut config = consumer_config(queue, group);
        member.configure(&mut config);
        let session = queue.config.writer.session();
        let place = Place::new(&config, group, &member, topics.pattern(), session);
        let consumer: BaseConsumer<Context> = config
            .create_with_context(context)
            .map_err(|error| sort(&error, "cannot make a Kafka consumer"))?;
        let thread = std::thread::Builder::new()
            .name("kafka-poller".into())
            .spawn(move || poller::run(consumer, &place))
            .map_err(|error| Error::transient("cannot start a thread").detail(error))?;
        Ok(KafkaSubscriber {
            queue: queue.clone(),
            group: group.to_owned(),
            member,
            observer,
            commands,
            events,
            set_aside: VecDeque::new(),
            thread,
        })
    }
}

fn consumer_config(queue: &KafkaQueue, group: &str) -> ClientConfig {
    let milliseconds = |duration: Duration| duration.as_millis().to_string();
    let response_bytes_max = queue.config.kafka.message_bytes_max.max(FETCH_BYTES_MAX) + RESPONSE_OVERHEAD_BYTES;
    let mut config = queue.client_config();
    config
        .set("group.id", group)
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true")
        .set("allow.auto.create.topics", "false")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("topic.metadata.refresh.interval.ms", milliseconds(TOPICS_INTERVAL))
        .set("session.timeout.ms", milliseconds(queue.config.writer.session()))
        .set("heartbeat.interval.ms", milliseconds(HEARTBEAT_INTERVAL))
        .set("max.poll.interval.ms", milliseconds(POLL_INTERVAL_MAX))
        .set("check.crcs", "true")
        .set("queued.max.messages.kbytes", FETCHED_AHEAD_KILOBYTES_MAX.to_string())
        .set("queued.min.messages", FETCHED_AHEAD_RECORDS.to_string())
        .set("fetch.queue.backoff.ms", FETCH_QUEUE_BACKOFF_MS)
        .set("fetch.error.backoff.ms", "100")
        .set("fetch.max.bytes", FETCH_BYTES_MAX.to_string())
        .set("max.partition.fetch.bytes", FETCH_PARTITION_BYTES_MAX.to_string())
        .set("receive.message.max.bytes", response_bytes_max.to_string());
    brokers::watch(&mut config);
    config
}

impl Subscriber for KafkaSubscriber {
    async fn next(&mut self) -> Result<Delivery> {
        if let Some(delivery) = self.set_aside.pop_front() {
            return Ok(delivery);
        }
        match self.events.recv().await {
            Some(Event::Delivery(delivery)) => Ok(delivery),
            Some(Event::Failed(error)) => Err(error),
            Some(Event::Fenced) => Err(self.member.fenced(&self.queue, &self.group)),
            // The mark of a start whose future was dropped.
            Some(Event::Started(_)) => Ok(Delivery::Records {
                messages: Vec::new(),
                positions: BTreeMap::new(),
            }),
            None => Err(thread_ended()),
        }
    }

    async fn start(&mut self, cursors: &BTreeMap<Partition, Option<i64>>) -> Result<BTreeMap<Partition, i64>> {
        let starts = self.resolve(cursors).await?;
        // What an earlier start has set aside was read before this one moves.
        let earlier = std::mem::take(&mut self.set_aside);
        self.set_aside
            .extend(earlier.into_iter().map(|delivery| without(delivery, cursors)));
        self.commands
            .send(Command::Start(starts.clone()))
            .map_err(|_| thread_ended())?;
        loop {
            match self.events.recv().await {
                Some(Event::Delivery(delivery)) => self.set_aside.push_back(without(delivery, cursors)),
                Some(Event::Started(outcome)) => return outcome.map(|()| starts),
                Some(Event::Failed(error)) => return Err(error),
                Some(Event::Fenced) => return Err(self.member.fenced(&self.queue, &self.group)),
                None => return Err(thread_ended()),
            }
        }
    }

    fn ends(&self) -> impl Future<Output = Result<BTreeMap<Partition, i64>>> + 'static {
        self.observer.ends()
    }

    // The thread reports by itself that it has ended, so nothing is lost when these four find it gone.

    fn pause(&mut self, partitions: &[Partition]) {
        let _ = self.commands.send(Command::Pause(partitions.to_vec()));
    }

    fn resume(&mut self, partitions: &[Partition]) {
        let _ = self.commands.send(Command::Resume(partitions.to_vec()));
    }

    fn commit(&mut self, offsets: &BTreeMap<Partition, i64>) {
        let _ = self.commands.send(Command::Commit(offsets.clone()));
    }

    fn bury(&self, partition: Partition, offset: i64, reason: String) -> impl Future<Output = Result<()>> + 'static {
        dead::bury(self.queue.clone(), self.group.clone(), partition, offset, reason)
    }

    async fn close(self) {
        // The thread takes the commands that were sent before, then finds both channels closed and leaves the group.
        drop(self.commands);
        drop(self.events);
        let joined = tokio::task::spawn_blocking(move || self.thread.join());
        if tokio::time::timeout(CLOSE_TIMEOUT, joined).await.is_err() {
            tracing::warn!(
                seconds = CLOSE_TIMEOUT.as_secs(),
                "the brokers did not confirm in time that this writer has left its group"
            );
        }
    }
}

impl KafkaSubscriber {
    /// The offset at which each partition starts, after a look at where it begins and ends.
    async fn resolve(&self, cursors: &BTreeMap<Partition, Option<i64>>) -> Result<BTreeMap<Partition, i64>> {
        let partitions: Vec<Partition> = cursors.keys().cloned().collect();
        let deadline = Instant::now() + START_TIMEOUT;
        let ranges = loop {
            match self.observer.ranges(partitions.clone()).await {
                Err(error) if error.is_transient() && Instant::now() < deadline => {
                    tracing::debug!(%error, "asking for the ends of partitions again");
                    tokio::time::sleep(START_RETRY_INTERVAL).await;
                }
                answer => break answer?,
            }
        };
        let mut starts = BTreeMap::new();
        for (partition, range) in ranges {
            let start = match cursors.get(&partition).copied().flatten() {
                None => range.start,
                Some(cursor) if (range.start..=range.end).contains(&cursor) => cursor,
                Some(cursor) => {
                    let format = self.queue.config.writer.format;
                    return Err(refuse_cursor(&partition, cursor, &range, format));
                }
            };
            starts.insert(partition, start);
        }
        Ok(starts)
    }
}

/// What was read before partitions are moved, without their records: those are read again.
fn without(delivery: Delivery, moved: &BTreeMap<Partition, Option<i64>>) -> Delivery {
    match delivery {
        Delivery::Records { messages, positions } => Delivery::Records {
            messages: messages
                .into_iter()
                .filter(|message| !moved.contains_key(&message.partition))
                .collect(),
            positions: positions
                .into_iter()
                .filter(|(partition, _)| !moved.contains_key(partition))
                .collect(),
        },
        other => other,
    }
}

fn refuse_cursor(partition: &Partition, cursor: i64, range: &std::ops::Range<i64>, format: WriterFormat) -> Error {
    // Where versions are offsets, what the store holds would pass for newer than the topic's new records.
    let remedy = match format {
        WriterFormat::Mysync => "delete the cursor of this partition in the target to replay it from its oldest record",
        WriterFormat::Debezium => {
            "empty the target, its rows and its cursors, to replay everything from its oldest record"
        }
    };
    Error::definite(format!(
        "the target's cursor lies outside of partition {partition}: {cursor}"
    ))
    .detail(format!("the partition holds offsets {} to {}", range.start, range.end))
    .hint(format!(
        "the topic was deleted and created again, or records were removed from it; when the topic holds every row anew, {remedy}"
    ))
}

fn thread_ended() -> Error {
    Error::transient("the Kafka consumer has ended")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Message;

    #[test]
    fn of_what_was_read_before_a_start_only_the_other_partitions_records_stay() {
        let partition = |number| Partition {
            topic: "p.shop.t".into(),
            number,
        };
        let message = |number| Message {
            partition: partition(number),
            offset: 7,
            version: None,
            table: None,
            timestamp_ms: None,
            key: Vec::new(),
            value: None,
        };
        let read = Delivery::Records {
            messages: vec![message(0), message(1), message(0)],
            positions: BTreeMap::from([(partition(0), 8), (partition(1), 8)]),
        };
        let Delivery::Records { messages, positions } = without(read, &BTreeMap::from([(partition(0), Some(3))]))
        else {
            panic!("records stay records");
        };
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].partition, partition(1));
        assert_eq!(positions, BTreeMap::from([(partition(1), 8)]));
        let assigned = without(
            Delivery::Assigned(vec![partition(0)]),
            &BTreeMap::from([(partition(0), None)]),
        );
        assert!(matches!(assigned, Delivery::Assigned(of) if of == [partition(0)]));
    }

    #[test]
    fn a_topic_that_was_made_again_asks_for_an_empty_target_where_versions_are_offsets() {
        let partition = Partition {
            topic: "p.shop.t".into(),
            number: 0,
        };
        let hint = |format| refuse_cursor(&partition, 9, &(0..5), format).hint.unwrap_or_default();
        assert!(hint(WriterFormat::Mysync).contains("delete the cursor"));
        assert!(hint(WriterFormat::Debezium).contains("empty the target"));
    }
}
