//! The verdict of a run on one screen: the word, the figures, what is wrong, and how to run it again.

use crate::figures::{Compared, Figures, Hop, Latency};
use crate::history::Phase;
use crate::verdict::{Judgement, Verdict};
use anstyle::{AnsiColor, Style};
use std::fmt::Write;
use std::path::Path;

/// Examples of each check that did not pass.
const EXAMPLES_SHOWN: usize = 3;
/// Width of the names of figures.
const NAME_WIDTH: usize = 32;
/// Width of the names of hops.
const HOP_WIDTH: usize = 22;

/// The whole text.
pub(super) fn text(judgement: &Judgement, run_folder: &Path, coloured: bool) -> String {
    let mut text = String::new();
    let style = if coloured {
        style_of(judgement.verdict)
    } else {
        Style::new()
    };
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "\n{}: {style}{}{style:#}\n",
        judgement.drill.name,
        judgement.verdict.word()
    );
    for (name, value) in figures(&judgement.figures) {
        let _ = writeln!(text, "  {name:NAME_WIDTH$} {value}");
    }
    latencies(&mut text, &judgement.figures.latencies);
    findings(&mut text, judgement, coloured);
    let _ = writeln!(text, "\n  run folder  {}", run_folder.display());
    let _ = writeln!(text, "  run again   {}", judgement.run_again);
    text
}

fn figures(figures: &Figures) -> Vec<(String, String)> {
    let count = |value: Option<u64>| value.map_or("not seen".into(), thousands);
    let seconds = |value: Option<u64>| value.map_or("never".into(), |ms| format!("{:.1} s", ms as f64 / 1000.0));
    let mut lines: Vec<(String, String)> = vec![
        (
            "changes acknowledged".into(),
            format!(
                "{} in {} transactions",
                thousands(figures.changes_acknowledged),
                thousands(figures.transactions_acknowledged)
            ),
        ),
        (
            "changes checked in Kafka".into(),
            format!(
                "{} in {} records",
                thousands(figures.changes_checked),
                thousands(figures.records_checked)
            ),
        ),
    ];
    if figures.in_flight.is_some() {
        let of_partition = figures.in_flight_in_partition.map_or(String::new(), |changes| {
            format!(", {} of them to the partition that was hit", thousands(changes))
        });
        let title = if figures.election_ms.is_some() {
            "in flight at the kill"
        } else {
            "in flight"
        };
        lines.push((title.into(), count(figures.in_flight) + &of_partition));
        if figures.election_ms.is_some() {
            lines.push(("other leader after".into(), seconds(figures.election_ms)));
        }
        lines.push(("recovery MySQL -> Kafka".into(), seconds(figures.recovery_kafka_ms)));
        for (store, took_ms) in &figures.recovery_stores_ms {
            lines.push((format!("recovery MySQL -> {}", store.title()), seconds(*took_ms)));
        }
        if figures.election_ms.is_some() {
            lines.push(("killed broker in sync after".into(), seconds(figures.cure_ms)));
        }
    }
    if figures.lost_by_mysql.is_some() {
        lines.push(("lost by MySQL".into(), count(figures.lost_by_mysql)));
    }
    lines.push(("lost".into(), count(figures.lost)));
    lines.push(("duplicates".into(), count(figures.duplicates)));
    lines.push(("out of order".into(), count(figures.out_of_order)));
    if figures.compared.is_empty() {
        lines.push(("rows compared".into(), "none".into()));
    }
    for Compared { store, rows, wrong } in &figures.compared {
        let compared = format!("{}, {} wrong", thousands(*rows), thousands(*wrong));
        lines.push((format!("rows compared with {}", store.title()), compared));
    }
    for (name, mb) in &figures.resident_peak_mb {
        let cpu_s = figures.cpu_ms.get(name).copied().unwrap_or(0) as f64 / 1000.0;
        lines.push((name.clone(), format!("{mb} MB peak memory, {cpu_s:.1} s CPU")));
    }
    lines
}

fn latencies(text: &mut String, latencies: &[Latency]) {
    if latencies.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "\n  {:HOP_WIDTH$} {:8} {:>9} {:>10} {:>10} {:>10}",
        "latency", "phase", "changes", "p50 ms", "p99 ms", "max ms"
    );
    for latency in latencies {
        let Latency {
            phase,
            hop,
            count,
            p50_ms,
            p99_ms,
            max_ms,
        } = latency;
        let (hop, phase, count) = (hop_word(*hop), phase_word(*phase), thousands(*count));
        let _ = writeln!(
            text,
            "  {hop:HOP_WIDTH$} {phase:8} {count:>9} {p50_ms:>10.1} {p99_ms:>10.1} {max_ms:>10.1}"
        );
    }
}

fn findings(text: &mut String, judgement: &Judgement, coloured: bool) {
    text.push('\n');
    for finding in &judgement.findings {
        let style = if coloured {
            style_of(finding.verdict)
        } else {
            Style::new()
        };
        let word = finding.verdict.word();
        let _ = writeln!(
            text,
            "  {style}{word:12}{style:#} {:14} {}",
            finding.check, finding.summary
        );
        if finding.verdict == Verdict::Consistent {
            continue;
        }
        for example in finding.examples.iter().take(EXAMPLES_SHOWN) {
            let _ = writeln!(text, "{:15}- {}", "", example.replace('\n', "\n                 "));
        }
        let more = finding.examples.len().saturating_sub(EXAMPLES_SHOWN);
        if more > 0 {
            let _ = writeln!(text, "{:15}- {more} more in verdict.json", "");
        }
    }
}

fn style_of(verdict: Verdict) -> Style {
    let colour = match verdict {
        Verdict::Consistent => AnsiColor::Green,
        Verdict::Unknown => AnsiColor::Yellow,
        Verdict::Inconsistent => AnsiColor::Red,
    };
    colour.on_default().bold()
}

fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Before => "before",
        Phase::During => "during",
        Phase::After => "after",
        Phase::Settle => "settle",
    }
}

fn hop_word(hop: Hop) -> &'static str {
    match hop {
        Hop::MysqlKafka => "MySQL -> Kafka",
        Hop::KafkaRedis => "Kafka -> Redis",
        Hop::KafkaElasticsearch => "Kafka -> Elasticsearch",
        Hop::KafkaHbase => "Kafka -> HBase",
    }
}

/// 1234567 -> 1,234,567
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{example, judge};

    #[test]
    fn a_good_run() {
        let judgement = judge(&example::history(), Path::new("target/drill/example")).unwrap();
        insta::assert_snapshot!(text(&judgement, Path::new("target/drill/example"), false));
    }

    #[test]
    fn a_run_that_lost_changes_and_was_cut_short() {
        let mut history = example::history();
        history.observed.truncate(18);
        history.ended = None;
        history.convergence.clear();
        let judgement = judge(&history, Path::new("target/drill/example")).unwrap();
        insta::assert_snapshot!(text(&judgement, Path::new("target/drill/example"), false));
    }

    #[test]
    fn colours_only_where_they_are_wanted() {
        let judgement = judge(&example::history(), Path::new("target/drill/example")).unwrap();
        assert!(text(&judgement, Path::new("x"), true).contains("\u{1b}["));
        assert!(!text(&judgement, Path::new("x"), false).contains("\u{1b}["));
    }

    #[test]
    fn commas_stand_every_three_digits() {
        assert_eq!(
            [0, 12, 999, 1000, 1_234_567].map(thousands),
            ["0", "12", "999", "1,000", "1,234,567"]
        );
    }
}
