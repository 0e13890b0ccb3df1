//! The lanes of a publisher (`queue/kafka/publisher/transactional.rs`): transactions take turns over several transactional ids,
//! since a commit is answered when the coordinator has decided it, but its marks are written later, and until then the same id
//! takes no other transaction. Explored exhaustively: consumers see each change once and in order, and the checkpoint tells what
//! they see, whenever a reader fails or is replaced.
//!
//! A change stands for a MySQL transaction, and each gets a Kafka transaction of its own, in which the checkpoint moves past it.
//! Records stand in the partition in the order in which they were sent. A consumer sees those of committed transactions before
//! the first that is not decided.

use stateright::{Checker, HasDiscoveries, Model, Property};

const LANES: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Mistake {
    /// A lane's transaction begins before the one before it is decided.
    NotInTurn,
    /// Only the first lane is taken over before the checkpoint is looked for.
    OneLaneFenced,
    /// A transaction that is decided, and whose marks are not written yet, is not waited for.
    MarksNotAwaited,
}

/// A reader that publishes `changes` changes, and others that replace it.
struct Lanes {
    mistake: Option<Mistake>,
    changes: u8,
    openings: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Fate {
    Open,
    /// The coordinator has said so, but the partition has no mark yet.
    Decided,
    Committed,
    Aborted,
}

/// A record in the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Record {
    change: u8,
    lane: usize,
    fate: Fate,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    partition: Vec<Record>,
    /// The epoch of each lane's transactional id.
    epochs: [u8; LANES],
    live: Reader,
    /// It was replaced, and does not know it.
    zombie: Option<Reader>,
    openings: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Reader {
    /// Of the lanes that it took over.
    epochs: [u8; LANES],
    /// How many of them; then it looks for the checkpoint.
    taken: usize,
    /// The change that it publishes next, once it knows.
    next: Option<u8>,
    turn: usize,
    /// Lanes with a transaction that it has not asked to commit, or without an answer.
    unanswered: [bool; LANES],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Action {
    Open {
        by_other: bool,
    },
    /// Takes the next lane over: what is open there is aborted.
    Take,
    /// Looks for the checkpoint.
    Find,
    Send {
        by_zombie: bool,
    },
    /// Asks to commit a lane's transaction, and gets the answer.
    Commit {
        by_zombie: bool,
        lane: usize,
    },
    /// The coordinator writes the mark of a decided transaction.
    Mark {
        lane: usize,
    },
}

impl Reader {
    const NEW: Reader = Reader {
        epochs: [0; LANES],
        taken: 0,
        next: None,
        turn: 0,
        unanswered: [false; LANES],
    };
}

impl State {
    fn reader(&mut self, is_zombie: bool) -> &mut Reader {
        match (is_zombie, &mut self.zombie) {
            (true, Some(zombie)) => zombie,
            _ => &mut self.live,
        }
    }

    fn fate_of(&mut self, lane: usize, from: Fate, to: Fate) {
        for record in self
            .partition
            .iter_mut()
            .filter(|record| record.lane == lane && record.fate == from)
        {
            record.fate = to;
        }
    }

    fn has(&self, lane: usize, fate: Fate) -> bool {
        self.partition
            .iter()
            .any(|record| record.lane == lane && record.fate == fate)
    }

    /// What a consumer that reads committed sees.
    fn seen(&self) -> Vec<u8> {
        let is_undecided = |record: &&Record| matches!(record.fate, Fate::Open | Fate::Decided);
        let decided = self.partition.iter().take_while(|record| !is_undecided(record));
        let committed = decided.filter(|record| record.fate == Fate::Committed);
        committed.map(|record| record.change).collect()
    }
}

impl Lanes {
    fn steps(&self, state: &State, reader: &Reader, by_zombie: bool, actions: &mut Vec<Action>) {
        let Some(next) = reader.next else {
            let needed = if self.mistake == Some(Mistake::OneLaneFenced) {
                1
            } else {
                LANES
            };
            if reader.taken < LANES {
                actions.push(Action::Take);
            }
            if reader.taken >= needed {
                actions.push(Action::Find);
            }
            return;
        };
        let is_fenced = |lane: usize| reader.epochs[lane] != state.epochs[lane];
        let may_begin = match self.mistake {
            Some(Mistake::NotInTurn) => !reader.unanswered[reader.turn],
            _ => reader.unanswered == [false; LANES],
        };
        // The coordinator refuses while the lane's last transaction has no marks.
        if next <= self.changes && may_begin && !is_fenced(reader.turn) && !state.has(reader.turn, Fate::Decided) {
            actions.push(Action::Send { by_zombie });
        }
        for lane in 0..LANES {
            if reader.unanswered[lane] && !is_fenced(lane) {
                actions.push(Action::Commit { by_zombie, lane });
            }
        }
    }
}

impl Model for Lanes {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            partition: Vec::new(),
            epochs: [0; LANES],
            live: Reader::NEW,
            zombie: None,
            openings: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.openings < self.openings {
            actions.extend([false, true].map(|by_other| Action::Open { by_other }));
        }
        self.steps(state, &state.live, false, actions);
        if let Some(zombie) = state.zombie.as_ref().filter(|zombie| zombie.next.is_some()) {
            self.steps(state, zombie, true, actions);
        }
        for lane in (0..LANES).filter(|&lane| state.has(lane, Fate::Decided)) {
            actions.push(Action::Mark { lane });
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        match action {
            Action::Open { by_other } => {
                next.openings += 1;
                let older = std::mem::replace(&mut next.live, Reader::NEW);
                next.zombie = if by_other { Some(older) } else { next.zombie };
            }
            Action::Take => {
                let lane = next.live.taken;
                if next.has(lane, Fate::Decided) && self.mistake != Some(Mistake::MarksNotAwaited) {
                    return None;
                }
                next.fate_of(lane, Fate::Open, Fate::Aborted);
                next.epochs[lane] += 1;
                next.live.epochs[lane] = next.epochs[lane];
                next.live.taken += 1;
            }
            Action::Find => {
                // The checkpoint's topic is read as consumers read.
                next.live.next = Some(state.seen().last().copied().unwrap_or(0) + 1);
                for lane in next.live.taken..LANES {
                    next.epochs[lane] += 1;
                    next.live.epochs[lane] = next.epochs[lane];
                }
            }
            Action::Send { by_zombie } => {
                let reader = next.reader(by_zombie);
                let (change, lane) = (reader.next?, reader.turn);
                reader.next = Some(change + 1);
                reader.turn = (lane + 1) % LANES;
                reader.unanswered[lane] = true;
                let fate = Fate::Open;
                next.partition.push(Record { change, lane, fate });
            }
            Action::Commit { by_zombie, lane } => {
                next.reader(by_zombie).unanswered[lane] = false;
                next.fate_of(lane, Fate::Open, Fate::Decided);
            }
            Action::Mark { lane } => next.fate_of(lane, Fate::Decided, Fate::Committed),
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(RIGHT, |_, state: &State| {
                let seen = state.seen();
                (1..).zip(&seen).all(|(change, seen)| change == *seen)
            }),
            Property::sometimes("all is published", |model: &Lanes, state: &State| {
                state.seen().len() == usize::from(model.changes)
            }),
            Property::sometimes("a replaced reader is refused", |_, state: &State| {
                let zombie = state.zombie.filter(|zombie| zombie.unanswered != [false; LANES]);
                zombie.is_some_and(|zombie| zombie.epochs != state.epochs)
            }),
            Property::sometimes(
                "a lane begins while the other waits for its mark",
                |_, state: &State| {
                    let fates: Vec<Fate> = state.partition.iter().map(|record| record.fate).collect();
                    fates.ends_with(&[Fate::Decided, Fate::Open])
                },
            ),
        ]
    }
}

const RIGHT: &str = "consumers see each change once and in order";

fn explore(mistake: Option<Mistake>) -> Option<Vec<Action>> {
    let lanes = Lanes {
        mistake,
        changes: 4,
        openings: 3,
    };
    let checker = lanes
        .checker()
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    println!("lanes, {mistake:?}: {} states", checker.unique_state_count());
    if mistake.is_none() {
        checker.assert_properties();
    }
    checker.discovery(RIGHT).map(|path| path.into_actions())
}

#[test]
fn lanes_that_take_turns_keep_the_order() {
    assert_eq!(explore(None), None);
}

#[test]
fn each_mistake_with_lanes_is_caught() {
    for mistake in [Mistake::NotInTurn, Mistake::OneLaneFenced, Mistake::MarksNotAwaited] {
        let path = explore(Some(mistake)).unwrap_or_else(|| panic!("the model does not see this mistake: {mistake:?}"));
        let steps: Vec<String> = path.iter().map(|step| format!("  {step:?}")).collect();
        println!("{}", steps.join("\n"));
    }
}
