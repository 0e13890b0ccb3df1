//! The model: its states, and the steps between them.

use super::action::{Action, Promoted, Who};
use super::judge::{self, Wrong};
use super::kafka::{Checkpoint, Record, Version};
use super::locate::{Located, locate};
use super::mistake::Mistake;
use super::mysql::{Anchor, Entry, KEYS, Script, Server, Value};
use super::session::{Refresh, Session};
use stateright::{Model, Property};

/// How records reach the topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Delivery {
    Transactional,
    Sequenced,
}

/// What tells transactions apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Identity {
    Gtid,
    Anchor,
}

/// The protocol, right or with a mistake, and how far it is explored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Protocol {
    pub delivery: Delivery,
    pub identity: Identity,
    pub script: Script,
    pub mistake: Option<Mistake>,
    pub bounds: Bounds,
}

/// How often each thing may happen in one life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Transactions of clients.
    pub writes: u8,
    /// Anchors, after the first one.
    pub anchors: u8,
    /// Sessions of readers after the first: by a reader that failed, or by the other one.
    pub openings: u8,
    /// Other servers that become the primary.
    pub switches: u8,
    /// Transactions that a switch may lose.
    pub lost_max: usize,
    /// The other reader may take over, while the older one does not know it yet.
    pub two_readers: bool,
    /// An old primary may follow the new one and become the primary again.
    pub may_switch_back: bool,
    /// A server may come back as an older state of itself.
    pub may_be_restored: bool,
    /// A new primary may lack the beginning of its binlogs.
    pub may_be_purged: bool,
}

