//! Folding: of the changes of a partition that are applied in one step, only the last one of each key.
//!
//! The step is atomic, so nobody can see the states that are left out. Keys keep the order of their last changes.

use crate::target::{RowChange, canonical};
use std::collections::HashMap;

/// Changes of one partition that wait for a step.
#[derive(Debug, Default)]
pub struct Fold {
    /// `None` where a later change of the same key has taken over.
    slots: Vec<Option<Slot>>,
    /// The key's bytes as they stand in the record: the same row always has the same.
    last: HashMap<Box<[u8]>, usize>,
    bytes: usize,
}

#[derive(Debug)]
struct Slot {
    change: RowChange,
    bytes: usize,
}

impl Fold {
    /// Adds a change; `bytes` is what it counts against the bound on memory.
    pub fn push(&mut self, key: Vec<u8>, mut change: RowChange, bytes: usize) {
        let index = self.slots.len();
        if let Some(before) = self.last.insert(key.into_boxed_slice(), index)
            && let Some(slot) = self.slots[before].take()
        {
            self.bytes -= slot.bytes;
            if change.columns_changed.is_some() {
                let before = &slot.change;
                change.columns_changed = Some(before.columns_changed == Some(true) || !same_columns(before, &change));
            }
        }
        self.bytes += bytes;
        self.slots.push(Some(Slot { change, bytes }));
    }

    /// Keys that changed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.last.len()
    }

    /// Whether there is nothing to apply.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last.is_empty()
    }

    /// What the changes that are left count.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The changes, at most one a key.
    #[must_use]
    pub fn into_changes(self) -> Vec<RowChange> {
        self.slots.into_iter().flatten().map(|slot| slot.change).collect()
    }
}

/// Whether both rows are there and the same columns have a value in them. What cannot be read is another.
fn same_columns(left: &RowChange, right: &RowChange) -> bool {
    let (Some(left), Some(right)) = (&left.row, &right.row) else {
        return false;
    };
    let (Ok(left), Ok(right)) = (canonical::columns(left.get()), canonical::columns(right.get())) else {
        return false;
    };
    let present = |columns| -> Vec<_> {
        let columns: canonical::Columns<'_> = columns;
        columns
            .into_iter()
            .filter_map(|(name, text)| text.map(|_| name))
            .collect()
    };
    present(left) == present(right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::TableName;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn change(key: u8, value: Option<u32>) -> RowChange {
        RowChange {
            table: Arc::new(TableName {
                database: "d".into(),
                table: "t".into(),
            }),
            key: vec![("id".into(), key.to_string())],
            row: value.map(|value| serde_json::value::to_raw_value(&value).unwrap()),
            version: 1,
            columns_changed: None,
        }
    }

    fn object(row: Option<&str>) -> RowChange {
        RowChange {
            row: row.map(|row| serde_json::value::RawValue::from_string(row.to_owned()).unwrap()),
            columns_changed: Some(false),
            ..change(1, None)
        }
    }

    #[test]
    fn a_target_that_asks_is_told_of_columns_that_are_folded_away() {
        let full = r#"{"a":1,"b":"x"}"#;
        for (rows, changed) in [
            (&[Some(full)][..], false),
            (&[Some(full), Some(r#"{"a":2,"b":""}"#)], false),
            (&[Some(full), Some(r#"{"a":2,"b":null}"#)], true),
            (&[Some(full), Some(r#"{"a":2,"c":"x"}"#)], true),
            (&[Some(full), None], true),
            (&[None, Some(full)], true),
            (&[Some(r#"{"a":1,"b":null}"#), Some(full), Some(full)], true),
            (&[Some(r#"{"a":1,"b":null}"#), Some(r#"{"a":2}"#)], false),
        ] {
            let mut fold = Fold::default();
            for row in rows {
                fold.push(vec![1], object(*row), 1);
            }
            assert_eq!(fold.into_changes()[0].columns_changed, Some(changed), "{rows:?}");
        }
        let mut fold = Fold::default();
        fold.push(vec![1], change(1, None), 1);
        fold.push(vec![1], change(1, Some(1)), 1);
        assert_eq!(fold.into_changes()[0].columns_changed, None);
    }

    fn apply(store: &mut BTreeMap<String, String>, change: &RowChange) {
        let key = change.key[0].1.clone();
        match &change.row {
            Some(row) => store.insert(key, row.get().to_owned()),
            None => store.remove(&key),
        };
    }

    proptest! {
        /// Whatever was there before, the folded changes lead to what all of them lead to one by one.
        #[test]
        fn folding_ends_where_applying_one_by_one_ends(
            before in proptest::collection::vec((0u8..6, any::<u32>()), 0..6),
            changes in proptest::collection::vec((0u8..6, proptest::option::of(any::<u32>())), 0..40),
        ) {
            let mut one_by_one = BTreeMap::new();
            for (key, value) in before {
                apply(&mut one_by_one, &change(key, Some(value)));
            }
            let mut folded = one_by_one.clone();
            let mut fold = Fold::default();
            let mut last = BTreeMap::new();
            for (index, (key, value)) in changes.iter().enumerate() {
                apply(&mut one_by_one, &change(*key, *value));
                fold.push(vec![*key], change(*key, *value), index + 1);
                last.insert(*key, index + 1);
            }
            prop_assert_eq!(fold.len(), last.len());
            prop_assert_eq!(fold.bytes(), last.values().sum::<usize>());
            prop_assert_eq!(fold.is_empty(), changes.is_empty());
            let left = fold.into_changes();
            prop_assert_eq!(left.len(), last.len());
            left.iter().for_each(|change| apply(&mut folded, change));
            prop_assert_eq!(folded, one_by_one);
        }
    }
}
