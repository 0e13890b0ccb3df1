//! Every column type: values at the edges, inserted, read from the binlog, and compared with what the server prints.

use std::collections::HashMap;

use mysync::decode::Value;

use super::capture::{Bench, each_rows_event};

/// How the server says the value, and how that compares with the canonical form.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Oracle {
    /// The digits themselves.
    Number,
    /// A bit string or a year as a number.
    PlusZero,
    /// The same single.
    Single,
    /// The same double.
    Double,
    /// The text in a JSON string.
    Text,
    /// The text in a JSON string, with T and Z.
    Utc,
    /// Base64 in a JSON string.
    Base64,
    /// An object of reference system and base64.
    Geometry,
    /// A list of singles.
    Vector,
}

impl Oracle {
    fn expression(self) -> &'static str {
        match self {
            Oracle::Number | Oracle::Double => "CAST(v AS CHAR)",
            Oracle::PlusZero => "CAST(v + 0 AS CHAR)",
            Oracle::Single => "CAST(v + 0e0 AS CHAR)",
            Oracle::Text | Oracle::Utc => "CONVERT(v USING utf8mb4)",
            Oracle::Base64 => "REPLACE(TO_BASE64(v), '\\n', '')",
            Oracle::Geometry => {
                "CONCAT('{\"srid\":', CAST(CONV(HEX(REVERSE(SUBSTRING(CAST(v AS BINARY), 1, 4))), 16, 10) AS CHAR), \
                 ',\"wkb\":\"', REPLACE(TO_BASE64(SUBSTRING(CAST(v AS BINARY), 5)), '\\n', ''), '\"}')"
            }
            Oracle::Vector => "VECTOR_TO_STRING(v)",
        }
    }

    fn agrees(self, ours: &str, server: &str) -> bool {
        let string = || serde_json::from_str::<String>(ours).unwrap();
        let singles = |text: &str| -> Vec<u32> {
            let numbers = text.trim_matches(['[', ']']).split(',');
            numbers.map(|number| number.parse::<f32>().unwrap().to_bits()).collect()
        };
        match self {
            Oracle::Number | Oracle::PlusZero | Oracle::Geometry => ours == server,
            Oracle::Single => ours.parse::<f32>().unwrap() == server.parse::<f64>().unwrap() as f32,
            Oracle::Double => ours.parse::<f64>().unwrap() == server.parse::<f64>().unwrap(),
            Oracle::Text | Oracle::Base64 => string() == server,
            Oracle::Utc => string() == format!("{}Z", server.replace(' ', "T")),
            Oracle::Vector => singles(ours) == singles(server),
        }
    }
}

struct Case {
    definition: String,
    oracle: Oracle,
    values: Vec<String>,
}

fn case(definition: &str, oracle: Oracle, values: &[&str]) -> Case {
    Case {
        definition: definition.into(),
        oracle,
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    }
}

