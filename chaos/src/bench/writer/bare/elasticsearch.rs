//! Elasticsearch: bulk requests as the writer makes them, into an index like the writer's, as many at once.

use super::super::batches::Batches;
use super::key;
use crate::error::{Doing, Error, Result};
use elasticsearch::http::Method;
use elasticsearch::http::headers::{CONTENT_TYPE, HeaderMap, HeaderValue};
use elasticsearch::http::transport::Transport;
use futures::stream::{self, StreamExt, TryStreamExt};
use mysync::config::ElasticsearchWriter;
use mysync::target::RowChange;
use serde_json::{Value, json};
use std::fmt::Write;

const TOMBSTONE: &str = "{\"__mysync_deleted\":true,\"__mysync_deleted_at\":0}";

const PATH: &str = "/_bulk?require_alias=true&pipeline=_none&filter_path=errors,items.*.status";

/// A later change of the row, in a request that went beside this one, was there first.
const CONFLICT: u64 = 409;

pub(super) struct Client {
    transport: Transport,
    requests: Vec<String>,
    parallel: usize,
}

impl Client {
    /// The writer has run: its index is the pattern of the bare one.
    pub(super) async fn open(section: &ElasticsearchWriter, prefix: &str, read: &Batches) -> Result<Self> {
        let url = section.urls.first().map_or("", String::as_str);
        let transport = Transport::single_node(url).doing(|| "no client of Elasticsearch".into())?;
        let alias = format!("bare-{prefix}");
        // As the writer cuts a batch: pieces of one length, one for each request on its way, below the longest request.
        let mut requests = Vec::new();
        for batch in &read.batches {
            let lines: Vec<String> = batch.iter().map(|change| lines(&alias, change)).collect();
            let bytes: usize = lines.iter().map(String::len).sum();
            let pieces = bytes.div_ceil(section.bulk_bytes_max).max(section.bulks_parallel);
            let most = lines.len().div_ceil(pieces).max(1);
            requests.extend(lines.chunks(most).map(<[String]>::concat));
        }
        let this = Self {
            transport,
            requests,
            parallel: section.bulks_parallel,
        };
        this.make_index(&format!("{prefix}-{}~rows", super::super::TABLE), &alias)
            .await?;
        Ok(this)
    }

    async fn make_index(&self, pattern: &str, alias: &str) -> Result<()> {
        let found = self.ask(Method::Get, &format!("/{pattern}"), None).await?;
        let settings = &found[pattern]["settings"]["index"];
        let index = json!({
            "mappings": found[pattern]["mappings"],
            "settings": { "number_of_shards": settings["number_of_shards"], "number_of_replicas": settings["number_of_replicas"],
                "translog": settings["translog"], "gc_deletes": settings["gc_deletes"] },
            "aliases": { alias: {} },
        });
        self.ask(Method::Put, &format!("/{alias}~rows"), Some(&index.to_string()))
            .await?;
        Ok(())
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&str>) -> Result<Value> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let sent = self
            .transport
            .send(method, path, headers, None::<&()>, body, None)
            .await;
        let answer = sent.and_then(|response| response.error_for_status_code());
        let answer = answer.doing(|| format!("Elasticsearch refuses {path}"))?;
        answer
            .json()
            .await
            .doing(|| format!("Elasticsearch does not answer {path}"))
    }

    pub(super) async fn send(self) -> Result<()> {
        let sent = self.requests.iter().map(|request| async {
            let answer = self.ask(Method::Post, PATH, Some(request)).await?;
            let items = answer["items"].as_array().map_or(&[][..], Vec::as_slice);
            let status = |item: &Value| item["index"]["status"].as_u64().unwrap_or_default();
            let is_done = |item: &Value| matches!(status(item), 200..300 | CONFLICT);
            match items.iter().find(|item| !is_done(item)) {
                None if !items.is_empty() => Ok(()),
                refused => Err(Error::definite("Elasticsearch refuses a document").detail(refused.unwrap_or(&answer))),
            }
        });
        stream::iter(sent).buffer_unordered(self.parallel).try_collect().await
    }
}

fn lines(alias: &str, change: &RowChange) -> String {
    let (id, version) = (key(change), change.version);
    let row = change.row.as_ref().map_or(TOMBSTONE, |row| row.get());
    let mut lines = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        lines,
        "{{\"index\":{{\"_index\":\"{alias}\",\"_id\":\"{id}\",\"version\":{version},\"version_type\":\"external_gte\"}}}}\n{row}"
    );
    lines
}
