//! A table of rows: how it is made, what its settings must be, and its mark.
//!
//! # Settings
//! Timestamps are versions, not times, and what is deleted must stay deleted however old the change is that comes again. So a
//! column keeps one version, a delete hides what is not newer whatever was written first (no `NEW_VERSION_BEHAVIOR`), deleted
//! cells go (no `KEEP_DELETED_CELLS`), and major compaction keeps the markers
//! (`hbase.hstore.time.to.purge.deletes`). A table with other settings brings rows back, and is refused.
//!
//! # The mark
//! is a row of the writer's own. It holds the table's `id`, which a table that was dropped, emptied and made anew does not
//! have any more, the `column:<name>`s that rows have had, and of each partition the `cursor:<group>:<topic>:<number>` up to which its
//! changes are in this table. By them `cursors` finds out that a table is not the one, or an older copy of the one, that the
//! cursors speak of.

use super::connection::Lent;
use super::name::{MARK, split_keys};
use crate::error::{Error, Result};
use crate::target::Cursor;
use hbase_thrift2::{
    TColumnFamilyDescriptor, TColumnValue, TGet, TKeepDeletedCells, TPut, TResult, TTHBaseServiceSyncClient,
    TTableDescriptor, TTableName,
};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// The family of rows.
pub(super) const FAMILY: &[u8] = b"r";

const ID: &[u8] = b"id";
const COLUMN: &str = "column:";
const CURSOR: &str = "cursor:";
const PURGE: &str = "hbase.hstore.time.to.purge.deletes";
const PURGE_NEVER: &str = "9223372036854775807";

/// A table that is there, with settings that do.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: String,
    /// Tells this table from one of the same name before or after it.
    pub(super) id: String,
    /// Stands for the table in hashes of its rows.
    pub(super) seed: u64,
    columns: Mutex<HashSet<String>>,
}

/// What a table's mark says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) id: Option<String>,
    pub(super) columns: HashSet<String>,
    /// By what the cursor's own row is called.
    pub(super) cursors: BTreeMap<String, Cursor>,
}

impl Table {
    /// Makes the table where there is none, and looks at its settings and its mark.
    pub(super) fn open(lent: &mut Lent, name: &str, salt_buckets: u16) -> Result<Self> {
        if make(lent, name, FAMILY, &split_keys(salt_buckets))? {
            tracing::info!(table = name, "made a table in HBase");
        }
        check(&describe(lent, name)?, name)?;
        let made = new_id();
        let what = || format!("cannot mark table {name}");
        let put = put(MARK, FAMILY, vec![(ID.to_vec(), made.into_bytes())]);
        let (table, id) = (name.as_bytes().to_vec(), ID.to_vec());
        lent.call(what, |client| {
            client.check_and_put(table, MARK.to_vec(), FAMILY.to_vec(), id, Vec::new(), put)
        })?;
        let mark = Mark::read(lent, name)?.unwrap_or_default();
        let Some(id) = mark.id else {
            return Err(Error::transient(format!("table {name} was emptied a moment ago")));
        };
        Ok(Self {
            name: name.to_owned(),
            id,
            seed: xxhash_rust::xxh3::xxh3_64(name.as_bytes()),
            columns: Mutex::new(mark.columns),
        })
    }

    /// How many columns rows have had, once those of a row are among them.
    pub(super) fn columns_with<'a>(&self, lent: &mut Lent, names: impl Iterator<Item = &'a str>) -> Result<usize> {
        let known = || self.columns.lock().unwrap_or_else(PoisonError::into_inner);
        let new: Vec<String> = {
            let known = known();
            let new = names.filter(|name| !known.contains(*name));
            new.map(str::to_owned).collect()
        };
        if !new.is_empty() {
            // In the mark first: whoever writes the table later has to know of a column that any row has a value in.
            let cells = new
                .iter()
                .map(|name| (format!("{COLUMN}{name}").into_bytes(), Vec::new()))
                .collect();
            let (table, put) = (self.name.as_bytes().to_vec(), put(MARK, FAMILY, cells));
            let what = || format!("cannot mark table {}", self.name);
            lent.call(what, |client| client.put(table, put))?;
        }
        let mut known = known();
        known.extend(new);
        Ok(known.len())
    }

    /// Learns of columns. False when the mark is another table's.
    pub(super) fn learn(&self, mark: &Mark) -> bool {
        let mut known = self.columns.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(mark.columns.iter().cloned());
        mark.id.as_ref() == Some(&self.id)
    }

    /// Notes in the mark how far a partition is in this table, if the mark says what it said before. False when it does not: the
    /// table is another one, or an older copy.
    pub(super) fn note(&self, lent: &mut Lent, row: &str, before: Option<Cursor>, after: Cursor) -> Result<bool> {
        let cell = format!("{CURSOR}{row}").into_bytes();
        let put = put(MARK, FAMILY, vec![(cell.clone(), after.to_string().into_bytes())]);
        let (compared, expected) = match before {
            Some(before) => (cell, before.to_string()),
            None => (ID.to_vec(), self.id.clone()),
        };
        let table = self.name.as_bytes().to_vec();
        let what = || format!("cannot mark table {}", self.name);
        lent.call(what, |client| {
            client.check_and_put(
                table,
                MARK.to_vec(),
                FAMILY.to_vec(),
                compared,
                expected.into_bytes(),
                put,
            )
        })
    }

    /// The error of a table that is not what the cursors speak of.
    pub(super) fn is_another(&self) -> Error {
        let name = &self.name;
        Error::transient(format!(
            "a table of HBase is not the one any more that the cursors speak of: {name}"
        ))
        .hint("it was dropped, emptied, made anew or restored from a copy; what it lacks is replayed")
    }
}

