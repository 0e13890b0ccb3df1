//! Runs the checker over a protocol.

use super::action::Action;
use super::judge::Wrong;
use super::mistake::Mistake;
use super::model::{Protocol, State};
use super::tell::tell;
use stateright::{Checker, HasDiscoveries, Model, Path};
use std::time::Instant;

/// With more steps between states than these, a test would take minutes.
pub const STEPS_MAX: usize = 2_000_000;

/// Explores all states: nothing may be wrong in any, and each of `reached` must be there.
pub fn require_right(name: &str, protocol: Protocol, reached: &[&str]) {
    let (found, _) = explore(name, protocol, None);
    if let Some((wrong, path)) = first_wrong(&found) {
        panic!("{name}: {wrong:?}\n{}", tell(&path));
    }
    for property in reached {
        assert!(
            found.iter().any(|(name, _)| name == property),
            "{name}: never reached: {property}"
        );
    }
}

/// The checker must find the harm of a mistake.
pub fn require_caught(mistake: Mistake, protocol: Protocol, harm: Wrong) {
    let name = format!("{mistake:?}");
    let wrong = Protocol {
        mistake: Some(mistake),
        ..protocol
    };
    let mut shortest = None;
    while let Some((found, path)) = first_wrong(&explore(&name, wrong.clone(), shortest.as_ref().map(length)).0) {
        shortest = Some((found, path));
    }
    let Some((found, path)) = shortest else {
        panic!("{name}: the model does not see this mistake");
    };
    println!("{name}: {found:?}\n{}", tell(&path));
    assert_eq!(found, harm, "{name}: the harm is another one");
}

type Found = Vec<(&'static str, Path<State, Action>)>;

fn length((_, path): &(Wrong, Path<State, Action>)) -> usize {
    path.clone().into_actions().len()
}

fn first_wrong(found: &Found) -> Option<(Wrong, Path<State, Action>)> {
    Wrong::ALL.iter().find_map(|(wrong, property)| {
        let (_, path) = found.iter().find(|(name, _)| name == property)?;
        Some((*wrong, path.clone()))
    })
}

/// Looks at all states, or at those that are reached in fewer steps than `below`.
fn explore(name: &str, protocol: Protocol, below: Option<usize>) -> (Found, usize) {
    let begun = Instant::now();
    let checker = protocol
        .checker()
        .finish_when(HasDiscoveries::AnyFailures)
        .target_state_count(STEPS_MAX);
    let checker = match below {
        // The first state counts as one.
        Some(steps) => checker.target_max_depth(steps + 1),
        None => checker,
    };
    let checker = checker.spawn_bfs().join();
    let states = checker.unique_state_count();
    println!(
        "{name}: {states} states, {} steps between them, {} steps deep, {:.1} s",
        checker.state_count(),
        checker.max_depth(),
        begun.elapsed().as_secs_f32()
    );
    assert!(
        checker.state_count() < STEPS_MAX,
        "{name}: the bounds are too wide for a test"
    );
    (checker.discoveries().into_iter().collect(), states)
}
