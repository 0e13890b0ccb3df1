//! Trying again: for ever, with delays that grow to a bound, each with a line in the log.

use crate::error::{Error, Result};
use crate::metrics::WriterMetrics;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const DELAY_MIN: Duration = Duration::from_millis(50);
const DELAY_MAX: Duration = Duration::from_secs(2);

/// The first delays are over before anybody could have read a line about each.
const WARNING_INTERVAL: Duration = Duration::from_secs(1);

/// The delays of one thing that fails again and again.
#[derive(Debug)]
pub(super) struct Retry {
    of: &'static str,
    metrics: Arc<WriterMetrics>,
    delay: Duration,
    warned: Option<Instant>,
}

impl Retry {
    /// `of` is what fails: `target`, `queue` or `source`.
    pub(super) fn new(of: &'static str, metrics: Arc<WriterMetrics>) -> Self {
        Self {
            of,
            metrics,
            delay: DELAY_MIN,
            warned: None,
        }
    }

    /// It works again.
    pub(super) fn reset(&mut self) {
        self.delay = DELAY_MIN;
    }

    /// Passes on an error that trying again cannot mend; warns of any other, and waits.
    pub(super) async fn wait(&mut self, error: Error) -> Result<()> {
        if !error.is_transient() {
            return Err(error);
        }
        self.metrics.retried(self.of, &error);
        if self.warned.is_none_or(|warned| warned.elapsed() >= WARNING_INTERVAL) {
            self.warned = Some(Instant::now());
            tracing::warn!(
                of = self.of,
                retry_in_ms = self.delay.as_millis() as u64,
                "{}",
                error.one_line()
            );
        }
        tokio::time::sleep(self.delay).await;
        self.delay = (self.delay * 2).min(DELAY_MAX);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn delays_double_up_to_their_bound_and_start_over() {
        let mut retry = Retry::new("target", Arc::default());
        let mut delays = Vec::new();
        for _ in 0..8 {
            let before = Instant::now();
            retry.wait(Error::transient("x")).await.unwrap();
            delays.push(before.elapsed().as_millis());
        }
        assert_eq!(delays, [50, 100, 200, 400, 800, 1_600, 2_000, 2_000]);
        retry.reset();
        assert_eq!(retry.delay, DELAY_MIN);
        assert!(retry.wait(Error::definite("x")).await.is_err());
    }
}
