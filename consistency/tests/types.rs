//! Every column type on real servers: the canonical text written by hand into each store agrees with what MySQL prints.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use consistency::{Options, StoreName, Verdict};
use fixtures::{Lab, LabBuilder};
use support::documents::Documents;
use support::rows::Rows;
use support::{TwoSides, no_fence, single};

/// Type, SQL literal, canonical text (none for NULL), and the JSON value where it is not just that text as a string.
type Value = (&'static str, &'static str, Option<&'static str>, Option<&'static str>);

const fn text(column: &'static str, literal: &'static str, canonical: &'static str) -> Value {
    (column, literal, Some(canonical), None)
}

const fn json(column: &'static str, literal: &'static str, canonical: &'static str) -> Value {
    (column, literal, Some(canonical), Some(canonical))
}

const COMMON: &[Value] = &[
    ("INT", "NULL", None, None),
    ("VARCHAR(10)", "NULL", None, None),
    json("TINYINT", "-128", "-128"),
    json("BOOL", "TRUE", "1"),
    json("SMALLINT UNSIGNED", "65535", "65535"),
    json("MEDIUMINT", "-8388608", "-8388608"),
    json("INT(7) ZEROFILL", "42", "42"),
    json("INT(5) ZEROFILL", "0", "0"),
    json("BIGINT", "-9223372036854775808", "-9223372036854775808"),
    json("BIGINT UNSIGNED", "18446744073709551615", "18446744073709551615"),
    json("BIT(1)", "b'1'", "1"),
    json("BIT(64)", "18446744073709551615", "18446744073709551615"),
    json("BIT(9)", "0", "0"),
    json("YEAR", "0", "0"),
    json("YEAR", "2155", "2155"),
    json("FLOAT", "0.1", "0.1"),
    json("FLOAT", "3.4028235e38", "3.4028235e38"),
    json("FLOAT", "16777216", "16777216.0"),
    json("FLOAT", "1.17549435e-38", "1.1754944e-38"),
    json("FLOAT(7,2)", "12345.678", "12345.68"),
    json("FLOAT", "-0e0", "-0.0"),
    json("DOUBLE", "0.1", "0.1"),
    json("DOUBLE", "1e16", "1e16"),
    json("DOUBLE", "1.7976931348623157e308", "1.7976931348623157e308"),
    json("DOUBLE", "2.2250738585072014e-308", "2.2250738585072014e-308"),
    json("DOUBLE(10,3)", "1.5", "1.5"),
    text("DECIMAL(10,2)", "12.5", "12.50"),
    text("DECIMAL(10,2) ZEROFILL", "0.5", "0.50"),
    text(
        "DECIMAL(65,30)",
        "-12345678901234567890123456789012345.000000000000000000000000000001",
        "-12345678901234567890123456789012345.000000000000000000000000000001",
    ),
    text("DATE", "'2026-02-28'", "2026-02-28"),
    text("DATE", "'0000-00-00'", "0000-00-00"),
    text("TIME", "'-838:59:59'", "-838:59:59"),
    text("TIME(2)", "'-00:00:00.01'", "-00:00:00.01"),
    text(
        "DATETIME(6)",
        "'9999-12-31 23:59:59.999999'",
        "9999-12-31 23:59:59.999999",
    ),
    text("DATETIME", "'2026-00-00 00:00:00'", "2026-00-00 00:00:00"),
    text("TIMESTAMP NULL", "'2026-07-08 09:10:11'", "2026-07-08T09:10:11Z"),
    text(
        "TIMESTAMP(3) NULL",
        "'2026-07-08 09:10:11.12'",
        "2026-07-08T09:10:11.120Z",
    ),
    text("TIMESTAMP(3) NULL", "0", "0000-00-00T00:00:00.000Z"),
    text("CHAR(5)", "'ab   '", "ab"),
    text("VARCHAR(20)", "''", ""),
    text("VARCHAR(20) CHARACTER SET utf8mb4", "_utf8mb4 X'F09F9880'", "\u{1f600}"),
    text(
        "VARCHAR(20) CHARACTER SET latin1",
        "_latin1 X'E4F6FC'",
        "\u{e4}\u{f6}\u{fc}",
    ),
    text("VARCHAR(20) CHARACTER SET gbk", "_gbk X'C4E3BAC3'", "\u{4f60}\u{597d}"),
    text(
        "TEXT",
        "'line\\nand \\\"quote\\\" \\\\ and tab\\t'",
        "line\nand \"quote\" \\ and tab\t",
    ),
    text("BINARY(4)", "X'00FF'", "AP8AAA=="),
    text("VARBINARY(4)", "X'00FF'", "AP8="),
    text("BLOB", "X''", ""),
    text("ENUM('small','big') CHARACTER SET latin1", "'big'", "big"),
    text("ENUM('small','big')", "'no such member'", ""),
    text("SET('a','b','c')", "'c,a'", "a,c"),
    text("SET('a','b','c')", "''", ""),
    json(
        "GEOMETRY",
        "ST_GeomFromText('POINT(1 2)', 4326)",
        r#"{"srid":4326,"wkb":"AQEAAAAAAAAAAADwPwAAAAAAAABA"}"#,
    ),
    json(
        "POINT",
        "ST_GeomFromText('POINT(1 2)')",
        r#"{"srid":0,"wkb":"AQEAAAAAAAAAAADwPwAAAAAAAABA"}"#,
    ),
];

