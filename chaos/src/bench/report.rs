//! The figures of a benchmark: rows and ratios, as a table for people or one JSON object for machines.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Figures that are not there for a row are absent.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) figures: BTreeMap<&'static str, f64>,
}

/// What a benchmark found.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) rows: Vec<Row>,
    /// By name; what is divided by what stands in it.
    pub(super) ratios: BTreeMap<String, f64>,
    /// What else a reader of the figures has to know.
    pub(super) conditions: BTreeMap<&'static str, String>,
}

impl Report {
    pub(super) fn figure(&self, row: &str, name: &str) -> Option<f64> {
        let row = self.rows.iter().find(|candidate| candidate.name == row)?;
        row.figures.get(name).copied()
    }

    /// Adds `a.figure / b.figure` where both are known.
    pub(super) fn ratio(&mut self, name: &str, figure: &str, a: &str, b: &str) {
        if let (Some(a), Some(b)) = (self.figure(a, figure), self.figure(b, figure)) {
            self.ratios.insert(name.to_owned(), a / b);
        }
    }

    /// A table of the columns that any row has, the ratios, the conditions.
    pub(super) fn text(&self, columns: &[&str]) -> String {
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
        let mut text = format!("{:width$}", "");
        for column in columns {
            let _ = write!(text, "  {column:>12}");
        }
        text.push('\n');
        for row in &self.rows {
            let _ = write!(text, "{:width$}", row.name);
            for column in columns {
                let figure = row.figures.get(column).map_or("-".to_owned(), |figure| number(*figure));
                let _ = write!(text, "  {figure:>12}");
            }
            text.push('\n');
        }
        text.push('\n');
        for (name, ratio) in &self.ratios {
            let _ = writeln!(text, "{ratio:8.2}  {name}");
        }
        for (name, value) in &self.conditions {
            let _ = writeln!(text, "{name}: {value}");
        }
        text
    }
}

fn number(figure: f64) -> String {
    if figure.abs() >= 1_000.0 {
        let digits = format!("{figure:.0}");
        let mut text = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index) % 3 == 0 {
                text.push(',');
            }
            text.push(digit);
        }
        return text;
    }
    format!("{figure:.2}")
}

/// The middle one; of two, the lower.
pub(super) fn median(figures: &[f64]) -> f64 {
    percentile(figures, 50.0)
}

/// The smallest figure that so many percent of all do not exceed; 0 of none.
pub(super) fn percentile(figures: &[f64], percent: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_figures_that_were_measured() {
        let figures: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&figures, 50.0), 50.0);
        assert_eq!(percentile(&figures, 99.0), 99.0);
        assert_eq!(percentile(&figures, 100.0), 100.0);
        assert_eq!(median(&[3.0, 1.0]), 1.0);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn the_table_shows_what_is_there() {
        let row = |name: &str, figures: &[(&'static str, f64)]| Row {
            name: name.into(),
            figures: figures.iter().copied().collect(),
        };
        let mut report = Report {
            rows: vec![
                row("mysync", &[("rows_per_s", 216_000.4), ("cpu_s", 6.5)]),
                row("peer", &[("rows_per_s", 36_000.0), ("cpu_s", 65.0)]),
                row("raw", &[("cpu_s", 1.0)]),
            ],
            ..Report::default()
        };
        report.ratio("rows/s, mysync to peer", "rows_per_s", "mysync", "peer");
        report.ratio("rows/s, raw to peer", "rows_per_s", "raw", "peer");
        insta::assert_snapshot!(report.text(&["rows_per_s", "cpu_s"]), @r"
                  rows_per_s         cpu_s
        mysync       216,000          6.50
        peer          36,000         65.00
        raw                -          1.00

            6.00  rows/s, mysync to peer
        ");
    }
}
