//! Every row of the target equals MySQL's, as the checker found after the drill.

use crate::facts::Facts;
use crate::verdict::{EXAMPLES_MAX, Finding, Tally, Verdict};

/// Takes over what the checker said; a checker that compared nothing is `unknown`.
#[must_use]
pub fn check(facts: &Facts<'_>) -> Finding {
    let mut finding = Tally::new("convergence").finding(0, "comparison");
    let Some(convergence) = &facts.history.convergence else {
        return finding;
    };
    let (missing, extra, different) = (convergence.missing, convergence.extra, convergence.different);
    finding.checked = convergence.rows;
    finding.wrong = missing + extra + different;
    finding.verdict = match convergence.verdict {
        _ if finding.wrong > 0 => Verdict::Inconsistent,
        Verdict::Consistent if convergence.rows == 0 => Verdict::Unknown,
        verdict => verdict,
    };
    finding.summary = format!(
        "{} rows compared: {missing} missing, {extra} extra, {different} different",
        convergence.rows
    );
    finding.examples = convergence.examples.iter().take(EXAMPLES_MAX).cloned().collect();
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::example;
    use crate::history::{Convergence, History, Record};

    #[test]
    fn follows_the_checker_and_doubts_an_empty_comparison() {
        let said = |verdict, rows, different| {
            let convergence = Convergence {
                at_us: 1,
                verdict,
                rows,
                missing: 0,
                extra: 0,
                different,
                examples: vec![],
            };
            let history: History = [Record::Convergence(convergence)].into_iter().collect();
            check(&Facts::of(&history)).verdict
        };
        assert_eq!(said(Verdict::Consistent, 10, 0), Verdict::Consistent);
        assert_eq!(said(Verdict::Consistent, 10, 1), Verdict::Inconsistent);
        assert_eq!(said(Verdict::Consistent, 0, 0), Verdict::Unknown);
        assert_eq!(said(Verdict::Unknown, 10, 0), Verdict::Unknown);
        assert_eq!(said(Verdict::Inconsistent, 10, 0), Verdict::Inconsistent);
        assert_eq!(check(&Facts::of(&History::default())).verdict, Verdict::Unknown);
        assert_eq!(check(&Facts::of(&example::history())).verdict, Verdict::Consistent);
    }
}
