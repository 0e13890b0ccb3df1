//! `[writer.hbase]`.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Address;
use super::reading::{Reading, wrong};
use crate::error::Error;
use crate::store::name_template::{Alphabet, NameTemplate};

const TABLE_DEFAULT: &str = "{db}.{table}";
const PORT: u16 = 9090;
/// A salt is two hexadecimal digits.
const SALT_BUCKETS_MAX: u32 = 256;

/// `[writer.hbase]`: the store and how rows stand in it.
#[derive(Clone, Debug)]
pub struct Hbase {
    /// Where the Thrift2 gateway listens.
    pub thrift: Address,
    /// How messages are framed.
    pub transport: Transport,
    /// How values are written.
    pub protocol: Protocol,
    /// How a table is called.
    pub table: NameTemplate,
    /// Row keys are spread over so many beginnings; 0 for none.
    pub salt_buckets: u32,
}

/// How Thrift messages are framed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// One after the other.
    #[default]
    Buffered,
    /// Each behind its length.
    Framed,
}

/// How values are written in Thrift messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Numbers at full width.
    #[default]
    Binary,
    /// Numbers in as few bytes as they need.
    Compact,
}

/// The section as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HbaseText {
    thrift: String,
    #[serde(default)]
    transport: Transport,
    #[serde(default)]
    protocol: Protocol,
    table: Option<String>,
    #[serde(default)]
    salt_buckets: u32,
    /// The writer's own, from here on; known here so that they are not refused.
    #[serde(rename = "batch_changes_max")]
    _batch_changes_max: Option<IgnoredAny>,
    #[serde(rename = "connections")]
    _connections: Option<IgnoredAny>,
    #[serde(rename = "answer_seconds_max")]
    _answer_seconds_max: Option<IgnoredAny>,
    #[serde(rename = "frame_bytes_max")]
    _frame_bytes_max: Option<IgnoredAny>,
    #[serde(rename = "listen")]
    _listen: Option<IgnoredAny>,
}

impl Reading<'_> {
    /// The section as meant.
    pub fn hbase(&self, section: HbaseText) -> Result<Hbase, Error> {
        let key = |key: &str| format!("key writer.hbase.{key}");
        let template = section.table.as_deref().unwrap_or(TABLE_DEFAULT);
        let table = NameTemplate::parse(Alphabet::Hbase, template).map_err(|reason| {
            wrong(
                self.file,
                &key("table"),
                &reason,
                "the default is table = \"{db}.{table}\"",
            )
        })?;
        if section.salt_buckets > SALT_BUCKETS_MAX {
            let reason = format!("expected 0 to {SALT_BUCKETS_MAX}, found {}", section.salt_buckets);
            return Err(wrong(
                self.file,
                &key("salt_buckets"),
                &reason,
                "0 leaves row keys as they are",
            ));
        }
        Ok(Hbase {
            thrift: self.address("writer.hbase.thrift", &section.thrift, PORT)?,
            transport: section.transport,
            protocol: section.protocol,
            table,
            salt_buckets: section.salt_buckets,
        })
    }
}
