//! One server's address, how to log in there, and how to ask it something.

use super::tls;
use crate::config::{self, Tls};
use crate::error::{Error, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Row};
use std::sync::Arc;
use std::time::Duration;

/// How long a connection may take to be made, and a statement to be answered.
pub(super) const ANSWER_SECONDS_MAX: u64 = 20;

/// A server's address, and how to log in.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub(super) config: Arc<config::Source>,
    pub(super) address: String,
}

impl Endpoint {
    pub(super) fn host_and_port(&self) -> (&str, u16) {
        let (host, port) = self.address.rsplit_once(':').unwrap_or((&self.address, ""));
        (host, port.parse().unwrap_or(3306))
    }

    /// Connects for statements.
    pub(super) async fn connect(&self) -> Result<Conn> {
        let (host, port) = self.host_and_port();
        let tls = Tls::used(self.config.tls.as_ref()).map(tls::options).transpose()?;
        let options = OptsBuilder::default()
            .ssl_opts(tls)
            .ip_or_hostname(host)
            .tcp_port(port)
            .user(Some(&self.config.user))
            .pass(Some(self.config.password.reveal()))
            .prefer_socket(false)
            .tcp_keepalive(Some(Duration::from_secs(10)))
            .max_allowed_packet(Some(1 << 30));
        let connecting = Conn::new(Opts::from(options));
        match tokio::time::timeout(Duration::from_secs(ANSWER_SECONDS_MAX), connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(self.sort(error, "cannot log in to MySQL")),
            Err(_) => Err(Error::transient(format!(
                "MySQL did not answer in {ANSWER_SECONDS_MAX} s: {}",
                self.address
            ))
            .hint("is the server up, and is key source.servers right?")),
        }
    }

    /// The rows that a statement gives.
    pub(super) async fn rows(&self, connection: &mut Conn, statement: &str) -> Result<Vec<Row>> {
        match tokio::time::timeout(Duration::from_secs(ANSWER_SECONDS_MAX), connection.query(statement)).await {
            Ok(rows) => rows.map_err(|error| self.sort(error, "a statement failed on MySQL").detail(statement)),
            Err(_) => Err(Error::transient(format!(
                "MySQL did not answer in {ANSWER_SECONDS_MAX} s: {}",
                self.address
            ))
            .detail(statement)),
        }
    }

    /// The server's binlog files, oldest first, each with its size in bytes.
    pub(super) async fn files(&self, connection: &mut Conn) -> Result<Vec<(String, u64)>> {
        let rows = self.rows(connection, "SHOW BINARY LOGS").await?;
        let file = |row: &Row| Some((row.get::<String, usize>(0)?, row.get::<u64, usize>(1)?));
        Ok(rows.iter().filter_map(file).collect())
    }
}
