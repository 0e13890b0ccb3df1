//! Which columns a row had a value in when this writer wrote it last.
//!
//! A row that lacks columns needs a marker that hides their older values, and markers stay for ever. A row that is written again
//! with the same columns needs no further one: everything that is older than the first lies behind its marker, and everything
//! since was written from here. So what is known is only good for as long as nobody else writes the partition: it bears the
//! number of the partition's life, which changes whenever its cursor is read.
//!
//! Memory is bounded: of two halves the older one is dropped when the younger is full. A row that is not known gets a marker.

use std::collections::HashMap;

/// Rows in each half, about 20 MB together.
const ROWS_MAX: usize = 200_000;

/// What is known of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// The life of the row's partition.
    pub(super) life: u32,
    /// A hash of the names of the columns that have a value.
    pub(super) columns: u64,
}

/// Rows, by a hash of table and key that is wide enough to stand for them.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    young: HashMap<u128, Shape>,
    old: HashMap<u128, Shape>,
}

impl Shapes {
    /// Whether the row had this shape when it was written last. It has from now on.
    pub(super) fn is_still(&mut self, row: u128, shape: Shape) -> bool {
        let before = self.young.insert(row, shape).or_else(|| self.old.remove(&row));
        if self.young.len() >= ROWS_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        before == Some(shape)
    }

    /// The row is written in a way that needs no marker.
    pub(super) fn forget(&mut self, row: u128) {
        if self.young.remove(&row).is_none() {
            self.old.remove(&row);
        }
    }

    /// Whether there is nothing to forget.
    pub(super) fn is_empty(&self) -> bool {
        self.young.is_empty() && self.old.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_still_the_same_only_in_the_same_life() {
        let mut shapes = Shapes::default();
        let shape = |life, columns| Shape { life, columns };
        assert!(!shapes.is_still(1, shape(7, 9)));
        assert!(shapes.is_still(1, shape(7, 9)));
        assert!(!shapes.is_still(1, shape(8, 9)));
        assert!(!shapes.is_still(1, shape(8, 10)));
        assert!(shapes.is_still(1, shape(8, 10)));
        shapes.forget(1);
        assert!(shapes.is_empty() && !shapes.is_still(1, shape(8, 10)));
    }

    #[test]
    fn rows_that_are_used_outlive_others_and_memory_is_bounded() {
        let mut shapes = Shapes::default();
        let shape = Shape { life: 1, columns: 1 };
        shapes.is_still(0, shape);
        let rows = u128::try_from(ROWS_MAX).unwrap() * 3;
        for row in 1..rows {
            shapes.is_still(row, shape);
            if row % 1_000 == 0 {
                assert!(shapes.is_still(0, shape), "{row}");
            }
        }
        assert!(shapes.young.len() + shapes.old.len() <= 2 * ROWS_MAX);
        assert!(!shapes.is_still(1, shape));
    }
}
