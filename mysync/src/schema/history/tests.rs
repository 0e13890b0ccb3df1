//! The history over statements, restarts and surveys.

use super::super::{EventEnd, Quoting, Statement, SurveyDraft, TableChange, classify};
use super::*;
use crate::config;
use crate::queue::StoredRecord;

fn filter(tables: &str) -> TableFilter {
    let text = config::TEMPLATE
        .replace("password_env = \"MYSYNC_MYSQL_PASSWORD\"", "password = \"x\"")
        .replace("tables = [\"shop.*\"]", &format!("tables = [{tables}]"));
    TableFilter::new(&config::parse(&text, "test").unwrap())
}

fn changes(text: &str) -> Vec<TableChange> {
    match classify(text, "shop", Quoting::default()) {
        Statement::Ddl(changes) => changes,
        other => panic!("{text}: {other:?}"),
    }
}

fn name(table: &str) -> TableName {
    ("shop".to_owned(), table.to_owned())
}

/// Applies statements and gives the names of the tables that are to be looked up.
fn apply(history: &mut History, filter: &TableFilter, texts: &[&str]) -> Vec<String> {
    let unclear = texts.iter().flat_map(|text| history.apply(&changes(text), filter));
    unclear.map(|(_, table)| table).collect()
}

fn columns(history: &History, table: &str) -> Option<String> {
    let table = history.tables.get(&name(table))?;
    let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    Some(names.join(" "))
}

#[test]
fn the_swap_of_online_schema_change_tools_is_followed_though_the_new_table_is_not() {
    let filter = filter("\"shop.t\"");
    let mut history = History::default();
    let unclear = apply(
        &mut history,
        &filter,
        &[
            "CREATE TABLE t (id INT PRIMARY KEY, a INT)",
            "CREATE TABLE _t_gho LIKE t",
            "ALTER TABLE _t_gho ADD COLUMN b INT",
            "CREATE TABLE other.x (id INT)",
            "RENAME TABLE t TO _t_del, _t_gho TO t",
        ],
    );
    assert!(unclear.is_empty(), "{unclear:?}");
    assert_eq!(columns(&history, "t").unwrap(), "id a b");
    assert_eq!(columns(&history, "_t_del").unwrap(), "id a");
    assert_eq!(history.tables.len(), 2, "tables of other databases are not kept");
    assert!(
        apply(
            &mut history,
            &filter,
            &["DROP TABLE _t_del", "TRUNCATE t", "DROP DATABASE shop"]
        )
        .is_empty()
    );
    assert!(history.tables.is_empty());
}

#[test]
fn what_a_table_was_is_forgotten_when_it_changes_while_its_database_is_not_followed() {
    let mut history = History::default();
    apply(
        &mut history,
        &filter("\"shop.*\""),
        &["CREATE TABLE t (id INT PRIMARY KEY, a INT)"],
    );
    assert_eq!(columns(&history, "t").unwrap(), "id a");
    apply(&mut history, &filter("\"other.*\""), &["ALTER TABLE t CHANGE a c INT"]);
    assert_eq!(columns(&history, "t"), None);
}

#[test]
fn what_cannot_be_told_is_looked_up_and_not_kept() {
    let filter = filter("\"shop.*\"");
    let mut history = History::default();
    for (texts, unclear) in [
        (&["CREATE TABLE a (id INT) SELECT 1 AS b"][..], &["a"][..]),
        (&["CREATE TABLE b (id INT, t TEXT)"], &["b"]),
        (&["CREATE TABLE c (id INT)", "ALTER TABLE c ADD x MONEY"], &["c"]),
        (&["ALTER TABLE d ADD x INT"], &["d"]),
        (&["RENAME TABLE e TO f"], &["f"]),
        (
            &[
                "CREATE TABLE IF NOT EXISTS g (id INT)",
                "CREATE TABLE IF NOT EXISTS g (id INT, x INT)",
            ],
            &[],
        ),
        (&["CREATE TABLE IF NOT EXISTS d (id INT)"], &["d"]),
        (&["RENAME TABLE d TO other.d"], &[]),
    ] {
        assert_eq!(apply(&mut history, &filter, texts), unclear, "{texts:?}");
    }
    assert_eq!(history.tables.keys().cloned().collect::<Vec<_>>(), [name("g")]);
    assert_eq!(columns(&history, "g").unwrap(), "id");
    // Where Table_maps say character sets, a default that is not known does no harm.
    history.charsets_in_events = true;
    assert!(apply(&mut history, &filter, &["CREATE TABLE b (id INT, t TEXT)"]).is_empty());
}

#[tokio::test]
async fn a_restart_finds_what_was_recorded() {
    let filter = filter("\"shop.*\"");
    let mut history = History::default();
    apply(
        &mut history,
        &filter,
        &["CREATE TABLE a (id INT)", "CREATE TABLE b (id INT)"],
    );
    let from = Origin {
        version: 7,
        file: "binlog.000001".into(),
        offset: 99,
    };
    let mut records = history.records(&from);
    assert!(history.records(&from).is_empty());
    assert_eq!(String::from_utf8(records[0].0.clone()).unwrap(), r#"["shop","a"]"#);
    insta::assert_snapshot!(String::from_utf8(records[0].1.clone().unwrap()).unwrap());
    apply(
        &mut history,
        &filter,
        &["DROP TABLE a", "ALTER TABLE b ADD x INT FIRST"],
    );
    records.extend(history.records(&from));
    let (sender, scan) = Scan::channel();
    for (key, value) in records {
        let record = StoredRecord { offset: 0, key, value };
        sender.send(Ok(record)).await.unwrap();
    }
    drop(sender);
    let read = History::load(scan, false).await.unwrap();
    assert_eq!(read.tables, history.tables);
    assert_eq!(read.missing(vec![name("a"), name("b")]), [name("a")]);
}

/// The binlog of a reader that was down while a table was altered twice, in ways that are not understood.
#[test]
fn two_statements_that_are_not_understood_leave_a_table_unknown_until_the_second() {
    let filter = filter("\"shop.*\"");
    let mut history = History::default();
    let statements: [(&str, EventEnd); 2] = [
        ("CREATE TABLE t (id INT, x SOMETHING)", (1, 100)),
        ("ALTER TABLE t RENAME COLUMN x TO y, SOMETHING NEW", (1, 200)),
    ];
    let mut draft = SurveyDraft::default();
    for (text, at) in statements {
        draft.note(&changes(text), at);
    }
    let now = match &changes("CREATE TABLE t (id INT, y INT)")[0].change {
        Change::Create(create) => TableSchema::create(&create.columns, |_, _| None).unwrap(),
        other => panic!("{other:?}"),
    };
    let survey = draft.complete([(name("t"), Some(now))].into(), (1, 300));
    let mut known = Vec::new();
    for (text, at) in statements {
        let unclear = history.apply(&changes(text), &filter);
        assert_eq!(unclear, [name("t")]);
        history.look_up(&unclear, at, &survey);
        known.push(columns(&history, "t"));
    }
    assert_eq!(known, [None, Some("id y".to_owned())]);
}
