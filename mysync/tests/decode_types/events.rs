//! Events other than plain rows, and what table maps say: keys, visibility, images that are not full, compression, GTIDs, XA.
//!
//! The events of the 8.0 and 9.7 servers are also what the property tests in `decode_malformed` change at random: with
//! `MYSYNC_UPDATE_EVENTS=1` they are written to `tests/decode_data`.

use std::collections::HashMap;

use mysync::decode::{Body, Event, Format, KeyPart, Reason, RowsKind, TableMap, Value};

use super::capture::{Bench, each_rows_event};

/// What every server since 8.0 runs for the checks below.
const STATEMENTS: &[&str] = &[
    "CREATE TABLE one (id BIGINT UNSIGNED, y YEAR, n INT UNSIGNED, t TEXT, s SMALLINT, PRIMARY KEY (id)) CHARACTER SET latin1",
    "INSERT INTO one VALUES (18446744073709551615, 2026, 4294967295, 'é', -1)",
    "CREATE TABLE pair (a INT, b VARCHAR(20), c INT, PRIMARY KEY (c, a)) CHARACTER SET utf8mb4",
    "INSERT INTO pair VALUES (1, 'x', 2), (3, NULL, 4)",
    "UPDATE pair SET b = 'y', a = a + 10",
    "DELETE FROM pair WHERE c = 4",
    "CREATE TABLE prefix (a VARCHAR(100), b INT, PRIMARY KEY (b, a(10))) CHARACTER SET utf8mb4",
    "INSERT INTO prefix VALUES ('abcdefghijklmn', 1)",
    "CREATE TABLE keyless (a INT)",
    "INSERT INTO keyless VALUES (1)",
    "CREATE TABLE hidden (id INT PRIMARY KEY, a INT INVISIBLE, j JSON, g INT AS (id * 2) VIRTUAL, h INT AS (id * 3) STORED, \
     INDEX f ((id + 1)), INDEX m ((CAST(j AS UNSIGNED ARRAY))))",
    "INSERT INTO hidden (id, a, j) VALUES (7, 8, '[1, 2, 3]')",
    "CREATE TABLE place (p POINT, g GEOMETRY, id INT PRIMARY KEY)",
    "INSERT INTO place VALUES (ST_GeomFromText('POINT(1 2)', 4326), ST_GeomFromText('LINESTRING(0 0, 1 1)'), 1)",
    "CREATE TABLE partly (id INT PRIMARY KEY, a INT, b BLOB, c VARCHAR(10)) CHARACTER SET utf8mb4",
    "SET binlog_row_image = 'MINIMAL'",
    "INSERT INTO partly (id, a) VALUES (1, 2)",
    "UPDATE partly SET c = 'z'",
    "DELETE FROM partly",
    "SET binlog_row_image = 'FULL'",
    "CREATE TABLE docs (id INT PRIMARY KEY, j JSON)",
    "INSERT INTO docs VALUES (1, '{\"a\": \"a long text that makes a difference worthwhile\", \"b\": 1}')",
    "SET binlog_row_value_options = 'PARTIAL_JSON'",
    "UPDATE docs SET j = JSON_SET(j, '$.b', 2)",
    "SET binlog_row_value_options = ''",
    "CREATE TABLE packed (id INT PRIMARY KEY, t TEXT) CHARACTER SET utf8mb4",
    "SET binlog_transaction_compression = ON",
    "BEGIN",
    "INSERT INTO packed VALUES (1, REPEAT('x', 60000)), (2, 'y')",
    "UPDATE packed SET t = CONCAT(t, '!')",
    "COMMIT",
    "SET binlog_transaction_compression = OFF",
    "SET binlog_rows_query_log_events = ON",
    "INSERT INTO packed VALUES (3, '')",
    "SET binlog_rows_query_log_events = OFF",
    "BEGIN",
    "SAVEPOINT one",
    "INSERT INTO packed VALUES (4, '')",
    "SAVEPOINT two",
    "INSERT INTO packed VALUES (5, '')",
    "ROLLBACK TO SAVEPOINT two",
    "COMMIT",
    "XA START 'global', 'branch', 7",
    "INSERT INTO packed VALUES (6, '')",
    "XA END 'global', 'branch', 7",
    "XA PREPARE 'global', 'branch', 7",
    "XA COMMIT 'global', 'branch', 7",
    "CREATE TABLE every (id INT PRIMARY KEY, a TINYINT, b SMALLINT UNSIGNED, c MEDIUMINT, d BIGINT, e FLOAT, f DOUBLE, \
     g DECIMAL(30, 12), h DATE, i TIME(1), j TIME(6), k DATETIME(3), l TIMESTAMP(2) NULL, m YEAR, n BIT(33), o CHAR(10), \
     p CHAR(200), q VARCHAR(300), r TEXT, s BINARY(8), t VARBINARY(8), u LONGBLOB, v ENUM('x', 'y'), w SET('p', 'q', 'r'), \
     x JSON, y GEOMETRY, z CHAR(20) CHARACTER SET gbk, aa VARCHAR(20) CHARACTER SET utf16, bb CHAR(20) CHARACTER SET latin1) \
     CHARACTER SET utf8mb4",
    "INSERT INTO every VALUES (1, -1, 65535, -8388608, 9223372036854775807, 1.5, -2.5e300, -123456789012345678.123456789012, \
     '2026-11-25', '-00:00:00.9', '12:34:56.789012', '2026-11-25 01:02:03.456', '2026-11-25 01:02:03.45', 2026, b'101', 'char', \
     'a \"quoted\" text', REPEAT('é', 300), 'text', x'01', x'0200', x'ff', 'y', 'p,r', \
     '{\"a\": [1, -70000, 1.5, \"text\", null, true, {\"b\": {}}], \"c\": 18446744073709551615}', \
     ST_GeomFromText('POINT(1 2)'), '中文', '中文😀', 'Ünï')",
    "INSERT INTO every (id) VALUES (2)",
    "UPDATE every SET x = JSON_OBJECT('d', DATE'2020-01-02', 'n', CAST(-1.5 AS DECIMAL(5,2)), 'big', REPEAT('x', 300)) WHERE id = 1",
];

