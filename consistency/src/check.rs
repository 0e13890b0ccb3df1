//! The check itself.
//!
//! 1. A fence goes through the pipeline: what was committed before is in the store, or the verdict is `unknown`.
//! 2. Every table is streamed from MySQL and each batch looked up in the store. Rows that differ are suspects. Of every
//!    key a 64-bit fingerprint is kept.
//! 3. The store's keys are listed once for all tables. Keys without a fingerprint are suspects. When there were more
//!    keys than fingerprints fit, the other parts of the key space follow, keys only, one pass each.
//! 4. Suspects are asked again (`settle.rs`); those that stay are findings.
//!
//! Memory: a few batches, the fingerprints (`fingerprints.rs`), and at most [`SUSPECTS_MAX`] keys of suspects: when
//! there are more, those found so far are settled first.

mod settle;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use mysql_async::Conn;
use tokio::sync::mpsc;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use self::settle::Suspect;
use crate::compare::agree;
use crate::config::Config;
use crate::error::Error;
use crate::fence::{self, Fence, Passage};
use crate::findings::Findings;
use crate::fingerprints::{FINGERPRINTS_MAX, Fingerprints, Part, Sighting};
use crate::mysql::{self, Batch, Projection, schema};
use crate::options::{Options, StoreName};
use crate::pattern::Pattern;
use crate::progress::{Event, Progress};
use crate::report::{FenceReport, Reason, Report, TableReport};
use crate::store::Store;
use crate::store::redis::RedisStore;
use crate::table::Table;

/// Suspects remembered at most before they are settled.
const SUSPECTS_MAX: usize = 100_000;
/// Keys that the store has and MySQL was not seen to have, remembered so that one named twice counts once.
const STRANGERS_MAX: usize = 2_000_000;

/// Compares the tables of a configuration with a store.
///
/// Takes as long as reading both sides does, plus the fences. Needs SELECT on the tables, and CREATE, INSERT, DELETE on
/// `__db_mysync` unless `options.fence` is false.
///
/// # Errors
/// When the configuration does not fit the servers, or a server cannot be reached or fails. A fence that does not
/// arrive and a check that observes nothing are no errors but reports with the verdict `unknown`.
pub async fn check(config: &Config, options: &Options, progress: &dyn Progress) -> Result<Report, Error> {
    let started = Instant::now();
    let config = &Config {
        source: mysql::primary::follow(&config.source).await?,
        ..config.clone()
    };
    let mut session = mysql::connect(&config.source).await?;
    let asked = asked_tables(&options.tables)?;
    let tables = schema::tables(&mut session, config, &asked).await?;
    if tables.is_empty() {
        let what = format!("no table of {} matches", config.source.server);
        let hint = "correct tables in [source] and --table: patterns <database>.<table>, in which * and ? match";
        return Ok(Report::unknown(options.store.word(), what, hint));
    }
    let fence_table = fence::table(tables.len());
    let with_fence: Vec<Table> = tables.iter().cloned().chain([fence_table.clone()]).collect();
    let store: Arc<dyn Store> = match options.store {
        StoreName::Redis => Arc::new(RedisStore::connect(config, &with_fence).await?),
    };
    let fence = match options.fence {
        true => {
            let session = mysql::connect(&config.source).await?;
            Some(Fence::prepare(session, fence_table, config.check.settle_max).await?)
        }
        false => None,
    };
    let reports = tables.iter().map(|table| TableReport {
        name: table.full_name(),
        ..TableReport::default()
    });
    let mut run = Run {
        config,
        progress,
        reports: reports.collect(),
        tables: tables.into(),
        store,
        session,
        fence_report: FenceReport {
            used: fence.is_some(),
            ..FenceReport::default()
        },
        fence,
        suspects: Vec::new(),
        findings: Findings::new(options.findings_max, options.findings_file.as_deref())?,
        settle_deadline: None,
    };
    let outcome = run.compare().await;
    run.finish(outcome, started).await
}

