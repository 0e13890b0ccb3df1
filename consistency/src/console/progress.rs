//! Progress on standard error: a bar on a terminal, otherwise a line for each step.

use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::progress::{Event, Progress};

const REDRAW_INTERVAL: Duration = Duration::from_millis(100);

/// Shows a running check to a person.
pub struct ProgressOnConsole {
    /// None where standard error is no terminal.
    bar: Option<ProgressBar>,
}

impl ProgressOnConsole {
    /// A bar where standard error is a terminal.
    pub fn new() -> Self {
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::no_length();
            bar.enable_steady_tick(REDRAW_INTERVAL);
            bar
        });
        Self { bar }
    }

    /// Takes the bar away, so that the report stands alone.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn begin(&self, message: String, length: Option<u64>) {
        let Some(bar) = &self.bar else {
            let _ = writeln!(stderr().lock(), "{message}");
            return;
        };
        let template = match length {
            Some(_) => "{msg}  [{bar:30}] {human_pos} of about {human_len} rows, {per_sec}",
            None => "{msg}  {spinner} {elapsed}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        match length {
            Some(length) => bar.set_length(length),
            None => bar.unset_length(),
        }
        bar.set_message(message);
        bar.set_position(0);
        bar.reset_eta();
    }
}

impl Default for ProgressOnConsole {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress for ProgressOnConsole {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Fence => self.begin("waiting for the fence".to_owned(), None),
            Event::Table { name, rows_estimate } => self.begin(format!("comparing {name}"), Some(rows_estimate)),
            Event::Scan { stores } => self.begin(format!("listing the keys of {stores}"), None),
            Event::Settle { rows } => self.begin(format!("asking again: {rows} rows"), None),
            Event::Rows { rows: count } | Event::Keys { keys: count } => {
                if let Some(bar) = &self.bar {
                    bar.inc(count);
                }
            }
        }
    }
}
