//! A random history of the rows of one table, as a topic would hold it: inserts, updates, deletes, columns that become NULL and
//! have a value again, a column that is added and one that is dropped. What a row must be after any part of it is known.

use super::store::{Row, Rows, change};
use mysync::target::RowChange;
use mysync::writer::Fold;
use std::collections::BTreeMap;

const KEYS: u64 = 24;

pub struct History {
    table: String,
    changes: Vec<Change>,
}

struct Change {
    key: String,
    /// Columns, all of them; none when the row is gone.
    columns: Option<BTreeMap<&'static str, Option<String>>>,
}

/// Changes that are applied at once, folded.
pub struct Batch {
    pub changes: Vec<RowChange>,
    /// The offset behind them.
    pub end: i64,
}

impl History {
    pub fn new(table: &str, seed: u64, length: usize) -> Self {
        let mut state = seed;
        let mut below = |bound: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        let mut changes = Vec::with_capacity(length);
        for at in 0..length {
            // A few keys get most of the changes.
            let bound = if below(2) == 0 { 3 } else { KEYS };
            let key = below(bound).to_string();
            let mut columns = BTreeMap::from([("id", Some(key.clone()))]);
            for column in ["a", "b", "added", "dropped"] {
                let there = match column {
                    "added" => at > length / 3,
                    "dropped" => at < 2 * length / 3,
                    _ => true,
                };
                if there {
                    columns.insert(column, (below(3) > 0).then(|| format!("{column}{at}")));
                }
            }
            let columns = (below(5) > 0).then_some(columns);
            changes.push(Change { key, columns });
        }
        Self {
            table: table.to_owned(),
            changes,
        }
    }

    pub fn len(&self) -> i64 {
        i64::try_from(self.changes.len()).unwrap()
    }

    /// How many different keys there are.
    pub fn keys(&self) -> usize {
        self.state_of(&self.changes, true).len()
    }

    /// The rows after the changes before `end`.
    pub fn state(&self, end: i64) -> Rows {
        self.state_of(&self.changes[..usize::try_from(end).unwrap()], false)
    }

    fn state_of(&self, changes: &[Change], keeps_deleted: bool) -> Rows {
        let mut rows = Rows::new();
        for change in changes {
            match &change.columns {
                Some(columns) => {
                    let present = columns
                        .iter()
                        .filter_map(|(name, text)| Some(((*name).to_owned(), text.clone()?)));
                    rows.insert(change.key.clone(), present.collect());
                }
                None if keeps_deleted => {
                    rows.insert(change.key.clone(), Row::new());
                }
                None => {
                    rows.remove(&change.key);
                }
            }
        }
        rows
    }

    /// All changes in batches of these sizes in turn, folded as a writer does.
    pub fn batches(&self, sizes: &[usize]) -> Vec<Batch> {
        let mut batches = Vec::new();
        let mut sizes = sizes.iter().cycle();
        let mut start = 0;
        while start < self.changes.len() {
            let end = (start + sizes.next().unwrap()).min(self.changes.len());
            let mut fold = Fold::default();
            for at in start..end {
                let Change { key, columns } = &self.changes[at];
                let version = i64::try_from(at).unwrap() + 1;
                let row = columns.as_ref().map(|columns| serde_json::to_string(columns).unwrap());
                fold.push(
                    key.clone().into_bytes(),
                    change(&self.table, key, row.as_deref(), version),
                    1,
                );
            }
            batches.push(Batch {
                changes: fold.into_changes(),
                end: i64::try_from(end).unwrap(),
            });
            start = end;
        }
        batches
    }
}
