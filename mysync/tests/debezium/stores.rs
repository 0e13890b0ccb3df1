//! What the three stores hold of the tables behind one prefix, in one shape: rows by table and key, each as texts.

use elasticsearch::http::transport::Transport;
use elasticsearch::indices::IndicesRefreshParts;
use elasticsearch::{Elasticsearch, SearchParts};
use fixtures::Lab;
use mysync::config::Config;
use redis::AsyncCommands;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// More than there are documents of one prefix.
const DOCUMENTS_MAX: i64 = 10_000;

pub type Rows = BTreeMap<String, BTreeMap<String, String>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    Redis,
    Elasticsearch,
    Hbase,
}

impl Store {
    pub const ALL: [Self; 3] = [Self::Redis, Self::Elasticsearch, Self::Hbase];

    /// Names in each store that begin with the prefix.
    pub fn configure(config: &mut Config, prefix: &str) {
        config.writer.redis.as_mut().unwrap().key = format!("{prefix}|{{db}}:{{table}}:{{pk}}");
        config.writer.elasticsearch.as_mut().unwrap().index = format!("{prefix}-{{db}}.{{table}}");
        config.writer.hbase.as_mut().unwrap().table = format!("{prefix}-{{db}}.{{table}}");
    }

    /// Applies everything that is there.
    pub async fn write(self, config: &Config) -> mysync::error::Result<()> {
        let (metrics, stop) = (Arc::default(), std::future::pending());
        match self {
            Store::Redis => mysync::writer::run_redis(config, true, metrics, stop).await,
            Store::Elasticsearch => mysync::writer::run_elasticsearch(config, true, metrics, stop).await,
            Store::Hbase => mysync::writer::run_hbase(config, true, metrics, stop).await,
        }
        .map(drop)
    }

    /// The rows of these tables, `<table>:<key>`.
    pub async fn rows(self, lab: &Lab, prefix: &str, tables: &BTreeSet<String>) -> Rows {
        match self {
            Store::Redis => in_redis(lab, prefix).await,
            Store::Elasticsearch => in_elasticsearch(lab, prefix).await,
            Store::Hbase => in_hbase(lab, prefix, tables),
        }
    }
}

async fn in_redis(lab: &Lab, prefix: &str) -> Rows {
    let mut redis = lab.redis().unwrap().connect().await.unwrap();
    let keys: Vec<String> = redis.keys(format!("{prefix}|*")).await.unwrap();
    let mut rows = Rows::new();
    for key in keys {
        let row = redis.hgetall(&key).await.unwrap();
        let name = key
            .split_once('|')
            .and_then(|(_, name)| name.split_once(':'))
            .unwrap()
            .1;
        rows.insert(name.to_owned(), row);
    }
    rows
}

async fn in_elasticsearch(lab: &Lab, prefix: &str) -> Rows {
    #[derive(Deserialize)]
    struct Answer {
        hits: Hits,
    }
    #[derive(Deserialize)]
    struct Hits {
        hits: Vec<Hit>,
    }
    #[derive(Deserialize)]
    struct Hit {
        #[serde(rename = "_index")]
        index: String,
        #[serde(rename = "_id")]
        id: String,
        #[serde(rename = "_source")]
        source: BTreeMap<String, Box<RawValue>>,
    }
    let client = Elasticsearch::new(Transport::single_node(&lab.elasticsearch().unwrap().url()).unwrap());
    let indices = [&*format!("{prefix}-*")];
    let client_of_indices = client.indices();
    let refresh = client_of_indices.refresh(IndicesRefreshParts::Index(&indices));
    refresh.send().await.unwrap().error_for_status_code().unwrap();
    let search = client.search(SearchParts::Index(&indices)).size(DOCUMENTS_MAX);
    let answer: Answer = search.send().await.unwrap().json().await.unwrap();
    let rows = answer.hits.hits.into_iter();
    let rows = rows.filter(|hit| !hit.source.contains_key("__mysync_deleted"));
    rows.map(|hit| {
        let table = hit.index.split_once('.').unwrap().1.strip_suffix("~rows").unwrap();
        let source = hit.source.into_iter();
        let source = source.map(|(column, value)| (column, value.get().to_owned()));
        (format!("{table}:{}", hit.id), source.collect())
    })
    .collect()
}

fn in_hbase(lab: &Lab, prefix: &str, tables: &BTreeSet<String>) -> Rows {
    let mut client = super::store::client(lab);
    let of = |table: &String| super::store::rows(&mut client, &format!("{prefix}-t.{table}"));
    let rows = tables.iter().map(of).collect::<Vec<_>>();
    let rows = tables.iter().zip(rows);
    rows.flat_map(|(table, rows)| rows.into_iter().map(move |(key, row)| (format!("{table}:{key}"), row)))
        .collect()
}
