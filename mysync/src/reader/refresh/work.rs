//! What is to be refreshed, and the records of the topic `<prefix>.__refresh` that keep it.
//!
//! Each work is a record. It is written when the work comes, when it has gone on, and deleted when it is done: always in the
//! Kafka transaction of the checkpoint that says as much, so that a reader that starts anew finds what holds there.

use super::signal::OF_POLICY;
use crate::error::{Error, Result};
use crate::queue::{Queue, StoredRecord};
use crate::schema::TableName;
use crate::source::{Edge, Progress, State};
use crate::version::Version;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The topic's name without prefix and underscores.
pub(in crate::reader) const TOPIC: &str = "refresh";

/// Keys in a request.
pub(super) const KEYS_MAX: usize = 256;

/// Bytes of a request's keys: it is one record.
const KEYS_BYTES_MAX: usize = 256 << 10;

/// Rows that are to be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::reader) struct Request {
    pub(in crate::reader) database: String,
    pub(in crate::reader) table: String,
    /// As they stand in records.
    pub(in crate::reader) keys: Vec<String>,
}

/// A table that is to be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::reader) struct Table {
    pub(in crate::reader) database: String,
    pub(in crate::reader) table: String,
    /// What it is called where its progress is told.
    pub(in crate::reader) request: String,
    /// Why, if no person has asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::reader) reason: Option<String>,
    /// Only rows that meet this SQL condition; then none is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::reader) condition: Option<String>,
    /// All records that this work and the stream have published since have this version or a higher one.
    pub(in crate::reader) since: Version,
    pub(in crate::reader) phase: Phase,
    /// Rows up to here are published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::reader) after: Option<Edge>,
    /// Once it is done it is to be done again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::reader) again: bool,
    /// Rows read.
    pub(in crate::reader) rows: u64,
    /// Rows that were published and are gone.
    pub(in crate::reader) gone: u64,
}

/// What is being done about a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::reader) enum Phase {
    /// Its rows are read.
    Rows,
    /// What it has published and does not have is looked for.
    Gone,
    /// Nothing any more; it is still to be told.
    Over(State, String),
}

impl Table {
    /// The whole of a table, or what meets the condition.
    pub(in crate::reader) fn new(name: &TableName, condition: Option<String>, since: Version) -> Self {
        Self {
            database: name.0.clone(),
            table: name.1.clone(),
            request: String::new(),
            reason: None,
            condition,
            since,
            phase: Phase::Rows,
            after: None,
            again: false,
            rows: 0,
            gone: 0,
        }
    }

    /// Because of a policy: the reader stops if it cannot be done.
    pub(in crate::reader) fn because(mut self, reason: &str) -> Self {
        self.request = format!("{OF_POLICY}{}", self.since.as_i64());
        self.reason = Some(reason.to_owned());
        self
    }

    /// The name of the table.
    pub(super) fn name(&self) -> TableName {
        (self.database.clone(), self.table.clone())
    }

    /// The key of its record: a table as a whole has one work at a time.
    fn id(&self) -> String {
        match &self.condition {
            None => serde_json::to_string(&(&self.database, &self.table)).unwrap_or_default(),
            Some(_) => format!("{}-{}-{}", self.request, self.database, self.table),
        }
    }

    /// From the beginning, of what the table is from now on.
    pub(super) fn restart(&mut self, now: Version) {
        if !self.is_over() {
            (self.since, self.phase, self.after, self.again) = (now, Phase::Rows, None, false);
            (self.rows, self.gone) = (0, 0);
        }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over(..))
    }

    fn progress(&self, is_begun: bool, is_stored: bool) -> Progress {
        let (state, detail) = match &self.phase {
            Phase::Rows if !is_begun && self.after.is_none() => (State::Waiting, ""),
            Phase::Rows => (State::Rows, ""),
            Phase::Gone => (State::Gone, ""),
            // It is not over before that is committed.
            Phase::Over(..) if !is_stored => (State::Gone, ""),
            Phase::Over(state, detail) => (*state, detail.as_str()),
        };
        let detail = match (&self.reason, detail) {
            (Some(reason), "") => reason,
            (_, detail) => detail,
        };
        Progress {
            request: self.request.clone(),
            table: self.name(),
            state,
            rows: self.rows,
            gone: self.gone,
            detail: detail.to_owned(),
        }
    }
}

