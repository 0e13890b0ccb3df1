//! How a dump looks: bars on a terminal, lines elsewhere, and tables for plan, status and summary.

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use mysync::source::mysql::dump::Told;
use mysync::source::mysql::plan::Planned;
use mysync::source::{Progress, State};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// Without a terminal a table's progress is a line so often.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// One table of a dump.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Shown {
    pub(super) table: String,
    pub(super) state: State,
    pub(super) rows: u64,
    pub(super) gone: u64,
    pub(super) detail: String,
}

impl Shown {
    pub(super) fn new(progress: &Progress) -> Self {
        Self {
            table: format!("{}.{}", progress.table.0, progress.table.1),
            state: progress.state,
            rows: progress.rows,
            gone: progress.gone,
            detail: progress.detail.clone(),
        }
    }
}

/// Progress on standard error.
pub(super) struct Show {
    bars: Option<MultiProgress>,
    tables: BTreeMap<String, Line>,
}

struct Line {
    rows_estimate: u64,
    bar: Option<ProgressBar>,
    said: Option<(State, Instant, u64)>,
}

impl Show {
    pub(super) fn new(plan: &[Planned], request: &str, is_json: bool) -> Self {
        let bars = (stderr().is_terminal() && !is_json).then(MultiProgress::new);
        let line = |planned: &Planned| {
            let name = format!("{}.{}", planned.database, planned.table);
            let line = Line {
                rows_estimate: planned.rows,
                bar: None,
                said: None,
            };
            (name, line)
        };
        let show = Self {
            bars,
            tables: plan.iter().map(line).collect(),
        };
        show.note(&format!(
            "asked the reader for {} tables: request {request}",
            plan.len()
        ));
        show
    }

    pub(super) fn note(&self, text: &str) {
        match &self.bars {
            Some(bars) => drop(bars.println(text)),
            None => drop(writeln!(stderr().lock(), "{text}")),
        }
    }

    pub(super) fn update(&mut self, shown: &[Shown]) {
        for one in shown {
            let Some(line) = self.tables.get_mut(&one.table) else {
                continue;
            };
            match &self.bars {
                Some(bars) => line.draw(one, bars),
                None => line.say(one),
            }
        }
    }

    /// Takes the bars away, so that the summary stands alone.
    pub(super) fn finish(&mut self) {
        for line in self.tables.values_mut() {
            if let Some(bar) = line.bar.take() {
                bar.finish_and_clear();
            }
        }
    }
}

impl Line {
    fn draw(&mut self, one: &Shown, bars: &MultiProgress) {
        if one.state == State::Waiting {
            return;
        }
        if one.state.is_end() {
            if let Some(bar) = self.bar.take() {
                bar.finish_and_clear();
                bars.remove(&bar);
            }
            if self.said.is_none_or(|(state, ..)| state != one.state) {
                bars.println(ended(one)).ok();
                self.said = Some((one.state, Instant::now(), one.rows));
            }
            return;
        }
        let estimate = self.rows_estimate;
        let bar = self.bar.get_or_insert_with(|| {
            let bar = bars.add(ProgressBar::new(estimate.max(one.rows)));
            let template = "{msg:30}  [{bar:30}] {human_pos} of about {human_len} rows, {per_sec}, {eta} left";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar
        });
        bar.set_length(estimate.max(one.rows));
        bar.set_position(one.rows);
        let phase = if one.state == State::Gone {
            " (rows that are gone)"
        } else {
            ""
        };
        bar.set_message(format!("{}{phase}", one.table));
        if bars.is_hidden() {
            bar.tick();
        }
    }

    fn say(&mut self, one: &Shown) {
        let is_due = match self.said {
            None => true,
            Some((state, at, _)) if state == one.state => !state.is_end() && at.elapsed() >= LINE_INTERVAL,
            Some(_) => true,
        };
        if !is_due {
            return;
        }
        let text = match one.state {
            State::Waiting => format!("{}: waiting", one.table),
            State::Rows => self.reading(one),
            State::Gone => format!(
                "{}: {} rows read, looking for rows that are gone: {}",
                one.table, one.rows, one.gone
            ),
            State::Done | State::Failed | State::Cancelled => ended(one),
        };
        self.said = Some((one.state, Instant::now(), one.rows));
        drop(writeln!(stderr().lock(), "{text}"));
    }

    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )] // for people
    fn reading(&self, one: &Shown) -> String {
        let mut text = format!(
            "{}: {} of about {} rows",
            one.table,
            one.rows,
            self.rows_estimate.max(one.rows)
        );
        if let Some((State::Rows, at, before)) = self.said {
            let pace = one.rows.saturating_sub(before) as f64 / at.elapsed().as_secs_f64().max(0.001);
            let left = self.rows_estimate.saturating_sub(one.rows) as f64 / pace.max(1.0);
            write!(text, ", {} rows/s, {} s left", pace as u64, left as u64).ok();
        }
        text
    }
}