fn numbers(cases: &mut Vec<Case>) {
    use Oracle::{Double, Number, PlusZero, Single};
    for (name, bits) in [
        ("TINYINT", 8),
        ("SMALLINT", 16),
        ("MEDIUMINT", 24),
        ("INT", 32),
        ("BIGINT", 64),
    ] {
        let (min, max) = (-(1_i128 << (bits - 1)), (1_i128 << (bits - 1)) - 1);
        let signed = [min, min + 1, -2, -1, 0, 1, 127, max - 1, max].map(|value| value.to_string());
        cases.push(Case {
            definition: name.into(),
            oracle: Number,
            values: signed.into(),
        });
        let unsigned = [0, 1, 127, max, max + 1, 2 * max + 1].map(|value| value.to_string());
        cases.push(Case {
            definition: format!("{name} UNSIGNED"),
            oracle: Number,
            values: unsigned.into(),
        });
    }
    cases.push(case("BOOL", Number, &["TRUE", "FALSE"]));
    cases.push(case(
        "FLOAT",
        Single,
        &[
            "0",
            "-0e0",
            "1.5",
            "-1.17549e-38",
            "3.40282e38",
            "0.1",
            "1e-45",
            "16777217",
            "1e16",
        ],
    ));
    let doubles = [
        "0",
        "1.5",
        "-2.2250738585072014e-308",
        "1.7976931348623157e308",
        "0.1",
        "1e16",
        "123456789.123",
        "5e-324",
    ];
    cases.push(case("DOUBLE", Double, &doubles));
    cases.push(case("FLOAT(7,3)", Single, &["1234.567", "-0.001"]));
    cases.push(case("FLOAT UNSIGNED", Single, &["1234.567", "0.25"]));
    cases.push(case("DOUBLE UNSIGNED", Double, &["1234.567", "0.25"]));
    for bits in [1, 7, 8, 9, 31, 63, 64] {
        let all = format!("b'{}'", "1".repeat(bits));
        let definition = format!("BIT({bits})");
        cases.push(case(&definition, PlusZero, &["b'0'", "b'1'", &all]));
    }
    cases.push(case("YEAR", PlusZero, &["0", "'0000'", "1901", "2026", "2155"]));
    for (precision, scale) in [
        (1, 0),
        (5, 2),
        (9, 0),
        (10, 9),
        (12, 2),
        (18, 9),
        (20, 0),
        (30, 30),
        (38, 19),
        (65, 0),
        (65, 30),
    ] {
        let (whole, part) = ("9".repeat(precision - scale), "9".repeat(scale));
        let digit = |position: usize| char::from(b'0' + (position * 7 % 10) as u8);
        let mixed: String = (1..=precision - scale)
            .map(digit)
            .chain(['.'])
            .chain((1..=scale).map(digit))
            .collect();
        let values = [
            "0".to_owned(),
            "1".to_owned(),
            "-1".to_owned(),
            "-0.5".to_owned(),
            "0.000000001".to_owned(),
            format!("{whole}.{part}"),
            format!("-{whole}.{part}"),
            mixed.clone(),
            format!("-{mixed}"),
        ];
        cases.push(Case {
            definition: format!("DECIMAL({precision},{scale})"),
            oracle: Oracle::Text,
            values: values.into(),
        });
    }
    cases.push(case(
        "DECIMAL(12,2) UNSIGNED",
        Oracle::Text,
        &["0", "12.50", "9999999999.99"],
    ));
    cases.push(case("INT(5) UNSIGNED ZEROFILL", PlusZero, &["1", "42", "4294967295"]));
}

fn temporals(cases: &mut Vec<Case>) {
    use Oracle::{Text, Utc};
    let dates = [
        "'0000-00-00'",
        "'1000-01-01'",
        "'9999-12-31'",
        "'2026-00-00'",
        "'2026-11-00'",
        "'2024-02-29'",
        "'0001-01-01'",
    ];
    cases.push(case("DATE", Text, &dates));
    for digits in 0..=6 {
        let times = [
            "'00:00:00'",
            "'-00:00:00.000001'",
            "'-00:00:00.1'",
            "'-00:00:00.99'",
            "'-00:00:01.5'",
            "'-12:34:56.789012'",
            "'12:34:56.789012'",
            "'838:59:59'",
            "'-838:59:59'",
            "'-100:00:00.25'",
            "'23:59:59.123456'",
        ];
        cases.push(case(&format!("TIME({digits})"), Text, &times));
        let date_times = [
            "'0000-00-00 00:00:00'",
            "'2026-00-00 00:00:00.5'",
            "'2026-11-00 10:20:30.123456'",
            "'1000-01-01 00:00:00'",
            "'9999-12-31 23:59:58.999999'",
            "'2024-02-29 23:59:59.000001'",
        ];
        cases.push(case(&format!("DATETIME({digits})"), Text, &date_times));
        let timestamps = [
            "'0000-00-00 00:00:00'",
            "'1970-01-01 00:00:01'",
            "'2000-02-29 12:00:00.5'",
            "'2026-11-25 01:02:03.123456'",
            "'2038-01-19 03:14:06.999999'",
            "'2000-03-01 00:00:00'",
            "'1999-12-31 23:59:59.25'",
        ];
        cases.push(case(&format!("TIMESTAMP({digits}) NULL"), Utc, &timestamps));
    }
}

