//! Finding a place again in the binlogs of a server without GTID, where files and offsets say nothing about another server's.
//!
//! # Anchors
//! The heartbeat row that the leading reader advances each second travels through replication, so it marks the same point in
//! every server's binlog. Its sequence, the server that it was written on and the time tell each from every other: after a
//! lossy switch the new server goes on with the same sequence. An anchor counts once it was READ: one that was only
//! written may be on no other server.
//!
//! # On another server
//! 1. Of the anchors that were read ([`super::history`]) the last that the server has, too, is found by looking into
//!    the beginning of a few of its binlog files ([`search`]), and then through one ([`scout`]).
//! 2. From the anchor before that one its transactions are read ([`replay`]), and the running hash ([`super::digest`]) after each is
//!    compared with what was published. All agree: the reader goes on behind the last, nothing twice. One is missing or
//!    another: what was published from there on is lost, and the reader goes on behind the last that both have.
//! 3. If it is another although a later anchor is on both, the two servers do not have one history, and nothing may be
//!    concluded: a replica that commits in another order, or leaves tables out.
//!
//! # On the same server
//! File and offset are good as long as the file is the same, which its birth tells. It is proven, too: between the last anchor
//! and the position the server must have what was published.

mod replay;
mod scout;
mod search;

use super::digest::Digest;
use super::history::{self, Committed, Line, WINDOW_FIRST};
use super::resume::LOAD_ANEW;
use super::tracker::Target;
use super::watch::Sighting;
use crate::checkpoint::{Anchor, Checkpoint, Position, Trail};
use crate::error::{Error, Result};
use crate::queue::Queue;
use crate::source::Source;
use crate::tables::TableFilter;
use crate::version::Version;
use replay::Replay;
use scout::Scout;
use search::last_before;

/// The offset of a file's first event.
const FILE_START: u64 = 4;

/// Bytes that are read on from an anchor to prove a position; one that is farther away is not proven.
const PROOF_BYTES_MAX: u64 = 256 << 20;

/// Where a checkpoint is on another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Located {
    /// The end of the last transaction that was published and that the server has.
    pub(super) position: Position,
    /// What belongs to the position.
    pub(super) trail: Trail,
    /// The first version that was published and that the server lacks; `None` if it has them all.
    pub(super) lost_from: Option<Version>,
}

/// Finds a checkpoint of another server in the binlogs of the one that is followed now. `reader` is the name in the heartbeat row.
pub(super) async fn locate<S: Source, Q: Queue>(
    source: &mut S,
    queue: &Q,
    filter: &TableFilter,
    reader: &str,
    checkpoint: &Checkpoint,
) -> Result<Located> {
    let trail = checkpoint.trail.as_ref().ok_or_else(without_anchor)?;
    if trail.scheme != Digest::scheme(filter) {
        return Err(Error::definite(
            "other tables are followed than before the switch of source server, so nothing can be compared",
        )
        .hint("start once with source.tables and source.tables_exclude as they were before, then change them"));
    }
    let files = source.files().await?;
    let mut window = WINDOW_FIRST;
    loop {
        let mut past = history::past(queue, reader, window).await?;
        past.end_at(trail.hash);
        let published =
            Published::new(&past.lines).or_else(|| past.is_whole.then(|| Published::unknown(trail)).flatten());
        if let Some(published) = published {
            let mut search = Search {
                source: &mut *source,
                filter,
                reader,
                published,
                trail,
            };
            let shared = search.shared(&files).await?;
            if !shared.is_empty() {
                return search.compare(&shared).await;
            }
        }
        if past.is_whole {
            return Err(match &trail.anchor {
                None => without_anchor(),
                Some(anchor) => unshared(anchor, &files),
            });
        }
        window = history::wider(window);
    }
}

/// What was published before a checkpoint, as far back as it is known.
struct Published<'h> {
    /// The anchors, and how many of the transactions were before each.
    anchors: Vec<(Anchor, usize)>,
    /// `None` if only the hash at the end is known.
    transactions: Option<Vec<&'h Committed>>,
}

impl<'h> Published<'h> {
    /// What the history says, up to the checkpoint; `None` if it has no anchor.
    fn new(lines: &'h [Line]) -> Option<Self> {
        let (mut anchors, mut transactions) = (Vec::new(), Vec::new());
        for line in lines {
            match line {
                Line::Anchor(anchor) => anchors.push((anchor.clone(), transactions.len())),
                Line::Transaction(committed) => transactions.push(committed),
            }
        }
        (!anchors.is_empty()).then_some(Self {
            anchors,
            transactions: Some(transactions),
        })
    }

    /// What the checkpoint itself says.
    fn unknown(trail: &Trail) -> Option<Self> {
        trail.anchor.as_ref().map(|anchor| Self {
            anchors: vec![(anchor.clone(), 0)],
            transactions: None,
        })
    }

    fn find(&self, sighting: &Sighting) -> Option<usize> {
        self.anchors.iter().rposition(|(anchor, _)| sighting.is_of(anchor))
    }

