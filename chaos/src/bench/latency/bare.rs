//! What the brokers themselves take: one record at a time by a plain client, from sending to seeing it.

use super::watcher::{Watcher, now_us};
use crate::error::{Doing, Result};
use fixtures::Lab;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use std::time::Duration;

/// Records that are measured, after the warm-up.
const COUNT: u64 = 400;
const WARM_UP: u64 = 50;
const DEADLINE: Duration = Duration::from_secs(20);

/// Each record's latency, ms.
pub(super) async fn measure(lab: &Lab, in_transactions: bool) -> Result<Vec<f64>> {
    let bootstrap = lab.kafka().doing(|| "the lab has no Kafka".into())?.bootstrap();
    let topic = if in_transactions {
        "bare-transactions"
    } else {
        "bare-records"
    };
    create(&bootstrap, topic).await?;
    let watcher = Watcher::start(&bootstrap, topic, WARM_UP + COUNT, DEADLINE).await?;
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &bootstrap)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .set("socket.nagle.disable", "true");
    if in_transactions {
        config.set("transactional.id", topic);
    }
    let producer: ThreadedProducer<DefaultProducerContext> = config.create().doing(|| "no Kafka client".into())?;
    if in_transactions {
        producer
            .init_transactions(DEADLINE)
            .doing(|| "no Kafka transactions".into())?;
    }
    let mut latencies = Vec::new();
    for id in 0..WARM_UP + COUNT {
        let sent_at_us = now_us();
        let (producer_of_this, name) = (producer.clone(), topic.to_owned());
        let sent = tokio::task::spawn_blocking(move || send(&producer_of_this, &name, id, in_transactions)).await;
        sent.doing(|| "a send failed".into())??;
        watcher.wait_for(id..id + 1, DEADLINE).await?;
        let seen_at_us = watcher.seen_at_us()[id as usize];
        latencies.push(seen_at_us.saturating_sub(sent_at_us) as f64 / 1e3);
    }
    Ok(latencies.split_off(WARM_UP as usize))
}

fn send(producer: &ThreadedProducer<DefaultProducerContext>, topic: &str, id: u64, in_transaction: bool) -> Result<()> {
    let what = || "the bare client cannot send".to_owned();
    if in_transaction {
        producer.begin_transaction().doing(what)?;
    }
    let (key, value) = (id.to_string(), [b'x'; 200]);
    let record = BaseRecord::to(topic).key(&key).payload(&value[..]);
    producer.send(record).map_err(|(error, _)| error).doing(what)?;
    if in_transaction {
        producer.commit_transaction(DEADLINE).doing(what)?;
    }
    Ok(())
}

async fn create(bootstrap: &str, name: &str) -> Result<()> {
    let admin: AdminClient<_> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .create()
        .doing(|| "no Kafka client".into())?;
    let topic = NewTopic::new(name, 3, TopicReplication::Fixed(3)).set("min.insync.replicas", "2");
    let created = admin.create_topics([&topic], &AdminOptions::new()).await;
    created.doing(|| format!("topic {name} cannot be created"))?;
    Ok(())
}
