//! The check itself.
//!
//! 1. A fence goes through the pipeline: what was committed before is in the stores. A store that it does not reach is
//!    left out from there on, and its verdict is `unknown`.
//! 2. Every table is streamed from MySQL once, and each batch looked up in all stores at once. Rows that differ are
//!    suspects. Of every key, as each store spells it, a 64-bit fingerprint is kept.
//! 3. Each store's keys are listed once for all tables, all stores at the same time. Keys without a fingerprint are
//!    suspects. When there were more keys than fingerprints fit, the other parts of the key space follow, keys only,
//!    one pass each.
//! 4. Suspects are asked again (`settle.rs`); those that stay are findings.
//!
//! Memory: a few batches, the fingerprints (`fingerprints.rs`), and at most [`SUSPECTS_MAX`] keys of suspects: when
//! there are more, those found so far are settled first.

mod settle;
mod side;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use futures::stream::{BoxStream, select_all};
use futures::{StreamExt, TryStreamExt};
use mysql_async::Conn;
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::settle::Suspect;
use self::side::{Compared, ComparedWith, Placed, Side, compare_batch, fingerprint};
use crate::config::Config;
use crate::error::Error;
use crate::fence::{self, Fence, Passage};
use crate::findings::Findings;
use crate::fingerprints::{FINGERPRINTS_MAX, Fingerprints, Part, Sighting};
use crate::mysql::{self, Batch, Projection, schema};
use crate::options::Options;
use crate::pattern::Pattern;
use crate::progress::{Event, Progress};
use crate::report::{Reason, Report, StoreReport};
use crate::store::{self, Store};
use crate::table::Table;

/// Suspects remembered at most before they are settled.
const SUSPECTS_MAX: usize = 100_000;
/// Keys that the store has and MySQL was not seen to have, remembered so that one named twice counts once.
const STRANGERS_MAX: usize = 2_000_000;

/// Compares the tables of a configuration with the stores.
///
/// Takes as long as reading both sides does, plus the fences. Needs SELECT on the tables, and CREATE, INSERT, DELETE on
/// `__db_mysync` unless `options.fence` is false.
///
/// # Errors
/// When the configuration does not fit the servers, or a server cannot be reached or fails. A fence that does not
/// arrive and a check that observes nothing are no errors but reports with the verdict `unknown`.
pub async fn check(config: &Config, options: &Options, progress: &dyn Progress) -> Result<Report, Error> {
    let started = Instant::now();
    let sections = store::chosen(config, &options.stores)?;
    let config = &Config {
        source: mysql::primary::follow(&config.source).await?,
        ..config.clone()
    };
    let mut session = mysql::connect(&config.source).await?;
    let asked = asked_tables(&options.tables)?;
    let tables = schema::tables(&mut session, config, &asked).await?;
    let absent = absent(config, &asked, &tables);
    if tables.is_empty() || !absent.is_empty() {
        let server = &config.source.server;
        let what = match absent.is_empty() {
            true => format!("no table of {server} matches"),
            false => format!(
                "not on {server}, or not for `{}` to see: {}",
                config.source.user,
                absent.join(", ")
            ),
        };
        let hint = "correct tables in [source] and --table (patterns <database>.<table>, in which * and ? match), or grant SELECT";
        let unknown = sections
            .iter()
            .map(|section| StoreReport::unknown(section.name().word(), &what, hint));
        return Ok(Report::of(unknown.collect(), Vec::new(), 0.0));
    }
    let fence_table = fence::table(tables.len());
    let with_fence: Vec<Table> = tables.iter().cloned().chain([fence_table.clone()]).collect();
    let stores = try_join_all(sections.iter().map(|section| section.connect(config, &with_fence))).await?;
    let fence = match options.fence {
        true => {
            let session = mysql::connect(&config.source).await?;
            Some(Fence::prepare(session, fence_table, config.check.settle_max).await?)
        }
        false => None,
    };
    let findings = Findings::new(stores.len(), options.findings_max, options.findings_file.as_deref())?;
    let sides = stores
        .into_iter()
        .map(|store| Side::new(store, &tables, fence.is_some()));
    let mut run = Run {
        config,
        progress,
        sides: sides.collect(),
        tables: tables.into(),
        session,
        fence,
        suspects: Vec::new(),
        findings,
        settle_deadline: None,
    };
    let outcome = run.compare().await;
    let outcome = run.require_unaltered(outcome, &asked).await;
    run.finish(outcome, started).await
}

