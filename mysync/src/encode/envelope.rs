//! Debezium's MySQL envelope as JSON, schemas off, members in Debezium's order.
//!
//! What the rows of an event share is written once into a [`Frame`]: `source` up to the row's index (`head`), from there up
//! to the operation or to the change's number in its transaction (`transaction`), and the end (`tail`).

use super::columns::Plan;
use super::{EventPlace, Frame, append_number, refuse};
use crate::decode::{Row, TableMap, json_string};
use crate::error::Result;

/// What all records of a table have.
#[derive(Debug)]
pub(super) struct Table {
    /// `,"source":{…` up to the time, and from the schema's members up to the server id.
    source_head: Vec<u8>,
    source_database: Vec<u8>,
    source_table: Vec<u8>,
    /// A plan a column, unless all are written as they are.
    plans: Option<Vec<Plan>>,
}

impl Table {
    pub(super) fn new(map: &TableMap, prefix: &str, plans: Option<Vec<Plan>>) -> Self {
        let source_head = format!(
            r#","source":{{"version":"{}","connector":"mysql","name":{},"ts_ms":"#,
            env!("CARGO_PKG_VERSION"),
            quoted(prefix)
        );
        let source_database = format!(r#","db":{},"sequence":null,"ts_us":"#, quoted(&map.database));
        let source_table = format!(r#"000,"table":{},"server_id":"#, quoted(&map.table));
        Self {
            source_head: source_head.into(),
            source_database: source_database.into(),
            source_table: source_table.into(),
            plans,
        }
    }

    pub(super) fn frame(&self, place: &EventPlace<'_>, frame: &mut Frame) {
        let mut digits = itoa::Buffer::new();
        let commit_us = digits.format(place.commit_microseconds());
        let head = &mut frame.head;
        head.clear();
        head.extend_from_slice(&self.source_head);
        head.extend_from_slice(without_last(commit_us, 3));
        head.extend_from_slice(match place.is_refresh {
            true => b",\"snapshot\":\"incremental\"",
            false => b",\"snapshot\":\"false\"",
        });
        head.extend_from_slice(&self.source_database);
        head.extend_from_slice(commit_us.as_bytes());
        head.extend_from_slice(b",\"ts_ns\":");
        head.extend_from_slice(commit_us.as_bytes());
        head.extend_from_slice(&self.source_table);
        append_number(head, place.server_id);
        head.extend_from_slice(b",\"gtid\":");
        if place.gtid.is_empty() {
            head.extend_from_slice(b"null");
        } else {
            append_quoted(head, place.gtid);
        }
        head.extend_from_slice(b",\"file\":");
        append_quoted(head, place.file);
        head.extend_from_slice(b",\"pos\":");
        append_number(head, place.begin);
        head.extend_from_slice(b",\"row\":");

        let middle = &mut frame.transaction;
        middle.clear();
        middle.extend_from_slice(b",\"thread\":");
        match place.thread_id {
            Some(thread_id) => append_number(middle, thread_id),
            None => middle.extend_from_slice(b"null"),
        }
        middle.extend_from_slice(b",\"query\":");
        match place.query {
            Some(query) => append_quoted(middle, query),
            None => middle.extend_from_slice(b"null"),
        }
        match &place.transaction {
            Some(transaction) => {
                middle.extend_from_slice(b"},\"transaction\":{\"id\":");
                append_quoted(middle, transaction.id);
                middle.extend_from_slice(b",\"total_order\":");
            }
            None => middle.extend_from_slice(b"},\"transaction\":null,\"op\":\""),
        }

        let read_ns = digits.format(place.read_ns);
        let tail = &mut frame.tail;
        tail.clear();
        tail.extend_from_slice(b"\",\"ts_ms\":");
        tail.extend_from_slice(without_last(read_ns, 6));
        tail.extend_from_slice(b",\"ts_us\":");
        tail.extend_from_slice(without_last(read_ns, 3));
        tail.extend_from_slice(b",\"ts_ns\":");
        tail.extend_from_slice(read_ns.as_bytes());
        tail.push(b'}');
    }

    /// Appends the record's value.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        [before, after]: [Option<&Row<'_>>; 2],
        operation: u8,
        row_index: u32,
        frame: &Frame,
    ) -> Result<()> {
        self.image(out, b"{\"before\":", before)?;
        self.image(out, b",\"after\":", after)?;
        out.extend_from_slice(&frame.head);
        append_number(out, row_index);
        out.extend_from_slice(&frame.transaction);
        if let Some(orders) = &frame.orders {
            append_number(out, orders.total);
            out.extend_from_slice(b",\"data_collection_order\":");
            append_number(out, orders.table);
            out.extend_from_slice(b"},\"op\":\"");
        }
        out.push(operation);
        out.extend_from_slice(&frame.tail);
        Ok(())
    }

    /// Appends some columns of a row as a JSON object; a key's columns are never left out.
    pub(super) fn write_key(&self, row: &Row<'_>, key: &[usize], out: &mut Vec<u8>) -> Result<()> {
        match &self.plans {
            None => row.write_json_of(key, out),
            Some(plans) => row.write_json_of_with(key, out, |index, value, out| plans[index].write_json(value, out)),
        }
        .map_err(refuse)
    }

    fn image(&self, out: &mut Vec<u8>, name: &[u8], row: Option<&Row<'_>>) -> Result<()> {
        out.extend_from_slice(name);
        match (row, &self.plans) {
            (None, _) => {
                out.extend_from_slice(b"null");
                Ok(())
            }
            (Some(row), None) => row.write_json(out).map_err(refuse),
            (Some(row), Some(plans)) => planned(row, plans, out),
        }
    }
}

/// Appends a row whose columns are not all written as they are.
fn planned(row: &Row<'_>, plans: &[Plan], out: &mut Vec<u8>) -> Result<()> {
    let map = row.table_map();
    let mut separator = b'{';
    for item in row.values() {
        let (index, offset, value) = item.map_err(refuse)?;
        if matches!(plans[index], Plan::LeftOut) {
            continue;
        }
        out.push(separator);
        separator = b',';
        out.extend_from_slice(map.columns[index].json_name());
        let written = plans[index].write_json(&value, out);
        written.map_err(|error| refuse(map.locate(error.at(offset), index)))?;
    }
    // The key's columns are there.
    out.push(b'}');
    Ok(())
}

/// A number in a unit that is so many powers of ten larger.
fn without_last(digits: &str, count: usize) -> &[u8] {
    match digits.len().checked_sub(count) {
        Some(length) if length > 0 => &digits.as_bytes()[..length],
        _ => b"0",
    }
}

fn append_quoted(out: &mut Vec<u8>, text: &str) {
    json_string(out, text.as_bytes());
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}
