//! Records from their bytes to changes, and what is asked of MySQL for them.

use super::*;
use crate::queue::Partition;
use serde_json::{Value, json};

const DECIMAL: &str = "org.apache.kafka.connect.data.Decimal";

fn message(topic: &str, key: &Value, value: Option<&Value>) -> Message {
    Message {
        partition: Partition {
            topic: topic.into(),
            number: 2,
        },
        offset: 41,
        version: None,
        timestamp_ms: None,
        table: None,
        key: key.to_string().into_bytes(),
        value: value.map(|value| value.to_string().into_bytes()),
    }
}

/// As the converter writes it, the schema first.
fn framed_text(schema: &Value, payload: &Value) -> Vec<u8> {
    format!("{{\"schema\":{schema},\"payload\":{payload}}}").into_bytes()
}

fn row_schema(fields: &[Value], name: &str) -> Value {
    json!({"type": "struct", "fields": fields, "optional": true, "name": "p.shop.order.Value", "field": name})
}

fn envelope_schema(fields: &[Value]) -> Value {
    json!({"type": "struct", "fields": [row_schema(fields, "before"), row_schema(fields, "after")]})
}

fn envelope_of(op: &str, after: &Value) -> Value {
    json!({"before": null, "after": after, "source": {"db": "shop", "table": "order"}, "op": op})
}

fn id() -> Value {
    json!({"type": "int32", "field": "id"})
}

fn record(fields: &[Value], op: &str, after: &Value) -> Message {
    let mut record = message("p.shop.order", &json!(null), None);
    record.key = framed_text(&json!({"type": "struct", "fields": [id()]}), &json!({"id": 7}));
    record.value = Some(framed_text(&envelope_schema(fields), &envelope_of(op, after)));
    record
}

fn described(name: &str, data_type: &str, column_type: &str, fraction_digits: Option<u64>) -> DescribedColumn {
    DescribedColumn {
        name: name.into(),
        data_type: data_type.into(),
        column_type: column_type.into(),
        precision: None,
        fraction_digits,
    }
}

fn table() -> Arc<TableName> {
    Arc::new(TableName {
        database: "shop".into(),
        table: "order".into(),
    })
}

fn row(records: &mut Records, message: &Message) -> String {
    records.read(message).unwrap().row.unwrap().get().to_owned()
}

