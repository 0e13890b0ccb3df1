//! The target Redis: a row is a hash or a JSON string under a key made from a template.
//!
//! Redis 6 or newer, or Valkey: a server alone, the master among replicas, found by asking them or the sentinels (`master`), or a
//! Redis Cluster (`cluster`, which has a protocol of its own).
//!
//! # One step
//! On a server the changes of one partition and its cursor are applied by one Lua script (`script`), which Redis runs without
//! anything in between. It compares the cursor first, writes the rows, and moves the cursor last. A script stops at the first
//! command that fails, so an error can never leave the cursor ahead of the rows; within MULTI/EXEC the commands after a
//! failed one, the cursor's among them, would still run. Rows written before the error are written again later, to the
//! same end. Steps of several partitions go out in one round trip, each a step of its own.
//!
//! # A row
//! A row is written whole: a column that became NULL or was dropped leaves nothing, nor does another layout. With
//! `ttl_seconds` it expires so long after it was last written, be it by a replay; cursors never do.
//!
//! # The cursor
//! `__mysync:cursor:<group>:<topic>:<partition>` holds the offset of the next record and the highest version applied. It lives
//! and dies with the rows: a Redis that comes back empty has no cursor and gets everything; one that comes back with an older
//! copy, or a replica that was promoted without the last writes of its master, has an older cursor and gets the rest.
//!
//! # Errors
//! A connection that breaks, a Redis that is loading, out of memory, busy, read only after a failover, a failover that is under
//! way, or a cursor that is not where it was left: transient. What concerns login, rights, TLS or addresses is the
//! configuration's. A row that is none, and any other refusal of a change, stops its partition.

mod access;
mod cluster;
mod errors;
mod key;
mod master;
mod row;
mod script;
mod server;

pub use key::KeyTemplate;

use super::{Cursor, Outcome, Step, Target};
use crate::config::RedisWriter;
use crate::error::Result;
use crate::queue::Partition;
use cluster::Cluster;
use row::Rows;
use server::Server;
use std::collections::BTreeMap;

/// Redis, whatever it is made of.
pub struct RedisTarget {
    rows: Rows,
    form: Form,
}

enum Form {
    Server(Server),
    Cluster(Cluster),
}

impl RedisTarget {
    /// A target that connects when it is used; `prefix` is the topics' prefix, which the cursors' keys hold.
    pub fn new(config: &RedisWriter, prefix: &str) -> Result<Self> {
        Ok(Self {
            rows: Rows::new(config, prefix)?,
            form: match config.cluster.is_empty() {
                true => Form::Server(Server::new(config)?),
                false => Form::Cluster(Cluster::new(config)?),
            },
        })
    }
}

impl std::fmt::Debug for RedisTarget {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RedisTarget").finish_non_exhaustive()
    }
}

impl Target for RedisTarget {
    fn name(&self) -> &'static str {
        "redis"
    }

    async fn connect(&mut self) -> Result<()> {
        match &mut self.form {
            Form::Server(server) => server.connect().await,
            Form::Cluster(cluster) => cluster.connect().await,
        }
    }

    async fn cursors(&mut self, partitions: &[Partition]) -> Result<BTreeMap<Partition, Option<Cursor>>> {
        match &mut self.form {
            Form::Server(server) => server.cursors(&self.rows, partitions).await,
            Form::Cluster(cluster) => cluster.cursors(&self.rows, partitions).await,
        }
    }

    async fn apply(&mut self, steps: &[Step]) -> Result<Vec<Outcome>> {
        match &mut self.form {
            Form::Server(server) => server.apply(&self.rows, steps).await,
            Form::Cluster(cluster) => cluster.apply(&self.rows, steps).await,
        }
    }
}
