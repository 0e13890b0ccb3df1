//! Questions about where partitions begin and end, by a client of its own that belongs to no group.
//!
//! It reads uncommitted: its end is the high watermark, which counts records as soon as all replicas in sync have them.
//!
//! A client that gave no answer for [`PATIENCE`] is replaced by a new one: it may have lost its last broker (`brokers`).

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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a client may fail to answer, again and again, before another one is tried.
const PATIENCE: Duration = Duration::from_secs(30);

type Client = BaseConsumer<Quiet>;

/// The client, shared with the blocking calls that are on their way.
#[derive(Clone)]
pub(super) struct Observer {
    config: ClientConfig,
    current: Arc<Mutex<Current>>,
    topics: Topics,
}

struct Current {
    client: Arc<Client>,
    silence: Silence,
}

/// Since when all questions have failed.
#[derive(Debug, Default)]
struct Silence(Option<Instant>);

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
        let current = Current {
            client: Arc::new(open(&config)?),
            silence: Silence::default(),
        };
        Ok(Self {
            config,
            current: Arc::new(Mutex::new(current)),
            topics,
        })
    }

    fn client(&self) -> Arc<Client> {
        Arc::clone(&self.lock().client)
    }

    /// Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of what became of a question.
    fn answered<R>(&self, answer: Result<R>) -> Result<R> {
        let mut current = self.lock();
        if current.silence.is_too_long(answer.is_err(), Instant::now()) {
            tracing::warn!("the Kafka client that tells where partitions end gives no answers: another one is tried");
            current.client = Arc::new(open(&self.config)?);
        }
        answer
    }

    /// The end of every followed partition there is.
    pub(super) fn ends(&self) -> impl Future<Output = Result<BTreeMap<Partition, i64>>> + 'static {
        let observer = self.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let ends = || observer.offsets(&observer.partitions()?, Offset::End);
            observer.answered(ends())
        });
        async move { asked.await.map_err(Error::transient_join)? }
    }

    /// The oldest offset of each partition, and the end.
    pub(super) async fn ranges(&self, partitions: Vec<Partition>) -> Result<BTreeMap<Partition, Range<i64>>> {
        let observer = self.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let starts = observer.answered(observer.offsets(&partitions, Offset::Beginning))?;
            let ends = observer.answered(observer.offsets(&partitions, Offset::End))?;
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
        let asked = self.client().fetch_metadata(None, ANSWER_TIMEOUT);
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
            .client()
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

impl Silence {
    /// Whether questions have failed for too long now; then it is counted anew.
    fn is_too_long(&mut self, has_failed: bool, now: Instant) -> bool {
        let since = *self.0.get_or_insert(now);
        let is_it = has_failed && now.duration_since(since) >= PATIENCE;
        self.0 = (has_failed && !is_it).then_some(since);
        is_it
    }
}

fn open(config: &ClientConfig) -> Result<Client> {
    config
        .create_with_context(Quiet)
        .map_err(|error| sort(&error, "cannot make a Kafka client"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_fails_all_the_time_is_replaced_and_one_that_answers_in_between_is_not() {
        let begin = Instant::now();
        let replaced = |asked: &[(u64, bool)]| {
            let mut silence = Silence::default();
            let at = |(seconds, has_failed): &(u64, bool)| {
                silence.is_too_long(*has_failed, begin + Duration::from_secs(*seconds))
            };
            asked.iter().map(at).collect::<Vec<bool>>()
        };
        assert_eq!(replaced(&[(0, true), (29, true), (30, true)]), [false, false, true]);
        assert_eq!(replaced(&[(0, true), (29, false), (31, true), (60, true)]), [false; 4]);
        // The new one has its time, too.
        assert_eq!(
            replaced(&[(0, true), (40, true), (50, true), (81, true)]),
            [false, true, false, true]
        );
    }
}