#[test]
fn a_row_that_its_schema_says_all_about_asks_nothing() {
    let fields = [
        id(),
        json!({"type": "bytes", "name": DECIMAL, "parameters": {"scale": "2"}, "field": "pr\"ice"}),
        json!({"type": "int64", "name": "io.debezium.time.Timestamp", "field": "at",
            "parameters": {"__debezium.source.column.type": "DATETIME", "__debezium.source.column.length": "3"}}),
    ];
    let first = record(
        &fields,
        "c",
        &json!({"at": 1_795_568_523_000_i64, "id": 7, "pr\"ice": "gA=="}),
    );
    // serde_json sorts the members of a test's object; the converter keeps the schema's order.
    let text = String::from_utf8(first.value.clone().unwrap()).unwrap();
    let text = text.replace(
        r#"{"at":1795568523000,"id":7,"pr\"ice":"gA=="}"#,
        r#"{"id":7,"pr\"ice":"gA==","at":1795568523000}"#,
    );
    let first = Message {
        value: Some(text.clone().into_bytes()),
        ..first
    };
    let mut records = Records::new("p");
    assert_eq!(records.wants(&first), None);
    let change = records.read(&first).unwrap();
    assert_eq!((change.table, change.key.as_str()), (table(), r#"{"id":7}"#));
    let expected = r#"{"id":7,"pr\"ice":"-1.28","at":"2026-11-25 01:02:03.000"}"#;
    assert_eq!(change.row.unwrap().get(), expected);
    // The next record of the same schema, and one whose converter puts the payload first.
    assert_eq!(row(&mut records, &first), expected);
    let (schema, payload) = text.split_once(",\"payload\":").unwrap();
    let swapped = format!(
        "{{\"payload\":{},{}}}",
        payload.strip_suffix('}').unwrap(),
        &schema[1..]
    );
    let swapped = Message {
        value: Some(swapped.into_bytes()),
        ..first
    };
    assert_eq!(row(&mut records, &swapped), expected);
    assert_eq!(row(&mut records, &swapped), expected);
}

#[test]
fn what_mysql_says_is_asked_for_once_and_again_when_a_column_comes() {
    let unsigned = json!({"type": "int64", "field": "u"});
    let first = record(&[id(), unsigned.clone()], "c", &json!({"id": 7, "u": -1}));
    let mut records = Records::new("p");
    assert_eq!(records.wants(&first), Some(table()));
    assert!(records.read(&first).is_err());
    let known = vec![
        described("id", "int", "int", None),
        described("u", "bigint", "bigint unsigned", None),
    ];
    records.tell(&table(), Some(known.clone()));
    assert_eq!(records.wants(&first), None);
    assert_eq!(row(&mut records, &first), r#"{"id":7,"u":18446744073709551615}"#);

    let text = json!({"type": "string", "field": "v"});
    let second = record(&[id(), unsigned, text], "u", &json!({"id": 7, "u": 1, "v": null}));
    assert_eq!(records.wants(&second), Some(table()));
    // MySQL has dropped it since: the schema alone decides, and it is not asked for again.
    records.tell(&table(), Some(known));
    assert_eq!(records.wants(&second), None);
    assert_eq!(row(&mut records, &second), r#"{"id":7,"u":1,"v":null}"#);
    assert_eq!(records.wants(&first), None);
}

#[tokio::test(start_paused = true)]
async fn columns_are_asked_for_again_after_a_time() {
    let first = record(
        &[id(), json!({"type": "int64", "field": "u"})],
        "c",
        &json!({"id": 7, "u": -1}),
    );
    let mut records = Records::new("p");
    let signed = vec![described("u", "bigint", "bigint", None)];
    assert_eq!(records.wants(&first), Some(table()));
    records.tell(&table(), Some(signed));
    assert_eq!(records.wants(&first), None);
    tokio::time::advance(COLUMNS_TIME).await;
    assert_eq!(records.wants(&first), Some(table()));
    // What is known goes by until there is an answer.
    assert_eq!(row(&mut records, &first), r#"{"id":7,"u":-1}"#);
    records.tell(&table(), Some(vec![described("u", "bigint", "bigint unsigned", None)]));
    assert_eq!(records.wants(&first), None);
    assert_eq!(row(&mut records, &first), r#"{"id":7,"u":18446744073709551615}"#);
}

#[test]
fn a_key_has_the_rows_text_with_and_without_its_row() {
    let parameters = json!({"__debezium.source.column.type": "BIGINT UNSIGNED"});
    let column = json!({"type": "int64", "field": "u", "parameters": parameters});
    // Debezium leaves a key's schema without the parameters.
    let key = framed_text(
        &json!({"type": "struct", "fields": [{"type": "string", "field": TABLE_IN_KEY}, {"type": "int64", "field": "u"}]}),
        &json!({"u": -1, TABLE_IN_KEY: "x"}),
    );
    let value = framed_text(&envelope_schema(&[column]), &envelope_of("d", &json!(null)));
    let change = Message {
        key: key.clone(),
        value: Some(value),
        ..message("p.shop.order", &json!(null), None)
    };
    let tombstone = Message {
        value: None,
        ..change.clone()
    };
    let expected = r#"{"u":18446744073709551615}"#;
    let mut records = Records::new("p");
    assert_eq!(records.wants(&change), None);
    for record in [&change, &tombstone] {
        let read = records.read(record).unwrap();
        assert_eq!(
            (read.key.as_str(), read.row.is_none(), read.table),
            (expected, true, table())
        );
    }
    // A writer that begins at the tombstone.
    let mut records = Records::new("p");
    assert_eq!(records.wants(&tombstone), Some(table()));
    records.tell(&table(), Some(vec![described("u", "bigint", "bigint unsigned", None)]));
    assert_eq!(records.wants(&tombstone), None);
    assert_eq!(records.read(&tombstone).unwrap().key, expected);
    let dotted = Message {
        partition: Partition {
            topic: "p.a.b.c".into(),
            number: 0,
        },
        ..tombstone
    };
    assert!(
        Records::new("p")
            .read(&dotted)
            .unwrap_err()
            .what
            .contains("does not tell its table")
    );
}

#[test]
fn what_is_not_understood_is_refused_with_what_to_do() {
    let plain = |key: &Value, value: &Value| message("p.shop.order", key, Some(value));
    let framed =
        |op: &str, field: &Value, value: &Value| record(&[id(), field.clone()], op, &json!({"id": 7, "v": value}));
    let text = json!({"type": "string", "field": "v"});
    let other = Message {
        value: record(&[id()], "c", &json!({"x": 7})).value,
        ..record(&[id()], "c", &json!({"id": 7}))
    };
    let truncated = Message {
        key: Vec::new(),
        ..record(&[id()], "t", &json!(null))
    };
    let mut refusals = Vec::new();
    for message in [
        plain(&json!({"id": 1}), &json!({"op": "c", "after": {"id": 1}})),
        plain(
            &json!({"schema": null, "payload": {"id": 1}}),
            &json!({"schema": null, "payload": {}}),
        ),
        Message {
            key: Vec::new(),
            ..record(&[id()], "c", &json!({"id": 7}))
        },
        truncated,
        record(&[id()], "x", &json!({"id": 7})),
        record(&[id()], "c", &json!(null)),
        other,
        framed(
            "c",
            &json!({"type": "string", "name": "com.example.Money", "field": "v"}),
            &json!("1"),
        ),
        framed(
            "c",
            &json!({"type": "bytes", "name": DECIMAL, "parameters": {"scale": "2"}, "field": "v"}),
            &json!(12.5),
        ),
        framed(
            "c",
            &json!({"type": "int32", "name": "io.debezium.time.Date", "field": "v"}),
            &json!(2_147_483_647),
        ),
        framed("c", &text, &json!("x")),
    ] {
        let mut records = Records::new("p");
        if records.wants(&message).is_some() {
            records.tell(&table(), Some(vec![described("v", "varbinary", "varbinary(9)", None)]));
        }
        let error = records.read(&message).unwrap_err();
        assert!(!error.is_transient() && error.hint.is_some(), "{error}");
        assert_eq!(records.wants(&message), None);
        refusals.push(error.to_string());
    }
    insta::assert_snapshot!(refusals.join("\n"));
}

#[test]
fn two_tables_in_a_topic_are_not_taken_for_each_other() {
    let first = record(&[id()], "c", &json!({"id": 7}));
    let another = json!({"type": "int32", "field": "v"});
    for second in [first.clone(), record(&[id(), another], "c", &json!({"id": 7, "v": 1}))] {
        let mut records = Records::new("p");
        records.read(&first).unwrap();
        let text = String::from_utf8(second.value.clone().unwrap()).unwrap();
        let second = Message {
            value: Some(text.replace("\"table\":\"order\"", "\"table\":\"other\"").into_bytes()),
            ..second
        };
        let error = records.read(&second).unwrap_err();
        assert_eq!(error.detail.as_deref(), Some("shop.order and shop.other"));
        assert!(records.read(&first).is_ok());
    }
}
