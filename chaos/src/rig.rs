//! The rig of a run: the lab, the pipeline on it, the bank that writes, and what observes each hop.
//!
//! It comes up in this order: servers, tables, observers, reader and writers, then pulses (one row that is updated) until
//! one comes through; only what is acknowledged after that must arrive. Then the accounts are opened, and the workload begins
//! when each store shows one. After the workload it settles: one more pulse must come through, and the numbers of the changes
//! seen must have no hole.

use crate::drill::{self, Drill, FaultKind, TargetName};
use crate::error::{Doing, Error, Result};
use crate::fault::Surroundings;
use crate::history::{Begun, Convergence, Ended, Record, Recorder, Settled};
use crate::observe::{RowObserver, TopicObserver, Watched};
use crate::pipeline::{self, Pipeline, Role};
use crate::proxy::Proxy;
use crate::verdict::{EXAMPLES_MAX, Verdict};
use crate::workload::bank::{self, Bank};
use fixtures::{Lab, LabConfig, Mysql};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Prefix of the topics of a drill.
pub const PREFIX: &str = "drill";
/// Prefix of the topics that a fault aims at.
pub const TABLE_TOPICS: &str = "drill.bank.";
/// The table whose one row is updated to see whether the pipeline is awake.
const PULSE_TABLE: &str = "bank.pulse";
/// The table whose rows are watched in the stores.
const WATCHED_TABLE: &str = "bank.account";
/// Rows watched in each store.
const WATCHED_ROWS_MAX: u64 = 60;
/// A second writer on the same machine needs a name of its own in its target's group.
const SECOND_WRITERS: &str = "\n[writer]\nmember = \"second\"\n";
/// Longest time until the first change comes through.
const AWAKE_DEADLINE: Duration = Duration::from_secs(60);
/// How long a pulse is waited for before the next one is written.
const PULSE_INTERVAL: Duration = Duration::from_millis(250);
/// Longest time to catch up after the workload.
const SETTLE_DEADLINE: Duration = Duration::from_secs(60);

/// All that a run needs, up and awake.
pub struct Rig {
    /// The servers.
    pub lab: Lab,
    /// Reader and writers.
    pub pipeline: Pipeline,
    /// What writes to MySQL.
    pub bank: Bank,
    /// What is seen in the topics.
    pub topics: TopicObserver,
    /// What is seen in each store.
    pub rows: Vec<RowObserver>,
    /// Where all is recorded.
    pub recorder: Recorder,
    seed: u64,
    /// What the checker gets.
    config: PathBuf,
    /// Patterns of all tables that are followed.
    tables: Vec<String>,
    proxies: Vec<Proxy>,
}

/// What a rig is set up for.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// The plan.
    pub drill: &'a Drill,
    /// Seed of all that is random.
    pub seed: u64,
    /// Where everything of the run is kept; must not hold a run yet.
    pub folder: &'a Path,
    /// Tables that are followed besides the workload's, as patterns `<database>.<table>`.
    pub more_tables: &'a [&'a str],
}

impl Rig {
    /// Brings all up and begins the history of the run.
    pub async fn set_up(setup: Setup<'_>) -> Result<Self> {
        let Setup {
            drill,
            seed,
            folder,
            more_tables,
        } = setup;
        // Before servers are started for nothing.
        let binary = pipeline::binary()?;
        let recorder = begin(drill, seed, folder)?;
        let lab = lab(drill, folder).await?;
        let tables = [&[bank::TABLES], more_tables].concat();
        let proxies = proxies(drill, &lab).await?;
        let config = folder.join("mysync.toml");
        configure(drill, lab.config(PREFIX, &tables), &proxies, &config)?;
        let primary = lab.primary().doing(|| "the drill's lab has no MySQL".into())?;
        let bank = Bank::create(primary, &drill.workload, seed, &recorder).await?;
        let kafka = lab.kafka().doing(|| "the drill's lab has no brokers".into())?;
        let topics = TopicObserver::start(&kafka.bootstrap(), PREFIX, PULSE_TABLE, &recorder)?;
        let watch = |store: &TargetName| {
            let watched = Watched {
                store: *store,
                address: address(&lab, *store)?,
                table: WATCHED_TABLE.into(),
                keys: bank.watched(WATCHED_ROWS_MAX),
            };
            RowObserver::start(watched, &recorder)
        };
        let rows = drill.lab.targets.iter().map(watch).collect::<Result<_>>()?;
        let pipeline = Pipeline::new(binary, &config, folder, &recorder);
        for role in Role::all(&drill.lab.targets) {
            pipeline.start(role)?;
        }
        let mut rig = Self {
            lab,
            pipeline,
            bank,
            topics,
            rows,
            recorder,
            seed,
            config: folder.join("mysync-check.toml"),
            tables: tables.into_iter().map(str::to_owned).collect(),
            proxies,
        };
        rig.wake().await?;
        if drill.lab.readers > 1 {
            // Now that the first one leads.
            rig.pipeline.start(Role::SecondReader)?;
        }
        rig.bank.open_accounts().await?;
        rig.wake_stores().await?;
        Ok(rig)
    }

