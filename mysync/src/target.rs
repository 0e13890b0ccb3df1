//! A target: a store that a writer fills, and that keeps the writer's cursor.
//!
//! The cursor says how far each partition has been applied. It lives in the target and is read back from it, so a target
//! that lost its last writes (a failover, a restored backup) says so itself, and the queue replays the rest.
//!
//! A store that has transactions moves rows and cursor in one atomic step that first compares the cursor. So a writer that
//! was replaced without having noticed (a zombie) changes nothing, and after any error the cursor read back says exactly which
//! rows are there. A store without them compares a row's version with the one that it holds, and moves the cursor behind
//! the rows: what is applied again, or by a zombie, is older than what is there and changes nothing.
//!
//! Errors: a transient one means that the outcome is unknown or that the store is not there; the writer connects again,
//! reads the cursors and goes on from them. Any other one stops the writer. A change that the store refuses for good is no
//! error but an outcome of its step: it stops the step's partition and nothing else.

use crate::error::{Error, Result};
use crate::queue::Partition;
use std::collections::BTreeMap;
use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;
use std::sync::Arc;

pub mod canonical;
pub mod columns;
pub mod elasticsearch;
pub mod hbase;
pub mod redis;

/// A table, by both of its names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TableName {
    /// The database.
    pub database: String,
    /// The table's own name.
    pub table: String,
}

/// One row's final state within a batch.
#[derive(Debug, Clone)]
pub struct RowChange {
    /// The table.
    pub table: Arc<TableName>,
    /// The key columns as `(name, canonical text)`, in key order.
    pub key: Vec<(String, String)>,
    /// The row as the JSON object text of the message; `None` when the row is gone.
    pub row: Option<Box<serde_json::value::RawValue>>,
    /// Higher than that of any earlier change of the row, and above 0: the record's version, or, where it has none, its offset
    /// and one.
    pub version: i64,
    /// Whether changes of the row that are folded into this one left other columns with a value than this one does, or
    /// deleted it; `None` to a target that does not ask ([`Target::compares_columns`]).
    pub columns_changed: Option<bool>,
}

/// How far a target has applied a partition. As text: `<offset>`, or `<offset> <version>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Offset of the next record.
    pub offset: i64,
    /// The highest version that was applied. A record with a lower one is a further copy of a change that was applied: a
    /// reader in sequenced delivery publishes its last changes again after a crash. None before the first version.
    pub version: Option<i64>,
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.offset)?;
        match self.version {
            Some(version) => write!(formatter, " {version}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Cursor {
    type Err = ParseIntError;

    fn from_str(text: &str) -> std::result::Result<Self, ParseIntError> {
        let (offset, version) = match text.split_once(' ') {
            Some((offset, version)) => (offset, Some(version.parse()?)),
            None => (text, None),
        };
        Ok(Self {
            offset: offset.parse()?,
            version,
        })
    }
}

/// What of one partition is applied in one step.
#[derive(Debug)]
pub struct Step {
    /// The partition that the changes come from.
    pub partition: Partition,
    /// Where the cursor must stand; `None` when the target has none.
    pub cursor_before: Option<Cursor>,
    /// Where the cursor stands afterwards.
    pub cursor_after: Cursor,
    /// At most one change a key.
    pub changes: Vec<RowChange>,
}

/// What became of a step.
#[derive(Debug)]
pub enum Outcome {
    /// Its rows are there and the cursor stands behind them.
    Applied,
    /// The store refuses one of its changes for good. The cursor stands where it stood; other rows of the step may be there.
    Refused(Error),
}

/// A store that a writer fills.
#[allow(async_fn_in_trait)] // A writer drives one target on one task.
pub trait Target {
    /// Name of the target, as it stands in the consumer group `<prefix>.<name>`.
    fn name(&self) -> &'static str;

    /// Whether it has to know what is folded away ([`RowChange::columns_changed`]).
    fn compares_columns(&self) -> bool {
        false
    }

    /// Connects anew, after an error too.
    async fn connect(&mut self) -> Result<()>;

    /// The cursor of each partition as the target holds it; `None` where it holds none.
    async fn cursors(&mut self, partitions: &[Partition]) -> Result<BTreeMap<Partition, Option<Cursor>>>;

    /// Applies steps of different partitions; each moves its cursor only when all of its changes are applied. The outcomes
    /// stand in the order of the steps. A cursor that does not stand at `cursor_before` is a transient error: another
    /// writer has taken over, or the target has lost writes.
    async fn apply(&mut self, steps: &[Step]) -> Result<Vec<Outcome>>;
}