    /// Whether the heartbeat was written before the last anchor that both have: it is one of those that were read, or older
    /// than they are.
    fn is_before(&self, sighting: &Sighting) -> bool {
        let oldest = self.anchors.iter().map(|(anchor, _)| anchor.sequence).min();
        self.find(sighting).is_some() || oldest.is_some_and(|oldest| sighting.beat.sequence < oldest)
    }
}

/// An anchor that was read, found on the server: its index, and the end of its transaction.
type Shared = (usize, Position);

struct Search<'s, S> {
    source: &'s mut S,
    filter: &'s TableFilter,
    reader: &'s str,
    published: Published<'s>,
    trail: &'s Trail,
}

impl<S: Source> Search<'_, S> {
    /// The last anchor that the server has, too, and before it the one before, if the search came across it.
    async fn shared(&mut self, files: &[String]) -> Result<Vec<Shared>> {
        let newest = self.source.newest().await?;
        let end = Target::new(&newest)?;
        let begin_of = |file: usize| Position {
            file: files[file].clone(),
            offset: FILE_START,
            file_born_s: 0,
            ..newest.clone()
        };
        let found = last_before(files.len(), async |file| {
            let first = first_anchor(self.source, &begin_of(file), self.reader, &end).await?;
            Ok(first.is_some_and(|sighting| self.published.is_before(&sighting)))
        });
        let Some(file) = found.await? else {
            return Ok(Vec::new());
        };
        let mut scout = scout_from(self.source, &begin_of(file), self.reader).await?;
        let mut shared = Vec::new();
        while let Some(sighting) = next_anchor(self.source, &mut scout, &end).await? {
            match self.published.find(&sighting) {
                Some(index) => shared.push((index, scout.position())),
                // It was written after the servers had parted, or behind the checkpoint.
                None if !shared.is_empty() => break,
                None => {}
            }
            if shared.len() > 2 {
                shared.remove(0);
            }
        }
        Ok(shared)
    }

    /// Compares what the server has behind the anchors that were found with what was published.
    async fn compare(&mut self, shared: &[Shared]) -> Result<Located> {
        let (first, begin) = &shared[0];
        let (last, anchored) = &shared[shared.len() - 1];
        let (anchor, mut index) = self.published.anchors[*first].clone();
        let (last_anchor, agreed) = &self.published.anchors[*last];
        let end = Target::new(&self.source.newest().await?)?;
        self.source.start(begin).await?;
        let mut replay = Replay::new(begin, anchor.hash, self.filter)?;
        let place = Some((anchored.file.clone(), anchored.offset));
        let located = |replay: &Replay<'_>, lost_from| Located {
            position: replay.position(),
            trail: Trail {
                scheme: self.trail.scheme,
                hash: replay.hash(),
                anchor: Some(Anchor {
                    place,
                    ..last_anchor.clone()
                }),
            },
            lost_from,
        };
        let Some(transactions) = &self.published.transactions else {
            while replay.hash() != self.trail.hash {
                if replay.has_reached(&end) {
                    return Err(forgotten());
                }
                replay.take(self.source.next().await?)?;
            }
            return Ok(located(&replay, None));
        };
        // Up to an anchor that both have there must be no difference.
        let up_to_anchor = Target::new(anchored)?;
        while !replay.has_reached(&up_to_anchor) {
            if replay.take(self.source.next().await?)? {
                let expected = transactions[..*agreed]
                    .get(index)
                    .and_then(|committed| committed.hash());
                if expected != Some(replay.hash()) {
                    return Err(not_one_history(&replay.position()));
                }
                index += 1;
            }
        }
        if index != *agreed {
            return Err(not_one_history(&replay.position()));
        }
        let mut found = located(&replay, None);
        while index < transactions.len() && !replay.has_reached(&end) {
            if !replay.take(self.source.next().await?)? {
                continue;
            }
            if transactions[index].hash() != Some(replay.hash()) {
                break;
            }
            index += 1;
            found.position = replay.position();
            found.trail.hash = replay.hash();
        }
        let lost = &transactions[index..];
        require_replaceable(lost, self.source.facts().await?.names_columns)?;
        found.lost_from = lost.first().map(|committed| committed.first);
        Ok(found)
    }
}

async fn scout_from<'r, S: Source>(source: &mut S, begin: &Position, reader: &'r str) -> Result<Scout<'r>> {
    source.start(begin).await?;
    Scout::new(begin, reader)
}

async fn first_anchor<S: Source>(
    source: &mut S,
    begin: &Position,
    reader: &str,
    end: &Target,
) -> Result<Option<Sighting>> {
    let mut scout = scout_from(source, begin, reader).await?;
    next_anchor(source, &mut scout, end).await
}

