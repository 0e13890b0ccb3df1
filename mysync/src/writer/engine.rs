//! The writer's loop: one task, one thing after the other; what has to wait is a future that the loop polls.

mod barriers;
mod columns;
mod finish;
mod orders;

use super::Options;
use super::lanes::{Lanes, Round};
use super::retry::Retry;
use super::summary::{Counters, Summary};
use crate::error::{Error, Result};
use crate::metrics::WriterMetrics;
use crate::metrics::orders::Asked;
use crate::queue::{Delivery, Partition, Queue, Subscriber};
use crate::source::mysql::DescribedColumn;
use crate::tables::{FENCE_TABLE, INTERNAL_DATABASE};
use crate::target::{Cursor, Outcome, TableName, Target};
use barriers::{Question, Wait, polled_question};
pub use columns::AskColumns;
use columns::{ColumnsJob, polled_columns};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use orders::{Skip, next_order, polled_burial};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

/// How often the loop looks for what is due.
const TICK: Duration = Duration::from_millis(200);

/// How often cursors follow marks that carry no record, and offsets are stored for lag monitors.
const SETTLE_INTERVAL: Duration = Duration::from_secs(1);

/// How often the cursors of other writers' partitions are looked up for a barrier.
const FOREIGN_INTERVAL: Duration = Duration::from_millis(500);

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
    Applied(Round, Result<Vec<Outcome>>),
}

/// What the loop woke up for.
enum Woken<T> {
    Stop,
    Target(T, Done),
    Delivery(Result<Delivery>),
    Ends(Result<Offsets>),
    Columns(Arc<TableName>, Result<Option<Vec<DescribedColumn>>>),
    Order(Asked),
    Buried(Result<()>),
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
    /// Where records are Debezium's own.
    ask_columns: Option<AskColumns>,
    columns_job: Option<ColumnsJob>,
    columns_retry: Retry,
    fence: Wait,
    goal: Wait,
    committed: Offsets,
    /// What a person says.
    orders: mpsc::Receiver<Asked>,
    skip: Option<Skip>,
    /// Partitions that are stopped, as it was last told, and where.
    stopped: Offsets,
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
        let group = format!("{prefix}.{}", target.name());
        let now = Instant::now();
        let metrics = &options.metrics;
        metrics.set_target(target.name());
        let mut lanes = Lanes::new(prefix, &fence_topic, options.bounds);
        if target.compares_columns() {
            lanes.compare_columns();
        }
        if options.debezium.is_some() {
            lanes.read_debezium();
        }
        Ok(Self {
            subscriber: Some(queue.subscriber(&group).await?),
            queue,
            lanes,
            ask_columns: options.debezium.clone(),
            columns_job: None,
            columns_retry: Retry::new("source", Arc::clone(metrics)),
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
            orders: metrics.take_orders(),
            skip: None,
            stopped: Offsets::new(),
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
            self.pause_partitions();
            self.ask_target();
            self.ask_queue();
            self.ask_columns();
            let reads = self.connected && self.lanes.has_room();
            let woken = tokio::select! {
                () = &mut stop => Woken::Stop,
                (target, done) = polled(&mut self.job) => Woken::Target(target, done),
                delivery = next(&mut self.subscriber), if reads => Woken::Delivery(delivery),
                ends = polled_question(&mut self.question) => Woken::Ends(ends),
                (table, columns) = polled_columns(&mut self.columns_job) => Woken::Columns(table, columns),
                asked = next_order(&mut self.orders) => Woken::Order(asked),
                outcome = polled_burial(&mut self.skip) => Woken::Buried(outcome),
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
                Woken::Columns(table, columns) => self.columns_told(&table, columns).await?,
                Woken::Order(asked) => self.obey(asked),
                Woken::Buried(outcome) => self.buried(outcome),
                Woken::Tick => {
                    self.commit_offsets();
                    self.look_after_skip();
                    self.tell_stops();
                    self.refuse_goal()?;
                }
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
                let outcomes = target.apply(&round.steps).await;
                (target, Done::Applied(round, outcomes))
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
            Done::Applied(round, Ok(outcomes)) => {
                self.target_retry.reset();
                self.applied(round, outcomes)
            }
            Done::Cursors(Err(error)) | Done::Foreign(Err(error)) | Done::Applied(_, Err(error)) => {
                self.connected = false;
                self.metrics.apply_done(None);
                self.lanes.reset();
                self.fence = Wait::None;
                self.goal = self.goal.again();
                self.target_retry.wait(error).await
            }
        }
    }

    /// The target has answered each step of a round.
    fn applied(&mut self, round: Round, outcomes: Vec<Outcome>) -> Result<()> {
        if outcomes.len() != round.steps.len() {
            let (answers, steps) = (outcomes.len(), round.steps.len());
            return Err(Error::definite(format!(
                "the target gave {answers} answers to {steps} steps"
            )));
        }
        let mut applied = Round::default();
        for ((step, read), outcome) in round.steps.into_iter().zip(round.read).zip(outcomes) {
            self.follow_skip(&step, &outcome);
            match outcome {
                Outcome::Applied => {
                    self.lanes.applied(&step);
                    applied.steps.push(step);
                    applied.read.push(read);
                }
                Outcome::Refused(reason) => {
                    tracing::debug!(partition = %step.partition, changes = step.changes.len(), %reason, "a step is refused");
                    self.lanes.refused(&step, reason)?;
                }
            }
        }
        self.metrics.apply_done(Some(&applied));
        self.counters.round_applied(&applied);
        Ok(())
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
        self.goal = self.goal.again();
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

async fn polled<T>(job: &mut Option<LocalBoxFuture<'_, (T, Done)>>) -> (T, Done) {
    match job {
        Some(job) => job.await,
        None => std::future::pending().await,
    }
}

async fn next<S: Subscriber>(subscriber: &mut Option<S>) -> Result<Delivery> {
    match subscriber {
        Some(subscriber) => subscriber.next().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
