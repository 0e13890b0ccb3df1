//! Did the run go its whole way? What was not run to the end is `unknown`: changes may be late and not lost.

use crate::facts::Facts;
use crate::history::ProcessChange;
use crate::pipeline::Role;
use crate::verdict::{Finding, Tally, Verdict};

/// Says `unknown` for a run that stopped early or did not settle.
#[must_use]
pub fn check(facts: &Facts<'_>) -> Finding {
    let history = facts.history;
    let mut reasons = Vec::new();
    if history.cut_off {
        reasons.push("the last line of the history is cut off".to_owned());
    }
    match &history.ended {
        None => reasons.push("the run was stopped before its end".to_owned()),
        Some(ended) => reasons.extend(ended.trouble.clone()),
    }
    let must_stop = history.drill().is_some_and(|drill| !drill.expects.stop.is_empty());
    match &history.settled {
        // A reader that must stop does not catch up.
        _ if must_stop => {}
        None => reasons.push("nobody waited for the pipeline to catch up".to_owned()),
        Some(settled) if !settled.caught_up => {
            reasons.push(format!("the pipeline did not catch up: {}", settled.detail))
        }
        Some(_) => {}
    }
    for event in history
        .process_events
        .iter()
        .filter(|event| event.what == ProcessChange::Ended)
        .filter(|event| !must_stop || event.name != Role::Reader.name())
    {
        reasons.push(format!("the {} ended by itself: {}", event.name, event.detail));
    }
    let mut finding = Tally::new("complete").finding(0, "run");
    finding.checked = 1;
    finding.verdict = if reasons.is_empty() {
        Verdict::Consistent
    } else {
        Verdict::Unknown
    };
    finding.summary = if reasons.is_empty() {
        "the run went its whole way"
    } else {
        "the run did not go its whole way"
    }
    .into();
    finding.examples = reasons;
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::example;
    use crate::history::{Ended, History, ProcessEvent};

    #[test]
    fn a_whole_run_is_consistent() {
        assert_eq!(check(&Facts::of(&example::history())).verdict, Verdict::Consistent);
    }

    #[test]
    fn every_way_to_stop_early_is_unknown() {
        let ways: [fn(&mut History); 6] = [
            |history| history.cut_off = true,
            |history| history.ended = None,
            |history| {
                history.ended = Some(Ended {
                    at_us: 1,
                    trouble: Some("Ctrl-C".into()),
                })
            },
            |history| history.settled = None,
            |history| {
                if let Some(settled) = &mut history.settled {
                    settled.caught_up = false;
                }
            },
            |history| {
                history.process_events.push(ProcessEvent {
                    at_us: 1,
                    name: "reader".into(),
                    what: ProcessChange::Ended,
                    detail: "exit status: 4".into(),
                });
            },
        ];
        for (index, way) in ways.into_iter().enumerate() {
            let mut history = example::history();
            way(&mut history);
            assert_eq!(check(&Facts::of(&history)).verdict, Verdict::Unknown, "way {index}");
        }
    }
}
