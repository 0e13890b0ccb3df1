//! The partitions of one writer: what of each has been read, waits, is on its way, and has been applied. No I/O.
//!
//! # Copies
//! In sequenced delivery a reader that crashed publishes its last changes again, with the versions that they had. A record
//! below the highest version of its partition is such a copy and is passed over; the version stands in the cursor, so that a
//! writer that begins between the copies knows it too. The records of one change share its version, and a copy can come
//! before the last of them was written, so a record of the highest version itself is applied: it says again what stands
//! there already.
//!
//! # Fences
//! Rows of the fence table are not applied as they come. [`Lanes::hold_fences`] takes all that have come so far and holds
//! them; the writer then asks where every other partition ends, and when all of that has been applied
//! ([`Lanes::release_fences`]) they are applied like any other change. Fence rows that come meanwhile wait for the next
//! round. Fence partitions do not wait for each other: a fence row is no data, and two that waited for each other would
//! wait for ever.
//!
//! # Stops
//! A record that is not understood stops its partition: what stands before it is applied, and nothing after it. A step that the
//! target refuses is looked for the one record that it is about: the partition begins again at its cursor, with half as many
//! records a step, and again half as many, until a step of one record is refused. Then the partition is stopped right before
//! that record, until [`Lanes::retry`] or [`Lanes::skip`]. Others go on (`stops`).

mod lane;
mod stops;

use super::envelope::Parser;
use crate::error::{Error, Result};
use crate::queue::{Message, Partition};
use crate::source::mysql::DescribedColumn;
use crate::target::{Cursor, Step, TableName};
use lane::{Fences, Lane};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Bounds on what one step, and all steps of one round, may hold.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Changes, after folding.
    pub changes_max: usize,
    /// Bytes of records; one record more than that is taken if it is the only one.
    pub bytes_max: usize,
}

/// What [`Lanes::take_steps`] gives out.
#[derive(Debug, Default)]
pub struct Round {
    /// One a partition.
    pub steps: Vec<Step>,
    /// What each of them stands for.
    pub read: Vec<Read>,
}

/// Records that a step stands for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Read {
    /// All of them.
    pub records: u64,
    /// Those of them that were further copies of changes, and were passed over.
    pub copies: u64,
}

/// A record that cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// Its offset.
    pub offset: i64,
    /// Why not.
    pub reason: Error,
    /// When it was written, milliseconds since 1970.
    pub written_ms: Option<i64>,
}

/// How far a partition is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Everything below has been applied; `None` before the target has told it.
    pub applied_to: Option<i64>,
    /// When the oldest record was written that is here and not applied, milliseconds since 1970.
    pub waiting_since_ms: Option<i64>,
    /// When the last record was written that was applied.
    pub applied_ms: Option<i64>,
}

/// All partitions of one writer.
#[derive(Debug)]
pub struct Lanes {
    lanes: BTreeMap<Partition, Lane>,
    /// Delivered, not yet looked at for want of room.
    inbox: VecDeque<Item>,
    parser: Parser,
    /// The table whose columns are needed before the inbox can be gone on with.
    wanted: Option<Arc<TableName>>,
    fence_topic: String,
    bounds: Bounds,
    sums: Sums,
}

/// Over the folds that the next round takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sums {
    changes: usize,
    bytes: usize,
}

#[derive(Debug)]
enum Item {
    Record(Message),
    Position(Partition, i64),
}

impl Item {
    fn partition(&self) -> &Partition {
        match self {
            Item::Record(message) => &message.partition,
            Item::Position(partition, _) => partition,
        }
    }
}

impl Sums {
    fn add(&mut self, lane: &Lane) {
        if !lane.is_fence {
            self.changes += lane.fold.len();
            self.bytes += lane.fold.bytes();
        }
    }

    fn subtract(&mut self, lane: &Lane) {
        if !lane.is_fence {
            self.changes -= lane.fold.len();
            self.bytes -= lane.fold.bytes();
        }
    }

    /// Something that may change the lane's fold.
    fn around<R>(&mut self, lane: &mut Lane, change: impl FnOnce(&mut Lane) -> R) -> R {
        self.subtract(lane);
        let result = change(lane);
        self.add(lane);
        result
    }
}

impl Lanes {
    /// No partitions yet.
    #[must_use]
    pub fn new(prefix: &str, fence_topic: &str, bounds: Bounds) -> Self {
        Self {
            lanes: BTreeMap::new(),
            inbox: VecDeque::new(),
            parser: Parser::new(prefix),
            wanted: None,
            fence_topic: fence_topic.to_owned(),
            bounds,
            sums: Sums::default(),
        }
    }

