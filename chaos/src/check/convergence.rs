//! Every row of every store equals MySQL's, as the checker found after the drill.

use crate::drill::TargetName;
use crate::facts::Facts;
use crate::history::Convergence;
use crate::verdict::{EXAMPLES_MAX, Finding, Tally, Verdict};

/// Takes over what the checker said of each store; one that was not compared, or without a row, is `unknown`.
#[must_use]
pub fn check(facts: &Facts<'_>) -> Finding {
    let mut finding = Tally::new("convergence").finding(0, "comparison");
    let said = &facts.history.convergence;
    let planned: Vec<TargetName> = facts
        .history
        .drill()
        .map_or(Vec::new(), |drill| drill.lab.targets.clone());
    let is_absent = |target: &TargetName| said.iter().all(|convergence| convergence.store != *target);
    if said.is_empty() {
        return finding;
    }
    let sum = |count: fn(&Convergence) -> u64| said.iter().map(count).sum::<u64>();
    let (missing, extra, different) = (
        sum(|convergence| convergence.missing),
        sum(|convergence| convergence.extra),
        sum(|convergence| convergence.different),
    );
    finding.checked = sum(|convergence| convergence.rows);
    finding.wrong = missing + extra + different;
    finding.verdict = said.iter().map(of_store).max().unwrap_or(Verdict::Unknown);
    let stores: Vec<String> = said
        .iter()
        .map(|convergence| format!("{} {}", convergence.store.title(), convergence.rows))
        .collect();
    finding.summary = format!(
        "rows compared: {}; {missing} missing, {extra} extra, {different} different",
        stores.join(", ")
    );
    let examples = said.iter().flat_map(|convergence| &convergence.examples);
    finding.examples = examples.take(EXAMPLES_MAX).cloned().collect();
    if let Some(absent) = planned.iter().find(|target| is_absent(target)) {
        finding.verdict = finding.verdict.max(Verdict::Unknown);
        finding.examples.push(format!("{} was not compared", absent.title()));
    }
    finding
}

fn of_store(convergence: &Convergence) -> Verdict {
    match convergence.verdict {
        _ if convergence.missing + convergence.extra + convergence.different > 0 => Verdict::Inconsistent,
        Verdict::Consistent if convergence.rows == 0 => Verdict::Unknown,
        verdict => verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::example;
    use crate::history::{History, Record};

    fn convergence(store: TargetName, verdict: Verdict, rows: u64, different: u64) -> Record {
        Record::Convergence(Convergence {
            at_us: 1,
            store,
            verdict,
            rows,
            missing: 0,
            extra: 0,
            different,
            examples: vec![],
        })
    }

    #[test]
    fn follows_the_checker_and_doubts_an_empty_comparison() {
        let said = |verdict, rows, different| {
            let record = convergence(TargetName::Redis, verdict, rows, different);
            let history: History = [record].into_iter().collect();
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

    #[test]
    fn the_worst_store_decides_and_none_may_be_left_out() {
        let mut history = example::history();
        history.convergence.retain(|said| said.store != TargetName::Hbase);
        assert_eq!(check(&Facts::of(&history)).verdict, Verdict::Unknown);
        for (verdict, different, expected) in [
            (Verdict::Consistent, 0, Verdict::Consistent),
            (Verdict::Unknown, 0, Verdict::Unknown),
            (Verdict::Consistent, 1, Verdict::Inconsistent),
        ] {
            let mut history = history.clone();
            history.add(convergence(TargetName::Hbase, verdict, 5, different));
            assert_eq!(check(&Facts::of(&history)).verdict, expected);
        }
    }
}
