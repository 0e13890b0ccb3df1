//! Refreshes: rows that are read from their tables and published in order with the stream.
//!
//! # How
//! A request lists keys of a table. Its rows are read beside the stream, between two watermarks that the source writes
//! ([`Source::read`]). When the event of the second one comes, the stream has published everything that the answer can
//! have seen: a key that the stream has changed since the request began is left to the stream, all others are published now,
//! with the next versions. A key that was not found is published as deleted. So a row's versions rise, its last record is
//! what the table has, and the stream never waits.
//!
//! # What survives
//! Requests are records of the topic `<prefix>.__refresh`, written in the Kafka transaction whose checkpoint needs them and
//! deleted in the one that has their rows. The checkpoint says how many there are: so a reader that starts anew, on whatever
//! server, begins those that are left from their beginning, and none is forgotten.
//!
//! # DDL
//! The stream's statements about the table make what was read void: it is read again.

use super::lost;
use super::prepared::Store;
use crate::checkpoint::Checkpoint;
use crate::decode::{ColumnSchema, RowsEvent, TableMap, Value};
use crate::error::{Error, Result};
use crate::queue::{Batch, Publisher, Queue, Topic, TopicId};
use crate::schema::TableName;
use crate::source::{RowsAnswer, RowsRequest, Source};
use crate::tables::{INTERNAL_DATABASE, WATERMARK_TABLE};
use crate::version::Version;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The topic's name without prefix and underscores.
pub(super) const TOPIC: &str = "refresh";

/// Keys in a request.
const KEYS_MAX: usize = 256;

/// Bytes of a request's keys: it is one record.
const KEYS_BYTES_MAX: usize = 256 << 10;

/// Bytes of rows that are held until their watermark comes; one row may exceed them.
const ROWS_BYTES_MAX: usize = 4 << 20;

/// The answer is complete before its watermark is written, so that it has come is a matter of moments.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// After so long without its watermark a person is told.
const PATIENCE: Duration = Duration::from_secs(60);

/// Rows that are to be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    pub(super) database: String,
    pub(super) table: String,
    /// As they stand in records.
    pub(super) keys: Vec<String>,
}

/// What is to be refreshed, and what is being read.
#[derive(Default)]
pub(super) struct Refresh {
    /// The reader's name in its watermarks.
    reader: String,
    topic: Option<TopicId>,
    /// With the keys of their records.
    pending: VecDeque<(String, Request)>,
    chunk: Option<Chunk>,
    marks: u64,
    /// So many bytes were read that nothing came of them: the next key is read alone.
    reads_one: bool,
}

/// The request that is being read.
pub(super) struct Chunk {
    pub(super) table: TableName,
    /// The keys, and whether the stream has changed their rows meanwhile.
    pub(super) keys: BTreeMap<Vec<u8>, bool>,
    mark: String,
    reading: Reading,
    answer: Option<RowsAnswer>,
    begun: Instant,
    is_late: bool,
    /// The event that has the watermark.
    marked: Option<Marked>,
    is_void: bool,
}

/// Where a watermark was seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marked {
    pub(super) timestamp_s: u32,
    pub(super) commit_us: u64,
    pub(super) server_id: u32,
}

