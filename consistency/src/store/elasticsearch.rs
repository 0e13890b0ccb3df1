//! Elasticsearch: a document a row, in an index a table; its `_source` is the row as a JSON object.
//!
//! What is in the store counts, whether a search shows it yet or not: the writer's documents become visible to searches
//! at the next refresh, a second or half a minute later. So rows are looked up by key (`_mget`, which reads what was
//! written, refreshed or not), and before the keys are listed the index is refreshed.
//!
//! Keys are listed by a scroll in the order of the shards, ids only: one snapshot of the index, without sorting, and both
//! Elasticsearch and OpenSearch have it.
//!
//! The writer marks a deleted row by a document with the member `__mysync_deleted`: that is no row. The documents stand in
//! the index `<name>~rows`; where there is none, as behind other people's writers, in `<name>` itself. An index belongs
//! to one table, so a document whose id no row can have is one too many.

mod client;

use std::borrow::Cow;
use std::collections::BTreeMap;

use elasticsearch::http::Method;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use self::client::{BUSY_MAX, BUSY_PAUSE, Client};
use crate::config::{self, Config, wrong};
use crate::error::Error;
use crate::store::{Store, StoredKey, StoredRow, json, name_template, row_key};
use crate::table::{Key, Table};

/// Keys of one step of a scan.
const SCAN_KEYS: usize = 5000;
/// How long a scan may pause beyond the time in which suspects settle.
const SCAN_PAUSE_SECONDS: u64 = 300;
/// The member that makes a document a mark of a deleted row.
const DELETED: &str = "__mysync_deleted";
/// An id is at most so long; the writer hashes longer ones.
const ID_BYTES_MAX: usize = 512;
const HASHED: &[u8] = b"%sha256:";

/// An Elasticsearch that holds rows.
pub struct ElasticsearchStore {
    client: Client,
    /// By the table's number.
    indices: Vec<String>,
    /// How long the server keeps a scan that nobody asks on.
    scan_kept: String,
}

impl ElasticsearchStore {
    /// Connects, and finds the tables' indices.
    pub async fn connect(config: &Config, section: &config::Elasticsearch, tables: &[Table]) -> Result<Self, Error> {
        let names: Vec<String> = tables
            .iter()
            .map(|table| section.index.name(&table.database, &table.name))
            .collect();
        if let Some((one, other)) = name_template::same(&names) {
            let (one, other) = (tables[one].full_name(), tables[other].full_name());
            let reason = format!(
                "expected a template that keeps tables apart, found {:?}: {one} and {other} share an index",
                section.index
            );
            return Err(wrong(
                &config.file,
                "key writer.elasticsearch.index",
                &reason,
                "use {db}.{table}",
            ));
        }
        let client = Client::open(section)?;
        let mut indices = Vec::with_capacity(names.len());
        for name in names {
            indices.push(index_of(&client, name).await?);
        }
        let kept = config.check.settle_max.as_secs() + SCAN_PAUSE_SECONDS;
        Ok(Self {
            client,
            indices,
            scan_kept: format!("{kept}s"),
        })
    }

    async fn rows_of(&self, table: &Table, keys: &[Vec<u8>]) -> Result<Vec<Option<StoredRow>>, Error> {
        let ids: Vec<Cow<'_, str>> = keys.iter().map(|key| String::from_utf8_lossy(key)).collect();
        let path = format!("{}/_mget", self.indices[table.number]);
        let deadline = Instant::now() + BUSY_MAX;
        loop {
            let body = Some(json!({ "ids": ids }));
            let answer = self.client.ask(Method::Post, &path, body).await?;
            if answer.no_such_index() {
                return Ok(vec![None; keys.len()]);
            }
            let documents: Documents<'_> = answer.parsed()?;
            match documents.docs.iter().find_map(Document::failure) {
                None => return Ok(documents.docs.iter().map(|document| row(table, document)).collect()),
                // Such as that a shard is not there yet; the rest of the answer is good.
                Some(_) if Instant::now() < deadline => tokio::time::sleep(BUSY_PAUSE).await,
                Some(error) => {
                    let detail = format!("{}: {error}", self.indices[table.number]);
                    return Err(self.client.failed(&detail));
                }
            }
        }
    }

