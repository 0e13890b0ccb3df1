//! The reader's half: a transactional producer on a thread of its own.
//!
//! librdkafka's calls block, so they run on one thread that takes [`Command`]s in order: batches to send, a transaction to
//! commit. The reader goes on encoding while a commit is on its way. Two bounds hold the memory: the batches in the
//! channel, and the bytes that were given to the library and not yet acknowledged.

use super::topics::{self, Declared};
use super::{ANSWER_TIMEOUT, KafkaQueue, sort};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::queue::{Batch, Publisher, Record, Topic, TopicId};
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use std::collections::{BTreeMap, VecDeque};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Batches between the reader and the thread.
const BATCHES_QUEUED_MAX: usize = 4;

/// Memory that an emptied batch keeps, bytes.
const BATCH_KEPT_BYTES_MAX: usize = 4 << 20;

/// Bytes given to the library and not yet acknowledged, unless one record alone is larger.
const UNACKNOWLEDGED_BYTES_MAX: usize = 24 << 20;

/// The longest that a Kafka transaction may be open, ms: the most that brokers allow unless told otherwise. A MySQL
/// transaction of any size has to fit in.
const TRANSACTION_MS_MAX: u32 = 900_000;

/// How long opening may take before the caller is told, and tries again.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

/// How often the thread looks for acknowledgements while it waits for them.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// How long records may go without any acknowledgement before the publisher gives up; longer than a partition is without
/// a leader when a broker dies.
const STALLED_MAX: Duration = Duration::from_secs(20);

enum Command {
    Declare(TopicId, Declared),
    Send(Batch),
    Commit(Box<Checkpoint>),
}

/// The reader's half of the queue.
pub struct KafkaPublisher {
    queue: KafkaQueue,
    commands: Option<mpsc::Sender<Command>>,
    emptied: mpsc::Receiver<Batch>,
    outcomes: mpsc::Receiver<Result<()>>,
    thread: Option<JoinHandle<()>>,
    /// Declared topics by name, with the header of the table that each is for.
    declared: BTreeMap<String, (TopicId, Option<Vec<u8>>)>,
}

impl KafkaPublisher {
    /// Fences every older publisher of the same name and waits until its transaction has ended.
    pub(super) async fn open(queue: &KafkaQueue) -> Result<Self> {
        let mut config = queue.client_config();
        config
            .set("transactional.id", queue.transactional_id())
            .set("transaction.timeout.ms", TRANSACTION_MS_MAX.to_string())
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("delivery.report.only.error", "true")
            .set("partitioner", "murmur2")
            .set("compression.type", queue.config.kafka.compression.name())
            .set("message.max.bytes", queue.config.kafka.message_bytes_max.to_string())
            .set("linger.ms", "1")
            .set("batch.size", "1000000")
            .set("batch.num.messages", "10000")
            .set("queue.buffering.max.messages", "1000000")
            .set("queue.buffering.max.kbytes", "2097151")
            .set("sticky.partitioning.linger.ms", "0");
        let producer: BaseProducer<Quiet> = config
            .create_with_context(Quiet)
            .map_err(|error| sort(&error, "cannot make a Kafka producer"))?;
        let opened =
            tokio::task::spawn_blocking(move || producer.init_transactions(OPEN_TIMEOUT).map(|()| producer)).await;
        let producer = opened
            .map_err(Error::transient_join)?
            .map_err(|error| sort(&error, "cannot open a Kafka transaction"))?;

        let (commands, received) = mpsc::channel(BATCHES_QUEUED_MAX);
        let (give_back, emptied) = mpsc::channel(BATCHES_QUEUED_MAX + 2);
        let (outcome, outcomes) = mpsc::channel(2);
        let sender = Sender {
            producer,
            in_flight: InFlight::default(),
            topics: Vec::new(),
            checkpoint_topic: queue.internal_topic("checkpoint"),
            reader_name: queue.config.reader.name.clone(),
            transaction_open: false,
        };
        let thread = std::thread::Builder::new()
            .name("kafka-publisher".into())
            .spawn(move || sender.run(received, &give_back, &outcome))
            .map_err(|error| Error::transient("cannot start the publisher's thread").detail(error))?;
        Ok(Self {
            queue: queue.clone(),
            commands: Some(commands),
            emptied,
            outcomes,
            thread: Some(thread),
            declared: BTreeMap::new(),
        })
    }

    /// One topic, an id for each table in it.
    async fn declare_shared(&mut self, topic: Topic<'_>, declared: Declared) -> Result<TopicId> {
        // No topic's name has a space.
        let shared = format!("{} ", declared.name);
        let table = declared.table_header.as_deref().unwrap_or_default();
        let name = format!("{shared}{}", String::from_utf8_lossy(table));
        if let Some((id, _)) = self.declared.get(&name) {
            return Ok(*id);
        }
        if !self.declared.keys().any(|known| known.starts_with(&shared)) {
            topics::create(&self.queue, topic).await?;
        }
        self.add_declared(name, declared).await
    }

