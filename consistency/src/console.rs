//! What people see: the report on standard output, progress and errors on standard error.
//!
//! Colour only where it is a terminal and NO_COLOR is not set, and always beside words that say the same. The one
//! module that prints; a reader who closes the pipe early is no error.

mod progress;

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _, stderr, stdout};

use anstyle::{AnsiColor, Style};

pub use progress::ProgressOnConsole;

use crate::error::Error;
use crate::report::{ColumnDifference, Finding, Report, StoreReport, TableReport, Verdict};

/// Characters of a value that are shown at most.
const VALUE_CHARACTERS_MAX: usize = 80;
/// Characters before the first difference that are shown where a value is cut.
const CONTEXT_CHARACTERS: usize = 20;

/// Prints a report for people.
pub fn print_report(report: &Report) {
    let colour = stdout().is_terminal() && colour_wanted();
    let _ = stdout().lock().write_all(report_text(report, colour).as_bytes());
}

/// Prints a report as one JSON object.
pub fn print_json(report: &Report) {
    if let Ok(text) = serde_json::to_string(report) {
        let _ = writeln!(stdout().lock(), "{text}");
    }
}

/// Prints an error: what, detail, hint.
pub fn print_error(error: &Error) {
    let colour = stderr().is_terminal() && colour_wanted();
    let _ = stderr().lock().write_all(error_text(error, colour).as_bytes());
}

fn colour_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn error_text(error: &Error, colour: bool) -> String {
    let word = painted("error", AnsiColor::Red, colour);
    format!(
        "{word}: {}\n  detail: {}\n  hint: {}\n",
        error.what, error.detail, error.hint
    )
}

fn report_text(report: &Report, colour: bool) -> String {
    let mut text = String::new();
    let alone = report.stores.len() == 1;
    for store in &report.stores {
        text.push_str(&store_text(store, colour));
        if !alone {
            text.push('\n');
        }
    }
    if !alone {
        text.push_str(&all_stores_text(report, colour));
    }
    if !report.not_compared.is_empty() {
        let columns = report.not_compared.join(", ");
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(
            text,
            "  not compared, since the salt of their hashes cannot be read here: {columns}"
        );
    }
    text.push_str(&figures_text(report));
    text
}

fn store_text(report: &StoreReport, colour: bool) -> String {
    let mut text = String::new();
    if !report.tables.is_empty() {
        text.push_str(&tables_text(report));
        text.push('\n');
    }
    for finding in &report.findings {
        text.push_str(&finding_text(finding));
    }
    if report.findings_omitted > 0 {
        let omitted = grouped(report.findings_omitted);
        let _ = writeln!(text, "... and {omitted} more; --findings-file FILE writes all of them");
    }
    if !report.findings.is_empty() {
        text.push('\n');
    }
    text.push_str(&verdict_text(report, colour));
    text
}

fn tables_text(report: &StoreReport) -> String {
    let width = report
        .tables
        .iter()
        .map(|table| table.name.chars().count())
        .max()
        .unwrap_or(0)
        .max("table".len());
    let mut text = format!(
        "{:width$} {:>13} {:>13} {:>11} {:>11} {:>11}\n",
        "table", "mysql", report.store, "missing", "extra", "different"
    );
    for table in &report.tables {
        let TableReport {
            name,
            rows_mysql,
            rows_store,
            missing,
            extra,
            different,
            unsettled,
            expired,
        } = table;
        let _ = write!(
            text,
            "{name:width$} {:>13} {:>13} {:>11} {:>11} {:>11}",
            grouped(*rows_mysql),
            grouped(*rows_store),
            grouped(*missing),
            grouped(*extra),
            grouped(*different)
        );
        if *unsettled > 0 {
            let _ = write!(text, "   {} kept changing", grouped(*unsettled));
        }
        if *expired > 0 {
            let _ = write!(text, "   {} may have expired", grouped(*expired));
        }
        text.push('\n');
    }
    text
}

fn finding_text(finding: &Finding) -> String {
    let store = &finding.store;
    let key: Vec<String> = finding
        .key
        .iter()
        .map(|(name, value)| format!("{name}={}", window(value, 0)))
        .collect();
    let store_key = window(&finding.store_key, 0);
    let key = match key.is_empty() {
        true => "(no row can have this key)".to_owned(),
        false => key.join(", "),
    };
    let mut text = format!(
        "{:9}  {}  {key}  ({store} key {store_key})\n",
        finding.kind.word(),
        finding.table,
    );
    if let Some(reason) = &finding.unreadable {
        let _ = writeln!(text, "    no row stands there: {}", window(reason, 0));
    }
    let width = finding
        .columns
        .iter()
        .map(|column| column.name.chars().count())
        .max()
        .unwrap_or(0);
    let side = store.len().max("mysql".len());
    for ColumnDifference {
        name,
        mysql,
        store: stored,
    } in &finding.columns
    {
        let from = first_difference(mysql.as_deref(), stored.as_deref());
        let (mysql, stored) = (value_text(mysql.as_deref(), from), value_text(stored.as_deref(), from));
        let _ = writeln!(text, "    {name:width$}  {:side$} {mysql}", "mysql");
        let _ = writeln!(text, "    {:width$}  {store:side$} {stored}", "");
    }
    text
}

