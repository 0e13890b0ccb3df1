//! `mysync dump` on real servers: rows that are older than the binlog come, rows that MySQL does not have go, by keys of every kind,
//! while clients write. Needs Docker and the lab's images; without them it fails with the remedy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code, reason = "each test uses a part of it")]
#[path = "reader/consumer.rs"]
mod consumer;
#[path = "support/process.rs"]
mod process;

use consumer::read_partitions;
use fixtures::{Lab, Mysql};
use mysql_async::prelude::Queryable;
use process::{Ended, Process, mysync};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

const ROWS: u32 = 5_000;

/// Between two statements of the clients.
const PACE: Duration = Duration::from_millis(2);

/// Each table has a column `u` by which its rows are told apart here, whatever its key, and a text `v`.
const TABLES: &[&str] = &[
    "shop.t (id BIGINT UNSIGNED PRIMARY KEY, u INT, v VARCHAR(40))",
    "shop.pair (a VARCHAR(12) COLLATE utf8mb4_unicode_ci, n INT, u INT, v VARCHAR(40), PRIMARY KEY (a, n))",
    "shop.latin (e ENUM('x','b','a'), a VARCHAR(12) CHARACTER SET latin1 COLLATE latin1_swedish_ci, u INT, v VARCHAR(40), \
     PRIMARY KEY (a, e))",
    "shop.typed (ts TIMESTAMP(3), d DECIMAL(10,3), f FLOAT, b VARBINARY(8), bt BIT(9), y YEAR, t TIME(2), u INT, v VARCHAR(40), \
     PRIMARY KEY (ts, d, f, b, bt, y, t))",
    "shop.empty (id INT PRIMARY KEY, u INT, v VARCHAR(40))",
    // No index at all, and rows that differ in no more than the case.
    "shop.log (line VARCHAR(20) CHARACTER SET latin1 NOT NULL, at DATETIME(6) NOT NULL, u INT, v VARCHAR(40))",
    // Its key's index is none of the primary key.
    "shop.keyed (n INT NOT NULL, a VARCHAR(10) NOT NULL, u INT, v VARCHAR(40), UNIQUE KEY by_n (a, n))",
    "shop.gone (id INT PRIMARY KEY, u INT, v VARCHAR(40))",
];

const FILL: &[(&str, &str)] = &[
    ("shop.t", "n * 3, n, CONCAT('t', n)"),
    (
        "shop.pair",
        "ELT(1 + n % 5, 'a', 'Ä', 'b', 'ß', '中'), n, n, CONCAT('p', n)",
    ),
    ("shop.latin", "1 + n % 3, CONCAT(_utf8mb4'ä', n DIV 3), n, 'latin'"),
    (
        "shop.typed",
        "FROM_UNIXTIME(1 + n DIV 2000), n % 40 / 8 - 2.5, n % 7 / 10, UNHEX(LPAD(HEX(n), 6, '0')), n % 512, 1901 + n % 3, \
         SEC_TO_TIME(n % 3 - 1), n, 'typed'",
    ),
    (
        "shop.log",
        "CONCAT(ELT(1 + n % 2, 'a', 'A'), n DIV 8), '2026-01-01 00:00:00' + INTERVAL n DIV 2 % 4 SECOND, n, 'log'",
    ),
    ("shop.keyed", "n, CONCAT('k', n % 9), n, 'keyed'"),
    ("shop.gone", "n, n, 'gone'"),
];

struct Shop {
    lab: Lab,
    file: PathBuf,
    prefix: &'static str,
    version: &'static str,
}

