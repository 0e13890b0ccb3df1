//! From rows to what the gateway is asked, a chunk at a time.
//!
//! The rows of a chunk are put by one request, and what hides their older columns is deleted by a second one, behind the first: for
//! a moment a reader can see an older value in a column that has become NULL, but never a row without its columns.
//!
//! A chunk that is refused is halved until the row is alone that it is about.

use super::connection::Lent;
use super::name::KEY_BYTES_MAX;
use super::shapes::{Shape, Shapes};
use super::table::{FAMILY, Table, cell};
use crate::error::{Error, Kind, Result};
use crate::target::canonical;
use hbase_thrift2::{TColumn, TDelete, TDeleteType, TPut, TTHBaseServiceSyncClient};
use serde_json::value::RawValue;
use std::sync::{Arc, Mutex, PoisonError};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

/// A timestamp that HBase would replace by its own time.
const LATEST: i64 = i64::MAX;

const WHO_ELSE: &str =
    "who else writes to this topic? mysync's own messages, and Debezium's, hold the row as an object, with its key";

/// What a row needs in a request besides its texts, about.
const ROW_OVERHEAD_BYTES: usize = 200;

/// Rows of one table.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) table: Arc<Table>,
    pub(super) rows: Vec<Row>,
    pub(super) bytes: usize,
}

/// A row as it is to stand in the store.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) key: Vec<u8>,
    /// The row's JSON object; none when the row is gone.
    pub(super) object: Option<Box<RawValue>>,
    pub(super) version: i64,
    /// Whether states of the row that were folded away had other columns.
    pub(super) columns_changed: bool,
    /// The life of its partition, for [`Shapes`].
    pub(super) life: u32,
    /// The step that it is of.
    pub(super) step: usize,
}

/// A row that the store refuses for good: its step, and why.
pub(super) type Refusal = (usize, Error);

impl Chunk {
    pub(super) fn new(table: Arc<Table>) -> Self {
        Self {
            table,
            rows: Vec::new(),
            bytes: 0,
        }
    }

    pub(super) fn push(&mut self, row: Row) {
        self.bytes += ROW_OVERHEAD_BYTES + row.key.len() + row.object.as_ref().map_or(0, |object| object.get().len());
        self.rows.push(row);
    }

    /// Writes the rows. Which of them the store refuses is no error.
    pub(super) fn apply(&self, lent: &mut Lent, shapes: &Mutex<Shapes>) -> Result<Vec<Refusal>> {
        let mut refused = Vec::new();
        match self.send(lent, &self.rows, Some(shapes)) {
            Ok(()) => {}
            Err(error) if error.kind != Kind::Definite => return Err(error),
            Err(error) => {
                // What was noted of their shapes may be of markers that are never sent, and is older than what is written now.
                let mut shapes = shapes.lock().unwrap_or_else(PoisonError::into_inner);
                self.rows.iter().for_each(|row| shapes.forget(self.hash(row)));
                drop(shapes);
                self.halve(lent, &self.rows, error, &mut refused)?;
            }
        }
        Ok(refused)
    }

    fn hash(&self, row: &Row) -> u128 {
        xxh3_128_with_seed(&row.key, self.table.seed)
    }

    /// What of these rows is refused, and the others written.
    fn halve(&self, lent: &mut Lent, rows: &[Row], error: Error, refused: &mut Vec<Refusal>) -> Result<()> {
        if let [row] = rows {
            refused.push((
                row.step,
                error.detail(format!("table {}, row {}", self.table.name, shown(&row.key))),
            ));
            return Ok(());
        }
        let (left, right) = rows.split_at(rows.len() / 2);
        for half in [left, right] {
            // Nothing is known of their shapes: each row gets a marker.
            match self.send(lent, half, None) {
                Ok(()) => {}
                Err(error) if error.kind != Kind::Definite => return Err(error),
                Err(error) => self.halve(lent, half, error, refused)?,
            }
        }
        Ok(())
    }

    fn send(&self, lent: &mut Lent, rows: &[Row], shapes: Option<&Mutex<Shapes>>) -> Result<()> {
        let mut batch = Batch {
            table: &self.table,
            shapes,
            puts: Vec::with_capacity(rows.len()),
            deletes: Vec::new(),
            names: Vec::new(),
            columns: 0,
            scratch: Vec::new(),
        };
        for row in rows {
            batch.add(lent, row)?;
        }
        let Batch { puts, deletes, .. } = batch;
        let table = || self.table.name.as_bytes().to_vec();
        let what = || format!("cannot write rows to table {}", self.table.name);
        if !puts.is_empty() {
            lent.call(what, |client| client.put_multiple(table(), puts))?;
        }
        if !deletes.is_empty() {
            lent.call(what, |client| client.delete_multiple(table(), deletes))?;
        }
        Ok(())
    }
}

