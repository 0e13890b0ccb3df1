//! One connection that runs transactions, records how each ended, and connects again when it breaks.

use super::Clients;
use super::plan::{Planned, Teller};
use crate::error::{Error, Result};
use crate::history::{Outcome, Record, Recorder, Transaction};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

/// Longest time that a server may take to come back before the workload gives up.
const RECONNECT_DEADLINE: Duration = Duration::from_secs(120);
/// Between two attempts to connect.
const RECONNECT_INTERVAL: Duration = Duration::from_millis(50);
/// Longest time for one attempt: the server may have changed meanwhile.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Longest time for one transaction: then its outcome is unknown.
const TRANSACTION_DEADLINE: Duration = Duration::from_secs(30);
/// Time between two transactions where no rate is given: none.
const UNPACED: Duration = Duration::from_nanos(1);

/// One client.
pub(super) struct Client {
    primary: watch::Receiver<Opts>,
    recorder: Recorder,
    connection: Option<Conn>,
}

/// How far a transaction got.
enum Failure {
    /// Before COMMIT was sent: MySQL rolls it back.
    BeforeCommit(String),
    /// No answer to COMMIT.
    AtCommit(String),
    /// A row was not there, so it was rolled back; the connection is as good as before.
    NotThere(String),
}

impl Client {
    pub(super) fn new(clients: &Clients, recorder: Recorder) -> Self {
        Self {
            primary: clients.primary(),
            recorder,
            connection: None,
        }
    }

    /// Runs what the teller draws until told to stop.
    pub(super) async fn work(
        mut self,
        mut teller: Teller,
        pace: Option<Duration>,
        stopped: watch::Receiver<bool>,
    ) -> Result<()> {
        let mut ticks = tokio::time::interval(pace.unwrap_or(UNPACED));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while !*stopped.borrow() {
            ticks.tick().await;
            let planned = teller.draw();
            let outcome = self.run(&planned, Outcome::Acknowledged).await?;
            if planned.commit && outcome != Outcome::Acknowledged {
                teller.forget(&planned);
            }
        }
        Ok(())
    }

    /// Runs one transaction and records how it ended; `acknowledged` is the outcome of one that MySQL acknowledges.
    pub(super) async fn run(&mut self, planned: &Planned, acknowledged: Outcome) -> Result<Outcome> {
        let mut connection = self.connected().await?;
        let begin_us = self.recorder.now_us();
        let ended = match tokio::time::timeout(TRANSACTION_DEADLINE, execute(&mut connection, planned)).await {
            Ok(ended) => ended,
            Err(_) => Err(Failure::AtCommit(format!(
                "no answer within {} s",
                TRANSACTION_DEADLINE.as_secs()
            ))),
        };
        let end_us = self.recorder.now_us();
        let (outcome, error) = match ended {
            Ok(()) if planned.commit => (acknowledged, None),
            Ok(()) => (Outcome::RolledBack, None),
            Err(Failure::AtCommit(error)) if planned.commit => (Outcome::Unknown, Some(error)),
            Err(Failure::NotThere(error)) => {
                self.connection = Some(connection);
                return Ok(self.record(planned, (begin_us, end_us), Outcome::RolledBack, Some(error)));
            }
            Err(Failure::AtCommit(error) | Failure::BeforeCommit(error)) => (Outcome::RolledBack, Some(error)),
        };
        // A connection whose transaction failed is closed, which rolls back what is still open.
        self.connection = error.is_none().then_some(connection);
        Ok(self.record(planned, (begin_us, end_us), outcome, error))
    }

    fn record(&self, planned: &Planned, span_us: (u64, u64), outcome: Outcome, error: Option<String>) -> Outcome {
        let rows = planned.rows.clone();
        let transaction = Transaction {
            number: planned.number,
            begin_us: span_us.0,
            end_us: span_us.1,
            outcome,
            rows,
            error,
        };
        self.recorder.append(&Record::Transaction(transaction));
        outcome
    }

    /// The connection to the primary, or a new one; waits for a server that is away.
    async fn connected(&mut self) -> Result<Conn> {
        if let Some(connection) = self.connection.take().filter(|_| !self.has_moved()) {
            return Ok(connection);
        }
        let deadline = Instant::now() + RECONNECT_DEADLINE;
        loop {
            let options = self.primary.borrow_and_update().clone();
            let connected = match tokio::time::timeout(CONNECT_DEADLINE, Conn::new(options)).await {
                Ok(connected) => connected.map_err(|error| error.to_string()),
                Err(_) => Err(format!("no handshake within {} s", CONNECT_DEADLINE.as_secs())),
            };
            match connected {
                Ok(connection) => return Ok(connection),
                Err(error) if Instant::now() >= deadline => {
                    let what = format!("MySQL did not come back within {} s", RECONNECT_DEADLINE.as_secs());
                    return Err(Error::definite(what)
                        .detail(error)
                        .hint("the log of the server is in the run folder"));
                }
                Err(_) => tokio::time::sleep(RECONNECT_INTERVAL).await,
            }
        }
    }

    fn has_moved(&self) -> bool {
        self.primary.has_changed().unwrap_or(false)
    }
}

async fn execute(connection: &mut Conn, planned: &Planned) -> Result<(), Failure> {
    let before = |error: mysql_async::Error| Failure::BeforeCommit(error.to_string());
    connection.query_drop("BEGIN").await.map_err(before)?;
    for statement in &planned.statements {
        connection.query_drop(&statement.text).await.map_err(before)?;
        let rows = connection.affected_rows();
        if rows != statement.rows {
            // A server that took over and lacks what another one acknowledged.
            connection.query_drop("ROLLBACK").await.map_err(before)?;
            let text = format!("{rows} rows instead of {}: {}", statement.rows, statement.text);
            return Err(Failure::NotThere(text));
        }
    }
    let journal = format!("INSERT INTO bank_audit.journal VALUES ({})", planned.number);
    connection.query_drop(journal).await.map_err(before)?;
    let last = if planned.commit { "COMMIT" } else { "ROLLBACK" };
    connection
        .query_drop(last)
        .await
        .map_err(|error| Failure::AtCommit(error.to_string()))
}
