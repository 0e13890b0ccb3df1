//! Lanes against a store that applies one record after the other, with failures, rebalances, and records that cannot be applied
//! in between. The store keeps rows and cursor together, or, like one without transactions, writes rows first and by their
//! version, and the cursor afterwards.

use super::*;
use crate::target::{Outcome, RowChange};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A row's version, and its text unless it is gone.
type Versioned = (i64, Option<String>);

/// What a store would hold, with the cursors.
#[derive(Debug, Default)]
struct Store {
    rows: BTreeMap<(Partition, String), Versioned>,
    cursors: BTreeMap<Partition, Cursor>,
    /// Versions of changes that it refuses.
    refused: BTreeSet<i64>,
    /// Rows and cursor are two steps.
    is_torn: bool,
}

impl Store {
    /// `is_cut`: it fails after the rows, where rows and cursor are two steps.
    fn apply(&mut self, step: &Step, is_cut: bool) -> Outcome {
        assert_eq!(self.cursors.get(&step.partition).copied(), step.cursor_before);
        let (refused, taken): (Vec<&RowChange>, Vec<&RowChange>) = step
            .changes
            .iter()
            .partition(|change| self.refused.contains(&change.version));
        if refused.is_empty() || self.is_torn {
            taken.into_iter().for_each(|change| self.write(&step.partition, change));
        }
        if !refused.is_empty() {
            return Outcome::Refused(Error::definite("poison"));
        }
        if !(is_cut && self.is_torn) {
            self.cursors.insert(step.partition.clone(), step.cursor_after);
        }
        Outcome::Applied
    }

    fn write(&mut self, partition: &Partition, change: &RowChange) {
        let key = (partition.clone(), change.key[0].1.clone());
        let row = change.row.as_ref().map(|row| row.get().to_owned());
        let stands = self.rows.get(&key).map_or(0, |(version, _)| *version);
        if !self.is_torn || change.version >= stands {
            self.rows.insert(key, (change.version, row));
        }
    }

    fn rows_of(&self, partition: &Partition) -> BTreeMap<String, String> {
        let rows = self.rows.iter().filter(|((of, _), _)| of == partition);
        rows.filter_map(|((_, key), (_, row))| Some((key.clone(), row.clone()?)))
            .collect()
    }

    /// Every change of which a record stands below an offset and that was not skipped, one by one in the order of their
    /// versions.
    fn of(log: &[Message], upto: i64, skipped: &BTreeSet<Skipped>) -> BTreeMap<String, String> {
        let is_skipped = |message: &&Message| skipped.contains(&identity(message));
        let mut seen: Vec<&Message> = log.iter().filter(|message| message.offset < upto).collect();
        seen.retain(|message| !is_skipped(message));
        seen.sort_by_key(|message| message.version);
        let mut rows = BTreeMap::new();
        let mut parser = Parser::new("p");
        for message in seen {
            let change = parser.parse(message).unwrap();
            let key = change.key[0].1.clone();
            match change.row {
                Some(row) => drop(rows.insert(key, row.get().to_owned())),
                None => drop(rows.remove(&key)),
            }
        }
        rows
    }
}

/// What a record and its copies share: version, key, and whether it is a tombstone.
type Skipped = (i64, Vec<u8>, bool);

fn identity(message: &Message) -> Skipped {
    (message.version.unwrap(), message.key.clone(), message.value.is_none())
}

/// What happens next in a run.
#[derive(Debug, Clone)]
enum Event {
    /// So many records of a partition come.
    Deliver(usize, usize),
    /// The target is given a round; its outcome is known at the next `Outcome`.
    Apply {
        settle: bool,
    },
    Outcome,
    /// The outcome is lost: the step was applied or not, and all starts over from the cursors.
    Fail {
        applied: bool,
    },
    /// A partition is taken away and given back.
    Rebalance(usize),
    /// A person looks at what is stopped.
    Person {
        skips: bool,
    },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..2usize, 1..6usize).prop_map(|(lane, count)| Event::Deliver(lane, count)),
        3 => any::<bool>().prop_map(|settle| Event::Apply { settle }),
        3 => Just(Event::Outcome),
        1 => any::<bool>().prop_map(|applied| Event::Fail { applied }),
        1 => (0..2usize).prop_map(Event::Rebalance),
        1 => any::<bool>().prop_map(|skips| Event::Person { skips }),
    ]
}

