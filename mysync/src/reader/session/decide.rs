//! XA transactions, which are held back until they are decided.
//!
//! Their rows go the same way as any others. Their place is that of the statement that commits; row numbers rise across all of
//! it.

use super::{BATCH_BYTES, Context, Progress, Session};
use crate::decode::{Body, Event, Format, Header};
use crate::encode::refuse;
use crate::error::{Error, Result};
use crate::queue::{Batch, Publisher, Queue, Topic, TopicId};
use crate::reader::prepared::{self, Store};
use crate::reader::tracker::Decision;
use crate::reader::xa::Xid;
use crate::source::Source;
use crate::version::Version;
use std::time::Duration;
use tokio::time::Instant;

/// Records that are committed can be read once the broker has written the transaction's mark behind them, which it does after it has
/// answered; with another broker in its place it takes some seconds.
const MARKS_PATIENCE: Duration = Duration::from_secs(30);
const MARKS_PAUSE: Duration = Duration::from_millis(50);

pub(super) const DEFECT_HINT: &str = "this is a defect: please report it with the events around";

/// A decision over an XA transaction, and when it was made.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) decision: Decision,
    pub(super) timestamp_s: u32,
}

impl<S: Source, Q: Queue> Session<'_, S, Q> {
    /// Publishes what is committed, forgets what is rolled back.
    pub(super) async fn carry_out(&mut self, decided: Option<Decided>) -> Result<()> {
        match decided {
            None => Ok(()),
            Some(decided) => {
                let done = self.decide(&decided).await;
                done.map_err(|error| self.progress.tracker.locate(error))
            }
        }
    }

    async fn decide(&mut self, decided: &Decided) -> Result<()> {
        let decision = &decided.decision;
        let found = self
            .progress
            .prepared
            .find(decision)
            .map(prepared::Transaction::is_held);
        let is_held = match (decision, found) {
            // Nothing of it was published, so there is nothing to take back.
            (Decision::Rollback(_), _) => true,
            (_, Some(is_held)) => is_held,
            (_, None) => return Err(prepared::unknown(decision.xid())),
        };
        if !matches!(decision, Decision::Rollback(_)) {
            match is_held {
                true => {
                    self.progress
                        .replay_held(decided, &self.context, &mut self.publisher)
                        .await?
                }
                false => self.replay_stored(decided).await?,
            }
        }
        self.progress.forget(decided, &mut self.publisher).await?;
        self.progress.trail.digest.decided(decision);
        self.progress.end_transaction(decided.timestamp_s)?;
        self.progress.tracker.decided();
        if !is_held {
            // The server may have given the connection up meanwhile, which must not undo this.
            self.settle().await?;
            self.commit().await?;
        }
        Ok(())
    }

    /// Waits for the commit that is on its way.
    async fn settle(&mut self) -> Result<()> {
        if self.commit_on_its_way.is_some() {
            self.publisher.committed().await?;
            self.note_committed();
        }
        Ok(())
    }

    /// Publishes the rows of a transaction that is not in memory as a whole.
    async fn replay_stored(&mut self, decided: &Decided) -> Result<()> {
        // Only what is committed can be read back. The decision is not part of this commit.
        self.settle().await?;
        self.commit_complete_part().await?;
        self.settle().await?;
        let Some(transaction) = self.progress.prepared.find(&decided.decision) else {
            return Err(prepared::unknown(decided.decision.xid()));
        };
        let lowest = transaction.lowest_offset();
        let mut scan = self.queue.scan(prepared::TOPIC, lowest).await?;
        let (mut end_offset, give_up) = (0, Instant::now() + MARKS_PATIENCE);
        for index in 0..transaction.chunk_count() {
            let Some(transaction) = self.progress.prepared.find(&decided.decision) else {
                break;
            };
            let key = transaction.key(decided.decision.xid(), index);
            let held = transaction.held(index).map(<[u8]>::to_vec);
            let events = match held {
                Some(events) => events,
                None => loop {
                    let Some(record) = scan.next().await? else {
                        if Instant::now() > give_up {
                            return Err(prepared::missing(&key));
                        }
                        tokio::time::sleep(MARKS_PAUSE).await;
                        scan = self.queue.scan(prepared::TOPIC, lowest.max(end_offset)).await?;
                        continue;
                    };
                    end_offset = record.offset + 1;
                    if let (true, Some(events)) = (record.key == key.as_bytes(), record.value) {
                        break events;
                    }
                },
            };
            let (progress, context) = (&mut self.progress, &self.context);
            progress
                .replay(&events, decided.timestamp_s, context, &mut self.publisher)
                .await?;
        }
        self.progress.prepared.note_end_offset(end_offset);
        Ok(())
    }
}

impl Progress {
    pub(super) async fn begin_xa<P: Publisher>(&mut self, publisher: &mut P) -> Result<()> {
        self.declare_prepared(publisher).await?;
        let (_, file_number, offset) = self.tracker.place();
        self.prepared.begin(format!("{file_number}:{offset}"));
        Ok(())
    }