    /// What a fault may look at and break.
    #[must_use]
    pub fn surroundings(&self) -> Surroundings<'_> {
        Surroundings {
            lab: &self.lab,
            pipeline: &self.pipeline,
            clients: self.bank.clients(),
            proxies: &self.proxies,
            topics: &self.topics,
            rows: &self.rows,
            recorder: &self.recorder,
            topics_prefix: TABLE_TOPICS,
            seed: self.seed,
        }
    }

    /// Lets `duration` pass, or fails as soon as a process has ended by itself.
    pub async fn hold(&self, duration: Duration) -> Result<()> {
        let until = Instant::now() + duration;
        loop {
            self.pipeline.check()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            tokio::time::sleep(left.min(PULSE_INTERVAL)).await;
        }
    }

    /// Waits until all that was written has come through, and records whether it did.
    pub async fn settle(&mut self) -> Result<()> {
        let number = self.bank.pulse(true).await?;
        let whole = match self.topics.wait_for_pulse(number, SETTLE_DEADLINE).await {
            true => self.topics.wait_for_no_hole(SETTLE_DEADLINE).await,
            // Without the pulse, changes may be late and not lost.
            false => Err(String::new()),
        };
        let pulse_came = whole.as_ref().err().is_none_or(|hole| !hole.is_empty());
        let detail = match whole {
            Ok(()) => format!("pulse {number} came through, and every change before it"),
            Err(hole) if hole.is_empty() => {
                format!(
                    "pulse {number} did not come through within {} s",
                    SETTLE_DEADLINE.as_secs()
                )
            }
            Err(hole) => format!("pulse {number} came through, but {hole}"),
        };
        self.recorder.append(&Record::Settled(Settled {
            at_us: self.recorder.now_us(),
            caught_up: pulse_came,
            detail,
        }));
        self.topics.check().await
    }

    /// Records which transactions the primary has in the end.
    pub async fn ask_journal(&self) -> Result<()> {
        self.bank.ask_journal(self.primary()?).await
    }

    /// Compares every row of the primary with every store, and records what the checker says.
    pub async fn converge(&self) -> Result<()> {
        let tables: Vec<&str> = self.tables.iter().map(String::as_str).collect();
        let text = self
            .lab
            .config(PREFIX, &tables)
            .servers(vec![self.primary()?.address()])
            .toml();
        std::fs::write(&self.config, text)
            .doing(|| format!("the configuration file cannot be written: {}", self.config.display()))?;
        let said = match consistency::Config::load(&self.config) {
            Ok(config) => consistency::check(&config, &consistency::Options::default(), &consistency::Silent).await,
            Err(error) => Err(error),
        };
        // The checker's fences are changes too, and rows of a refresh can come behind them. A hole that stays is judged later.
        self.topics.wait_for_no_hole(SETTLE_DEADLINE).await.ok();
        let at_us = self.recorder.now_us();
        for observer in &self.rows {
            let store = observer.store();
            let said = match &said {
                Ok(report) => report.store(store.word()).ok_or("it was not compared".to_owned()),
                Err(error) => Err(error.to_string()),
            };
            self.recorder.append(&Record::Convergence(match said {
                Ok(report) => convergence(report, store, at_us),
                Err(why) => Convergence {
                    at_us,
                    store,
                    verdict: Verdict::Unknown,
                    rows: 0,
                    missing: 0,
                    extra: 0,
                    different: 0,
                    examples: vec![why],
                },
            }));
        }
        Ok(())
    }

    /// Ends the history, then the processes, and removes the servers; the logs stay. `trouble` says why the run stopped
    /// early, if it did.
    pub async fn tear_down(self, trouble: Option<String>) -> Result<()> {
        self.recorder.append(&Record::Ended(Ended {
            at_us: self.recorder.now_us(),
            trouble,
        }));
        self.recorder.flush()?;
        let stopped = self.pipeline.stop().await;
        drop(self.pipeline);
        self.lab.down().await.doing(|| "the lab could not be removed".into())?;
        stopped
    }

    fn primary(&self) -> Result<&Mysql> {
        self.lab.primary().doing(|| "the drill's lab has no MySQL".into())
    }

    /// Waits until each store shows an account. The first one takes longest: the store makes its tables.
    async fn wake_stores(&self) -> Result<()> {
        for observer in &self.rows {
            if !observer.wait_for_first(AWAKE_DEADLINE).await {
                self.pipeline.check()?;
                let (store, seconds) = (observer.store(), AWAKE_DEADLINE.as_secs());
                let what = format!("no change came through to {} within {seconds} s", store.title());
                return Err(Error::definite(what).hint("the writer's log is in the run folder"));
            }
        }
        Ok(())
    }

    /// Writes pulses until one comes through.
    async fn wake(&mut self) -> Result<()> {
        let deadline = Instant::now() + AWAKE_DEADLINE;
        let first = self.bank.pulse(false).await?;
        while Instant::now() < deadline {
            self.pipeline.check()?;
            if self.topics.wait_for_pulse(first, PULSE_INTERVAL).await {
                return Ok(());
            }
            self.bank.pulse(false).await?;
        }
        self.topics.check().await?;
        Err(Error::definite(format!(
            "no change came through to Kafka within {} s",
            AWAKE_DEADLINE.as_secs()
        ))
        .hint("the reader's log is in the run folder"))
    }
}

