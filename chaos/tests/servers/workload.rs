//! Random changes of all types that 5.6, 8.0 and 9.7 have in common, the same ones for the same seed. What a session's
//! settings decide is set in the session.

use fixtures::Lab;
use mysql_async::prelude::Queryable;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

const TRANSACTIONS: usize = 150;
const IDS: u32 = 200;

/// Name, type, and how a random value is written.
type Column = (&'static str, &'static str, fn(&mut StdRng) -> String);

const COLUMNS: [Column; 34] = [
    ("tiny", "TINYINT", |random| random.random_range(-128..128).to_string()),
    ("tiny_u", "TINYINT UNSIGNED", |random| {
        random.random_range(0..256).to_string()
    }),
    ("small", "SMALLINT", |random| random.random::<i16>().to_string()),
    ("medium", "MEDIUMINT", |random| {
        random.random_range(-8_388_608..8_388_608).to_string()
    }),
    ("medium_u", "MEDIUMINT UNSIGNED ZEROFILL", |random| {
        random.random_range(0..16_777_216).to_string()
    }),
    ("whole", "INT", |random| random.random::<i32>().to_string()),
    ("big", "BIGINT", |random| random.random::<i64>().to_string()),
    ("big_u", "BIGINT UNSIGNED", |random| random.random::<u64>().to_string()),
    ("bits", "BIT(17)", |random| random.random_range(0..131_072).to_string()),
    ("truth", "BOOL", |random| random.random_range(0..2).to_string()),
    ("single", "FLOAT", |random| {
        format!("{:e}", random.random_range(-1e6_f32..1e6))
    }),
    ("twofold", "DOUBLE", |random| {
        format!("{:e}", random.random_range(-1e200_f64..1e200))
    }),
    ("money", "DECIMAL(20,6)", |random| {
        format!(
            "{}.{:06}",
            random.random_range(-99_999_999_i64..99_999_999),
            random.random_range(0..1_000_000)
        )
    }),
    ("year_of", "YEAR", |random| random.random_range(1901..2156).to_string()),
    ("day", "DATE", |random| {
        format!(
            "'{:04}-{:02}-{:02}'",
            random.random_range(0..10_000),
            random.random_range(0..13),
            random.random_range(0..29)
        )
    }),
    ("span", "TIME(3)", |random| {
        let sign = ["", "-"].choose(random).unwrap();
        format!(
            "'{sign}{}:{:02}:{:02}.{:03}'",
            random.random_range(0..838),
            random.random_range(0..60),
            random.random_range(0..60),
            random.random_range(0..1_000)
        )
    }),
    ("at", "DATETIME(6)", |random| moment(random, 1000..10_000, 6)),
    ("at_old", "DATETIME", |random| moment(random, 1000..10_000, 0)),
    ("stamp", "TIMESTAMP NULL", |random| moment(random, 1971..2038, 0)),
    ("stamp_2", "TIMESTAMP(2) NULL", |random| moment(random, 1971..2038, 2)),
    ("text_utf8", "VARCHAR(60) CHARACTER SET utf8mb4", |random| {
        text(random, "aé😀ж你 '\\")
    }),
    ("text_latin1", "VARCHAR(60) CHARACTER SET latin1", |random| {
        text(random, "aéÿ€ 'ß")
    }),
    ("text_gbk", "CHAR(30) CHARACTER SET gbk", |random| {
        text(random, "a你好嗨 ")
    }),
    ("text_ucs2", "VARCHAR(30) CHARACTER SET ucs2", |random| {
        text(random, "aж你 ")
    }),
    ("text_long", "MEDIUMTEXT CHARACTER SET utf8", |random| {
        text(random, "aж你\n")
    }),
    ("fixed", "BINARY(8)", bytes),
    ("varied", "VARBINARY(40)", bytes),
    ("tiny_blob", "TINYBLOB", bytes),
    ("blob_of", "BLOB", bytes),
    ("kind", "ENUM('a','b c','it''s','é') CHARACTER SET utf8", |random| {
        random.random_range(0..5).to_string()
    }),
    ("flags", "SET('x','y','z','ü') CHARACTER SET latin1", |random| {
        random.random_range(0..16).to_string()
    }),
    ("shape", "GEOMETRY", |random| {
        format!(
            "ST_GeomFromText('POINT({} {})')",
            random.random_range(-90..90),
            random.random_range(-90..90)
        )
    }),
    ("line", "LINESTRING", |random| {
        format!(
            "ST_GeomFromText('LINESTRING(0 0, {} 1.5)')",
            random.random_range(-90..90)
        )
    }),
    ("note", "TEXT CHARACTER SET latin1 COLLATE latin1_bin", |random| {
        text(random, "aé ")
    }),
];

