//! `written_by` of rows in Redis, which are hashes `{db}:{table}:{pk}`.

use super::rows::{Look, Watched};
use crate::error::{Doing, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use std::time::Duration;

/// Between two looks.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// One session, opened anew when it broke.
pub(super) struct Looker {
    client: redis::Client,
    connection: Option<MultiplexedConnection>,
    question: redis::Pipeline,
}

impl Looker {
    pub(super) fn new(watched: &Watched) -> Result<Self> {
        let mut question = redis::pipe();
        for key in &watched.keys {
            question.hget(format!("{}:{key}", watched.table.replacen('.', ":", 1)), "written_by");
        }
        Ok(Self {
            client: redis::Client::open(watched.address.as_str())
                .doing(|| "the observer has no address of Redis".into())?,
            connection: None,
            question,
        })
    }

    async fn ask(&mut self) -> redis::RedisResult<Vec<Option<u64>>> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.client.get_multiplexed_async_connection().await?,
        };
        let values = self.question.query_async(&mut connection).await?;
        self.connection = Some(connection);
        Ok(values)
    }
}

impl Look for Looker {
    fn look(&mut self) -> BoxFuture<'_, std::result::Result<Vec<Option<u64>>, String>> {
        self.ask()
            .map(|values| values.map_err(|error| error.to_string()))
            .boxed()
    }
}
