//! Refreshes: rows that are read from their tables and published in order with the stream.
//!
//! # How
//! Rows are read beside the stream, some at a time, between two watermarks that the source writes ([`Source::read`]). When the
//! event of the second one comes, the stream has published everything that the answer can have seen: a row that the stream has
//! changed since the first one is left to the stream, all others are published now, with the next versions ([`chunk`]). So a
//! row's versions rise, its last record is what the table has, and the stream never waits.
//!
//! # What
//! - **Listed keys**, as of what MySQL lost in a switch. One that is not found is published as deleted.
//! - **A table**, in ranges of its key ([`lane`]). Rows that were published and are not in the table are found in the table's
//!   topic: their last record is from before the refresh ([`crate::queue::outdated`]). They are asked for like listed keys.
//! - **A part of a table**, by a condition. Then nothing is deleted.
//!
//! # What survives
//! Works are records of the topic `<prefix>.__refresh`, written in the Kafka transaction whose checkpoint needs them, changed in those
//! that have their rows, and deleted behind the last one ([`work`]). The checkpoint says how many there are: so a reader that
//! starts anew, on whatever server, goes on behind the last range that was published whole, and none is forgotten.
//!
//! # DDL
//! The stream's statements about the table make what was read void: it is read again, from its beginning.

mod asked;
pub(super) mod chunk;
mod due;
mod lane;
mod pace;
pub mod signal;
mod telling;
pub(super) mod work;

pub(super) use chunk::{Chunk, Marked};
pub(super) use signal::{Watched, watched};
pub(super) use work::{Request, TOPIC, Table};

use super::lost;
use super::prepared::Store;
use crate::checkpoint::Checkpoint;
use crate::decode::{RowsEvent, TableMap};
use crate::encode::Form;
use crate::error::{Error, Result};
use crate::queue::{Batch, Publisher, Queue, Topic, TopicId};
use crate::schema::TableName;
use crate::source::{Refusal, RowsRequest, Source, State};
use crate::tables::TableFilter;
use crate::version::Version;
use lane::{Lane, Next};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;
use telling::Telling;
use tokio::time::Instant;
use work::{Phase, Stage, Task, Works};

/// Bytes of rows of listed keys that are held until their watermark comes; one row may exceed them.
const KEYS_ROWS_BYTES_MAX: usize = 4 << 20;

/// What nobody has told of is looked for so often.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What is to be refreshed, and what is being read.
#[derive(Default)]
pub(super) struct Refresh {
    /// The reader's name in its watermarks.
    reader: String,
    topic: Option<TopicId>,
    works: Works,
    lanes: Vec<Lane>,
    /// How many tables are read at a time; listed keys have a lane of their own.
    tables_max: usize,
    /// The lane that publishes next.
    turn: usize,
    marks: u64,
    /// What people have asked for, in the open transaction or since it ended.
    signals: Vec<String>,
    /// Something has happened since the last look at what is to be done, and when that was.
    is_stirred: bool,
    looked_at: Option<Instant>,
    telling: Telling,
}

/// What decides how rows are read.
pub(super) struct Reading<'r> {
    pub(super) form: &'r Form,
    pub(super) filter: &'r TableFilter,
    /// `source.keys`.
    pub(super) keys: &'r BTreeMap<String, Vec<String>>,
    pub(super) is_strict: bool,
}

impl Refresh {
    /// Takes up the requests that a checkpoint says are there, and those that a switch of server brings, which the next
    /// checkpoint passes.
    pub(super) async fn open<Q: Queue>(
        queue: &Q,
        publisher: &mut Q::Publisher,
        batch: &mut Batch,
        reader: &str,
        tables_max: usize,
        checkpoint: &Checkpoint,
        lost: lost::Found,
    ) -> Result<Self> {
        let mut refresh = Self {
            reader: reader.to_owned(),
            tables_max,
            ..Self::default()
        };
        if checkpoint.refreshes > 0 {
            refresh.declare(publisher).await?;
            refresh.works = Works::restore(queue, checkpoint.refreshes).await?;
            tracing::info!(
                requests = checkpoint.refreshes,
                keys = refresh.keys(),
                "rows are still to be refreshed"
            );
        }
        let (requests, tables) = lost.append(publisher, batch, checkpoint.next_version).await?;
        refresh.works.add_keys(requests, checkpoint.next_version);
        for name in &tables {
            let table = Table::new(name, None, checkpoint.next_version);
            refresh
                .works
                .add_table(table.because("MySQL lost transactions that changed many of its rows"));
        }
        Ok(refresh)
    }

