//! The reader: follows a source's binlog and publishes each change exactly once.
//!
//! # Progress
//! The reader takes events in order ([`tracker`]), encodes rows into a batch, and hands batches to the publisher. A Kafka
//! transaction holds whole MySQL transactions and ends with the checkpoint. It is committed as soon as the stream has
//! nothing more at hand, or after `commit_interval_ms`, or after `commit_changes_max` changes, whichever is first; while
//! one commit is on its way the next transaction grows, so that many small MySQL transactions share one commit under
//! load and a lonely one does not wait. A reader that is seconds behind takes more into one Kafka transaction.
//!
//! That is transactional delivery. In sequenced delivery batches go out as soon as the stream has nothing more at hand, and
//! the same commits only set checkpoints behind them ([`crate::queue`]).
//!
//! # Resumption
//! There is one way back from every transient error: drop the source's stream and the publisher, open a new publisher
//! (which settles the outcome of what was open), and go on from the checkpoint that it finds. `kill -9` and restart is
//! the same way. Versions are part of the checkpoint, so a change that is published again, since its first copy was
//! aborted, gets the version that it had.
//!
//! # Leader
//! Of several readers of one name (`reader.ha`) one leads, and the others stand by without a connection to MySQL
//! ([`crate::queue::leadership`]). A reader that is elected opens a publisher, which fences the one before, and goes on from the
//! checkpoint like any other; one that is not elected any more goes back to standing by. One that leads and cannot begin to read
//! ([`HAND_OVER_AFTER`]) asks for another one to be elected.
//!
//! # Errors
//! Definite ones name the binlog file and position. Nothing is skipped: an event that is not understood, or a statement
//! that changes rows without row events, stops the reader.

mod anchor;
mod cascade;
mod digest;
mod errant;
mod heartbeat;
mod history;
mod lost;
mod patience;
mod prepared;
mod refresh;
mod resume;
mod session;
mod survey;
mod tracker;
mod trail;
mod transaction;
mod watch;
mod xa;

pub use patience::until_answered;
pub use refresh::signal;

use crate::config::{Config, Delivery, OnCascade, OnDdl, OnGap, OnLost, Start};
use crate::encode::Form;
use crate::error::Result;
use crate::metrics::ReaderMetrics;
use crate::queue::Queue;
use crate::queue::leadership::{Leadership, Tenure};
use crate::source::Source;
use crate::stop::Stop;
use crate::usage;
use session::Session;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Waits between attempts after transient errors: doubled from the first to the last.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_LAST: Duration = Duration::from_secs(5);

/// A leader that could not begin to read for so long lets another one try: it may be the only one that is cut off.
const HAND_OVER_AFTER: Duration = Duration::from_secs(15);

/// How much longer and larger a Kafka transaction may be while the reader is catching up. In sequenced delivery a commit
/// only sets a checkpoint, and nothing is gained by fewer of them.
const CATCHING_UP_FACTOR: u32 = 20;

/// How the reader runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// How messages look, and which there are.
    pub form: Form,
    /// Longest wait of a change for its commit while more changes come.
    pub commit_interval: Duration,
    /// Changes after which a Kafka transaction is committed.
    pub commit_changes_max: usize,
    /// How much longer and larger a commit may be while the reader is catching up.
    pub catching_up_factor: u32,
    /// Where to begin without a checkpoint.
    pub start: Start,
    /// What to do at a statement that changes rows without row events.
    pub on_ddl: OnDdl,
    /// What to do at a statement that adds a foreign key which changes rows without row events.
    pub on_cascade: OnCascade,
    /// Let waivable settings of servers pass that can lose changes.
    pub allow_unsafe: bool,
    /// What to do about published transactions that MySQL lost.
    pub on_lost: OnLost,
    /// What to do when the position is not in the server's binlogs.
    pub on_gap: OnGap,
    /// Tables that are dumped at the same time.
    pub dump_tables_max: usize,
    /// Records can be in the topics behind the checkpoint.
    pub is_sequenced: bool,
    /// End when all that the source had at the start is published.
    pub until_caught_up: bool,
    /// Large compressed transactions are taken in pieces instead of being held: in transactional delivery, where nobody sees
    /// rows whose checksum has not come yet.
    pub takes_pieces: bool,
    /// Differs where changes would be numbered or routed otherwise ([`crate::checkpoint::Checkpoint::numbering`]).
    pub numbering: u64,
    /// The reader's name in its heartbeat row.
    pub heartbeat_name: String,
    /// What is counted; shared with who serves it.
    pub metrics: Arc<ReaderMetrics>,
}

impl Options {
    /// Takes the options from a configuration.
    #[must_use]
    pub fn new(config: &Config, until_caught_up: bool) -> Self {
        Self {
            form: Form::new(config),
            commit_interval: Duration::from_millis(config.reader.commit_interval_ms),
            commit_changes_max: config.reader.commit_changes_max,
            catching_up_factor: match config.reader.delivery {
                Delivery::Transactional => CATCHING_UP_FACTOR,
                Delivery::Sequenced => 1,
            },
            start: config.reader.start,
            on_ddl: config.reader.on_ddl,
            on_cascade: config.reader.on_cascade,
            allow_unsafe: config.reader.allow_unsafe,
            on_lost: config.reader.on_lost,
            on_gap: config.reader.on_gap,
            dump_tables_max: config.reader.dump_tables_max,
            is_sequenced: config.reader.delivery == Delivery::Sequenced,
            until_caught_up,
            takes_pieces: config.reader.delivery == Delivery::Transactional,
            numbering: numbering(config),
            heartbeat_name: crate::source::mysql::heartbeat::name(config),
            metrics: Arc::default(),
        }
    }
}

