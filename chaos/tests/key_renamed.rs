//! A key's columns are renamed, given another type, or reordered while the pipeline runs: every row stays in the store, which knows
//! rows by their keys' values, and none is left behind under its former key. Needs Docker and the lab's images; without them it
//! fails with the remedy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use chaos::pipeline;
use consistency::{Config, Options, Report, Silent, Verdict, check};
use fixtures::Lab;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

const DEADLINE: Duration = Duration::from_secs(60);

fn start(lab: &Lab, words: &[&str], config: &Path) -> Child {
    let log = lab.folder().join(format!("{}.log", words.join("-")));
    Command::new(pipeline::binary().unwrap())
        .args(words)
        .arg("--config")
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(log).unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn sql(lab: &Lab, statements: &[&str]) {
    for statement in statements {
        lab.primary().unwrap().sql(statement).await.expect(statement);
    }
}

async fn checked(text: &str) -> Report {
    let config = Config::parse(text, "mysync.toml").unwrap();
    check(&config, &Options::default(), &Silent).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_outlive_the_names_types_and_order_of_their_keys_columns() {
    let builder = Lab::builder().name("key-renamed").mysql("8.0").brokers(1).redis();
    let lab = builder.start().await.unwrap();
    let text = lab.config("keys", &["shop.*"]).reader("on_ddl = \"refresh\"").toml();
    let config = lab.folder().join("mysync.toml");
    std::fs::write(&config, &text).unwrap();
    let pipeline = [
        start(&lab, &["reader"], &config),
        start(&lab, &["writer", "redis"], &config),
    ];
    sql(
        &lab,
        &[
            "CREATE DATABASE shop",
            "CREATE TABLE shop.renamed (id INT PRIMARY KEY, v INT)",
            "CREATE TABLE shop.retyped (id INT PRIMARY KEY, v INT)",
            "CREATE TABLE shop.reordered (a INT, b INT, v INT, PRIMARY KEY (a, b))",
            "INSERT INTO shop.renamed VALUES (1, 1), (2, 2), (3, 3)",
            "INSERT INTO shop.retyped SELECT id, v FROM shop.renamed",
            // The first two change places, of the third nothing stays behind.
            "INSERT INTO shop.reordered VALUES (1, 2, 12), (2, 1, 21), (3, 4, 34)",
        ],
    )
    .await;
    assert_eq!(checked(&text).await.verdict, Verdict::Consistent);

    sql(
        &lab,
        &[
            "ALTER TABLE shop.renamed RENAME COLUMN id TO uid",
            "ALTER TABLE shop.retyped MODIFY id VARCHAR(20) NOT NULL",
            "ALTER TABLE shop.reordered DROP PRIMARY KEY, ADD PRIMARY KEY (b, a)",
            "UPDATE shop.renamed SET v = 20 WHERE uid = 2",
            "DELETE FROM shop.renamed WHERE uid = 3",
        ],
    )
    .await;
    let ended = "SELECT COUNT(DISTINCT table_name) FROM __db_mysync.t_dump WHERE state = 'done'";
    fixtures::wait_for("the tables are read anew", DEADLINE, async || {
        match lab.primary().unwrap().value(ended).await {
            Ok(count) if count == "3" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    let report = checked(&text).await;
    assert_eq!(report.verdict, Verdict::Consistent, "{report:#?}");
    assert_eq!(report.rows_mysql(), 8, "{report:#?}");
    drop(pipeline);
}
