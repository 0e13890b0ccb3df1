//! A reader in this process over servers that take turns as the primary, and what is asked of it.

use super::consumer::read_all;
use fixtures::{Lab, Mysql};
use mysync::config::Config;
use mysync::error::Result;
use mysync::metrics::{Exposed, ReaderMetrics, ReaderStatus};
use mysync::queue::kafka::KafkaQueue;
use mysync::reader::{self, Options, Summary};
use mysync::source::mysql::MySqlSource;
use mysync::stop;
use mysync::tables::TableFilter;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Of table `shop.a`, with the topics' prefix `switch`.
pub const TOPIC: &str = "switch.shop.a";
const DEADLINE: Duration = Duration::from_secs(90);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

pub struct World {
    pub lab: Lab,
    pub metrics: Arc<ReaderMetrics>,
    pub written: Vec<i32>,
}

impl World {
    /// Writes one row.
    pub async fn insert(&mut self, server: &Mysql) {
        let id = i32::try_from(self.written.len()).unwrap() + 1;
        server.sql(&format!("INSERT INTO shop.a VALUES ({id})")).await.unwrap();
        self.written.push(id);
    }

    /// Waits until all rows that were written have their records; gives the time that it took.
    pub async fn published(&self) -> Duration {
        let begun = Instant::now();
        wait("all changes are published", async || {
            (read_all(&self.lab, TOPIC).await.len() >= self.written.len()).then_some(())
        })
        .await;
        begun.elapsed()
    }

    pub fn status(&self) -> ReaderStatus {
        self.metrics.status().reader.unwrap()
    }

    /// Waits until the status says something of another server.
    pub async fn told(&self, server: &Mysql, text: &str) {
        let address = server.address();
        wait(&format!("the status says of {address}: {text}"), async || {
            let others = self.status().others;
            let is_told = others
                .iter()
                .any(|line| line.starts_with(&address) && line.contains(text));
            is_told.then_some(())
        })
        .await;
    }

    /// Waits until the reader says why it goes no further.
    pub async fn refused(&self, text: &str) {
        wait(&format!("the reader waits: {text}"), async || {
            let reason = self.metrics.status().reason;
            reason.is_some_and(|reason| reason.contains(text)).then_some(())
        })
        .await;
    }
}

pub async fn wait<T>(condition: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not in {DEADLINE:?}: {condition}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// A replica has everything and takes over.
pub async fn promote(new: &Mysql, old: &Mysql) {
    new.wait_until_caught_up(old).await.unwrap();
    new.promote().await.unwrap();
}

pub async fn read(config: Config, metrics: Arc<ReaderMetrics>, stop: stop::Stop) -> Result<Summary> {
    let mut options = Options::new(&config, false);
    options.metrics = metrics;
    let mut source = MySqlSource::new(&config).with_heartbeat(&config, &options.metrics);
    let queue = KafkaQueue::new(&config).with_condition(&options.metrics.condition);
    let (filter, keys) = (TableFilter::new(&config), &config.source.keys);
    reader::run(&mut source, &queue, &filter, keys, &options, stop).await
}
