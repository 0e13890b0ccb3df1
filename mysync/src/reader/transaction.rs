//! What the open transaction's messages say of it: when it was committed, by which connection, by which statement, and,
//! where transactions are marked, how many records it has had.

use crate::config::Messages;
use crate::decode::{Body, Event};
use crate::encode::{MarkPlace, Orders, TransactionPlace, transaction_begin, transaction_end};
use crate::queue::{Batch, Origin, TopicId};
use crate::version::Version;
use std::collections::BTreeMap;

/// The longest statement that is quoted, bytes: it stands in the record of each row that it changed.
const QUERY_BYTES_MAX: usize = 64 << 10;

/// The open transaction.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    with_query: bool,
    /// The topic of the marks, where there are any.
    marks: Option<TopicId>,
    commit_us: u64,
    thread_id: Option<u32>,
    query: Option<String>,
    /// The place of its BEGIN, which names it where there is no GTID.
    begin: String,
    /// Empty until its begin is marked.
    id: String,
    total: u64,
    tables: BTreeMap<String, u64>,
}

impl Transaction {
    /// `marks` is the topic of the marks.
    pub(super) fn new(messages: &Messages, marks: Option<TopicId>) -> Self {
        Self {
            with_query: messages.query,
            marks,
            ..Self::default()
        }
    }

    /// Takes an event that stands at `file` and `begin`.
    pub(super) fn observe(&mut self, event: &Event<'_>, file: &str, begin: u64) {
        match &event.body {
            Body::Gtid(gtid) => self.commit_us = gtid.original_commit_microseconds,
            Body::Query(query) => {
                self.thread_id = Some(query.thread_id);
                if self.marks.is_some() && self.begin.is_empty() {
                    self.begin = format!("file={file},pos={begin}");
                }
            }
            Body::RowsQuery(text) if self.with_query => {
                let fits = text.len() <= QUERY_BYTES_MAX;
                self.query = fits.then(|| String::from_utf8_lossy(text).into_owned());
            }
            _ => {}
        }
    }

    pub(super) fn commit_us(&self) -> u64 {
        self.commit_us
    }

    pub(super) fn thread_id(&self) -> Option<u32> {
        self.thread_id
    }

    pub(super) fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// Marks the begin, before the first records.
    pub(super) fn begin(&mut self, gtid: &str, place: Place, batch: &mut Batch) {
        if let Some(topic) = self.marks
            && self.id.is_empty()
        {
            self.id.push_str(if gtid.is_empty() { &self.begin } else { gtid });
            transaction_begin(&self.id, self.mark(topic, place), batch);
        }
    }

    /// Where in the transaction a table's next records stand; none where transactions are not marked.
    pub(super) fn place(&self, database: &str, table: &str) -> Option<TransactionPlace<'_>> {
        self.marks.map(|_| TransactionPlace {
            id: &self.id,
            orders: Orders {
                total: self.total,
                table: self.tables.get(&format!("{database}.{table}")).copied().unwrap_or(0),
            },
        })
    }

    /// Takes how many records there have been after those of a rows event.
    pub(super) fn note(&mut self, database: &str, table: &str, orders: Option<Orders>, is_statement_end: bool) {
        if let Some(orders) = orders {
            self.total = orders.total;
            self.tables.insert(format!("{database}.{table}"), orders.table);
        }
        if is_statement_end {
            self.query = None;
        }
    }

    /// Marks the end, if the begin was, and forgets the transaction.
    pub(super) fn end(&mut self, place: Place, batch: &mut Batch) {
        if let Some(topic) = self.marks
            && !self.id.is_empty()
        {
            transaction_end(&self.id, &self.tables, self.mark(topic, place), batch);
        }
        self.commit_us = 0;
        self.thread_id = None;
        self.query = None;
        self.begin.clear();
        self.id.clear();
        self.total = 0;
        self.tables.clear();
    }

    fn mark(&self, topic: TopicId, place: Place) -> MarkPlace {
        let commit_us = match self.commit_us {
            0 => u64::from(place.timestamp_s) * 1_000_000,
            commit_us => commit_us,
        };
        MarkPlace {
            topic,
            timestamp_ms: i64::try_from(commit_us / 1_000).unwrap_or(i64::MAX),
            version: place.version,
            origin: place.origin,
        }
    }
}

/// Where the reader stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) timestamp_s: u32,
    pub(super) version: Version,
    pub(super) origin: Origin,
}
