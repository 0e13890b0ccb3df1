//! No MySQL transaction is seen in part. The end of a Kafka transaction takes an offset of its own in every partition, which
//! a consumer never gets. So a missing offset between two records of one MySQL transaction in one partition means that they
//! were committed apart: whoever read in between saw one without the other.

use crate::drill::Delivery;
use crate::facts::Facts;
use crate::history::Op;
use crate::verdict::{Finding, Tally};
use std::collections::{BTreeMap, HashMap};

/// Looks for missing offsets within transactions. Sequenced delivery does not promise it: nothing is checked there.
#[must_use]
pub fn check(facts: &Facts<'_>) -> Finding {
    let mut tally = Tally::new("partial");
    if facts.delivery() == Delivery::Transactional {
        let mut offsets: HashMap<(&str, i32), Vec<i64>> = HashMap::new();
        let mut spans: BTreeMap<(u64, &str, i32), (i64, i64)> = BTreeMap::new();
        for record in &facts.records {
            let place = (record.topic.as_str(), record.partition);
            offsets.entry(place).or_default().push(record.offset);
            // A row that was read anew says who wrote it, and comes alone.
            if let Some(number) = record.written_by.filter(|_| record.op != Op::Refresh) {
                let span = spans
                    .entry((number, place.0, place.1))
                    .or_insert((record.offset, record.offset));
                *span = (span.0.min(record.offset), span.1.max(record.offset));
            }
        }
        offsets.values_mut().for_each(|offsets| offsets.sort_unstable());
        for ((number, topic, partition), (first, last)) in spans {
            if first == last {
                continue;
            }
            tally.checked += 1;
            let seen = &offsets[&(topic, partition)];
            let between =
                seen.partition_point(|offset| *offset <= last) - seen.partition_point(|offset| *offset < first);
            if i64::try_from(between) != Ok(last - first + 1) {
                tally.wrong(|| {
                    format!(
                        "{topic}[{partition}]: transaction {number} was committed in parts, offsets {first} to {last}"
                    )
                });
            }
        }
    }
    tally.finding(0, "transactions with several records in a partition are seen in part")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::example;
    use crate::history::History;
    use crate::verdict::Verdict;

    fn verdict(history: &History) -> Verdict {
        check(&Facts::of(history)).verdict
    }

    #[test]
    fn a_good_history_is_consistent_and_one_without_such_transactions_unknown() {
        assert_eq!(verdict(&example::history()), Verdict::Consistent);
        assert_eq!(verdict(&History::default()), Verdict::Unknown);
        let mut history = example::history();
        history.begun.as_mut().unwrap().drill.delivery = Delivery::Sequenced;
        assert_eq!(verdict(&history), Verdict::Unknown);
    }

    #[test]
    fn an_offset_that_is_missing_within_a_transaction_is_caught_and_one_between_two_is_not() {
        let history = example::history();
        let second = history.observed[3].clone();
        assert_eq!(second.written_by, history.observed[2].written_by);
        let with_gap_before = |offset: i64| {
            let mut history = example::history();
            history
                .observed
                .iter_mut()
                .filter(|record| record.offset >= offset)
                .for_each(|record| record.offset += 1);
            verdict(&history)
        };
        assert_eq!(with_gap_before(second.offset), Verdict::Inconsistent);
        assert_eq!(with_gap_before(history.observed[2].offset), Verdict::Consistent);
    }
}