impl Request {
    /// Requests for so many keys of a table.
    pub(in crate::reader) fn of_keys(table: &TableName, keys: impl Iterator<Item = String>) -> Vec<Self> {
        let mut requests: Vec<Self> = Vec::new();
        let mut bytes = 0;
        for key in keys {
            let is_full = |last: &Self| last.keys.len() >= KEYS_MAX || bytes + key.len() > KEYS_BYTES_MAX;
            if requests.last().is_none_or(is_full) {
                bytes = 0;
                requests.push(Self {
                    database: table.0.clone(),
                    table: table.1.clone(),
                    keys: Vec::new(),
                });
            }
            bytes += key.len();
            if let Some(last) = requests.last_mut() {
                last.keys.push(key);
            }
        }
        requests
    }
}

/// A thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Task {
    Keys(Request),
    Table(Table),
}

/// Whether a checkpoint has it. Nothing is published for a work before: a reader that dies would not know of what it has published,
/// and in sequenced delivery give its versions away again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    New,
    OnItsWay,
    Stored,
}

/// A task and its record.
#[derive(Debug)]
pub(super) struct Work {
    /// The key of its record.
    pub(super) id: String,
    pub(super) task: Task,
    pub(super) stage: Stage,
    /// The record is not the latest.
    is_changed: bool,
}

/// All works, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Works {
    list: Vec<Work>,
    /// Keys of records that are not needed any more.
    done: Vec<String>,
}

