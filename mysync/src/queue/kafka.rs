//! The real queue: Kafka, by librdkafka.
//!
//! # Exactly once
//! The publisher's transactional producers have ids of the reader's name. Opening them fences every older reader of the name
//! and waits until its transactions have been committed or aborted on all partitions; only then is the last committed
//! checkpoint looked up, so it cannot change under the new reader. Records and checkpoint are written in one transaction. If
//! anything fails in between, the publisher is dropped and a new one opened: whatever the outcome of the open transaction
//! was, the checkpoint found then tells. What sequenced delivery does otherwise, [`publisher`] says; which of two readers of
//! one name goes on, [`lead`].
//!
//! # Topics
//! A table's topic is created here, with settings that lose nothing; one that exists with other settings is refused.

mod brokers;
mod checkpoints;
mod connection;
mod dead;
mod election;
mod lead;
mod outdated;
mod published;
mod publisher;
mod scan;
mod subscriber;
mod tables;
mod topics;

pub use election::KafkaMember;
pub use publisher::KafkaPublisher;
pub use subscriber::KafkaSubscriber;

use super::leadership::Leadership;
use super::outdated::Outdated;
use super::{Published, Queue, Scan, Topic};
use crate::checkpoint::Checkpoint;
use crate::config::{Config, Delivery};
use crate::error::{Error, Result};
use crate::metrics::Condition;
use crate::schema::TableName;
use crate::source::preflight::Check;
use crate::stop_point::{self, StopPoint};
use crate::version::Version;
use lead::Lead;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// How long one question to the brokers may take before it is asked again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A full queue of records is looked at again so soon, not after the library's second.
const FETCH_QUEUE_BACKOFF_MS: &str = "5";

/// A Kafka cluster.
#[derive(Debug, Clone)]
pub struct KafkaQueue {
    config: Config,
    /// Is told of unsafe settings that are let pass.
    condition: Arc<Condition>,
    /// The place of this reader among those of its name.
    lead: Arc<Lead>,
    leadership: Leadership,
    /// Another writer has the name that this one made of its host's.
    is_fenced: Arc<AtomicBool>,
}

impl KafkaQueue {
    /// A queue that connects when it is used.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
            condition: Arc::default(),
            lead: Arc::new(Lead::new()),
            leadership: Leadership::alone(),
            is_fenced: Arc::default(),
        }
    }

    /// The queue, with somebody who is told of unsafe settings that are let pass.
    #[must_use]
    pub fn with_condition(mut self, condition: &Arc<Condition>) -> Self {
        self.condition = Arc::clone(condition);
        self
    }

    /// The queue of a reader that has rivals.
    #[must_use]
    pub fn with_leadership(mut self, leadership: Leadership) -> Self {
        self.leadership = leadership;
        self
    }

    /// The settings of the cluster and of our own configuration that the guarantees hang on.
    pub async fn preflight(&self) -> Result<Vec<Check>> {
        topics::checks(self).await
    }

    /// What all our clients share.
    fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.config.kafka.brokers.join(","))
            .set("client.id", "mysync")
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.keepalive.enable", "true")
            // Small requests that wait for each other's acknowledgement would cost 40 ms a transaction.
            .set("socket.nagle.disable", "true")
            .set("topic.metadata.refresh.interval.ms", "10000")
            // What the library would print is in the errors that it returns; a broker that dies is not our failure.
            .set("log_level", "2");
        connection::secure(&mut config, &self.config.kafka);
        config
    }

    /// What consumers share that read a topic up to its end; they are no members of their group.
    fn reading_config(&self, group: String, isolation: &str) -> ClientConfig {
        let mut config = self.client_config();
        config
            .set("group.id", group)
            .set("isolation.level", isolation)
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            // The end is told by an answer without records, which the broker would hold back.
            .set("fetch.wait.max.ms", "10")
            .set("fetch.queue.backoff.ms", FETCH_QUEUE_BACKOFF_MS);
        config
    }

    /// An internal topic's name, `<prefix>.__<name>`.
    fn internal_topic(&self, name: &str) -> String {
        format!("{}.__{name}", self.config.kafka.prefix)
    }

    /// A lane's id. No name of a reader holds a `#`.
    fn transactional_id(&self, lane: usize) -> String {
        format!("mysync.{}.{}#{lane}", self.config.kafka.prefix, self.config.reader.name)
    }
}

