//! How long each hop was blind: from the moment the victim was gone until the first change that MySQL acknowledged after
//! that moment, and that goes through the partition that was hit, was visible behind the hop. Where clients or the reader had to
//! wait for something outside the pipeline first, as for a new primary that takes writes, it is counted from there.

use crate::drill::TargetName;
use crate::facts::{Facts, row_key};
use crate::history::{FaultEvent, FaultStep, Observed};
use crate::verdict::{Finding, Tally, Verdict};
use std::collections::{BTreeMap, HashSet};

/// Recovery of each hop after one fault, microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// MySQL to a read-committed consumer of Kafka.
    pub kafka_us: Option<u64>,
    /// MySQL to each store of the plan.
    pub stores_us: BTreeMap<TargetName, Option<u64>>,
}

/// Every hop recovers within the limit. One that was watched for longer and did not is `inconsistent`; one that nobody
/// watched, or not for so long, is `unknown`.
#[must_use]
pub fn check(facts: &Facts<'_>, seconds_max: u64) -> Finding {
    let mut tally = Tally::new("recovery");
    let limit_us = seconds_max * 1_000_000;
    let end_us = facts.history.ended.as_ref().map_or(0, |ended| ended.at_us);
    let mut parts = Vec::new();
    let mut undecided = false;
    for struck in begins(facts) {
        if !facts
            .acknowledged()
            .any(|transaction| transaction.end_us > struck.at_us)
        {
            continue;
        }
        let recovery = after(facts, struck);
        let watched_us = end_us.saturating_sub(struck.at_us);
        let stores = recovery
            .stores_us
            .iter()
            .map(|(store, took_us)| (store.title(), *took_us));
        for (hop, took_us) in std::iter::once(("Kafka", recovery.kafka_us)).chain(stores) {
            tally.checked += 1;
            let shown = took_us.map_or("not".into(), |took_us| format!("after {:.1} s", took_us as f64 / 1e6));
            if took_us.unwrap_or(watched_us) > limit_us {
                tally.wrong(|| format!("MySQL -> {hop} recovered {shown}, at most {seconds_max} s are allowed"));
            } else if took_us.is_none() {
                undecided = true;
            }
            parts.push(format!("{hop} {shown}"));
        }
    }
    let mut finding = tally.finding(0, "hops");
    if finding.verdict == Verdict::Consistent && undecided {
        finding.verdict = Verdict::Unknown;
    }
    if finding.checked > 0 {
        finding.summary = format!("{}, at most {seconds_max} s are allowed", parts.join(", "));
    }
    finding
}

/// Where recovery begins for each fault: where it is possible, else at the strike.
pub fn begins<'a>(facts: &Facts<'a>) -> impl Iterator<Item = &'a FaultEvent> {
    let faults = &facts.history.faults;
    let victim = |event: &FaultEvent| (event.fault, event.target);
    let of_victim = |struck: &FaultEvent, to_us| {
        let (victim_struck, from_us) = (victim(struck), struck.at_us);
        faults.iter().find(move |event: &&FaultEvent| {
            victim(event) == victim_struck
                && event.step == FaultStep::Recoverable
                && (from_us..to_us).contains(&event.at_us)
        })
    };
    let next_us = |struck: &FaultEvent| {
        let mut later = super::in_flight::strikes(facts).filter(|other| victim(other) == victim(struck));
        later
            .find(|other| other.at_us > struck.at_us)
            .map_or(u64::MAX, |other| other.at_us)
    };
    let begins: Vec<&FaultEvent> = super::in_flight::strikes(facts)
        .map(|struck| of_victim(struck, next_us(struck)).unwrap_or(struck))
        .collect();
    begins.into_iter()
}

