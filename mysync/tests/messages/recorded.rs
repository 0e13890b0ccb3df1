//! A server that plays recorded events, a queue in memory, and the reader between them.

use mysync::checkpoint::{Checkpoint, Position};
use mysync::config::{self, Config, OnDdl};
use mysync::decode::Header;
use mysync::error::{Error, Result};
use mysync::queue::kafka::{KafkaSubscriber, topic_name};
use mysync::queue::outdated::Outdated;
use mysync::queue::{Batch, Publisher, Queue, Scan, Topic, TopicId};
use mysync::reader::{self, Options};
use mysync::schema::{TableName, TableSchema};
use mysync::source::preflight::Check;
use mysync::source::{Cascade, Facts, Gtids, RowsAnswer, RowsRequest, Server, Source};
use mysync::stop;
use mysync::tables::TableFilter;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// The recorded events, one file of MySQL 9.7.
pub const EVENTS: &[u8] = include_bytes!("../messages_data/events.bin");

pub const PREFIX: &str = "dbz";

const FILE: &str = "binlog.000002";
const FILE_START: u64 = 4;

/// Splits a file's events.
pub fn events(file: &[u8]) -> Vec<&[u8]> {
    let (mut events, mut rest) = (Vec::new(), file);
    while !rest.is_empty() {
        let (event, after) = rest.split_at(Header::parse(rest).unwrap().size as usize);
        events.push(event);
        rest = after;
    }
    events
}

/// The template with other sections `[messages]` and `[mask]`, and more keys of `[source]`.
pub fn config(messages: &str, source: &str) -> Config {
    let template = config::TEMPLATE.replace("password_env = \"MYSYNC_MYSQL_PASSWORD\"", "password = \"x\"");
    let (before, rest) = template.split_once("[messages]").unwrap();
    let (_, after) = rest.split_once("[reader]").unwrap();
    let before = before
        .replace("tables = [\"shop.*\"]", "tables = [\"t.*\"]")
        .replace("columns_exclude = []", source)
        .replace("prefix = \"mysync\"", &format!("prefix = \"{PREFIX}\""));
    config::parse(&format!("{before}[messages]\n{messages}\n[reader]{after}"), "test").unwrap()
}

/// One record as it was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub topic: String,
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
    pub header: Option<(String, String)>,
    pub version: i64,
    /// `["database","table"]` of the topic that was declared.
    pub table: Option<String>,
}

impl Published {
    pub fn key_text(&self) -> &str {
        std::str::from_utf8(&self.key).unwrap()
    }
}

/// All that the reader publishes of the recorded events for consumers.
pub fn published(config: &Config) -> Vec<Published> {
    published_of(config, EVENTS)
}

/// The same of another recorded file.
pub fn published_of(config: &Config, events: &'static [u8]) -> Vec<Published> {
    let queue = MemoryQueue::default();
    run_on(config, events, &queue, None).unwrap();
    let mut records = queue.committed();
    let internal = [format!("{PREFIX}.__ddl"), format!("{PREFIX}.__history")];
    records.retain(|record| !internal.contains(&record.topic));
    records
}

/// Runs the reader until it has caught up or, on an idle source, for so long.
pub fn run(config: &Config, queue: &MemoryQueue, idle: Option<Duration>) -> Result<()> {
    run_on(config, EVENTS, queue, idle)
}

fn run_on(config: &Config, events: &'static [u8], queue: &MemoryQueue, idle: Option<Duration>) -> Result<()> {
    let mut source = RecordedSource { events, next: 0 };
    let mut options = Options::new(config, idle.is_none());
    options.on_ddl = OnDdl::Ignore;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let (sender, stop) = stop::channel();
    runtime.block_on(async {
        let filter = TableFilter::new(config);
        let reading = reader::run(&mut source, queue, &filter, &config.source.keys, &options, stop);
        let stopping = async {
            match idle {
                Some(idle) => {
                    tokio::time::sleep(idle).await;
                    sender.stop();
                }
                None => std::future::pending().await,
            }
        };
        tokio::pin!(reading);
        tokio::select! {
            outcome = &mut reading => outcome.map(drop),
            () = stopping => reading.await.map(drop),
        }
    })
}

struct RecordedSource {
    events: &'static [u8],
    next: usize,
}

fn position(offset: u64) -> Position {
    Position {
        server_uuid: "5a73007d-e8b9-11f1-ac82-0242c612540b".into(),
        file: FILE.into(),
        offset,
        file_born_s: 0,
        gtid_set: None,
    }
}

impl Source for RecordedSource {
    async fn choose(&mut self, _position: Option<&Position>) -> Result<Server> {
        Ok(Server {
            address: "recorded:3306".into(),
            uuid: position(FILE_START).server_uuid,
            gtid: false,
            is_primary: true,
        })
    }

    async fn gtids(&mut self) -> Result<Gtids> {
        Ok(Gtids::default())
    }

    async fn files(&mut self) -> Result<Vec<String>> {
        Ok(vec![FILE.into()])
    }

    async fn preflight(&mut self) -> Result<Vec<Check>> {
        Ok(Vec::new())
    }