/// Everything that decides which changes get a number and which topic and key their records have, this program's version
/// among it. More than is needed does no harm but a new epoch.
fn numbering(config: &Config) -> u64 {
    let mut hasher = DefaultHasher::new();
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    let source = &config.source;
    (
        &source.tables,
        &source.tables_exclude,
        &source.columns_exclude,
        &source.keys,
    )
        .hash(&mut hasher);
    format!("{:?}", (config.messages.format, config.messages.topics)).hash(&mut hasher);
    hasher.finish()
}

/// What a reader did.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Summary {
    /// Row changes whose Kafka transaction was committed.
    pub changes: u64,
    /// MySQL transactions that were committed with them.
    pub transactions: u64,
    /// Kafka transactions.
    pub commits: u64,
    /// Bytes of binlog events that were read.
    pub binlog_bytes: u64,
    /// Times that the reader went back to the checkpoint after a transient error.
    pub resumptions: u64,
    /// Seconds from the first event to the end.
    pub seconds: f64,
    /// CPU seconds of the process.
    pub cpu_seconds: f64,
    /// Peak resident memory of the process, MB.
    pub resident_mb_max: u64,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        #[allow(clippy::cast_precision_loss)] // figures for people
        let rows_per_second = self.changes as f64 / self.seconds.max(0.001);
        #[allow(clippy::cast_precision_loss)]
        let megabytes_per_second = self.binlog_bytes as f64 / 1e6 / self.seconds.max(0.001);
        write!(
            formatter,
            "read {} changes in {} transactions, {:.2} s: {rows_per_second:.0} rows/s, {megabytes_per_second:.1} MB/s of binlog, \
             {:.2} CPU s, peak {} MB, {} commits, {} resumptions",
            self.changes,
            self.transactions,
            self.seconds,
            self.cpu_seconds,
            self.resident_mb_max,
            self.commits,
            self.resumptions
        )
    }
}

/// Runs until it is asked to stop, is caught up, or meets a definite error.
pub async fn run<S: Source, Q: Queue>(
    source: &mut S,
    queue: &Q,
    filter: &crate::tables::TableFilter,
    keys: &std::collections::BTreeMap<String, Vec<String>>,
    options: &Options,
    mut stop: Stop,
) -> Result<Summary> {
    let mut summary = Summary::default();
    let begun = Instant::now();
    let mut backoff = BACKOFF_FIRST;
    let mut told = String::new();
    let mut leadership = queue.leadership();
    let mut gap = None;
    let mut idle_since = None;
    loop {
        let Some(mut tenure) = lead(source, &mut leadership, options, &mut stop).await? else {
            break;
        };
        let (changes_before, tried_at) = (summary.changes, Instant::now());
        let opened = tokio::select! {
            opened = Session::open(source, queue, (filter, keys), options, &mut summary, stop.clone(), gap.take()) => opened,
            () = tenure.ended() => Err(Tenure::over()),
            () = stop.stopped() => break,
        };
        let ended = match opened {
            Ok(mut session) => {
                idle_since = None;
                session.run().await
            }
            Err(error) => Err(error),
        };
        match ended {
            Ok(()) => break,
            // What a reader meets that was replaced without knowing it says nothing about its successor.
            Err(error) if error.is_transient() || leadership.tenure().is_none() => {
                if summary.changes > changes_before || tried_at.elapsed() > BACKOFF_LAST {
                    // It worked for a while, or has waited long enough itself.
                    backoff = BACKOFF_FIRST;
                }
                let (retry_in_ms, text) = (backoff.as_millis() as u64, error.one_line());
                match told == text && summary.changes == changes_before {
                    true => tracing::debug!(retry_in_ms, "{text}"),
                    false => tracing::warn!(retry_in_ms, "{text}"),
                }
                told = text;
                summary.resumptions += 1;
                options.metrics.resumed(&error);
            }
            Err(error) if error.is_gap && options.on_gap == OnGap::Refresh => {
                summary.resumptions += 1;
                options.metrics.resumed(&error);
                gap = Some(error);
            }
            Err(error) => return Err(error),
        }
        if tenure.has_ended() {
            idle_since = None;
        } else if leadership.is_contested() && idle_since.get_or_insert(tried_at).elapsed() > HAND_OVER_AFTER {
            tracing::warn!(
                "this reader asks for another one to lead: it could not begin to read for {HAND_OVER_AFTER:?}"
            );
            leadership.resign();
            idle_since = None;
            tokio::select! {
                () = stop.stopped() => break,
                () = tenure.ended() => continue,
            }
        }
        tokio::select! {
            () = stop.stopped() => break,
            () = tokio::time::sleep(backoff) => backoff = (backoff * 2).min(BACKOFF_LAST),
        }
    }
    if summary.seconds == 0.0 {
        summary.seconds = begun.elapsed().as_secs_f64();
    }
    summary.cpu_seconds = usage::cpu_seconds();
    summary.resident_mb_max = usage::resident_mb_max();
    Ok(summary)
}

/// Waits until this reader leads, and holds nothing at the server meanwhile; `None` when it was asked to stop before.
async fn lead<S: Source>(
    source: &mut S,
    leadership: &mut Leadership,
    options: &Options,
    stop: &mut Stop,
) -> Result<Option<Tenure>> {
    let tenure = match leadership.tenure() {
        Some(tenure) => tenure,
        None => {
            source.release();
            options.metrics.stand_by();
            tracing::info!("standing by until this reader leads");
            let gained = tokio::select! {
                () = stop.stopped() => return Ok(None),
                gained = leadership.gained() => gained?,
            };
            tracing::info!("this reader leads");
            gained
        }
    };
    options.metrics.lead();
    Ok(Some(tenure))
}
