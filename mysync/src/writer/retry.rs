//! Trying again: for ever, with delays that grow to a bound, and a warning once in a while.

use crate::error::{Error, Result};
use std::time::Duration;
use tokio::time::Instant;

const DELAY_MIN: Duration = Duration::from_millis(50);
const DELAY_MAX: Duration = Duration::from_secs(2);
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// The delays and warnings of one thing that fails again and again.
#[derive(Debug)]
pub(super) struct Retry {
    delay: Duration,
    warned: Option<Instant>,
}

impl Retry {
    pub(super) fn new() -> Self {
        Self {
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
        let due = self.warned.is_none_or(|warned| warned.elapsed() >= WARNING_INTERVAL);
        if due {
            self.warned = Some(Instant::now());
            tracing::warn!(
                what = error.what,
                detail = error.detail,
                hint = error.hint,
                "trying again"
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
        let mut retry = Retry::new();
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
