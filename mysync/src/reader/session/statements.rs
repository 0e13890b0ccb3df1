//! What a session does about statements that are about tables: the policies `on_ddl` and `on_cascade`, the topics
//! `<prefix>.__ddl` and `<prefix>.__refresh_due`, and the schema history where the binlog does not describe the tables.

use super::{Context, Session};
use crate::checkpoint::Position;
use crate::config::{OnCascade, OnDdl};
use crate::decode::{Format, TableMap};
use crate::error::{Error, Result};
use crate::queue::{Origin, Publisher, Queue, Topic, TopicId};
use crate::reader::survey::survey;
use crate::reader::tracker::{Ddl, Tracker, shorten};
use crate::schema::{self, History, Statement, Survey, TableChange, TableName};
use crate::source::{Cascade, Facts, Source};
use serde::Serialize;
use std::collections::BTreeMap;

/// The compacted topic of the schema history.
const SCHEMA_TOPIC: &str = "schema";

/// The log of statements that changed rows without row events.
const DDL_TOPIC: &str = "ddl";

/// The compacted topic of tables that must be refreshed: key `["database","table"]`, an empty table for all of a database.
const REFRESH_TOPIC: &str = "refresh_due";

/// What is known beside the rows.
pub(super) struct Statements {
    facts: Facts,
    /// The schema history and its topic, where the binlog does not describe the tables.
    history: Option<(History, TopicId)>,
    /// The last look ahead, good for the statements that it saw.
    survey: Option<Survey>,
}

/// Value of a record of the topic `__ddl`, and of `__refresh_due`, which has the last one of each table.
#[derive(Debug, Serialize)]
struct Published<'a> {
    database: &'a str,
    /// Empty for all of the database.
    table: &'a str,
    kind: &'a str,
    policy: &'a str,
    statement: &'a str,
    file: &'a str,
    offset: u64,
    /// Changes with a lower one were made before the statement, all others after it.
    version: i64,
}

impl Statements {
    /// Finds out what holds at a checkpoint.
    pub(super) async fn open<S: Source, Q: Queue>(
        source: &mut S,
        queue: &Q,
        publisher: &mut Q::Publisher,
        context: &Context<'_>,
        position: &Position,
    ) -> Result<Self> {
        if context.options.on_ddl == OnDdl::Refresh {
            publisher.declare(Topic::Compacted(REFRESH_TOPIC)).await?;
            remind(queue).await?;
        }
        let facts = source.facts().await?;
        let mut statements = Self {
            facts,
            history: None,
            survey: None,
        };
        if facts.names_columns {
            return Ok(statements);
        }
        let topic = publisher.declare(Topic::Compacted(SCHEMA_TOPIC)).await?;
        let scan = queue.scan(SCHEMA_TOPIC, 0).await?;
        let mut history = History::load(scan, facts.names_charsets).await?;
        let missing = history.missing(source.tables().await?);
        if !missing.is_empty() {
            let survey = survey(source, position, &missing, context.filter, facts.lower_case_names).await?;
            let at = Tracker::new(position.clone())?.event_end();
            history.look_up(&missing, at, &survey);
            statements.survey = Some(survey);
        }
        statements.history = Some((history, topic));
        Ok(statements)
    }

    /// Adds to a Table_map what the binlog does not say.
    pub(super) fn supply(&self, map: &mut TableMap) -> Result<()> {
        match &self.history {
            Some((history, _)) if !map.metadata_is_full => history.supply(map),
            _ => Ok(()),
        }
    }
}

/// Says which tables still wait for their refresh.
async fn remind<Q: Queue>(queue: &Q) -> Result<()> {
    let mut scan = queue.scan(REFRESH_TOPIC, 0).await?;
    let mut due = BTreeMap::new();
    while let Some(record) = scan.next().await? {
        let table = String::from_utf8_lossy(&record.key).into_owned();
        match record.value {
            Some(value) => drop(due.insert(table, value)),
            None => drop(due.remove(&table)),
        }
    }
    for (table, value) in due {
        let reason = serde_json::from_slice::<serde_json::Value>(&value).unwrap_or_default();
        let statement = shorten(reason["statement"].as_str().unwrap_or_default());
        tracing::warn!(table, statement, "marked for a refresh that is still due");
    }
    Ok(())
}

