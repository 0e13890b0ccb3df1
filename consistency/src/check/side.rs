//! One store of a check and what is known of it, and the comparison of a batch of rows with every store.

use std::sync::Arc;

use futures::future::try_join_all;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::settle::Suspect;
use crate::compare::agree;
use crate::error::Error;
use crate::findings::Kept;
use crate::mysql::{self, Batch};
use crate::report::{FenceReport, Reason, StoreReport, TableReport};
use crate::store::{Store, StoredKey};
use crate::table::Table;

/// A store and what is known of it.
pub struct Side {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The figures of each table.
    pub tables: Vec<TableReport>,
    /// What became of the fences.
    pub fence: FenceReport,
    /// Why it is compared no further.
    pub reason: Option<Reason>,
}

impl Side {
    /// Nothing is known yet.
    pub fn new(store: Arc<dyn Store>, tables: &[Table], fenced: bool) -> Self {
        let reports = tables.iter().map(|table| TableReport {
            name: table.full_name(),
            ..TableReport::default()
        });
        Self {
            store,
            tables: reports.collect(),
            fence: FenceReport {
                used: fenced,
                ..FenceReport::default()
            },
            reason: None,
        }
    }

    /// Whether it is still compared.
    pub fn takes_part(&self) -> bool {
        self.reason.is_none()
    }

    /// What is reported of it.
    pub fn report(self, kept: Kept) -> StoreReport {
        let mut report = StoreReport {
            fence: self.fence,
            tables: self.tables,
            findings: kept.findings,
            findings_omitted: kept.omitted,
            ..StoreReport::unknown(self.store.name(), "", "")
        };
        report.reason = self.reason;
        report.judge();
        report
    }
}

/// A store with its place among the sides.
pub type Placed = (usize, Arc<dyn Store>);

/// What became of one batch.
pub struct Compared {
    /// Rows of MySQL.
    pub rows: u64,
    /// By store.
    pub with: Vec<ComparedWith>,
}

/// What became of one batch in one store.
pub struct ComparedWith {
    /// The store's place.
    pub side: usize,
    /// Of the keys of all rows.
    pub fingerprints: Vec<u64>,
    /// The rows that differ.
    pub suspects: Vec<Suspect>,
    /// Rows that are not there, and may have expired.
    pub expired: u64,
}

/// Looks a batch up in all stores at once and keeps what differs.
pub async fn compare_batch(
    stores: Arc<[Placed]>,
    tables: Arc<[Table]>,
    number: usize,
    batch: Batch,
) -> Result<Compared, Error> {
    let table = &tables[number];
    let with = stores.iter().map(|placed| compare_with(placed, table, &batch));
    Ok(Compared {
        with: try_join_all(with).await?,
        rows: batch.len() as u64,
    })
}

async fn compare_with((side, store): &Placed, table: &Table, batch: &Batch) -> Result<ComparedWith, Error> {
    let mut store_keys = Vec::with_capacity(batch.len());
    for row in batch {
        let parts: Option<Vec<&[u8]>> = table.key.iter().map(|place| row.get(*place)?.as_deref()).collect();
        store_keys.push(store.key(table, &parts.ok_or_else(|| mysql::null_in_key(table))?));
    }
    let stored = store.rows(table, &store_keys).await?;
    if stored.len() != batch.len() {
        return Err(Error::failed(
            "the store answered for another number of rows",
            format!(
                "{}, {}: asked for {}, answered {}",
                store.name(),
                table.full_name(),
                batch.len(),
                stored.len()
            ),
            "report it with the store's version",
        ));
    }
    let fingerprints = store_keys
        .iter()
        .map(|store_key| fingerprint(table.number, store_key))
        .collect();
    let stored = stored.into_iter().map(|stored| stored.map(|row| table.comparable(row)));
    let (mut suspects, mut expired) = (Vec::new(), 0);
    for ((row, store_key), stored) in batch.iter().zip(store_keys).zip(stored) {
        match stored {
            None if store.rows_expire() => expired += 1,
            stored if agree(Some(row), stored.as_ref()) => {}
            _ => {
                let found = StoredKey {
                    table: table.number,
                    store_key,
                    key: table.key_of(row),
                };
                suspects.push(Suspect::new(*side, found));
            }
        }
    }
    Ok(ComparedWith {
        side: *side,
        fingerprints,
        suspects,
        expired,
    })
}

/// Of a key as a store spells it.
pub fn fingerprint(table: usize, store_key: &[u8]) -> u64 {
    xxh3_64_with_seed(store_key, table as u64)
}
