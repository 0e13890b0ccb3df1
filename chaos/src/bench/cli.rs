//! The command line of `mysync-bench`.

use super::dump;
use super::floor::{self, Floor};
use super::latency;
use super::reader::{self, Plan};
use super::report::Report;
use super::writer::{self, Store};
use crate::error::{Doing, Result};
use crate::report as say;
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// Time the reader beside its floors and beside Debezium, on servers of its own
#[derive(Debug, Parser)]
#[command(name = "mysync-bench", version, max_term_width = 100, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  mysync-bench reader                          a backlog of 1.4 million changes, medians of three runs
  mysync-bench reader --rows 100000 --runs 1   a short look
  mysync-bench dump                            a million rows by mysync dump, medians of three runs
  mysync-bench writer                          a filled topic into each store, beside a bare client
  mysync-bench writer --store hbase --runs 1   into one store
  mysync-bench latency --json                  from commit to visible, as one JSON object

Build it with --release. ./ci/bench does, and brings Debezium along.";

#[derive(Debug, Subcommand)]
enum Command {
    /// A backlog into Kafka: rows/s, MB/s of binlog, CPU seconds, memory
    Reader(ReaderArguments),
    /// A table's rows into Kafka: rows/s, CPU seconds, memory
    Dump(DumpArguments),
    /// A filled topic into the stores: changes/s, rows/s, CPU seconds, memory
    Writer(WriterArguments),
    /// From MySQL's commit to visible for consumers that read committed, in ms
    Latency(LatencyArguments),
    /// Send a topic's batches to a store; the writers' benchmark runs this in a process of its own
    #[command(hide = true)]
    Bare {
        /// The store
        store: Store,
        /// The configuration file
        #[arg(long)]
        config: PathBuf,
    },
    /// Read a backlog without a sink; the reader's benchmark runs this in a process of its own
    #[command(hide = true)]
    Floor {
        /// How far to go
        floor: Floor,
        /// The configuration file
        #[arg(long)]
        config: PathBuf,
    },
}

#[derive(Debug, Args)]
struct ReaderArguments {
    /// Rows inserted; 1.4 times as many changes
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// Seed of the workload
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Runs of each, by turns
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Folder with Debezium's classes and jars
    #[arg(long, value_name = "FOLDER")]
    debezium: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct DumpArguments {
    /// Rows inserted; a tenth of them is deleted again
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// Seed of the workload
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Runs of each, by turns
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Folder with Debezium's classes and jars
    #[arg(long, value_name = "FOLDER")]
    debezium: Option<PathBuf>,
    /// mydumper, which writes files
    #[arg(long, value_name = "PROGRAM")]
    mydumper: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct WriterArguments {
    /// Rows inserted; 1.4 times as many changes
    #[arg(long, default_value_t = 500_000)]
    rows: u64,
    /// Seed of the workload
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Runs of each, by turns
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// One store; may be given more than once. All of them by default
    #[arg(long)]
    store: Vec<Store>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct LatencyArguments {
    /// Transactions a second
    #[arg(long, default_value_t = 2_000)]
    rate: u64,
    /// Seconds measured for each mode
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command line and returns its exit code: 0 done, 3 wrong arguments, 4 it could not be measured.
pub async fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(refusal) => {
            say::refusal(&refusal);
            return ExitCode::from(if refusal.use_stderr() { 3 } else { 0 });
        }
    };
    match obey(arguments.command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::error(&error);
            error.exit_code()
        }
    }
}

async fn obey(command: Command) -> Result<()> {
    match command {
        Command::Reader(arguments) => {
            let report = reader::run(&Plan {
                rows: arguments.rows,
                seed: arguments.seed,
                runs: arguments.runs.max(1),
                debezium: arguments.debezium,
            })
            .await?;
            show(
                &report,
                arguments.json,
                &["rows_per_s", "mb_per_s", "cpu_s", "peak_mb", "cpu_s_per_gb"],
            )
        }
        Command::Dump(arguments) => {
            let report = dump::run(&dump::Plan {
                rows: arguments.rows,
                seed: arguments.seed,
                runs: arguments.runs.max(1),
                debezium: arguments.debezium,
                mydumper: arguments.mydumper,
            })
            .await?;
            show(&report, arguments.json, &["rows_per_s", "seconds", "cpu_s", "peak_mb"])
        }
        Command::Latency(arguments) => {
            let report = latency::run(arguments.rate, arguments.seconds).await?;
            show(
                &report,
                arguments.json,
                &["tps", "p50_ms", "p95_ms", "p99_ms", "max_ms"],
            )
        }
        Command::Writer(arguments) => {
            let report = writer::run(&writer::Plan {
                rows: arguments.rows,
                seed: arguments.seed,
                runs: arguments.runs.max(1),
                stores: match arguments.store.is_empty() {
                    true => Store::ALL.to_vec(),
                    false => arguments.store,
                },
            })
            .await?;
            show(
                &report,
                arguments.json,
                &["changes_per_s", "rows_per_s", "seconds", "cpu_s", "peak_mb"],
            )
        }
        Command::Bare { store, config } => say::print(&format!("{}\n", writer::run_bare(store, &config).await?)),
        Command::Floor { floor, config } => say::print(&format!("{}\n", floor::run(floor, &config).await?)),
    }
}

fn show(report: &Report, json: bool, columns: &[&str]) -> Result<()> {
    let text = match json {
        true => serde_json::to_string(report).doing(|| "the figures have no JSON form".into())? + "\n",
        false => report.text(columns),
    };
    say::print(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_sound() {
        Arguments::command().debug_assert();
    }
}