/// The topic of a table: `<prefix>.<database>.<table>`, characters that Kafka does not allow replaced by `_`.
#[must_use]
pub fn topic_name(prefix: &str, database: &str, table: &str) -> String {
    let allowed = |character: char| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-' => character,
        _ => '_',
    };
    let names = [database, table].map(|name| name.chars().map(allowed).collect::<String>());
    format!("{prefix}.{}.{}", names[0], names[1])
}

/// Sorts a client error: what the brokers will mend by themselves is transient.
fn sort(error: &KafkaError, what: impl Into<String>) -> Error {
    use rdkafka::error::RDKafkaErrorCode as Code;
    let what = what.into();
    match error.rdkafka_error_code() {
        Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize) => Error::definite(what)
            .detail(error)
            .hint("a row is larger than kafka.message_bytes_max or the broker's socket.request.max.bytes: raise both"),
        Some(
            Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed,
        ) => Error::definite(what)
            .detail(error)
            .hint("grant the account the operations named, by kafka-acls"),
        Some(
            Code::UnsupportedVersion | Code::InvalidTransactionTimeout | Code::InvalidConfig | Code::PolicyViolation,
        ) => Error::definite(what)
            .detail(error)
            .hint("the brokers refuse what mysync needs: see the detail, and the broker's log"),
        Some(Code::Authentication | Code::SaslAuthenticationFailed) => Error::definite(what)
            .detail(error)
            .hint("check user, password and mechanism in section [kafka.sasl], and that the account exists"),
        // The library's own words of a wrong setting would quote it.
        None if matches!(error, KafkaError::ClientConfig(..)) => {
            Error::definite(what).hint("the Kafka client refuses a setting: check section [kafka]")
        }
        None if matches!(error, KafkaError::ClientCreation(_)) => Error::definite(what)
            .detail(error)
            .hint("the Kafka client refuses its settings: check section [kafka.tls], and that its files are PEM"),
        _ => Error::transient(what).detail(error),
    }
}

impl Queue for KafkaQueue {
    type Publisher = KafkaPublisher;
    type Subscriber = KafkaSubscriber;

    fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    async fn publisher(&self) -> Result<(KafkaPublisher, Option<Checkpoint>)> {
        match self.open_publisher().await {
            Ok(opened) => Ok(opened),
            Err(error) => Err(connection::diagnose(self, error).await),
        }
    }

    async fn scan(&self, internal_topic: &str, from_offset: i64) -> Result<Scan> {
        scan::start(self, internal_topic, from_offset)
    }

    async fn scan_end(&self, internal_topic: &str, offsets: i64) -> Result<(Scan, bool)> {
        scan::start_near_end(self, internal_topic, offsets).await
    }

    async fn published(&self, from: Version) -> Result<Published> {
        published::start(self, from)
    }

    async fn tables(&self) -> Result<Vec<TableName>> {
        tables::find(self).await
    }

    async fn outdated(&self, topic: Topic<'_>, key_end: &[u8], before: Version) -> Result<Outdated> {
        let name = topics::Declared::new(self, topic).name;
        outdated::start(self, name, before, key_end.to_vec())
    }

    async fn subscriber(&self, group: &str) -> Result<KafkaSubscriber> {
        // A client that joins a group waits for ever, also for brokers that will never let it in.
        match connection::metadata(self, None).await {
            Err(refusal) if !refusal.is_transient() => Err(refusal),
            _ => KafkaSubscriber::join(self, group),
        }
    }
}

impl KafkaQueue {
    async fn open_publisher(&self) -> Result<(KafkaPublisher, Option<Checkpoint>)> {
        topics::create(self, Topic::Compacted("checkpoint")).await?;
        if !self.leadership.is_contested() {
            self.lead.require(self).await?;
        }
        let publisher = KafkaPublisher::open(self).await?;
        stop_point::reach(StopPoint::Fenced);
        if self.config.reader.delivery == Delivery::Transactional {
            checkpoints::decided(self).await?;
        }
        let last = checkpoints::last(self).await?;
        if !self.leadership.is_contested() {
            self.lead.opened(self, last.as_ref())?;
        }
        if last.is_none() {
            topics::require_unused_prefix(self).await?;
        }
        Ok((publisher, last.map(|found| found.checkpoint)))
    }
}

#[cfg(test)]
mod tests {
    use super::topic_name;

    #[test]
    fn topic_names_keep_what_kafka_allows() {
        assert_eq!(topic_name("mysync", "shop", "order-lines"), "mysync.shop.order-lines");
        assert_eq!(topic_name("p", "größe", "a$b"), "p.gr__e.a_b");
    }
}
