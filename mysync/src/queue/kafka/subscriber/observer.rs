//! Questions about where partitions begin and end, by a client of its own that belongs to no group.
//!
//! It reads uncommitted: its end is the high watermark, which counts records as soon as all replicas in sync have them.

use super::super::topics::Quiet;
use super::super::{ANSWER_TIMEOUT, sort};
use super::topics::Topics;
use crate::error::{Error, Result};
use crate::queue::Partition;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// The client, shared with the blocking calls that are on their way.
#[derive(Clone)]
pub(super) struct Observer {
    client: Arc<BaseConsumer<Quiet>>,
    topics: Topics,
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Observer")
            .field("topics", &self.topics)
            .finish_non_exhaustive()
    }
}

impl Observer {
    pub(super) fn new(config: &ClientConfig, topics: Topics) -> Result<Self> {
        let mut config = config.clone();
        config
            .set("isolation.level", "read_uncommitted")
            .set("allow.auto.create.topics", "false");
        let client = config
            .create_with_context(Quiet)
            .map_err(|error| sort(&error, "cannot make a Kafka client"))?;
        Ok(Self {
            client: Arc::new(client),
            topics,
        })
    }

    /// The end of every followed partition there is.
    pub(super) fn ends(&self) -> impl Future<Output = Result<BTreeMap<Partition, i64>>> + 'static {
        let observer = self.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let partitions = observer.partitions()?;
            observer.offsets(&partitions, Offset::End)
        });
        async move { asked.await.map_err(Error::transient_join)? }
    }

    /// The oldest offset of each partition, and the end.
    pub(super) async fn ranges(&self, partitions: Vec<Partition>) -> Result<BTreeMap<Partition, Range<i64>>> {
        let observer = self.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let starts = observer.offsets(&partitions, Offset::Beginning)?;
            let ends = observer.offsets(&partitions, Offset::End)?;
            let range = |(partition, start): (Partition, i64)| {
                let end = ends.get(&partition).copied().unwrap_or(start);
                (partition, start..end)
            };
            Ok(starts.into_iter().map(range).collect())
        });
        asked.await.map_err(Error::transient_join)?
    }

    /// All topics, of which some may only now be known to be another reader's.
    fn metadata(&self) -> Result<Metadata> {
        let asked = self.client.fetch_metadata(None, ANSWER_TIMEOUT);
        let metadata = asked.map_err(|error| sort(&error, "the brokers do not tell their topics"))?;
        self.topics
            .require_untangled(metadata.topics().iter().map(MetadataTopic::name))?;
        Ok(metadata)
    }

    fn partitions(&self) -> Result<Vec<Partition>> {
        let metadata = self.metadata()?;
        let followed = metadata
            .topics()
            .iter()
            .filter(|topic| topic.error().is_none() && self.topics.follows(topic.name()));
        let mut partitions = Vec::new();
        for topic in followed {
            let name: Arc<str> = topic.name().into();
            partitions.extend(topic.partitions().iter().map(|partition| Partition {
                topic: Arc::clone(&name),
                number: partition.id(),
            }));
        }
        Ok(partitions)
    }

    /// All partitions in one question to each broker that leads some of them.
    fn offsets(&self, partitions: &[Partition], which: Offset) -> Result<BTreeMap<Partition, i64>> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let what = || "the brokers do not tell where partitions begin and end";
        // The question goes to the leaders that the client knows. One that died since the last answer would not answer
        // before the timeout, so the client learns the leaders first.
        self.metadata()?;
        let mut question = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            question
                .add_partition_offset(&partition.topic, partition.number, which)
                .map_err(|error| sort(&error, what()))?;
        }
        let answer = self
            .client
            .offsets_for_times(question, ANSWER_TIMEOUT)
            .map_err(|error| sort(&error, what()))?;
        let mut offsets = BTreeMap::new();
        for (partition, element) in partitions.iter().zip(answer.elements()) {
            debug_assert_eq!(
                (&*partition.topic, partition.number),
                (element.topic(), element.partition())
            );
            element
                .error()
                .map_err(|error| sort(&error, what()).detail(partition))?;
            let Offset::Offset(offset) = element.offset() else {
                return Err(Error::transient(what()).detail(partition));
            };
            offsets.insert(partition.clone(), offset);
        }
        Ok(offsets)
    }
}