impl Shop {
    async fn open(version: &'static str) -> Self {
        let lab = Lab::builder()
            .name("dump")
            .mysql(version)
            .brokers(1)
            .start()
            .await
            .unwrap();
        let prefix = "d";
        let text = lab.config(prefix, &["shop.*"]);
        let text = text.reader("start = \"newest\"").reader("on_ddl = \"refresh\"").toml();
        let keys = "[source.keys]\n\"shop.log\" = [\"line\", \"at\"]\n\"shop.keyed\" = [\"a\", \"n\"]\n\n[kafka]";
        let file =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("dump-{version}-{}.toml", std::process::id()));
        std::fs::write(&file, text.replace("[kafka]", keys)).unwrap();
        let shop = Self {
            lab,
            file,
            prefix,
            version,
        };
        shop.fill().await;
        shop
    }

    fn server(&self) -> &Mysql {
        self.lab.primary().unwrap()
    }

    async fn sql(&self, statements: &[&str]) {
        for statement in statements {
            self.server().sql(statement).await.expect(statement);
        }
    }

    /// Rows that no binlog has any more.
    async fn fill(&self) {
        self.sql(&["CREATE DATABASE shop CHARACTER SET utf8mb4"]).await;
        for table in TABLES {
            self.sql(&[&format!("CREATE TABLE {table}")]).await;
        }
        let wide: Vec<String> = (0..100).map(|number| format!("c{number} VARCHAR(10)")).collect();
        let wide = format!(
            "CREATE TABLE shop.wide (id INT PRIMARY KEY, u INT, v VARCHAR(40), {})",
            wide.join(", ")
        );
        let numbers: Vec<String> = (0..ROWS).map(|n| format!("({n})")).collect();
        self.sql(&[
            &wide,
            "CREATE TABLE shop.number (n INT PRIMARY KEY, u INT, v VARCHAR(40))",
            &format!("INSERT INTO shop.number (n) VALUES {}", numbers.join(",")),
        ])
        .await;
        for (table, columns) in FILL {
            self.sql(&[&format!(
                "SET time_zone = '+00:00'; INSERT INTO {table} SELECT {columns} FROM shop.number"
            )])
            .await;
        }
        self.sql(&["INSERT INTO shop.wide (id, u, v, c7) SELECT n, n, 'wide', n FROM shop.number WHERE n < 700"])
            .await;
        self.sql(&["DROP TABLE shop.number", "FLUSH BINARY LOGS"]).await;
        let files = self.server().sql("SHOW BINARY LOGS").await.unwrap();
        let last = files.last().unwrap()[0].clone().unwrap();
        self.sql(&[&format!("PURGE BINARY LOGS TO '{last}'")]).await;
    }

    fn config(&self) -> &str {
        self.file.to_str().unwrap()
    }

    fn reader(&self) -> Process {
        let name = format!("dump-reader-{}", self.version);
        Process::start(&name, &["reader", "--config", self.config()], "info")
    }

    async fn dump(&self, arguments: &[&str]) -> Ended {
        let mut all = vec!["dump".to_owned(), "--config".into(), self.config().into()];
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let run = move || mysync(&all.iter().map(String::as_str).collect::<Vec<_>>());
        tokio::task::spawn_blocking(run).await.unwrap()
    }

    /// Runs a dump to its end; gives the summary.
    async fn dumped(&self, arguments: &[&str]) -> serde_json::Value {
        let ended = self.dump(&[arguments, &["--json"]].concat()).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        serde_json::from_str(ended.stdout.lines().last().unwrap()).unwrap()
    }

    /// All that MySQL has now, published.
    async fn catch_up(&self) {
        let arguments = ["reader", "--config", self.config(), "--until-caught-up"].map(str::to_owned);
        let run = move || mysync(&arguments.each_ref().map(String::as_str));
        let ended = tokio::task::spawn_blocking(run).await.unwrap();
        assert_eq!(ended.code, 0, "{ended:?}");
    }

    /// `u` and `v` of what is published of a table now, and how many keys it has.
    async fn published(&self, table: &str) -> (BTreeMap<i64, String>, usize) {
        let mut last = BTreeMap::new();
        let mut highest = BTreeMap::new();
        for record in read_partitions(&self.lab, &format!("{}.{table}", self.prefix), 3).await {
            let before = highest.insert(record.partition, record.version);
            assert!(before <= Some(record.version), "{table}: versions rise");
            last.insert(record.key, record.value);
        }
        let live: Vec<serde_json::Value> = last
            .into_values()
            .flatten()
            .map(|value| serde_json::from_str(&value).unwrap())
            .collect();
        let rows = live.iter().map(|envelope| {
            assert_ne!(envelope["op"], "d", "a delete is followed by its tombstone");
            let after = &envelope["after"];
            (after["u"].as_i64().unwrap(), after["v"].as_str().unwrap().to_owned())
        });
        (rows.collect(), live.len())
    }

    async fn require_equal(&self, table: &str) {
        let rows = self.server().sql(&format!("SELECT u, v FROM {table}")).await.unwrap();
        let expected: BTreeMap<i64, String> = rows
            .iter()
            .map(|row| (row[0].as_ref().unwrap().parse().unwrap(), row[1].clone().unwrap()))
            .collect();
        let (found, keys) = self.published(table).await;
        let missing: Vec<_> = expected
            .iter()
            .filter(|(u, v)| found.get(u) != Some(*v))
            .take(5)
            .collect();
        let extra: Vec<_> = found.keys().filter(|u| !expected.contains_key(u)).take(5).collect();
        assert!(
            missing.is_empty() && extra.is_empty(),
            "{table}: missing {missing:?}, extra {extra:?}"
        );
        assert_eq!(keys, rows.len(), "{table}: a key a row");
    }
}

