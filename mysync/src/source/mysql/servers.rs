//! All servers of `source.servers`, asked again and again what they are.
//!
//! Each is looked at by a task of its own, which writes what it saw on one board: a server that is gone, and whose host
//! swallows every packet, holds up nothing that is known of the others.

use super::endpoint::Endpoint;
use crate::config;
use crate::error::{Error, Result};
use crate::source::topology::{Answer, Heartbeat, Seen};
use crate::tables::{HEARTBEAT_TABLE, INTERNAL_DATABASE};
use mysql_async::{Conn, Row};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long a server may take to say what it is.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How often each is asked while one is followed.
const PACE: Duration = Duration::from_secs(1);

/// How often each is asked while there is none to follow: a part of the time that a switch takes.
const PACE_HURRIED: Duration = Duration::from_millis(200);

/// A connection is made anew after so long: the name of a server may have moved to another one.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(10);

/// What SHOW SLAVE STATUS is called from this version on.
const REPLICA_SINCE: (u16, u16, u16) = (8, 0, 22);

/// The servers.
#[derive(Debug)]
pub(super) struct Servers {
    pub(super) endpoints: Vec<Endpoint>,
    heartbeat_name: String,
    board: watch::Receiver<Board>,
    writer: Arc<watch::Sender<Board>>,
    pace: watch::Sender<Duration>,
    /// One task a server; they end with this.
    looking: JoinSet<()>,
}

/// What was seen last of each server, in the order of the list.
#[derive(Debug, Clone)]
pub(super) struct Board(Vec<Option<Look>>);

#[derive(Debug, Clone)]
struct Look {
    begun: Instant,
    seen: Seen,
}

impl Servers {
    pub(super) fn new(config: &Arc<config::Source>, heartbeat_name: String) -> Self {
        let endpoint = |address: &String| Endpoint {
            config: Arc::clone(config),
            address: address.clone(),
        };
        let endpoints: Vec<Endpoint> = config.servers.iter().map(endpoint).collect();
        let (writer, board) = watch::channel(Board(vec![None; endpoints.len()]));
        Self {
            endpoints,
            heartbeat_name,
            board,
            writer: Arc::new(writer),
            pace: watch::channel(PACE).0,
            looking: JoinSet::new(),
        }
    }

    /// What is seen from now on.
    pub(super) fn board(&mut self) -> watch::Receiver<Board> {
        if self.looking.is_empty() {
            for (index, endpoint) in self.endpoints.iter().enumerate() {
                let observer = Observer {
                    endpoint: endpoint.clone(),
                    heartbeat_name: self.heartbeat_name.clone(),
                    kept: None,
                };
                let (writer, pace) = (Arc::clone(&self.writer), self.pace.subscribe());
                self.looking.spawn(observer.run(index, writer, pace));
            }
        }
        self.board.clone()
    }

    /// Looks at none of them until the next question.
    pub(super) fn rest(&mut self) {
        self.looking = JoinSet::new();
        self.writer.send_modify(|board| board.0.fill(None));
    }

    /// Looks at all of them now, and often from now on, or as usual.
    pub(super) fn hurry(&self, is_hurried: bool) {
        self.pace.send_replace(if is_hurried { PACE_HURRIED } else { PACE });
    }

    /// Waits until each has been looked at since now, those aside that did not answer the last time either.
    pub(super) async fn look(&mut self) -> Vec<Seen> {
        let since = Instant::now();
        let mut board = self.board();
        self.hurry(true);
        // The tasks that write are this one's own, so they do not end before.
        let settled = board.wait_for(|board| board.is_settled(since)).await;
        settled.map_or_else(|_| Vec::new(), |board| board.seen())
    }
}

impl Board {
    fn is_settled(&self, since: Instant) -> bool {
        let is_known = |look: &Option<Look>| {
            look.as_ref()
                .is_some_and(|look| look.begun >= since || look.seen.answer.is_err())
        };
        self.0.iter().all(is_known)
    }

    /// When the look at one began.
    pub(super) fn begun(&self, index: usize) -> Option<Instant> {
        self.0.get(index)?.as_ref().map(|look| look.begun)
    }

    /// Whether a server takes writes and nobody else's; `None` while that is not known.
    pub(super) fn is_primary(&self, index: usize) -> Option<bool> {
        let look = self.0.get(index)?.as_ref()?;
        look.seen.answer.as_ref().ok().map(Answer::is_primary)
    }

    /// What was seen last of each; empty while one has not been looked at at all.
    pub(super) fn seen(&self) -> Vec<Seen> {
        let seen: Option<Vec<Seen>> = self.0.iter().map(|look| Some(look.as_ref()?.seen.clone())).collect();
        seen.unwrap_or_default()
    }
}

/// Looks at one server.
struct Observer {
    endpoint: Endpoint,
    heartbeat_name: String,
    kept: Option<(Conn, Instant)>,
}

impl Observer {
    async fn run(mut self, index: usize, board: Arc<watch::Sender<Board>>, mut pace: watch::Receiver<Duration>) {
        loop {
            let begun = Instant::now();
            let asked = tokio::time::timeout(ANSWER_TIMEOUT, self.ask()).await;
            let answer = asked.unwrap_or_else(|_| {
                let seconds = ANSWER_TIMEOUT.as_secs();
                let what = format!("MySQL did not answer in {seconds} s: {}", self.endpoint.address);
                Err(Error::transient(what).hint("is the server up, and is key source.servers right?"))
            });
            let seen = Seen {
                address: self.endpoint.address.clone(),
                answer,
            };
            board.send_modify(|board| board.0[index] = Some(Look { begun, seen }));
            let interval = *pace.borrow_and_update();
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                changed = pace.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn ask(&mut self) -> Result<Answer> {
        if let Some((mut connection, since)) = self.kept.take() {
            if since.elapsed() >= CONNECTION_AGE_MAX {
                connection.disconnect().await.ok();
            } else if let Ok(answer) = ask(&self.endpoint, &mut connection, &self.heartbeat_name).await {
                self.kept = Some((connection, since));
                return Ok(answer);
            }
        }
        let since = Instant::now();
        let mut connection = self.endpoint.connect().await?;
        let answer = ask(&self.endpoint, &mut connection, &self.heartbeat_name).await?;
        self.kept = Some((connection, since));
        Ok(answer)
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
