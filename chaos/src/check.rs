//! The checks: pure functions over a history, one claim a file.
//!
//! Each says `consistent`, `inconsistent` or `unknown` and gives examples; the run's verdict is the worst of all. What a
//! drill asks for stands in its list `checks`; whether the run is complete, whether the fault met something in flight, and
//! the limits are always judged.

pub mod complete;
pub mod conserved;
pub mod convergence;
pub mod duplicate;
pub mod in_flight;
pub mod lost;
pub mod memory;
pub mod out_of_order;
pub mod phantom;
pub mod recovery;

#[cfg(test)]
pub(crate) mod example;

use crate::drill::CheckName;
use crate::error::{Error, Result};
use crate::facts::Facts;
use crate::figures::Figures;
use crate::history::History;
use crate::verdict::{Finding, Judgement, worst};

/// Judges a run by its history.
pub fn judge(history: &History) -> Result<Judgement> {
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
        run_again: format!("mysync-drill run {} --seed {}", drill.name, begun.seed),
        drill: drill.clone(),
        seed: begun.seed,
    })
}

fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let Some(drill) = facts.history.drill() else {
        return Vec::new();
    };
    let limits = drill.limits;
    let mut findings = vec![complete::check(facts)];
    findings.extend(drill.checks.iter().map(|name| match name {
        CheckName::Lost => lost::check(facts, limits.lost_max),
        CheckName::Duplicate => duplicate::check(facts, limits.duplicates_max),
        CheckName::OutOfOrder => out_of_order::check(facts, limits.out_of_order_max),
        CheckName::Phantom => phantom::check(facts),
        CheckName::Conserved => conserved::check(facts),
        CheckName::Convergence => convergence::check(facts),
    }));
    if !drill.faults.is_empty() {
        findings.push(in_flight::check(facts));
        findings.push(recovery::check(facts, limits.recovery_seconds_max));
    }
    if let Some(resident_mb_max) = limits.resident_mb_max {
        findings.push(memory::check(facts, resident_mb_max));
    }
    findings
}
