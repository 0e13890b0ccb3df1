//! MySQL as the reader sees it: which server to follow, its settings, places in its binlog, and the stream of raw events.
//!
//! Nothing is decoded here: [`Source::next`] hands out each event's bytes as they came, header and checksum included.
//! Every place is a [`Position`] at the end of a transaction. A server with `gtid_mode=ON` is resumed by its GTID set,
//! any other by file and offset, and then only if the file is still the one that the position was taken in: a server
//! that was reset begins anew with the same names, which the file's birth time tells.
//!
//! One server is followed at a time. [`Source::choose`] finds it among all that are known ([`topology`]); everything else
//! is about that one.
//!
//! Errors: a lost connection is transient. A position that is gone, a missing privilege, a wrong setting are definite.
//! The real source is [`mysql`].

pub mod gtid_set;
pub mod mysql;
pub mod preflight;
pub mod topology;

use crate::checkpoint::Position;
use crate::decode::TableRows;
use crate::error::{Error, Result};
use crate::schema::{TableName, TableSchema};
use gtid_set::GtidSet;
use preflight::Check;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a server does in its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // each is an answer of its own
pub struct Facts {
    /// Its Table_maps have the columns' names: no schema history is needed.
    pub names_columns: bool,
    /// Its Table_maps have the columns' character sets.
    pub names_charsets: bool,
    /// It keeps names of databases and tables in lower case, however statements spell them.
    pub lower_case_names: bool,
    /// It logs the rows that foreign keys delete and change.
    pub logs_cascades: bool,
}

/// A server that is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// `host:port`.
    pub address: String,
    /// Its `server_uuid`.
    pub uuid: String,
    /// Whether `gtid_mode` is ON.
    pub gtid: bool,
    /// Whether it takes writes and nobody else's.
    pub is_primary: bool,
}

/// A server's transactions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gtids {
    /// All that it has.
    pub executed: GtidSet,
    /// Those of them that are not in its binlogs any more.
    pub purged: GtidSet,
}

/// A foreign key by which rows of a followed table change when a parent's row goes or gets another key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cascade {
    /// The child.
    pub child: TableName,
    /// Name of the constraint.
    pub constraint: String,
    /// The parent.
    pub parent: TableName,
    /// `ON DELETE CASCADE, ON UPDATE SET NULL` and the like.
    pub rules: String,
}

impl Cascade {
    /// What to do about one.
    pub const FIX: &'static str = "make the foreign key RESTRICT and delete the children by statements, leave the child out of \
         source.tables, or set reader.on_cascade = \"follow\" to have the children's tables read anew, or \"ignore\" if the stores may \
         keep such rows";
}

/// A table that takes rows of followed tables along when one of its rows goes or gets another key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// The table, followed or not.
    pub table: TableName,
    /// The columns that foreign keys refer to, and each one's place in the table, from 0.
    pub columns: Vec<(String, usize)>,
    /// The followed tables whose rows change, those of its children's children among them.
    pub children: Vec<TableName>,
}

impl std::fmt::Display for Cascade {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            child,
            constraint,
            parent,
            rules,
        } = self;
        write!(
            formatter,
            "{}.{} constraint {constraint} on {}.{} {rules}",
            child.0, child.1, parent.0, parent.1
        )
    }
}

/// Rows of a table that are to be read from the table itself.
#[derive(Debug, Clone)]
pub struct RowsRequest {
    /// The table.
    pub table: TableName,
    /// Which rows.
    pub wanted: Wanted,
    /// The columns of `source.keys`, where they are the table's key.
    pub key: Option<Vec<String>>,
    /// No more rows are taken than the one that exceeds so many bytes.
    pub bytes_max: usize,
    /// The reader's name in its row of [`crate::tables::WATERMARK_TABLE`].
    pub reader: String,
    /// What is written there before the rows are read; used once.
    pub low: String,
    /// What is written there when the rows have been read; used once.
    pub mark: String,
}

/// Which rows of a table are to be read.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// Those of these keys.
    Keys {
        /// As they stand in records.
        keys: Vec<Vec<u8>>,
        /// They have Debezium's own forms of values.
        strict: bool,
    },
    /// The next ones in the order of the table's key.
    Range {
        /// They come behind it; `None` is before the first row.
        after: Option<Edge>,
        /// An SQL condition that they meet.
        condition: Option<String>,
        /// How many at most.
        rows_max: usize,
    },
}

/// A row's place in the order of its table's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    /// Names of the key's columns, in the key's order.
    pub columns: Vec<String>,
    /// A value each, in a form that only the source knows.
    pub values: Vec<String>,
}

/// Rows that were read.
#[derive(Debug, Clone)]
pub struct RowsAnswer {
    /// The table as it is now, with those of the rows that it has; `None` if there is no such table.
    pub rows: Option<TableRows>,
    /// No row is missing because of [`RowsRequest::bytes_max`], or is behind the range.
    pub is_complete: bool,
    /// The place of a range's last row.
    pub last: Option<Edge>,
    /// How long the SELECT took.
    pub took: Duration,
    /// Why no range can be read.
    pub refusal: Option<Refusal>,
}

