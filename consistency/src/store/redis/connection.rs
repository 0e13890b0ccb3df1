//! The sessions with Redis: a few, used in turn.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::{AsyncConnectionConfig, ConnectionAddr, FromRedisValue, IntoConnectionInfo, RedisConnectionInfo};

use super::Client;
use crate::config;
use crate::error::Error;

const CONNECT_MAX: Duration = Duration::from_secs(10);
/// A pipeline of large values on a busy machine takes its time.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Several sessions, since one parses its answers in one task.
pub struct Connections {
    clients: Vec<Client>,
    next: AtomicUsize,
    address: String,
}

impl Connections {
    /// Opens as many sessions as asked for.
    pub async fn open(section: &config::Redis, count: usize) -> Result<Self, Error> {
        let address = section.address.to_string();
        let mut settings = RedisConnectionInfo::default().set_db(section.database);
        if !section.password.reveal().is_empty() {
            settings = settings.set_password(section.password.reveal());
        }
        let server = ConnectionAddr::Tcp(section.address.host.clone(), section.address.port);
        let info = server
            .into_connection_info()
            .map_err(|error| unreachable(&address, &error))?;
        let client =
            redis::Client::open(info.set_redis_settings(settings)).map_err(|error| unreachable(&address, &error))?;
        let times = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_MAX))
            .set_response_timeout(Some(ANSWER_MAX));
        let mut clients = Vec::with_capacity(count);
        for _ in 0..count {
            let connection = client.get_multiplexed_async_connection_with_config(&times).await;
            clients.push(connection.map_err(|error| unreachable(&address, &error))?);
        }
        Ok(Self {
            clients,
            next: AtomicUsize::new(0),
            address,
        })
    }

    /// Sends a pipeline over the next session.
    pub async fn ask<T: FromRedisValue>(&self, pipeline: redis::Pipeline) -> Result<T, Error> {
        pipeline
            .query_async(&mut self.client())
            .await
            .map_err(|error| self.broke(&error))
    }

    /// One step of a SCAN: the next cursor and the keys found.
    pub async fn scan(&self, cursor: &str, pattern: &[u8], count: usize) -> Result<(String, Vec<Vec<u8>>), Error> {
        let mut command = redis::cmd("SCAN");
        command.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(count);
        command
            .query_async(&mut self.client())
            .await
            .map_err(|error| self.broke(&error))
    }

    fn client(&self) -> Client {
        self.clients[self.next.fetch_add(1, Ordering::Relaxed) % self.clients.len()].clone()
    }

    fn broke(&self, error: &redis::RedisError) -> Error {
        Error::failed(
            "redis did not answer",
            format!("{}: {error}", self.address),
            "check that the server is up and has loaded its data, then check again",
        )
    }
}

fn unreachable(address: &str, error: &redis::RedisError) -> Error {
    Error::failed(
        "cannot open a Redis session",
        format!("{address}: {error}"),
        "start the server, or correct address, password and database in [writer.redis]",
    )
}
