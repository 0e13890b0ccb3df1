//! The running hash: what the reader has counted, in eight bytes, so that the same place can be told in the binlogs of
//! another server.
//!
//! # What is counted
//! Rows of followed tables (table, kind, images as bytes), statements about tables in followed databases (table, kind, not
//! their text), and what becomes of XA transactions. Transactions of nothing else leave the hash as it is: a replica may
//! filter them, and has some of its own.
//!
//! # What does not matter
//! How rows are grouped into events (`binlog_row_event_max_size`), compressed or numbered; and their order within a
//! transaction, for a replica that has no key to find rows by applies an event's rows in the order of its table. So a
//! transaction is the sum of its parts' hashes, and transactions are chained. Nothing is allocated for a row.
//!
//! The rows of a prepared XA transaction are counted where it is prepared, since that is where every server has them; its
//! decision then counts by its name alone.

use super::tracker::Decision;
use super::xa::Xid;
use crate::decode::{Body, Event, Image, RowChange, RowsKind, TableMap, TableMapEvent};
use crate::encode::refuse;
use crate::error::Result;
use crate::schema::{Statement, TableChange};
use crate::tables::{INTERNAL_DATABASE, TableFilter};
use std::collections::HashMap;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Grows when the same changes get another hash.
const SCHEME: u64 = 1;

/// Odd, with its bits in no order.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// The running hash, and what the open transaction adds to it.
#[derive(Debug)]
pub(super) struct Digest {
    /// After the last complete transaction; `None` on a server with GTID, where nothing has to be hashed.
    hash: Option<u64>,
    open: Open,
    /// Followed tables of rows events that are taken as bytes.
    tables: HashMap<u64, (TableMap, TableSeed)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Open {
    sum: u64,
    parts: u64,
    marks: Marks,
}

/// What a transaction had beside rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// A statement about tables.
    pub(super) ddl: bool,
    /// Such a statement changed rows of followed tables without row events.
    pub(super) rewrites: bool,
    /// An XA transaction was prepared or decided.
    pub(super) xa: bool,
}

/// Stands for a table in the hashes of its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TableSeed(u64);

impl TableSeed {
    pub(super) fn new(database: &str, table: &str) -> Self {
        let hash = xxh3_64_with_seed(database.as_bytes(), 0);
        Self(xxh3_64_with_seed(table.as_bytes(), hash))
    }
}

impl Digest {
    /// Goes on from a hash; `None` for a server with GTID.
    pub(super) fn new(hash: Option<u64>) -> Self {
        Self {
            hash,
            open: Open::default(),
            tables: HashMap::new(),
        }
    }

    /// The hash to begin with where there is none of `scheme` yet. It is never the same twice, since versions are not.
    pub(super) fn first(scheme: u64, version: i64) -> u64 {
        xxh3_64_with_seed(&version.to_le_bytes(), scheme)
    }

    /// Stands for what is counted, and how.
    pub(super) fn scheme(filter: &TableFilter) -> u64 {
        xxh3_64_with_seed(filter.canonical().as_bytes(), SCHEME)
    }

    /// After the last complete transaction.
    pub(super) fn hash(&self) -> Option<u64> {
        self.hash
    }

    /// Counts a row of a followed table.
    #[inline]
    pub(super) fn row(&mut self, TableSeed(seed): TableSeed, kind: RowsKind, change: &RowChange<'_>) {
        if self.hash.is_none() {
            return;
        }
        let mut hash = seed.wrapping_add(match kind {
            RowsKind::Insert => 1,
            RowsKind::Update => 2,
            RowsKind::Delete => 3,
        });
        for row in [&change.before, &change.after].into_iter().flatten() {
            hash = image_hash(&row.image(), hash);
        }
        self.add(hash);
    }

