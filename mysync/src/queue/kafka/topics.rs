//! Topics: created with settings that lose nothing, refused with any other.

use super::connection::metadata;
use super::subscriber::Topics;
use super::{ANSWER_TIMEOUT, KafkaQueue, sort, topic_name};
use crate::config;
use crate::error::{Error, Result};
use crate::queue::Topic;
use crate::source::preflight::{self, Check};
use crate::tables::{FENCE_TABLE, INTERNAL_DATABASE};
use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::metadata::Metadata;
use rdkafka::types::RDKafkaErrorCode;
use std::time::{Duration, Instant};

/// How long a new topic may take until all its partitions have a leader.
const LEADERS_TIMEOUT: Duration = Duration::from_secs(30);

/// How often they are asked for.
const LEADERS_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The last record of each key is kept for ever.
const COMPACT: &str = "compact";

/// Keeps a compacted topic of few keys and many records short.
const SMALL_SEGMENTS: &[(&str, &str)] = &[
    ("retention.ms", "-1"),
    ("segment.bytes", "16777216"),
    ("segment.ms", "3600000"),
];

/// Tombstones stay as long as the history tells which of them a switch of server may have made void. Nothing is compacted
/// within an hour: what a writer has in hand that stood still, the writer that took its place has read, too.
const TABLES: &[(&str, &str)] = &[
    ("retention.ms", "-1"),
    ("delete.retention.ms", "604800000"),
    ("min.compaction.lag.ms", "3600000"),
];

const FOR_EVER: &[(&str, &str)] = &[("retention.ms", "-1")];

/// As long as Kafka keeps records unless told otherwise.
const FOR_A_WEEK: &[(&str, &str)] = &[("retention.ms", "604800000")];

/// The topic that holds the changes of all tables, after the prefix.
pub(super) const CHANGES: &str = "changes";

/// A declared topic.
#[derive(Debug, Clone)]
pub(super) struct Declared {
    pub(super) name: String,
    /// Whether its records say that all changes before them are in the topics.
    pub(super) is_fence: bool,
    /// `["database","table"]` of a table's topic, for tombstones.
    pub(super) table_header: Option<Vec<u8>>,
}

impl Declared {
    pub(super) fn new(queue: &KafkaQueue, topic: Topic<'_>) -> Self {
        match topic {
            Topic::Table { database, table } => Self {
                name: topic_name(&queue.config.kafka.prefix, database, table),
                is_fence: (database, table) == (INTERNAL_DATABASE, FENCE_TABLE),
                table_header: Some(serde_json::to_vec(&[database, table]).unwrap_or_default()),
            },
            Topic::Changes { database, table } => Self {
                name: format!("{}.{CHANGES}", queue.config.kafka.prefix),
                is_fence: (database, table) == (INTERNAL_DATABASE, FENCE_TABLE),
                table_header: Some(serde_json::to_vec(&[database, table]).unwrap_or_default()),
            },
            Topic::Transactions => Self {
                name: format!("{}.transaction", queue.config.kafka.prefix),
                is_fence: false,
                table_header: None,
            },
            Topic::Compacted(name) | Topic::Log(name) | Topic::Recent(name) => Self {
                name: queue.internal_topic(name),
                is_fence: false,
                table_header: None,
            },
        }
    }
}

