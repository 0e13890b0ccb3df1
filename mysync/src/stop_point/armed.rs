//! What a build for tests does at its stop points, as the environment says:
//! `MYSYNC_STOP_POINT=<place>@<n>=<action>`, at the n-th time (from 1) that the place is passed.
//!
//! | action | what happens |
//! | --- | --- |
//! | `die` | the process is gone at once, as by SIGKILL: nothing is flushed, closed or dropped |
//! | `die:<ms>` | the passing thread stands still for so long before, while the others go on |
//! | `pause:<file>` | the passing thread stands still until the file exists |

use super::StopPoint;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const VARIABLE: &str = "MYSYNC_STOP_POINT";

/// Between two looks for the file.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

struct Order {
    place: StopPoint,
    at: u64,
    passed: AtomicU64,
    action: Action,
}

enum Action {
    Die(Duration),
    Pause(PathBuf),
}

/// Passes a place, or does there what was ordered.
pub fn reach(place: StopPoint) {
    static ORDER: OnceLock<Option<Order>> = OnceLock::new();
    let order = ORDER.get_or_init(|| std::env::var(VARIABLE).ok().map(|text| parse(&text)));
    let Some(order) = order.as_ref().filter(|order| order.place == place) else {
        return;
    };
    if order.passed.fetch_add(1, Ordering::Relaxed) + 1 != order.at {
        return;
    }
    tracing::warn!(?place, "stop point");
    match &order.action {
        Action::Die(after) => {
            std::thread::sleep(*after);
            std::process::abort();
        }
        Action::Pause(file) => {
            while !file.exists() {
                std::thread::sleep(LOOK_INTERVAL);
            }
        }
    }
}

#[allow(clippy::panic)] // A test that asks for nothing that there is must not pass.
fn parse(text: &str) -> Order {
    read(text).unwrap_or_else(|| panic!("{VARIABLE} is not <place>@<n>=<action>: {text}"))
}

fn read(text: &str) -> Option<Order> {
    let (place, rest) = text.split_once('@')?;
    let (at, action) = rest.split_once('=')?;
    let action = match action.split_once(':') {
        None if action == "die" => Action::Die(Duration::ZERO),
        Some(("die", milliseconds)) => Action::Die(Duration::from_millis(milliseconds.parse().ok()?)),
        Some(("pause", file)) => Action::Pause(file.into()),
        _ => return None,
    };
    Some(Order {
        place: StopPoint::named(place)?,
        at: at.parse().ok().filter(|at| *at > 0)?,
        passed: AtomicU64::new(0),
        action,
    })
}

impl StopPoint {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "fenced" => StopPoint::Fenced,
            "after-rotate" => StopPoint::AfterRotate,
            "mid-transaction" => StopPoint::MidTransaction,
            "between-records" => StopPoint::BetweenRecords,
            "after-send" => StopPoint::AfterSend,
            "before-checkpoint" => StopPoint::BeforeCheckpoint,
            "after-checkpoint" => StopPoint::AfterCheckpoint,
            _ => return None,
        })
    }
}
