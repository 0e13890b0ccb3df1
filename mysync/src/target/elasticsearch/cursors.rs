//! The cursors: a document a partition in an index of their own, written when all rows of a step are acknowledged, and only over
//! the state of it that this writer knows. So a writer that was replaced without having noticed moves none.
//!
//! A cursor stands for rows in other indices, and those can be lost without it: deleted, made anew, restored from a snapshot. So
//! a cursor's document says to which indices its partition has written, and which index of that name it was
//! ([`super::identity`]). Where one of them is not there any more, the partition has no cursor and is replayed as a whole.

use super::bulk::BulkAnswer;
use super::client::{ANSWER_TIMEOUT, Client};
use super::errors::{Meaning, Told};
use super::identity;
use super::names::CURSORS;
use crate::decode::json_string;
use crate::error::{Error, Result};
use crate::queue::Partition;
use crate::target::Cursor;
use prost::bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

/// Documents that are asked for at a time.
const DOCUMENTS_MAX: usize = 500;

const BULK_PATH: &str = "/_bulk?pipeline=_none&filter_path=errors,items.*.status,items.*._seq_no,items.*._primary_term,\
                         items.*.error.type,items.*.error.reason";

/// The index of the cursors, and those that this writer has read.
#[derive(Debug)]
pub(super) struct Cursors {
    group: String,
    replicas: u32,
    held: BTreeMap<Partition, Held>,
}

/// A partition's cursor as its document has it.
#[derive(Debug, Default)]
struct Held {
    cursor: Option<Cursor>,
    /// Which state of the document that is: sequence number and primary term; none where there is no document.
    state: Option<(i64, i64)>,
    /// The indices that the partition has written to, and their identities.
    indices: BTreeMap<String, String>,
}

/// A cursor that moves.
#[derive(Debug)]
pub(super) struct Move<'a> {
    pub(super) partition: &'a Partition,
    pub(super) cursor: Cursor,
    pub(super) indices: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Documents {
    docs: Vec<Document>,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    found: bool,
    #[serde(rename = "_seq_no")]
    seq_no: Option<i64>,
    #[serde(rename = "_primary_term")]
    primary_term: Option<i64>,
    #[serde(rename = "_source")]
    source: Option<Source>,
    #[serde(default)]
    error: Value,
}

#[derive(Deserialize)]
struct Source {
    cursor: String,
    #[serde(default)]
    indices: BTreeMap<String, String>,
}

impl Cursors {
    pub(super) fn new(group: String, replicas: u32) -> Self {
        Self {
            group,
            replicas,
            held: BTreeMap::new(),
        }
    }

    /// Forgets what was read.
    pub(super) fn clear(&mut self) {
        self.held.clear();
    }

    /// Makes the index, unless it is there.
    pub(super) async fn prepare(&self, client: &Client) -> Result<()> {
        let body = json!({
            "settings": {
                "index.number_of_shards": 1,
                "index.number_of_replicas": self.replicas,
                "index.translog.durability": "request",
            },
            "mappings": {"dynamic": false, "properties": {"cursor": {"type": "keyword"}}},
        });
        let answer = client.put(&format!("/{CURSORS}"), &body).await?;
        if answer.is_success() {
            return Ok(());
        }
        let told = Told::of(&answer);
        match told.kind.as_str() {
            "resource_already_exists_exception" => Ok(()),
            _ => Err(told.error(format!("cannot make index {CURSORS}"))),
        }
    }

    fn id(&self, partition: &Partition) -> String {
        format!("{}:{}:{}", self.group, partition.topic, partition.number)
    }

    /// The cursor of a partition as it was read or written last.
    pub(super) fn cursor(&self, partition: &Partition) -> Option<Cursor> {
        self.held.get(partition)?.cursor
    }

    /// The indices that a partition has written to, and their identities.
    pub(super) fn indices(&self, partition: &Partition) -> BTreeMap<String, String> {
        self.held
            .get(partition)
            .map(|held| held.indices.clone())
            .unwrap_or_default()
    }