/// Our own configuration's figures, and the cluster's size.
pub(super) async fn checks(queue: &KafkaQueue) -> Result<Vec<Check>> {
    let kafka = &queue.config.kafka;
    let metadata = metadata(queue, None).await?;
    let brokers = i32::try_from(metadata.brokers().len()).unwrap_or(i32::MAX);
    let check = |name, expected, actual: i32, holds, fix, waivable| Check {
        name,
        expected,
        actual: actual.to_string(),
        holds,
        fix,
        waivable,
    };
    let other = other_layout(&metadata, &kafka.prefix, queue.config.messages.topics);
    let names = metadata.topics().iter().map(rdkafka::metadata::MetadataTopic::name);
    let entangled = Topics::new(&kafka.prefix).entangled(names).map(str::to_owned);
    let factor = kafka.replication_factor;
    let isr = kafka.min_insync_replicas;
    Ok(vec![
        check(
            "kafka.replication_factor",
            "3 or more",
            factor,
            factor >= 3,
            "set kafka.replication_factor = 3 on three brokers or more",
            true,
        ),
        check(
            "kafka.min_insync_replicas",
            "2 or more",
            isr,
            isr >= 2,
            "set kafka.min_insync_replicas = 2",
            true,
        ),
        check(
            "brokers",
            "as many as kafka.replication_factor",
            brokers,
            brokers >= factor,
            "start more brokers, or lower kafka.replication_factor",
            false,
        ),
        Check {
            name: "kafka.prefix",
            expected: "no other reader's begins with it and a dot, nor the other way round",
            holds: entangled.is_none(),
            actual: entangled.map_or_else(|| kafka.prefix.clone(), |other| format!("there is {other}")),
            fix: "choose another kafka.prefix and reader.name: topics of the two cannot be told apart by their names",
            waivable: false,
        },
        Check {
            name: "messages.topics",
            expected: "as the topics of this prefix are laid out",
            holds: other.is_none(),
            actual: other.map_or_else(|| "so".to_owned(), |name| format!("there is {name}")),
            fix: "set it as before, or choose another kafka.prefix and reader.name to begin anew: what reads both layouts from \
                  their beginnings has no order between them",
            waivable: false,
        },
    ])
}

/// A topic that holds changes in the layout that is not configured.
fn other_layout(metadata: &Metadata, prefix: &str, layout: config::Topics) -> Option<String> {
    let is_other = |name: &str| match name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.')) {
        Some(CHANGES) => layout == config::Topics::Table,
        Some(rest) => layout == config::Topics::One && rest.contains('.') && !rest.starts_with("__"),
        None => false,
    };
    let mut names = metadata.topics().iter().map(rdkafka::metadata::MetadataTopic::name);
    names.find(|name| is_other(name)).map(str::to_owned)
}

/// Makes sure that a topic exists with settings that lose nothing.
pub(super) async fn create(queue: &KafkaQueue, topic: Topic<'_>) -> Result<()> {
    let name = Declared::new(queue, topic).name;
    match topic {
        Topic::Table { .. } | Topic::Changes { .. } => {
            create_named(queue, &name, queue.config.kafka.partitions, COMPACT, TABLES).await
        }
        Topic::Transactions | Topic::Recent(_) => create_named(queue, &name, 1, "delete", FOR_A_WEEK).await,
        Topic::Compacted(_) => create_named(queue, &name, 1, COMPACT, SMALL_SEGMENTS).await,
        Topic::Log(_) => create_named(queue, &name, 1, "delete", FOR_EVER).await,
    }
}

/// A reader without a checkpoint begins with the first version: topics of an earlier life hold higher ones already.
pub(super) async fn require_unused_prefix(queue: &KafkaQueue) -> Result<()> {
    let prefix = format!("{}.", queue.config.kafka.prefix);
    let metadata = metadata(queue, None).await?;
    let mut names = metadata.topics().iter().map(rdkafka::metadata::MetadataTopic::name);
    // Internal ones are created before the first checkpoint and hold nothing then.
    let is_of_tables = |name: &&str| {
        name.strip_prefix(&prefix)
            .is_some_and(|rest| rest.contains('.') || rest == CHANGES)
    };
    match names.find(is_of_tables) {
        None => Ok(()),
        Some(name) => Err(Error::definite(format!(
            "topics of this prefix exist, but no checkpoint of reader {}",
            queue.config.reader.name
        ))
        .detail(format!("topic {name}"))
        .hint("set reader.name to the reader that wrote them, or choose another kafka.prefix to begin anew")),
    }
}

async fn create_named(
    queue: &KafkaQueue,
    name: &str,
    partitions: i32,
    policy: &'static str,
    more: &[(&str, &str)],
) -> Result<()> {
    let kafka = &queue.config.kafka;
    let admin: AdminClient<DefaultClientContext> = queue
        .client_config()
        .create()
        .map_err(|error| sort(&error, "cannot make a Kafka client"))?;
    let isr = kafka.min_insync_replicas.to_string();
    let bytes_max = kafka.message_bytes_max.to_string();
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(kafka.replication_factor))
        .set("cleanup.policy", policy)
        .set("min.insync.replicas", &isr)
        .set("unclean.leader.election.enable", "false")
        .set("max.message.bytes", &bytes_max);
    for (key, value) in more {
        topic = topic.set(key, value);
    }
    let options = AdminOptions::new()
        .operation_timeout(Some(ANSWER_TIMEOUT))
        .request_timeout(Some(ANSWER_TIMEOUT));
    let results = admin.create_topics([&topic], &options).await;
    let created = results.map_err(|error| sort(&error, format!("cannot create topic {name}")))?;
    match created.into_iter().next() {
        Some(Ok(_)) => tracing::info!(topic = name, partitions, "topic created"),
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => require_safe(queue, &admin, name, policy).await?,
        Some(Err((_, code))) => return Err(refuse(name, code)),
        None => {
            return Err(Error::transient(format!(
                "the brokers did not answer about topic {name}"
            )));
        }
    }
    wait_for_leaders(queue, name).await
}