/// What 5.6 runs. It has no metadata beside the types, and logs an XA transaction at its commit, as an ordinary one.
const STATEMENTS_5_6: &[&str] = &[
    "CREATE TABLE packed (id INT PRIMARY KEY, t TEXT) CHARACTER SET utf8mb4",
    "SET binlog_rows_query_log_events = ON",
    "INSERT INTO packed VALUES (1, REPEAT('x', 600)), (2, 'y')",
    "SET binlog_rows_query_log_events = OFF",
    "UPDATE packed SET t = CONCAT(t, '!')",
    "BEGIN",
    "INSERT INTO packed VALUES (4, '')",
    "SAVEPOINT two",
    "INSERT INTO packed VALUES (5, '')",
    "ROLLBACK TO SAVEPOINT two",
    "COMMIT",
    "XA START 'global', 'branch', 7",
    "INSERT INTO packed VALUES (6, 'two phases')",
    "XA END 'global', 'branch', 7",
    "XA PREPARE 'global', 'branch', 7",
    "XA COMMIT 'global', 'branch', 7",
    "XA START 'one'",
    "INSERT INTO packed VALUES (7, 'one phase')",
    "XA END 'one'",
    "XA COMMIT 'one' ONE PHASE",
    "XA START 'back'",
    "INSERT INTO packed VALUES (8, 'never')",
    "XA END 'back'",
    "XA PREPARE 'back'",
    "XA ROLLBACK 'back'",
    "CREATE TABLE every (id INT PRIMARY KEY, a TINYINT, b SMALLINT UNSIGNED, c MEDIUMINT, d BIGINT, e FLOAT, f DOUBLE, \
     g DECIMAL(30, 12), h DATE, i TIME(1), j TIME(6), k DATETIME(3), l TIMESTAMP(2) NULL, m YEAR, n BIT(33), o CHAR(10), \
     p CHAR(200), q VARCHAR(300), r TEXT, s BINARY(8), t VARBINARY(8), u LONGBLOB, v ENUM('x', 'y'), w SET('p', 'q', 'r'), \
     y GEOMETRY, z CHAR(20) CHARACTER SET gbk, aa VARCHAR(20) CHARACTER SET utf16, bb CHAR(20) CHARACTER SET latin1) \
     CHARACTER SET utf8mb4",
    "INSERT INTO every VALUES (1, -1, 65535, -8388608, 9223372036854775807, 1.5, -2.5e300, -123456789012345678.123456789012, \
     '2026-11-25', '-00:00:00.9', '12:34:56.789012', '2026-11-25 01:02:03.456', '2026-11-25 01:02:03.45', 2026, b'101', 'char', \
     'a \"quoted\" text', REPEAT('é', 300), 'text', x'01', x'0200', x'ff', 'y', 'p,r', GeomFromText('POINT(1 2)'), '中文', '中文😀', \
     'Ünï')",
    "INSERT INTO every (id) VALUES (2)",
    "DELETE FROM every",
];

