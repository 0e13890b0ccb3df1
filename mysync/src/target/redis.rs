//! The target Redis: a row is a hash or a JSON string under a key made from a template.
//!
//! # One step
//! The changes of one partition and its cursor are applied by one Lua script (`script`), which Redis runs without anything
//! in between. It compares the cursor first, writes the rows, and moves the cursor last. A script stops at the first
//! command that fails, so an error can never leave the cursor ahead of the rows; within MULTI/EXEC the commands after a
//! failed one, the cursor's among them, would still run. Rows written before the error are written again later, to the
//! same end. Steps of several partitions go out in one round trip, each a step of its own.
//!
//! # A row
//! A row is written whole: its key is deleted, then set, so that a column that became NULL or was dropped leaves nothing.
//!
//! # The cursor
//! `__mysync:cursor:<group>:<topic>:<partition>` holds the offset of the next record and the highest version applied. It lives and dies with the rows: a Redis
//! that comes back empty has no cursor and gets everything, one that comes back with an older copy has an older cursor
//! and gets the rest.
//!
//! # Errors
//! A connection that breaks, a Redis that is loading, out of memory, busy, read only after a failover, or one whose cursor
//! is not where it was left: transient. Any other refusal is definite.

mod errors;
mod key;
mod script;

pub use key::KeyTemplate;

use super::{Cursor, Outcome, RowChange, Step, Target, canonical};
use crate::config::{Layout, RedisWriter};
use crate::error::{Error, Kind, Result};
use crate::queue::Partition;
use ::redis::aio::MultiplexedConnection;
use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, IntoConnectionInfo, Pipeline, RedisConnectionInfo, Value,
};
use errors::sort;
use std::collections::BTreeMap;
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A step of the largest size on a slow machine takes a fraction of this.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A Redis server.
pub struct RedisTarget {
    client: Client,
    address: String,
    layout: Layout,
    key: KeyTemplate,
    cursor_prefix: String,
    connection: Option<Connection>,
}

struct Connection {
    connection: MultiplexedConnection,
    /// The script's hash, as this server told it.
    script: String,
}

impl RedisTarget {
    /// A target that connects when it is used; `prefix` is the topics' prefix, which the cursors' keys hold.
    pub fn new(config: &RedisWriter, prefix: &str) -> Result<Self> {
        let refuse = |detail: String| {
            Error::configuration(format!("the address of Redis is wrong: {}", config.address))
                .detail(detail)
                .hint("set writer.redis.address to \"host:port\"")
        };
        let (host, port) = config
            .address
            .rsplit_once(':')
            .ok_or_else(|| refuse("no port".into()))?;
        let port = port.parse::<u16>().map_err(|error| refuse(error.to_string()))?;
        let mut login = RedisConnectionInfo::default().set_db(i64::from(config.database));
        if !config.password.is_empty() {
            login = login.set_password(config.password.reveal());
        }
        let info = ConnectionAddr::Tcp(host.to_owned(), port)
            .into_connection_info()
            .map_err(|error| refuse(error.to_string()))?
            .set_redis_settings(login);
        Ok(Self {
            client: Client::open(info).map_err(|error| refuse(error.to_string()))?,
            address: config.address.clone(),
            layout: config.layout,
            key: KeyTemplate::parse(&config.key)?,
            cursor_prefix: format!("__mysync:cursor:{prefix}.redis"),
            connection: None,
        })
    }

    fn cursor_key(&self, partition: &Partition) -> String {
        format!("{}:{}:{}", self.cursor_prefix, partition.topic, partition.number)
    }

    fn connected(&mut self) -> Result<&mut Connection> {
        let address = &self.address;
        self.connection
            .as_mut()
            .ok_or_else(|| Error::transient(format!("not connected to Redis at {address}")))
    }

    /// The script's call for one step.
    fn command(&self, script: &str, step: &Step) -> Result<Cmd> {
        let mut command = ::redis::cmd("EVALSHA");
        command
            .arg(script)
            .arg(step.changes.len() + 1)
            .arg(self.cursor_key(&step.partition));
        for change in &step.changes {
            command.arg(self.key.render(change));
        }
        command.arg(step.cursor_before.map_or_else(String::new, |cursor| cursor.to_string()));
        command.arg(step.cursor_after.to_string());
        for change in &step.changes {
            self.add_row(&mut command, change)?;
        }
        Ok(command)
    }

