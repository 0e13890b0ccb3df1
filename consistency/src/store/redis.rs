//! Redis: rows as hashes or as JSON strings, compared directly.
//!
//! Redis cannot digest rows by itself without running scripts in its one thread, so a digest would be computed here
//! from the very bytes that a comparison needs; comparing the rows at once saves the second look. Batches of reads go
//! down a few connections as pipelines, so the cost is the transfer, and memory holds a few batches.
//!
//! Layout hash: the fields are the columns, NULL is an absent field. Fields that are no column are surplus.
//! Layout json: the members are compared by canonical text, in any order; a value whose JSON type is not the column's
//! (a number in quotes, say) is shown as it stands, and so differs.
//!
//! Keys are found by SCAN over the longest prefix that all tables share, once for all tables: SCAN walks the whole
//! keyspace however narrow the pattern is. In a cluster all masters are walked, one after the other, and each row is asked for
//! at the node that owns its slot; a key that moves from node to node meanwhile can be found twice, or not at all.

mod connection;
mod session;
mod slots;
mod template;

use std::collections::HashMap;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use redis::Value;
use redis::aio::MultiplexedConnection;

pub use template::{KeyFrame, KeyTemplate};

use self::connection::{Connections, ScanPlace};
use crate::canonical::Text;
use crate::config::{self, Config, Layout, wrong};
use crate::error::Error;
use crate::store::{Store, StoredKey, StoredRow, json};
use crate::table::Table;

/// What the writer's own keys begin with: its cursors, and in a cluster the rows' versions.
const OWN: [&[u8]; 2] = [b"__mysync:cursor:", b"__mysync:version:"];

/// Keys that one SCAN step looks at.
const SCAN_KEYS: usize = 2000;

/// A Redis that holds rows.
pub struct RedisStore {
    connections: Connections,
    layout: Layout,
    rows_expire: bool,
    /// By the table's number.
    frames: Vec<KeyFrame>,
}

impl RedisStore {
    /// Connects, and makes sure that the keys of these tables can be told apart.
    pub async fn connect(config: &Config, section: &config::Redis, tables: &[Table]) -> Result<Self, Error> {
        let frames: Vec<KeyFrame> = tables
            .iter()
            .map(|table| section.key.frame(&table.database, &table.name))
            .collect();
        if let Some((one, other)) = overlapping(&frames) {
            let reason = format!(
                "expected a template that keeps tables apart, found {:?}: {} and {} could share a key",
                section.key,
                tables[one].full_name(),
                tables[other].full_name()
            );
            return Err(wrong(
                &config.file,
                "key writer.redis.key",
                &reason,
                "use {db}:{table}:{pk}",
            ));
        }
        let connections = Connections::open(section, config.check.rows_parallel).await?;
        Ok(Self {
            connections,
            layout: section.layout,
            rows_expire: section.ttl_seconds > 0,
            frames,
        })
    }

    async fn rows_of(&self, table: &Table, keys: &[Vec<u8>]) -> Result<Vec<Option<StoredRow>>, Error> {
        let command = match self.layout {
            Layout::Hash => "HGETALL",
            Layout::Json => "GET",
        };
        let replies = self.connections.ask(command, keys).await?;
        Ok(replies.into_iter().map(|reply| self.row(table, reply)).collect())
    }

    fn row(&self, table: &Table, reply: Value) -> Option<StoredRow> {
        match (self.layout, reply) {
            (_, Value::Nil) => None,
            (Layout::Hash, Value::Array(fields)) if fields.is_empty() => None,
            (Layout::Hash, Value::Array(fields)) => Some(hash_row(table, fields)),
            (Layout::Json, Value::BulkString(text)) => Some(json::row(table, &text)),
            (_, Value::ServerError(error)) => Some(StoredRow::unreadable(format!("redis answered: {error}"))),
            (_, other) => Some(StoredRow::unreadable(format!("redis answered: {other:?}"))),
        }
    }

    fn keys_of<'a>(&self, index: &PrefixIndex<'a>, found: Vec<Vec<u8>>) -> Vec<StoredKey> {
        found
            .into_iter()
            .filter(|store_key| !OWN.iter().any(|own| store_key.starts_with(own)))
            .filter_map(|store_key| {
                let (table, key) = index.table_of(&self.frames, &store_key)?;
                Some(StoredKey {
                    table,
                    store_key,
                    key: Some(key),
                })
            })
            .collect()
    }
}

impl Store for RedisStore {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn rows_expire(&self) -> bool {
        self.rows_expire
    }

    fn key(&self, table: &Table, key: &[&[u8]]) -> Vec<u8> {
        self.frames[table.number].key(key)
    }

