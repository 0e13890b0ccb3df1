//! The window of sequenced delivery: numbered records between the reader and a producer without transactions. No I/O.
//!
//! Batches come in stream order and their records are numbered through, from 0. The producer takes records in this order
//! ([`Window::next`], [`Window::advance`]), and tells which were acknowledged, in any order. [`Window::acknowledged_to`] is the
//! number below which *everything* is acknowledged: only that far may a checkpoint speak. When a delivery has failed, the
//! producer starts anew and [`Window::rewind`] hands out again, in order, all that is not acknowledged, from the first one on.
//!
//! A batch is kept until its last record and those of all batches before are acknowledged. So memory is bounded by the
//! window's bounds and one batch more, however late one acknowledgement comes.

use super::{Batch, Record};
use std::collections::VecDeque;

/// When the window takes no further batch.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Memory of the batches that are kept.
    pub bytes_max: usize,
    /// Records in them.
    pub records_max: usize,
}

/// Records that were not all acknowledged yet.
#[derive(Debug)]
pub struct Window {
    bounds: Bounds,
    /// The first one holds the first record that is not acknowledged.
    kept: VecDeque<Kept>,
    bytes: usize,
    records: usize,
    /// The next record to hand out: its batch in `kept` and its place there.
    next: (usize, usize),
    acknowledged_to: u64,
    end: u64,
    freed: Vec<Batch>,
}

#[derive(Debug)]
struct Kept {
    first: u64,
    batch: Batch,
    acknowledged: Vec<bool>,
    unacknowledged: usize,
}