/// What is under way.
struct Run<'a> {
    config: &'a Config,
    progress: &'a dyn Progress,
    tables: Arc<[Table]>,
    sides: Vec<Side>,
    /// For looking rows up again.
    session: Conn,
    fence: Option<Fence>,
    suspects: Vec<Suspect>,
    findings: Findings,
    /// Without a fence: until when rows are asked again, from the first time that they are.
    settle_deadline: Option<Instant>,
}

/// Why a run ended before its end.
enum Stopped {
    /// No store is left to compare with.
    NoneLeft,
    /// An error.
    Failed(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Run<'_> {
    async fn compare(&mut self) -> Result<(), Stopped> {
        self.pass_fence().await?;
        let keys_max = FINGERPRINTS_MAX / self.sides.len();
        let mut known: Vec<Fingerprints> = self.sides.iter().map(|_| Fingerprints::whole(keys_max)).collect();
        for number in 0..self.tables.len() {
            self.compare_table(number, &mut known).await?;
        }
        let narrowest = known.iter().map(Fingerprints::part).max();
        let others: Vec<Part> = narrowest.into_iter().flat_map(Part::others).collect();
        self.find_extra(known).await?;
        for part in others {
            let mut known: Vec<Fingerprints> = self
                .sides
                .iter()
                .map(|_| Fingerprints::of_part(part, keys_max))
                .collect();
            for number in 0..self.tables.len() {
                self.read_keys(number, &mut known).await?;
            }
            self.find_extra(known).await?;
        }
        self.settle().await
    }

    /// Waits until everything committed so far is in the stores; one that lacks it takes part no longer. Without a fence
    /// there is nothing to wait for.
    async fn pass_fence(&mut self) -> Result<(), Stopped> {
        let Some(fence) = &mut self.fence else { return Ok(()) };
        self.progress.event(Event::Fence);
        let mut sides: Vec<&mut Side> = self.sides.iter_mut().filter(|side| side.takes_part()).collect();
        let stores: Vec<Arc<dyn Store>> = sides.iter().map(|side| side.store.clone()).collect();
        for (side, passage) in sides.iter_mut().zip(fence.pass(&stores).await?) {
            match passage {
                Passage::Passed(waited) => {
                    side.fence.passed += 1;
                    side.fence.wait_seconds_max = side.fence.wait_seconds_max.max(waited.as_secs_f64());
                }
                Passage::Missed => side.reason = Some(fence_missed(self.config.check.settle_max, side.store.name())),
            }
        }
        match self.sides.iter().any(Side::takes_part) {
            true => Ok(()),
            false => Err(Stopped::NoneLeft),
        }
    }

    /// The stores that are still compared.
    fn stores(&self) -> Arc<[Placed]> {
        let sides = self.sides.iter().enumerate().filter(|(_, side)| side.takes_part());
        sides.map(|(place, side)| (place, side.store.clone())).collect()
    }

    async fn compare_table(&mut self, number: usize, known: &mut [Fingerprints]) -> Result<(), Stopped> {
        let table = &self.tables[number];
        self.progress.event(Event::Table {
            name: &table.full_name(),
            rows_estimate: table.rows_estimate,
        });
        let batches = self.batches(number, Projection::Whole).await?;
        let (stores, tables) = (self.stores(), self.tables.clone());
        let mut compared = batches
            .map(|batch| {
                let (stores, tables) = (stores.clone(), tables.clone());
                async move { joined(tokio::spawn(compare_batch(stores, tables, number, batch?))).await }
            })
            .buffer_unordered(self.config.check.rows_parallel);
        while let Some(Compared { rows, with }) = compared.try_next().await? {
            self.progress.event(Event::Rows { rows });
            for ComparedWith {
                side,
                fingerprints,
                suspects,
                expired,
            } in with
            {
                if self.sides[side].takes_part() {
                    self.sides[side].tables[number].rows_mysql += rows;
                    self.sides[side].tables[number].expired += expired;
                    fingerprints.into_iter().for_each(|hash| known[side].insert(hash));
                    self.suspects.extend(suspects);
                }
            }
            if let Some(narrowest) = known.iter().map(Fingerprints::part).max() {
                known.iter_mut().for_each(|known| known.narrow_down_like(narrowest));
            }
            if self.suspects.len() >= SUSPECTS_MAX {
                self.settle().await?;
            }
        }
        Ok(())
    }

    async fn read_keys(&mut self, number: usize, known: &mut [Fingerprints]) -> Result<(), Stopped> {
        let mut batches = self.batches(number, Projection::Key).await?;
        while let Some(batch) = batches.try_next().await? {
            for key in batch.iter().filter_map(|row| self.tables[number].key_of(row)) {
                for (side, known) in self.sides.iter().zip(known.iter_mut()) {
                    let store_key = side.store.key(&self.tables[number], &slices(&key));
                    known.insert(fingerprint(number, &store_key));
                }
            }
        }
        Ok(())
    }

    async fn batches(
        &self,
        number: usize,
        projection: Projection,
    ) -> Result<BoxStream<'static, Result<Batch, Error>>, Error> {
        let session = mysql::connect(&self.config.source).await?;
        let receiver = mysql::stream(session, self.tables[number].clone(), projection);
        let batches = futures::stream::unfold(receiver, |mut receiver: mpsc::Receiver<_>| async move {
            receiver.recv().await.map(|batch| (batch, receiver))
        });
        Ok(batches.boxed())
    }

