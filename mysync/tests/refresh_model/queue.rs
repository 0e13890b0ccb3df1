//! A queue in memory, in both ways of delivery, whose commits fail where they are told to.

use mysync::checkpoint::Checkpoint;
use mysync::error::{Error, Result};
use mysync::queue::kafka::KafkaSubscriber;
use mysync::queue::outdated::Outdated;
use mysync::queue::{Batch, Published, Publisher, Queue, Scan, StoredRecord, Topic, TopicId};
use mysync::schema::TableName;
use mysync::version::Version;
use std::cell::{Ref, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// How a commit fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing of it is ever seen.
    Aborted,
    /// It is seen, but the publisher is not told.
    AnswerLost,
}

const TABLE: TopicId = 0;
const INTERNAL: [&str; 5] = ["refresh", "refresh_due", "prepared", "history", "ddl"];

/// A record of the table's topic.
#[derive(Debug, Clone)]
pub struct Seen {
    pub version: Version,
    pub id: i32,
    /// The row's value, or none where the record deletes it; and whether a refresh has published it.
    pub row: Option<i32>,
    pub is_tombstone: bool,
    pub is_refresh: bool,
}

/// What consumers see.
#[derive(Default)]
pub struct World {
    pub seen: Vec<Seen>,
    pub checkpoints: Vec<Checkpoint>,
    /// Records of internal topics, with the topic's place in the list.
    stored: Vec<(usize, StoredRecord)>,
    commits: usize,
    generation: usize,
}

#[derive(Clone)]
pub struct MemoryQueue {
    world: Rc<RefCell<World>>,
    faults: BTreeMap<usize, Fault>,
    is_sequenced: bool,
}

impl MemoryQueue {
    pub fn new(faults: &[(usize, Fault)], is_sequenced: bool) -> Self {
        Self {
            world: Rc::default(),
            faults: faults.iter().copied().collect(),
            is_sequenced,
        }
    }

    pub fn world(&self) -> Ref<'_, World> {
        self.world.borrow()
    }

    fn records(&self, topic: &str) -> Vec<StoredRecord> {
        let topic = INTERNAL.iter().position(|name| *name == topic).expect("a known topic");
        let world = self.world.borrow();
        let records = world.stored.iter().filter(|(of, _)| *of == topic);
        records.map(|(_, record)| record.clone()).collect()
    }
}

impl Queue for MemoryQueue {
    type Publisher = MemoryPublisher;
    type Subscriber = KafkaSubscriber;

    async fn publisher(&self) -> Result<(MemoryPublisher, Option<Checkpoint>)> {
        let mut world = self.world.borrow_mut();
        world.generation += 1;
        let publisher = MemoryPublisher {
            queue: self.clone(),
            generation: world.generation,
            open: Vec::new(),
            open_stored: Vec::new(),
            outcome: None,
        };
        Ok((publisher, world.checkpoints.last().cloned()))
    }

    async fn scan(&self, internal_topic: &str, from_offset: i64) -> Result<Scan> {
        let (sender, scan) = Scan::channel();
        let records = self.records(internal_topic);
        tokio::spawn(async move {
            for record in records.into_iter().filter(|record| record.offset >= from_offset) {
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

    async fn published(&self, _from: Version) -> Result<Published> {
        Ok(Published::channel().1)
    }

    async fn tables(&self) -> Result<Vec<TableName>> {
        Ok(vec![("shop".into(), "t".into())])
    }

    async fn outdated(&self, _topic: Topic<'_>, _key_end: &[u8], before: Version) -> Result<Outdated> {
        let mut last: BTreeMap<i32, bool> = BTreeMap::new();
        for seen in &self.world.borrow().seen {
            last.insert(seen.id, seen.row.is_some() && seen.version < before);
        }
        let (sender, outdated) = Outdated::channel();
        let keys: Vec<Vec<u8>> = last
            .into_iter()
            .filter(|(_, is_outdated)| *is_outdated)
            .map(|(id, _)| format!("{{\"id\":{id}}}").into_bytes())
            .collect();
        tokio::spawn(async move {
            for list in keys.chunks(3) {
                if sender.send(Ok(list.to_vec())).await.is_err() {
                    return;
                }
            }
        });
        Ok(outdated)
    }

    async fn subscriber(&self, _group: &str) -> Result<KafkaSubscriber> {
        Err(Error::definite("this model has no consumers"))
    }
}

pub struct MemoryPublisher {
    queue: MemoryQueue,
    generation: usize,
    open: Vec<Seen>,
    open_stored: Vec<(usize, StoredRecord)>,
    outcome: Option<Result<()>>,
}

fn seen(record: &mysync::queue::Record<'_>) -> Seen {
    let key: serde_json::Value = serde_json::from_slice(record.key).unwrap();
    let value: Option<serde_json::Value> = record.value.map(|value| serde_json::from_slice(value).unwrap());
    let after = value
        .as_ref()
        .map(|value| &value["after"])
        .filter(|after| !after.is_null());
    Seen {
        version: record.version,
        id: i32::try_from(key["id"].as_i64().unwrap()).unwrap(),
        row: after.map(|after| i32::try_from(after["v"].as_i64().unwrap()).unwrap()),
        is_tombstone: value.is_none(),
        is_refresh: value.is_some_and(|value| value["source"]["snapshot"] == "incremental"),
    }
}

impl Publisher for MemoryPublisher {
    async fn declare(&mut self, topic: Topic<'_>) -> Result<TopicId> {
        Ok(match topic {
            Topic::Table { .. } => TABLE,
            Topic::Compacted(name) | Topic::Recent(name) | Topic::Log(name) => {
                let place = INTERNAL.iter().position(|known| *known == name).expect("a known topic");
                TopicId::try_from(place).unwrap() + 1
            }
            other => panic!("{other:?}"),
        })
    }

    async fn send(&mut self, mut batch: Batch) -> Result<Batch> {
        for record in batch.records() {
            match record.topic.checked_sub(1) {
                None => self.open.push(seen(&record)),
                Some(place) => self.open_stored.push((
                    place as usize,
                    StoredRecord {
                        offset: 0,
                        key: record.key.to_vec(),
                        value: record.value.map(<[u8]>::to_vec),
                    },
                )),
            }
        }
        batch.clear(1 << 10);
        if self.queue.is_sequenced {
            // Seen at once, whatever becomes of the checkpoint.
            self.queue.world.borrow_mut().seen.append(&mut self.open);
        }
        Ok(batch)
    }

    fn has_room(&self) -> bool {
        true
    }

    async fn commit(&mut self, checkpoint: Checkpoint) -> Result<()> {
        assert!(self.outcome.is_none(), "one commit at a time");
        let mut world = self.queue.world.borrow_mut();
        assert_eq!(self.generation, world.generation, "a fenced publisher commits nothing");
        let fault = self.queue.faults.get(&world.commits).copied();
        world.commits += 1;
        let (records, stored) = (std::mem::take(&mut self.open), std::mem::take(&mut self.open_stored));
        if fault != Some(Fault::Aborted) {
            world.seen.extend(records);
            for (topic, mut record) in stored {
                record.offset = i64::try_from(world.stored.len() * 2).unwrap();
                world.stored.push((topic, record));
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
