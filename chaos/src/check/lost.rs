//! Every change that MySQL acknowledged and has kept has its records, by the number of its transaction and by row. What the
//! servers themselves lost in a switch is for the check `lost-by-mysql`.

use crate::facts::{Facts, marks};
use crate::verdict::{Finding, Tally, Verdict};

/// Looks for the records of every acknowledged change.
#[must_use]
pub fn check(facts: &Facts<'_>, lost_max: u64) -> Finding {
    let mut tally = Tally::new("lost");
    for transaction in facts.due() {
        for row in &transaction.rows {
            tally.checked += 1;
            let absent = marks(row, transaction.number)
                .into_iter()
                .find(|mark| !facts.visible.contains_key(mark));
            if let Some((table, key, op, _)) = absent {
                tally.wrong(|| {
                    format!(
                        "{table} id {key}: no {op:?} record of transaction {}, acknowledged at {:.3} s",
                        transaction.number,
                        transaction.end_us as f64 / 1e6
                    )
                });
            }
        }
    }
    let mut finding = tally.finding(lost_max, "acknowledged changes are lost");
    let caught_up = facts.history.settled.as_ref().is_some_and(|settled| settled.caught_up);
    if finding.verdict == Verdict::Inconsistent && !caught_up {
        // They may still be on their way.
        finding.verdict = Verdict::Unknown;
        finding.summary = format!(
            "{} of {} acknowledged changes have not arrived yet",
            finding.wrong, finding.checked
        );
    }
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::example;
    use crate::history::{History, Journal, Outcome};
    use proptest::prelude::*;

    #[test]
    fn a_good_history_is_consistent_and_an_empty_one_unknown() {
        let finding = check(&Facts::of(&example::history()), 0);
        assert_eq!(
            (finding.verdict, finding.wrong),
            (Verdict::Consistent, 0),
            "{finding:?}"
        );
        assert_eq!(check(&Facts::of(&History::default()), 0).verdict, Verdict::Unknown);
    }

    proptest! {
        #[test]
        fn whichever_record_of_an_acknowledged_change_is_missing_it_is_caught(index in any::<prop::sample::Index>()) {
            let mut history = example::history();
            let index = index.index(history.observed.len());
            history.observed.remove(index);
            let finding = check(&Facts::of(&history), 0);
            prop_assert_eq!((finding.verdict, finding.wrong), (Verdict::Inconsistent, 1));
            prop_assert_eq!(check(&Facts::of(&history), 1).verdict, Verdict::Consistent, "one may be lost");
            history.settled = None;
            prop_assert_eq!(check(&Facts::of(&history), 0).verdict, Verdict::Unknown, "late or lost");
        }
    }

    #[test]
    fn the_journal_decides_what_must_be_there() {
        let mut history = example::history();
        let last = history.transactions.last().unwrap().number;
        history.observed.retain(|record| record.written_by != Some(last));
        let numbers = |history: &History| {
            history
                .transactions
                .iter()
                .map(|known| known.number)
                .collect::<Vec<_>>()
        };
        let mut journal = Journal {
            at_us: 1,
            server: "replica-1".into(),
            numbers: numbers(&history),
        };
        history.journal = Some(journal.clone());
        assert_eq!(check(&Facts::of(&history), 0).verdict, Verdict::Inconsistent);
        history.transactions.last_mut().unwrap().outcome = Outcome::Unknown;
        assert_eq!(
            check(&Facts::of(&history), 0).verdict,
            Verdict::Inconsistent,
            "kept all the same"
        );
        journal.numbers.retain(|number| *number != last);
        history.journal = Some(journal);
        assert_eq!(check(&Facts::of(&history), 0).verdict, Verdict::Consistent);
        history.transactions.last_mut().unwrap().outcome = Outcome::Acknowledged;
        assert_eq!(
            check(&Facts::of(&history), 0).verdict,
            Verdict::Consistent,
            "lost by MySQL"
        );
    }

    #[test]
    fn a_change_of_unknown_outcome_may_be_missing() {
        let mut history = example::history();
        let last = history.transactions.len() - 1;
        history.transactions[last].outcome = Outcome::Unknown;
        let number = history.transactions[last].number;
        history.observed.retain(|record| record.written_by != Some(number));
        assert_eq!(check(&Facts::of(&history), 0).verdict, Verdict::Consistent);
    }
}
