//! The version of a change: where it stands in the order of all changes.
//!
//! `(epoch, seq)` packed in one positive i64: 15 bits of epoch above 48 bits of sequence. `seq` grows by one a change in
//! stream order, so versions without gaps prove completeness; `epoch` grows at every switch of source server or reset of
//! the position. A later change of a row always has the higher version, whatever server it came from.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

const SEQ_BITS: u32 = 48;
const SEQ_MAX: u64 = (1 << SEQ_BITS) - 1;
const EPOCH_MAX: u16 = (1 << 15) - 1;

/// `epoch << 48 | seq`, always positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(i64);

impl Version {
    /// The version of the very first change.
    pub const FIRST: Version = Version((1 << SEQ_BITS) | 1);

    /// Packs an epoch of at most 32,767 and a sequence number of at most 2^48 - 1; `None` beyond that.
    #[must_use]
    pub fn new(epoch: u16, seq: u64) -> Option<Self> {
        let fits = epoch <= EPOCH_MAX && seq <= SEQ_MAX;
        fits.then(|| Version((i64::from(epoch) << SEQ_BITS) | i64::try_from(seq).unwrap_or(i64::MAX)))
    }

    /// The version of the next change in the same epoch.
    pub fn next(self) -> Result<Self> {
        Version::new(self.epoch(), self.seq() + 1).ok_or_else(|| {
            Error::definite(format!("sequence numbers of epoch {} are used up", self.epoch()))
                .hint("start a new epoch with a new reader name and a new topic prefix")
        })
    }

    /// The version so many before; the epoch's first number at the least.
    #[must_use]
    pub fn before(self, count: u64) -> Self {
        Version::new(self.epoch(), self.seq().saturating_sub(count)).unwrap_or(self)
    }

    /// The first version of the next epoch.
    pub fn next_epoch(self) -> Result<Self> {
        let next = self.epoch().checked_add(1).and_then(|epoch| Version::new(epoch, 1));
        next.ok_or_else(|| {
            Error::definite(format!("epochs are used up: {}", self.epoch()))
                .hint("start anew with a new reader name and a new topic prefix")
        })
    }

    /// Grows at every switch of source server.
    #[must_use]
    pub fn epoch(self) -> u16 {
        u16::try_from(self.0 >> SEQ_BITS).unwrap_or(EPOCH_MAX)
    }

    /// Grows by one a change.
    #[must_use]
    pub fn seq(self) -> u64 {
        u64::try_from(self.0).unwrap_or(0) & SEQ_MAX
    }

    /// Reads what [`Version::as_i64`] gave; `None` for a number that is no version.
    #[must_use]
    pub fn from_i64(value: i64) -> Option<Self> {
        (value >= 0).then_some(Version(value))
    }

    /// As it stands in the header `mysync.version`.
    #[must_use]
    pub fn as_i64(self) -> i64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn order_is_epoch_first_then_seq(a in (0..=EPOCH_MAX, 0..=SEQ_MAX), b in (0..=EPOCH_MAX, 0..=SEQ_MAX)) {
            let (left, right) = (Version::new(a.0, a.1).unwrap(), Version::new(b.0, b.1).unwrap());
            prop_assert_eq!(left.cmp(&right), a.cmp(&b));
            prop_assert_eq!((left.epoch(), left.seq()), a);
            prop_assert!(left.as_i64() >= 0);
            prop_assert_eq!(Version::from_i64(left.as_i64()), Some(left));
        }
    }

    #[test]
    fn the_next_epoch_begins_with_its_first_change() {
        let version = Version::new(7, 4_711).unwrap();
        assert_eq!(version.next_epoch().unwrap(), Version::new(8, 1).unwrap());
        assert!(Version::new(EPOCH_MAX, 1).unwrap().next_epoch().is_err());
    }

    #[test]
    fn the_last_sequence_number_has_no_next() {
        let last = Version::new(7, SEQ_MAX).unwrap();
        assert!(last.next().is_err());
        assert_eq!(Version::new(7, SEQ_MAX + 1), None);
        assert_eq!(Version::new(EPOCH_MAX + 1, 0), None);
    }
}
