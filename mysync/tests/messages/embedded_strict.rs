//! There and back: rows of every type in the strict form, with the schemas that Debezium has for their columns, are to a writer for
//! Debezium's records the rows of the default form, byte for byte; but for zero dates, which the strict form cannot say.

use super::every_type::encode;
use super::random;
use super::recorded::{EVENTS, config, events};
use mysync::decode::{Body, Column, ColumnType, Event, Format, RowChange, TableMap};
use mysync::encode::Form;
use mysync::queue::{Message, Partition};
use mysync::target::canonical;
use mysync::writer::Parser;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::HashMap;

const COLLATION_BINARY: u16 = 63;

/// As column.propagate.source.type makes it.
fn schema_of(column: &Column) -> Value {
    let typed = |kind: &str, name: Option<&str>, origin: &str, length: Option<u8>| {
        let mut schema =
            json!({"type": kind, "field": column.name, "parameters": {"__debezium.source.column.type": origin}});
        if let Some(name) = name {
            schema["name"] = json!(format!("io.debezium.{name}"));
        }
        if let Some(length) = length.filter(|length| *length > 0) {
            schema["parameters"]["__debezium.source.column.length"] = json!(length.to_string());
        }
        schema
    };
    let is_unsigned = column.unsigned == Some(true);
    match &column.column_type {
        ColumnType::TinyInt | ColumnType::SmallInt | ColumnType::MediumInt => typed("int32", None, "INT", None),
        ColumnType::Int if is_unsigned => typed("int64", None, "INT UNSIGNED", None),
        ColumnType::Int => typed("int32", None, "INT", None),
        ColumnType::BigInt if is_unsigned => typed("int64", None, "BIGINT UNSIGNED", None),
        ColumnType::BigInt => typed("int64", None, "BIGINT", None),
        ColumnType::Float => typed("float", None, "FLOAT", None),
        ColumnType::Double => typed("double", None, "DOUBLE", None),
        ColumnType::Decimal { scale, .. } => {
            let mut schema = typed("bytes", None, "DECIMAL", None);
            schema["name"] = json!("org.apache.kafka.connect.data.Decimal");
            schema["parameters"]["scale"] = json!(scale.to_string());
            schema
        }
        ColumnType::Year => typed("int32", Some("time.Year"), "YEAR", None),
        ColumnType::Date => typed("int32", Some("time.Date"), "DATE", None),
        ColumnType::Time { digits } => typed("int64", Some("time.MicroTime"), "TIME", Some(*digits)),
        ColumnType::DateTime { digits: digits @ 0..=3 } => {
            typed("int64", Some("time.Timestamp"), "DATETIME", Some(*digits))
        }
        ColumnType::DateTime { digits } => typed("int64", Some("time.MicroTimestamp"), "DATETIME", Some(*digits)),
        ColumnType::Timestamp { digits } => typed("string", Some("time.ZonedTimestamp"), "TIMESTAMP", Some(*digits)),
        ColumnType::Bit { bits: 1 } => typed("boolean", None, "BIT", Some(1)),
        ColumnType::Bit { bits } => typed("bytes", Some("data.Bits"), "BIT", Some(*bits)),
        ColumnType::Char { .. } | ColumnType::VarChar { .. } | ColumnType::Blob { .. } => match column.collation {
            Some(COLLATION_BINARY) => typed("bytes", None, "BLOB", None),
            _ => typed("string", None, "TEXT", None),
        },
        ColumnType::Enum { .. } => typed("string", Some("data.Enum"), "ENUM", None),
        ColumnType::Set { .. } => typed("string", Some("data.EnumSet"), "SET", None),
        ColumnType::Json { .. } => typed("string", Some("data.Json"), "JSON", None),
        ColumnType::Geometry { .. } => typed("struct", Some("data.geometry.Geometry"), "GEOMETRY", None),
        ColumnType::Vector { .. } => {
            let mut schema = typed("array", Some("data.FloatVector"), "VECTOR", None);
            schema["items"] = json!({"type": "float"});
            schema
        }
        other => panic!("{other:?}"),
    }
}