fn ended(one: &Shown) -> String {
    let mut text = format!("{}: {}, {} rows", one.table, one.state.name(), one.rows);
    if one.gone > 0 {
        write!(text, ", {} that are gone", one.gone).ok();
    }
    if !one.detail.is_empty() {
        write!(text, ": {}", one.detail).ok();
    }
    text
}

#[derive(Serialize)]
struct Summary<'s> {
    tables: &'s [Shown],
    rows: u64,
    gone: u64,
    seconds: f64,
    rows_per_second: u64,
}

/// How the dump went.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)] // for people
pub(super) fn summary(tables: &[Shown], took: Duration, is_json: bool) -> String {
    let rows = tables.iter().map(|one| one.rows).sum::<u64>();
    let summary = Summary {
        tables,
        rows,
        gone: tables.iter().map(|one| one.gone).sum(),
        seconds: took.as_secs_f64(),
        rows_per_second: (rows as f64 / took.as_secs_f64().max(0.001)) as u64,
    };
    if is_json {
        return serde_json::to_string(&summary).unwrap_or_default();
    }
    let count = |state| tables.iter().filter(|one| one.state == state).count();
    let mut text = format!(
        "dumped {rows} rows of {} tables in {:.1} s, {} rows/s; {} rows that MySQL does not have were deleted",
        count(State::Done),
        summary.seconds,
        summary.rows_per_second,
        summary.gone
    );
    for one in tables.iter().filter(|one| one.state != State::Done) {
        write!(text, "\n{}", ended(one)).ok();
    }
    text
}

/// What would be done.
pub(super) fn plan(plan: &[Planned], is_json: bool) -> String {
    if is_json {
        return serde_json::to_string(plan).unwrap_or_default();
    }
    let mut text = format!("{:<40} {:>14} {:>10}  {}\n", "table", "rows, about", "MB", "read by");
    for one in plan {
        let name = format!("{}.{}", one.database, one.table);
        let how = match (&one.refusal, one.is_there, one.has_index) {
            (Some(refusal), ..) => format!("REFUSED: {refusal}"),
            (None, false, _) => "not in MySQL: what is published of it is deleted".to_owned(),
            (None, true, false) => format!("{}, without an index: slow if it is large", one.key.join(", ")),
            (None, true, true) => one.key.join(", "),
        };
        writeln!(text, "{name:<40} {:>14} {:>10}  {how}", one.rows, one.bytes / 1_000_000).ok();
    }
    let refused = plan.iter().filter(|one| one.refusal.is_some()).count();
    let rows: u64 = plan.iter().map(|one| one.rows).sum();
    write!(
        text,
        "{} tables, about {rows} rows; {refused} refused; nothing was written",
        plan.len()
    )
    .ok();
    text
}

#[derive(Serialize)]
struct Status<'s> {
    request: &'s str,
    ago_s: u64,
    #[serde(flatten)]
    table: Shown,
}

/// What the reader has told, the latest first.
pub(super) fn status(told: &[Told], is_json: bool) -> String {
    if is_json {
        let line = |told: &Told| {
            serde_json::to_value(Status {
                request: &told.progress.request,
                ago_s: told.ago_s,
                table: Shown::new(&told.progress),
            })
        };
        let lines: Vec<serde_json::Value> = told.iter().flat_map(line).collect();
        return serde_json::Value::from(lines).to_string();
    }
    if told.is_empty() {
        return "no dump was asked for".to_owned();
    }
    let mut text = format!(
        "{:<40} {:<10} {:>14} {:>10} {:>9}  {}",
        "table", "state", "rows", "gone", "ago s", "request"
    );
    for line in told {
        let shown = Shown::new(&line.progress);
        write!(
            text,
            "\n{:<40} {:<10} {:>14} {:>10} {:>9}  {}",
            shown.table,
            shown.state.name(),
            shown.rows,
            shown.gone,
            line.ago_s,
            line.progress.request
        )
        .ok();
        if !shown.detail.is_empty() {
            write!(text, "\n    {}", shown.detail).ok();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(state: State) -> Shown {
        Shown {
            table: "d.t".into(),
            state,
            rows: 10,
            gone: 2,
            detail: String::new(),
        }
    }

    #[test]
    fn the_summary_names_what_is_not_done() {
        let mut failed = shown(State::Failed);
        failed.detail = "no key".into();
        let text = summary(&[shown(State::Done), failed], Duration::from_secs(2), false);
        let first = "dumped 20 rows of 1 tables in 2.0 s, 10 rows/s; 4 rows that MySQL does not have were deleted";
        assert_eq!(text, format!("{first}\nd.t: failed, 10 rows, 2 that are gone: no key"));
        let json = summary(&[shown(State::Done)], Duration::from_secs(2), true);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            (&value["rows_per_second"], &value["tables"][0]["state"]),
            (&5.into(), &"done".into())
        );
    }
}
