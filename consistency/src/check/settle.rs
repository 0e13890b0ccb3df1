//! Asking again: when does a difference count?
//!
//! Rows change while they are compared, so a difference proves nothing at first. A suspect is asked on both sides, then
//! a fence passes, then it is asked again, the store first. It is cleared when the two sides agree, or when the store
//! holds what MySQL held before the fence (it may have moved on since). It is a finding when neither side changed over
//! [`STABLE_ROUNDS`] fences in a row and they still differ: had MySQL held that value all the while, the fence would
//! have brought it. One fence would not do: a value that goes away and comes back around it looks unchanged. One fence
//! serves the suspects of all stores.
//!
//! A row that changes between all rounds until the time is up is neither: it counts as unsettled, and the verdict is no
//! better than `unknown`.
//!
//! Without fences the rounds are a short wait apart, and only at the end of the time a difference counts.

use std::time::Duration;

use tokio::time::Instant;

use super::{Run, Stopped};
use crate::compare::{Place, digest_of_row, digest_of_stored, finding};
use crate::mysql::rows_by_key;
use crate::progress::Event;
use crate::report::{FindingKind, TableReport};
use crate::store::StoredKey;
use crate::table::Key;

/// Fences in a row over which a difference must stay the same to count.
const STABLE_ROUNDS: u32 = 2;
/// Keys that are looked up with one statement.
const LOOKUP_KEYS: usize = 200;
/// Between two rounds where there are no fences.
const ROUND_INTERVAL: Duration = Duration::from_millis(250);

/// A row whose two sides differed when last asked.
pub struct Suspect {
    /// The place of the store.
    side: usize,
    table: usize,
    /// None for a key that no row of the table can have.
    key: Option<Key>,
    store_key: Vec<u8>,
    /// The digests of both sides in the round before.
    before: Option<Digests>,
    /// For how many rounds neither side has changed.
    stable_rounds: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Digests {
    mysql: u128,
    stored: u128,
}

/// What a round says of a suspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Both sides agree, or the store holds what MySQL held before the fence.
    Cleared,
    /// A finding.
    Found,
    /// Nothing yet: it is asked again.
    Open,
    /// The time is up, and nothing was proven.
    Unsettled,
}

impl Suspect {
    /// A row that was seen to differ, or a key without a row.
    pub fn new(side: usize, found: StoredKey) -> Self {
        Self {
            side,
            table: found.table,
            key: found.key,
            store_key: found.store_key,
            before: None,
            stable_rounds: 0,
        }
    }

    /// Takes in what both sides hold in this round; `fenced` says whether a fence passed since the round before.
    fn observe(&mut self, now: Digests, fenced: bool, last_round: bool) -> Outcome {
        let before = self.before.replace(now);
        self.stable_rounds = if before == Some(now) { self.stable_rounds + 1 } else { 0 };
        // Without a fence a store that stands still would always hold what MySQL held a moment ago.
        let behind_by_less_than_a_fence = fenced && before.is_some_and(|before| before.mysql == now.stored);
        if now.mysql == now.stored || behind_by_less_than_a_fence {
            Outcome::Cleared
        } else if fenced && self.stable_rounds >= STABLE_ROUNDS || last_round && self.stable_rounds > 0 {
            Outcome::Found
        } else if last_round {
            Outcome::Unsettled
        } else {
            Outcome::Open
        }
    }
}

