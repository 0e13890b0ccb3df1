//! What each event means for the session.

use super::decide::Decided;
use super::marks::begin_of;
use super::{Context, Progress};
use crate::decode::{Body, Event, Pieces};
use crate::encode::refuse;
use crate::error::Result;
use crate::queue::Publisher;
use crate::reader::Summary;
use crate::reader::tracker::Meaning;
use crate::stop_point::{self, StopPoint};

impl Progress {
    /// Takes an event or a piece of one, and the events within it. The decision over an XA transaction that it may bring is left to
    /// be carried out.
    pub(super) async fn take<P: Publisher>(
        &mut self,
        bytes: &[u8],
        context: &Context<'_>,
        publisher: &mut P,
        summary: &mut Summary,
    ) -> Result<Option<Decided>> {
        summary.binlog_bytes += bytes.len() as u64;
        let taken = match self.unpacking.take() {
            Some(unpacking) => self.take_piece(unpacking, bytes, context, publisher).await,
            None => self.take_whole(bytes, context, publisher).await,
        };
        taken.map_err(|error| self.tracker.locate(error))
    }

    async fn take_whole<P: Publisher>(
        &mut self,
        bytes: &[u8],
        context: &Context<'_>,
        publisher: &mut P,
    ) -> Result<Option<Decided>> {
        self.row = 0;
        if Pieces::begin_in(bytes) {
            return self.begin_pieces(bytes, context, publisher).await;
        }
        context.options.metrics.event(bytes.len());
        let event = Event::parse(bytes, &mut self.format).map_err(refuse)?;
        match &event.body {
            Body::TransactionPayload(payload) => self.take_payload(&event, payload, context, publisher).await,
            _ => self.take_one(&event, context, publisher).await,
        }
    }

    pub(super) async fn take_one<P: Publisher>(
        &mut self,
        event: &Event<'_>,
        context: &Context<'_>,
        publisher: &mut P,
    ) -> Result<Option<Decided>> {
        let meaning = self.tracker.take(event)?;
        let (file, _, offset) = self.tracker.place();
        self.transaction.observe(event, file, begin_of(event, offset));
        match (&event.body, meaning) {
            (Body::TableMap(_) | Body::Rows(_), _) if self.tracker.xa_open().is_some() => {
                self.hold(event, context, publisher).await?;
            }
            (_, Meaning::Ddl(ddl)) => {
                self.trail.digest.statement(&ddl.statement, context.filter);
                if ddl.ends_transaction {
                    self.end_transaction(event.header.timestamp_seconds)?;
                }
                self.ddl = Some(ddl);
            }
            (Body::TableMap(table_map), _) => self.introduce(table_map, context, publisher).await?,
            (Body::Rows(rows), _) => self.encode(event, rows, true, publisher).await?,
            (_, Meaning::TransactionEnd) => self.end_transaction(event.header.timestamp_seconds)?,
            (_, Meaning::NewFile) => {
                stop_point::reach(StopPoint::AfterRotate);
                self.tables.clear();
                self.trail.digest.forget_tables();
            }
            (_, Meaning::XaBegin) => self.begin_xa(publisher).await?,
            (_, Meaning::XaPrepared(xid)) => self.prepare_xa(xid, event, publisher).await?,
            (_, Meaning::XaDecided(decision)) => {
                return Ok(Some(Decided {
                    decision,
                    timestamp_s: event.header.timestamp_seconds,
                }));
            }
            (_, Meaning::Nothing) => {}
        }
        Ok(None)
    }
}
