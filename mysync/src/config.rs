//! The configuration: one TOML file for reader, writer, dump and checker.
//!
//! Every section refuses keys that it does not know, and every error names the file, the line, the key, what is wrong
//! and what is expected. Secrets are a type of their own that prints as `***`; they come from the file, from an
//! environment variable (`password_env`) or from a file (`password_file`).

mod connections;
mod elasticsearch;
mod hbase;
mod load;
mod load_connections;
mod messages;
mod redis;
mod secret;
mod template;
mod writer;

pub use self::elasticsearch::ElasticsearchWriter;
pub use connections::{Metrics, Sasl, SaslMechanism, Tls, TlsMode};
pub use hbase::{HbaseProtocol, HbaseTransport, HbaseWriter};
pub use load::{Listens, load, load_listens, parse};
pub use messages::{Format, Mask, Messages, Topics};
pub use redis::{Layout, RedisWriter};
pub use secret::Secret;
pub use template::TEMPLATE;
pub use writer::{Writer, WriterFormat};

use serde::Deserialize;
use std::collections::BTreeMap;

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The MySQL servers, of which one is followed.
    pub source: Source,
    /// The queue between reader and writers.
    pub kafka: Kafka,
    /// The form of the messages.
    #[serde(default)]
    pub messages: Messages,
    /// Columns whose values nobody shall read.
    #[serde(default)]
    pub mask: Mask,
    /// How the reader publishes.
    #[serde(default)]
    pub reader: Reader,
    /// One section a target.
    #[serde(default)]
    pub writer: Writer,
    /// Where metrics are served.
    #[serde(default)]
    pub metrics: Metrics,
    /// How `mysync-check` compares. The checker has its own reading of this section; it stands here so that a wrong key is
    /// found by `mysync config check` too.
    #[serde(default)]
    pub check: Check,
}

/// Section `[source]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// `host:port` of each server; of several, the primary is followed ([`crate::source::topology`]).
    pub servers: Vec<String>,
    /// The MySQL account.
    pub user: String,
    /// The account's password.
    #[serde(default)]
    pub password: Secret,
    /// Name of the environment variable that holds the password.
    pub password_env: Option<String>,
    /// File that holds the password.
    pub password_file: Option<String>,
    /// Replication id of the reader, unique in the replication topology.
    pub server_id: u32,
    /// How often the reader advances its row of `__db_mysync.t_binlog_record`, by which its lag is measured; 0 for never.
    #[serde(default = "default_heartbeat_interval_ms")]
    pub heartbeat_interval_ms: u64,
    /// How the connection is encrypted.
    pub tls: Option<Tls>,
    /// Patterns `<database>.<table>` of the tables that are followed, `*` and `?` match.
    pub tables: Vec<String>,
    /// Patterns of tables that are not followed, though `tables` names them.
    #[serde(default)]
    pub tables_exclude: Vec<String>,
    /// Patterns `<database>.<table>.<column>` of columns that are left out of the messages; no key column.
    #[serde(default)]
    pub columns_exclude: Vec<String>,
    /// For tables without a primary key: the NOT NULL columns that identify a row.
    #[serde(default)]
    pub keys: BTreeMap<String, Vec<String>>,
}

/// Section `[kafka]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    /// `host:port` of some brokers.
    pub brokers: Vec<String>,
    /// Topics are `<prefix>.<database>.<table>`.
    pub prefix: String,
    /// Partitions of a topic that the reader creates.
    #[serde(default = "default_partitions")]
    pub partitions: i32,
    /// Replicas of a partition.
    #[serde(default = "default_replication_factor")]
    pub replication_factor: i32,
    /// Replicas that must have a record before it is acknowledged.
    #[serde(default = "default_min_insync_replicas")]
    pub min_insync_replicas: i32,
    /// Bytes of the largest record.
    #[serde(default = "default_message_bytes_max")]
    pub message_bytes_max: u32,
    /// Compression of the producer's batches.
    #[serde(default)]
    pub compression: Compression,
    /// How the connections are encrypted.
    pub tls: Option<Tls>,
    /// How to log in.
    pub sasl: Option<Sasl>,
}

/// Compression of the producer's batches.
#[derive(Debug, Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Compression {
    None,
    Gzip,
    Snappy,
    #[default]
    Lz4,
    Zstd,
}

