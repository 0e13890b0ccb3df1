//! Bare clients: what a store takes of requests that are made beforehand, by as many sessions as the writer has.

mod elasticsearch;
mod hbase;
mod redis;

use super::Store;
use super::batches::Batches;
use crate::error::{Doing, Error, Result};
use mysync::config;
use mysync::target::RowChange;
use serde_json::json;
use std::path::Path;
use std::time::Instant;

/// Sends a topic's batches; gives what the process is to say.
pub(crate) async fn run(store: Store, file: &Path) -> Result<serde_json::Value> {
    let config = config::load(file).doing(|| "the configuration cannot be used".into())?;
    let writer = &config.writer;
    let missing = || Error::definite(format!("the configuration has no section writer.{}", store.name()));
    match store {
        Store::Redis => {
            let section = writer.redis.as_ref().ok_or_else(missing)?;
            let read = Batches::read(&config, section.batch_changes_max)?;
            let client = redis::Client::open(section, &read).await?;
            timed(&read, client.send()).await
        }
        Store::Elasticsearch => {
            let section = writer.elasticsearch.as_ref().ok_or_else(missing)?;
            let read = Batches::read(&config, section.batch_changes_max)?;
            let client = elasticsearch::Client::open(section, &config.kafka.prefix, &read).await?;
            timed(&read, client.send()).await
        }
        Store::Hbase => {
            let section = writer.hbase.as_ref().ok_or_else(missing)?;
            let read = Batches::read(&config, section.batch_changes_max)?;
            let client = hbase::Client::open(section, &config.kafka.prefix, &read)?;
            timed(&read, client.send()).await
        }
    }
}

async fn timed(read: &Batches, sending: impl Future<Output = Result<()>>) -> Result<serde_json::Value> {
    let (begun, cpu_s) = (Instant::now(), mysync::usage::cpu_seconds());
    sending.await?;
    Ok(json!({
        "records": read.records,
        "changes": read.changes(),
        "seconds": begun.elapsed().as_secs_f64(),
        "cpu_s": mysync::usage::cpu_seconds() - cpu_s,
    }))
}

/// The benchmark's table has a key of one number.
fn key(change: &RowChange) -> &str {
    change.key.first().map_or("", |(_, text)| text)
}