/// Clients change rows until they are told to stop.
async fn clients(server: &Mysql) -> (tokio::sync::watch::Sender<bool>, tokio::task::JoinHandle<u32>) {
    let (stop, is_stopped) = tokio::sync::watch::channel(false);
    let mut connection = server.connect().await.unwrap();
    let working = tokio::spawn(async move {
        let mut number = 0_u32;
        while !*is_stopped.borrow() {
            number += 1;
            let (id, n) = (number.wrapping_mul(7_919) % (ROWS * 3), number.wrapping_mul(101) % ROWS);
            let statement = match number % 6 {
                0 => format!("DELETE FROM shop.t WHERE id = {id}"),
                1 => format!(
                    "REPLACE INTO shop.t VALUES ({id}, {}, 'client{number}')",
                    1_000_000 + id
                ),
                2 => format!("UPDATE IGNORE shop.t SET id = id + 1 WHERE id = {id}"),
                3 => format!("UPDATE shop.pair SET v = 'client{number}' WHERE n = {n}"),
                4 => format!("UPDATE IGNORE shop.pair SET a = 'B' WHERE n = {n}"),
                _ => format!("UPDATE shop.log SET v = 'client{number}' WHERE u = {n}"),
            };
            connection.query_drop(&statement).await.expect(&statement);
            tokio::time::sleep(PACE).await;
        }
        number
    });
    (stop, working)
}