/// The last table map of a name, and the rows of all events as text.
fn maps_and_rows(events: &[Vec<u8>]) -> (HashMap<String, TableMap>, HashMap<String, Vec<String>>) {
    let (mut maps, mut rows) = (HashMap::new(), HashMap::<String, Vec<String>>::new());
    each_rows_event(events, &HashMap::new(), |map, event, changes| {
        maps.insert(map.table.clone(), map.clone());
        for change in changes {
            let text = |row: Option<mysync::decode::Row<'_>>| {
                row.map_or("-".to_owned(), |row| {
                    let mut out = Vec::new();
                    row.write_json(&mut out).unwrap();
                    String::from_utf8(out).unwrap()
                })
            };
            match event.kind {
                RowsKind::Insert => assert!(change.before.is_none() && change.after.is_some()),
                RowsKind::Update => assert!(change.before.is_some() && change.after.is_some()),
                RowsKind::Delete => assert!(change.before.is_some() && change.after.is_none()),
            }
            rows.entry(map.table.clone()).or_default().push(format!(
                "{} -> {}",
                text(change.before),
                text(change.after)
            ));
        }
    });
    (maps, rows)
}

fn key(column: usize, prefix_characters: Option<u32>) -> KeyPart {
    KeyPart {
        column,
        prefix_characters,
    }
}

fn check_metadata(maps: &HashMap<String, TableMap>) {
    assert!(maps.values().all(|map| map.metadata_is_full && map.is_complete()));
    assert_eq!(maps["one"].primary_key, Some(vec![key(0, None)]));
    assert_eq!(maps["pair"].primary_key, Some(vec![key(2, None), key(0, None)]));
    assert_eq!(maps["prefix"].primary_key, Some(vec![key(1, None), key(0, Some(10))]));
    assert_eq!(maps["keyless"].primary_key, None);
    let visible: Vec<_> = maps["hidden"]
        .columns
        .iter()
        .map(|column| (column.name.as_str(), column.visible))
        .collect();
    let expected = [("id", true), ("a", false), ("j", true), ("g", true), ("h", true)];
    assert_eq!(visible, expected.map(|(name, visible)| (name, Some(visible))));
    let geometry: Vec<_> = maps["place"]
        .columns
        .iter()
        .map(|column| column.geometry_type)
        .collect();
    assert_eq!(geometry, [Some(1), Some(0), None]);
    let nullable: Vec<_> = maps["pair"].columns.iter().map(|column| column.nullable).collect();
    assert_eq!(nullable, [false, true, false]);
}

