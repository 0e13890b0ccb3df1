//! JSON documents: thousands of random ones, and the hard ones, byte for byte as the server prints them.

use std::collections::HashMap;

use mysync::decode::Value;

use super::capture::{Bench, each_rows_event};
use super::random::Random;

const SEED: u64 = 20_261_125;
const DOCUMENTS: usize = 4000;
const DOCUMENTS_IN_A_STATEMENT: usize = 100;

fn string(random: &mut Random) -> String {
    const PARTS: [&str; 16] = [
        "a",
        "Z9",
        " ",
        "\\n",
        "\\\"",
        "\\\\",
        "/",
        "\\u0001",
        "\\u001f",
        "\u{7f}",
        "é",
        "中文",
        "😀",
        "\\t\\r\\b\\f",
        "'",
        "long plain text of more than 16 bytes ",
    ];
    let length = random.below(8);
    let inside: String = (0..length).map(|_| random.pick(&PARTS)).collect();
    format!("\"{inside}\"")
}

fn number(random: &mut Random) -> String {
    match random.below(9) {
        0 => random.below(100_000).to_string(),
        1 => format!("-{}", random.below(1 << 40)),
        2 => random.next().to_string(),
        3 => (random.next() as i64).to_string(),
        4 => random
            .pick(&[
                "0.0",
                "-0.0",
                "3.0",
                "1e15",
                "1e14",
                "999999999999999.9",
                "1e-15",
                "9.5e-16",
                "5e-324",
                "123456789012345678901",
            ])
            .into(),
        5 => format!("{}.{}", random.below(1_000_000), random.below(1_000_000)),
        6 => format!("{}e{}", random.below(1_000_000), random.below(40) as i64 - 20),
        7 => format!("{:e}", f64::from_bits((1023 + random.below(120) - 60) << 52)),
        _ => match f64::from_bits(random.next()) {
            number if number.is_finite() => format!("{number:e}"),
            _ => "0".into(),
        },
    }
}

