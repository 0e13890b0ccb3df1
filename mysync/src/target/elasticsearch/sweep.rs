//! Tombstones that are old enough go away: found by a search, deleted for good one by one, each only while it is the version that
//! was found. When that is safe stands at the head of the target.

use super::bulk::BulkAnswer;
use super::client::{ANSWER_TIMEOUT, Client};
use super::errors::{Meaning, Told};
use super::mapping::{DELETED, DELETED_AT};
use super::tables::Table;
use crate::decode::json_string;
use crate::error::Result;
use prost::bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use std::io::Write;
use std::time::Duration;

/// Tombstones that are swept at a time.
pub(super) const SWEPT_MAX: usize = 500;

/// How often an index is looked through.
pub(super) const INTERVAL: Duration = Duration::from_secs(60);

/// Waiting for one more index at once, when there was more than was swept.
pub(super) const INTERVAL_FULL: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
struct Found {
    hits: Hits,
}

#[derive(Deserialize)]
struct Hits {
    #[serde(default)]
    hits: Vec<Hit>,
}

#[derive(Deserialize)]
struct Hit {
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "_version")]
    version: i64,
}

/// Sweeps some tombstones that were written before `before_ms`; gives how many there were to sweep.
pub(super) async fn sweep(client: &Client, table: &Table, before_ms: u64) -> Result<usize> {
    let index = &table.index;
    let body = json!({
        "size": SWEPT_MAX,
        "version": true,
        "_source": false,
        "track_total_hits": false,
        "query": {"bool": {"filter": [
            {"exists": {"field": DELETED}},
            {"range": {DELETED_AT: {"lt": before_ms, "format": "epoch_millis"}}},
        ]}},
    });
    let path = format!("/{index}/_search?filter_path=hits.hits._id,hits.hits._version,hits.max_score");
    let answer = client.post(&path, &body).await?;
    if !answer.is_success() {
        return Err(Told::of(&answer).error(format!("cannot search for old tombstones in index {index}")));
    }
    let found: Found = match answer.body.as_ref() {
        b"{}" => return Ok(0),
        body => serde_json::from_slice(body).map_err(|error| answer.not_understood(&error))?,
    };
    let hits = found.hits.hits;
    if hits.is_empty() {
        return Ok(0);
    }
    let mut lines = Vec::with_capacity(hits.len() * 128);
    for hit in &hits {
        lines.extend_from_slice(b"{\"delete\":{\"_index\":");
        json_string(&mut lines, table.alias.as_bytes());
        lines.extend_from_slice(b",\"_id\":");
        json_string(&mut lines, hit.id.as_bytes());
        // Writing to a Vec cannot fail.
        drop(writeln!(
            lines,
            ",\"version\":{},\"version_type\":\"external_gte\"}}}}",
            hit.version
        ));
    }
    let what = || format!("cannot sweep old tombstones in index {index}");
    let answer = client
        .bulk(super::bulk::PATH, Bytes::from(lines), ANSWER_TIMEOUT)
        .await?;
    if !answer.is_success() {
        return Err(Told::of(&answer).error(what()));
    }
    let results: BulkAnswer = serde_json::from_slice(&answer.body).map_err(|error| answer.not_understood(&error))?;
    for result in results.items.iter().map(super::bulk::BulkItem::result) {
        // A row that came back meanwhile is a later version, and stays.
        let told = Told::new(result.status, &result.error);
        if !result.error.is_null() && told.meaning() != Meaning::Conflict {
            return Err(told.error(what()));
        }
    }
    tracing::debug!(index, tombstones = hits.len(), "old tombstones swept");
    Ok(hits.len())
}
