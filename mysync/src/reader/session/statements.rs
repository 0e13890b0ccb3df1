//! What a session does about statements that are about tables: the policies `on_ddl` and `on_cascade`, the topic
//! `<prefix>.__ddl`, and the schema history where the binlog does not describe the tables.

use super::{Context, Session};
use crate::checkpoint::Position;
use crate::config::{OnCascade, OnDdl};
use crate::decode::{Format, TableMap};
use crate::error::{Error, Result};
use crate::queue::{Origin, Publisher, Queue, Topic, TopicId};
use crate::reader::cascade::Parents;
use crate::reader::refresh::Table;
use crate::reader::survey::survey;
use crate::reader::tracker::{Ddl, Tracker, shorten};
use crate::schema::{self, History, Statement, Survey, TableChange, TableName};
use crate::source::{Cascade, Facts, Parent, Source};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The compacted topic of the schema history.
const SCHEMA_TOPIC: &str = "schema";

/// The log of statements that changed rows without row events.
const DDL_TOPIC: &str = "ddl";

/// The compacted topic of tables that readers without refreshes of tables have marked for one: key `["database","table"]`, an
/// empty table for all of a database.
const DUE_TOPIC: &str = "refresh_due";

/// What is known beside the rows.
pub(super) struct Statements {
    facts: Facts,
    /// The schema history and its topic, where the binlog does not describe the tables.
    history: Option<(History, TopicId)>,
    /// The last look ahead, good for the statements that it saw.
    survey: Option<Survey>,
    /// The tables with whose rows those of others change without a trace, where that is followed.
    parents: Parents,
    /// Tables that were marked for a refresh, and the statements that are the reason.
    due: Vec<(TableName, String)>,
}

/// Value of a record of the topic `__ddl`.
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
    /// Finds out what holds at a checkpoint; `forgets` what was known of tables before.
    pub(super) async fn open<S: Source, Q: Queue>(
        source: &mut S,
        queue: &Q,
        publisher: &mut Q::Publisher,
        context: &Context<'_>,
        position: &Position,
        forgets: bool,
    ) -> Result<Self> {
        let mut due = Vec::new();
        if context.options.on_ddl == OnDdl::Refresh {
            publisher.declare(Topic::Compacted(DUE_TOPIC)).await?;
            due = marked(queue).await?;
        }
        let facts = source.facts().await?;
        let mut statements = Self {
            facts,
            history: None,
            survey: None,
            parents: Parents::default(),
            due,
        };
        if statements.follows_cascades(context) {
            statements.parents = Parents::new(source.parents().await?);
        }
        if facts.names_columns {
            return Ok(statements);
        }
        let topic = publisher.declare(Topic::Compacted(SCHEMA_TOPIC)).await?;
        let scan = queue.scan(SCHEMA_TOPIC, 0).await?;
        let mut history = History::load(scan, facts.names_charsets).await?;
        // What statements did in a gap nobody knows.
        let missing = match forgets {
            true => history.known_and(source.tables().await?),
            false => history.missing(source.tables().await?),
        };
        if !missing.is_empty() {
            let survey = survey(source, position, &missing, context.filter, facts.lower_case_names).await?;
            let at = Tracker::new(position.clone())?.event_end();
            history.look_up(&missing, at, &survey);
            statements.survey = Some(survey);
        }
        statements.history = Some((history, topic));
        Ok(statements)
    }

    fn follows_cascades(&self, context: &Context<'_>) -> bool {
        !self.facts.logs_cascades && context.options.on_cascade == OnCascade::Follow
    }

    /// What changes with the rows of a table without a trace, where that is followed.
    pub(super) fn parent(&self, database: &str, table: &str) -> Option<Arc<Parent>> {
        self.parents.get(database, table)
    }

    /// Adds to a Table_map what the binlog does not say.
    pub(super) fn supply(&self, map: &mut TableMap) -> Result<()> {
        match &self.history {
            Some((history, _)) if !map.metadata_is_full => history.supply(map),
            _ => Ok(()),
        }
    }
}