    /// Lists the stores' keys; those that MySQL was not seen to have are suspects.
    async fn find_extra(&mut self, mut known: Vec<Fingerprints>) -> Result<(), Stopped> {
        let (stores, tables) = (self.stores(), self.tables.clone());
        let names: Vec<&str> = stores.iter().map(|(_, store)| store.name()).collect();
        self.progress.event(Event::Scan {
            stores: &names.join(", "),
        });
        let mut strangers: HashSet<(usize, u64)> = HashSet::new();
        let scans = stores.iter().map(|(place, store)| {
            let found = store.scan(&tables);
            found.map_ok(|keys| (*place, keys)).boxed()
        });
        let mut found = select_all(scans);
        while let Some((place, keys)) = found.try_next().await? {
            self.progress.event(Event::Keys {
                keys: keys.len() as u64,
            });
            let side = &mut self.sides[place];
            for stored in keys {
                let fingerprint = fingerprint(stored.table, &stored.store_key);
                let report = &mut side.tables[stored.table];
                match known[place].see(fingerprint) {
                    Sighting::Again | Sighting::Elsewhere => {}
                    Sighting::First => report.rows_store += 1,
                    Sighting::Unknown if strangers.contains(&(place, fingerprint)) => {}
                    Sighting::Unknown => {
                        if strangers.len() < STRANGERS_MAX {
                            strangers.insert((place, fingerprint));
                        }
                        report.rows_store += 1;
                        if side.takes_part() {
                            self.suspects.push(Suspect::new(place, stored));
                        }
                    }
                }
            }
            if self.suspects.len() >= SUSPECTS_MAX {
                self.settle().await?;
            }
        }
        Ok(())
    }

