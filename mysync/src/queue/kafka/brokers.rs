//! Whether a client still knows a broker, by its statistics.
//!
//! The library forgets brokers that an answer about the cluster does not name. An answer that names none (given by a broker that
//! stood still, and is fenced by the controller for a moment when it wakes; by all of them in some upgrades) leaves it without
//! any, and it asks nobody ever again, the configured ones neither (librdkafka 2.12, its issue 5301). Only a new client helps.
//! That matters for clients that wait: one that sends has a deadline.

use crate::error::Error;
use rdkafka::ClientConfig;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How often the client tells.
const STATISTICS_INTERVAL: Duration = Duration::from_secs(4);

/// A client that knew none so often in a row, with all the time between, is given up.
const LOOKS_WITHOUT_MIN: u32 = 3;

/// How often in a row a client has told that it knows no broker.
#[derive(Debug, Default)]
pub(super) struct Brokers {
    looks_without: AtomicU32,
}

/// The part of the statistics that is looked at.
#[derive(Deserialize)]
struct Statistics {
    brokers: HashMap<String, Broker>,
}

#[derive(Deserialize)]
struct Broker {
    source: String,
}

/// Makes the client tell.
pub(super) fn watch(config: &mut ClientConfig) {
    config.set("statistics.interval.ms", STATISTICS_INTERVAL.as_millis().to_string());
}

impl Brokers {
    /// Takes what the client tells.
    pub(super) fn look(&self, statistics: &[u8]) {
        let known = serde_json::from_slice::<Statistics>(statistics).map(|statistics| {
            // The others stand for no address: the library's own queue, and the group's coordinator whoever it is.
            let sources = statistics.brokers.values().map(|broker| broker.source.as_str());
            sources
                .filter(|source| ["configured", "learned"].contains(source))
                .count()
        });
        match known {
            Ok(0) => drop(self.looks_without.fetch_add(1, Ordering::Relaxed)),
            Ok(_) => self.looks_without.store(0, Ordering::Relaxed),
            Err(error) => tracing::debug!(%error, "the client's statistics cannot be read"),
        }
    }

    /// The client is of no use any more.
    pub(super) fn lost(&self) -> Option<Error> {
        let is_lost = self.looks_without.load(Ordering::Relaxed) >= LOOKS_WITHOUT_MIN;
        is_lost.then(|| {
            Error::transient("the Kafka client has no broker left to ask")
                .detail("all of them said for a moment that the cluster had none")
                .hint("nothing is to be done: it is replaced by a new one")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &str = r#"{"name": "c", "brokers": {"a:1/1": {"source": "learned", "state": "DOWN"}}}"#;
    const NONE: &str = r#"{"brokers": {"g": {"source": "logical", "state": "INIT"}, ":0/i": {"source": "internal"}}}"#;

    fn is_lost(told: &[&str]) -> bool {
        let brokers = Brokers::default();
        told.iter().for_each(|statistics| brokers.look(statistics.as_bytes()));
        brokers.lost().is_some()
    }

    #[test]
    fn a_client_that_knows_no_broker_for_long_is_lost_and_one_whose_brokers_are_down_is_not() {
        assert!(is_lost(&[KNOWN, NONE, NONE, NONE]));
        assert!(!is_lost(&[KNOWN; 9]), "it finds the broker again by itself");
        assert!(!is_lost(&[NONE, NONE, KNOWN, NONE, NONE]), "a moment");
        assert!(!is_lost(&["{}", "{}", "{}", "no"]), "nothing is known");
    }
}