struct Run {
    lanes: Lanes,
    logs: Vec<Vec<Message>>,
    next: [usize; 2],
    store: Store,
    on_its_way: Option<Round>,
    /// What a person has passed over.
    skipped: [BTreeSet<Skipped>; 2],
}

impl Run {
    fn new(logs: Vec<Vec<Message>>, changes_max: usize, refused: BTreeSet<i64>, is_torn: bool) -> Self {
        let mut run = Run {
            lanes: lanes(changes_max),
            next: [0, 0],
            store: Store {
                refused,
                is_torn,
                ..Store::default()
            },
            on_its_way: None,
            skipped: Default::default(),
            logs,
        };
        run.lanes.add(run.logs.iter().map(|log| log[0].partition.clone()));
        run.start();
        run
    }

    fn start(&mut self) {
        for partition in self.lanes.not_started() {
            let lane = usize::try_from(partition.number).unwrap();
            let cursor = self.store.cursors.get(&partition).copied();
            let offset = cursor.map_or(0, |cursor| cursor.offset);
            self.lanes.start(&partition, cursor, offset);
            self.next[lane] = self.logs[lane].partition_point(|message| message.offset < offset);
        }
    }

    fn outcome(&mut self) {
        for step in self.on_its_way.take().into_iter().flat_map(|round| round.steps) {
            let stopped = self.lanes.obstacle(&step.partition).map(|obstacle| obstacle.offset);
            match self.store.apply(&step, false) {
                Outcome::Applied => self.lanes.applied(&step),
                Outcome::Refused(reason) => self.lanes.refused(&step, reason).unwrap(),
            }
            assert!(stopped.is_none(), "a step of a partition that is stopped");
        }
        self.start();
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver(lane, count) if self.lanes.has_room() => {
                let from = self.next[lane];
                let to = (from + count).min(self.logs[lane].len());
                self.next[lane] = to;
                self.lanes.deliver(self.logs[lane][from..to].to_vec(), BTreeMap::new());
            }
            Event::Apply { settle } if self.on_its_way.is_none() => {
                let round = if settle {
                    self.lanes.take_settling_steps()
                } else {
                    self.lanes.take_steps()
                };
                self.on_its_way = (!round.steps.is_empty()).then_some(round);
            }
            Event::Outcome => self.outcome(),
            Event::Fail { applied } => {
                let lost = self.on_its_way.take();
                for step in lost.iter().filter(|_| applied).flat_map(|round| &round.steps) {
                    self.store.apply(step, true);
                }
                self.lanes.reset();
                self.start();
            }
            Event::Rebalance(lane) => {
                let partition = self.logs[lane][0].partition.clone();
                self.lanes.remove(&partition);
                self.lanes.add([partition]);
                // The cursor is read after the step on its way is done: the target does one thing after the other.
                match self.on_its_way {
                    Some(_) => self.outcome(),
                    None => self.start(),
                }
            }
            Event::Person { skips } => self.look(skips),
            Event::Deliver(..) | Event::Apply { .. } => {}
        }
        self.lanes.sort().unwrap();
    }

    /// Skips, or tries again, what is stopped. Who is stopped is so at a record that the store or the parser refuses.
    fn look(&mut self, skips: bool) {
        let stopped: Vec<(Partition, i64)> = self
            .lanes
            .stopped()
            .map(|(partition, obstacle)| (partition.clone(), obstacle.offset))
            .collect();
        for (partition, offset) in stopped {
            let lane = usize::try_from(partition.number).unwrap();
            let record = self.logs[lane].iter().find(|message| message.offset == offset).unwrap();
            let version = record.version.unwrap();
            let is_understood = Parser::new("p").parse(record).is_ok();
            assert!(!is_understood || self.store.refused.contains(&version));
            if !skips {
                self.lanes.retry(&partition);
                self.start();
            } else if self.on_its_way.is_none() {
                assert!(!self.lanes.skip(&partition, offset + 1), "no other record");
                assert!(self.lanes.skip(&partition, offset));
                let round = self.lanes.take_steps();
                let step = round.steps.iter().find(|step| step.partition == partition).unwrap();
                assert!((step.cursor_after.offset, step.changes.len()) == (offset + 1, 0));
                self.skipped[lane].insert(identity(record));
                self.on_its_way = Some(round);
                self.outcome();
            }
        }
    }

    fn check(&self) {
        for (lane, log) in self.logs.iter().enumerate() {
            let partition = &log[0].partition;
            let upto = self.store.cursors.get(partition).map_or(0, |cursor| cursor.offset);
            // In two steps rows may be ahead of the cursor, and only then are.
            if !self.store.is_torn || self.is_done() {
                let expected = Store::of(log, upto, &self.skipped[lane]);
                assert_eq!(self.store.rows_of(partition), expected);
            }
        }
    }

    fn is_done(&self) -> bool {
        let done = |log: &Vec<Message>| {
            let last = &log[log.len() - 1];
            let cursor = self.store.cursors.get(&last.partition);
            cursor.is_some_and(|cursor| cursor.offset == last.offset + 1)
        };
        self.logs.iter().all(done)
    }

    fn finish(&mut self) -> bool {
        // Each turn applies something, or finds out more about a record, so this is more than enough.
        for _ in 0..1_000 {
            if self.is_done() {
                break;
            }
            let person = Event::Person { skips: true };
            for event in [
                Event::Deliver(0, 5),
                Event::Deliver(1, 5),
                Event::Apply { settle: true },
                Event::Outcome,
                person,
            ] {
                self.happen(event);
            }
            self.check();
        }
        self.is_done()
    }
}