fn begin(drill: &Drill, seed: u64, folder: &Path) -> Result<Recorder> {
    std::fs::create_dir_all(folder).doing(|| format!("the run folder cannot be created: {}", folder.display()))?;
    std::fs::write(folder.join(drill::FILE_NAME), drill.to_toml()?)
        .doing(|| format!("the run folder cannot be written: {}", folder.display()))?;
    let recorder = Recorder::create(folder)?;
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    recorder.append(&Record::Begun(Box::new(Begun {
        drill: drill.clone(),
        seed,
        started_unix_ms: u64::try_from(started.as_millis()).unwrap_or(u64::MAX),
        mysync_version: env!("CARGO_PKG_VERSION").into(),
        prefix: PREFIX.into(),
    })));
    recorder.flush()?;
    Ok(recorder)
}

/// The readers' ways to the servers, where the plan wants some that can be blocked.
async fn proxies(drill: &Drill, lab: &Lab) -> Result<Vec<Proxy>> {
    let mut proxies = Vec::new();
    if drill.lab.proxies {
        for server in lab.mysql_servers() {
            proxies.push(Proxy::start(&server.address()).await?);
        }
    }
    Ok(proxies)
}

/// Writes the configuration of reader and writers, and beside it those of a second reader and of second writers.
fn configure(drill: &Drill, mut text: LabConfig, proxies: &[Proxy], config: &Path) -> Result<()> {
    text = text.reader(&format!("delivery = {:?}", drill.delivery.word()));
    if !proxies.is_empty() {
        text = text.servers(proxies.iter().map(Proxy::address).collect());
    }
    let write = |path: &Path, text: &str| {
        std::fs::write(path, text).doing(|| format!("the configuration file cannot be written: {}", path.display()))
    };
    if drill.lab.readers > 1 {
        text = text.reader("ha = true");
        write(&pipeline::second_config(config), &text.clone().reader_number(1).toml())?;
    }
    write(config, &text.toml())?;
    if drill.faults.iter().any(|fault| fault.kind == FaultKind::PauseWriter) {
        write(&pipeline::second_writer_config(config), &(text.toml() + SECOND_WRITERS))?;
    }
    Ok(())
}

async fn lab(drill: &Drill, folder: &Path) -> Result<Lab> {
    let plan = &drill.lab;
    let mut builder = Lab::builder()
        .name(drill.name.as_str())
        .run_folder(folder.join("servers"))
        .mysql(plan.mysql.as_str())
        .replicas(plan.replicas)
        .gtid(plan.gtid)
        .semi_sync(plan.semi_sync)
        .brokers(plan.brokers);
    for target in &plan.targets {
        builder = match target {
            TargetName::Redis => builder.redis(),
            TargetName::Elasticsearch => builder.elasticsearch(),
            TargetName::Hbase => builder.hbase(),
        };
    }
    builder.start().await.doing(|| "the lab does not come up".into())
}

/// Where a store is watched.
fn address(lab: &Lab, store: TargetName) -> Result<String> {
    let address = match store {
        TargetName::Redis => lab.redis().map(|server| server.url()),
        TargetName::Elasticsearch => lab.elasticsearch().map(|server| server.url()),
        TargetName::Hbase => lab.hbase().map(|server| server.address()),
    };
    address.doing(|| format!("the drill's lab has no {}", store.title()))
}

fn convergence(report: &consistency::StoreReport, store: TargetName, at_us: u64) -> Convergence {
    let sum = |count: fn(&consistency::TableReport) -> u64| report.tables.iter().map(count).sum();
    let mut examples: Vec<String> = report
        .reason
        .iter()
        .map(|reason| format!("{}: {} (hint: {})", store.title(), reason.what, reason.hint))
        .collect();
    examples.extend(report.findings.iter().take(EXAMPLES_MAX).map(|finding| {
        let columns: Vec<String> = finding
            .columns
            .iter()
            .map(|column| {
                format!(
                    "{}: {:?} in MySQL, {:?} in the store",
                    column.name, column.mysql, column.store
                )
            })
            .collect();
        let (what, key) = (finding.kind.word(), &finding.store_key);
        format!("{}: {what} {key} {}", store.title(), columns.join(", "))
    }));
    Convergence {
        at_us,
        store,
        verdict: match report.verdict {
            consistency::Verdict::Consistent => Verdict::Consistent,
            consistency::Verdict::Unknown => Verdict::Unknown,
            consistency::Verdict::Inconsistent => Verdict::Inconsistent,
        },
        rows: report.rows_mysql(),
        missing: sum(|table| table.missing),
        extra: sum(|table| table.extra),
        different: sum(|table| table.different),
        examples,
    }
}
