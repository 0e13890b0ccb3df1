//! Money is neither made nor lost: the last balances in the topics add up to what the accounts were opened with.

use crate::facts::Facts;
use crate::history::Op;
use crate::verdict::{Finding, Tally, Verdict};
use std::collections::HashMap;

/// Adds up the first and the last balance of every account.
#[must_use]
pub fn check(facts: &Facts<'_>) -> Finding {
    let mut opened: HashMap<(&str, &str, i64), i64> = HashMap::new();
    let mut last: HashMap<(&str, &str), (i64, i64)> = HashMap::new();
    for record in &facts.records {
        let (Some(version), Some(balance)) = (record.version, record.balance) else {
            continue;
        };
        if record.op == Op::Insert {
            // In sequenced delivery there can be further copies of it.
            opened.insert((&record.topic, &record.key, version), balance);
        }
        let entry = last.entry((&record.topic, &record.key)).or_insert((version, balance));
        if entry.0 <= version {
            *entry = (version, balance);
        }
    }
    let opened: i64 = opened.values().sum();
    let closed: i64 = last.values().map(|(_, balance)| balance).sum();
    let mut tally = Tally::new("conserved");
    tally.checked = last.len() as u64;
    if closed != opened {
        tally.wrong(|| format!("the accounts were opened with {opened} and hold {closed}"));
    }
    let mut finding = tally.finding(0, "balances");
    if finding.verdict == Verdict::Consistent {
        finding.summary = format!("{} balances add up to the {opened} they began with", finding.checked);
    }
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::example;
    use crate::history::History;

    #[test]
    fn balances_that_do_not_add_up_are_caught() {
        let mut history = example::history();
        assert_eq!(check(&Facts::of(&history)).verdict, Verdict::Consistent);
        let last = history
            .observed
            .iter()
            .rposition(|record| record.balance.is_some())
            .unwrap();
        history.observed[last].balance = Some(-7);
        assert_eq!(check(&Facts::of(&history)).verdict, Verdict::Inconsistent);
        let mut history = example::history();
        history.observed.remove(0);
        assert_eq!(check(&Facts::of(&history)).verdict, Verdict::Inconsistent);
        assert_eq!(check(&Facts::of(&History::default())).verdict, Verdict::Unknown);
    }
}
