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

use super::envelope::Parser;
use super::fold::Fold;
use crate::error::{Error, Result};
use crate::queue::{Message, Partition};
use crate::target::{Cursor, RowChange, Step};
use std::collections::{BTreeMap, VecDeque};

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
    /// Records that the steps stand for.
    pub records: u64,
    /// Those of them that were further copies of changes, and were passed over.
    pub copies: u64,
}

/// All partitions of one writer.
#[derive(Debug)]
pub struct Lanes {
    lanes: BTreeMap<Partition, Lane>,
    /// Delivered, not yet looked at for want of room.
    inbox: VecDeque<Item>,
    parser: Parser,
    fence_topic: String,
    bounds: Bounds,
    /// Sums over the folds that the next round takes.
    changes: usize,
    bytes: usize,
    records: u64,
    copies: u64,
}

#[derive(Debug)]
enum Item {
    Record(Message),
    Position(Partition, i64),
}

#[derive(Debug, Default)]
struct Lane {
    /// Whether its rows are fences. They count nothing against the bounds: their partitions are paused while they wait, and
    /// what counted would keep out the records that they wait for.
    is_fence: bool,
    /// Whether records are expected: the queue was told where to start.
    started: bool,
    /// Where the cursor stands in the target.
    cursor: Option<Cursor>,
    /// Everything below has been looked at.
    read_to: i64,
    /// The highest version that has been looked at.
    version: Option<i64>,
    fold: Fold,
    /// Where the step on its way leads.
    on_its_way: bool,
    /// The key of the last record, when it was a delete: its tombstone follows.
    deleted: Option<Vec<u8>>,
    fences: Fences,
}

/// The fence rows of a fence partition that are not in its fold any more.
#[derive(Debug, Default)]
enum Fences {
    #[default]
    None,
    Held(Fold, Cursor),
    Released(Fold, Cursor),
}

impl Lanes {
    /// No partitions yet.
    #[must_use]
    pub fn new(prefix: &str, fence_topic: &str, bounds: Bounds) -> Self {
        Self {
            lanes: BTreeMap::new(),
            inbox: VecDeque::new(),
            parser: Parser::new(prefix),
            fence_topic: fence_topic.to_owned(),
            bounds,
            changes: 0,
            bytes: 0,
            records: 0,
            copies: 0,
        }
    }

    /// For a target that has to know what is folded away.
    pub fn compare_columns(&mut self) {
        self.parser.compare_columns();
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
        self.inbox.retain(|item| match item {
            Item::Record(message) => message.partition != *partition,
            Item::Position(of, _) => of != partition,
        });
        if let Some(lane) = self.lanes.remove(partition).filter(|lane| !lane.is_fence) {
            self.changes -= lane.fold.len();
            self.bytes -= lane.fold.bytes();
        }
    }

    /// Forgets everything that waits: the target has to say anew where each partition goes on.
    pub fn reset(&mut self) {
        self.inbox.clear();
        let partitions: Vec<Partition> = self.lanes.keys().cloned().collect();
        self.add(partitions);
        debug_assert_eq!((self.changes, self.bytes), (0, 0));
        (self.records, self.copies) = (0, 0);
    }

    /// Forgets the partitions too.
    pub fn clear(&mut self) {
        self.lanes.clear();
        self.inbox.clear();
        (self.changes, self.bytes) = (0, 0);
        (self.records, self.copies) = (0, 0);
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
        self.changes < self.bounds.changes_max && self.bytes < self.bounds.bytes_max
    }

    /// Moves what was delivered into the folds, as far as there is room.
    pub fn sort(&mut self) -> Result<()> {
        while self.fits()
            && let Some(item) = self.inbox.pop_front()
        {
            match item {
                Item::Record(message) => self.sort_record(message)?,
                Item::Position(partition, offset) => {
                    if let Some(lane) = self.lanes.get_mut(&partition).filter(|lane| lane.started) {
                        lane.read_to = lane.read_to.max(offset);
                    }
                }
            }
        }
        Ok(())
    }

    fn sort_record(&mut self, message: Message) -> Result<()> {
        // A record of a partition that was taken away while it was on its way.
        let Some(lane) = self.lanes.get_mut(&message.partition).filter(|lane| lane.started) else {
            return Ok(());
        };
        if message.offset < lane.read_to {
            return Err(Error::transient(format!(
                "the queue delivered an offset of {} twice: {}",
                message.partition, message.offset
            )));
        }
        lane.read_to = message.offset + 1;
        self.records += 1;
        if message.version.is_some() && message.version < lane.version {
            self.copies += 1;
            return Ok(());
        }
        lane.version = lane.version.max(message.version);
        if message.value.is_none() && lane.deleted.as_ref() == Some(&message.key) {
            lane.deleted = None;
            return Ok(());
        }
        let change: RowChange = self.parser.parse(&message)?;
        let deleted = change.row.is_none() && message.value.is_some();
        lane.deleted = deleted.then(|| message.key.clone());
        let bytes = message.key.len() + change.row.as_ref().map_or(0, |row| row.get().len());
        let (changes_before, bytes_before) = (lane.fold.len(), lane.fold.bytes());
        lane.fold.push(message.key, change, bytes);
        if !lane.is_fence {
            self.changes = self.changes - changes_before + lane.fold.len();
            self.bytes = self.bytes - bytes_before + lane.fold.bytes();
        }
        Ok(())
    }