/// Why a range of a table's rows cannot be read. No mark is written then.
#[derive(Debug, Clone)]
pub enum Refusal {
    /// The key has other columns than [`Edge::columns`].
    OtherKey,
    /// The table cannot be read in ranges, or not with the condition.
    Definite(Error),
}

/// How far a table's refresh is, for the people who asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The request's name.
    pub request: String,
    /// The table.
    pub table: TableName,
    /// What it is at.
    pub state: State,
    /// Rows that were read.
    pub rows: u64,
    /// Rows that were published though MySQL does not have them, and were deleted.
    pub gone: u64,
    /// Why it failed, or whose doing it is.
    pub detail: String,
}

/// What a table's refresh is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Others come first.
    Waiting,
    /// The table's rows are read.
    Rows,
    /// What was published is looked through for rows that the table does not have.
    Gone,
    /// It is done, and committed.
    Done,
    /// It cannot be done.
    Failed,
    /// A person has called it off.
    Cancelled,
}

impl State {
    const ALL: [(State, &'static str); 6] = [
        (State::Waiting, "waiting"),
        (State::Rows, "rows"),
        (State::Gone, "gone"),
        (State::Done, "done"),
        (State::Failed, "failed"),
        (State::Cancelled, "cancelled"),
    ];

    /// Its name, in mysync's own tables and in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(state, _)| *state == self);
        found.map_or("", |(_, name)| name)
    }

    /// The state of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, known)| *known == name);
        found.map(|(state, _)| *state)
    }

    /// Whether nothing more comes.
    #[must_use]
    pub fn is_end(self) -> bool {
        matches!(self, State::Done | State::Failed | State::Cancelled)
    }
}

/// The servers, and the binlog of the one that is followed.
#[allow(async_fn_in_trait)] // The reader drives one source on one task.
pub trait Source {
    /// Finds the server to follow from now on: everything else is about it. `position` is the one that was reached last. A
    /// transient error while there is none, or more than one.
    async fn choose(&mut self, position: Option<&Position>) -> Result<Server>;

    /// The server's transactions; both sets are empty on a server without GTID.
    async fn gtids(&mut self) -> Result<Gtids>;

    /// The server's binlog files, oldest first.
    async fn files(&mut self) -> Result<Vec<String>>;

    /// The settings that the reader depends on, each with what was found.
    async fn preflight(&mut self) -> Result<Vec<Check>>;

    /// What the server does in its own way.
    async fn facts(&mut self) -> Result<Facts>;

    /// The followed tables that there are now.
    async fn tables(&mut self) -> Result<Vec<TableName>>;

    /// What these tables are now, none for one that there is not. All statements about a table whose effect is in the answer
    /// stand before the place that [`Source::newest`] gives afterwards.
    async fn describe(&mut self, tables: &[TableName]) -> Result<Vec<Option<TableSchema>>>;

    /// Reads rows beside the stream, between two watermarks: everything before the event of [`RowsRequest::low`] is in the answer,
    /// and nothing behind that of [`RowsRequest::mark`].
    fn read(&self, request: RowsRequest) -> impl Future<Output = Result<RowsAnswer>> + Send + 'static;

    /// Writes down how far refreshes are, where those who asked for them look.
    fn tell(&self, progress: Vec<Progress>) -> impl Future<Output = Result<()>> + Send + 'static {
        drop(progress);
        std::future::ready(Ok(()))
    }

    /// What people have asked the reader for and it has told nothing of: a reader that begins behind these requests does not meet them in
    /// the stream.
    async fn asked(&mut self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// The cascading foreign keys of followed tables.
    async fn cascades(&mut self) -> Result<Vec<Cascade>>;

    /// The tables by which rows of followed tables change without row events.
    async fn parents(&mut self) -> Result<Vec<Parent>> {
        Ok(Vec::new())
    }

    /// The oldest place that the server still has.
    async fn oldest(&mut self) -> Result<Position>;

    /// The end of what the server has written.
    async fn newest(&mut self) -> Result<Position>;

    /// Begins the stream at `position`, which is one of this server's.
    async fn start(&mut self, position: &Position) -> Result<()>;

    /// A checkpoint on this server is committed: the reader goes on here whatever happens, and may say so by its heartbeat. Said
    /// earlier, a reader that dies in between would come back with a checkpoint of the server before this one, and would
    /// take this one for a server that was left behind.
    fn settle(&mut self) {}

    /// Lets go of the server until the next start.
    fn release(&mut self) {}

    /// Waits for the next event and hands out its bytes. May be dropped while waiting and called again.
    async fn next(&mut self) -> Result<&[u8]>;

    /// As [`Source::next`], but a large compressed transaction may come in pieces, which follow each other until there are as
    /// many bytes as its header says; the first holds what stands before the packed bytes.
    async fn next_piece(&mut self) -> Result<&[u8]> {
        self.next().await
    }
}
