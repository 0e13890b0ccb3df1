//! One life of a reader between two transient errors: from a checkpoint to an error or the end.

mod decide;
mod events;
mod marks;
mod packed;
mod refreshed;
mod rows;
mod statements;

use super::errant;
use super::heartbeat::Heartbeat;
use super::history;
use super::lost;
use super::prepared::Prepared;
use super::refresh::Refresh;
use super::resume::{leap, resume};
use super::tracker::{Ddl, Target, Tracker};
use super::trail::Trail;
use super::transaction::Transaction;
use super::{Options, Summary};
use crate::checkpoint::Checkpoint;
use crate::decode::Format;
use crate::encode::Frame;
use crate::error::{Error, Result};
use crate::queue::leadership::Tenure;
use crate::queue::{Batch, Publisher, Queue, Topic, TopicId};
use crate::schema::TableName;
use crate::source::Source;
use crate::stop::Stop;
use crate::stop_point::{self, StopPoint};
use crate::tables::TableFilter;
use crate::version::Version;
use futures::FutureExt;
use packed::{Unpacking, next};
use rows::Table;
use statements::Statements;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Bytes after which a batch is handed to the publisher, whatever else.
const BATCH_BYTES: usize = 512 << 10;

/// A reader that is so far behind is catching up: its changes are late already, and what counts is that few large Kafka
/// transactions cost less than many small ones.
const CATCHING_UP_LAG_MS: i64 = 3_000;

/// How long the position may run ahead of the checkpoint while no followed table changes.
const IDLE_CHECKPOINT_INTERVAL: Duration = Duration::from_secs(10);

/// How long a reader that was asked to stop waits for its last commit.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct Session<'r, S: Source, Q: Queue> {
    source: &'r mut S,
    queue: &'r Q,
    tenure: Tenure,
    publisher: Q::Publisher,
    context: Context<'r>,
    stop: Stop,
    summary: &'r mut Summary,
    /// Where `until_caught_up` ends.
    target: Option<Target>,
    progress: Progress,
    commit_on_its_way: Option<Counts>,
    committed_at: Instant,
    heartbeat: Heartbeat,
}

/// What stays the same for a session.
struct Context<'r> {
    filter: &'r TableFilter,
    keys: &'r BTreeMap<String, Vec<String>>,
    options: &'r Options,
}

/// What has been read and not yet committed, and what is needed to read on.
struct Progress {
    tracker: Tracker,
    format: Format,
    tables: HashMap<u64, Table>,
    /// Followed tables that have come since the session began: what they were published with may not be committed yet.
    introduced: BTreeSet<TableName>,
    next_version: Version,
    batch: Batch,
    frame: Frame,
    transaction: Transaction,
    open: Counts,
    open_since: Option<Instant>,
    /// How long ago the changes read last were made, ms.
    lag_ms: i64,
    /// The next row's number within the event that the server sent: a compressed or an XA transaction is one.
    row: u32,
    /// The compressed transaction that is coming in pieces.
    unpacking: Option<Unpacking>,
    prepared: Prepared,
    prepared_topic: Option<TopicId>,
    /// A statement that was met and not acted upon yet.
    ddl: Option<Box<Ddl>>,
    statements: Statements,
    /// What is read anew from tables.
    refresh: Refresh,
    /// When rows that were read may be published again, while the stream has events.
    slice_at: Option<Instant>,
    trail: Trail,
    /// See [`Checkpoint::unseen`].
    unseen: Option<String>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    changes: u64,
    /// Those of them that are rows of refreshes.
    read: u64,
    transactions: u64,
}

