//! The backlog: a table of seven columns and what happens to its rows, as SQL in rounds, the same for the same seed.
//!
//! Of N rows, 80 % are inserted in transactions of ten and 20 % alone; then 0.3 N are updated (two thirds in ranges of ten)
//! and 0.1 N deleted (half in ranges of ten). That is 1.4 N row events in 0.455 N transactions.

use crate::error::{Doing, Result};
use fixtures::mysql::Mysql;
use mysql_async::prelude::Queryable;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use std::fmt::Write;

/// Rounds in which the kinds are mixed.
const ROUNDS: u64 = 100;

/// Bytes of SQL that are sent at once.
const SQL_BYTES_MAX: usize = 1 << 20;

const CREATE: &str = "CREATE DATABASE IF NOT EXISTS bench CHARACTER SET utf8mb4; CREATE TABLE bench.narrow (\
    id bigint NOT NULL PRIMARY KEY, k int NOT NULL DEFAULT 0, c char(120) NOT NULL DEFAULT '', pad char(60) NOT NULL DEFAULT '', \
    ts datetime(6) NOT NULL, amount decimal(12,2) NOT NULL, doc json NULL, KEY k_1 (k)) ENGINE=InnoDB;";

const TAGS: [&str; 5] = ["alpha", "beta", "gamma", "delta", "Ünïcode"];

/// How many row events the backlog of so many rows has.
pub(super) fn changes(rows: u64) -> u64 {
    let per_round = Round::of(rows);
    ROUNDS * (per_round.inserted() + per_round.update_tens * 10 + per_round.update_ones + per_round.deleted())
}

/// How many records a topic has of them: a delete is followed by a tombstone.
pub(super) fn records(rows: u64) -> u64 {
    changes(rows) + ROUNDS * Round::of(rows).deleted()
}

/// Makes the table and its history.
pub(super) async fn load(server: &Mysql, rows: u64, seed: u64) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut sender = Sender::open(server, "bench").await?;
    sender.send(CREATE).await?;
    let round = Round::of(rows);
    let mut next_id = 1;
    for _ in 0..ROUNDS {
        for statement in round.statements(next_id, &mut random) {
            sender.add(&statement).await?;
        }
        next_id += round.inserted();
    }
    sender.close().await
}

/// Statements on their way to a server, many at once.
pub(super) struct Sender {
    connection: mysql_async::Conn,
    pending: String,
    name: &'static str,
}

impl Sender {
    pub(super) async fn open(server: &Mysql, name: &'static str) -> Result<Self> {
        Ok(Self {
            connection: server.connect().await.doing(|| "the server cannot be reached".into())?,
            pending: String::new(),
            name,
        })
    }

    pub(super) async fn send(&mut self, sql: &str) -> Result<()> {
        let sent = self.connection.query_drop(sql).await;
        sent.doing(|| format!("the workload {} failed", self.name))
    }

    pub(super) async fn add(&mut self, statement: &str) -> Result<()> {
        self.pending.push_str(statement);
        self.pending.push(';');
        if self.pending.len() >= SQL_BYTES_MAX {
            let sql = std::mem::take(&mut self.pending);
            self.send(&sql).await?;
        }
        Ok(())
    }

    pub(super) async fn close(mut self) -> Result<()> {
        if !self.pending.is_empty() {
            let sql = std::mem::take(&mut self.pending);
            self.send(&sql).await?;
        }
        self.connection
            .disconnect()
            .await
            .doing(|| "the connection cannot be closed".into())
    }
}

/// Statements of one round, by kind.
struct Round {
    insert_tens: u64,
    insert_ones: u64,
    update_tens: u64,
    update_ones: u64,
    delete_tens: u64,
    delete_ones: u64,
}

#[derive(Clone, Copy)]
enum Kind {
    Insert(u64),
    Update(u64),
    Delete(u64),
}

impl Round {
    fn of(rows: u64) -> Self {
        let share = |thousandths: u64, each: u64| rows * thousandths / 1000 / each / ROUNDS;
        Self {
            insert_tens: share(800, 10),
            insert_ones: share(200, 1),
            update_tens: share(200, 10),
            update_ones: share(100, 1),
            delete_tens: share(50, 10),
            delete_ones: share(50, 1),
        }
    }

    fn inserted(&self) -> u64 {
        self.insert_tens * 10 + self.insert_ones
    }

    fn deleted(&self) -> u64 {
        self.delete_tens * 10 + self.delete_ones
    }

