//! The election of a leader: a consumer group whose topic, `<prefix>.__leader`, has one partition. Its owner leads.
//!
//! The group is one of readers of one name (`<prefix>.__leader.<name>`). It is driven by threads of its own, so that a reader
//! that is busy, or waits for a server, does not lose its place. The cooperative protocol leaves the partition where it is
//! when others come: the leader changes only when it leaves, or is not heard of for [`SESSION_TIMEOUT`], the least that
//! brokers allow unless told otherwise. A reader that ends in good order leaves, and the next one is elected at once.
//!
//! # Confirmation
//! The library tells when the partition is taken away, but a process that stood still hears of it late. So each member
//! commits an offset of the partition every [`CONFIRM_INTERVAL`] (always 0, for nobody writes to the topic). The group's
//! coordinator takes it only from a member of the group as it is now, and counts the session from then anew: whoever was
//! confirmed is not replaced for [`SESSION_TIMEOUT`] from the moment before it asked ([`crate::queue::leadership`]). A thread
//! of its own asks and waits for the answer; the other one polls for what the library has to tell, and sees to it that a
//! client that has lost its brokers is replaced.

use super::brokers::{self, Brokers};
use super::{KafkaQueue, connection, sort, topics};
use crate::error::{Error, Result};
use crate::queue::Topic;
use crate::queue::leadership::{CONFIRMATION_AGE_MAX, Candidate, Leadership};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as blocking;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::time::Instant;

/// The topic, without prefix and underscores.
const TOPIC: &str = "leader";

/// A member that was not heard of for so long is out of the group.
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);
const _: () = assert!(CONFIRMATION_AGE_MAX.as_millis() < SESSION_TIMEOUT.as_millis());

/// How soon members learn that the group changes.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(500);

/// How often a member has its place confirmed.
const CONFIRM_INTERVAL: Duration = Duration::from_millis(500);

/// How long one question may wait for its answer: a coordinator that says nothing may be a half-open connection.
const ANSWER_TIMEOUT: Duration = SESSION_TIMEOUT;

/// The longest wait for what the library has to tell.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);

/// A member that is not polled for so long leaves the group: longer than a process that stands still keeps its session.
const POLL_INTERVAL_MAX: Duration = Duration::from_secs(30);

/// How long one that lets others lead stays away: by then they have heard of it, or are out of the group.
const STAND_BACK: Duration = Duration::from_secs(8);
const _: () = assert!(STAND_BACK.as_millis() > SESSION_TIMEOUT.as_millis());

/// How long leaving the group may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A reader's place in the group; given up when dropped.
#[derive(Debug)]
pub struct KafkaMember {
    has_left: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    leadership: Leadership,
}

impl KafkaMember {
    async fn join(queue: &KafkaQueue) -> Result<Self> {
        topics::create(queue, Topic::Compacted(TOPIC)).await?;
        let topic = queue.internal_topic(TOPIC);
        let group = format!("{topic}.{}", queue.config.reader.name);
        let (candidate, leadership) = Leadership::contested();
        let has_left: Arc<AtomicBool> = Arc::default();
        let standing = Standing {
            config: consumer_config(queue, &group),
            topic,
            candidate: Arc::new(candidate),
            has_left: Arc::clone(&has_left),
        };
        let client = standing.client()?;
        let started = std::thread::Builder::new()
            .name("kafka-leader".into())
            .spawn(move || standing.stand(client));
        let thread = started.map_err(|error| Error::transient("cannot start a thread").detail(error))?;
        Ok(Self {
            has_left,
            thread: Some(thread),
            leadership,
        })
    }

    /// What becomes known of the election.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Gives up the place, so that another reader need not wait for a timeout before it leads.
    pub async fn leave(mut self) {
        self.has_left.store(true, Ordering::Relaxed);
        let thread = self.thread.take();
        if let Some(thread) = &thread {
            thread.thread().unpark();
        }
        let joined = tokio::task::spawn_blocking(move || thread.map(JoinHandle::join));
        if tokio::time::timeout(LEAVE_TIMEOUT, joined).await.is_err() {
            tracing::warn!(
                seconds = LEAVE_TIMEOUT.as_secs(),
                "the brokers did not confirm in time that this reader leads no more"
            );
        }
    }
}