impl<S: Source, Q: Queue> Session<'_, S, Q> {
    /// Acts upon the statement that was just read, if there was one, and all of its event has come.
    pub(super) async fn take_statement(&mut self) -> Result<()> {
        if self.progress.unpacking.is_some() {
            return Ok(());
        }
        let Some(ddl) = self.progress.ddl.take() else {
            return Ok(());
        };
        let lower_case = self.progress.statements.facts.lower_case_names;
        let changes = match &ddl.statement {
            Statement::Ddl(changes) if lower_case => changes.iter().cloned().map(TableChange::in_lower_case).collect(),
            Statement::Ddl(changes) => changes.clone(),
            Statement::Unknown => {
                let allowed = allow_unknown(&ddl, self.context.options.on_ddl);
                return allowed.map_err(|error| self.progress.tracker.locate(error));
            }
            _ => return Ok(()),
        };
        let taken = self.take_changes(&changes, &ddl).await;
        taken.map_err(|error| self.progress.tracker.locate(error))
    }

    async fn take_changes(&mut self, changes: &[TableChange], ddl: &Ddl) -> Result<()> {
        for (database, table) in changes.iter().flat_map(TableChange::names) {
            self.progress.refresh.void(database, table);
        }
        self.refuse_cascades(changes, ddl).await?;
        let filter = self.context.filter;
        for change in changes.iter().filter(|change| change.change.changes_rows()) {
            for (database, table) in change.names() {
                if filter.follows_any(database, table) {
                    self.publish(ddl, change.change.name(), database, table).await?;
                }
            }
        }
        self.follow_schemas(changes, ddl).await
    }

    /// Publishes that a followed table's rows changed without row events, or stops.
    async fn publish(&mut self, ddl: &Ddl, kind: &str, database: &str, table: &str) -> Result<()> {
        let policy = match self.context.options.on_ddl {
            OnDdl::Stop => {
                let what = format!("a statement changes rows without row events: {database}.{table}");
                return Err(Error::definite(what)
                    .detail(shorten(&ddl.text))
                    .hint("bring the stores up to date by hand, then start once with reader.on_ddl = \"ignore\""));
            }
            OnDdl::Ignore => "ignore",
            OnDdl::Refresh => "refresh",
        };
        tracing::warn!(
            database,
            table,
            statement = shorten(&ddl.text),
            policy,
            "a statement changes rows without row events: the stores keep what they have"
        );
        let (file, _, offset) = self.progress.tracker.place();
        let value = serde_json::to_vec(&Published {
            database,
            table,
            kind,
            policy,
            statement: &ddl.text,
            file,
            offset,
            version: self.progress.next_version.as_i64(),
        })
        .unwrap_or_default();
        let key = serde_json::to_vec(&(database, table)).unwrap_or_default();
        let topic = self.publisher.declare(Topic::Log(DDL_TOPIC)).await?;
        self.append(topic, &key, Some(&value));
        if self.context.options.on_ddl == OnDdl::Refresh {
            let topic = self.publisher.declare(Topic::Compacted(REFRESH_TOPIC)).await?;
            self.append(topic, &key, Some(&value));
        }
        Ok(())
    }

    /// Adds a record of an internal topic to the open Kafka transaction.
    fn append(&mut self, topic: TopicId, key: &[u8], value: Option<&[u8]>) {
        let progress = &mut self.progress;
        let (_, file_number, offset) = progress.tracker.place();
        let origin = Origin {
            file_number,
            offset,
            row: 0,
        };
        let bytes = progress.batch.bytes();
        let begin = bytes.len();
        bytes.extend_from_slice(key);
        let middle = bytes.len();
        bytes.extend_from_slice(value.unwrap_or_default());
        let value = value.map(|_| middle..bytes.len());
        let version = progress.next_version;
        let now_ms = super::now_ns() / 1_000_000;
        progress
            .batch
            .push(topic, now_ms, version, origin, begin..middle, value);
    }

    /// Stops where a statement adds a foreign key that changes rows of a followed table, or may bring one in by a rename.
    async fn refuse_cascades(&mut self, changes: &[TableChange], ddl: &Ddl) -> Result<()> {
        if self.progress.statements.facts.logs_cascades || self.context.options.on_cascade == OnCascade::Ignore {
            return Ok(());
        }
        let refuse = |detail: String| {
            Error::definite("a foreign key changes rows that this server does not log")
                .detail(detail)
                .hint(Cascade::FIX)
        };
        let filter = self.context.filter;
        let is_followed = |name: &(&str, &str)| filter.follows(name.0, name.1);
        let adds =
            |change: &&TableChange| change.change.adds_cascade() && change.names().any(|name| is_followed(&name));
        if let Some(change) = changes.iter().find(adds) {
            let detail = format!("{}.{}: {}", change.database, change.table, shorten(&ddl.text));
            return Err(refuse(detail));
        }
        let renamed = changes
            .iter()
            .filter_map(|change| change.names().nth(1))
            .filter(is_followed);
        let renamed: Vec<(&str, &str)> = renamed.collect();
        if renamed.is_empty() {
            return Ok(());
        }
        let cascades = self.source.cascades().await?;
        let is_renamed = |cascade: &&Cascade| renamed.contains(&(&cascade.child.0, &cascade.child.1));
        match cascades.iter().find(is_renamed) {
            Some(cascade) => Err(refuse(cascade.to_string())),
            None => Ok(()),
        }
    }

    /// Brings the schema history up to the statement.
    async fn follow_schemas(&mut self, changes: &[TableChange], ddl: &Ddl) -> Result<()> {
        let Some((mut history, topic)) = self.progress.statements.history.take() else {
            return Ok(());
        };
        // The same bytes may mean other columns from now on.
        self.progress.tables.clear();
        let unclear = history.apply(changes, self.context.filter);
        let looked_up = self.look_up(&mut history, &unclear, ddl).await;
        self.progress.statements.history = Some((history, topic));
        looked_up?;
        self.send_schemas();
        Ok(())
    }

    /// Adds the records of tables that changed to the open Kafka transaction.
    pub(super) fn send_schemas(&mut self) {
        let Some((mut history, topic)) = self.progress.statements.history.take() else {
            return;
        };
        let (file, _, offset) = self.progress.tracker.place();
        let from = schema::Origin {
            version: self.progress.next_version.as_i64(),
            file: file.to_owned(),
            offset,
        };
        for (key, value) in history.records(&from) {
            self.append(topic, &key, value.as_deref());
        }
        self.progress.statements.history = Some((history, topic));
    }

    /// Asks the server for tables that a statement left unclear, if no later statement is about them.
    async fn look_up(&mut self, history: &mut History, unclear: &[TableName], ddl: &Ddl) -> Result<()> {
        if unclear.is_empty() {
            return Ok(());
        }
        let at = self.progress.tracker.event_end();
        let covers = |survey: &Survey| unclear.iter().all(|name| survey.covers(name, at));
        if !self.progress.statements.survey.as_ref().is_some_and(covers) {
            let position = self.progress.tracker.position();
            let lower_case = self.progress.statements.facts.lower_case_names;
            let survey = survey(self.source, &position, unclear, self.context.filter, lower_case).await?;
            self.progress.statements.survey = Some(survey);
            self.source.start(&position).await?;
            self.progress.tracker = Tracker::new(position)?;
            self.progress.format = Format::default();
            self.progress.trail.abandon();
            if !ddl.ends_transaction {
                // It stands within a transaction, CREATE TABLE … SELECT, and comes again.
                return Ok(());
            }
        }
        if let Some(survey) = &self.progress.statements.survey {
            history.look_up(unclear, at, survey);
        }
        Ok(())
    }
}

fn allow_unknown(ddl: &Ddl, on_ddl: OnDdl) -> Result<()> {
    let error = Error::definite("a statement in the binlog that mysync does not know")
        .detail(shorten(&ddl.text))
        .hint("if it changes no rows of followed tables, start once with reader.on_ddl = \"ignore\"");
    if on_ddl == OnDdl::Ignore {
        tracing::warn!("passed over by reader.on_ddl: {}", error.one_line());
        return Ok(());
    }
    Err(error)
}
