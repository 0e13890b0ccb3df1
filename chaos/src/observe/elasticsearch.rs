//! `written_by` of rows in Elasticsearch, which are documents of the index `{db}.{table}~rows`. They are asked for by id, so that
//! a change is seen when it is written, and not only when searches show it.

use super::rows::{Look, Watched};
use crate::error::{Doing, Result};
use elasticsearch::http::Method;
use elasticsearch::http::headers::HeaderMap;
use elasticsearch::http::transport::Transport;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Deserialize;
use std::time::Duration;

/// Between two looks, each of which costs the server more than one at Redis.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The client keeps its connections by itself.
pub(super) struct Looker {
    transport: Transport,
    path: String,
    question: String,
}

#[derive(Deserialize)]
struct Answer {
    docs: Vec<Document>,
}

#[derive(Deserialize)]
struct Document {
    #[serde(rename = "_source")]
    source: Option<Source>,
}

#[derive(Deserialize)]
struct Source {
    written_by: Option<u64>,
}

impl Looker {
    pub(super) fn new(watched: &Watched) -> Result<Self> {
        let ids: Vec<String> = watched.keys.iter().map(u64::to_string).collect();
        Ok(Self {
            transport: Transport::single_node(&watched.address)
                .doing(|| "the observer has no address of Elasticsearch".into())?,
            path: format!("{}~rows/_mget?_source_includes=written_by", watched.table),
            question: serde_json::json!({ "ids": ids }).to_string(),
        })
    }

    async fn ask(&mut self) -> std::result::Result<Vec<Option<u64>>, elasticsearch::Error> {
        let question = Some(self.question.as_str());
        let answer = self
            .transport
            .send(Method::Post, &self.path, HeaderMap::new(), None::<&()>, question, None)
            .await?;
        let answer: Answer = answer.error_for_status_code()?.json().await?;
        let values = answer.docs.into_iter().map(|document| document.source?.written_by);
        Ok(values.collect())
    }
}

impl Look for Looker {
    fn look(&mut self) -> BoxFuture<'_, std::result::Result<Vec<Option<u64>>, String>> {
        self.ask()
            .map(|values| values.map_err(|error| error.to_string()))
            .boxed()
    }
}
