//! The mapping of a table's index: what can be searched, and how.
//!
//! `_source` is what is exact; the mapping only finds it. So it bears whatever may come: columns that it does not name are kept
//! and not searched (`dynamic: false`), values that do not fit a column's type, such as zero dates or what a column held before its
//! type was changed, are kept and not searched by it (`ignore_malformed`). A mapping cannot be changed, only added to: columns
//! that change their types are found by their new values once the index has been filled anew.
//!
//! All whole numbers are `long`, so that a column may grow; a fraction is refused rather than cut off (`coerce: false`). A
//! DECIMAL is a `double`, which tells values of up to 15 digits apart; beyond that, and where a fraction of a second is finer
//! than the type, a subfield `exact` holds the text itself.

use crate::target::columns::ColumnKind;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The member by which a tombstone is known.
pub(super) const DELETED: &str = "__mysync_deleted";

/// When it was written, milliseconds since 1970.
pub(super) const DELETED_AT: &str = "__mysync_deleted_at";

/// What this writer's own members begin with.
pub(super) const OURS: &str = DELETED;

/// The longest text that is sure to fit the store's limit of 32766 bytes on what it indexes as a whole, in UTF-16 units.
const WHOLE_UNITS_MAX: u32 = 8_191;

/// Digits up to which a double tells decimal numbers apart.
const DOUBLE_DIGITS: u64 = 15;

/// Digits of a second's fraction that the type `date` keeps.
const DATE_FRACTION_DIGITS: usize = 3;

/// Names that the store keeps for itself.
const STORE_S_OWN: [&str; 16] = [
    "_data_stream_timestamp",
    "_doc",
    "_doc_count",
    "_feature",
    "_field_names",
    "_id",
    "_ignored",
    "_ignored_source",
    "_index",
    "_nested_path",
    "_primary_term",
    "_routing",
    "_seq_no",
    "_source",
    "_tier",
    "_version",
];

/// Types that not every store has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Abilities {
    /// `unsigned_long`: OpenSearch, and Elasticsearch's default distribution.
    pub(super) unsigned_long: bool,
}

/// The filter of the alias that users query.
pub(super) fn alias_filter() -> Value {
    json!({"bool": {"must_not": {"exists": {"field": DELETED}}}})
}

/// Properties of an index without columns.
pub(super) fn own_properties() -> Map<String, Value> {
    let mut properties = Map::new();
    properties.insert(DELETED.into(), json!({"type": "boolean"}));
    properties.insert(DELETED_AT.into(), json!({"type": "date", "format": "epoch_millis"}));
    properties
}

/// The properties of columns; those that cannot be searched at all have none.
pub(super) fn properties(columns: &[(String, ColumnKind)], abilities: Abilities) -> Map<String, Value> {
    let names: BTreeSet<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    columns
        .iter()
        .filter(|(name, _)| is_mappable(name, &names))
        .map(|(name, kind)| (name.clone(), property(*kind, abilities)))
        .collect()
}

/// A dot in a name makes the store look for an object of what is before it: a column `a` and a column `a.b` exclude each other.
fn is_mappable(name: &str, names: &BTreeSet<&str>) -> bool {
    let is_name = |part: &str| !part.trim().is_empty();
    let is_within = |other: &&str| other.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    let is_below = || name.match_indices('.').any(|(dot, _)| names.contains(&name[..dot]));
    name.split('.').all(is_name) && !STORE_S_OWN.contains(&name) && !names.iter().any(is_within) && !is_below()
}

