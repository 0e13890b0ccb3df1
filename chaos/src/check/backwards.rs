//! No row of a store is ever set back: the versions of the changes that are seen in it only rise. A store that was itself
//! broken may come back with an older state, so this is asked only where it was not.

use crate::drill::TargetName;
use crate::facts::Facts;
use crate::history::{Applied, Op};
use crate::verdict::{Finding, Tally};
use std::collections::HashMap;

/// Follows each watched row through the states in which it was seen.
#[must_use]
pub fn check(facts: &Facts<'_>) -> Finding {
    let mut tally = Tally::new("backwards");
    let mut last: HashMap<(TargetName, &str, u64), i64> = HashMap::new();
    for applied in &facts.history.applied {
        let row = (applied.store, applied.table.as_str(), applied.key);
        let before = last.get(&row).copied();
        let Some(version) = version_of(facts, applied, before) else {
            continue;
        };
        tally.checked += 1;
        last.insert(row, version);
        let before = before.filter(|before| *before > version);
        if let Some(before) = before {
            tally.wrong(|| {
                let at_s = applied.at_us as f64 / 1e6;
                let (store, table, key) = (row.0.title(), row.1, row.2);
                format!("{store}, {table} id {key}: version {version} at {at_s:.3} s after {before}")
            });
        }
    }
    tally.finding(0, "states of watched rows came after a later one")
}

/// Of which change the row shows the state. One that was read anew from the server after MySQL lost its last changes shows an
/// old transaction again, in a later record: it is the first of its records that is not behind `before`, if there is one.
fn version_of(facts: &Facts<'_>, applied: &Applied, before: Option<i64>) -> Option<i64> {
    let (table, key, number) = (applied.table.as_str(), applied.key, applied.written_by);
    let written = [Op::Insert, Op::Update]
        .iter()
        .find_map(|op| facts.visible.get(&(table, key, *op, number)))
        .and_then(|record| record.version);
    let refreshed = facts
        .refreshed
        .get(&(table, key, number))
        .into_iter()
        .flatten()
        .copied();
    let versions: Vec<i64> = written.into_iter().chain(refreshed).collect();
    let not_behind = versions
        .iter()
        .copied()
        .filter(|version| Some(*version) >= before)
        .min();
    not_behind.or_else(|| versions.into_iter().max())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::example;
    use crate::facts::row_key;
    use crate::history::History;
    use crate::verdict::Verdict;

    #[test]
    fn a_row_that_goes_back_for_a_moment_is_caught() {
        let mut history = example::history();
        assert_eq!(check(&Facts::of(&history)).verdict, Verdict::Consistent);
        assert_eq!(check(&Facts::of(&History::default())).verdict, Verdict::Unknown);
        let (first, last) = (history.applied[0].clone(), history.applied.len());
        assert!(
            history
                .applied
                .iter()
                .any(|applied| applied.key == first.key && *applied != first)
        );
        history.applied.insert(last, first.clone());
        assert_eq!(check(&Facts::of(&history)).verdict, Verdict::Inconsistent);
        // Unless a later record gave it back that state.
        let written = history
            .observed
            .iter()
            .position(|record| record.written_by == Some(first.written_by) && row_key(&record.key) == Some(first.key));
        let mut refreshed = history.observed[written.unwrap()].clone();
        (refreshed.op, refreshed.offset) = (Op::Refresh, 1_000);
        refreshed.version = refreshed.version.map(|version| version + (1 << 48));
        history.observed.push(refreshed);
        assert_eq!(check(&Facts::of(&history)).verdict, Verdict::Consistent);
    }
}
