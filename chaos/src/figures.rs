//! The figures of a run, taken from its history: what the headline shows and what two runs are compared by.

use crate::check::{in_flight, lost_by_mysql, memory, recovery};
use crate::drill::TargetName;
use crate::facts::Facts;
use crate::history::{Convergence, FaultStep, Outcome, Phase};
use crate::verdict::Finding;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Figures for people and for comparison. Absent ones were not seen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Transactions that MySQL acknowledged.
    pub transactions_acknowledged: u64,
    /// Rows that they changed.
    pub changes_acknowledged: u64,
    /// Transactions that were rolled back.
    pub transactions_rolled_back: u64,
    /// Transactions whose outcome nobody knows.
    pub transactions_unknown: u64,
    /// Changes seen in Kafka by a read-committed consumer: different versions.
    pub changes_checked: u64,
    /// Records that they stand in.
    pub records_checked: u64,
    /// Changes in flight when the faults struck.
    pub in_flight: Option<u64>,
    /// Those of them that went to the partition that was hit.
    pub in_flight_in_partition: Option<u64>,
    /// From the strike until another broker was seen to lead the partition, ms.
    pub election_ms: Option<u64>,
    /// From the strike, or from where recovery was possible, until a later change was visible in Kafka, ms.
    pub recovery_kafka_ms: Option<u64>,
    /// The same for each store, ms.
    #[serde(default)]
    pub recovery_stores_ms: BTreeMap<TargetName, Option<u64>>,
    /// From the begin of the cure until all was as before, ms.
    pub cure_ms: Option<u64>,
    /// Acknowledged changes that the surviving primary does not have.
    #[serde(default)]
    pub lost_by_mysql: Option<u64>,
    /// Acknowledged changes that it has, without a record.
    pub lost: Option<u64>,
    /// Records of a change that had one already.
    pub duplicates: Option<u64>,
    /// Records out of order, and gaps.
    pub out_of_order: Option<u64>,
    /// What was compared between MySQL and each store.
    #[serde(default)]
    pub compared: Vec<Compared>,
    /// Peak resident memory of each process, MB.
    pub resident_peak_mb: BTreeMap<String, u64>,
    /// CPU time of each process over all its lives, ms.
    pub cpu_ms: BTreeMap<String, u64>,
    /// Latencies of each phase and hop.
    pub latencies: Vec<Latency>,
}

/// Rows compared between MySQL and one store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// The store.
    pub store: TargetName,
    /// Rows of MySQL.
    pub rows: u64,
    /// Rows missing, extra or different.
    pub wrong: u64,
}

/// How long changes that were acknowledged in one phase took to become visible.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// The phase.
    pub phase: Phase,
    /// Which way.
    pub hop: Hop,
    /// Changes measured.
    pub count: u64,
    /// Half of them took at most this, ms.
    pub p50_ms: f64,
    /// 99 of 100 took at most this, ms.
    pub p99_ms: f64,
    /// The slowest, ms.
    pub max_ms: f64,
}

/// One part of a change's way, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hop {
    /// From MySQL's acknowledgement to a read-committed consumer.
    MysqlKafka,
    /// From there to Redis.
    KafkaRedis,
    /// From there to Elasticsearch, whether its searches show it yet or not.
    KafkaElasticsearch,
    /// From there to HBase.
    KafkaHbase,
}

impl Hop {
    fn to(store: TargetName) -> Self {
        match store {
            TargetName::Redis => Hop::KafkaRedis,
            TargetName::Elasticsearch => Hop::KafkaElasticsearch,
            TargetName::Hbase => Hop::KafkaHbase,
        }
    }
}

impl Figures {
    /// Takes all figures from a history and what was found in it.
    #[must_use]
    pub fn of(facts: &Facts<'_>, findings: &[Finding]) -> Self {
        let wrong = |check: &str| {
            findings
                .iter()
                .find(|finding| finding.check == check)
                .map(|finding| finding.wrong)
        };
        let outcomes = |outcome| {
            facts
                .history
                .transactions
                .iter()
                .filter(|transaction| transaction.outcome == outcome)
                .count() as u64
        };
        let versions: HashSet<_> = facts.records.iter().filter_map(|record| record.version).collect();
        let mut figures = Self {
            transactions_acknowledged: outcomes(Outcome::Acknowledged),
            changes_acknowledged: facts
                .acknowledged()
                .map(|transaction| transaction.rows.len() as u64)
                .sum(),
            transactions_rolled_back: outcomes(Outcome::RolledBack),
            transactions_unknown: outcomes(Outcome::Unknown),
            changes_checked: versions.len() as u64,
            records_checked: facts.records.len() as u64,
            lost_by_mysql: facts.kept.as_ref().map(|_| lost_by_mysql::acknowledged_and_lost(facts)),
            lost: wrong("lost"),
            duplicates: wrong("duplicate"),
            out_of_order: wrong("out-of-order"),
            compared: facts.history.convergence.iter().map(compared).collect(),
            resident_peak_mb: memory::peaks_kb(facts)
                .into_iter()
                .map(|(name, kb)| (name.into(), kb.div_ceil(1024)))
                .collect(),
            cpu_ms: cpu_ms(facts),
            latencies: latencies(facts),
            ..Self::default()
        };
        figures.take_faults(facts);
        figures
    }

