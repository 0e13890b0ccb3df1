//! The thread of transactional delivery: whole MySQL transactions, many to one Kafka transaction, the checkpoint among them.
//!
//! # Lanes
//! A commit is decided when the coordinator has answered, but its marks still have to be written to every partition, and
//! until then the coordinator refuses the next transaction of the same `transactional.id`; the library asks again only after
//! 20 ms, often several times. So transactions take turns over a few ids, each with a producer of its own. A lane's
//! transaction begins only after the one before it, in another lane, was committed:
//! - its records stand behind the others in every partition, and a consumer that reads committed gets no record before all
//!   transactions at lower offsets of its partition are decided;
//! - if one fails, none after it has begun. The next reader takes over every id before it looks for the checkpoint, and what
//!   is committed then ends with a checkpoint.
//!
//! Two readers that open at the same time must not share the lanes out among them. So the first lane is opened before the
//! others, and the first transaction is in it: who loses that lane before all the others are open commits nothing at all,
//! and who loses it later loses the others too, before the winner looks for the checkpoint.

use super::record::{bytes_of, message};
use super::{
    BATCH_KEPT_BYTES_MAX, Command, Quiet, REQUEST_BYTES_MAX, STALLED_BRIEFLY, STALLED_MAX, flush, producer_config,
};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::queue::kafka::checkpoints::WRITTEN_BY_HEADER;
use crate::queue::kafka::topics::Declared;
use crate::queue::kafka::{ANSWER_TIMEOUT, KafkaQueue, sort};
use crate::queue::{Batch, Record};
use crate::stop_point::{self, StopPoint};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Lanes: the marks of a transaction have so many transactions' time, less one, to be written.
const LANES: usize = 3;

/// How long opening may take before the caller is told, and tries again.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest that a Kafka transaction may be open, ms: the most that brokers allow unless told otherwise. A MySQL
/// transaction of any size has to fit in.
const TRANSACTION_MS_MAX: u32 = 900_000;

/// How often the thread looks for acknowledgements while it waits for them.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Bytes given to the library and not yet acknowledged, unless one record alone is larger: enough for a request on its way and
/// one behind it, over several partitions. More fills memory and is no faster.
const UNACKNOWLEDGED_BYTES_MAX: usize = 4 << 20;

/// Bytes of the records that the library holds. It tells only their number; since they are acknowledged about in the
/// order in which they were sent, they are taken for the last ones.
#[derive(Default)]
struct InFlight {
    sizes: VecDeque<usize>,
    bytes: usize,
}

impl InFlight {
    fn add(&mut self, bytes: usize) {
        self.sizes.push_back(bytes);
        self.bytes += bytes;
    }

    fn keep_last(&mut self, count: usize) {
        while self.sizes.len() > count {
            self.bytes -= self.sizes.pop_front().unwrap_or(0);
        }
    }
}

/// What the thread owns.
pub(super) struct Transactions {
    lanes: Vec<BaseProducer<Quiet>>,
    /// The lane of the open transaction, or of the next one.
    turn: usize,
    in_flight: InFlight,
    topics: Vec<Declared>,
    checkpoint_topic: String,
    reader_name: String,
    /// Stands in every checkpoint ([`crate::queue::kafka::lead`]).
    process: String,
    fenced: Arc<AtomicBool>,
    transaction_open: bool,
}

impl Transactions {
    /// Fences every older publisher of the same name and waits until its transactions have ended.
    pub(super) fn open(queue: &KafkaQueue) -> Result<Self> {
        let fenced = queue.lead.opening();
        let mut lanes = vec![open_lane(queue, 0)?];
        // Side by side: each waits for brokers.
        let others: Vec<_> = std::thread::scope(|scope| {
            let opening: Vec<_> = (1..LANES)
                .map(|lane| scope.spawn(move || open_lane(queue, lane)))
                .collect();
            let opened = opening.into_iter().map(|opening| {
                opening
                    .join()
                    .unwrap_or_else(|_| Err(Error::transient("a thread of the publisher ended")))
            });
            opened.collect::<Result<_>>()
        })?;
        lanes.extend(others);
        Ok(Self {
            lanes,
            turn: 0,
            in_flight: InFlight::default(),
            topics: Vec::new(),
            checkpoint_topic: queue.internal_topic("checkpoint"),
            reader_name: queue.config.reader.name.clone(),
            process: queue.lead.process().to_owned(),
            fenced,
            transaction_open: false,
        })
    }

