//! The reader stopped by itself and said why, as the plan wants it where going on would be a guess; and it published nothing
//! before that.

use crate::facts::Facts;
use crate::history::{FaultStep, ProcessChange, ProcessEvent};
use crate::pipeline::Role;
use crate::verdict::{Finding, Tally, Verdict};

/// Looks for the reader's end after it was started again, with all `words` in its last lines.
#[must_use]
pub fn check(facts: &Facts<'_>, words: &[String]) -> Finding {
    let mut tally = Tally::new("stopped");
    let recoverable = facts
        .history
        .faults
        .iter()
        .rfind(|event| event.step == FaultStep::Recoverable);
    let Some(recoverable) = recoverable else {
        return tally.finding(0, "starts of the reader after the fault");
    };
    tally.checked += 1;
    let ended = facts
        .history
        .process_events
        .iter()
        .find(|event| is_end(event, recoverable.at_us));
    match ended {
        None => tally.wrong(|| "the reader did not stop".into()),
        Some(event) => {
            let said = event.detail.to_lowercase();
            if let Some(word) = words.iter().find(|word| !said.contains(&word.to_lowercase())) {
                tally.wrong(|| format!("the reader stopped and did not say {word:?}: {}", event.detail));
            }
        }
    }
    let after = facts.records.iter().filter(|record| record.at_us > recoverable.at_us);
    for record in after {
        tally.wrong(|| {
            format!(
                "{}[{}]@{} was published before it stopped",
                record.topic, record.partition, record.offset
            )
        });
    }
    let mut finding = tally.finding(
        0,
        "starts of the reader ended otherwise than with the error that was expected",
    );
    if finding.verdict == Verdict::Consistent {
        finding.summary = format!("the reader stopped and said {}", words.join(", "));
        finding.examples = ended.map(|event| event.detail.clone()).into_iter().collect();
    }
    finding
}

fn is_end(event: &ProcessEvent, after_us: u64) -> bool {
    event.what == ProcessChange::Ended && event.name == Role::Reader.name() && event.at_us >= after_us
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::example;
    use crate::history::History;

    fn verdict(history: &History) -> Verdict {
        check(&Facts::of(history), &["purged".into(), "hint".into()]).verdict
    }

    /// The example's records all come before the reader is started again, which then ends.
    fn stopped() -> History {
        let mut history = example::history();
        let mut started = history.faults[1].clone();
        (started.at_us, started.step) = (20_000_000, FaultStep::Recoverable);
        history.faults.push(started);
        history.process_events.push(ProcessEvent {
            at_us: 21_000_000,
            name: "reader".into(),
            what: ProcessChange::Ended,
            detail: "exit status: 4\nerror: the position was Purged (hint: set on_gap)".into(),
        });
        history
    }

    #[test]
    fn a_reader_that_stops_with_the_words_is_as_it_should_be() {
        assert_eq!(verdict(&stopped()), Verdict::Consistent);
        assert_eq!(verdict(&example::history()), Verdict::Unknown);
    }

    #[test]
    fn one_that_goes_on_or_says_something_else_or_publishes_first_is_caught() {
        let ways: [fn(&mut History); 4] = [
            |history| history.process_events.clear(),
            |history| history.process_events[0].detail = "error: purged".into(),
            |history| history.process_events[0].at_us = 1,
            |history| history.observed[0].at_us = 20_500_000,
        ];
        for (index, way) in ways.into_iter().enumerate() {
            let mut history = stopped();
            way(&mut history);
            assert_eq!(verdict(&history), Verdict::Inconsistent, "way {index}");
        }
    }
}