impl Run<'_> {
    /// Asks all suspects again until each is cleared, found, or out of time.
    pub(super) async fn settle(&mut self) -> Result<(), Stopped> {
        let mut left = std::mem::take(&mut self.suspects);
        left.sort_by_key(|suspect| (suspect.side, suspect.table));
        let deadline = self.deadline();
        let mut last_round = false;
        while !left.is_empty() {
            self.progress.event(Event::Settle {
                rows: left.len() as u64,
            });
            left = self.ask_again(left, last_round).await?;
            // The last round begins behind the deadline, so even a wave of suspects after it is asked twice.
            last_round = Instant::now() >= deadline;
            if left.is_empty() {
                break;
            }
            match self.fence {
                Some(_) => self.pass_fence().await?,
                None => tokio::time::sleep(ROUND_INTERVAL).await,
            }
            left.retain(|suspect| self.sides[suspect.side].takes_part());
        }
        Ok(())
    }

    /// With fences each wave of suspects has the whole time; without, all waves share it, or a store that lacks
    /// everything would take hours to say so.
    fn deadline(&mut self) -> Instant {
        let deadline = Instant::now() + self.config.check.settle_max;
        match self.fence {
            Some(_) => deadline,
            None => *self.settle_deadline.get_or_insert(deadline),
        }
    }

    /// One round. Returns those that are neither cleared nor found; after the last round that is none.
    async fn ask_again(&mut self, suspects: Vec<Suspect>, last_round: bool) -> Result<Vec<Suspect>, Stopped> {
        let mut left = Vec::new();
        let mut suspects = suspects.into_iter().peekable();
        while let Some(first) = suspects.next() {
            let mut together = vec![first];
            while together.len() < LOOKUP_KEYS
                && let Some(next) =
                    suspects.next_if(|next| (next.side, next.table) == (together[0].side, together[0].table))
            {
                together.push(next);
            }
            left.extend(self.ask_together(together, last_round).await?);
        }
        Ok(left)
    }

    /// Asks suspects of one store and table, the store first: what it holds then cannot be newer than what MySQL holds
    /// after.
    async fn ask_together(&mut self, suspects: Vec<Suspect>, last_round: bool) -> Result<Vec<Suspect>, Stopped> {
        let (place, number) = (suspects[0].side, suspects[0].table);
        let table = &self.tables[number];
        let store = self.sides[place].store.clone();
        let store_keys: Vec<Vec<u8>> = suspects.iter().map(|suspect| suspect.store_key.clone()).collect();
        let keys: Vec<&Key> = suspects.iter().filter_map(|suspect| suspect.key.as_ref()).collect();
        let stored = store.rows(table, &store_keys).await?;
        let rows = rows_by_key(&mut self.session, table, &keys).await?;
        let fenced = self.fence.is_some();
        let mut left = Vec::new();
        let stored = stored.into_iter().map(|stored| stored.map(|row| table.comparable(row)));
        for (mut suspect, stored) in suspects.into_iter().zip(stored) {
            let row = suspect.key.as_ref().and_then(|key| rows.get(key));
            let stored = stored.as_ref();
            let now = Digests {
                mysql: digest_of_row(row),
                stored: digest_of_stored(stored),
            };
            let report = &mut self.sides[place].tables[number];
            match suspect.observe(now, fenced, last_round) {
                Outcome::Cleared => {}
                Outcome::Open => left.push(suspect),
                Outcome::Unsettled => report.unsettled += 1,
                Outcome::Found => {
                    let at = Place {
                        store: store.name(),
                        table,
                        key: suspect.key.as_ref(),
                        store_key: &suspect.store_key,
                    };
                    match finding(at, row, stored) {
                        Some(found) if found.kind == FindingKind::Missing && store.rows_expire() => report.expired += 1,
                        Some(found) => {
                            count(report, found.kind);
                            self.findings.add(place, found)?;
                        }
                        None => {}
                    }
                }
            }
        }
        Ok(left)
    }
}

fn count(report: &mut TableReport, kind: FindingKind) {
    match kind {
        FindingKind::Missing => report.missing += 1,
        FindingKind::Extra => report.extra += 1,
        FindingKind::Different => report.different += 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What both sides hold, round by round, until something is proven.
    fn outcome(rounds: &[(u128, u128)], fenced: bool) -> Outcome {
        let mut suspect = Suspect::new(0, StoredKey::default());
        let last = rounds.len() - 1;
        let outcomes = rounds.iter().enumerate().map(|(round, (mysql, stored))| {
            suspect.observe(
                Digests {
                    mysql: *mysql,
                    stored: *stored,
                },
                fenced,
                round == last,
            )
        });
        outcomes
            .into_iter()
            .find(|outcome| *outcome != Outcome::Open)
            .expect("the last round proves something")
    }

    #[test]
    fn a_difference_counts_when_two_fences_did_not_move_it() {
        assert_eq!(outcome(&[(1, 2), (1, 2), (1, 2), (1, 1)], true), Outcome::Found);
        assert_eq!(outcome(&[(1, 2), (1, 2), (1, 1), (1, 1)], true), Outcome::Cleared);
    }

    #[test]
    fn a_store_that_lags_by_less_than_a_fence_is_no_finding() {
        assert_eq!(outcome(&[(1, 0), (2, 1), (3, 2)], true), Outcome::Cleared);
    }

    #[test]
    fn a_store_that_stands_still_is_never_cleared_without_a_fence() {
        assert_eq!(outcome(&[(1, 1), (2, 1)], false), Outcome::Cleared);
        assert_eq!(outcome(&[(1, 0), (2, 1), (2, 1), (2, 1)], false), Outcome::Found);
        assert_eq!(outcome(&[(5, 1), (1, 7), (6, 1)], false), Outcome::Unsettled);
    }

    #[test]
    fn a_row_that_never_stands_still_is_unsettled() {
        assert_eq!(outcome(&[(1, 9), (2, 8), (3, 7)], true), Outcome::Unsettled);
    }

    proptest! {
        /// A pipeline that keeps its promise: behind a fence the store holds what MySQL held before it, or something
        /// newer. Whatever MySQL does meanwhile short of coming back to the same value, no finding may come of it.
        #[test]
        fn a_pipeline_that_works_is_never_accused(steps in proptest::collection::vec((0_u128..3, 0_u128..4), 1..20)) {
            let (mut mysql, mut rounds) = (10, Vec::new());
            for (committed, lag) in steps {
                let before_the_fence = mysql;
                mysql += committed;
                rounds.push((mysql, mysql.saturating_sub(lag).max(before_the_fence)));
            }
            // The round before the first fence may hold anything.
            rounds.insert(0, (10, 0));
            prop_assert_ne!(outcome(&rounds, true), Outcome::Found);
        }
    }
}