    async fn declare<P: Publisher>(&mut self, publisher: &mut P) -> Result<TopicId> {
        let topic = publisher.declare(Topic::Compacted(TOPIC)).await?;
        self.topic = Some(topic);
        Ok(topic)
    }

    /// Adds what the next checkpoint needs to its Kafka transaction.
    pub(super) async fn save<P: Publisher>(
        &mut self,
        publisher: &mut P,
        batch: &mut Batch,
        version: Version,
    ) -> Result<()> {
        if self.works.is_saved() {
            return Ok(());
        }
        let topic = match self.topic {
            Some(topic) => topic,
            None => self.declare(publisher).await?,
        };
        let mut store = store(topic, batch, version);
        self.works.save(|id, value| store.record(id, value));
        Ok(())
    }

    /// The checkpoint behind the last save is committed.
    pub(super) fn saved(&mut self) {
        self.is_stirred = true;
        self.works.saved();
    }

    /// Whether a checkpoint is wanted soon.
    pub(super) fn wants_commit(&self) -> bool {
        self.works.wants_commit()
    }

    /// Adds a table.
    pub(super) fn add(&mut self, table: Table) {
        let name = table.name();
        self.is_stirred = true;
        self.works.add_table(table);
        self.lanes.retain(|lane| lane.table != name);
    }

    /// Has a table read whose rows have changed without a trace, up to now.
    pub(super) fn again(&mut self, name: &TableName, reason: &str, now: Version) {
        let lanes = &self.lanes;
        let is_begun = |id: &str| lanes.iter().any(|lane| lane.id == id);
        // What is on its way of listed keys, or of a part of the table, may be from before.
        let is_read = lanes.iter().any(|lane| lane.table == *name && !lane.chunks.is_empty());
        self.works.again(name, reason, now, is_begun, is_read);
    }

    /// Adds all tables that are followed, since the position was lost.
    pub(super) fn add_all(&mut self, tables: &[TableName], filter: &TableFilter, now: Version, why: &Error) {
        for name in tables.iter().filter(|name| filter.follows(&name.0, &name.1)) {
            self.add(Table::new(name, None, now).because(&why.what));
        }
    }

    /// Works that are not done.
    pub(super) fn len(&self) -> usize {
        self.works.len()
    }