fn check_rows(rows: &HashMap<String, Vec<String>>) {
    let expect = |table: &str, expected: &[&str]| assert_eq!(rows[table], expected, "{table}");
    expect(
        "one",
        &[r#"- -> {"id":18446744073709551615,"y":2026,"n":4294967295,"t":"é","s":-1}"#],
    );
    expect(
        "pair",
        &[
            r#"- -> {"a":1,"b":"x","c":2}"#,
            r#"- -> {"a":3,"b":null,"c":4}"#,
            r#"{"a":1,"b":"x","c":2} -> {"a":11,"b":"y","c":2}"#,
            r#"{"a":3,"b":null,"c":4} -> {"a":13,"b":"y","c":4}"#,
            r#"{"a":13,"b":"y","c":4} -> -"#,
        ],
    );
    expect("hidden", &[r#"- -> {"id":7,"a":8,"j":"[1, 2, 3]","g":14,"h":21}"#]);
    // Absent columns are not NULL: a minimal image does not say them.
    expect(
        "partly",
        &[r#"- -> {"id":1,"a":2}"#, r#"{"id":1} -> {"c":"z"}"#, r#"{"id":1} -> -"#],
    );
    let lengths: Vec<_> = rows["packed"].iter().map(String::len).collect();
    assert_eq!(lengths[0], "- -> {\"id\":1,\"t\":\"\"}".len() + 60_000);
    assert_eq!(
        rows["packed"][2..4]
            .iter()
            .map(|row| row.ends_with("!\"}"))
            .collect::<Vec<_>>(),
        [true, true]
    );
    assert_eq!(
        rows["packed"][4..],
        [3, 4, 6].map(|id| format!("- -> {{\"id\":{id},\"t\":\"\"}}"))
    );
    assert_eq!(rows["every"].len(), 3);
}

/// Kinds of events in order, short.
fn kinds(events: &[Vec<u8>]) -> Vec<String> {
    let mut format = Format::default();
    let kind = |bytes: &Vec<u8>| {
        let event = Event::parse(bytes, &mut format).unwrap();
        match event.body {
            Body::FormatDescription(description) => format!("format {}", &description.server_version[..3]),
            Body::Query(query) => format!("query {:.24}", query.text_lossy()),
            Body::Gtid(gtid) if gtid.anonymous => "anonymous".into(),
            Body::Gtid(gtid) => format!(
                "gtid {}{}",
                if gtid.tag.is_empty() { "" } else { gtid.tag },
                gtid.number
            ),
            Body::XaPrepare(xa) => format!("prepare {} {:?} {:?}", xa.format_id, xa.global, xa.branch),
            Body::RowsQuery(text) => String::from_utf8_lossy(text).into_owned(),
            Body::PartialUpdateRows { .. } => "partial".into(),
            Body::TransactionPayload(_) => "payload".into(),
            other => format!("{other:?}")
                .split([' ', '(', '{'])
                .next()
                .unwrap_or_default()
                .to_owned(),
        }
    };
    events.iter().map(kind).collect()
}

fn follows(kinds: &[String], expected: &[&str]) -> bool {
    let mut rest = kinds.iter();
    expected
        .iter()
        .all(|expected| rest.any(|kind| kind.starts_with(expected)))
}

async fn events_of(version: &str) {
    let mut bench = Bench::start(version).await;
    for statement in STATEMENTS {
        bench.run(statement).await;
    }
    if version == "9.7" {
        bench.run("SET gtid_next = 'AUTOMATIC:some_tag'").await;
        bench.run("INSERT INTO keyless VALUES (2)").await;
        bench
            .run("CREATE TABLE vectors (id INT PRIMARY KEY, v VECTOR(5))")
            .await;
        bench
            .run("INSERT INTO vectors VALUES (1, STRING_TO_VECTOR('[1,2,3]'))")
            .await;
    }
    let events = bench.events().await;
    let (maps, rows) = maps_and_rows(&events);
    check_metadata(&maps);
    check_rows(&rows);
    let kinds = kinds(&events);
    let prepared = "prepare 7 [103, 108, 111, 98, 97, 108] [98, 114, 97, 110, 99, 104]";
    let expected = [
        "format",
        "PreviousGtids",
        "gtid 1",
        "query CREATE",
        "TableMap",
        "Rows",
        "Xid",
        "partial",
        "payload",
        "INSERT INTO packed VALUES (3, '')",
        "query BEGIN",
        "query SAVEPOINT `two`",
        "Xid",
        "query XA START",
        "query XA END",
        prepared,
        "query XA COMMIT",
    ];
    assert!(follows(&kinds, &expected), "{kinds:#?}");
    if version == "9.7" {
        assert!(follows(&kinds, &["gtid some_tag1", "gtid some_tag2"]), "{kinds:#?}");
        assert_eq!(maps["vectors"].columns[1].vector_dimension, Some(5));
        assert_eq!(rows["vectors"], [r#"- -> {"id":1,"v":[1.0,2.0,3.0]}"#]);
    }
    keep(version, &events);
    bench.lab.down().await.unwrap();
}

/// Writes the events for the tests that change them, if that is asked for.
fn keep(version: &str, events: &[Vec<u8>]) {
    if std::env::var_os("MYSYNC_UPDATE_EVENTS").is_some() {
        let path = format!("{}/tests/decode_data/events-{version}.bin", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, events.concat()).unwrap();
    }
}

#[tokio::test]
async fn events_of_5_6() {
    let mut bench = Bench::start("5.6").await;
    for statement in STATEMENTS_5_6 {
        bench.run(statement).await;
    }
    let events = bench.events().await;
    let schemas = bench.schemas().await;
    let mut ids = Vec::new();
    each_rows_event(&events, &schemas, |map, event, changes| {
        if map.table == "packed" && event.kind == RowsKind::Insert {
            for change in changes {
                match change.after.unwrap().value(0).unwrap() {
                    Some(Value::Int(id)) => ids.push(id),
                    other => panic!("{other:?}"),
                }
            }
        }
    });
    assert_eq!(ids, [1, 2, 4, 6, 7]);
    let kinds = kinds(&events);
    let expected = [
        "format 5.6",
        "query BEGIN",
        "INSERT INTO packed VALUES (1",
        "query SAVEPOINT `two`",
        "Xid",
    ];
    assert!(follows(&kinds, &expected), "{kinds:#?}");
    // Two XA transactions that commit, in two phases and in one, end with a COMMIT in words; the one rolled back is not there.
    assert_eq!(
        kinds.iter().filter(|kind| *kind == "query COMMIT").count(),
        2,
        "{kinds:#?}"
    );
    assert!(
        !kinds
            .iter()
            .any(|kind| kind.starts_with("query XA") || kind.starts_with("prepare")),
        "{kinds:#?}"
    );
    keep("5.6", &events);
    bench.lab.down().await.unwrap();
}

#[tokio::test]
async fn events_of_8_0() {
    events_of("8.0").await;
}

#[tokio::test]
async fn events_of_9_7() {
    events_of("9.7").await;
}

#[tokio::test]
async fn rows_without_metadata_are_refused_until_it_is_supplied() {
    let mut bench = Bench::start_with("8.0", &["binlog-row-metadata=MINIMAL"]).await;
    bench
        .run("CREATE TABLE a (id INT UNSIGNED PRIMARY KEY, t VARCHAR(9), e ENUM('x','y')) CHARACTER SET gbk")
        .await;
    bench.run("INSERT INTO a VALUES (4294967295, '中', 'y')").await;
    let events = bench.events().await;
    let mut format = Format::default();
    let mut map: Option<TableMap> = None;
    let mut refused = false;
    for bytes in &events {
        match Event::parse(bytes, &mut format).unwrap().body {
            Body::TableMap(event) if event.table == "a" => map = Some(event.table_map().unwrap()),
            Body::Rows(rows) => {
                let error = rows.rows(map.as_ref().unwrap()).unwrap_err();
                assert_eq!(error.reason(), Reason::Metadata);
                assert!(error.to_string().contains("binlog_row_metadata=FULL"), "{error}");
                refused = true;
            }
            _ => {}
        }
    }
    assert!(refused);
    let schemas = bench.schemas().await;
    let mut seen = 0;
    each_rows_event(&events, &schemas, |_, _, changes| {
        let row = changes[0].after.unwrap();
        assert_eq!(row.value(0).unwrap(), Some(Value::UInt(4_294_967_295)));
        let mut json = Vec::new();
        row.write_json_of(&[2, 1], &mut json).unwrap();
        assert_eq!(String::from_utf8(json).unwrap(), r#"{"e":"y","t":"中"}"#);
        seen += 1;
    });
    assert_eq!(seen, 1);
    bench.lab.down().await.unwrap();
}

#[tokio::test]
async fn events_without_checksums_are_read() {
    let mut bench = Bench::start_with("8.0", &["binlog-checksum=NONE"]).await;
    bench.run("CREATE TABLE a (id INT PRIMARY KEY)").await;
    bench.run("INSERT INTO a VALUES (1), (2)").await;
    let events = bench.events().await;
    let (_, rows) = maps_and_rows(&events);
    assert_eq!(rows["a"], [r#"- -> {"id":1}"#, r#"- -> {"id":2}"#]);
    bench.lab.down().await.unwrap();
}