    async fn add_declared(&mut self, name: String, declared: Declared) -> Result<TopicId> {
        let id = TopicId::try_from(self.declared.len()).unwrap_or(TopicId::MAX);
        self.declared.insert(name, (id, declared.table_header.clone()));
        self.command(Command::Declare(id, declared)).await?;
        Ok(id)
    }

    async fn command(&mut self, command: Command) -> Result<()> {
        let sent = match &self.commands {
            Some(commands) => commands.send(command).await.is_ok(),
            None => false,
        };
        if sent {
            return Ok(());
        }
        // The thread has ended, and said why.
        match self.outcomes.recv().await {
            Some(Err(error)) => Err(error),
            _ => Err(Error::transient("the publisher has ended")),
        }
    }
}

impl Publisher for KafkaPublisher {
    async fn declare(&mut self, topic: Topic<'_>) -> Result<TopicId> {
        let declared = Declared::new(&self.queue, topic);
        let name = declared.name.clone();
        if let Topic::Changes { .. } = topic {
            return self.declare_shared(topic, declared).await;
        }
        if let Some((id, header)) = self.declared.get(&name) {
            if *header == declared.table_header {
                return Ok(*id);
            }
            let texts = [header, &declared.table_header].map(|header| header.as_deref().unwrap_or_default());
            let [one, other] = texts.map(String::from_utf8_lossy);
            return Err(Error::definite(format!("two tables have one topic: {name}"))
                .detail(format!("{one} and {other}"))
                .hint("leave one of them out of source.tables, or rename it"));
        }
        topics::create(&self.queue, topic).await?;
        self.add_declared(name, declared).await
    }

    async fn send(&mut self, batch: Batch) -> Result<Batch> {
        self.command(Command::Send(batch)).await?;
        Ok(self.emptied.try_recv().unwrap_or_default())
    }

    async fn commit(&mut self, checkpoint: Checkpoint) -> Result<()> {
        self.command(Command::Commit(Box::new(checkpoint))).await
    }

    async fn committed(&mut self) -> Result<()> {
        self.outcomes
            .recv()
            .await
            .unwrap_or_else(|| Err(Error::transient("the publisher has ended")))
    }
}

impl Drop for KafkaPublisher {
    /// Ends the thread; what was not committed is aborted by the next publisher's opening.
    fn drop(&mut self) {
        self.commands = None;
        self.outcomes.close();
        self.emptied.close();
        if let Some(thread) = self.thread.take() {
            // The thread may be waiting for brokers that are down; it ends by itself then.
            drop(thread);
        }
    }
}

/// Keeps the library from printing by itself. Deliveries are not reported one by one: a failed one makes the commit of
/// its transaction fail, and successful ones are only counted.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _level: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
    }
}

impl ProducerContext for Quiet {
    type DeliveryOpaque = ();

