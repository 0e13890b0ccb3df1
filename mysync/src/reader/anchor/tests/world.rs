//! A topology of servers without GTID, and a queue, in memory.

use super::binlog::{Binlog, FILE_START, server_uuid};
use crate::checkpoint::{Checkpoint, Position};
use crate::error::{Error, Result};
use crate::queue::kafka::KafkaSubscriber;
use crate::queue::outdated::Outdated;
use crate::queue::{Batch, Published, Publisher, Queue, Scan, StoredRecord, Topic, TopicId};
use crate::schema::{TableName, TableSchema};
use crate::source::preflight::Check;
use crate::source::{Cascade, Facts, Gtids, RowsAnswer, RowsRequest, Server, Source};
use crate::version::Version;
use std::cell::RefCell;
use std::rc::Rc;

/// Follows one server's binlog.
pub(super) struct MemorySource {
    binlog: Binlog,
    /// File, and event in it.
    next: (usize, usize),
    description: Option<Vec<u8>>,
    sent: Vec<u8>,
}

impl MemorySource {
    pub(super) fn new(binlog: &Binlog) -> Self {
        Self {
            binlog: binlog.clone(),
            next: (0, 0),
            description: None,
            sent: Vec::new(),
        }
    }

    fn uuid(&self) -> String {
        server_uuid(self.binlog.manner.server)
    }

    fn position(&self, file: usize, event: usize) -> Position {
        Position {
            server_uuid: self.uuid(),
            file: self.binlog.files[file].0.clone(),
            offset: self.binlog.offset(file, event),
            file_born_s: 0,
            gtid_set: None,
        }
    }
}

impl Source for MemorySource {
    async fn choose(&mut self, _position: Option<&Position>) -> Result<Server> {
        Ok(Server {
            address: "memory:3306".into(),
            uuid: self.uuid(),
            gtid: false,
            is_primary: true,
        })
    }

    async fn gtids(&mut self) -> Result<Gtids> {
        Ok(Gtids::default())
    }

    async fn files(&mut self) -> Result<Vec<String>> {
        Ok(self.binlog.files.iter().map(|(name, _)| name.clone()).collect())
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
        Ok(self.position(0, 0))
    }

    async fn newest(&mut self) -> Result<Position> {
        let file = self.binlog.files.len() - 1;
        Ok(self.position(file, self.binlog.files[file].1.len()))
    }

    async fn start(&mut self, position: &Position) -> Result<()> {
        assert_eq!(position.server_uuid, self.uuid());
        let file = self.binlog.files.iter().position(|(name, _)| *name == position.file);
        let file = file.expect("one of the server's files");
        let events = self.binlog.files[file].1.len();
        let event = (0..=events).find(|&event| self.binlog.offset(file, event) == position.offset);
        self.next = (file, event.expect("a position between events"));
        self.description = (position.offset > FILE_START as u64).then(|| {
            let mut copy = self.binlog.files[file].1[0].clone();
            copy[13..17].copy_from_slice(&[0; 4]);
            copy
        });
        Ok(())
    }

    async fn next(&mut self) -> Result<&[u8]> {
        if let Some(description) = self.description.take() {
            self.sent = description;
            return Ok(&self.sent);
        }
        let (file, event) = self.next;
        if event == self.binlog.files[file].1.len() {
            if file + 1 == self.binlog.files.len() {
                return Err(Error::definite("more was read than there is"));
            }
            self.next = (file + 1, 1);
            return Ok(&self.binlog.files[file + 1].1[0]);
        }
        self.next = (file, event + 1);
        Ok(&self.binlog.files[file].1[event])
    }
}

const TABLE: TopicId = 0;
const INTERNAL: [&str; 2] = ["prepared", "history"];

#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) checkpoints: Vec<Checkpoint>,
    /// Versions of the tables' records.
    pub(super) versions: Vec<i64>,
    /// Records of the internal topics, with their topic's place in the list.
    records: Vec<(usize, StoredRecord)>,
}

