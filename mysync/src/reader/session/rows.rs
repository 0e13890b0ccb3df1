//! Table_maps and rows: from an event to the batch.

use super::marks::begin_of;
use super::{BATCH_BYTES, Context, Progress, now_ns};
use crate::decode::{Event, RowsEvent, TableMap, TableMapEvent};
use crate::encode::{EventPlace, TableEncoder, refuse};
use crate::error::{Error, Result};
use crate::queue::Publisher;
use crate::reader::cascade;
use crate::reader::digest::TableSeed;
use crate::reader::refresh::{Marked, Watched, watched};
use crate::reader::watch::Watch;
use crate::source::Parent;
use crate::stop_point::{self, StopPoint};
use std::sync::Arc;
use tokio::time::Instant;

/// A table that a Table_map introduced; without an encoder if it is not followed.
pub(super) struct Table {
    map: TableMap,
    /// Stands for it in the running hash.
    seed: TableSeed,
    encoder: Option<TableEncoder>,
    watch: Watch,
    /// Rows of followed tables change with its own, without a trace.
    parent: Option<Arc<Parent>>,
    /// It has the watermarks of refreshes, or requests.
    watched: Option<Watched>,
}

impl Progress {
    /// Takes a Table_map, unless it says what is known already.
    pub(super) async fn introduce<P: Publisher>(
        &mut self,
        event: &TableMapEvent<'_>,
        context: &Context<'_>,
        publisher: &mut P,
    ) -> Result<()> {
        if self
            .tables
            .get(&event.table_id)
            .is_some_and(|table| event.is_source_of(&table.map))
        {
            return Ok(());
        }
        let mut map = event.table_map().map_err(refuse)?;
        let encoder = if context.filter.follows(&map.database, &map.table) {
            self.statements.supply(&mut map)?;
            let (database, table) = (&map.database, &map.table);
            let form = &context.options.form;
            let topic = publisher.declare(form.topic(database, table)).await?;
            self.introduced.insert((database.clone(), table.clone()));
            let configured = context.keys.get(&format!("{}.{}", map.database, map.table));
            Some(form.table(&map, topic, configured.map(Vec::as_slice))?)
        } else {
            None
        };
        let watch = Watch::new(&mut map, encoder.is_some(), context.options);
        let watched = if encoder.is_none() { watched(&mut map) } else { None };
        let seed = TableSeed::new(&map.database, &map.table);
        let parent = self.statements.parent(&map.database, &map.table);
        let table = Table {
            map,
            seed,
            encoder,
            watch,
            parent,
            watched,
        };
        self.tables.insert(event.table_id, table);
        Ok(())
    }

    /// Rows that were held back are counted by the digest already.
    pub(super) async fn encode<P: Publisher>(
        &mut self,
        event: &Event<'_>,
        rows: &RowsEvent<'_>,
        are_new: bool,
        publisher: &mut P,
    ) -> Result<()> {
        let here = self.place_at(event.header.timestamp_seconds);
        let Some(table) = self.tables.get_mut(&rows.table_id) else {
            return Err(Error::definite(format!(
                "rows of a table that no Table_map introduced: id {}",
                rows.table_id
            ))
            .hint("this is a defect: please report it with the events around"));
        };
        if let Some(parent) = &table.parent
            && cascade::strikes(parent, rows, &table.map)?
        {
            let reason = format!("rows went with those of {}.{}", parent.table.0, parent.table.1);
            self.trail.take_along();
            for child in &parent.children {
                self.refresh.again(child, &reason, self.next_version);
            }
        }
        let changes_before = self.open.changes;
        let Some(encoder) = &mut table.encoder else {
            self.trail.sight(table.watch.rows(rows, &table.map, 0));
            if let Some(watched) = table.watched {
                let marked = Marked {
                    timestamp_s: event.header.timestamp_seconds,
                    commit_us: self.transaction.commit_us(),
                    server_id: event.header.server_id,
                };
                self.refresh.see(rows, &table.map, watched, marked);
            }
            return Ok(());
        };
        let (file, file_number, offset) = self.tracker.place();
        let (database, table_name) = (&table.map.database, &table.map.table);
        self.transaction.begin(self.tracker.gtid_text(), here, &mut self.batch);
        let place = EventPlace {
            timestamp_s: event.header.timestamp_seconds,
            commit_us: self.transaction.commit_us(),
            server_id: event.header.server_id,
            gtid: self.tracker.gtid_text(),
            file,
            file_number,
            begin: begin_of(event, offset),
            offset,
            thread_id: self.transaction.thread_id(),
            query: self.transaction.query(),
            transaction: self.transaction.place(database, table_name),
            read_ns: now_ns(),
            is_refresh: false,
        };
        self.lag_ms = place.read_ns / 1_000_000 - i64::from(place.timestamp_s) * 1_000;
        encoder.frame(&place, &mut self.frame);
        let is_read = self.refresh.reads(database, table_name);
        for change in rows.rows(&table.map).map_err(refuse)? {
            let change = change.map_err(refuse)?;
            if are_new {
                self.trail.digest.row(table.seed, rows.kind, &change);
            }
            let before = self.batch.len();
            encoder.encode(&change, self.row, &mut self.frame, self.next_version, &mut self.batch)?;
            if is_read {
                let keys = (before..self.batch.len()).filter_map(|place| self.batch.record(place));
                keys.for_each(|record| self.refresh.touch(database, table_name, record.key));
            }
            self.row = self.row.checked_add(1).ok_or_else(too_many_rows)?;
            self.next_version = self.next_version.next()?;
            self.open.changes += 1;
            if self.batch.bytes_len() >= BATCH_BYTES {
                let batch = std::mem::take(&mut self.batch);
                self.batch = publisher.send(batch).await?;
                stop_point::reach(StopPoint::MidTransaction);
            }
        }
        let (orders, is_statement_end) = (self.frame.orders(), rows.is_statement_end);
        self.transaction.note(database, table_name, orders, is_statement_end);
        self.open_since.get_or_insert_with(Instant::now);
        let changes = self.open.changes - changes_before;
        self.trail.count(changes);
        table.watch.rows(rows, &table.map, changes);
        Ok(())
    }
}

fn too_many_rows() -> Error {
    Error::definite(format!(
        "more than {} rows in one compressed or XA transaction",
        u32::MAX
    ))
    .hint("use smaller transactions, and load the tables anew under a new kafka.prefix and reader.name")
}
