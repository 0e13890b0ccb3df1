//! A store that the pipeline fills, as the checker sees it.
//!
//! What differs from store to store is small: how a row's key is spelled, how rows are looked up by key, and how every
//! key that belongs to a table is found. Everything else (what is compared, when a difference counts, what is reported)
//! is the same for all of them and lives in `compare.rs`. A new store is one file that implements [`Store`].

pub mod redis;

use futures::future::BoxFuture;
use futures::stream::BoxStream;

use crate::canonical::Text;
use crate::error::Error;
use crate::table::{Key, Table};

/// A store to compare with.
pub trait Store: Send + Sync {
    /// Its name in reports, lower case.
    fn name(&self) -> &'static str;

    /// How the store spells the key of a row. Injective within a table.
    fn key(&self, table: &Table, key: &[&[u8]]) -> Vec<u8>;

    /// Looks the rows up; the answers stand in the order of the keys, an absent row as none.
    fn rows<'a>(
        &'a self,
        table: &'a Table,
        keys: &'a [Vec<u8>],
    ) -> BoxFuture<'a, Result<Vec<Option<StoredRow>>, Error>>;

    /// Every key that a row of these tables can have produced, in batches, in any order, possibly more than once.
    /// Keys that none of them can have produced are somebody else's and left out.
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

/// A key found in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// The table's place among those that were asked for.
    pub table: usize,
    /// As the store spells it.
    pub store_key: Vec<u8>,
    /// The canonical texts of the key columns.
    pub key: Key,
}
