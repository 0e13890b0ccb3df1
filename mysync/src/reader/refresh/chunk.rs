//! Rows that are being read, from the moment in which they are asked for until the last of them is published.
//!
//! What the stream says of a row between the two watermarks, and from the second one on until the row is published, is newer than
//! what was read: such keys are remembered, and left to the stream. Changes before the first watermark need not be
//! remembered, since they are in the answer.

use crate::encode::{TableEncoder, key};
use crate::error::{Error, Result};
use crate::schema::TableName;
use crate::source::{RowsAnswer, RowsRequest, Source, Wanted};
use crate::tables::INTERNAL_DATABASE;
use std::collections::{BTreeSet, HashSet};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Bytes of keys that are remembered of what the stream changes meanwhile. Beyond that the rows are read again.
const TOUCHED_BYTES_MAX: usize = 8 << 20;

/// What a remembered key takes besides its bytes.
const TOUCHED_BYTES_EACH: usize = 48;

/// After so long without its watermark a person is told.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a watermark was seen.
#[derive(Debug, Clone, Copy)]
pub(in crate::reader) struct Marked {
    pub(in crate::reader) timestamp_s: u32,
    pub(in crate::reader) commit_us: u64,
    pub(in crate::reader) server_id: u32,
}

/// Rows that are being read.
pub(in crate::reader) struct Chunk {
    pub(in crate::reader) table: TableName,
    /// The keys whose rows are wanted and have not been found; none of a range.
    pub(in crate::reader) wanted: Option<BTreeSet<Vec<u8>>>,
    /// The texts of the wanted keys, by which stores know rows.
    wanted_texts: HashSet<Vec<u8>>,
    /// Those of the rows that were found.
    held_texts: HashSet<Vec<u8>>,
    /// It is a range of the table's rows.
    pub(in crate::reader) is_range: bool,
    /// How many keys were asked for.
    pub(in crate::reader) asked_for: usize,
    touched: HashSet<Vec<u8>>,
    touched_bytes: usize,
    low: String,
    mark: String,
    reading: Reading,
    pub(in crate::reader) answer: Option<RowsAnswer>,
    begun: Instant,
    is_late: bool,
    /// The event of the first watermark has come.
    is_open: bool,
    /// The event that has the second one.
    marked: Option<Marked>,
    /// The first row that is not published.
    pub(in crate::reader) place: usize,
    /// Rows that were published.
    pub(in crate::reader) published: u64,
    /// Keys that were published as deleted.
    pub(in crate::reader) gone: u64,
    pub(in crate::reader) encoder: Option<TableEncoder>,
}

/// A task that ends with its owner.
struct Reading(JoinHandle<Result<RowsAnswer>>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Chunk {
    pub(super) fn begin<S: Source>(source: &S, request: RowsRequest) -> Self {
        let wanted = match &request.wanted {
            Wanted::Keys { keys, .. } => Some(keys.iter().cloned().collect()),
            Wanted::Range { .. } => None,
        };
        Self {
            table: request.table.clone(),
            wanted_texts: wanted.iter().flatten().map(|key: &Vec<u8>| key::texts(key)).collect(),
            held_texts: HashSet::new(),
            is_range: wanted.is_none(),
            asked_for: match &request.wanted {
                Wanted::Keys { keys, .. } => keys.len(),
                Wanted::Range { .. } => 0,
            },
            wanted,
            touched: HashSet::new(),
            touched_bytes: 0,
            low: request.low.clone(),
            mark: request.mark.clone(),
            reading: Reading(tokio::spawn(source.read(request))),
            answer: None,
            begun: Instant::now(),
            is_late: false,
            is_open: false,
            marked: None,
            place: 0,
            published: 0,
            gone: 0,
            encoder: None,
        }
    }

    /// Takes the answer, if it has come.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        if self.answer.is_some() {
            return Poll::Pending;
        }
        let read = std::task::ready!(std::pin::Pin::new(&mut self.reading.0).poll(context));
        Poll::Ready(match read.map_err(Error::transient_join) {
            Ok(Ok(answer)) => {
                self.answer = Some(answer);
                Ok(())
            }
            Ok(Err(error)) | Err(error) => Err(error),
        })
    }

    /// A watermark came.
    pub(super) fn see(&mut self, mark: &[u8], marked: Marked) {
        if mark == self.low.as_bytes() {
            self.is_open = true;
        } else if mark == self.mark.as_bytes() {
            self.marked = Some(marked);
        }
    }

    /// The stream has changed this row.
    pub(super) fn touch(&mut self, key: &[u8]) {
        if !self.is_open {
            return;
        }
        if self.wanted.is_some() {
            let texts = key::texts(key);
            if self.wanted_texts.contains(&texts) {
                self.held_texts.insert(texts);
            }
        }
        let is_asked_for = self.wanted.as_ref().is_none_or(|wanted| wanted.contains(key));
        if is_asked_for && !self.is_overrun() && self.touched.insert(key.to_vec()) {
            self.touched_bytes += key.len() + TOUCHED_BYTES_EACH;
            if self.is_overrun() {
                self.touched = HashSet::new();
            }
        }
    }

    /// More was changed than is remembered: nothing of it can be published any more.
    pub(super) fn is_overrun(&self) -> bool {
        self.touched_bytes > TOUCHED_BYTES_MAX
    }

    pub(in crate::reader) fn is_touched(&self, key: &[u8]) -> bool {
        self.touched.contains(key)
    }

    /// A row with this key is in the table.
    pub(in crate::reader) fn hold(&mut self, key: &[u8]) {
        self.held_texts.insert(key::texts(key));
    }

    /// Whether a row has, or the stream has told of one that has, the values of this key.
    pub(in crate::reader) fn holds(&self, key: &[u8]) -> bool {
        self.held_texts.contains(&key::texts(key))
    }

    /// Whether nothing can come of it.
    pub(in crate::reader) fn is_empty(&self) -> bool {
        let rows = self.answer.as_ref().and_then(|answer| answer.rows.as_ref());
        rows.is_none_or(crate::decode::TableRows::is_empty) && self.wanted.as_ref().is_none_or(BTreeSet::is_empty)
    }

    /// Whether a row's key has to be known before it is published.
    pub(in crate::reader) fn looks_at_keys(&self) -> bool {
        self.wanted.is_some() || !self.touched.is_empty()
    }

    /// Where its second watermark was seen, if it can be published.
    pub(in crate::reader) fn due(&self) -> Option<Marked> {
        self.marked.filter(|_| self.answer.is_some() && !self.is_overrun())
    }

    /// Tells a person, once, of a watermark that does not come.
    pub(super) fn complain(&mut self) {
        if !self.is_late && self.marked.is_none() && self.begun.elapsed() > PATIENCE {
            self.is_late = true;
            tracing::warn!(
                database = self.table.0,
                table = self.table.1,
                seconds = PATIENCE.as_secs(),
                "rows that are read anew wait for their watermark in the stream: is the reader behind, or is {INTERNAL_DATABASE} kept out \
                 of the binlog?"
            );
        }
    }
}
