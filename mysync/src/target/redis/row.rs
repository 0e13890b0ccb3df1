//! How a row stands in Redis: its key, and the arguments by which a script sets or deletes it.

use super::key::KeyTemplate;
use super::script;
use crate::config::{Layout, RedisWriter};
use crate::error::{Error, Result};
use crate::queue::Partition;
use crate::target::{Cursor, RowChange, canonical};
use redis::Cmd;

/// What of the configuration concerns rows and keys.
pub(super) struct Rows {
    layout: Layout,
    key: KeyTemplate,
    group: String,
    /// Seconds after which a row expires, 0 for never.
    pub(super) ttl_seconds: u64,
}

impl Rows {
    pub(super) fn new(config: &RedisWriter, prefix: &str) -> Result<Self> {
        Ok(Self {
            layout: config.layout,
            key: KeyTemplate::parse(&config.key)?,
            group: format!("{prefix}.redis"),
            ttl_seconds: config.ttl_seconds.unwrap_or(0),
        })
    }

    pub(super) fn key(&self, change: &RowChange) -> String {
        self.key.render(change)
    }

    /// The key of a partition's cursor; `place` stands between, where a cluster has one cursor in each of several slots.
    pub(super) fn cursor_key(&self, place: &str, partition: &Partition) -> String {
        let (group, topic, number) = (&self.group, &partition.topic, partition.number);
        format!("__mysync:cursor:{place}{group}:{topic}:{number}")
    }

    /// A row's arguments: how many follow, and those.
    pub(super) fn add(&self, command: &mut Cmd, change: &RowChange) -> Result<()> {
        let Some(row) = &change.row else {
            command.arg(script::DELETED);
            return Ok(());
        };
        match self.layout {
            Layout::Json => {
                command.arg(script::STRING).arg(row.get());
            }
            Layout::Hash => {
                let columns = canonical::columns(row.get()).map_err(|error| refuse_row(change, &error))?;
                let present = columns.iter().filter_map(|(name, text)| Some((name, text.as_deref()?)));
                command.arg(2 * present.clone().count());
                for (name, text) in present {
                    command.arg(name.as_ref()).arg(text);
                }
            }
        }
        Ok(())
    }
}

/// A cursor as it stands in Redis.
pub(super) fn parse_cursor(key: &str, text: &str) -> Result<Cursor> {
    text.parse().map_err(|_| {
        Error::definite(format!("a cursor in Redis is not an offset and a version: {text:?}"))
            .detail(format!("key {key}"))
            .hint("does anything else write to this key? delete it to replay the partition from its oldest record")
    })
}

/// A cursor as a script takes it, empty for none.
pub(super) fn cursor_text(cursor: Option<Cursor>) -> String {
    cursor.map_or_else(String::new, |cursor| cursor.to_string())
}

fn refuse_row(change: &RowChange, error: &serde_json::Error) -> Error {
    let key: Vec<String> = change.key.iter().map(|(name, text)| format!("{name}={text}")).collect();
    Error::definite(format!(
        "a row of table {}.{} is not a JSON object of columns: {}",
        change.table.database,
        change.table.table,
        key.join(", ")
    ))
    .detail(error)
    .hint("who else writes to this topic? mysync's own messages, and Debezium's, hold the row as an object")
}
