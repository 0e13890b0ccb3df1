//! A server and a queue in memory, which fail where they are told to.

use super::events::{BORN_S, Log};
use mysync::checkpoint::{Checkpoint, Position};
use mysync::error::{Error, Result};
use mysync::queue::kafka::KafkaSubscriber;
use mysync::queue::outdated::Outdated;
use mysync::queue::{Batch, Publisher, Queue, Scan, StoredRecord, Topic, TopicId};
use mysync::schema::{TableName, TableSchema};
use mysync::source::preflight::Check;
use mysync::source::{Cascade, Facts, Gtids, RowsAnswer, RowsRequest, Server, Source};
use mysync::version::Version;
use std::cell::{Ref, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
/// A reader asked for more than there was, though it had all that there was at its start.
pub const LOG_ENDED: &str = "the log ended";

/// The topics of prepared transactions, of marks and of the history; all others are one.
const STORED: TopicId = 1;
const MARKS: TopicId = 2;
const HISTORY: TopicId = 3;

const FILE: &str = "binlog.000001";

const TRANSACTION_PAYLOAD: u8 = 40;
/// All that stands before the packed bytes, and some of these.
const FIRST_PIECE_BYTES: usize = 40;
const PIECE_BYTES: usize = 7;

/// A server without GTID that has one binlog file.
pub struct MemorySource {
    log: Log,
    next: usize,
    served: usize,
    /// The format description that a stream which begins within the file gets first.
    description: Option<Vec<u8>>,
    sent: Vec<u8>,
    /// Bytes of the compressed transaction at hand that have been sent, if it is sent in pieces.
    sent_bytes: usize,
    /// Counts of events served at which the connection breaks, once each.
    faults: Vec<usize>,
}

impl MemorySource {
    pub fn new(log: &Log, faults: &[usize]) -> Self {
        Self {
            log: log.clone(),
            next: 0,
            served: 0,
            description: None,
            sent: Vec::new(),
            sent_bytes: 0,
            faults: faults.to_vec(),
        }
    }

    fn meet_fault(&mut self) -> Result<()> {
        self.served += 1;
        match self.faults.iter().position(|&fault| fault == self.served) {
            None => Ok(()),
            Some(fault) => {
                self.faults.remove(fault);
                Err(Error::transient("the connection broke"))
            }
        }
    }

    fn position(&self, event: usize) -> Position {
        Position {
            server_uuid: UUID.into(),
            file: FILE.into(),
            offset: self.log.offset(event),
            file_born_s: 0,
            gtid_set: None,
        }
    }
}

impl Source for MemorySource {
    async fn choose(&mut self, _position: Option<&Position>) -> Result<Server> {
        Ok(Server {
            address: "memory:3306".into(),
            uuid: UUID.into(),
            gtid: false,
            is_primary: true,
        })
    }

    async fn gtids(&mut self) -> Result<Gtids> {
        Ok(Gtids::default())
    }

    async fn files(&mut self) -> Result<Vec<String>> {
        Ok(vec![FILE.into()])
    }

    async fn preflight(&mut self) -> Result<Vec<Check>> {
        Ok(Vec::new())
    }

    async fn facts(&mut self) -> Result<Facts> {
        Ok(Facts {
            names_columns: true,
            names_charsets: true,
            lower_case_names: false,
            logs_cascades: true,
        })
    }

    async fn tables(&mut self) -> Result<Vec<TableName>> {
        Ok(Vec::new())
    }

    async fn describe(&mut self, tables: &[TableName]) -> Result<Vec<Option<TableSchema>>> {
        Ok(vec![None; tables.len()])
    }

    fn read(&self, _request: RowsRequest) -> impl Future<Output = Result<RowsAnswer>> + Send + 'static {
        std::future::ready(Err(Error::definite("this source has no tables")))
    }

    async fn cascades(&mut self) -> Result<Vec<Cascade>> {
        Ok(Vec::new())
    }

    async fn oldest(&mut self) -> Result<Position> {
        Ok(self.position(0))
    }

    async fn newest(&mut self) -> Result<Position> {
        Ok(self.position(self.log.events.len()))
    }

    /// Like a server, it sends the format description first, wherever the stream begins.
    async fn start(&mut self, position: &Position) -> Result<()> {
        assert_eq!((position.server_uuid.as_str(), position.file.as_str()), (UUID, FILE));
        assert!(position.file_born_s == 0 || position.file_born_s == BORN_S);
        let found = (0..=self.log.events.len()).find(|&event| self.log.offset(event) == position.offset);
        self.next = found.expect("a position between events");
        self.served = 0;
        self.sent_bytes = 0;
        // An artificial copy, which does not move the position.
        self.description = (self.next > 0).then(|| {
            let mut copy = self.log.events[0].clone();
            copy[13..17].copy_from_slice(&[0; 4]);
            copy
        });
        Ok(())
    }

    async fn next(&mut self) -> Result<&[u8]> {
        self.meet_fault()?;
        if let Some(description) = self.description.take() {
            self.sent = description;
            return Ok(&self.sent);
        }
        let event = self.next;
        self.next += 1;
        match event < self.log.events.len() {
            true => Ok(&self.log.events[event]),
            false => Err(Error::definite(LOG_ENDED)),
        }
    }

    /// Compressed transactions come in small pieces, of which the last may hold a part of the checksum only.
    async fn next_piece(&mut self) -> Result<&[u8]> {
        let (event, begin) = (self.next, self.sent_bytes);
        let is_compressed = |event: &Vec<u8>| event.get(4) == Some(&TRANSACTION_PAYLOAD);
        if self.description.is_some() || !self.log.events.get(event).is_some_and(is_compressed) {
            return self.next().await;
        }
        self.meet_fault()?;
        let bytes = &self.log.events[event];
        let length = if begin == 0 { FIRST_PIECE_BYTES } else { PIECE_BYTES };
        let end = (begin + length).min(bytes.len());
        let is_last = end == bytes.len();
        self.sent_bytes = if is_last { 0 } else { end };
        self.next += usize::from(is_last);
        Ok(&bytes[begin..end])
    }
}

