//! The writer's loop: one task, one thing after the other; what has to wait is a future that the loop polls.

mod finish;

use super::barrier::Barrier;
use super::lanes::{Bounds, Lanes, Round};
use super::retry::Retry;
use super::summary::{Counters, Summary};
use super::{BATCH_BYTES_MAX, Options};
use crate::error::{Error, Result};
use crate::metrics::WriterMetrics;
use crate::queue::{Delivery, Partition, Queue, Subscriber};
use crate::tables::{FENCE_TABLE, INTERNAL_DATABASE};
use crate::target::{Cursor, Outcome, Target};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

/// How often the loop looks for what is due.
const TICK: Duration = Duration::from_millis(200);

/// How often cursors follow marks that carry no record, and offsets are stored for lag monitors.
const SETTLE_INTERVAL: Duration = Duration::from_secs(1);

/// How often the cursors of other writers' partitions are looked up for a barrier.
const FOREIGN_INTERVAL: Duration = Duration::from_millis(500);

/// How often it is asked whether the partitions that a barrier waits for still exist.
const EXISTENCE_INTERVAL: Duration = Duration::from_secs(5);

/// How often the brokers are asked where partitions end, for the metrics.
const LAG_INTERVAL: Duration = Duration::from_secs(5);

/// After a question to the brokers has failed, until the next one.
const QUESTION_PAUSE: Duration = Duration::from_millis(500);

/// Runs a writer until `stop` is done, or, where the options say so, everything that was there is applied.
pub async fn run<Q: Queue, T: Target>(
    queue: &Q,
    target: T,
    options: &Options,
    stop: impl Future<Output = ()>,
) -> Result<Summary> {
    let mut engine = Engine::new(queue, target, options).await?;
    let outcome = engine.turn_until(stop).await;
    engine.finish(outcome).await
}

type Offsets = BTreeMap<Partition, i64>;

/// What the target was asked.
enum Done {
    Connected(Result<()>),
    Cursors(Result<BTreeMap<Partition, Option<Cursor>>>),
    Foreign(Result<BTreeMap<Partition, Option<Cursor>>>),
    Applied(Round, Result<()>),
}

/// Why the brokers are asked for the ends of all partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Goal,
    Fence,
    Existence,
    Lag,
}

/// A barrier that is to be set up, or waited on.
#[derive(Debug)]
enum Wait {
    None,
    ToAsk,
    For(Barrier),
}

/// What the loop woke up for.
enum Woken<T> {
    Stop,
    Target(T, Done),
    Delivery(Result<Delivery>),
    Ends(Result<Offsets>),
    Tick,
}

struct Engine<'a, Q: Queue, T: Target> {
    queue: &'a Q,
    group: String,
    fence_topic: String,
    subscriber: Option<Q::Subscriber>,
    /// The target while nothing is asked of it, else the future that gives it back.
    target: Option<T>,
    job: Option<LocalBoxFuture<'a, (T, Done)>>,
    connected: bool,
    question: Option<(Question, LocalBoxFuture<'static, Result<Offsets>>)>,
    lanes: Lanes,
    fence: Wait,
    goal: Wait,
    committed: Offsets,
    target_retry: Retry,
    queue_retry: Retry,
    counters: Counters,
    metrics: Arc<WriterMetrics>,
    lag_due: Instant,
    settle_due: Instant,
    foreign_due: Instant,
    existence_due: Instant,
    question_due: Instant,
}

