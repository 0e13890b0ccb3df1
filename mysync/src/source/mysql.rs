//! The real source: MySQL servers, by mysql_async.

pub mod dump;
pub mod heartbeat;

mod cascades;
mod columns;
mod condition;
mod endpoint;
mod errors;
mod lookout;
mod packets;
pub mod plan;
mod range;
mod rows;
mod select;
mod servers;
mod settings;
mod stream;
mod tables;
mod tls;
mod wire;
mod workers;

pub use columns::DescribedColumn;

use super::gtid_set::GtidSet;
use super::preflight::Check;
use super::topology::{self, Answer, Reached, Seen};
use super::{Cascade, Facts, Gtids, Parent, Progress, RowsAnswer, RowsRequest, Server, Source};
use crate::checkpoint::Position;
use crate::config::{self, Config};
use crate::error::{Error, Result};
use crate::metrics::ReaderMetrics;
use crate::schema::{TableName, TableSchema};
use crate::tables::TableFilter;
use endpoint::Endpoint;
use heartbeat::Heartbeat;
use lookout::{Followed, Lookout};
use mysql_async::{Conn, Row};
use servers::Servers;
use std::sync::Arc;
use std::time::Duration;
use stream::{EventStream, Pieces};
use tokio::time::Instant;
use workers::Workers;

/// The servers of `source.servers`, of which one is followed.
pub struct MySqlSource {
    config: Arc<config::Source>,
    filter: TableFilter,
    on_cascade: config::OnCascade,
    servers: Servers,
    /// The server that is followed: the first one until one is chosen.
    endpoint: Endpoint,
    chosen: Option<Server>,
    stream: Option<EventStream>,
    lookout: Option<Lookout>,
    metrics: Option<Arc<ReaderMetrics>>,
    heartbeat: Option<Heartbeat>,
    /// Why there was no server to follow, as it was told last.
    told: String,
    /// Read rows beside the stream.
    workers: Arc<Workers>,
    /// The reader's name in mysync's own tables.
    reader: String,
}

/// How long a choice may wait for a server to follow; the reader then begins anew.
const CHOICE_TIMEOUT: Duration = Duration::from_secs(20);

/// A choice that takes longer is told about: a switch in good order is none.
const CHOICE_PATIENCE: Duration = Duration::from_secs(1);