const COMPARED: [&str; 8] = [
    "shop.t",
    "shop.pair",
    "shop.latin",
    "shop.typed",
    "shop.log",
    "shop.keyed",
    "shop.gone",
    "shop.wide",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_come_whole_and_lose_what_mysql_does_not_have() {
    let shop = Shop::open("8.0").await;

    // The plan writes nothing.
    let plan = shop.dump(&["--all", "--dry-run"]).await;
    assert_eq!(plan.code, 0, "{plan:?}");
    assert!(
        plan.stdout.contains("shop.pair") && plan.stdout.contains("a, n"),
        "{}",
        plan.stdout
    );
    assert!(plan.stdout.contains("without an index"), "{}", plan.stdout);
    let own = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = '__db_mysync'";
    assert_eq!(shop.server().value(own).await.unwrap(), "0");
    // What cannot be dumped is refused, with the remedy.
    let refused = shop.dump(&["--table", "other.t"]).await;
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.stderr.contains("source.tables"), "{}", refused.stderr);
    let refused = shop.dump(&["--table", "shop.t", "--where", "nothing > 1"]).await;
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.stderr.contains("nothing"), "{}", refused.stderr);
    assert_eq!(shop.dump(&[]).await.code, 3);

    // Everything, while clients write.
    let reader = shop.reader();
    let (stop, working) = clients(shop.server()).await;
    let summary = shop.dumped(&["--all"]).await;
    println!("{summary}");
    assert!(summary["rows"].as_u64().unwrap() > u64::from(ROWS) * 6, "{summary}");
    // Once more: now the topics are full.
    let again = ["--table", "shop.t", "--table", "shop.pair", "--table", "shop.empty"];
    shop.dumped(&again).await;
    stop.send(true).unwrap();
    println!("{} statements of clients", working.await.unwrap());
    reader.kill();
    shop.catch_up().await;
    for table in COMPARED {
        shop.require_equal(table).await;
    }

    // Without a trace in the binlog: only a dump finds it, and a dump of some rows touches no other.
    let reader = shop.reader();
    shop.sql(&[
        "SET sql_log_bin = 0; DELETE FROM shop.pair WHERE n % 11 = 0; UPDATE shop.pair SET v = 'unseen' WHERE n % 7 = 0; \
         DELETE FROM shop.log WHERE u < 100; DELETE FROM shop.typed",
    ])
    .await;
    shop.dumped(&["--table", "shop.pair", "--where", "n < 0"]).await;
    assert_eq!(shop.published("shop.pair").await.1, ROWS as usize);
    let summary = shop
        .dumped(&["--table", "shop.pair", "--table", "shop.log", "--table", "shop.ty*"])
        .await;
    let gone = u64::from(ROWS.div_ceil(11) + 100 + ROWS);
    assert_eq!(summary["gone"].as_u64().unwrap(), gone, "{summary}");
    for table in ["shop.pair", "shop.log", "shop.typed"] {
        shop.require_equal(table).await;
    }

    // Statements that empty a table or alter it: reader.on_ddl = "refresh".
    shop.sql(&[
        "TRUNCATE TABLE shop.keyed",
        "INSERT INTO shop.keyed VALUES (1, 'a', 1, 'after')",
        "DROP TABLE shop.gone",
        "ALTER TABLE shop.latin ADD COLUMN more INT NOT NULL DEFAULT 5",
        "RENAME TABLE shop.t TO shop.renamed",
    ])
    .await;
    reader.kill();
    shop.catch_up().await;
    for table in ["shop.keyed", "shop.latin", "shop.renamed"] {
        shop.require_equal(table).await;
    }
    for table in ["shop.gone", "shop.t"] {
        assert_eq!(shop.published(table).await.1, 0, "{table}");
    }

    // A dropped database takes all of its tables along; a table that is not there can be named.
    shop.sql(&["DROP DATABASE shop"]).await;
    shop.catch_up().await;
    for table in COMPARED.iter().chain(&["shop.renamed"]) {
        assert_eq!(shop.published(table).await.1, 0, "{table}");
    }
    let reader = shop.reader();
    let summary = shop.dumped(&["--table", "shop.gone"]).await;
    assert_eq!((&summary["rows"], &summary["gone"]), (&0.into(), &0.into()));
    let status = shop.dump(&["--status"]).await;
    assert!(
        status.stdout.contains("shop.gone") && status.stdout.contains("done"),
        "{status:?}"
    );
    reader.kill();

    // Asked for without a reader, it waits; called off by then, it does nothing.
    let config = shop.config().to_owned();
    let asking = Process::start(
        "dump-asking",
        &["dump", "--config", &config, "--table", "shop.gone"],
        "info",
    );
    process::wait_until("the request is written", || {
        asking.stderr().contains("request").then_some(())
    });
    let mut asking = asking;
    asking.signal("INT");
    assert_eq!(asking.ended(), 2);
    assert!(asking.stderr().contains("goes on in the reader"), "{}", asking.stderr());
    shop.catch_up().await;
    let status = shop.dump(&["--status", "--json"]).await;
    let lines: Vec<serde_json::Value> = serde_json::from_str(status.stdout.trim()).unwrap();
    assert!(lines.iter().all(|line| line["state"] == "done"), "{status:?}");
    assert_eq!(shop.dump(&["--cancel"]).await.stdout.trim(), "no dump is going on");
    std::fs::remove_file(&shop.file).unwrap();
    shop.lab.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_server_is_dumped_too() {
    let shop = Shop::open("5.6").await;
    let reader = shop.reader();
    let (stop, working) = clients(shop.server()).await;
    shop.dumped(&["--all"]).await;
    stop.send(true).unwrap();
    assert!(working.await.unwrap() > 0);
    shop.sql(&["SET sql_log_bin = 0; DELETE FROM shop.latin WHERE u % 5 = 0"])
        .await;
    let summary = shop.dumped(&["--table", "shop.latin"]).await;
    assert_eq!(
        summary["gone"].as_u64().unwrap(),
        u64::from(ROWS.div_ceil(5)),
        "{summary}"
    );
    reader.kill();
    shop.catch_up().await;
    for table in COMPARED {
        shop.require_equal(table).await;
    }
    std::fs::remove_file(&shop.file).unwrap();
    shop.lab.down().await.unwrap();
}
