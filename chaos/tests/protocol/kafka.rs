//! Kafka: one partition, the checkpoint, and what consumers make of them.

use super::mysql::{Anchor, DELETED, KEYS, Script, Value};

/// As `mysync::version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    pub epoch: u8,
    pub number: u8,
}

impl Version {
    pub const FIRST: Version = Version { epoch: 1, number: 1 };

    pub fn next(self) -> Self {
        Version {
            number: self.number + 1,
            ..self
        }
    }

    pub fn next_epoch(self) -> Self {
        Version {
            epoch: self.epoch + 1,
            number: 1,
        }
    }

    /// Below all versions of its epoch, above all of those before.
    pub fn before_epoch(self) -> Self {
        Version { number: 0, ..self }
    }
}

/// What stands in the topics, in the order in which it was written; in sequenced delivery without what consumers drop, since
/// its version is not above all before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Record {
    /// The change with this index of a transaction.
    Change {
        version: Version,
        transaction: u8,
        index: usize,
    },
    /// A row as it was read back.
    Refreshed { version: Version, key: usize, value: Value },
    /// The changes with these versions are not on this server. In a topic of its own, in the checkpoint's transaction.
    Lost {
        from: Version,
        before: Version,
        server: usize,
    },
    /// Nothing but a version: consumers drop what comes later with a lower one.
    Barrier { version: Version },
}

impl Record {
    pub fn version(&self) -> Option<Version> {
        match self {
            Record::Change { version, .. } | Record::Refreshed { version, .. } | Record::Barrier { version } => {
                Some(*version)
            }
            Record::Lost { .. } => None,
        }
    }
}

/// Where a reader goes on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Checkpoint {
    /// The server whose position it is.
    pub server: usize,
    /// Transactions of its log that are done.
    pub position: usize,
    pub next: Version,
    /// The anchors that were read, oldest first, each with the version that came next.
    pub anchors: Vec<(Anchor, Version)>,
    /// Keys whose rows are to be read back.
    pub due: u8,
}

/// A change that was published and not taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Published {
    pub version: Version,
    pub transaction: u8,
    pub index: usize,
}

/// What consumers have.
#[derive(Debug, Default)]
pub struct Seen {
    pub changes: Vec<Published>,
    pub store: [Value; KEYS],
    /// Changes that were taken back, each with the server that is said not to have it.
    pub taken_back: Vec<(Published, usize)>,
}

impl Seen {
    /// Consumes a topic.
    pub fn of(topic: &[Record], script: Script) -> Self {
        let mut seen = Self {
            store: [DELETED; KEYS],
            ..Self::default()
        };
        for record in topic {
            match *record {
                Record::Change {
                    version,
                    transaction,
                    index,
                } => {
                    let change = script.changes(transaction)[index];
                    seen.store[change.key] = change.value;
                    seen.changes.push(Published {
                        version,
                        transaction,
                        index,
                    });
                }
                Record::Refreshed { key, value, .. } => seen.store[key] = value,
                Record::Lost { from, before, server } => {
                    let is_lost = |change: &Published| change.version >= from && change.version < before;
                    let lost = seen.changes.extract_if(.., |change| is_lost(change));
                    seen.taken_back.extend(lost.map(|change| (change, server)));
                }
                Record::Barrier { .. } => {}
            }
        }
        seen
    }

    /// The table that these changes make.
    pub fn table(&self, script: Script) -> [Value; KEYS] {
        let mut table = [DELETED; KEYS];
        for published in &self.changes {
            let change = script.changes(published.transaction)[published.index];
            table[change.key] = change.value;
        }
        table
    }

    /// The transactions whose changes have a version in this range, each with the version of its first.
    pub fn transactions(&self, from: Version, before: Version) -> Vec<(u8, Version)> {
        let mut transactions = Vec::new();
        for change in &self.changes {
            if change.index == 0 && change.version >= from && change.version < before {
                transactions.push((change.transaction, change.version));
            }
        }
        transactions
    }
}
