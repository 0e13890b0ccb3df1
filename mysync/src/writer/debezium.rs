//! Records that Debezium itself published: its MySQL connector with Kafka Connect's JsonConverter, schemas embedded.
//!
//! Every value is turned into the default form (docs/types.md), so that stores hold the same bytes as behind mysync's own
//! reader. The schema says what a number is; a record without one is refused, since days and milliseconds look alike. What the
//! schema leaves open is asked of MySQL (`columns`): then [`Records::wants`] names the table, and the writer asks before it goes
//! on. What MySQL says is what its columns are now. So it is asked again from time to time, and when a column comes that was
//! not known; records that carry their columns' types (column.propagate.source.type) need no answer, and are exact across
//! every ALTER.
//!
//! The records of a table repeat one schema, which is several times as long as the row. So the text before the payload is
//! compared with that of the topic's last record, and parsed only where it differs.

mod columns;
mod documents;
mod schema;
mod times;
mod values;

use crate::encode::TABLE_IN_KEY;
use crate::error::{Error, Result};
use crate::queue::Message;
use crate::source::mysql::DescribedColumn;
use crate::target::TableName;
use columns::{Form, Known, Origin};
use schema::{Members, SCHEMAS_ENABLE, Schema, envelope, framed, parse};
use serde_json::value::RawValue;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long what MySQL said of a table's columns is gone by.
const COLUMNS_TIME: Duration = Duration::from_secs(10);

const SCHEMA_BEGIN: &[u8] = b"{\"schema\":";
const PAYLOAD_BEGIN: &[u8] = b",\"payload\":";

/// What a record stands for.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) table: Arc<TableName>,
    /// JSON of the default form.
    pub(super) key: String,
    pub(super) row: Option<Box<RawValue>>,
}

/// Reads records, and remembers schemas and what MySQL says of columns.
#[derive(Debug)]
pub(super) struct Records {
    topic_prefix: String,
    topics: HashMap<Arc<str>, Topic>,
    tables: HashMap<Arc<TableName>, Table>,
}

/// The schemas of a topic's last records.
#[derive(Debug, Default)]
struct Topic {
    /// The one table whose rows it holds.
    table: Option<Arc<TableName>>,
    value: Option<Plan>,
    key: Option<Plan>,
}

/// How the records of one schema are read.
#[derive(Debug)]
struct Plan {
    /// All that stands before the payload.
    frame: Box<[u8]>,
    table: Arc<TableName>,
    columns: Vec<Column>,
    /// Whether MySQL was asked.
    is_asked: bool,
}

#[derive(Debug)]
struct Column {
    name: String,
    form: Form,
    /// What the schema itself says of the column in MySQL.
    origin: Option<Origin>,
    shown: String,
}

/// What MySQL says of a table.
#[derive(Debug)]
struct Table {
    columns: HashMap<String, Origin>,
    /// Columns that it was asked for and does not have.
    gone: HashSet<String>,
    /// Columns that it is being asked for.
    wanted: HashSet<String>,
    told: Option<Instant>,
}

/// Whether the schemas of a record are understood, or MySQL has to be asked first.
enum Readiness {
    Ready,
    Asks(Arc<TableName>),
}

