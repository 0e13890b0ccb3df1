//! What the writer's container tests share: a lab, a producer of envelopes, a writer on a thread of its own.

#![allow(dead_code, reason = "each test uses a part of it")]

use fixtures::Lab;
use mysync::config::{self, Config};
use mysync::error::Result;
use mysync::metrics::WriterMetrics;
use mysync::queue::kafka::KafkaQueue;
use mysync::target::Target;
use mysync::target::redis::RedisTarget;
use mysync::writer::{self, Bounds, Options, Summary};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use redis::aio::MultiplexedConnection;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

pub const PREFIX: &str = "w";
pub const FENCES: &str = "w.__db_mysync.t_fence";
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A row as a hash holds it.
pub type Row = BTreeMap<String, String>;

pub async fn lab() -> Lab {
    Lab::builder().brokers(1).redis().start().await.unwrap()
}

/// The lab's configuration; the writer needs no MySQL. `writer` is more of the section `[writer.redis]`.
pub fn config(lab: &Lab, writer: &str) -> Config {
    config::parse(&toml(lab, writer), "test.toml").unwrap()
}

pub fn toml(lab: &Lab, writer: &str) -> String {
    let source = "[source]\nservers = [\"127.0.0.1:1\"]\nuser = \"u\"\nserver_id = 1\ntables = [\"*.*\"]\n";
    format!("{source}{}{writer}", lab.config_toml(PREFIX, &["*.*"]))
}

fn client(lab: &Lab) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", lab.kafka().unwrap().bootstrap());
    config
}

pub async fn create_topic(lab: &Lab, topic: &str, partitions: i32) {
    create_replicated(lab, topic, partitions, 1).await;
}

pub async fn create_replicated(lab: &Lab, topic: &str, partitions: i32, replicas: i32) {
    let admin: AdminClient<DefaultClientContext> = client(lab).create().unwrap();
    let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(replicas))
        .set("cleanup.policy", "compact")
        .set("max.message.bytes", "100000000");
    let created = admin.create_topics([&topic], &AdminOptions::new()).await.unwrap();
    created.into_iter().for_each(|result| drop(result.unwrap()));
}

pub async fn delete_topic(lab: &Lab, topic: &str) {
    let admin: AdminClient<DefaultClientContext> = client(lab).create().unwrap();
    let deleted = admin.delete_topics(&[topic], &AdminOptions::new()).await.unwrap();
    deleted.into_iter().for_each(|result| drop(result.unwrap()));
}

/// A transactional producer of envelopes.
pub struct Source {
    producer: ThreadedProducer<DefaultProducerContext>,
}

impl Source {
    pub async fn open(lab: &Lab, name: &str) -> Self {
        let producer: ThreadedProducer<DefaultProducerContext> = client(lab)
            .set("transactional.id", name)
            .set("message.max.bytes", "100000000")
            .set("compression.type", "lz4")
            .set("linger.ms", "5")
            .create()
            .unwrap();
        blocking(move || {
            producer.init_transactions(DEADLINE).unwrap();
            Self { producer }
        })
        .await
    }

    pub fn begin(&self) {
        self.producer.begin_transaction().unwrap();
    }

    pub async fn flush(&self) {
        let producer = self.producer.clone();
        blocking(move || producer.flush(DEADLINE).unwrap()).await;
    }

    pub async fn commit(&self) {
        let producer = self.producer.clone();
        blocking(move || producer.commit_transaction(DEADLINE).unwrap()).await;
    }

    pub async fn abort(&self) {
        let producer = self.producer.clone();
        blocking(move || producer.abort_transaction(DEADLINE).unwrap()).await;
    }

    /// A row inserted or updated, as JSON text.
    pub fn put(&self, table: &str, key: &str, row: &str) {
        self.send(table, key, Some(&envelope(table, "u", row)));
    }

    /// A row deleted: the envelope, and the tombstone.
    pub fn delete(&self, table: &str, key: &str) {
        self.send(table, key, Some(&envelope(table, "d", "null")));
        self.send(table, key, None);
    }

    pub fn send(&self, table: &str, key: &str, value: Option<&str>) {
        let (database, name) = table.split_once('.').unwrap();
        let topic = format!("{PREFIX}.{table}");
        loop {
            let table = format!("[\"{database}\",\"{name}\"]");
            let header = match value {
                Some(_) => ("own", "kept"),
                None => ("mysync.table", table.as_str()),
            };
            let headers = OwnedHeaders::new().insert(Header {
                key: header.0,
                value: Some(header.1),
            });
            let mut record = BaseRecord::to(&topic).key(key).headers(headers);
            if let Some(value) = value {
                record = record.payload(value);
            }
            match self.producer.send(record) {
                Ok(()) => return,
                Err((error, _)) if error.rdkafka_error_code() == Some(rdkafka::types::RDKafkaErrorCode::QueueFull) => {
                    self.producer.flush(DEADLINE).unwrap();
                }
                Err((error, _)) => panic!("{error}"),
            }
        }
    }
}