    /// Keys of one step of a scan.
    async fn keys_of(&self, place: usize, table: &Table, page: &Page<'_>) -> Result<Vec<StoredKey>, Error> {
        let mut keys: Vec<StoredKey> = page
            .hits
            .hits
            .iter()
            .map(|hit| StoredKey {
                table: place,
                store_key: hit.id.as_bytes().to_vec(),
                key: row_key::split_alone(table, hit.id.as_bytes()),
            })
            .collect();
        let hashed = keys
            .iter()
            .enumerate()
            .filter(|(_, key)| key.store_key.starts_with(HASHED));
        let (places, ids): (Vec<usize>, Vec<Vec<u8>>) =
            hashed.map(|(place, key)| (place, key.store_key.clone())).unzip();
        if !ids.is_empty() {
            // A hash tells nothing of the key: the document does.
            let rows = self.rows_of(table, &ids).await?;
            for ((place, id), row) in places.into_iter().zip(&ids).zip(rows) {
                keys[place].key = row.and_then(|row| key_of_hashed(table, id, &row));
            }
        }
        Ok(keys)
    }

    async fn scan_step(&self, tables: &[Table], state: Scan) -> Result<Option<(Vec<StoredKey>, Scan)>, Error> {
        let Some(table) = tables.get(state.place) else {
            return Ok(None);
        };
        let index = &self.indices[table.number];
        let next_table = Scan {
            place: state.place + 1,
            scroll_id: None,
        };
        let answer = match &state.scroll_id {
            Some(id) => {
                let body = json!({ "scroll": self.scan_kept, "scroll_id": id });
                self.client.ask(Method::Post, "_search/scroll", Some(body)).await?
            }
            None => {
                let refreshed = self
                    .client
                    .ask(Method::Post, &format!("{index}/_refresh"), None)
                    .await?;
                if refreshed.no_such_index() {
                    return Ok(Some((Vec::new(), next_table)));
                }
                refreshed.parsed::<Refreshed>()?;
                let path = format!(
                    "{index}/_search?scroll={}&allow_partial_search_results=false",
                    self.scan_kept
                );
                self.client.ask(Method::Post, &path, Some(scan_of_ids())).await?
            }
        };
        let page: Page<'_> = answer.parsed()?;
        if page.shards.failed > 0 || page.timed_out {
            return Err(self
                .client
                .failed(&format!("{index}: only some of its shards answered")));
        }
        let keys = self.keys_of(state.place, table, &page).await?;
        if !keys.is_empty() {
            let scroll_id = page.scroll_id.map(Cow::into_owned);
            return Ok(Some((keys, Scan { scroll_id, ..state })));
        }
        if let Some(id) = page.scroll_id {
            // What is not cleared goes by itself after a while.
            let _ = self
                .client
                .ask(Method::Delete, "_search/scroll", Some(json!({ "scroll_id": id })))
                .await;
        }
        Ok(Some((keys, next_table)))
    }
}

impl Store for ElasticsearchStore {
    fn name(&self) -> &'static str {
        "elasticsearch"
    }

    fn key(&self, _: &Table, key: &[&[u8]]) -> Vec<u8> {
        id(key)
    }

    fn rows<'a>(
        &'a self,
        table: &'a Table,
        keys: &'a [Vec<u8>],
    ) -> BoxFuture<'a, Result<Vec<Option<StoredRow>>, Error>> {
        self.rows_of(table, keys).boxed()
    }

    fn scan<'a>(&'a self, tables: &'a [Table]) -> BoxStream<'a, Result<Vec<StoredKey>, Error>> {
        let first = Scan {
            place: 0,
            scroll_id: None,
        };
        futures::stream::try_unfold(first, move |state| self.scan_step(tables, state)).boxed()
    }
}

/// Where a scan stands.
struct Scan {
    /// The table's place among those that are scanned.
    place: usize,
    /// None before the table's first step.
    scroll_id: Option<String>,
}

#[derive(Deserialize)]
struct Documents<'a> {
    #[serde(borrow)]
    docs: Vec<Document<'a>>,
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(default)]
    found: bool,
    #[serde(borrow, rename = "_source")]
    source: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

impl Document<'_> {
    /// Why nothing is known of it.
    fn failure(&self) -> Option<&str> {
        let text = self.error?.get();
        (!text.contains("index_not_found_exception")).then_some(text)
    }
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow, rename = "_scroll_id")]
    scroll_id: Option<Cow<'a, str>>,
    #[serde(default)]
    timed_out: bool,
    #[serde(rename = "_shards")]
    shards: Shards,
    #[serde(borrow)]
    hits: Hits<'a>,
}

#[derive(Deserialize)]
struct Shards {
    failed: u64,
}

#[derive(Deserialize)]
struct Hits<'a> {
    #[serde(borrow)]
    hits: Vec<Hit<'a>>,
}

#[derive(Deserialize)]
struct Hit<'a> {
    #[serde(borrow, rename = "_id")]
    id: Cow<'a, str>,
}

/// Any answer that is no error.
#[derive(Deserialize)]
struct Refreshed {}

