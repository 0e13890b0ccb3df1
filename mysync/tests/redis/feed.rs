//! What the tests of the target Redis share: changes in memory in place of Kafka, a writer that brings them into the target as
//! the engine does, and a look at the rows that are there.

#![allow(dead_code)]

use fixtures::{Lab, Redis};
use mysync::config::{self, RedisWriter};
use mysync::error::Error;
use mysync::queue::Partition;
use mysync::target::redis::RedisTarget;
use mysync::target::{Cursor, Outcome, RowChange, Step, TableName, Target};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

pub const PREFIX: &str = "w";
pub const DEADLINE: Duration = Duration::from_secs(60);
const PARTITIONS: u64 = 2;
const ROWS: u64 = 300;
const BATCH: usize = 40;

/// A row as a hash holds it.
pub type Row = BTreeMap<String, String>;
pub type Rows = BTreeMap<String, Row>;

/// Section `[writer.redis]` for a lab, with more lines.
pub fn config(lab: &Lab, more: &str) -> RedisWriter {
    let toml = lab.config_toml(PREFIX, &["*.*"]);
    parse(&toml[toml.find("[writer.redis]").unwrap()..], more)
}

/// The section alone, with more lines in it.
pub fn parse(section: &str, more: &str) -> RedisWriter {
    let rest = "[source]\nservers = [\"127.0.0.1:1\"]\nuser = \"u\"\nserver_id = 1\ntables = [\"*.*\"]\n\
                [kafka]\nbrokers = [\"127.0.0.1:1\"]\nprefix = \"w\"\n";
    let section = section.replacen("[writer.redis]\n", &format!("[writer.redis]\n{more}\n"), 1);
    let config = config::parse(&format!("{rest}{section}"), "test.toml").unwrap();
    config.writer.redis.unwrap()
}

pub fn partition(number: u64) -> Partition {
    Partition {
        topic: "w.shop.a".into(),
        number: i32::try_from(number).unwrap(),
    }
}

pub fn change(id: u64, version: i64, row: Option<&str>) -> RowChange {
    RowChange {
        table: Arc::new(TableName {
            database: "shop".into(),
            table: "a".into(),
        }),
        key: vec![("id".into(), id.to_string())],
        row: row.map(|row| RawValue::from_string(row.to_owned()).unwrap()),
        version,
        columns_changed: None,
    }
}

/// A step of partition 0 whose cursors have versions, too.
pub fn step(before: Option<i64>, after: i64, changes: Vec<RowChange>) -> Step {
    let at = |offset| Cursor {
        offset,
        version: Some((1 << 48) + offset),
    };
    Step {
        partition: partition(0),
        cursor_before: before.map(at),
        cursor_after: at(after),
        changes,
    }
}

/// Changes as the queue holds them, and what they lead to.
#[derive(Default)]
pub struct Log {
    partitions: Vec<Vec<RowChange>>,
    pub expected: Rows,
    state: u64,
    version: i64,
}

impl Log {
    fn below(&mut self, bound: u64) -> u64 {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % bound
    }

    fn change(&mut self) {
        self.version += 1;
        let version = (1 << 48) + self.version;
        let id = self.below(ROWS);
        let key = format!("shop:a:{id}");
        let row = if self.below(6) == 0 {
            self.expected.remove(&key);
            None
        } else {
            let note = (self.below(2) == 0).then(|| format!("n{}", self.below(1_000_000)));
            let mut row = Row::from([("id".into(), id.to_string()), ("v".into(), version.to_string())]);
            let text = note.as_ref().map_or("null".into(), |note| format!("{note:?}"));
            row.extend(note.map(|note| ("note".into(), note)));
            self.expected.insert(key, row);
            Some(format!("{{\"id\":{id},\"v\":{version},\"note\":{text}}}"))
        };
        let partition = usize::try_from(id % PARTITIONS).unwrap();
        self.partitions[partition].push(change(id, version, row.as_deref()));
    }
}

/// Changes that can be made while a writer runs.
#[derive(Clone)]
pub struct Feed {
    log: Arc<Mutex<Log>>,
    more: Arc<Notify>,
}

impl Feed {
    pub fn new() -> Self {
        let log = Log {
            partitions: (0..PARTITIONS).map(|_| Vec::new()).collect(),
            state: 4_711,
            ..Log::default()
        };
        Self {
            log: Arc::new(Mutex::new(log)),
            more: Arc::new(Notify::new()),
        }
    }

    pub fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap()
    }

    pub fn make(&self, changes: usize) {
        let mut log = self.log();
        (0..changes).for_each(|_| log.change());
        drop(log);
        self.more.notify_one();
    }

    pub fn expected(&self) -> Rows {
        self.log().expected.clone()
    }

    /// The steps that follow on these cursors, folded by key.
    fn steps(&self, cursors: &BTreeMap<Partition, Option<Cursor>>) -> Vec<Step> {
        let log = self.log();
        let mut steps = Vec::new();
        for (partition, cursor) in cursors {
            let begin = usize::try_from(cursor.map_or(0, |cursor| cursor.offset)).unwrap();
            let changes = &log.partitions[usize::try_from(partition.number).unwrap()];
            let end = changes.len().min(begin + BATCH);
            let Some(last) = changes.get(begin..end).and_then(<[RowChange]>::last) else {
                continue;
            };
            let mut folded = BTreeMap::new();
            for change in &changes[begin..end] {
                folded.insert(change.key.clone(), change.clone());
            }
            steps.push(Step {
                partition: partition.clone(),
                cursor_before: *cursor,
                cursor_after: Cursor {
                    offset: i64::try_from(end).unwrap(),
                    version: Some(last.version),
                },
                changes: folded.into_values().collect(),
            });
        }
        steps
    }
}

