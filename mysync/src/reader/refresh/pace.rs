//! How many rows are read at a time: as many as take half a second, and no more bytes than are held.

use std::time::Duration;

/// A range of rows shall take so long: the table is locked against DDL meanwhile, and what the stream changes has to be remembered.
const RANGE_TIME: Duration = Duration::from_millis(500);

const ROWS_FIRST: usize = 2_000;
const ROWS_MIN: usize = 50;
const ROWS_MAX: usize = 200_000;

/// From one range to the next it grows by no more than this.
const GROWTH_MAX: f64 = 4.0;

/// Bytes that are held of a range, as row images; one row may exceed them.
pub(super) const RANGE_BYTES_MAX: usize = 8 << 20;

/// Rows of the next range.
#[derive(Debug)]
pub(super) struct Pace {
    rows: usize,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { rows: ROWS_FIRST }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// So many rows of a range came, in so many bytes and so much time.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )] // a bounded estimate
    pub(super) fn note(&mut self, rows: usize, bytes: usize, took: Duration) {
        let factor = RANGE_TIME.as_secs_f64() / took.as_secs_f64().max(1e-6);
        let by_time = self.rows as f64 * factor.clamp(1.0 / GROWTH_MAX, GROWTH_MAX);
        // A little less, so that no row has to be passed over.
        let by_bytes = RANGE_BYTES_MAX as f64 * 0.9 * rows.max(1) as f64 / bytes.max(1) as f64;
        let next = match rows {
            0 => by_time,
            _ => by_time.min(by_bytes),
        };
        self.rows = (next as usize).clamp(ROWS_MIN, ROWS_MAX);
    }

    /// The stream changed too much meanwhile.
    pub(super) fn shrink(&mut self) {
        self.rows = (self.rows / 4).max(ROWS_MIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_grow_to_their_time_and_bytes() {
        let mut pace = Pace::new();
        // 100,000 rows a second of 10 bytes each.
        for _ in 0..10 {
            let took = Duration::from_micros(10 * pace.rows() as u64);
            pace.note(pace.rows(), 10 * pace.rows(), took);
        }
        assert!((45_000..55_000).contains(&pace.rows()), "{pace:?}");
        // Of a megabyte each only so many are held.
        pace.note(9, 9 << 20, Duration::from_millis(90));
        assert_eq!(pace.rows(), ROWS_MIN);
        for _ in 0..20 {
            pace.note(pace.rows(), pace.rows(), Duration::from_micros(1));
        }
        assert_eq!(pace.rows(), ROWS_MAX);
        pace.note(pace.rows(), 1_000, Duration::from_secs(20));
        assert_eq!(pace.rows(), ROWS_MAX / 4);
        pace.shrink();
        assert_eq!(pace.rows(), ROWS_MAX / 16);
        pace.note(0, 0, Duration::from_millis(500));
        assert_eq!(pace.rows(), ROWS_MAX / 16);
    }
}
