//! SIGKILL of the broker that leads a partition of the busiest topic; the cure starts it and waits until every replica of
//! the topic is in sync again.

use super::{Fault, Surroundings};
use crate::drill::FaultKind;
use crate::error::{Doing, Error, Result};
use crate::history::{FaultEvent, FaultStep, Record, Recorder};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// Knows what it killed.
#[derive(Default)]
pub struct KillPartitionLeader {
    victim: Option<Victim>,
}

struct Victim {
    topic: String,
    partition: i32,
    broker: i32,
}

impl Fault for KillPartitionLeader {
    fn strike<'a>(&'a mut self, surroundings: Surroundings<'a>) -> LocalBoxFuture<'a, Result<()>> {
        self.kill(surroundings).boxed_local()
    }

    fn cure<'a>(&'a mut self, surroundings: Surroundings<'a>) -> LocalBoxFuture<'a, Result<()>> {
        self.start_again(surroundings).boxed_local()
    }
}

impl KillPartitionLeader {
    async fn kill(&mut self, surroundings: Surroundings<'_>) -> Result<()> {
        let Surroundings {
            lab,
            topics,
            recorder,
            topics_prefix,
            seed,
            ..
        } = surroundings;
        let kafka = lab.kafka().doing(|| "the drill's lab has no brokers".into())?;
        let topic = topics.busiest_topic(topics_prefix)?;
        let partition = *topics
            .partitions(&topic)
            .choose(&mut StdRng::seed_from_u64(seed))
            .ok_or_else(|| {
                Error::definite(format!("no record was seen in any partition of {topic}"))
                    .hint("the reader's log is in the run folder")
            })?;
        let broker = kafka
            .leader_of(&topic, partition)
            .await
            .doing(|| format!("nobody leads {topic}[{partition}]"))?;
        let server = kafka
            .broker(broker)
            .doing(|| format!("the lab has no broker {broker}"))?;
        // Known before it is killed: the cure starts it again even if the kill ends half way.
        let victim = self.victim.insert(Victim {
            topic,
            partition,
            broker,
        });
        victim.record(recorder, FaultStep::Aimed, broker);
        server
            .kill()
            .await
            .doing(|| format!("broker {broker} cannot be killed"))?;
        victim.record(recorder, FaultStep::Struck, broker);
        let leader = kafka
            .wait_for_other_leader(&victim.topic, partition, broker)
            .await
            .doing(|| format!("nobody took over {}[{partition}] from broker {broker}", victim.topic))?;
        victim.record(recorder, FaultStep::LeaderElected, leader);
        Ok(())
    }

    async fn start_again(&mut self, surroundings: Surroundings<'_>) -> Result<()> {
        let Some(victim) = &self.victim else { return Ok(()) };
        let kafka = surroundings
            .lab
            .kafka()
            .doing(|| "the drill's lab has no brokers".into())?;
        let server = kafka
            .broker(victim.broker)
            .doing(|| format!("the lab has no broker {}", victim.broker))?;
        victim.record(surroundings.recorder, FaultStep::CureBegun, victim.broker);
        server
            .start()
            .await
            .doing(|| format!("broker {} cannot be started", victim.broker))?;
        kafka
            .wait_for_in_sync(&victim.topic, kafka.replication_factor())
            .await
            .doing(|| format!("broker {} did not get in sync again", victim.broker))?;
        victim.record(surroundings.recorder, FaultStep::Cured, victim.broker);
        self.victim = None;
        Ok(())
    }
}

impl Victim {
    fn record(&self, recorder: &Recorder, step: FaultStep, broker: i32) {
        recorder.append(&Record::Fault(FaultEvent {
            at_us: recorder.now_us(),
            fault: FaultKind::KillPartitionLeader,
            step,
            detail: format!("broker {broker}, {}[{}]", self.topic, self.partition),
            target: None,
            topic: Some(self.topic.clone()),
            partition: Some(self.partition),
            broker: Some(broker),
        }));
    }
}