    /// A table that was altered or dropped meanwhile was compared by columns that it has no more: that proves nothing, and errors
    /// that come of it are none.
    async fn require_unaltered(&mut self, outcome: Result<(), Stopped>, asked: &[Pattern]) -> Result<(), Stopped> {
        if matches!(outcome, Err(Stopped::NoneLeft)) {
            return outcome;
        }
        let now = match schema::tables(&mut self.session, self.config, asked).await {
            Ok(now) => now,
            Err(error) => return outcome.and(Err(error.into())),
        };
        let is_there = |table: &&Table| now.iter().any(|other| other.is_alike(table));
        let altered = self
            .tables
            .iter()
            .filter(|table| !is_there(table))
            .map(Table::full_name);
        let altered: Vec<String> = altered.collect();
        if altered.is_empty() {
            return outcome;
        }
        for side in self.sides.iter_mut().filter(|side| side.takes_part()) {
            side.reason = Some(Reason {
                what: format!("altered or dropped during the check: {}", altered.join(", ")),
                hint: "check again while no statement changes tables".to_owned(),
            });
        }
        Ok(())
    }

    async fn finish(mut self, outcome: Result<(), Stopped>, started: Instant) -> Result<Report, Error> {
        if let Some(fence) = self.fence.take() {
            // A marker row left behind harms nobody, and the comparison stands without its removal.
            let _ = fence.remove().await;
        }
        match outcome {
            Ok(()) | Err(Stopped::NoneLeft) => {}
            Err(Stopped::Failed(error)) => return Err(error),
        }
        let kept = self.findings.finish()?;
        let stores = self.sides.into_iter().zip(kept).map(|(side, kept)| side.report(kept));
        let not_compared = self.tables.iter().flat_map(Table::columns_not_compared).collect();
        Ok(Report::of(
            stores.collect(),
            not_compared,
            started.elapsed().as_secs_f64(),
        ))
    }
}

/// Tables that are named and not there: a store may have rows of them.
fn absent(config: &Config, asked: &[Pattern], tables: &[Table]) -> Vec<String> {
    let patterns = if asked.is_empty() {
        config.source.tables.as_slice()
    } else {
        asked
    };
    let named = patterns.iter().filter_map(Pattern::names);
    let is_followed = |(database, name): &(String, String)| {
        let excluded = &config.source.tables_exclude;
        !excluded.iter().any(|pattern| pattern.matches(database, name))
    };
    let is_absent = |(database, name): &(String, String)| {
        !tables
            .iter()
            .any(|table| (&table.database, &table.name) == (database, name))
    };
    let absent = named.filter(|named| is_followed(named) && is_absent(named));
    absent.map(|(database, name)| format!("{database}.{name}")).collect()
}

fn asked_tables(names: &[String]) -> Result<Vec<Pattern>, Error> {
    let patterns: Result<Vec<_>, _> = names.iter().map(|name| Pattern::parse(name)).collect();
    patterns.map_err(|reason| {
        Error::configuration(
            "the argument --table is wrong",
            reason,
            "write for instance --table bank.accounts",
        )
    })
}

fn fence_missed(wait_max: Duration, store: &str) -> Reason {
    Reason {
        what: format!(
            "the fence did not arrive in {store} within {} s: is reader/writer running?",
            wait_max.as_secs()
        ),
        hint: "start `mysync reader` and `mysync writer`, or raise settle_seconds_max in [check] where they lag more; \
               --no-fence compares without"
            .to_owned(),
    }
}

fn slices(key: &[Vec<u8>]) -> Vec<&[u8]> {
    key.iter().map(Vec::as_slice).collect()
}

/// The task's own answer; a panic in it goes on here.
async fn joined<T>(task: tokio::task::JoinHandle<Result<T, Error>>) -> Result<T, Error> {
    match task.await {
        Ok(answer) => answer,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(Error::failed(
            "a comparison was cancelled",
            error.to_string(),
            "check again",
        )),
    }
}