fn refuse(name: &str, code: RDKafkaErrorCode) -> Error {
    let what = format!("cannot create topic {name}");
    match code {
        RDKafkaErrorCode::InvalidReplicationFactor
        | RDKafkaErrorCode::PolicyViolation
        | RDKafkaErrorCode::InvalidConfig
        | RDKafkaErrorCode::InvalidTopic
        | RDKafkaErrorCode::TopicAuthorizationFailed
        | RDKafkaErrorCode::ClusterAuthorizationFailed => Error::definite(what)
            .detail(code)
            .hint("check section [kafka], the number of brokers and the account's rights"),
        _ => Error::transient(what).detail(code),
    }
}

/// The settings of a topic that existed before.
async fn require_safe(
    queue: &KafkaQueue,
    admin: &AdminClient<DefaultClientContext>,
    name: &str,
    expected_policy: &'static str,
) -> Result<()> {
    let options = AdminOptions::new().request_timeout(Some(ANSWER_TIMEOUT));
    let described = admin
        .describe_configs([&ResourceSpecifier::Topic(name)], &options)
        .await;
    let what = || format!("cannot read the settings of topic {name}");
    let resources = described.map_err(|error| sort(&error, what()))?;
    let resource: ConfigResource = match resources.into_iter().next() {
        Some(Ok(resource)) => resource,
        Some(Err(code)) => return Err(Error::transient(what()).detail(code)),
        None => return Err(Error::transient(what())),
    };
    let value = |key: &str| {
        resource
            .get(key)
            .and_then(|entry| entry.value.clone())
            .unwrap_or_default()
    };
    let isr = value("min.insync.replicas").parse::<i32>().unwrap_or(0);
    let check = |name, expected, actual: String, holds, fix, waivable| Check {
        name,
        expected,
        actual,
        holds,
        fix,
        waivable,
    };
    let policy = value("cleanup.policy");
    let unclean = value("unclean.leader.election.enable");
    let checks = [
        check(
            "cleanup.policy",
            expected_policy,
            policy.clone(),
            policy == expected_policy,
            "kafka-configs --alter --add-config cleanup.policy=<as expected>",
            true,
        ),
        check(
            "min.insync.replicas",
            "2 or more",
            isr.to_string(),
            isr >= 2,
            "kafka-configs --alter --add-config min.insync.replicas=2",
            true,
        ),
        check(
            "unclean.leader.election.enable",
            "false",
            unclean.clone(),
            unclean == "false",
            "kafka-configs --alter --add-config unclean.leader.election.enable=false",
            true,
        ),
    ];
    preflight::require(&checks, queue.config.reader.allow_unsafe)
        .map_err(|error| error.detail(format!("topic {name}")))?;
    let passed = preflight::failed(&checks).map(|line| format!("topic {name}: {line}"));
    queue.condition.allow_unsafe(passed);
    Ok(())
}

async fn wait_for_leaders(queue: &KafkaQueue, name: &str) -> Result<()> {
    let deadline = Instant::now() + LEADERS_TIMEOUT;
    loop {
        let metadata = metadata(queue, Some(name)).await?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == name);
        let ready = topic.is_some_and(|topic| {
            topic.error().is_none()
                && !topic.partitions().is_empty()
                && topic.partitions().iter().all(|partition| partition.leader() >= 0)
        });
        if ready {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::transient(format!(
                "a partition of topic {name} has no leader after {} s",
                LEADERS_TIMEOUT.as_secs()
            ))
            .hint("are enough brokers up?"));
        }
        tokio::time::sleep(LEADERS_POLL_INTERVAL).await;
    }
}

/// Keeps the library from printing by itself.
pub(super) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _level: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
    }

    fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
    }
}

impl rdkafka::consumer::ConsumerContext for Quiet {}
