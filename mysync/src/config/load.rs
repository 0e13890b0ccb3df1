//! From the file's text to a [`Config`], or to an error that says file, line, key, what is wrong and what is expected.

use super::{Config, Secret, elasticsearch, messages};
use crate::error::{Error, Result};
use std::path::Path;

/// Kafka's limit on the length of a topic name, less what a database and a table name of 64 characters each need.
const PREFIX_LENGTH_MAX: usize = 249 - 2 * 64 - 2;

/// Reads, parses and checks the file.
pub fn load(path: &Path) -> Result<Config> {
    let (text, name) = read(path)?;
    parse(&text, &name)
}

/// Where the processes of a configuration are asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listens {
    /// The reader, `host:port`.
    pub reader: Option<String>,
    /// The writers, by the name of their target.
    pub writers: Vec<(&'static str, String)>,
}

/// Reads only where metrics are served: who asks there needs neither the secrets nor what they are read from.
pub fn load_listens(path: &Path) -> Result<Listens> {
    let (text, name) = read(path)?;
    let config: Config = toml::from_str(&text).map_err(|error| refuse_syntax(&text, &name, &error))?;
    let writers = config.writer.listens().into_iter();
    Ok(Listens {
        writers: writers.map(|(target, address)| (target, address.to_owned())).collect(),
        reader: config.metrics.listen,
    })
}

fn read(path: &Path) -> Result<(String, String)> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::configuration(format!("cannot read the configuration file: {name}"))
            .detail(error)
            .hint("write one with: mysync config template > mysync.toml")
    })?;
    Ok((text, name))
}

/// Parses and checks a configuration's text; `name` is what errors call the file.
pub fn parse(text: &str, name: &str) -> Result<Config> {
    let mut config: Config = toml::from_str(text).map_err(|error| refuse_syntax(text, name, &error))?;
    config.source.password = secret(
        name,
        "source.password",
        &config.source.password,
        config.source.password_env.as_deref(),
        config.source.password_file.as_deref(),
    )?;
    if let Some(redis) = &mut config.writer.redis {
        redis.reveal(name)?;
    }
    if let Some(elasticsearch) = &mut config.writer.elasticsearch {
        elasticsearch.password = secret(
            name,
            "writer.elasticsearch.password",
            &elasticsearch.password,
            elasticsearch.password_env.as_deref(),
            elasticsearch.password_file.as_deref(),
        )?;
        elasticsearch.api_key = secret(
            name,
            "writer.elasticsearch.api_key",
            &elasticsearch.api_key,
            elasticsearch.api_key_env.as_deref(),
            elasticsearch.api_key_file.as_deref(),
        )?;
    }
    let mask = &mut config.mask;
    mask.salt = secret(
        name,
        "mask.salt",
        &mask.salt,
        mask.salt_env.as_deref(),
        mask.salt_file.as_deref(),
    )?;
    if let Some(sasl) = &mut config.kafka.sasl {
        sasl.password = secret(
            name,
            "kafka.sasl.password",
            &sasl.password,
            sasl.password_env.as_deref(),
            sasl.password_file.as_deref(),
        )?;
    }
    check(&config).map_err(|(key, wrong, expected)| refuse(name, key, &wrong, expected))?;
    Ok(config)
}

pub(super) type Refusal = (&'static str, String, &'static str);

fn check(config: &Config) -> Result<(), Refusal> {
    check_source(config)?;
    check_kafka(config)?;
    messages::check(&config.messages, &config.mask, &config.source.columns_exclude)?;
    super::load_connections::check(config)?;
    let reader = &config.reader;
    require(
        !reader.name.is_empty() && is_topic_text(&reader.name),
        "reader.name",
        &reader.name,
        "letters, digits, '.', '_' or '-'",
    )?;
    require(
        (1..=10_000).contains(&reader.commit_interval_ms),
        "reader.commit_interval_ms",
        &reader.commit_interval_ms,
        "1 to 10000",
    )?;
    require(
        (1..=1_000_000).contains(&reader.commit_changes_max),
        "reader.commit_changes_max",
        &reader.commit_changes_max,
        "1 to 1000000",
    )?;
    require(
        (1..=16).contains(&reader.dump_tables_max),
        "reader.dump_tables_max",
        &reader.dump_tables_max,
        "1 to 16",
    )?;
    if let Some(redis) = &config.writer.redis {
        redis.check()?;
    }
    if let Some(section) = &config.writer.elasticsearch {
        elasticsearch::check(section)?;
    }
    if let Some(hbase) = &config.writer.hbase {
        super::hbase::check(hbase)?;
    }
    require(
        (1..=64).contains(&config.check.rows_parallel),
        "check.rows_parallel",
        &config.check.rows_parallel,
        "1 to 64",
    )?;
    require(
        (1..=3_600).contains(&config.check.settle_seconds_max),
        "check.settle_seconds_max",
        &config.check.settle_seconds_max,
        "1 to 3600",
    )
}

