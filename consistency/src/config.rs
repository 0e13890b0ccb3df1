//! The checker's view of mysync.toml: `[source]`, `[messages]`, `[mask]`, `[writer.redis]`, `[writer.elasticsearch]`,
//! `[writer.hbase]` and `[check]`.
//!
//! The file is shared with the reader and the writers, so other sections, and keys of `[source]` that only the reader
//! needs, are passed over. In the sections of the stores and in `[check]` every key must be known: a misspelt key there
//! would quietly check something else than what was meant.
//!
//! Secrets are read once into [`Secret`], which never prints itself; neither do the errors of this module quote the
//! file's lines, since a line may hold one.

mod elasticsearch;
mod hbase;
mod reading;
pub mod redis;
pub mod tls;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

pub use self::elasticsearch::{Elasticsearch, Login};
pub use self::hbase::{Hbase, Protocol, Transport};
pub(crate) use self::reading::wrong;
use self::reading::{Reading, SecretText, place};
pub use self::redis::{Layout, Redis};
use self::tls::Tls;
use crate::error::Error;
use crate::mask::ColumnRules;
use crate::pattern::{ColumnPattern, Pattern};

/// What a check needs to know of the installation.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file's name, for messages.
    pub file: String,
    /// Where the rows come from.
    pub source: Source,
    /// The Redis that the writer fills; none without a section `[writer.redis]`.
    pub redis: Option<Redis>,
    /// The Elasticsearch that the writer fills; none without a section `[writer.elasticsearch]`.
    pub elasticsearch: Option<Elasticsearch>,
    /// The HBase that the writer fills; none without a section `[writer.hbase]`.
    pub hbase: Option<Hbase>,
    /// Columns that are left out or masked.
    pub columns: ColumnRules,
    /// How to check.
    pub check: Check,
}

/// `[source]`: the MySQL server to compare with.
#[derive(Clone, Debug)]
pub struct Source {
    /// `<host>:<port>` of each server.
    pub servers: Vec<Address>,
    /// The one to compare with: the first, until [`crate::mysql::primary`] has looked for the primary.
    pub server: Address,
    /// The account.
    pub user: String,
    /// The account's password.
    pub password: Secret,
    /// How the connection is encrypted; not at all without the section.
    pub tls: Option<Tls>,
    /// Which tables are replicated.
    pub tables: Vec<Pattern>,
    /// Which of those are not.
    pub tables_exclude: Vec<Pattern>,
    /// By `<database>.<table>`: the columns that identify a row where there is no primary key.
    pub keys: BTreeMap<String, Vec<String>>,
}

/// `[check]`: how to check.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// How many batches of rows are compared at once, each over its own connection.
    pub rows_parallel: usize,
    /// How long a fence may take to arrive, and how long a row that differs is asked again.
    pub settle_max: Duration,
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name or an address.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.host, self.port)
    }
}

/// A password. It has no text form; who needs it asks by name.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps the text from being printed.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for a client's handshake and nothing else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(secret)")
    }
}

impl Config {
    /// Reads the file. Errors name the file, the key, what is wrong and what is expected.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::configuration(
                "cannot read the configuration",
                format!("{file}: {error}"),
                "name the file with --config FILE; `mysync config template` prints one to start from",
            )
        })?;
        Self::parse(&text, &file)
    }

    /// Reads the configuration from text; `file` is its name in messages.
    pub fn parse(text: &str, file: &str) -> Result<Self, Error> {
        let parsed: FileText = toml::from_str(text).map_err(|error| {
            let place = error.span().map(|span| place(text, span.start)).unwrap_or_default();
            wrong(
                file,
                &place,
                error.message(),
                "correct the key; `mysync config template` prints every key",
            )
        })?;
        let reading = Reading { file };
        reading.messages(&parsed.messages)?;
        Ok(Self {
            file: file.to_owned(),
            columns: reading.columns(&parsed.source.columns_exclude, parsed.mask)?,
            source: reading.source(parsed.source)?,
            redis: parsed.writer.redis.map(|section| reading.redis(section)).transpose()?,
            elasticsearch: parsed
                .writer
                .elasticsearch
                .map(|section| reading.elasticsearch(section))
                .transpose()?,
            hbase: parsed.writer.hbase.map(|section| reading.hbase(section)).transpose()?,
            check: reading.check(parsed.check.unwrap_or_default())?,
        })
    }
}

#[derive(Deserialize)]
struct FileText {
    source: SourceText,
    #[serde(default)]
    messages: MessagesText,
    #[serde(default)]
    mask: MaskText,
    #[serde(default)]
    writer: WriterText,
    check: Option<CheckText>,
}

#[derive(Deserialize)]
struct SourceText {
    servers: Vec<String>,
    user: String,
    password: Option<SecretText>,
    password_env: Option<String>,
    password_file: Option<String>,
    tls: Option<Tls>,
    tables: Vec<String>,
    #[serde(default)]
    tables_exclude: Vec<String>,
    #[serde(default)]
    columns_exclude: Vec<String>,
    #[serde(default)]
    keys: BTreeMap<String, Vec<String>>,
}

