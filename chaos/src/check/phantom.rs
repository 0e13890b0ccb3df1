//! No record stands for a change that nobody made: one that was rolled back, or that no transaction wrote. A row that was read
//! anew from the server must be one that the server has, and may be gone only if MySQL lost a transaction that wrote it.

use crate::facts::{Facts, Mark, marks, row_key};
use crate::history::{Op, Outcome};
use crate::verdict::{Finding, Tally, Verdict};
use std::collections::HashSet;

/// Looks for records of the workload's tables that no committed transaction explains.
#[must_use]
pub fn check(facts: &Facts<'_>) -> Finding {
    let mut tables: HashSet<&str> = HashSet::new();
    let mut explained: HashSet<Mark<'_>> = HashSet::new();
    for transaction in &facts.history.transactions {
        tables.extend(transaction.rows.iter().map(|row| row.table.as_str()));
        if transaction.outcome != Outcome::RolledBack {
            explained.extend(transaction.rows.iter().flat_map(|row| marks(row, transaction.number)));
        }
    }
    let lost = facts.rows_lost_by_mysql();
    let mut tally = Tally::new("phantom");
    for record in facts.records.iter().copied() {
        let Some(table) = facts.table_of(record).filter(|table| tables.contains(table)) else {
            continue;
        };
        tally.checked += 1;
        let number = match record.op {
            Op::Insert | Op::Update | Op::Refresh => record.written_by.unwrap_or(0),
            Op::Delete | Op::Tombstone | Op::Other => 0,
        };
        let known = row_key(&record.key).is_some_and(|key| {
            let by = |op| explained.contains(&(table, key, op, number));
            match record.op {
                Op::Refresh => facts.is_kept(number) && (by(Op::Insert) || by(Op::Update)),
                Op::Delete | Op::Tombstone => by(record.op) || lost.contains(&(table, key)),
                Op::Insert | Op::Update | Op::Other => by(record.op),
            }
        });
        if !known {
            tally.wrong(|| {
                format!(
                    "{table} key {}: {:?} of transaction {number}, offset {}",
                    record.key, record.op, record.offset
                )
            });
        }
    }
    let mut finding = tally.finding(0, "records were written by no committed transaction");
    if finding.verdict == Verdict::Inconsistent && facts.history.ended.is_none() {
        // Transactions on their way when the run was killed are not in its history.
        finding.verdict = Verdict::Unknown;
    }
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::example;
    use crate::history::History;

    fn verdict(history: &History) -> Verdict {
        check(&Facts::of(history)).verdict
    }

    #[test]
    fn a_good_history_is_consistent_and_an_empty_one_unknown() {
        assert_eq!(verdict(&example::history()), Verdict::Consistent);
        assert_eq!(verdict(&History::default()), Verdict::Unknown);
    }

    #[test]
    fn changes_that_were_rolled_back_or_that_nobody_made_are_caught() {
        for index in 0..example::history().transactions.len() {
            let mut history = example::history();
            history.transactions[index].outcome = Outcome::RolledBack;
            assert_eq!(verdict(&history), Verdict::Inconsistent, "rolled back {index}");
            history.transactions[index].outcome = Outcome::Unknown;
            assert_eq!(
                verdict(&history),
                Verdict::Consistent,
                "may have been committed {index}"
            );
        }
        for index in 0..example::history().observed.len() {
            let mut history = example::history();
            history.observed[index].key = "{\"id\":987654}".into();
            assert_eq!(verdict(&history), Verdict::Inconsistent, "record {index}");
            history.ended = None;
            assert_eq!(verdict(&history), Verdict::Unknown, "record {index} of a killed run");
        }
    }

    #[test]
    fn a_row_that_was_read_anew_must_be_there_and_may_be_gone_only_if_mysql_lost_it() {
        assert_eq!(verdict(&example::lossy()), Verdict::Consistent);
        for index in example::history().observed.len()..example::lossy().observed.len() {
            let mut history = example::lossy();
            history.observed[index].key = "{\"id\":987654}".into();
            assert_eq!(
                verdict(&history),
                Verdict::Inconsistent,
                "record {index} of no known row"
            );
        }
        let mut history = example::lossy();
        history.journal = Some(example::journal(&history, &[7, 8]));
        assert_eq!(
            verdict(&history),
            Verdict::Inconsistent,
            "transfer 6 is there and was deleted"
        );
        history.journal = Some(example::journal(&history, &[4, 6, 7, 8]));
        assert_eq!(
            verdict(&history),
            Verdict::Inconsistent,
            "transaction 4 is not there and was read"
        );
    }
}
