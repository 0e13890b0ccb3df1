//! What people ask the reader for: dumps, and that they be called off.

use super::signal::{Signal, Wanted};
use super::work::{Phase, Task};
use super::{Refresh, Table};
use crate::schema::TableName;
use crate::source::State;
use crate::tables::TableFilter;
use crate::version::Version;

impl Refresh {
    /// Takes requests that stand before the place at which the stream begins.
    pub(in crate::reader) fn ask(&mut self, requests: Vec<String>) {
        self.signals.extend(requests);
    }

    /// Takes up what people have asked for: the stream is behind it.
    pub(in crate::reader) fn take_signals(&mut self, filter: &TableFilter, now: Version) {
        for text in std::mem::take(&mut self.signals) {
            match Signal::read(&text) {
                Ok(signal) if signal.cancel => self.cancel(&signal),
                Ok(signal) => self.begin(&signal, filter, now),
                Err(error) => tracing::error!("a request for a dump cannot be read: {error}: {text}"),
            }
        }
    }

    fn begin(&mut self, signal: &Signal, filter: &TableFilter, now: Version) {
        for wanted in &signal.tables {
            let name: TableName = (wanted.database.clone(), wanted.table.clone());
            let mut table = Table::new(&name, wanted.condition.clone(), now);
            table.request.clone_from(&signal.request);
            if !filter.follows(&name.0, &name.1) {
                table.phase = Phase::Over(State::Failed, "the table is not followed: see source.tables".into());
            }
            tracing::info!(
                database = name.0,
                table = name.1,
                request = signal.request,
                "a table is to be dumped"
            );
            self.add(table);
        }
    }

    /// Calls off what people have asked for; what a policy wants only if the table is named.
    fn cancel(&mut self, signal: &Signal) {
        let is_meant = |table: &Table| {
            let is_named = |wanted: &Wanted| wanted.database == table.database && wanted.table == table.table;
            signal.tables.iter().any(is_named) || (signal.tables.is_empty() && table.reason.is_none())
        };
        let meant: Vec<String> = self
            .works
            .iter()
            .filter(|work| matches!(&work.task, Task::Table(table) if !table.is_over() && is_meant(table)))
            .map(|work| work.id.clone())
            .collect();
        for id in meant {
            tracing::warn!(request = signal.request, "a dump is called off: {id}");
            self.end(&id, State::Cancelled, "called off by mysync dump --cancel");
        }
    }
}