    fn take_faults(&mut self, facts: &Facts<'_>) {
        let faults = &facts.history.faults;
        let at = |step| faults.iter().find(|event| event.step == step).map(|event| event.at_us);
        let between_ms = |from: Option<u64>, to: Option<u64>| Some(to?.checked_sub(from?)?.div_ceil(1000));
        let struck_us = at(FaultStep::Struck);
        self.election_ms = between_ms(struck_us, at(FaultStep::LeaderElected));
        self.cure_ms = between_ms(at(FaultStep::CureBegun), at(FaultStep::Cured));
        for struck in in_flight::strikes(facts) {
            let met = in_flight::met(facts, struck);
            *self.in_flight.get_or_insert(0) += met.changes;
            if struck.partition.is_some() {
                *self.in_flight_in_partition.get_or_insert(0) += met.in_partition;
            }
        }
        for begin in recovery::begins(facts) {
            let recovery = recovery::after(facts, begin);
            self.recovery_kafka_ms = self
                .recovery_kafka_ms
                .max(recovery.kafka_us.map(|took_us| took_us.div_ceil(1000)));
            for (store, took_us) in recovery.stores_us {
                let longest_ms = self.recovery_stores_ms.entry(store).or_default();
                *longest_ms = (*longest_ms).max(took_us.map(|took_us| took_us.div_ceil(1000)));
            }
        }
    }
}

fn compared(convergence: &Convergence) -> Compared {
    Compared {
        store: convergence.store,
        rows: convergence.rows,
        wrong: convergence.missing + convergence.extra + convergence.different,
    }
}

fn cpu_ms(facts: &Facts<'_>) -> BTreeMap<String, u64> {
    let mut lives: BTreeMap<(&str, u32), u64> = BTreeMap::new();
    for sample in &facts.history.processes {
        let used = lives.entry((&sample.name, sample.pid)).or_insert(0);
        *used = sample.cpu_ms.max(*used);
    }
    let mut sums = BTreeMap::new();
    for ((name, _), used) in lives {
        *sums.entry(name.to_owned()).or_insert(0) += used;
    }
    sums
}

fn latencies(facts: &Facts<'_>) -> Vec<Latency> {
    let mut seen_in_kafka: HashMap<(&str, u64, u64), u64> = HashMap::new();
    let mut measured: BTreeMap<(usize, Hop), Vec<u64>> = BTreeMap::new();
    let phases = &facts.history.phases;
    let phase_of = |at_us: u64| phases.iter().rposition(|phase| phase.at_us <= at_us);
    for (mark, record) in &facts.visible {
        let (table, key, _, number) = *mark;
        let Some(transaction) = facts.transactions.get(&number) else {
            continue;
        };
        seen_in_kafka.insert((table, key, number), record.at_us);
        if let (Outcome::Acknowledged, Some(phase)) = (transaction.outcome, phase_of(transaction.end_us)) {
            // The record can be visible before the client has the answer to its COMMIT.
            let took_us = record.at_us.saturating_sub(transaction.end_us);
            measured.entry((phase, Hop::MysqlKafka)).or_default().push(took_us);
        }
    }
    for applied in &facts.history.applied {
        let seen_us = seen_in_kafka.get(&(applied.table.as_str(), applied.key, applied.written_by));
        let Some(transaction) = facts.transactions.get(&applied.written_by) else {
            continue;
        };
        if let (Some(seen_us), Some(phase)) = (seen_us, phase_of(transaction.end_us)) {
            measured
                .entry((phase, Hop::to(applied.store)))
                .or_default()
                .push(applied.at_us.saturating_sub(*seen_us));
        }
    }
    measured
        .into_iter()
        .map(|((phase, hop), mut took_us)| {
            took_us.sort_unstable();
            let quantile_ms = |per_mille: usize| took_us[(took_us.len() - 1) * per_mille / 1000] as f64 / 1000.0;
            Latency {
                phase: phases[phase].phase,
                hop,
                count: took_us.len() as u64,
                p50_ms: quantile_ms(500),
                p99_ms: quantile_ms(990),
                max_ms: quantile_ms(1000),
            }
        })
        .collect()
}