    async fn facts(&mut self) -> Result<Facts> {
        Ok(Facts {
            names_columns: true,
            names_charsets: true,
            lower_case_names: false,
            logs_cascades: true,
        })
    }

    async fn tables(&mut self) -> Result<Vec<TableName>> {
        Ok(Vec::new())
    }

    async fn describe(&mut self, tables: &[TableName]) -> Result<Vec<Option<TableSchema>>> {
        Ok(vec![None; tables.len()])
    }

    fn read(&self, _request: RowsRequest) -> impl Future<Output = Result<RowsAnswer>> + Send + 'static {
        std::future::ready(Err(Error::definite("this source has no tables")))
    }

    async fn cascades(&mut self) -> Result<Vec<Cascade>> {
        Ok(Vec::new())
    }

    async fn oldest(&mut self) -> Result<Position> {
        Ok(position(FILE_START))
    }

    async fn newest(&mut self) -> Result<Position> {
        Ok(position(FILE_START + self.events.len() as u64))
    }

    async fn start(&mut self, position: &Position) -> Result<()> {
        assert_eq!(position.offset, FILE_START);
        self.next = 0;
        Ok(())
    }

    async fn next(&mut self) -> Result<&[u8]> {
        match events(self.events).get(self.next) {
            Some(event) => {
                self.next += 1;
                Ok(event)
            }
            None => std::future::pending().await,
        }
    }
}

#[derive(Default, Clone)]
pub struct MemoryQueue {
    committed: Rc<RefCell<Vec<Published>>>,
}

impl MemoryQueue {
    pub fn committed(&self) -> Vec<Published> {
        self.committed.borrow().clone()
    }
}

impl Queue for MemoryQueue {
    type Publisher = MemoryPublisher;
    type Subscriber = KafkaSubscriber;

    async fn publisher(&self) -> Result<(MemoryPublisher, Option<Checkpoint>)> {
        let publisher = MemoryPublisher {
            queue: self.clone(),
            topics: Vec::new(),
            open: Vec::new(),
            is_committing: false,
        };
        Ok((publisher, None))
    }

    async fn scan(&self, _internal_topic: &str, _from_offset: i64) -> Result<Scan> {
        Ok(Scan::channel().1)
    }

    async fn scan_end(&self, internal_topic: &str, _offsets: i64) -> Result<(Scan, bool)> {
        Ok((self.scan(internal_topic, 0).await?, true))
    }

    async fn published(&self, _from: mysync::version::Version) -> Result<mysync::queue::Published> {
        Ok(mysync::queue::Published::channel().1)
    }

    async fn tables(&self) -> Result<Vec<TableName>> {
        Ok(Vec::new())
    }

    async fn outdated(
        &self,
        _topic: Topic<'_>,
        _key_end: &[u8],
        _before: mysync::version::Version,
    ) -> Result<Outdated> {
        Ok(Outdated::channel().1)
    }

    async fn subscriber(&self, _group: &str) -> Result<KafkaSubscriber> {
        Err(Error::definite("this model has no consumers"))
    }
}

pub struct MemoryPublisher {
    queue: MemoryQueue,
    topics: Vec<(String, Option<String>)>,
    open: Vec<Published>,
    is_committing: bool,
}

impl Publisher for MemoryPublisher {
    fn has_room(&self) -> bool {
        true
    }

    async fn declare(&mut self, topic: Topic<'_>) -> Result<TopicId> {
        let declared = match topic {
            Topic::Table { database, table } => (
                topic_name(PREFIX, database, table),
                Some(format!("[\"{database}\",\"{table}\"]")),
            ),
            Topic::Changes { database, table } => (
                format!("{PREFIX}.changes"),
                Some(format!("[\"{database}\",\"{table}\"]")),
            ),
            Topic::Transactions => (format!("{PREFIX}.transaction"), None),
            Topic::Compacted(name) | Topic::Log(name) | Topic::Recent(name) => (format!("{PREFIX}.__{name}"), None),
        };
        let known = self.topics.iter().position(|known| *known == declared);
        let id = known.unwrap_or(self.topics.len());
        if id == self.topics.len() {
            self.topics.push(declared);
        }
        Ok(TopicId::try_from(id).unwrap())
    }

    async fn send(&mut self, mut batch: Batch) -> Result<Batch> {
        self.open.extend(batch.records().map(|record| {
            let (topic, table) = self.topics[record.topic as usize].clone();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            Published {
                topic,
                key: record.key.to_vec(),
                value: record.value.map(<[u8]>::to_vec),
                header: record.header.map(|(name, value)| (name.to_owned(), text(value))),
                version: record.version.as_i64(),
                table,
            }
        }));
        batch.clear(1 << 10);
        Ok(batch)
    }

    async fn commit(&mut self, _checkpoint: Checkpoint) -> Result<()> {
        self.queue.committed.borrow_mut().append(&mut self.open);
        self.is_committing = true;
        Ok(())
    }

    async fn committed(&mut self) -> Result<()> {
        match std::mem::take(&mut self.is_committing) {
            true => Ok(()),
            false => std::future::pending().await,
        }
    }
}
