//! One partition of a writer: what of it has been read, waits, is on its way, and has been applied.

use super::super::envelope::Parser;
use super::super::fold::Fold;
use super::{Item, Obstacle, Progress};
use crate::error::{Error, Result};
use crate::queue::Message;
use crate::target::{Cursor, RowChange};
use std::collections::VecDeque;

#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Whether its rows are fences. They count nothing against the bounds: their partitions are paused while they wait, and
    /// what counted would keep out the records that they wait for.
    pub(super) is_fence: bool,
    /// Whether records are expected: the queue was told where to start.
    pub(super) started: bool,
    /// Where the cursor stands in the target.
    pub(super) cursor: Option<Cursor>,
    /// Everything below has been looked at.
    pub(super) read_to: i64,
    /// The highest version that has been looked at.
    pub(super) version: Option<i64>,
    pub(super) fold: Fold,
    /// The records that the fold stands for.
    pub(super) taken: Taken,
    /// Those of the step on its way.
    pub(super) on_its_way: Option<Taken>,
    /// The key of the last record, when it was a delete: its tombstone follows.
    pub(super) deleted: Option<Vec<u8>>,
    pub(super) fences: Fences,
    pub(super) search: Option<Search>,
    pub(super) obstacle: Option<Obstacle>,
    /// The cursor is to move past the obstacle.
    pub(super) skips: bool,
    /// Whether the queue was told to read it no more for now.
    pub(super) is_paused: bool,
    /// When the last record that was applied was written.
    pub(super) applied_ms: Option<i64>,
    /// How far it was when it was last known, until it is started again.
    pub(super) known: Progress,
}

/// Records between being read and being applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// All that were looked at.
    pub(super) records: u64,
    /// Those of them that were further copies of changes, and were passed over.
    pub(super) copies: u64,
    /// Those of them whose changes are to be applied.
    pub(super) changes: u64,
    /// The first of those.
    pub(super) first: Option<First>,
    /// When the last record was written.
    last_ms: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct First {
    pub(super) offset: i64,
    pub(super) written_ms: Option<i64>,
}

/// The fence rows of a fence partition that are not in its fold any more.
#[derive(Debug, Default)]
pub(super) enum Fences {
    #[default]
    None,
    Held(Fold, Taken, Cursor),
    Released(Fold, Taken, Cursor),
}

/// The target has refused a step of several records: smaller ones, from the cursor on, find the one.
#[derive(Debug)]
pub(super) struct Search {
    /// Records a step.
    pub(super) records_max: u64,
    /// Where the refused step ended.
    pub(super) until: i64,
    /// Delivered, and not taken yet.
    pub(super) waiting: VecDeque<Item>,
}

/// What a step of a lane is made of.
pub(super) struct Load {
    pub(super) changes: Vec<RowChange>,
    pub(super) taken: Taken,
    pub(super) cursor_after: Cursor,
}

impl Lane {
    /// Looks at an item. A record that is not understood is an obstacle; an error is the queue's.
    pub(super) fn take(&mut self, parser: &mut Parser, item: Item) -> Result<()> {
        match item {
            Item::Record(message) => self.take_record(parser, message),
            Item::Position(_, offset) => {
                self.read_to = self.read_to.max(offset);
                Ok(())
            }
        }
    }

    fn take_record(&mut self, parser: &mut Parser, message: Message) -> Result<()> {
        let offset = message.offset;
        if offset < self.read_to {
            return Err(Error::transient(format!(
                "the queue delivered an offset of {} twice: {offset}",
                message.partition
            )));
        }
        let is_copy = message.version.is_some() && message.version < self.version;
        let is_told = message.value.is_none() && self.deleted.as_ref() == Some(&message.key);
        let change = match is_copy || is_told {
            true => None,
            false => match parser.parse(&message) {
                Ok(change) => Some(change),
                Err(reason) => {
                    self.read_to = offset;
                    self.search = None;
                    self.obstacle = Some(Obstacle {
                        offset,
                        reason,
                        written_ms: message.timestamp_ms,
                    });
                    return Ok(());
                }
            },
        };
        self.read_to = offset + 1;
        self.taken.records += 1;
        self.taken.copies += u64::from(is_copy);
        self.taken.last_ms = message.timestamp_ms.or(self.taken.last_ms);
        if !is_copy {
            self.version = self.version.max(message.version);
        }
        if is_told {
            self.deleted = None;
        }
        let Some(change) = change else {
            return Ok(());
        };
        self.taken.changes += 1;
        self.taken.first.get_or_insert(First {
            offset,
            written_ms: message.timestamp_ms,
        });
        let deleted = change.row.is_none() && message.value.is_some();
        self.deleted = deleted.then(|| message.key.clone());
        let bytes = message.key.len() + change.row.as_ref().map_or(0, |row| row.get().len());
        let key = parser.row_key(message.key, &change);
        self.fold.push(key, change, bytes);
        Ok(())
    }

