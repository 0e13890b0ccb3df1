//! Where a reader goes on: the checkpoint's place in the log of the server that is writable now, and what was published that
//! this server does not have.

use super::kafka::{Checkpoint, Record, Seen, Version};
use super::mistake::Mistake;
use super::model::{Identity, Protocol};
use super::mysql::{Anchor, Entry, Server};

/// An answer.
#[derive(Debug)]
pub enum Located {
    At {
        position: usize,
        /// The first published version that is not on the server.
        lost_from: Option<Version>,
        /// The anchors that are still of use.
        anchors: Vec<(Anchor, Version)>,
    },
    /// A person has to decide.
    Nowhere,
}

/// Looks for the checkpoint's place on a server.
pub fn locate(
    protocol: &Protocol,
    topic: &[Record],
    checkpoint: &Checkpoint,
    servers: &[Server],
    to: usize,
) -> Located {
    let (old, new) = (&servers[checkpoint.server], &servers[to]);
    if protocol.makes(Mistake::SameServerTrusted) && old.uuid == new.uuid {
        return Located::At {
            position: checkpoint.position.min(new.log.len()),
            lost_from: None,
            anchors: checkpoint.anchors.clone(),
        };
    }
    let seen = match protocol.makes(Mistake::LostChangesCompared) {
        true => {
            let told: Vec<Record> = topic
                .iter()
                .filter(|record| record.version().is_some())
                .copied()
                .collect();
            Seen::of(&told, protocol.script)
        }
        false => Seen::of(topic, protocol.script),
    };
    match protocol.identity {
        Identity::Gtid => by_gtid(protocol, &seen, checkpoint, old, new),
        Identity::Anchor => by_anchor(protocol, &seen, checkpoint, old, new),
    }
}

/// The checkpoint is a set of transactions. A server sends all that it has and the set has not.
fn by_gtid(protocol: &Protocol, seen: &Seen, checkpoint: &Checkpoint, old: &Server, new: &Server) -> Located {
    let done = &old.log[..checkpoint.position];
    let first_new = new
        .log
        .iter()
        .position(|entry| !done.contains(entry))
        .unwrap_or(new.log.len());
    if first_new < new.purged && !protocol.makes(Mistake::PurgedUnasked) {
        return Located::Nowhere;
    }
    let published = seen.transactions(Version::FIRST, checkpoint.next);
    let lost = published
        .iter()
        .find(|(transaction, _)| !new.log.contains(&Entry::Changes(*transaction)))
        .filter(|_| !protocol.makes(Mistake::ContainmentUnasked));
    Located::At {
        position: first_new.max(new.purged),
        lost_from: lost.map(|(_, version)| *version),
        anchors: Vec::new(),
    }
}

/// The newest anchor that both have, then change by change.
fn by_anchor(protocol: &Protocol, seen: &Seen, checkpoint: &Checkpoint, old: &Server, new: &Server) -> Located {
    let is_it = |entry: &Entry, anchor: &Anchor| match entry {
        Entry::Changes(_) => false,
        Entry::Anchor(found) if protocol.makes(Mistake::AnchorBySequence) => found.sequence == anchor.sequence,
        Entry::Anchor(found) if protocol.makes(Mistake::AnchorByServer) => {
            (found.sequence, found.uuid) == (anchor.sequence, anchor.uuid)
        }
        Entry::Anchor(found) => found == anchor,
    };
    let place = |anchor: &Anchor| (new.purged..new.log.len()).find(|&at| is_it(&new.log[at], anchor));
    let common = checkpoint.anchors.iter().enumerate().rev();
    let Some((number, version, at)) = common
        .filter_map(|(number, (anchor, version))| Some((number, *version, place(anchor)?)))
        .next()
    else {
        return Located::Nowhere;
    };
    let anchors = checkpoint.anchors[..=number].to_vec();
    let published = seen.transactions(version, checkpoint.next);
    let rows_of = |transaction| protocol.script.changes(transaction).len();
    let counted = if protocol.makes(Mistake::EventsCounted) {
        let events = published
            .iter()
            .map(|(transaction, _)| old.events_of(protocol.script, *transaction))
            .sum();
        after(new, at + 1, events, |transaction| {
            new.events_of(protocol.script, transaction)
        })
    } else if protocol.makes(Mistake::NoHash) {
        let rows = published.iter().map(|(transaction, _)| rows_of(*transaction)).sum();
        after(new, at + 1, rows, rows_of)
    } else {
        None
    };
    let (position, lost_from) = match counted {
        Some(position) => (position, None),
        None => compared(protocol, new, at + 1, &published),
    };
    Located::At {
        position,
        lost_from,
        anchors,
    }
}

/// The place after so many of what is counted, where there are so many.
fn after(server: &Server, from: usize, count: usize, count_of: impl Fn(u8) -> usize) -> Option<usize> {
    let (mut position, mut counted) = (from, 0);
    while counted < count {
        if let Entry::Changes(transaction) = server.log.get(position)? {
            counted += count_of(*transaction);
        }
        position += 1;
    }
    Some(position)
}

/// The place after the last transaction that is as it was published, and the version of the first that is not. The running
/// hash of the real reader stands for all contents up to it; two that differ are taken never to agree.
fn compared(
    protocol: &Protocol,
    server: &Server,
    from: usize,
    published: &[(u8, Version)],
) -> (usize, Option<Version>) {
    let mut position = from;
    for (transaction, version) in published {
        let next = (position..server.log.len()).find_map(|at| match server.log[at] {
            Entry::Changes(found) => Some((at, found)),
            Entry::Anchor(_) => None,
        });
        match next {
            Some((at, found)) if protocol.script.changes(found) == protocol.script.changes(*transaction) => {
                position = at + 1
            }
            None if protocol.makes(Mistake::LostTailUnnoticed) => return (position, None),
            _ => return (position, Some(*version)),
        }
    }
    (position, None)
}
