//! The wide table: a hundred columns of the common types, for the cost a byte.

use super::backlog::{Sender, digits};
use crate::error::Result;
use fixtures::mysql::Mysql;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Columns beside the key.
const COLUMNS: usize = 99;

/// Rows a transaction.
const ROWS_PER_INSERT: u64 = 10;

/// The types, by turns.
const TYPES: [&str; 9] = [
    "int NOT NULL",
    "bigint unsigned",
    "varchar(40)",
    "decimal(12,2)",
    "datetime(6)",
    "double",
    "tinyint",
    "char(24)",
    "varbinary(24)",
];

/// Makes the table and inserts so many rows.
pub(super) async fn load(server: &Mysql, rows: u64, seed: u64) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut sender = Sender::open(server, "wide").await?;
    let columns: Vec<_> = (0..COLUMNS)
        .map(|index| format!("c{index} {}", TYPES[index % TYPES.len()]))
        .collect();
    let create = format!(
        "CREATE TABLE bench.wide (id bigint NOT NULL PRIMARY KEY, {})",
        columns.join(", ")
    );
    sender.send(&create).await?;
    for first in (1..=rows).step_by(10) {
        let last = rows.min(first + ROWS_PER_INSERT - 1);
        let tuples: Vec<_> = (first..=last).map(|id| row(id, &mut random)).collect();
        sender
            .add(&format!("INSERT INTO bench.wide VALUES {}", tuples.join(",")))
            .await?;
    }
    sender.close().await
}

fn row(id: u64, random: &mut StdRng) -> String {
    let values: Vec<_> = (0..COLUMNS).map(|index| value(index % TYPES.len(), random)).collect();
    format!("({id},{})", values.join(","))
}

fn value(kind: usize, random: &mut StdRng) -> String {
    match kind {
        0 => random.random::<i32>().to_string(),
        1 => random.random::<u64>().to_string(),
        2 => format!("'{}'", digits(3, random)),
        3 => format!(
            "{}.{:02}",
            random.random_range(0..1_000_000_000),
            random.random_range(0..100)
        ),
        4 => format!(
            "'2026-05-{:02} 11:12:13.{:06}'",
            random.random_range(1..29),
            random.random_range(0..1_000_000)
        ),
        5 => format!("{:?}", random.random::<f64>()),
        6 => random.random::<i8>().to_string(),
        7 => format!("'{}'", digits(2, random)),
        _ => format!("x'{:032x}'", random.random::<u128>()),
    }
}