/// How a commit fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing of it is ever seen.
    Aborted,
    /// It is seen, but the publisher is not told.
    AnswerLost,
}

/// What consumers that read committed see.
#[derive(Debug, Default)]
pub struct World {
    pub committed: Vec<Published>,
    /// Records of the topic of prepared transactions.
    pub stored: Vec<StoredRecord>,
    /// Where transactions begin and end.
    pub marks: Vec<Mark>,
    pub checkpoints: Vec<Checkpoint>,
    commits: usize,
    generation: usize,
}

/// A mark that was committed, and how many changes were before it.
#[derive(Debug)]
pub struct Mark {
    pub changes_before: usize,
    pub value: serde_json::Value,
}

/// A record that was committed.
#[derive(Debug)]
pub struct Published {
    pub version: Version,
    key: Vec<u8>,
}

impl World {
    /// The ids in the keys.
    pub fn ids(&self) -> Vec<i32> {
        let id = |record: &Published| {
            let key: serde_json::Value = serde_json::from_slice(&record.key).unwrap();
            i32::try_from(key["id"].as_i64().unwrap()).unwrap()
        };
        self.committed.iter().map(id).collect()
    }
}

/// A queue whose commits fail where they are told to, counted over its life.
pub struct MemoryQueue {
    world: Rc<RefCell<World>>,
    faults: BTreeMap<usize, Fault>,
}

impl MemoryQueue {
    pub fn new(faults: &[(usize, Fault)]) -> Self {
        Self {
            world: Rc::default(),
            faults: faults.iter().copied().collect(),
        }
    }

    pub fn world(&self) -> Ref<'_, World> {
        self.world.borrow()
    }
}

impl Queue for MemoryQueue {
    type Publisher = MemoryPublisher;
    type Subscriber = KafkaSubscriber;

    async fn publisher(&self) -> Result<(MemoryPublisher, Option<Checkpoint>)> {
        let mut world = self.world.borrow_mut();
        world.generation += 1;
        let checkpoint = world.checkpoints.last().cloned();
        let publisher = MemoryPublisher {
            world: self.world.clone(),
            faults: self.faults.clone(),
            generation: world.generation,
            open: Vec::new(),
            open_stored: Vec::new(),
            open_marks: Vec::new(),
            outcome: None,
        };
        Ok((publisher, checkpoint))
    }