impl Window {
    /// An empty window.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            kept: VecDeque::new(),
            bytes: 0,
            records: 0,
            next: (0, 0),
            acknowledged_to: 0,
            end: 0,
            freed: Vec::new(),
        }
    }

    /// Whether another batch may be pushed.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.bytes < self.bounds.bytes_max && self.records < self.bounds.records_max
    }

    /// Takes a batch and numbers its records.
    pub fn push(&mut self, batch: Batch) {
        let count = batch.len();
        if count == 0 {
            self.freed.push(batch);
            return;
        }
        self.bytes += batch.memory();
        self.records += count;
        self.kept.push_back(Kept {
            first: self.end,
            acknowledged: vec![false; count],
            unacknowledged: count,
            batch,
        });
        self.end += count as u64;
    }

    /// The number that the next record to be pushed gets.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Everything below this number is acknowledged, and nothing is known of this one.
    #[must_use]
    pub fn acknowledged_to(&self) -> u64 {
        self.acknowledged_to
    }

    /// The next record for the producer, with its number; `None` when it has got all.
    #[must_use]
    pub fn next(&self) -> Option<(u64, Record<'_>)> {
        let (index, place) = self.next;
        let kept = self.kept.get(index)?;
        Some((kept.first + place as u64, kept.batch.record(place)?))
    }

    /// The producer has taken the next record.
    pub fn advance(&mut self) {
        self.next.1 += 1;
        self.skip_acknowledged();
    }

    /// A record is acknowledged. Hearing it again changes nothing.
    ///
    /// # Panics
    /// When the record was never pushed: an acknowledgement of another window's record would let a checkpoint run ahead.
    pub fn acknowledge(&mut self, number: u64) {
        assert!(number < self.end, "record {number} was acknowledged and never sent");
        if number < self.acknowledged_to {
            return;
        }
        let index = self.kept.partition_point(|kept| kept.first <= number) - 1;
        let kept = &mut self.kept[index];
        let place = usize::try_from(number - kept.first).unwrap_or(usize::MAX);
        if !std::mem::replace(&mut kept.acknowledged[place], true) {
            kept.unacknowledged -= 1;
            self.move_up();
        }
    }

    /// A delivery has failed: everything that is not acknowledged is handed out again.
    pub fn rewind(&mut self) {
        self.next = (0, 0);
        self.skip_acknowledged();
    }

    /// A batch that is not needed any more, to be filled again.
    pub fn take_freed(&mut self) -> Option<Batch> {
        self.freed.pop()
    }

    /// Frees what is acknowledged at the front, and finds the first record that is not.
    fn move_up(&mut self) {
        while let Some(front) = self.kept.front()
            && front.unacknowledged == 0
            && let Some(kept) = self.kept.pop_front()
        {
            self.bytes -= kept.batch.memory();
            self.records -= kept.batch.len();
            self.freed.push(kept.batch);
            self.next = match self.next {
                // What was to be handed out again has been acknowledged meanwhile.
                (0, _) => (0, 0),
                (index, place) => (index - 1, place),
            };
        }
        let Some(front) = self.kept.front() else {
            self.acknowledged_to = self.end;
            return;
        };
        let from = usize::try_from(self.acknowledged_to.saturating_sub(front.first)).unwrap_or(usize::MAX);
        let acknowledged = front.acknowledged[from..].iter().take_while(|known| **known).count();
        self.acknowledged_to = front.first + (from + acknowledged) as u64;
        self.skip_acknowledged();
    }

    fn skip_acknowledged(&mut self) {
        while let Some(kept) = self.kept.get(self.next.0) {
            match kept.acknowledged.get(self.next.1) {
                Some(true) => self.next.1 += 1,
                Some(false) => return,
                None => self.next = (self.next.0 + 1, 0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Origin;
    use crate::version::Version;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const BOUNDS: Bounds = Bounds {
        bytes_max: 2_000,
        records_max: 12,
    };
    const BATCH_RECORDS_MAX: usize = 6;

    /// A batch of records whose keys are their numbers.
    fn batch(first: u64, count: usize) -> Batch {
        let mut batch = Batch::default();
        let origin = Origin {
            file_number: 1,
            offset: 4,
            row: 0,
        };
        for number in first..first + count as u64 {
            let from = batch.bytes_len();
            batch.bytes().extend_from_slice(&number.to_le_bytes());
            let key = from..batch.bytes_len();
            batch.push(0, 0, Version::FIRST, origin, key, None);
        }
        batch
    }

    #[derive(Debug, Clone)]
    enum Act {
        Push(usize),
        HandOut(usize),
        Acknowledge(prop::sample::Index),
        Fail,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            2 => (0..=BATCH_RECORDS_MAX).prop_map(Act::Push),
            4 => (1..10usize).prop_map(Act::HandOut),
            8 => any::<prop::sample::Index>().prop_map(Act::Acknowledge),
            1 => Just(Act::Fail),
        ]
    }

    /// What a window is, said with sets and without any care for memory.
    #[derive(Default)]
    struct Model {
        pushed: u64,
        acknowledged: BTreeSet<u64>,
        /// With the producer now, not acknowledged.
        in_flight: BTreeSet<u64>,
        handed_out_to: u64,
    }

    impl Model {
        fn acknowledged_to(&self) -> u64 {
            (0..self.pushed)
                .find(|number| !self.acknowledged.contains(number))
                .unwrap_or(self.pushed)
        }

        fn next(&self) -> Option<u64> {
            (self.handed_out_to..self.pushed).find(|number| !self.acknowledged.contains(number))
        }
    }

    fn hand_out(window: &mut Window, model: &mut Model) -> Result<bool, TestCaseError> {
        let next = window.next().map(|(number, record)| (number, record.key.to_vec()));
        prop_assert_eq!(next.as_ref().map(|(number, _)| *number), model.next());
        let Some((number, key)) = next else { return Ok(false) };
        prop_assert_eq!(key, number.to_le_bytes());
        prop_assert!(model.in_flight.insert(number), "handed out twice without a failure");
        model.handed_out_to = number + 1;
        window.advance();
        Ok(true)
    }

    proptest! {
        #[test]
        fn a_window_is_what_its_model_says_and_ends_with_everything_acknowledged(acts in prop::collection::vec(act(), 0..200)) {
            let (mut window, mut model) = (Window::new(BOUNDS), Model::default());
            let mut batch_bytes_max = 0;
            for act in acts {
                match act {
                    Act::Push(count) if window.has_room() => {
                        let batch = batch(model.pushed, count);
                        batch_bytes_max = batch_bytes_max.max(batch.memory());
                        window.push(batch);
                        model.pushed += count as u64;
                    }
                    Act::Push(_) => {}
                    Act::HandOut(count) => {
                        for _ in 0..count {
                            hand_out(&mut window, &mut model)?;
                        }
                    }
                    Act::Acknowledge(index) => {
                        let in_flight: Vec<u64> = model.in_flight.iter().copied().collect();
                        if !in_flight.is_empty() {
                            let number = in_flight[index.index(in_flight.len())];
                            window.acknowledge(number);
                            window.acknowledge(number);
                            model.in_flight.remove(&number);
                            model.acknowledged.insert(number);
                        }
                    }
                    Act::Fail => {
                        window.rewind();
                        model.in_flight.clear();
                        model.handed_out_to = 0;
                    }
                }
                prop_assert_eq!(window.end(), model.pushed);
                prop_assert_eq!(window.acknowledged_to(), model.acknowledged_to());
                prop_assert!(window.bytes < BOUNDS.bytes_max + batch_bytes_max);
                prop_assert!(window.records < BOUNDS.records_max + BATCH_RECORDS_MAX);
                let kept: usize = window.kept.iter().map(|kept| kept.batch.len()).sum();
                prop_assert_eq!(window.records, kept);
                while window.take_freed().is_some() {}
            }
            while hand_out(&mut window, &mut model)? {}
            for number in std::mem::take(&mut model.in_flight) {
                window.acknowledge(number);
            }
            prop_assert_eq!(window.acknowledged_to(), model.pushed);
            prop_assert_eq!((window.bytes, window.records, window.kept.len()), (0, 0, 0));
            prop_assert!(window.has_room());
        }
    }

    #[test]
    #[should_panic(expected = "record 3 was acknowledged and never sent")]
    fn an_acknowledgement_of_another_window_is_a_defect() {
        let mut window = Window::new(BOUNDS);
        window.push(batch(0, 3));
        window.acknowledge(3);
    }
}