/// The tables that are marked for a refresh.
async fn marked<Q: Queue>(queue: &Q) -> Result<Vec<(TableName, String)>> {
    let mut scan = queue.scan(DUE_TOPIC, 0).await?;
    let mut due: BTreeMap<TableName, String> = BTreeMap::new();
    while let Some(record) = scan.next().await? {
        let Ok(name) = serde_json::from_slice::<TableName>(&record.key) else {
            continue;
        };
        match record.value {
            Some(value) => {
                let reason = serde_json::from_slice::<serde_json::Value>(&value).unwrap_or_default();
                let statement = shorten(reason["statement"].as_str().unwrap_or_default());
                due.insert(name, statement);
            }
            None => drop(due.remove(&name)),
        }
    }
    Ok(due.into_iter().collect())
}

impl<S: Source, Q: Queue> Session<'_, S, Q> {
    /// Takes up the marks that there are; the next checkpoint passes that.
    pub(super) async fn take_due(&mut self) -> Result<()> {
        for ((database, table), statement) in std::mem::take(&mut self.progress.statements.due) {
            self.refresh_tables(&database, &table, &statement).await?;
            let topic = self.publisher.declare(Topic::Compacted(DUE_TOPIC)).await?;
            let key = serde_json::to_vec(&(&database, &table)).unwrap_or_default();
            self.append(topic, &key, None);
        }
        Ok(())
    }

    /// Has a table read anew because of a statement, or all of a database that have been published.
    async fn refresh_tables(&mut self, database: &str, table: &str, statement: &str) -> Result<()> {
        let names = match table.is_empty() {
            false => vec![(database.to_owned(), table.to_owned())],
            true => {
                let published = self.queue.tables().await?.into_iter();
                let names: BTreeSet<TableName> = published.chain(self.progress.introduced.iter().cloned()).collect();
                names.into_iter().collect()
            }
        };
        let (filter, now) = (self.context.filter, self.progress.next_version);
        for name in names
            .iter()
            .filter(|name| name.0 == database && filter.follows(&name.0, &name.1))
        {
            let table = Table::new(name, None, now).because(&shorten(statement));
            self.progress.refresh.add(table);
        }
        Ok(())
    }

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
        let now = self.progress.next_version;
        for change in changes.iter().filter(|change| !change.change.is_harmless_to_readers()) {
            for (database, table) in change.names() {
                self.progress.refresh.void(database, table, now);
            }
        }
        self.refuse_cascades(changes, ddl).await?;
        self.follow_cascades(changes, ddl).await?;
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
            "a statement changes rows without row events"
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
            self.refresh_tables(database, table, &ddl.text).await?;
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
        if self.progress.statements.facts.logs_cascades || self.context.options.on_cascade != OnCascade::Refuse {
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

    /// Looks at foreign keys again where a statement may have changed them. What one that is gone has done before, and a server that is
    /// asked now does not know of, is found in the child's table.
    async fn follow_cascades(&mut self, changes: &[TableChange], ddl: &Ddl) -> Result<()> {
        if !self.progress.statements.follows_cascades(&self.context) {
            return Ok(());
        }
        let filter = self.context.filter;
        for change in changes.iter().filter(|change| change.change.drops_constraint()) {
            let name = (change.database.clone(), change.table.clone());
            if filter.follows(&name.0, &name.1) {
                let now = self.progress.next_version;
                self.progress.refresh.again(&name, &shorten(&ddl.text), now);
            }
        }
        let is_new = |change: &TableChange| {
            change.change.adds_cascade() || change.change.drops_constraint() || change.names().count() > 1
        };
        if changes.iter().any(is_new) {
            self.progress.statements.parents = Parents::new(self.source.parents().await?);
            self.progress.tables.clear();
        }
        Ok(())
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
