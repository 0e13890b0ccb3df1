//! Which server to follow, decided from what was seen of every server of `source.servers`. Pure: no I/O, no clock.
//!
//! # One server in the list
//! It is followed, whatever it is: people follow replicas, and a name can move to another server. But a server that takes no
//! writes of its own and lacks changes that were published is one that lags: it is waited for.
//!
//! # Several servers
//! The primary is followed: the one that is writable and replicates from nobody. Replicas are never chosen, and neither is
//! a replica that somebody left writable. Two primaries at once are a split brain: none is followed until one is gone.
//!
//! # Servers that only look like the primary
//! - *Left behind*: a primary that the reader has left for another one, and that has come back and knows nothing of it. Its
//!   own copy of the reader's heartbeat row tells: it was last written on that server itself, though the reader went on
//!   elsewhere since. It is passed over and reported. It becomes a replica of the new primary, and with the row that it
//!   then gets, may be promoted again.
//! - *Behind*: writable, but a replica that follows another server has more of what was published. A promotion takes the most
//!   advanced replica, or lets the others follow the one that it takes; so this is a replica whose replication was
//!   stopped for another reason, while the primary is not reachable for a moment. It is waited for.

use super::gtid_set::GtidSet;
use crate::checkpoint::Position;
use crate::error::{Error, Result};
use std::collections::BTreeSet;
use std::fmt::Write;

/// What was seen of one server.
#[derive(Debug, Clone)]
pub struct Seen {
    /// `host:port` as it stands in `source.servers`.
    pub address: String,
    /// What it is, or why that is not known.
    pub answer: Result<Answer>,
}

/// What a server said about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its `server_uuid`.
    pub uuid: String,
    /// Whether it refuses writes.
    pub read_only: bool,
    /// The uuids of the servers that it replicates from now; empty for one whose uuid it does not know yet.
    pub sources: BTreeSet<String>,
    /// All transactions that it has; `None` where `gtid_mode` is not ON.
    pub executed: Option<GtidSet>,
    /// This reader's heartbeat row as it stands there.
    pub beat: Option<Heartbeat>,
}

/// A reader's heartbeat row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Grows with each heartbeat.
    pub sequence: u64,
    /// The server that it was written on.
    pub server_uuid: String,
}

impl Answer {
    /// Whether it takes writes and nobody else's.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        !self.read_only && self.sources.is_empty()
    }

    /// The published transactions that it lacks; `None` where no GTIDs tell.
    fn lacks(&self, reached: &Reached) -> Option<GtidSet> {
        Some(reached.gtids.as_ref()?.minus(self.executed.as_ref()?))
    }

    /// Whether the reader left it for another server of which it has heard nothing since.
    fn is_left_behind(&self, reached: &Reached) -> bool {
        let was_led = self.beat.as_ref().is_some_and(|beat| beat.server_uuid == self.uuid);
        let lacks_nothing = self.lacks(reached).is_some_and(|lacking| lacking.is_empty());
        was_led && self.uuid != reached.server_uuid && !lacks_nothing
    }

    /// Whether a replica of another server has more of what was published.
    fn is_behind(&self, other: &Answer, reached: &Reached) -> bool {
        if other.uuid == self.uuid || other.sources.is_empty() || other.sources.contains(&self.uuid) {
            return false;
        }
        match (self.lacks(reached), other.lacks(reached)) {
            (Some(here), Some(there)) => !here.minus(&there).is_empty(),
            _ => match (&self.beat, &other.beat) {
                (here, Some(there)) => here.as_ref().is_none_or(|here| here.sequence < there.sequence),
                (_, None) => false,
            },
        }
    }
}

/// How far the reader has come, and on which server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// The server that it followed last.
    pub server_uuid: String,
    /// What it has published; `None` without GTIDs.
    pub gtids: Option<GtidSet>,
}

impl Reached {
    /// What a position says about that.
    pub fn new(position: &Position) -> Result<Self> {
        Ok(Self {
            server_uuid: position.server_uuid.clone(),
            gtids: position.gtid_set.as_deref().map(str::parse).transpose()?,
        })
    }
}

/// The index of the server to follow; a transient error while there is none.
pub fn decide(seen: &[Seen], reached: Option<&Reached>) -> Result<usize> {
    match seen {
        [only] => follow_only(only, reached).map(|()| 0),
        _ => follow_primary(seen, reached),
    }
}

/// Why the server that is followed must be left; `reached.server_uuid` is its own. A server that does not answer is none of
/// the reasons: the stream has a deadline of its own.
#[must_use]
pub fn leave(seen: &[Seen], followed: usize, reached: &Reached) -> Option<Error> {
    let one = seen.get(followed)?;
    let address = &one.address;
    let error = |what: String| Some(Error::transient(what).detail(describe(seen, Some(reached))));
    if let Ok(answer) = &one.answer
        && answer.uuid != reached.server_uuid
    {
        return error(format!(
            "another server answers at the address of the one that is followed: {address}"
        ));
    }
    if seen.len() == 1 {
        return None;
    }
    if one.answer.as_ref().is_ok_and(|answer| !answer.is_primary()) {
        return error(format!(
            "the server that is followed is not the primary any more: {address}"
        ));
    }
    let is_other =
        |answer: &Answer| answer.is_primary() && answer.uuid != reached.server_uuid && !answer.is_left_behind(reached);
    let other = seen.iter().find(|seen| seen.answer.as_ref().is_ok_and(is_other))?;
    error(format!(
        "another server takes writes than the one that is followed: {}",
        other.address
    ))
}

