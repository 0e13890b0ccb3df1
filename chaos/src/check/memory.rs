//! Reader and writer stay small: the peak of resident memory of each.

use crate::facts::Facts;
use crate::verdict::{Finding, Tally, Verdict};
use std::collections::BTreeMap;

/// Holds the peak of each process to the limit.
#[must_use]
pub fn check(facts: &Facts<'_>, resident_mb_max: u64) -> Finding {
    let mut tally = Tally::new("memory");
    let peaks = peaks_kb(facts);
    for (name, peak_kb) in &peaks {
        tally.checked += 1;
        if peak_kb.div_ceil(1024) > resident_mb_max {
            tally.wrong(|| {
                format!(
                    "the {name} used {} MB, at most {resident_mb_max} MB are allowed",
                    peak_kb.div_ceil(1024)
                )
            });
        }
    }
    let mut finding = tally.finding(0, "processes");
    if finding.verdict != Verdict::Unknown {
        let parts: Vec<String> = peaks
            .iter()
            .map(|(name, kb)| format!("{name} {} MB", kb.div_ceil(1024)))
            .collect();
        finding.summary = format!("{}, at most {resident_mb_max} MB are allowed", parts.join(", "));
    }
    finding
}

/// The peak of each process, over all its lives, KB.
#[must_use]
pub fn peaks_kb<'a>(facts: &Facts<'a>) -> BTreeMap<&'a str, u64> {
    let mut peaks = BTreeMap::new();
    for sample in &facts.history.processes {
        let peak = peaks.entry(sample.name.as_str()).or_insert(0);
        *peak = sample.resident_peak_kb.max(*peak);
    }
    peaks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::example;
    use crate::history::History;

    #[test]
    fn a_process_over_the_limit_is_caught_and_none_seen_unknown() {
        let history = example::history();
        assert_eq!(check(&Facts::of(&history), 150).verdict, Verdict::Consistent);
        assert_eq!(check(&Facts::of(&history), 40).verdict, Verdict::Inconsistent);
        assert_eq!(check(&Facts::of(&History::default()), 150).verdict, Verdict::Unknown);
    }
}