impl Records {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            topic_prefix: format!("{prefix}."),
            topics: HashMap::new(),
            tables: HashMap::new(),
        }
    }

    /// The table whose columns have to be told before the record can be read. A record that is not understood wants nothing.
    pub(super) fn wants(&mut self, message: &Message) -> Option<Arc<TableName>> {
        match self.prepare(message, true) {
            Ok(Readiness::Asks(table)) => Some(table),
            Ok(Readiness::Ready) | Err(_) => None,
        }
    }

    /// What MySQL says of the columns of a table; none if it is not there.
    pub(super) fn tell(&mut self, table: &Arc<TableName>, columns: Option<Vec<DescribedColumn>>) {
        let columns = columns.unwrap_or_default();
        let columns: HashMap<String, Origin> = columns
            .into_iter()
            .map(|column| (column.name.clone(), Origin::of_described(&column)))
            .collect();
        let known = self.tables.entry(Arc::clone(table)).or_insert_with(Table::new);
        let wanted = std::mem::take(&mut known.wanted);
        known.gone.extend(wanted);
        known.gone.retain(|name| !columns.contains_key(name));
        known.told = Some(Instant::now());
        if known.columns != columns {
            known.columns = columns;
            for topic in self.topics.values_mut() {
                let is_old = |plan: &mut Plan| plan.is_asked && plan.table == *table;
                topic.value.take_if(is_old);
                topic.key.take_if(is_old);
            }
        }
    }

    /// What the record stands for.
    pub(super) fn read(&mut self, message: &Message) -> Result<Change> {
        self.change(message).map_err(|error| match error.hint {
            Some(_) => error,
            None => error.hint(
                "who else writes to this topic, and which transforms has the connector? with writer.format = \"debezium\" the \
                 writer understands what Debezium's MySQL connector publishes with JsonConverter and schemas",
            ),
        })
    }

    fn change(&mut self, message: &Message) -> Result<Change> {
        if let Readiness::Asks(table) = self.prepare(message, false)? {
            let what = format!("the columns of table {}.{} are not known", table.database, table.table);
            return Err(Error::transient(what));
        }
        let topic = self.topics.get(&message.partition.topic);
        let plans = topic.and_then(|topic| Some((topic.key.as_ref()?, topic.value.as_ref())));
        let Some((key_plan, value_plan)) = plans else {
            return Err(Error::definite("the schemas of a record are not known"));
        };
        let key = key_plan.read(key_plan.payload(&message.key)?)?;
        if key == "{}" {
            return Err(no_key());
        }
        let Some(value) = &message.value else {
            return Ok(Change {
                table: Arc::clone(&key_plan.table),
                key,
                row: None,
            });
        };
        let plan = value_plan.ok_or_else(|| Error::definite("the schema of a record is not known"))?;
        let envelope = envelope(plan.payload(value)?)?;
        if envelope.source.db != plan.table.database || envelope.source.table != plan.table.table {
            let other = TableName {
                database: envelope.source.db.into_owned(),
                table: envelope.source.table.into_owned(),
            };
            return Err(shared(Some(&plan.table), &other));
        }
        let row = match (envelope.op.as_ref(), envelope.after) {
            ("c" | "u" | "r", Some(after)) => {
                let text = plan.read(after.get())?;
                let row = RawValue::from_string(text);
                Some(row.map_err(|error| Error::definite("a row that was read is no JSON").detail(error))?)
            }
            ("d", _) => None,
            ("c" | "u" | "r", None) => {
                return Err(Error::definite("an insert or update has no row in \"after\"").detail(&envelope.op));
            }
            ("t", _) => return Err(truncated()),
            (op, _) => {
                return Err(Error::definite(format!(
                    "a record has an operation that is not known: {op}"
                )));
            }
        };
        Ok(Change {
            table: Arc::clone(&plan.table),
            key,
            row,
        })
    }

    /// Makes the plans for a record where the last ones do not fit.
    fn prepare(&mut self, message: &Message, is_fresh: bool) -> Result<Readiness> {
        if message.key.is_empty() {
            let value = message.value.as_deref().unwrap_or_default();
            let op = framed(value)
                .ok()
                .and_then(|framed| envelope(framed.1.get()).ok().map(|envelope| envelope.op));
            return Err(if op.as_deref() == Some("t") {
                truncated()
            } else {
                no_key()
            });
        }
        let name = &message.partition.topic;
        let topic = self.topics.entry(Arc::clone(name)).or_default();
        if let Some(value) = &message.value
            && !topic.value.as_ref().is_some_and(|plan| plan.is_of(value))
        {
            let (schema, payload) = framed(value)?;
            let envelope = envelope(payload.get())?;
            let table = Arc::new(TableName {
                database: envelope.source.db.into_owned(),
                table: envelope.source.table.into_owned(),
            });
            if topic.table.as_ref().is_some_and(|known| *known != table) {
                return Err(shared(topic.table.as_deref(), &table));
            }
            topic.table = Some(Arc::clone(&table));
            let schema = parse(schema)?;
            let row = schema.get("after").filter(|after| !after.fields.is_empty());
            let row =
                row.ok_or_else(|| Error::definite("a record's schema has no row in \"after\"").hint(SCHEMAS_ENABLE))?;
            match self
                .tables
                .entry(Arc::clone(&table))
                .or_insert_with(Table::new)
                .plan(value, &table, row, None)?
            {
                // The types of key columns may stand in the value's schema alone.
                Some(plan) => (topic.value, topic.key) = (Some(plan), None),
                None => return Ok(Readiness::Asks(table)),
            }
        }
        if !topic.key.as_ref().is_some_and(|plan| plan.is_of(&message.key)) {
            let table = match &topic.table {
                Some(table) => Arc::clone(table),
                None => table_of_name(&self.topic_prefix, name)?,
            };
            let schema = parse(framed(&message.key)?.0)?;
            let known = self.tables.entry(Arc::clone(&table)).or_insert_with(Table::new);
            match known.plan(&message.key, &table, &schema, topic.value.as_ref())? {
                Some(plan) => topic.key = Some(plan),
                None => return Ok(Readiness::Asks(table)),
            }
        }
        let plans = [&topic.key, &topic.value].into_iter().flatten();
        let mut asked = plans.filter(|plan| plan.is_asked);
        let Some(plan) = asked.next().filter(|_| is_fresh) else {
            return Ok(Readiness::Ready);
        };
        let told = self.tables.get(&plan.table).and_then(|table| table.told);
        match told.is_some_and(|told| told.elapsed() < COLUMNS_TIME) {
            true => Ok(Readiness::Ready),
            false => Ok(Readiness::Asks(Arc::clone(&plan.table))),
        }
    }
}

