//! Sections `[messages]` and `[mask]`: the form of the messages, and whose values nobody shall read.

use super::Secret;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The longest heartbeat interval: an hour.
const HEARTBEAT_MS_MAX: u64 = 3_600_000;

/// Section `[messages]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Messages {
    /// The form of keys and values.
    pub format: Format,
    /// Which topics the changes go to.
    pub topics: Topics,
    /// Number the changes of each MySQL transaction, and tell its begin and end in the topic `<prefix>.transaction`.
    pub transaction_metadata: bool,
    /// The statement of a change in its message, where the server logs it (binlog_rows_query_log_events).
    pub query: bool,
    /// How often a record goes to `<prefix>.__heartbeat` and the checkpoint moves, whether or not anything changes; 0 is
    /// never.
    pub heartbeat_interval_ms: u64,
}

/// The form of keys and values.
#[derive(Debug, Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Debezium's envelope as JSON, every value exact (docs/types.md).
    #[default]
    Debezium,
    /// The same envelope with the values as Debezium's own defaults write them.
    #[serde(rename = "debezium-strict")]
    DebeziumStrict,
    /// The compact form of `mysync/proto/change.proto`; keys as in `debezium`.
    Protobuf,
}

/// Which topics the changes go to.
#[derive(Debug, Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Topics {
    /// `<prefix>.<database>.<table>` for each table.
    #[default]
    Table,
    /// `<prefix>.changes` for all of them; keys name their table.
    One,
}

/// Section `[mask]`. Patterns are `<database>.<table>.<column>`, `*` and `?` match within each part.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mask {
    /// Patterns of columns, each with the text that stands in place of every value.
    pub text: BTreeMap<String, String>,
    /// Patterns of columns whose values are replaced by their HMAC-SHA-256: equal values stay equal.
    pub hash: Vec<String>,
    /// The key of the hashes.
    pub salt: Secret,
    /// Name of the environment variable that holds the salt.
    pub salt_env: Option<String>,
    /// File that holds the salt.
    pub salt_file: Option<String>,
}

impl Mask {
    /// Whether any column is masked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.hash.is_empty()
    }
}

type Refusal = (&'static str, String, &'static str);

const COLUMN_PATTERN: &str = "a pattern \"database.table.column\", as \"shop.*.email\"";

/// Checks the two sections, and the columns that are left out.
pub(super) fn check(messages: &Messages, mask: &Mask, columns_exclude: &[String]) -> Result<(), Refusal> {
    let interval_ms = messages.heartbeat_interval_ms;
    if interval_ms != 0 && !(100..=HEARTBEAT_MS_MAX).contains(&interval_ms) {
        let expected = "0 for never, or 100 to 3600000";
        return Err(("messages.heartbeat_interval_ms", interval_ms.to_string(), expected));
    }
    check_patterns("source.columns_exclude", columns_exclude)?;
    check_patterns("mask.text", mask.text.keys())?;
    check_patterns("mask.hash", &mask.hash)?;
    if mask.salt.is_empty() && !mask.hash.is_empty() {
        let expected = "one of salt, salt_env, salt_file: without a secret anybody finds a short value by trying";
        return Err(("mask.salt", "an empty text".to_owned(), expected));
    }
    let hides = !mask.is_empty() || !columns_exclude.is_empty();
    if hides && messages.query {
        let expected = "false, since a statement shows the values that [mask] and source.columns_exclude hide";
        return Err(("messages.query", "true".to_owned(), expected));
    }
    Ok(())
}

fn check_patterns<'p>(key: &'static str, patterns: impl IntoIterator<Item = &'p String>) -> Result<(), Refusal> {
    for pattern in patterns {
        let mut parts = pattern.split('.');
        if parts.clone().count() != 3 || parts.any(str::is_empty) {
            return Err((key, pattern.clone(), COLUMN_PATTERN));
        }
    }
    Ok(())
}
