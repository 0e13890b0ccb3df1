//! A Redis Cluster: rows of one step lie in many slots on several nodes, so no script can take them all.
//!
//! # A version a row
//! Each row is written by a script of its own, which compares the change's version with the one that the row shows, kept beside
//! the row in the same slot: `__mysync:version:{<tag of the slot>}:<row's key>`. A change with a lower version changes nothing.
//! So a step may be cut short, repeated, or come from a zombie, at any time and slot by slot: each row ends as its highest
//! version says, and no row ever goes back. (The other way, a cursor in each of the 16,384 slots, takes less memory, about a
//! hundred bytes a row. But a cursor only says something of a row if no change of its slot was ever left out, and a node that
//! lost writes and is written to before that is noticed breaks just this. A version says what its own row shows, and no more.)
//!
//! The version of a deleted row is kept for [`GONE_SECONDS`], against a zombie's insert; each node forgets it by itself. Before
//! each step the cursors are compared, so a zombie that wakes writes at most what it was about to send.
//!
//! # Cursors where the rows are
//! A node that comes back empty, or without its last writes, must say so, whatever the other nodes hold. So each partition has
//! a cursor in every 64th slot ([`slots::CURSOR_SLOTS`]), and slots move with all that is in them. A step moves one on each
//! master, in the first such slot that it owns, after all rows of the step are there, the others at most [`ALL_INTERVAL`]
//! later. A node's data only ever goes back in time as a whole, rows and cursors alike, so:
//! - the least of the masters' cursors is where to go on: all rows of all nodes are at least as new;
//! - one that is missing anywhere means that slots came back empty, and everything is replayed. Rows that are there already do
//!   not go back meanwhile. The first step of a replay moves all cursors, back too, and the missing ones last: where slots have
//!   changed their master meanwhile, one that is ahead would hide how far the replay came, were it cut short.
//!
//! A master that owns none of these slots, so fewer than 64 in a row, has no cursor: what it loses is not noticed. This is said
//! in the log.
//!
//! # Slots that move
//! MOVED and ASK are followed command by command; a row whose keys stand on two nodes for a moment (TRYAGAIN) is waited for.
//! A step is done when all of its rows are.
//!
//! # What differs from a server
//! A step's rows become visible one by one, not at once, and some are there when a step is refused.

mod nodes;
mod slots;

use super::access::Access;
use super::errors::sort;
use super::row::{Rows, cursor_text, parse_cursor};
use super::script::CURSOR_MOVED;
use crate::config::RedisWriter;
use crate::error::{Error, Kind, Result};
use crate::queue::Partition;
use crate::target::{Cursor, Outcome, RowChange, Step};
use nodes::{Call, Nodes, Script};
use redis::FromRedisValue;
use slots::{CURSOR_SLOTS, slot_of, tag};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// For how long the version of a deleted row is kept.
const GONE_SECONDS: u64 = 900;

/// How far the cursors that stand for no master now may be behind.
const ALL_INTERVAL: Duration = Duration::from_secs(10);

pub(super) struct Cluster {
    nodes: Nodes,
    held: BTreeMap<Partition, Held>,
}

/// A partition's cursors as they stand in the cluster.
struct Held {
    /// In the order of [`CURSOR_SLOTS`].
    cursors: Vec<Option<Cursor>>,
    /// How far the partition has been applied: the least of the masters', and from then on what this writer has applied. A
    /// cursor that stands for a master only since slots were moved may be behind.
    applied: Option<Cursor>,
    /// When all of them are moved again.
    all_due: Instant,
}

impl Cluster {
    pub(super) fn new(config: &RedisWriter) -> Result<Self> {
        Ok(Self {
            nodes: Nodes::new(Access::new(config)?, config.cluster.clone()),
            held: BTreeMap::new(),
        })
    }

    pub(super) async fn connect(&mut self) -> Result<()> {
        self.held.clear();
        self.nodes.connect().await?;
        for master in self.nodes.without(CURSOR_SLOTS) {
            tracing::warn!(
                master,
                "this Redis Cluster node owns so few slots that it holds no cursor: were it to lose rows, nobody would notice"
            );
        }
        Ok(())
    }

    pub(super) async fn cursors(
        &mut self,
        rows: &Rows,
        partitions: &[Partition],
    ) -> Result<BTreeMap<Partition, Option<Cursor>>> {
        let all: Vec<usize> = (0..CURSOR_SLOTS.len()).collect();
        let mut found = self.read(rows, partitions, &all).await?.into_iter();
        let now = Instant::now();
        let mut cursors = BTreeMap::new();
        for partition in partitions {
            let found: Vec<Option<Cursor>> = found.by_ref().take(all.len()).collect();
            let applied = self.least(partition, &found);
            cursors.insert(partition.clone(), applied);
            let held = Held {
                cursors: found,
                applied,
                all_due: now,
            };
            self.held.insert(partition.clone(), held);
        }
        Ok(cursors)
    }