/// The row that a writer takes from the strict form with its schema, and that of the default form.
fn there_and_back(parser: &mut Parser, strict: &Form, map: &TableMap, change: &RowChange<'_>) -> (String, String) {
    let mut expected = Vec::new();
    change.after.unwrap().write_json(&mut expected).unwrap();
    let fields: Vec<Value> = map.columns.iter().map(schema_of).collect();
    let schema = json!({"type": "struct", "fields": [{"type": "struct", "fields": fields, "field": "after"}]});
    let payload = String::from_utf8(encode(strict, map, change)).unwrap();
    let key =
        "{\"schema\":{\"type\":\"struct\",\"fields\":[{\"type\":\"int32\",\"field\":\"id\"}]},\"payload\":{\"id\":5}}";
    let message = Message {
        partition: Partition {
            topic: format!("dbz.t.{}", map.table).into(),
            number: 0,
        },
        offset: 0,
        version: None,
        timestamp_ms: None,
        table: None,
        key: key.into(),
        value: Some(format!("{{\"schema\":{schema},\"payload\":{payload}}}").into()),
    };
    assert_eq!(parser.wants(&message), None);
    let row = parser.parse(&message).unwrap().row.unwrap();
    (row.get().to_owned(), String::from_utf8(expected).unwrap())
}

fn is_zero_date(text: &str) -> bool {
    text.starts_with("0000-") || text.get(4..10).is_some_and(|rest| rest.contains("-00"))
}

/// Rows and columns of zero dates.
fn every_row(file: &[u8], tables: &[&str]) -> (usize, usize) {
    let strict = Form::new(&config("format = \"debezium-strict\"", ""));
    let (mut format, mut maps, mut seen, mut zero_dates) = (Format::default(), HashMap::new(), 0, 0);
    let mut parser = Parser::new("dbz");
    parser.read_debezium();
    for bytes in events(file) {
        match Event::parse(bytes, &mut format).unwrap().body {
            Body::TableMap(event) if tables.contains(&event.table) => {
                maps.insert(event.table_id, event.table_map().unwrap());
            }
            Body::Rows(event) => {
                let Some(map) = maps.get(&event.table_id) else { continue };
                for change in event.rows(map).unwrap() {
                    let change = RowChange {
                        before: None,
                        ..change.unwrap()
                    };
                    if change.after.is_none() {
                        continue;
                    }
                    let (found, expected) = there_and_back(&mut parser, &strict, map, &change);
                    let (found, expected) = (
                        canonical::columns(&found).unwrap(),
                        canonical::columns(&expected).unwrap(),
                    );
                    assert_eq!(found.len(), expected.len());
                    for (found, expected) in found.iter().zip(&expected) {
                        if found != expected {
                            assert!(
                                expected.1.as_deref().is_some_and(is_zero_date),
                                "{found:?} {expected:?}"
                            );
                            zero_dates += 1;
                        }
                    }
                    seen += 1;
                }
            }
            _ => {}
        }
    }
    (seen, zero_dates)
}

#[test]
fn every_type_comes_back() {
    let tables = ["one", "hidden", "place", "every", "nn", "more", "shapes", "vec"];
    for file in [
        include_bytes!("../decode_data/events-8.0.bin").as_slice(),
        include_bytes!("../decode_data/events-9.7.bin"),
        EVENTS,
    ] {
        let (rows, zero_dates) = every_row(file, &tables);
        assert!(rows >= 5 && zero_dates < 40, "{rows} {zero_dates}");
    }
}

#[test]
fn random_rows_come_back() {
    let strict = Form::new(&config("format = \"debezium-strict\"", ""));
    let map = random::table_map();
    let Body::TableMap(map) = Event::parse(&map, &mut Format::default()).unwrap().body else {
        unreachable!()
    };
    let map = map.table_map().unwrap();
    proptest!(ProptestConfig::with_cases(500), |(values in random::values())| {
        let bytes = random::rows(&values);
        let Body::Rows(rows) = Event::parse(&bytes, &mut Format::default()).unwrap().body else {
            unreachable!()
        };
        let change = rows.rows(&map).unwrap().next().unwrap().unwrap();
        let mut parser = Parser::new("dbz");
        parser.read_debezium();
        let (found, expected) = there_and_back(&mut parser, &strict, &map, &change);
        prop_assert_eq!(found, expected);
    });
}