fn document(random: &mut Random, depth: u64) -> String {
    let count = random.below(if depth == 0 { 12 } else { 5 });
    match random.below(if depth > 4 { 3 } else { 5 }) {
        0 => random.pick(&["null", "true", "false"]).into(),
        1 => string(random),
        2 => number(random),
        3 => {
            let items: Vec<String> = (0..count).map(|_| document(random, depth + 1)).collect();
            format!("[{}]", items.join(", "))
        }
        _ => {
            let members: Vec<String> = (0..count)
                .map(|_| format!("{}: {}", string(random), document(random, depth + 1)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
    }
}

/// SQL expressions for documents that no JSON text yields, or that are large or deep.
fn hard_documents() -> Vec<String> {
    let nested = |depth: usize| format!("'{}{}'", "[".repeat(depth), "]".repeat(depth));
    let nested_objects = format!("'{}1{}'", "{\"a\":".repeat(99), "}".repeat(99));
    let large_array = format!(
        "'[{}]'",
        (0..30_000).map(|n| n.to_string()).collect::<Vec<_>>().join(",")
    );
    let large_object = format!(
        "'{{{}}}'",
        (0..6_000)
            .map(|n| format!("\"key {n}\": [{n}, {n}.5, \"text {n}\", -1{n}00000, null, true]"))
            .collect::<Vec<_>>()
            .join(",")
    );
    let mixed = format!(
        "JSON_OBJECT('big', REPEAT('x', 70000), 'i', 1, 'u', 4000000000, 'n', -2000000000, 'a', CAST({large_array} AS JSON), 't', TRUE)"
    );
    let values = "DATE'2020-01-02', DATE'0001-01-01', TIME'-12:00:00.5', TIME'838:59:59', TIME'-00:00:00.000001', TIMESTAMP'2020-01-02 03:04:05.678', \
         TIMESTAMP'9999-12-31 23:59:59.999999', CAST(1.50 AS DECIMAL(10,4)), CAST(-0.5 AS DECIMAL(5,3)), \
         CAST(-12345678901234567890123456789012345.123456789012345678901234567891 AS DECIMAL(65,30)), CAST(0 AS DECIMAL(3,2)), \
         b'1011', x'00ff', REPEAT(x'41', 57), REPEAT(x'41', 58), REPEAT(x'417f', 1000), \
         ST_GeomFromText('POINT(1 2)'), CAST(18446744073709551615 AS UNSIGNED), CAST(-9223372036854775808 AS SIGNED), \
         32767, 32768, -32768, -32769, 65535, 65536, 2147483647, 2147483648, 4294967295, 4294967296, 1e0, 1.5e300";
    vec![
        nested(1),
        nested(99),
        nested(100),
        nested_objects,
        large_array.clone(),
        large_object,
        mixed,
        format!("JSON_ARRAY({values})"),
        format!("JSON_OBJECT('k', JSON_ARRAY({values}), 'big', REPEAT('y', 70000))"),
        "JSON_OBJECT(REPEAT('k', 65535), 1, '', 2)".into(),
        "JSON_QUOTE('\"')".into(),
        "CAST(CAST('2020-02-30' AS CHAR) AS JSON)".replace("'2020-02-30'", "'\"2020-02-30\"'"),
    ]
}

async fn documents_of(version: &str) {
    let mut bench = Bench::start(version).await;
    bench
        .run("CREATE TABLE j (id INT AUTO_INCREMENT PRIMARY KEY, v JSON)")
        .await;
    let mut random = Random(SEED);
    for _ in 0..DOCUMENTS / DOCUMENTS_IN_A_STATEMENT {
        let documents: Vec<String> = (0..DOCUMENTS_IN_A_STATEMENT)
            .map(|_| document(&mut random, 0).replace('\\', "\\\\").replace('\'', "''"))
            .collect();
        bench
            .run(&format!("INSERT INTO j (v) VALUES ('{}')", documents.join("'),('")))
            .await;
    }
    for document in hard_documents() {
        bench.run(&format!("INSERT INTO j (v) VALUES ({document})")).await;
    }
    // A column of every SQL type becomes an opaque value of that type.
    bench.run("CREATE TABLE s (a YEAR, b ENUM('x','y'), c SET('p','q'), d BLOB, e BIT(9), f FLOAT, g TIMESTAMP(3) NULL, h DATE)").await;
    bench
        .run("INSERT INTO s VALUES (2026, 'y', 'p,q', x'00ff', 300, 0.1, '2026-01-01 00:00:00.5', '2026-00-00')")
        .await;
    bench
        .run("INSERT INTO j (v) SELECT JSON_ARRAY(a, b, c, d, e, f, g, h) FROM s")
        .await;
    let events = bench.events().await;
    let server = bench
        .rows("SELECT id, CAST(v AS CHAR CHARACTER SET utf8mb4) FROM j ORDER BY id")
        .await;
    let mut ours = Vec::new();
    each_rows_event(&events, &HashMap::new(), |map, _, changes| {
        for change in changes.iter().filter(|_| map.table == "j") {
            let mut json = Vec::new();
            let value = change.after.unwrap().value(1).unwrap().unwrap();
            assert!(matches!(value, Value::Json(_)));
            value.write_json(&mut json).unwrap();
            ours.push(serde_json::from_slice::<String>(&json).unwrap());
        }
    });
    assert_eq!(ours.len(), server.len());
    let mut wrong = Vec::new();
    for (ours, server) in ours.iter().zip(&server) {
        if Some(ours) != server[1].as_ref() {
            wrong.push(format!(
                "row {:?}\n ours   {ours:.400}\n server {:.400}",
                server[0],
                server[1].as_deref().unwrap_or("NULL")
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} documents differ, seed {SEED}:\n{}",
        wrong.len(),
        ours.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
    println!("{} JSON documents agree", ours.len());
    bench.lab.down().await.unwrap();
}

#[tokio::test]
async fn json_of_8_0_is_printed_as_the_server_prints_it() {
    documents_of("8.0").await;
}

#[tokio::test]
async fn json_of_9_7_is_printed_as_the_server_prints_it() {
    documents_of("9.7").await;
}
