//! Columns that are left out or masked, in all forms.

use super::recorded::{MemoryQueue, Published, config, published, run};
use super::schema::parsed;
use mysync::error::Kind;
use mysync::writer::Parser;
use serde_json::{Value, json};

const MASKS: &str = "[mask]\nsalt = \"s3cret\"\nhash = [\"t.every.B\", \"t.p?ir.b\", \"t.more.du\", \"t.shapes.p\"]\ntext = { \"t.every.o*\" = \"***\" }";

/// The row that a writer takes from the first record of a key.
fn row(records: &[Published], topic: &str, key: &str) -> Value {
    let record = records
        .iter()
        .find(|record| record.topic == topic && record.key_text() == key)
        .unwrap();
    serde_json::from_str(parsed(&mut Parser::new("dbz"), record).row.unwrap().get()).unwrap()
}

/// HMAC-SHA-256 as `printf %s TEXT | openssl dgst -sha256 -hmac s3cret` prints it.
const HASH_OF_X: &str = "18cf739b1231459a52b72b5a49b5690807adf6900f2ef1e74cba25325066d155";
const HASH_OF_65535: &str = "0940d496fa98fa32a90a84f8d25835ec90c0ca2042a3879c7b571bea35425f8d";
const HASH_OF_DECIMAL: &str = "2db5f48aaf14d7b38f4581e53bf46766dd8aeb5a002595eae4d83a747c98ec2c";
const HASH_OF_POINT: &str = "e4b76e11de6911d483adb4ebadccb670508c976b8af0c8a88a684d16eccaec3e";

#[test]
fn masked_columns_have_a_text_or_a_hash_in_all_forms() {
    for format in ["debezium", "debezium-strict", "protobuf"] {
        let records = published(&config(&format!("format = \"{format}\"\n{MASKS}"), ""));
        let every = row(&records, "dbz.t.every", "{\"id\":1}");
        assert_eq!(
            (&every["b"], &every["o"]),
            (&json!(HASH_OF_65535), &json!("***")),
            "{format}"
        );
        assert_eq!(row(&records, "dbz.t.pair", "{\"c\":2,\"a\":1}")["b"], HASH_OF_X);
        assert_eq!(row(&records, "dbz.t.pair", "{\"c\":4,\"a\":3}")["b"], Value::Null);
        assert_eq!(row(&records, "dbz.t.more", "{\"id\":1}")["du"], HASH_OF_DECIMAL);
        assert_eq!(row(&records, "dbz.t.shapes", "{\"id\":1}")["p"], HASH_OF_POINT);
        // Nothing of the values is left anywhere.
        for record in records.iter().filter(|record| record.topic == "dbz.t.pair") {
            let value = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned();
            assert!(!value.contains("\"y\"") && !value.contains("*\u{1}y"), "{value}");
        }
    }
}

#[test]
fn columns_that_are_left_out_are_in_neither_image() {
    for format in ["debezium", "debezium-strict", "protobuf"] {
        let config = config(
            &format!("format = \"{format}\""),
            "columns_exclude = [\"t.pair.b\", \"t.every.?\"]",
        );
        let records = published(&config);
        for record in records.iter().filter(|record| record.topic == "dbz.t.pair") {
            let Some(row) = parsed(&mut Parser::new("dbz"), record).row else {
                continue;
            };
            let row: Value = serde_json::from_str(row.get()).unwrap();
            assert_eq!(row.as_object().unwrap().keys().collect::<Vec<_>>(), ["a", "c"]);
        }
        let every = row(&records, "dbz.t.every", "{\"id\":1}");
        assert!(every.get("a").is_none() && every.get("bb").is_some());
    }
    let records = published(&config("", "columns_exclude = [\"t.pair.b\"]"));
    let updated = records
        .iter()
        .rfind(|record| record.key_text() == "{\"c\":2,\"a\":11}")
        .unwrap();
    let envelope: Value = serde_json::from_slice(updated.value.as_ref().unwrap()).unwrap();
    assert_eq!(envelope["before"], json!({"a": 11, "c": 2}));
}

#[test]
fn key_columns_are_neither_left_out_nor_masked() {
    for (messages, source) in [
        ("", "columns_exclude = [\"t.pair.*\"]"),
        ("[mask]\ntext = { \"*.pair.A\" = \"x\" }", ""),
        ("[mask]\nsalt = \"x\"\nhash = [\"t.pair.c\"]", ""),
    ] {
        let error = run(&config(messages, source), &MemoryQueue::default(), None).unwrap_err();
        assert_eq!(error.kind, Kind::Configuration, "{error}");
        assert!(
            error
                .what
                .starts_with("a key column cannot be left out or masked: t.pair."),
            "{error}"
        );
    }
}
