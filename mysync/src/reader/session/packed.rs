//! Compressed transactions: events within an event, which come as a whole or in pieces.
//!
//! Their rows go the same way as any others. Their place is the end of the compressed event; row numbers rise across all of it.

use super::decide::{DEFECT_HINT, Decided};
use super::{Context, Progress};
use crate::decode::{Body, Event, Payload, Pieces};
use crate::encode::refuse;
use crate::error::{Error, Result};
use crate::queue::Publisher;
use crate::source::Source;

/// A compressed transaction that is coming in pieces. Nothing of it may be committed before the last one: the checksum.
pub(super) struct Unpacking {
    pieces: Pieces,
    /// The decision that it brought, which has to wait as well.
    decided: Option<Decided>,
}

/// The next event, or piece of one. Rows of pieces are known before the event's checksum is: only where nobody sees them before
/// they are committed, may they be taken.
pub(super) async fn next<'s, S: Source>(source: &'s mut S, context: &Context<'_>) -> Result<&'s [u8]> {
    match context.options.takes_pieces {
        true => source.next_piece().await,
        false => source.next().await,
    }
}

impl Progress {
    /// Takes the events of a compressed transaction, one at a time.
    pub(super) async fn take_payload<P: Publisher>(
        &mut self,
        event: &Event<'_>,
        payload: &Payload<'_>,
        context: &Context<'_>,
        publisher: &mut P,
    ) -> Result<Option<Decided>> {
        self.tracker.take(event)?;
        let mut events = payload.events().map_err(refuse)?;
        let mut decided = None;
        while let Some(event) = events.next_event().map_err(refuse)? {
            self.take_packed(event, &mut decided, context, publisher).await?;
        }
        self.require_end(decided)
    }

    /// Takes the first piece of a compressed transaction that comes in pieces.
    pub(super) async fn begin_pieces<P: Publisher>(
        &mut self,
        piece: &[u8],
        context: &Context<'_>,
        publisher: &mut P,
    ) -> Result<Option<Decided>> {
        let (pieces, event, data) = Pieces::begin(piece, &self.format).map_err(refuse)?;
        context.options.metrics.event(event.header.size as usize);
        self.tracker.take(&event)?;
        let unpacking = Unpacking { pieces, decided: None };
        self.take_data(unpacking, data, context, publisher).await
    }

    /// Takes the next one.
    pub(super) async fn take_piece<P: Publisher>(
        &mut self,
        mut unpacking: Unpacking,
        piece: &[u8],
        context: &Context<'_>,
        publisher: &mut P,
    ) -> Result<Option<Decided>> {
        let data = unpacking.pieces.take(piece).map_err(refuse)?;
        self.take_data(unpacking, data, context, publisher).await
    }

    async fn take_data<P: Publisher>(
        &mut self,
        mut unpacking: Unpacking,
        mut data: &[u8],
        context: &Context<'_>,
        publisher: &mut P,
    ) -> Result<Option<Decided>> {
        let Unpacking { pieces, decided } = &mut unpacking;
        while pieces.advance(&mut data).map_err(refuse)? {
            let event = pieces.event().map_err(refuse)?;
            self.take_packed(event, decided, context, publisher).await?;
        }
        if !pieces.is_complete() {
            self.unpacking = Some(unpacking);
            return Ok(None);
        }
        unpacking.pieces.finish().map_err(refuse)?;
        self.require_end(unpacking.decided)
    }

    /// Takes an event of a compressed transaction.
    async fn take_packed<P: Publisher>(
        &mut self,
        mut event: Event<'_>,
        decided: &mut Option<Decided>,
        context: &Context<'_>,
        publisher: &mut P,
    ) -> Result<()> {
        // Whatever stands there, it is no place in the file.
        event.header.next_position = 0;
        if decided.is_some() || !can_be_packed(&event.body) {
            let name = event.header.event_type.name().unwrap_or("unknown");
            let what = "an event that cannot be part of a compressed transaction is in one";
            return Err(Error::definite(what).detail(name).hint(DEFECT_HINT));
        }
        *decided = self.take_one(&event, context, publisher).await?;
        Ok(())
    }

    /// A compressed transaction is a whole one.
    fn require_end(&self, decided: Option<Decided>) -> Result<Option<Decided>> {
        if decided.is_none() && !self.tracker.at_boundary() {
            return Err(Error::definite("a compressed transaction has no end").hint(DEFECT_HINT));
        }
        Ok(decided)
    }
}

/// What MySQL packs: everything between the GTID and the end of the transaction.
fn can_be_packed(body: &Body<'_>) -> bool {
    !matches!(
        body,
        Body::TransactionPayload(_)
            | Body::Gtid(_)
            | Body::Rotate { .. }
            | Body::FormatDescription(_)
            | Body::PreviousGtids(_)
            | Body::Heartbeat { .. }
            | Body::Stop
    )
}