    /// Reads the cursors, and looks whether the indices that they stand for are still those.
    pub(super) async fn read(
        &mut self,
        client: &Client,
        partitions: &[Partition],
    ) -> Result<BTreeMap<Partition, Option<Cursor>>> {
        let mut found = BTreeMap::new();
        for partitions in partitions.chunks(DOCUMENTS_MAX) {
            let ids: Vec<String> = partitions.iter().map(|partition| self.id(partition)).collect();
            let answer = client.post(&format!("/{CURSORS}/_mget"), &json!({"ids": ids})).await?;
            let what = "cannot read the cursors from Elasticsearch";
            if !answer.is_success() {
                return Err(Told::of(&answer).error(what));
            }
            let documents: Documents =
                serde_json::from_slice(&answer.body).map_err(|error| answer.not_understood(&error))?;
            if documents.docs.len() != partitions.len() {
                return Err(answer.not_understood(&"another number of documents than was asked for"));
            }
            for ((partition, id), document) in partitions.iter().zip(&ids).zip(documents.docs) {
                if !document.error.is_null() {
                    return Err(Told::new(503, &document.error).error(what));
                }
                found.insert(partition.clone(), held(id, document)?);
            }
        }
        let indices: BTreeSet<&str> = found
            .values()
            .flat_map(|held| held.indices.keys())
            .map(String::as_str)
            .collect();
        let there = identity::of_indices(client, &indices).await?;
        for (partition, held) in &mut found {
            let other = held
                .indices
                .iter()
                .find(|(index, identity)| there.get(*index) != Some(identity));
            if let Some((index, _)) = other {
                tracing::warn!(
                    %partition,
                    index,
                    "the index is not the one that was written to (deleted, made anew or restored): the partition is replayed"
                );
                held.cursor = None;
                held.indices.clear();
            }
        }
        let cursors = found
            .iter()
            .map(|(partition, held)| (partition.clone(), held.cursor))
            .collect();
        self.held.extend(found);
        Ok(cursors)
    }

    /// Moves cursors, each over the state that was read. If any has been moved by somebody else, that is a transient error.
    pub(super) async fn write(&mut self, client: &Client, moves: Vec<Move<'_>>) -> Result<()> {
        if moves.is_empty() {
            return Ok(());
        }
        let mut lines = Vec::with_capacity(moves.len() * 256);
        for moved in &moves {
            self.push(&mut lines, moved);
        }
        let what = "cannot write the cursors to Elasticsearch";
        let answer = client.bulk(BULK_PATH, Bytes::from(lines), ANSWER_TIMEOUT).await?;
        if !answer.is_success() {
            return Err(Told::of(&answer).error(what));
        }
        let results: BulkAnswer =
            serde_json::from_slice(&answer.body).map_err(|error| answer.not_understood(&error))?;
        if results.items.len() != moves.len() {
            return Err(answer.not_understood(&"another number of results than cursors"));
        }
        for (moved, item) in moves.into_iter().zip(&results.items) {
            let result = item.result();
            let (Some(seq_no), Some(primary_term)) = (result.seq_no, result.primary_term) else {
                let told = Told::new(result.status, &result.error);
                let error = told.error(match told.meaning() {
                    Meaning::Conflict => format!("the cursor of {} was moved by somebody else", moved.partition),
                    _ => format!("cannot move the cursor of {}", moved.partition),
                });
                return Err(error);
            };
            let held = Held {
                cursor: Some(moved.cursor),
                state: Some((seq_no, primary_term)),
                indices: moved.indices,
            };
            self.held.insert(moved.partition.clone(), held);
        }
        Ok(())
    }

    fn push(&self, lines: &mut Vec<u8>, moved: &Move<'_>) {
        let state = self.held.get(moved.partition).and_then(|held| held.state);
        let operation: &[u8] = match state {
            Some(_) => b"{\"index\":{\"_index\":",
            None => b"{\"create\":{\"_index\":",
        };
        lines.extend_from_slice(operation);
        json_string(lines, CURSORS.as_bytes());
        lines.extend_from_slice(b",\"_id\":");
        json_string(lines, self.id(moved.partition).as_bytes());
        if let Some((seq_no, primary_term)) = state {
            // Writing to a Vec cannot fail.
            drop(write!(
                lines,
                ",\"if_seq_no\":{seq_no},\"if_primary_term\":{primary_term}"
            ));
        }
        lines.extend_from_slice(b"}}\n");
        let source = json!({"cursor": moved.cursor.to_string(), "indices": moved.indices});
        drop(write!(lines, "{source}"));
        lines.push(b'\n');
    }
}

fn held(id: &str, document: Document) -> Result<Held> {
    let refuse = |detail: &str| {
        Error::definite(format!("a cursor in Elasticsearch is not one: document {id} of index {CURSORS}"))
            .detail(detail)
            .hint("does anything else write to this index? delete the document to replay the partition from its oldest record")
    };
    if !document.found {
        return Ok(Held::default());
    }
    let source = document.source.ok_or_else(|| refuse("it has no _source"))?;
    let cursor = source.cursor.parse().map_err(|_| refuse(&source.cursor))?;
    Ok(Held {
        cursor: Some(cursor),
        state: document.seq_no.zip(document.primary_term),
        indices: source.indices,
    })
}
