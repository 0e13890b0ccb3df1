//! What MySQL itself lost after it was published is listed in `<prefix>.__lost`, change by change, and nothing else is.
//!
//! Which transactions it lost, the drill knows from the journal of the primary that survived. What they had published are
//! the records of an epoch before the last one that show their changes; a listed change is one version.

use crate::facts::{Facts, Mark, marks};
use crate::history::{Listed, Observed, Outcome, Transaction};
use crate::verdict::{Finding, Tally, Verdict};
use std::collections::{BTreeMap, BTreeSet};

/// Bits of a version below the epoch.
const SEQ_BITS: u32 = 48;
/// Changes of one listed transaction that are looked at.
const LISTED_MAX: u64 = 1_000_000;

/// Compares what was lost with what is listed. Where the plan wants MySQL to lose something (`expected`), a run in which it
/// lost nothing that was published proves nothing; where it does not, a run in which it lost something is not the one meant.
#[must_use]
pub fn check(facts: &Facts<'_>, expected: bool) -> Finding {
    let mut tally = Tally::new("lost-by-mysql");
    let published = published(facts);
    let mut listed = BTreeSet::new();
    for record in &facts.history.listed {
        let versions = versions_of(record);
        if record.first_version.is_none() || record.changes != Some(versions.len() as u64) {
            tally.wrong(|| format!("not understood at offset {}: {}", record.offset, record.text));
        }
        for version in versions {
            if !listed.insert(version) {
                tally.wrong(|| format!("version {version} is listed twice"));
            }
        }
    }
    for (version, (transaction, (table, key, op, _))) in &published {
        tally.checked += 1;
        if !listed.contains(version) {
            let number = transaction.number;
            tally.wrong(|| {
                format!("{table} id {key}: {op:?} of transaction {number}, version {version}, is not listed")
            });
        }
    }
    for version in &listed {
        tally.checked += 1;
        if !published.contains_key(version) {
            tally.wrong(|| format!("version {version} is listed, and MySQL has it or it was never published"));
        }
    }
    let acknowledged = acknowledged_and_lost(facts);
    let mut finding = tally.finding(0, "changes that MySQL lost after they were published");
    if facts.kept.is_none() {
        finding.verdict = finding.verdict.max(Verdict::Unknown);
        finding.summary = "nobody asked the primary which transactions it has".into();
        return finding;
    }
    finding.summary = format!(
        "MySQL lost {acknowledged} acknowledged changes; {} changes were published before, {} are listed",
        published.len(),
        listed.len()
    );
    let as_meant = match expected {
        true => !published.is_empty(),
        false => acknowledged == 0,
    };
    finding.verdict = match (finding.verdict, as_meant) {
        (Verdict::Inconsistent, _) => Verdict::Inconsistent,
        (_, true) => Verdict::Consistent,
        (_, false) => Verdict::Unknown,
    };
    finding
}

/// Changes of transactions that were acknowledged and that the surviving primary does not have.
#[must_use]
pub fn acknowledged_and_lost(facts: &Facts<'_>) -> u64 {
    let lost = facts
        .lost_by_mysql()
        .filter(|transaction| transaction.outcome != Outcome::Unknown);
    lost.map(|transaction| transaction.rows.len() as u64).sum()
}

/// Versions of lost changes that consumers could see, with the transaction and one of the change's records.
fn published<'a>(facts: &Facts<'a>) -> BTreeMap<i64, (&'a Transaction, Mark<'a>)> {
    let epoch = |record: &&Observed| record.version.map(|version| version >> SEQ_BITS);
    let last = facts.records.iter().filter_map(epoch).max();
    let mut published = BTreeMap::new();
    for transaction in facts.lost_by_mysql() {
        let marks = transaction.rows.iter().flat_map(|row| marks(row, transaction.number));
        for mark in marks {
            let record = facts.visible.get(&mark).filter(|record| epoch(record) < last);
            if let Some(version) = record.and_then(|record| record.version) {
                published.entry(version).or_insert((transaction, mark));
            }
        }
    }
    published
}

/// None where the record was not understood.
fn versions_of(record: &Listed) -> Vec<i64> {
    match (record.first_version, record.changes) {
        (Some(first), Some(changes)) if changes <= LISTED_MAX => (first..).take(changes as usize).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::example;
    use crate::history::History;

    fn verdict(history: &History, expected: bool) -> Verdict {
        check(&Facts::of(history), expected).verdict
    }

    #[test]
    fn all_that_was_lost_and_published_is_listed() {
        let history = example::lossy();
        let finding = check(&Facts::of(&history), true);
        assert_eq!(
            (finding.verdict, finding.wrong),
            (Verdict::Consistent, 0),
            "{finding:?}"
        );
        assert_eq!(acknowledged_and_lost(&Facts::of(&history)), 5);
    }

    #[test]
    fn what_is_not_listed_and_what_is_listed_and_there_are_caught() {
        let lossy = example::lossy();
        for index in 0..lossy.listed.len() {
            for change in [-1, 1] {
                let mut history = lossy.clone();
                let listed = &mut history.listed[index];
                listed.changes = listed.changes.and_then(|changes| changes.checked_add_signed(change));
                assert_eq!(verdict(&history, true), Verdict::Inconsistent, "{index} {change}");
            }
            let mut history = lossy.clone();
            history.listed[index].first_version = None;
            assert_eq!(verdict(&history, true), Verdict::Inconsistent, "{index} not understood");
            history.listed.remove(index);
            assert_eq!(verdict(&history, true), Verdict::Inconsistent, "{index} gone");
        }
    }

    #[test]
    fn a_switch_that_lost_something_or_nothing_against_the_plan_is_unknown() {
        assert_eq!(verdict(&example::lossy(), false), Verdict::Unknown);
        let mut history = example::history();
        assert_eq!(verdict(&history, false), Verdict::Unknown, "nobody asked");
        history.journal = Some(example::journal(&history, &[]));
        assert_eq!(verdict(&history, false), Verdict::Consistent);
        assert_eq!(verdict(&history, true), Verdict::Unknown);
    }
}