    /// One step for each partition that has changes waiting.
    pub fn take_steps(&mut self) -> Round {
        self.round(|lane| !lane.fold.is_empty())
    }

    /// One step for each partition whose cursor stands behind what has been read, changes or not: marks of transactions
    /// move it too, so that the target says the whole truth to lag monitors and to other writers' fences.
    pub fn take_settling_steps(&mut self) -> Round {
        self.round(|lane| !lane.fold.is_empty() || lane.cursor_offset() < lane.read_to)
    }

    fn round(&mut self, wanted: impl Fn(&Lane) -> bool) -> Round {
        let mut steps = Vec::new();
        for (partition, lane) in self
            .lanes
            .iter_mut()
            .filter(|(_, lane)| lane.started && !lane.on_its_way)
        {
            let step = match lane.is_fence {
                true => lane.fence_step(&wanted),
                false => lane.step(&wanted, &mut self.changes, &mut self.bytes),
            };
            if let Some((changes, cursor_after)) = step {
                lane.on_its_way = true;
                steps.push(Step {
                    partition: partition.clone(),
                    cursor_before: lane.cursor,
                    cursor_after,
                    changes,
                });
            }
        }
        let (records, copies) = match steps.is_empty() {
            true => (0, 0),
            false => (std::mem::take(&mut self.records), std::mem::take(&mut self.copies)),
        };
        Round { steps, records, copies }
    }

    /// The target has applied these steps.
    pub fn applied(&mut self, steps: &[Step]) {
        for step in steps {
            // A lane that was taken away and given back meanwhile reads its cursor anew.
            if let Some(lane) = self.lanes.get_mut(&step.partition).filter(|lane| lane.on_its_way) {
                debug_assert_eq!(lane.cursor, step.cursor_before);
                lane.on_its_way = false;
                lane.cursor = Some(step.cursor_after);
            }
        }
    }

    /// How far each started partition has been applied, marks that carry no record included.
    pub fn applied_to(&self) -> impl Iterator<Item = (&Partition, i64)> {
        let started = self.lanes.iter().filter(|(_, lane)| lane.started);
        started.map(|(partition, lane)| (partition, lane.applied_to()))
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

    /// Holds the fence rows that have come so far; their partitions are to be paused.
    pub fn hold_fences(&mut self) -> Vec<Partition> {
        let mut held = Vec::new();
        for (partition, lane) in &mut self.lanes {
            if lane.is_fence && !lane.fold.is_empty() {
                let fold = std::mem::take(&mut lane.fold);
                lane.fences = Fences::Held(fold, lane.looked_at());
                held.push(partition.clone());
            }
        }
        held
    }

    /// Whether fence rows are held. Not any more when their partitions were taken away.
    #[must_use]
    pub fn holds_fences(&self) -> bool {
        self.fences().any(|lane| matches!(lane.fences, Fences::Held(..)))
    }

    /// Lets go of the fence rows that are held; their partitions are to be resumed.
    pub fn release_fences(&mut self) -> Vec<Partition> {
        let mut released = Vec::new();
        for (partition, lane) in &mut self.lanes {
            match std::mem::take(&mut lane.fences) {
                Fences::Held(fold, cursor) => {
                    lane.fences = Fences::Released(fold, cursor);
                    released.push(partition.clone());
                }
                other => lane.fences = other,
            }
        }
        released
    }

    fn fences(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.values().filter(|lane| lane.is_fence)
    }
}

impl Lane {
    fn step(
        &mut self,
        wanted: &impl Fn(&Lane) -> bool,
        changes: &mut usize,
        bytes: &mut usize,
    ) -> Option<(Vec<RowChange>, Cursor)> {
        if !wanted(self) {
            return None;
        }
        let fold = std::mem::take(&mut self.fold);
        *changes -= fold.len();
        *bytes -= fold.bytes();
        Some((fold.into_changes(), self.looked_at()))
    }

    /// Of a fence partition only released rows are applied, and its cursor moves freely only when no row waits.
    fn fence_step(&mut self, wanted: &impl Fn(&Lane) -> bool) -> Option<(Vec<RowChange>, Cursor)> {
        match std::mem::take(&mut self.fences) {
            Fences::Released(fold, cursor) => Some((fold.into_changes(), cursor)),
            Fences::None if self.fold.is_empty() && wanted(self) => Some((Vec::new(), self.looked_at())),
            other => {
                self.fences = other;
                None
            }
        }
    }

    /// The cursor once everything that has been looked at is applied.
    fn looked_at(&self) -> Cursor {
        Cursor {
            offset: self.read_to,
            version: self.version,
        }
    }

    fn cursor_offset(&self) -> i64 {
        self.cursor.map_or(0, |cursor| cursor.offset)
    }

    fn applied_to(&self) -> i64 {
        let waits = self.on_its_way || !self.fold.is_empty() || !matches!(self.fences, Fences::None);
        match waits {
            true => self.cursor_offset(),
            false => self.read_to,
        }
    }
}

#[cfg(test)]
mod tests;