/// A task that ends with its owner.
struct Reading(JoinHandle<Result<RowsAnswer>>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Request {
    /// Requests for so many keys of a table.
    pub(super) fn of_keys(table: &TableName, keys: impl Iterator<Item = String>) -> Vec<Self> {
        let mut requests: Vec<Self> = Vec::new();
        let mut bytes = 0;
        for key in keys {
            let is_full = |last: &Self| last.keys.len() >= KEYS_MAX || bytes + key.len() > KEYS_BYTES_MAX;
            if requests.last().is_none_or(is_full) {
                bytes = 0;
                requests.push(Self {
                    database: table.0.clone(),
                    table: table.1.clone(),
                    keys: Vec::new(),
                });
            }
            bytes += key.len();
            if let Some(last) = requests.last_mut() {
                last.keys.push(key);
            }
        }
        requests
    }
}

impl Refresh {
    /// Takes up the requests that a checkpoint says are there, and those that a switch of server brings, which the next
    /// checkpoint passes.
    pub(super) async fn open<Q: Queue>(
        queue: &Q,
        publisher: &mut Q::Publisher,
        batch: &mut Batch,
        reader: &str,
        checkpoint: &Checkpoint,
        lost: lost::Found,
    ) -> Result<Self> {
        let mut refresh = Self {
            reader: reader.to_owned(),
            ..Self::default()
        };
        refresh.restore(queue, publisher, checkpoint.refreshes).await?;
        let requests = lost.append(publisher, batch, checkpoint.next_version).await?;
        refresh.add(requests, publisher, batch, checkpoint.next_version).await?;
        Ok(refresh)
    }

    async fn restore<Q: Queue>(&mut self, queue: &Q, publisher: &mut Q::Publisher, count: usize) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        self.declare(publisher).await?;
        let mut found: BTreeMap<Vec<u8>, (i64, Request)> = BTreeMap::new();
        let mut scan = queue.scan(TOPIC, 0).await?;
        while let Some(record) = scan.next().await? {
            match record.value {
                None => drop(found.remove(&record.key)),
                Some(value) => {
                    let request = serde_json::from_slice(&value).map_err(|error| unreadable(&error))?;
                    found.insert(record.key, (record.offset, request));
                }
            }
        }
        if found.len() != count {
            return Err(unreadable(&format!(
                "{} requests, the checkpoint has {count}",
                found.len()
            )));
        }
        let mut in_order: Vec<_> = found.into_iter().collect();
        in_order.sort_by_key(|(_, (offset, _))| *offset);
        let text = |key: Vec<u8>| String::from_utf8_lossy(&key).into_owned();
        self.pending = in_order
            .into_iter()
            .map(|(key, (_, request))| (text(key), request))
            .collect();
        tracing::info!(requests = count, keys = self.keys(), "rows are still to be refreshed");
        Ok(())
    }

    async fn declare<P: Publisher>(&mut self, publisher: &mut P) -> Result<TopicId> {
        let topic = publisher.declare(Topic::Compacted(TOPIC)).await?;
        self.topic = Some(topic);
        Ok(topic)
    }

    /// Adds requests; the next checkpoint passes them.
    async fn add<P: Publisher>(
        &mut self,
        requests: Vec<Request>,
        publisher: &mut P,
        batch: &mut Batch,
        version: Version,
    ) -> Result<()> {
        if requests.is_empty() {
            return Ok(());
        }
        let topic = self.declare(publisher).await?;
        let mut store = store(topic, batch, version);
        let first = version.as_i64();
        for (number, request) in requests.into_iter().enumerate() {
            let id = format!("{first}-{number}");
            let value = serde_json::to_vec(&request).unwrap_or_default();
            store.record(&id, Some(&value));
            self.pending.push_back((id, request));
        }
        Ok(())
    }

    /// Requests that are not done.
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Keys that are not done.
    pub(super) fn keys(&self) -> usize {
        self.pending.iter().map(|(_, request)| request.keys.len()).sum()
    }

    /// Begins the next request if none is being read.
    pub(super) fn begin<S: Source>(&mut self, source: &S, complete: impl FnOnce(&mut RowsRequest)) {
        if self.chunk.as_ref().is_some_and(|chunk| chunk.is_void) {
            self.chunk = None;
        }
        let (None, Some((_, request))) = (&self.chunk, self.pending.front()) else {
            return;
        };
        self.marks += 1;
        let keys_max = if self.reads_one { 1 } else { KEYS_MAX };
        let nanoseconds = super::session::now_ns();
        let mark = format!("{nanoseconds}-{}", self.marks);
        let table = (request.database.clone(), request.table.clone());
        let mut rows = RowsRequest {
            table: table.clone(),
            keys: request
                .keys
                .iter()
                .take(keys_max)
                .map(|key| key.clone().into_bytes())
                .collect(),
            key: None,
            strict: false,
            bytes_max: ROWS_BYTES_MAX,
            reader: self.reader.clone(),
            mark: mark.clone(),
        };
        complete(&mut rows);
        let keys = rows.keys.iter().map(|key| (key.clone(), false)).collect();
        self.chunk = Some(Chunk {
            table,
            keys,
            mark,
            reading: Reading(tokio::spawn(source.read(rows))),
            answer: None,
            begun: Instant::now(),
            is_late: false,
            marked: None,
            is_void: false,
        });
    }

    /// Waits for an error of what is being read; for ever while there is none.
    pub(super) async fn failed(&mut self) -> Error {
        if let Some(chunk) = &mut self.chunk
            && chunk.answer.is_none()
        {
            match chunk.reading.finished().await {
                Ok(answer) => chunk.answer = Some(answer),
                Err(error) => return error,
            }
        }
        std::future::pending().await
    }

    /// Tells a person, once, of a watermark that does not come.
    pub(super) fn complain(&mut self) {
        if let Some(chunk) = &mut self.chunk
            && !chunk.is_late
            && chunk.begun.elapsed() > PATIENCE
        {
            chunk.is_late = true;
            tracing::warn!(
                database = chunk.table.0,
                table = chunk.table.1,
                seconds = PATIENCE.as_secs(),
                "rows that are read anew wait for their watermark in the stream: is the reader behind, or is {INTERNAL_DATABASE} kept out \
                 of the binlog?"
            );
        }
    }

    /// Whether changes of this table have to be told by [`Refresh::touch`].
    pub(super) fn reads(&self, database: &str, table: &str) -> bool {
        let is_it = |chunk: &Chunk| chunk.table.0 == database && chunk.table.1 == table;
        self.chunk.as_ref().is_some_and(is_it)
    }

    /// The stream has changed this row.
    pub(super) fn touch(&mut self, key: &[u8]) {
        if let Some(chunk) = &mut self.chunk
            && let Some(is_touched) = chunk.keys.get_mut(key)
        {
            *is_touched = true;
        }
    }

    /// The stream has a statement about this table; an empty one stands for all of the database.
    pub(super) fn void(&mut self, database: &str, table: &str) {
        if let Some(chunk) = &mut self.chunk
            && chunk.table.0 == database
            && (table.is_empty() || chunk.table.1 == table)
        {
            chunk.is_void = true;
        }
    }

    /// Takes a rows event of the table of watermarks.
    pub(super) fn see(&mut self, rows: &RowsEvent<'_>, map: &TableMap, marked: Marked) {
        let Some(chunk) = &mut self.chunk else { return };
        if last_mark(rows, map, &self.reader).is_some_and(|mark| mark == chunk.mark.as_bytes()) {
            chunk.marked = Some(marked);
        }
    }

    /// What can be published: the stream is at its watermark.
    pub(super) fn take_marked(&mut self) -> Option<(Chunk, Marked)> {
        let marked = self.chunk.as_ref()?.marked?;
        let chunk = self.chunk.take().filter(|chunk| !chunk.is_void)?;
        Some((chunk, marked))
    }

    /// Takes what is left of the keys that were read. Gives topic and key of the request's record when it is done.
    pub(super) fn finish(&mut self, read: usize, left: Vec<String>) -> Option<(TopicId, String)> {
        let (_, request) = self.pending.front_mut()?;
        self.reads_one = left.len() == read;
        let mut keys = left;
        keys.extend(request.keys.drain(..).skip(read));
        request.keys = keys;
        if !request.keys.is_empty() {
            return None;
        }
        let (id, _) = self.pending.pop_front()?;
        Some((self.topic?, id))
    }
}