impl<'r, S: Source, Q: Queue> Session<'r, S, Q> {
    /// Fences other readers, finds the checkpoint and starts the stream there.
    pub(super) async fn open(
        source: &'r mut S,
        queue: &'r Q,
        (filter, keys): (&'r TableFilter, &'r BTreeMap<String, Vec<String>>),
        options: &'r Options,
        summary: &'r mut Summary,
        stop: Stop,
        gap: Option<Error>,
    ) -> Result<Self> {
        let tenure = queue.leadership().tenure().ok_or_else(Tenure::over)?;
        let (mut publisher, checkpoint) = queue.publisher().await?;
        let found = checkpoint.is_some();
        let server = source
            .choose(checkpoint.as_ref().map(|checkpoint| &checkpoint.position))
            .await?;
        options.metrics.set_server(&server.address);
        let history_topic = publisher.declare(Topic::Recent(history::TOPIC)).await?;
        let before = checkpoint.clone();
        let (resumed, lost, unseen) = match (&gap, checkpoint) {
            (Some(why), Some(checkpoint)) => {
                let leapt = leap(source, &server, checkpoint, options, why).await?;
                (leapt, lost::Found::default(), None)
            }
            (_, checkpoint) => {
                let resumed = resume(source, queue, filter, &server, checkpoint, options).await?;
                let unseen = lost::unseen(options, &server, &resumed, before.as_ref())?;
                let lost = lost::find(source, queue, options, &server, &resumed, before.as_ref()).await?;
                (resumed, lost, unseen)
            }
        };
        let (mut checkpoint, is_switched) = (resumed.checkpoint, resumed.is_switched);
        if is_switched {
            errant::tell(&resumed.errant, &server);
            options.metrics.set_errant(&resumed.errant);
        }
        if checkpoint.refreshes > 0 && checkpoint.is_sequenced && !is_switched {
            // Rows that are read anew get versions at places that differ from life to life, and behind the checkpoint some may be
            // taken already.
            checkpoint.next_version = checkpoint.next_version.next_epoch()?;
        }
        checkpoint.go_on(options.numbering)?;
        let trail = Trail::go_on(&checkpoint, filter, history_topic, &options.heartbeat_name);
        let target = if options.until_caught_up {
            Some(Target::new(&source.newest().await?)?)
        } else {
            None
        };
        let context = Context { filter, keys, options };
        let position = &checkpoint.position;
        let statements = Statements::open(source, queue, &mut publisher, &context, position, gap.is_some()).await?;
        source.start(&checkpoint.position).await?;
        let position = &checkpoint.position;
        tracing::info!(
            file = position.file,
            offset = position.offset,
            gtid_set = position.gtid_set,
            from_checkpoint = found,
            "reading"
        );
        let messages = options.form.messages();
        let heartbeat = Heartbeat::open(messages.heartbeat_interval_ms, &mut publisher).await?;
        let marks = match messages.transaction_metadata {
            true => Some(publisher.declare(Topic::Transactions).await?),
            false => None,
        };
        options.metrics.lost(lost.transactions());
        let mut batch = Batch::default();
        let reader = &options.heartbeat_name;
        let tables_max = options.dump_tables_max;
        let refresh = Refresh::open(queue, &mut publisher, &mut batch, reader, tables_max, &checkpoint, lost).await?;
        let mut refresh = refresh;
        if !found || gap.is_some() {
            refresh.ask(source.asked().await?);
        }
        if let Some(why) = gap.as_ref().or(unseen.as_ref()) {
            let mut tables = source.tables().await?;
            tables.extend(queue.tables().await?);
            refresh.add_all(&tables, filter, checkpoint.next_version, why);
        }
        options.metrics.opened(&checkpoint.position, is_switched);
        options.metrics.refresh_pending(refresh.keys());
        let progress = Progress {
            tracker: Tracker::new(checkpoint.position)?,
            format: Format::default(),
            tables: HashMap::new(),
            introduced: BTreeSet::new(),
            next_version: checkpoint.next_version,
            batch,
            frame: Frame::default(),
            transaction: Transaction::new(messages, marks),
            open: Counts::default(),
            open_since: None,
            lag_ms: 0,
            row: 0,
            unpacking: None,
            prepared: Prepared::restore(&checkpoint.prepared),
            prepared_topic: None,
            ddl: None,
            statements,
            refresh,
            slice_at: None,
            trail,
            unseen: checkpoint.unseen,
        };
        let committed_at = Instant::now();
        Ok(Self {
            source,
            queue,
            tenure,
            publisher,
            context,
            stop,
            summary,
            target,
            progress,
            commit_on_its_way: None,
            committed_at,
            heartbeat,
        })
    }

