//! The command line: arguments as given, then as meant, and the exit codes in one place.
//!
//! 0 consistent, 1 inconsistent, 2 unknown, 3 wrong arguments or drill, 4 the harness failed.

use crate::check;
use crate::drill::Drill;
use crate::error::{Doing, Result};
use crate::history::History;
use crate::report::{self, Shown};
use crate::run::{self, Request};
use crate::suite;
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Wrong arguments.
const EXIT_ARGUMENTS: u8 = 3;

/// Break a pipeline on purpose and say whether it held
#[derive(Debug, Parser)]
#[command(name = "mysync-drill", version, max_term_width = 100, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  mysync-drill list                                    the drills that there are
  mysync-drill run kill-partition-leader               run one
  mysync-drill run kill-partition-leader --seed 7      run it again with the same random choices
  mysync-drill show kill-partition-leader > mine.toml  print its plan, to change it
  mysync-drill run --file mine.toml                    run your own
  mysync-drill recheck target/drill/<run>              judge a run again, without servers
  mysync-drill suite switch                            run all drills of a suite

Exit codes: 0 consistent, 1 inconsistent, 2 unknown, 3 wrong arguments or drill, 4 harness failed";

#[derive(Debug, Subcommand)]
enum Command {
    /// List the drills that there are
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Run a drill: start its servers, break them, compare every row, and give a verdict
    #[command(after_help = RUN_EXAMPLES)]
    Run(Run),
    /// Run all drills of a suite, on all their versions of MySQL, and print a table
    #[command(after_help = SUITE_EXAMPLES)]
    Suite(Suite),
    /// Judge a run again from the history in its folder, without any server
    Recheck {
        /// The folder of the run
        run_folder: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the plan of a drill as TOML
    Show(Which),
}

const RUN_EXAMPLES: &str = "\
Examples:
  mysync-drill run kill-partition-leader
  mysync-drill run kill-partition-leader --seed 7 --json > verdict.json
  mysync-drill run --file mine.toml --run-folder /tmp/mine

The run folder keeps the plan, history.jsonl, verdict.json, the configuration, and all logs.";

const SUITE_EXAMPLES: &str = "\
Examples:
  mysync-drill suite switch
  mysync-drill suite switch --seeds 10 --json > switch.json
  mysync-drill suite switch --only switch-gtid,switch-anchor

The exit code is that of the worst run.";

#[derive(Debug, Args)]
struct Suite {
    /// Name of the suite
    name: String,
    /// Only these drills
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
    /// Runs of each drill on each version, each with a seed of its own
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=SEEDS_MAX))]
    seeds: u64,
    /// The first seed [default: from the clock]
    #[arg(long)]
    seed: Option<u64>,
    /// Where the runs are kept, one folder each [default: target/drill/<suite>-<time>]
    #[arg(long, value_name = "FOLDER")]
    run_folder: Option<PathBuf>,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    which: Which,
    /// Another version of MySQL than the plan's
    #[arg(long, value_name = "VERSION")]
    mysql: Option<String>,
    /// Seed of all that is random [default: from the clock; printed with the verdict]
    #[arg(long)]
    seed: Option<u64>,
    /// Where the run is kept [default: target/drill/<name>-<time>]
    #[arg(long, value_name = "FOLDER")]
    run_folder: Option<PathBuf>,
    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// Name of the drill
    name: Option<String>,
    /// A drill of your own
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// More runs than a night has time for.
const SEEDS_MAX: u64 = 1_000;

