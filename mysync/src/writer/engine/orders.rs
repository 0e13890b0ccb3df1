//! Partitions that a record stops, and what a person says about them.

use super::Engine;
use crate::error::{Error, Result};
use crate::metrics::orders::{Asked, Order};
use crate::queue::{Partition, Queue, Subscriber};
use crate::target::{Outcome, Step, Target};
use crate::writer::lanes::Obstacle;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use std::collections::BTreeMap;
use tokio::sync::{mpsc, oneshot};

/// Topics and partitions that a text names, at most.
const NAMES_MAX: usize = 3;

/// A record that is being passed over.
pub(super) struct Skip {
    partition: Partition,
    offset: i64,
    answer: oneshot::Sender<Result<String>>,
    /// Writes the record to the topic of dead ones; `None` once it stands there.
    burial: Option<LocalBoxFuture<'static, Result<()>>>,
}

impl<'a, Q: Queue, T: Target + 'a> Engine<'a, Q, T> {
    /// Tells the queue which partitions to read.
    pub(super) fn pause_partitions(&mut self) {
        let (to_pause, to_resume) = self.lanes.take_pauses();
        if let Some(subscriber) = &mut self.subscriber {
            if !to_pause.is_empty() {
                subscriber.pause(&to_pause);
            }
            if !to_resume.is_empty() {
                subscriber.resume(&to_resume);
            }
        }
    }

    /// Says in log, metrics and status which partitions are stopped.
    pub(super) fn tell_stops(&mut self) {
        let stopped: BTreeMap<Partition, i64> = self
            .lanes
            .stopped()
            .map(|(partition, obstacle)| (partition.clone(), obstacle.offset))
            .collect();
        if stopped != self.stopped {
            for (partition, obstacle) in self.lanes.stopped() {
                if self.stopped.get(partition) != Some(&obstacle.offset) {
                    log_stop(partition, obstacle);
                }
            }
            for partition in self
                .stopped
                .keys()
                .filter(|partition| !stopped.contains_key(*partition))
            {
                tracing::info!(%partition, "the partition is not stopped any more");
            }
            self.metrics.set_stopped(self.lanes.stopped());
            self.stopped = stopped;
        }
        self.metrics.set_fence_waits(self.fence_waits());
    }

    /// A run that ends when everything is applied cannot, if all that is left is stopped.
    pub(super) fn refuse_goal(&self) -> Result<()> {
        let super::Wait::For(goal) = &self.goal else {
            return Ok(());
        };
        // Fence rows wait for the others.
        let mut missing = goal
            .missing()
            .filter(|partition| *partition.topic != *self.fence_topic)
            .map(|partition| (partition, self.lanes.obstacle(partition)));
        let first = missing.next();
        match first {
            Some((partition, Some(obstacle))) if missing.all(|(_, obstacle)| obstacle.is_some()) => {
                let reason = &obstacle.reason;
                let mut error = Error::definite(format!(
                    "partition {partition} is stopped at offset {}: {}",
                    obstacle.offset, reason.what
                ));
                error.detail.clone_from(&reason.detail);
                error.hint.clone_from(&reason.hint);
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// What a fence row waits for, in words.
    fn fence_waits(&self) -> Option<String> {
        let super::Wait::For(barrier) = &self.fence else {
            return None;
        };
        let names = |partitions: &[&Partition]| {
            let shown: Vec<String> = partitions.iter().take(NAMES_MAX).map(ToString::to_string).collect();
            shown.join(", ")
        };
        let missing: Vec<&Partition> = barrier.missing().collect();
        let stopped: Vec<&Partition> = missing
            .iter()
            .copied()
            .filter(|partition| self.lanes.obstacle(partition).is_some())
            .collect();
        let text = match (missing.is_empty(), stopped.is_empty()) {
            (true, _) => return None,
            (_, true) => format!("{} partitions: {}", missing.len(), names(&missing)),
            (_, false) => format!(
                "{} partitions, of which {} are stopped: {}",
                missing.len(),
                stopped.len(),
                names(&stopped)
            ),
        };
        Some(text)
    }

    pub(super) fn obey(&mut self, Asked { order, answer }: Asked) {
        let done = match order {
            Order::Retry(place) => self.retry(place.as_ref().map(Partition::from)),
            Order::Skip(place, offset) => match self.may_skip(&Partition::from(&place), offset) {
                Ok(burial) => {
                    self.skip = Some(Skip {
                        partition: Partition::from(&place),
                        offset,
                        answer,
                        burial: Some(burial),
                    });
                    return;
                }
                Err(error) => Err(error),
            },
        };
        // Who asked may have gone.
        answer.send(done).ok();
    }

    fn retry(&mut self, partition: Option<Partition>) -> Result<String> {
        let partitions: Vec<Partition> = match partition {
            Some(partition) => {
                self.obstacle(&partition)?;
                vec![partition]
            }
            None => self.lanes.stopped().map(|(partition, _)| partition.clone()).collect(),
        };
        for partition in &partitions {
            tracing::info!(%partition, "the record that stopped the partition is tried again");
            self.lanes.retry(partition);
        }
        // If they stop again that is told again.
        self.tell_stops();
        Ok(match partitions.len() {
            0 => "no partition of this writer is stopped".to_owned(),
            count => {
                format!("tries again what stopped {count} partitions: mysync writer status says whether it worked")
            }
        })
    }

    fn may_skip(&self, partition: &Partition, offset: i64) -> Result<LocalBoxFuture<'static, Result<()>>> {
        if let Some(skip) = &self.skip {
            return Err(Error::transient("another record is being skipped")
                .detail(format!("{} at offset {}", skip.partition, skip.offset)));
        }
        let obstacle = self.obstacle(partition)?;
        if obstacle.offset != offset {
            return Err(
                Error::definite(format!("{partition} is not stopped at offset {offset}"))
                    .detail(format!("it is at {}: {}", obstacle.offset, obstacle.reason.what)),
            );
        }
        let subscriber = self
            .subscriber
            .as_ref()
            .ok_or_else(|| Error::transient("the writer is not in its group now"))?;
        Ok(subscriber
            .bury(partition.clone(), offset, obstacle.reason.to_string())
            .boxed_local())
    }

    fn obstacle(&self, partition: &Partition) -> Result<&Obstacle> {
        self.lanes.obstacle(partition).ok_or_else(|| {
            Error::definite(format!("{partition} is not stopped here")).hint(
                "mysync writer status shows what is; another writer of the group may have the partition: say --address",
            )
        })
    }

    /// The record stands in the topic of dead ones, or not: its cursor may move now, or not.
    pub(super) fn buried(&mut self, outcome: Result<()>) {
        let Some(mut skip) = self.skip.take() else {
            return;
        };
        skip.burial = None;
        match outcome {
            Err(error) => drop(skip.answer.send(Err(error))),
            Ok(()) if self.lanes.skip(&skip.partition, skip.offset) => self.skip = Some(skip),
            Ok(()) => interrupt(skip),
        }
    }

    /// A step has its outcome: it may be the one that moves the cursor past a record.
    pub(super) fn follow_skip(&mut self, step: &Step, outcome: &Outcome) {
        // After a reset the same step may be that of the record itself, which is tried again.
        let is_it = |skip: &mut Skip| {
            let moves = skip.partition == step.partition && self.lanes.skips(&skip.partition);
            skip.burial.is_none() && moves
        };
        let Some(skip) = self.skip.take_if(is_it) else {
            return;
        };
        let (partition, offset) = (&skip.partition, skip.offset);
        let done = match outcome {
            Outcome::Applied => {
                tracing::warn!(%partition, offset, "a record was skipped, as a person has said; it stands in the topic __dead");
                self.metrics.skipped();
                Ok(format!(
                    "skipped {partition} at offset {offset}; the record stands in topic __dead"
                ))
            }
            Outcome::Refused(error) => Err(error.clone()),
        };
        skip.answer.send(done).ok();
    }

    /// What waits for a step that will not come ends.
    pub(super) fn look_after_skip(&mut self) {
        let is_lost = |skip: &mut Skip| skip.burial.is_none() && !self.lanes.skips(&skip.partition);
        if let Some(skip) = self.skip.take_if(is_lost) {
            interrupt(skip);
        }
    }
}

/// It stands in the topic of dead ones already, and will again.
fn interrupt(skip: Skip) {
    let error = Error::transient(format!("{} was not skipped", skip.partition))
        .detail("the partition was given to another writer, or the target did not answer, in between")
        .hint("ask mysync writer status, and skip it again if it is still stopped there");
    skip.answer.send(Err(error)).ok();
}

fn log_stop(partition: &Partition, obstacle: &Obstacle) {
    tracing::error!(
        %partition,
        offset = obstacle.offset,
        "the partition is stopped, others go on: {}; mysync writer retry or skip, by a person",
        obstacle.reason.one_line()
    );
}

pub(super) async fn next_order(orders: &mut mpsc::Receiver<Asked>) -> Asked {
    match orders.recv().await {
        Some(asked) => asked,
        None => std::future::pending().await,
    }
}

pub(super) async fn polled_burial(skip: &mut Option<Skip>) -> Result<()> {
    match skip.as_mut().and_then(|skip| skip.burial.as_mut()) {
        Some(burial) => burial.await,
        None => std::future::pending().await,
    }
}