    /// Reads until it is asked to stop or is caught up.
    pub(super) async fn run(&mut self) -> Result<()> {
        let begun = Instant::now();
        // A reader without a checkpoint sets one before anything else, so that a restart finds the same beginning.
        self.send_schemas();
        self.take_due().await?;
        self.commit().await?;
        tokio::select! {
            outcome = self.publisher.committed() => {
                outcome?;
                self.note_committed();
                self.source.settle();
            }
            () = self.stop.stopped() => {}
        }
        while !self.stop.is_stopped() && !self.is_caught_up() {
            if self.tenure.has_ended() {
                return Err(Tenure::over());
            }
            self.take_outcome_at_hand()?;
            if self.is_commit_due() {
                self.commit().await?;
            }
            if self.heartbeat.is_due() && self.can_commit() {
                self.beat().await?;
            }
            self.tend_refresh().await?;
            self.step().await?;
            self.take_statement().await?;
        }
        self.finish().await?;
        self.summary.seconds += begun.elapsed().as_secs_f64();
        Ok(())
    }

    /// Takes one event, or does what can be done while there is none.
    async fn step(&mut self) -> Result<()> {
        if let Some(event) = next(self.source, &self.context).now_or_never() {
            let progress = &mut self.progress;
            let taken = progress.take(event?, &self.context, &mut self.publisher, self.summary);
            let decided = taken.await?;
            return self.carry_out(decided).await;
        }
        // Events may have reached the socket already: the runtime has to look before the stream counts as idle.
        tokio::task::yield_now().await;
        if let Some(event) = next(self.source, &self.context).now_or_never() {
            let progress = &mut self.progress;
            let taken = progress.take(event?, &self.context, &mut self.publisher, self.summary);
            let decided = taken.await?;
            return self.carry_out(decided).await;
        }
        if self.progress.is_commit_possible() && self.progress.refresh.is_due() {
            self.progress.slice_at = None;
            return Ok(());
        }
        // Nothing is gained by waiting for more; what makes the changes final can follow.
        if self.publisher.has_room() {
            self.send().await?;
        }
        if !self.progress.is_commit_possible() {
            stop_point::reach(StopPoint::MidTransaction);
        }
        let is_commit_possible = self.can_commit();
        if is_commit_possible && (self.progress.open.changes > 0 || self.progress.refresh.wants_commit()) {
            return self.commit().await;
        }
        let is_checkpoint_due = is_commit_possible && self.progress.open.transactions > 0;
        let checkpoint_at = self.committed_at + IDLE_CHECKPOINT_INTERVAL;
        let heartbeat_at = self.heartbeat.next_at().filter(|_| is_commit_possible);
        tokio::select! {
            outcome = self.publisher.committed(), if self.commit_on_its_way.is_some() => {
                outcome?;
                self.note_committed();
                Ok(())
            }
            event = next(self.source, &self.context) => {
                let progress = &mut self.progress;
                let taken = progress.take(event?, &self.context, &mut self.publisher, self.summary);
                let decided = taken.await?;
                self.carry_out(decided).await
            }
            come = self.progress.refresh.progressed() => come,
            () = tokio::time::sleep_until(checkpoint_at), if is_checkpoint_due => self.commit().await,
            () = self.tenure.ended() => Err(Tenure::over()),
            () = tokio::time::sleep_until(heartbeat_at.unwrap_or(checkpoint_at)), if heartbeat_at.is_some() => Ok(()),
            () = self.stop.stopped() => Ok(()),
        }
    }

    fn can_commit(&self) -> bool {
        self.progress.is_commit_possible() && self.commit_on_its_way.is_none()
    }

    fn is_caught_up(&self) -> bool {
        let is_reached = |target| self.progress.tracker.has_reached(target);
        self.progress.unpacking.is_none()
            && self.progress.refresh.is_idle()
            && self.target.as_ref().is_some_and(is_reached)
    }