impl Table {
    fn new() -> Self {
        Self {
            columns: HashMap::new(),
            gone: HashSet::new(),
            wanted: HashSet::new(),
            told: None,
        }
    }

    /// How records of this schema are read; none as long as MySQL has to be asked.
    fn plan(
        &mut self,
        record: &[u8],
        table: &Arc<TableName>,
        row: &Schema,
        value: Option<&Plan>,
    ) -> Result<Option<Plan>> {
        let (mut columns, mut is_asked) = (Vec::with_capacity(row.fields.len()), false);
        self.wanted.clear();
        for field in &row.fields {
            let beside = || {
                value?
                    .columns
                    .iter()
                    .find(|column| column.name == field.field)?
                    .origin
                    .clone()
            };
            let origin = Origin::of_parameters(field).or_else(beside);
            let known = match &origin {
                Some(origin) => Known::As(origin.clone()),
                // It is Kafka's and no column.
                None if field.field == TABLE_IN_KEY => Known::Gone,
                None if !columns::asks(field) => Known::Gone,
                None => {
                    is_asked = true;
                    match self.columns.get(&field.field) {
                        Some(origin) => Known::As(origin.clone()),
                        None if self.gone.contains(&field.field) => Known::Gone,
                        None => {
                            self.wanted.insert(field.field.clone());
                            continue;
                        }
                    }
                }
            };
            let form = columns::form(field, &known).map_err(|refusal| {
                let TableName { database, table } = &**table;
                Error::definite(format!(
                    "a column's values cannot be read: {database}.{table}.{}",
                    field.field
                ))
                .detail(refusal.why)
                .hint(refusal.remedy)
            })?;
            columns.push(Column {
                name: field.field.clone(),
                form,
                origin,
                shown: field.shown(),
            });
        }
        if !self.wanted.is_empty() {
            return Ok(None);
        }
        let payload = framed(record)?.1.get();
        let frame = record
            .len()
            .checked_sub(payload.len() + 1)
            .and_then(|length| record.get(..length));
        // A converter that writes otherwise is read as well, but each record anew.
        let frame = frame.filter(|frame| frame.starts_with(SCHEMA_BEGIN) && frame.ends_with(PAYLOAD_BEGIN));
        Ok(Some(Plan {
            frame: frame.unwrap_or_default().into(),
            table: Arc::clone(table),
            columns,
            is_asked,
        }))
    }
}

