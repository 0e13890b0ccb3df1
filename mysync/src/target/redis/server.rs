//! A server alone, or the master among its replicas: a step is one script, and atomic.

use super::access::{Access, Session};
use super::errors::sort;
use super::master::Place;
use super::row::{Rows, cursor_text, parse_cursor};
use super::script;
use crate::config::RedisWriter;
use crate::error::{Error, Kind, Result};
use crate::queue::Partition;
use crate::target::{Cursor, Outcome, Step};
use redis::{Cmd, Pipeline, Value};
use std::collections::BTreeMap;

/// Redis 6 takes 1,048,576.
const ARGUMENTS_MAX: usize = 1_000_000;

pub(super) struct Server {
    access: Access,
    place: Place,
    connected: Option<Connected>,
}

struct Connected {
    session: Session,
    /// The script's name, as this server told it.
    script: String,
}

impl Server {
    pub(super) fn new(config: &RedisWriter) -> Result<Self> {
        Ok(Self {
            access: Access::new(config)?,
            place: Place::new(config)?,
            connected: None,
        })
    }

    pub(super) async fn connect(&mut self) -> Result<()> {
        self.connected = None;
        let mut session = self.place.open_master(&self.access).await?;
        let script = session.load(script::STEP).await?;
        self.connected = Some(Connected { session, script });
        Ok(())
    }

    pub(super) async fn cursors(
        &mut self,
        rows: &Rows,
        partitions: &[Partition],
    ) -> Result<BTreeMap<Partition, Option<Cursor>>> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let session = &mut self.connected()?.session;
        let keys: Vec<String> = partitions
            .iter()
            .map(|partition| rows.cursor_key("", partition))
            .collect();
        let what = format!("cannot read the cursors from Redis at {}", session.address);
        let texts: Vec<Option<String>> = session.ask(redis::cmd("MGET").arg(&keys), || what).await?;
        let mut cursors = BTreeMap::new();
        for ((partition, key), text) in partitions.iter().zip(&keys).zip(texts) {
            let cursor = text.map(|text| parse_cursor(key, &text)).transpose()?;
            cursors.insert(partition.clone(), cursor);
        }
        Ok(cursors)
    }

    /// All steps in one round trip, each for itself.
    pub(super) async fn apply(&mut self, rows: &Rows, steps: &[Step]) -> Result<Vec<Outcome>> {
        let connected = self.connected()?;
        let mut pipeline = Pipeline::with_capacity(steps.len());
        let mut refused = Vec::with_capacity(steps.len());
        for step in steps {
            match command(rows, &connected.script, step) {
                Ok(command) => {
                    pipeline.add_command(command);
                    refused.push(None);
                }
                Err(error) => refused.push(Some(error)),
            }
        }
        let what = || format!("cannot apply changes to Redis at {}", connected.session.address);
        let mut answers = connected.session.ask_all(&mut pipeline, what).await?.into_iter();
        let outcome = |refused: Option<Error>| match refused {
            Some(error) => Ok(Outcome::Refused(error)),
            None => outcome(answers.next().unwrap_or(Value::Nil), what),
        };
        refused.into_iter().map(outcome).collect()
    }

    fn connected(&mut self) -> Result<&mut Connected> {
        self.connected
            .as_mut()
            .ok_or_else(|| Error::transient("not connected to Redis"))
    }
}

fn outcome(answer: Value, what: impl Fn() -> String) -> Result<Outcome> {
    match answer.extract_error() {
        Ok(_) => Ok(Outcome::Applied),
        Err(error) => match sort(&error, what()) {
            error if error.kind == Kind::Definite => Ok(Outcome::Refused(error)),
            error => Err(error),
        },
    }
}

/// The script's call for one step.
fn command(rows: &Rows, script: &str, step: &Step) -> Result<Cmd> {
    let mut command = redis::cmd("EVALSHA");
    command
        .arg(script)
        .arg(step.changes.len() + 1)
        .arg(rows.cursor_key("", &step.partition));
    for change in &step.changes {
        command.arg(rows.key(change));
    }
    let sets_rows = step.changes.iter().any(|change| change.row.is_some());
    command
        .arg(cursor_text(step.cursor_before))
        .arg(step.cursor_after.to_string())
        .arg(u8::from(sets_rows))
        .arg(rows.ttl_seconds);
    for change in &step.changes {
        rows.add(&mut command, change)?;
    }
    // Redis 6 closes the connection over a longer command; a step that is refused comes again in halves.
    match command.args_iter().count() {
        arguments if arguments > ARGUMENTS_MAX => Err(Error::definite("a step has more arguments than Redis takes")
            .detail(format!("{arguments} of at most {ARGUMENTS_MAX}"))
            .hint("set a smaller writer.redis.batch_changes_max")),
        _ => Ok(command),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, TEMPLATE};
    use crate::target::{RowChange, TableName};
    use serde_json::value::RawValue;
    use std::sync::Arc;

    fn rows() -> Rows {
        let text = TEMPLATE.replace("password_env = \"MYSYNC_MYSQL_PASSWORD\"", "password = \"p\"");
        let config = config::parse(&text, "test.toml").unwrap();
        Rows::new(config.writer.redis.as_ref().unwrap(), "p").unwrap()
    }

    fn step(changes: usize, columns: usize) -> Step {
        let columns: Vec<String> = (0..columns).map(|column| format!("\"c{column}\":1")).collect();
        let row = format!("{{{}}}", columns.join(","));
        let table = Arc::new(TableName {
            database: "d".into(),
            table: "t".into(),
        });
        let change = |id: usize| RowChange {
            table: Arc::clone(&table),
            key: vec![("id".into(), id.to_string())],
            row: RawValue::from_string(row.clone()).ok(),
            version: 1,
            columns_changed: None,
        };
        Step {
            partition: Partition {
                topic: "p.d.t".into(),
                number: 0,
            },
            cursor_before: None,
            cursor_after: Cursor {
                offset: 1,
                version: None,
            },
            changes: (0..changes).map(change).collect(),
        }
    }

    #[test]
    fn a_step_that_is_too_wide_for_one_command_is_refused_and_its_halves_are_not() {
        let (rows, arguments) = (rows(), |command: Cmd| command.args_iter().count());
        assert_eq!(
            command(&rows, "s", &step(2, 3)).map(arguments).unwrap(),
            3 + 1 + 2 + 4 + 2 * 7
        );
        let error = command(&rows, "s", &step(2_000, 300)).unwrap_err();
        assert_eq!(error.kind, Kind::Definite, "{error}");
        assert!(command(&rows, "s", &step(1_000, 300)).is_ok());
        assert!(
            command(&rows, "s", &step(1, 4_096)).is_ok(),
            "no table has more columns"
        );
    }
}
