//! Lanes against a store that applies one record after the other, with failures and rebalances in between.

use super::*;
use proptest::prelude::*;
use std::sync::Arc;

const FENCES: &str = "p.__db_mysync.t_fence";

fn partition(topic: &str, number: i32) -> Partition {
    Partition {
        topic: topic.into(),
        number,
    }
}

fn lanes(changes_max: usize) -> Lanes {
    Lanes::new(
        "p",
        FENCES,
        Bounds {
            changes_max,
            bytes_max: 1_000_000,
        },
    )
}

/// A row of table `d.t`; no value is the envelope of a delete.
fn message(partition: &Partition, offset: i64, id: u8, value: Option<u32>) -> Message {
    let (op, after) = match value {
        Some(value) => ("u", format!("{{\"id\":{id},\"v\":{value}}}")),
        None => ("d", "null".into()),
    };
    Message {
        partition: partition.clone(),
        offset,
        version: None,
        table: None,
        key: format!("{{\"id\":{id}}}").into_bytes(),
        value: Some(
            format!("{{\"op\":\"{op}\",\"after\":{after},\"source\":{{\"db\":\"d\",\"table\":\"t\"}}}}").into_bytes(),
        ),
    }
}

/// A cursor of records without versions.
fn at(offset: i64) -> Cursor {
    Cursor { offset, version: None }
}

fn tombstone(partition: &Partition, offset: i64, id: u8) -> Message {
    Message {
        value: None,
        ..message(partition, offset, id, None)
    }
}

fn started(lanes: &mut Lanes, partitions: &[&Partition]) {
    lanes.add(partitions.iter().map(|partition| (*partition).clone()));
    for partition in partitions {
        lanes.start(partition, None, 0);
    }
}

fn deliver(lanes: &mut Lanes, messages: Vec<Message>) {
    lanes.deliver(messages, BTreeMap::new());
    lanes.sort().unwrap();
}

#[test]
fn the_tombstone_after_a_delete_is_no_second_change() {
    let (mut lanes, data) = (lanes(10), partition("p.d.t", 0));
    started(&mut lanes, &[&data]);
    deliver(&mut lanes, vec![message(&data, 0, 1, None)]);
    let first = lanes.take_steps();
    assert_eq!((first.steps[0].changes.len(), first.steps[0].cursor_after), (1, at(1)));
    lanes.applied(&first.steps);
    deliver(&mut lanes, vec![tombstone(&data, 1, 1), tombstone(&data, 3, 2)]);
    let second = lanes.take_steps();
    assert_eq!(second.steps[0].changes.len(), 1);
    assert_eq!(second.steps[0].changes[0].key[0].1, "2");
    assert_eq!(
        (second.steps[0].cursor_before, second.steps[0].cursor_after),
        (Some(at(1)), at(4))
    );
}

#[test]
fn a_round_holds_no_more_than_its_bound_and_the_rest_keeps_its_order() {
    let (mut lanes, data) = (lanes(2), partition("p.d.t", 0));
    started(&mut lanes, &[&data]);
    deliver(
        &mut lanes,
        (0..5)
            .map(|offset| message(&data, offset, u8::try_from(offset).unwrap(), Some(1)))
            .collect(),
    );
    assert!(!lanes.has_room());
    let mut cursors = Vec::new();
    for _ in 0..4 {
        lanes.sort().unwrap();
        let round = lanes.take_steps();
        lanes.applied(&round.steps);
        cursors.extend(round.steps.iter().map(|step| (step.changes.len(), step.cursor_after)));
    }
    assert_eq!(cursors, [(2, at(2)), (2, at(4)), (1, at(5))]);
    assert!(lanes.has_room());
}

#[test]
fn marks_move_the_cursor_when_the_lane_settles() {
    let (mut lanes, data, empty) = (lanes(2), partition("p.d.t", 0), partition("p.d.t", 1));
    started(&mut lanes, &[&data, &empty]);
    lanes.deliver(
        vec![message(&data, 0, 1, Some(1))],
        BTreeMap::from([(data.clone(), 2), (empty.clone(), 0)]),
    );
    lanes.sort().unwrap();
    let round = lanes.take_steps();
    assert_eq!(round.steps[0].cursor_after, at(2));
    lanes.applied(&round.steps);
    lanes.deliver(Vec::new(), BTreeMap::from([(data.clone(), 3)]));
    lanes.sort().unwrap();
    assert!(lanes.take_steps().steps.is_empty());
    let round = lanes.take_settling_steps();
    assert_eq!(round.steps.len(), 1);
    assert_eq!(
        (round.steps[0].cursor_before, round.steps[0].cursor_after),
        (Some(at(2)), at(3))
    );
}