/// Of the messages only what stores hold of them matters.
#[derive(Default, Deserialize)]
struct MessagesText {
    format: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct MaskText {
    #[serde(default)]
    text: BTreeMap<String, String>,
    #[serde(default)]
    hash: Vec<String>,
    salt: Option<SecretText>,
    salt_env: Option<String>,
    salt_file: Option<String>,
}

#[derive(Default, Deserialize)]
struct WriterText {
    redis: Option<redis::RedisText>,
    elasticsearch: Option<elasticsearch::ElasticsearchText>,
    hbase: Option<hbase::HbaseText>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckText {
    rows_parallel: Option<usize>,
    settle_seconds_max: Option<u64>,
}

const ROWS_PARALLEL_DEFAULT: usize = 2;
const ROWS_PARALLEL_MAX: usize = 64;
const SETTLE_SECONDS_DEFAULT: u64 = 30;
const SETTLE_SECONDS_LIMIT: u64 = 3600;
const MYSQL_PORT: u16 = 3306;

impl Reading<'_> {
    fn source(&self, section: SourceText) -> Result<Source, Error> {
        let parsed = section
            .servers
            .iter()
            .map(|server| self.address("source.servers", server, MYSQL_PORT));
        let servers = parsed.collect::<Result<Vec<_>, _>>()?;
        let first = servers.first().cloned().ok_or_else(|| {
            wrong(
                self.file,
                "key source.servers",
                "no server",
                "list at least one: servers = [\"127.0.0.1:3306\"]",
            )
        })?;
        let hint = "write patterns such as \"bank.*\" or \"shop.orders\"";
        let tables = self.patterns("source.tables", &section.tables, Pattern::parse, hint)?;
        let excluded = &section.tables_exclude;
        let tables_exclude = self.patterns("source.tables_exclude", excluded, Pattern::parse, hint)?;
        Ok(Source {
            servers,
            server: first,
            user: section.user,
            password: self.secret(
                "source.password",
                section.password,
                section.password_env,
                section.password_file,
            )?,
            tls: section.tls,
            tables,
            tables_exclude,
            keys: section.keys,
        })
    }

    /// Debezium's own values (base64 for decimals, days for dates) are not the canonical texts that are compared.
    fn messages(&self, section: &MessagesText) -> Result<(), Error> {
        match section.format.as_deref() {
            None | Some("debezium" | "protobuf") => Ok(()),
            Some(other) => Err(wrong(
                self.file,
                "key messages.format",
                &format!("expected debezium or protobuf, found {other}: stores filled from it cannot be checked"),
                "set format = \"debezium\", whose values are exact",
            )),
        }
    }

    fn columns(&self, excluded: &[String], section: MaskText) -> Result<ColumnRules, Error> {
        let hint = "write patterns such as \"shop.customer.email\" or \"shop.*.email\"";
        let texts = self.patterns("mask.text", section.text.keys(), ColumnPattern::parse, hint)?;
        let mut rules = ColumnRules {
            excluded: self.patterns("source.columns_exclude", excluded, ColumnPattern::parse, hint)?,
            texts: texts.into_iter().zip(section.text.values().cloned()).collect(),
            hashed: self.patterns("mask.hash", &section.hash, ColumnPattern::parse, hint)?,
            salt: None,
        };
        // A salt that only the reader may know is no error: then hashes are not compared.
        let elsewhere = section.salt_env.is_some() || section.salt_file.is_some();
        let salt = self.secret("mask.salt", section.salt, section.salt_env, section.salt_file);
        rules.salt = match salt {
            Ok(salt) => Some(salt).filter(|salt| !salt.reveal().is_empty()),
            Err(_) if elsewhere => None,
            Err(error) => return Err(error),
        };
        Ok(rules)
    }

    fn check(&self, section: CheckText) -> Result<Check, Error> {
        let rows_parallel = section.rows_parallel.unwrap_or(ROWS_PARALLEL_DEFAULT);
        if !(1..=ROWS_PARALLEL_MAX).contains(&rows_parallel) {
            let reason = format!("expected 1 to {ROWS_PARALLEL_MAX}, found {rows_parallel}");
            return Err(wrong(
                self.file,
                "key check.rows_parallel",
                &reason,
                "2 suits two cores",
            ));
        }
        let settle_seconds = section.settle_seconds_max.unwrap_or(SETTLE_SECONDS_DEFAULT);
        if !(1..=SETTLE_SECONDS_LIMIT).contains(&settle_seconds) {
            let reason = format!("expected 1 to {SETTLE_SECONDS_LIMIT}, found {settle_seconds}");
            return Err(wrong(
                self.file,
                "key check.settle_seconds_max",
                &reason,
                "30 suits most pipelines",
            ));
        }
        Ok(Check {
            rows_parallel,
            settle_max: Duration::from_secs(settle_seconds),
        })
    }
}

#[cfg(test)]
mod tests;
