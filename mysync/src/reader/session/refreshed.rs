//! What a session does about refreshes: has rows read, and publishes them when the stream is at their watermark.
//!
//! They are published in slices between the stream's own transactions. While the stream has events, it has two thirds of the time, so
//! that a dump does not make it fall behind.

use super::{BATCH_BYTES, Context, Progress, Session, now_ns};
use crate::config::Format;
use crate::encode::{EventPlace, TableEncoder, refuse};
use crate::error::{Kind, Result};
use crate::queue::{Publisher, Queue, TopicId};
use crate::reader::refresh::{Chunk, Marked, Reading};
use crate::source::Source;
use tokio::time::Instant;

/// How much more time the stream has than rows that were read, while it has events.
const STREAM_SHARE: u32 = 2;

impl<S: Source, Q: Queue> Session<'_, S, Q> {
    /// Publishes a slice of what is read and due, and begins what is next.
    pub(super) async fn tend_refresh(&mut self) -> Result<()> {
        if self.progress.refresh.is_idle() {
            return Ok(());
        }
        let (context, progress) = (&self.context, &mut self.progress);
        if progress.is_commit_possible() {
            progress.refresh.take_signals(context.filter, progress.next_version);
            if progress.refresh.is_due() && progress.slice_at.is_none_or(|at| at <= Instant::now()) {
                let begun = Instant::now();
                let published = progress.publish_slice(context, &mut self.publisher).await;
                published.map_err(|error| progress.tracker.locate(error))?;
                progress.slice_at = Some(Instant::now() + begun.elapsed() * STREAM_SHARE);
            }
        }
        let form = &context.options.form;
        let reading = Reading {
            form,
            filter: context.filter,
            keys: context.keys,
            is_strict: form.messages().format == Format::DebeziumStrict,
        };
        let (source, refresh) = (&*self.source, &mut progress.refresh);
        refresh
            .tend(source, self.queue, &reading, progress.next_version)
            .await?;
        context.options.metrics.refresh_pending(refresh.keys());
        Ok(())
    }
}

impl Progress {
    /// Adds what refreshes need to the next checkpoint's Kafka transaction.
    pub(super) async fn save_refreshes<P: Publisher>(
        &mut self,
        context: &Context<'_>,
        publisher: &mut P,
    ) -> Result<()> {
        self.refresh.take_signals(context.filter, self.next_version);
        self.refresh.save(publisher, &mut self.batch, self.next_version).await
    }

    async fn publish_slice<P: Publisher>(&mut self, context: &Context<'_>, publisher: &mut P) -> Result<()> {
        let Some((index, mut chunk, marked)) = self.refresh.take_due() else {
            return Ok(());
        };
        // A table that is not there, and never was, needs no topic.
        let topic = match chunk.is_empty() {
            true => TopicId::MAX,
            false => {
                let topic = context.options.form.topic(&chunk.table.0, &chunk.table.1);
                publisher.declare(topic).await?
            }
        };
        let changes_before = self.open.changes;
        let is_whole = match self.publish_rows(&mut chunk, topic, marked, context) {
            // What a person has asked for, and what cannot be published, is no reason to stop everything else.
            Err(error) if error.kind == Kind::Definite && self.refresh.is_asked(index) => {
                self.refresh.fail(index, &error);
                return Ok(());
            }
            published => published?,
        };
        if is_whole {
            let left = self.publish_gone(&mut chunk, topic, marked, context, publisher).await?;
            let (database, table, rows) = (&chunk.table.0, &chunk.table.1, chunk.published);
            tracing::debug!(
                database,
                table,
                rows,
                gone = chunk.gone,
                left = left.len(),
                "rows were refreshed"
            );
            self.refresh.finish(index, &chunk, left);
        } else {
            self.refresh.give_back(index, chunk);
        }
        let changes = self.open.changes - changes_before;
        context.options.metrics.refreshed(changes);
        self.send_if_full(publisher).await
    }

