//! Versions rise in every partition, every key keeps to one partition, what was acknowledged before another transaction
//! began has the lower version, and the sequence numbers of all versions together have no gap: those of each epoch begin
//! with 1. In sequenced delivery this is asked of first copies: what a crash brings again stands behind them, and consumers
//! pass it over.

use crate::drill::Delivery;
use crate::facts::Facts;
use crate::history::{Observed, Op, Outcome};
use crate::verdict::{Finding, Tally};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Bits of a version below the epoch.
const SEQ_BITS: u32 = 48;

/// Looks at the order of versions in every way that it could be wrong.
#[must_use]
pub fn check(facts: &Facts<'_>, out_of_order_max: u64) -> Finding {
    let mut tally = Tally::new("out-of-order");
    let mut partitions: BTreeMap<(&str, i32), Vec<&Observed>> = BTreeMap::new();
    for record in facts.records.iter().copied() {
        tally.checked += 1;
        partitions
            .entry((&record.topic, record.partition))
            .or_default()
            .push(record);
    }
    rise_in_each_partition(partitions, facts.delivery() == Delivery::Sequenced, &mut tally);
    keep_to_one_partition(facts, &mut tally);
    follow_real_time(facts, &mut tally);
    have_no_gap(facts, &mut tally);
    tally.finding(out_of_order_max, "records are out of order")
}

fn rise_in_each_partition(partitions: BTreeMap<(&str, i32), Vec<&Observed>>, sequenced: bool, tally: &mut Tally) {
    for ((topic, partition), mut records) in partitions {
        records.sort_by_key(|record| record.offset);
        if sequenced {
            let mut firsts = HashSet::new();
            records.retain(|record| firsts.insert((record.version, record.key.as_str(), record.op)));
        }
        for pair in records.windows(2) {
            let (before, after) = (pair[0], pair[1]);
            // The records of one change share its version; whether they are of one change, the check `duplicate` says.
            if after.version < before.version {
                tally.wrong(|| {
                    format!(
                        "{topic}[{partition}]: version {:?} at offset {} after {:?} at {}",
                        after.version, after.offset, before.version, before.offset
                    )
                });
            }
        }
    }
}

fn keep_to_one_partition(facts: &Facts<'_>, tally: &mut Tally) {
    let mut home: HashMap<(&str, &str), i32> = HashMap::new();
    for record in &facts.records {
        let partition = *home.entry((&record.topic, &record.key)).or_insert(record.partition);
        if partition != record.partition {
            tally.wrong(|| {
                format!(
                    "{} key {}: in partitions {partition} and {}",
                    record.topic, record.key, record.partition
                )
            });
        }
    }
}

fn follow_real_time(facts: &Facts<'_>, tally: &mut Tally) {
    let mut versions: HashMap<u64, (i64, i64)> = HashMap::new();
    for record in facts
        .records
        .iter()
        .filter(|record| matches!(record.op, Op::Insert | Op::Update))
    {
        if let (Some(number), Some(version)) = (record.written_by, record.version) {
            let (low, high) = versions.entry(number).or_insert((version, version));
            (*low, *high) = ((*low).min(version), (*high).max(version));
        }
    }
    let mut seen: Vec<_> = facts
        .history
        .transactions
        .iter()
        .filter(|transaction| transaction.outcome == Outcome::Acknowledged)
        .filter_map(|transaction| versions.get(&transaction.number).map(|range| (transaction, *range)))
        .collect();
    let mut by_end = seen.clone();
    by_end.sort_by_key(|(transaction, _)| transaction.end_us);
    seen.sort_by_key(|(transaction, _)| transaction.begin_us);
    let (mut ended, mut highest) = (by_end.into_iter().peekable(), None);
    for (transaction, (low, _)) in seen {
        while let Some((before, (_, high))) = ended.next_if(|(other, _)| other.end_us < transaction.begin_us) {
            highest = highest.max(Some((high, before.number)));
        }
        if let Some((high, before)) = highest.filter(|(high, _)| *high >= low) {
            tally.wrong(|| {
                format!(
                    "transaction {} has version {low}, {before} before it had {high}",
                    transaction.number
                )
            });
        }
    }
}