impl Mark {
    /// The mark of a table; none where there is no table.
    pub(super) fn read(lent: &mut Lent, table: &str) -> Result<Option<Self>> {
        // A table that was dropped a moment ago is asked for by the gateway again and again.
        if !exists(lent, table)? {
            return Ok(None);
        }
        let what = || format!("cannot read the mark of table {table}");
        let name = table.as_bytes().to_vec();
        let row = lent.call(what, |client| client.get(name, get(MARK)))?;
        Ok(Some(Self::parse(table, &row)?))
    }

    fn parse(table: &str, row: &TResult) -> Result<Self> {
        let mut mark = Self::default();
        for cell in &row.column_values {
            let (name, value) = (text(&cell.qualifier), text(&cell.value));
            if cell.qualifier == ID {
                mark.id = Some(value.into_owned());
            } else if let Some(column) = name.strip_prefix(COLUMN) {
                mark.columns.insert(column.to_owned());
            } else if let Some(of) = name.strip_prefix(CURSOR) {
                let cursor = value.parse().map_err(|_| {
                    Error::definite(format!("the mark of table {table} holds no cursor: {value:?}"))
                        .detail(format!("row %mysync, column r:{name}"))
                        .hint("does anything else write to this row? drop the table, and the writer fills it again")
                })?;
                mark.cursors.insert(of.to_owned(), cursor);
            }
        }
        Ok(mark)
    }
}

/// Makes a table with one family; false when there is one.
pub(super) fn make(lent: &mut Lent, name: &str, family: &[u8], split_keys: &[Vec<u8>]) -> Result<bool> {
    if exists(lent, name)? {
        return Ok(false);
    }
    let (descriptor, split_keys) = (descriptor(name, family), split_keys.to_vec());
    let what = || format!("cannot make table {name}");
    match lent.call(what, |client| client.create_table(descriptor, split_keys)) {
        Ok(()) => Ok(true),
        // Another writer was faster, or the answer was lost.
        Err(error) => match exists(lent, name)? {
            true => Ok(false),
            false => Err(error),
        },
    }
}

fn exists(lent: &mut Lent, name: &str) -> Result<bool> {
    let what = || format!("cannot find out whether there is a table {name}");
    lent.call(what, |client| client.table_exists(table_name(name)))
}

fn describe(lent: &mut Lent, name: &str) -> Result<TTableDescriptor> {
    let what = || format!("cannot read the settings of table {name}");
    lent.call(what, |client| client.get_table_descriptor(table_name(name)))
}

fn table_name(name: &str) -> TTableName {
    TTableName {
        ns: None,
        qualifier: name.as_bytes().to_vec(),
    }
}

fn descriptor(name: &str, family: &[u8]) -> TTableDescriptor {
    let family = TColumnFamilyDescriptor {
        name: family.to_vec(),
        attributes: None,
        configuration: Some(BTreeMap::from([(PURGE.to_owned(), PURGE_NEVER.to_owned())])),
        block_size: None,
        bloomn_filter_type: None,
        compression_type: None,
        dfs_replication: None,
        data_block_encoding: None,
        keep_deleted_cells: Some(TKeepDeletedCells::FALSE),
        max_versions: Some(1),
        min_versions: Some(0),
        scope: None,
        time_to_live: Some(i32::MAX),
        block_cache_enabled: None,
        cache_blooms_on_write: None,
        cache_data_on_write: None,
        cache_indexes_on_write: None,
        compress_tags: None,
        evict_blocks_on_close: None,
        in_memory: None,
    };
    TTableDescriptor {
        table_name: table_name(name),
        columns: Some(vec![family]),
        attributes: None,
        durability: None,
    }
}

