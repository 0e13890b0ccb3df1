//! The target Elasticsearch, or OpenSearch: a row is a document in an index of its table.
//!
//! # Names
//! Users query an alias, `<database>.<table>` by default. It leads to the index `<alias>~rows` and hides tombstones (`names`,
//! `tables`). `_source` is the row as it stands in the message; what can be searched is made of the columns' MySQL types
//! (`mapping`).
//!
//! # Nothing is ever overwritten by what is older
//! There are no transactions, so every document carries its row's version, and is written with `external_gte`: an older or
//! repeated change is refused by the store, whoever sends it and whenever. A deleted row leaves a tombstone document with the
//! version of the delete, since the store itself forgets the version of a document that is really deleted after
//! `index.gc_deletes`, and at a restart. A refusal for another version counts as done only when the store, asked, holds ours or
//! a later one (`rows`). So a replay changes nothing, and neither does a writer that was replaced without having noticed.
//!
//! # The cursor
//! It stands in an index of its own and moves when all rows of its step are acknowledged, which with
//! `index.translog.durability = request` means on disk; and only over the state of it that this writer has read (`cursors`). It
//! knows which indices it stands for, by their UUIDs and histories (`identity`): where one was deleted, made anew or restored, the
//! partition is replayed. A cluster that comes back as an older copy of itself has an older cursor.
//!
//! # When a tombstone may go
//! `tombstones_keep_hours` (K) after it was written it is really deleted (`sweep`). From then on an older change of that row would be
//! taken for a new one. Who could still send one?
//! - **This writer, going on**: no. A partition is applied in order, and its cursor is behind the delete.
//! - **A replay from an older cursor**, out of a backup of age A: it begins where the writer stood A ago. If A is at most K, that is
//!   behind the delete. So K has to be longer than the oldest backup that may be restored is old.
//! - **A replay of everything**, when cursors or an index are lost: Kafka's compaction removes the changes of a row before its
//!   delete, and the delete itself no sooner than `delete.retention.ms` later (a week, in topics that the reader makes). So a change
//!   that is read from the topic is followed by its delete if the replay gets there within that time. The row can be seen until
//!   then, and is gone at the end, as in a store that is filled from nothing.
//! - **A writer that was replaced** and wakes: it can only have in hand what it read before; it reads its cursors again, and begins
//!   anew, when it has heard nothing of the store for a quarter of K.
//!
//! # Errors
//! What an error means is decided in one place (`errors`). No answer, a store that is too busy, blocked or closed indices:
//! transient. Wrong accounts and certificates: configuration. A row, or a table, that the store cannot take: an outcome of its
//! step.

mod bulk;
mod client;
mod cursors;
mod errors;
mod identity;
mod mapping;
mod members;
mod names;
mod rows;
mod sweep;
mod tables;

use super::columns::Columns;
use super::{Cursor, Outcome, RowChange, Step, TableName, Target};
use crate::config::ElasticsearchWriter;
use crate::error::{Error, Result};
use crate::queue::Partition;
use client::Client;
use cursors::{Cursors, Move};
use errors::Told;
use names::IndexTemplate;
use rows::{Item, Pace, Rows};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tables::{Tables, is_refusal};
use tokio::time::Instant;

/// How often it is looked whether the indices are still those that were opened.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// The store's default of `http.max_content_length`, where it does not tell.
const REQUEST_BYTES_MAX: usize = 100 * 1024 * 1024;

const HOUR: Duration = Duration::from_secs(3_600);

/// A cluster.
pub struct ElasticsearchTarget<C> {
    client: Client,
    tables: Tables<C>,
    cursors: Cursors,
    pace: Pace,
    bulks_parallel: usize,
    request_bytes_max: usize,
    /// None is for ever.
    tombstones_keep: Option<Duration>,
    look_due: Instant,
    /// When the store was heard of last, by the clock on the wall: a paused machine's other clocks stand still.
    heard: SystemTime,
    connected: bool,
}

impl<C: Columns> ElasticsearchTarget<C> {
    /// A target that connects when it is used; `prefix` is the topics' prefix, which the cursors' documents hold, and `columns`
    /// tells the types of the tables' columns.
    pub fn new(config: &ElasticsearchWriter, prefix: &str, columns: C) -> Result<Self> {
        let template = IndexTemplate::new(&config.index);
        Ok(Self {
            client: Client::new(config)?,
            tables: Tables::new(template, config.shards, config.replicas, columns),
            cursors: Cursors::new(format!("{prefix}.elasticsearch"), config.replicas),
            pace: Pace::new(config.bulk_bytes_max),
            bulks_parallel: config.bulks_parallel,
            request_bytes_max: REQUEST_BYTES_MAX,
            tombstones_keep: Some(HOUR.saturating_mul(u32::try_from(config.tombstones_keep_hours).unwrap_or(u32::MAX)))
                .filter(|keep| !keep.is_zero()),
            look_due: Instant::now(),
            heard: SystemTime::now(),
            connected: false,
        })
    }