    /// For a target that has to know what is folded away.
    pub fn compare_columns(&mut self) {
        self.parser.compare_columns();
    }

    /// For records of Debezium's own; what is [`Lanes::wanted`] has to be told.
    pub fn read_debezium(&mut self) {
        self.parser.read_debezium();
    }

    /// The table whose columns in MySQL have to be told before more can be sorted.
    #[must_use]
    pub fn wanted(&self) -> Option<&Arc<TableName>> {
        self.wanted.as_ref()
    }

    /// What the columns of a table are; none if it is not there. Call [`Lanes::sort`] next.
    pub fn tell(&mut self, table: &Arc<TableName>, columns: Option<Vec<DescribedColumn>>) {
        self.parser.tell(table, columns);
    }

    /// Partitions that are this writer's now, not started yet.
    pub fn add(&mut self, partitions: impl IntoIterator<Item = Partition>) {
        for partition in partitions {
            self.remove(&partition);
            let lane = Lane {
                is_fence: *partition.topic == *self.fence_topic,
                ..Lane::default()
            };
            self.lanes.insert(partition, lane);
        }
    }

    /// A partition that is not this writer's any more; what waits of it is another writer's to apply.
    pub fn remove(&mut self, partition: &Partition) {
        // What is left in the inbox must not be taken for records after a start, should the partition come back.
        self.inbox.retain(|item| item.partition() != partition);
        if let Some(lane) = self.lanes.remove(partition) {
            self.sums.subtract(&lane);
        }
    }

    /// Forgets everything that waits: the target has to say anew where each partition goes on.
    pub fn reset(&mut self) {
        let partitions: Vec<Partition> = self.lanes.keys().cloned().collect();
        for partition in &partitions {
            self.restart(partition);
        }
        debug_assert_eq!((self.sums, self.inbox.len()), (Sums::default(), 0));
    }

    /// Forgets the partitions too.
    pub fn clear(&mut self) {
        self.lanes.clear();
        self.inbox.clear();
        self.sums = Sums::default();
    }

    /// Forgets what waits of one partition. How far it was stays known to lag monitors.
    fn restart(&mut self, partition: &Partition) -> Option<&mut Lane> {
        let known = self.lanes.get(partition)?.progress();
        self.add([partition.clone()]);
        let lane = self.lanes.get_mut(partition)?;
        lane.known = known;
        lane.applied_ms = known.applied_ms;
        Some(lane)
    }

    /// Partitions that wait for their start.
    #[must_use]
    pub fn not_started(&self) -> Vec<Partition> {
        let waiting = self.lanes.iter().filter(|(_, lane)| !lane.started);
        waiting.map(|(partition, _)| partition.clone()).collect()
    }

    /// Whether this writer reads the partition.
    #[must_use]
    pub fn is_started(&self, partition: &Partition) -> bool {
        self.lanes.get(partition).is_some_and(|lane| lane.started)
    }

    /// The queue starts a partition at `offset`, and its cursor stands where the target says.
    pub fn start(&mut self, partition: &Partition, cursor: Option<Cursor>, offset: i64) {
        if let Some(lane) = self.lanes.get_mut(partition) {
            debug_assert!(!lane.started && lane.fold.is_empty());
            lane.started = true;
            lane.cursor = cursor;
            lane.read_to = offset;
            lane.version = cursor.and_then(|cursor| cursor.version);
        }
    }

    /// Takes a delivery; call [`Lanes::sort`] next.
    pub fn deliver(&mut self, messages: Vec<Message>, positions: BTreeMap<Partition, i64>) {
        self.inbox.extend(messages.into_iter().map(Item::Record));
        self.inbox.extend(
            positions
                .into_iter()
                .map(|(partition, offset)| Item::Position(partition, offset)),
        );
    }

