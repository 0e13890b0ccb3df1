//! Statements, and what the server says of each row that they insert.

use fixtures::Lab;
use std::collections::BTreeMap;

/// For each table its inserted rows in order, each the columns' names and texts in order; none for NULL.
pub type Expected = BTreeMap<String, Vec<Vec<(String, Option<String>)>>>;

/// One statement; an INSERT is read back.
pub type Step = String;

/// What is done to a server.
pub struct Script {
    /// Statements that can be applied exactly, whatever comes behind them.
    pub exact: Vec<Step>,
    /// Statements of which only the server knows what they made.
    pub looked_up: Vec<Step>,
    /// An INSERT at the end.
    pub after: Step,
}

const EXACT: &[&str] = &[
    "CREATE DATABASE shop CHARACTER SET latin1",
    "CREATE TABLE shop.t (id INT UNSIGNED NOT NULL, a BIGINT UNSIGNED, name VARCHAR(10), \
     kind ENUM('x','y z','it''s','back\\\\slash'), PRIMARY KEY (id)) DEFAULT CHARSET=gbk",
    "INSERT INTO shop.t VALUES (1, 18446744073709551615, '你好', 'it''s')",
    "ALTER TABLE shop.t ADD COLUMN b INT AFTER a",
    "INSERT INTO shop.t VALUES (2, 1, -2, '嗨', 'back\\\\slash')",
    // The two that look alike to a Table_map.
    "ALTER TABLE shop.t ADD COLUMN x INT",
    "INSERT INTO shop.t VALUES (3, 1, 2, 'x', 'x', 7)",
    "ALTER TABLE shop.t CHANGE x y INT",
    "INSERT INTO shop.t VALUES (4, 1, 2, 'x', 'y z', 8)",
    "DELETE FROM shop.t WHERE id = 1",
    "ALTER TABLE shop.t CHANGE a b2 INT UNSIGNED, CHANGE b a SMALLINT, DROP COLUMN kind",
    "INSERT INTO shop.t VALUES (5, 4294967295, -32768, 'x', 9)",
    "ALTER TABLE shop.t MODIFY name VARCHAR(20) CHARACTER SET utf8mb4 FIRST, ADD INDEX i (a)",
    "INSERT INTO shop.t VALUES ('😀 grüße', 6, 1, 2, 3)",
    "ALTER TABLE shop.t ADD COLUMN (p SET('a','b','c'), q DECIMAL(10,3) UNSIGNED), ADD r CHAR(4) CHARACTER SET latin1 AFTER id",
    "INSERT INTO shop.t VALUES ('n', 7, 'é', 1, 2, 3, 'a,c', 1.5)",
    "ALTER TABLE shop.t CONVERT TO CHARACTER SET utf8mb4",
    "INSERT INTO shop.t VALUES ('n', 8, '你é', 1, 2, 3, 'b', 9999999.999)",
    "ALTER TABLE shop.t PARTITION BY HASH (id) PARTITIONS 2",
    "ALTER TABLE shop.t ADD PARTITION PARTITIONS 1",
    "ALTER TABLE shop.t REMOVE PARTITIONING",
    "INSERT INTO shop.t VALUES ('n', 9, 'z', 1, 2, 3, NULL, NULL)",
    "TRUNCATE shop.t",
    "INSERT INTO shop.t VALUES ('n', 1, 'z', 1, 2, 3, NULL, NULL)",
    "ALTER TABLE shop.t DROP PRIMARY KEY, DROP p, DROP q, DROP y, ADD PRIMARY KEY (id, a)",
    "INSERT INTO shop.t VALUES ('n', 1, 'z', 1, 3)",
    // As gh-ost and pt-osc do it, with a table that is not followed.
    "CREATE TABLE shop._t_gho LIKE shop.t",
    "ALTER TABLE shop._t_gho ADD COLUMN g MEDIUMINT UNSIGNED FIRST",
    "ALTER TABLE shop._t_gho CHANGE r rr VARCHAR(3)",
    "INSERT INTO shop.t VALUES ('during', 2, 'z', 1, 3)",
    "RENAME TABLE shop.t TO shop._t_del, shop._t_gho TO shop.t",
    "INSERT INTO shop.t VALUES (16777215, 'after', 3, 'z', 1, 3)",
    "DROP TABLE shop._t_del",
    "RENAME TABLE shop.t TO shop.u",
    "INSERT INTO shop.u VALUES (1, 'u', 4, 'z', 1, 3)",
    "CREATE TABLE shop.t LIKE shop.u",
    "INSERT INTO shop.t VALUES (1, 'like', 5, 'z', 1, 3)",
    "DROP TABLE shop.t",
    "ALTER TABLE shop.u ADD w BIT(9), RENAME TO shop.t",
    "ALTER TABLE shop.t DROP w",
    "INSERT INTO shop.t VALUES (1, 'back', 5, 'z', 1, 3)",
    "DROP TABLE shop.t",
    "CREATE TABLE shop.t (k VARCHAR(5) CHARACTER SET latin1 PRIMARY KEY, v TEXT CHARACTER SET utf8)",
    "INSERT INTO shop.t VALUES ('é', 'ж')",
    "/* a comment */ alter ignore table `shop`.`t` MODIFY `v` char(9) /* another */ CHARACTER SET koi8r -- and a third",
    "INSERT INTO shop.t VALUES ('ü', 'ж')",
];