    /// Asks who is there, and changes nothing.
    pub async fn greet(&self) -> Result<()> {
        let answer = self.client.get("/").await?;
        if !answer.is_success() {
            let what = format!("cannot connect to Elasticsearch at {}", self.client.address());
            return Err(Told::of(&answer).error(what));
        }
        let version = &answer.json()?["version"];
        let Some(number) = version["number"].as_str() else {
            return Err(answer.not_understood(&"it tells no version"));
        };
        let distribution = version["distribution"].as_str().unwrap_or("elasticsearch");
        tracing::debug!(distribution, number, "connected to {}", answer.url);
        Ok(())
    }

    /// The longest request that every node takes. An account may not be allowed to ask.
    async fn ask_request_bytes_max(&self) -> Result<usize> {
        let path = "/_nodes/http?filter_path=nodes.*.http.max_content_length_in_bytes";
        let answer = self.client.get(path).await?;
        if !answer.is_success() {
            return Ok(REQUEST_BYTES_MAX);
        }
        let nodes = answer.json()?;
        let of_nodes = nodes["nodes"].as_object().into_iter().flat_map(|nodes| nodes.values());
        let limits = of_nodes.filter_map(|node| node["http"]["max_content_length_in_bytes"].as_u64());
        let least = limits.min().and_then(|bytes| usize::try_from(bytes).ok());
        Ok(least.unwrap_or(REQUEST_BYTES_MAX))
    }

    /// Refuses to go on with what may have been taken over or lost meanwhile.
    async fn look(&mut self, steps: &[Step], now: Instant) -> Result<()> {
        if !self.connected {
            return Err(Error::transient(format!(
                "not connected to Elasticsearch at {}",
                self.client.address()
            )));
        }
        for step in steps {
            let held = self.cursors.cursor(&step.partition);
            if held != step.cursor_before {
                let text = |cursor: Option<Cursor>| cursor.map_or("none".to_owned(), |cursor| cursor.to_string());
                return Err(
                    Error::transient(format!("the cursor of {} is not where it was left", step.partition))
                        .detail(format!("it is {}, not {}", text(held), text(step.cursor_before))),
                );
            }
        }
        let silent = self.heard.elapsed().unwrap_or_default();
        if self.tombstones_keep.is_some_and(|keep| silent > keep / 4) {
            return Err(
                Error::transient("this writer stood still for long: it reads its cursors again")
                    .detail(format!("nothing was heard of the store for {} s", silent.as_secs())),
            );
        }
        if now < self.look_due {
            return Ok(());
        }
        self.look_due = now + LOOK_INTERVAL;
        let opened: BTreeSet<&str> = self.tables.all().iter().map(|table| table.index.as_str()).collect();
        let there = identity::of_indices(&self.client, &opened).await?;
        match self
            .tables
            .all()
            .iter()
            .find(|table| there.get(&table.index) != Some(&table.identity))
        {
            None => Ok(()),
            Some(table) => Err(another(&table.index)),
        }
    }

    /// Opens the index of each change's table. A step with a change that no index takes is refused as a whole.
    async fn prepare(&mut self, steps: &[Step], now: Instant) -> Result<Prepared> {
        let mut prepared = Prepared {
            items: Vec::with_capacity(steps.iter().map(|step| step.changes.len()).sum()),
            steps: Vec::with_capacity(steps.len()),
        };
        let mut last: Option<(Arc<TableName>, usize)> = None;
        for (index, step) in steps.iter().enumerate() {
            let begin = prepared.items.len();
            let mut indices = self.cursors.indices(&step.partition);
            let mut refused = None;
            for (change_index, change) in step.changes.iter().enumerate() {
                let known = last.as_ref().filter(|(name, _)| Arc::ptr_eq(name, &change.table));
                let known = known.map(|(_, place)| *place);
                match self.place(change, known, now).await {
                    Ok(table) if known == Some(table) => {}
                    Ok(table) => {
                        last = Some((Arc::clone(&change.table), table));
                        self.attach(table, &mut indices)?;
                    }
                    Err(error) if is_refusal(&error) => {
                        refused = Some(error);
                        break;
                    }
                    Err(error) => return Err(error),
                }
                let table = last.as_ref().map_or(0, |(_, place)| *place);
                prepared.items.push(Item {
                    step: index,
                    change: change_index,
                    table,
                });
            }
            if refused.is_some() {
                prepared.items.truncate(begin);
            }
            // Whatever the last step ended with, the next one has indices of its own.
            last = None;
            prepared.steps.push((refused, indices));
        }
        Ok(prepared)
    }