fn strings(cases: &mut Vec<Case>) {
    use Oracle::{Base64, Text};
    let texts = [
        "''",
        "'a'",
        "'trailing  '",
        "'  leading'",
        "'quote\" back\\\\slash \\n\\t\\0 \\Z'",
        "'grüße 你好'",
        "CHAR(127)",
    ];
    for charset in ["utf8mb4", "utf8", "ucs2", "utf16", "utf16le", "utf32"] {
        for shape in ["CHAR(60)", "VARCHAR(60)", "TEXT", "CHAR(255)"] {
            cases.push(case(&format!("{shape} CHARACTER SET {charset}"), Text, &texts));
        }
    }
    let emoji = ["'😀'", "'a😀b\\n'", "'\u{10ffff}'"];
    for charset in ["utf8mb4", "utf16", "utf16le", "utf32"] {
        cases.push(case(&format!("VARCHAR(10) CHARACTER SET {charset}"), Text, &emoji));
    }
    let latin = [
        "'Ünïcode é €'",
        "'\u{81}\u{8d}\u{8f}\u{90}\u{9d}'",
        "'abcdefghijklmnopqrstuvwxyzäöü'",
        "'pad  '",
    ];
    cases.push(case("CHAR(60) CHARACTER SET latin1", Text, &latin));
    cases.push(case("VARCHAR(300) CHARACTER SET latin1", Text, &latin));
    let chinese = ["'中文'", "'abc中文def'", "'€'", "'一丁  '"];
    cases.push(case("CHAR(60) CHARACTER SET gbk", Text, &chinese));
    cases.push(case("TEXT CHARACTER SET gbk", Text, &chinese));
    cases.push(case("VARCHAR(60) CHARACTER SET big5", Text, &["'中文'", "'abc'"]));
    cases.push(case("VARCHAR(60) CHARACTER SET sjis", Text, &["'日本ｱｲｳ'", "'abc'"]));
    cases.push(case("VARCHAR(60) CHARACTER SET ujis", Text, &["'日本'", "'丂'"]));
    cases.push(case("VARCHAR(60) CHARACTER SET euckr", Text, &["'한국'"]));
    cases.push(case("VARCHAR(60) CHARACTER SET cp1251", Text, &["'Привет'"]));
    cases.push(case("VARCHAR(60) CHARACTER SET swe7", Text, &["'abcÅÄÖ'"]));
    for (shape, lengths) in [
        ("TINYTEXT", 255),
        ("TEXT", 65535),
        ("MEDIUMTEXT", 70_000),
        ("LONGTEXT", 100_000),
    ] {
        cases.push(case(
            shape,
            Text,
            &[
                "''",
                &format!("REPEAT('x', {lengths})"),
                &format!("REPEAT('\"', {})", lengths / 2),
            ],
        ));
    }
    cases.push(case(
        "VARCHAR(16000)",
        Text,
        &["REPEAT('é', 16000)", "REPEAT('x', 255)", "REPEAT('x', 256)"],
    ));
    let bytes = ["''", "x'00'", "x'ff00ff00'", "x'6100'", "x'20'", "x'612020'"];
    for shape in [
        "BINARY(1)",
        "BINARY(4)",
        "BINARY(16)",
        "BINARY(255)",
        "VARBINARY(16)",
        "VARBINARY(300)",
        "TINYBLOB",
        "BLOB",
        "MEDIUMBLOB",
        "LONGBLOB",
    ] {
        cases.push(case(shape, Base64, &bytes));
    }
    cases.push(case(
        "LONGBLOB /* 16 MB */",
        Base64,
        &["REPEAT(x'00ff417f', 4 * 1024 * 1024)"],
    ));
    let members = ["'a'", "'it''s'", "''", "0", "3"];
    cases.push(case("ENUM('a','it''s','é')", Text, &members));
    cases.push(case("ENUM('a','中','é') CHARACTER SET gbk", Text, &["'a'", "2"]));
    cases.push(case("ENUM('a','中') CHARACTER SET ucs2", Text, &["'a'", "2"]));
    let many: Vec<String> = (1..=300).map(|index| format!("'member{index}'")).collect();
    cases.push(case(
        &format!("ENUM({})", many.join(",")),
        Text,
        &["1", "255", "256", "300"],
    ));
    for count in [1, 8, 9, 33, 64] {
        let definition = format!("SET({})", many[..count].join(","));
        let all = if count == 64 { u64::MAX } else { (1 << count) - 1 }.to_string();
        cases.push(case(
            &definition,
            Text,
            &["0", "1", &all, &(1_u64 << (count - 1)).to_string()],
        ));
    }
    cases.push(case("SET('a','中') CHARACTER SET gbk", Text, &["3"]));
}

fn geometries(cases: &mut Vec<Case>, version: &str) {
    let from = if version == "5.6" {
        "GeomFromText"
    } else {
        "ST_GeomFromText"
    };
    let value = |text: &str, srid: u32| format!("{from}('{text}', {srid})");
    let shapes = [
        ("POINT", "POINT(1 2)"),
        ("LINESTRING", "LINESTRING(0 0,1 1,2 2)"),
        ("POLYGON", "POLYGON((0 0,0 1,1 1,0 0))"),
        ("MULTIPOINT", "MULTIPOINT(1 1,2 2)"),
        ("MULTILINESTRING", "MULTILINESTRING((0 0,1 1),(2 2,3 3))"),
        ("MULTIPOLYGON", "MULTIPOLYGON(((0 0,0 1,1 1,0 0)))"),
        (
            "GEOMETRYCOLLECTION",
            "GEOMETRYCOLLECTION(POINT(1 1),LINESTRING(0 0,1 1))",
        ),
    ];
    for (definition, text) in shapes {
        let values = [value(text, 0), value(text, if version == "5.6" { 42 } else { 4326 })];
        cases.push(Case {
            definition: definition.into(),
            oracle: Oracle::Geometry,
            values: values.into(),
        });
        cases.push(Case {
            definition: "GEOMETRY".into(),
            oracle: Oracle::Geometry,
            values: vec![value(text, 0)],
        });
    }
}

