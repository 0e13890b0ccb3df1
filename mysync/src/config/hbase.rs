//! Section `[writer.hbase]`.

use super::load::{Refusal, check_address, require};
use serde::Deserialize;

/// Section `[writer.hbase]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HbaseWriter {
    /// `host:port` of a Thrift2 gateway.
    pub thrift: String,
    /// How the gateway delimits messages.
    #[serde(default)]
    pub transport: HbaseTransport,
    /// How the gateway writes messages.
    #[serde(default)]
    pub protocol: HbaseProtocol,
    /// Template of a table's name in HBase, of `{db}`, `{table}` and literal text.
    #[serde(default = "default_table")]
    pub table: String,
    /// Buckets over which the rows of a table are spread by a hash of their keys; 0 for rows in the order of their keys.
    #[serde(default)]
    pub salt_buckets: u16,
    /// Changes that are applied before a cursor moves, at most.
    #[serde(default = "default_batch_changes_max")]
    pub batch_changes_max: usize,
    /// Connections to the gateway.
    #[serde(default = "default_connections")]
    pub connections: usize,
    /// How long an answer may take, seconds.
    #[serde(default = "default_answer_seconds_max")]
    pub answer_seconds_max: u64,
    /// The largest message that a framed gateway takes, bytes.
    #[serde(default = "default_frame_bytes_max")]
    pub frame_bytes_max: usize,
    /// `host:port` where this writer serves metrics and is told what to do; nowhere by default.
    pub listen: Option<String>,
}

/// How a Thrift gateway delimits messages.
#[derive(Debug, Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum HbaseTransport {
    /// Not at all, which is the gateway's default.
    #[default]
    Buffered,
    /// By a length before each.
    Framed,
}

/// How a Thrift gateway writes messages.
#[derive(Debug, Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum HbaseProtocol {
    /// Numbers with all of their bytes, which is the gateway's default.
    #[default]
    Binary,
    /// Numbers with as many bytes as they need.
    Compact,
}

pub(super) fn check(hbase: &HbaseWriter) -> Result<(), Refusal> {
    check_address("writer.hbase.thrift", &hbase.thrift)?;
    let rest = hbase.table.replace("{db}", "").replace("{table}", "");
    let literal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    require(
        hbase.table.contains("{table}") && rest.bytes().all(literal) && !hbase.table.starts_with(['.', '-']),
        "writer.hbase.table",
        &hbase.table,
        "a template of {db}, {table}, letters, digits, '_', '.' and '-', with {table} in it, '.' and '-' not at its start",
    )?;
    require(
        hbase.salt_buckets <= 256,
        "writer.hbase.salt_buckets",
        &hbase.salt_buckets,
        "0 to 256",
    )?;
    require(
        (1..=1_000_000).contains(&hbase.batch_changes_max),
        "writer.hbase.batch_changes_max",
        &hbase.batch_changes_max,
        "1 to 1000000",
    )?;
    require(
        (1..=64).contains(&hbase.connections),
        "writer.hbase.connections",
        &hbase.connections,
        "1 to 64",
    )?;
    require(
        (1..=600).contains(&hbase.answer_seconds_max),
        "writer.hbase.answer_seconds_max",
        &hbase.answer_seconds_max,
        "1 to 600",
    )?;
    require(
        (65_536..=1_073_741_824).contains(&hbase.frame_bytes_max),
        "writer.hbase.frame_bytes_max",
        &hbase.frame_bytes_max,
        "65536 to 1073741824",
    )
}

fn default_table() -> String {
    "{db}.{table}".into()
}
fn default_batch_changes_max() -> usize {
    10_000
}
fn default_connections() -> usize {
    4
}
fn default_answer_seconds_max() -> u64 {
    30
}
fn default_frame_bytes_max() -> usize {
    2 * 1024 * 1024
}

#[cfg(test)]
mod tests {
    use super::{HbaseProtocol, HbaseTransport};
    use crate::config::{TEMPLATE, parse};

    fn with(keys: &str) -> String {
        let template = TEMPLATE.replace("password_env = \"MYSYNC_MYSQL_PASSWORD\"", "password = \"geheim\"");
        format!("{template}\n[writer.hbase]\nthrift = \"127.0.0.1:9090\"\n{keys}")
    }

    #[test]
    fn the_keys_of_the_template_are_the_defaults() {
        let commented = TEMPLATE.split("# [writer.hbase]").nth(1).unwrap();
        let keys = commented.lines().skip(1).take_while(|line| line.starts_with("# "));
        let keys: Vec<&str> = keys
            .map(|line| &line[2..])
            .filter(|line| !line.starts_with("thrift"))
            .collect();
        let (set, unset) = (
            parse(&with(&keys.join("\n")), "x").unwrap(),
            parse(&with(""), "x").unwrap(),
        );
        let (mut set, unset) = (set.writer.hbase.unwrap(), unset.writer.hbase.unwrap());
        assert_eq!(set.listen.take().as_deref(), Some("127.0.0.1:9467"));
        assert_eq!(format!("{set:?}"), format!("{unset:?}"));
        assert_eq!(
            (unset.transport, unset.protocol),
            (HbaseTransport::Buffered, HbaseProtocol::Binary)
        );
    }

    #[test]
    fn every_refusal_names_the_key() {
        for (keys, key) in [
            ("transport = \"http\"", "transport"),
            ("protocol = \"json\"", "protocol"),
            ("table = \"{db}\"", "table"),
            ("table = \"-{db}.{table}\"", "table"),
            ("table = \"ns:{db}.{table}\"", "table"),
            ("table = \"{db}.{table}{pk}\"", "table"),
            ("salt_buckets = 257", "salt_buckets"),
            ("batch_changes_max = 0", "batch_changes_max"),
            ("connections = 0", "connections"),
            ("answer_seconds_max = 0", "answer_seconds_max"),
            ("frame_bytes_max = 1024", "frame_bytes_max"),
            ("listen = \"9467\"", "listen"),
        ] {
            let error = parse(&with(keys), "mysync.toml").unwrap_err().to_string();
            assert!(error.contains(&format!("writer.hbase.{key}")), "{keys}: {error}");
        }
    }
}
