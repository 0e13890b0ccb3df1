//! The servers of a benchmark, at their addresses inside the lab's network, and what all contestants find there.

use crate::error::{Doing, Result};
use fixtures::{Lab, LabBuilder, LabError, Mysql};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// Ports inside the containers.
pub(super) const MYSQL_PORT: u16 = 3306;
const BROKER_PORT: u16 = 9092;
const REDIS_PORT: u16 = 6379;
const ELASTICSEARCH_PORT: u16 = 9200;
const HBASE_PORT: u16 = 9090;

pub(super) async fn lab() -> Result<Lab> {
    lab_with(|builder| builder).await
}

/// The binlog in one file: what a server keeps in many costs the same.
pub(super) async fn lab_with(more: impl FnOnce(LabBuilder) -> LabBuilder) -> Result<Lab> {
    let builder = more(Lab::builder().name("bench").mysql("8.0").brokers(1));
    let fast = [
        "sync-binlog=0",
        "innodb-flush-log-at-trx-commit=0",
        "max-binlog-size=1G",
    ];
    let builder = fast
        .into_iter()
        .fold(builder, |builder, option| builder.mysql_option(option));
    builder.start().await.doing(|| "the servers cannot be started".into())
}

pub(super) fn primary(lab: &Lab) -> Result<&Mysql> {
    lab.primary().doing(|| "the lab has no MySQL".into())
}

fn mysql(lab: &Lab) -> Result<String> {
    Ok(format!("{}:{MYSQL_PORT}", primary(lab)?.host()))
}

pub(super) fn broker(lab: &Lab) -> Result<String> {
    let kafka = lab.kafka().doing(|| "the lab has no Kafka".into())?;
    let broker = kafka.broker(1).doing(|| "the lab has no broker 1".into())?;
    Ok(format!("{}:{BROKER_PORT}", broker.host()))
}

/// The lab's own configuration with the addresses inside its network, one partition, names of the prefix's own in each store,
/// and more lines for the reader.
pub(super) fn write_config(lab: &Lab, prefix: &str, table: &str, reader: &[&str]) -> Result<PathBuf> {
    let config = reader
        .iter()
        .fold(lab.config(prefix, &[table]), |config, line| config.reader(line));
    let (text, mysql, broker) = (config.toml(), mysql(lab)?, broker(lab)?);
    let line_of = |line: &str| {
        Ok(match line.split_once(" = ").map(|(key, _)| key) {
            Some("servers") => format!("servers = [\"{mysql}\"]"),
            Some("brokers") => format!("brokers = [\"{broker}\"]\npartitions = 1"),
            Some("address") => {
                let address = store_address(lab.redis().map(|redis| redis.host()), REDIS_PORT)?;
                format!("address = \"{address}\"\nkey = \"{prefix}:{{db}}:{{table}}:{{pk}}\"")
            }
            Some("urls") => {
                let address = store_address(lab.elasticsearch().map(|node| node.host()), ELASTICSEARCH_PORT)?;
                format!("urls = [\"http://{address}\"]\nindex = \"{prefix}-{{db}}.{{table}}\"")
            }
            Some("thrift") => {
                let address = store_address(lab.hbase().map(|hbase| hbase.host()), HBASE_PORT)?;
                format!("thrift = \"{address}\"\ntable = \"{prefix}-{{db}}.{{table}}\"")
            }
            _ => line.to_owned(),
        })
    };
    let lines: Vec<String> = text.lines().map(line_of).collect::<Result<_>>()?;
    let path = lab.folder().join(format!("{prefix}.toml"));
    std::fs::write(&path, lines.join("\n")).doing(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn store_address(host: std::result::Result<Ipv4Addr, LabError>, port: u16) -> Result<String> {
    let host = host.doing(|| "the lab has no such store".into())?;
    Ok(format!("{host}:{port}"))
}

/// As the reader makes its own, so that the broker works as much for either.
pub(super) async fn create_topic(lab: &Lab, name: &str) -> Result<()> {
    let admin: AdminClient<_> = ClientConfig::new()
        .set("bootstrap.servers", broker(lab)?)
        .create()
        .doing(|| "no Kafka client".into())?;
    let topic = NewTopic::new(name, 1, TopicReplication::Fixed(1))
        .set("cleanup.policy", "compact")
        .set("retention.ms", "-1");
    let created = admin.create_topics([&topic], &AdminOptions::new()).await;
    created.doing(|| format!("topic {name} cannot be created"))?;
    Ok(())
}