    fn is_commit_due(&self) -> bool {
        let (progress, options) = (&self.progress, self.context.options);
        // Rows that are read from tables wait, too, as long as no change of the stream waits with them.
        let has_only_read = progress.open.changes == progress.open.read;
        let patience = match progress.lag_ms > CATCHING_UP_LAG_MS || has_only_read {
            true => options.catching_up_factor,
            false => 1,
        };
        let is_full = progress.open.changes >= options.commit_changes_max as u64 * u64::from(patience);
        let is_old = |since: Instant| since.elapsed() >= options.commit_interval * patience;
        let is_checkpoint_old =
            progress.open.transactions > 0 && self.committed_at.elapsed() >= IDLE_CHECKPOINT_INTERVAL;
        self.commit_on_its_way.is_none()
            && progress.is_commit_possible()
            && (is_full
                || progress.open_since.is_some_and(is_old)
                || is_checkpoint_old
                || progress.refresh.wants_commit())
    }

    fn take_outcome_at_hand(&mut self) -> Result<()> {
        if self.commit_on_its_way.is_some()
            && let Some(outcome) = self.publisher.committed().now_or_never()
        {
            outcome?;
            self.note_committed();
        }
        Ok(())
    }

    fn note_committed(&mut self) {
        let counts = self.commit_on_its_way.take().unwrap_or_default();
        self.progress.refresh.saved();
        self.summary.changes += counts.changes;
        self.summary.transactions += counts.transactions;
        self.summary.commits += 1;
        let metrics = &self.context.options.metrics;
        metrics.commit_done(counts.changes, counts.transactions);
        self.committed_at = Instant::now();
    }

    async fn send(&mut self) -> Result<()> {
        if self.progress.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.progress.batch);
        self.progress.batch = self.publisher.send(batch).await?;
        Ok(())
    }

    async fn commit(&mut self) -> Result<()> {
        debug_assert!(
            self.progress.is_commit_possible(),
            "a MySQL transaction is never committed in part"
        );
        self.commit_complete_part().await
    }

    /// Commits up to the end of the last complete transaction; nothing that came after it may have been encoded.
    async fn commit_complete_part(&mut self) -> Result<()> {
        debug_assert!(self.commit_on_its_way.is_none(), "one commit at a time");
        self.progress.save_prepared(&mut self.publisher).await?;
        let (context, publisher) = (&self.context, &mut self.publisher);
        self.progress.save_refreshes(context, publisher).await?;
        self.progress.record_history();
        self.send().await?;
        let checkpoint = Checkpoint {
            position: self.progress.tracker.position(),
            next_version: self.progress.next_version,
            prepared: self.progress.prepared.list(),
            refreshes: self.progress.refresh.len(),
            is_sequenced: self.context.options.is_sequenced,
            numbering: self.context.options.numbering,
            trail: self.progress.trail.checkpoint(),
            unseen: self.progress.unseen.clone(),
        };
        self.context.options.metrics.commit_begun(&checkpoint.position);
        self.publisher.commit(checkpoint).await?;
        self.commit_on_its_way = Some(std::mem::take(&mut self.progress.open));
        self.progress.open_since = None;
        Ok(())
    }

    /// Commits what is complete. An open MySQL transaction is left to the next reader: its records are aborted.
    async fn finish(&mut self) -> Result<()> {
        let last = async {
            if self.commit_on_its_way.is_some() {
                self.publisher.committed().await?;
                self.note_committed();
            }
            let open = self.progress.open;
            let has_more = open.transactions + open.changes > 0 || self.progress.refresh.wants_commit();
            if self.progress.is_commit_possible() && has_more {
                self.commit().await?;
                self.publisher.committed().await?;
                self.note_committed();
            }
            Ok(())
        };
        match tokio::time::timeout(STOP_TIMEOUT, last).await {
            Ok(outcome) => outcome,
            Err(_) => {
                tracing::warn!("stopped before the last commit was answered; the next start settles it");
                Ok(())
            }
        }
    }
}

impl Progress {
    fn is_commit_possible(&self) -> bool {
        self.unpacking.is_none() && self.tracker.at_boundary()
    }
}

pub(super) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
