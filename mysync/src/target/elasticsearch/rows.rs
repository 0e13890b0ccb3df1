//! The rows of a round: as bulk requests, several at a time, each until every item of it is where it belongs.
//!
//! A round has at most one change of a row, so its items stand in no order: they may be cut into requests, sent at the same time
//! and sent again one without the others.
//!
//! What becomes of an item:
//! - written: done;
//! - another version is there (409): done if the store, asked for it, holds ours or a later one; else once more;
//! - too busy, or shards are missing: once more, with growing delays, for [`PATIENCE`]; then the round is given up as transient;
//! - too large together: cut in halves; too large alone: refused;
//! - a block, a closed index, an index that is gone: transient at once, with what to do;
//! - anything else is for good: its step is refused.

use super::bulk::{self, BulkAnswer};
use super::client::{Client, Silence};
use super::errors::{Meaning, Told};
use super::names;
use super::tables::Table;
use crate::error::{Error, Result};
use crate::target::{RowChange, Step};
use futures::stream::{self, StreamExt, TryStreamExt};
use prost::bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use std::cell::Cell;
use std::time::Duration;
use tokio::time::Instant;

/// How long a bulk request may take before the node counts as gone.
const BULK_TIMEOUT: Duration = Duration::from_secs(30);

/// How long items are sent again and again before the round is given up.
const PATIENCE: Duration = Duration::from_secs(20);

const DELAY_MIN: Duration = Duration::from_millis(50);
const DELAY_MAX: Duration = Duration::from_secs(2);

/// No request is made smaller than this because the store is slow.
const BYTES_MIN: usize = 64 * 1024;

/// What is at least as long is cut in several requests, that are worked on at the same time.
const BYTES_WORTH_A_BULK: usize = 256 * 1024;

/// Documents whose versions are asked for at a time.
const VERSIONS_MAX: usize = 1_000;

/// A change in a round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item {
    pub(super) step: usize,
    pub(super) change: usize,
    pub(super) table: usize,
}

/// How large bulk requests are now: halved when one gets no answer in time, doubled when one does.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_max: usize,
    bytes: Cell<usize>,
}

impl Pace {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: Cell::new(bytes_max),
        }
    }

    fn slower(&self) {
        self.bytes.set((self.bytes.get() / 2).max(BYTES_MIN));
    }

    fn faster(&self) {
        self.bytes.set((self.bytes.get() * 2).min(self.bytes_max));
    }
}

/// One round on its way.
pub(super) struct Rows<'a> {
    pub(super) client: &'a Client,
    pub(super) steps: &'a [Step],
    pub(super) tables: &'a [Table],
    pub(super) pace: &'a Pace,
    pub(super) bulks_parallel: usize,
    /// The store's own limit on a request.
    pub(super) request_bytes_max: usize,
    /// For tombstones, milliseconds since 1970.
    pub(super) now_ms: u64,
}

/// A change that is refused, by its step.
pub(super) type Refusal = (usize, Error);