/// The next anchor before `end`; it is at the scout's position.
async fn next_anchor<S: Source>(source: &mut S, scout: &mut Scout<'_>, end: &Target) -> Result<Option<Sighting>> {
    while !scout.has_reached(end) {
        if let Some(sighting) = scout.take(source.next().await?)? {
            return Ok(Some(sighting));
        }
    }
    Ok(None)
}

/// Proves that the server, which is the checkpoint's, has what was published between the last anchor and the checkpoint. Returns
/// where to go on: the checkpoint's position, or one behind it with nothing between that counts.
pub(super) async fn prove<S: Source>(
    source: &mut S,
    filter: &TableFilter,
    checkpoint: &Checkpoint,
) -> Result<Position> {
    let position = &checkpoint.position;
    let proof = checkpoint
        .trail
        .as_ref()
        .filter(|trail| trail.scheme == Digest::scheme(filter));
    let anchor = proof.and_then(|trail| trail.anchor.as_ref());
    let (Some(trail), Some(anchor), Some((file, offset))) =
        (proof, anchor, anchor.and_then(|anchor| anchor.place.as_ref()))
    else {
        return Ok(position.clone());
    };
    if !source.files().await?.contains(file) {
        return Ok(position.clone());
    }
    let newest = source.newest().await?;
    if !Target::new(&newest)?.is_behind(position) {
        return Err(not_published(position).detail(format!("its binlog ends at {}:{}", newest.file, newest.offset)));
    }
    let begin = Position {
        file: file.clone(),
        offset: *offset,
        file_born_s: if *file == position.file {
            position.file_born_s
        } else {
            0
        },
        ..position.clone()
    };
    source.start(&begin).await?;
    let mut replay = Replay::new(&begin, anchor.hash, filter)?;
    let end = Target::new(position)?;
    let mut read = 0;
    while !replay.has_reached(&end) {
        let bytes = source.next().await?;
        read += bytes.len() as u64;
        if read > PROOF_BYTES_MAX {
            tracing::info!(file, offset, "the last anchor is too far from the position to prove it");
            return Ok(position.clone());
        }
        replay.take(bytes)?;
    }
    if replay.hash() != trail.hash {
        return Err(not_published(position));
    }
    let reached = replay.position();
    match (&reached.file, reached.offset) == (&position.file, position.offset) {
        true => Ok(position.clone()),
        false => Ok(reached),
    }
}

/// Refuses a loss that rows which are read again cannot make good.
pub(super) fn require_replaceable(lost: &[&Committed], names_columns: bool) -> Result<()> {
    let what = match lost {
        lost if lost.iter().any(|committed| committed.xa) => "an XA transaction was prepared or decided",
        lost if !names_columns && lost.iter().any(|committed| committed.ddl) => "a statement changed tables",
        _ => return Ok(()),
    };
    Err(Error::definite(format!("{what} in the part that the new server lacks"))
        .hint(LOAD_ANEW)
        .gap())
}

fn without_anchor() -> Error {
    Error::definite("the position cannot be found on another server without GTID: no anchor was read before it")
        .hint(format!(
            "bring the server back that was followed, or else {LOAD_ANEW}; for the next switch let the account write the heartbeats, which \
             are the anchors: GRANT ALL ON __db_mysync.*, and source.heartbeat_interval_ms above 0; or set gtid_mode = ON"
        ))
        .gap()
}

fn unshared(anchor: &Anchor, files: &[String]) -> Error {
    let ends = [files.first(), files.last()].map(|file| file.map_or("none", String::as_str));
    Error::definite("no anchor that was read is in the server's binlogs")
        .detail(format!(
            "the last that was read is number {} of server {}; the server has {} to {}",
            anchor.sequence, anchor.server_uuid, ends[0], ends[1]
        ))
        .hint(format!(
            "was its binlog purged or reset, or written without log_replica_updates (log_slave_updates on 5.6), or is __db_mysync not \
             replicated? follow a server that has all changes in its binlogs, or {LOAD_ANEW}"
        ))
        .gap()
}

fn not_one_history(position: &Position) -> Error {
    Error::definite("the server's binlog has other changes than what was published, before an anchor that both have")
        .detail(format!("at {}:{}", position.file, position.offset))
        .hint(format!(
            "does it commit in another order (set replica_preserve_commit_order = ON), or leave out followed tables? follow another \
             server, or {LOAD_ANEW}"
        ))
        .gap()
}

fn not_published(position: &Position) -> Error {
    Error::definite("the server's binlog has not what was published before the checkpoint")
        .detail(format!("up to {}:{}", position.file, position.offset))
        .hint(format!(
            "was it reset, restored from a backup, or did it lose the end of its binlog in a crash (sync_binlog is not 1)? {LOAD_ANEW}"
        ))
        .gap()
}

fn forgotten() -> Error {
    Error::definite(
        "published transactions are lost, and topic __history, which would tell which, does not reach back to them",
    )
    .hint(format!(
        "if another server has them, make that one the primary; else {LOAD_ANEW}"
    ))
    .gap()
}

#[cfg(test)]
mod tests;
