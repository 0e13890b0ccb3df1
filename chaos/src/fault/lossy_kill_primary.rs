//! A replica stops to receive, the primary goes on to acknowledge, and what it acknowledges is published; then the primary is
//! killed, and the replica takes over all the same. The switch is the cure.

use super::take_over::{kill, pair, take_over};
use super::{Fault, Surroundings};
use crate::drill::FaultKind;
use crate::error::{Doing, Error, Result};
use futures::FutureExt;
use futures::future::{LocalBoxFuture, ready};
use std::time::Duration;

/// So many records must be seen after the replica stopped to receive: some dozen transactions.
const RECORDS_MIN: u64 = 100;
/// Longest time until they are.
const PUBLISHED_DEADLINE: Duration = Duration::from_secs(30);

/// Nothing to remember.
pub struct LossyKillPrimary;

impl Fault for LossyKillPrimary {
    fn strike<'a>(&'a mut self, surroundings: Surroundings<'a>) -> LocalBoxFuture<'a, Result<()>> {
        strike(surroundings).boxed_local()
    }

    fn cure<'a>(&'a mut self, _: Surroundings<'a>) -> LocalBoxFuture<'a, Result<()>> {
        ready(Ok(())).boxed_local()
    }
}

async fn strike(surroundings: Surroundings<'_>) -> Result<()> {
    let (primary, replica) = pair(&surroundings)?;
    replica
        .stop_receiving()
        .await
        .doing(|| format!("{} receives all the same", replica.name()))?;
    // A reader that is behind publishes first what the replica has, too.
    let last = primary
        .position()
        .await
        .doing(|| "the binlog's end is not known".into())?;
    let topics = surroundings.topics;
    if !topics.wait_for_origin(&last, PUBLISHED_DEADLINE).await {
        let seconds = PUBLISHED_DEADLINE.as_secs();
        return Err(
            Error::definite(format!("nothing from behind {last} was published within {seconds} s"))
                .hint("the reader's log is in the run folder"),
        );
    }
    let seen = || topics.records(surroundings.topics_prefix);
    let before = seen();
    fixtures::wait_for(
        "what no replica has is published",
        PUBLISHED_DEADLINE,
        async || match seen() - before {
            records if records >= RECORDS_MIN => Ok(()),
            records => Err(format!("{records} records of {RECORDS_MIN}")),
        },
    )
    .await
    .doing(|| "the pipeline does not go on".into())?;
    kill(&surroundings, FaultKind::LossyKillPrimary, primary).await?;
    take_over(&surroundings, FaultKind::LossyKillPrimary, replica).await
}
