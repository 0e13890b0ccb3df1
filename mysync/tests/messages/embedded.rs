//! Records that Debezium published with schemas embedded, beside mysync's own of the same binlog: every row and key that a
//! writer takes from the one is that of the other, byte for byte, but for what a snapshot lists, which Debezium loses.

use super::recorded::{PREFIX, Published, config, published_of};
use mysync::queue::{Message, Partition};
use mysync::source::mysql::DescribedColumn;
use mysync::target::{RowChange, canonical};
use mysync::writer::Parser;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

const RECORDED: &str = include_str!("../messages_data/debezium-schemas.jsonl");
const EVENTS: &[u8] = include_bytes!("../messages_data/debezium-schemas-events.bin");

/// Of each table its columns: name, type, type with attributes, digits of the fraction.
type Columns = BTreeMap<String, Vec<(String, String, String, Option<u64>)>>;

#[derive(Deserialize)]
struct Line<'a> {
    columns: Option<Columns>,
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
    run: Option<&'a str>,
    topic: Option<&'a str>,
    #[serde(borrow)]
    key: Option<(usize, &'a RawValue)>,
    #[serde(borrow)]
    value: Option<(usize, &'a RawValue)>,
}

/// The records of a run, put together again, and the columns.
fn recorded(run: &str) -> (Vec<Message>, Columns) {
    let (mut schemas, mut records, mut columns) = (Vec::new(), Vec::new(), Columns::new());
    for line in RECORDED.lines() {
        let line: Line<'_> = serde_json::from_str(line).unwrap();
        columns.extend(line.columns.unwrap_or_default());
        schemas.extend(line.schema);
        let framed = |(number, payload): (usize, &RawValue)| {
            format!("{{\"schema\":{},\"payload\":{payload}}}", schemas[number]).into_bytes()
        };
        if line.run == Some(run) {
            let key = framed(line.key.unwrap());
            let number = i64::try_from(records.len()).unwrap();
            records.push(message(line.topic.unwrap(), number, key, line.value.map(framed)));
        }
    }
    (records, columns)
}

fn message(topic: &str, offset: i64, key: Vec<u8>, value: Option<Vec<u8>>) -> Message {
    Message {
        partition: Partition {
            topic: topic.into(),
            number: 0,
        },
        offset,
        version: None,
        timestamp_ms: None,
        table: None,
        key,
        value,
    }
}

/// What a writer takes from the records of a run, and which tables it asked MySQL for.
fn read(run: &str) -> (Vec<RowChange>, BTreeSet<String>) {
    let (records, columns) = recorded(run);
    let (mut parser, mut asked, mut changes) = (Parser::new(PREFIX), BTreeSet::new(), Vec::new());
    parser.read_debezium();
    for record in &records {
        if let Some(table) = parser.wants(record) {
            let described =
                |(name, data_type, column_type, fraction_digits): &(String, String, String, Option<u64>)| {
                    DescribedColumn {
                        name: name.clone(),
                        data_type: data_type.clone(),
                        column_type: column_type.clone(),
                        precision: None,
                        fraction_digits: *fraction_digits,
                    }
                };
            parser.tell(&table, Some(columns[&table.table].iter().map(described).collect()));
            assert_eq!(parser.wants(record), None);
            asked.insert(table.table.clone());
        }
        changes.push(parser.parse(record).unwrap());
    }
    (changes, asked)
}

fn ours() -> Vec<RowChange> {
    let mut parser = Parser::new(PREFIX);
    let records = published_of(&config("", ""), EVENTS);
    let change = |record: &Published| super::schema::parsed(&mut parser, record);
    records.iter().map(change).collect()
}

/// Names the columns in which two rows are not the same text.
fn compare(place: &str, debezium: &RowChange, mysync: &RowChange, differences: &mut String) {
    assert_eq!(
        (&debezium.table, &debezium.key),
        (&mysync.table, &mysync.key),
        "{place}"
    );
    let (Some(there), Some(here)) = (&debezium.row, &mysync.row) else {
        assert_eq!(debezium.row.is_none(), mysync.row.is_none(), "{place} {:?}", mysync.key);
        return;
    };
    if there.get() == here.get() {
        return;
    }
    let (there, here) = (
        canonical::columns(there.get()).unwrap(),
        canonical::columns(here.get()).unwrap(),
    );
    assert_eq!(there.len(), here.len());
    let known = differences.len();
    for ((name, value), (own_name, own)) in there.iter().zip(&here) {
        assert_eq!(name, own_name);
        if value != own {
            let key: Vec<&str> = mysync.key.iter().map(|(_, text)| text.as_str()).collect();
            let (value, own) = (value.as_deref().unwrap_or("NULL"), own.as_deref().unwrap_or("NULL"));
            let (table, key) = (&mysync.table.table, key.join(" "));
            writeln!(differences, "{place} {table} {key} {name}: {value}, in mysql {own}").unwrap();
        }
    }
    assert!(differences.len() > known, "{place} {there:?}");
}

fn differences(run: &str, asks: bool) -> String {
    let ((theirs, asked), ours) = (read(run), ours());
    assert_eq!(asked.is_empty(), !asks, "{asked:?}");
    // The first change after the snapshot is that of a key, which begins with a delete.
    let begin_of_stream = |changes: &[RowChange]| changes.iter().position(|change| change.row.is_none()).unwrap();
    let (snapshot, stream) = theirs.split_at(begin_of_stream(&theirs));
    let (before, after) = ours.split_at(begin_of_stream(&ours));
    assert_eq!((snapshot.len(), stream.len()), (before.len(), after.len()));
    let mut differences = String::new();
    for change in snapshot {
        let is_it = |own: &&RowChange| own.table == change.table && own.key == change.key;
        compare("snapshot", change, before.iter().find(is_it).unwrap(), &mut differences);
    }
    for (change, own) in stream.iter().zip(after) {
        compare("stream", change, own, &mut differences);
    }
    differences
}

#[test]
fn a_connector_with_the_settings_of_the_docs_loses_little() {
    insta::assert_snapshot!(differences("exact", false));
}

#[test]
fn a_connector_as_it_comes_loses_nulls_in_columns_with_a_default() {
    let (with_defaults, exact) = (differences("defaults", true), differences("exact", false));
    let more: Vec<&str> = with_defaults.lines().filter(|line| !exact.contains(line)).collect();
    insta::assert_snapshot!(more.join("\n"));
    for line in exact.lines().filter(|line| !with_defaults.contains(line)) {
        // There it is the default in place of NULL.
        assert!(
            line.contains(" dflt ") && line.contains(": NULL, in mysql 0000-00-00"),
            "{line}"
        );
    }
}