    /// Reads the cursors of some slots of each partition.
    async fn read(&mut self, rows: &Rows, partitions: &[Partition], which: &[usize]) -> Result<Vec<Option<Cursor>>> {
        let mut keys = Vec::with_capacity(partitions.len() * which.len());
        let mut calls = Vec::with_capacity(keys.capacity());
        for partition in partitions {
            for index in which {
                let (slot, key) = cursor_key(rows, *index, partition);
                calls.push(Call::plain(slot, "GET", &key));
                keys.push(key);
            }
        }
        let what = || "cannot read the cursors from the Redis Cluster".to_owned();
        let mut cursors = Vec::with_capacity(keys.len());
        for (key, answer) in keys.iter().zip(self.nodes.run(calls, what).await?) {
            let text = answer
                .extract_error()
                .and_then(|value| Ok(Option::<String>::from_redis_value(value)?))
                .map_err(|error| sort(&error, what()))?;
            cursors.push(text.map(|text| parse_cursor(key, &text)).transpose()?);
        }
        Ok(cursors)
    }

    /// Where the partition goes on.
    fn least(&self, partition: &Partition, cursors: &[Option<Cursor>]) -> Option<Cursor> {
        let missing = cursors.iter().filter(|cursor| cursor.is_none()).count();
        if missing > 0 {
            if missing < cursors.len() {
                tracing::warn!(
                    %partition,
                    missing,
                    of = cursors.len(),
                    "a part of the Redis Cluster holds no cursor, so it has lost its rows: everything is replayed"
                );
            }
            return None;
        }
        let masters = self.masters().into_iter().filter_map(|index| cursors[index]);
        masters.min_by_key(|cursor| (cursor.offset, cursor.version))
    }

    /// The cursors, by their places, that stand for a master now.
    fn masters(&self) -> Vec<usize> {
        self.nodes.first_of_each(CURSOR_SLOTS)
    }

    pub(super) async fn apply(&mut self, rows: &Rows, steps: &[Step]) -> Result<Vec<Outcome>> {
        self.compare(rows, steps).await?;
        let mut outcomes = Vec::with_capacity(steps.len());
        for refused in self.write_rows(rows, steps).await? {
            outcomes.push(refused.map_or(Outcome::Applied, Outcome::Refused));
        }
        let done = steps.iter().zip(&outcomes);
        let done: Vec<&Step> = done
            .filter_map(|(step, outcome)| matches!(outcome, Outcome::Applied).then_some(step))
            .collect();
        self.move_cursors(rows, &done).await?;
        Ok(outcomes)
    }

    /// Makes sure that the cursors stand where the steps begin, so that nothing is written by a zombie, or after a loss.
    async fn compare(&mut self, rows: &Rows, steps: &[Step]) -> Result<()> {
        let partitions: Vec<Partition> = steps.iter().map(|step| step.partition.clone()).collect();
        let unknown = partitions
            .iter()
            .filter(|partition| !self.held.contains_key(*partition));
        let unknown: Vec<Partition> = unknown.cloned().collect();
        self.cursors(rows, &unknown).await?;
        let which = self.masters();
        let mut found = self.read(rows, &partitions, &which).await?.into_iter();
        let mut others = Vec::new();
        for partition in &partitions {
            let held = self.held.get(partition);
            let expected = which.iter().map(|index| held.and_then(|held| held.cursors[*index]));
            let same = expected
                .zip(found.by_ref())
                .filter(|(expected, found)| expected == found);
            if same.count() < which.len() {
                others.push(partition.clone());
            }
        }
        self.cursors(rows, &others).await?;
        for step in steps {
            let held = self.held.get(&step.partition);
            if held.and_then(|held| held.applied) != step.cursor_before {
                return Err(moved(&step.partition));
            }
        }
        Ok(())
    }

