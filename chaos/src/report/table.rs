//! The outcome of a suite as a table: a line for each drill and version, and below it what went wrong.

use crate::suite::{Line, Outcome, Ran};
use crate::verdict::Verdict;
use std::fmt::Write;

const TITLES: [&str; 10] = [
    "drill",
    "MySQL",
    "verdict",
    "runs",
    "lost by MySQL",
    "lost by pipeline",
    "duplicates",
    "out of order",
    "recovery s",
    "in flight",
];
/// The columns before this one hold words, the others numbers.
const FIRST_NUMBER: usize = 3;

/// The whole text.
pub(super) fn text(outcome: &Outcome) -> String {
    let rows: Vec<[String; 10]> = outcome.lines.iter().map(row).collect();
    let width = |column: usize| {
        let longest = rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        longest.max(TITLES[column].len())
    };
    let widths: Vec<usize> = (0..TITLES.len()).map(width).collect();
    let mut text = String::new();
    for row in std::iter::once(TITLES.map(str::to_owned)).chain(rows) {
        let cells = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| match column < FIRST_NUMBER {
                true => format!("{cell:width$}"),
                false => format!("{cell:>width$}"),
            });
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    for (line, ran) in bad_runs(outcome) {
        let _ = writeln!(
            text,
            "\n{} on MySQL {}, seed {}: {}",
            line.drill,
            line.mysql,
            ran.seed,
            ran.verdict.word()
        );
        for trouble in &ran.trouble {
            let _ = writeln!(text, "  - {}", trouble.replace('\n', "\n    "));
        }
        let _ = writeln!(text, "  run folder  {}", ran.run_folder);
    }
    let runs: usize = outcome.lines.iter().map(|line| line.runs.len()).sum();
    let good = runs - bad_runs(outcome).count();
    let _ = writeln!(
        text,
        "\n{}: {}, {good} of {runs} runs are consistent",
        outcome.suite,
        outcome.verdict.word()
    );
    text
}

fn bad_runs(outcome: &Outcome) -> impl Iterator<Item = (&Line, &Ran)> {
    let all = outcome
        .lines
        .iter()
        .flat_map(|line| line.runs.iter().map(move |ran| (line, ran)));
    all.filter(|(_, ran)| ran.verdict != Verdict::Consistent)
}

/// Sums over the runs; of several recoveries the median and the longest.
fn row(line: &Line) -> [String; 10] {
    let sum = |of| line.sum(of).map_or("-".into(), |sum| sum.to_string());
    let seconds = |ms: u64| format!("{:.1}", ms as f64 / 1000.0);
    let recovery = match line.recovery_ms() {
        None => "-".into(),
        Some((median, _)) if line.runs.len() == 1 => seconds(median),
        Some((median, longest)) => format!("{} ({})", seconds(median), seconds(longest)),
    };
    [
        line.drill.clone(),
        line.mysql.clone(),
        line.verdict.word().into(),
        line.runs.len().to_string(),
        sum(|ran| ran.lost_by_mysql),
        sum(|ran| ran.lost_by_pipeline),
        sum(|ran| ran.duplicates),
        sum(|ran| ran.out_of_order),
        recovery,
        sum(|ran| ran.in_flight),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(seed: u64, recovery_ms: Option<u64>) -> Ran {
        Ran {
            seed,
            verdict: Verdict::Consistent,
            lost_by_mysql: Some(40),
            lost_by_pipeline: Some(0),
            duplicates: Some(0),
            out_of_order: Some(0),
            recovery_ms,
            in_flight: Some(9),
            trouble: Vec::new(),
            run_folder: format!("target/drill/switch/{seed}"),
        }
    }

    #[test]
    fn a_suite_with_one_bad_run() {
        let bad = Ran {
            verdict: Verdict::Inconsistent,
            lost_by_pipeline: Some(2),
            trouble: vec!["inconsistent lost: 2 of 900 acknowledged changes are lost; bank.account id 7".into()],
            ..ran(3, Some(2_900))
        };
        let line = |drill: &str, runs: Vec<Ran>| Line {
            drill: drill.into(),
            mysql: "8.0".into(),
            verdict: runs.iter().map(|ran| ran.verdict).max().unwrap(),
            runs,
        };
        let outcome = Outcome {
            suite: "switch".into(),
            verdict: Verdict::Inconsistent,
            lines: vec![
                line("switch-gtid", vec![ran(1, Some(1_240)), ran(2, Some(800)), bad]),
                line("purged-position", vec![ran(1, None)]),
            ],
        };
        insta::assert_snapshot!(text(&outcome));
    }
}
