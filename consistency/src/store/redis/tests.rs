//! Tests: how Redis is read.

use super::*;
use crate::canonical::Kind;
use crate::table::Column;

fn table(name: &str, columns: &[(&str, Kind)]) -> Table {
    Table {
        number: 0,
        database: "bank".into(),
        name: name.into(),
        columns: columns.iter().map(|(name, kind)| Column::plain(*name, *kind)).collect(),
        key: vec![0],
        key_is_primary: true,
        rows_estimate: 0,
    }
}

fn accounts() -> Table {
    table(
        "accounts",
        &[
            ("id", Kind::Integer),
            ("owner", Kind::Characters),
            ("balance", Kind::Decimal),
        ],
    )
}

fn bulk(text: &str) -> Value {
    Value::BulkString(text.into())
}

fn some(text: &str) -> Option<Text> {
    Some(text.into())
}

#[test]
fn hash_fields_are_found_in_any_order_and_absent_is_null() {
    let fields = ["balance", "1.50", "note", "x", "id", "7"].map(bulk).to_vec();
    let row = hash_row(&accounts(), fields);
    assert_eq!(row.values, [some("7"), None, some("1.50")]);
    assert_eq!(row.surplus, [("note".to_owned(), b"x".to_vec())]);
}

#[test]
fn json_members_keep_their_digits_and_their_types() {
    let row = json::row(
        &accounts(),
        br#"{"balance":"1.50","id":18446744073709551615,"owner":null,"more":[1]}"#,
    );
    assert_eq!(row.values, [some("18446744073709551615"), None, some("1.50")]);
    assert_eq!(row.surplus, [("more".to_owned(), b"[1]".to_vec())]);
    let row = json::row(&accounts(), br#"{"id":"7","owner":"a\"\ud83d\ude00","balance":1.5}"#);
    assert_eq!(
        row.values,
        [some("\"7\""), some("a\"\u{1f600}"), some("(not a string) 1.5")]
    );
    assert!(json::row(&accounts(), b"[]").unreadable.is_some());
    assert!(json::row(&accounts(), b"{\"id\":").unreadable.is_some());
}

#[test]
fn the_scan_pattern_is_what_all_tables_share_with_globs_escaped() {
    let template = KeyTemplate::parse("{db}:{table}:{pk}").expect("a good template");
    let mut tables = vec![
        table("a*b", &[("id", Kind::Integer)]),
        table("a*c", &[("id", Kind::Integer)]),
    ];
    tables[1].number = 1;
    let frames: Vec<KeyFrame> = tables
        .iter()
        .map(|table| template.frame(&table.database, &table.name))
        .collect();
    let index = PrefixIndex::new(&tables, &frames);
    assert_eq!(index.pattern(&frames), br"bank:a\**");
    assert_eq!(index.table_of(&frames, b"bank:a*c:7"), Some((1, vec![b"7".to_vec()])));
    assert_eq!(index.table_of(&frames, b"bank:a*c:x"), None);
    assert_eq!(index.table_of(&frames, b"bank:a*d:7"), None);
    assert_eq!(index.table_of(&frames, b"x"), None);
}

#[test]
fn overlapping_tables_are_found() {
    let template = KeyTemplate::parse("{table}-{pk}").expect("a good template");
    let frames: Vec<KeyFrame> = ["t", "u", "t-1"].iter().map(|name| template.frame("d", name)).collect();
    assert_eq!(overlapping(&frames), Some((0, 2)));
    assert_eq!(overlapping(&frames[..2]), None);
}