    /// Inserts, then updates and deletes of the rows inserted: the lowest ids go, the others are changed.
    fn statements(&self, first_id: u64, random: &mut StdRng) -> Vec<String> {
        let mut inserts = Self::kinds(&[
            (Kind::Insert(10), self.insert_tens),
            (Kind::Insert(1), self.insert_ones),
        ]);
        inserts.shuffle(random);
        let mut changes = Self::kinds(&[
            (Kind::Update(10), self.update_tens),
            (Kind::Update(1), self.update_ones),
            (Kind::Delete(10), self.delete_tens),
            (Kind::Delete(1), self.delete_ones),
        ]);
        changes.shuffle(random);
        let (mut next_insert, mut next_delete) = (first_id, first_id);
        let kept = first_id + self.deleted()..(first_id + self.inserted()).saturating_sub(9);
        let mut sql = Vec::new();
        for kind in inserts.into_iter().chain(changes) {
            match kind {
                Kind::Insert(count) => {
                    let rows: Vec<_> = (next_insert..next_insert + count).map(|id| row(id, random)).collect();
                    sql.push(format!("INSERT INTO bench.narrow VALUES {}", rows.join(",")));
                    next_insert += count;
                }
                Kind::Update(count) => {
                    let id = random.random_range(kept.clone());
                    sql.push(update(id, count, random));
                }
                Kind::Delete(count) => {
                    let last = next_delete + count - 1;
                    sql.push(format!(
                        "DELETE FROM bench.narrow WHERE id BETWEEN {next_delete} AND {last}"
                    ));
                    next_delete += count;
                }
            }
        }
        sql
    }

    fn kinds(counts: &[(Kind, u64)]) -> Vec<Kind> {
        let each = counts.iter().flat_map(|(kind, count)| (0..*count).map(|_| *kind));
        each.collect()
    }
}

fn update(id: u64, count: u64, random: &mut StdRng) -> String {
    if count == 1 {
        let (text, number) = (digits(10, random), random.random_range(0..1_000_000));
        return format!("UPDATE bench.narrow SET c='{text}', doc=JSON_SET(doc,'$.u',{number}) WHERE id={id}");
    }
    let (step, text, last) = (random.random_range(1..10), digits(5, random), id + count - 1);
    format!("UPDATE bench.narrow SET k=k+{step}, amount=amount+1.25, pad='{text}' WHERE id BETWEEN {id} AND {last}")
}

fn row(id: u64, random: &mut StdRng) -> String {
    let (k, c, pad) = (random.random_range(0..500_000), digits(10, random), digits(5, random));
    let (month, day, hour) = (
        random.random_range(1..13),
        random.random_range(1..29),
        random.random_range(0..24),
    );
    let (minute, second, micros) = (
        random.random_range(0..60),
        random.random_range(0..60),
        random.random_range(0..1_000_000),
    );
    let (whole, cents) = (random.random_range(0..1_000_000_000), random.random_range(0..100));
    let (user, tag) = (
        random.random_range(0..1_000_000),
        TAGS[random.random_range(0..TAGS.len())],
    );
    let (one, two) = (random.random_range(0..1_000), random.random_range(0..100));
    format!(
        "({id},{k},'{c}','{pad}','2026-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}',{whole}.{cents:02},\
         '{{\"u\": {user}, \"tag\": \"{tag}\", \"v\": [{one}, {two}.5, true]}}')"
    )
}

/// Groups of eleven digits, joined by `-`.
pub(super) fn digits(groups: usize, random: &mut StdRng) -> String {
    let mut text = String::with_capacity(groups * 12);
    for group in 0..groups {
        let separator = if group > 0 { "-" } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(text, "{separator}{:011}", random.random_range(0..100_000_000_000_u64));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_rows_make_1_4_million_changes_in_455_thousand_transactions() {
        assert_eq!((changes(1_000_000), records(1_000_000)), (1_400_000, 1_500_000));
        let round = Round::of(1_000_000);
        let statements = round.statements(1, &mut StdRng::seed_from_u64(1));
        assert_eq!(statements.len() as u64 * ROUNDS, 455_000);
        let again = round.statements(1, &mut StdRng::seed_from_u64(1));
        assert_eq!(statements, again);
    }

    /// Otherwise an update would change no row, and the count of changes would be wrong.
    #[test]
    fn updates_meet_only_rows_that_are_there() {
        let round = Round::of(10_000);
        let (first, end) = (1 + round.deleted(), 1 + round.inserted());
        for statement in round.statements(1, &mut StdRng::seed_from_u64(7)) {
            let Some((_, place)) = statement
                .split_once("WHERE id")
                .filter(|_| statement.starts_with("UPDATE"))
            else {
                continue;
            };
            let numbers = place
                .split(|c: char| !c.is_ascii_digit())
                .filter_map(|text| text.parse::<u64>().ok());
            numbers.for_each(|id| assert!((first..end).contains(&id), "{statement}"));
        }
    }
}
