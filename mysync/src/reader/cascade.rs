//! Foreign keys that change rows of followed tables without row events, where `reader.on_cascade` is "follow": when a parent's row goes
//! or gets another key, the children's tables are read anew.
//!
//! Which rows went nobody says: not MySQL, where they are gone, nor the parent's event. So it is all of a table that is read, and
//! what it does not have any more is deleted. While parents' rows come and go that is done again and again.

use crate::decode::{RowsEvent, RowsKind, TableMap};
use crate::encode::refuse;
use crate::error::Result;
use crate::schema::TableName;
use crate::source::Parent;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The tables to look at.
#[derive(Debug, Default)]
pub(super) struct Parents(BTreeMap<TableName, Arc<Parent>>);

impl Parents {
    pub(super) fn new(parents: Vec<Parent>) -> Self {
        let pair = |parent: Parent| (parent.table.clone(), Arc::new(parent));
        Self(parents.into_iter().map(pair).collect())
    }

    pub(super) fn get(&self, database: &str, table: &str) -> Option<Arc<Parent>> {
        match self.0.is_empty() {
            true => None,
            false => self.0.get(&(database.to_owned(), table.to_owned())).cloned(),
        }
    }
}

/// Whether a row of the event goes, or gets another key.
pub(super) fn strikes(parent: &Parent, rows: &RowsEvent<'_>, map: &TableMap) -> Result<bool> {
    match rows.kind {
        RowsKind::Insert => return Ok(false),
        RowsKind::Delete => return Ok(true),
        RowsKind::Update => {}
    }
    // Where the binlog does not name the columns, by their places.
    let place = |(name, place): &(String, usize)| match map.column_index(name) {
        Some(index) => Some(index),
        None if map.columns.iter().all(|column| column.name.is_empty()) => Some(*place),
        None => None,
    };
    let places: Option<Vec<usize>> = parent.columns.iter().map(place).collect();
    let Some(places) = places.filter(|places| places.iter().all(|place| *place < map.columns.len())) else {
        return Ok(true);
    };
    for change in rows.images(map).map_err(refuse)? {
        let change = change.map_err(refuse)?;
        let (Some(before), Some(after)) = (change.before, change.after) else {
            continue;
        };
        for place in &places {
            if before.bytes(*place).map_err(refuse)? != after.bytes(*place).map_err(refuse)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