    async fn scan(&self, internal_topic: &str, from_offset: i64) -> Result<Scan> {
        assert_eq!(internal_topic, "prepared");
        let (sender, scan) = Scan::channel();
        let stored = self.world.borrow().stored.clone();
        tokio::spawn(async move {
            for record in stored.into_iter().filter(|record| record.offset >= from_offset) {
                if sender.send(Ok(record)).await.is_err() {
                    return;
                }
            }
        });
        Ok(scan)
    }

    async fn scan_end(&self, internal_topic: &str, _offsets: i64) -> Result<(Scan, bool)> {
        Ok((self.scan(internal_topic, 0).await?, true))
    }

    async fn published(&self, _from: Version) -> Result<mysync::queue::Published> {
        Ok(mysync::queue::Published::channel().1)
    }

    async fn tables(&self) -> Result<Vec<TableName>> {
        Ok(Vec::new())
    }

    async fn outdated(&self, _topic: Topic<'_>, _key_end: &[u8], _before: Version) -> Result<Outdated> {
        Ok(Outdated::channel().1)
    }

    async fn subscriber(&self, _group: &str) -> Result<KafkaSubscriber> {
        Err(Error::definite("this model has no consumers"))
    }
}

pub struct MemoryPublisher {
    world: Rc<RefCell<World>>,
    faults: BTreeMap<usize, Fault>,
    generation: usize,
    open: Vec<Published>,
    open_stored: Vec<StoredRecord>,
    open_marks: Vec<Mark>,
    outcome: Option<Result<()>>,
}

impl Publisher for MemoryPublisher {
    async fn declare(&mut self, topic: Topic<'_>) -> Result<TopicId> {
        match topic {
            Topic::Compacted("prepared") => Ok(STORED),
            Topic::Transactions => Ok(MARKS),
            Topic::Recent("history") => Ok(HISTORY),
            _ => Ok(0),
        }
    }

    async fn send(&mut self, mut batch: Batch) -> Result<Batch> {
        for record in batch.records() {
            let key = record.key.to_vec();
            match record.topic {
                STORED => self.open_stored.push(StoredRecord {
                    offset: 0,
                    key,
                    value: record.value.map(<[u8]>::to_vec),
                }),
                HISTORY => {}
                MARKS => self.open_marks.push(Mark {
                    changes_before: self.open.len(),
                    value: serde_json::from_slice(record.value.unwrap()).unwrap(),
                }),
                _ => self.open.push(Published {
                    version: record.version,
                    key,
                }),
            }
        }
        batch.clear(1 << 10);
        Ok(batch)
    }

    fn has_room(&self) -> bool {
        true
    }

    async fn commit(&mut self, checkpoint: Checkpoint) -> Result<()> {
        assert!(self.outcome.is_none(), "one commit at a time");
        let mut world = self.world.borrow_mut();
        assert_eq!(self.generation, world.generation, "a fenced publisher commits nothing");
        let fault = self.faults.get(&world.commits).copied();
        world.commits += 1;
        let records = std::mem::take(&mut self.open);
        let stored = std::mem::take(&mut self.open_stored);
        let marks = std::mem::take(&mut self.open_marks);
        if fault != Some(Fault::Aborted) {
            let changes_before = world.committed.len();
            world.marks.extend(marks.into_iter().map(|mark| Mark {
                changes_before: changes_before + mark.changes_before,
                ..mark
            }));
            world.committed.extend(records);
            for mut record in stored {
                // As in Kafka, marks of transactions take offsets too.
                record.offset = i64::try_from(world.stored.len() * 2).unwrap();
                world.stored.push(record);
            }
            world.checkpoints.push(checkpoint);
        }
        self.outcome = Some(fault.map_or(Ok(()), |_| Err(Error::transient("the broker died"))));
        Ok(())
    }

    async fn committed(&mut self) -> Result<()> {
        match self.outcome.take() {
            Some(outcome) => outcome,
            None => std::future::pending().await,
        }
    }
}
