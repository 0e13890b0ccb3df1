//! What a session does about refreshes: begins them, and publishes their rows when the stream is at their watermark.

use super::{BATCH_BYTES, Context, Progress, Session, now_ns};
use crate::config::Format;
use crate::decode::TableRows;
use crate::encode::{EventPlace, refuse};
use crate::error::Result;
use crate::queue::{Publisher, Queue, TopicId};
use crate::reader::refresh::{Chunk, Marked, store};
use crate::source::{RowsAnswer, Source};
use tokio::time::Instant;

impl<S: Source, Q: Queue> Session<'_, S, Q> {
    /// Publishes what is read and due, and begins what is next.
    pub(super) async fn tend_refresh(&mut self) -> Result<()> {
        if self.progress.refresh.len() == 0 {
            return Ok(());
        }
        if self.progress.is_commit_possible()
            && let Some((mut chunk, marked)) = self.progress.refresh.take_marked()
        {
            let answer = chunk.answer().await?;
            let published = self
                .progress
                .publish_read(&chunk, answer, marked, &self.context, &mut self.publisher);
            published.await.map_err(|error| self.progress.tracker.locate(error))?;
            self.context
                .options
                .metrics
                .refresh_pending(self.progress.refresh.keys());
        }
        let (options, keys) = (self.context.options, self.context.keys);
        self.progress.refresh.begin(&*self.source, |request| {
            let (database, table) = &request.table;
            request.key = keys.get(&format!("{database}.{table}")).cloned();
            request.strict = options.form.messages().format == Format::DebeziumStrict;
        });
        self.progress.refresh.complain();
        Ok(())
    }
}

impl Progress {
    async fn publish_read<P: Publisher>(
        &mut self,
        chunk: &Chunk,
        answer: RowsAnswer,
        marked: Marked,
        context: &Context<'_>,
        publisher: &mut P,
    ) -> Result<()> {
        let (database, table) = (&chunk.table.0, &chunk.table.1);
        let mut wanted = chunk.keys.clone();
        let mut left = Vec::new();
        if context.filter.follows(database, table) {
            let topic = publisher.declare(context.options.form.topic(database, table)).await?;
            let mut index = 0;
            if let Some(rows) = &answer.rows {
                self.publish_rows(rows, &mut wanted, (topic, marked), &mut index, context, publisher)
                    .await?;
            }
            for (key, is_touched) in wanted {
                match (is_touched, answer.is_complete) {
                    (true, _) => {}
                    (false, true) => {
                        let (encoder, rows) = context.options.form.gone(database, table, topic, &key)?;
                        self.publish_gone(encoder, &rows, &key, marked, index)?;
                        self.send_if_full(publisher).await?;
                        index += 1;
                    }
                    (false, false) => left.push(String::from_utf8_lossy(&key).into_owned()),
                }
            }
            tracing::debug!(database, table, rows = index, left = left.len(), "rows were refreshed");
            context.options.metrics.refreshed(index.into());
        } else {
            tracing::warn!(
                database,
                table,
                "rows of a table that is not followed any more are not refreshed"
            );
        }
        if let Some((topic, id)) = self.refresh.finish(chunk.keys.len(), left) {
            store(topic, &mut self.batch, self.next_version).record(&id, None);
        }
        Ok(())
    }

    /// Publishes the rows that the stream has not changed, and takes their keys off what is wanted.
    async fn publish_rows<P: Publisher>(
        &mut self,
        rows: &TableRows,
        wanted: &mut std::collections::BTreeMap<Vec<u8>, bool>,
        (topic, marked): (TopicId, Marked),
        index: &mut u32,
        context: &Context<'_>,
        publisher: &mut P,
    ) -> Result<()> {
        let map = rows.map();
        let configured = context.keys.get(&format!("{}.{}", map.database, map.table));
        let mut encoder = context.options.form.table(map, topic, configured.map(Vec::as_slice))?;
        self.frame_read(&encoder, marked);
        let mut key = Vec::new();
        for place in 0..rows.len() {
            let row = rows.row(place).map_err(refuse)?;
            key.clear();
            encoder.write_key(&row, &mut key)?;
            // A row that was not asked for: its key is another in all but the column's collation.
            let Some(is_touched) = wanted.remove(&key) else {
                continue;
            };
            if is_touched {
                continue;
            }
            encoder.encode_read(&row, *index, &mut self.frame, self.next_version, &mut self.batch)?;
            self.count_read()?;
            self.send_if_full(publisher).await?;
            *index += 1;
        }
        Ok(())
    }

    fn publish_gone(
        &mut self,
        mut encoder: crate::encode::TableEncoder,
        rows: &TableRows,
        key: &[u8],
        marked: Marked,
        index: u32,
    ) -> Result<()> {
        self.frame_read(&encoder, marked);
        let row = rows.row(0).map_err(refuse)?;
        encoder.encode_gone(key, &row, index, &mut self.frame, self.next_version, &mut self.batch)?;
        self.count_read()
    }

    fn frame_read(&mut self, encoder: &crate::encode::TableEncoder, marked: Marked) {
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