/// A queue that never fails. It keeps `records_per_window` records in the first window that is read back.
#[derive(Clone, Default)]
pub(super) struct MemoryQueue {
    pub(super) stored: Rc<RefCell<Stored>>,
    pub(super) window_divisor: i64,
}

impl MemoryQueue {
    fn records(&self, topic: &str) -> Vec<StoredRecord> {
        let topic = INTERNAL.iter().position(|name| *name == topic);
        let stored = self.stored.borrow();
        let records = stored.records.iter().filter(|(of, _)| Some(*of) == topic);
        records.map(|(_, record)| record.clone()).collect()
    }
}

fn scan_of(records: Vec<StoredRecord>) -> Scan {
    let (sender, scan) = Scan::channel();
    tokio::spawn(async move {
        for record in records {
            if sender.send(Ok(record)).await.is_err() {
                return;
            }
        }
    });
    scan
}

impl Queue for MemoryQueue {
    type Publisher = MemoryPublisher;
    type Subscriber = KafkaSubscriber;

    async fn publisher(&self) -> Result<(MemoryPublisher, Option<Checkpoint>)> {
        let publisher = MemoryPublisher {
            queue: self.clone(),
            open: Vec::new(),
            is_committing: false,
        };
        Ok((publisher, self.stored.borrow().checkpoints.last().cloned()))
    }

    async fn scan(&self, internal_topic: &str, from_offset: i64) -> Result<Scan> {
        let mut records = self.records(internal_topic);
        records.retain(|record| record.offset >= from_offset);
        Ok(scan_of(records))
    }

    async fn scan_end(&self, internal_topic: &str, offsets: i64) -> Result<(Scan, bool)> {
        let records = self.records(internal_topic);
        let kept = usize::try_from(offsets / self.window_divisor.max(1)).unwrap();
        let first = records.len().saturating_sub(kept);
        Ok((scan_of(records[first..].to_vec()), first == 0))
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

    async fn subscriber(&self, _group: &str) -> Result<KafkaSubscriber> {
        Err(Error::definite("this model has no consumers"))
    }
}

pub(super) struct MemoryPublisher {
    queue: MemoryQueue,
    open: Vec<(TopicId, i64, StoredRecord)>,
    is_committing: bool,
}

impl Publisher for MemoryPublisher {
    async fn declare(&mut self, topic: Topic<'_>) -> Result<TopicId> {
        Ok(match topic {
            Topic::Compacted("prepared") => 1,
            Topic::Recent("history") => 2,
            Topic::Table { .. } => TABLE,
            _ => 3,
        })
    }

    async fn send(&mut self, mut batch: Batch) -> Result<Batch> {
        self.open.extend(batch.records().map(|record| {
            let stored = StoredRecord {
                offset: 0,
                key: record.key.to_vec(),
                value: record.value.map(<[u8]>::to_vec),
            };
            (record.topic, record.version.as_i64(), stored)
        }));
        batch.clear(1 << 10);
        Ok(batch)
    }

    fn has_room(&self) -> bool {
        true
    }

    async fn commit(&mut self, checkpoint: Checkpoint) -> Result<()> {
        let mut stored = self.queue.stored.borrow_mut();
        for (topic, version, mut record) in self.open.drain(..) {
            match topic {
                // An update of a key is one record, a delete is two.
                TABLE if record.value.is_some() => stored.versions.push(version),
                1 | 2 => {
                    record.offset = i64::try_from(stored.records.len() * 2).unwrap();
                    stored.records.push((topic as usize - 1, record));
                }
                _ => {}
            }
        }
        stored.checkpoints.push(checkpoint);
        self.is_committing = true;
        Ok(())
    }

    async fn committed(&mut self) -> Result<()> {
        match std::mem::take(&mut self.is_committing) {
            true => Ok(()),
            false => std::future::pending().await,
        }
    }
}
