//! What must hold in every state, and what must be reached in some.

use super::kafka::{Record, Seen};
use super::model::{Delivery, Identity, Protocol, State, due_keys};
use super::mysql::{Change, Entry, changes_of};
use stateright::Property;

/// What a step broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wrong {
    /// What consumers saw, less what was told to be lost, is not the beginning of what the followed server committed: a change
    /// is missing, or in another order, or altered.
    NotAsCommitted,
    /// The reader is at the end of the primary's log and has nothing more to do, but changes were not published.
    Incomplete,
    /// A change reached consumers that read committed twice.
    Twice,
    /// Such consumers saw a transaction in part.
    Torn,
    /// A later record has not the higher version; in sequenced delivery, consumers took a record for a copy of another one.
    VersionsFall,
    /// A row in the store is not what the changes make it, and nobody is going to read it back.
    Stale,
    /// A reader waits for a person though there is a place from which it could go on.
    StoppedWithoutNeed,
}

impl Wrong {
    pub const ALL: [(Wrong, &str); 7] = [
        (
            Wrong::NotAsCommitted,
            "every change is published in the order of the commits",
        ),
        (Wrong::Incomplete, "nothing is lost"),
        (Wrong::Twice, "nothing is published twice"),
        (Wrong::Torn, "transactions are published whole"),
        (Wrong::VersionsFall, "versions rise"),
        (Wrong::Stale, "the store ends equal to the primary"),
        (Wrong::StoppedWithoutNeed, "no stop without need"),
    ];
}

type Condition = fn(&Protocol, &State) -> bool;

/// States that must be reached, or else the model shows nothing.
pub const REACHED: [(&str, Condition); 8] = [
    ("all is published", |protocol, state| {
        is_quiet(protocol, state) && state.spent.writes == protocol.bounds.writes
    }),
    ("a restart", |protocol, state| {
        state.spent.openings > 0 && state.servers.len() == 1 && is_quiet(protocol, state) && state.spent.writes > 1
    }),
    ("a switch", |protocol, state| {
        state.live.place.server > 0 && is_quiet(protocol, state) && count_lost(protocol, state) == 0
    }),
    ("a switch back", |_, state| {
        let is_back = state.live.place.server == 0 && state.checkpoint.next.epoch > 2;
        is_back && state.live.is_started
    }),
    ("a lossy switch that is mended", |protocol, state| {
        count_lost(protocol, state) > 0 && is_quiet(protocol, state)
    }),
    ("a row that was changed while it was read back", |_, state| {
        state
            .live
            .refresh
            .is_some_and(|refresh| refresh.keys != state.live.place.due)
    }),
    ("a replaced reader that tries to publish", |_, state| {
        let older = state.zombie.as_ref();
        let tries = older.is_some_and(|zombie| !zombie.buffer.is_empty() && zombie.place.next != state.checkpoint.next);
        tries && state.live.is_started
    }),
    ("a position that is not there any more", |_, state| {
        state.live.is_stopped
    }),
];

/// All properties: the model keeps in a state what its last step broke.
pub fn properties() -> Vec<Property<Protocol>> {
    fn is_right<const INDEX: usize>(_: &Protocol, state: &State) -> bool {
        state.wrong != Some(Wrong::ALL[INDEX].0)
    }
    let conditions: [Condition; 7] = [
        is_right::<0>,
        is_right::<1>,
        is_right::<2>,
        is_right::<3>,
        is_right::<4>,
        is_right::<5>,
        is_right::<6>,
    ];
    let always = Wrong::ALL.iter().zip(conditions);
    let mut properties: Vec<_> = always
        .map(|((_, name), condition)| Property::always(name, condition))
        .collect();
    properties.extend(REACHED.map(|(name, condition)| Property::sometimes(name, condition)));
    properties
}

/// What is wrong with a state.
pub fn judge(protocol: &Protocol, state: &State) -> Option<Wrong> {
    let seen = Seen::of(&state.topic, protocol.script);
    if state.live.is_started && state.live.lost.is_some() {
        // It is still going to tell what is lost.
        return None;
    }
    let followed = if state.live.is_started {
        state.live.place.server
    } else {
        state.checkpoint.server
    };
    let log = &state.servers[followed].log;
    let committed: Vec<Change> = changes_of(log, protocol.script).copied().collect();
    let published: Vec<Change> = seen
        .changes
        .iter()
        .map(|change| protocol.script.changes(change.transaction)[change.index])
        .collect();
    if protocol.delivery == Delivery::Transactional {
        let is_whole =
            |change: &super::kafka::Published| change.index + 1 == protocol.script.changes(change.transaction).len();
        if has_copies(protocol, state, &seen) {
            return Some(Wrong::Twice);
        }
        if !seen.changes.last().is_none_or(is_whole) {
            return Some(Wrong::Torn);
        }
    }
    if !committed.starts_with(&published) {
        return Some(Wrong::NotAsCommitted);
    }
    if is_quiet(protocol, state) && published.len() < committed.len() {
        return Some(Wrong::Incomplete);
    }
    if !versions_rise(&state.topic) {
        return Some(Wrong::VersionsFall);
    }
    let due = state.checkpoint.due | state.live.place.due;
    let table = seen.table(protocol.script);
    let fine: Vec<usize> = due_keys(!due).collect();
    fine.iter()
        .any(|&key| table[key] != seen.store[key])
        .then_some(Wrong::Stale)
}

/// A change that is there twice, or that was taken back though the server has it.
fn has_copies(protocol: &Protocol, state: &State, seen: &Seen) -> bool {
    let changes = seen.changes.iter();
    let has_copy = changes.enumerate().any(|(at, change)| {
        let others = &seen.changes[at + 1..];
        others
            .iter()
            .any(|other| (other.transaction, other.index) == (change.transaction, change.index))
    });
    let is_there = |(change, server): &(super::kafka::Published, usize)| {
        state.servers[*server].log.contains(&Entry::Changes(change.transaction))
    };
    has_copy || protocol.delivery == Delivery::Transactional && seen.taken_back.iter().any(is_there)
}

fn versions_rise(topic: &[Record]) -> bool {
    let records = topic.iter().filter(|record| record.version().is_some());
    records.is_sorted_by(|one, other| one.version() < other.version())
}

/// The reader follows the primary, and everything is published and committed.
pub fn is_quiet(_: &Protocol, state: &State) -> bool {
    let live = &state.live;
    live.is_started
        && live.place.server == state.primary
        && live.place.position == state.servers[state.primary].log.len()
        && live.buffer.is_empty()
        && live.place.due == 0
        && live.place.position == state.checkpoint.position
        && live.place.server == state.checkpoint.server
}

fn count_lost(protocol: &Protocol, state: &State) -> usize {
    Seen::of(&state.topic, protocol.script).taken_back.len()
}

/// Whether the primary lacks what is needed to find the checkpoint's place.
pub fn is_stop_needed(protocol: &Protocol, state: &State) -> bool {
    let done = &state.servers[state.checkpoint.server].log[..state.checkpoint.position];
    let primary = &state.servers[state.primary];
    let (purged, there) = primary.log.split_at(primary.purged);
    match protocol.identity {
        Identity::Gtid => purged.iter().any(|entry| !done.contains(entry)),
        Identity::Anchor => !done
            .iter()
            .any(|entry| matches!(entry, Entry::Anchor(_)) && there.contains(entry)),
    }
}