/// What the servers beside the followed one are, one line each, in the order of the list.
#[must_use]
pub fn others(seen: &[Seen], followed: usize, reached: &Reached) -> Vec<String> {
    let others = seen.iter().enumerate().filter(|(index, _)| *index != followed);
    others
        .map(|(_, one)| describe(std::slice::from_ref(one), Some(reached)))
        .collect()
}

/// Servers that take writes though the reader left them for another one, one line each.
#[must_use]
pub fn left_behind(seen: &[Seen], reached: &Reached) -> Vec<String> {
    let is_left = |one: &&Seen| {
        let answer = one.answer.as_ref();
        answer.is_ok_and(|answer| answer.is_primary() && answer.is_left_behind(reached))
    };
    let left = seen.iter().filter(is_left);
    left.map(|one| describe(std::slice::from_ref(one), Some(reached)))
        .collect()
}

/// Transactions that other servers have and the followed one lacks, by address. What is followed must have been looked at
/// later than the others, whose transactions else are only newer.
#[must_use]
pub fn strays(before: &[Seen], now: &[Seen], followed: usize) -> Vec<(String, GtidSet)> {
    let executed = |seen: &Seen| seen.answer.as_ref().ok()?.executed.clone();
    let Some(known) = now.get(followed).and_then(executed) else {
        return Vec::new();
    };
    let stray = |one: &Seen| {
        let stray = executed(one)?.minus(&known);
        (!stray.is_empty()).then(|| (one.address.clone(), stray))
    };
    let others = before.iter().enumerate().filter(|(index, _)| *index != followed);
    others.filter_map(|(_, one)| stray(one)).collect()
}

fn follow_only(only: &Seen, reached: Option<&Reached>) -> Result<()> {
    let answer = only.answer.as_ref().map_err(Clone::clone)?;
    let Some(reached) = reached else { return Ok(()) };
    if answer.is_primary() && answer.is_left_behind(reached) {
        return Err(
            Error::transient(format!("the server is one that was left behind: {}", only.address))
                .detail(format!("the reader has followed {} since", reached.server_uuid))
                .hint(LEFT_BEHIND_HINT),
        );
    }
    match answer.lacks(reached) {
        Some(lacking) if !lacking.is_empty() && !answer.is_primary() => Err(Error::transient(format!(
            "the server is a replica that lacks changes which are published already: {}",
            only.address
        ))
        .detail(format!("it lacks {lacking}"))
        .hint("wait until it has caught up, or name the primary in source.servers")),
        _ => Ok(()),
    }
}

fn follow_primary(seen: &[Seen], reached: Option<&Reached>) -> Result<usize> {
    let answers = || seen.iter().filter_map(|seen| seen.answer.as_ref().ok());
    let is_left_behind = |answer: &Answer| reached.is_some_and(|reached| answer.is_left_behind(reached));
    let is_candidate = |answer: &Answer| answer.is_primary() && !is_left_behind(answer);
    let candidates: Vec<usize> = (0..seen.len())
        .filter(|&index| seen[index].answer.as_ref().is_ok_and(is_candidate))
        .collect();
    // Two addresses can be one server's.
    let uuids: BTreeSet<&str> = candidates.iter().filter_map(|&index| uuid_of(&seen[index])).collect();
    let describe = || describe(seen, reached);
    match (uuids.len(), candidates.first()) {
        (1, Some(&index)) => {
            let behind_whom = |answer: &Answer| {
                let reached = reached?;
                let mut others = answers();
                others.find(|other| answer.is_behind(other, reached))
            };
            match seen[index].answer.as_ref().ok().and_then(behind_whom) {
                None => Ok(index),
                Some(other) => Err(Error::transient(format!(
                    "the only writable server is behind a replica of another: {}",
                    seen[index].address
                ))
                .detail(describe())
                .hint(format!(
                    "promote {} instead, or let it replicate from the new primary; and keep replicas read-only",
                    other.uuid
                ))),
            }
        }
        (0, _) => Err(Error::transient("no server of source.servers is the primary")
            .detail(describe())
            .hint(
                "promote one: stop its replication and make it writable; replicas are followed only if listed alone",
            )),
        (count, _) => Err(
            Error::transient(format!("split brain: {count} servers of source.servers take writes"))
                .detail(describe())
                .hint("stop all but the primary, or make them read-only"),
        ),
    }
}

const LEFT_BEHIND_HINT: &str = "let it replicate from the new primary; or, if it is to be followed as it is, delete the reader's \
     row from __db_mysync.t_binlog_record there";

fn uuid_of(seen: &Seen) -> Option<&str> {
    seen.answer.as_ref().ok().map(|answer| answer.uuid.as_str())
}

/// What each server is, in one line.
#[must_use]
pub fn describe(seen: &[Seen], reached: Option<&Reached>) -> String {
    let mut text = String::new();
    for one in seen {
        let separator = if text.is_empty() { "" } else { "; " };
        // Writing to a String cannot fail.
        write!(text, "{separator}{}: ", one.address).ok();
        match &one.answer {
            Err(error) => text.push_str(&error.what),
            Ok(answer) => {
                text.push_str(if answer.read_only { "read-only" } else { "writable" });
                if !answer.sources.is_empty() {
                    let sources: Vec<&str> = answer.sources.iter().map(String::as_str).collect();
                    write!(text, ", replicates from {}", sources.join(", ")).ok();
                }
                if let Some(reached) = reached {
                    if answer.is_primary() && answer.is_left_behind(reached) {
                        text.push_str(", left behind when the reader went on elsewhere");
                    } else if let Some(lacking) = answer.lacks(reached).filter(|lacking| !lacking.is_empty()) {
                        write!(text, ", lacks {lacking}").ok();
                    }
                }
            }
        }
    }
    text
}

#[cfg(test)]
mod tests;
