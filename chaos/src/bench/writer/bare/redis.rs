//! Redis: a pipeline of `HSET` and `DEL` a batch.

use super::super::batches::Batches;
use super::key;
use crate::error::{Doing, Result};
use mysync::config::RedisWriter;
use mysync::target::canonical;
use redis::Pipeline;
use redis::aio::MultiplexedConnection;

pub(super) struct Client {
    connection: MultiplexedConnection,
    pipelines: Vec<Pipeline>,
}

impl Client {
    pub(super) async fn open(section: &RedisWriter, read: &Batches) -> Result<Self> {
        let address = section.address.as_deref().unwrap_or_default();
        let client = redis::Client::open(format!("redis://{address}/")).doing(|| "no client of Redis".into())?;
        let connection = client.get_multiplexed_async_connection().await;
        let mut pipelines = Vec::new();
        for batch in &read.batches {
            let mut pipeline = redis::pipe();
            for change in batch {
                let name = format!("bare:{}", key(change));
                let Some(row) = &change.row else {
                    pipeline.del(name).ignore();
                    continue;
                };
                let columns = canonical::columns(row.get()).doing(|| "a row is not understood".into())?;
                let command = pipeline.cmd("HSET").arg(name);
                for (column, text) in &columns {
                    if let Some(text) = text {
                        command.arg(column.as_ref()).arg(text.as_ref());
                    }
                }
                command.ignore();
            }
            pipelines.push(pipeline);
        }
        Ok(Self {
            connection: connection.doing(|| "Redis cannot be reached".into())?,
            pipelines,
        })
    }

    pub(super) async fn send(mut self) -> Result<()> {
        for pipeline in &self.pipelines {
            let sent = pipeline.query_async::<()>(&mut self.connection).await;
            sent.doing(|| "Redis refuses a pipeline".into())?;
        }
        Ok(())
    }
}
