//! The command line: arguments as parsed, and one file a command.

mod config;
mod dump;
mod reader;
mod sibling;
mod status;
mod writer;

use clap::{Args, Parser, Subcommand, ValueEnum};
use mysync::error::Error;
use mysync::stop::{Stop, channel};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::runtime::Builder;

/// Keeps Redis equal to MySQL in real time, through Kafka, and proves it.
#[derive(Debug, Parser)]
#[command(name = "mysync", version, after_help = EXAMPLES)]
struct Cli {
    /// Form of the log on standard error
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "text",
        value_name = "FORM",
        env = "MYSYNC_LOG_FORMAT"
    )]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  mysync config template > mysync.toml   a commented configuration
  mysync config check                    is it right, and are all servers there?
  mysync reader                          follow MySQL's binlog, publish to Kafka
  mysync writer redis                    apply the changes to Redis
  mysync writer elasticsearch            apply them to Elasticsearch or OpenSearch
  mysync dump --all                      load what is older than the binlog
  mysync writer retry                    try again what a target has refused
  mysync status                          how reader and writer are, and how far behind
  mysync check                           compare MySQL with Redis, row by row
  mysync lab up                          servers in containers, to play with
  mysync drill run kill-partition-leader kill a broker under load, and prove that nothing is lost

The filter of the log is in MYSYNC_LOG: warn, debug, mysync::reader=debug

Exit codes: 0 done, healthy or consistent, 1 inconsistent or not healthy, 2 unknown, 3 wrong arguments or configuration, 4 stopped by an error";

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Follow MySQL's binlog and publish each change to Kafka, exactly once
    Reader(Run),
    /// Apply the changes in Kafka to a target, in strict order; or tell a running writer what to do
    Writer {
        #[command(subcommand)]
        action: writer::Action,
    },
    /// Have the reader read tables anew, and delete in the stores what they do not have
    Dump(dump::Arguments),
    /// Ask a running reader and writer how they are
    Status(status::Arguments),
    /// Show a commented configuration, or check one
    Config {
        #[command(subcommand)]
        action: config::Action,
    },
    /// Compare MySQL with a target, row by row (runs mysync-check)
    #[command(disable_help_flag = true)]
    Check(sibling::Arguments),
    /// Run a drill (runs mysync-drill)
    #[command(disable_help_flag = true)]
    Drill(sibling::Arguments),
    /// Keep servers in containers (runs mysync-lab)
    #[command(disable_help_flag = true)]
    Lab(sibling::Arguments),
}

/// What a long-running command takes.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The configuration file
    #[arg(long, default_value = "mysync.toml", value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// End when all that was there at the start is done, and print figures
    #[arg(long)]
    pub(crate) until_caught_up: bool,
    /// Print the figures as one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Serve /metrics, /health and /status here, in place of the configuration's address
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) metrics: Option<String>,
}

/// Parses the arguments and runs the command.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            error.print().ok();
            return ExitCode::from(if error.use_stderr() { 3 } else { 0 });
        }
    };
    log(cli.log_format);
    let done = match cli.command {
        Command::Reader(run) => on_runtime(reader::run(run)),
        // Connections to targets have a thread of their own: they go on while records are parsed.
        Command::Writer { action } => on(Builder::new_multi_thread().worker_threads(1), writer::run(action)),
        Command::Dump(arguments) => on_runtime(dump::run(arguments)),
        Command::Status(arguments) => on_runtime(status::run(arguments)),
        Command::Config { action } => on_runtime(config::run(action)),
        Command::Check(arguments) => sibling::run("mysync-check", &arguments),
        Command::Drill(arguments) => sibling::run("mysync-drill", &arguments),
        Command::Lab(arguments) => sibling::run("mysync-lab", &arguments),
    };
    done.unwrap_or_else(|error| {
        say_error(&error, cli.log_format);
        error.exit_code()
    })
}

fn on_runtime(command: impl Future<Output = Result<ExitCode, Error>>) -> Result<ExitCode, Error> {
    on(&mut Builder::new_current_thread(), command)
}

fn on(runtime: &mut Builder, command: impl Future<Output = Result<ExitCode, Error>>) -> Result<ExitCode, Error> {
    let runtime = runtime.enable_all().build();
    let runtime = runtime.map_err(|error| Error::definite("cannot start the runtime").detail(error))?;
    let done = runtime.block_on(command);
    // A blocking call to a server that is down must not keep a finished process.
    runtime.shutdown_background();
    done
}

/// Structured lines on standard error; `MYSYNC_LOG` takes tracing's filter syntax.
fn log(format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("MYSYNC_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("mysync=info,warn"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(format == LogFormat::Text && std::io::stderr().is_terminal())
        .with_target(false);
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .init(),
    }
}

/// Ctrl-C and SIGTERM ask the command to end in good order.
pub(crate) fn stop_on_signal() -> Stop {
    let (sender, stop) = channel();
    tokio::spawn(async move {
        let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
            return;
        };
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        sender.stop();
    });
    stop
}

/// The last word of a command that failed.
#[allow(clippy::print_stderr)]
fn say_error(error: &Error, format: LogFormat) {
    match format {
        LogFormat::Text => eprintln!("error: {error}"),
        LogFormat::Json => tracing::error!(detail = error.detail, hint = error.hint, "{}", error.what),
    }
}

/// Prints figures, for people or as JSON.
pub(crate) fn say_figures(figures: &(impl std::fmt::Display + serde::Serialize), json: bool) {
    match serde_json::to_string(figures) {
        Ok(text) if json => say(text),
        _ => say(figures),
    }
}

/// Prints a line of results.
#[allow(clippy::print_stdout)]
pub(crate) fn say(text: impl std::fmt::Display) {
    println!("{text}");
}