    fn delivery(&self, _result: &DeliveryResult<'_>, _opaque: ()) {}
}

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
struct Sender {
    producer: BaseProducer<Quiet>,
    in_flight: InFlight,
    topics: Vec<Declared>,
    checkpoint_topic: String,
    reader_name: String,
    transaction_open: bool,
}

impl Sender {
    fn run(
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
                outcome.blocking_send(Err(error)).ok();
                return;
            }
        }
    }

    fn send(&mut self, batch: &Batch) -> Result<()> {
        self.begin()?;
        for record in batch.records() {
            self.send_record(&record)?;
        }
        self.producer.poll(Duration::ZERO);
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        if !self.transaction_open {
            self.producer
                .begin_transaction()
                .map_err(|error| sort(&error, "cannot begin a Kafka transaction"))?;
            self.transaction_open = true;
        }
        Ok(())
    }

    fn send_record(&mut self, record: &Record<'_>) -> Result<()> {
        let bytes = record.key.len() + record.value.map_or(0, <[u8]>::len);
        self.make_room(bytes)?;
        let topic = &self.topics[record.topic as usize];
        let (mut version, mut origin) = (itoa::Buffer::new(), OriginText::new());
        let version = version.format(record.version.as_i64()).as_bytes();
        let mut headers = OwnedHeaders::new_with_capacity(4)
            .insert(Header {
                key: "mysync.version",
                value: Some(version),
            })
            .insert(Header {
                key: "mysync.origin",
                value: Some(origin.format(record)),
            });
        if record.value.is_none()
            && let Some(table) = &topic.table_header
        {
            headers = headers.insert(Header {
                key: "mysync.table",
                value: Some(table),
            });
        }
        if let Some((key, value)) = record.header {
            headers = headers.insert(Header {
                key,
                value: Some(value),
            });
        }
        let mut message = BaseRecord::<[u8], [u8]>::to(&topic.name)
            .key(record.key)
            .timestamp(record.timestamp_ms)
            .headers(headers);
        message.payload = record.value;
        self.enqueue(message, bytes)
    }

    /// Waits until the library holds little enough for a record of so many bytes.
    fn make_room(&mut self, bytes: usize) -> Result<()> {
        while self.in_flight.bytes + bytes > UNACKNOWLEDGED_BYTES_MAX.max(bytes) {
            let count = usize::try_from(self.producer.in_flight_count()).unwrap_or(0);
            self.in_flight.keep_last(count);
            if self.in_flight.bytes + bytes > UNACKNOWLEDGED_BYTES_MAX.max(bytes) {
                self.pause();
                self.require_alive()?;
            }
        }
        self.in_flight.add(bytes);
        Ok(())
    }

    fn enqueue(&self, mut message: BaseRecord<'_, [u8], [u8]>, bytes: usize) -> Result<()> {
        loop {
            match self.producer.send(message) {
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
        match self.producer.client().fatal_error() {
            Some((code, reason)) => Err(Error::transient(format!("the Kafka producer failed: {code}")).detail(reason)),
            None => Ok(()),
        }
    }

    /// Waits until every record is acknowledged.
    ///
    /// The library's flush is asked again every millisecond: each call wakes its broker threads, which do not notice by
    /// themselves that a partition has been added to the transaction; left alone, it would ask only every 100 ms. Without
    /// any progress this gives up: a transaction that can only be aborted keeps its records.
    fn flush(&mut self) -> Result<()> {
        let mut left = i32::MAX;
        let mut progress_at = Instant::now();
        while self.producer.flush(Duration::ZERO).is_err() {
            let now_left = self.producer.in_flight_count();
            if now_left < left {
                (left, progress_at) = (now_left, Instant::now());
            } else if progress_at.elapsed() > STALLED_MAX {
                let what = format!("{left} records were not acknowledged in {} s", STALLED_MAX.as_secs());
                return Err(Error::transient(what).hint("are the brokers up, and enough replicas in sync?"));
            }
            self.require_alive()?;
            self.pause();
        }
        self.in_flight.keep_last(0);
        Ok(())
    }

    /// A wait below a millisecond would make the library's poll spin.
    fn pause(&self) {
        self.producer.poll(Duration::ZERO);
        std::thread::park_timeout(POLL_INTERVAL);
    }

    /// Commits; an outcome that only needs patience is asked for again, any other ends this publisher.
    fn commit(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let begun = Instant::now();
        self.begin()?;
        let value = checkpoint.encode();
        let bytes = self.reader_name.len() + value.len();
        self.make_room(bytes)?;
        let message = BaseRecord::<[u8], [u8]>::to(&self.checkpoint_topic)
            .key(self.reader_name.as_bytes())
            .payload(&value);
        self.enqueue(message, bytes)?;
        self.flush()?;
        let flushed = begun.elapsed();
        let deadline = Instant::now() + Duration::from_millis(TRANSACTION_MS_MAX.into());
        loop {
            match self.producer.commit_transaction(ANSWER_TIMEOUT) {
                Ok(()) => {
                    self.transaction_open = false;
                    tracing::debug!(flush = ?flushed, whole = ?begun.elapsed(), "Kafka transaction committed");
                    return Ok(());
                }
                Err(KafkaError::Transaction(error)) if error.is_retriable() && Instant::now() < deadline => {
                    tracing::debug!(%error, "the Kafka transaction's commit is asked for again");
                }
                Err(error) => return Err(sort(&error, "cannot commit a Kafka transaction")),
            }
        }
    }
}

/// Formats the header `mysync.origin` without an allocation.
struct OriginText {
    bytes: [u8; 64],
}

impl OriginText {
    fn new() -> Self {
        Self { bytes: [0; 64] }
    }

    fn format(&mut self, record: &Record<'_>) -> &[u8] {
        let mut length = 0;
        let parts = [
            record.origin.file_number,
            record.origin.offset,
            record.origin.row.into(),
        ];
        for (index, part) in parts.into_iter().enumerate() {
            if index > 0 {
                self.bytes[length] = b':';
                length += 1;
            }
            // Three numbers of at most 20 digits and two colons: 62 bytes.
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(part).as_bytes();
            self.bytes[length..length + digits.len()].copy_from_slice(digits);
            length += digits.len();
        }
        &self.bytes[..length]
    }
}
