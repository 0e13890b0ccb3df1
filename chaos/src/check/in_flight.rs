//! Did the fault meet something? A change was in flight when MySQL had acknowledged it and no read-committed consumer had
//! seen it at the moment the victim was gone. A fault that met nothing in flight proves nothing: `unknown`.
//!
//! When a process is known to be gone, it was so for some time. Where that is the server that acknowledges, all could have
//! arrived meanwhile: so the moment is that of the last acknowledgement before, if it was shortly before.
//!
//! A store or a writer that is away meets what is acknowledged while it is: none of that can be there before it is back.

use crate::facts::Facts;
use crate::history::{FaultEvent, FaultStep};
use crate::verdict::{Finding, Tally, Verdict};

/// The last acknowledgement is looked for so long before a victim is known to be gone.
const KNOWN_AFTER_US_MAX: u64 = 1_500_000;

/// What one fault met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Met {
    /// Changes in flight.
    pub changes: u64,
    /// Those of them that went to the partition that was hit.
    pub in_partition: u64,
}

/// Every fault of the plan must have struck, and met something.
#[must_use]
pub fn check(facts: &Facts<'_>) -> Finding {
    let planned = facts.history.drill().map_or(0, |drill| drill.faults.len());
    let struck: Vec<&FaultEvent> = strikes(facts).collect();
    let mut finding = Tally::new("in-flight").finding(0, "strike");
    let met: Vec<Met> = struck.iter().map(|event| met(facts, event)).collect();
    finding.checked = met.iter().map(|met| met.changes).sum();
    let all_met = struck.len() >= planned && !met.is_empty() && met.iter().all(|met| met.changes > 0);
    finding.verdict = if all_met { Verdict::Consistent } else { Verdict::Unknown };
    finding.summary = format!(
        "{} of {planned} planned faults struck, changes in flight: {}",
        struck.len(),
        finding.checked
    );
    finding
}

/// The moments at which a victim was known to be gone.
pub fn strikes<'a>(facts: &Facts<'a>) -> impl Iterator<Item = &'a FaultEvent> {
    facts
        .history
        .faults
        .iter()
        .filter(|event| event.step == FaultStep::Struck)
}

/// What was in flight when a fault struck.
#[must_use]
pub fn met(facts: &Facts<'_>, struck: &FaultEvent) -> Met {
    let mut met = Met {
        changes: 0,
        in_partition: 0,
    };
    if struck.target.is_some() {
        let away_us = struck.at_us..back_us(facts, struck);
        let waited = facts
            .acknowledged()
            .filter(|transaction| away_us.contains(&transaction.end_us));
        met.changes = waited.map(|transaction| transaction.rows.len() as u64).sum();
        return met;
    }
    let before = || {
        facts
            .acknowledged()
            .filter(|transaction| transaction.end_us <= struck.at_us)
    };
    let last_us = before().map(|transaction| transaction.end_us).max();
    let moment_us = last_us
        .filter(|last_us| struck.at_us - last_us <= KNOWN_AFTER_US_MAX)
        .unwrap_or(struck.at_us);
    for transaction in before() {
        for row in &transaction.rows {
            let shown = facts.shown(row, transaction.number);
            if shown.is_some_and(|record| record.at_us <= moment_us) {
                continue;
            }
            met.changes += 1;
            let hit = shown.is_some_and(|record| {
                Some(record.topic.as_str()) == struck.topic.as_deref() && Some(record.partition) == struck.partition
            });
            met.in_partition += u64::from(hit);
        }
    }
    met
}

/// When a store or a writer that was hit was about to come back.
fn back_us(facts: &Facts<'_>, struck: &FaultEvent) -> u64 {
    let is_back = |event: &&FaultEvent| {
        (event.fault, event.target) == (struck.fault, struck.target)
            && matches!(event.step, FaultStep::CureBegun | FaultStep::Recoverable)
            && event.at_us >= struck.at_us
    };
    let back = facts.history.faults.iter().find(is_back);
    back.map_or(struck.at_us, |event| event.at_us)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::example;
    use crate::drill::{FaultKind, TargetName};
    use crate::history::History;

    #[test]
    fn counts_what_was_acknowledged_and_not_yet_seen() {
        let history = example::history();
        let facts = Facts::of(&history);
        let struck = strikes(&facts).next().unwrap();
        assert_eq!(
            met(&facts, struck),
            Met {
                changes: 1,
                in_partition: 1
            }
        );
        assert_eq!(check(&facts).verdict, Verdict::Consistent);
    }

    #[test]
    fn what_came_while_a_store_was_away_had_to_wait_for_it() {
        let mut history = example::history();
        for event in &mut history.faults {
            (event.fault, event.target) = (FaultKind::KillTarget, Some(TargetName::Redis));
            (event.topic, event.partition) = (None, None);
        }
        let met_by = |history: &History| {
            let facts = Facts::of(history);
            let struck = strikes(&facts).next().unwrap();
            met(&facts, struck).changes
        };
        // The transaction at 11 s, which changed three rows.
        assert_eq!(met_by(&history), 3);
        history.faults.retain(|event| event.step != FaultStep::CureBegun);
        assert_eq!(met_by(&history), 0, "nobody knows how long it was away");
    }

    #[test]
    fn a_fault_that_met_nothing_or_never_struck_is_unknown() {
        let mut history = example::history();
        for record in &mut history.observed {
            record.at_us = 0;
        }
        assert_eq!(check(&Facts::of(&history)).verdict, Verdict::Unknown);
        let mut history = example::history();
        history.faults.clear();
        assert_eq!(check(&Facts::of(&history)).verdict, Verdict::Unknown);
    }
}
