//! XA transactions whose decision has not come: their events, held back.
//!
//! # Form
//! Kept are the table maps and rows events of followed tables as they came, without checksums, one behind the other in
//! [`Chunk`]s. Only at the commit are they decoded, encoded and given versions, as if they stood in the binlog there.
//!
//! # Place
//! They stay in memory as long as the stream runs on from prepare to commit, which is the common case, and as long as
//! all of them together are at most [`HELD_BYTES_MAX`]. They are stored in the topic `<prefix>.__prepared` before a checkpoint
//! passes their prepare, in the same Kafka transaction, or earlier when memory runs short. A chunk that is stored is always
//! complete, and where a chunk ends depends on the transaction's own events alone: a reader that begins again before them
//! stores the same chunks under the same keys.
//!
//! Keys are `xid/begun/index`. At the decision each gets a tombstone, so that compaction clears the topic.

use super::tracker::Decision;
use super::xa::Xid;
use crate::checkpoint;
use crate::decode::{Body, Event};
use crate::error::Error;
use crate::queue::{Batch, Origin, TopicId};
use crate::tables::TableFilter;
use crate::version::Version;
use std::collections::{BTreeMap, BTreeSet};

/// The topic's name without prefix and underscores.
pub(super) const TOPIC: &str = "prepared";

/// Bytes after which a chunk is complete; one event larger than that is a chunk of its own.
const CHUNK_BYTES: usize = 256 << 10;

/// Bytes of all chunks in memory, the last ones of each transaction aside.
const HELD_BYTES_MAX: usize = 8 << 20;

/// All XA transactions that are not decided.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// The one whose events are coming.
    open: Transaction,
    /// Table ids in it that are followed.
    followed: BTreeSet<u64>,
    undecided: BTreeMap<Xid, Transaction>,
    /// Prepared since the last checkpoint, so not wholly stored.
    unsaved: Vec<Xid>,
    held_bytes: usize,
    /// What is stored from now on has no lower offset in the topic.
    end_offset: i64,
}

/// The events of one transaction.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    begun: String,
    chunks: Vec<Chunk>,
    from_offset: i64,
}

/// Some events that follow each other.
#[derive(Debug)]
struct Chunk {
    /// `None` if they are only in the topic.
    held: Option<Vec<u8>>,
    is_stored: bool,
}

/// Where records of an internal topic are put together.
pub(super) struct Store<'b> {
    pub(super) topic: TopicId,
    pub(super) batch: &'b mut Batch,
    pub(super) timestamp_ms: i64,
    pub(super) version: Version,
}

impl Transaction {
    /// Number of chunks.
    pub(super) fn chunk_count(&self) -> usize {
        self.chunks.len()
    }

    /// The events of a chunk; `None` if they have to be read from the topic.
    pub(super) fn held(&self, index: usize) -> Option<&[u8]> {
        self.chunks.get(index)?.held.as_deref()
    }

    /// Whether nothing has to be read from the topic.
    pub(super) fn is_held(&self) -> bool {
        self.chunks.iter().all(|chunk| chunk.held.is_some())
    }

    /// The lowest offset at which one of its records can be.
    pub(super) fn lowest_offset(&self) -> i64 {
        self.from_offset
    }

    /// The key of a chunk's record.
    pub(super) fn key(&self, xid: &Xid, index: usize) -> String {
        format!("{xid}/{}/{index}", self.begun)
    }

    fn held_bytes(&self) -> usize {
        self.chunks
            .iter()
            .filter_map(|chunk| chunk.held.as_ref())
            .map(Vec::len)
            .sum()
    }

    /// Stores complete chunks that are not stored; all chunks are complete once the transaction is prepared.
    fn store(&mut self, xid: &Xid, is_prepared: bool, store: &mut Store<'_>) {
        for index in 0..self.chunks.len() {
            let is_complete = is_prepared || index + 1 < self.chunks.len();
            let key = self.key(xid, index);
            let chunk = &mut self.chunks[index];
            if let (true, false, Some(events)) = (is_complete, chunk.is_stored, &chunk.held) {
                store.record(&key, Some(events));
                chunk.is_stored = true;
            }
        }
    }

    /// Frees the memory of what is stored.
    fn release(&mut self) {
        for chunk in self.chunks.iter_mut().filter(|chunk| chunk.is_stored) {
            chunk.held = None;
        }
    }
}

impl Store<'_> {
    /// Appends a record.
    pub(super) fn record(&mut self, key: &str, value: Option<&[u8]>) {
        let mut append = |bytes: &[u8]| {
            let begin = self.batch.bytes_len();
            self.batch.bytes().extend_from_slice(bytes);
            begin..self.batch.bytes_len()
        };
        let (key, value) = (append(key.as_bytes()), value.map(&mut append));
        let origin = Origin {
            file_number: 0,
            offset: 0,
            row: 0,
        };
        self.batch
            .push(self.topic, self.timestamp_ms, self.version, origin, key, value);
    }
}

impl Prepared {
    /// What a checkpoint says about transactions that were prepared before it.
    pub(super) fn restore(found: &[checkpoint::Prepared]) -> Self {
        let transaction = |prepared: &checkpoint::Prepared| Transaction {
            begun: prepared.begun.clone(),
            chunks: std::iter::repeat_with(|| Chunk {
                held: None,
                is_stored: true,
            })
            .take(prepared.chunks)
            .collect(),
            from_offset: prepared.from_offset,
        };
        let undecided = found
            .iter()
            .map(|prepared| (Xid::named(&prepared.xid), transaction(prepared)));
        Self {
            undecided: undecided.collect(),
            ..Self::default()
        }
    }

