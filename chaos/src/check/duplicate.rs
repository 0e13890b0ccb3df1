//! No change stands in the topics twice: not by its origin in the binlog, not by its version, not by what was written.
//!
//! In sequenced delivery a change may come again after a crash: as a copy of the same version, origin and content in the same
//! partition, by which consumers know it. Anything else that comes twice is wrong there too.

use crate::drill::Delivery;
use crate::facts::Facts;
use crate::history::{Observed, Op};
use crate::verdict::{Finding, Tally};
use std::collections::HashMap;

/// Records of one change at most: delete, tombstone, insert.
const RECORDS_OF_A_CHANGE_MAX: usize = 3;

/// Looks for a second record of any change.
#[must_use]
pub fn check(facts: &Facts<'_>, duplicates_max: u64) -> Finding {
    let mut tally = Tally::new("duplicate");
    let sequenced = facts.delivery() == Delivery::Sequenced;
    let mut copies = 0;
    let mut by_origin: HashMap<(&str, &str, &str, Op), &Observed> = HashMap::new();
    let mut by_content: HashMap<(&str, &str, Op, u64), &Observed> = HashMap::new();
    let mut by_version: HashMap<i64, Vec<&Observed>> = HashMap::new();
    for record in facts.records.iter().copied() {
        tally.checked += 1;
        let (Some(version), Some(origin)) = (record.version, record.origin.as_deref()) else {
            tally.wrong(|| format!("{}: no header mysync.version or mysync.origin", place(record)));
            continue;
        };
        let (topic, key, op) = (record.topic.as_str(), record.key.as_str(), record.op);
        let first = *by_origin.entry((topic, origin, key, op)).or_insert(record);
        let first = match record.written_by {
            Some(number) if std::ptr::eq(first, record) => {
                *by_content.entry((topic, key, op, number)).or_insert(record)
            }
            _ => first,
        };
        if sequenced && !std::ptr::eq(first, record) && is_copy(first, record) {
            copies += 1;
            continue;
        }
        if !std::ptr::eq(first, record) {
            tally.wrong(|| {
                format!(
                    "{}: origin {origin}, key {key}, also at {}",
                    place(record),
                    place(first)
                )
            });
            continue;
        }
        by_version.entry(version).or_default().push(record);
    }
    for (version, records) in by_version {
        let one_change = records.len() <= RECORDS_OF_A_CHANGE_MAX
            && records
                .iter()
                .all(|record| record.origin == records[0].origin && record.topic == records[0].topic);
        if !one_change {
            tally.wrong(|| {
                let places: Vec<String> = records.iter().map(|record| place(record)).collect();
                format!("version {version} stands for several changes: {}", places.join(", "))
            });
        }
    }
    let mut finding = tally.finding(duplicates_max, "records are duplicates");
    if sequenced {
        finding.summary = format!(
            "{}, {copies} are further copies with the version of the first",
            finding.summary
        );
    }
    finding
}

/// Whether a record says the same as an earlier one, so that a consumer can pass it over.
#[must_use]
pub fn is_copy(first: &Observed, record: &Observed) -> bool {
    let what = |record: &Observed| Observed {
        at_us: 0,
        offset: 0,
        ..record.clone()
    };
    what(first) == what(record)
}

fn place(record: &Observed) -> String {
    format!("{}[{}]@{}", record.topic, record.partition, record.offset)
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
        assert_eq!(verdict(&example::history()), Verdict::Consistent);
        assert_eq!(verdict(&History::default()), Verdict::Unknown);
    }

    proptest! {
        #[test]
        fn whichever_record_comes_twice_it_is_caught(index in any::<prop::sample::Index>(), fresh_origin: bool, fresh_version: bool) {
            let mut history = example::history();
            let mut copy = history.observed[index.index(history.observed.len())].clone();
            prop_assume!(copy.written_by.is_some() || !(fresh_origin && fresh_version), "nothing tells it from a real one");
            copy.offset += 1_000;
            if fresh_origin {
                copy.origin = Some("9:9:9".into());
            }
            if fresh_version {
                copy.version = copy.version.map(|version| version + 1_000);
            }
            history.observed.push(copy);
            prop_assert_eq!(verdict(&history), Verdict::Inconsistent);
        }
    }

    fn sequenced() -> History {
        let mut history = example::history();
        history.begun.as_mut().unwrap().drill.delivery = Delivery::Sequenced;
        history
    }

    proptest! {
        #[test]
        fn in_sequenced_delivery_only_true_copies_are_allowed(index in any::<prop::sample::Index>(), wrong in 0..6) {
            let mut history = sequenced();
            let mut copy = history.observed[index.index(history.observed.len())].clone();
            copy.offset += 1_000;
            match wrong {
                1 => copy.version = copy.version.map(|version| version + 1_000),
                2 => copy.content = Some(7),
                3 => copy.balance = Some(-1),
                4 => copy.partition += 1,
                5 => copy.origin = None,
                _ => {}
            }
            history.observed.push(copy);
            let expected = if wrong == 0 { Verdict::Consistent } else { Verdict::Inconsistent };
            prop_assert_eq!(verdict(&history), expected);
        }
    }

    #[test]
    fn a_record_handed_out_again_by_the_consumer_is_no_duplicate() {
        let mut history = example::history();
        history.observed.push(history.observed[3].clone());
        assert_eq!(verdict(&history), Verdict::Consistent);
    }

    #[test]
    fn two_changes_of_one_version_and_records_without_headers_are_caught() {
        let mut history = example::history();
        history.observed[1].version = history.observed[0].version;
        assert_eq!(verdict(&history), Verdict::Inconsistent);
        let mut history = example::history();
        history.observed[1].origin = None;
        assert_eq!(verdict(&history), Verdict::Inconsistent);
    }
}
