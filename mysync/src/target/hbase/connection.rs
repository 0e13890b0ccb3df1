//! Connections to the gateway, and the blocking threads that use them.
//!
//! Thrift's client blocks, so every call runs on a thread of the runtime's pool for blocking work, and no call lasts longer than
//! the answer's timeout: a server that hangs holds the end of a writer up for so long at most.

use super::errors::sort;
use super::transport::{Client, Endpoint};
use crate::error::{Error, Result};
use hbase_thrift2::thrift;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The gateway closes a connection on which nothing came for 60 s (`hbase.thrift.server.socket.read.timeout`).
const IDLE_MAX: Duration = Duration::from_secs(20);

/// A connection, opened when it is used.
#[derive(Default)]
pub(super) struct Connection {
    open: Option<(Client, Instant)>,
}

/// Connections that nobody uses now.
#[derive(Clone)]
pub(super) struct Pool {
    endpoint: Arc<Endpoint>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

/// A connection that somebody uses.
pub(super) struct Lent {
    pool: Pool,
    connection: Connection,
}

impl Pool {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint: Arc::new(endpoint),
            idle: Arc::default(),
        }
    }

    /// Forgets all connections: the next calls open new ones.
    pub(super) fn forget(&mut self) {
        // Those that are in use go back to the list that is forgotten.
        self.idle = Arc::default();
    }

    /// A connection that was used before, or a new one.
    pub(super) fn lend(&self) -> Lent {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Lent {
            pool: self.clone(),
            connection: idle.unwrap_or_default(),
        }
    }

    /// Runs blocking work on a thread of its own.
    pub(super) async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Lent) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let mut lent = self.lend();
        tokio::task::spawn_blocking(move || work(&mut lent))
            .await
            .map_err(Error::transient_join)?
    }
}

impl Lent {
    /// Makes one call; `what` is said of an error.
    pub(super) fn call<R>(
        &mut self,
        what: impl FnOnce() -> String,
        call: impl FnOnce(&mut Client) -> thrift::Result<R>,
    ) -> Result<R> {
        self.try_call(call).map_err(|error| {
            let what = format!(
                "{} through HBase's Thrift2 gateway at {}",
                what(),
                self.pool.endpoint.address
            );
            sort(&error, what)
        })
    }

    fn try_call<R>(&mut self, call: impl FnOnce(&mut Client) -> thrift::Result<R>) -> thrift::Result<R> {
        let fresh = |(_, used): &(Client, Instant)| used.elapsed() < IDLE_MAX;
        let mut client = match self.connection.open.take().filter(fresh) {
            Some((client, _)) => client,
            None => self.pool.endpoint.open()?,
        };
        let answer = call(&mut client);
        // Behind any other error the connection may hold the rest of an answer.
        if matches!(answer, Ok(_) | Err(thrift::Error::User(_))) {
            self.connection.open = Some((client, Instant::now()));
        }
        answer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let connection = std::mem::take(&mut self.connection);
        if connection.open.is_some() {
            let idle = &self.pool.idle;
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }
}