#[test]
fn records_of_partitions_that_were_taken_away_are_dropped() {
    let (mut lanes, data) = (lanes(10), partition("p.d.t", 0));
    started(&mut lanes, &[&data]);
    deliver(&mut lanes, vec![message(&data, 0, 1, Some(1))]);
    let on_its_way = lanes.take_steps();
    deliver(&mut lanes, vec![message(&data, 1, 2, Some(1))]);
    lanes.remove(&data);
    deliver(&mut lanes, vec![message(&data, 2, 2, Some(1))]);
    lanes.add([data.clone()]);
    // The step's outcome comes after the partition was given back: its cursor is read anew.
    lanes.applied(&on_its_way.steps);
    assert_eq!(lanes.not_started(), vec![data.clone()]);
    lanes.start(&data, Some(at(1)), 1);
    deliver(&mut lanes, vec![message(&data, 1, 2, Some(1))]);
    let round = lanes.take_steps();
    assert_eq!(
        (round.steps[0].cursor_before, round.steps[0].cursor_after),
        (Some(at(1)), at(2))
    );
}

#[test]
fn an_offset_that_comes_twice_is_no_change() {
    let (mut lanes, data) = (lanes(10), partition("p.d.t", 0));
    started(&mut lanes, &[&data]);
    lanes.deliver(
        vec![message(&data, 5, 1, Some(1)), message(&data, 5, 1, Some(1))],
        BTreeMap::new(),
    );
    assert!(lanes.sort().unwrap_err().is_transient());
}

#[test]
fn fences_wait_for_their_round_and_keep_nothing_else_out() {
    let (mut lanes, data, fence) = (lanes(1), partition("p.d.t", 0), partition(FENCES, 0));
    started(&mut lanes, &[&data, &fence]);
    deliver(
        &mut lanes,
        vec![message(&fence, 0, 1, Some(1)), message(&fence, 1, 1, Some(2))],
    );
    assert!(lanes.has_new_fences() && lanes.has_room());
    assert!(lanes.take_settling_steps().steps.is_empty());
    assert_eq!(lanes.hold_fences(), vec![fence.clone()]);
    assert!(lanes.holds_fences() && !lanes.has_new_fences());

    // What comes meanwhile belongs to the next round, and data goes on.
    deliver(
        &mut lanes,
        vec![message(&fence, 2, 9, Some(3)), message(&data, 0, 1, Some(1))],
    );
    assert!(!lanes.has_new_fences());
    let round = lanes.take_settling_steps();
    assert_eq!(
        round.steps.iter().map(|step| &step.partition).collect::<Vec<_>>(),
        [&data]
    );
    lanes.applied(&round.steps);
    assert_eq!(lanes.applied_to().map(|(_, offset)| offset).sum::<i64>(), 1);

    assert_eq!(lanes.release_fences(), vec![fence.clone()]);
    let round = lanes.take_steps();
    assert_eq!((round.steps[0].cursor_after, round.steps[0].changes.len()), (at(2), 1));
    lanes.applied(&round.steps);
    assert!(lanes.has_new_fences());
    lanes.remove(&fence);
    assert!(!lanes.holds_fences() && !lanes.has_new_fences());
}

/// What a store would hold, with the cursors.
#[derive(Debug, Default, PartialEq)]
struct Store {
    rows: BTreeMap<(Partition, String), String>,
    cursors: BTreeMap<Partition, Cursor>,
}

impl Store {
    fn apply(&mut self, step: &Step) {
        assert_eq!(self.cursors.get(&step.partition).copied(), step.cursor_before);
        self.cursors.insert(step.partition.clone(), step.cursor_after);
        for change in &step.changes {
            let key = (step.partition.clone(), change.key[0].1.clone());
            match &change.row {
                Some(row) => drop(self.rows.insert(key, row.get().to_owned())),
                None => drop(self.rows.remove(&key)),
            }
        }
    }

