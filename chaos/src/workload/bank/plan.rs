//! What a client of the bank does next, drawn from the seed. Knows no server.

use super::row;
use crate::history::{Row, Write};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::collections::VecDeque;

/// What every account is opened with.
pub const OPENING_BALANCE: i64 = 1_000_000;

/// Bits of a transaction's number below its client.
const COUNT_BITS: u32 = 40;
/// Transfers of its own that a client remembers, to amend, move or delete them.
const REMEMBERED_MAX: usize = 2_000;
/// Transfers that are needed before one is amended, moved or deleted.
const REMEMBERED_MIN: usize = 8;
/// Most transfers that one transaction deletes.
const DELETED_MAX: usize = 3;

/// Texts that a codec likes to get wrong.
const MEMOS: [&str; 6] = [
    "rent",
    "",
    "caf\u{e9} \u{1f375}",
    "a \"quoted\" \\\\ text",
    "two\nlines",
    "\u{4f60}\u{597d}",
];

/// One transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its number.
    pub number: u64,
    /// Between BEGIN and COMMIT.
    pub statements: Vec<Statement>,
    /// What they write, in order.
    pub rows: Vec<Row>,
    /// False: it ends with ROLLBACK.
    pub commit: bool,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its text.
    pub text: String,
    /// Rows that it writes if all that it touches is there.
    pub rows: u64,
}

impl Statement {
    pub(super) fn of_one_row(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            rows: 1,
        }
    }
}

/// Draws the transactions of one client.
pub struct Teller {
    random: StdRng,
    client: u64,
    accounts: u64,
    count: u64,
    transfers: VecDeque<u64>,
}

impl Teller {
    /// `client` begins at 1; accounts have the ids 1 to `accounts`, 2 or more.
    #[must_use]
    pub fn new(seed: u64, client: u64, accounts: u64) -> Self {
        let random = StdRng::seed_from_u64(seed.rotate_left(17) ^ client);
        Self {
            random,
            client,
            accounts,
            count: 0,
            transfers: VecDeque::new(),
        }
    }

    /// Draws the next transaction as if the one before had been committed; else see [`Teller::forget`].
    pub fn draw(&mut self) -> Planned {
        self.count += 1;
        let number = number(self.client, self.count);
        let kind = if self.transfers.len() < REMEMBERED_MIN {
            0
        } else {
            self.random.random_range(0..100)
        };
        match kind {
            0..78 => self.transfer(number, true),
            78..80 => self.transfer(number, false),
            80..88 => self.amend(number),
            88..95 => self.delete(number),
            _ => self.renumber(number),
        }
    }

    /// A transaction did not end well: nobody knows which of its transfers are there, so none is touched again.
    pub fn forget(&mut self, planned: &Planned) {
        for row in planned.rows.iter().filter(|row| row.table == "bank.transfer") {
            if let Write::Insert { key } | Write::Update { key } | Write::Move { key, .. } = row.write {
                self.transfers.retain(|transfer| *transfer != key);
            }
        }
    }

    fn transfer(&mut self, number: u64, commit: bool) -> Planned {
        let from = self.random.random_range(1..=self.accounts);
        let to = (from + self.random.random_range(0..self.accounts - 1)) % self.accounts + 1;
        let amount = self.random.random_range(1..=500_i64);
        let memo = self.memo();
        // In the order of the ids, so that two clients never wait for each other in a circle.
        let mut legs = [(from, -amount), (to, amount)];
        legs.sort_unstable();
        let mut statements: Vec<Statement> = legs
            .iter()
            .map(|(account, amount)| {
                Statement::of_one_row(format!(
                    "UPDATE bank.account SET balance = balance + ({amount}), written_by = {number} WHERE id = {account}"
                ))
            })
            .collect();
        statements.push(Statement::of_one_row(format!(
            "INSERT INTO bank.transfer (id, from_account, to_account, amount, memo, written_by) \
             VALUES ({number}, {from}, {to}, {amount}, {memo}, {number})"
        )));
        let mut rows: Vec<Row> = legs
            .iter()
            .map(|(account, _)| row("account", Write::Update { key: *account }))
            .collect();
        rows.push(row("transfer", Write::Insert { key: number }));
        if commit {
            self.remember(number);
        }
        Planned {
            number,
            statements,
            rows,
            commit,
        }
    }

    fn amend(&mut self, number: u64) -> Planned {
        let key = self.one_of_its_own();
        let memo = self.memo();
        let statement = format!(
            "UPDATE bank.transfer SET memo = {memo}, state = 'amended', written_by = {number} WHERE id = {key}"
        );
        Planned {
            number,
            statements: vec![Statement::of_one_row(statement)],
            rows: vec![row("transfer", Write::Update { key })],
            commit: true,
        }
    }