/// The requests that are made up.
struct Batch<'a> {
    table: &'a Table,
    /// None when every row that lacks columns shall have a marker.
    shapes: Option<&'a Mutex<Shapes>>,
    puts: Vec<TPut>,
    deletes: Vec<TDelete>,
    /// Names of the columns of the last row, all of which the table's mark has.
    names: Vec<String>,
    /// How many columns rows of the table have had.
    columns: usize,
    scratch: Vec<u8>,
}

impl Batch<'_> {
    fn add(&mut self, lent: &mut Lent, row: &Row) -> Result<()> {
        if row.key.len() > KEY_BYTES_MAX {
            return Err(Error::definite("a row's key is too long for HBase")
                .detail(format!("{} bytes, at most {KEY_BYTES_MAX} are possible", row.key.len()))
                .hint("skip the change, or leave the table out of source.tables"));
        }
        if row.version == LATEST {
            let what = format!("a version cannot be a timestamp of HBase: {}", row.version);
            return Err(Error::definite(what).hint(WHO_ELSE));
        }
        let hash = xxh3_128_with_seed(&row.key, self.table.seed);
        let Some(object) = &row.object else {
            self.deletes.push(delete(&row.key, row.version));
            self.forget(hash);
            return Ok(());
        };
        let columns = canonical::columns(object.get()).map_err(|error| {
            Error::definite("a row is not a JSON object of columns")
                .detail(error)
                .hint(WHO_ELSE)
        })?;
        let names = || columns.iter().map(|(name, _)| name.as_ref());
        if !names().eq(self.names.iter().map(String::as_str)) {
            self.columns = self.table.columns_with(lent, names())?;
            self.names = names().map(str::to_owned).collect();
        }
        let present = columns.iter().filter(|(_, text)| text.is_some());
        self.scratch.clear();
        let mut count = 0;
        for (name, _) in present {
            self.scratch.extend_from_slice(name.as_bytes());
            self.scratch.push(0);
            count += 1;
        }
        if count == 0 {
            return Err(
                Error::definite("a row has no column with a value, and HBase keeps no such row").hint(WHO_ELSE),
            );
        }
        let shape = Shape {
            life: row.life,
            columns: xxh3_64(&self.scratch),
        };
        let lacks = count < self.columns;
        if (lacks && !self.is_still(hash, shape)) || row.columns_changed {
            self.deletes.push(delete(&row.key, row.version - 1));
        }
        if !lacks {
            self.forget(hash);
        }
        let cells = columns.into_iter().filter_map(|(name, text)| {
            let (name, text) = (name.into_owned().into_bytes(), text?.into_owned().into_bytes());
            Some(cell(FAMILY, name, text))
        });
        let mut column_values = Vec::with_capacity(count);
        column_values.extend(cells);
        self.puts.push(TPut {
            row: row.key.clone(),
            column_values,
            timestamp: Some(row.version),
            attributes: None,
            durability: None,
        });
        Ok(())
    }

    fn is_still(&self, row: u128, shape: Shape) -> bool {
        self.shapes.is_some_and(|shapes| {
            shapes
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_still(row, shape)
        })
    }

    fn forget(&self, row: u128) {
        if let Some(shapes) = self.shapes {
            let mut shapes = shapes.lock().unwrap_or_else(PoisonError::into_inner);
            if !shapes.is_empty() {
                shapes.forget(row);
            }
        }
    }
}

/// Hides everything of the row that is not newer.
fn delete(row: &[u8], timestamp: i64) -> TDelete {
    TDelete {
        row: row.to_vec(),
        columns: Some(vec![TColumn {
            family: FAMILY.to_vec(),
            qualifier: None,
            timestamp: Some(timestamp),
        }]),
        timestamp: None,
        delete_type: Some(TDeleteType::DELETE_FAMILY),
        attributes: None,
        durability: None,
    }
}

/// A key for an error's text.
fn shown(key: &[u8]) -> String {
    const CHARACTERS_MAX: usize = 100;
    let text = String::from_utf8_lossy(key);
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}