fn have_no_gap(facts: &Facts<'_>, tally: &mut Tally) {
    let mut epochs: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
    for version in facts.records.iter().filter_map(|record| record.version) {
        epochs
            .entry(version >> SEQ_BITS)
            .or_default()
            .insert(version & ((1 << SEQ_BITS) - 1));
    }
    for (epoch, seqs) in epochs {
        let mut before = 0;
        for seq in seqs {
            if before + 1 != seq {
                tally.wrong(|| {
                    format!(
                        "epoch {epoch}: no change has the sequence numbers {} to {}",
                        before + 1,
                        seq - 1
                    )
                });
            }
            before = seq;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::example;
    use crate::history::History;
    use crate::verdict::Verdict;
    use proptest::prelude::*;

    fn verdict(history: &History) -> Verdict {
        check(&Facts::of(history), 0).verdict
    }

    #[test]
    fn a_good_history_is_consistent_and_an_empty_one_unknown() {
        let finding = check(&Facts::of(&example::history()), 0);
        assert_eq!(finding.verdict, Verdict::Consistent, "{finding:?}");
        assert_eq!(verdict(&History::default()), Verdict::Unknown);
    }

    proptest! {
        #[test]
        fn two_changes_that_swap_their_versions_are_caught(one in any::<prop::sample::Index>(), other in any::<prop::sample::Index>()) {
            let mut history = example::history();
            let (one, other) = (one.index(history.observed.len()), other.index(history.observed.len()));
            let (here, there) = (history.observed[one].clone(), history.observed[other].clone());
            prop_assume!(here.version != there.version);
            prop_assume!((&here.topic, here.partition) == (&there.topic, there.partition));
            history.observed[one].version = there.version;
            history.observed[other].version = here.version;
            prop_assert_eq!(verdict(&history), Verdict::Inconsistent);
        }

        #[test]
        fn a_missing_change_leaves_a_gap(index in any::<prop::sample::Index>()) {
            let mut history = example::history();
            let versions: BTreeSet<_> = history.observed.iter().filter_map(|record| record.version).collect();
            let inner: Vec<_> = versions.iter().copied().take(versions.len() - 1).collect();
            let gone = inner[index.index(inner.len())];
            history.observed.retain(|record| record.version != Some(gone));
            prop_assert_eq!(verdict(&history), Verdict::Inconsistent);
        }
    }

    #[test]
    fn in_sequenced_delivery_the_last_changes_may_come_again_and_a_first_copy_may_not_come_late() {
        let mut history = example::history();
        let again: Vec<Observed> = history.observed[history.observed.len() - 4..]
            .iter()
            .map(|record| Observed {
                offset: record.offset + 100,
                ..record.clone()
            })
            .collect();
        history.observed.extend(again);
        assert_eq!(verdict(&history), Verdict::Inconsistent);
        history.begun.as_mut().unwrap().drill.delivery = Delivery::Sequenced;
        assert_eq!(verdict(&history), Verdict::Consistent);
        history.observed[3].offset += 1_000;
        assert_eq!(verdict(&history), Verdict::Inconsistent);
    }

    #[test]
    fn a_key_in_two_partitions_is_caught() {
        let mut history = example::history();
        let first = history.observed[0].clone();
        let later = history
            .observed
            .iter()
            .rposition(|record| (&record.topic, &record.key) == (&first.topic, &first.key));
        history.observed[later.unwrap()].partition = first.partition + 1;
        assert_eq!(verdict(&history), Verdict::Inconsistent);
    }

    #[test]
    fn a_version_below_that_of_a_transaction_acknowledged_earlier_is_caught_across_partitions() {
        let mut history = example::history();
        // Every record in a partition of its own: no order within a partition is left to look at.
        for (index, record) in history.observed.iter_mut().enumerate() {
            record.partition = i32::try_from(index).unwrap();
            record.key = format!("{{\"id\":{index}}}");
        }
        assert_eq!(verdict(&history), Verdict::Consistent);
        let (first, last) = (
            history.transactions[0].number,
            history.transactions.last().unwrap().number,
        );
        for record in &mut history.observed {
            record.written_by = record.written_by.map(|number| match number {
                number if number == first => last,
                number if number == last => first,
                number => number,
            });
        }
        assert_eq!(verdict(&history), Verdict::Inconsistent);
    }
}
