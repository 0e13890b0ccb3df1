//! Rows that change all the time, each with a number that only grows; and a look at Redis that sees when one does not.

#![allow(dead_code, reason = "each test uses a part of it")]

use super::world::{self, Row, Source};
use fixtures::Lab;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Rows of each table.
const ROWS: u64 = 40;

/// Changes of one transaction.
const CHANGES: u64 = 20;

/// Transactions that show that changes go on.
const FEW: u64 = 20;

/// How long one transaction waits for the next.
const PAUSE: Duration = Duration::from_millis(10);

/// Transactions one after the other, until it is stopped.
pub struct Load {
    is_stopped: Arc<AtomicBool>,
    committed: Arc<AtomicU64>,
    task: JoinHandle<BTreeMap<String, Row>>,
}

impl Load {
    pub fn start(source: Source, tables: &'static [&'static str]) -> Self {
        let (is_stopped, committed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop, count) = (Arc::clone(&is_stopped), Arc::clone(&committed));
        let task = tokio::spawn(async move {
            let (mut rows, mut number) = (BTreeMap::new(), 0);
            let mut pace = tokio::time::interval(PAUSE);
            while !stop.load(Ordering::Relaxed) {
                source.begin();
                for _ in 0..CHANGES {
                    number += 1;
                    // Neighbours in time are not neighbours in the table.
                    let id = number * 7 % ROWS;
                    let table = tables[usize::try_from(number % tables.len() as u64).unwrap()];
                    let row = format!("{{\"id\":{id},\"n\":{number}}}");
                    source.put(table, &format!("{{\"id\":{id}}}"), &row);
                    let columns = [("id", id.to_string()), ("n", number.to_string())];
                    let columns = columns.map(|(name, text)| (name.to_owned(), text));
                    rows.insert(format!("{}:{id}", table.replace('.', ":")), Row::from(columns));
                }
                source.commit().await;
                count.fetch_add(1, Ordering::Relaxed);
                pace.tick().await;
            }
            rows
        });
        Self {
            is_stopped,
            committed,
            task,
        }
    }

    /// Waits until some more changes were made.
    pub async fn goes_on(&self) {
        let from = self.committed.load(Ordering::Relaxed);
        fixtures::wait_for("some transactions are committed", world::DEADLINE, async || {
            let done = self.committed.load(Ordering::Relaxed) - from;
            if done >= FEW {
                Ok(())
            } else {
                Err(format!("{done} are"))
            }
        })
        .await
        .unwrap();
    }

    /// The rows as they are in the end.
    pub async fn stop(self) -> BTreeMap<String, Row> {
        self.is_stopped.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// Looks at all rows and cursors again and again: no number and no offset ever goes back.
pub struct Watch {
    is_stopped: Arc<AtomicBool>,
    task: JoinHandle<u64>,
}

impl Watch {
    pub fn start(lab: &Lab) -> Self {
        let is_stopped = Arc::new(AtomicBool::new(false));
        let (stop, redis) = (Arc::clone(&is_stopped), lab.redis().unwrap().clone());
        let task = tokio::spawn(async move {
            let mut connection = redis.connect().await.unwrap();
            let mut pace = tokio::time::interval(PAUSE);
            let (mut highest, mut looks) = (BTreeMap::<String, u64>::new(), 0);
            while !stop.load(Ordering::Relaxed) {
                let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
                pace.tick().await;
                if keys.is_empty() {
                    continue;
                }
                let mut pipeline = redis::pipe();
                for key in &keys {
                    match key.starts_with("__mysync:") {
                        true => pipeline.cmd("GET").arg(key),
                        false => pipeline.cmd("HGET").arg(key).arg("n"),
                    };
                }
                let texts: Vec<String> = pipeline.query_async(&mut connection).await.unwrap();
                for (key, text) in keys.into_iter().zip(texts) {
                    let number = text.split(' ').next().unwrap().parse::<u64>().unwrap();
                    let before = highest.insert(key.clone(), number).unwrap_or(0);
                    assert!(before <= number, "{key} went back from {before} to {number}");
                }
                looks += 1;
            }
            looks
        });
        Self { is_stopped, task }
    }

    /// How often it has looked.
    pub async fn stop(self) -> u64 {
        self.is_stopped.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}
