//! Servers that are not there yet when a reader starts: it waits for them, as it does later on.

use super::{BACKOFF_FIRST, BACKOFF_LAST};
use crate::error::Result;
use crate::metrics::ReaderMetrics;
use crate::stop::Stop;

/// Asks until there is an answer or a definite error; `None` when it was asked to stop meanwhile.
pub async fn until_answered<T>(
    metrics: &ReaderMetrics,
    stop: &mut Stop,
    mut ask: impl AsyncFnMut() -> Result<T>,
) -> Result<Option<T>> {
    let mut backoff = BACKOFF_FIRST;
    loop {
        let answer = tokio::select! {
            answer = ask() => answer,
            () = stop.stopped() => return Ok(None),
        };
        match answer {
            Err(error) if error.is_transient() => {
                tracing::warn!(retry_in_ms = backoff.as_millis() as u64, "{}", error.one_line());
                metrics.condition.wait(&error);
            }
            answer => return answer.map(Some),
        }
        tokio::select! {
            () = stop.stopped() => return Ok(None),
            () = tokio::time::sleep(backoff) => backoff = (backoff * 2).min(BACKOFF_LAST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::metrics::{Exposed, Phase};
    use crate::stop;

    #[tokio::test(start_paused = true)]
    async fn waits_for_a_server_and_says_why_but_not_for_a_wrong_password() {
        let metrics = ReaderMetrics::default();
        let (sender, mut stop) = stop::channel();
        let mut asked = 0;
        let answer = until_answered(&metrics, &mut stop, async || {
            asked += 1;
            match asked {
                4 => Ok(asked),
                _ => Err(Error::transient("MySQL did not answer: db:3306")),
            }
        });
        assert_eq!(answer.await.unwrap(), Some(4));
        assert_eq!(metrics.condition.phase(), Phase::Waiting);
        assert_eq!(
            metrics.status().reason.unwrap(),
            "waiting: MySQL did not answer: db:3306"
        );

        let refused = until_answered::<()>(&metrics, &mut stop, async || Err(Error::definite("access denied"))).await;
        assert!(!refused.unwrap_err().is_transient());

        sender.stop();
        let stopped = until_answered::<()>(&metrics, &mut stop, async || Err(Error::transient("down"))).await;
        assert_eq!(stopped.unwrap(), None);
    }
}
