//! A history with what the checks look up again and again: which record shows which change, and when.

use crate::drill::Delivery;
use crate::history::{History, Observed, Op, Outcome, Row, Transaction, Write};
use std::collections::{HashMap, HashSet};

/// One record that a change must have: table, key, op, and the transaction's number (0 for deletes and tombstones, which
/// carry no row after the change).
pub type Mark<'a> = (&'a str, u64, Op, u64);

/// A history and its lookups.
pub struct Facts<'a> {
    /// The history.
    pub history: &'a History,
    /// The records, without those that the consumer was handed again, in order of arrival.
    pub records: Vec<&'a Observed>,
    /// The first record that shows a change.
    pub visible: HashMap<Mark<'a>, &'a Observed>,
    /// Versions of the records that show a row as it was read from the server, by table, key, and who had written it.
    pub refreshed: HashMap<(&'a str, u64, u64), Vec<i64>>,
    /// Transactions by their number.
    pub transactions: HashMap<u64, &'a Transaction>,
    /// The transactions that the primary had in the end, if it was asked.
    pub kept: Option<HashSet<u64>>,
}

impl<'a> Facts<'a> {
    /// Looks through the history once.
    #[must_use]
    pub fn of(history: &'a History) -> Self {
        let mut places = HashSet::new();
        let records: Vec<&Observed> = history
            .observed
            .iter()
            .filter(|record| places.insert((record.topic.as_str(), record.partition, record.offset)))
            .collect();
        let prefix = history.begun.as_ref().map_or("", |begun| begun.prefix.as_str());
        let mut visible = HashMap::new();
        let mut refreshed: HashMap<_, Vec<i64>> = HashMap::new();
        for record in &records {
            let row = table_of(record, prefix).zip(row_key(&record.key));
            if let (Op::Refresh, Some((table, key)), Some(version)) = (record.op, row, record.version) {
                let written_by = record.written_by.unwrap_or(0);
                refreshed.entry((table, key, written_by)).or_default().push(version);
            }
            if let Some(mark) = mark_of(record, prefix) {
                visible.entry(mark).or_insert(*record);
            }
        }
        let transactions = history
            .transactions
            .iter()
            .map(|transaction| (transaction.number, transaction))
            .collect();
        Self {
            history,
            records,
            visible,
            refreshed,
            transactions,
            kept: history
                .journal
                .as_ref()
                .map(|journal| journal.numbers.iter().copied().collect()),
        }
    }

    /// Whether the primary that survived has this transaction; all are taken to be there where nobody asked.
    #[must_use]
    pub fn is_kept(&self, number: u64) -> bool {
        self.kept.as_ref().is_none_or(|kept| kept.contains(&number))
    }

    /// The transactions whose changes must have arrived: acknowledged and kept, or kept although the answer never came.
    pub fn due(&self) -> impl Iterator<Item = &'a Transaction> {
        self.history
            .transactions
            .iter()
            .filter(|transaction| match (transaction.outcome, &self.kept) {
                (Outcome::Acknowledged, _) => self.is_kept(transaction.number),
                (Outcome::Unknown, Some(kept)) => kept.contains(&transaction.number),
                (Outcome::Unknown | Outcome::Early | Outcome::RolledBack, _) => false,
            })
    }

    /// The transactions that may have been committed once, and that the primary that survived does not have.
    pub fn lost_by_mysql(&self) -> impl Iterator<Item = &'a Transaction> {
        self.history
            .transactions
            .iter()
            .filter(|transaction| transaction.outcome != Outcome::RolledBack && !self.is_kept(transaction.number))
    }

    /// The rows that they wrote.
    #[must_use]
    pub fn rows_lost_by_mysql(&self) -> HashSet<(&'a str, u64)> {
        let rows = self.lost_by_mysql().flat_map(|transaction| &transaction.rows);
        rows.flat_map(|row| marks(row, 0))
            .map(|(table, key, _, _)| (table, key))
            .collect()
    }

    /// The transactions that MySQL acknowledged while the pipeline was listening.
    pub fn acknowledged(&self) -> impl Iterator<Item = &'a Transaction> {
        self.history
            .transactions
            .iter()
            .filter(|transaction| transaction.outcome == Outcome::Acknowledged)
    }

    /// How the reader delivered.
    #[must_use]
    pub fn delivery(&self) -> Delivery {
        self.history.drill().map(|drill| drill.delivery).unwrap_or_default()
    }

    /// `database.table` of a record of the pipeline's topics.
    #[must_use]
    pub fn table_of(&self, record: &'a Observed) -> Option<&'a str> {
        table_of(
            record,
            self.history.begun.as_ref().map_or("", |begun| begun.prefix.as_str()),
        )
    }

    /// The record with which a row's change was wholly visible: the latest of its records; none if one is absent.
    #[must_use]
    pub fn shown(&self, row: &'a Row, number: u64) -> Option<&'a Observed> {
        let shown: Option<Vec<&Observed>> = marks(row, number)
            .iter()
            .map(|mark| self.visible.get(mark).copied())
            .collect();
        shown?.into_iter().max_by_key(|record| record.at_us)
    }
}

/// The records that a row's change must have.
#[must_use]
pub fn marks(row: &Row, number: u64) -> Vec<Mark<'_>> {
    let table = row.table.as_str();
    match row.write {
        Write::Insert { key } => vec![(table, key, Op::Insert, number)],
        Write::Update { key } => vec![(table, key, Op::Update, number)],
        Write::Delete { key } => vec![(table, key, Op::Delete, 0), (table, key, Op::Tombstone, 0)],
        Write::Move { from, key } => {
            vec![
                (table, from, Op::Delete, 0),
                (table, from, Op::Tombstone, 0),
                (table, key, Op::Insert, number),
            ]
        }
    }
}

/// The key of a row in a record with one integer key column, `{"id":7}`.
#[must_use]
pub fn row_key(key: &str) -> Option<u64> {
    let (_, number) = key.strip_suffix('}')?.rsplit_once(':')?;
    number.parse().ok()
}

fn mark_of<'a>(record: &'a Observed, prefix: &str) -> Option<Mark<'a>> {
    let number = match record.op {
        Op::Insert | Op::Update => record.written_by?,
        Op::Delete | Op::Tombstone => 0,
        Op::Refresh | Op::Other => return None,
    };
    Some((table_of(record, prefix)?, row_key(&record.key)?, record.op, number))
}

fn table_of<'a>(record: &'a Observed, prefix: &str) -> Option<&'a str> {
    record.topic.strip_prefix(prefix)?.strip_prefix('.')
}
