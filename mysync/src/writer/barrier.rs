//! A barrier: the ends of partitions as they were at one moment, and which of them have not been applied yet.
//!
//! Fences and `--until-caught-up` wait on one. It only ever shrinks: partitions that appear later are not waited for, and
//! one that is deleted meanwhile is let go, so every barrier is passed in the end.

use crate::queue::Partition;
use std::collections::BTreeMap;

/// Ends that have not been reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Barrier {
    missing: BTreeMap<Partition, i64>,
}

impl Barrier {
    /// A barrier over these ends. A partition that ends at 0 holds nothing to wait for.
    #[must_use]
    pub fn new(ends: BTreeMap<Partition, i64>) -> Self {
        let missing = ends.into_iter().filter(|(_, end)| *end > 0).collect();
        Self { missing }
    }

    /// Everything of these partitions has been applied up to the offsets given.
    pub fn applied<'a>(&mut self, offsets: impl IntoIterator<Item = (&'a Partition, i64)>) {
        if self.missing.is_empty() {
            return;
        }
        for (partition, offset) in offsets {
            if self.missing.get(partition).is_some_and(|end| offset >= *end) {
                self.missing.remove(partition);
            }
        }
    }

    /// Lets go of partitions that are not there any more, or begin anew.
    pub fn keep_existing(&mut self, ends_now: &BTreeMap<Partition, i64>) {
        self.missing
            .retain(|partition, end| ends_now.get(partition).is_some_and(|now| now >= end));
    }

    /// Whether everything has been applied.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        self.missing.is_empty()
    }

    /// The partitions that have not been applied yet.
    pub fn missing(&self) -> impl Iterator<Item = &Partition> {
        self.missing.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn partition(number: i32) -> Partition {
        Partition {
            topic: "p.a.b".into(),
            number,
        }
    }

    fn offsets(numbers: &[i64]) -> BTreeMap<Partition, i64> {
        numbers
            .iter()
            .zip(0..)
            .map(|(offset, number)| (partition(number), *offset))
            .collect()
    }

    #[test]
    fn empty_partitions_and_deleted_ones_are_not_waited_for() {
        assert!(Barrier::new(offsets(&[0, 0])).is_passed());
        let mut barrier = Barrier::new(offsets(&[5, 5, 5]));
        barrier.keep_existing(&offsets(&[9, 3]));
        assert_eq!(barrier.missing().collect::<Vec<_>>(), [&partition(0)]);
        barrier.applied([(&partition(0), 5)]);
        assert!(barrier.is_passed());
    }

    proptest! {
        /// Passed exactly when every partition has once been applied up to its end, in whatever order it is told.
        #[test]
        fn is_passed_when_all_have_been_reached(
            ends in proptest::collection::vec(0i64..6, 1..5),
            told in proptest::collection::vec((0usize..6, 0i64..8), 0..40),
        ) {
            let mut barrier = Barrier::new(offsets(&ends));
            let mut reached: Vec<bool> = ends.iter().map(|end| *end == 0).collect();
            for (index, offset) in told {
                barrier.applied([(&partition(i32::try_from(index).unwrap()), offset)]);
                if let Some(end) = ends.get(index) {
                    reached[index] |= offset >= *end;
                }
                prop_assert_eq!(barrier.is_passed(), reached.iter().all(|reached| *reached));
            }
        }
    }
}
