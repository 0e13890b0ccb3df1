//! The command line of `mysync-check`: arguments as parsed, then as meant.
//!
//! Exit codes: 0 consistent, 1 inconsistent, 2 unknown, 3 wrong arguments or configuration, 4 a server failed.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::config::Config;
use crate::console;
use crate::error::{Error, ErrorKind};
use crate::options::{FINDINGS_MAX_DEFAULT, Options, StoreName};

const EXIT_CONFIGURATION: u8 = 3;
const EXIT_FAILED: u8 = 4;

const EXAMPLES: &str = "\
Examples:
  mysync-check                                      every table against every store of mysync.toml
  mysync-check --store redis                        against one of them
  mysync-check --table bank.accounts --json         one table, the report as a JSON object
  mysync-check --findings-file findings.jsonl       all findings to a file, one JSON object a line
  mysync-check --no-fence                           with an account that may only read

Exit codes:
  0  consistent    every row of MySQL is in every store, equal, and nothing else is
  1  inconsistent  in some store a row is missing, extra or different
  2  unknown       of some store nothing was proven: no rows observed, or the fence did not arrive
  3  the arguments or the configuration are wrong
  4  a server could not be reached or failed";

/// Compares MySQL rows with the stores and says what differs.
#[derive(Debug, Parser)]
#[command(name = "mysync-check", version, after_help = EXAMPLES, max_term_width = 100)]
struct Arguments {
    /// The configuration file shared with reader and writer
    #[arg(long, value_name = "FILE", default_value = "mysync.toml")]
    config: PathBuf,

    /// Only this store; may be repeated [default: every store that the configuration has]
    #[arg(long = "store", value_enum, value_name = "STORE")]
    stores: Vec<StoreName>,

    /// Only this one of the configured tables; * and ? match; may be repeated
    #[arg(long = "table", value_name = "DATABASE.TABLE")]
    tables: Vec<String>,

    /// Send no marker row through the pipeline: a difference may then be lag, so rows that differ are asked again until
    /// settle_seconds_max
    #[arg(long)]
    no_fence: bool,

    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,

    /// Findings of each store in the report at most; the figures count all of them
    #[arg(long, value_name = "COUNT", default_value_t = FINDINGS_MAX_DEFAULT)]
    findings_max: usize,

    /// Write all findings to this file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    findings_file: Option<PathBuf>,
}

/// What was meant.
#[derive(Debug)]
struct Command {
    config: Config,
    options: Options,
    json: bool,
}

impl Arguments {
    fn meant(self) -> Result<Command, Error> {
        Ok(Command {
            config: Config::load(&self.config)?,
            options: Options {
                stores: self.stores,
                tables: self.tables,
                fence: !self.no_fence,
                findings_max: self.findings_max,
                findings_file: self.findings_file,
            },
            json: self.json,
        })
    }
}

/// Runs the command that the process was started with.
pub async fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let asked_for = !error.use_stderr();
            // Where the answer cannot be printed the exit code still tells.
            let _ = error.print();
            return if asked_for {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(EXIT_CONFIGURATION)
            };
        }
    };
    match check(arguments).await {
        Ok(code) => code,
        Err(error) => {
            console::print_error(&error);
            ExitCode::from(match error.kind {
                ErrorKind::Configuration => EXIT_CONFIGURATION,
                ErrorKind::Failed => EXIT_FAILED,
            })
        }
    }
}

async fn check(arguments: Arguments) -> Result<ExitCode, Error> {
    let Command { config, options, json } = arguments.meant()?;
    let progress = console::ProgressOnConsole::new();
    let report = crate::check(&config, &options, &progress).await;
    progress.clear();
    let report = report?;
    if json {
        console::print_json(&report);
    } else {
        console::print_report(&report);
    }
    Ok(ExitCode::from(report.verdict.exit_code()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_help_text_is_as_meant() {
        insta::assert_snapshot!(Arguments::command().term_width(100).render_long_help());
    }

    #[test]
    fn arguments_become_options() {
        let config = tempfile();
        let arguments = Arguments::try_parse_from([
            "mysync-check",
            "--config",
            &config,
            "--table",
            "a.b",
            "--table",
            "c.*",
            "--no-fence",
            "--findings-max",
            "3",
            "--store",
            "elasticsearch",
        ]);
        let command = arguments
            .expect("good arguments")
            .meant()
            .expect("a good configuration");
        assert_eq!(command.options.tables, ["a.b", "c.*"]);
        assert!(!command.options.fence && !command.json);
        assert_eq!(command.options.findings_max, 3);
        assert_eq!(command.options.stores, [StoreName::Elasticsearch]);
        std::fs::remove_file(config).expect("our own file");
    }

    #[test]
    fn unknown_arguments_are_refused() {
        assert!(Arguments::try_parse_from(["mysync-check", "--fence"]).is_err());
        assert!(Arguments::try_parse_from(["mysync-check", "--store", "paper"]).is_err());
    }

    fn tempfile() -> String {
        let path = std::env::temp_dir().join(format!("mysync-check-cli-{}.toml", std::process::id()));
        let text = "[source]\nservers = [\"db\"]\nuser = \"u\"\ntables = [\"a.b\"]\n[writer.redis]\naddress = \"r\"\n";
        std::fs::write(&path, text).expect("a writable directory");
        path.display().to_string()
    }
}
