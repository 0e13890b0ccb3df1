//! A process, and what it used.

use crate::error::{Doing, Error, Result};
use crate::pipeline::usage::Usage;
use serde_json::Value;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};
use tokio::process::Command;

/// Between two looks at the memory.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(20);

/// What a process said and used.
pub(super) struct Used {
    /// The last line of standard output, an object.
    pub(super) said: Value,
    /// Seconds of all its threads, from its start to its end.
    pub(super) cpu_s: f64,
    /// Most resident memory, MB.
    pub(super) peak_mb: u64,
}

impl Used {
    /// A number of what it said.
    pub(super) fn number(&self, name: &str) -> Result<f64> {
        self.said[name].as_f64().ok_or_else(|| {
            Error::definite(format!("a benchmarked process did not say {name}"))
                .detail(&self.said)
                .hint("this is a defect: please report it")
        })
    }

    /// Refuses what did not do all of the work.
    pub(super) fn require(&self, process: &str, name: &str, expected: u64) -> Result<()> {
        let found = self.number(name)?;
        match found == expected as f64 {
            true => Ok(()),
            false => Err(Error::definite(format!("{process} did not do all of the work"))
                .detail(format!("{found} {name} of {expected}"))),
        }
    }
}

/// Runs a command to its end.
pub(super) async fn run(name: &str, command: Command, deadline: Duration) -> Result<Used> {
    let (output, usage) = observe(name, command, deadline).await?;
    let said = String::from_utf8_lossy(&output.stdout);
    let last_line = said
        .lines()
        .rev()
        .find(|line| line.starts_with('{'))
        .unwrap_or_default();
    Ok(Used {
        said: serde_json::from_str(last_line).doing(|| format!("{name} did not end with a line of JSON"))?,
        cpu_s: usage.cpu_ms as f64 / 1e3,
        peak_mb: usage.resident_peak_kb / 1024,
    })
}

/// Runs a command to its end that says nothing; gives the seconds that it took, too.
pub(super) async fn run_silent(name: &str, command: Command, deadline: Duration) -> Result<(f64, Used)> {
    let begun = Instant::now();
    let (_, usage) = observe(name, command, deadline).await?;
    let used = Used {
        said: Value::Null,
        cpu_s: usage.cpu_ms as f64 / 1e3,
        peak_mb: usage.resident_peak_kb / 1024,
    };
    Ok((begun.elapsed().as_secs_f64(), used))
}

async fn observe(name: &str, mut command: Command, deadline: Duration) -> Result<(Output, Usage)> {
    let what = || format!("{name} cannot be run");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let child = command.spawn().doing(what)?;
    let pid = child.id().unwrap_or(0);
    let begun = Instant::now();
    let mut last: Option<Usage> = None;
    let mut ended = Box::pin(child.wait_with_output());
    let output = loop {
        // A process that has ended and was not waited for has no memory any more, but still its times.
        if let Some(usage) = Usage::of(pid) {
            last = Some(usage);
        }
        tokio::select! {
            biased;
            output = &mut ended => break output.doing(what)?,
            () = tokio::time::sleep(SAMPLE_INTERVAL) => {}
        }
        if begun.elapsed() > deadline {
            let seconds = deadline.as_secs();
            return Err(Error::definite(format!("{name} did not end within {seconds} s")).hint("is the machine busy?"));
        }
    };
    let usage = last.ok_or_else(|| Error::definite(format!("{name} ended before it could be measured")))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let tail: Vec<_> = errors.lines().rev().take(12).collect();
        let tail: Vec<_> = tail.into_iter().rev().collect();
        return Err(Error::definite(format!("{name} ended with {}", output.status)).detail(tail.join("\n")));
    }
    Ok((output, usage))
}