/// What is under way.
struct Run<'a> {
    config: &'a Config,
    progress: &'a dyn Progress,
    tables: Arc<[Table]>,
    reports: Vec<TableReport>,
    store: Arc<dyn Store>,
    /// For looking rows up again.
    session: Conn,
    fence: Option<Fence>,
    fence_report: FenceReport,
    suspects: Vec<Suspect>,
    findings: Findings,
    /// Without a fence: until when rows are asked again, from the first time that they are.
    settle_deadline: Option<Instant>,
}

/// Why a run ended before its end.
enum Stopped {
    /// A fence did not arrive.
    FenceMissed,
    /// An error.
    Failed(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What became of one batch.
struct Compared {
    rows: u64,
    fingerprints: Vec<u64>,
    suspects: Vec<Suspect>,
}

impl Run<'_> {
    async fn compare(&mut self) -> Result<(), Stopped> {
        self.pass_fence().await?;
        let mut known = Fingerprints::whole(FINGERPRINTS_MAX);
        for number in 0..self.tables.len() {
            self.compare_table(number, &mut known).await?;
        }
        let others: Vec<Part> = known.part().others().collect();
        self.find_extra(known).await?;
        for part in others {
            let mut known = Fingerprints::of_part(part, FINGERPRINTS_MAX);
            for number in 0..self.tables.len() {
                self.read_keys(number, &mut known).await?;
            }
            self.find_extra(known).await?;
        }
        self.settle().await
    }

    /// Waits until everything committed so far is in the store. Without a fence there is nothing to wait for.
    async fn pass_fence(&mut self) -> Result<(), Stopped> {
        let Some(fence) = &mut self.fence else { return Ok(()) };
        self.progress.event(Event::Fence);
        match fence.pass(self.store.as_ref()).await? {
            Passage::Passed(waited) => {
                self.fence_report.passed += 1;
                self.fence_report.wait_seconds_max = self.fence_report.wait_seconds_max.max(waited.as_secs_f64());
                Ok(())
            }
            Passage::Missed => Err(Stopped::FenceMissed),
        }
    }

    async fn compare_table(&mut self, number: usize, known: &mut Fingerprints) -> Result<(), Stopped> {
        let table = &self.tables[number];
        self.progress.event(Event::Table {
            name: &table.full_name(),
            rows_estimate: table.rows_estimate,
        });
        let batches = self.batches(number, Projection::Whole).await?;
        let (store, tables) = (self.store.clone(), self.tables.clone());
        let mut compared = batches
            .map(|batch| {
                let (store, tables) = (store.clone(), tables.clone());
                async move { joined(tokio::spawn(compare_batch(store, tables, number, batch?))).await }
            })
            .buffer_unordered(self.config.check.rows_parallel);
        while let Some(Compared {
            rows,
            fingerprints,
            suspects,
        }) = compared.try_next().await?
        {
            self.reports[number].rows_mysql += rows;
            self.progress.event(Event::Rows { rows });
            fingerprints
                .into_iter()
                .for_each(|fingerprint| known.insert(fingerprint));
            self.suspects.extend(suspects);
            if self.suspects.len() >= SUSPECTS_MAX {
                self.settle().await?;
            }
        }
        Ok(())
    }

    async fn read_keys(&mut self, number: usize, known: &mut Fingerprints) -> Result<(), Stopped> {
        let mut batches = self.batches(number, Projection::Key).await?;
        while let Some(batch) = batches.try_next().await? {
            for key in batch.iter().filter_map(|row| self.tables[number].key_of(row)) {
                let store_key = self.store.key(&self.tables[number], &slices(&key));
                known.insert(fingerprint(number, &store_key));
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

    /// Lists the store's keys; those that MySQL was not seen to have are suspects.
    async fn find_extra(&mut self, mut known: Fingerprints) -> Result<(), Stopped> {
        self.progress.event(Event::Scan);
        let (store, tables) = (self.store.clone(), self.tables.clone());
        let mut strangers: HashSet<u64> = HashSet::new();
        let mut found = store.scan(&tables);
        while let Some(keys) = found.try_next().await? {
            self.progress.event(Event::Keys {
                keys: keys.len() as u64,
            });
            for stored in keys {
                let fingerprint = fingerprint(stored.table, &stored.store_key);
                match known.see(fingerprint) {
                    Sighting::Again | Sighting::Elsewhere => {}
                    Sighting::First => self.reports[stored.table].rows_store += 1,
                    Sighting::Unknown if strangers.contains(&fingerprint) => {}
                    Sighting::Unknown => {
                        if strangers.len() < STRANGERS_MAX {
                            strangers.insert(fingerprint);
                        }
                        self.reports[stored.table].rows_store += 1;
                        self.suspects
                            .push(Suspect::new(stored.table, stored.key, stored.store_key));
                    }
                }
            }
            if self.suspects.len() >= SUSPECTS_MAX {
                self.settle().await?;
            }
        }
        Ok(())
    }

    async fn finish(mut self, outcome: Result<(), Stopped>, started: Instant) -> Result<Report, Error> {
        if let Some(fence) = self.fence.take() {
            // A marker row left behind harms nobody, and the comparison stands without its removal.
            let _ = fence.remove().await;
        }
        let reason = match outcome {
            Ok(()) => None,
            Err(Stopped::FenceMissed) => Some(fence_missed(self.config.check.settle_max, self.store.name())),
            Err(Stopped::Failed(error)) => return Err(error),
        };
        let (findings, findings_omitted) = self.findings.finish()?;
        let not_compared = self.tables.iter().flat_map(Table::columns_not_compared).collect();
        let mut report = Report {
            fence: self.fence_report,
            tables: self.reports,
            findings,
            findings_omitted,
            not_compared,
            ..Report::unknown(self.store.name(), "", "")
        };
        report.reason = reason;
        report.seconds = started.elapsed().as_secs_f64();
        report.judge();
        Ok(report)
    }
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

/// Looks a batch up in the store and keeps what differs.
async fn compare_batch(
    store: Arc<dyn Store>,
    tables: Arc<[Table]>,
    number: usize,
    batch: Batch,
) -> Result<Compared, Error> {
    let table = &tables[number];
    let mut store_keys = Vec::with_capacity(batch.len());
    for row in &batch {
        let parts: Option<Vec<&[u8]>> = table.key.iter().map(|place| row.get(*place)?.as_deref()).collect();
        store_keys.push(store.key(table, &parts.ok_or_else(|| mysql::null_in_key(table))?));
    }
    let stored = store.rows(table, &store_keys).await?;
    let stored: Vec<_> = stored
        .into_iter()
        .map(|stored| stored.map(|row| table.comparable(row)))
        .collect();
    if stored.len() != batch.len() {
        return Err(Error::failed(
            "the store answered for another number of rows",
            format!(
                "{}: asked for {}, answered {}",
                table.full_name(),
                batch.len(),
                stored.len()
            ),
            "report it with the store's version",
        ));
    }
    let fingerprints = store_keys
        .iter()
        .map(|store_key| fingerprint(number, store_key))
        .collect();
    let rows = batch.len() as u64;
    let differing = batch
        .iter()
        .zip(store_keys)
        .zip(&stored)
        .filter(|((row, _), stored)| !agree(Some(row), stored.as_ref()));
    let suspects = differing
        .filter_map(|((row, store_key), _)| Some(Suspect::new(number, table.key_of(row)?, store_key)))
        .collect();
    Ok(Compared {
        rows,
        fingerprints,
        suspects,
    })
}

fn fingerprint(table: usize, store_key: &[u8]) -> u64 {
    xxh3_64_with_seed(store_key, table as u64)
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
