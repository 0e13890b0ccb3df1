//! The backlog through the reader into one broker and one partition, beside its floors and beside Debezium.

use super::ground::MYSQL_PORT;
use super::report::{Report, Row, median};
use super::{backlog, child, floor::Floor, ground, wide};
use crate::error::{Doing, Error, Result};
use crate::pipeline;
use crate::report as say;
use fixtures::Lab;
use fixtures::mysql::ROOT_PASSWORD;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

/// A single process may take so long.
const DEADLINE: Duration = Duration::from_secs(900);

/// Rows of the wide table for each million of the narrow one: about as many bytes as a tenth of it.
const WIDE_ROWS_PER_MILLION: u64 = 60_000;

/// Transactions that make the schema, before the first change.
const SCHEMA_TRANSACTIONS: u32 = 2;

/// What is to be measured.
pub(super) struct Plan {
    /// Rows inserted; 1.4 times as many changes.
    pub(super) rows: u64,
    pub(super) seed: u64,
    /// Each contestant runs so often, by turns.
    pub(super) runs: usize,
    /// The folder of Debezium's classes and jars, if it takes part.
    pub(super) debezium: Option<PathBuf>,
}

/// What runs, by the name of its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contestant {
    Floor(Floor),
    Mysync,
    Debezium,
}

impl Contestant {
    fn name(self) -> &'static str {
        match self {
            Contestant::Floor(Floor::Raw) => "stream alone",
            Contestant::Floor(Floor::Decode) => "decoded, no sink",
            Contestant::Floor(Floor::Json) => "decoded to JSON, no sink",
            Contestant::Mysync => "mysync into Kafka",
            Contestant::Debezium => "Debezium into Kafka",
        }
    }
}

/// One workload on one server, and where the changes go.
struct Course {
    lab: Lab,
    folder: PathBuf,
    table: &'static str,
    changes: u64,
    binlog_bytes: f64,
    debezium: Option<PathBuf>,
}

pub(super) async fn run(plan: &Plan) -> Result<Report> {
    let mut report = Report::default();
    let narrow = Course::narrow(plan).await?;
    let mut contestants = vec![
        Contestant::Floor(Floor::Raw),
        Contestant::Floor(Floor::Decode),
        Contestant::Floor(Floor::Json),
        Contestant::Mysync,
    ];
    contestants.extend(plan.debezium.as_ref().map(|_| Contestant::Debezium));
    narrow.compete(&contestants, plan.runs, "", &mut report).await?;
    narrow
        .lab
        .down()
        .await
        .doing(|| "the servers cannot be removed".into())?;
    let wide = Course::wide(plan).await?;
    let contestants = [
        Contestant::Floor(Floor::Decode),
        Contestant::Floor(Floor::Json),
        Contestant::Mysync,
    ];
    wide.compete(&contestants, plan.runs, ", 100 columns", &mut report)
        .await?;
    wide.lab.down().await.doing(|| "the servers cannot be removed".into())?;

    let [mysync, debezium] = [Contestant::Mysync.name(), Contestant::Debezium.name()];
    let raw = Contestant::Floor(Floor::Raw).name();
    report.ratio("rows/s: mysync to Debezium", "rows_per_s", mysync, debezium);
    report.ratio("CPU seconds: Debezium to mysync", "cpu_s", debezium, mysync);
    report.ratio("peak memory: Debezium to mysync", "peak_mb", debezium, mysync);
    report.ratio(
        "CPU seconds: decoded to the stream alone",
        "cpu_s",
        "decoded, no sink",
        raw,
    );
    for name in ["decoded, no sink", "decoded to JSON, no sink", mysync] {
        let ratio = format!("CPU a byte: 100 columns to 7, {name}");
        report.ratio(&ratio, "cpu_s_per_gb", &format!("{name}, 100 columns"), name);
    }
    report.conditions.insert(
        "cores",
        std::thread::available_parallelism().map_or(0, usize::from).to_string(),
    );
    report
        .conditions
        .insert("changes", backlog::changes(plan.rows).to_string());
    report
        .conditions
        .insert("runs of each, by turns, medians shown", plan.runs.to_string());
    Ok(report)
}

impl Course {
    async fn narrow(plan: &Plan) -> Result<Self> {
        say::progress(&format!(
            "filling a server with {} changes",
            backlog::changes(plan.rows)
        ));
        let lab = ground::lab().await?;
        backlog::load(ground::primary(&lab)?, plan.rows, plan.seed).await?;
        Self::begin(lab, "bench.narrow", backlog::changes(plan.rows), plan).await
    }