/// What the lives of a reader in sequenced delivery leave in a partition: each begins again at some change that the one
/// before had written, and gets further, or not. A life can end between the records of one change. `understood` is the share of
/// changes that make sense.
fn log(number: i32, understood: f64) -> impl Strategy<Value = Vec<Message>> {
    let is_understood = proptest::bool::weighted(understood);
    let change = (
        0u8..4,
        proptest::option::of(any::<u32>()),
        any::<bool>(),
        any::<bool>(),
        is_understood,
    );
    let changes = proptest::collection::vec(change, 1..30);
    let lives = proptest::collection::vec((0..100usize, 0..100usize, 1..3i64), 1..5);
    (changes, lives).prop_map(move |(changes, lives)| {
        let partition = partition("p.d.t", number);
        let mut records = Vec::new();
        for ((id, value, with_tombstone, moves, is_understood), version) in changes.into_iter().zip(1..) {
            let versioned = |message: Message| Message {
                version: Some(version),
                ..message
            };
            let mut record = versioned(message(&partition, 0, id, value));
            if !is_understood {
                record.value = Some(b"{}".to_vec());
            }
            records.push(record);
            if value.is_none() && with_tombstone {
                records.push(versioned(tombstone(&partition, 0, id)));
            }
            // A changed primary key.
            if value.is_none() && moves {
                records.push(versioned(message(&partition, 0, id + 4, Some(1))));
            }
        }
        let (mut log, mut written, mut offset) = (Vec::new(), 0, 0);
        let lives_count = lives.len();
        for (index, (from, to, gap)) in lives.into_iter().enumerate() {
            let reached = records[from % (written + 1).min(records.len())].version;
            let from = records.partition_point(|record| record.version < reached);
            let is_last = index + 1 == lives_count;
            let to = if is_last {
                records.len()
            } else {
                from + 1 + to % (records.len() - from)
            };
            for record in &records[from..to] {
                log.push(Message {
                    offset,
                    ..record.clone()
                });
                offset += gap;
            }
            written = written.max(to);
        }
        log
    })
}

proptest! {
    /// After every atomic step, whatever failed before, the rows of a partition are what its records up to the cursor
    /// lead to one by one; and in the end everything is there.
    #[test]
    fn rows_are_always_what_the_records_up_to_the_cursor_lead_to(
        first in log(0, 1.0), second in log(1, 1.0), changes_max in 1usize..6, is_torn in any::<bool>(),
        events in proptest::collection::vec(event(), 0..80),
    ) {
        let mut run = Run::new(vec![first, second], changes_max, BTreeSet::new(), is_torn);
        for event in events {
            run.happen(event);
            run.check();
            prop_assert_eq!(run.lanes.stopped().count(), 0);
        }
        prop_assert!(run.finish());
    }

    /// The same with records that the store refuses or that are not understood: a partition stops right before such a record
    /// and at no other, and goes on without it when a person says so.
    #[test]
    fn a_partition_stops_at_exactly_the_records_that_cannot_be_applied(
        first in log(0, 0.9), second in log(1, 1.0), changes_max in 1usize..20, is_torn in any::<bool>(),
        refused in proptest::collection::btree_set(1i64..30, 0..5),
        events in proptest::collection::vec(event(), 0..80),
    ) {
        let mut run = Run::new(vec![first, second], changes_max, refused, is_torn);
        for event in events {
            run.happen(event);
            run.check();
        }
        prop_assert!(run.finish());
    }
}