    /// What a checkpoint has to say. All of them must be saved.
    pub(super) fn list(&self) -> Vec<checkpoint::Prepared> {
        debug_assert!(self.unsaved.is_empty(), "a checkpoint passes only what is stored");
        let line = |(xid, transaction): (&Xid, &Transaction)| checkpoint::Prepared {
            xid: xid.to_string(),
            begun: transaction.begun.clone(),
            chunks: transaction.chunks.len(),
            from_offset: transaction.from_offset,
        };
        self.undecided.iter().map(line).collect()
    }

    /// An XA transaction begins at `begun`, `file number:offset`.
    pub(super) fn begin(&mut self, begun: String) {
        self.followed.clear();
        self.held_bytes -= self.open.held_bytes();
        self.open = Transaction {
            begun,
            chunks: Vec::new(),
            from_offset: self.end_offset,
        };
    }

    /// Holds a table map or rows event of the open transaction back.
    pub(super) fn hold(&mut self, xid: &Xid, event: &Event<'_>, filter: &TableFilter, store: &mut Store<'_>) {
        match &event.body {
            Body::TableMap(map) if filter.follows(map.database, map.table) => drop(self.followed.insert(map.table_id)),
            Body::TableMap(map) => {
                self.followed.remove(&map.table_id);
                return;
            }
            Body::Rows(rows) if self.followed.contains(&rows.table_id) => {}
            _ => return,
        }
        let size = event.header.size as usize;
        let chunks = &mut self.open.chunks;
        let begins = chunks
            .last()
            .and_then(|chunk| chunk.held.as_ref())
            .is_none_or(|last| last.len() + size > CHUNK_BYTES);
        if begins {
            chunks.push(Chunk {
                held: Some(Vec::new()),
                is_stored: false,
            });
        }
        if let Some(last) = chunks.last_mut().and_then(|chunk| chunk.held.as_mut()) {
            let before = last.len();
            event.write_without_checksum(last);
            self.held_bytes += last.len() - before;
        }
        if self.held_bytes > HELD_BYTES_MAX {
            self.make_room(xid, store);
        }
    }

    /// Stores what is complete, and frees what is stored.
    fn make_room(&mut self, open_xid: &Xid, store: &mut Store<'_>) {
        self.save(store);
        self.open.store(open_xid, false, store);
        self.open.release();
        self.undecided.values_mut().for_each(Transaction::release);
        let undecided: usize = self.undecided.values().map(Transaction::held_bytes).sum();
        self.held_bytes = self.open.held_bytes() + undecided;
    }

    /// The open transaction is prepared. One that waits under the same name was rolled back without a trace in the binlog, for
    /// two cannot be prepared at a time: it is dropped.
    pub(super) fn prepare(&mut self, xid: Xid, store: &mut Store<'_>) {
        if self.undecided.contains_key(&xid) {
            tracing::warn!(%xid, "an XA transaction that was never decided is prepared anew: its first rows are dropped");
            self.forget(&Decision::Rollback(xid.clone()), store);
        }
        self.unsaved.push(xid.clone());
        self.undecided.insert(xid, std::mem::take(&mut self.open));
    }

    /// Stores all that a checkpoint passes.
    pub(super) fn save(&mut self, store: &mut Store<'_>) {
        for xid in std::mem::take(&mut self.unsaved) {
            if let Some(transaction) = self.undecided.get_mut(&xid) {
                transaction.store(&xid, true, store);
            }
        }
    }

    /// Whether anything would be stored by [`Prepared::save`].
    pub(super) fn is_saved(&self) -> bool {
        self.unsaved.is_empty()
    }

    /// The transaction that a decision is about; `None` if it is not known.
    pub(super) fn find(&self, decision: &Decision) -> Option<&Transaction> {
        match decision {
            Decision::OnePhase(_) => Some(&self.open),
            Decision::Commit(xid) | Decision::Rollback(xid) => self.undecided.get(xid),
        }
    }

    /// A decision has been carried out: nothing of the transaction is needed any more.
    pub(super) fn forget(&mut self, decision: &Decision, store: &mut Store<'_>) {
        let transaction = match decision {
            Decision::OnePhase(_) => Some(std::mem::take(&mut self.open)),
            Decision::Commit(xid) | Decision::Rollback(xid) => self.undecided.remove(xid),
        };
        let xid = decision.xid();
        self.unsaved.retain(|unsaved| unsaved != xid);
        let Some(transaction) = transaction else {
            return;
        };
        self.held_bytes -= transaction.held_bytes();
        for index in (0..transaction.chunks.len()).filter(|index| transaction.chunks[*index].is_stored) {
            store.record(&transaction.key(xid, index), None);
        }
    }

    /// The topic has been read up to this offset.
    pub(super) fn note_end_offset(&mut self, offset: i64) {
        self.end_offset = self.end_offset.max(offset);
    }
}

/// A commit of a transaction that the reader has not seen.
pub(super) fn unknown(xid: &Xid) -> Error {
    Error::definite(format!("an XA transaction commits that was prepared before the reader's beginning: {xid}")).hint(
        "its rows are not in what the reader has read: load the tables anew (mysync dump, or reader.on_gap = \"refresh\") while no XA \
         transaction is prepared (XA RECOVER)",
    )
    .gap()
}

/// Records of a transaction that are not in the topic.
pub(super) fn missing(key: &str) -> Error {
    Error::definite(format!(
        "rows of a prepared XA transaction are not in topic __{TOPIC}: {key}"
    ))
    .hint("were records deleted from it? load the tables anew under a new kafka.prefix and reader.name")
}