impl Drop for KafkaMember {
    fn drop(&mut self) {
        self.has_left.store(true, Ordering::Relaxed);
    }
}

impl KafkaQueue {
    /// Stands for leader among the readers of this name.
    pub async fn join(&self) -> Result<KafkaMember> {
        match KafkaMember::join(self).await {
            Err(error) => Err(connection::diagnose(self, error).await),
            joined => joined,
        }
    }
}

fn consumer_config(queue: &KafkaQueue, group: &str) -> ClientConfig {
    let milliseconds = |duration: Duration| duration.as_millis().to_string();
    let mut config = queue.client_config();
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("allow.auto.create.topics", "false")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", milliseconds(SESSION_TIMEOUT))
        .set("heartbeat.interval.ms", milliseconds(HEARTBEAT_INTERVAL))
        .set("max.poll.interval.ms", milliseconds(POLL_INTERVAL_MAX))
        .set("socket.timeout.ms", milliseconds(ANSWER_TIMEOUT));
    brokers::watch(&mut config);
    config
}

/// One that stands for leader, whatever becomes of its clients.
struct Standing {
    config: ClientConfig,
    topic: String,
    candidate: Arc<Candidate>,
    has_left: Arc<AtomicBool>,
}

/// A client, and who is woken when the place is to be confirmed at once.
type Client = (BaseConsumer<Context>, blocking::Receiver<()>);

impl Standing {
    fn client(&self) -> Result<Client> {
        let (wake, woken) = blocking::channel();
        let context = Context {
            candidate: Arc::clone(&self.candidate),
            topic: self.topic.clone(),
            has_place: AtomicBool::new(false),
            has_left: Arc::clone(&self.has_left),
            brokers: Brokers::default(),
            is_retired: AtomicBool::new(false),
            wake,
        };
        let consumer: BaseConsumer<Context> = self
            .config
            .create_with_context(context)
            .map_err(|error| sort(&error, "cannot make a Kafka consumer"))?;
        consumer
            .subscribe(&[&self.topic])
            .map_err(|error| sort(&error, format!("cannot subscribe to {}", self.topic)))?;
        Ok((consumer, woken))
    }

    /// Until the member leaves, with one client after the other.
    fn stand(&self, (mut consumer, mut woken): Client) {
        loop {
            let stood = stand_with(&consumer, woken);
            if self.has_left.load(Ordering::Relaxed) {
                // Leaves the group.
                return drop(consumer);
            }
            match consumer.context().brokers.lost() {
                None => drop(consumer),
                // Without brokers it cannot leave, and never ceases trying.
                Some(_) => drop(std::thread::spawn(move || drop(consumer))),
            }
            if self.candidate.has_resigned() {
                std::thread::park_timeout(STAND_BACK);
                self.candidate.stand_anew();
            }
            match stood.and_then(|()| self.client()) {
                Ok(next) => (consumer, woken) = next,
                Err(error) => return self.candidate.refuse(error.hint("start the reader again")),
            }
        }
    }
}

fn stand_with(consumer: &BaseConsumer<Context>, woken: blocking::Receiver<()>) -> Result<()> {
    std::thread::scope(|scope| {
        let asking = std::thread::Builder::new().name("kafka-confirm".into());
        asking
            .spawn_scoped(scope, move || confirm(consumer, &woken))
            .map_err(|error| Error::transient("cannot start a thread").detail(error))?;
        listen(consumer);
        Ok(())
    })
}

