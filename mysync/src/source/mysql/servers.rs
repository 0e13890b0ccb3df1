//! All servers of `source.servers`, asked what they are.

use super::endpoint::Endpoint;
use crate::config;
use crate::error::{Error, Result};
use crate::source::topology::{Answer, Heartbeat, Seen};
use crate::tables::{HEARTBEAT_TABLE, INTERNAL_DATABASE};
use futures::future::join_all;
use mysql_async::{Conn, Row};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How long a server may take to say what it is.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// What SHOW SLAVE STATUS is called from this version on.
const REPLICA_SINCE: (u16, u16, u16) = (8, 0, 22);

/// The servers, and the name of this reader's heartbeat row.
#[derive(Debug, Clone)]
pub(super) struct Servers {
    pub(super) endpoints: Vec<Endpoint>,
    heartbeat_name: String,
}

impl Servers {
    pub(super) fn new(config: &Arc<config::Source>, heartbeat_name: String) -> Self {
        let endpoint = |address: &String| Endpoint {
            config: Arc::clone(config),
            address: address.clone(),
        };
        Self {
            endpoints: config.servers.iter().map(endpoint).collect(),
            heartbeat_name,
        }
    }

    /// Asks all of them at once.
    pub(super) async fn look(&self) -> Vec<Seen> {
        join_all(self.endpoints.iter().map(|endpoint| self.see(endpoint))).await
    }

    async fn see(&self, endpoint: &Endpoint) -> Seen {
        let asked = tokio::time::timeout(ANSWER_TIMEOUT, async {
            let mut connection = endpoint.connect().await?;
            let answer = ask(endpoint, &mut connection, &self.heartbeat_name).await?;
            connection.disconnect().await.ok();
            Ok(answer)
        });
        let silent = |_| {
            let seconds = ANSWER_TIMEOUT.as_secs();
            Err(
                Error::transient(format!("MySQL did not answer in {seconds} s: {}", endpoint.address))
                    .hint("is the server up, and is key source.servers right?"),
            )
        };
        Seen {
            address: endpoint.address.clone(),
            answer: asked.await.unwrap_or_else(silent),
        }
    }
}

/// Asks a server what it is.
async fn ask(endpoint: &Endpoint, connection: &mut Conn, heartbeat_name: &str) -> Result<Answer> {
    let statement =
        "SELECT @@GLOBAL.server_uuid, @@GLOBAL.read_only, @@GLOBAL.gtid_mode = 'ON', @@GLOBAL.gtid_executed";
    let rows = endpoint.rows(connection, statement).await?;
    let row = rows.first().ok_or_else(|| {
        Error::transient(format!("the server does not say what it is: {}", endpoint.address)).detail(statement)
    })?;
    let gtid = row.get::<u8, usize>(2) == Some(1);
    let executed = row.get::<String, usize>(3).filter(|_| gtid);
    Ok(Answer {
        uuid: row.get(0).unwrap_or_default(),
        read_only: row.get::<u8, usize>(1) != Some(0),
        executed: executed.as_deref().map(str::parse).transpose()?,
        sources: sources(endpoint, connection).await?,
        beat: beat(endpoint, connection, heartbeat_name).await?,
    })
}

/// The servers that it replicates from: one that is asked for changes, or whose changes are still being applied. A group's
/// own channels are none: its primary is the one that is writable.
async fn sources(endpoint: &Endpoint, connection: &mut Conn) -> Result<BTreeSet<String>> {
    let statement = match connection.server_version() >= REPLICA_SINCE {
        true => "SHOW REPLICA STATUS",
        false => "SHOW SLAVE STATUS",
    };
    let rows = endpoint.rows(connection, statement).await?;
    let is_group = |row: &&Row| text(row, &["Channel_Name"]).starts_with("group_replication_");
    let is_running = |row: &&Row| {
        let names = [
            ["Replica_IO_Running", "Slave_IO_Running"],
            ["Replica_SQL_Running", "Slave_SQL_Running"],
        ];
        names.iter().any(|names| text(row, names) != "No")
    };
    let running = rows.iter().filter(|row| !is_group(row) && is_running(row));
    Ok(running.map(|row| text(row, &["Source_UUID", "Master_UUID"])).collect())
}

/// The first of these columns that is there, empty for NULL.
fn text(row: &Row, names: &[&str]) -> String {
    let index = row
        .columns_ref()
        .iter()
        .position(|column| names.contains(&&*column.name_str()));
    let value = index.and_then(|index| row.get::<Option<String>, usize>(index));
    value.flatten().unwrap_or_default()
}

/// This reader's row, where there is one and the account may see it.
async fn beat(endpoint: &Endpoint, connection: &mut Conn, heartbeat_name: &str) -> Result<Option<Heartbeat>> {
    // The name holds letters, digits, '.', '_' and '-' only.
    let statement = format!(
        "SELECT sequence, server_uuid FROM {INTERNAL_DATABASE}.{HEARTBEAT_TABLE} WHERE reader = '{heartbeat_name}'"
    );
    match endpoint.rows(connection, &statement).await {
        Err(error) if error.is_transient() => Err(error),
        // No such table, or not for this account.
        Err(_) => Ok(None),
        Ok(rows) => Ok(rows.first().and_then(|row| {
            Some(Heartbeat {
                sequence: row.get(0)?,
                server_uuid: row.get(1)?,
            })
        })),
    }
}
