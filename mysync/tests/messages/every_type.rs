//! Every column type in all forms, from events of 8.0 and 9.7.

use super::recorded::{EVENTS, config, events};
use super::schema::{by_schema, change_descriptor};
use mysync::decode::{Body, Event, Format, RowChange, TableMap};
use mysync::encode::{EventPlace, Form, Frame};
use mysync::queue::Batch;
use mysync::version::Version;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

/// Tables whose events any reader takes, of those in the recorded files.
const TABLES: &[&str] = &["one", "hidden", "place", "every", "nn", "more", "shapes", "vec"];

/// Encodes one change as a record and gives its value.
pub fn encode(form: &Form, map: &TableMap, change: &RowChange<'_>) -> Vec<u8> {
    let place = EventPlace {
        timestamp_s: 1_790_000_000,
        commit_us: 0,
        server_id: 1,
        gtid: "",
        file: "binlog.000001",
        file_number: 1,
        begin: 4,
        offset: 100,
        thread_id: None,
        query: None,
        transaction: None,
        read_ns: 1,
        is_refresh: false,
    };
    let (mut frame, mut batch) = (Frame::default(), Batch::default());
    let mut encoder = form.table(map, 0, Some(&["id".to_owned()])).unwrap();
    encoder.frame(&place, &mut frame);
    encoder
        .encode(change, 0, &mut frame, Version::FIRST, &mut batch)
        .unwrap();
    batch
        .records()
        .find_map(|record| record.value.map(<[u8]>::to_vec))
        .unwrap()
}

/// The members of `after` as they stand in the message.
fn members(envelope: &[u8]) -> BTreeMap<String, Box<RawValue>> {
    #[derive(serde::Deserialize)]
    struct Envelope {
        after: BTreeMap<String, Box<RawValue>>,
    }
    let envelope: Envelope = serde_json::from_slice(envelope).unwrap();
    envelope.after
}

fn of_file(file: &[u8]) -> String {
    let forms = ["debezium", "debezium-strict", "protobuf"]
        .map(|format| Form::new(&config(&format!("format = \"{format}\""), "")));
    let descriptor = change_descriptor();
    let (mut format, mut maps, mut out) = (Format::default(), HashMap::new(), String::new());
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for bytes in events(file) {
        match Event::parse(bytes, &mut format).unwrap().body {
            Body::TableMap(event) if TABLES.contains(&event.table) => {
                maps.insert(event.table_id, event.table_map().unwrap());
            }
            Body::Rows(event) => {
                let Some(map) = maps.get(&event.table_id) else { continue };
                for change in event.rows(map).unwrap() {
                    let change = change.unwrap();
                    let Some(after) = change.after else { continue };
                    assert!(after.is_full());
                    let number = seen.entry(map.table.clone()).or_default();
                    *number += 1;
                    let inserted = RowChange { before: None, ..change };
                    let [plain, strict, compact] = [0, 1, 2].map(|form| encode(&forms[form], map, &inserted));
                    let compact = by_schema(&descriptor, &compact);
                    let (plain, strict) = (members(&plain), members(&strict));
                    for (index, name) in map.columns.iter().map(|column| column.name.as_str()).enumerate() {
                        let (plain, mut strict) = (plain[name].get(), strict[name].get());
                        if plain == "null" && *number > 1 {
                            continue;
                        }
                        let column = &compact["columns"][index];
                        assert_eq!(column["name"], name);
                        let column_type = column["type"]
                            .as_str()
                            .unwrap()
                            .trim_start_matches("TYPE_")
                            .to_lowercase();
                        let kind = shown(&compact["after"]["values"][index]);
                        if strict == plain {
                            strict = "the same";
                        }
                        writeln!(out, "{} {number}, {name}: {plain}", map.table).unwrap();
                        writeln!(out, "    strict    {strict}\n    protobuf  {column_type} {kind}").unwrap();
                    }
                }
            }
            _ => {}
        }
    }
    out
}

fn shown(value: &Value) -> String {
    let kinds = value.as_object().unwrap().iter();
    kinds
        .map(|(kind, value)| format!("{kind} {value}"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn every_type_of_8_0_in_all_forms() {
    insta::assert_snapshot!(of_file(include_bytes!("../decode_data/events-8.0.bin")));
}

#[test]
fn every_type_of_9_7_in_all_forms() {
    insta::assert_snapshot!(of_file(include_bytes!("../decode_data/events-9.7.bin")));
}

#[test]
fn every_type_with_its_limits_in_all_forms() {
    insta::assert_snapshot!(of_file(EVENTS));
}
