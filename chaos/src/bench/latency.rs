//! From MySQL's answer to COMMIT to the record being there for a consumer that reads committed, at a steady rate of small
//! transactions, on three brokers; beside it what a bare Kafka client reaches on the same brokers.

mod bare;
mod load;
mod watcher;

use super::report::{Report, Row, percentile};
use crate::error::{Doing, Error, Result};
use crate::pipeline;
use crate::report as say;
use fixtures::{Lab, Mysql};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};
use watcher::Watcher;

const TABLE: &str = "bench.latency";

/// How long the pipeline may take until its first record is there.
const FIRST_DEADLINE: Duration = Duration::from_secs(60);

/// Between two writes of the first row.
const FIRST_INTERVAL: Duration = Duration::from_millis(200);

/// How long the last records may take after the load has ended.
const LAST_DEADLINE: Duration = Duration::from_secs(60);

/// Before what is measured: all connections and topics are there then, and the brokers' hot code is compiled.
const WARM_UP_SECONDS: u64 = 15;

pub(super) async fn run(rate: u64, seconds: u64) -> Result<Report> {
    let lab = Lab::builder().name("latency").mysql("8.0").brokers(3).start().await;
    let lab = lab.doing(|| "the servers cannot be started".into())?;
    let mut report = Report::default();
    for (name, in_transactions) in [
        ("bare client, transactions of one", true),
        ("bare client, records", false),
    ] {
        say::progress(&format!("measuring: {name}"));
        let latencies = bare::measure(&lab, in_transactions).await?;
        report.rows.push(row(name, None, &latencies));
    }
    for delivery in ["transactional", "sequenced"] {
        for rate in [rate / 100, rate / 10, rate] {
            say::progress(&format!(
                "measuring: {delivery}, {rate} transactions a second for {seconds} s"
            ));
            let (reached, latencies) = through_the_reader(&lab, delivery, rate.max(1), seconds).await?;
            report
                .rows
                .push(row(&format!("{delivery}, {rate}/s"), Some(reached), &latencies));
        }
    }
    lab.down().await.doing(|| "the servers cannot be removed".into())?;
    for (delivery, bare) in [
        ("transactional", "bare client, transactions of one"),
        ("sequenced", "bare client, records"),
    ] {
        let name = format!("p50: {delivery} to the bare client");
        report.ratio(&name, "p50_ms", &format!("{delivery}, {rate}/s"), bare);
    }
    report.conditions.insert(
        "cores",
        std::thread::available_parallelism().map_or(0, usize::from).to_string(),
    );
    report
        .conditions
        .insert("brokers, replication factor, in sync", "3, 3, 2".into());
    Ok(report)
}

fn row(name: &str, rate: Option<f64>, latencies_ms: &[f64]) -> Row {
    let mut figures: std::collections::BTreeMap<_, _> =
        [("p50_ms", 50.0), ("p95_ms", 95.0), ("p99_ms", 99.0), ("max_ms", 100.0)]
            .map(|(name, percent)| (name, percentile(latencies_ms, percent)))
            .into();
    figures.extend(rate.map(|rate| ("tps", rate)));
    Row {
        name: name.to_owned(),
        figures,
    }
}

/// The rate that was reached, and each transaction's latency, ms.
async fn through_the_reader(lab: &Lab, delivery: &str, rate: u64, seconds: u64) -> Result<(f64, Vec<f64>)> {
    let server = lab.primary().doing(|| "the lab has no MySQL".into())?;
    let prefix = format!("{delivery}-{rate}");
    let create = format!(
        "CREATE DATABASE IF NOT EXISTS bench; DROP TABLE IF EXISTS {TABLE}; \
         CREATE TABLE {TABLE} (id bigint PRIMARY KEY, note varchar(120) NOT NULL)"
    );
    server.sql(&create).await.doing(|| "the table cannot be made".into())?;
    let mut reader = start_reader(lab, &prefix, delivery)?;
    let warm_up = WARM_UP_SECONDS * rate;
    let count = warm_up + seconds * rate;
    let topic = format!("{prefix}.{TABLE}");
    let bootstrap = lab.kafka().doing(|| "the lab has no Kafka".into())?.bootstrap();
    // The reader begins with what is written after it has come up.
    let watcher = tokio::select! {
        watcher = Watcher::start(&bootstrap, &topic, count + 1, FIRST_DEADLINE) => watcher?,
        failed = write_until_dropped(server) => return Err(failed),
    };
    alive(&mut reader)?;
    watcher.wait_for(0..1, FIRST_DEADLINE).await?;
    let load = load::run(server, rate, count).await?;
    alive(&mut reader)?;
    watcher.wait_for(1..count + 1, LAST_DEADLINE).await?;
    reader.kill().await.doing(|| "the reader cannot be ended".into())?;
    let seen_at_us = watcher.seen_at_us();
    let latencies = load.committed_at_us.iter().zip(&seen_at_us[1..]).skip(warm_up as usize);
    // A consumer can have a record before the client has MySQL's answer.
    let latencies = latencies.map(|(committed, seen)| seen.saturating_sub(*committed) as f64 / 1e3);
    Ok((load.rate, latencies.collect()))
}

/// Writes row 0 again and again.
async fn write_until_dropped(server: &Mysql) -> Error {
    loop {
        let replace = format!("REPLACE INTO {TABLE} VALUES (0, UUID())");
        if let Err(error) = server.sql(&replace).await {
            return Error::definite("the first row cannot be written").detail(error);
        }
        tokio::time::sleep(FIRST_INTERVAL).await;
    }
}

fn start_reader(lab: &Lab, prefix: &str, delivery: &str) -> Result<Child> {
    let text = lab.config_toml(prefix, &[TABLE]);
    let text = format!("{text}\n[reader]\ndelivery = {delivery:?}\nstart = \"newest\"\n");
    let path = lab.folder().join(format!("{prefix}.toml"));
    std::fs::write(&path, text).doing(|| format!("cannot write {}", path.display()))?;
    let log = lab.folder().join(format!("{prefix}.log"));
    let log = std::fs::File::create(&log).doing(|| format!("cannot write {}", log.display()))?;
    Command::new(pipeline::binary()?)
        .args(["reader", "--config"])
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .doing(|| "the reader cannot be started".into())
}

fn alive(reader: &mut Child) -> Result<()> {
    match reader.try_wait().doing(|| "the reader cannot be asked".into())? {
        None => Ok(()),
        Some(status) => {
            Err(Error::definite(format!("the reader ended by itself: {status}")).hint("its log is in the lab's folder"))
        }
    }
}