impl<'a, Q: Queue, T: Target + 'a> Engine<'a, Q, T> {
    async fn new(queue: &'a Q, target: T, options: &Options) -> Result<Self> {
        let prefix = &options.prefix;
        let fence_topic = format!("{prefix}.{INTERNAL_DATABASE}.{FENCE_TABLE}");
        let bounds = Bounds {
            changes_max: options.batch_changes_max,
            bytes_max: BATCH_BYTES_MAX,
        };
        let group = format!("{prefix}.{}", target.name());
        let now = Instant::now();
        let metrics = &options.metrics;
        metrics.set_target(target.name());
        let mut lanes = Lanes::new(prefix, &fence_topic, bounds);
        if target.compares_columns() {
            lanes.compare_columns();
        }
        Ok(Self {
            subscriber: Some(queue.subscriber(&group).await?),
            queue,
            lanes,
            group,
            fence_topic,
            target: Some(target),
            job: None,
            connected: false,
            question: None,
            fence: Wait::None,
            goal: if options.until_caught_up {
                Wait::ToAsk
            } else {
                Wait::None
            },
            committed: Offsets::new(),
            target_retry: Retry::new("target", Arc::clone(metrics)),
            queue_retry: Retry::new("queue", Arc::clone(metrics)),
            counters: Counters::new(),
            metrics: Arc::clone(metrics),
            lag_due: now,
            settle_due: now,
            foreign_due: now,
            existence_due: now,
            question_due: now,
        })
    }

    async fn turn_until(&mut self, stop: impl Future<Output = ()>) -> Result<()> {
        let mut stop = pin!(stop);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if let Err(error) = self.lanes.sort() {
                self.join_again(error).await?;
            }
            self.follow_barriers();
            if matches!(&self.goal, Wait::For(barrier) if barrier.is_passed()) {
                return Ok(());
            }
            self.ask_target();
            self.ask_queue();
            let reads = self.connected && self.lanes.has_room();
            let woken = tokio::select! {
                () = &mut stop => Woken::Stop,
                (target, done) = polled(&mut self.job) => Woken::Target(target, done),
                delivery = next(&mut self.subscriber), if reads => Woken::Delivery(delivery),
                ends = polled_question(&mut self.question) => Woken::Ends(ends),
                _ = tick.tick() => Woken::Tick,
            };
            match woken {
                Woken::Stop => return Ok(()),
                Woken::Target(target, done) => {
                    self.target = Some(target);
                    self.job = None;
                    self.done(done).await?;
                }
                Woken::Delivery(Ok(delivery)) => self.deliver(delivery),
                Woken::Delivery(Err(error)) => self.join_again(error).await?,
                Woken::Ends(ends) => self.ends_told(ends)?,
                Woken::Tick => self.commit_offsets(),
            }
        }
    }

    /// Gives an idle target what is most urgent.
    fn ask_target(&mut self) {
        let Some(mut target) = self.target.take() else {
            return;
        };
        if !self.connected {
            self.job = Some(
                async move {
                    let done = Done::Connected(target.connect().await);
                    (target, done)
                }
                .boxed_local(),
            );
            return;
        }
        let not_started = self.lanes.not_started();
        if !not_started.is_empty() {
            self.job = Some(
                async move {
                    let done = Done::Cursors(target.cursors(&not_started).await);
                    (target, done)
                }
                .boxed_local(),
            );
            return;
        }
        let now = Instant::now();
        let foreign = if now >= self.foreign_due {
            self.foreign()
        } else {
            Vec::new()
        };
        if !foreign.is_empty() {
            self.foreign_due = now + FOREIGN_INTERVAL;
            self.job = Some(
                async move {
                    let done = Done::Foreign(target.cursors(&foreign).await);
                    (target, done)
                }
                .boxed_local(),
            );
            return;
        }
        let round = if now >= self.settle_due {
            self.settle_due = now + SETTLE_INTERVAL;
            self.lanes.take_settling_steps()
        } else {
            self.lanes.take_steps()
        };
        if round.steps.is_empty() {
            self.target = Some(target);
            return;
        }
        self.metrics.apply_begun();
        self.job = Some(
            async move {
                let outcome = target.apply(&round.steps).await.and_then(first_refusal);
                (target, Done::Applied(round, outcome))
            }
            .boxed_local(),
        );
    }

    async fn done(&mut self, done: Done) -> Result<()> {
        match done {
            Done::Connected(Ok(())) => {
                self.connected = true;
                self.metrics.condition.run();
                Ok(())
            }
            Done::Connected(Err(error)) => self.target_retry.wait(error).await,
            Done::Cursors(Ok(cursors)) => self.start(cursors).await,
            Done::Foreign(Ok(cursors)) => {
                let offsets: Offsets = cursors
                    .into_iter()
                    .filter_map(|(partition, cursor)| Some((partition, cursor?.offset)))
                    .collect();
                for barrier in self.barriers() {
                    barrier.applied(offsets.iter().map(|(partition, offset)| (partition, *offset)));
                }
                Ok(())
            }
            Done::Applied(round, Ok(())) => {
                self.target_retry.reset();
                self.metrics.apply_done(Some((&round.steps, round.records)));
                self.lanes.applied(&round.steps);
                let changes: usize = round.steps.iter().map(|step| step.changes.len()).sum();
                self.counters.round_applied(&round, changes as u64);
                Ok(())
            }
            Done::Cursors(Err(error)) | Done::Foreign(Err(error)) | Done::Applied(_, Err(error)) => {
                self.connected = false;
                self.metrics.apply_done(None);
                self.lanes.reset();
                self.fence = Wait::None;
                self.target_retry.wait(error).await
            }
        }
    }

    /// The target has told its cursors: the queue goes on from them.
    async fn start(&mut self, mut cursors: BTreeMap<Partition, Option<Cursor>>) -> Result<()> {
        let waiting = self.lanes.not_started();
        cursors.retain(|partition, _| waiting.contains(partition));
        let Some(subscriber) = self.subscriber.as_mut().filter(|_| !cursors.is_empty()) else {
            return Ok(());
        };
        let offsets = cursors
            .iter()
            .map(|(partition, cursor)| (partition.clone(), cursor.map(|cursor| cursor.offset)))
            .collect();
        match subscriber.start(&offsets).await {
            Err(error) => self.join_again(error).await,
            Ok(starts) => {
                self.queue_retry.reset();
                self.lag_due = Instant::now();
                for (partition, offset) in starts {
                    let cursor = cursors.get(&partition).copied().flatten();
                    tracing::debug!(%partition, offset, "partition started");
                    self.lanes.start(&partition, cursor, offset);
                }
                Ok(())
            }
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Assigned(partitions) => {
                tracing::info!(partitions = partitions.len(), "partitions assigned");
                self.lanes.add(partitions);
            }
            Delivery::Revoked(partitions) => {
                tracing::info!(partitions = partitions.len(), "partitions revoked");
                for partition in &partitions {
                    self.lanes.remove(partition);
                    self.committed.remove(partition);
                }
            }
            Delivery::Records { messages, positions } => self.lanes.deliver(messages, positions),
        }
    }

    /// The queue's client has given up: forgets its partitions and joins with a new one.
    async fn join_again(&mut self, error: Error) -> Result<()> {
        self.queue_retry.wait(error).await?;
        self.lanes.clear();
        self.committed.clear();
        self.fence = Wait::None;
        self.question = None;
        if let Some(subscriber) = self.subscriber.take() {
            subscriber.close().await;
        }
        loop {
            match self.queue.subscriber(&self.group).await {
                Ok(subscriber) => {
                    self.subscriber = Some(subscriber);
                    self.metrics.condition.run();
                    return Ok(());
                }
                Err(error) => self.queue_retry.wait(error).await?,
            }
        }
    }

    /// Sets up a barrier for fence rows that have come, and lets those go whose barrier is passed.
    fn follow_barriers(&mut self) {
        for barrier in [&mut self.fence, &mut self.goal] {
            if let Wait::For(barrier) = barrier {
                barrier.applied(self.lanes.applied_to());
            }
        }
        let Some(subscriber) = &mut self.subscriber else {
            return;
        };
        // Fence rows whose partitions were taken away are another writer's.
        let passed = matches!(&self.fence, Wait::For(barrier) if barrier.is_passed());
        if passed {
            let released = self.lanes.release_fences();
            subscriber.resume(&released);
        }
        if passed || !self.lanes.holds_fences() {
            self.fence = Wait::None;
        }
        if matches!(self.fence, Wait::None) && self.lanes.has_new_fences() {
            let held = self.lanes.hold_fences();
            subscriber.pause(&held);
            self.fence = Wait::ToAsk;
            // An answer that is on its way was asked for too early.
            self.question = self
                .question
                .take()
                .filter(|(question, _)| *question != Question::Fence);
        }
    }

    /// Asks the brokers for the ends of all partitions, one question at a time.
    fn ask_queue(&mut self) {
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

    fn ends_told(&mut self, ends: Result<Offsets>) -> Result<()> {
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
            Question::Lag => self.metrics.lag(&ends, self.lanes.applied_to()),
            Question::Existence => {
                for barrier in self.barriers() {
                    barrier.keep_existing(&ends);
                }
            }
        }
        Ok(())
    }

    fn barriers(&mut self) -> impl Iterator<Item = &mut Barrier> {
        [&mut self.fence, &mut self.goal]
            .into_iter()
            .filter_map(|wait| match wait {
                Wait::For(barrier) => Some(barrier),
                Wait::None | Wait::ToAsk => None,
            })
    }

    /// Partitions that a barrier waits for and that this writer does not read.
    fn foreign(&self) -> Vec<Partition> {
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

    fn commit_offsets(&mut self) {
        let moved: Offsets = self
            .lanes
            .cursors()
            .filter(|(partition, cursor)| self.committed.get(*partition) != Some(cursor))
            .map(|(partition, cursor)| (partition.clone(), cursor))
            .collect();
        if let Some(subscriber) = self.subscriber.as_mut().filter(|_| !moved.is_empty()) {
            subscriber.commit(&moved);
            self.committed.extend(moved);
        }
    }
}

fn first_refusal(outcomes: Vec<Outcome>) -> Result<()> {
    let refusal = outcomes.into_iter().find_map(|outcome| match outcome {
        Outcome::Applied => None,
        Outcome::Refused(error) => Some(error),
    });
    refusal.map_or(Ok(()), Err)
}

async fn polled<T>(job: &mut Option<LocalBoxFuture<'_, (T, Done)>>) -> (T, Done) {
    match job {
        Some(job) => job.await,
        None => std::future::pending().await,
    }
}

async fn polled_question(
    question: &mut Option<(Question, LocalBoxFuture<'static, Result<Offsets>>)>,
) -> Result<Offsets> {
    match question {
        Some((_, answer)) => answer.await,
        None => std::future::pending().await,
    }
}

async fn next<S: Subscriber>(subscriber: &mut Option<S>) -> Result<Delivery> {
    match subscriber {
        Some(subscriber) => subscriber.next().await,
        None => std::future::pending().await,
    }
}