/// Hears what the library has to tell.
fn listen(consumer: &BaseConsumer<Context>) {
    let context = consumer.context();
    while !context.is_over() {
        // Nobody writes to the topic.
        if let Some(Err(error)) = consumer.poll(POLL_TIMEOUT) {
            context.judge(&error);
        }
    }
    context.is_retired.store(true, Ordering::Relaxed);
    context.candidate.dismiss();
    if let Some(error) = context.brokers.lost() {
        tracing::warn!("{error:#}");
    }
}

/// Has the place confirmed again and again.
fn confirm(consumer: &BaseConsumer<Context>, woken: &blocking::Receiver<()>) {
    let context = consumer.context();
    while !context.is_over() {
        if context.has_place.load(Ordering::Relaxed) {
            let asked_at = Instant::now();
            let partition = context.partition();
            match partition.and_then(|partition| consumer.commit(&partition, CommitMode::Sync)) {
                Ok(()) => context.candidate.confirm(asked_at),
                Err(error) => tracing::debug!(%error, "the place among those that may lead is not confirmed"),
            }
        }
        // Woken or not, it is time.
        woken.recv_timeout(CONFIRM_INTERVAL).ok();
    }
}

/// What the threads and the callbacks inside the polls share.
struct Context {
    candidate: Arc<Candidate>,
    topic: String,
    /// The group has given a place, with the partition or without.
    has_place: AtomicBool,
    has_left: Arc<AtomicBool>,
    brokers: Brokers,
    /// Nobody listens to this client any more: what it still has to tell, while it is closed, says nothing about its successor.
    is_retired: AtomicBool,
    /// Has the place confirmed at once.
    wake: blocking::Sender<()>,
}

impl Context {
    /// The member leaves or lets others lead, or the client is of no use any more.
    fn is_over(&self) -> bool {
        self.has_left.load(Ordering::Relaxed) || self.candidate.has_resigned() || self.brokers.lost().is_some()
    }

    fn partition(&self) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(&self.topic, 0, Offset::Offset(0))?;
        Ok(list)
    }

    fn assigned(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) -> KafkaResult<()> {
        if list.count() == 0 {
            consumer.incremental_assign(list)?;
        } else {
            let partition = self.partition()?;
            consumer.incremental_assign(&partition)?;
            // There is nothing to read.
            consumer.pause(&partition)?;
            if !self.is_retired.load(Ordering::Relaxed) {
                self.candidate.elect();
            }
        }
        self.has_place.store(true, Ordering::Relaxed);
        // The thread may have ended, since the member leaves.
        self.wake.send(()).ok();
        Ok(())
    }

    fn revoked(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) -> KafkaResult<()> {
        if !self.is_retired.load(Ordering::Relaxed) {
            self.candidate.dismiss();
        }
        self.has_place.store(false, Ordering::Relaxed);
        consumer.incremental_unassign(list)
    }

    /// Passes on what only a person can mend.
    fn judge(&self, error: &KafkaError) {
        use RDKafkaErrorCode as Code;
        let what = "cannot stand for leader of the readers of this name";
        match (error, error.rdkafka_error_code()) {
            (_, Some(Code::InvalidSessionTimeout)) => {
                let refused = Error::definite(what)
                    .detail(error)
                    .hint("set group.min.session.timeout.ms of the brokers to 6000, Kafka's default, or less");
                self.candidate.refuse(refused);
            }
            (_, Some(Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed)) => {
                self.candidate.refuse(sort(error, what));
            }
            (KafkaError::MessageConsumptionFatal(_), _) => {
                let refused = Error::definite(what).detail(error).hint("start the reader again");
                self.candidate.refuse(refused);
            }
            _ => tracing::debug!(%error, "librdkafka"),
        }
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
        if err != RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            if let Err(error) = self.revoked(consumer, list) {
                tracing::debug!(%error, "librdkafka");
            }
        } else if let Err(error) = self.assigned(consumer, list) {
            // For the others in the group this one leads now.
            let refused = Error::definite("cannot take over the leader's partition").detail(error);
            self.candidate.refuse(refused.hint("start the reader again"));
        }
    }
}
