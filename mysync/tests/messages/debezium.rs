//! Record by record beside Debezium's engine: the same topics, keys, headers, operations, source blocks, transactions and
//! marks in both JSON forms, and in the strict one the same values, but for the list below.

use super::recorded::{Published, config, published};
use super::schema::parsed;
use mysync::writer::Parser;
use serde_json::value::RawValue;
use serde_json::{Value, json};

const RECORDED: &str = include_str!("../messages_data/debezium.jsonl");

/// What Debezium alters and the strict form does not (docs/types.md): table, key, column, its value, and ours.
fn altered() -> Vec<(&'static str, i64, &'static str, Value, Value)> {
    let doubled = "{\"d\":\"2020-01-02\",\"n\":-1.50,\"t\":\"12:34:56.5\",\"dt\":\"2020-01-02 03:04:05\"}";
    let as_mysql =
        "{\"d\": \"2020-01-02\", \"n\": -1.50, \"t\": \"12:34:56.500000\", \"dt\": \"2020-01-02 03:04:05.000000\"}";
    vec![
        // The year 0000.
        ("every", 3, "m", json!(1900), json!(0)),
        ("nn", 1, "y", json!(1900), json!(0)),
        // Years below 100 are moved to this century.
        ("every", 5, "h", json!(11_323), json!(-719_162)),
        (
            "every",
            6,
            "k",
            json!(978_307_200_000_i64),
            json!(-62_135_596_800_000_i64),
        ),
        // NULL and the zero date, where the column has a default value.
        ("dflt", 1, "v", json!(5), Value::Null),
        ("dflt", 1, "d", json!(18_263), json!(0)),
        (
            "dflt",
            1,
            "t",
            json!("2020-01-02T03:04:05Z"),
            json!("1970-01-01T00:00:00Z"),
        ),
        // Times within JSON have six digits in MySQL.
        ("every", 7, "x", json!(doubled), json!(as_mysql)),
    ]
}

