//! A target that refuses the changes of one row for good, whatever Redis behind it would do.

use mysync::error::{Error, Result};
use mysync::queue::Partition;
use mysync::target::redis::RedisTarget;
use mysync::target::{Cursor, Outcome, Step, Target};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// What is refused, and what came; shared with the test.
#[derive(Debug, Default)]
pub struct Refusal {
    /// The key of the row.
    pub key: Mutex<Option<String>>,
    /// Changes of each step that was refused.
    pub refused: Mutex<Vec<usize>>,
}

impl Refusal {
    pub fn of(key: &str) -> Arc<Self> {
        let refusal = Self::default();
        *refusal.key.lock().unwrap() = Some(key.to_owned());
        Arc::new(refusal)
    }

    fn is_of(&self, step: &Step) -> bool {
        let key = self.key.lock().unwrap();
        let is_it = |text: &String| Some(text) == key.as_ref();
        let is_refused = step.changes.iter().any(|change| is_it(&change.key[0].1));
        if is_refused {
            self.refused.lock().unwrap().push(step.changes.len());
        }
        is_refused
    }
}

pub struct Refusing {
    pub redis: RedisTarget,
    pub refusal: Arc<Refusal>,
}

impl Target for Refusing {
    fn name(&self) -> &'static str {
        self.redis.name()
    }

    async fn connect(&mut self) -> Result<()> {
        self.redis.connect().await
    }

    async fn cursors(&mut self, partitions: &[Partition]) -> Result<BTreeMap<Partition, Option<Cursor>>> {
        self.redis.cursors(partitions).await
    }

    async fn apply(&mut self, steps: &[Step]) -> Result<Vec<Outcome>> {
        let mut outcomes = Vec::new();
        for step in steps {
            outcomes.extend(match self.refusal.is_of(step) {
                true => vec![Outcome::Refused(Error::definite("the store does not want this row"))],
                false => self.redis.apply(std::slice::from_ref(step)).await?,
            });
        }
        Ok(outcomes)
    }
}
