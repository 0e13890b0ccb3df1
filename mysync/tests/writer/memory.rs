//! A target in memory: without transactions, like Elasticsearch and HBase. Rows come first, each by its version, then the cursor.

use mysync::error::Result;
use mysync::queue::Partition;
use mysync::target::{Cursor, Outcome, Step, Target};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;

/// What it holds.
#[derive(Debug)]
pub struct Store {
    name: &'static str,
    rows: Mutex<BTreeMap<String, (i64, Option<String>)>>,
    cursors: Mutex<BTreeMap<Partition, Cursor>>,
    /// One for each round that may be applied.
    pub permits: Semaphore,
}

impl Store {
    /// One that takes nothing before it is permitted to.
    pub fn new(name: &'static str) -> Arc<Self> {
        Arc::new(Self {
            name,
            rows: Mutex::default(),
            cursors: Mutex::default(),
            permits: Semaphore::new(0),
        })
    }

    /// Rows by table and key, as the text of the message.
    pub fn rows(&self) -> BTreeMap<String, String> {
        let rows = self.rows.lock().unwrap();
        let present = rows
            .iter()
            .filter_map(|(key, (_, row))| Some((key.clone(), row.clone()?)));
        present.collect()
    }
}

/// A connection to it.
pub struct Memory(pub Arc<Store>);

impl Target for Memory {
    fn name(&self) -> &'static str {
        self.0.name
    }

    async fn connect(&mut self) -> Result<()> {
        Ok(())
    }

    async fn cursors(&mut self, partitions: &[Partition]) -> Result<BTreeMap<Partition, Option<Cursor>>> {
        let cursors = self.0.cursors.lock().unwrap();
        Ok(partitions
            .iter()
            .map(|partition| (partition.clone(), cursors.get(partition).copied()))
            .collect())
    }

    async fn apply(&mut self, steps: &[Step]) -> Result<Vec<Outcome>> {
        self.0.permits.acquire().await.unwrap().forget();
        for change in steps.iter().flat_map(|step| &step.changes) {
            let key = format!("{}:{}:{}", change.table.database, change.table.table, change.key[0].1);
            let row = change.row.as_ref().map(|row| row.get().to_owned());
            let mut rows = self.0.rows.lock().unwrap();
            let stands = rows.get(&key).map_or(0, |(version, _)| *version);
            if change.version >= stands {
                rows.insert(key, (change.version, row));
            }
        }
        let mut cursors = self.0.cursors.lock().unwrap();
        for step in steps {
            assert_eq!(cursors.get(&step.partition).copied(), step.cursor_before);
            cursors.insert(step.partition.clone(), step.cursor_after);
        }
        Ok(steps.iter().map(|_| Outcome::Applied).collect())
    }
}
