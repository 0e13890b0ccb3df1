//! Partitions that a record stops: how the one is found, and how they go on.

use super::lane::{Search, Taken};
use super::{Lanes, Obstacle};
use crate::error::{Error, Result};
use crate::queue::Partition;
use crate::target::Step;
use std::collections::VecDeque;

impl Lanes {
    /// The target refuses a change of this step for good. A step without a change that is refused is an error: that is about
    /// the target and not about a record.
    pub fn refused(&mut self, step: &Step, reason: Error) -> Result<()> {
        // A lane that was taken away and given back meanwhile comes to the same record again.
        let Some(lane) = self.lanes.get_mut(&step.partition) else {
            return Ok(());
        };
        let Some(taken) = lane.on_its_way.take() else {
            return Ok(());
        };
        if lane.skips {
            lane.skips = false;
        } else if taken.changes > 1 {
            let until = lane.search.as_ref().map_or(0, |search| search.until);
            let search = Search {
                records_max: taken.changes / 2,
                until: until.max(step.cursor_after.offset),
                waiting: VecDeque::new(),
            };
            if let Some(lane) = self.restart(&step.partition) {
                lane.search = Some(search);
            }
        } else {
            let Taken { first: Some(first), .. } = taken else {
                return Err(reason);
            };
            let obstacle = Obstacle {
                offset: first.offset,
                reason,
                written_ms: first.written_ms,
            };
            self.sums.around(lane, |lane| lane.stop(obstacle));
        }
        Ok(())
    }

    /// Partitions whose cursor stands right before a record that cannot be applied.
    pub fn stopped(&self) -> impl Iterator<Item = (&Partition, &Obstacle)> {
        let stopped = self.lanes.iter();
        stopped.filter_map(|(partition, lane)| Some((partition, lane.stopped_at()?)))
    }

    /// The record that stops a partition.
    #[must_use]
    pub fn obstacle(&self, partition: &Partition) -> Option<&Obstacle> {
        self.lanes.get(partition)?.stopped_at()
    }

    /// Begins again at the cursor of a partition that is stopped, first with the record that stopped it.
    pub fn retry(&mut self, partition: &Partition) {
        let Some(until) = self.obstacle(partition).map(|obstacle| obstacle.offset + 1) else {
            return;
        };
        if let Some(lane) = self.restart(partition) {
            lane.search = Some(Search {
                records_max: 1,
                until,
                waiting: VecDeque::new(),
            });
        }
    }

    /// Lets the cursor of a partition move past the record that stops it, if it is this one; then it goes on from there.
    pub fn skip(&mut self, partition: &Partition, offset: i64) -> bool {
        let lane = self.lanes.get_mut(partition);
        let lane = lane.filter(|lane| lane.stopped_at().is_some_and(|obstacle| obstacle.offset == offset));
        lane.map(|lane| lane.skips = true).is_some()
    }

    /// Whether the cursor of a partition is to move past the record that stops it.
    #[must_use]
    pub fn skips(&self, partition: &Partition) -> bool {
        self.lanes.get(partition).is_some_and(|lane| lane.skips)
    }

    /// Partitions of which nothing shall be read for now, and those of which it shall again.
    pub fn take_pauses(&mut self) -> (Vec<Partition>, Vec<Partition>) {
        let (mut to_pause, mut to_resume) = (Vec::new(), Vec::new());
        for (partition, lane) in self.lanes.iter_mut().filter(|(_, lane)| lane.started) {
            let is_to_pause = lane.is_to_pause();
            if is_to_pause != lane.is_paused {
                lane.is_paused = is_to_pause;
                let list = if is_to_pause { &mut to_pause } else { &mut to_resume };
                list.push(partition.clone());
            }
        }
        (to_pause, to_resume)
    }
}
