//! All that people and scripts get to see. The only module that prints: results to standard output, what goes on to
//! standard error.

mod headline;
mod table;

use crate::drill::Drill;
use crate::error::{Doing, Error, Result};
use crate::suite::Outcome;
use crate::verdict::Judgement;
use std::io::{IsTerminal, Write};
use std::path::Path;

/// How a judgement is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// As JSON instead of the headline.
    pub json: bool,
}

/// Prints a verdict with its figures, or all of it as JSON.
pub fn judgement(judgement: &Judgement, run_folder: &Path, shown: Shown) -> Result<()> {
    let text = match shown.json {
        true => serde_json::to_string_pretty(judgement).doing(|| "the verdict has no JSON form".into())? + "\n",
        false => headline::text(judgement, run_folder, colours(&std::io::stdout())),
    };
    print(&text)
}

/// Prints what came out of a suite, as a table or as JSON.
pub fn outcome(outcome: &Outcome, shown: Shown) -> Result<()> {
    let text = match shown.json {
        true => serde_json::to_string_pretty(outcome).doing(|| "the outcome has no JSON form".into())? + "\n",
        false => format!("\n{}", table::text(outcome)),
    };
    print(&text)
}

/// Prints names, suites and purposes of drills.
pub fn drills(drills: &[Drill], json: bool) -> Result<()> {
    if json {
        let text = serde_json::to_string_pretty(drills).doing(|| "the drills have no JSON form".into())?;
        return print(&(text + "\n"));
    }
    let width = drills.iter().map(|drill| drill.name.len()).max().unwrap_or(0);
    let suite_width = drills
        .iter()
        .filter_map(|drill| drill.suite.as_ref())
        .map(String::len)
        .max()
        .unwrap_or(0);
    let lines: String = drills
        .iter()
        .map(|drill| {
            let suite = drill.suite.as_deref().unwrap_or_default();
            format!("{:width$}  {suite:suite_width$}  {}\n", drill.name, drill.about)
        })
        .collect();
    print(&lines)
}

/// Prints a plan.
pub fn plan(drill: &Drill) -> Result<()> {
    print(&drill.to_toml()?)
}

/// Says what goes on.
pub fn progress(what: &str) {
    say(&format!("{what}\n"));
}

/// Says what stopped the command.
pub fn error(error: &Error) {
    say(&format!("error: {error}\n"));
}

/// Says what is wrong with the arguments, or prints the help that they ask for.
pub fn refusal(refusal: &clap::Error) {
    // There is nobody left to tell when standard output or error is closed.
    let _ = refusal.print();
}

/// Prints results.
pub(crate) fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        // Whoever read as far as wanted, e.g. `head`, is content.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.doing(|| "standard output cannot be written".into()),
    }
}

fn say(text: &str) {
    // There is nobody left to tell when standard error is closed.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