pub fn envelope(table: &str, op: &str, after: &str) -> String {
    let (database, name) = table.split_once('.').unwrap();
    let source = format!(
        r#"{{"version":"t","connector":"mysql","name":"w","db":"{database}","table":"{name}","gtid":null,"pos":4}}"#
    );
    format!(r#"{{"before":null,"after":{after},"source":{source},"op":"{op}","ts_ms":1,"transaction":null}}"#)
}

async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// A writer on a thread and a runtime of its own.
pub struct Writer {
    stop: oneshot::Sender<()>,
    kill: oneshot::Sender<()>,
    thread: JoinHandle<Option<Result<Summary>>>,
}

impl Writer {
    pub fn start(config: &Config) -> Self {
        Self::launch(config, false)
    }

    fn launch(config: &Config, until_caught_up: bool) -> Self {
        let redis = RedisTarget::new(config.writer.redis.as_ref().unwrap(), PREFIX).unwrap();
        Self::launch_for(config, redis, until_caught_up, Arc::default())
    }

    /// A writer of any target.
    pub fn start_for(config: &Config, target: impl Target + Send + 'static, metrics: Arc<WriterMetrics>) -> Self {
        Self::launch_for(config, target, false, metrics)
    }

    fn launch_for(
        config: &Config,
        target: impl Target + Send + 'static,
        until_caught_up: bool,
        metrics: Arc<WriterMetrics>,
    ) -> Self {
        let config = config.clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let (kill, killed) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let options = Options {
                prefix: PREFIX.into(),
                bounds: Bounds {
                    changes_max: config.writer.redis.as_ref().unwrap().batch_changes_max,
                    bytes_max: writer::BATCH_BYTES_MAX,
                },
                until_caught_up,
                metrics,
                debezium: None,
            };
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let stop = async { drop(stopped.await) };
                let queue = KafkaQueue::new(&config);
                tokio::select! {
                    outcome = writer::run(&queue, target, &options, stop) => Some(outcome),
                    Ok(()) = killed => None,
                }
            })
        });
        Self { stop, kill, thread }
    }

    /// Runs until everything that is there is applied.
    pub async fn catch_up(config: &Config) -> Result<Summary> {
        let writer = Self::launch(config, true);
        let thread = writer.thread;
        // Both stay open, or the writer would take it as a wish.
        let _ends = (writer.stop, writer.kill);
        tokio::time::timeout(DEADLINE, blocking(move || thread.join().unwrap()))
            .await
            .expect("the writer did not catch up in time")
            .unwrap()
    }

    /// Drops everything in the middle of whatever it does.
    pub async fn kill(self) {
        self.kill.send(()).unwrap();
        blocking(move || self.thread.join().unwrap()).await;
    }

    pub async fn stop(self) -> Summary {
        self.stop.send(()).unwrap();
        blocking(move || self.thread.join().unwrap()).await.unwrap().unwrap()
    }

    /// The error it ends with by itself.
    pub async fn failure(self) -> mysync::error::Error {
        let thread = self.thread;
        let _ends = (self.stop, self.kill);
        tokio::time::timeout(DEADLINE, blocking(move || thread.join().unwrap()))
            .await
            .expect("the writer did not stop in time")
            .unwrap()
            .unwrap_err()
    }
}

/// A record as it stands in a topic, as text.
#[derive(Debug)]
pub struct Record {
    pub key: Option<String>,
    pub value: Option<String>,
    pub headers: BTreeMap<String, String>,
}

/// Everything in the first partition of a topic.
pub async fn records(lab: &Lab, topic: &str) -> Vec<Record> {
    let consumer: BaseConsumer = client(lab)
        .set("group.id", "test")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&partitions).unwrap();
    blocking(move || {
        let mut records = Vec::new();
        loop {
            match consumer.poll(DEADLINE).expect("the topic does not answer") {
                Ok(record) => records.push(record_of(&record.detach())),
                Err(KafkaError::PartitionEOF(_)) => return records,
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await
}

fn record_of(record: &OwnedMessage) -> Record {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let headers = record.headers().into_iter().flat_map(|headers| headers.iter());
    Record {
        key: record.key().map(text),
        value: record.payload().map(text),
        headers: headers
            .map(|header| (header.key.to_owned(), text(header.value.unwrap_or_default())))
            .collect(),
    }
}

/// All rows that are hashes.
pub async fn rows(connection: &mut MultiplexedConnection) -> std::result::Result<BTreeMap<String, Row>, String> {
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg("*")
        .query_async(connection)
        .await
        .map_err(|error| error.to_string())?;
    let mut rows = BTreeMap::new();
    for key in keys.into_iter().filter(|key| !key.starts_with("__mysync:")) {
        let row: Row = redis::cmd("HGETALL")
            .arg(&key)
            .query_async(connection)
            .await
            .map_err(|error| error.to_string())?;
        rows.insert(key, row);
    }
    Ok(rows)
}

/// Waits until Redis holds exactly these rows.
pub async fn wait_for_rows(lab: &Lab, expected: &BTreeMap<String, Row>) {
    fixtures::wait_for("Redis holds exactly the rows expected", DEADLINE, async || {
        let mut connection = lab
            .redis()
            .unwrap()
            .connect()
            .await
            .map_err(|error| error.to_string())?;
        let found = rows(&mut connection).await?;
        let differing = |key: &&String| found.get(*key) != expected.get(*key);
        match found == *expected {
            true => Ok(()),
            false => {
                let keys: Vec<&String> = expected.keys().chain(found.keys()).filter(differing).take(3).collect();
                Err(format!(
                    "{} rows found, {} expected; differing: {keys:?}",
                    found.len(),
                    expected.len()
                ))
            }
        }
    })
    .await
    .unwrap();
}

/// Waits until a key exists.
pub async fn wait_for_key(lab: &Lab, key: &str) {
    fixtures::wait_for(&format!("Redis holds {key}"), DEADLINE, async || {
        match exists(lab, key).await {
            true => Ok(()),
            false => Err("it does not".to_owned()),
        }
    })
    .await
    .unwrap();
}

pub async fn exists(lab: &Lab, key: &str) -> bool {
    let mut connection = lab.redis().unwrap().connect().await.unwrap();
    redis::cmd("EXISTS")
        .arg(key)
        .query_async(&mut connection)
        .await
        .unwrap()
}

pub fn row(columns: &[(&str, &str)]) -> Row {
    columns
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect()
}
