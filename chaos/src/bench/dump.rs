//! A table's rows into one broker and one partition by `mysync dump`, beside Debezium's initial snapshot into the same broker, and
//! beside mydumper, which writes files.

use super::backlog;
use super::child::{self, Used};
use super::ground::{self, MYSQL_PORT};
use super::report::{Report, Row, median};
use crate::error::{Doing, Error, Result};
use crate::pipeline::{self, usage::Usage};
use crate::report as say;
use fixtures::Lab;
use fixtures::mysql::ROOT_PASSWORD;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// A single process may take so long.
const DEADLINE: Duration = Duration::from_secs(900);

/// The reader follows the binlog after so long.
const READY_DEADLINE: Duration = Duration::from_secs(60);

const LOOK_INTERVAL: Duration = Duration::from_millis(20);

const TABLE: &str = "bench.narrow";

/// A row as text is longer: two of its columns alone have 180 characters.
const ROW_BYTES_MIN: u64 = 180;

/// What is to be measured.
pub(super) struct Plan {
    /// Rows inserted; a tenth of them is deleted again.
    pub(super) rows: u64,
    pub(super) seed: u64,
    /// Each contestant runs so often, by turns.
    pub(super) runs: usize,
    /// The folder of Debezium's classes and jars, if it takes part.
    pub(super) debezium: Option<PathBuf>,
    /// The program, if it takes part.
    pub(super) mydumper: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contestant {
    Mysync,
    Again,
    Debezium,
    Mydumper,
}

impl Contestant {
    fn name(self) -> &'static str {
        match self {
            Contestant::Mysync => "mysync dump into Kafka",
            Contestant::Again => "the same again, over the filled topic",
            Contestant::Debezium => "Debezium's snapshot into Kafka",
            Contestant::Mydumper => "mydumper into files",
        }
    }
}

struct Measured {
    seconds: f64,
    cpu_s: f64,
    peak_mb: f64,
}

pub(super) async fn run(plan: &Plan) -> Result<Report> {
    say::progress(&format!("filling a server with {} rows", plan.rows));
    let lab = ground::lab().await?;
    let server = ground::primary(&lab)?;
    backlog::load(server, plan.rows, plan.seed).await?;
    let counted = server.value("SELECT COUNT(*) FROM bench.narrow").await;
    let counted = counted.doing(|| "the rows cannot be counted".into())?;
    let rows: u64 = counted.parse().doing(|| "the rows cannot be counted".into())?;

    let mut contestants = vec![Contestant::Mysync, Contestant::Again];
    contestants.extend(plan.debezium.as_ref().map(|_| Contestant::Debezium));
    contestants.extend(plan.mydumper.as_ref().map(|_| Contestant::Mydumper));
    let mut measured: Vec<Vec<Measured>> = contestants.iter().map(|_| Vec::new()).collect();
    for run in 1..=plan.runs {
        let mut reader = None;
        for (contestant, measured) in contestants.iter().zip(&mut measured) {
            say::progress(&format!("run {run} of {}: {}", plan.runs, contestant.name()));
            measured.push(match contestant {
                Contestant::Mysync => {
                    let started = Reader::start(&lab, run).await?;
                    reader.insert(started).dump(rows).await?
                }
                Contestant::Again => match reader.take() {
                    Some(reader) => reader.dump(rows).await?,
                    None => continue,
                },
                Contestant::Debezium => debezium(&lab, plan, run, rows).await?,
                Contestant::Mydumper => mydumper(&lab, plan, run, rows).await?,
            });
        }
    }
    lab.down().await.doing(|| "the servers cannot be removed".into())?;

    let mut report = Report::default();
    for (contestant, measured) in contestants.iter().zip(&measured) {
        let middle = |pick: fn(&Measured) -> f64| median(&measured.iter().map(pick).collect::<Vec<_>>());
        let seconds = middle(|run| run.seconds);
        let figures = [
            ("rows_per_s", rows as f64 / seconds),
            ("seconds", seconds),
            ("cpu_s", middle(|run| run.cpu_s)),
            ("peak_mb", middle(|run| run.peak_mb)),
        ];
        report.rows.push(Row {
            name: contestant.name().into(),
            figures: figures.into(),
        });
    }
    let [mysync, debezium, mydumper] =
        [Contestant::Mysync, Contestant::Debezium, Contestant::Mydumper].map(Contestant::name);
    report.ratio("rows/s: mysync to Debezium", "rows_per_s", mysync, debezium);
    report.ratio("rows/s: mysync to mydumper", "rows_per_s", mysync, mydumper);
    report.ratio("CPU seconds: Debezium to mysync", "cpu_s", debezium, mysync);
    report.ratio("peak memory: Debezium to mysync", "peak_mb", debezium, mysync);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    report.conditions.insert("cores", cores.to_string());
    report.conditions.insert("rows", rows.to_string());
    let runs = plan.runs.to_string();
    report.conditions.insert("runs of each, by turns, medians shown", runs);
    let note = "CPU seconds and memory are the contestant's own: of mysync the reader's, which does the work";
    report.conditions.insert("note", note.into());
    Ok(report)
}

