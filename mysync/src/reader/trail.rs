//! What a session keeps so that its place can be found in another server's binlogs: the running hash, the last anchor
//! that was read, and the history of what is published.

use super::digest::Digest;
use super::history::Recorder;
use super::tracker::Tracker;
use super::watch::Sighting;
use crate::checkpoint::{self, Anchor, Checkpoint};
use crate::error::Result;
use crate::queue::{Batch, TopicId};
use crate::tables::TableFilter;
use crate::version::Version;

/// The way behind a session.
#[derive(Debug)]
pub(super) struct Trail {
    pub(super) digest: Digest,
    recorder: Recorder,
    scheme: u64,
    /// The last one that was read.
    anchor: Option<Anchor>,
    /// In the open transaction.
    sighted: Option<Sighting>,
    /// Changes of the open transaction.
    changes: u64,
    /// Rows of followed tables went with the open transaction's, by foreign keys.
    took_along: bool,
}

impl Trail {
    /// Goes on from a checkpoint. What is hashed otherwise than there begins anew: nothing before can be compared.
    pub(super) fn go_on(checkpoint: &Checkpoint, filter: &TableFilter, topic: TopicId, reader: &str) -> Self {
        let version = checkpoint.next_version;
        let scheme = Digest::scheme(filter);
        let (hash, anchor) = match (&checkpoint.position.gtid_set, &checkpoint.trail) {
            (Some(_), _) => (None, None),
            (None, Some(trail)) if trail.scheme == scheme => (Some(trail.hash), trail.anchor.clone()),
            (None, _) => (Some(Digest::first(scheme, version.as_i64())), None),
        };
        Self {
            digest: Digest::new(hash),
            recorder: Recorder::new(topic, reader, version, hash.unwrap_or(0)),
            scheme,
            anchor,
            sighted: None,
            changes: 0,
            took_along: false,
        }
    }

    /// The open transaction has so many more changes.
    pub(super) fn count(&mut self, changes: u64) {
        self.changes += changes;
    }

    /// Rows of followed tables go with the open transaction's: if it is lost, what was published of them since has to be looked
    /// at. Without GTID that is not known of a transaction without changes of its own.
    pub(super) fn take_along(&mut self) {
        self.took_along = true;
    }

    /// An anchor is in the open transaction.
    pub(super) fn sight(&mut self, sighting: Option<Sighting>) {
        self.sighted = sighting.or(self.sighted.take());
    }

    /// The open transaction is complete, and `next` is the version behind its changes.
    pub(super) fn end(&mut self, tracker: &Tracker, next: Version) -> Result<()> {
        let changes = std::mem::take(&mut self.changes);
        let took_along = std::mem::take(&mut self.took_along) && self.digest.hash().is_none();
        let marks = self.digest.end();
        if changes > 0 || marks.is_some() || took_along {
            let mut marks = marks.unwrap_or_default();
            marks.rewrites |= took_along;
            let first = next.before(changes);
            match self.digest.hash() {
                Some(hash) => self.recorder.hashed(first, changes, marks, hash)?,
                None => self.recorder.gtid(first, changes, marks, tracker.gtid())?,
            }
        }
        if let Some(sighting) = self.sighted.take()
            && let Some(hash) = self.digest.hash()
        {
            let (file, _, offset) = tracker.place();
            let anchor = sighting.anchor(hash, Some((file.to_owned(), offset)));
            self.recorder.anchor(&anchor);
            self.anchor = Some(anchor);
        }
        Ok(())
    }

    /// The open transaction comes again from its beginning.
    pub(super) fn abandon(&mut self) {
        self.digest.abandon();
        self.sighted = None;
        self.changes = 0;
        self.took_along = false;
    }

    /// Whether the history is to be appended before the next transaction ends.
    pub(super) fn is_full(&self) -> bool {
        self.recorder.is_full()
    }

    /// Appends the history of the transactions that are complete.
    pub(super) fn flush(&mut self, now_ms: i64, batch: &mut Batch) {
        self.recorder.flush(now_ms, batch);
    }

    /// For the checkpoint at the end of the last complete transaction.
    pub(super) fn checkpoint(&self) -> Option<checkpoint::Trail> {
        self.digest.hash().map(|hash| checkpoint::Trail {
            scheme: self.scheme,
            hash,
            anchor: self.anchor.clone(),
        })
    }
}