fn property(kind: ColumnKind, abilities: Abilities) -> Value {
    let exact = json!({"exact": {"type": "keyword", "ignore_above": 128}});
    match kind {
        ColumnKind::Integer => json!({"type": "long", "ignore_malformed": true, "coerce": false}),
        ColumnKind::Unsigned64 if abilities.unsigned_long => json!({"type": "unsigned_long", "ignore_malformed": true}),
        ColumnKind::Unsigned64 => json!({"type": "double", "ignore_malformed": true, "fields": exact}),
        ColumnKind::Decimal { digits } if digits > DOUBLE_DIGITS => {
            json!({"type": "double", "ignore_malformed": true, "fields": exact})
        }
        ColumnKind::Float | ColumnKind::Decimal { .. } => json!({"type": "double", "ignore_malformed": true}),
        ColumnKind::Date => json!({"type": "date", "format": local_format(0), "ignore_malformed": true}),
        ColumnKind::DateTime { fraction_digits } => {
            let mut property =
                json!({"type": "date", "format": local_format(fraction_digits), "ignore_malformed": true});
            if fraction_digits > DATE_FRACTION_DIGITS {
                property["fields"] = exact;
            }
            property
        }
        ColumnKind::Timestamp { fraction_digits } => match fraction_digits > DATE_FRACTION_DIGITS {
            true => {
                json!({"type": "date_nanos", "format": "strict_date_optional_time_nanos", "ignore_malformed": true})
            }
            false => json!({"type": "date", "format": "strict_date_optional_time", "ignore_malformed": true}),
        },
        ColumnKind::Text | ColumnKind::Time => json!({"type": "keyword", "ignore_above": WHOLE_UNITS_MAX}),
        ColumnKind::LongText | ColumnKind::Json => json!({"type": "text"}),
        ColumnKind::Opaque => json!({"type": "object", "enabled": false}),
    }
}

/// A time of day in no zone, as the message has it; and for queries the forms that people write.
fn local_format(fraction_digits: usize) -> String {
    let seconds = "yyyy-MM-dd HH:mm:ss";
    match fraction_digits {
        0 => format!("{seconds}||strict_date_optional_time"),
        digits => format!("{seconds}.{}||{seconds}||strict_date_optional_time", "S".repeat(digits)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Abilities = Abilities { unsigned_long: true };

    #[test]
    fn each_kind_has_its_property() {
        let kinds = [
            ("integer", ColumnKind::Integer),
            ("unsigned", ColumnKind::Unsigned64),
            ("float", ColumnKind::Float),
            ("decimal", ColumnKind::Decimal { digits: 15 }),
            ("decimal_long", ColumnKind::Decimal { digits: 16 }),
            ("date", ColumnKind::Date),
            ("time", ColumnKind::Time),
            ("datetime", ColumnKind::DateTime { fraction_digits: 0 }),
            ("datetime_fine", ColumnKind::DateTime { fraction_digits: 6 }),
            ("timestamp", ColumnKind::Timestamp { fraction_digits: 3 }),
            ("timestamp_fine", ColumnKind::Timestamp { fraction_digits: 4 }),
            ("text", ColumnKind::Text),
            ("long_text", ColumnKind::LongText),
            ("json", ColumnKind::Json),
            ("opaque", ColumnKind::Opaque),
        ];
        let columns: Vec<_> = kinds.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
        let lines = properties(&columns, ALL)
            .iter()
            .map(|(name, property)| format!("{name} {property}"))
            .collect::<Vec<_>>();
        insta::assert_snapshot!(lines.join("\n"));
        let without = properties(&columns[1..2], Abilities { unsigned_long: false });
        assert_eq!(without["unsigned"]["type"], "double");
        assert_eq!(without["unsigned"]["fields"]["exact"]["type"], "keyword");
    }

    #[test]
    fn columns_whose_names_the_store_cannot_take_are_left_out() {
        let mapped = |names: &[&str]| {
            let columns: Vec<_> = names
                .iter()
                .map(|name| ((*name).to_owned(), ColumnKind::Text))
                .collect();
            properties(&columns, ALL).keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(mapped(&["a", "b.c", "bb"]), ["a", "b.c", "bb"]);
        assert_eq!(mapped(&["a", "a.b", "a.b.c", "ab"]), ["ab"]);
        assert_eq!(mapped(&["a.", ".a", "a..b", " ", "_id", "_source", "_mine"]), ["_mine"]);
    }
}
