//! Three verdicts, merged by the worst. Nothing observed is `unknown`, never a pass.

use crate::drill::Drill;
use serde::{Deserialize, Serialize};
use std::process::ExitCode;

/// Most examples that a finding carries.
pub const EXAMPLES_MAX: usize = 20;

/// What a check says. Ordered from good to bad, so that the worst of several is their maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All that had to hold was seen to hold.
    Consistent,
    /// Not enough was seen to tell.
    Unknown,
    /// Something that had to hold was seen not to hold.
    Inconsistent,
}

impl Verdict {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Consistent => "consistent",
            Verdict::Unknown => "unknown",
            Verdict::Inconsistent => "inconsistent",
        }
    }

    /// 0 consistent, 1 inconsistent, 2 unknown.
    #[must_use]
    pub fn exit_code(self) -> ExitCode {
        match self {
            Verdict::Consistent => ExitCode::SUCCESS,
            Verdict::Inconsistent => ExitCode::from(1),
            Verdict::Unknown => ExitCode::from(2),
        }
    }
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The check's name.
    pub check: String,
    /// What it says.
    pub verdict: Verdict,
    /// How many things it looked at.
    pub checked: u64,
    /// How many of them are wrong.
    pub wrong: u64,
    /// One line that says what it saw.
    pub summary: String,
    /// Some of the wrong things, at most [`EXAMPLES_MAX`].
    pub examples: Vec<String>,
}

/// Gathers the wrong things of one check.
pub(crate) struct Tally {
    check: &'static str,
    pub(crate) checked: u64,
    wrong: u64,
    examples: Vec<String>,
}

impl Tally {
    pub(crate) fn new(check: &'static str) -> Self {
        Self {
            check,
            checked: 0,
            wrong: 0,
            examples: Vec::new(),
        }
    }

    pub(crate) fn wrong(&mut self, example: impl FnOnce() -> String) {
        self.wrong += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(example());
        }
    }

    /// More than `wrong_max` wrong things are `inconsistent`, nothing looked at is `unknown`.
    pub(crate) fn finding(self, wrong_max: u64, of: &str) -> Finding {
        let verdict = match (self.checked, self.wrong) {
            (_, wrong) if wrong > wrong_max => Verdict::Inconsistent,
            (0, _) => Verdict::Unknown,
            _ => Verdict::Consistent,
        };
        let summary = match self.checked {
            0 => format!("no {of} seen"),
            checked => format!("{} of {checked} {of}", self.wrong),
        };
        Finding {
            check: self.check.into(),
            verdict,
            checked: self.checked,
            wrong: self.wrong,
            summary,
            examples: self.examples,
        }
    }
}

/// The verdict of a run with all that it rests on: the content of `verdict.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// The worst of all findings.
    pub verdict: Verdict,
    /// The plan.
    pub drill: Drill,
    /// The seed.
    pub seed: u64,
    /// What each check found.
    pub findings: Vec<Finding>,
    /// Figures for people.
    pub figures: crate::figures::Figures,
    /// How to run it again.
    pub run_again: String,
}

/// The worst of all findings; none at all is `unknown`.
#[must_use]
pub fn worst(findings: &[Finding]) -> Verdict {
    findings
        .iter()
        .map(|finding| finding.verdict)
        .max()
        .unwrap_or(Verdict::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_wins_and_nothing_is_unknown() {
        let finding = |verdict| Finding {
            verdict,
            ..Tally::new("any").finding(0, "things")
        };
        let [good, unsure, bad] = [Verdict::Consistent, Verdict::Unknown, Verdict::Inconsistent].map(finding);
        assert_eq!(worst(&[]), Verdict::Unknown);
        assert_eq!(worst(std::slice::from_ref(&good)), Verdict::Consistent);
        assert_eq!(worst(&[good.clone(), unsure.clone()]), Verdict::Unknown);
        assert_eq!(worst(&[bad, unsure, good]), Verdict::Inconsistent);
    }

    #[test]
    fn nothing_looked_at_is_unknown_and_examples_are_bounded() {
        assert_eq!(Tally::new("any").finding(0, "things").verdict, Verdict::Unknown);
        let mut tally = Tally::new("any");
        for number in 0..100 {
            tally.checked += 1;
            tally.wrong(|| format!("thing {number}"));
        }
        let finding = tally.finding(0, "things");
        assert_eq!((finding.wrong, finding.examples.len()), (100, EXAMPLES_MAX));
        assert_eq!(finding.verdict, Verdict::Inconsistent);
    }
}