impl MySqlSource {
    /// A source that connects when it is used.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let source = Arc::new(config.source.clone());
        let servers = Servers::new(&source, heartbeat::name(config));
        Self {
            config: source,
            filter: TableFilter::new(config),
            on_cascade: config.reader.on_cascade,
            endpoint: servers.endpoints[0].clone(),
            servers,
            chosen: None,
            stream: None,
            lookout: None,
            metrics: None,
            heartbeat: None,
            told: String::new(),
            workers: Arc::default(),
            reader: heartbeat::name(config),
        }
    }

    /// Tells there how the servers are, and advances the reader's heartbeat row while a server is followed.
    #[must_use]
    pub fn with_heartbeat(mut self, config: &Config, metrics: &Arc<ReaderMetrics>) -> Self {
        self.metrics = Some(Arc::clone(metrics));
        self.heartbeat = Heartbeat::new(config, metrics);
        self
    }

    /// The followed server, `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.endpoint.address
    }

    /// What the servers of the list are.
    pub async fn look(&mut self) -> Vec<Seen> {
        let seen = self.servers.look().await;
        self.servers.hurry(false);
        seen
    }

    /// The server that is followed, for statements beside the stream.
    fn detached(&self) -> Self {
        Self {
            config: Arc::clone(&self.config),
            filter: self.filter.clone(),
            on_cascade: self.on_cascade,
            servers: Servers::new(&self.config, String::new()),
            endpoint: self.endpoint.clone(),
            chosen: self.chosen.clone(),
            stream: None,
            lookout: None,
            metrics: None,
            heartbeat: None,
            told: String::new(),
            workers: Arc::default(),
            reader: self.reader.clone(),
        }
    }

    /// Connects for statements to the server that is followed, and to no other that got its name.
    pub async fn connect(&self) -> Result<Conn> {
        let mut connection = self.endpoint.connect().await?;
        if let Some(chosen) = &self.chosen {
            let (uuid, _) = self.identity(&mut connection).await?;
            if uuid != chosen.uuid {
                let what = format!(
                    "another server answers at the address of the one that was followed: {}",
                    chosen.address
                );
                return Err(Error::transient(what).detail(format!("server_uuid {uuid} instead of {}", chosen.uuid)));
            }
        }
        Ok(connection)
    }

    /// The server that will be followed, as far as that can be told without a checkpoint; else any that answers.
    async fn likely(&mut self) -> Result<Endpoint> {
        let seen = self.look().await;
        let answering = || seen.iter().position(|seen| seen.answer.is_ok());
        let index = match topology::decide(&seen, None) {
            Ok(index) => index,
            Err(error) => answering().ok_or(error)?,
        };
        Ok(self.servers.endpoints[index].clone())
    }

    /// Follows a server from now on.
    fn follow(&mut self, index: usize, answer: Answer, reached: Option<Reached>) -> Server {
        self.servers.hurry(false);
        let server = Server {
            address: self.servers.endpoints[index].address.clone(),
            uuid: answer.uuid.clone(),
            gtid: answer.executed.is_some(),
            is_primary: answer.is_primary(),
        };
        let gtids = reached.and_then(|reached| reached.gtids);
        let reached = Reached {
            server_uuid: answer.uuid,
            gtids: gtids
                .zip(answer.executed)
                .map(|(reached, executed)| reached.intersection(&executed)),
        };
        let followed = Followed {
            index,
            reached,
            metrics: self.metrics.clone(),
        };
        self.lookout = Some(Lookout::begin(self.servers.board(), followed));
        self.endpoint = self.servers.endpoints[index].clone();
        self.chosen = Some(server.clone());
        self.told.clear();
        server
    }

    /// Follows nobody.
    fn leave(&mut self) {
        self.stream = None;
        self.lookout = None;
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.stop();
        }
    }

    /// Advances the heartbeat row on the server that is followed.
    fn beat(&mut self) {
        if let (Some(heartbeat), Some(chosen)) = (&mut self.heartbeat, &self.chosen) {
            let index = self
                .servers
                .endpoints
                .iter()
                .position(|one| one.address == chosen.address);
            let board = self.servers.board();
            heartbeat.beat_on(&self.endpoint, chosen, index.unwrap_or_default(), board);
        }
    }

    /// Says why there is no server to follow, once in the log.
    fn tell(&mut self, error: &Error) {
        if let Some(metrics) = &self.metrics {
            metrics.condition.wait(error);
        }
        if self.told != error.what {
            self.told.clone_from(&error.what);
            tracing::warn!("waiting: {}", error.one_line());
        }
    }

    /// The rows that a statement gives.
    async fn rows(&self, connection: &mut Conn, statement: &str) -> Result<Vec<Row>> {
        self.endpoint.rows(connection, statement).await
    }

    /// Sorts what the client library says into what to do about it.
    fn sort(&self, error: mysql_async::Error, what: &str) -> Error {
        self.endpoint.sort(error, what)
    }

    /// The server's uuid, and whether it has GTIDs.
    async fn identity(&self, connection: &mut Conn) -> Result<(String, bool)> {
        let variables = settings::variables(&self.endpoint, connection).await?;
        let uuid = variables.get("server_uuid").cloned().unwrap_or_default();
        Ok((uuid, variables.get("gtid_mode").is_some_and(|mode| mode == "ON")))
    }

    /// One of the server's sets of GTIDs, as it prints it.
    async fn gtid_variable(&self, connection: &mut Conn, name: &str) -> Result<String> {
        let rows = self.rows(connection, &format!("SELECT @@GLOBAL.{name}")).await?;
        Ok(rows.first().and_then(|row| row.get(0)).unwrap_or_default())
    }

    async fn next_of(&mut self, pieces: Pieces) -> Result<&[u8]> {
        let filled = match (&mut self.stream, &mut self.lookout) {
            (None, _) => Err(stream::Lost::Closed.into_error(&self.endpoint)),
            (Some(stream), None) => stream
                .fill(pieces)
                .await
                .map_err(|lost| lost.into_error(&self.endpoint)),
            (Some(stream), Some(lookout)) => tokio::select! {
                biased;
                error = lookout.alarm() => Err(error),
                filled = stream.fill(pieces) => filled.map_err(|lost| lost.into_error(&self.endpoint)),
            },
        };
        match filled {
            Ok(()) => Ok(self.stream.as_ref().map_or(&[], EventStream::bytes)),
            Err(error) => {
                self.leave();
                Err(error)
            }
        }
    }
}

impl Source for MySqlSource {
    async fn preflight(&mut self) -> Result<Vec<Check>> {
        if self.chosen.is_none() && self.servers.endpoints.len() > 1 {
            self.endpoint = self.likely().await?;
        }
        let mut connection = self.connect().await?;
        let mut checks = settings::checks(self, &mut connection).await?;
        connection.disconnect().await.ok();
        if self.chosen.is_none() {
            // Later on there is no time to wait for servers that are down.
            checks.extend(settings::other_checks(self).await);
        }
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

    fn read(&self, request: RowsRequest) -> impl Future<Output = Result<RowsAnswer>> + Send + 'static {
        Arc::clone(&self.workers).read(self.detached(), request)
    }