async fn every_type(version: &str) {
    let mut cases = Vec::new();
    numbers(&mut cases);
    temporals(&mut cases);
    strings(&mut cases);
    geometries(&mut cases, version);
    if version != "5.6" {
        let documents = [
            "'{}'",
            "'[]'",
            "'null'",
            "'\"\"'",
            "'{\"b\": 1, \"a\": [1, 2.5, \"x\\\\\"y\"]}'",
            "'18446744073709551615'",
        ];
        cases.push(case("JSON", Oracle::Text, &documents));
    }
    if version == "9.7" {
        cases.push(case(
            "VECTOR(3)",
            Oracle::Vector,
            &["STRING_TO_VECTOR('[1,2.5,-3e-10]')", "STRING_TO_VECTOR('[0.1]')"],
        ));
        cases.push(case(
            "VECTOR",
            Oracle::Vector,
            &["STRING_TO_VECTOR('[1,2.5,-3e-10,4,5,6,7]')"],
        ));
    }
    let mut bench = Bench::start(version).await;
    for (index, case) in cases.iter().enumerate() {
        bench
            .run(&format!(
                "CREATE TABLE c{index} (id INT PRIMARY KEY, v {}) CHARACTER SET utf8mb4",
                case.definition
            ))
            .await;
        for (id, value) in case.values.iter().enumerate() {
            bench.run(&format!("INSERT INTO c{index} VALUES ({id}, {value})")).await;
        }
        bench.run(&format!("INSERT INTO c{index} VALUES (999, NULL)")).await;
    }
    let events = bench.events().await;
    let schemas = bench.schemas().await;
    let supplied = if version == "5.6" { schemas } else { HashMap::new() };
    let mut found: HashMap<String, Vec<(i64, String)>> = HashMap::new();
    each_rows_event(&events, &supplied, |map, _, changes| {
        for change in changes {
            let row = change.after.unwrap();
            assert!(row.is_full());
            let Some(Value::Int(id)) = row.value(0).unwrap() else {
                panic!("{:?}", row.value(0))
            };
            let mut json = Vec::new();
            row.value(1).unwrap().unwrap().write_json(&mut json).unwrap();
            let json = String::from_utf8(json).unwrap();
            found.entry(map.table.clone()).or_default().push((id, json.clone()));
            let mut object = Vec::new();
            row.write_json(&mut object).unwrap();
            assert_eq!(
                String::from_utf8(object).unwrap(),
                format!("{{\"id\":{id},\"v\":{json}}}")
            );
        }
    });
    compare(&mut bench, &cases, &found).await;
    let rows = super::selected::same_records(&bench, &events, &supplied).await;
    println!("{rows} rows read from their tables give the same records");
    bench.lab.down().await.unwrap();
}

async fn compare(bench: &mut Bench, cases: &[Case], found: &HashMap<String, Vec<(i64, String)>>) {
    let (mut values, mut wrong) = (0, Vec::new());
    for (index, case) in cases.iter().enumerate() {
        let table = format!("c{index}");
        let ours = &found[&table];
        let server = bench
            .rows(&format!(
                "SELECT id, {} FROM {table} ORDER BY id",
                case.oracle.expression()
            ))
            .await;
        assert_eq!(ours.len(), server.len(), "{}", case.definition);
        for ((id, ours), server) in ours.iter().zip(server) {
            values += 1;
            assert_eq!(id.to_string(), server[0].clone().unwrap());
            let agrees = match &server[1] {
                None => ours == "null",
                Some(server) => ours != "null" && case.oracle.agrees(ours, server),
            };
            if !agrees {
                let written = case.values.get(*id as usize);
                wrong.push(format!(
                    "{:.60} {written:.60?}: decoded {ours:.80}, server {:.80?}",
                    case.definition, server[1]
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {values} values differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    println!("{values} values of {} column types agree", cases.len());
}

#[tokio::test]
async fn every_type_of_8_0_is_what_the_server_says() {
    every_type("8.0").await;
}

#[tokio::test]
async fn every_type_of_9_7_is_what_the_server_says() {
    every_type("9.7").await;
}

#[tokio::test]
async fn every_type_of_5_6_is_what_the_server_says() {
    every_type("5.6").await;
}
