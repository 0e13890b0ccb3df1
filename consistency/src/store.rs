//! A store that the pipeline fills, as the checker sees it.
//!
//! What differs from store to store is small: how a row's key is spelled, how rows are looked up by key, and how every
//! key that belongs to a table is found. Everything else (what is compared, when a difference counts, what is reported)
//! is the same for all of them and lives in `compare.rs`. A new store is one file that implements [`Store`].

pub mod elasticsearch;
pub mod hbase;
mod json;
pub mod name_template;
pub mod redis;
pub mod row_key;

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::BoxStream;

use self::elasticsearch::ElasticsearchStore;
use self::hbase::HbaseStore;
use self::redis::RedisStore;
use crate::canonical::Text;
use crate::config::{self, Config, wrong};
use crate::error::Error;
use crate::options::StoreName;
use crate::table::{Key, Table};

/// A store to compare with.
pub trait Store: Send + Sync {
    /// Its name in reports, lower case.
    fn name(&self) -> &'static str;

    /// How the store spells the key of a row. Injective within a table.
    fn key(&self, table: &Table, key: &[&[u8]]) -> Vec<u8>;

    /// Whether rows go by themselves after a while, so that one that is not there is no difference.
    fn rows_expire(&self) -> bool {
        false
    }

    /// Looks the rows up; the answers stand in the order of the keys, an absent row as none.
    fn rows<'a>(
        &'a self,
        table: &'a Table,
        keys: &'a [Vec<u8>],
    ) -> BoxFuture<'a, Result<Vec<Option<StoredRow>>, Error>>;

    /// Every key that a row of these tables can have produced, in batches, in any order, possibly more than once. Where
    /// the tables share their place in the store with others, keys that none of them can have produced are somebody
    /// else's and left out; where a table has a place of its own, they are named, without a row's key.
    fn scan<'a>(&'a self, tables: &'a [Table]) -> BoxStream<'a, Result<Vec<StoredKey>, Error>>;
}

/// A row as the store holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredRow {
    /// The values in the table's column order, NULL as none.
    pub values: Vec<Option<Text>>,
    /// What stands there beside the table's columns.
    pub surplus: Vec<(String, Text)>,
    /// Why nothing could be read, where the store holds something that is no row at all.
    pub unreadable: Option<String>,
}

impl StoredRow {
    /// Something that is no row, and why.
    pub fn unreadable(reason: String) -> Self {
        Self {
            unreadable: Some(reason),
            ..Self::default()
        }
    }
}

/// A key found in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredKey {
    /// The table's place among those that were asked for.
    pub table: usize,
    /// As the store spells it.
    pub store_key: Vec<u8>,
    /// The canonical texts of the key columns; none for a key that no row of the table can have.
    pub key: Option<Key>,
}

/// The section of a store that is compared with.
#[derive(Clone, Copy)]
pub enum Section<'a> {
    /// `[writer.redis]`.
    Redis(&'a config::Redis),
    /// `[writer.elasticsearch]`.
    Elasticsearch(&'a config::Elasticsearch),
    /// `[writer.hbase]`.
    Hbase(&'a config::Hbase),
}

/// The stores that are meant: those asked for, or all that are configured.
pub fn chosen<'a>(config: &'a Config, asked: &[StoreName]) -> Result<Vec<Section<'a>>, Error> {
    let section = |name| match name {
        StoreName::Redis => config.redis.as_ref().map(Section::Redis),
        StoreName::Elasticsearch => config.elasticsearch.as_ref().map(Section::Elasticsearch),
        StoreName::Hbase => config.hbase.as_ref().map(Section::Hbase),
    };
    let mut chosen = Vec::new();
    for name in StoreName::ALL {
        match section(name) {
            Some(section) if asked.is_empty() || asked.contains(&name) => chosen.push(section),
            None if asked.contains(&name) => {
                return Err(wrong(
                    &config.file,
                    &format!("section [writer.{}]", name.word()),
                    "expected, not found",
                    "add the section with the store's address, or name another --store",
                ));
            }
            _ => {}
        }
    }
    match chosen.is_empty() {
        false => Ok(chosen),
        true => Err(wrong(
            &config.file,
            "section [writer.redis], [writer.elasticsearch] or [writer.hbase]",
            "expected at least one, found none",
            "add the section of a store with its address",
        )),
    }
}

impl Section<'_> {
    /// Which store it is.
    pub fn name(self) -> StoreName {
        match self {
            Self::Redis(_) => StoreName::Redis,
            Self::Elasticsearch(_) => StoreName::Elasticsearch,
            Self::Hbase(_) => StoreName::Hbase,
        }
    }

    /// Connects, and makes sure that the rows of these tables can be told apart.
    pub async fn connect(self, config: &Config, tables: &[Table]) -> Result<Arc<dyn Store>, Error> {
        Ok(match self {
            Self::Redis(section) => Arc::new(RedisStore::connect(config, section, tables).await?),
            Self::Elasticsearch(section) => Arc::new(ElasticsearchStore::connect(config, section, tables).await?),
            Self::Hbase(section) => Arc::new(HbaseStore::connect(config, section, tables).await?),
        })
    }
}
