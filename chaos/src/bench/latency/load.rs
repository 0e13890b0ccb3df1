//! Small transactions at a steady rate, whatever each of them takes.

use super::TABLE;
use crate::error::{Doing, Result};
use fixtures::Mysql;
use mysql_async::prelude::Queryable;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Connections that write.
const CLIENTS: usize = 16;

/// What was written.
pub(super) struct Load {
    /// Transactions a second.
    pub(super) rate: f64,
    /// When the client had MySQL's answer to each, by its id from 1 on.
    pub(super) committed_at_us: Vec<u64>,
}

/// Inserts rows with the ids 1 to `count`, one a transaction.
pub(super) async fn run(server: &Mysql, rate: u64, count: u64) -> Result<Load> {
    let committed_at_us: Arc<Vec<AtomicU64>> = Arc::new((0..count).map(|_| AtomicU64::new(0)).collect());
    let next = Arc::new(AtomicU64::new(0));
    let mut connections = Vec::new();
    for _ in 0..CLIENTS {
        connections.push(server.connect().await.doing(|| "MySQL cannot be reached".into())?);
    }
    let begun = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for mut connection in connections {
        let (next, committed_at_us) = (Arc::clone(&next), Arc::clone(&committed_at_us));
        clients.spawn(async move {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    break;
                }
                tokio::time::sleep_until(begun + Duration::from_micros(index * 1_000_000 / rate)).await;
                let note = "a note of about a hundred characters, as rows of small transactions often have one, or two of them";
                let insert = format!("INSERT INTO {TABLE} VALUES ({}, '{note}')", index + 1);
                connection.query_drop(insert).await?;
                committed_at_us[index as usize].store(super::watcher::now_us(), Ordering::Relaxed);
            }
            connection.disconnect().await
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended
            .doing(|| "a client failed".into())?
            .doing(|| "an insert failed".into())?;
    }
    Ok(Load {
        rate: count as f64 / begun.elapsed().as_secs_f64(),
        committed_at_us: committed_at_us.iter().map(|at| at.load(Ordering::Relaxed)).collect(),
    })
}