impl Works {
    /// Reads the topic back.
    pub(super) async fn restore<Q: Queue>(queue: &Q, count: usize) -> Result<Self> {
        let mut found: BTreeMap<Vec<u8>, (i64, Task)> = BTreeMap::new();
        let mut scan = queue.scan(TOPIC, 0).await?;
        while let Some(StoredRecord { offset, key, value }) = scan.next().await? {
            match value {
                None => drop(found.remove(&key)),
                Some(value) => drop(found.insert(key, (offset, Task::read(&value)?))),
            }
        }
        if found.len() != count {
            return Err(unreadable(&format!(
                "{} requests, the checkpoint has {count}",
                found.len()
            )));
        }
        let mut in_order: Vec<_> = found.into_iter().collect();
        in_order.sort_by_key(|(_, (offset, _))| *offset);
        let work = |(key, (_, task)): (Vec<u8>, (i64, Task))| Work {
            id: String::from_utf8_lossy(&key).into_owned(),
            task,
            stage: Stage::Stored,
            is_changed: false,
        };
        Ok(Self {
            list: in_order.into_iter().map(work).collect(),
            done: Vec::new(),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Work> {
        self.list.iter()
    }

    pub(super) fn get(&self, id: &str) -> Option<&Work> {
        self.list.iter().find(|work| work.id == id)
    }

    /// A work that is about to go on, so that its record has to be written anew.
    pub(super) fn change(&mut self, id: &str) -> Option<&mut Work> {
        let work = self.list.iter_mut().find(|work| work.id == id)?;
        work.is_changed = true;
        Some(work)
    }

    /// Keys of rows that are still to be read.
    pub(super) fn keys(&self) -> usize {
        let keys = |work: &Work| match &work.task {
            Task::Keys(request) => request.keys.len(),
            Task::Table(_) => 0,
        };
        self.list.iter().map(keys).sum()
    }

    pub(super) fn add_keys(&mut self, requests: Vec<Request>, version: Version) {
        let first = version.as_i64();
        for (number, request) in requests.into_iter().enumerate() {
            self.push(format!("{first}-{number}"), Task::Keys(request));
        }
    }

    /// Adds a table. The whole of one that is there already begins anew.
    pub(super) fn add_table(&mut self, mut table: Table) {
        let id = table.id();
        let number = self.list.iter().position(|work| work.id == id);
        if let Some(Task::Table(before)) = number.map(|number| &self.list[number].task) {
            // What a policy wants is not less wanted since a person wants it, too.
            table.reason = table
                .reason
                .or_else(|| before.reason.clone().filter(|_| !before.is_over()));
        }
        match number {
            Some(number) => {
                let work = &mut self.list[number];
                (work.task, work.stage, work.is_changed) = (Task::Table(table), Stage::New, true);
            }
            None => self.push(id, Task::Table(table)),
        }
    }

    /// Has a table read as a whole, again if that is going on already. What was published before `now` may be wrong, and, where
    /// rows of it are being read, what is published of them: then it is read twice.
    pub(super) fn again(
        &mut self,
        name: &TableName,
        reason: &str,
        now: Version,
        is_begun: impl Fn(&str) -> bool,
        is_read: bool,
    ) {
        let mut table = Table::new(name, None, now).because(reason);
        table.again = is_read;
        let id = table.id();
        let Some(work) = self.list.iter_mut().find(|work| work.id == id) else {
            return self.push(id, Task::Table(table));
        };
        match &mut work.task {
            Task::Table(before) if before.is_over() => (work.task, work.stage) = (Task::Table(table), Stage::New),
            Task::Table(before) => {
                before.reason.get_or_insert_with(|| reason.to_owned());
                match is_begun(&id) || before.after.is_some() || before.phase == Phase::Gone {
                    true => before.again = true,
                    false => {
                        before.restart(now);
                        before.again = is_read;
                    }
                }
            }
            Task::Keys(_) => {}
        }
        work.is_changed = true;
    }

    fn push(&mut self, id: String, task: Task) {
        self.done.retain(|done| *done != id);
        self.list.push(Work {
            id,
            task,
            stage: Stage::New,
            is_changed: true,
        });
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.list.retain(|work| work.id != id);
        self.done.push(id.to_owned());
    }

    /// A statement has changed the table, of which an empty name stands for all of the database: what was read of it is void.
    pub(super) fn restart(&mut self, database: &str, table: &str, now: Version) {
        for work in &mut self.list {
            if let Task::Table(whole) = &mut work.task
                && whole.database == database
                && (table.is_empty() || whole.table == table)
            {
                whole.restart(now);
                work.is_changed = true;
            }
        }
    }

    /// Whether one waits for a checkpoint.
    pub(super) fn wants_commit(&self) -> bool {
        !self.done.is_empty() || self.list.iter().any(|work| work.stage == Stage::New)
    }

    /// Whether nothing would be written by [`Works::save`].
    pub(super) fn is_saved(&self) -> bool {
        self.done.is_empty() && !self.list.iter().any(|work| work.is_changed)
    }

    /// What the next checkpoint needs: keys of records, and their values.
    pub(super) fn save(&mut self, mut record: impl FnMut(&str, Option<&[u8]>)) {
        for id in std::mem::take(&mut self.done) {
            record(&id, None);
        }
        for work in self.list.iter_mut().filter(|work| work.is_changed) {
            work.is_changed = false;
            if work.stage == Stage::New {
                work.stage = Stage::OnItsWay;
            }
            record(&work.id, Some(&work.task.written()));
        }
    }

    /// The checkpoint behind the last save is committed.
    pub(super) fn saved(&mut self) {
        for work in self.list.iter_mut().filter(|work| work.stage == Stage::OnItsWay) {
            work.stage = Stage::Stored;
        }
    }

    /// Whether all works are tables that are over, and stored as such.
    pub(super) fn is_over(&self) -> bool {
        let is_over =
            |work: &Work| matches!(&work.task, Task::Table(table) if table.is_over()) && work.stage == Stage::Stored;
        self.list.iter().all(is_over)
    }

    /// The tables that are over.
    pub(super) fn over(&self) -> Vec<(String, Progress)> {
        let line = |work: &Work| match &work.task {
            Task::Table(table) if table.is_over() => {
                Some((work.id.clone(), table.progress(false, work.stage == Stage::Stored)))
            }
            _ => None,
        };
        self.list.iter().filter_map(line).collect()
    }

    /// How far all tables are; `is_begun` says which are being read.
    pub(super) fn progress(&self, is_begun: impl Fn(&str) -> bool) -> Vec<(String, Progress)> {
        let line = |work: &Work| match &work.task {
            Task::Keys(_) => None,
            Task::Table(table) => {
                let is_stored = work.stage == Stage::Stored;
                Some((work.id.clone(), table.progress(is_begun(&work.id), is_stored)))
            }
        };
        self.list.iter().filter_map(line).collect()
    }
}

impl Task {
    fn read(value: &[u8]) -> Result<Self> {
        let value: serde_json::Value = serde_json::from_slice(value).map_err(|error| unreadable(&error))?;
        let task = match value.get("keys") {
            Some(_) => serde_json::from_value(value).map(Self::Keys),
            None => serde_json::from_value(value).map(Self::Table),
        };
        task.map_err(|error| unreadable(&error))
    }

    fn written(&self) -> Vec<u8> {
        let written = match self {
            Task::Keys(request) => serde_json::to_vec(request),
            Task::Table(table) => serde_json::to_vec(table),
        };
        written.unwrap_or_default()
    }

    /// The table that it is about.
    pub(super) fn table(&self) -> TableName {
        match self {
            Task::Keys(request) => (request.database.clone(), request.table.clone()),
            Task::Table(table) => table.name(),
        }
    }
}

fn unreadable(why: &dyn std::fmt::Display) -> Error {
    Error::definite(format!("requests in topic __{TOPIC} are not as the checkpoint has them"))
        .detail(why)
        .hint("were records deleted from it, or written by a newer version of mysync? load the tables anew under a new kafka.prefix")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_hold_a_bounded_number_of_keys() {
        let table = ("d".to_owned(), "t".to_owned());
        let requests = Request::of_keys(&table, (0..600).map(|number| number.to_string()));
        assert_eq!(
            requests.iter().map(|request| request.keys.len()).collect::<Vec<_>>(),
            [256, 256, 88]
        );
        let large = "x".repeat(KEYS_BYTES_MAX / 2);
        let requests = Request::of_keys(&table, std::iter::repeat_n(large, 5));
        assert_eq!(
            requests.iter().map(|request| request.keys.len()).collect::<Vec<_>>(),
            [2, 2, 1]
        );
        assert!(Request::of_keys(&table, std::iter::empty()).is_empty());
    }

    fn version(seq: u64) -> Version {
        Version::new(1, seq).unwrap()
    }

    #[test]
    fn works_read_back_as_they_were_written() {
        let name = ("d".to_owned(), "t".to_owned());
        let mut works = Works::default();
        works.add_keys(Request::of_keys(&name, ["1".to_owned()].into_iter()), version(5));
        let mut table = Table::new(&name, Some("a > 1".into()), version(6)).because("a statement");
        table.after = Some(Edge {
            columns: vec!["a".into()],
            values: vec!["n1".into()],
        });
        table.phase = Phase::Over(State::Failed, "why".into());
        works.add_table(table);
        let mut written = Vec::new();
        works.save(|id, value| written.push((id.to_owned(), Task::read(value.unwrap()).unwrap())));
        let kept: Vec<(String, Task)> = works.iter().map(|work| (work.id.clone(), work.task.clone())).collect();
        assert_eq!(written, kept);
        assert!(works.is_saved());
        assert!(Task::read(b"{\"database\":\"d\",\"table\":\"t\",\"keys\":[],\"more\":1}").is_err());
        assert!(Task::read(b"{\"database\":\"d\",\"table\":\"t\"}").is_err());
    }

    #[test]
    fn a_table_has_one_work_and_begins_anew_at_a_statement() {
        let name = ("d".to_owned(), "t".to_owned());
        let mut works = Works::default();
        works.add_table(Table::new(&name, None, version(6)).because("a statement"));
        works.add_table(Table::new(&name, Some("x".into()), version(6)));
        works.save(|_, _| {});
        works.saved();
        let id = works.iter().next().unwrap().id.clone();
        if let Task::Table(table) = &mut works.change(&id).unwrap().task {
            (table.phase, table.rows) = (Phase::Gone, 7);
        }
        works.restart("other", "", version(8));
        works.restart("d", "u", version(8));
        assert!(matches!(&works.get(&id).unwrap().task, Task::Table(table) if table.phase == Phase::Gone));
        works.restart("d", "", version(9));
        for work in works.iter() {
            let Task::Table(table) = &work.task else { panic!() };
            assert_eq!((&table.phase, table.since, table.rows), (&Phase::Rows, version(9), 0));
            assert_eq!(work.stage, Stage::Stored);
        }
        // A table that is being read is read again behind that, one that waits is read once.
        let reads = |_: &str| true;
        works.again(&name, "a cascade", version(20), |_| false, false);
        let table = |works: &Works| match &works.get(&id).unwrap().task {
            Task::Table(table) => table.clone(),
            Task::Keys(_) => panic!(),
        };
        assert_eq!((table(&works).since, table(&works).again), (version(20), false));
        works.again(&name, "a cascade", version(21), reads, false);
        works.again(&name, "a cascade", version(22), reads, false);
        assert_eq!((table(&works).since, table(&works).again), (version(20), true));
        // Asked for by a person, it is still what the policy wants.
        works.add_table(Table::new(&name, None, version(10)));
        assert_eq!(works.len(), 2);
        let Task::Table(table) = &works.get(&id).unwrap().task else {
            panic!()
        };
        assert_eq!(
            (table.reason.as_deref(), table.since),
            (Some("a statement"), version(10))
        );
        assert!(works.wants_commit());
        works.remove(&id);
        let mut records = Vec::new();
        works.save(|id, value| records.push((id.to_owned(), value.is_some())));
        assert!(records.contains(&(id, false)));
    }
}