impl Rows<'_> {
    /// Sends everything; gives what was refused.
    pub(super) async fn send(&self, items: Vec<Item>) -> Result<Vec<Refusal>> {
        // Requests of the same length, so that none is waited for by the others.
        let bytes: usize = items.iter().map(|item| bulk::item_bytes(self.change(*item))).sum();
        let bytes_max = self.pace.bytes.get();
        let bulks = bytes
            .div_ceil(bytes_max)
            .max(self.bulks_parallel.min(bytes / BYTES_WORTH_A_BULK))
            .max(1);
        let bytes_max = bytes_max.min(bytes / bulks + bytes / bulks / 20 + 1);
        let mut rest = items.into_iter().peekable();
        let bulks = std::iter::from_fn(|| {
            let (mut bulk, mut bytes) = (Vec::new(), 0);
            while let Some(item) = rest.peek() {
                bytes += bulk::item_bytes(self.change(*item));
                if bytes > bytes_max && !bulk.is_empty() {
                    break;
                }
                bulk.extend(rest.next());
            }
            Some(bulk).filter(|bulk| !bulk.is_empty())
        });
        let refused = stream::iter(bulks)
            .map(|bulk| self.send_bulk(bulk))
            .buffer_unordered(self.bulks_parallel)
            .try_collect::<Vec<_>>()
            .await?;
        Ok(refused.into_iter().flatten().collect())
    }

    fn change(&self, item: Item) -> &RowChange {
        &self.steps[item.step].changes[item.change]
    }

    fn lines(&self, items: &[Item]) -> Bytes {
        let bytes: usize = items.iter().map(|item| bulk::item_bytes(self.change(*item))).sum();
        let mut lines = Vec::with_capacity(bytes);
        for item in items {
            bulk::push(&mut lines, &self.tables[item.table], self.change(*item), self.now_ms);
        }
        Bytes::from(lines)
    }

    /// Sends one request's items until none is left.
    async fn send_bulk(&self, items: Vec<Item>) -> Result<Vec<Refusal>> {
        let give_up = Instant::now() + PATIENCE;
        let mut delay = DELAY_MIN;
        let mut refused = Vec::new();
        let mut waiting = vec![items];
        while let Some(items) = waiting.pop() {
            let lines = self.lines(&items);
            if lines.len() > self.request_bytes_max {
                self.split(items, &mut waiting, &mut refused, None);
                continue;
            }
            let answer = self.client.bulk(bulk::PATH, lines, BULK_TIMEOUT).await;
            let answer = answer.inspect_err(|silence: &Silence| {
                if silence.timed_out {
                    self.pace.slower();
                }
            })?;
            let (mut again, mut why) = (Vec::new(), None);
            if answer.is_success() {
                let results: BulkAnswer =
                    serde_json::from_slice(&answer.body).map_err(|error| answer.not_understood(&error))?;
                if results.items.len() != items.len() {
                    return Err(answer.not_understood(&format!(
                        "{} results of {} items",
                        results.items.len(),
                        items.len()
                    )));
                }
                self.pace.faster();
                if results.errors {
                    (again, why) = self.sort(&items, &results, &mut refused).await?;
                }
            } else {
                let told = Told::of(&answer);
                match told.meaning() {
                    Meaning::TooLarge => {
                        self.split(items, &mut waiting, &mut refused, Some(&told));
                        continue;
                    }
                    Meaning::Busy => (again, why) = (items, Some(told)),
                    _ => return Err(told.error("Elasticsearch refuses a bulk request")),
                }
            }
            let Some(told) = why.filter(|_| !again.is_empty()) else {
                continue;
            };
            if Instant::now() + delay > give_up {
                return Err(told.error(format!("Elasticsearch has not taken {} documents yet", again.len())));
            }
            tracing::debug!(documents = again.len(), "sending documents again: {}", told.text());
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(DELAY_MAX);
            waiting.push(again);
        }
        Ok(refused)
    }

    /// Two halves wait in place of a request that is too large.
    fn split(
        &self,
        mut items: Vec<Item>,
        waiting: &mut Vec<Vec<Item>>,
        refused: &mut Vec<Refusal>,
        told: Option<&Told>,
    ) {
        if let [item] = items[..] {
            let bytes = bulk::item_bytes(self.change(item));
            let detail = match told {
                Some(told) => told.text(),
                None => format!("http.max_content_length is {} bytes", self.request_bytes_max),
            };
            let error = self.refuse(item, "is larger than the store takes");
            let error = error.detail(format!("about {bytes} bytes; {detail}")).hint(
                "raise http.max_content_length of the cluster (and of what stands before it), make the row smaller, or leave a \
                 column out: source.columns_exclude",
            );
            refused.push((item.step, error));
            return;
        }
        let half = items.split_off(items.len() / 2);
        waiting.push(half);
        waiting.push(items);
    }

    /// Sorts the items of an answer with errors: those to be sent again, and why one of them failed.
    async fn sort(
        &self,
        items: &[Item],
        results: &BulkAnswer,
        refused: &mut Vec<Refusal>,
    ) -> Result<(Vec<Item>, Option<Told>)> {
        let (mut again, mut conflicts, mut why) = (Vec::new(), Vec::new(), None);
        for (item, result) in items.iter().zip(results.items.iter().map(bulk::BulkItem::result)) {
            if (200..300).contains(&result.status) {
                continue;
            }
            let told = Told::new(result.status, &result.error);
            match told.meaning() {
                Meaning::Conflict => {
                    conflicts.push(*item);
                    why.get_or_insert(told);
                }
                Meaning::Busy => {
                    again.push(*item);
                    why = Some(told);
                }
                Meaning::TooLarge | Meaning::Refused => {
                    let error = self.refuse(*item, "is refused by Elasticsearch").detail(told.text());
                    let hint = "see the detail; if the column's type was changed, delete the index, and everything is written \
                                anew; or leave the column out: source.columns_exclude";
                    refused.push((item.step, error.hint(hint)));
                }
                Meaning::Blocked | Meaning::Gone | Meaning::Login => {
                    let index = &self.tables[item.table].index;
                    return Err(told.error(format!("cannot write to index {index}")));
                }
            }
        }
        again.extend(self.not_there(&conflicts).await?);
        Ok((again, why))
    }

    /// Those of the items of which the store holds neither this version nor a later one.
    async fn not_there(&self, items: &[Item]) -> Result<Vec<Item>> {
        #[derive(Deserialize)]
        struct Documents {
            docs: Vec<Document>,
        }
        #[derive(Deserialize)]
        struct Document {
            #[serde(rename = "_version")]
            version: Option<i64>,
            #[serde(default)]
            error: Value,
        }
        let mut missing = Vec::new();
        for items in items.chunks(VERSIONS_MAX) {
            let document =
                |item: &Item| json!({"_index": self.tables[item.table].index, "_id": names::id(self.change(*item))});
            let body = json!({"docs": items.iter().map(document).collect::<Vec<_>>()});
            let path = "/_mget?_source=false&filter_path=docs.found,docs._version,docs.error";
            let answer = self.client.post(path, &body).await?;
            if !answer.is_success() {
                return Err(Told::of(&answer).error("cannot look which versions of documents are there"));
            }
            let found: Documents =
                serde_json::from_slice(&answer.body).map_err(|error| answer.not_understood(&error))?;
            if found.docs.len() != items.len() {
                return Err(answer.not_understood(&"another number of documents than was asked for"));
            }
            for (item, document) in items.iter().zip(&found.docs) {
                if !document.error.is_null() {
                    let told = Told::new(503, &document.error);
                    return Err(told.error("cannot look which version of a document is there"));
                }
                if document
                    .version
                    .is_none_or(|version| version < self.change(*item).version)
                {
                    missing.push(*item);
                }
            }
        }
        Ok(missing)
    }

    fn refuse(&self, item: Item, what: &str) -> Error {
        let change = self.change(item);
        let key: Vec<String> = change.key.iter().map(|(name, text)| format!("{name}={text}")).collect();
        Error::definite(format!(
            "a row of table {}.{} {what}: {}",
            change.table.database,
            change.table.table,
            key.join(", ")
        ))
    }
}
