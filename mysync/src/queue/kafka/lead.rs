//! Which of several readers of one name goes on: one, and the one that was started last. With `reader.ha` they elect one
//! instead ([`super::election`]), and nothing of this is asked.
//!
//! Opening a publisher fences every older one. Whoever was fenced must not simply open another: two readers would fence each
//! other in turns for ever. So each checkpoint bears the process that wrote it, in the header `mysync.reader`, and a reader
//! sets one before anything else. A process that was just started takes over in any case. One that opens a further publisher,
//! after an error, goes on only if the last checkpoint is its own, or the very one from which it started; otherwise it ends.
//!
//! Having been fenced does not prove that there is another reader: brokers also fence who keeps a transaction open for too
//! long, and a request of our own that was late can do it. So who was fenced gives the other one some time to set its first
//! checkpoint, and goes on if there is none. If the other one needed longer than that, it is fenced in turn and finds a
//! checkpoint from which it did not start: it ends instead.

use super::KafkaQueue;
use super::checkpoints::{self, Found};
use crate::error::{Error, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// How long a reader that was fenced waits for another one's checkpoint. The other one opens its publisher, looks at the server
/// and reads the history first: seconds where brokers are under load.
const SUCCESSOR_TIMEOUT: Duration = Duration::from_secs(30);

/// Between two looks for it.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// What a process knows of its place among the readers of its name.
#[derive(Debug)]
pub(super) struct Lead {
    process: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Offset of the checkpoint found by the first opening, if there was one.
    started_from: Option<Option<i64>>,
    /// Whether the publisher opened last was fenced.
    fenced: Arc<AtomicBool>,
}

impl Lead {
    pub(super) fn new() -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = match host.trim() {
            "" => "an unknown host",
            host => host,
        };
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (pid, seconds, ns) = (std::process::id(), started.as_secs(), started.subsec_nanos());
        Self {
            process: format!("process {pid} on {host}, started {seconds}.{ns:09} s after 1970"),
            state: Mutex::default(),
        }
    }

    /// What checkpoints bear; no other process has the same.
    pub(super) fn process(&self) -> &str {
        &self.process
    }

    /// A publisher is being opened; it raises the flag when it finds itself fenced.
    pub(super) fn opening(&self) -> Arc<AtomicBool> {
        let fenced = Arc::new(AtomicBool::new(false));
        self.state().fenced = Arc::clone(&fenced);
        fenced
    }

    /// Before a publisher is opened: refuses to take over in turn.
    pub(super) async fn require(&self, queue: &KafkaQueue) -> Result<()> {
        let was_fenced = {
            let state = self.state();
            if state.started_from.is_none() {
                return Ok(());
            }
            state.fenced.load(Ordering::Relaxed)
        };
        let deadline = Instant::now() + SUCCESSOR_TIMEOUT;
        loop {
            let last = checkpoints::last(queue).await?;
            self.judge(queue, last.as_ref())?;
            if !was_fenced || Instant::now() >= deadline {
                return Ok(());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// After a publisher was opened, with the last checkpoint: another reader may have come in between.
    pub(super) fn opened(&self, queue: &KafkaQueue, last: Option<&Found>) -> Result<()> {
        let offset = last.map(|found| found.offset);
        self.state().started_from.get_or_insert(offset);
        self.judge(queue, last)
    }

    fn judge(&self, queue: &KafkaQueue, last: Option<&Found>) -> Result<()> {
        let Some(last) = last else { return Ok(()) };
        let is_own = last.written_by.as_deref() == Some(self.process.as_str());
        if is_own || self.state().started_from == Some(Some(last.offset)) {
            return Ok(());
        }
        let by = last.written_by.as_deref().unwrap_or("a process of an older version");
        let name = &queue.config.reader.name;
        Err(
            Error::definite(format!("another reader of the same name has taken over: {name}"))
                .detail(format!("this is {}, the last checkpoint is by {by}", self.process))
                .hint(
                    "one reader of a name runs at a time, the one that was started last: stop what starts the other, or give one of \
                     the two a reader.name and a kafka.prefix of its own",
                ),
        )
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Checkpoint, Position};
    use crate::config;
    use crate::version::Version;

    fn found(offset: i64, written_by: &str) -> Found {
        Found {
            checkpoint: Checkpoint {
                position: Position {
                    server_uuid: String::new(),
                    file: "binlog.000001".into(),
                    offset: 4,
                    file_born_s: 0,
                    gtid_set: None,
                },
                next_version: Version::FIRST,
                prepared: Vec::new(),
                refreshes: 0,
                is_sequenced: false,
                numbering: 0,
                trail: None,
                unseen: None,
            },
            offset,
            written_by: Some(written_by.into()),
        }
    }

    #[test]
    fn goes_on_from_its_own_checkpoint_or_its_first_and_ends_at_any_other() {
        let text = config::TEMPLATE.replace("password_env = \"MYSYNC_MYSQL_PASSWORD\"", "password = \"secret\"");
        let queue = KafkaQueue::new(&config::parse(&text, "template").unwrap());
        let (older, newer) = (Lead::new(), Lead::new());
        older.opened(&queue, None).unwrap();
        let first = found(1, older.process());
        older.opened(&queue, Some(&first)).unwrap();
        // The newer one may try as often as it has to until its own checkpoint stands.
        newer.opened(&queue, Some(&first)).unwrap();
        newer.opened(&queue, Some(&first)).unwrap();
        let second = found(3, newer.process());
        newer.opened(&queue, Some(&second)).unwrap();
        let refused = older.opened(&queue, Some(&second)).unwrap_err();
        assert!(!refused.is_transient());
        assert!(refused.to_string().contains(newer.process()), "{refused}");
        // Had the older one gone on meanwhile, the newer one would end.
        let late = Lead::new();
        late.opened(&queue, Some(&first)).unwrap();
        assert!(late.opened(&queue, Some(&found(2, older.process()))).is_err());
    }
}