    /// Writes the rows of all steps; for each step an error, if one of its rows is refused.
    async fn write_rows(&mut self, rows: &Rows, steps: &[Step]) -> Result<Vec<Option<Error>>> {
        let mut refused: Vec<Option<Error>> = steps.iter().map(|_| None).collect();
        let mut calls = Vec::with_capacity(steps.iter().map(|step| step.changes.len()).sum());
        let mut of = Vec::with_capacity(calls.capacity());
        for (index, step) in steps.iter().enumerate() {
            for change in &step.changes {
                match row_call(rows, &self.nodes, change) {
                    Ok(call) => {
                        calls.push(call);
                        of.push((index, change));
                    }
                    Err(error) => refused[index] = Some(error),
                }
            }
        }
        let what = || "cannot apply changes to the Redis Cluster".to_owned();
        for ((index, change), answer) in of.into_iter().zip(self.nodes.run(calls, what).await?) {
            if let Err(error) = answer.extract_error() {
                match sort(&error, what()) {
                    error if error.kind == Kind::Definite => {
                        refused[index] = Some(error.detail(format!("key {}", rows.key(change))));
                    }
                    error => return Err(error),
                }
            }
        }
        Ok(refused)
    }

    async fn move_cursors(&mut self, rows: &Rows, steps: &[&Step]) -> Result<()> {
        self.set_back(rows, steps).await?;
        let now = Instant::now();
        let masters = self.masters();
        let mut calls = Vec::new();
        let mut of = Vec::new();
        for step in steps {
            let Some(held) = self.held.get_mut(&step.partition) else {
                continue;
            };
            let moves_all = now >= held.all_due;
            if moves_all {
                held.all_due = now + ALL_INTERVAL;
            }
            for (index, before) in held.cursors.iter().enumerate() {
                let is_behind = before.is_none_or(|before| before.offset < step.cursor_after.offset);
                if is_behind && (moves_all || before.is_none() || masters.contains(&index)) {
                    let (slot, key) = cursor_key(rows, index, &step.partition);
                    let mut call = self.nodes.script(slot, Script::Cursor, &[&key]);
                    call.arg(cursor_text(*before)).arg(step.cursor_after.to_string());
                    calls.push(call);
                    of.push((*step, index));
                }
            }
        }
        self.run_moves(calls, of).await?;
        for step in steps {
            if let Some(held) = self.held.get_mut(&step.partition) {
                held.applied = Some(step.cursor_after);
            }
        }
        Ok(())
    }

    /// Where a replay begins, moves the cursors back that are ahead of it.
    async fn set_back(&mut self, rows: &Rows, steps: &[&Step]) -> Result<()> {
        let (mut calls, mut of) = (Vec::new(), Vec::new());
        for step in steps.iter().filter(|step| step.cursor_before.is_none()) {
            let Some(held) = self.held.get(&step.partition) else {
                continue;
            };
            let ahead = held.cursors.iter().enumerate();
            let ahead = ahead.filter_map(|(index, before)| Some((index, (*before)?)));
            for (index, before) in ahead.filter(|(_, before)| before.offset > step.cursor_after.offset) {
                let (slot, key) = cursor_key(rows, index, &step.partition);
                let mut call = self.nodes.script(slot, Script::Cursor, &[&key]);
                call.arg(cursor_text(Some(before))).arg(step.cursor_after.to_string());
                calls.push(call);
                of.push((*step, index));
            }
        }
        self.run_moves(calls, of).await
    }

    async fn run_moves(&mut self, calls: Vec<Call>, of: Vec<(&Step, usize)>) -> Result<()> {
        let what = || "cannot move the cursors in the Redis Cluster".to_owned();
        for ((step, index), answer) in of.into_iter().zip(self.nodes.run(calls, what).await?) {
            answer.extract_error().map_err(|error| sort(&error, what()))?;
            if let Some(held) = self.held.get_mut(&step.partition) {
                held.cursors[index] = Some(step.cursor_after);
            }
        }
        Ok(())
    }
}

fn moved(partition: &Partition) -> Error {
    Error::transient(format!(
        "the cursor in the Redis Cluster is not where it was left: {partition}"
    ))
    .detail(CURSOR_MOVED)
    .hint("another writer of the same group has taken over, or a node has lost its last writes")
}

/// The slot and the key of a partition's cursor, by its place in [`CURSOR_SLOTS`].
fn cursor_key(rows: &Rows, index: usize, partition: &Partition) -> (u16, String) {
    let slot = CURSOR_SLOTS.slot(index);
    (slot, rows.cursor_key(&format!("{{{}}}:", tag(slot)), partition))
}

fn row_call(rows: &Rows, nodes: &Nodes, change: &RowChange) -> Result<Call> {
    let key = rows.key(change);
    let slot = slot_of(key.as_bytes());
    let version_key = format!("__mysync:version:{{{}}}:{key}", tag(slot));
    let mut call = nodes.script(slot, Script::Row, &[&key, &version_key]);
    call.arg(change.version).arg(rows.ttl_seconds).arg(GONE_SECONDS);
    rows.add(call.command(), change)?;
    Ok(call)
}
