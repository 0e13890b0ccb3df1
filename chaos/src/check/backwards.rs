//! No row of the target is ever set back: the versions of the changes that are seen in it only rise. A target that was
//! itself broken may come back with an older state, so this is asked only where it was not.

use crate::facts::Facts;
use crate::history::Op;
use crate::verdict::{Finding, Tally};
use std::collections::HashMap;

/// Follows each watched row through the states in which it was seen.
#[must_use]
pub fn check(facts: &Facts<'_>) -> Finding {
    let mut tally = Tally::new("backwards");
    let mut last: HashMap<(&str, u64), i64> = HashMap::new();
    for applied in &facts.history.applied {
        let row = (applied.table.as_str(), applied.key);
        let record = [Op::Insert, Op::Update]
            .iter()
            .find_map(|op| facts.visible.get(&(row.0, row.1, *op, applied.written_by)));
        let Some(version) = record.and_then(|record| record.version) else {
            continue;
        };
        tally.checked += 1;
        let before = last.insert(row, version).filter(|before| *before > version);
        if let Some(before) = before {
            tally.wrong(|| {
                let at_s = applied.at_us as f64 / 1e6;
                format!(
                    "{} id {}: version {version} at {at_s:.3} s after {before}",
                    row.0, row.1
                )
            });
        }
    }
    tally.finding(0, "states of watched rows came after a later one")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::example;
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
        history.applied.insert(last, first);
        assert_eq!(check(&Facts::of(&history)).verdict, Verdict::Inconsistent);
    }
}