    /// Counts rows as bytes; takes the table maps that come before them.
    pub(super) fn event(&mut self, event: &Event<'_>, filter: &TableFilter) -> Result<()> {
        if self.hash.is_none() {
            return Ok(());
        }
        match &event.body {
            Body::TableMap(map) if self.knows(map) => {}
            Body::TableMap(map) if filter.follows(map.database, map.table) => {
                let seed = TableSeed::new(map.database, map.table);
                let table = map.table_map().map_err(refuse)?;
                self.tables.insert(map.table_id, (table, seed));
            }
            Body::TableMap(map) => drop(self.tables.remove(&map.table_id)),
            Body::Rows(rows) => {
                let tables = std::mem::take(&mut self.tables);
                if let Some((map, seed)) = tables.get(&rows.table_id) {
                    for change in rows.images(map).map_err(refuse)? {
                        self.row(*seed, rows.kind, &change.map_err(refuse)?);
                    }
                }
                self.tables = tables;
            }
            _ => {}
        }
        Ok(())
    }

    fn knows(&self, map: &TableMapEvent<'_>) -> bool {
        let known = self.tables.get(&map.table_id);
        known.is_some_and(|(known, _)| map.is_source_of(known))
    }

    /// Another file begins: table ids are void.
    pub(super) fn forget_tables(&mut self) {
        self.tables.clear();
    }

    /// Counts a statement, if it is about a table in a followed database: by such tables the schema history goes.
    pub(super) fn statement(&mut self, statement: &Statement, filter: &TableFilter) {
        let Statement::Ddl(changes) = statement else { return };
        let is_near = |database: &str| {
            // Some servers keep names in lower case, however the statement spells them.
            filter.follows_any(database, "") || filter.follows_any(&database.to_lowercase(), "")
        };
        let near = |change: &&TableChange| change.names().any(|(database, _)| is_near(database));
        for change in changes.iter().filter(near) {
            self.open.marks.ddl = true;
            let is_internal = change.database == INTERNAL_DATABASE;
            self.open.marks.rewrites |= !is_internal && change.change.changes_rows();
            let mut hash = xxh3_64(change.change.name().as_bytes());
            for (database, table) in change.names() {
                for name in [database, table] {
                    hash = xxh3_64_with_seed(name.to_lowercase().as_bytes(), hash);
                }
            }
            self.add(hash);
        }
    }

    /// The rows that were counted are of an XA transaction that is prepared now.
    pub(super) fn prepared(&mut self, xid: &Xid) {
        self.mark_xa(0, xid);
    }

    /// Counts the decision over an XA transaction.
    pub(super) fn decided(&mut self, decision: &Decision) {
        let kind = match decision {
            Decision::OnePhase(_) => 1,
            Decision::Commit(_) => 2,
            Decision::Rollback(_) => 3,
        };
        self.mark_xa(kind, decision.xid());
    }

    fn mark_xa(&mut self, kind: u64, xid: &Xid) {
        self.open.marks.xa = true;
        self.add(xxh3_64_with_seed(xid.to_string().as_bytes(), MIX.wrapping_add(kind)));
    }

    /// The transaction is complete. Returns what it had beside rows, if it was counted at all.
    pub(super) fn end(&mut self) -> Option<Marks> {
        let open = std::mem::take(&mut self.open);
        if open.parts == 0 {
            return None;
        }
        if let Some(hash) = &mut self.hash {
            let mut bytes = [0; 24];
            for (place, value) in bytes.chunks_exact_mut(8).zip([*hash, open.sum, open.parts]) {
                place.copy_from_slice(&value.to_le_bytes());
            }
            *hash = xxh3_64(&bytes);
        }
        Some(open.marks)
    }

    /// The open transaction comes again from its beginning.
    pub(super) fn abandon(&mut self) {
        self.open = Open::default();
    }

    #[inline]
    fn add(&mut self, hash: u64) {
        self.open.sum = self.open.sum.wrapping_add(hash);
        self.open.parts += 1;
    }
}

#[inline]
fn image_hash(image: &Image<'_>, seed: u64) -> u64 {
    let seed = match image.nulls {
        [] => seed,
        nulls => xxh3_64_with_seed(nulls, seed),
    };
    let seed = (seed ^ u64::from(image.nulls_last)).wrapping_mul(MIX);
    xxh3_64_with_seed(image.values, seed)
}