    async fn declare_prepared<P: Publisher>(&mut self, publisher: &mut P) -> Result<()> {
        if self.prepared_topic.is_none() {
            self.prepared_topic = Some(publisher.declare(Topic::Compacted(prepared::TOPIC)).await?);
        }
        Ok(())
    }

    /// Holds an event of an XA transaction back.
    pub(super) async fn hold<P: Publisher>(
        &mut self,
        event: &Event<'_>,
        context: &Context<'_>,
        publisher: &mut P,
    ) -> Result<()> {
        let Some(xid) = self.tracker.xa_open() else {
            return Ok(());
        };
        let mut store = store(
            self.prepared_topic,
            &mut self.batch,
            event.header.timestamp_seconds,
            self.next_version,
        )?;
        self.prepared.hold(xid, event, context.filter, &mut store);
        self.trail.digest.event(event, context.filter)?;
        self.send_full_batch(publisher).await
    }

    pub(super) async fn prepare_xa<P: Publisher>(
        &mut self,
        xid: Xid,
        event: &Event<'_>,
        publisher: &mut P,
    ) -> Result<()> {
        let mut store = store(
            self.prepared_topic,
            &mut self.batch,
            event.header.timestamp_seconds,
            self.next_version,
        )?;
        self.trail.digest.prepared(&xid);
        self.prepared.prepare(xid, &mut store);
        self.end_transaction(event.header.timestamp_seconds)?;
        self.send_full_batch(publisher).await
    }

    /// Stores what a checkpoint is to pass.
    pub(super) async fn save_prepared<P: Publisher>(&mut self, publisher: &mut P) -> Result<()> {
        if self.prepared.is_saved() {
            return Ok(());
        }
        let now_s = u32::try_from(super::now_ns() / 1_000_000_000).unwrap_or(u32::MAX);
        self.prepared.save(&mut store(
            self.prepared_topic,
            &mut self.batch,
            now_s,
            self.next_version,
        )?);
        self.send_full_batch(publisher).await
    }

    async fn forget<P: Publisher>(&mut self, decided: &Decided, publisher: &mut P) -> Result<()> {
        // After a restart the transaction may have been prepared in an earlier life.
        self.declare_prepared(publisher).await?;
        let mut store = store(
            self.prepared_topic,
            &mut self.batch,
            decided.timestamp_s,
            self.next_version,
        )?;
        self.prepared.forget(&decided.decision, &mut store);
        self.send_full_batch(publisher).await
    }

    async fn send_full_batch<P: Publisher>(&mut self, publisher: &mut P) -> Result<()> {
        if self.batch.bytes_len() >= BATCH_BYTES {
            let batch = std::mem::take(&mut self.batch);
            self.batch = publisher.send(batch).await?;
        }
        Ok(())
    }

    /// Publishes the rows of a transaction that is in memory as a whole.
    async fn replay_held<P: Publisher>(
        &mut self,
        decided: &Decided,
        context: &Context<'_>,
        publisher: &mut P,
    ) -> Result<()> {
        let mut index = 0;
        while let Some(transaction) = self.prepared.find(&decided.decision)
            && let Some(events) = transaction.held(index).map(<[u8]>::to_vec)
        {
            self.replay(&events, decided.timestamp_s, context, publisher).await?;
            index += 1;
        }
        Ok(())
    }

    /// Takes the events of a chunk as if they stood in the binlog here and now.
    async fn replay<P: Publisher>(
        &mut self,
        mut events: &[u8],
        timestamp_s: u32,
        context: &Context<'_>,
        publisher: &mut P,
    ) -> Result<()> {
        let mut format = Format::default().without_checksum();
        while !events.is_empty() {
            let size = Header::parse(events).map_err(refuse)?.size as usize;
            let (bytes, rest) = events.split_at(size.min(events.len()));
            let mut event = Event::parse(bytes, &mut format).map_err(refuse)?;
            event.header.timestamp_seconds = timestamp_s;
            event.header.next_position = 0;
            match &event.body {
                Body::TableMap(table_map) => self.introduce(table_map, context, publisher).await?,
                Body::Rows(rows) => self.encode(&event, rows, false, publisher).await?,
                _ => {
                    return Err(
                        Error::definite("an event without rows is stored with a prepared transaction")
                            .hint("was topic __prepared written by another program or a newer version of mysync?"),
                    );
                }
            }
            events = rest;
        }
        Ok(())
    }
}

fn store(topic: Option<TopicId>, batch: &mut Batch, timestamp_s: u32, version: Version) -> Result<Store<'_>> {
    let topic =
        topic.ok_or_else(|| Error::definite("rows are held back before their topic is declared").hint(DEFECT_HINT))?;
    Ok(Store {
        topic,
        batch,
        timestamp_ms: i64::from(timestamp_s) * 1_000,
        version,
    })
}
