//! The checks: pure functions over a history, one claim a file.
//!
//! Each says `consistent`, `inconsistent` or `unknown` and gives examples; the run's verdict is the worst of all. What a
//! drill asks for stands in its list `checks`; whether the run is complete, whether the fault met something in flight, whether
//! the reader recovered, or stopped where it must, and the limits are always judged.

pub mod backwards;
pub mod complete;
pub mod conserved;
pub mod convergence;
pub mod duplicate;
pub mod in_flight;
pub mod lost;
pub mod lost_by_mysql;
pub mod memory;
pub mod out_of_order;
pub mod partial;
pub mod phantom;
pub mod recovery;
pub mod stopped;

#[cfg(test)]
pub(crate) mod example;

use crate::drill::{self, CheckName, Drill};
use crate::error::{Error, Result};
use crate::facts::Facts;
use crate::figures::Figures;
use crate::history::History;
use crate::verdict::{Finding, Judgement, worst};
use std::path::Path;

/// Judges a run by its history; its folder is where the plan to run again lies.
pub fn judge(history: &History, run_folder: &Path) -> Result<Judgement> {
    let begun = history.begun.as_ref().ok_or_else(|| {
        Error::definite("the history has no first line")
            .hint("the run was stopped before it began; run the drill again")
    })?;
    let facts = Facts::of(history);
    let findings = findings(&facts);
    let drill = &begun.drill;
    Ok(Judgement {
        verdict: worst(&findings),
        figures: Figures::of(&facts, &findings),
        findings,
        run_again: run_again(drill, begun.seed, run_folder),
        drill: drill.clone(),
        seed: begun.seed,
    })
}

/// By name if the plan is one that this binary carries, else by the plan in the run folder.
fn run_again(drill: &Drill, seed: u64, run_folder: &Path) -> String {
    let name = &drill.name;
    let version = &drill.lab.mysql;
    match Drill::named(name) {
        Ok(carried) if carried == *drill => format!("mysync-drill run {name} --seed {seed}"),
        Ok(carried) if carried.clone().on_mysql(version) == *drill => {
            format!("mysync-drill run {name} --mysql {version} --seed {seed}")
        }
        _ => format!(
            "mysync-drill run --file {} --seed {seed}",
            run_folder.join(drill::FILE_NAME).display()
        ),
    }
}

fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let Some(drill) = facts.history.drill() else {
        return Vec::new();
    };
    let limits = drill.limits;
    let mut findings = vec![complete::check(facts)];
    findings.extend(drill.checks.iter().map(|name| match name {
        CheckName::Lost => lost::check(facts, limits.lost_max),
        CheckName::LostByMysql => lost_by_mysql::check(facts, drill.expects.lost_by_mysql),
        CheckName::Duplicate => duplicate::check(facts, limits.duplicates_max),
        CheckName::OutOfOrder => out_of_order::check(facts, limits.out_of_order_max),
        CheckName::Partial => partial::check(facts),
        CheckName::Backwards => backwards::check(facts),
        CheckName::Phantom => phantom::check(facts),
        CheckName::Conserved => conserved::check(facts),
        CheckName::Convergence => convergence::check(facts),
    }));
    if !drill.faults.is_empty() {
        findings.push(in_flight::check(facts));
        findings.push(match drill.expects.stop.as_slice() {
            [] => recovery::check(facts, limits.recovery_seconds_max),
            words => stopped::check(facts, words),
        });
    }
    if let Some(resident_mb_max) = limits.resident_mb_max {
        findings.push(memory::check(facts, resident_mb_max));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Observed, Op};
    use crate::verdict::Verdict;

    #[test]
    fn a_lossy_switch_is_consistent_if_all_is_listed_and_read_anew() {
        let judgement = judge(&example::lossy(), Path::new("runs/7")).unwrap();
        assert_eq!(judgement.verdict, Verdict::Consistent, "{:#?}", judgement.findings);
        assert_eq!(
            (judgement.figures.lost_by_mysql, judgement.figures.lost),
            (Some(5), Some(0))
        );
        let refreshed = |history: &History| {
            history
                .observed
                .iter()
                .position(|record| record.op == Op::Refresh)
                .unwrap()
        };
        let ways: [fn(&mut Observed); 4] = [
            |record| record.written_by = Some(6),
            |record| record.balance = Some(60),
            |record| record.version = Some(1),
            |record| record.key = "{\"id\":77}".into(),
        ];
        for (index, way) in ways.into_iter().enumerate() {
            let mut history = example::lossy();
            let refreshed = refreshed(&history);
            way(&mut history.observed[refreshed]);
            let judgement = judge(&history, Path::new("runs/7")).unwrap();
            assert_eq!(judgement.verdict, Verdict::Inconsistent, "way {index}");
        }
        let mut history = example::lossy();
        history.observed.retain(|record| record.op != Op::Refresh);
        assert_eq!(
            judge(&history, Path::new("runs/7")).unwrap().verdict,
            Verdict::Inconsistent
        );
    }

    #[test]
    fn a_plan_of_ones_own_is_run_again_from_the_run_folder() {
        let mut history = example::history();
        let again = |history: &History| judge(history, Path::new("runs/7")).unwrap().run_again;
        assert_eq!(again(&history), "mysync-drill run kill-partition-leader --seed 7");
        history.begun.as_mut().unwrap().drill.workload.clients += 1;
        assert_eq!(again(&history), "mysync-drill run --file runs/7/drill.toml --seed 7");
        history.begun.as_mut().unwrap().drill = Drill::named("switch-anchor").unwrap().on_mysql("5.6");
        assert_eq!(again(&history), "mysync-drill run switch-anchor --mysql 5.6 --seed 7");
    }
}