fn moment(random: &mut StdRng, years: std::ops::Range<u32>, digits: u32) -> String {
    let fraction = match digits {
        0 => String::new(),
        _ => format!(
            ".{:0width$}",
            random.random_range(0..10_u32.pow(digits)),
            width = digits as usize
        ),
    };
    format!(
        "'{:04}-{:02}-{:02} {:02}:{:02}:{:02}{fraction}'",
        random.random_range(years),
        random.random_range(1..13),
        random.random_range(1..29),
        random.random_range(0..24),
        random.random_range(0..60),
        random.random_range(0..60)
    )
}

fn text(random: &mut StdRng, alphabet: &str) -> String {
    let alphabet: Vec<char> = alphabet.chars().collect();
    let length = random.random_range(0..20);
    let text: String = (0..length).map(|_| *alphabet.choose(random).unwrap()).collect();
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

fn bytes(random: &mut StdRng) -> String {
    let length = random.random_range(0..8);
    let hex: String = (0..length).map(|_| format!("{:02x}", random.random::<u8>())).collect();
    format!("x'{hex}'")
}

fn value(column: &Column, random: &mut StdRng) -> String {
    if random.random_ratio(1, 8) {
        "NULL".into()
    } else {
        column.2(random)
    }
}

fn statement(random: &mut StdRng) -> String {
    let id = random.random_range(0..IDS);
    let key = format!("k{}", random.random_range(0..IDS / 4));
    match random.random_range(0..10) {
        0..=4 => {
            let values: Vec<String> = COLUMNS.iter().map(|column| value(column, random)).collect();
            format!("REPLACE INTO common.wide VALUES ({id}, {})", values.join(", "))
        }
        5 | 6 => {
            let column = COLUMNS.choose(random).unwrap();
            let value = value(column, random);
            format!(
                "UPDATE common.wide SET {} = {value} WHERE id >= {id} AND id < {}",
                column.0,
                id + 10
            )
        }
        7 => format!(
            "UPDATE IGNORE common.wide SET id = {} WHERE id = {id}",
            random.random_range(0..IDS)
        ),
        8 => format!("DELETE FROM common.wide WHERE id = {id}"),
        _ => format!(
            "INSERT INTO common.paired VALUES ('{key}', {id}, 'é%:{key}') ON DUPLICATE KEY UPDATE note = CONCAT(note, '+')"
        ),
    }
}

/// Runs the workload of a seed.
pub async fn run(lab: &Lab, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut connection = lab.primary().unwrap().connect().await.unwrap();
    let columns: Vec<String> = COLUMNS.iter().map(|(name, kind, _)| format!("{name} {kind}")).collect();
    let mut statements =
        vec![
        "SET NAMES utf8mb4, SESSION sql_mode = '', SESSION time_zone = '+05:30'".to_owned(),
        "CREATE DATABASE common CHARACTER SET utf8mb4".into(),
        format!("CREATE TABLE common.wide (id INT UNSIGNED PRIMARY KEY, {})", columns.join(", ")),
        "CREATE TABLE common.paired (name VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, id BIGINT UNSIGNED, \
         note VARCHAR(200) CHARACTER SET utf8, PRIMARY KEY (id, name))"
            .into(),
    ];
    for _ in 0..TRANSACTIONS {
        statements.push("BEGIN".into());
        for _ in 0..random.random_range(1..5) {
            statements.push(statement(&mut random));
        }
        let end = if random.random_ratio(1, 10) {
            "ROLLBACK"
        } else {
            "COMMIT"
        };
        statements.push(end.into());
    }
    for statement in statements {
        if let Err(error) = connection.query_drop(&statement).await {
            panic!("{error}: {statement}");
        }
    }
}