impl Compression {
    /// The name that Kafka's clients know it by.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

/// Section `[reader]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reader {
    /// Name of this reader: its checkpoint's key, and its transactional ids begin with `mysync.<prefix>.<name>#`.
    pub name: String,
    /// Whether several readers of this name may run, of which one leads and the others stand by.
    pub ha: bool,
    /// How changes are delivered.
    pub delivery: Delivery,
    /// Longest time that a change waits for its Kafka transaction to be committed while more changes come, ms.
    pub commit_interval_ms: u64,
    /// Changes after which a Kafka transaction is committed at the next end of a MySQL transaction.
    pub commit_changes_max: usize,
    /// Start in spite of settings that can lose changes. Logged, and for trials only.
    pub allow_unsafe: bool,
    /// Where a reader without a checkpoint begins.
    pub start: Start,
    /// What to do at a statement that changes stored rows of a followed table without row events.
    pub on_ddl: OnDdl,
    /// What to do about foreign keys that delete or change rows of followed tables, on a server that does not log them.
    pub on_cascade: OnCascade,
    /// What to do when MySQL lost transactions in a switch of server that had been published.
    pub on_lost: OnLost,
    /// What to do when the position is not in the server's binlogs.
    pub on_gap: OnGap,
    /// Tables that are dumped at the same time, each over a connection of its own.
    pub dump_tables_max: usize,
}

/// How changes are delivered.
#[derive(Debug, Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// In Kafka transactions: consumers that read committed see each change once, and no MySQL transaction in part.
    #[default]
    Transactional,
    /// At once, in order, with the checkpoint behind: sooner to be seen; after a crash the last changes come again, with the
    /// versions that they had.
    Sequenced,
}

/// Where a reader without a checkpoint begins.
#[derive(Debug, Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// With the oldest binlog file that the server still has.
    #[default]
    Oldest,
    /// With what is written from now on.
    Newest,
}

/// What to do at a statement that changes stored rows of a followed table without row events: TRUNCATE, DROP, RENAME and
/// most of ALTER TABLE.
#[derive(Debug, Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum OnDdl {
    /// Stop, so that a person can bring the stores up to date.
    #[default]
    Stop,
    /// Publish it, log it and go on; the stores keep what they have.
    Ignore,
    /// Publish it and go on; the table is read anew, and rows that it does not have any more are deleted in the stores.
    Refresh,
}

/// What to do about foreign keys that delete or change rows of followed tables, on a server that does not log them.
#[derive(Debug, Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum OnCascade {
    /// Do not start, or stop where one is added.
    #[default]
    Refuse,
    /// Go on; the children's tables are read anew when a parent's row goes or gets another key.
    Follow,
    /// Go on; the stores keep such rows as they were.
    Ignore,
}

/// What to do when MySQL lost transactions in a switch of server that had been published. They are listed in any case.
#[derive(Debug, Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum OnLost {
    /// Read the rows that they changed from the server that is the primary now, and publish them.
    #[default]
    Refresh,
    /// Stop, so that a person can decide.
    Stop,
}

/// What to do when the position is not in the server's binlogs: purged, reset, or on a server that was rebuilt.
#[derive(Debug, Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum OnGap {
    /// Stop, so that a person can decide.
    #[default]
    Stop,
    /// Go on at the end of the server's binlog, and read all followed tables anew.
    Refresh,
}

/// Section `[check]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Check {
    /// Tables that are compared at the same time.
    pub rows_parallel: usize,
    /// How long a fence, or a row that differs, may take to settle, seconds.
    pub settle_seconds_max: u64,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            name: "default".into(),
            ha: false,
            delivery: Delivery::Transactional,
            commit_interval_ms: 50,
            commit_changes_max: 10_000,
            allow_unsafe: false,
            start: Start::Oldest,
            on_ddl: OnDdl::Stop,
            on_cascade: OnCascade::Refuse,
            on_lost: OnLost::Refresh,
            on_gap: OnGap::Stop,
            dump_tables_max: 2,
        }
    }
}

impl Default for Check {
    fn default() -> Self {
        Self {
            rows_parallel: 2,
            settle_seconds_max: 30,
        }
    }
}

fn default_heartbeat_interval_ms() -> u64 {
    1_000
}
fn default_partitions() -> i32 {
    3
}
fn default_replication_factor() -> i32 {
    3
}
fn default_min_insync_replicas() -> i32 {
    2
}
fn default_message_bytes_max() -> u32 {
    100_000_000
}
