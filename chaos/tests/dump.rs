//! A dump while clients change the same rows, the reader is killed again and again, and the primary dies in the middle: every row in
//! every store equals the new primary's. `MYSYNC_DUMP_ROWS`, `MYSYNC_DUMP_KILLS` and `MYSYNC_DUMP_RATE` make it large, and
//! `MYSYNC_DUMP_STORES`, `redis` unless it says otherwise, has the stores (ci/nightly).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use chaos::pipeline;
use consistency::{Config, Options, Silent, Verdict, check};
use fixtures::{Lab, Mysql};
use mysql_async::prelude::Queryable;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// Between two looks at what is waited for.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Clients that change rows meanwhile; a commit waits for the replica.
const CLIENTS: u64 = 16;
/// Rows that one statement inserts.
const INSERTED_AT_ONCE: u64 = 1_000;
/// Longest time until the reader's first checkpoint.
const CHECKPOINT_DEADLINE: Duration = Duration::from_secs(60);
/// Longest time until the new primary's progress shows.
const PROGRESS_DEADLINE: Duration = Duration::from_secs(120);

fn size(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect(name))
}

/// A process of the pipeline; it is gone when the test is.
fn start(lab: &Lab, words: &[&str], config: &Path, log: &str) -> Child {
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(lab.folder().join(log))
        .unwrap();
    Command::new(pipeline::binary().unwrap())
        .args(words)
        .arg("--config")
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(file)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn fill(server: &Mysql, rows: u64) {
    let mut connection = server.connect().await.unwrap();
    for statement in [
        "CREATE DATABASE shop CHARACTER SET utf8mb4",
        "CREATE TABLE shop.big (id BIGINT PRIMARY KEY, k INT, note VARCHAR(60), amount DECIMAL(12,2), at DATETIME(3))",
        "CREATE TABLE shop.small (a VARCHAR(10), n INT, v INT, PRIMARY KEY (a, n))",
    ] {
        connection.query_drop(statement).await.unwrap();
    }
    for first in (0..rows).step_by(INSERTED_AT_ONCE as usize) {
        let values: Vec<String> = (first..(first + INSERTED_AT_ONCE).min(rows))
            .map(|id| format!("({id}, {}, 'first {id}', {id}.25, '2026-01-01 00:00:00.5')", id % 97))
            .collect();
        let statement = format!("INSERT INTO shop.big VALUES {}", values.join(","));
        connection.query_drop(statement).await.unwrap();
    }
    let small = "INSERT INTO shop.small SELECT CONCAT('k', id % 7), id, 0 FROM shop.big WHERE id < 500";
    connection.query_drop(small).await.unwrap();
    connection.query_drop("FLUSH BINARY LOGS").await.unwrap();
    connection.disconnect().await.unwrap();
}

/// A client that changes rows of whichever server it is told to, so many a second.
async fn work(
    lab: Arc<Lab>,
    server: Arc<AtomicUsize>,
    rows: u64,
    rate: u64,
    done: Arc<AtomicU64>,
    stop: Arc<AtomicUsize>,
) {
    let mut connection = None;
    let begun = Instant::now();
    let mut number = 0_u64;
    while stop.load(Ordering::Relaxed) == 0 {
        if number as f64 > begun.elapsed().as_secs_f64() * rate as f64 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        number += 1;
        let id = number.wrapping_mul(7_919) % (rows + rows / 10);
        let statement = match number % 8 {
            0 => format!("DELETE FROM shop.big WHERE id = {id}"),
            1 => format!("REPLACE INTO shop.big VALUES ({id}, 1, 'client {number}', 1.5, NOW(3))"),
            2 => format!("UPDATE IGNORE shop.big SET id = id + {rows} WHERE id = {id}"),
            3 => format!("UPDATE shop.small SET v = v + 1 WHERE n = {}", number % 500),
            _ => format!("UPDATE shop.big SET k = k + 1, note = 'client {number}' WHERE id = {id}"),
        };
        if connection.is_none() {
            connection = lab.mysql(server.load(Ordering::Relaxed)).unwrap().connect().await.ok();
        }
        if let Some(open) = &mut connection {
            match open.query_drop(statement).await {
                Ok(()) => drop(done.fetch_add(1, Ordering::Relaxed)),
                Err(_) => connection = None,
            }
        }
        if connection.is_none() {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}

/// Rows of the big table that the reader has told of, on a server.
async fn told(server: &Mysql) -> u64 {
    let statement = "SELECT COALESCE(MAX(rows_read), 0) FROM __db_mysync.t_dump WHERE table_name = 'big'";
    let told = server.value(statement).await.ok();
    told.and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_survives_kills_of_the_reader_and_a_switch_of_the_primary() {
    let (rows, kills, rate) = (
        size("MYSYNC_DUMP_ROWS", 60_000),
        size("MYSYNC_DUMP_KILLS", 3),
        size("MYSYNC_DUMP_RATE", 300),
    );
    let stores = std::env::var("MYSYNC_DUMP_STORES").unwrap_or_else(|_| "redis".into());
    let stores: Vec<&str> = stores.split(',').collect();
    let mut lab = Lab::builder()
        .name("dump")
        .mysql("8.0")
        .replicas(1)
        .gtid(true)
        .semi_sync(true)
        .brokers(1);
    for store in &stores {
        lab = match *store {
            "redis" => lab.redis(),
            "elasticsearch" => lab.elasticsearch(),
            "hbase" => lab.hbase(),
            other => panic!("MYSYNC_DUMP_STORES: {other} is none of redis, elasticsearch, hbase"),
        };
    }
    let lab = Arc::new(lab.start().await.unwrap());
    fill(lab.primary().unwrap(), rows).await;
    lab.mysql(1)
        .unwrap()
        .wait_until_caught_up(lab.mysql(0).unwrap())
        .await
        .unwrap();
    let config = lab.folder().join("mysync.toml");
    std::fs::write(
        &config,
        lab.config("dump", &["shop.*"]).reader("start = \"newest\"").toml(),
    )
    .unwrap();
    let writers: Vec<Child> = stores
        .iter()
        .map(|store| start(&lab, &["writer", store], &config, &format!("writer-{store}.log")))
        .collect();
    let mut reader = start(&lab, &["reader"], &config, "reader.log");
    // A reader that begins with what is new does not see a request from before its first checkpoint, which the heartbeat follows.
    fixtures::wait_for("the reader has a checkpoint", CHECKPOINT_DEADLINE, async || {
        let beats = "SELECT COUNT(*) FROM __db_mysync.t_binlog_record";
        match lab.primary().unwrap().value(beats).await {
            Ok(count) if count != "0" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();

    let (server, done, stop) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::default(),
        Arc::new(AtomicUsize::new(0)),
    );
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (lab, server, done, stop) = (lab.clone(), Arc::clone(&server), Arc::clone(&done), Arc::clone(&stop));
            tokio::spawn(work(lab, server, rows, rate / CLIENTS, done, stop))
        })
        .collect();
    let begun = Instant::now();
    let dump = start(&lab, &["dump", "--all", "--json"], &config, "dump.log");
    let mut ended = Box::pin(dump.wait_with_output());

    // Killed whenever a further part of the rows is through, and once the primary is.
    let (mut killed, mut is_switched, mut part) = (0, false, 0);
    let deadline = Instant::now() + PROGRESS_DEADLINE.max(Duration::from_millis(rows));
    let output = loop {
        tokio::select! {
            output = &mut ended => break output.unwrap(),
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
        assert!(
            Instant::now() < deadline,
            "the dump does not end: {}",
            lab.folder().display()
        );
        let reached = told(lab.primary().unwrap()).await;
        if killed < kills && reached >= part {
            reader.kill().await.unwrap();
            reader = start(&lab, &["reader"], &config, "reader.log");
            killed += 1;
            part = rows * killed / (kills + 1);
        }
        if !is_switched && killed > kills / 2 {
            is_switched = true;
            lab.mysql(0).unwrap().kill().await.unwrap();
            lab.mysql(1).unwrap().promote().await.unwrap();
            server.store(1, Ordering::Relaxed);
            lab.mysql(0).unwrap().start().await.unwrap();
            lab.mysql(0).unwrap().repoint(lab.mysql(1).unwrap()).await.unwrap();
        }
    };
    let took = begun.elapsed();
    assert!(output.status.success(), "{output:?}");
    stop.store(1, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let said = String::from_utf8(output.stdout).unwrap();
    println!(
        "{rows} rows, {} changes meanwhile, {killed} kills, {:.1} s: {said}",
        done.load(Ordering::Relaxed),
        took.as_secs_f64()
    );
    assert!(killed >= kills.min(2) && is_switched, "{killed} kills");

    let mut servers = lab.config("dump", &["shop.*"]);
    servers = servers.servers(vec![lab.mysql(1).unwrap().address()]);
    let text = servers.toml() + "\n[check]\nsettle_seconds_max = 600\n";
    let checked = Config::parse(&text, "mysync.toml").unwrap();
    let report = check(&checked, &Options::default(), &Silent).await.unwrap();
    assert_eq!(report.verdict, Verdict::Consistent, "{report:#?}");
    assert_eq!(report.stores.len(), stores.len(), "{report:#?}");
    assert!(report.rows_mysql() > rows / 2, "{report:#?}");
    drop((reader, writers));
}