fn check_source(config: &Config) -> Result<(), Refusal> {
    let source = &config.source;
    require(
        !source.servers.is_empty(),
        "source.servers",
        &"an empty list",
        "at least one \"host:port\"",
    )?;
    for server in &source.servers {
        check_address("source.servers", server)?;
    }
    require(
        !source.user.is_empty(),
        "source.user",
        &"an empty text",
        "the name of a MySQL account",
    )?;
    require(
        source.server_id > 0,
        "source.server_id",
        &source.server_id,
        "1 to 4294967295, unique in the replication topology",
    )?;
    require(
        !source.tables.is_empty(),
        "source.tables",
        &"an empty list",
        "at least one pattern \"database.table\"",
    )?;
    let tables = source.tables.iter().map(|pattern| ("source.tables", pattern));
    let excluded = source.tables_exclude.iter();
    for (key, pattern) in tables.chain(excluded.map(|pattern| ("source.tables_exclude", pattern))) {
        let parts = pattern.split('.').count();
        require(
            parts == 2 && !pattern.starts_with('.') && !pattern.ends_with('.'),
            key,
            pattern,
            "a pattern \"database.table\", as \"shop.*\"",
        )?;
    }
    for (table, columns) in &source.keys {
        require(
            table.split('.').count() == 2,
            "source.keys",
            table,
            "a table \"database.table\"",
        )?;
        require(
            !columns.is_empty(),
            "source.keys",
            table,
            "at least one NOT NULL column",
        )?;
    }
    Ok(())
}

fn check_kafka(config: &Config) -> Result<(), Refusal> {
    let kafka = &config.kafka;
    require(
        !kafka.brokers.is_empty(),
        "kafka.brokers",
        &"an empty list",
        "at least one \"host:port\"",
    )?;
    for broker in &kafka.brokers {
        check_address("kafka.brokers", broker)?;
    }
    let fits = !kafka.prefix.is_empty() && kafka.prefix.len() <= PREFIX_LENGTH_MAX && is_topic_text(&kafka.prefix);
    require(
        fits,
        "kafka.prefix",
        &kafka.prefix,
        "1 to 119 letters, digits, '.', '_' or '-'",
    )?;
    require(
        (1..=1_000).contains(&kafka.partitions),
        "kafka.partitions",
        &kafka.partitions,
        "1 to 1000",
    )?;
    require(
        (1..=100).contains(&kafka.replication_factor),
        "kafka.replication_factor",
        &kafka.replication_factor,
        "1 to the number of brokers",
    )?;
    let within = (1..=kafka.replication_factor).contains(&kafka.min_insync_replicas);
    require(
        within,
        "kafka.min_insync_replicas",
        &kafka.min_insync_replicas,
        "1 to kafka.replication_factor",
    )?;
    require(
        (1_000..=1_000_000_000).contains(&kafka.message_bytes_max),
        "kafka.message_bytes_max",
        &kafka.message_bytes_max,
        "1000 to 1000000000",
    )
}

pub(super) fn check_address(key: &'static str, address: &str) -> Result<(), Refusal> {
    let port = address
        .rsplit_once(':')
        .filter(|(host, _)| !host.is_empty())
        .and_then(|(_, port)| port.parse::<u16>().ok());
    require(
        port.is_some_and(|port| port > 0),
        key,
        &address,
        "\"host:port\", as \"127.0.0.1:3306\"",
    )
}

