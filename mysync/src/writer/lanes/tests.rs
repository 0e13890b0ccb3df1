//! Lanes one case at a time; `model` compares them with a store that applies one record after the other, `stops` is about
//! records that cannot be applied.

mod model;
mod stops;

use super::*;
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
        timestamp_ms: None,
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

fn all_applied(lanes: &mut Lanes, round: &Round) {
    round.steps.iter().for_each(|step| lanes.applied(step));
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
    all_applied(&mut lanes, &first);
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
        all_applied(&mut lanes, &round);
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
    all_applied(&mut lanes, &round);
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
    all_applied(&mut lanes, &on_its_way);
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
    lanes.hold_fences();
    assert_eq!(lanes.take_pauses(), (vec![fence.clone()], Vec::new()));
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
    all_applied(&mut lanes, &round);
    assert_eq!(lanes.applied_to().map(|(_, offset)| offset).sum::<i64>(), 1);

    lanes.release_fences();
    assert_eq!(lanes.take_pauses(), (Vec::new(), vec![fence.clone()]));
    let round = lanes.take_steps();
    assert_eq!((round.steps[0].cursor_after, round.steps[0].changes.len()), (at(2), 1));
    all_applied(&mut lanes, &round);
    assert!(lanes.has_new_fences());
    lanes.remove(&fence);
    assert!(!lanes.holds_fences() && !lanes.has_new_fences());
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