    fn rows<'a>(
        &'a self,
        table: &'a Table,
        keys: &'a [Vec<u8>],
    ) -> BoxFuture<'a, Result<Vec<Option<StoredRow>>, Error>> {
        self.rows_of(table, keys).boxed()
    }

    fn scan<'a>(&'a self, tables: &'a [Table]) -> BoxStream<'a, Result<Vec<StoredKey>, Error>> {
        let index = PrefixIndex::new(tables, &self.frames);
        let pattern = index.pattern(&self.frames);
        let first: Option<(ScanPlace, PrefixIndex<'a>)> = Some((ScanPlace::first(), index));
        futures::stream::try_unfold(first, move |state| {
            let pattern = pattern.clone();
            async move {
                let Some((place, index)) = state else { return Ok(None) };
                let (next, found) = self.connections.scan(&place, &pattern, SCAN_KEYS).await?;
                let keys = self.keys_of(&index, found);
                Ok(Some((keys, next.map(|next| (next, index)))))
            }
        })
        .boxed()
    }
}

/// Finds a key's table by its prefix, in a few look-ups whatever the number of tables.
struct PrefixIndex<'a> {
    tables: &'a [Table],
    by_prefix: HashMap<Vec<u8>, Vec<usize>>,
    prefix_lengths: Vec<usize>,
}

impl<'a> PrefixIndex<'a> {
    fn new(tables: &'a [Table], frames: &[KeyFrame]) -> Self {
        let mut by_prefix: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
        for (place, table) in tables.iter().enumerate() {
            by_prefix
                .entry(frames[table.number].prefix.clone())
                .or_default()
                .push(place);
        }
        let mut prefix_lengths: Vec<usize> = by_prefix.keys().map(Vec::len).collect();
        prefix_lengths.sort_unstable();
        prefix_lengths.dedup();
        Self {
            tables,
            by_prefix,
            prefix_lengths,
        }
    }

    fn table_of(&self, frames: &[KeyFrame], store_key: &[u8]) -> Option<(usize, Vec<Text>)> {
        self.prefix_lengths
            .iter()
            .filter_map(|length| self.by_prefix.get(store_key.get(..*length)?))
            .flatten()
            .find_map(|place| {
                let table = &self.tables[*place];
                Some((*place, frames[table.number].parts(table, store_key)?))
            })
    }

    /// Matches every key of the tables: what all their prefixes begin with, with the glob's own characters escaped.
    fn pattern(&self, frames: &[KeyFrame]) -> Vec<u8> {
        let mut prefixes = self.tables.iter().map(|table| frames[table.number].prefix.as_slice());
        let first = prefixes.next().unwrap_or_default();
        let shared = prefixes.fold(first.len(), |shared, prefix| {
            first
                .iter()
                .zip(prefix)
                .take(shared)
                .take_while(|(one, other)| one == other)
                .count()
        });
        let mut pattern = Vec::with_capacity(shared + 1);
        for byte in &first[..shared] {
            if br"*?[]\^-".contains(byte) {
                pattern.push(b'\\');
            }
            pattern.push(*byte);
        }
        pattern.push(b'*');
        pattern
    }
}

fn overlapping(frames: &[KeyFrame]) -> Option<(usize, usize)> {
    // In the order of prefixes, a prefix of another stands before it with nothing but such others between.
    let mut order: Vec<usize> = (0..frames.len()).collect();
    order.sort_by(|one, other| frames[*one].prefix.cmp(&frames[*other].prefix));
    order.iter().enumerate().find_map(|(place, one)| {
        order[place + 1..]
            .iter()
            .take_while(|other| frames[**other].prefix.starts_with(&frames[*one].prefix))
            .find(|other| frames[*one].overlaps(&frames[**other]))
            .map(|other| (*one, *other))
    })
}

fn hash_row(table: &Table, fields: Vec<Value>) -> StoredRow {
    let mut row = StoredRow {
        values: vec![None; table.columns.len()],
        ..StoredRow::default()
    };
    let mut fields = fields.into_iter();
    // Fields mostly come in the order in which they were written, which is the columns'.
    let mut expected = 0;
    while let (Some(Value::BulkString(name)), Some(Value::BulkString(value))) = (fields.next(), fields.next()) {
        let after = table.columns[expected..]
            .iter()
            .position(|column| column.name.as_bytes() == name);
        let place = after.map(|distance| expected + distance);
        match place.or_else(|| table.columns.iter().position(|column| column.name.as_bytes() == name)) {
            Some(place) => {
                row.values[place] = Some(value);
                expected = place + 1;
            }
            None => row.surplus.push((String::from_utf8_lossy(&name).into_owned(), value)),
        }
    }
    row
}

/// Kept here so that `connection` and this module agree on the one client type.
type Client = MultiplexedConnection;

#[cfg(test)]
mod tests;