    /// Whether there is nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        self.works.len() == 0 && self.signals.is_empty()
    }

    /// Keys that are not done.
    pub(super) fn keys(&self) -> usize {
        self.works.keys()
    }

    /// Takes up what has come, and begins what is next. It is called for every event of the stream.
    pub(super) async fn tend<S: Source, Q: Queue>(
        &mut self,
        source: &S,
        queue: &Q,
        reading: &Reading<'_>,
        now: Version,
    ) -> Result<()> {
        let mut context = Context::from_waker(std::task::Waker::noop());
        if let Poll::Ready(failed) = self.poll(&mut context) {
            failed?;
        }
        if !self.is_stirred && self.looked_at.is_some_and(|at| at.elapsed() < LOOK_INTERVAL) {
            return Ok(());
        }
        self.is_stirred = false;
        self.looked_at = Some(Instant::now());
        for index in (0..self.lanes.len()).rev() {
            self.lanes[index].drop_overrun();
            if let Some(refusal) = self.lanes[index].refusal() {
                self.refuse(index, refusal, now)?;
            }
        }
        self.open_lanes(reading);
        for index in (0..self.lanes.len()).rev() {
            self.go_on(index, source, queue, reading, now).await?;
        }
        self.lanes
            .iter_mut()
            .flat_map(|lane| &mut lane.chunks)
            .for_each(Chunk::complain);
        let (works, lanes) = (&self.works, &self.lanes);
        let is_begun = |id: &str| lanes.iter().any(|lane| lane.id == id);
        self.telling.tell(source, works.is_over(), || works.progress(is_begun));
        for (id, progress) in self.works.over() {
            if self.telling.has_told_end(&id, &progress) {
                self.works.remove(&id);
            }
        }
        Ok(())
    }

    /// Gives lanes to works that have none, oldest first.
    fn open_lanes(&mut self, reading: &Reading<'_>) {
        let is_of_keys = |works: &Works, lane: &Lane| {
            let work = works.get(&lane.id);
            work.is_some_and(|work| matches!(work.task, Task::Keys(_)))
        };
        let mut of_keys = self.lanes.iter().filter(|lane| is_of_keys(&self.works, lane)).count();
        let mut of_tables = self.lanes.len() - of_keys;
        let mut unfollowed = Vec::new();
        for work in self.works.iter().filter(|work| work.stage == Stage::Stored) {
            let (count, max) = match &work.task {
                Task::Keys(_) => (&mut of_keys, 1),
                Task::Table(table) if table.is_over() => continue,
                Task::Table(_) => (&mut of_tables, self.tables_max),
            };
            if *count >= max || self.lanes.iter().any(|lane| lane.id == work.id) {
                continue;
            }
            let (database, table) = work.task.table();
            if !reading.filter.follows(&database, &table) {
                tracing::warn!(
                    database,
                    table,
                    "rows of a table that is not followed any more are not refreshed"
                );
                unfollowed.push(work.id.clone());
                continue;
            }
            *count += 1;
            self.lanes.push(Lane::new(work));
        }
        for id in unfollowed {
            match self.works.get(&id).map(|work| &work.task) {
                Some(Task::Table(_)) => self.end(&id, State::Failed, "the table is not followed: see source.tables"),
                _ => self.works.remove(&id),
            }
        }
    }

    /// Begins what is next for a lane.
    async fn go_on<S: Source, Q: Queue>(
        &mut self,
        index: usize,
        source: &S,
        queue: &Q,
        reading: &Reading<'_>,
        now: Version,
    ) -> Result<()> {
        let is_searching = self.lanes.iter().any(Lane::is_searching);
        let lane = &mut self.lanes[index];
        let Some(work) = self.works.get(&lane.id).filter(|work| work.stage == Stage::Stored) else {
            return Ok(());
        };
        let (database, table) = (&lane.table.0, &lane.table.1);
        match lane.next(work, reading.is_strict, KEYS_ROWS_BYTES_MAX) {
            Next::Nothing => {}
            Next::Over => {
                let id = lane.id.clone();
                self.done(&id, now);
            }
            // It takes memory, so there is one at a time.
            Next::Search if is_searching => {}
            Next::Search => {
                let Task::Table(whole) = &work.task else { return Ok(()) };
                let (topic, key_end) = (
                    reading.form.topic(database, table),
                    reading.form.key_end_of(database, table),
                );
                let outdated = queue.outdated(topic, &key_end, whole.since).await?;
                lane.search(outdated);
            }
            Next::Read(wanted, bytes_max) => {
                self.marks += 1;
                let mark = format!("{}-{}", super::session::now_ns(), self.marks);
                let request = RowsRequest {
                    table: lane.table.clone(),
                    wanted,
                    key: reading.keys.get(&format!("{database}.{table}")).cloned(),
                    bytes_max,
                    reader: self.reader.clone(),
                    low: format!("{mark}-low"),
                    mark,
                };
                lane.begun(Chunk::begin(source, request));
            }
        }
        Ok(())
    }

    /// Acts upon a table that cannot be read in ranges.
    fn refuse(&mut self, index: usize, refusal: Refusal, now: Version) -> Result<()> {
        let id = self.lanes[index].id.clone();
        let (database, table) = self.lanes[index].table.clone();
        let is_policy = match self.works.get(&id).map(|work| &work.task) {
            Some(Task::Table(table)) => table.reason.is_some(),
            _ => true,
        };
        match refusal {
            // It was altered, and the stream is not there yet.
            Refusal::OtherKey => self.void(&database, &table, now),
            // What the reader itself has found to be wrong in the stores must not stay so.
            Refusal::Definite(error) if is_policy => {
                return Err(error.detail(format!("{database}.{table} has to be read anew")));
            }
            Refusal::Definite(error) => self.fail(index, &error),
        }
        Ok(())
    }

    /// All of a table has been read, if it is not to be read again.
    fn done(&mut self, id: &str, now: Version) {
        match self.works.get(id).map(|work| &work.task) {
            Some(Task::Table(table)) if table.again => {
                let (database, table) = table.name();
                self.void(&database, &table, now);
            }
            _ => self.end(id, State::Done, ""),
        }
    }

    /// A table's work is over.
    fn end(&mut self, id: &str, state: State, detail: &str) {
        self.is_stirred = true;
        self.lanes.retain(|lane| lane.id != id);
        if let Some(work) = self.works.change(id)
            && let Task::Table(table) = &mut work.task
        {
            tracing::info!(
                database = table.database,
                table = table.table,
                rows = table.rows,
                gone = table.gone,
                ?state,
                "the refresh of a table has ended"
            );
            table.phase = Phase::Over(state, detail.to_owned());
            work.stage = Stage::New;
        }
    }

    /// Waits until something of what is being read has come.
    pub(super) async fn progressed(&mut self) -> Result<()> {
        if self.is_idle() {
            return std::future::pending().await;
        }
        let wakes_at = self
            .lanes
            .iter()
            .filter_map(Lane::wakes_at)
            .chain(self.telling.wakes_at())
            .min();
        let wakes_at = wakes_at.map(|at| at.max(Instant::now()));
        tokio::select! {
            come = poll_fn(|context| self.poll(context)) => come,
            () = tokio::time::sleep_until(wakes_at.unwrap_or_else(Instant::now)), if wakes_at.is_some() => {
                self.is_stirred = true;
                Ok(())
            }
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let mut is_ready = self.telling.poll(context).is_ready();
        for lane in &mut self.lanes {
            if let Poll::Ready(come) = lane.poll(context) {
                is_ready = true;
                come?;
            }
        }
        self.is_stirred |= is_ready;
        match is_ready {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }

    /// Whether changes of this table have to be told by [`Refresh::touch`].
    pub(super) fn reads(&self, database: &str, table: &str) -> bool {
        let is_it = |lane: &Lane| lane.table.0 == database && lane.table.1 == table && !lane.chunks.is_empty();
        self.lanes.iter().any(is_it)
    }

    /// The stream has changed this row.
    pub(super) fn touch(&mut self, database: &str, table: &str, key: &[u8]) {
        for lane in &mut self.lanes {
            if lane.table.0 == database && lane.table.1 == table {
                lane.touch(key);
            }
        }
    }

    /// The stream has a statement about this table; an empty one stands for all of the database.
    pub(super) fn void(&mut self, database: &str, table: &str, now: Version) {
        self.is_stirred = true;
        self.works.restart(database, table, now);
        for lane in &mut self.lanes {
            if lane.table.0 == database && (table.is_empty() || lane.table.1 == table) {
                lane.reset();
            }
        }
    }

    /// Takes a rows event of one of the tables that are watched.
    pub(super) fn see(&mut self, rows: &RowsEvent<'_>, map: &TableMap, watched: Watched, marked: Marked) {
        match watched {
            Watched::Marks => {
                if let Some(mark) = signal::last_mark(rows, map, &self.reader) {
                    self.lanes.iter_mut().for_each(|lane| lane.see(mark, marked));
                }
            }
            Watched::Signals => self.signals.extend(signal::inserted(rows, map, &self.reader)),
        }
    }
}

/// Where records of the topic are put together.
pub(super) fn store(topic: TopicId, batch: &mut Batch, version: Version) -> Store<'_> {
    Store {
        topic,
        batch,
        timestamp_ms: super::session::now_ns() / 1_000_000,
        version,
    }
}

impl std::fmt::Debug for Refresh {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Refresh")
            .field("works", &self.works)
            .finish_non_exhaustive()
    }
}