/// Runs the command line and returns its exit code.
pub async fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(refusal) => {
            report::refusal(&refusal);
            return if refusal.use_stderr() {
                ExitCode::from(EXIT_ARGUMENTS)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match obey(arguments.command).await {
        Ok(code) => code,
        Err(error) => {
            report::error(&error);
            error.exit_code()
        }
    }
}

async fn obey(command: Command) -> Result<ExitCode> {
    match command {
        Command::List { json } => {
            report::drills(&Drill::all()?, json)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Show(which) => {
            report::plan(&which.drill()?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Recheck { run_folder, json } => {
            let judgement = check::judge(&History::read(&run_folder)?, &run_folder)?;
            report::judgement(&judgement, &run_folder, Shown { json })?;
            Ok(judgement.verdict.exit_code())
        }
        Command::Suite(arguments) => {
            let json = arguments.json;
            let outcome = suite::run(&arguments.request()?).await?;
            report::outcome(&outcome, Shown { json })?;
            Ok(outcome.verdict.exit_code())
        }
        Command::Run(arguments) => {
            let json = arguments.json;
            let request = arguments.request()?;
            let judgement = run::run(&request).await?;
            report::judgement(&judgement, &request.run_folder, Shown { json })?;
            Ok(judgement.verdict.exit_code())
        }
    }
}

impl Which {
    fn drill(&self) -> Result<Drill> {
        match (&self.name, &self.file) {
            (Some(name), _) => Drill::named(name),
            (None, Some(file)) => Drill::load(file),
            (None, None) => Drill::named(""),
        }
    }
}

impl Run {
    fn request(self) -> Result<Request> {
        let mut drill = self.which.drill()?;
        if let Some(version) = &self.mysql {
            drill = drill.on_mysql(version);
        }
        let now = now()?;
        let run_folder = self.run_folder.unwrap_or_else(|| folder(&drill.name, now));
        Ok(Request {
            drill,
            seed: self.seed.unwrap_or_else(|| u64::from(now.subsec_nanos())),
            run_folder,
        })
    }
}

impl Suite {
    fn request(self) -> Result<suite::Request> {
        let now = now()?;
        Ok(suite::Request {
            folder: self.run_folder.unwrap_or_else(|| folder(&self.name, now)),
            name: self.name,
            only: self.only,
            seeds: self.seeds,
            first_seed: self.seed.unwrap_or_else(|| u64::from(now.subsec_nanos())),
        })
    }
}

/// Since 1970.
fn now() -> Result<Duration> {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .doing(|| "the clock stands before 1970".into())
}

fn folder(name: &str, now: Duration) -> PathBuf {
    format!("target/drill/{name}-{}", now.as_millis()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn help() {
        let mut command = Arguments::command().term_width(100);
        command.build();
        insta::assert_snapshot!("help", command.render_long_help());
        let run = command.find_subcommand_mut("run").unwrap();
        insta::assert_snapshot!("help_run", run.render_long_help());
    }

    #[tokio::test]
    async fn wrong_arguments_exit_with_3_and_help_with_0() {
        let code = async |words: &[&str]| {
            let words = std::iter::once("mysync-drill")
                .chain(words.iter().copied())
                .map(OsString::from);
            format!("{:?}", main(words).await)
        };
        let [good, arguments] = [ExitCode::SUCCESS, ExitCode::from(3)].map(|code| format!("{code:?}"));
        assert_eq!(code(&["--help"]).await, good);
        assert_eq!(code(&["list"]).await, good);
        assert_eq!(code(&["show", "kill-partition-leader"]).await, good);
        for wrong in [
            &["run"][..],
            &["run", "nothing"],
            &["dance"],
            &["recheck", "/nowhere"],
            &["show", "--file", "/nowhere"],
        ] {
            assert_eq!(code(wrong).await, arguments, "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn recheck_judges_a_stored_run_without_any_server() {
        use crate::check::example;
        use crate::history::{Record, Recorder};
        let verdict_of = async |records: Vec<Record>| {
            let folder = tempfile::tempdir().unwrap();
            let recorder = Recorder::create(folder.path()).unwrap();
            records.iter().for_each(|record| recorder.append(record));
            recorder.flush().unwrap();
            let words = ["mysync-drill", "recheck"]
                .map(OsString::from)
                .into_iter()
                .chain([folder.path().into()]);
            format!("{:?}", main(words).await)
        };
        let exit_code = |code| format!("{:?}", ExitCode::from(code));
        assert_eq!(verdict_of(example::records()).await, exit_code(0));
        let lost = |record: &Record| !matches!(record, Record::Observed(observed) if observed.offset == 9);
        assert_eq!(
            verdict_of(example::records().into_iter().filter(lost).collect()).await,
            exit_code(1)
        );
        let kept = example::records().len() - 1;
        assert_eq!(
            verdict_of(example::records().into_iter().take(kept).collect()).await,
            exit_code(2)
        );
        assert_eq!(verdict_of(Vec::new()).await, exit_code(4));
    }
}
