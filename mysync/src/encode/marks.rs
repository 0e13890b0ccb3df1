//! Records that are no changes: where a transaction begins and ends, as Debezium's topic `<prefix>.transaction` has them,
//! and heartbeats. JSON in every form.

use crate::queue::{Batch, Origin, TopicId};
use crate::version::Version;
use serde_json::json;
use std::collections::BTreeMap;

/// What a mark's record has beside key and value.
#[derive(Debug, Clone, Copy)]
pub struct MarkPlace {
    /// Its topic.
    pub topic: TopicId,
    /// When it happened, ms since 1970.
    pub timestamp_ms: i64,
    /// The version of the next change.
    pub version: Version,
    /// Where in the binlog.
    pub origin: Origin,
}

/// A transaction is about to change a followed table.
pub fn transaction_begin(id: &str, place: MarkPlace, batch: &mut Batch) {
    let value = json!({
        "status": "BEGIN", "id": id, "event_count": null, "data_collections": null, "ts_ms": place.timestamp_ms,
    });
    push(&json!({ "id": id }), &value, place, batch);
}

/// A transaction is complete; `tables` has how many records with a value it had, by `<database>.<table>`.
pub fn transaction_end(id: &str, tables: &BTreeMap<String, u64>, place: MarkPlace, batch: &mut Batch) {
    let collection = |(table, count): (&String, &u64)| json!({ "data_collection": table, "event_count": count });
    let value = json!({
        "status": "END",
        "id": id,
        "event_count": tables.values().sum::<u64>(),
        "data_collections": tables.iter().map(collection).collect::<Vec<_>>(),
        "ts_ms": place.timestamp_ms,
    });
    push(&json!({ "id": id }), &value, place, batch);
}

/// The reader lives, and all changes before this version are published.
pub fn heartbeat(prefix: &str, place: MarkPlace, batch: &mut Batch) {
    let key = json!({ "serverName": prefix });
    push(&key, &json!({ "ts_ms": place.timestamp_ms }), place, batch);
}

fn push(key: &serde_json::Value, value: &serde_json::Value, place: MarkPlace, batch: &mut Batch) {
    let begin = batch.bytes_len();
    batch.bytes().extend_from_slice(key.to_string().as_bytes());
    let middle = batch.bytes_len();
    batch.bytes().extend_from_slice(value.to_string().as_bytes());
    let end = batch.bytes_len();
    batch.push(
        place.topic,
        place.timestamp_ms,
        place.version,
        place.origin,
        begin..middle,
        Some(middle..end),
    );
}