fn recorded() -> Vec<Value> {
    RECORDED
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn as_json(record: &Published) -> Value {
    let parse = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    let header = |(name, value): &(String, String)| json!({ name: parse(value.as_bytes()) });
    json!({
        "topic": record.topic,
        "key": parse(&record.key),
        "value": record.value.as_deref().map_or(Value::Null, parse),
        "headers": record.header.as_ref().map_or(json!({}), header),
    })
}

/// Takes out what is another's name or time, after a look at it.
fn without_own(mut record: Value) -> Value {
    let value = &mut record["value"];
    if value["source"].is_object() {
        assert!(value["source"]["version"].is_string());
        for name in ["ts_ms", "ts_us", "ts_ns"] {
            assert!(value[name].as_i64().unwrap() > 1_700_000_000_000, "{value}");
            value[name] = Value::Null;
        }
        value["source"]["version"] = Value::Null;
    }
    if let Some(collections) = value["data_collections"].as_array_mut() {
        collections.sort_by_key(|collection| collection["data_collection"].to_string());
    }
    record
}

/// FLOAT columns: Debezium writes more digits than the single has.
const SINGLES: [&str; 2] = ["e", "f"];

/// Equal as JSON; numbers of a FLOAT also if they are the same single, and texts if they are equal JSON documents.
fn same(column: &str, debezium: &Value, ours: &Value) -> bool {
    let is_single = SINGLES.contains(&column) && debezium.is_f64() && ours.is_f64();
    let single = |value: &Value| value.as_f64().map(|number| number as f32);
    let document = |value: &Value| value.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    debezium == ours
        || is_single && single(debezium) == single(ours)
        || document(debezium).is_some_and(|document_there| document(ours) == Some(document_there))
}

/// Whether two images hold the same; else which column does not.
fn differing(debezium: &Value, ours: &Value) -> Vec<String> {
    let (Some(there), Some(here)) = (debezium.as_object(), ours.as_object()) else {
        assert_eq!(debezium, ours);
        return Vec::new();
    };
    assert_eq!(there.keys().collect::<Vec<_>>(), here.keys().collect::<Vec<_>>());
    let columns = there.keys().filter(|name| !same(name, &there[*name], &here[*name]));
    columns.cloned().collect()
}

#[test]
fn the_strict_form_has_debeziums_records() {
    let config = config(
        "format = \"debezium-strict\"\ntransaction_metadata = true\nquery = true",
        "",
    );
    let ours: Vec<Value> = published(&config).iter().map(as_json).map(without_own).collect();
    let theirs: Vec<Value> = recorded().into_iter().map(without_own).collect();
    let mut altered = altered();
    assert_eq!(ours.len(), theirs.len());
    for (mut ours, mut theirs) in ours.into_iter().zip(theirs) {
        let table = theirs["topic"].as_str().unwrap().rsplit('.').next().unwrap().to_owned();
        let id = theirs["key"]["id"].as_i64().unwrap_or(-1);
        for image in ["before", "after"] {
            let (there, here) = (theirs["value"][image].take(), ours["value"][image].take());
            for column in differing(&there, &here) {
                let known = altered
                    .iter()
                    .position(|(known_table, known_id, known_column, value, own)| {
                        (*known_table, *known_id, *known_column) == (&*table, id, &*column)
                            && *value == there[&column]
                            && *own == here[&column]
                    });
                let what = format!("{table} {id} {column}: {} {}", there[&column], here[&column]);
                altered.remove(known.unwrap_or_else(|| panic!("{what}")));
            }
        }
        assert_eq!(ours, theirs);
    }
    assert!(altered.is_empty(), "no longer altered: {altered:?}");
}

#[test]
fn the_default_form_differs_in_values_alone() {
    let config = config("transaction_metadata = true\nquery = true", "");
    let ours = published(&config);
    let theirs = recorded();
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours
        .iter()
        .map(as_json)
        .map(without_own)
        .zip(theirs.into_iter().map(without_own))
    {
        let names = |record: &Value, image: &str| {
            record["value"][image]
                .as_object()
                .map(|image| image.keys().cloned().collect::<Vec<_>>())
        };
        for image in ["before", "after"] {
            assert_eq!(names(&ours, image), names(&theirs, image));
        }
        let bare = |mut record: Value| {
            let headers = record["headers"]
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect::<Vec<_>>();
            record["headers"] = json!(headers);
            if record["value"].is_object() {
                for image in ["before", "after"] {
                    record["value"][image] = Value::Null;
                }
            }
            if record["key"]["dd"].is_number() || record["key"]["dd"].is_string() {
                record["key"] = Value::Null;
            }
            record
        };
        assert_eq!(bare(ours), bare(theirs));
    }
}

#[test]
fn without_the_options_there_are_no_marks_and_no_statements() {
    let records: Vec<Value> = published(&config("", "")).iter().map(as_json).collect();
    let changes = recorded()
        .into_iter()
        .filter(|record| record["topic"] != "dbz.transaction");
    assert_eq!(records.len(), changes.count());
    for record in records.iter().filter(|record| record["value"].is_object()) {
        assert!(record["value"]["transaction"].is_null());
        assert!(record["value"]["source"]["query"].is_null());
    }
}

#[test]
fn writers_read_debeziums_own_records() {
    let changes = RECORDED
        .lines()
        .filter(|line| !line.contains("\"topic\":\"dbz.transaction\""));
    let (mut parser, mut rows, mut deletes) = (Parser::new("dbz"), 0, 0);
    for line in changes {
        #[derive(serde::Deserialize)]
        struct Line<'a> {
            topic: String,
            #[serde(borrow)]
            key: &'a RawValue,
            #[serde(borrow)]
            value: &'a RawValue,
        }
        let line: Line<'_> = serde_json::from_str(line).unwrap();
        let record = Published {
            key: line.key.get().into(),
            value: (line.value.get() != "null").then(|| line.value.get().into()),
            header: None,
            version: 0,
            table: None,
            topic: line.topic,
        };
        let change = parsed(&mut parser, &record);
        assert!(record.topic.ends_with(&format!("t.{}", change.table.table)));
        let counted = if change.row.is_some() { &mut rows } else { &mut deletes };
        *counted += 1;
    }
    assert!(rows > 20 && deletes > 10, "{rows} {deletes}");
}
