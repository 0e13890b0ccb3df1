//! How long each hop was blind: from the moment the victim was gone until the first change that MySQL acknowledged after
//! that moment, and that goes through the partition that was hit, was visible behind the hop.

use crate::facts::{Facts, row_key};
use crate::history::{FaultEvent, Observed};
use crate::verdict::{Finding, Tally, Verdict};
use std::collections::HashSet;

/// Recovery of each hop after one fault, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    /// MySQL to a read-committed consumer of Kafka.
    pub kafka_us: Option<u64>,
    /// MySQL to Redis.
    pub redis_us: Option<u64>,
}

/// Every hop recovers within the limit. A hop that never does is `inconsistent`, one that nobody watched `unknown`.
#[must_use]
pub fn check(facts: &Facts<'_>, seconds_max: u64) -> Finding {
    let mut tally = Tally::new("recovery");
    let mut parts = Vec::new();
    for struck in super::in_flight::strikes(facts) {
        let wrote_after = facts
            .acknowledged()
            .any(|transaction| transaction.end_us > struck.at_us);
        if !wrote_after {
            continue;
        }
        let recovery = after(facts, struck);
        let watched_redis = !facts.history.applied.is_empty();
        for (hop, took_us, watched) in [
            ("kafka", recovery.kafka_us, true),
            ("redis", recovery.redis_us, watched_redis),
        ] {
            if !watched {
                continue;
            }
            tally.checked += 1;
            let shown = took_us.map_or("never".into(), |took_us| format!("{:.1} s", took_us as f64 / 1e6));
            if took_us.is_none_or(|took_us| took_us > seconds_max * 1_000_000) {
                tally.wrong(|| format!("{hop} recovered after {shown}, at most {seconds_max} s are allowed"));
            }
            parts.push(format!("{hop} {shown}"));
        }
    }
    let mut finding = tally.finding(0, "hops");
    if finding.verdict != Verdict::Unknown {
        finding.summary = format!("{}, at most {seconds_max} s are allowed", parts.join(", "));
    }
    finding
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
    let in_redis = facts
        .history
        .applied
        .iter()
        .filter(|applied| {
            keys.contains(&(applied.table.as_str(), applied.key)) && acknowledged_after(applied.written_by)
        })
        .map(|applied| applied.at_us)
        .min();
    Recovery {
        kafka_us: took(in_kafka),
        redis_us: took(in_redis),
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
                redis_us: Some(1_300_000)
            }
        );
        assert_eq!(check(&facts, 2).verdict, Verdict::Consistent);
        assert_eq!(check(&facts, 1).verdict, Verdict::Inconsistent);
    }

    #[test]
    fn a_hop_that_never_recovers_is_inconsistent_and_no_strike_unknown() {
        let mut history = example::history();
        history.observed.retain(|record| record.at_us < example::STRUCK_US);
        assert_eq!(check(&Facts::of(&history), 60).verdict, Verdict::Inconsistent);
        history.faults.clear();
        assert_eq!(check(&Facts::of(&history), 60).verdict, Verdict::Unknown);
    }
}