    async fn place(&mut self, change: &RowChange, known: Option<usize>, now: Instant) -> Result<usize> {
        let place = match known {
            Some(place) => place,
            None => self.tables.open(&self.client, &change.table).await?,
        };
        if let Some(row) = &change.row {
            self.tables.fit(&self.client, place, row.get(), now).await?;
        }
        Ok(place)
    }

    /// Adds a table's index to those that a partition has written to. It must be the one that it was.
    fn attach(&self, table: usize, indices: &mut BTreeMap<String, String>) -> Result<()> {
        let table = &self.tables.all()[table];
        let before = indices.insert(table.index.clone(), table.identity.clone());
        match before.is_none_or(|identity| identity == table.identity) {
            true => Ok(()),
            false => Err(another(&table.index)),
        }
    }

    /// An index to sweep now, and up to when.
    fn to_sweep(&self, now: Instant, now_ms: u64) -> Option<(usize, u64)> {
        let keep_ms = u64::try_from(self.tombstones_keep?.as_millis()).ok()?;
        let place = self.tables.all().iter().position(|table| table.sweep_due <= now)?;
        Some((place, now_ms.saturating_sub(keep_ms)))
    }
}

/// A round whose indices are open.
struct Prepared {
    items: Vec<Item>,
    /// Of each step, why it is refused, and the indices that its partition has written to when it is applied.
    steps: Vec<(Option<Error>, BTreeMap<String, String>)>,
}

fn another(index: &str) -> Error {
    Error::transient(format!("an index is not the one that was written to: {index}"))
        .hint("it was deleted, made anew or restored: what was in it is replayed")
}

impl<C> std::fmt::Debug for ElasticsearchTarget<C> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ElasticsearchTarget")
            .field("address", &self.client.address())
            .finish_non_exhaustive()
    }
}

impl<C: Columns> Target for ElasticsearchTarget<C> {
    fn name(&self) -> &'static str {
        "elasticsearch"
    }

    async fn connect(&mut self) -> Result<()> {
        self.connected = false;
        self.tables.clear();
        self.cursors.clear();
        self.greet().await?;
        self.request_bytes_max = self.ask_request_bytes_max().await?;
        self.cursors.prepare(&self.client).await?;
        self.look_due = Instant::now() + LOOK_INTERVAL;
        self.heard = SystemTime::now();
        self.connected = true;
        Ok(())
    }

    async fn cursors(&mut self, partitions: &[Partition]) -> Result<BTreeMap<Partition, Option<Cursor>>> {
        let cursors = self.cursors.read(&self.client, partitions).await?;
        Ok(cursors)
    }

    async fn apply(&mut self, steps: &[Step]) -> Result<Vec<Outcome>> {
        let now = Instant::now();
        self.look(steps, now).await?;
        let Prepared { items, steps: prepared } = self.prepare(steps, now).await?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let to_sweep = self.to_sweep(Instant::now(), now_ms);
        let rows = Rows {
            client: &self.client,
            steps,
            tables: self.tables.all(),
            pace: &self.pace,
            bulks_parallel: self.bulks_parallel,
            request_bytes_max: self.request_bytes_max,
            now_ms,
        };
        let sweeping = async {
            let (place, before_ms) = to_sweep?;
            Some((
                place,
                sweep::sweep(&self.client, &self.tables.all()[place], before_ms).await,
            ))
        };
        let (refusals, swept) = tokio::join!(rows.send(items), sweeping);
        if let Some((place, swept)) = swept {
            let is_full = swept.as_ref().is_ok_and(|count| *count == sweep::SWEPT_MAX);
            let interval = if is_full { sweep::INTERVAL_FULL } else { sweep::INTERVAL };
            self.tables.get_mut(place).sweep_due = now + interval;
            if let Err(error) = swept {
                // Old tombstones are hidden, and wait.
                tracing::debug!("{}", error.one_line());
            }
        }
        let mut refused: BTreeMap<usize, Error> = BTreeMap::new();
        for (step, error) in refusals? {
            refused.entry(step).or_insert(error);
        }
        let mut moves = Vec::with_capacity(steps.len());
        let mut outcomes = Vec::with_capacity(steps.len());
        for (index, (step, (error, indices))) in steps.iter().zip(prepared).enumerate() {
            if let Some(error) = error.or_else(|| refused.remove(&index)) {
                outcomes.push(Outcome::Refused(error));
                continue;
            }
            moves.push(Move {
                partition: &step.partition,
                cursor: step.cursor_after,
                indices,
            });
            outcomes.push(Outcome::Applied);
        }
        self.cursors.write(&self.client, moves).await?;
        self.heard = SystemTime::now();
        Ok(outcomes)
    }
}