    fn tell(&self, progress: Vec<Progress>) -> impl Future<Output = Result<()>> + Send + 'static {
        dump::tell(self.detached(), progress)
    }

    async fn asked(&mut self) -> Result<Vec<String>> {
        let mut connection = self.connect().await?;
        let asked = dump::asked(self, &mut connection).await?;
        connection.disconnect().await.ok();
        Ok(asked)
    }

    async fn cascades(&mut self) -> Result<Vec<Cascade>> {
        let mut connection = self.connect().await?;
        let cascades = cascades::find(self, &mut connection).await?;
        connection.disconnect().await.ok();
        Ok(cascades)
    }

    async fn parents(&mut self) -> Result<Vec<Parent>> {
        let mut connection = self.connect().await?;
        let parents = cascades::parents(self, &mut connection).await?;
        connection.disconnect().await.ok();
        Ok(parents)
    }

    async fn choose(&mut self, position: Option<&Position>) -> Result<Server> {
        self.leave();
        let reached = position.map(Reached::new).transpose()?;
        let begun = Instant::now();
        let mut seen = self.servers.look().await;
        let mut board = self.servers.board();
        loop {
            let error = match topology::decide(&seen, reached.as_ref()) {
                Ok(index) => return Ok(self.follow(index, seen.swap_remove(index).answer?, reached)),
                Err(error) => error,
            };
            if !error.is_transient() || begun.elapsed() > CHOICE_TIMEOUT {
                return Err(error);
            }
            if begun.elapsed() > CHOICE_PATIENCE {
                self.tell(&error);
            }
            tokio::time::timeout(CHOICE_PATIENCE, board.changed()).await.ok();
            seen = board.borrow_and_update().seen();
        }
    }

    async fn gtids(&mut self) -> Result<Gtids> {
        let mut connection = self.connect().await?;
        let executed = self.gtid_variable(&mut connection, "gtid_executed").await?.parse()?;
        // Asked last, so that nothing is purged unseen in between.
        let purged = self.gtid_variable(&mut connection, "gtid_purged").await?.parse()?;
        connection.disconnect().await.ok();
        Ok(Gtids { executed, purged })
    }

    async fn files(&mut self) -> Result<Vec<String>> {
        let mut connection = self.connect().await?;
        let files = self.endpoint.files(&mut connection).await?;
        connection.disconnect().await.ok();
        Ok(files.into_iter().map(|(file, _)| file).collect())
    }

    async fn oldest(&mut self) -> Result<Position> {
        let mut connection = self.connect().await?;
        let (server_uuid, gtid) = self.identity(&mut connection).await?;
        let files = self.endpoint.files(&mut connection).await?;
        let (file, _) = files.into_iter().next().ok_or_else(|| no_binlog(self.address()))?;
        let gtid_set = match gtid {
            false => None,
            true => Some(self.gtid_variable(&mut connection, "gtid_purged").await?),
        };
        connection.disconnect().await.ok();
        Ok(Position {
            server_uuid,
            file,
            offset: stream::FILE_START,
            file_born_s: 0,
            gtid_set: gtid_set.as_deref().map(normalized).transpose()?,
        })
    }

    async fn newest(&mut self) -> Result<Position> {
        let mut connection = self.connect().await?;
        let (server_uuid, gtid) = self.identity(&mut connection).await?;
        let statement = if connection.server_version() >= (8, 2, 0) {
            "SHOW BINARY LOG STATUS"
        } else {
            "SHOW MASTER STATUS"
        };
        let rows = self.rows(&mut connection, statement).await?;
        let row = rows.first().ok_or_else(|| no_binlog(self.address()))?;
        let executed = row.get::<String, usize>(4).filter(|_| gtid);
        let position = Position {
            server_uuid,
            file: row.get(0).unwrap_or_default(),
            offset: row.get(1).unwrap_or(stream::FILE_START),
            file_born_s: 0,
            gtid_set: executed.as_deref().map(normalized).transpose()?,
        };
        connection.disconnect().await.ok();
        Ok(position)
    }

    async fn start(&mut self, position: &Position) -> Result<()> {
        self.stream = None;
        let mut connection = self.endpoint.connect().await?;
        let (uuid, gtid) = self.identity(&mut connection).await?;
        stream::require_owner(&self.endpoint, &uuid, position)?;
        connection.disconnect().await.ok();
        self.stream = Some(EventStream::open(&self.endpoint, gtid, position).await?);
        Ok(())
    }

    fn settle(&mut self) {
        self.beat();
    }

    fn release(&mut self) {
        self.leave();
        self.servers.rest();
    }

    async fn next(&mut self) -> Result<&[u8]> {
        self.next_of(Pieces::Never).await
    }

    async fn next_piece(&mut self) -> Result<&[u8]> {
        self.next_of(Pieces::OfCompressedTransactions).await
    }
}

fn no_binlog(address: &str) -> Error {
    Error::definite(format!("the server has no binlog: {address}")).hint("start mysqld with --log-bin")
}

/// A set of GTIDs in the one form that is compared.
fn normalized(set: &str) -> Result<String> {
    Ok(set.parse::<GtidSet>()?.to_string())
}