/// The index in which a table's documents are.
async fn index_of(client: &Client, name: String) -> Result<String, Error> {
    let rows = format!("{name}~rows");
    let is_there = async |index: &str| {
        let answer = client.ask(Method::Post, &format!("{index}/_count"), None).await?;
        match answer.no_such_index() {
            true => Ok(false),
            false => answer.parsed::<Refreshed>().map(|_| true),
        }
    };
    match is_there(&rows).await? || !is_there(&name).await? {
        true => Ok(rows),
        false => Ok(name),
    }
}

/// The id of a row's document.
fn id(key: &[&[u8]]) -> Vec<u8> {
    let text = row_key::join_alone(key);
    match text.len() <= ID_BYTES_MAX {
        true => text,
        false => {
            let digits = Sha256::digest(&text)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>();
            [HASHED, digits.as_bytes()].concat()
        }
    }
}

/// The key that a document says it has, if that one gives the document's id.
fn key_of_hashed(table: &Table, document_id: &[u8], row: &StoredRow) -> Option<Key> {
    let key: Key = table
        .key
        .iter()
        .map(|place| row.values.get(*place)?.clone())
        .collect::<Option<_>>()?;
    let parts: Vec<&[u8]> = key.iter().map(Vec::as_slice).collect();
    (id(&parts) == document_id).then_some(key)
}

fn row(table: &Table, document: &Document<'_>) -> Option<StoredRow> {
    match (document.found, document.source) {
        (false, _) => None,
        (true, None) => Some(StoredRow::unreadable("the document has no _source".to_owned())),
        (true, Some(source)) if is_deleted(source) => None,
        (true, Some(source)) => Some(json::row(table, source.get().as_bytes())),
    }
}

fn is_deleted(source: &RawValue) -> bool {
    // Most documents are rows, and told apart without being read.
    source.get().contains(DELETED)
        && serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(source.get())
            .is_ok_and(|members| members.get(DELETED).is_some_and(|member| member.get() != "null"))
}

/// Ids of what is no mark of a deleted row, in the order of the shards.
fn scan_of_ids() -> serde_json::Value {
    json!({
        "size": SCAN_KEYS,
        "sort": ["_doc"],
        "_source": false,
        "query": { "bool": { "must_not": { "exists": { "field": DELETED } } } },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::Kind;
    use crate::table::Column;

    #[test]
    fn an_id_that_is_too_long_is_a_hash() {
        assert_eq!(id(&[b"7"]), b"7");
        assert_eq!(id(&["x".repeat(512).as_bytes()]), "x".repeat(512).as_bytes());
        // head -c 513 /dev/zero | tr '\0' x | sha256sum
        let expected = "%sha256:35ade0090e64e74d6ad04204009c23a4e34b82bdf0f4f317fbcc5f26f9b10241";
        assert_eq!(id(&["x".repeat(513).as_bytes()]), expected.as_bytes());
        // Counted is what would stand there: printf '%%25%510s' '' | tr ' ' x | sha256sum
        let percent = format!("%{}", "x".repeat(510));
        let expected = "%sha256:cde7c7faaec7deaa43c85ccbd1336c796f9a649921f361fe96126439f217826c";
        assert_eq!(id(&[percent.as_bytes()]), expected.as_bytes());
    }

    #[test]
    fn a_hash_is_believed_only_if_the_document_gives_it() {
        let table = Table {
            number: 0,
            database: "bank".into(),
            name: "notes".into(),
            columns: vec![Column::plain("v", Kind::Integer), Column::plain("k", Kind::Characters)],
            key: vec![1],
            key_is_primary: true,
            rows_estimate: 0,
        };
        let long = "x".repeat(600).into_bytes();
        let row = |key: Option<Vec<u8>>| StoredRow {
            values: vec![Some(b"1".to_vec()), key],
            ..StoredRow::default()
        };
        let document_id = id(&[&long]);
        assert_eq!(
            key_of_hashed(&table, &document_id, &row(Some(long.clone()))),
            Some(vec![long])
        );
        for wrong in [None, Some(b"short".to_vec())] {
            assert_eq!(key_of_hashed(&table, &document_id, &row(wrong)), None);
        }
    }

    #[test]
    fn only_the_member_marks_a_deleted_row() {
        let deleted = |text: &str| is_deleted(&RawValue::from_string(text.to_owned()).expect("JSON"));
        assert!(deleted(r#"{"__mysync_deleted":true,"__mysync_deleted_at":7}"#));
        assert!(!deleted(r#"{"id":7,"note":"__mysync_deleted"}"#));
        assert!(!deleted(r#"{"id":7,"__mysync_deleted":null}"#));
    }
}
