//! One session with a server of Redis: encrypted where the configuration says so, and logged in.

use std::time::Duration;

use native_tls::{Certificate, Identity, TlsConnector};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, FromRedisValue, RedisConnectionInfo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::Client;
use crate::config::redis::Account;
use crate::config::tls::{Mode, Tls};
use crate::config::{Address, Redis};
use crate::error::Error;

const CONNECT_MAX: Duration = Duration::from_secs(10);
/// A pipeline of large values on a busy machine takes its time.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// How sessions are opened.
pub struct Access {
    login: RedisConnectionInfo,
    tls: Option<tokio_native_tls::TlsConnector>,
}

impl Access {
    /// With the account and in the database of the servers.
    pub fn to_servers(section: &Redis) -> Result<Self, Error> {
        let login = login(&section.account).set_db(section.database);
        let tls = connector(section.tls.as_ref())?;
        Ok(Self { login, tls })
    }

    /// With the account of the sentinels.
    pub fn to_sentinels(section: &Redis) -> Result<Self, Error> {
        let login = login(&section.sentinel_account);
        let tls = connector(section.tls.as_ref())?;
        Ok(Self { login, tls })
    }

    /// Opens a session.
    pub async fn open(&self, address: &Address) -> Result<Client, Error> {
        match tokio::time::timeout(CONNECT_MAX, self.connect(address)).await {
            Ok(opened) => opened.map_err(|reason| unreachable(address, &reason)),
            Err(_) => Err(unreachable(address, &format!("no answer within {CONNECT_MAX:?}"))),
        }
    }

    async fn connect(&self, address: &Address) -> Result<Client, String> {
        let place = (address.host.as_str(), address.port);
        let stream = TcpStream::connect(place).await.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        match &self.tls {
            None => self.log_in(stream).await,
            Some(tls) => {
                let stream = tls.connect(&address.host, stream).await;
                self.log_in(stream.map_err(|error| error.to_string())?).await
            }
        }
    }

    async fn log_in<S>(&self, stream: S) -> Result<Client, String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let times = AsyncConnectionConfig::new().set_response_timeout(Some(ANSWER_MAX));
        let opened = MultiplexedConnection::new_with_config(&self.login, stream, times).await;
        let (mut client, driver) = opened.map_err(|error| error.to_string())?;
        tokio::spawn(driver);
        // Without a login nothing has been asked yet, and a server that wants one has not said so.
        let asked: redis::RedisResult<redis::Value> = redis::cmd("PING").query_async(&mut client).await;
        match asked {
            // An account that may not ask this is let in all the same.
            Err(error) if error.code() != Some("NOPERM") => Err(error.to_string()),
            _ => Ok(client),
        }
    }
}

/// Asks for one thing.
pub async fn ask<T: FromRedisValue>(client: &Client, address: &Address, words: &[&str]) -> Result<T, Error> {
    let mut command = redis::Cmd::new();
    words.iter().for_each(|word| {
        command.arg(*word);
    });
    let answer = command.query_async(&mut client.clone()).await;
    answer.map_err(|error| broke(address, &error.to_string()))
}

/// A session that was open broke, or was refused what it asked.
pub fn broke(address: &Address, reason: &str) -> Error {
    Error::failed(
        "redis did not answer",
        format!("{address}: {reason}"),
        "check that the server is up and has loaded its data, and what the account may do, then check again",
    )
}

fn unreachable(address: &Address, reason: &str) -> Error {
    Error::failed(
        "cannot open a Redis session",
        format!("{address}: {reason}"),
        "start the server, or correct servers, user, password, database and tls in [writer.redis]",
    )
}

fn login(account: &Account) -> RedisConnectionInfo {
    let mut login = RedisConnectionInfo::default().set_skip_set_lib_name();
    if let Some(user) = &account.user {
        login = login.set_username(user);
    }
    if !account.password.reveal().is_empty() {
        login = login.set_password(account.password.reveal());
    }
    login
}

fn connector(tls: Option<&Tls>) -> Result<Option<tokio_native_tls::TlsConnector>, Error> {
    let Some(files) = tls.map(|tls| tls.files("writer.redis.tls")).transpose()?.flatten() else {
        return Ok(None);
    };
    let refused = |error: native_tls::Error| {
        Error::configuration(
            "section [writer.redis.tls] cannot be used",
            error.to_string(),
            "name PEM files; certificate and key go together",
        )
    };
    let mut builder = TlsConnector::builder();
    builder
        .danger_accept_invalid_certs(files.mode == Mode::Required)
        .danger_accept_invalid_hostnames(files.mode != Mode::VerifyIdentity);
    if let Some(authority) = &files.ca {
        for certificate in Certificate::stack_from_pem(&authority.pem).map_err(refused)? {
            builder.add_root_certificate(certificate);
        }
        builder.disable_built_in_roots(true);
    }
    if let Some(archive) = &files.identity {
        builder.identity(Identity::from_pkcs12(archive, "").map_err(refused)?);
    }
    Ok(Some(builder.build().map_err(refused)?.into()))
}