    /// Whether another delivery can be taken.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.inbox.is_empty() && self.fits()
    }

    fn fits(&self) -> bool {
        self.sums.changes < self.bounds.changes_max && self.sums.bytes < self.bounds.bytes_max
    }

    /// Moves what was delivered into the folds, as far as there is room and the columns of tables are known.
    pub fn sort(&mut self) -> Result<()> {
        self.wanted = None;
        while self.fits()
            && let Some(first) = self.inbox.front()
        {
            if let Item::Record(message) = first {
                self.wanted = self.parser.wants(message);
            }
            if self.wanted.is_some() {
                break;
            }
            let Some(item) = self.inbox.pop_front() else { break };
            // Records of a partition that was taken away while they were on their way, or of one that is stopped: those come
            // again.
            let lane = self.lanes.get_mut(item.partition());
            let Some(lane) = lane.filter(|lane| lane.started && lane.obstacle.is_none()) else {
                continue;
            };
            match &mut lane.search {
                Some(search) => search.waiting.push_back(item),
                None => self.sums.around(lane, |lane| lane.take(&mut self.parser, item))?,
            }
        }
        for lane in self.lanes.values_mut().filter(|lane| lane.search.is_some()) {
            while let Some(next) = lane.searched() {
                if let Item::Record(message) = next
                    && let Some(table) = self.parser.wants(message)
                {
                    self.wanted = Some(table);
                    break;
                }
                let Some(item) = lane.take_searched() else { break };
                self.sums.around(lane, |lane| lane.take(&mut self.parser, item))?;
            }
        }
        Ok(())
    }

    /// One step for each partition that has changes waiting.
    pub fn take_steps(&mut self) -> Round {
        self.round(false)
    }

    /// One step for each partition whose cursor stands behind what has been read, changes or not: marks of transactions
    /// move it too, so that the target says the whole truth to lag monitors and to other writers' fences.
    pub fn take_settling_steps(&mut self) -> Round {
        self.round(true)
    }

    fn round(&mut self, settles: bool) -> Round {
        let mut round = Round::default();
        for (partition, lane) in &mut self.lanes {
            if let Some(load) = self.sums.around(lane, |lane| lane.load(settles)) {
                lane.on_its_way = Some(load.taken);
                round.steps.push(Step {
                    partition: partition.clone(),
                    cursor_before: lane.cursor,
                    cursor_after: load.cursor_after,
                    changes: load.changes,
                });
                round.read.push(Read {
                    records: load.taken.records,
                    copies: load.taken.copies,
                });
            }
        }
        round
    }

    /// The target has applied a step.
    pub fn applied(&mut self, step: &Step) {
        // A lane that was taken away and given back meanwhile reads its cursor anew.
        let lane = self.lanes.get_mut(&step.partition);
        let Some(lane) = lane.filter(|lane| lane.on_its_way.is_some()) else {
            return;
        };
        debug_assert_eq!(lane.cursor, step.cursor_before);
        lane.applied(step.cursor_after);
        if lane.skips {
            self.restart(&step.partition);
        } else if let Some(search) = lane.search.take_if(|search| step.cursor_after.offset >= search.until) {
            // They came before everything that the inbox holds.
            search
                .waiting
                .into_iter()
                .rev()
                .for_each(|item| self.inbox.push_front(item));
        }
    }

    /// How far each started partition has been applied, marks that carry no record included.
    pub fn applied_to(&self) -> impl Iterator<Item = (&Partition, i64)> {
        let started = self.lanes.iter().filter(|(_, lane)| lane.started);
        started.map(|(partition, lane)| (partition, lane.applied_to()))
    }

    /// How far every partition is, as far as it is known, for lag monitors.
    pub fn progress(&self) -> impl Iterator<Item = (&Partition, Progress)> {
        self.lanes.iter().map(|(partition, lane)| (partition, lane.progress()))
    }

    /// The cursors, for lag monitors.
    pub fn cursors(&self) -> impl Iterator<Item = (&Partition, i64)> {
        self.lanes
            .iter()
            .filter_map(|(partition, lane)| Some((partition, lane.cursor?.offset)))
    }

    /// Whether fence rows wait, and none are held.
    #[must_use]
    pub fn has_new_fences(&self) -> bool {
        let none_held = self.fences().all(|lane| matches!(lane.fences, Fences::None));
        none_held && self.fences().any(|lane| !lane.fold.is_empty())
    }

    /// Holds the fence rows that have come so far; their partitions are paused until they are released.
    pub fn hold_fences(&mut self) {
        for lane in self.lanes.values_mut() {
            if lane.is_fence && !lane.fold.is_empty() {
                let (fold, taken) = (std::mem::take(&mut lane.fold), std::mem::take(&mut lane.taken));
                lane.fences = Fences::Held(fold, taken, lane.looked_at());
            }
        }
    }

    /// Whether fence rows are held. Not any more when their partitions were taken away.
    #[must_use]
    pub fn holds_fences(&self) -> bool {
        self.fences().any(|lane| matches!(lane.fences, Fences::Held(..)))
    }

    /// Lets go of the fence rows that are held.
    pub fn release_fences(&mut self) {
        for lane in self.lanes.values_mut() {
            lane.fences = match std::mem::take(&mut lane.fences) {
                Fences::Held(fold, taken, cursor) => Fences::Released(fold, taken, cursor),
                other => other,
            };
        }
    }

    fn fences(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.values().filter(|lane| lane.is_fence)
    }
}

#[cfg(test)]
mod tests;
