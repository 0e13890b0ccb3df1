//! Records that cannot be applied: the search for the one, and what a person can do.

use super::*;
use crate::source::mysql::DescribedColumn;

const FIRST: i64 = 100;

/// `count` records of different keys from [`FIRST`] on, written a millisecond after each other.
fn records(partition: &Partition, count: u8) -> Vec<Message> {
    let record = |id: u8| Message {
        timestamp_ms: Some(1_000 + i64::from(id)),
        ..message(partition, FIRST + i64::from(id), id, Some(1))
    };
    (0..count).map(record).collect()
}

/// A round of steps of which those of one partition are refused if they hold one key.
fn apply(lanes: &mut Lanes, refused: &Partition, id: &str) -> Vec<(String, usize)> {
    let round = lanes.take_steps();
    for step in &round.steps {
        let is_refused = step.partition == *refused && step.changes.iter().any(|change| change.key[0].1 == id);
        match is_refused {
            true => lanes.refused(step, Error::definite("refused")).unwrap(),
            false => lanes.applied(step),
        }
    }
    let step = |step: &Step| (step.partition.to_string(), step.changes.len());
    round.steps.iter().map(step).collect()
}

/// The queue begins again where the cursor stands.
fn start_again(
    lanes: &mut Lanes,
    partition: &Partition,
    all: &[Message],
    cursors: &mut BTreeMap<Partition, Option<Cursor>>,
) {
    assert_eq!(lanes.not_started(), std::slice::from_ref(partition));
    let cursor = cursors.get(partition).copied().flatten();
    let offset = cursor.map_or(FIRST, |cursor| cursor.offset);
    lanes.start(partition, cursor, offset);
    deliver(
        lanes,
        all.iter().filter(|message| message.offset >= offset).cloned().collect(),
    );
}

#[test]
fn a_refused_step_is_halved_until_the_record_is_found_while_others_go_on() {
    let (mut lanes, data, other) = (lanes(1_000), partition("p.d.t", 0), partition("p.d.u", 0));
    lanes.add([data.clone(), other.clone()]);
    lanes.start(&data, None, FIRST);
    lanes.start(&other, None, 0);
    let all = records(&data, 64);
    let mut cursors = BTreeMap::new();
    deliver(&mut lanes, all.clone());
    let (mut steps, mut others) = (0, 0);
    while lanes.stopped().count() == 0 {
        others += 1;
        deliver(&mut lanes, vec![message(&other, others, 1, Some(1))]);
        let applied = apply(&mut lanes, &data, "37");
        assert!(
            applied
                .iter()
                .any(|(of, changes)| *of == other.to_string() && *changes == 1)
        );
        steps += applied.iter().filter(|(of, _)| *of == data.to_string()).count();
        cursors.extend(lanes.cursors().map(|(of, offset)| (of.clone(), Some(at(offset)))));
        if lanes.not_started() == [data.clone()] {
            start_again(&mut lanes, &data, &all, &mut cursors);
        }
        lanes.sort().unwrap();
        assert!(steps < 20, "{steps} steps");
    }
    let obstacle = lanes.obstacle(&data).unwrap();
    assert_eq!((obstacle.offset, &*obstacle.reason.what), (FIRST + 37, "refused"));
    assert_eq!(lanes.cursors().find(|(of, _)| **of == data), Some((&data, FIRST + 37)));
    // It is told how far back the partition is, and a fence waits for it.
    let progress = lanes.progress().find(|(of, _)| **of == data).unwrap().1;
    assert_eq!(
        (progress.applied_to, progress.waiting_since_ms),
        (Some(FIRST + 37), Some(1_037))
    );
    assert_eq!(lanes.take_pauses().0, std::slice::from_ref(&data));
    // What still comes is dropped: it comes again.
    deliver(&mut lanes, vec![message(&data, FIRST + 80, 1, Some(1))]);
    assert!(lanes.take_settling_steps().steps.is_empty() && lanes.has_room());
}

#[test]
fn a_record_that_is_not_understood_stops_after_what_stands_before_it() {
    let (mut lanes, data) = (lanes(1_000), partition("p.d.t", 0));
    started(&mut lanes, &[&data]);
    let mut all: Vec<Message> = (0..4).map(|offset| message(&data, offset, 1, Some(1))).collect();
    all[2].value = Some(b"{}".to_vec());
    deliver(&mut lanes, all.clone());
    assert_eq!(lanes.stopped().count(), 0, "what stands before it is not applied yet");
    let round = lanes.take_steps();
    assert_eq!((round.steps[0].cursor_after, round.steps[0].changes.len()), (at(2), 1));
    all_applied(&mut lanes, &round);
    assert_eq!(lanes.obstacle(&data).unwrap().offset, 2);

    // Not another record than the one that a person has seen.
    assert!(!lanes.skip(&data, 3) && lanes.skip(&data, 2) && lanes.skips(&data));
    let round = lanes.take_steps();
    assert_eq!(
        (round.steps[0].cursor_before, round.steps[0].cursor_after),
        (Some(at(2)), at(3))
    );
    assert!(round.steps[0].changes.is_empty());
    all_applied(&mut lanes, &round);
    assert_eq!(lanes.not_started(), std::slice::from_ref(&data));
    lanes.start(&data, Some(at(3)), 3);
    deliver(&mut lanes, vec![all[3].clone()]);
    assert_eq!(lanes.take_steps().steps[0].cursor_after, at(4));
}