    /// Publishes rows that the stream has not changed, up to a full batch; whether these were the last ones.
    fn publish_rows(
        &mut self,
        chunk: &mut Chunk,
        topic: TopicId,
        marked: Marked,
        context: &Context<'_>,
    ) -> Result<bool> {
        let Some(answer) = chunk.answer.take() else {
            return Ok(true);
        };
        if let Some(rows) = &answer.rows {
            let mut encoder = match chunk.encoder.take() {
                Some(encoder) => encoder,
                None => {
                    let name = format!("{}.{}", chunk.table.0, chunk.table.1);
                    let configured = context.keys.get(&name);
                    context
                        .options
                        .form
                        .table(rows.map(), topic, configured.map(Vec::as_slice))?
                }
            };
            self.frame_read(&encoder, marked);
            let mut key = Vec::new();
            while chunk.place < rows.len() && self.batch.bytes_len() < BATCH_BYTES {
                let place = chunk.place;
                let row = rows.row(place).map_err(refuse)?;
                chunk.place += 1;
                if chunk.looks_at_keys() {
                    key.clear();
                    encoder.write_key(&row, &mut key)?;
                    if chunk.wanted.is_some() {
                        chunk.hold(&key);
                    }
                    // A row that was not asked for: its key is another in all but the column's collation.
                    let is_meant = chunk.wanted.as_mut().is_none_or(|wanted| wanted.remove(&key));
                    if !is_meant || chunk.is_touched(&key) {
                        continue;
                    }
                }
                let index = u32::try_from(place).unwrap_or(u32::MAX);
                encoder.encode_read(&row, index, &mut self.frame, self.next_version, &mut self.batch)?;
                chunk.published += 1;
                self.count_read()?;
            }
            chunk.encoder = Some(encoder);
        }
        let is_whole = answer.rows.as_ref().is_none_or(|rows| chunk.place >= rows.len());
        chunk.answer = Some(answer);
        Ok(is_whole)
    }

    /// Publishes the keys that were not found as deleted. Gives those of which nothing is known.
    async fn publish_gone<P: Publisher>(
        &mut self,
        chunk: &mut Chunk,
        topic: TopicId,
        marked: Marked,
        context: &Context<'_>,
        publisher: &mut P,
    ) -> Result<Vec<Vec<u8>>> {
        let mut left = Vec::new();
        let is_complete = chunk.answer.as_ref().is_some_and(|answer| answer.is_complete);
        for key in std::mem::take(&mut chunk.wanted).unwrap_or_default() {
            match (chunk.is_touched(&key), is_complete) {
                (true, _) => {}
                (false, _) if chunk.holds(&key) => {
                    let (database, table) = (&chunk.table.0, &chunk.table.1);
                    let (mut encoder, _) = context.options.form.gone(database, table, topic, &key)?;
                    self.frame_read(&encoder, marked);
                    let index = u32::try_from(chunk.published + chunk.gone).unwrap_or(u32::MAX);
                    encoder.encode_moved(&key, index, &mut self.frame, self.next_version, &mut self.batch);
                    chunk.gone += 1;
                    self.count_read()?;
                    self.send_if_full(publisher).await?;
                }
                (false, false) => left.push(key),
                (false, true) => {
                    let (database, table) = (&chunk.table.0, &chunk.table.1);
                    let (mut encoder, rows) = context.options.form.gone(database, table, topic, &key)?;
                    self.frame_read(&encoder, marked);
                    let row = rows.row(0).map_err(refuse)?;
                    let index = u32::try_from(chunk.published + chunk.gone).unwrap_or(u32::MAX);
                    encoder.encode_gone(&key, &row, index, &mut self.frame, self.next_version, &mut self.batch)?;
                    chunk.gone += 1;
                    self.count_read()?;
                    self.send_if_full(publisher).await?;
                }
            }
        }
        Ok(left)
    }

    fn frame_read(&mut self, encoder: &TableEncoder, marked: Marked) {
        let (file, file_number, offset) = self.tracker.place();
        let place = EventPlace {
            timestamp_s: marked.timestamp_s,
            commit_us: marked.commit_us,
            server_id: marked.server_id,
            gtid: "",
            file,
            file_number,
            begin: offset,
            offset,
            thread_id: None,
            query: None,
            transaction: None,
            read_ns: now_ns(),
            is_refresh: true,
        };
        encoder.frame(&place, &mut self.frame);
    }

    fn count_read(&mut self) -> Result<()> {
        self.next_version = self.next_version.next()?;
        self.open.changes += 1;
        self.open.read += 1;
        self.open_since.get_or_insert_with(Instant::now);
        Ok(())
    }

    async fn send_if_full<P: Publisher>(&mut self, publisher: &mut P) -> Result<()> {
        if self.batch.bytes_len() >= BATCH_BYTES {
            let batch = std::mem::take(&mut self.batch);
            self.batch = publisher.send(batch).await?;
        }
        Ok(())
    }
}
