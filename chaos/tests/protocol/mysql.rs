//! MySQL servers: a binlog each, which replication copies in order, and which a promotion cuts off.

/// The rows of a table: each its key.
pub const KEYS: usize = 2;

/// What a row is set to; [`DELETED`] where it is gone.
pub type Value = u8;

/// No row.
pub const DELETED: Value = 0;

/// The row of this key is set to this value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Change {
    pub key: usize,
    pub value: Value,
}

const fn change(key: usize, value: Value) -> Change {
    Change { key, value }
}

/// What clients commit, one after the other, each a number: its GTID where there are any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Script {
    /// No two transactions are alike.
    Different,
    /// The third is like the second: a client that did not get its answer comes again.
    Repeated,
}

impl Script {
    /// The changes of a transaction.
    pub fn changes(self, transaction: u8) -> &'static [Change] {
        const FIRST: &[Change] = &[change(0, 1), change(1, 1)];
        const SECOND: &[Change] = &[change(1, 2)];
        const THIRD: &[Change] = &[change(0, 3), change(1, DELETED)];
        const FOURTH: &[Change] = &[change(0, 4)];
        match (transaction, self) {
            (1, _) => FIRST,
            (2, _) | (3, Script::Repeated) => SECOND,
            (3, Script::Different) => THIRD,
            _ => FOURTH,
        }
    }
}

/// The row that readers advance and follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Anchor {
    /// By the clock: no two are alike.
    pub written_at: u8,
    /// One more than the row had.
    pub sequence: u8,
    /// Of the server that it was written on.
    pub uuid: u8,
}

/// A transaction in a binlog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Entry {
    Changes(u8),
    Anchor(Anchor),
}

/// A server. It is never forgotten, so that what was published can be compared with what it had.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Server {
    pub uuid: u8,
    /// All that it has executed, in order.
    pub log: Vec<Entry>,
    /// So many of them are not in its binlogs any more.
    pub purged: usize,
}

impl Server {
    /// The row of the anchor holds this.
    pub fn sequence(&self) -> u8 {
        let last = self.log.iter().rev().find_map(|entry| match entry {
            Entry::Anchor(anchor) => Some(anchor.sequence),
            Entry::Changes(_) => None,
        });
        last.unwrap_or(0)
    }

    /// The table after the first `count` transactions.
    pub fn table(&self, script: Script, count: usize) -> [Value; KEYS] {
        let mut table = [DELETED; KEYS];
        for change in changes_of(&self.log[..count], script) {
            table[change.key] = change.value;
        }
        table
    }

    /// Events of the binlog that a transaction's rows are in. Every second server has a small `binlog_row_event_max_size`.
    pub fn events_of(&self, script: Script, transaction: u8) -> usize {
        match self.uuid % 2 {
            0 => script.changes(transaction).len(),
            _ => 1,
        }
    }
}

/// All changes of some transactions.
pub fn changes_of(log: &[Entry], script: Script) -> impl Iterator<Item = &'static Change> {
    log.iter().flat_map(move |entry| match entry {
        Entry::Changes(transaction) => script.changes(*transaction),
        Entry::Anchor(_) => &[],
    })
}
