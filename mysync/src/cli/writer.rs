//! `mysync writer`: a target's writer, and what a person tells a running one.

use super::{Run, say, say_figures, status, stop_on_signal};
use clap::{Args, Subcommand};
use mysync::error::{Error, Result};
use mysync::metrics::orders::{self, Order, Place};
use mysync::metrics::{self, WriterMetrics};
use mysync::{config, writer};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Redis 6 or later, or Valkey
    Redis(Run),
    /// Elasticsearch 8 or later, or OpenSearch 2 or later
    Elasticsearch(Run),
    /// HBase 2.2 or later, through its Thrift2 gateway
    Hbase(Run),
    /// Show how a running writer is, and which partitions a refused record stops
    Status(Shown),
    /// Try the refused records again: of one partition, or of all that are stopped
    Retry(Retry),
    /// Pass over the refused record at one offset; it is kept in <prefix>.__dead
    Skip(Skip),
}

#[derive(Clone, Copy)]
enum Target {
    Redis,
    Elasticsearch,
    Hbase,
}

/// Which running writer.
#[derive(Debug, Args)]
pub(super) struct Asking {
    /// The configuration file, whose key listen in the target's section says where the writer is
    #[arg(long, default_value = "mysync.toml", value_name = "FILE")]
    config: PathBuf,
    /// The writer's target, where the configuration has several
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Ask the writer that serves here, in place of the configuration's
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Shown {
    #[command(flatten)]
    asking: Asking,
    /// Print a JSON array with one object: address, and status or error
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Retry {
    #[command(flatten)]
    asking: Asking,
    /// The topic of the partition
    #[arg(long, requires = "partition")]
    topic: Option<String>,
    /// The number of the partition
    #[arg(long, requires = "topic")]
    partition: Option<i32>,
}

#[derive(Debug, Args)]
pub(super) struct Skip {
    #[command(flatten)]
    asking: Asking,
    /// The topic of the partition
    #[arg(long)]
    topic: String,
    /// The number of the partition
    #[arg(long)]
    partition: i32,
    /// The offset of the record that stops it
    #[arg(long)]
    offset: i64,
}

pub(super) async fn run(action: Action) -> Result<ExitCode> {
    match action {
        Action::Redis(arguments) => write(Target::Redis, arguments).await,
        Action::Elasticsearch(arguments) => write(Target::Elasticsearch, arguments).await,
        Action::Hbase(arguments) => write(Target::Hbase, arguments).await,
        Action::Status(Shown { asking, json }) => Ok(status::show(vec![address(&asking)?], json).await),
        Action::Retry(retry) => {
            let place = retry.topic.zip(retry.partition);
            let place = place.map(|(topic, partition)| Place { topic, partition });
            order(&retry.asking, &Order::Retry(place)).await
        }
        Action::Skip(skip) => {
            let place = Place {
                topic: skip.topic,
                partition: skip.partition,
            };
            order(&skip.asking, &Order::Skip(place, skip.offset)).await
        }
    }
}

async fn write(target: Target, arguments: Run) -> Result<ExitCode> {
    let config = config::load(&arguments.config)?;
    let mut stop = stop_on_signal();
    let metrics = Arc::new(WriterMetrics::default());
    let section = &config.writer;
    let listen = match target {
        Target::Redis => section.redis.as_ref().and_then(|redis| redis.listen.as_ref()),
        Target::Elasticsearch => section
            .elasticsearch
            .as_ref()
            .and_then(|section| section.listen.as_ref()),
        Target::Hbase => section.hbase.as_ref().and_then(|hbase| hbase.listen.as_ref()),
    };
    if let Some(address) = arguments.metrics.as_ref().or(listen) {
        metrics.set_served();
        metrics::serve(address, metrics.clone()).await?;
    }
    let (until_caught_up, stopped) = (arguments.until_caught_up, stop.stopped());
    let summary = match target {
        Target::Redis => writer::run_redis(&config, until_caught_up, metrics, stopped).await?,
        Target::Elasticsearch => writer::run_elasticsearch(&config, until_caught_up, metrics, stopped).await?,
        Target::Hbase => writer::run_hbase(&config, until_caught_up, metrics, stopped).await?,
    };
    say_figures(&summary, arguments.json);
    Ok(ExitCode::SUCCESS)
}

async fn order(asking: &Asking, order: &Order) -> Result<ExitCode> {
    say(orders::tell(&address(asking)?, order).await?);
    Ok(ExitCode::SUCCESS)
}

/// Where the writer is.
fn address(asking: &Asking) -> Result<String> {
    if let Some(address) = &asking.address {
        return Ok(address.clone());
    }
    let writers = config::load_listens(&asking.config)?.writers;
    let file = asking.config.display();
    let is_meant = |target: &str| asking.target.as_deref().is_none_or(|wanted| wanted == target);
    let mut meant = writers.into_iter().filter(|(target, _)| is_meant(target));
    match (meant.next(), meant.next()) {
        (Some((_, address)), None) => Ok(address),
        (Some(_), Some(_)) => {
            Err(Error::configuration(format!("{file}: more than one writer listens"))
                .hint("say which one with --target"))
        }
        (None, _) => {
            let target = asking.target.as_deref().unwrap_or("<target>");
            Err(Error::configuration(format!("{file}: no writer says where it listens"))
                .hint(format!("set key writer.{target}.listen and start the writer again")))
        }
    }
}