    async fn wide(plan: &Plan) -> Result<Self> {
        let rows = (plan.rows * WIDE_ROWS_PER_MILLION / 1_000_000).max(10);
        say::progress(&format!("filling a server with {rows} rows of 100 columns"));
        let lab = ground::lab().await?;
        let server = ground::primary(&lab)?;
        server
            .sql("CREATE DATABASE bench")
            .await
            .doing(|| "the database cannot be made".into())?;
        wide::load(server, rows, plan.seed).await?;
        Self::begin(lab, "bench.wide", rows, plan).await
    }

    async fn begin(lab: Lab, table: &'static str, changes: u64, plan: &Plan) -> Result<Self> {
        let folder = lab.folder().to_owned();
        let binlog_bytes = ground::primary(&lab)?
            .position()
            .await
            .doing(|| "the binlog's end is not known".into())?;
        Ok(Self {
            folder,
            table,
            changes,
            binlog_bytes: binlog_bytes.offset as f64,
            debezium: plan.debezium.clone(),
            lab,
        })
    }

    /// All run once, then all again: what the machine does meanwhile hits them alike.
    async fn compete(&self, contestants: &[Contestant], runs: usize, suffix: &str, report: &mut Report) -> Result<()> {
        let mut measured = vec![Vec::new(); contestants.len()];
        for run in 1..=runs {
            for (contestant, measured) in contestants.iter().zip(&mut measured) {
                say::progress(&format!("run {run} of {runs}: {}{suffix}", contestant.name()));
                measured.push(self.measure(*contestant, run).await?);
            }
        }
        for (contestant, measured) in contestants.iter().zip(&measured) {
            let middle = |pick: fn(&Measured) -> f64| median(&measured.iter().map(pick).collect::<Vec<_>>());
            let (seconds, cpu_s) = (middle(|run| run.seconds), middle(|run| run.cpu_s));
            let figures = [
                ("rows_per_s", self.changes as f64 / seconds),
                ("mb_per_s", self.binlog_bytes / 1e6 / seconds),
                ("cpu_s", cpu_s),
                ("peak_mb", middle(|run| run.peak_mb)),
                ("cpu_s_per_gb", cpu_s / (self.binlog_bytes / 1e9)),
            ];
            report.rows.push(Row {
                name: format!("{}{suffix}", contestant.name()),
                figures: figures.into(),
            });
        }
        Ok(())
    }

    async fn measure(&self, contestant: Contestant, run: usize) -> Result<Measured> {
        let name = contestant.name();
        let topic_prefix = format!("run-{run}");
        let config = ground::write_config(&self.lab, &topic_prefix, self.table, &[])?;
        let command = match contestant {
            Contestant::Floor(floor) => {
                let mut command = Command::new(std::env::current_exe().doing(|| "the own binary is not known".into())?);
                command.arg("floor").arg(floor.name()).arg("--config").arg(config);
                command
            }
            Contestant::Mysync => {
                let mut command = Command::new(pipeline::binary()?);
                command
                    .args(["reader", "--until-caught-up", "--json", "--config"])
                    .arg(config);
                command
            }
            Contestant::Debezium => self.debezium(run).await?,
        };
        let used = child::run(name, command, DEADLINE).await?;
        let changes = used.number("changes")?;
        if contestant != Contestant::Floor(Floor::Raw) && changes != self.changes as f64 {
            let detail = format!("{changes} changes instead of {}", self.changes);
            return Err(Error::definite(format!("{name} did not read the whole backlog")).detail(detail));
        }
        Ok(Measured {
            seconds: used.number("seconds")?,
            cpu_s: used.cpu_s,
            peak_mb: used.peak_mb as f64,
        })
    }

    async fn debezium(&self, run: usize) -> Result<Command> {
        let folder = self.debezium.as_deref().unwrap_or(Path::new(""));
        let topic = format!("debezium-run-{run}");
        ground::create_topic(&self.lab, &topic).await?;
        let server = ground::primary(&self.lab)?;
        let uuid = server
            .value("SELECT @@server_uuid")
            .await
            .doing(|| "the server's UUID is not known".into())?;
        let work = self.folder.join(&topic);
        let mut command = Command::new("java");
        command
            .args(["-Xmx1g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp"])
            .arg(format!("{0}/classes:{0}/lib/*", folder.display()))
            .arg("DebeziumPeer")
            .args([
                server.host().to_string(),
                MYSQL_PORT.to_string(),
                "root".into(),
                ROOT_PASSWORD.into(),
            ])
            .args([
                ground::broker(&self.lab)?,
                topic,
                self.table.into(),
                self.changes.to_string(),
            ])
            .args(["binlog.000001".into(), format!("{uuid}:1-{SCHEMA_TRANSACTIONS}")])
            .arg(work);
        Ok(command)
    }
}

#[derive(Clone)]
struct Measured {
    seconds: f64,
    cpu_s: f64,
    peak_mb: f64,
}
