//! One bulk request: a buffer of lines, built by hand out of the rows' own text, and what its answer says of each item.

use super::mapping::{DELETED, DELETED_AT};
use super::names;
use super::tables::Table;
use crate::decode::json_string;
use crate::target::RowChange;
use serde::Deserialize;
use serde_json::Value;
use std::io::Write;

/// Where bulk requests go, and what of the answers is needed. No index is ever made by a document: only an alias is written to.
pub(super) const PATH: &str = "/_bulk?require_alias=true&pipeline=_none&filter_path=errors,items.*.status,items.*.error.type,\
     items.*.error.reason,items.*.error.caused_by";

/// What a line about a document has besides its id and the row.
const ITEM_BYTES: usize = 160;

/// How long an item is, about.
pub(super) fn item_bytes(change: &RowChange) -> usize {
    let key: usize = change.key.iter().map(|(_, text)| text.len()).sum();
    ITEM_BYTES + key + change.row.as_ref().map_or(0, |row| row.get().len())
}

/// Appends the two lines of one change.
pub(super) fn push(lines: &mut Vec<u8>, table: &Table, change: &RowChange, now_ms: u64) {
    lines.extend_from_slice(b"{\"index\":{\"_index\":");
    json_string(lines, table.alias.as_bytes());
    lines.extend_from_slice(b",\"_id\":");
    json_string(lines, names::id(change).as_bytes());
    lines.extend_from_slice(b",\"version\":");
    lines.extend_from_slice(itoa::Buffer::new().format(change.version).as_bytes());
    lines.extend_from_slice(b",\"version_type\":\"external_gte\"}}\n");
    match &change.row {
        Some(row) => push_line(lines, row.get()),
        // Writing to a Vec cannot fail.
        None => drop(write!(lines, "{{\"{DELETED}\":true,\"{DELETED_AT}\":{now_ms}}}")),
    }
    lines.push(b'\n');
}

/// JSON on one line. What breaks a line in valid JSON stands between its tokens: in a string it is escaped.
fn push_line(lines: &mut Vec<u8>, json: &str) {
    let begin = lines.len();
    lines.extend_from_slice(json.as_bytes());
    for byte in &mut lines[begin..] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

/// The answer to a bulk request.
#[derive(Debug, Deserialize)]
pub(super) struct BulkAnswer {
    pub(super) errors: bool,
    #[serde(default)]
    pub(super) items: Vec<BulkItem>,
}

/// One item's result, by what was asked for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum BulkItem {
    /// A document was written.
    Index(ItemResult),
    /// A document was written that was not there.
    Create(ItemResult),
    /// A document was deleted.
    Delete(ItemResult),
}

/// What became of an item.
#[derive(Debug, Deserialize)]
pub(super) struct ItemResult {
    pub(super) status: u16,
    #[serde(default)]
    pub(super) error: Value,
    #[serde(rename = "_seq_no")]
    pub(super) seq_no: Option<i64>,
    #[serde(rename = "_primary_term")]
    pub(super) primary_term: Option<i64>,
}

impl BulkItem {
    pub(super) fn result(&self) -> &ItemResult {
        match self {
            BulkItem::Index(result) | BulkItem::Create(result) | BulkItem::Delete(result) => result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_one_line_and_otherwise_as_it_is() {
        let mut lines = Vec::new();
        push_line(&mut lines, "{\"a\": \"x\\ny\",\r\n \"b\":1}");
        assert_eq!(String::from_utf8(lines).unwrap(), "{\"a\": \"x\\ny\",   \"b\":1}");
    }

    #[test]
    fn an_answer_has_a_result_for_each_item() {
        let text = r#"{"errors":true,"items":[{"index":{"status":201}},{"delete":{"status":404}},
            {"create":{"status":409,"error":{"type":"t","reason":"r"}}},{"index":{"status":200,"_seq_no":7,"_primary_term":2}}]}"#;
        let answer: BulkAnswer = serde_json::from_str(text).unwrap();
        let statuses: Vec<u16> = answer.items.iter().map(|item| item.result().status).collect();
        assert_eq!((answer.errors, statuses), (true, vec![201, 404, 409, 200]));
        assert_eq!(answer.items[2].result().error["type"], "t");
        assert_eq!(answer.items[3].result().seq_no, Some(7));
    }
}
