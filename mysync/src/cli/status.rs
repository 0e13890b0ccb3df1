//! `mysync status`: asks running processes how they are.

use super::say;
use clap::Args;
use mysync::config;
use mysync::error::{Error, Result};
use mysync::metrics::{Status, ask};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The configuration file, whose keys listen say where the reader and the writers are
    #[arg(long, default_value = "mysync.toml", value_name = "FILE")]
    config: PathBuf,
    /// Ask the process that serves here, in place of those of the configuration; may be given more than once
    #[arg(long, value_name = "HOST:PORT")]
    address: Vec<String>,
    /// Print a JSON array with an object a process: address, and status or error
    #[arg(long)]
    json: bool,
}

/// What one process answered.
#[derive(Debug, Serialize)]
struct Answer {
    address: String,
    status: Option<Status>,
    error: Option<String>,
}

pub(super) async fn run(arguments: Arguments) -> Result<ExitCode> {
    let addresses = addresses(&arguments)?;
    Ok(show(addresses, arguments.json).await)
}

/// Asks one after the other. 0 when all are healthy, 1 when one is not, 2 when one does not answer.
pub(super) async fn show(addresses: Vec<String>, json: bool) -> ExitCode {
    let mut answers = Vec::new();
    for address in addresses {
        let (status, error) = match ask(&address).await {
            Ok(status) => (Some(status), None),
            Err(error) => (None, Some(error.one_line())),
        };
        answers.push(Answer { address, status, error });
    }
    if json {
        say(serde_json::to_string_pretty(&answers).unwrap_or_default());
    } else {
        for answer in &answers {
            match (&answer.status, &answer.error) {
                (Some(status), _) => say(status.to_string().trim_end()),
                (None, error) => say(error.as_deref().unwrap_or_default()),
            }
        }
    }
    let code = if answers.iter().any(|answer| answer.status.is_none()) {
        2
    } else {
        u8::from(
            answers
                .iter()
                .flat_map(|answer| &answer.status)
                .any(|status| !status.healthy),
        )
    };
    ExitCode::from(code)
}

fn addresses(arguments: &Arguments) -> Result<Vec<String>> {
    if !arguments.address.is_empty() {
        return Ok(arguments.address.clone());
    }
    let listens = config::load_listens(&arguments.config)?;
    let writers = listens.writers.into_iter().map(|(_, address)| address);
    let addresses: Vec<String> = listens.reader.into_iter().chain(writers).collect();
    match addresses.is_empty() {
        false => Ok(addresses),
        true => Err(
            Error::configuration(format!("{}: no process serves a status", arguments.config.display()))
                .hint("set listen in section [metrics], or in that of a writer's target, and start the process again"),
        ),
    }
}
