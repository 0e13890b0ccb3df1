//! The thread of sequenced delivery: records go out at once, without transactions, and are acknowledged in any order; the
//! checkpoint follows behind.
//!
//! # Order
//! The idempotent producer keeps each partition's order over its own retries, and with `enable.gapless.guarantee` it takes no
//! later record of a partition when one has failed for good. It never gives a record up for its age. So a failed delivery
//! means that this producer is of no more use: it is dropped with all that it holds, and a new one gets everything again that
//! is not acknowledged, from the first record on ([`Window`]).
//!
//! # Rivals
//! A reader that may have rivals hands nothing to the library while its tenure is not confirmed, and takes back what the
//! library has not sent by then ([`crate::queue::leadership`]). What a process that stood still cannot take back is what its
//! library sends in the moment in which it wakes: copies, as from any reader that was replaced ([`super`]).
//!
//! # Fences
//! Whoever sees a row of the fence table takes it that all changes before it are in the topics. So such a record waits until
//! everything before it is acknowledged.
//!
//! # Checkpoints
//! A checkpoint is given to the thread of transactions when every record before it is acknowledged, no more often than
//! `commit_interval_ms`. Records of internal topics, which a restarted reader reads back, go into its transaction.

use super::record::message;
use super::{BATCH_KEPT_BYTES_MAX, Command, Quiet, STALLED_BRIEFLY, STALLED_MAX, flush, producer_config};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::queue::Batch;
use crate::queue::kafka::topics::Declared;
use crate::queue::kafka::{KafkaQueue, sort};
use crate::queue::leadership::Tenure;
use crate::queue::window::{Bounds, Window};
use crate::stop_point::{self, StopPoint};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{Producer as _, ProducerContext, PurgeConfig, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// What is kept until it is acknowledged; the library holds it a second time.
const WINDOW: Bounds = Bounds {
    bytes_max: 12 << 20,
    records_max: 100_000,
};

/// Bytes of internal topics' records that wait for a checkpoint on its way.
const FOLLOWING_BYTES_MAX: usize = 4 << 20;

/// Acknowledgements that are taken at once.
const DELIVERIES_MAX: usize = 1_024;

/// How long records may wait for the acknowledgement of those before them, so that they go out together: by itself each small
/// transaction would be a request of its own. Measured on two cores with three brokers, at 2,000 transactions a second: without
/// this the brokers fell behind (p50 197 ms, 811 a second were left), with it they keep up (p50 18 ms, 1,977 a second). Brokers that
/// are slower get fewer requests by it; one that does not answer holds up the others no longer than this.
const GATHERING_MAX: Duration = Duration::from_millis(50);

/// With so many records there is nothing to wait for.
const GATHERED_MAX: u64 = 1_000;

/// How long a flush is held: long enough for the library's threads to see it.
const FLUSH_TIME: Duration = Duration::from_millis(1);

/// Before a new producer takes over from one that failed.
const RESTART_PAUSE: Duration = Duration::from_millis(100);

/// A record's number, and why it was not delivered.
type Delivered = (u64, Option<KafkaError>);

/// What the thread owns.
pub(super) struct Sequencer {
    config: ClientConfig,
    tenure: Tenure,
    /// The tenure is in doubt, and what the library held was taken back.
    is_silent: bool,
    producer: Producer,
    topics: Vec<Declared>,
    window: Window,
    /// The thread of transactions.
    transactions: mpsc::Sender<Command>,
    /// What it gets next.
    following: VecDeque<Following>,
    following_bytes: usize,
    checkpoint_interval: Duration,
    checkpoint_due: Instant,
    give_back: mpsc::Sender<Batch>,
    progress_at: Instant,
    sent_at: Instant,
    /// When what the library has not sent by then is flushed.
    flush_at: Instant,
}

/// What the thread of transactions gets, in order.
enum Following {
    /// A topic, or records of internal topics.
    Command(Command),
    /// A checkpoint, when everything below this number is acknowledged.
    Checkpoint(u64, Box<Checkpoint>),
}

/// A producer, and what it tells of its records.
struct Producer {
    producer: ThreadedProducer<Deliveries>,
    deliveries: mpsc::UnboundedReceiver<Delivered>,
}

impl Sequencer {
    pub(super) fn open(
        queue: &KafkaQueue,
        tenure: Tenure,
        transactions: mpsc::Sender<Command>,
        give_back: mpsc::Sender<Batch>,
    ) -> Result<Self> {
        let interval = Duration::from_millis(queue.config.reader.commit_interval_ms);
        Self::with_config(producer_config(queue), tenure, interval, transactions, give_back)
    }

    fn with_config(
        mut config: ClientConfig,
        tenure: Tenure,
        checkpoint_interval: Duration,
        transactions: mpsc::Sender<Command>,
        give_back: mpsc::Sender<Batch>,
    ) -> Result<Self> {
        config
            .set("enable.gapless.guarantee", "true")
            .set("message.timeout.ms", "0");
        let now = Instant::now();
        Ok(Self {
            producer: Producer::open(&config)?,
            config,
            tenure,
            is_silent: false,
            topics: Vec::new(),
            window: Window::new(WINDOW),
            transactions,
            following: VecDeque::new(),
            following_bytes: 0,
            checkpoint_interval,
            checkpoint_due: now,
            give_back,
            progress_at: now,
            sent_at: now,
            flush_at: now,
        })
    }

    /// Works until nobody is left to give commands, or the first error that a new producer does not mend.
    pub(super) fn run(self, commands: mpsc::Receiver<Command>, outcome: &mpsc::Sender<Result<()>>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let ended = match runtime {
            Ok(runtime) => runtime.block_on(self.work(commands)),
            Err(error) => Err(Error::transient("cannot start a runtime").detail(error)),
        };
        if let Err(error) = ended {
            outcome.blocking_send(Err(error)).ok();
        }
    }

    async fn work(mut self, mut commands: mpsc::Receiver<Command>) -> Result<()> {
        let transactions = self.transactions.clone();
        let [mut doubted, mut settled] = [self.tenure.clone(), self.tenure.clone()];
        let mut delivered = Vec::with_capacity(DELIVERIES_MAX);
        loop {
            let gathers = self.gathers();
            if !gathers {
                self.hand_out()?;
            }
            let has_sent = self.sent() > 0;
            if has_sent && self.flush_at <= Instant::now() {
                flush::hold(&self.producer.producer, FLUSH_TIME);
                self.flush_at = Instant::now() + STALLED_BRIEFLY;
            }
            let takes_more = self.window.has_room() && self.following_bytes < FOLLOWING_BYTES_MAX;
            let waits = self.window.acknowledged_to() < self.window.end();
            let (may_follow, early) = self.may_follow();
            tokio::select! {
                command = commands.recv(), if takes_more => match command {
                    Some(command) => self.take(command),
                    None => return Ok(()),
                },
                _ = self.producer.deliveries.recv_many(&mut delivered, DELIVERIES_MAX) => {
                    self.settle(&mut delivered).await?;
                }
                permit = transactions.reserve(), if may_follow && !early => match permit {
                    Ok(permit) => {
                        if let Some(command) = next_following(&mut self.following, &mut self.following_bytes) {
                            if matches!(command, Command::Commit(_)) {
                                self.checkpoint_due = Instant::now() + self.checkpoint_interval;
                            }
                            permit.send(command);
                        }
                    }
                    // That thread has said why it ended.
                    Err(_) => return Ok(()),
                },
                () = tokio::time::sleep_until(self.checkpoint_due), if may_follow && early => {}
                () = tokio::time::sleep_until(self.sent_at + GATHERING_MAX), if gathers => {}
                () = tokio::time::sleep_until(self.flush_at), if has_sent => {}
                () = doubted.doubted(), if !self.is_silent => self.fall_silent()?,
                () = settled.settled(), if self.is_silent => {
                    if self.tenure.has_ended() {
                        return Err(Tenure::over());
                    }
                    self.is_silent = false;
                    self.progress_at = Instant::now();
                }
                () = tokio::time::sleep_until(self.progress_at + STALLED_MAX), if waits => {
                    let left = self.window.end() - self.window.acknowledged_to();
                    let what = format!("{left} records were not acknowledged in {} s", STALLED_MAX.as_secs());
                    return Err(Error::transient(what).hint("are the brokers up, and enough replicas in sync?"));
                }
            }
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Declare(id, topic) => {
                self.topics.push(topic.clone());
                self.following
                    .push_back(Following::Command(Command::Declare(id, topic)));
            }
            Command::Send(batch) => {
                if self.window.acknowledged_to() == self.window.end() {
                    self.progress_at = Instant::now();
                }
                let (tables, internal) = batch.split(|topic| self.topics[topic as usize].table_header.is_some());
                self.window.push(tables);
                if !internal.is_empty() {
                    self.following_bytes += internal.memory();
                    self.following.push_back(Following::Command(Command::Send(internal)));
                }
            }
            Command::Commit(checkpoint) => {
                self.following
                    .push_back(Following::Checkpoint(self.window.end(), checkpoint));
            }
        }
        self.give_back();
    }

    /// Whether what the window has for the producer is better sent with what comes until the acknowledgements on their way.
    fn gathers(&self) -> bool {
        let Some((next, _)) = self.window.next() else {
            return false;
        };
        self.window.acknowledged_to() < next
            && self.window.end() - next < GATHERED_MAX
            && self.sent_at.elapsed() < GATHERING_MAX
    }

    /// Records that the producer was given and that are not acknowledged.
    fn sent(&self) -> u64 {
        let next = self.window.next().map_or(self.window.end(), |(number, _)| number);
        next.saturating_sub(self.window.acknowledged_to())
    }

    /// Few records do not wait for more in the library, too; of many, full requests go by themselves.
    fn plan_flush(&mut self) {
        let patience = match self.sent() < GATHERED_MAX {
            true => Duration::ZERO,
            false => STALLED_BRIEFLY,
        };
        self.flush_at = Instant::now() + patience;
    }

    /// Gives the producer all that the window has for it.
    fn hand_out(&mut self) -> Result<()> {
        let (mut before, first) = (None, self.window.next().map(|(number, _)| number));
        while let Some((number, record)) = self.window.next() {
            if self.is_silent || !self.tenure.is_confirmed() {
                return Ok(());
            }
            if before.replace(record.version) == Some(record.version) {
                stop_point::reach(StopPoint::BetweenRecords);
            }
            let topic = &self.topics[record.topic as usize];
            if topic.is_fence && self.window.acknowledged_to() < number {
                return Ok(());
            }
            let opaque = usize::try_from(number).unwrap_or(usize::MAX);
            match self.producer.producer.send(message(&record, topic, opaque)) {
                Ok(()) => {}
                // The next acknowledgement makes room.
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => return Ok(()),
                Err((error, refused)) => {
                    return Err(sort(&error, format!("cannot send a record to {}", refused.topic)));
                }
            }
            self.window.advance();
        }
        if first.is_some() {
            self.sent_at = Instant::now();
            self.plan_flush();
            stop_point::reach(StopPoint::AfterSend);
        }
        Ok(())
    }

    /// Takes what the producer tells of its records; a new one follows it when one has failed.
    async fn settle(&mut self, delivered: &mut Vec<Delivered>) -> Result<()> {
        let acknowledged_before = self.window.acknowledged_to();
        let mut failed = None;
        for (number, error) in delivered.drain(..) {
            match error {
                None => self.window.acknowledge(number),
                Some(error) => failed = failed.or(Some(error)),
            }
        }
        if self.window.acknowledged_to() > acknowledged_before {
            self.progress_at = Instant::now();
            self.plan_flush();
        }
        self.give_back();
        let Some(error) = failed else { return Ok(()) };
        let error = sort(&error, "a record was not delivered");
        if !error.is_transient() || self.progress_at.elapsed() > STALLED_MAX {
            return Err(error);
        }
        tracing::warn!(
            %error,
            from = self.window.acknowledged_to(),
            "a new producer sends again what is not acknowledged"
        );
        tokio::time::sleep(RESTART_PAUSE).await;
        self.start_again()
    }

    /// Another reader may lead: what is not acknowledged stays here until that is settled.
    fn fall_silent(&mut self) -> Result<()> {
        tracing::warn!(
            from = self.window.acknowledged_to(),
            "the brokers do not confirm that this reader leads: nothing more is sent until they do"
        );
        self.is_silent = true;
        self.start_again()
    }

    fn start_again(&mut self) -> Result<()> {
        // Two acknowledgements of one record do no harm, but the old one must not send what the new one has sent past.
        self.producer.producer.purge(PurgeConfig::default().queue().inflight());
        self.producer = Producer::open(&self.config)?;
        self.window.rewind();
        Ok(())
    }

    /// Whether the next of what follows may go to the thread of transactions, apart from the interval between checkpoints;
    /// and whether that is not over yet.
    fn may_follow(&self) -> (bool, bool) {
        match self.following.front() {
            None => (false, false),
            Some(Following::Command(_)) => (true, false),
            Some(Following::Checkpoint(number, _)) => (
                self.window.acknowledged_to() >= *number,
                Instant::now() < self.checkpoint_due,
            ),
        }
    }

    /// Emptied batches are filled again.
    fn give_back(&mut self) {
        while let Some(mut batch) = self.window.take_freed() {
            batch.clear(BATCH_KEPT_BYTES_MAX);
            // Nobody has to take it: then its memory is freed.
            self.give_back.try_send(batch).ok();
        }
    }
}

fn next_following(following: &mut VecDeque<Following>, bytes: &mut usize) -> Option<Command> {
    match following.pop_front()? {
        Following::Checkpoint(_, checkpoint) => Some(Command::Commit(checkpoint)),
        Following::Command(command) => {
            if let Command::Send(batch) = &command {
                *bytes -= batch.memory();
            }
            Some(command)
        }
    }
}

impl Producer {
    fn open(config: &ClientConfig) -> Result<Self> {
        let (told, deliveries) = mpsc::unbounded_channel();
        let producer = config
            .create_with_context(Deliveries { told })
            .map_err(|error| sort(&error, "cannot make a Kafka producer"))?;
        Ok(Self { producer, deliveries })
    }
}

/// Passes on what became of each record. The channel's bound is the window's.
struct Deliveries {
    told: mpsc::UnboundedSender<Delivered>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Quiet.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        Quiet.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let error = result.as_ref().err().map(|(error, _)| error.clone());
        // A producer that was replaced has nobody to tell.
        self.told.send((number as u64, error)).ok();
    }
}

#[cfg(test)]
mod tests;
