//! The checker's view of mysync.toml: `[source]`, `[messages]`, `[mask]`, `[writer.redis]` and `[check]`.
//!
//! The file is shared with the reader and the writers, so other sections, and keys of `[source]` that only the reader
//! needs, are passed over. In `[writer.redis]` and `[check]` every key must be known: a misspelt key there would
//! quietly check something else than what was meant.
//!
//! Secrets are read once into [`Secret`], which never prints itself; neither do the errors of this module quote the
//! file's lines, since a line may hold one.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::error::Error;
use crate::mask::ColumnRules;
use crate::mysql::tls::Tls;
use crate::pattern::{ColumnPattern, Pattern};
use crate::store::redis::KeyTemplate;

/// What a check needs to know of the installation.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file's name, for messages.
    pub file: String,
    /// Where the rows come from.
    pub source: Source,
    /// The Redis that the writer fills; none without a section `[writer.redis]`.
    pub redis: Option<Redis>,
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

/// `[writer.redis]`: the store and how rows stand in it.
#[derive(Clone, Debug)]
pub struct Redis {
    /// `<host>:<port>`.
    pub address: Address,
    /// The password, empty for none.
    pub password: Secret,
    /// The number of the database.
    pub database: i64,
    /// How a row is stored.
    pub layout: Layout,
    /// How a row's key is built.
    pub key: KeyTemplate,
}

/// How a row is stored in Redis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// A hash with a field a column; NULL is an absent field.
    #[default]
    Hash,
    /// A string that holds the row as a JSON object.
    Json,
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
    redis: Option<RedisText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RedisText {
    address: String,
    password: Option<SecretText>,
    password_env: Option<String>,
    password_file: Option<String>,
    #[serde(default)]
    database: i64,
    #[serde(default)]
    layout: Layout,
    key: Option<String>,
    /// The writer's own; known here so that it is not refused.
    #[serde(rename = "batch_changes_max")]
    _batch_changes_max: Option<IgnoredAny>,
    #[serde(rename = "listen")]
    _listen: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckText {
    rows_parallel: Option<usize>,
    settle_seconds_max: Option<u64>,
}

/// Takes any value and complains without quoting it.
struct SecretText(Option<String>);

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => Self(Some(text)),
            _ => Self(None),
        })
    }
}

const ROWS_PARALLEL_DEFAULT: usize = 2;
const ROWS_PARALLEL_MAX: usize = 64;
const SETTLE_SECONDS_DEFAULT: u64 = 30;
const SETTLE_SECONDS_LIMIT: u64 = 3600;
const KEY_TEMPLATE_DEFAULT: &str = "{db}:{table}:{pk}";
const MYSQL_PORT: u16 = 3306;
const REDIS_PORT: u16 = 6379;

struct Reading<'a> {
    file: &'a str,
}

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

    fn patterns<'p, P>(
        &self,
        key: &str,
        texts: impl IntoIterator<Item = &'p String>,
        parse: fn(&str) -> Result<P, String>,
        hint: &str,
    ) -> Result<Vec<P>, Error> {
        let patterns: Result<Vec<P>, String> = texts.into_iter().map(|text| parse(text)).collect();
        patterns.map_err(|reason| wrong(self.file, &format!("key {key}"), &reason, hint))
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

    fn redis(&self, section: RedisText) -> Result<Redis, Error> {
        let template = section.key.as_deref().unwrap_or(KEY_TEMPLATE_DEFAULT);
        let key = KeyTemplate::parse(template).map_err(|reason| {
            wrong(
                self.file,
                "key writer.redis.key",
                &reason,
                "the default is key = \"{db}:{table}:{pk}\"",
            )
        })?;
        Ok(Redis {
            address: self.address("writer.redis.address", &section.address, REDIS_PORT)?,
            password: self.secret(
                "writer.redis.password",
                section.password,
                section.password_env,
                section.password_file,
            )?,
            database: section.database,
            layout: section.layout,
            key,
        })
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

    fn address(&self, key: &str, text: &str, port_default: u16) -> Result<Address, Error> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()),
            None => (text, Some(port_default)),
        };
        match port {
            Some(port) if !host.is_empty() => Ok(Address {
                host: host.trim_matches(['[', ']']).to_owned(),
                port,
            }),
            _ => {
                let reason = format!("expected <host>:<port>, found `{text}`");
                let hint = format!("write for instance \"127.0.0.1:{port_default}\"");
                Err(wrong(self.file, &format!("key {key}"), &reason, &hint))
            }
        }
    }

    fn secret(
        &self,
        key: &str,
        text: Option<SecretText>,
        variable: Option<String>,
        file: Option<String>,
    ) -> Result<Secret, Error> {
        let place = |ending: &str| format!("key {key}{ending}");
        match (text, variable, file) {
            (None, None, None) => Ok(Secret::default()),
            (Some(SecretText(Some(text))), None, None) => Ok(Secret(text)),
            (Some(SecretText(None)), None, None) => Err(wrong(
                self.file,
                &place(""),
                "expected a string, found another type",
                "put it between quotes",
            )),
            (None, Some(variable), None) => std::env::var(&variable).map(Secret).map_err(|_| {
                let reason = format!("the environment has no readable variable `{variable}`");
                wrong(self.file, &place("_env"), &reason, "set the variable, or name another")
            }),
            (None, None, Some(path)) => match std::fs::read_to_string(&path) {
                Ok(text) => Ok(Secret(text.trim_end_matches(['\r', '\n']).to_owned())),
                Err(error) => {
                    let reason = format!("cannot read {path}: {error}");
                    Err(wrong(
                        self.file,
                        &place("_file"),
                        &reason,
                        "name a file that this account may read",
                    ))
                }
            },
            _ => Err(wrong(
                self.file,
                &place(""),
                "given more than once: by itself, with _env, with _file",
                "keep one of the three",
            )),
        }
    }
}

/// `place` is where in the file: a line, a key, or both.
pub(crate) fn wrong(file: &str, place: &str, reason: &str, hint: &str) -> Error {
    let place = if place.is_empty() {
        String::new()
    } else {
        format!(" {place}:")
    };
    Error::configuration("the configuration is wrong", format!("{file}:{place} {reason}"), hint)
}

/// The line and, where the line assigns one, the full key. The value is left out: it may be a secret.
fn place(text: &str, offset: usize) -> String {
    let before = text.get(..offset).unwrap_or(text);
    let number = before.matches('\n').count() + 1;
    let line = text.lines().nth(number - 1).unwrap_or_default();
    let section = text
        .lines()
        .take(number)
        .filter_map(|line| line.trim().strip_prefix('[')?.split(']').next())
        .last()
        .unwrap_or_default();
    match line.split_once('=') {
        Some((key, _)) if section.is_empty() => format!("line {number}, key {}", key.trim()),
        Some((key, _)) => format!("line {number}, key {section}.{}", key.trim()),
        None => format!("line {number}"),
    }
}

#[cfg(test)]
mod tests;