impl Chunk {
    /// The answer, whose watermark has been seen.
    pub(super) async fn answer(&mut self) -> Result<RowsAnswer> {
        if let Some(answer) = self.answer.take() {
            return Ok(answer);
        }
        let finished = tokio::time::timeout(ANSWER_TIMEOUT, self.reading.finished()).await;
        finished.map_err(|_| {
            Error::transient(format!(
                "rows that were read did not come in {} s, though their watermark did",
                ANSWER_TIMEOUT.as_secs()
            ))
        })?
    }
}

impl Reading {
    async fn finished(&mut self) -> Result<RowsAnswer> {
        (&mut self.0).await.map_err(Error::transient_join)?
    }
}

/// Where records of the topic are put together.
pub(super) fn store(topic: TopicId, batch: &mut Batch, version: Version) -> Store<'_> {
    Store {
        topic,
        batch,
        timestamp_ms: super::session::now_ns() / 1_000_000,
        version,
    }
}

const NAMES: [&str; 2] = ["reader", "mark"];

/// The id of the collation `ascii_bin`.
const ASCII_BIN: u16 = 65;

/// Adds what the binlog does not say of the table of watermarks; whether it is that table.
pub(super) fn is_marks(map: &mut TableMap) -> bool {
    if map.database != INTERNAL_DATABASE || map.table != WATERMARK_TABLE {
        return false;
    }
    let column = |name: &str| ColumnSchema {
        name: name.to_owned(),
        collation: Some(ASCII_BIN),
        ..ColumnSchema::default()
    };
    match map.supply(&NAMES.map(column)) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%error, "the table of watermarks is not as mysync makes it: no rows can be refreshed");
            false
        }
    }
}

/// The last mark of this reader in the event.
fn last_mark<'r>(rows: &RowsEvent<'r>, map: &'r TableMap, reader: &str) -> Option<&'r [u8]> {
    let images = rows.rows(map).ok()?.filter_map(|change| change.ok()?.after);
    let mark = |row: crate::decode::Row<'r>| match (row.value(0).ok()??, row.value(1).ok()??) {
        (Value::Text { bytes: name, .. }, Value::Text { bytes: mark, .. }) if name == reader.as_bytes() => Some(mark),
        _ => None,
    };
    images.filter_map(mark).last()
}

fn unreadable(why: &dyn std::fmt::Display) -> Error {
    Error::definite(format!("requests in topic __{TOPIC} are not as the checkpoint has them"))
        .detail(why)
        .hint("were records deleted from it, or written by a newer version of mysync? load the tables anew under a new kafka.prefix")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_hold_a_bounded_number_of_keys() {
        let table = ("d".to_owned(), "t".to_owned());
        let requests = Request::of_keys(&table, (0..600).map(|number| number.to_string()));
        assert_eq!(
            requests.iter().map(|request| request.keys.len()).collect::<Vec<_>>(),
            [256, 256, 88]
        );
        let large = "x".repeat(KEYS_BYTES_MAX / 2);
        let requests = Request::of_keys(&table, std::iter::repeat_n(large, 5));
        assert_eq!(
            requests.iter().map(|request| request.keys.len()).collect::<Vec<_>>(),
            [2, 2, 1]
        );
        assert!(Request::of_keys(&table, std::iter::empty()).is_empty());
        let stored = serde_json::to_vec(&requests[0]).unwrap();
        assert_eq!(serde_json::from_slice::<Request>(&stored).unwrap(), requests[0]);
    }
}