#[test]
fn the_cursor_is_moved_right_before_the_record_over_offsets_without_records() {
    let (mut lanes, data) = (lanes(1_000), partition("p.d.t", 0));
    started(&mut lanes, &[&data]);
    let mut wrong = message(&data, 7, 1, Some(1));
    wrong.value = Some(b"{}".to_vec());
    deliver(&mut lanes, vec![wrong]);
    assert_eq!(lanes.stopped().count(), 0);
    let round = lanes.take_steps();
    assert_eq!(
        (round.steps[0].cursor_before, round.steps[0].cursor_after),
        (None, at(7))
    );
    all_applied(&mut lanes, &round);
    assert_eq!(lanes.obstacle(&data).unwrap().offset, 7);
}

#[test]
fn a_retry_begins_with_the_one_record_and_goes_on_with_all() {
    let (mut lanes, data) = (lanes(1_000), partition("p.d.t", 0));
    started(&mut lanes, &[&data]);
    let all: Vec<Message> = (0..10)
        .map(|offset| message(&data, offset, u8::try_from(offset).unwrap(), Some(1)))
        .collect();
    deliver(&mut lanes, vec![all[0].clone()]);
    assert_eq!(apply(&mut lanes, &data, "0").len(), 1);
    assert_eq!(lanes.obstacle(&data).unwrap().offset, 0);
    // Refused again: at once, and by itself.
    lanes.retry(&data);
    lanes.start(&data, None, 0);
    deliver(&mut lanes, all.clone());
    assert_eq!(apply(&mut lanes, &data, "0"), [(data.to_string(), 1)]);
    assert_eq!(lanes.obstacle(&data).unwrap().offset, 0);
    // The store takes it now.
    lanes.retry(&data);
    lanes.start(&data, None, 0);
    deliver(&mut lanes, all);
    assert_eq!(apply(&mut lanes, &data, "none"), [(data.to_string(), 1)]);
    lanes.sort().unwrap();
    assert_eq!(apply(&mut lanes, &data, "none"), [(data.to_string(), 9)]);
    assert_eq!(lanes.take_pauses(), (Vec::new(), Vec::new()));
}

#[test]
fn a_target_that_does_not_even_move_the_cursor_is_no_matter_of_a_record() {
    let (mut lanes, data) = (lanes(1_000), partition("p.d.t", 0));
    started(&mut lanes, &[&data]);
    lanes.deliver(Vec::new(), BTreeMap::from([(data.clone(), 3)]));
    lanes.sort().unwrap();
    let round = lanes.take_settling_steps();
    let reason = Error::definite("no");
    assert_eq!(lanes.refused(&round.steps[0], reason.clone()), Err(reason));
}

/// A row of a table whose key is a BIGINT UNSIGNED, as Debezium publishes it.
fn embedded(partition: &Partition, offset: i64) -> Message {
    let fields = "[{\"type\":\"int64\",\"field\":\"id\"}]";
    let row = format!("{{\"type\":\"struct\",\"fields\":{fields},\"field\":\"after\"}}");
    let payload = format!("{{\"op\":\"c\",\"after\":{{\"id\":{offset}}},\"source\":{{\"db\":\"d\",\"table\":\"t\"}}}}");
    let framed = |fields: &str, payload: &str| {
        let schema = format!("{{\"type\":\"struct\",\"fields\":{fields}}}");
        format!("{{\"schema\":{schema},\"payload\":{payload}}}").into_bytes()
    };
    Message {
        key: framed(fields, &format!("{{\"id\":{offset}}}")),
        value: Some(framed(&format!("[{row}]"), &payload)),
        ..message(partition, offset, 1, Some(1))
    }
}

#[test]
fn a_search_waits_for_what_mysql_says_of_columns_too() {
    let (mut lanes, data) = (lanes(1_000), partition("p.d.t", 0));
    lanes.read_debezium();
    started(&mut lanes, &[&data]);
    let all: Vec<Message> = (0..4).map(|offset| embedded(&data, offset)).collect();
    let unsigned = || {
        Some(vec![DescribedColumn {
            name: "id".into(),
            data_type: "bigint".into(),
            column_type: "bigint unsigned".into(),
            precision: Some(20),
            fraction_digits: None,
        }])
    };
    let told = |lanes: &mut Lanes| {
        let table = Arc::clone(lanes.wanted().unwrap());
        lanes.tell(&table, unsigned());
        lanes.sort().unwrap();
    };
    deliver(&mut lanes, all.clone());
    told(&mut lanes);
    assert_eq!(apply(&mut lanes, &data, "3"), [(data.to_string(), 4)]);
    lanes.start(&data, None, 0);
    lanes.deliver(all, BTreeMap::new());
    // Somebody alters the table, and what was told is not so any more.
    let table = Arc::new(TableName {
        database: "d".into(),
        table: "t".into(),
    });
    lanes.sort().unwrap();
    assert_eq!(apply(&mut lanes, &data, "3"), [(data.to_string(), 2)]);
    lanes.tell(&table, None);
    lanes.sort().unwrap();
    assert_eq!((lanes.wanted(), lanes.stopped().count()), (Some(&table), 0));
    told(&mut lanes);
    assert_eq!(apply(&mut lanes, &data, "3"), [(data.to_string(), 2)]);
}