pub(super) fn is_topic_text(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

pub(super) fn require(
    holds: bool,
    key: &'static str,
    actual: &dyn std::fmt::Display,
    expected: &'static str,
) -> Result<(), Refusal> {
    if holds {
        Ok(())
    } else {
        Err((key, actual.to_string(), expected))
    }
}

fn refuse(name: &str, key: &str, wrong: &str, expected: &str) -> Error {
    Error::configuration(format!("{name}: key {key}: wrong value: {wrong}"))
        .detail(format!("expected {expected}"))
        .hint("see the commented keys of: mysync config template")
}

/// The parser's own message may quote the line, and the line may hold a password: only its one-line message is used.
fn refuse_syntax(text: &str, name: &str, error: &toml::de::Error) -> Error {
    let line = error
        .span()
        .map_or(0, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
    let key = error
        .span()
        .and_then(|span| key_at(text, span.start))
        .unwrap_or_default();
    let (what, expected) = match error.message().split_once(", expected ") {
        Some((what, expected)) => (what, format!("expected {expected}")),
        None => (error.message(), "expected TOML that fits the template".to_owned()),
    };
    let place = if key.is_empty() {
        String::new()
    } else {
        format!(", key {key}")
    };
    Error::configuration(format!("{name}: line {line}{place}: {}", what.replace('\n', " ")))
        .detail(expected)
        .hint("see the commented keys of: mysync config template")
}

/// The dotted key of the line that holds byte `at`: its table header and the text before its `=`.
fn key_at(text: &str, at: usize) -> Option<String> {
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[start..].lines().next()?;
    let key = line.split_once('=').map_or("", |(key, _)| key.trim());
    let header = text[..start + line.len()]
        .lines()
        .rev()
        .find_map(|line| line.trim().strip_prefix('['))?;
    let header = header.split(']').next()?.trim_matches('[');
    Some(if key.is_empty() {
        header.to_owned()
    } else {
        format!("{header}.{key}")
    })
}

pub(super) fn secret(
    name: &str,
    key: &'static str,
    inline: &Secret,
    env: Option<&str>,
    file: Option<&str>,
) -> Result<Secret> {
    let given = usize::from(!inline.is_empty()) + usize::from(env.is_some()) + usize::from(file.is_some());
    if given > 1 {
        return Err(refuse(
            name,
            key,
            "given more than once",
            "one of the key itself, or with _env or _file behind its name",
        ));
    }
    if let Some(variable) = env {
        return std::env::var(variable).map(Secret::new).map_err(|_| {
            refuse(
                name,
                &format!("{key}_env"),
                &format!("no such environment variable: {variable}"),
                "the name of a variable that is set",
            )
        });
    }
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).map_err(|error| {
            refuse(
                name,
                &format!("{key}_file"),
                &format!("{path}: {error}"),
                "a file that can be read",
            )
        })?;
        return Ok(Secret::new(text.trim_end_matches(['\n', '\r'])));
    }
    Ok(inline.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TEMPLATE;

    fn template() -> String {
        TEMPLATE.replace("password_env = \"MYSYNC_MYSQL_PASSWORD\"", "password = \"geheim\"")
    }

    fn refused(from: &str, to: &str) -> String {
        let text = template();
        assert!(text.contains(from), "the template has no {from}");
        parse(&text.replace(from, to), "mysync.toml").unwrap_err().to_string()
    }

    #[test]
    fn the_template_is_a_valid_configuration() {
        let config = parse(&template(), "mysync.toml").unwrap();
        assert_eq!(config.kafka.partitions, 3);
        assert_eq!(config.writer.redis.unwrap().key, "{db}:{table}:{pk}");
    }

    #[test]
    fn every_refusal_names_file_key_wrong_and_expected() {
        let errors = [
            refused("partitions = 3", "partitions = \"three\""),
            refused("partitions = 3", "partition = 3"),
            refused("partitions = 3", "partitions = 0"),
            refused("server_id = 4271", ""),
            refused("servers = [\"127.0.0.1:3306\"]", "servers = [\"127.0.0.1\"]"),
            refused("tables = [\"shop.*\"]", "tables = [\"shop\"]"),
            refused("password = \"geheim\"", "password_env = \"MYSYNC_NOT_SET\""),
            refused("password = \"geheim\"", "password = \"geheim\"\npassword_file = \"x\""),
            refused("tables_exclude = []", "tables_exclude = [\"shop\"]"),
            refused("columns_exclude = []", "columns_exclude = [\"shop.note\"]"),
            refused("format = \"debezium\"", "format = \"avro\""),
            refused("heartbeat_interval_ms = 0", "heartbeat_interval_ms = 5"),
            refused("dump_tables_max = 2", "dump_tables_max = 0"),
            refused("hash = []", "hash = [\"shop.customer.email\"]"),
            refused("[check]", "[chekc]"),
            refused("[check]", "[check"),
        ];
        insta::assert_snapshot!(errors.join("\n\n"));
    }

    #[test]
    fn a_statement_must_not_show_what_is_hidden() {
        let text = template().replace("query = false", "query = true");
        assert!(parse(&text, "mysync.toml").is_ok());
        for (from, to) in [
            ("columns_exclude = []", "columns_exclude = [\"*.*.note\"]"),
            ("text = {}", "text = { \"shop.*.name\" = \"***\" }"),
        ] {
            assert!(text.contains(from));
            let error = parse(&text.replace(from, to), "mysync.toml").unwrap_err().to_string();
            assert!(error.contains("key messages.query: wrong value: true"), "{error}");
        }
    }

    #[test]
    fn no_secret_is_ever_printed() {
        let config = parse(&template(), "mysync.toml").unwrap();
        assert!(!format!("{config:?}").contains("geheim"));
        let salted = template().replace("hash = []", "hash = [\"a.b.c\"]\nsalt = \"geheim\"");
        assert!(!format!("{:?}", parse(&salted, "mysync.toml").unwrap()).contains("geheim"));
        for (value, secret) in [("[\"geheim\"]", "geheim"), ("4711", "4711")] {
            let broken = template().replace("password = \"geheim\"", &format!("password = {value}"));
            let error = parse(&broken, "mysync.toml").unwrap_err().to_string();
            assert!(error.contains("source.password") && !error.contains(secret), "{error}");
        }
    }
}