impl Protocol {
    pub fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// Whether records go out without their checkpoint.
    fn sends_apart(&self) -> bool {
        self.delivery == Delivery::Sequenced
            || self.makes(Mistake::CheckpointApart)
            || self.makes(Mistake::CheckpointFirst)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    pub servers: Vec<Server>,
    /// The one that is writable.
    pub primary: usize,
    pub topic: Vec<Record>,
    pub checkpoint: Checkpoint,
    /// The reader that opened last: all others are fenced.
    pub live: Session,
    /// The other reader, which led before and does not know yet that it leads no more.
    pub zombie: Option<Session>,
    pub spent: Spent,
    /// What the last step broke; nothing follows it.
    pub wrong: Option<Wrong>,
}

/// How often things have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Spent {
    pub writes: u8,
    pub anchors: u8,
    pub openings: u8,
    pub switches: u8,
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let anchor = Anchor {
            written_at: 0,
            sequence: 1,
            uuid: 0,
        };
        let checkpoint = Checkpoint {
            server: 0,
            position: 1,
            next: Version::FIRST,
            anchors: vec![(anchor, Version::FIRST)],
            due: 0,
        };
        let live = Session {
            is_started: true,
            ..Session::at(checkpoint.clone())
        };
        let server = Server {
            uuid: 0,
            log: vec![Entry::Anchor(anchor)],
            purged: 0,
        };
        vec![State {
            servers: vec![server],
            primary: 0,
            topic: Vec::new(),
            checkpoint,
            live,
            zombie: None,
            spent: Spent::default(),
            wrong: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.wrong.is_some() {
            return;
        }
        let bounds = &self.bounds;
        if state.spent.writes < bounds.writes {
            actions.push(Action::Write);
        }
        if state.spent.switches < bounds.switches {
            self.switches(state, actions);
        }
        if state.spent.openings < bounds.openings {
            actions.push(Action::Open { by_other: false });
            if bounds.two_readers {
                actions.push(Action::Open { by_other: true });
            }
        }
        self.steps(Who::Live, &state.live, state, actions);
        if let Some(zombie) = &state.zombie {
            self.steps(Who::Zombie, zombie, state, actions);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        match action {
            Action::Write => {
                next.spent.writes += 1;
                let entry = Entry::Changes(next.spent.writes);
                next.servers[next.primary].log.push(entry);
            }
            Action::Switch { promoted, kept } => self.switch(&mut next, promoted, kept),
            Action::Open { by_other } => self.open(&mut next, by_other),
            Action::Read(who) => {
                let servers = std::mem::take(&mut next.servers);
                let session = next.session(who);
                session.read(self, &servers[session.place.server]);
                next.servers = servers;
            }
            Action::Send(who) => {
                // A Kafka transaction that the checkpoint is not in, or one record.
                let buffer = &mut next.session(who).buffer;
                let count = if self.delivery == Delivery::Sequenced {
                    1
                } else {
                    buffer.len()
                };
                let sent: Vec<Record> = buffer.drain(..count).collect();
                sent.into_iter().for_each(|record| self.append(&mut next, record));
            }
            Action::Commit(who) => self.commit(&mut next, who),
            Action::WriteAnchor(who) => {
                next.spent.anchors += 1;
                let followed = next.session(who).place.server;
                let server = &mut next.servers[followed];
                let anchor = Anchor {
                    written_at: next.spent.anchors,
                    sequence: server.sequence() + 1,
                    uuid: server.uuid,
                };
                server.log.push(Entry::Anchor(anchor));
                if self.makes(Mistake::AnchorWritten) {
                    next.session(who).note_anchor(anchor);
                }
            }
            Action::Select => {
                let server = &next.servers[next.live.place.server];
                next.live.refresh = Some(Refresh {
                    rows: server.table(self.script, server.log.len()),
                    keys: next.live.place.due,
                    low: server.log.len(),
                    high: None,
                });
            }
            Action::Watermark => {
                let high = next.servers[next.live.place.server].log.len();
                next.live.set_watermark(self, high);
            }
        }
        if matches!(
            action,
            Action::Commit(_) | Action::Send(_) | Action::Open { .. } | Action::Watermark
        ) {
            next.wrong = next.wrong.or_else(|| judge::judge(self, &next));
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        judge::properties()
    }
}

impl State {
    fn session(&mut self, who: Who) -> &mut Session {
        match (who, &mut self.zombie) {
            (Who::Zombie, Some(zombie)) => zombie,
            _ => &mut self.live,
        }
    }
}

impl Protocol {
    fn switches(&self, state: &State, actions: &mut Vec<Action>) {
        let log = &state.servers[state.primary].log;
        // The very first anchor is everywhere.
        let kept_min = log.len().saturating_sub(self.bounds.lost_max).max(1);
        for kept in kept_min..=log.len() {
            for purged in 0..=kept {
                if purged == 0 || self.bounds.may_be_purged {
                    let promoted = Promoted::Replica { purged };
                    actions.push(Action::Switch { promoted, kept });
                }
            }
            if self.bounds.may_be_restored && kept < log.len() {
                let promoted = Promoted::Itself;
                actions.push(Action::Switch { promoted, kept });
            }
            for (number, server) in state.servers.iter().enumerate() {
                let may_follow = number != state.primary && log[..kept].starts_with(&server.log);
                if self.bounds.may_switch_back && may_follow {
                    let promoted = Promoted::Former(number);
                    actions.push(Action::Switch { promoted, kept });
                }
            }
        }
    }

    fn switch(&self, state: &mut State, promoted: Promoted, kept: usize) {
        state.spent.switches += 1;
        let old = &state.servers[state.primary];
        let mut log = old.log[..kept].to_vec();
        if self.makes(Mistake::CommitOrderIgnored)
            && let [.., one @ Entry::Changes(_), other @ Entry::Changes(_)] = log.as_mut_slice()
        {
            std::mem::swap(one, other);
        }
        let highest = state.servers.iter().map(|server| server.uuid).max().unwrap_or(0);
        let (uuid, purged) = match promoted {
            Promoted::Replica { purged } => (highest + 1, purged),
            Promoted::Itself => (old.uuid, old.purged),
            Promoted::Former(number) => {
                state.servers[number].log = log;
                state.primary = number;
                return;
            }
        };
        state.primary = state.servers.len();
        state.servers.push(Server { uuid, log, purged });
    }

    /// What a reader may do.
    fn steps(&self, who: Who, session: &Session, state: &State, actions: &mut Vec<Action>) {
        let server = &state.servers[session.place.server];
        let fences_late = self.makes(Mistake::FencedTooLate) && !state.live.is_started;
        let is_fenced = who == Who::Zombie && !fences_late && !self.makes(Mistake::NoFencing);
        if session.is_stopped {
            return;
        }
        if session.is_started && session.place.position < server.log.len() {
            actions.push(Action::Read(who));
        }
        if self.sends_apart() && !session.buffer.is_empty() && (!is_fenced || self.delivery == Delivery::Sequenced) {
            actions.push(Action::Send(who));
        }
        let waits = self.sends_apart() && !session.buffer.is_empty() && !self.makes(Mistake::CheckpointFirst);
        let has_more = !session.is_started || session.place != state.checkpoint;
        // What a fenced reader tries is refused, and it ends: as if it did nothing more.
        if has_more && !waits && !is_fenced {
            actions.push(Action::Commit(who));
        }
        if state.spent.anchors < self.bounds.anchors {
            actions.push(Action::WriteAnchor(who));
        }
        if who == Who::Live && session.is_started && session.place.due != 0 {
            match &session.refresh {
                None => actions.push(Action::Select),
                Some(refresh) if refresh.high.is_none() => actions.push(Action::Watermark),
                Some(_) => {}
            }
        }
    }

    fn open(&self, state: &mut State, by_other: bool) {
        state.spent.openings += 1;
        let found = locate(self, &state.topic, &state.checkpoint, &state.servers, state.primary);
        let mut opened = Session::at(state.checkpoint.clone());
        opened.place.server = state.primary;
        match found {
            Located::Nowhere => {
                opened.is_stopped = true;
                if !judge::is_stop_needed(self, state) {
                    state.wrong = Some(Wrong::StoppedWithoutNeed);
                }
            }
            Located::At {
                position,
                lost_from,
                anchors,
            } => {
                opened.place.position = position;
                opened.place.anchors = anchors;
                let moved = state.servers[state.primary].uuid != state.servers[state.checkpoint.server].uuid;
                self.renew(state, &mut opened, moved, lost_from);
            }
        }
        let older = std::mem::replace(&mut state.live, opened);
        if by_other {
            state.zombie = Some(older);
        }
    }

    /// Consumers of sequenced delivery drop what they take for a copy.
    fn append(&self, state: &mut State, record: Record) {
        let version = record.version();
        let is_copy = version.is_some() && state.topic.iter().any(|other| other.version() >= version);
        if self.delivery == Delivery::Transactional || !is_copy {
            state.topic.push(record);
        } else if state
            .topic
            .iter()
            .any(|other| other.version() == version && *other != record)
        {
            state.wrong = Some(Wrong::VersionsFall);
        }
    }

    /// The epoch, and the rows that have to be read back.
    fn renew(&self, state: &mut State, opened: &mut Session, moved: bool, mut lost_from: Option<Version>) {
        let place = &mut opened.place;
        let checkpointed = place.next;
        let is_sequenced = self.delivery == Delivery::Sequenced;
        // Rows that are read back stand at no certain place between the changes, so what follows gets other versions.
        let renumbers = is_sequenced && place.due != 0 && !self.makes(Mistake::RefreshRenumbers);
        if moved || lost_from.is_some() || renumbers {
            if !self.makes(Mistake::EpochKept) {
                place.next = place.next.next_epoch();
            }
            if is_sequenced {
                if !self.makes(Mistake::NoBarrier) {
                    let version = place.next.before_epoch();
                    self.append(state, Record::Barrier { version });
                }
                if !self.makes(Mistake::SuspectsTrusted) {
                    lost_from = Some(lost_from.unwrap_or(checkpointed).min(checkpointed));
                }
            }
        }
        if let Some(from) = lost_from {
            // Compaction leaves the last record of a key.
            place.due |= (0..KEYS)
                .filter(|key| self.last_record(state, *key).is_some_and(|version| version >= from))
                .fold(0, |due, key| due | 1 << key);
            if self.makes(Mistake::NoRefresh) {
                place.due = 0;
            }
        }
        opened.lost = lost_from.map(|from| from..checkpointed.next_epoch().before_epoch());
        opened.is_started = self.makes(Mistake::NoFirstCheckpoint);
    }

    /// The version of a key's last record.
    fn last_record(&self, state: &State, key: usize) -> Option<Version> {
        let last = state.topic.iter().rev().find(|record| match record {
            Record::Change { transaction, index, .. } => self.script.changes(*transaction)[*index].key == key,
            Record::Refreshed { key: other, .. } => *other == key,
            Record::Lost { .. } | Record::Barrier { .. } => false,
        })?;
        let is_trusted = matches!(last, Record::Refreshed { .. }) && self.makes(Mistake::ReadBackTrusted);
        last.version().filter(|_| !is_trusted)
    }

    fn commit(&self, state: &mut State, who: Who) {
        let session = state.session(who);
        let server = session.place.server;
        let lost = session.lost.take().map(|lost| Record::Lost {
            from: lost.start,
            before: lost.end,
            server,
        });
        session.is_started = true;
        let mut checkpoint = session.place.clone();
        if self.makes(Mistake::RefreshForgotten) {
            checkpoint.due = 0;
        }
        if self.makes(Mistake::LastAnchorOnly) {
            let last = checkpoint.anchors.len().saturating_sub(1);
            checkpoint.anchors.drain(..last);
        }
        let mut records = match self.sends_apart() {
            true => Vec::new(),
            false => std::mem::take(&mut session.buffer),
        };
        if self.makes(Mistake::CheckpointWithin)
            && let [_, .., Record::Change { version, index, .. }] = records[..]
            && index > 0
        {
            checkpoint.position -= 1;
            checkpoint.next = version;
            session.buffer = records.split_off(records.len() - 1);
        }
        state.topic.extend(lost);
        state.topic.extend(records);
        state.checkpoint = checkpoint;
    }
}

/// No key is due.
pub fn due_keys(due: u8) -> impl Iterator<Item = usize> {
    (0..KEYS).filter(move |key| due & (1 << key) != 0)
}

/// A table's rows.
pub type Table = [Value; KEYS];