impl Plan {
    fn is_of(&self, record: &[u8]) -> bool {
        !self.frame.is_empty() && record.starts_with(&self.frame)
    }

    /// What stands behind the schema.
    fn payload<'r>(&self, record: &'r [u8]) -> Result<&'r str> {
        match self.is_of(record) {
            true => {
                let payload = record
                    .get(self.frame.len()..record.len().saturating_sub(1))
                    .unwrap_or_default();
                let text = std::str::from_utf8(payload);
                text.map_err(|error| Error::definite("a record is not UTF-8").detail(error))
            }
            false => framed(record).map(|(_, payload)| payload.get()),
        }
    }

    /// A row or key in the default form.
    fn read(&self, struct_text: &str) -> Result<String> {
        let members: Members<'_> = serde_json::from_str(struct_text)
            .map_err(|error| Error::definite("a record's payload is no object of columns").detail(error))?;
        let mut out = Vec::with_capacity(struct_text.len());
        out.push(b'{');
        let mut columns = self.columns.iter();
        for (name, value) in &members.0 {
            if name == TABLE_IN_KEY {
                columns.next();
                continue;
            }
            // They stand in the schema's order.
            let column = columns.next().filter(|column| column.name == *name).ok_or_else(|| {
                Error::definite("a record's payload does not follow its schema").detail(format!("column {name}"))
            })?;
            if out.len() > 1 {
                out.push(b',');
            }
            crate::decode::json_string(&mut out, name.as_bytes());
            out.push(b':');
            match value.get() {
                "null" => out.extend_from_slice(b"null"),
                _ => values::write(column.form, value, &mut out).map_err(|wrong| self.refused(column, &wrong))?,
            }
        }
        if columns.next().is_some() {
            return Err(Error::definite("a record's payload does not follow its schema").detail("columns are missing"));
        }
        out.push(b'}');
        String::from_utf8(out).map_err(|error| Error::definite("a record is not UTF-8").detail(error))
    }

    fn refused(&self, column: &Column, wrong: &str) -> Error {
        let TableName { database, table } = &*self.table;
        Error::definite(format!("a value cannot be read: column {database}.{table}.{}", column.name))
            .detail(format!("type {}", column.shown))
            .detail(wrong)
            .hint(
                "are all of the connector's options of values at their defaults, and the converter's decimal.format BASE64? then \
                 correct the row in MySQL, which publishes it anew, and skip this record: mysync writer skip",
            )
    }
}

/// The table of a topic of which only tombstones were seen.
fn table_of_name(topic_prefix: &str, topic: &str) -> Result<Arc<TableName>> {
    let rest = topic.strip_prefix(topic_prefix).and_then(|rest| rest.split_once('.'));
    match rest {
        // A name in which characters were replaced names a table that cannot have this topic.
        Some((database, table)) if !table.contains('.') => Ok(Arc::new(TableName {
            database: database.to_owned(),
            table: table.to_owned(),
        })),
        _ => Err(Error::definite("a tombstone does not tell its table")
            .detail("the topic's name is not clear")
            .hint("skip it if its row is gone: mysync writer skip")),
    }
}

fn truncated() -> Error {
    Error::definite("a table was truncated, and the record that says so has no key").hint(
        "delete the table's rows from the target and skip this record (mysync writer skip); leave skipped.operations at its \
         default in the connector, so that there are no such records",
    )
}

/// Rows of one key of both would be one row, and a tombstone does not say whose it is.
fn shared(one: Option<&TableName>, other: &TableName) -> Error {
    let tables = one.into_iter().chain([other]);
    let tables: Vec<String> = tables.map(|name| format!("{}.{}", name.database, name.table)).collect();
    Error::definite("two tables share a topic").detail(tables.join(" and ")).hint(
        "have the connector publish each table to its own topic: without transforms that route them, and with names that do not \
         become the same one (what Kafka forbids in a topic's name becomes _)",
    )
}

fn no_key() -> Error {
    Error::definite("a record has no key").hint(
        "the table has no primary key: name columns that identify a row in the connector's message.key.columns, and in \
         [source.keys] for mysync check",
    )
}

#[cfg(test)]
mod tests;
