//! A MySQL and stores without a pipeline between them: the test writes all sides by hand.

#![allow(dead_code, reason = "each test uses a part of it")]

pub mod documents;
pub mod rows;

use std::path::PathBuf;
use std::process::Output;

use consistency::{Config, Finding, Options, Report, Silent, StoreReport, Verdict, check};
use fixtures::{Lab, LabBuilder, Mysql};
use redis::aio::MultiplexedConnection;

/// The servers, and a configuration that fits them.
pub struct TwoSides {
    lab: Lab,
    tables: Vec<String>,
    layout: &'static str,
    ttl_seconds: u64,
    settle_seconds_max: u64,
    /// More keys of `[source]`, and more sections.
    more: [String; 2],
}

impl TwoSides {
    /// Starts MySQL and Redis. Without Docker this fails and says what to do.
    pub async fn start(name: &str, version: &str, tables: &[&str]) -> Self {
        Self::start_with(Lab::builder().name(name).mysql(version).redis(), tables).await
    }

    /// Starts the servers of a lab.
    pub async fn start_with(lab: LabBuilder, tables: &[&str]) -> Self {
        let lab = lab.start().await.expect("a lab");
        let tables = tables.iter().map(|table| (*table).to_owned()).collect();
        Self {
            lab,
            tables,
            layout: "hash",
            ttl_seconds: 0,
            settle_seconds_max: 1,
            more: Default::default(),
        }
    }

    pub fn with_layout(&mut self, layout: &'static str) {
        self.layout = layout;
    }

    pub fn with_ttl_seconds(&mut self, seconds: u64) {
        self.ttl_seconds = seconds;
    }

    pub fn with_settle_seconds_max(&mut self, seconds: u64) {
        self.settle_seconds_max = seconds;
    }

    pub fn with_more(&mut self, source: &str, sections: &str) {
        self.more = [source, sections].map(str::to_owned);
    }

    pub fn mysql(&self) -> &Mysql {
        self.lab.primary().expect("a MySQL server")
    }

    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    pub async fn sql(&self, statements: &str) {
        self.mysql().sql(statements).await.expect("a good statement");
    }

    pub async fn redis(&self) -> MultiplexedConnection {
        self.lab.redis().expect("a Redis").connect().await.expect("a session")
    }

    /// Runs a Redis command written as its words.
    pub async fn redis_do(&self, words: &[&str]) {
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command
            .exec_async(&mut self.redis().await)
            .await
            .expect("a good command");
    }

    pub fn toml(&self) -> String {
        let tables: Vec<&str> = self.tables.iter().map(String::as_str).collect();
        let mut toml = self.lab.config_toml("mysync", &tables);
        for header in ["[writer.elasticsearch]", "[writer.hbase]"] {
            // What is said of these stores is each test's own.
            if let Some(begin) = toml.find(header) {
                let end = toml[begin + 1..].find("\n[").map_or(toml.len(), |end| begin + 1 + end);
                toml.replace_range(begin..end, "");
            }
        }
        if let Ok(redis) = self.lab.redis() {
            let address = format!("address = \"{}\"", redis.address());
            assert!(toml.contains(&address), "{toml}");
            let keys = format!("layout = \"{}\"\nttl_seconds = {}", self.layout, self.ttl_seconds);
            toml = toml.replace(&address, &format!("{address}\n{keys}"));
        }
        let [source, sections] = &self.more;
        toml.replace("[source]\n", &format!("[source]\n{source}\n"))
            + &format!(
                "\n[check]\nsettle_seconds_max = {}\n{sections}",
                self.settle_seconds_max
            )
    }

    /// By the library.
    pub async fn check(&self, options: Options) -> Report {
        let config = Config::parse(&self.toml(), "mysync.toml").expect("a good configuration");
        check(&config, &options, &Silent).await.expect("a report")
    }

    /// By the binary.
    pub async fn mysync_check(&self, arguments: &[&str]) -> Output {
        let file = self.file("mysync.toml");
        std::fs::write(&file, self.toml()).expect("a writable folder");
        tokio::process::Command::new(env!("CARGO_BIN_EXE_mysync-check"))
            .arg("--config")
            .arg(file)
            .args(arguments)
            .output()
            .await
            .expect("the binary runs")
    }

    /// A file in the lab's own folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.lab.folder().join(name)
    }
}

/// The part of the one store that was compared with.
pub fn single(report: &Report) -> &StoreReport {
    match report.stores.as_slice() {
        [store] => store,
        _ => panic!("not one store: {report:#?}"),
    }
}

/// The one finding in the one store.
pub fn only(report: &Report) -> &Finding {
    let store = single(report);
    assert_eq!(
        (report.verdict, store.findings.len(), report.findings_total()),
        (Verdict::Inconsistent, 1, 1),
        "{report:#?}"
    );
    &store.findings[0]
}

/// Without a fence: there is no pipeline that it could go through.
pub fn no_fence() -> Options {
    Options {
        fence: false,
        ..Options::default()
    }
}