fn verdict_word(verdict: Verdict, colour: bool) -> String {
    let paint = match verdict {
        Verdict::Consistent => AnsiColor::Green,
        Verdict::Unknown => AnsiColor::Yellow,
        Verdict::Inconsistent => AnsiColor::Red,
    };
    painted(verdict.word(), paint, colour)
}

fn verdict_text(report: &StoreReport, colour: bool) -> String {
    let store = &report.store;
    let words = match (report.verdict, &report.reason) {
        (Verdict::Consistent, _) if report.expired() > 0 => {
            let expired = grouped(report.expired());
            format!("what is in {store} equals MySQL; {expired} rows are not there, which ttl_seconds allows")
        }
        (Verdict::Consistent, _) => format!("every row of MySQL is in {store}, equal, and nothing else is"),
        (Verdict::Inconsistent, _) => {
            let total: TableReport = report
                .tables
                .iter()
                .fold(TableReport::default(), |sum, table| TableReport {
                    missing: sum.missing + table.missing,
                    extra: sum.extra + table.extra,
                    different: sum.different + table.different,
                    ..sum
                });
            let (missing, extra, different) = (grouped(total.missing), grouped(total.extra), grouped(total.different));
            format!("{missing} missing from {store}, {extra} extra, {different} different")
        }
        (Verdict::Unknown, Some(reason)) => reason.what.clone(),
        (Verdict::Unknown, None) => "nothing was proven".to_owned(),
    };
    let mut text = format!("{}: {words}\n", verdict_word(report.verdict, colour));
    if let Some(reason) = &report.reason {
        if report.verdict == Verdict::Inconsistent {
            let _ = writeln!(text, "  besides: {}", reason.what);
        }
        let _ = writeln!(text, "  hint: {}", reason.hint);
    }
    text
}

/// The last word, where there are several.
fn all_stores_text(report: &Report, colour: bool) -> String {
    let is_it = |store: &&StoreReport| store.verdict == report.verdict;
    let names: Vec<&str> = report
        .stores
        .iter()
        .filter(is_it)
        .map(|store| store.store.as_str())
        .collect();
    let word = verdict_word(report.verdict, colour);
    match report.verdict {
        Verdict::Consistent => format!("{word}: all stores, {}\n", names.join(", ")),
        Verdict::Unknown | Verdict::Inconsistent => {
            format!(
                "{word}: {} of {} stores, {}\n",
                names.len(),
                report.stores.len(),
                names.join(", ")
            )
        }
    }
}

fn figures_text(report: &Report) -> String {
    let rows = report.rows_mysql();
    let in_stores: u64 = report.stores.iter().map(StoreReport::rows_store).sum();
    if rows + in_stores == 0 {
        return String::new();
    }
    let tables = report.stores.iter().map(|store| store.tables.len()).max().unwrap_or(0);
    let rate = rows as f64 / report.seconds.max(0.001);
    format!(
        "  {} rows in {tables} tables, {:.1} s, {} rows/s; {}\n",
        grouped(rows),
        report.seconds,
        grouped(rate as u64),
        fence_text(report)
    )
}

fn fence_text(report: &Report) -> String {
    let fences = || report.stores.iter().map(|store| store.fence);
    let wait_seconds_max = fences().map(|fence| fence.wait_seconds_max).fold(0.0, f64::max);
    match (
        fences().any(|fence| fence.used),
        fences().map(|fence| fence.passed).max(),
    ) {
        (false, _) => "without a fence, so a difference may be lag".to_owned(),
        (true, Some(1)) => format!("1 fence passed within {wait_seconds_max:.3} s"),
        (true, passed) => format!(
            "{} fences passed, each within {wait_seconds_max:.3} s",
            passed.unwrap_or(0)
        ),
    }
}

fn value_text(value: Option<&str>, from: usize) -> String {
    match value {
        None => "NULL or absent".to_owned(),
        Some(value) => format!("\"{}\"", window(value, from)),
    }
}

/// The place, in characters, where two values part.
fn first_difference(one: Option<&str>, other: Option<&str>) -> usize {
    let (one, other) = (one.unwrap_or_default(), other.unwrap_or_default());
    one.chars()
        .zip(other.chars())
        .take_while(|(one, other)| one == other)
        .count()
}

/// A piece of a long value that begins shortly before `from`. Control characters are escaped.
fn window(value: &str, from: usize) -> String {
    let characters = value.chars().count();
    let start = match characters <= VALUE_CHARACTERS_MAX || from < VALUE_CHARACTERS_MAX {
        true => 0,
        false => from - CONTEXT_CHARACTERS,
    };
    let mut text = if start > 0 { "...".to_owned() } else { String::new() };
    for character in value.chars().skip(start).take(VALUE_CHARACTERS_MAX) {
        match character.is_control() {
            true => text.extend(character.escape_default()),
            false => text.push(character),
        }
    }
    if characters > start + VALUE_CHARACTERS_MAX {
        text.push_str("...");
    }
    text
}

fn painted(word: &str, colour: AnsiColor, wanted: bool) -> String {
    match wanted {
        true => {
            let style = Style::new().fg_color(Some(colour.into())).bold();
            format!("{style}{word}{style:#}")
        }
        false => word.to_owned(),
    }
}

/// With commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;