/// The recovery of each hop after one fault.
#[must_use]
pub fn after(facts: &Facts<'_>, struck: &FaultEvent) -> Recovery {
    let hit = |record: &&Observed| {
        struck.topic.as_ref().is_none_or(|topic| *topic == record.topic)
            && struck.partition.is_none_or(|partition| partition == record.partition)
    };
    let acknowledged_after = |number: u64| {
        facts
            .transactions
            .get(&number)
            .is_some_and(|transaction| transaction.end_us > struck.at_us)
    };
    let took = |at_us: Option<u64>| at_us.map(|at_us| at_us.saturating_sub(struck.at_us));
    let in_kafka = facts
        .records
        .iter()
        .copied()
        .filter(hit)
        .filter(|record| record.written_by.is_some_and(acknowledged_after))
        .map(|record| record.at_us)
        .min();
    let keys: HashSet<(&str, u64)> = facts
        .records
        .iter()
        .copied()
        .filter(hit)
        .filter_map(|record| Some((facts.table_of(record)?, row_key(&record.key)?)))
        .collect();
    let in_store = |store: &TargetName| {
        let applied = facts.history.applied.iter().filter(|applied| {
            applied.store == *store
                && keys.contains(&(applied.table.as_str(), applied.key))
                && acknowledged_after(applied.written_by)
        });
        applied.map(|applied| applied.at_us).min()
    };
    let targets = facts.history.drill().map_or(&[][..], |drill| &drill.lab.targets);
    Recovery {
        kafka_us: took(in_kafka),
        stores_us: targets.iter().map(|store| (*store, took(in_store(store)))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::example;

    #[test]
    fn measures_both_hops_and_holds_them_to_the_limit() {
        let history = example::history();
        let facts = Facts::of(&history);
        let struck = crate::check::in_flight::strikes(&facts).next().unwrap();
        assert_eq!(
            after(&facts, struck),
            Recovery {
                kafka_us: Some(1_250_000),
                stores_us: [
                    (TargetName::Redis, Some(1_300_000)),
                    (TargetName::Elasticsearch, Some(1_310_000)),
                    (TargetName::Hbase, Some(1_320_000)),
                ]
                .into()
            }
        );
        assert_eq!(check(&facts, 2).verdict, Verdict::Consistent);
        assert_eq!(check(&facts, 1).verdict, Verdict::Inconsistent);
    }

    #[test]
    fn is_counted_from_where_it_is_possible() {
        let mut history = example::history();
        let mut writable = history.faults[1].clone();
        (writable.step, writable.at_us) = (FaultStep::Recoverable, example::STRUCK_US + 900_000);
        history.faults.push(writable.clone());
        let facts = Facts::of(&history);
        assert_eq!(begins(&facts).collect::<Vec<_>>(), [&writable]);
        assert_eq!(after(&facts, &writable).kafka_us, Some(350_000));
        assert_eq!(check(&facts, 1).verdict, Verdict::Consistent);
    }

    #[test]
    fn a_hop_that_never_recovers_is_inconsistent_if_it_was_watched_for_long_enough() {
        let mut history = example::history();
        history.observed.retain(|record| record.at_us < example::STRUCK_US);
        assert_eq!(check(&Facts::of(&history), 5).verdict, Verdict::Inconsistent);
        assert_eq!(check(&Facts::of(&history), 60).verdict, Verdict::Unknown);
    }

    #[test]
    fn a_store_that_shows_nothing_has_not_recovered() {
        let mut history = example::history();
        history
            .applied
            .retain(|applied| applied.store != TargetName::Elasticsearch);
        let finding = check(&Facts::of(&history), 5);
        assert_eq!(finding.verdict, Verdict::Inconsistent);
        assert!(finding.summary.contains("Elasticsearch not"), "{}", finding.summary);
        // It is not asked of a store that the plan does not fill.
        let drill = &mut history.begun.as_mut().unwrap().drill;
        drill.lab.targets.retain(|target| *target != TargetName::Elasticsearch);
        assert_eq!(check(&Facts::of(&history), 5).verdict, Verdict::Consistent);
    }

    #[test]
    fn no_strike_and_nothing_written_after_it_are_unknown() {
        let mut history = example::history();
        history
            .transactions
            .retain(|transaction| transaction.end_us < example::STRUCK_US);
        assert_eq!(check(&Facts::of(&history), 60).verdict, Verdict::Unknown);
        history.faults.clear();
        assert_eq!(check(&Facts::of(&history), 60).verdict, Verdict::Unknown);
    }
}