    /// While a refused record is looked for: the next item that may be taken.
    pub(super) fn searched(&self) -> Option<&Item> {
        let is_idle = self.on_its_way.is_none() && matches!(self.fences, Fences::None);
        let search = self.search.as_ref().filter(|_| is_idle)?;
        match self.taken.changes < search.records_max {
            true => search.waiting.front(),
            false => None,
        }
    }

    /// That item.
    pub(super) fn take_searched(&mut self) -> Option<Item> {
        self.search.as_mut()?.waiting.pop_front()
    }

    /// What is applied next, if anything: changes, or where a change of nothing but the cursor is wanted, that.
    pub(super) fn load(&mut self, settles: bool) -> Option<Load> {
        if !self.started || self.on_its_way.is_some() {
            return None;
        }
        if self.skips {
            return self.stopped_at().map(|obstacle| Load {
                changes: Vec::new(),
                taken: Taken::default(),
                cursor_after: Cursor {
                    offset: obstacle.offset + 1,
                    version: self.version,
                },
            });
        }
        // Before a partition counts as stopped its cursor stands right before the record.
        let moves = (settles || self.obstacle.is_some()) && self.cursor_offset() < self.read_to;
        if self.is_fence {
            return self.fence_load(moves);
        }
        (moves || !self.fold.is_empty()).then(|| {
            let cursor_after = self.looked_at();
            Load {
                changes: std::mem::take(&mut self.fold).into_changes(),
                taken: std::mem::take(&mut self.taken),
                cursor_after,
            }
        })
    }

    /// Of a fence partition only released rows are applied, and its cursor moves freely only when no row waits.
    fn fence_load(&mut self, moves: bool) -> Option<Load> {
        match std::mem::take(&mut self.fences) {
            Fences::Released(fold, taken, cursor_after) => Some(Load {
                changes: fold.into_changes(),
                taken,
                cursor_after,
            }),
            Fences::None if self.fold.is_empty() && moves => Some(Load {
                changes: Vec::new(),
                taken: std::mem::take(&mut self.taken),
                cursor_after: self.looked_at(),
            }),
            other => {
                self.fences = other;
                None
            }
        }
    }

    /// The step on its way is applied.
    pub(super) fn applied(&mut self, cursor: Cursor) -> Option<Taken> {
        let taken = self.on_its_way.take()?;
        self.cursor = Some(cursor);
        self.applied_ms = taken.last_ms.or(self.applied_ms);
        Some(taken)
    }

    /// Nothing from here on is applied before a person says how.
    pub(super) fn stop(&mut self, obstacle: Obstacle) {
        self.read_to = obstacle.offset;
        self.version = self.cursor.and_then(|cursor| cursor.version);
        (self.fold, self.taken) = (Fold::default(), Taken::default());
        self.fences = Fences::None;
        self.deleted = None;
        self.search = None;
        self.obstacle = Some(obstacle);
    }

    /// The record that stops the partition, once the cursor stands right before it.
    pub(super) fn stopped_at(&self) -> Option<&Obstacle> {
        let waits = self.waits() || self.cursor_offset() < self.read_to;
        self.obstacle.as_ref().filter(|_| self.started && !waits)
    }

    /// Whether nothing of it shall be read for now.
    pub(super) fn is_to_pause(&self) -> bool {
        let is_full = self.search.as_ref().is_some_and(|search| !search.waiting.is_empty());
        self.obstacle.is_some() || is_full || matches!(self.fences, Fences::Held(..))
    }

    /// The cursor once everything that has been looked at is applied.
    pub(super) fn looked_at(&self) -> Cursor {
        Cursor {
            offset: self.read_to,
            version: self.version,
        }
    }

    pub(super) fn cursor_offset(&self) -> i64 {
        self.cursor.map_or(0, |cursor| cursor.offset)
    }

    fn waits(&self) -> bool {
        self.on_its_way.is_some() || !self.fold.is_empty() || !matches!(self.fences, Fences::None)
    }

    pub(super) fn applied_to(&self) -> i64 {
        match self.waits() {
            true => self.cursor_offset(),
            false => self.read_to,
        }
    }

    /// How far it is; what was last known before it is started.
    pub(super) fn progress(&self) -> Progress {
        if !self.started {
            return self.known;
        }
        let fences = match &self.fences {
            Fences::None => None,
            Fences::Held(_, taken, _) | Fences::Released(_, taken, _) => taken.first,
        };
        let waiting = self.search.iter().flat_map(|search| &search.waiting);
        let waiting = waiting.filter_map(|item| match item {
            Item::Record(message) => message.timestamp_ms,
            Item::Position(..) => None,
        });
        let first = self.on_its_way.and_then(|taken| taken.first);
        let first = first.or(fences).or(self.taken.first).and_then(|first| first.written_ms);
        let obstacle = self.obstacle.as_ref().and_then(|obstacle| obstacle.written_ms);
        Progress {
            applied_to: Some(self.applied_to()),
            waiting_since_ms: first.or(obstacle).or_else(|| waiting.min()),
            applied_ms: self.applied_ms,
        }
    }
}
