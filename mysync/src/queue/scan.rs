//! Records read back by the reader.

use super::Message;
use crate::error::Result;
use tokio::sync::mpsc;

/// Records between the thread that reads and the caller; one can be as large as a row.
const RECORDS_QUEUED_MAX: usize = 4;

/// A committed record of an internal topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its offset.
    pub offset: i64,
    /// Its key.
    pub key: Vec<u8>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
}

/// The committed records of an internal topic, oldest first.
#[derive(Debug)]
pub struct Scan {
    records: mpsc::Receiver<Result<StoredRecord>>,
}

impl Scan {
    /// A scan, and where to put its records. It ends when the other half is dropped.
    #[must_use]
    pub fn channel() -> (mpsc::Sender<Result<StoredRecord>>, Self) {
        let (sender, records) = mpsc::channel(RECORDS_QUEUED_MAX);
        (sender, Self { records })
    }

    /// The next record; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<StoredRecord>> {
        self.records.recv().await.transpose()
    }
}

/// Committed records of the topics of tables; one may come more than once.
#[derive(Debug)]
pub struct Published {
    messages: mpsc::Receiver<Result<Message>>,
}

impl Published {
    /// What was published, and where to put it. It ends when the other half is dropped.
    #[must_use]
    pub fn channel() -> (mpsc::Sender<Result<Message>>, Self) {
        let (sender, messages) = mpsc::channel(RECORDS_QUEUED_MAX);
        (sender, Self { messages })
    }

    /// The next record; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Message>> {
        self.messages.recv().await.transpose()
    }
}