/// With the syntax of 8.0.
const EXACT_8: &[&str] = &[
    "CREATE TABLE shop.u (id INT PRIMARY KEY, a INT, b INT, m INT, n INT, v INT INVISIBLE DEFAULT 5, sum INT AS (a + b) VIRTUAL, \
     kept INT GENERATED ALWAYS AS (a * 2) STORED) CHARSET utf8mb4",
    "INSERT INTO shop.u (id, a, b, m, n) VALUES (1, 2, 3, 4, 5)",
    "ALTER TABLE shop.u RENAME COLUMN m TO n, RENAME COLUMN n TO m",
    "INSERT INTO shop.u (id, a, b, m, n) VALUES (2, 2, 3, 4, 5)",
    "ALTER TABLE shop.u ALTER COLUMN v SET VISIBLE, ADD COLUMN c VARCHAR(3) DEFAULT 'x', ADD INDEX f ((a + 1)), ALGORITHM=COPY",
    "INSERT INTO shop.u (id, a, b, c) VALUES (3, 2, 3, 'y')",
    "ALTER TABLE shop.u RENAME COLUMN c TO d",
    "ALTER TABLE shop.u ADD COLUMN c INT INVISIBLE AFTER id, ALGORITHM=INSTANT",
    "INSERT INTO shop.u (id, a, b, c, d) VALUES (4, 2, 3, 7, 'z')",
];

const LOOKED_UP: &[&str] = &[
    "CREATE TABLE shop.s (id INT PRIMARY KEY, v TEXT, e ENUM('ä','ö') CHARACTER SET latin1)",
    "INSERT INTO shop.s VALUES (1, 'é', 'ö')",
    "ALTER TABLE shop.s MODIFY e ENUM('ä','ö','ü') CHARACTER SET latin1",
    "INSERT INTO shop.s VALUES (2, 'é', 'ü')",
    "CREATE TABLE shop.s2 (PRIMARY KEY (id)) CHARSET utf8 AS SELECT id, v FROM shop.s",
    "INSERT INTO shop.s2 VALUES (3, 'ü')",
    "RENAME TABLE shop.unseen TO shop.s3",
    "INSERT INTO shop.s3 VALUES (4, 'ж')",
];

impl Script {
    pub fn of(version: &str) -> Self {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let (mut exact, mut looked_up) = (owned(EXACT), owned(LOOKED_UP));
        // A table that the history does not keep, as it is of another database.
        looked_up.insert(0, "CREATE DATABASE other CHARACTER SET latin1".into());
        looked_up.insert(
            1,
            "CREATE TABLE other.unseen (id INT PRIMARY KEY, v VARCHAR(9) CHARACTER SET koi8r)".into(),
        );
        for step in &mut looked_up {
            *step = step.replace("RENAME TABLE shop.unseen", "RENAME TABLE other.unseen");
        }
        if version == "5.6" {
            exact.push("ALTER TABLE shop.t MODIFY v CHAR(9) CHARACTER SET utf8".into());
        } else {
            for step in &mut exact {
                *step = step.replace("alter ignore", "alter");
            }
            exact.extend(owned(EXACT_8));
        }
        Self {
            exact,
            looked_up,
            after: "INSERT INTO shop.t VALUES ('end', 'end')".into(),
        }
    }
}

/// Runs a step, and reads back the rows that it inserted: those that were not there before.
pub async fn run(lab: &Lab, step: &str, expected: &mut Expected) {
    let table = ["INSERT INTO ", "CREATE TABLE "]
        .iter()
        .find_map(|begin| step.strip_prefix(begin));
    let table = table.and_then(|rest| rest.split([' ', '(']).next()).unwrap_or_default();
    let is_new = step.contains(" AS SELECT ");
    let inserts = is_new || step.starts_with("INSERT");
    let before = match inserts && !is_new {
        true => rows(lab, table).await,
        false => Vec::new(),
    };
    if let Err(error) = lab.primary().unwrap().sql(step).await {
        panic!("{error}: {step}");
    }
    if inserts {
        let mut new = rows(lab, table).await;
        new.retain(|row| !before.contains(row));
        assert!(!new.is_empty(), "{step}");
        expected.entry(table.to_owned()).or_default().append(&mut new);
    }
}

/// All rows of a table, those of invisible columns too.
async fn rows(lab: &Lab, table: &str) -> Vec<Vec<(String, Option<String>)>> {
    let server = lab.primary().unwrap();
    let columns = format!(
        "SELECT column_name FROM information_schema.columns WHERE CONCAT(table_schema, '.', table_name) = '{table}' \
         ORDER BY ordinal_position"
    );
    let columns = server.sql(&columns).await.unwrap();
    let names: Vec<String> = columns.into_iter().map(|row| row[0].clone().unwrap()).collect();
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let rows = server.sql(&format!("SELECT {} FROM {table}", quoted.join(", "))).await;
    let with_names = |row: Vec<Option<String>>| names.iter().cloned().zip(row).collect();
    rows.unwrap().into_iter().map(with_names).collect()
}

/// The columns of a JSON object in order, each with its text; numbers as they stand.
pub fn columns_of_json(text: &str) -> Vec<(String, Option<String>)> {
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    // The object keeps no order: that of the names in the text is asked for.
    let object = value.as_object().unwrap();
    let mut columns: Vec<(usize, String, Option<String>)> = object
        .iter()
        .map(|(name, value)| {
            let place = text
                .find(&format!("{}:", serde_json::to_string(name).unwrap()))
                .unwrap();
            let text = match value {
                serde_json::Value::Null => None,
                serde_json::Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            };
            (place, name.clone(), text)
        })
        .collect();
    columns.sort();
    columns.into_iter().map(|(_, name, text)| (name, text)).collect()
}