const SINCE_8_0: &[Value] = &[
    text(
        "JSON",
        r#"'{"b":[1,2.5],"a":18446744073709551615}'"#,
        r#"{"a": 18446744073709551615, "b": [1, 2.5]}"#,
    ),
    text("JSON", "'null'", "null"),
];

/// Axes are swapped for geographic systems when read from text, from 8.0 on.
const GEOMETRY_SINCE_8_0: &str = r#"{"srid":4326,"wkb":"AQEAAAAAAAAAAAAAQAAAAAAAAPA/"}"#;

const SINCE_9_0: &[Value] = &[json("VECTOR(2)", "TO_VECTOR('[1,2.5]')", "[1.0,2.5]")];

fn lab(version: &str) -> LabBuilder {
    Lab::builder().name("check-types").mysql(version).redis()
}

fn only_in(store: StoreName) -> Options {
    Options {
        stores: vec![store],
        ..no_fence()
    }
}

/// Fills all sides with one row that has a column a value, Redis in both layouts.
async fn every_type(version: &str, lab: LabBuilder, groups: &[&[Value]]) -> TwoSides {
    let mut sides = TwoSides::start_with(lab, &["types.*"]).await;
    let values: Vec<Value> = groups
        .iter()
        .flat_map(|group| group.iter())
        .map(|value| match *value {
            (column @ "GEOMETRY", literal, _, _) if version != "5.6" => json(column, literal, GEOMETRY_SINCE_8_0),
            other => other,
        })
        .collect();
    let columns: Vec<String> = values
        .iter()
        .enumerate()
        .map(|(number, (column, ..))| format!("c{number} {column}"))
        .collect();
    let literals: Vec<&str> = values.iter().map(|(_, literal, ..)| *literal).collect();
    // One session for both, since the mode is a session's.
    let mut session = sides.mysql().connect().await.expect("a session");
    for statement in [
        "SET SESSION sql_mode = ''".to_owned(),
        "SET SESSION time_zone = '+00:00'".to_owned(),
        "CREATE DATABASE types".to_owned(),
        format!(
            "CREATE TABLE types.everything (id INT PRIMARY KEY, {})",
            columns.join(", ")
        ),
        format!("INSERT INTO types.everything VALUES (1, {})", literals.join(", ")),
        // A session's own zone must not matter.
        "SET GLOBAL time_zone = '+05:00'".to_owned(),
    ] {
        use mysql_async::prelude::Queryable;
        session
            .query_drop(&statement)
            .await
            .unwrap_or_else(|error| panic!("{error}: {statement}"));
    }

    let mut hash = redis::cmd("HSET");
    hash.arg("types:everything:1").arg("id").arg("1");
    for (number, (_, _, canonical, _)) in values.iter().enumerate() {
        if let Some(canonical) = canonical {
            hash.arg(format!("c{number}")).arg(*canonical);
        }
    }
    hash.exec_async(&mut sides.redis().await).await.expect("a hash");
    let report = sides.check(no_fence()).await;
    assert_eq!(report.verdict, Verdict::Consistent, "{report:#?}");
    let table = &single(&report).tables[0];
    assert_eq!((table.rows_mysql, table.rows_store), (1, 1));

    let members: Vec<String> = values
        .iter()
        .enumerate()
        .map(|(number, (_, _, canonical, json))| match (canonical, json) {
            (None, _) => format!("\"c{number}\":null"),
            (_, Some(json)) => format!("\"c{number}\":{json}"),
            (Some(text), None) => format!("\"c{number}\":{}", serde_json::to_string(text).expect("a string")),
        })
        .collect();
    let object = format!("{{\"id\":1,{}}}", members.join(","));
    sides.redis_do(&["SET", "types:everything:1", &object]).await;
    sides.with_layout("json");
    let report = sides.check(only_in(StoreName::Redis)).await;
    assert_eq!(report.verdict, Verdict::Consistent, "{report:#?}");

    if sides.lab().elasticsearch().is_ok() {
        let documents = Documents::of(sides.lab());
        let mut rows = Rows::of(sides.lab());
        sides.with_more("", &(documents.section() + &rows.section()));
        documents.create("types.everything~rows").await;
        documents.put("types.everything~rows", &[("1", &object)]).await;
        let names: Vec<String> = (0..values.len()).map(|number| format!("c{number}")).collect();
        let cells = names
            .iter()
            .zip(&values)
            .filter_map(|(name, (_, _, canonical, _))| Some((name.as_str(), (*canonical)?)));
        rows.create("types.everything", &["r"]);
        rows.put("types.everything", "1", &cells.chain([("id", "1")]).collect::<Vec<_>>());
        for store in [StoreName::Elasticsearch, StoreName::Hbase] {
            let report = sides.check(only_in(store)).await;
            assert_eq!(report.verdict, Verdict::Consistent, "{report:#?}");
            assert_eq!(single(&report).tables[0].rows_store, 1);
        }
    }
    sides
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_of_8_0_as_a_value_and_as_a_key() {
    let lab = lab("8.0").elasticsearch().hbase();
    let sides = every_type("8.0", lab, &[COMMON, SINCE_8_0]).await;
    every_type_serves_as_a_key(sides).await;
}

#[tokio::test]
async fn every_type_of_5_6() {
    every_type("5.6", lab("5.6"), &[COMMON]).await;
}

#[tokio::test]
async fn every_type_of_9_7() {
    every_type("9.7", lab("9.7"), &[COMMON, SINCE_8_0, SINCE_9_0]).await;
}

/// Rows that differ are looked up again by key: a literal that does not find its row would make every such row `extra`.
/// What a store makes of the key's text depends on no type, so one store will do.
async fn every_type_serves_as_a_key(mut sides: TwoSides) {
    sides.sql("DROP TABLE types.everything").await;
    sides.redis_do(&["FLUSHALL"]).await;
    sides.with_layout("hash");
    let mut session = sides.mysql().connect().await.expect("a session");
    let mut expected = 0;
    let usable = COMMON.iter().filter(|(column, _, canonical, _)| {
        canonical.is_some() && !["GEOMETRY", "POINT", "BLOB", "TEXT"].contains(column)
    });
    for (number, (column, literal, canonical, _)) in usable.enumerate() {
        use mysql_async::prelude::Queryable;
        let column = column.trim_end_matches(" NULL");
        for statement in [
            "SET SESSION sql_mode = '', SESSION time_zone = '+00:00'".to_owned(),
            format!("CREATE TABLE types.t{number} (k {column} PRIMARY KEY, v INT)"),
            format!("INSERT INTO types.t{number} VALUES ({literal}, 1)"),
        ] {
            session
                .query_drop(&statement)
                .await
                .unwrap_or_else(|error| panic!("{error}: {statement}"));
        }
        let canonical = canonical.expect("not NULL");
        let key = format!("types:t{number}:{canonical}");
        sides.redis_do(&["HSET", &key, "k", canonical, "v", "2"]).await;
        expected += 1;
    }
    let report = sides.check(only_in(StoreName::Redis)).await;
    let redis = single(&report);
    for table in &redis.tables {
        assert_eq!(
            (table.different, table.missing, table.extra),
            (1, 0, 0),
            "{}: {:#?}",
            table.name,
            redis.findings
        );
    }
    assert_eq!(report.findings_total(), expected);
    assert!(
        redis
            .findings
            .iter()
            .all(|finding| finding.columns.len() == 1 && finding.columns[0].name == "v")
    );
}
