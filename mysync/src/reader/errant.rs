//! Errant transactions: those that a new primary made of its own while it was still a replica, before it had the last of
//! what was published.
//!
//! They come in its stream as new, but what they say of a row can be older than what is published already. GTIDs alone do not tell
//! them from what the primary does now: both are its own. Their place does: a published transaction stands behind them.

use super::tracker::Tracker;
use crate::checkpoint::Position;
use crate::decode::{Body, Event, Format, Gtid};
use crate::encode::refuse;
use crate::error::Result;
use crate::schema::EventEnd;
use crate::source::gtid_set::GtidSet;
use crate::source::{Server, Source};
use std::time::Duration;

/// How long a server may take to skip what is published and come to its first other transaction.
const SKIP_TIMEOUT: Duration = Duration::from_secs(60);

/// Finds them. `position` is where the reader goes on there, `unknown` what the server has beside it.
pub(super) async fn find<S: Source>(source: &mut S, position: &Position, unknown: &GtidSet) -> Result<GtidSet> {
    let Some(published) = position.gtid_set.as_deref().filter(|_| !unknown.is_empty()) else {
        return Ok(GtidSet::default());
    };
    let published: GtidSet = published.parse()?;
    let end = Tracker::new(source.newest().await?)?.event_end();
    let first = tokio::time::timeout(SKIP_TIMEOUT, first_unknown(source, position, end)).await;
    let Some(first) = first.unwrap_or(Ok(None))? else {
        tracing::warn!(%unknown, "the new primary sends none of the transactions that only it has: they were not looked at");
        return Ok(GtidSet::default());
    };
    // By file and offset everything comes, what is published too.
    let mut scan = Scan::begin(source, &first).await?;
    let (mut errant, mut own) = (GtidSet::default(), GtidSet::default());
    while scan.tracker.event_end() < end {
        match scan.next(source).await? {
            Met::Gtid(uuid, tag, number) if published.contains(&uuid, &tag, number) => {
                errant = errant.union(&std::mem::take(&mut own));
            }
            Met::Gtid(uuid, tag, number) => own.add(&uuid, &tag, number),
            // Nothing that is published comes in this file or after it.
            Met::File(before) if published.is_subset(&before) => break,
            Met::File(_) | Met::Other => {}
        }
    }
    Ok(errant)
}

/// Tells a person of them.
pub(super) fn tell(errant: &GtidSet, server: &Server) {
    if !errant.is_empty() {
        tracing::warn!(
            address = server.address,
            gtids = %errant,
            "the new primary made transactions of its own before it had everything that is published: they come now as if they were \
             newer; check the rows that they changed (mysync check)"
        );
    }
}

/// Where the first transaction begins that is not published; `None` if the server sends none.
async fn first_unknown<S: Source>(source: &mut S, position: &Position, end: EventEnd) -> Result<Option<Position>> {
    let mut scan = Scan::begin(source, position).await?;
    while scan.tracker.event_end() < end {
        if matches!(scan.next(source).await?, Met::Gtid(..)) {
            let (file, _, offset) = scan.tracker.place();
            return Ok(Some(Position {
                file: file.to_owned(),
                offset: offset - u64::from(scan.event_bytes),
                file_born_s: 0,
                gtid_set: None,
                ..position.clone()
            }));
        }
    }
    Ok(None)
}

/// What an event says of GTIDs.
enum Met {
    /// A transaction begins.
    Gtid(String, String, u64),
    /// A file begins, and these were before it.
    File(GtidSet),
    Other,
}

/// A stream of which only GTIDs are looked at: what else is in it is checked when it is read for good.
struct Scan {
    tracker: Tracker,
    format: Format,
    event_bytes: u32,
}

impl Scan {
    async fn begin<S: Source>(source: &mut S, position: &Position) -> Result<Self> {
        source.start(position).await?;
        Ok(Self {
            tracker: Tracker::new(position.clone())?,
            format: Format::default(),
            event_bytes: 0,
        })
    }

    async fn next<S: Source>(&mut self, source: &mut S) -> Result<Met> {
        let bytes = source.next().await?;
        let event = Event::parse(bytes, &mut self.format).map_err(|error| self.tracker.locate(refuse(error)))?;
        self.tracker.take(&event).ok();
        self.event_bytes = event.header.size;
        match &event.body {
            Body::Gtid(Gtid { anonymous: true, .. }) => Ok(Met::Other),
            Body::Gtid(gtid) => Ok(Met::Gtid(gtid.source.to_string(), gtid.tag.to_owned(), gtid.number)),
            Body::PreviousGtids(previous) => {
                let mut before = GtidSet::default();
                for part in previous.intervals().map_err(refuse)? {
                    before.add_interval(&part.source.to_string(), part.tag, part.first, part.last);
                }
                Ok(Met::File(before))
            }
            _ => Ok(Met::Other),
        }
    }
}
