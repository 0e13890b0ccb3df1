//! A row as a JSON object, read without losing a digit: in Redis by layout json, in Elasticsearch always.
//!
//! The members are compared by canonical text, in any order; a value whose JSON type is not the column's (a number in
//! quotes, say) is shown as it stands, and so differs.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::canonical::{Kind, Text};
use crate::store::StoredRow;
use crate::table::Table;

/// The row that the text holds.
pub fn row(table: &Table, text: &[u8]) -> StoredRow {
    let mut members: BTreeMap<Cow<'_, str>, &RawValue> = match serde_json::from_slice(text) {
        Ok(members) => members,
        Err(error) => {
            return StoredRow::unreadable(format!("expected a JSON object, found text that is none: {error}"));
        }
    };
    let value = |member: Option<&RawValue>, kind| member.and_then(|member| value(kind, member.get()));
    StoredRow {
        values: table
            .columns
            .iter()
            .map(|column| value(members.remove(column.name.as_str()), column.kind))
            .collect(),
        surplus: members
            .into_iter()
            .map(|(name, member)| (name.into_owned(), member.get().into()))
            .collect(),
        unreadable: None,
    }
}

/// The canonical text of a member; one of another JSON type than the column's is shown as it stands.
fn value(kind: Kind, json: &str) -> Option<Text> {
    let spelled_in_json = matches!(
        kind,
        Kind::Integer | Kind::Bit | Kind::Float | Kind::Double | Kind::Geometry | Kind::Vector
    );
    match serde_json::from_str::<Cow<'_, str>>(json) {
        _ if json == "null" => None,
        Ok(text) if !spelled_in_json => Some(text.into_owned().into_bytes()),
        Err(_) if !spelled_in_json => Some(format!("(not a string) {json}").into_bytes()),
        _ => Some(json.as_bytes().to_vec()),
    }
}
