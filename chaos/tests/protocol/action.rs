//! What can happen.

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// A client commits its next transaction on the primary.
    Write,
    /// The new primary has the first `kept` transactions of the old one. The old one is still there for readers that are
    /// connected to it.
    Switch {
        promoted: Promoted,
        kept: usize,
    },
    /// A reader's session begins. Either its own older one has failed, or the other reader's goes on for a while.
    Open {
        by_other: bool,
    },
    /// A transaction.
    Read(Who),
    /// The first record that was read and not sent yet.
    Send(Who),
    Commit(Who),
    WriteAnchor(Who),
    /// The rows that are due, as they are now.
    Select,
    /// The end of the log, which is behind the state that was selected.
    Watermark,
}

/// Which reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Who {
    /// The one that opened last.
    Live,
    /// The one before, which was paused or cut off.
    Zombie,
}

/// Which server becomes the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Promoted {
    /// A replica, without the first `purged` of its binlogs' transactions.
    Replica { purged: usize },
    /// This server, which was it before.
    Former(usize),
    /// The same server, as an older backup or a disk has it.
    Itself,
}