/// What a writer has lived through.
#[derive(Debug, Default)]
pub struct Story {
    /// Errors after which it connected anew.
    pub errors: Vec<Error>,
    /// Cursors that had gone back, as where to.
    pub back: Vec<i64>,
}

/// A writer on a task of its own.
pub struct Writer {
    stop: Arc<AtomicBool>,
    feed: Feed,
    story: Arc<Mutex<Story>>,
    task: JoinHandle<()>,
}

impl Writer {
    pub fn start(config: &RedisWriter, feed: &Feed) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let story = Arc::new(Mutex::new(Story::default()));
        let target = RedisTarget::new(config, PREFIX).unwrap();
        let run = run(target, feed.clone(), Arc::clone(&stop), Arc::clone(&story));
        Self {
            stop,
            feed: feed.clone(),
            story,
            task: tokio::spawn(run),
        }
    }

    /// What it has lived through so far.
    pub fn story(&self) -> MutexGuard<'_, Story> {
        self.story.lock().unwrap()
    }

    /// Lets it apply what is there, and end.
    pub async fn stop(self) -> Story {
        self.stop.store(true, Ordering::SeqCst);
        self.feed.more.notify_one();
        tokio::time::timeout(DEADLINE, self.task).await.unwrap().unwrap();
        std::mem::take(&mut self.story.lock().unwrap())
    }
}

async fn run(mut target: RedisTarget, feed: Feed, stop: Arc<AtomicBool>, story: Arc<Mutex<Story>>) {
    let partitions: Vec<Partition> = (0..PARTITIONS).map(partition).collect();
    let mut reached: BTreeMap<Partition, i64> = BTreeMap::new();
    loop {
        match turn(&mut target, &partitions, &feed, &stop, &mut reached, &story).await {
            Ok(()) => return,
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                story.lock().unwrap().errors.push(error);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn turn(
    target: &mut RedisTarget,
    partitions: &[Partition],
    feed: &Feed,
    stop: &AtomicBool,
    reached: &mut BTreeMap<Partition, i64>,
    story: &Mutex<Story>,
) -> Result<(), Error> {
    target.connect().await?;
    let mut cursors = target.cursors(partitions).await?;
    for (partition, cursor) in &cursors {
        let offset = cursor.map_or(0, |cursor| cursor.offset);
        if reached.get(partition).is_some_and(|reached| offset < *reached) {
            story.lock().unwrap().back.push(offset);
        }
    }
    loop {
        let steps = feed.steps(&cursors);
        if steps.is_empty() {
            if stop.load(Ordering::SeqCst) {
                return Ok(());
            }
            feed.more.notified().await;
            continue;
        }
        for (step, outcome) in steps.iter().zip(target.apply(&steps).await?) {
            assert!(matches!(outcome, Outcome::Applied), "{outcome:?}");
            cursors.insert(step.partition.clone(), Some(step.cursor_after));
            reached.insert(step.partition.clone(), step.cursor_after.offset);
        }
    }
}

/// All rows that are hashes on one server.
pub async fn rows_of(server: &Redis) -> Result<Rows, String> {
    let text = |error: redis::RedisError| error.to_string();
    let mut connection = server.connect().await.map_err(|error| error.to_string())?;
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg("*")
        .query_async(&mut connection)
        .await
        .map_err(text)?;
    let keys: Vec<String> = keys.into_iter().filter(|key| !key.starts_with("__mysync:")).collect();
    let mut pipeline = redis::Pipeline::new();
    for key in &keys {
        pipeline.cmd("HGETALL").arg(key);
    }
    let rows: Vec<Row> = match keys.is_empty() {
        true => Vec::new(),
        false => pipeline.query_async(&mut connection).await.map_err(text)?,
    };
    // One that was deleted in between is empty.
    let there = keys.into_iter().zip(rows).filter(|(_, row)| !row.is_empty());
    Ok(there.collect())
}

/// The rows of all masters of a lab that answer.
pub async fn rows(lab: &Lab) -> Result<Rows, String> {
    let mut rows = Rows::new();
    for server in lab.redis_servers() {
        let text: String = match server.command("INFO replication").await {
            Ok(text) => text,
            Err(_) => continue,
        };
        if text.contains("role:master") {
            rows.extend(rows_of(server).await?);
        }
    }
    Ok(rows)
}

pub fn compare(found: &Rows, expected: &Rows) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    let differing = |key: &&String| found.get(*key) != expected.get(*key);
    let keys: Vec<&String> = expected.keys().chain(found.keys()).filter(differing).take(3).collect();
    Err(format!(
        "{} rows found, {} expected; differing: {keys:?}",
        found.len(),
        expected.len()
    ))
}

/// Waits until the masters hold exactly what the changes made so far lead to.
pub async fn wait_for_rows(lab: &Lab, feed: &Feed) {
    let expected = feed.expected();
    fixtures::wait_for("Redis holds exactly the rows expected", DEADLINE, async || {
        compare(&rows(lab).await?, &expected)
    })
    .await
    .unwrap();
}

/// Waits until the writer has met an error with this text in it.
pub async fn wait_for_error(writer: &Writer, text: &str) {
    fixtures::wait_for(&format!("the writer meets {text:?}"), DEADLINE, async || {
        let story = writer.story();
        match story.errors.iter().any(|error| error.to_string().contains(text)) {
            true => Ok(()),
            false => Err(format!("{:?}", story.errors.last())),
        }
    })
    .await
    .unwrap();
}
