//! HBase: a row a row, in a table a table, through the Thrift2 gateway.
//!
//! The cells of family `r` are the columns by name, their values the canonical texts; NULL is an absent cell. A cell
//! of another family is one too many. HBase shows what was written at once, so there is nothing to wait for.
//!
//! The row key is the key's text (`row_key.rs`); with `salt_buckets` two hexadecimal digits and a colon stand in front,
//! the CRC-32 of the text modulo that number. Row keys that begin with `%mysync` are the writer's own. A table belongs
//! to one table of MySQL, so any other row key that no row can have is one too many.
//!
//! Keys are listed in ranges, each step from the last key on, without values: nothing is kept open in the gateway, which
//! closes what nobody asks for a minute.

mod client;

use std::collections::HashMap;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use hbase_thrift2::{TGet, THBaseServiceSyncClient, TResult, TScan, TTHBaseServiceSyncClient};

use self::client::Client;
use crate::config::{self, Config, wrong};
use crate::error::Error;
use crate::store::{Store, StoredKey, StoredRow, name_template, row_key};
use crate::table::{Key, Table};

/// Keys of one step of a scan.
const SCAN_KEYS: i32 = 2000;
/// One cell of each row, without its value.
const KEYS_ONLY: &[u8] = b"FirstKeyOnlyFilter() AND KeyOnlyFilter()";
const FAMILY: &[u8] = b"r";
/// What row keys of the writer's own begin with.
const OWN: &[u8] = b"%mysync";

/// An HBase that holds rows.
pub struct HbaseStore {
    client: Client,
    salt_buckets: u32,
    /// By the table's number.
    tables: Vec<Columns>,
}

/// A table's name in HBase, and the places of its columns by their names.
struct Columns {
    name: Vec<u8>,
    places: HashMap<Vec<u8>, usize>,
}

impl HbaseStore {
    /// Connects, and makes sure that no two tables share one.
    pub async fn connect(config: &Config, section: &config::Hbase, tables: &[Table]) -> Result<Self, Error> {
        let names: Vec<String> = tables
            .iter()
            .map(|table| section.table.name(&table.database, &table.name))
            .collect();
        if let Some((one, other)) = name_template::same(&names) {
            let (one, other) = (tables[one].full_name(), tables[other].full_name());
            let reason = format!(
                "expected a template that keeps tables apart, found {:?}: {one} and {other} share a table",
                section.table
            );
            return Err(wrong(
                &config.file,
                "key writer.hbase.table",
                &reason,
                "use {db}.{table}",
            ));
        }
        let columns = |(name, table): (String, &Table)| {
            let names = table.columns.iter().map(|column| column.name.clone().into_bytes());
            Columns {
                name: name.into_bytes(),
                places: names.enumerate().map(|(place, name)| (name, place)).collect(),
            }
        };
        // Rows are compared and keys listed at the same time.
        let client = Client::new(section, config.check.rows_parallel + 1);
        client.ask(|session| session.get_thrift_server_type()).await?;
        Ok(Self {
            client,
            salt_buckets: section.salt_buckets,
            tables: names.into_iter().zip(tables).map(columns).collect(),
        })
    }

    async fn rows_of(&self, table: &Table, keys: &[Vec<u8>]) -> Result<Vec<Option<StoredRow>>, Error> {
        let columns = &self.tables[table.number];
        let (name, wanted) = (columns.name.clone(), keys.to_vec());
        let asked = self.client.ask_of_table(&columns.name, move |session| {
            let gets = wanted.iter().map(|key| get(key.clone())).collect();
            session.get_multiple(name.clone(), gets)
        });
        Ok(match asked.await? {
            None => vec![None; keys.len()],
            Some(results) => results.into_iter().map(|result| row(columns, table, result)).collect(),
        })
    }

    async fn scan_step(&self, tables: &[Table], state: Scan) -> Result<Option<(Vec<StoredKey>, Scan)>, Error> {
        let Some(table) = tables.get(state.place) else {
            return Ok(None);
        };
        let name = &self.tables[table.number].name;
        let (asked_name, start) = (name.clone(), state.start.clone());
        let asked = self.client.ask_of_table(name, move |session| {
            session.get_scanner_results(asked_name.clone(), scan_of_keys(start.clone()), SCAN_KEYS)
        });
        let found: Vec<Vec<u8>> = asked
            .await?
            .into_iter()
            .flatten()
            .filter_map(|result| result.row)
            .collect();
        let next = match found.last() {
            None => Scan {
                place: state.place + 1,
                start: Vec::new(),
            },
            // The first that can follow.
            Some(last) => Scan {
                place: state.place,
                start: [last.as_slice(), b"\0"].concat(),
            },
        };
        let keys = found
            .into_iter()
            .filter(|key| !key.starts_with(OWN))
            .map(|store_key| StoredKey {
                table: state.place,
                key: self.parts(table, &store_key),
                store_key,
            });
        Ok(Some((keys.collect(), next)))
    }

