//! How a session with a server is opened: encrypted where the configuration says so, logged in, in its database.

use super::errors::{sort, sort_tls};
use crate::config::{RedisWriter, Tls};
use crate::error::{Error, Result};
use crate::tls::connector;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, Pipeline, RedisConnectionInfo, Value};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_native_tls::TlsConnector;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A step of the largest size on a slow machine takes a fraction of this.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Who we are, and what we want encrypted.
pub(super) struct Access {
    login: RedisConnectionInfo,
    tls: Option<TlsConnector>,
}

impl Access {
    /// To the servers.
    pub(super) fn new(config: &RedisWriter) -> Result<Self> {
        let login = login(config.user.as_deref(), config.password.reveal());
        Ok(Self {
            login: login.set_db(i64::from(config.database)),
            tls: tls(config)?,
        })
    }

    /// To the sentinels.
    pub(super) fn to_sentinels(config: &RedisWriter) -> Result<Self> {
        Ok(Self {
            login: login(config.sentinel_user.as_deref(), config.sentinel_password.reveal()),
            tls: tls(config)?,
        })
    }

    /// Opens a session with `host:port`.
    pub(super) async fn open(&self, address: &str) -> Result<Session> {
        let what = || format!("cannot connect to Redis at {address}");
        match tokio::time::timeout(CONNECT_TIMEOUT, self.connect(address, &what)).await {
            Ok(opened) => opened,
            Err(_) => {
                let hint = match self.tls {
                    None => "is Redis up?",
                    Some(_) => "is Redis up, and is this its tls-port?",
                };
                let detail = format!("no answer within {CONNECT_TIMEOUT:?}");
                Err(Error::transient(what()).detail(detail).hint(hint))
            }
        }
    }

    async fn connect(&self, address: &str, what: &impl Fn() -> String) -> Result<Session> {
        let unreachable = |error: std::io::Error| Error::transient(what()).detail(error).hint("is Redis up?");
        let stream = TcpStream::connect(address).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        match &self.tls {
            None => self.log_in(address, stream, what).await,
            Some(tls) => {
                let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
                let host = host.trim_start_matches('[').trim_end_matches(']');
                let refused = |error: &dyn std::fmt::Display| sort_tls(&error.to_string(), what());
                let mut stream = tls.connect(host, stream).await.map_err(|error| refused(&error))?;
                first_words(&mut stream).await.map_err(|error| refused(&error))?;
                self.log_in(address, stream, what).await
            }
        }
    }

    async fn log_in<S>(&self, address: &str, stream: S, what: &impl Fn() -> String) -> Result<Session>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(ANSWER_TIMEOUT));
        let (connection, driver) = MultiplexedConnection::new_with_config(&self.login, stream, config)
            .await
            .map_err(|error| sort(&error, what()))?;
        Ok(Session {
            address: address.to_owned(),
            connection,
            driver: tokio::spawn(driver),
        })
    }
}

/// Asks for a line, whatever it says. A server judges the client's certificate after the client holds the connection for made,
/// and says why only to who listens before it writes again.
async fn first_words(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<()> {
    stream.write_all(b"PING\r\n").await?;
    while stream.read_u8().await? != b'\n' {}
    Ok(())
}

fn login(user: Option<&str>, password: &str) -> RedisConnectionInfo {
    // The library's name is told by a command that few ACLs allow.
    let mut login = RedisConnectionInfo::default().set_skip_set_lib_name();
    if let Some(user) = user {
        login = login.set_username(user);
    }
    if !password.is_empty() {
        login = login.set_password(password);
    }
    login
}

fn tls(config: &RedisWriter) -> Result<Option<TlsConnector>> {
    let used = Tls::used(config.tls.as_ref());
    let connector = used.map(|tls| connector(tls, "writer.redis.tls")).transpose()?;
    Ok(connector.map(TlsConnector::from))
}

/// A session with one server. It ends when it is dropped, whatever is on its way.
pub(super) struct Session {
    pub(super) address: String,
    connection: MultiplexedConnection,
    driver: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    /// Sends one command; `what` says what for, should it fail.
    pub(super) async fn ask<T: FromRedisValue>(&mut self, command: &Cmd, what: impl FnOnce() -> String) -> Result<T> {
        command
            .query_async(&mut self.connection)
            .await
            .map_err(|error| sort(&error, what()))
    }

    /// Sends commands together, and gives an answer for each: a value or the server's error.
    pub(super) async fn ask_all(&self, commands: &mut Pipeline, what: impl FnOnce() -> String) -> Result<Vec<Value>> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let mut connection = self.connection.clone();
        commands
            .ignore_errors()
            .query_async(&mut connection)
            .await
            .map_err(|error| sort(&error, what()))
    }

    /// Makes a script known; gives the name to call it by.
    pub(super) async fn load(&mut self, script: &str) -> Result<String> {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(script);
        let what = format!("cannot prepare Redis at {}", self.address);
        self.ask(&command, || what).await
    }
}
