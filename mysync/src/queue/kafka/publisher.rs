//! The reader's half: producers on threads of their own.
//!
//! librdkafka's calls block, so they run on a thread that takes [`Command`]s in order: batches to send, a checkpoint to
//! commit. The reader goes on encoding while a commit is on its way. Two bounds hold the memory: the batches in the
//! channel, and the bytes that were given to the library and not yet acknowledged.
//!
//! # The two ways of delivery
//! - **transactional** (`transactional`): records and checkpoint in Kafka transactions. Consumers that read committed see
//!   each change once.
//! - **sequenced** (`sequenced`): records are sent at once by an idempotent producer without transactions, and the checkpoint
//!   follows when everything before it is acknowledged. A reader that died between the two publishes the changes after the
//!   checkpoint again, with the versions that they had; consumers drop what they have seen by version.
//!
//! The checkpoint is committed by a transaction in both, and internal topics, which a restarted reader reads back, are written
//! in the same transaction. So opening a publisher is the same too: every transactional id of this reader's name is taken
//! over, which ends what an older reader has open in either way of delivery, and the way may change from run to run.
//!
//! # What is not fenced
//! A sequenced reader that was replaced without having noticed writes until its next checkpoint, which fails. Its records
//! are the same changes with the same versions as its successor's, and in every partition a record is preceded by all
//! earlier ones of its partition, whoever wrote them: consumers see nothing but further copies. That holds as long as both
//! number the changes alike, so a reader whose numbering differs begins a new epoch ([`crate::checkpoint::Checkpoint::numbering`]).

mod flush;
mod record;
mod sequenced;
mod transactional;

use super::KafkaQueue;
use super::topics::{self, Declared};
use crate::checkpoint::Checkpoint;
use crate::config::Delivery;
use crate::error::{Error, Result};
use crate::queue::leadership::Tenure;
use crate::queue::{Batch, Publisher, Topic, TopicId};
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use rdkafka::{ClientConfig, ClientContext};
use sequenced::Sequencer;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;
use transactional::Transactions;

/// Batches between the reader and the thread.
const BATCHES_QUEUED_MAX: usize = 4;

/// Memory that an emptied batch keeps, bytes.
const BATCH_KEPT_BYTES_MAX: usize = 4 << 20;

/// Bytes that make a request full, before compression.
const REQUEST_BYTES_MAX: usize = 1_000_000;

/// How long the library lets records wait for more, ms. It never comes to that, since our threads flush what waits. The library
/// has one request of a partition on its way (it counts records where it means requests), and while records that have waited
/// longer stand behind it, its thread spins: measured on a backlog, with 20 ms here that was about a sixth of this process' CPU.
const LINGER_MS: u32 = 2_000;

/// Without an acknowledgement for so long, what waits for a larger request is flushed.
const STALLED_BRIEFLY: Duration = Duration::from_millis(30);

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
    /// The thread ends when this is closed; what was not committed is settled by the next publisher's opening.
    commands: mpsc::Sender<Command>,
    emptied: mpsc::Receiver<Batch>,
    outcomes: mpsc::Receiver<Result<()>>,
    /// Declared topics by name, with the header of the table that each is for.
    declared: BTreeMap<String, (TopicId, Option<Vec<u8>>)>,
}

impl KafkaPublisher {
    /// Fences every older publisher of the same name and waits until its transactions have ended.
    pub(super) async fn open(queue: &KafkaQueue) -> Result<Self> {
        let tenure = queue.leadership.tenure().ok_or_else(Tenure::over)?;
        let owned = queue.clone();
        let opened = tokio::task::spawn_blocking(move || Transactions::open(&owned)).await;
        let transactions = opened.map_err(Error::transient_join)??;
        if !tenure.is_confirmed() {
            // It may have fenced its successor, who then takes over once more.
            return Err(Tenure::over());
        }

        let (commands, received) = mpsc::channel(BATCHES_QUEUED_MAX);
        let (give_back, emptied) = mpsc::channel(BATCHES_QUEUED_MAX + 2);
        let (outcome, outcomes) = mpsc::channel(2);
        match queue.config.reader.delivery {
            Delivery::Transactional => {
                start_thread("kafka-publisher", move || {
                    transactions.run(received, &give_back, &outcome)
                })?;
            }
            Delivery::Sequenced => {
                let (checkpoints, to_commit) = mpsc::channel(BATCHES_QUEUED_MAX);
                let sequencer = Sequencer::open(queue, tenure, checkpoints, give_back.clone())?;
                let told = outcome.clone();
                let transactions = transactions.with_one_lane();
                start_thread("kafka-checkpoints", move || {
                    transactions.run(to_commit, &give_back, &told)
                })?;
                start_thread("kafka-publisher", move || sequencer.run(received, &outcome))?;
            }
        }
        Ok(Self {
            queue: queue.clone(),
            commands,
            emptied,
            outcomes,
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
        if self.commands.send(command).await.is_ok() {
            return Ok(());
        }
        // The thread has ended, and said why.
        match self.outcomes.recv().await {
            Some(Err(error)) => Err(error),
            _ => Err(Error::transient("the publisher has ended")),
        }
    }
}

fn start_thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let started = std::thread::Builder::new().name(name.into()).spawn(work);
    // It may have to wait for brokers that are down when it is no longer needed; it ends by itself then.
    started
        .map(drop)
        .map_err(|error| Error::transient("cannot start a thread of the publisher").detail(error))
}

/// What all producers of records have in common.
fn producer_config(queue: &KafkaQueue) -> ClientConfig {
    let kafka = &queue.config.kafka;
    let mut config = queue.client_config();
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("partitioner", "murmur2")
        .set("compression.type", kafka.compression.name())
        .set("message.max.bytes", kafka.message_bytes_max.to_string())
        .set("batch.size", REQUEST_BYTES_MAX.to_string())
        .set("batch.num.messages", "10000")
        .set("linger.ms", LINGER_MS.to_string())
        .set("queue.buffering.max.messages", "1000000")
        .set("queue.buffering.max.kbytes", "2097151")
        .set("sticky.partitioning.linger.ms", "0");
    config
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

    fn has_room(&self) -> bool {
        self.commands.capacity() > 0
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
