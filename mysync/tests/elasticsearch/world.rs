//! What the tests of the target Elasticsearch share: a node, requests to it by hand, column types in place of MySQL, and a log of
//! changes in place of Kafka.

#![allow(dead_code, reason = "each test uses a part of it")]

use fixtures::{Elasticsearch, Lab};
use mysync::config::{self, ElasticsearchWriter};
use mysync::error::{Error, Result};
use mysync::queue::Partition;
use mysync::target::columns::{ColumnKind, Columns};
use mysync::target::elasticsearch::ElasticsearchTarget;
use mysync::target::{Cursor, Outcome, RowChange, Step, TableName, Target};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub const DEADLINE: Duration = Duration::from_secs(90);
/// The lab's account `elastic`; a node without accounts does not look at it.
const LOGIN: &str = "Authorization: Basic ZWxhc3RpYzpsYWItZWxhc3RpYw==";
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Column types by `<database>.<table>`.
type ByTable = BTreeMap<String, Vec<(String, ColumnKind)>>;

/// None while MySQL is away.
#[derive(Debug, Clone, Default)]
pub struct Types(Arc<Mutex<Option<ByTable>>>);

impl Types {
    pub fn set(&self, table: &str, columns: &[(&str, ColumnKind)]) {
        let columns = columns.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
        self.0
            .lock()
            .unwrap()
            .get_or_insert_default()
            .insert(table.to_owned(), columns);
    }

    pub fn go_away(&self) {
        *self.0.lock().unwrap() = None;
    }
}

impl Columns for Types {
    async fn of(&mut self, table: &TableName) -> Result<Option<Vec<(String, ColumnKind)>>> {
        match &*self.0.lock().unwrap() {
            Some(tables) => Ok(tables.get(&format!("{}.{}", table.database, table.table)).cloned()),
            None => Err(Error::transient("MySQL is away")),
        }
    }
}

pub struct World {
    pub lab: Lab,
    pub node: Elasticsearch,
    pub types: Types,
}

impl World {
    pub async fn elasticsearch() -> Self {
        let lab = Lab::builder()
            .name("elasticsearch")
            .elasticsearch()
            .start()
            .await
            .unwrap();
        let node = lab.elasticsearch().unwrap().clone();
        Self::of(lab, node)
    }

    pub async fn opensearch() -> Self {
        let lab = Lab::builder().name("opensearch").opensearch().start().await.unwrap();
        let node = lab.opensearch().unwrap().clone();
        Self::of(lab, node)
    }

    /// An Elasticsearch node with accounts.
    pub async fn accounts() -> Self {
        let builder = Lab::builder().name("elasticsearch-accounts").elasticsearch_accounts();
        let lab = builder.start().await.unwrap();
        let node = lab.elasticsearch().unwrap().clone();
        Self::of(lab, node)
    }

    fn of(lab: Lab, node: Elasticsearch) -> Self {
        let types = Types::default();
        types.0.lock().unwrap().get_or_insert_default();
        Self { lab, node, types }
    }

    pub fn config(&self, more: &str) -> ElasticsearchWriter {
        let text = format!("urls = [{:?}]\nreplicas = 0\n{more}", self.node.url());
        let source = "[source]\nservers = [\"127.0.0.1:1\"]\nuser = \"u\"\nserver_id = 1\ntables = [\"*.*\"]\n";
        let kafka = "[kafka]\nbrokers = [\"127.0.0.1:1\"]\nprefix = \"w\"\n";
        let whole = format!("{source}{kafka}[writer.elasticsearch]\n{text}");
        config::parse(&whole, "test.toml")
            .unwrap()
            .writer
            .elasticsearch
            .unwrap()
    }

    /// A target whose cursors are its own.
    pub fn target(&self, prefix: &str, more: &str) -> ElasticsearchTarget<Types> {
        ElasticsearchTarget::new(&self.config(more), prefix, self.types.clone()).unwrap()
    }