    /// For checkpoints alone, which are not so many; the other lanes stay fenced.
    pub(super) fn with_one_lane(mut self) -> Self {
        self.lanes.truncate(1);
        self
    }

    /// Works until nobody is left to give commands, or the first error.
    pub(super) fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        give_back: &mpsc::Sender<Batch>,
        outcome: &mpsc::Sender<Result<()>>,
    ) {
        while let Some(command) = commands.blocking_recv() {
            let done = match command {
                Command::Declare(id, topic) => {
                    debug_assert_eq!(
                        usize::try_from(id),
                        Ok(self.topics.len()),
                        "topics are declared in order"
                    );
                    self.topics.push(topic);
                    Ok(())
                }
                Command::Send(mut batch) => self.send(&batch).map(|()| {
                    batch.clear(BATCH_KEPT_BYTES_MAX);
                    // Nobody has to take it: then its memory is freed.
                    give_back.try_send(batch).ok();
                }),
                Command::Commit(checkpoint) => self.commit(&checkpoint).map(|()| {
                    outcome.blocking_send(Ok(())).ok();
                }),
            };
            if let Err(error) = done {
                outcome.blocking_send(Err(self.explain(error))).ok();
                return;
            }
        }
    }

    /// An error that has the fence as its reason says so.
    fn explain(&self, error: Error) -> Error {
        let fatal = self.producer().client().fatal_error();
        match fatal {
            Some((RDKafkaErrorCode::Fenced, reason)) => {
                self.fenced.store(true, Ordering::Relaxed);
                Error::transient("the brokers no longer take this reader's transactions")
                    .detail(reason)
                    .hint("was another reader of the same name started?")
            }
            _ => error,
        }
    }

    fn send(&mut self, batch: &Batch) -> Result<()> {
        self.begin()?;
        let mut before = None;
        for record in batch.records() {
            if before.replace(record.version) == Some(record.version) {
                stop_point::reach(StopPoint::BetweenRecords);
            }
            self.send_record(&record)?;
        }
        stop_point::reach(StopPoint::AfterSend);
        self.producer().poll(Duration::ZERO);
        Ok(())
    }

    fn producer(&self) -> &BaseProducer<Quiet> {
        &self.lanes[self.turn]
    }

    fn begin(&mut self) -> Result<()> {
        if !self.transaction_open {
            self.producer()
                .begin_transaction()
                .map_err(|error| sort(&error, "cannot begin a Kafka transaction"))?;
            self.transaction_open = true;
        }
        Ok(())
    }

    fn send_record(&mut self, record: &Record<'_>) -> Result<()> {
        let bytes = bytes_of(record);
        self.make_room(bytes)?;
        let topic = &self.topics[record.topic as usize];
        self.enqueue(message(record, topic, ()), bytes)
    }

    /// Waits until the library holds little enough for a record of so many bytes.
    fn make_room(&mut self, bytes: usize) -> Result<()> {
        let bytes_max = UNACKNOWLEDGED_BYTES_MAX.saturating_sub(bytes);
        if self.in_flight.bytes > bytes_max {
            self.drain(bytes_max)?;
        }
        self.in_flight.add(bytes);
        Ok(())
    }

    fn enqueue(&self, mut message: BaseRecord<'_, [u8], [u8]>, bytes: usize) -> Result<()> {
        loop {
            match self.producer().send(message) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                    message = refused;
                    self.pause();
                    self.require_alive()?;
                }
                Err((error, refused)) => {
                    let what = format!("cannot send a record of {bytes} bytes to {}", refused.topic);
                    return Err(sort(&error, what));
                }
            }
        }
    }

    /// A producer that was fenced or met a fatal error would let the thread wait for ever.
    fn require_alive(&self) -> Result<()> {
        match self.producer().client().fatal_error() {
            Some((code, reason)) => Err(Error::transient(format!("the Kafka producer failed: {code}")).detail(reason)),
            None => Ok(()),
        }
    }

    /// Waits until the library holds no more than so many bytes; with none, until every record is acknowledged.
    ///
    /// Full requests go by themselves as soon as the one before is answered. The rest has to be flushed, and more than once: each
    /// flush wakes the library's threads, which do not notice by themselves that a partition has been added to the transaction.
    /// Without any progress this gives up: a transaction that can only be aborted keeps its records.
    fn drain(&mut self, bytes_max: usize) -> Result<()> {
        let mut left = usize::MAX;
        let mut progress_at = Instant::now();
        loop {
            let now_left = usize::try_from(self.producer().in_flight_count()).unwrap_or(0);
            self.in_flight.keep_last(now_left);
            if now_left == 0 || (bytes_max > 0 && self.in_flight.bytes <= bytes_max) {
                return Ok(());
            }
            if now_left < left {
                (left, progress_at) = (now_left, Instant::now());
            } else if progress_at.elapsed() > STALLED_MAX {
                let what = format!("{left} records were not acknowledged in {} s", STALLED_MAX.as_secs());
                return Err(Error::transient(what).hint("are the brokers up, and enough replicas in sync?"));
            }
            self.require_alive()?;
            let is_little = self.in_flight.bytes <= REQUEST_BYTES_MAX;
            if is_little || progress_at.elapsed() >= STALLED_BRIEFLY {
                flush::hold(self.producer(), POLL_INTERVAL);
                self.producer().poll(Duration::ZERO);
            } else {
                self.pause();
            }
        }
    }

    /// A wait below a millisecond would make the library's poll spin.
    fn pause(&self) {
        self.producer().poll(Duration::ZERO);
        std::thread::park_timeout(POLL_INTERVAL);
    }

    /// Commits; an outcome that only needs patience is asked for again, any other ends this publisher.
    fn commit(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let begun = Instant::now();
        self.begin()?;
        let value = checkpoint.encode();
        let bytes = self.reader_name.len() + value.len() + self.process.len();
        self.make_room(bytes)?;
        let message = BaseRecord::<[u8], [u8]>::to(&self.checkpoint_topic)
            .key(self.reader_name.as_bytes())
            .payload(&value)
            .headers(OwnedHeaders::new().insert(Header {
                key: WRITTEN_BY_HEADER,
                value: Some(&self.process),
            }));
        self.enqueue(message, bytes)?;
        self.drain(0)?;
        let flushed = begun.elapsed();
        stop_point::reach(StopPoint::BeforeCheckpoint);
        let deadline = Instant::now() + Duration::from_millis(TRANSACTION_MS_MAX.into());
        loop {
            match self.producer().commit_transaction(ANSWER_TIMEOUT) {
                Ok(()) => {
                    stop_point::reach(StopPoint::AfterCheckpoint);
                    self.transaction_open = false;
                    self.turn = (self.turn + 1) % self.lanes.len();
                    tracing::debug!(flush = ?flushed, whole = ?begun.elapsed(), "Kafka transaction committed");
                    return Ok(());
                }
                Err(KafkaError::Transaction(error)) if error.is_retriable() && Instant::now() < deadline => {
                    tracing::debug!(%error, "the Kafka transaction's commit is asked for again");
                }
                Err(error) => {
                    // So Kafka 4.3.1 answers who is being fenced just then: a coordinator's own IllegalStateException.
                    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Unknown) {
                        self.fenced.store(true, Ordering::Relaxed);
                    }
                    return Err(sort(&error, "cannot commit a Kafka transaction"));
                }
            }
        }
    }
}

fn open_lane(queue: &KafkaQueue, lane: usize) -> Result<BaseProducer<Quiet>> {
    let producer: BaseProducer<Quiet> = producer_config(queue)
        .set("transactional.id", queue.transactional_id(lane))
        .set("transaction.timeout.ms", TRANSACTION_MS_MAX.to_string())
        .set("delivery.report.only.error", "true")
        .create_with_context(Quiet)
        .map_err(|error| sort(&error, "cannot make a Kafka producer"))?;
    producer
        .init_transactions(OPEN_TIMEOUT)
        .map_err(|error| sort(&error, "cannot open a Kafka transaction"))?;
    Ok(producer)
}