    /// Every change of which a record stands below an offset, one by one in the order of their versions.
    fn of(log: &[Message], upto: i64) -> BTreeMap<(Partition, String), String> {
        let mut seen: Vec<&Message> = log.iter().filter(|message| message.offset < upto).collect();
        seen.sort_by_key(|message| message.version);
        let mut rows = BTreeMap::new();
        let mut parser = Parser::new("p");
        for message in seen {
            let change = parser.parse(message).unwrap();
            let key = (message.partition.clone(), change.key[0].1.clone());
            match change.row {
                Some(row) => drop(rows.insert(key, row.get().to_owned())),
                None => drop(rows.remove(&key)),
            }
        }
        rows
    }
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
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..2usize, 1..6usize).prop_map(|(lane, count)| Event::Deliver(lane, count)),
        3 => any::<bool>().prop_map(|settle| Event::Apply { settle }),
        3 => Just(Event::Outcome),
        1 => any::<bool>().prop_map(|applied| Event::Fail { applied }),
        1 => (0..2usize).prop_map(Event::Rebalance),
    ]
}

struct Run {
    lanes: Lanes,
    logs: Vec<Vec<Message>>,
    next: [usize; 2],
    store: Store,
    on_its_way: Option<Round>,
}

impl Run {
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
        if let Some(round) = self.on_its_way.take() {
            round.steps.iter().for_each(|step| self.store.apply(step));
            self.lanes.applied(&round.steps);
            self.start();
        }
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
                lost.iter()
                    .filter(|_| applied)
                    .flat_map(|round| &round.steps)
                    .for_each(|step| self.store.apply(step));
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
            Event::Deliver(..) | Event::Apply { .. } => {}
        }
        self.lanes.sort().unwrap();
    }

    fn check(&self) {
        for (partition, cursor) in &self.store.cursors {
            let lane = usize::try_from(partition.number).unwrap();
            let rows = self.store.rows.iter().filter(|((of, _), _)| of == partition);
            let rows: BTreeMap<_, _> = rows.map(|(key, row)| (key.clone(), row.clone())).collect();
            assert_eq!(rows, Store::of(&self.logs[lane], cursor.offset));
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
}

/// What the lives of a reader in sequenced delivery leave in a partition: each begins again at some change that the one
/// before had written, and gets further, or not. A life can end between the records of one change.
fn log(number: i32) -> impl Strategy<Value = Vec<Message>> {
    let change = (0u8..4, proptest::option::of(any::<u32>()), any::<bool>(), any::<bool>());
    let changes = proptest::collection::vec(change, 1..30);
    let lives = proptest::collection::vec((0..100usize, 0..100usize, 1..3i64), 1..5);
    (changes, lives).prop_map(move |(changes, lives)| {
        let partition = partition("p.d.t", number);
        let mut records = Vec::new();
        for ((id, value, with_tombstone, moves), version) in changes.into_iter().zip(1..) {
            let versioned = |message: Message| Message {
                version: Some(version),
                ..message
            };
            records.push(versioned(message(&partition, 0, id, value)));
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
        first in log(0), second in log(1), changes_max in 1usize..6, events in proptest::collection::vec(event(), 0..80),
    ) {
        let logs = vec![first, second];
        let mut run = Run {
            lanes: lanes(changes_max),
            next: [0, 0],
            store: Store::default(),
            on_its_way: None,
            logs,
        };
        run.lanes.add(run.logs.iter().map(|log| log[0].partition.clone()));
        run.start();
        for event in events {
            run.happen(event);
            run.check();
        }
        // Each turn applies something, so this is more than enough.
        for _ in 0..200 {
            if run.is_done() {
                break;
            }
            for event in [Event::Deliver(0, 5), Event::Deliver(1, 5), Event::Apply { settle: true }, Event::Outcome] {
                run.happen(event);
            }
            run.check();
        }
        prop_assert!(run.is_done());
    }
}

#[test]
fn names_are_shared() {
    let (mut lanes, data) = (lanes(10), partition("p.d.t", 0));
    started(&mut lanes, &[&data]);
    deliver(
        &mut lanes,
        vec![message(&data, 0, 1, Some(1)), message(&data, 1, 2, Some(1))],
    );
    let round = lanes.take_steps();
    assert!(Arc::ptr_eq(
        &round.steps[0].changes[0].table,
        &round.steps[0].changes[1].table
    ));
}