    /// The key columns' texts, if a row of this table can have the row key.
    fn parts(&self, table: &Table, row_key: &[u8]) -> Option<Key> {
        let text = match self.salt_buckets {
            0 => row_key,
            _ => row_key.get(3..)?,
        };
        (salted(text.to_vec(), self.salt_buckets) == row_key).then(|| row_key::split_alone(table, text))?
    }
}

impl Store for HbaseStore {
    fn name(&self) -> &'static str {
        "hbase"
    }

    fn key(&self, _: &Table, key: &[&[u8]]) -> Vec<u8> {
        salted(row_key::join_alone(key), self.salt_buckets)
    }

    fn rows<'a>(
        &'a self,
        table: &'a Table,
        keys: &'a [Vec<u8>],
    ) -> BoxFuture<'a, Result<Vec<Option<StoredRow>>, Error>> {
        self.rows_of(table, keys).boxed()
    }

    fn scan<'a>(&'a self, tables: &'a [Table]) -> BoxStream<'a, Result<Vec<StoredKey>, Error>> {
        let first = Scan {
            place: 0,
            start: Vec::new(),
        };
        futures::stream::try_unfold(first, move |state| self.scan_step(tables, state)).boxed()
    }
}

/// Where a scan stands.
struct Scan {
    /// The table's place among those that are scanned.
    place: usize,
    /// The first row key that may come next.
    start: Vec<u8>,
}

/// A session with the gateway.
type Session = THBaseServiceSyncClient<client::Input, client::Output>;

fn salted(text: Vec<u8>, buckets: u32) -> Vec<u8> {
    match crc32fast::hash(&text).checked_rem(buckets) {
        None => text,
        Some(bucket) => [format!("{bucket:02x}:").as_bytes(), &text].concat(),
    }
}

fn get(row: Vec<u8>) -> TGet {
    TGet {
        row,
        columns: None,
        timestamp: None,
        time_range: None,
        max_versions: None,
        filter_string: None,
        attributes: None,
        consistency: None,
        target_replica_id: None,
        cache_blocks: None,
        store_limit: None,
        store_offset: None,
        existence_only: None,
        filter_bytes: None,
    }
}

/// Nothing is left to `Default`, which sends zeros for what is not given.
fn scan_of_keys(start: Vec<u8>) -> TScan {
    TScan {
        start_row: Some(start),
        stop_row: None,
        columns: None,
        caching: Some(SCAN_KEYS),
        max_versions: None,
        time_range: None,
        filter_string: Some(KEYS_ONLY.to_vec()),
        batch_size: None,
        attributes: None,
        reversed: None,
        cache_blocks: None,
        col_fam_time_range_map: None,
        read_type: None,
        limit: None,
        consistency: None,
        target_replica_id: None,
        filter_bytes: None,
    }
}

/// The row that the cells make; none without a cell.
fn row(columns: &Columns, table: &Table, result: TResult) -> Option<StoredRow> {
    if result.column_values.is_empty() {
        return None;
    }
    let mut row = StoredRow {
        values: vec![None; table.columns.len()],
        ..StoredRow::default()
    };
    for cell in result.column_values {
        match columns.places.get(&cell.qualifier) {
            Some(place) if cell.family == FAMILY => row.values[*place] = Some(cell.value),
            _ => {
                let name = String::from_utf8_lossy(&cell.qualifier);
                let name = match cell.family == FAMILY {
                    true => name.into_owned(),
                    false => format!("{}:{name}", String::from_utf8_lossy(&cell.family)),
                };
                row.surplus.push((name, cell.value));
            }
        }
    }
    Some(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_salt_is_two_digits_of_the_checksum_of_the_text() {
        // python3 -c 'import zlib; print(zlib.crc32(b"123456789") % 16, zlib.crc32(b"7") % 256)'
        assert_eq!(salted(b"123456789".to_vec(), 16), b"06:123456789");
        assert_eq!(salted(b"7".to_vec(), 256), b"82:7");
        assert_eq!(salted(b"7".to_vec(), 1), b"00:7");
        assert_eq!(salted(b"7".to_vec(), 0), b"7");
    }
}
