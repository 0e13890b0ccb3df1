//! No change stands in the topics twice: not by its origin in the binlog, not by its version, not by what was written.
//!
//! In sequenced delivery a change may come again after a crash: as a copy of the same version, origin and content in the same
//! partition, by which consumers know it. Anything else that comes twice is wrong there too.

use crate::drill::Delivery;
use crate::facts::{Facts, marks, row_key};
use crate::history::{Observed, Op};
use crate::verdict::{Finding, Tally};
use std::collections::{HashMap, HashSet};

/// Records of one change at most: delete, tombstone, insert.
const RECORDS_OF_A_CHANGE_MAX: usize = 3;

/// Bits of a version below the epoch.
const SEQ_BITS: u32 = 48;

/// Looks for a second record of any change.
#[must_use]
pub fn check(facts: &Facts<'_>, duplicates_max: u64) -> Finding {
    let mut tally = Tally::new("duplicate");
    let sequenced = facts.delivery() == Delivery::Sequenced;
    let mut copies = 0;
    let gone = rows_that_go_once(facts);
    // Names and places of binlogs come again on another server, in another epoch.
    let mut by_origin: HashMap<(&str, i64, &str, &str, Op), &Observed> = HashMap::new();
    let mut by_content: HashMap<(&str, &str, Op, u64), &Observed> = HashMap::new();
    let mut by_version: HashMap<i64, Vec<&Observed>> = HashMap::new();
    for record in facts.records.iter().copied() {
        tally.checked += 1;
        let (Some(version), Some(origin)) = (record.version, record.origin.as_deref()) else {
            tally.wrong(|| format!("{}: no header mysync.version or mysync.origin", place(record)));
            continue;
        };
        let (topic, key, op) = (record.topic.as_str(), record.key.as_str(), record.op);
        if op == Op::Refresh {
            // As often as it is read; only its version is its own.
            by_version.entry(version).or_default().push(record);
            continue;
        }
        let epoch = version >> SEQ_BITS;
        let first = *by_origin.entry((topic, epoch, origin, key, op)).or_insert(record);
        let first = match record.written_by {
            Some(number) if std::ptr::eq(first, record) => {
                *by_content.entry((topic, key, op, number)).or_insert(record)
            }
            None if std::ptr::eq(first, record) && is_among(facts, &gone, record) => {
                *by_content.entry((topic, key, op, 0)).or_insert(record)
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

/// The workload uses no key again, so a row goes once, unless MySQL lost what was done to it.
fn rows_that_go_once<'a>(facts: &Facts<'a>) -> HashSet<(&'a str, u64)> {
    let rows = facts
        .history
        .transactions
        .iter()
        .flat_map(|transaction| &transaction.rows);
    let gone = rows
        .flat_map(|row| marks(row, 0))
        .filter(|(_, _, op, _)| *op == Op::Delete);
    let lost = facts.rows_lost_by_mysql();
    gone.map(|(table, key, _, _)| (table, key))
        .filter(|row| !lost.contains(row))
        .collect()
}

fn is_among(facts: &Facts<'_>, rows: &HashSet<(&str, u64)>, record: &Observed) -> bool {
    let row = facts.table_of(record).zip(row_key(&record.key));
    row.is_some_and(|row| rows.contains(&row))
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
    fn a_row_that_was_read_anew_is_no_duplicate_but_has_a_version_of_its_own() {
        let mut history = example::lossy();
        assert_eq!(verdict(&history), Verdict::Consistent);
        let refreshed = history
            .observed
            .iter()
            .rposition(|record| record.op == Op::Refresh)
            .unwrap();
        history.observed[refreshed].version = history.observed[0].version;
        assert_eq!(verdict(&history), Verdict::Inconsistent);
    }

    #[test]
    fn a_change_of_the_old_server_that_comes_again_from_the_new_one_is_caught() {
        for index in 0..example::history().observed.len() {
            let mut history = example::history();
            let mut copy = history.observed[index].clone();
            copy.offset += 1_000;
            copy.origin = Some("9:9:9".into());
            copy.version = copy.version.map(|version| version + (1 << SEQ_BITS));
            history.observed.push(copy);
            assert_eq!(verdict(&history), Verdict::Inconsistent, "record {index}");
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