/// Refuses a table in which what was deleted could come back.
fn check(table: &TTableDescriptor, name: &str) -> Result<()> {
    let families = table.columns.as_deref().unwrap_or_default();
    let family = families.iter().find(|family| family.name == FAMILY);
    let Some(family) = family else {
        return Err(refuse_settings(name, "it has no family r"));
    };
    let set = |key: &str| {
        let attribute = family.attributes.as_ref().and_then(|all| all.get(key.as_bytes()));
        attribute.map(|value| text(value).to_lowercase())
    };
    let purge = family.configuration.as_ref().and_then(|all| all.get(PURGE).cloned());
    let of_table = table.attributes.as_ref().and_then(|all| all.get(PURGE.as_bytes()));
    let purge = purge.or_else(|| of_table.map(|value| text(value).into_owned()));
    let wrong = [
        ("VERSIONS", family.max_versions.map(|value| value.to_string()), "1"),
        ("MIN_VERSIONS", family.min_versions.map(|value| value.to_string()), "0"),
        ("TTL", family.time_to_live.map(|value| value.to_string()), "2147483647"),
        (
            "KEEP_DELETED_CELLS",
            family.keep_deleted_cells.map(|value| value.0.to_string()),
            "0",
        ),
        (
            "NEW_VERSION_BEHAVIOR",
            Some(set("NEW_VERSION_BEHAVIOR").unwrap_or_else(|| "false".into())),
            "false",
        ),
        (PURGE, purge, PURGE_NEVER),
    ];
    let wrong: Vec<String> = wrong
        .into_iter()
        .filter(|(_, found, expected)| found.as_deref() != Some(expected))
        .map(|(key, found, expected)| format!("{key} is {}, not {expected}", found.as_deref().unwrap_or("not set")))
        .collect();
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(refuse_settings(name, &wrong.join(", "))),
    }
}

fn refuse_settings(name: &str, wrong: &str) -> Error {
    Error::definite(format!("a table of HBase has settings with which deleted rows can come back: {name}"))
        .detail(wrong)
        .hint(format!(
            "drop the table, and the writer makes it again; or, if nothing was ever written to it, say in the HBase shell: alter \
             '{name}', {{NAME => 'r', VERSIONS => 1, MIN_VERSIONS => 0, TTL => 'FOREVER', KEEP_DELETED_CELLS => 'FALSE', \
             NEW_VERSION_BEHAVIOR => 'false', CONFIGURATION => {{'{PURGE}' => '{PURGE_NEVER}'}}}}"
        ))
}

/// No two tables get the same.
fn new_id() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", since.as_nanos(), std::process::id())
}

pub(super) fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// All of a row.
pub(super) fn get(row: &[u8]) -> TGet {
    TGet {
        row: row.to_vec(),
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

/// A cell with the timestamp of its put.
pub(super) fn cell(family: &[u8], qualifier: Vec<u8>, value: Vec<u8>) -> TColumnValue {
    TColumnValue {
        family: family.to_vec(),
        qualifier,
        value,
        timestamp: None,
        tags: None,
        type_: None,
    }
}

/// Cells of the writer's own, which have the server's time.
pub(super) fn put(row: &[u8], family: &[u8], cells: Vec<(Vec<u8>, Vec<u8>)>) -> TPut {
    let cells = cells
        .into_iter()
        .map(|(qualifier, value)| cell(family, qualifier, value));
    TPut {
        row: row.to_vec(),
        column_values: cells.collect(),
        timestamp: None,
        attributes: None,
        durability: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_that_tables_are_made_with_do_and_any_other_is_refused() {
        let good = descriptor("t", FAMILY);
        check(&good, "t").unwrap();
        let change = |change: &dyn Fn(&mut TColumnFamilyDescriptor)| {
            let mut table = good.clone();
            table.columns.as_mut().unwrap().iter_mut().for_each(change);
            let error = check(&table, "t").unwrap_err();
            assert!(!error.is_transient() && error.hint.is_some());
            error.detail.unwrap()
        };
        for (found, expected) in [
            (change(&|family| family.name = b"f".to_vec()), "it has no family r"),
            (change(&|family| family.max_versions = Some(3)), "VERSIONS is 3, not 1"),
            (
                change(&|family| family.time_to_live = Some(60)),
                "TTL is 60, not 2147483647",
            ),
            (
                change(&|family| family.keep_deleted_cells = Some(TKeepDeletedCells::TRUE)),
                "KEEP_DELETED_CELLS is 1, not 0",
            ),
            (
                change(&|family| {
                    family.attributes = Some(BTreeMap::from([(b"NEW_VERSION_BEHAVIOR".to_vec(), b"true".to_vec())]));
                }),
                "NEW_VERSION_BEHAVIOR is true, not false",
            ),
            (
                change(&|family| family.configuration = None),
                "hbase.hstore.time.to.purge.deletes is not set, not 9223372036854775807",
            ),
        ] {
            assert_eq!(found, expected);
        }
    }
}
