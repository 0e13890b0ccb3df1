//! Keys that a topic says are there, by records of before a version alone: what nobody has shown since.
//!
//! A refresh of a whole table publishes every row that the table has, or finds that the stream has published it since the refresh
//! began. So a key whose last record is older than that, and no tombstone, is of a row that the table does not have. The topic
//! itself is the list of keys: nothing has to be remembered beside it.
//!
//! # Memory
//! To know that a record is the last one of its key, a partition is read to its end with the older keys in memory, as hashes of
//! 16 bytes, at most [`HASHES_MAX`] of them. Where there are more, a pass takes only hashes below a bound, and the partition is
//! read once more for the others. The keys themselves are read again, for those that are left.

use crate::error::Result;
use std::collections::HashSet;
use tokio::sync::mpsc;

/// Hashes in memory: with the table that holds them, 36 MB, and 54 MB for the moment in which it grows.
pub const HASHES_MAX: usize = 1_500_000;

/// Lists of keys between the thread that reads and the caller.
const LISTS_QUEUED_MAX: usize = 2;

/// Keys in lists, a few hundred each.
#[derive(Debug)]
pub struct Outdated {
    lists: mpsc::Receiver<Result<Vec<Vec<u8>>>>,
}

impl Outdated {
    /// The keys, and where to put them. It ends when the other half is dropped.
    #[must_use]
    pub fn channel() -> (mpsc::Sender<Result<Vec<Vec<u8>>>>, Self) {
        let (sender, lists) = mpsc::channel(LISTS_QUEUED_MAX);
        (sender, Self { lists })
    }

    /// Looks for the next list: `Ready(None)` at the end.
    pub fn poll_next(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<Result<Option<Vec<Vec<u8>>>>> {
        self.lists.poll_recv(context).map(Option::transpose)
    }
}

/// One reading of a partition: which keys of a range of hashes are outdated.
#[derive(Debug)]
pub struct Pass {
    seed: u64,
    hashes_max: usize,
    first: u128,
    /// The last hash of the range: it falls while there are too many.
    last: u128,
    hashes: HashSet<u128>,
}

impl Pass {
    /// The pass from a hash on, 0 at first.
    #[must_use]
    pub fn new(first: u128, seed: u64, hashes_max: usize) -> Self {
        Self {
            seed,
            hashes_max,
            first,
            last: u128::MAX,
            hashes: HashSet::new(),
        }
    }

    fn hash(&self, key: &[u8]) -> u128 {
        xxhash_rust::xxh3::xxh3_128_with_seed(key, self.seed)
    }

    /// Takes a record, in the partition's order: whether its version is an old one, and whether it has a value.
    pub fn take(&mut self, key: &[u8], is_old: bool, has_value: bool) {
        let hash = self.hash(key);
        if !(self.first..=self.last).contains(&hash) {
            return;
        }
        if !is_old || !has_value {
            self.hashes.remove(&hash);
            return;
        }
        self.hashes.insert(hash);
        while self.hashes.len() > self.hashes_max && self.last > self.first {
            let last = self.first + (self.last - self.first) / 2;
            self.last = last;
            self.hashes.retain(|hash| *hash <= last);
        }
    }

    /// How many keys of the range are outdated, once all records have been taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whether this key is one, asked once of each: it is none afterwards.
    pub fn give(&mut self, key: &[u8]) -> bool {
        let hash = self.hash(key);
        self.hashes.remove(&hash)
    }

    /// The pass for what was left out.
    #[must_use]
    pub fn next(&self) -> Option<Self> {
        let first = self.last.checked_add(1)?;
        Some(Self::new(first, self.seed, self.hashes_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn passes_find_the_keys_whose_last_record_is_old_and_has_a_value(
            records in prop::collection::vec((0..60_u8, any::<bool>(), any::<bool>()), 0..300),
            old_part in 0..300_usize,
            hashes_max in 1..20_usize,
            seed: u64,
        ) {
            // Versions rise but for copies, so most of the old ones stand before the others.
            let records: Vec<(u8, bool, bool)> = records.iter().enumerate()
                .map(|(index, (key, is_copy, has_value))| (*key, index < old_part || (*is_copy && index % 7 == 0), *has_value))
                .collect();
            let mut last = std::collections::BTreeMap::new();
            for (key, is_old, has_value) in &records {
                last.insert(*key, *is_old && *has_value);
            }
            let expected: BTreeSet<u8> = last.into_iter().filter(|(_, is_outdated)| *is_outdated).map(|(key, _)| key).collect();
            let (mut found, mut passes) = (BTreeSet::new(), 0);
            let mut pass = Some(Pass::new(0, seed, hashes_max));
            while let Some(mut now) = pass {
                for (key, is_old, has_value) in &records {
                    now.take(&[*key], *is_old, *has_value);
                    prop_assert!(now.len() <= hashes_max);
                }
                for (key, ..) in &records {
                    if now.give(&[*key]) {
                        prop_assert!(found.insert(*key), "given twice");
                    }
                }
                prop_assert!(now.is_empty());
                passes += 1;
                pass = now.next();
            }
            prop_assert_eq!(found, expected);
            prop_assert!(passes <= 300);
        }
    }
}
