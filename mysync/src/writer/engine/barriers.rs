//! Fences and the end of a run: where all partitions end, asked of the brokers, and when that is applied.

use super::{Engine, Offsets};
use crate::error::Result;
use crate::queue::{Partition, Queue, Subscriber};
use crate::target::Target;
use crate::writer::barrier::Barrier;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use std::time::Duration;
use tokio::time::Instant;

/// How often it is asked whether the partitions that a barrier waits for still exist.
const EXISTENCE_INTERVAL: Duration = Duration::from_secs(5);

/// How often the brokers are asked where partitions end, for the metrics.
const LAG_INTERVAL: Duration = Duration::from_secs(5);

/// After a question to the brokers has failed, until the next one.
const QUESTION_PAUSE: Duration = Duration::from_millis(500);

/// Why the brokers are asked for the ends of all partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    Goal,
    Fence,
    Existence,
    Lag,
}

/// A barrier that is to be set up, or waited on.
#[derive(Debug)]
pub(super) enum Wait {
    None,
    ToAsk,
    For(Barrier),
}

impl Wait {
    /// What it is once partitions begin anew, which may be before what the barrier has seen applied: asked for again.
    pub(super) fn again(&self) -> Self {
        match self {
            Wait::None => Wait::None,
            Wait::ToAsk | Wait::For(_) => Wait::ToAsk,
        }
    }
}

impl<'a, Q: Queue, T: Target + 'a> Engine<'a, Q, T> {
    /// Sets up a barrier for fence rows that have come, and lets those go whose barrier is passed.
    pub(super) fn follow_barriers(&mut self) {
        for barrier in [&mut self.fence, &mut self.goal] {
            if let Wait::For(barrier) = barrier {
                barrier.applied(self.lanes.applied_to());
            }
        }
        if self.subscriber.is_none() {
            return;
        }
        // Fence rows whose partitions were taken away are another writer's.
        let passed = matches!(&self.fence, Wait::For(barrier) if barrier.is_passed());
        if passed {
            self.lanes.release_fences();
        }
        if passed || !self.lanes.holds_fences() {
            self.fence = Wait::None;
        }
        if matches!(self.fence, Wait::None) && self.lanes.has_new_fences() {
            self.lanes.hold_fences();
            self.fence = Wait::ToAsk;
            // An answer that is on its way was asked for too early.
            self.question = self
                .question
                .take()
                .filter(|(question, _)| *question != Question::Fence);
        }
    }

    /// Asks the brokers for the ends of all partitions, one question at a time.
    pub(super) fn ask_queue(&mut self) {
        let Some(subscriber) = self.subscriber.as_ref().filter(|_| self.question.is_none()) else {
            return;
        };
        let now = Instant::now();
        if now < self.question_due {
            return;
        }
        let question = if matches!(self.fence, Wait::ToAsk) {
            Question::Fence
        } else if matches!(self.goal, Wait::ToAsk) {
            Question::Goal
        } else if now >= self.existence_due && !self.foreign().is_empty() {
            self.existence_due = now + EXISTENCE_INTERVAL;
            Question::Existence
        } else if self.metrics.is_served() && now >= self.lag_due {
            self.lag_due = now + LAG_INTERVAL;
            Question::Lag
        } else {
            return;
        };
        self.question = Some((question, subscriber.ends().boxed_local()));
    }

    pub(super) fn ends_told(&mut self, ends: Result<Offsets>) -> Result<()> {
        let Some((question, _)) = self.question.take() else {
            return Ok(());
        };
        let mut ends = match ends {
            Ok(ends) => ends,
            Err(error) if error.is_transient() => {
                tracing::debug!(%error, "asking for the ends of partitions again");
                self.question_due = Instant::now() + QUESTION_PAUSE;
                self.metrics.lag_unknown(&error);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        match question {
            Question::Goal => self.goal = Wait::For(Barrier::new(ends)),
            Question::Fence if matches!(self.fence, Wait::ToAsk) => {
                ends.retain(|partition, _| *partition.topic != *self.fence_topic);
                self.fence = Wait::For(Barrier::new(ends));
            }
            Question::Fence => {}
            Question::Lag => self.metrics.lag(&ends, self.lanes.progress()),
            Question::Existence => {
                for barrier in self.barriers() {
                    barrier.keep_existing(&ends);
                }
            }
        }
        Ok(())
    }

    pub(super) fn barriers(&mut self) -> impl Iterator<Item = &mut Barrier> {
        [&mut self.fence, &mut self.goal]
            .into_iter()
            .filter_map(|wait| match wait {
                Wait::For(barrier) => Some(barrier),
                Wait::None | Wait::ToAsk => None,
            })
    }

    /// Partitions that a barrier waits for and that this writer does not read.
    pub(super) fn foreign(&self) -> Vec<Partition> {
        let barriers = [&self.fence, &self.goal].into_iter().filter_map(|wait| match wait {
            Wait::For(barrier) => Some(barrier),
            Wait::None | Wait::ToAsk => None,
        });
        let missing = barriers.flat_map(Barrier::missing);
        missing
            .filter(|partition| !self.lanes.is_started(partition))
            .cloned()
            .collect()
    }
}

pub(super) async fn polled_question(
    question: &mut Option<(Question, LocalBoxFuture<'static, Result<Offsets>>)>,
) -> Result<Offsets> {
    match question {
        Some((_, answer)) => answer.await,
        None => std::future::pending().await,
    }
}