/// A reader that follows the binlog's end.
struct Reader {
    child: Child,
    config: PathBuf,
}

impl Reader {
    async fn start(lab: &Lab, run: usize) -> Result<Self> {
        let config = ground::write_config(lab, &format!("dump-{run}"), TABLE, &["start = \"newest\""])?;
        let log = config.with_extension("log");
        let file = std::fs::File::create(&log).doing(|| format!("cannot write {}", log.display()))?;
        let child = Command::new(pipeline::binary()?)
            .args(["reader", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .doing(|| "the reader cannot be run".into())?;
        let begun = Instant::now();
        while !std::fs::read_to_string(&log).is_ok_and(|text| text.contains("reading")) {
            if begun.elapsed() > READY_DEADLINE {
                let text = std::fs::read_to_string(&log).unwrap_or_default();
                return Err(Error::definite("the reader does not come up").detail(text));
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Ok(Self { child, config })
    }

    fn usage(&self) -> Result<Usage> {
        let usage = self.child.id().and_then(Usage::of);
        usage.ok_or_else(|| Error::definite("the reader has ended by itself"))
    }

    /// From the request until the reader has said that all rows are committed.
    async fn dump(&self, rows: u64) -> Result<Measured> {
        let before = self.usage()?;
        let mut command = Command::new(pipeline::binary()?);
        command.args(["dump", "--all", "--json", "--config"]).arg(&self.config);
        let asked = child::run("mysync dump", command, DEADLINE).await?;
        let after = self.usage()?;
        asked.require("mysync dump", "rows", rows)?;
        Ok(Measured {
            seconds: asked.number("seconds")?,
            cpu_s: (after.cpu_ms - before.cpu_ms) as f64 / 1e3,
            peak_mb: (after.resident_peak_kb / 1024) as f64,
        })
    }
}

async fn debezium(lab: &Lab, plan: &Plan, run: usize, rows: u64) -> Result<Measured> {
    let folder = plan.debezium.as_deref().unwrap_or(Path::new(""));
    let topic = format!("debezium-snapshot-{run}");
    ground::create_topic(lab, &topic).await?;
    let host = ground::primary(lab)?.host().to_string();
    let mut command = Command::new("java");
    command
        .args(["-Xmx1g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp"])
        .arg(format!("{0}/classes:{0}/lib/*", folder.display()))
        .arg("DebeziumPeer")
        .args([host, MYSQL_PORT.to_string(), "root".into(), ROOT_PASSWORD.into()])
        .args([ground::broker(lab)?, topic.clone(), TABLE.into(), rows.to_string()])
        .args(["snapshot", ""])
        .arg(lab.folder().join(&topic));
    let used = child::run(Contestant::Debezium.name(), command, DEADLINE).await?;
    used.require(Contestant::Debezium.name(), "changes", rows)?;
    Ok(measured(used.number("seconds")?, &used))
}

async fn mydumper(lab: &Lab, plan: &Plan, run: usize, rows: u64) -> Result<Measured> {
    let folder = lab.folder().join(format!("mydumper-{run}"));
    let program = plan.mydumper.as_deref().unwrap_or(Path::new("mydumper"));
    let host = ground::primary(lab)?.host().to_string();
    let mut command = Command::new(program);
    command
        .args(["--host", &host, "--port", &MYSQL_PORT.to_string(), "--user", "root"])
        // A list of tables is understood in one way by older versions and in another by newer ones.
        .args(["--password", ROOT_PASSWORD, "--regex", r"^bench\.narrow$"])
        .args(["--rows", "50000", "--threads", "2", "--outputdir"])
        .arg(&folder);
    let (seconds, used) = child::run_silent(Contestant::Mydumper.name(), command, DEADLINE).await?;
    // It can end well and have written nothing.
    let files = std::fs::read_dir(&folder).doing(|| "mydumper has made no folder".into())?;
    let bytes = files
        .flatten()
        .filter_map(|file| file.metadata().ok())
        .map(|file| file.len())
        .sum::<u64>();
    match bytes / ROW_BYTES_MIN >= rows {
        true => Ok(measured(seconds, &used)),
        false => Err(Error::definite(format!("mydumper wrote {bytes} bytes for {rows} rows"))
            .detail(folder.display())
            .hint("run it by hand; or leave --mydumper out")),
    }
}

fn measured(seconds: f64, used: &Used) -> Measured {
    Measured {
        seconds,
        cpu_s: used.cpu_s,
        peak_mb: used.peak_mb as f64,
    }
}
