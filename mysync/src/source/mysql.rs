//! The real source: a MySQL server, by mysql_async.

pub mod heartbeat;

mod cascades;
mod errors;
mod history;
mod packets;
mod settings;
mod stream;
mod tables;
mod tls;
mod wire;

use super::gtid_set::GtidSet;
use super::preflight::Check;
use super::{Cascade, Facts, Source};
use crate::checkpoint::Position;
use crate::config::{self, Config, Tls};
use crate::error::{Error, Result};
use crate::schema::{TableName, TableSchema};
use crate::tables::TableFilter;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Row};
use std::time::Duration;
use stream::EventStream;

/// How long a connection may take to be made, and a statement to be answered.
const ANSWER_SECONDS_MAX: u64 = 20;

/// A MySQL server.
pub struct MySqlSource {
    config: config::Source,
    filter: TableFilter,
    on_cascade: config::OnCascade,
    stream: Option<EventStream>,
}

/// What the server is, asked at each start.
struct Server {
    uuid: String,
    gtid: bool,
}

impl MySqlSource {
    /// A source that connects when it is used.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            config: config.source.clone(),
            filter: TableFilter::new(config),
            on_cascade: config.reader.on_cascade,
            stream: None,
        }
    }

    /// The followed server, `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.config.servers[0]
    }

    fn host_and_port(&self) -> (&str, u16) {
        let (host, port) = self.address().rsplit_once(':').unwrap_or((self.address(), ""));
        (host, port.parse().unwrap_or(3306))
    }

    /// Connects for statements.
    pub async fn connect(&self) -> Result<Conn> {
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
                self.address()
            ))
            .hint("is the server up, and is key source.servers right?")),
        }
    }

    async fn rows(&self, connection: &mut Conn, statement: &str) -> Result<Vec<Row>> {
        match tokio::time::timeout(Duration::from_secs(ANSWER_SECONDS_MAX), connection.query(statement)).await {
            Ok(rows) => rows.map_err(|error| self.sort(error, "a statement failed on MySQL").detail(statement)),
            Err(_) => Err(Error::transient(format!(
                "MySQL did not answer in {ANSWER_SECONDS_MAX} s: {}",
                self.address()
            ))
            .detail(statement)),
        }
    }

    async fn server(&self, connection: &mut Conn) -> Result<Server> {
        let variables = settings::variables(self, connection).await?;
        let uuid = variables.get("server_uuid").cloned().unwrap_or_default();
        Ok(Server {
            uuid,
            gtid: variables.get("gtid_mode").is_some_and(|mode| mode == "ON"),
        })
    }
}

impl Source for MySqlSource {
    async fn preflight(&mut self) -> Result<Vec<Check>> {
        let mut connection = self.connect().await?;
        let checks = settings::checks(self, &mut connection).await?;
        connection.disconnect().await.ok();
        Ok(checks)
    }

    async fn facts(&mut self) -> Result<Facts> {
        let mut connection = self.connect().await?;
        let facts = settings::facts(self, &mut connection).await?;
        connection.disconnect().await.ok();
        Ok(facts)
    }

    async fn tables(&mut self) -> Result<Vec<TableName>> {
        let mut connection = self.connect().await?;
        let tables = tables::followed(self, &mut connection).await?;
        connection.disconnect().await.ok();
        Ok(tables)
    }

    async fn describe(&mut self, tables: &[TableName]) -> Result<Vec<Option<TableSchema>>> {
        let mut connection = self.connect().await?;
        let described = tables::describe(self, &mut connection, tables).await?;
        connection.disconnect().await.ok();
        Ok(described)
    }

    async fn cascades(&mut self) -> Result<Vec<Cascade>> {
        let mut connection = self.connect().await?;
        let cascades = cascades::find(self, &mut connection).await?;
        connection.disconnect().await.ok();
        Ok(cascades)
    }

    async fn oldest(&mut self) -> Result<Position> {
        let mut connection = self.connect().await?;
        let server = self.server(&mut connection).await?;
        let rows = self.rows(&mut connection, "SHOW BINARY LOGS").await?;
        let file = rows
            .first()
            .and_then(|row| row.get::<String, usize>(0))
            .ok_or_else(|| {
                Error::definite(format!("the server has no binlog: {}", self.address()))
                    .hint("start mysqld with --log-bin")
            })?;
        let gtid_set = match server.gtid {
            false => None,
            true => {
                let rows = self.rows(&mut connection, "SELECT @@GLOBAL.gtid_purged").await?;
                let purged = rows
                    .first()
                    .and_then(|row| row.get::<String, usize>(0))
                    .unwrap_or_default();
                Some(purged.parse::<GtidSet>()?.to_string())
            }
        };
        connection.disconnect().await.ok();
        Ok(Position {
            server_uuid: server.uuid,
            file,
            offset: stream::FILE_START,
            file_born_s: 0,
            gtid_set,
        })
    }

    async fn newest(&mut self) -> Result<Position> {
        let mut connection = self.connect().await?;
        let server = self.server(&mut connection).await?;
        let statement = if connection.server_version() >= (8, 2, 0) {
            "SHOW BINARY LOG STATUS"
        } else {
            "SHOW MASTER STATUS"
        };
        let rows = self.rows(&mut connection, statement).await?;
        let row = rows.first().ok_or_else(|| {
            Error::definite(format!("the server has no binlog: {}", self.address())).hint("start mysqld with --log-bin")
        })?;
        let gtid_set = match (server.gtid, row.get::<String, usize>(4)) {
            (true, Some(executed)) => Some(executed.parse::<GtidSet>()?.to_string()),
            _ => None,
        };
        let position = Position {
            server_uuid: server.uuid,
            file: row.get(0).unwrap_or_default(),
            offset: row.get(1).unwrap_or(stream::FILE_START),
            file_born_s: 0,
            gtid_set,
        };
        connection.disconnect().await.ok();
        Ok(position)
    }

    async fn start(&mut self, position: &Position) -> Result<()> {
        self.stream = None;
        let mut connection = self.connect().await?;
        let server = self.server(&mut connection).await?;
        history::require_known(self, &mut connection, &server, position).await?;
        connection.disconnect().await.ok();
        self.stream = Some(EventStream::open(self, &server, position).await?);
        Ok(())
    }

    async fn next(&mut self) -> Result<&[u8]> {
        let outcome = match &mut self.stream {
            Some(stream) => stream.fill().await,
            None => Err(stream::Lost::Closed),
        };
        match outcome {
            Ok(()) => Ok(self.stream.as_ref().map_or(&[], EventStream::bytes)),
            Err(lost) => {
                self.stream = None;
                Err(lost.into_error(self))
            }
        }
    }
}
