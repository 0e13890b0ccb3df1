//! A filled topic of one partition into each store by the store's writer, beside a bare client that sends the same batches.
//!
//! Each store has servers of its own, so that none works beside another. For each run the reader fills the topics of a new
//! prefix; writer and bare client then begin with tables of their own, empty ones, in turns.

mod bare;
mod batches;

use super::child::{self, Used};
use super::report::{Report, Row, median};
use super::{backlog, ground};
use crate::error::{Doing, Result};
use crate::pipeline;
use crate::report as say;
use clap::ValueEnum;
use fixtures::{Lab, LabBuilder};
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;

pub(super) use bare::run as run_bare;

/// A single process may take so long.
const DEADLINE: Duration = Duration::from_secs(900);

const TABLE: &str = "bench.narrow";

/// A store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Store {
    /// Redis 7.
    Redis,
    /// Elasticsearch 8.
    Elasticsearch,
    /// HBase 2, by its Thrift2 gateway.
    Hbase,
}

impl Store {
    pub(super) const ALL: [Self; 3] = [Self::Redis, Self::Elasticsearch, Self::Hbase];

    fn name(self) -> &'static str {
        match self {
            Store::Redis => "redis",
            Store::Elasticsearch => "elasticsearch",
            Store::Hbase => "hbase",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Store::Redis => "Redis",
            Store::Elasticsearch => "Elasticsearch",
            Store::Hbase => "HBase",
        }
    }

    fn add(self, builder: LabBuilder) -> LabBuilder {
        match self {
            Store::Redis => builder.redis(),
            Store::Elasticsearch => builder.elasticsearch(),
            Store::Hbase => builder.hbase(),
        }
    }
}

/// What is to be measured.
pub(super) struct Plan {
    /// Rows inserted; 1.4 times as many changes.
    pub(super) rows: u64,
    pub(super) seed: u64,
    /// Writer and bare client run so often, by turns.
    pub(super) runs: usize,
    pub(super) stores: Vec<Store>,
}

/// What one process did.
struct Measured {
    /// Rows that it sent: the last change of each in a batch.
    sent: f64,
    seconds: f64,
    cpu_s: f64,
    peak_mb: Option<f64>,
}

pub(super) async fn run(plan: &Plan) -> Result<Report> {
    let mut report = Report::default();
    for store in &plan.stores {
        measure(*store, plan, &mut report).await?;
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    report.conditions.insert("cores", cores.to_string());
    let changes = backlog::changes(plan.rows).to_string();
    report.conditions.insert("changes in the topic", changes);
    let runs = plan.runs.to_string();
    report.conditions.insert("runs of each, by turns, medians shown", runs);
    let note = "a batch holds the last change of each row in it: changes_per_s counts all, rows_per_s what was sent. The writer's \
                seconds are from its start; the bare client has made its requests before it begins, and keeps no cursor";
    report.conditions.insert("note", note.into());
    Ok(report)
}

async fn measure(store: Store, plan: &Plan, report: &mut Report) -> Result<()> {
    let title = store.title();
    say::progress(&format!(
        "{title}: filling a server with {} changes",
        backlog::changes(plan.rows)
    ));
    let lab = ground::lab_with(|builder| store.add(builder)).await?;
    if let Store::Redis = store {
        stop_rewriting(&lab).await?;
    }
    backlog::load(ground::primary(&lab)?, plan.rows, plan.seed).await?;
    let (mut writers, mut bares) = (Vec::new(), Vec::new());
    for run in 1..=plan.runs {
        let config = ground::write_config(&lab, &format!("run-{run}"), TABLE, &[])?;
        say::progress(&format!("{title}, run {run} of {}: the topic is filled", plan.runs));
        fill(&config, plan).await?;
        say::progress(&format!("{title}, run {run} of {}: mysync writer", plan.runs));
        writers.push(writer(store, &config, plan).await?);
        say::progress(&format!("{title}, run {run} of {}: the bare client", plan.runs));
        bares.push(bare(store, &config).await?);
    }
    lab.down().await.doing(|| "the servers cannot be removed".into())?;
    let (writer, bare) = (format!("{title}: mysync writer"), format!("{title}: a bare client"));
    let changes = backlog::changes(plan.rows);
    report.rows.push(row(&writer, changes, &writers));
    report.rows.push(row(&bare, changes, &bares));
    report.ratio(
        &format!("rows/s, {title}: writer to bare client"),
        "rows_per_s",
        &writer,
        &bare,
    );
    Ok(())
}

/// Now and then Redis writes its log anew, in a process of its own, which takes one of few cores from one contestant or the other.
async fn stop_rewriting(lab: &Lab) -> Result<()> {
    let command = "CONFIG SET auto-aof-rewrite-percentage 0";
    let what = || "Redis cannot be set up".to_owned();
    let redis = lab.redis().doing(what)?;
    redis.command::<()>(command).await.doing(what)
}

fn row(name: &str, changes: u64, runs: &[Measured]) -> Row {
    let middle = |pick: &dyn Fn(&Measured) -> f64| median(&runs.iter().map(pick).collect::<Vec<_>>());
    let mut figures = vec![
        ("changes_per_s", middle(&|run| changes as f64 / run.seconds)),
        ("rows_per_s", middle(&|run| run.sent / run.seconds)),
        ("seconds", middle(&|run| run.seconds)),
        ("cpu_s", middle(&|run| run.cpu_s)),
    ];
    let peaks: Vec<f64> = runs.iter().filter_map(|run| run.peak_mb).collect();
    figures.extend((!peaks.is_empty()).then(|| ("peak_mb", median(&peaks))));
    Row {
        name: name.into(),
        figures: figures.into_iter().collect(),
    }
}

async fn fill(config: &Path, plan: &Plan) -> Result<()> {
    let mut command = Command::new(pipeline::binary()?);
    command
        .args(["reader", "--until-caught-up", "--json", "--config"])
        .arg(config);
    let used = child::run("mysync reader", command, DEADLINE).await?;
    used.require("mysync reader", "changes", backlog::changes(plan.rows))
}

async fn writer(store: Store, config: &Path, plan: &Plan) -> Result<Measured> {
    let mut command = Command::new(pipeline::binary()?);
    command
        .args(["writer", store.name(), "--until-caught-up", "--json", "--config"])
        .arg(config);
    let used = child::run("mysync writer", command, DEADLINE).await?;
    used.require("mysync writer", "records", backlog::records(plan.rows))?;
    let mut measured = measured(&used)?;
    measured.cpu_s = used.cpu_s;
    measured.peak_mb = Some(used.peak_mb as f64);
    Ok(measured)
}

async fn bare(store: Store, config: &Path) -> Result<Measured> {
    let mut command = Command::new(std::env::current_exe().doing(|| "the own binary is not known".into())?);
    command.args(["bare", store.name(), "--config"]).arg(config);
    let used = child::run("the bare client", command, DEADLINE).await?;
    let mut measured = measured(&used)?;
    measured.cpu_s = used.number("cpu_s")?;
    Ok(measured)
}

fn measured(used: &Used) -> Result<Measured> {
    Ok(Measured {
        sent: used.number("changes")?,
        seconds: used.number("seconds")?,
        cpu_s: 0.0,
        peak_mb: None,
    })
}
