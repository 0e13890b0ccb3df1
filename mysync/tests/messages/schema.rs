//! The compact form, read by the published schema alone, and by the writer: the same rows as the envelope has.

use super::recorded::{Published, config, published};
use mysync::queue::{Message, Partition};
use mysync::target::RowChange;
use mysync::writer::Parser;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::Value;
use std::path::Path;

/// The message of `proto/change.proto`, as any protobuf tool knows it.
pub fn change_descriptor() -> MessageDescriptor {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let files = protox::compile(["change.proto"], [folder]).unwrap();
    let pool = DescriptorPool::from_file_descriptor_set(files).unwrap();
    pool.get_message_by_name("mysync.v1.Change").unwrap()
}

/// A record's value in protobuf's own JSON form; no field is unknown to the schema.
pub fn by_schema(descriptor: &MessageDescriptor, value: &[u8]) -> Value {
    let message = DynamicMessage::decode(descriptor.clone(), value).unwrap();
    assert_eq!(message.unknown_fields().count(), 0);
    serde_json::to_value(&message).unwrap()
}

pub fn parsed(parser: &mut Parser, record: &Published) -> RowChange {
    let partition = Partition {
        topic: record.topic.as_str().into(),
        number: 0,
    };
    let message = Message {
        partition,
        offset: 0,
        version: Some(record.version),
        timestamp_ms: None,
        table: record.table.clone().filter(|_| record.value.is_none()),
        key: record.key.clone(),
        value: record.value.clone(),
    };
    parser.parse(&message).unwrap()
}

#[test]
fn writers_take_the_same_rows_from_both_forms() {
    let (json, compact) = (
        published(&config("", "")),
        published(&config("format = \"protobuf\"", "")),
    );
    assert_eq!(json.len(), compact.len());
    let (mut rows, mut bytes) = (0, [0, 0]);
    let mut parsers = [Parser::new("dbz"), Parser::new("dbz")];
    for (json, compact) in json.iter().zip(&compact) {
        assert_eq!(
            (&json.topic, &json.key, &json.header),
            (&compact.topic, &compact.key, &compact.header)
        );
        let [one, other] = [json, compact];
        let (one, other) = (parsed(&mut parsers[0], one), parsed(&mut parsers[1], other));
        assert_eq!((&one.table, &one.key), (&other.table, &other.key));
        let text = |change: &RowChange| change.row.as_ref().map(|row| row.get().to_owned());
        assert_eq!(text(&one), text(&other));
        rows += usize::from(one.row.is_some());
        for (sum, record) in bytes.iter_mut().zip([json, compact]) {
            *sum += record.value.as_ref().map_or(0, Vec::len);
        }
    }
    assert!(rows > 30, "{rows}");
    assert!(
        bytes[1] * 3 < bytes[0] * 2,
        "no less than two thirds of the envelope: {bytes:?}"
    );
}

#[test]
fn every_record_is_understood_by_the_schema() {
    let descriptor = change_descriptor();
    let options = "format = \"protobuf\"\ntransaction_metadata = true\nquery = true";
    let json = published(&config("transaction_metadata = true\nquery = true", ""));
    let compact = published(&config(options, ""));
    for (json, compact) in json.iter().zip(&compact) {
        let (Some(json), Some(value)) = (&json.value, &compact.value) else {
            assert_eq!(json.value, compact.value);
            continue;
        };
        if compact.table.is_none() {
            assert_eq!(json, value, "marks are the same in every form");
            continue;
        }
        let envelope: Value = serde_json::from_slice(json).unwrap();
        let change = by_schema(&descriptor, value);
        let operation = match envelope["op"].as_str().unwrap() {
            "c" => "OPERATION_CREATE",
            "u" => "OPERATION_UPDATE",
            _ => "OPERATION_DELETE",
        };
        assert_eq!(change["operation"], operation);
        let source = &envelope["source"];
        assert_eq!(change["source"]["database"], source["db"]);
        assert_eq!(change["source"]["table"], source["table"]);
        assert_eq!(change["source"]["name"], source["name"]);
        assert_eq!(change["source"]["commitUs"], source["ts_us"].to_string());
        assert_eq!(change["source"]["serverId"], source["server_id"]);
        assert_eq!(change["source"]["gtid"], source["gtid"]);
        assert_eq!(change["source"]["file"], source["file"]);
        assert_eq!(change["source"]["position"], source["pos"].to_string());
        assert_eq!(change["source"]["thread"], source["thread"]);
        assert_eq!(change["source"]["query"], source["query"]);
        assert_eq!(change["row"].as_u64().unwrap_or(0), source["row"].as_u64().unwrap());
        let transaction = &envelope["transaction"];
        assert_eq!(change["transaction"]["id"], transaction["id"]);
        assert_eq!(
            change["transaction"]["totalOrder"],
            transaction["total_order"].to_string()
        );
        let order = transaction["data_collection_order"].to_string();
        assert_eq!(change["transaction"]["dataCollectionOrder"], order);
        for image in ["before", "after"] {
            assert_eq!(change[image].is_null(), envelope[image].is_null(), "{image}");
        }
    }
}
