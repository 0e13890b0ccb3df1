//! Whole records in all forms: an update, a changed key, a delete, the marks of a transaction; one topic for all tables, and
//! heartbeats.

use super::recorded::{MemoryQueue, Published, config, published, run};
use super::schema::{by_schema, change_descriptor, parsed};
use mysync::writer::Parser;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// The record without what differs from run to run: when it was read, and by which version.
fn stable(record: &Published) -> String {
    let mut text = format!("{} {}\n", record.topic, record.key_text());
    if let Some((name, value)) = &record.header {
        text += &format!("{name} {value}\n");
    }
    let Some(value) = &record.value else {
        return text + "tombstone";
    };
    let mut value = match value[0] {
        b'{' => serde_json::from_slice(value).unwrap(),
        _ => by_schema(&change_descriptor(), value),
    };
    let is_change = value["source"].is_object();
    for name in ["ts_ms", "ts_us", "ts_ns", "readNs"] {
        if is_change && !value[name].is_null() {
            value[name] = json!(format!("<{name}>"));
        }
    }
    if !value["source"]["version"].is_null() {
        value["source"]["version"] = json!("<version>");
    }
    text + &serde_json::to_string_pretty(&value).unwrap()
}

/// The last transaction that changes two tables and a key.
fn last_transaction(messages: &str) -> String {
    let records = published(&config(messages, ""));
    let begins = records
        .iter()
        .rposition(|record| record.key_text() == "{\"c\":6,\"a\":5}")
        .unwrap()
        - 4;
    let texts: Vec<String> = records[begins..begins + 7].iter().map(stable).collect();
    texts.join("\n\n")
}

#[test]
fn a_transaction_in_the_default_form() {
    insta::assert_snapshot!(last_transaction("transaction_metadata = true"));
}

#[test]
fn a_transaction_in_the_compact_form() {
    insta::assert_snapshot!(last_transaction("format = \"protobuf\"\ntransaction_metadata = true"));
}

#[test]
fn an_update_and_a_delete_in_all_forms() {
    let mut texts = Vec::new();
    for format in ["debezium", "debezium-strict", "protobuf"] {
        let records = published(&config(&format!("format = \"{format}\""), ""));
        let of_pair = records.iter().filter(|record| record.topic == "dbz.t.pair");
        // After two inserts and two changed keys of three records each.
        texts.extend(of_pair.skip(2 + 2 * 3).take(3).map(stable));
    }
    insta::assert_snapshot!(texts.join("\n\n"));
}

/// What writers make of the records, by table and key.
fn rows(records: &[Published]) -> BTreeMap<String, String> {
    let (mut parser, mut rows) = (Parser::new("dbz"), BTreeMap::new());
    for record in records {
        let change = parsed(&mut parser, record);
        let key = format!("{}.{} {:?}", change.table.database, change.table.table, change.key);
        match change.row {
            Some(row) => drop(rows.insert(key, row.get().to_owned())),
            None => drop(rows.remove(&key)),
        }
    }
    rows
}

#[test]
fn all_tables_in_one_topic_give_writers_the_same_rows() {
    for format in ["debezium", "protobuf"] {
        let format = format!("format = \"{format}\"");
        let apart = published(&config(&format, ""));
        let together = published(&config(&format!("{format}\ntopics = \"one\""), ""));
        assert_eq!(rows(&apart), rows(&together));
        assert!(together.iter().all(|record| record.topic == "dbz.changes"));
        // The last record of each key is kept: no two rows may share one.
        let keys = |records: &[Published]| {
            let keys = records
                .iter()
                .map(|record| (record.table.clone(), record.key_text().to_owned()));
            keys.collect::<std::collections::BTreeSet<_>>().len()
        };
        let bare: std::collections::BTreeSet<_> = together.iter().map(|record| record.key_text()).collect();
        assert_eq!((keys(&together), keys(&apart)), (bare.len(), bare.len()));
        let key: Value = serde_json::from_str(together[0].key_text()).unwrap();
        assert_eq!(key, json!({"id": 1, "__dbz__physicalTableIdentifier": "dbz.t.every"}));
    }
}

#[test]
fn an_idle_source_has_heartbeats_and_moves_the_checkpoint() {
    let queue = MemoryQueue::default();
    run(
        &config("heartbeat_interval_ms = 1000", ""),
        &queue,
        Some(Duration::from_secs(60)),
    )
    .unwrap();
    let records = queue.committed();
    let beats: Vec<&Published> = records
        .iter()
        .filter(|record| record.topic == "dbz.__heartbeat")
        .collect();
    assert!((59..=61).contains(&beats.len()), "{} heartbeats in 60 s", beats.len());
    for beat in &beats {
        assert_eq!(beat.key_text(), "{\"serverName\":\"dbz\"}");
        let value: Value = serde_json::from_slice(beat.value.as_ref().unwrap()).unwrap();
        assert!(value["ts_ms"].as_i64().unwrap() > 1_700_000_000_000);
    }
    let last_change = records
        .iter()
        .filter(|record| record.table.is_some())
        .map(|record| record.version)
        .max();
    assert_eq!(beats.last().unwrap().version, last_change.unwrap() + 1);
}
