//! `mysync config template` and `mysync config check`.

use super::say;
use clap::Subcommand;
use mysync::config::{self, Config, TEMPLATE};
use mysync::error::{Error, Result};
use mysync::queue::kafka::KafkaQueue;
use mysync::source::Source;
use mysync::source::mysql::MySqlSource;
use mysync::source::preflight::{self, Check};
use mysync::source::topology;
use mysync::target::Target;
use mysync::target::columns::SourceColumns;
use mysync::target::elasticsearch::ElasticsearchTarget;
use mysync::target::hbase::HbaseTarget;
use mysync::target::redis::RedisTarget;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Print a commented configuration
    Template,
    /// Check a configuration, and every server that it names
    Check {
        /// The configuration file
        #[arg(long, default_value = "mysync.toml", value_name = "FILE")]
        config: PathBuf,
    },
}

pub(super) async fn run(action: Action) -> Result<ExitCode> {
    match action {
        Action::Template => {
            say(TEMPLATE.trim_end());
            Ok(ExitCode::SUCCESS)
        }
        Action::Check { config } => {
            let name = config.display().to_string();
            check(&config::load(&config)?, &name).await
        }
    }
}

async fn check(config: &Config, name: &str) -> Result<ExitCode> {
    let at = |key: &'static str| move |error: Error| unreachable_at(error, name, key);
    let mut source = MySqlSource::new(config);
    if config.source.servers.len() > 1 {
        for seen in source.look().await {
            let text = topology::describe(std::slice::from_ref(&seen), None);
            seen.answer.map_err(at("source.servers"))?;
            say(format!("ok    MySQL {text}"));
        }
    }
    let mut checks = source.preflight().await.map_err(at("source.servers"))?;
    print("MySQL", &checks);
    let kafka = KafkaQueue::new(config).preflight().await.map_err(at("kafka.brokers"))?;
    print("Kafka", &kafka);
    checks.extend(kafka);
    if let Some(redis) = &config.writer.redis {
        let mut target = RedisTarget::new(redis, &config.kafka.prefix)?;
        let (key, servers) = redis.servers();
        target.connect().await.map_err(at(key))?;
        say(format!("ok    Redis answers at {}", servers.join(", ")));
    }
    if let Some(section) = &config.writer.elasticsearch {
        let target = ElasticsearchTarget::new(section, &config.kafka.prefix, SourceColumns::new(config))?;
        target.greet().await.map_err(at("writer.elasticsearch.urls"))?;
        say(format!("ok    Elasticsearch answers at {}", section.urls.join(", ")));
    }
    if let Some(hbase) = &config.writer.hbase {
        let mut target = HbaseTarget::new(hbase, &config.kafka.prefix);
        target.connect().await.map_err(at("writer.hbase.thrift"))?;
        say(format!("ok    HBase answers at {}", hbase.thrift));
    }
    preflight::require(&checks, config.reader.allow_unsafe)
        .map_err(|error| error.detail(format!("checked with {name}")))?;
    Ok(ExitCode::SUCCESS)
}

fn print(server: &str, checks: &[Check]) {
    for check in checks {
        let word = if check.holds { "ok   " } else { "WRONG" };
        say(format!(
            "{word} {server} {}: {} (expected {})",
            check.name, check.actual, check.expected
        ));
    }
}

/// A server that cannot be used is an error of the key that names it.
fn unreachable_at(error: Error, name: &str, key: &str) -> Error {
    let hint = error
        .hint
        .clone()
        .unwrap_or_else(|| "start the server, or correct the key".to_owned());
    let mut located = Error::configuration(format!("{name}: key {key}: {}", error.what)).hint(hint);
    located.detail = error.detail;
    located
}
