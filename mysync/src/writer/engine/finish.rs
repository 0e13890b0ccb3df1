//! The end of a writer's run: what is there is applied once more, and the group is left.

use super::{Done, Engine};
use crate::error::Result;
use crate::queue::{Queue, Subscriber};
use crate::target::Target;
use crate::writer::Summary;

impl<'a, Q: Queue, T: Target + 'a> Engine<'a, Q, T> {
    /// Applies what is there once more, unless something failed for good, and leaves the group.
    pub(super) async fn finish(mut self, outcome: Result<()>) -> Result<Summary> {
        let mut outcome = outcome;
        if let Some(job) = self.job.take() {
            let (target, done) = job.await;
            self.target = Some(target);
            self.settle_last(done);
        }
        let round = self.lanes.take_settling_steps();
        if let Some(target) = self
            .target
            .as_mut()
            .filter(|_| self.connected && outcome.is_ok() && !round.steps.is_empty())
        {
            let outcomes = target.apply(&round.steps).await;
            self.settle_last(Done::Applied(round, outcomes));
        }
        self.commit_offsets();
        if let Some(subscriber) = self.subscriber.take() {
            subscriber.close().await;
        }
        if let Err(error) = &mut outcome {
            tracing::error!(what = error.what, "the writer stops");
        }
        outcome.map(|()| self.counters.finish())
    }

    /// Like `done`, when nothing will be tried again: what failed is done by the next run, from its cursor.
    fn settle_last(&mut self, done: Done) {
        match done {
            Done::Applied(round, Ok(outcomes)) => {
                if let Err(error) = self.applied(round, outcomes) {
                    tracing::warn!(%error, "the last changes were refused");
                }
            }
            Done::Applied(_, Err(error)) => {
                self.lanes.reset();
                tracing::warn!(%error, "the last changes were not applied; the next run applies them");
            }
            _ => {}
        }
    }
}