    fn delete(&mut self, number: u64) -> Planned {
        let count = self.random.random_range(1..=DELETED_MAX);
        let mut keys: Vec<u64> = (0..count).filter_map(|_| self.transfers.pop_front()).collect();
        keys.sort_unstable();
        let list = keys.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        Planned {
            number,
            statements: vec![Statement {
                text: format!("DELETE FROM bank.transfer WHERE id IN ({list})"),
                rows: keys.len() as u64,
            }],
            rows: keys
                .into_iter()
                .map(|key| row("transfer", Write::Delete { key }))
                .collect(),
            commit: true,
        }
    }

    /// Gives a transfer another primary key.
    fn renumber(&mut self, number: u64) -> Planned {
        let from = self.one_of_its_own();
        self.transfers.retain(|transfer| *transfer != from);
        self.remember(number);
        let statement =
            format!("UPDATE bank.transfer SET id = {number}, state = 'moved', written_by = {number} WHERE id = {from}");
        let rows = vec![row("transfer", Write::Move { from, key: number })];
        Planned {
            number,
            statements: vec![Statement::of_one_row(statement)],
            rows,
            commit: true,
        }
    }

    fn one_of_its_own(&mut self) -> u64 {
        let index = self.random.random_range(0..self.transfers.len());
        self.transfers[index]
    }

    fn remember(&mut self, transfer: u64) {
        self.transfers.push_back(transfer);
        if self.transfers.len() > REMEMBERED_MAX {
            self.transfers.pop_front();
        }
    }

    fn memo(&mut self) -> String {
        match MEMOS.choose(&mut self.random) {
            Some(memo) if self.random.random_bool(0.8) => format!("'{memo}'"),
            _ => "NULL".into(),
        }
    }
}

/// The number of a client's transaction: never used twice in a run.
pub(super) fn number(client: u64, count: u64) -> u64 {
    client << COUNT_BITS | count
}

/// Opens accounts.
pub(super) fn opening(ids: &[u64], number: u64) -> Planned {
    let values: Vec<String> = ids
        .iter()
        .map(|id| {
            let overdraft = if id % 3 == 0 { "NULL".into() } else { format!("{}.50", id * 10) };
            let note = if id % 2 == 0 { "NULL" } else { "''" };
            format!("({id}, 'owner \u{263a} {id}', {OPENING_BALANCE}, {overdraft}, '2020-02-29 12:00:00.125', {note}, {number})")
        })
        .collect();
    Planned {
        number,
        statements: vec![Statement {
            text: format!("INSERT INTO bank.account VALUES {}", values.join(",")),
            rows: ids.len() as u64,
        }],
        rows: ids
            .iter()
            .map(|id| row("account", Write::Insert { key: *id }))
            .collect(),
        commit: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn drawn(seed: u64, client: u64) -> Vec<Planned> {
        let mut teller = Teller::new(seed, client, 10);
        (0..2_000).map(|_| teller.draw()).collect()
    }

    #[test]
    fn the_seed_decides_and_clients_differ() {
        assert_eq!(drawn(1, 1), drawn(1, 1));
        assert_ne!(drawn(1, 1)[0].statements, drawn(2, 1)[0].statements);
        assert_ne!(drawn(1, 1)[0].statements, drawn(1, 2)[0].statements);
    }

    #[test]
    fn a_key_is_inserted_once_touched_only_while_it_is_there_and_deleted_once() {
        let (mut there, mut used, mut kinds) = (HashSet::new(), HashSet::new(), HashSet::new());
        for planned in drawn(7, 3).iter().filter(|planned| planned.commit) {
            for row in planned.rows.iter().filter(|row| row.table == "bank.transfer") {
                kinds.insert(std::mem::discriminant(&row.write));
                let (gone, new) = match row.write {
                    Write::Insert { key } => (None, Some(key)),
                    Write::Update { key } => (Some(key), Some(key)),
                    Write::Delete { key } => (Some(key), None),
                    Write::Move { from, key } => (Some(from), Some(key)),
                };
                assert!(gone.is_none_or(|key| there.remove(&key)), "{planned:?}");
                if let Some(key) = new {
                    assert!(there.insert(key) && (gone == new || used.insert(key)), "{planned:?}");
                }
            }
        }
        assert_eq!(kinds.len(), 4, "every kind of write is drawn");
    }

    #[test]
    fn some_transactions_are_rolled_back_and_no_transfer_goes_to_its_own_account() {
        let planned = drawn(5, 1);
        assert!(planned.iter().any(|planned| !planned.commit));
        for planned in planned.iter().filter(|planned| planned.rows[0].table == "bank.account") {
            assert_ne!(planned.rows[0], planned.rows[1]);
        }
    }

    #[test]
    fn what_was_forgotten_is_not_touched_again() {
        let mut teller = Teller::new(3, 1, 10);
        let first = teller.draw();
        teller.forget(&first);
        for _ in 0..2_000 {
            let planned = teller.draw();
            let touched = planned.rows.iter().any(|row| match row.write {
                Write::Insert { .. } => false,
                Write::Update { key } | Write::Delete { key } | Write::Move { from: key, .. } => {
                    row.table == "bank.transfer" && key == first.number
                }
            });
            assert!(!touched);
        }
    }
}