    pub async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, text) = request(&self.node.address(), method, path, body).await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// A request that must succeed.
    pub async fn must(&self, method: &str, path: &str, body: &str) -> Value {
        let (status, answer) = self.ask(method, path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// What a query of the alias finds: ids and exact texts.
    pub async fn rows(&self, alias: &str) -> BTreeMap<String, String> {
        self.must("GET", "/_cluster/health?wait_for_status=yellow&timeout=30s", "")
            .await;
        self.must("POST", "/_refresh?expand_wildcards=open", "").await;
        self.search(alias, "{\"match_all\":{}}").await
    }

    pub async fn search(&self, alias: &str, query: &str) -> BTreeMap<String, String> {
        #[derive(Deserialize)]
        struct Found {
            hits: Hits,
        }
        #[derive(Deserialize)]
        struct Hits {
            hits: Vec<Hit>,
        }
        #[derive(Deserialize)]
        struct Hit {
            #[serde(rename = "_id")]
            id: String,
            #[serde(rename = "_source")]
            source: Box<RawValue>,
        }
        let body = format!("{{\"size\":10000,\"query\":{query}}}");
        let path = format!("/{alias}/_search");
        let ask = async || request(&self.node.address(), "POST", &path, &body).await.unwrap();
        let begun = Instant::now();
        let (status, text) = loop {
            match ask().await {
                // The index was made since: its shard is not there for a moment.
                (503, _) if begun.elapsed() < DEADLINE => tokio::time::sleep(POLL_INTERVAL).await,
                answer => break answer,
            }
        };
        if status == 404 {
            return BTreeMap::new();
        }
        assert_eq!(status, 200, "{query}: {text}");
        let found: Found = serde_json::from_str(&text).unwrap();
        let pair = |hit: Hit| (hit.id, hit.source.get().to_owned());
        found.hits.hits.into_iter().map(pair).collect()
    }

    /// The ids that a query of the alias finds.
    pub async fn found(&self, alias: &str, query: &str) -> Vec<String> {
        self.search(alias, query).await.into_keys().collect()
    }

    /// Everything in an index: ids, versions and texts.
    pub async fn documents(&self, index: &str) -> BTreeMap<String, (i64, Value)> {
        self.must("POST", "/_refresh?expand_wildcards=open", "").await;
        let path = format!("/{index}/_search?version=true&size=10000");
        let answer = self.must("POST", &path, "").await;
        let hits = answer["hits"]["hits"].as_array().unwrap();
        let triple = |hit: &Value| {
            let id = hit["_id"].as_str().unwrap().to_owned();
            (id, (hit["_version"].as_i64().unwrap(), hit["_source"].clone()))
        };
        hits.iter().map(triple).collect()
    }
}

/// HTTP/1.0, so that the answer ends with the connection.
pub async fn request(address: &str, method: &str, path: &str, body: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let kind = if path.contains("_bulk") {
        "application/x-ndjson"
    } else {
        "application/json"
    };
    let head = format!(
        "{method} {path} HTTP/1.0\r\nContent-Type: {kind}\r\n{LOGIN}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let split = answer
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .unwrap_or(answer.len());
    let head = String::from_utf8_lossy(&answer[..split]).into_owned();
    let body = answer.get(split + 4..).unwrap_or_default();
    let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if is_chunked { joined(body) } else { body.to_vec() };
    let body = String::from_utf8(body).unwrap();
    let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
    Ok((status.unwrap_or_default(), body))
}

/// A body that came in pieces, each behind its length.
fn joined(mut rest: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = rest.windows(2).position(|bytes| bytes == b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        let piece = &rest[end + 2..];
        whole.extend_from_slice(&piece[..length]);
        rest = piece.get(length + 2..).unwrap_or_default();
    }
    whole
}

pub fn table(name: &str) -> Arc<TableName> {
    let (database, table) = name.split_once('.').unwrap();
    Arc::new(TableName {
        database: database.into(),
        table: table.into(),
    })
}

pub fn change(table: &Arc<TableName>, key: &str, row: Option<&str>, version: i64) -> RowChange {
    RowChange {
        table: Arc::clone(table),
        key: vec![("id".into(), key.to_owned())],
        row: row.map(|row| RawValue::from_string(row.to_owned()).unwrap()),
        version,
        columns_changed: None,
    }
}

pub fn step(topic: &str, before: Option<Cursor>, after: i64, changes: Vec<RowChange>) -> Step {
    Step {
        partition: partition(topic),
        cursor_before: before,
        cursor_after: cursor(after),
        changes,
    }
}

pub fn partition(topic: &str) -> Partition {
    Partition {
        topic: topic.into(),
        number: 0,
    }
}

pub fn cursor(offset: i64) -> Cursor {
    Cursor {
        offset,
        version: Some(offset),
    }
}

/// A partition: changes at offsets, never forgotten.
pub struct Log {
    pub partition: Partition,
    pub table: Arc<TableName>,
    pub changes: Vec<RowChange>,
    version: i64,
}

impl Log {
    pub fn new(topic: &str, table_name: &str) -> Self {
        Self {
            partition: partition(topic),
            table: table(table_name),
            changes: Vec::new(),
            version: 100,
        }
    }

    pub fn put(&mut self, key: &str, note: &str) {
        self.push(key, Some(&format!("{{\"id\":\"{key}\",\"note\":{note:?}}}")));
    }

    pub fn delete(&mut self, key: &str) {
        self.push(key, None);
    }

    pub fn push(&mut self, key: &str, row: Option<&str>) {
        self.version += 1;
        self.changes.push(change(&self.table, key, row, self.version));
    }

    /// Some inserts, updates and deletes of `keys` rows.
    pub fn churn(&mut self, changes: usize, keys: usize) {
        for turn in 0..changes {
            let key = ((turn * 7 + turn / keys) % keys).to_string();
            match turn % 5 {
                4 => self.delete(&key),
                _ => self.put(&key, &format!("turn {turn} of {}", self.changes.len())),
            }
        }
    }

    /// What they lead to.
    pub fn rows(&self) -> BTreeMap<String, String> {
        let mut rows = BTreeMap::new();
        for change in &self.changes {
            let key = change.key[0].1.clone();
            match &change.row {
                Some(row) => rows.insert(key, row.get().to_owned()),
                None => rows.remove(&key),
            };
        }
        rows
    }

    /// The changes from a cursor on, at most so many, of each key the last one, and where that leads.
    pub fn step(&self, before: Option<Cursor>, changes_max: usize) -> Option<Step> {
        let begin = usize::try_from(before.map_or(0, |cursor| cursor.offset)).unwrap();
        let end = self.changes.len().min(begin + changes_max);
        if begin >= end {
            return None;
        }
        let mut last: BTreeMap<&str, &RowChange> = BTreeMap::new();
        for change in &self.changes[begin..end] {
            last.insert(&change.key[0].1, change);
        }
        Some(Step {
            partition: self.partition.clone(),
            cursor_before: before,
            cursor_after: Cursor {
                offset: i64::try_from(end).unwrap(),
                version: Some(self.changes[end - 1].version),
            },
            changes: last.into_values().cloned().collect(),
        })
    }
}

/// What a writer does: connects, reads the cursors and applies what is behind them; begins anew after a transient error. Gives
/// how many changes were sent, and the transient errors.
pub async fn catch_up<C: Columns>(
    target: &mut ElasticsearchTarget<C>,
    logs: &[&Log],
    changes_max: usize,
) -> Result<(usize, Vec<Error>)> {
    let deadline = Instant::now() + DEADLINE;
    let (mut sent, mut errors) = (0, Vec::new());
    loop {
        match try_once(target, logs, changes_max, &mut sent).await {
            Ok(()) => return Ok((sent, errors)),
            Err(error) if error.is_transient() => {
                assert!(Instant::now() < deadline, "not caught up in time: {error}");
                errors.push(error);
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn try_once<C: Columns>(
    target: &mut ElasticsearchTarget<C>,
    logs: &[&Log],
    changes_max: usize,
    sent: &mut usize,
) -> Result<()> {
    target.connect().await?;
    let partitions: Vec<Partition> = logs.iter().map(|log| log.partition.clone()).collect();
    let mut cursors = target.cursors(&partitions).await?;
    loop {
        let of = |log: &&&Log| log.step(cursors[&log.partition], changes_max);
        let steps: Vec<Step> = logs.iter().filter_map(|log| of(&log)).collect();
        if steps.is_empty() {
            return Ok(());
        }
        let outcomes = target.apply(&steps).await?;
        for (step, outcome) in steps.iter().zip(outcomes) {
            match outcome {
                Outcome::Applied => {
                    *sent += step.changes.len();
                    cursors.insert(step.partition.clone(), Some(step.cursor_after));
                }
                Outcome::Refused(error) => return Err(error),
            }
        }
    }
}

/// Catches up, and nothing may go wrong.
pub async fn catch_up_smoothly<C: Columns>(target: &mut ElasticsearchTarget<C>, logs: &[&Log]) -> usize {
    let (sent, errors) = catch_up(target, logs, 50).await.unwrap();
    assert!(errors.is_empty(), "{errors:?}");
    sent
}

/// Waits until a condition holds.
pub async fn wait_until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