    /// A row's arguments: how many follow, and those.
    fn add_row(&self, command: &mut Cmd, change: &RowChange) -> Result<()> {
        let Some(row) = &change.row else {
            command.arg(script::DELETED);
            return Ok(());
        };
        match self.layout {
            Layout::Json => {
                command.arg(script::STRING).arg(row.get());
            }
            Layout::Hash => {
                let columns = canonical::columns(row.get()).map_err(|error| refuse_row(change, &error))?;
                let present = columns.iter().filter_map(|(name, text)| Some((name, text.as_deref()?)));
                command.arg(2 * present.clone().count());
                for (name, text) in present {
                    command.arg(name.as_ref()).arg(text);
                }
            }
        }
        Ok(())
    }
}

fn refuse_row(change: &RowChange, error: &serde_json::Error) -> Error {
    let key: Vec<String> = change.key.iter().map(|(name, text)| format!("{name}={text}")).collect();
    Error::definite(format!(
        "a row of table {}.{} is not a JSON object of columns: {}",
        change.table.database,
        change.table.table,
        key.join(", ")
    ))
    .detail(error)
    .hint("who else writes to this topic? mysync's own messages, and Debezium's, hold the row as an object")
}

impl std::fmt::Debug for RedisTarget {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("RedisTarget")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Target for RedisTarget {
    fn name(&self) -> &'static str {
        "redis"
    }

    async fn connect(&mut self) -> Result<()> {
        self.connection = None;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT));
        let what = || format!("cannot connect to Redis at {}", self.address);
        let mut connection = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|error| sort(&error, what()))?;
        let script: String = ::redis::cmd("SCRIPT")
            .arg("LOAD")
            .arg(script::APPLY)
            .query_async(&mut connection)
            .await
            .map_err(|error| sort(&error, what()))?;
        self.connection = Some(Connection { connection, script });
        Ok(())
    }

    async fn cursors(&mut self, partitions: &[Partition]) -> Result<BTreeMap<Partition, Option<Cursor>>> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let keys: Vec<String> = partitions.iter().map(|partition| self.cursor_key(partition)).collect();
        let what = format!("cannot read the cursors from Redis at {}", self.address);
        let connected = self.connected()?;
        let texts: Vec<Option<String>> = ::redis::cmd("MGET")
            .arg(&keys)
            .query_async(&mut connected.connection)
            .await
            .map_err(|error| sort(&error, what))?;
        let mut cursors = BTreeMap::new();
        for ((partition, key), text) in partitions.iter().zip(&keys).zip(texts) {
            let cursor = text
                .map(|text| text.parse::<Cursor>().map_err(|_| refuse_cursor(key, &text)))
                .transpose()?;
            cursors.insert(partition.clone(), cursor);
        }
        Ok(cursors)
    }

    async fn apply(&mut self, steps: &[Step]) -> Result<Vec<Outcome>> {
        let script = self.connected()?.script.clone();
        let mut pipeline = Pipeline::with_capacity(steps.len());
        for step in steps {
            pipeline.add_command(self.command(&script, step)?);
        }
        let what = format!("cannot apply changes to Redis at {}", self.address);
        let connected = self.connected()?;
        let answers: Vec<Value> = pipeline
            .ignore_errors()
            .query_async(&mut connected.connection)
            .await
            .map_err(|error| sort(&error, what.clone()))?;
        let outcome = |answer: Value| match answer.extract_error() {
            Ok(_) => Ok(Outcome::Applied),
            Err(error) => match sort(&error, what.clone()) {
                error if error.kind == Kind::Definite => Ok(Outcome::Refused(error)),
                error => Err(error),
            },
        };
        answers.into_iter().map(outcome).collect()
    }
}

fn refuse_cursor(key: &str, text: &str) -> Error {
    Error::definite(format!("a cursor in Redis is not an offset and a version: {text:?}"))
        .detail(format!("key {key}"))
        .hint("does anything else write to this key? delete it to replay the partition from its oldest record")
}
