//! What happened in a run, as an append-only file of JSON lines, `history.jsonl`.
//!
//! Record first, judge later: the tasks of a run only append; the checks only read. So a run is judged again, by a newer
//! check too, without any server. Times are microseconds since the run began on the one machine that runs it, taken from
//! the monotonic clock. A file whose last line is cut off (the run was killed) is read up to there and marked.

mod recorder;

pub use recorder::Recorder;

use crate::drill::{Drill, FaultKind, TargetName};
use crate::error::{Doing, Error, Result};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Name of the file in the run folder.
pub const FILE_NAME: &str = "history.jsonl";

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// The first line: what is run.
    Begun(Box<Begun>),
    /// A phase begins.
    Phase(PhaseBegun),
    /// A transaction of the workload ended.
    Transaction(Transaction),
    /// A fault took a step.
    Fault(FaultEvent),
    /// A consumer that reads committed was handed a record.
    Observed(Observed),
    /// A row in a store was seen to have changed.
    Applied(Applied),
    /// A reader or writer used this much.
    Process(ProcessSample),
    /// A reader or writer was started, was killed or ended.
    ProcessEvent(ProcessEvent),
    /// A record of `<prefix>.__lost`: what the reader says that MySQL lost.
    Listed(Listed),
    /// After the workload: whether the pipeline caught up.
    Settled(Settled),
    /// After the workload: which transactions the primary has.
    Journal(Journal),
    /// What the checker said.
    Convergence(Convergence),
    /// The last line of a run that went its whole way.
    Ended(Ended),
}

/// What is run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Begun {
    /// The whole plan.
    pub drill: Drill,
    /// Seed of all that is random.
    pub seed: u64,
    /// Wall clock, ms since 1970.
    pub started_unix_ms: u64,
    /// Version of this binary.
    pub mysync_version: String,
    /// Prefix of the topics.
    pub prefix: String,
}

/// The parts of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// All is well.
    Before,
    /// Faults strike and are cured.
    During,
    /// All is well again.
    After,
    /// The workload has stopped.
    Settle,
}

/// A phase begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseBegun {
    /// When.
    pub at_us: u64,
    /// Which.
    pub phase: Phase,
}

/// One transaction of the workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transaction {
    /// Unique; stands in the column `written_by` of every row that the transaction wrote.
    pub number: u64,
    /// When its first statement was sent.
    pub begin_us: u64,
    /// When MySQL answered to COMMIT, or when it was known to have failed.
    pub end_us: u64,
    /// What MySQL said.
    pub outcome: Outcome,
    /// The rows that it wrote, in order.
    pub rows: Vec<Row>,
    /// The error, unless acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// COMMIT was acknowledged: its changes must arrive.
    Acknowledged,
    /// Rolled back, by MySQL or on purpose: its changes must not arrive.
    RolledBack,
    /// The answer to COMMIT never came: its changes may arrive.
    Unknown,
    /// Acknowledged before the pipeline was known to listen: its changes may arrive.
    Early,
}

/// One row that a transaction wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// `database.table`.
    pub table: String,
    /// What was done.
    #[serde(flatten)]
    pub write: Write,
}

/// What was done to a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "write", rename_all = "snake_case")]
pub enum Write {
    /// A new row.
    Insert {
        /// Its primary key.
        key: u64,
    },
    /// Columns besides the key.
    Update {
        /// Its primary key.
        key: u64,
    },
    /// The row is gone.
    Delete {
        /// The primary key that it had.
        key: u64,
    },
    /// The row got another primary key.
    Move {
        /// The key that it had.
        from: u64,
        /// The key that it has.
        key: u64,
    },
}

/// A step of a fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultEvent {
    /// When.
    pub at_us: u64,
    /// Which fault.
    pub fault: FaultKind,
    /// Which step.
    pub step: FaultStep,
    /// What was hit, for people.
    pub detail: String,
    /// The store that was hit, or whose writer was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetName>,
    /// Topic of the partition that was hit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
    /// The broker that was hit, or that leads now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker: Option<i32>,
}

/// The steps of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultStep {
    /// About to strike; the victim is chosen.
    Aimed,
    /// It is known to have struck: the process is gone.
    Struck,
    /// Another broker leads the partition.
    LeaderElected,
    /// From here on nothing outside the pipeline is in its way: another primary is writable, the store answers, or the process
    /// is started.
    Recoverable,
    /// The cure begins.
    CureBegun,
    /// All is as it was before.
    Cured,
}

/// A record that a read-committed consumer was handed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// When.
    pub at_us: u64,
    /// Topic.
    pub topic: String,
    /// Partition of the topic.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
    /// Header `mysync.version`.
    pub version: Option<i64>,
    /// Header `mysync.origin`.
    pub origin: Option<String>,
    /// The key, as it stands in the record.
    pub key: String,
    /// What the record says.
    pub op: Op,
    /// `after.written_by`, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_by: Option<u64>,
    /// `after.balance`, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<i64>,
    /// Digest of all that the value says, but for the time at which the reader read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<u64>,
}

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Envelope with op `c`.
    Insert,
    /// Envelope with op `u`.
    Update,
    /// Envelope with op `r`: the row as it was read from the server, whoever wrote it.
    Refresh,
    /// Envelope with op `d`.
    Delete,
    /// No value.
    Tombstone,
    /// A value that is no envelope.
    Other,
}

/// A row in a store was seen to have changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Applied {
    /// When.
    pub at_us: u64,
    /// The store.
    #[serde(default)]
    pub store: TargetName,
    /// `database.table`.
    pub table: String,
    /// The row's primary key.
    pub key: u64,
    /// Its `written_by`.
    pub written_by: u64,
}

/// What a reader or writer uses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessSample {
    /// When.
    pub at_us: u64,
    /// `reader`, `writer-redis` and so on.
    pub name: String,
    /// Its process id.
    pub pid: u32,
    /// Resident memory, KB (VmRSS).
    pub resident_kb: u64,
    /// Its peak, KB (VmHWM).
    pub resident_peak_kb: u64,
    /// User and system time, ms.
    pub cpu_ms: u64,
}

/// A reader or writer was started, was killed or ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessEvent {
    /// When.
    pub at_us: u64,
    /// `reader`, `writer-redis` and so on.
    pub name: String,
    /// What happened to it.
    pub what: ProcessChange,
    /// Its status and last log lines, where it ended by itself.
    pub detail: String,
}

/// What happens to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessChange {
    /// It was started by us.
    Started,
    /// It was killed by us.
    Killed,
    /// It was stopped by us at the end.
    Stopped,
    /// It was stopped by us for a while, and hears nothing.
    Paused,
    /// It goes on after that.
    Resumed,
    /// It ended by itself.
    Ended,
}

/// What the reader says that MySQL lost: the changes of one transaction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// When it was seen.
    pub at_us: u64,
    /// Offset in the topic.
    pub offset: i64,
    /// Version of the first change; none if the record was not understood.
    pub first_version: Option<i64>,
    /// How many there are, numbered one by one.
    pub changes: Option<u64>,
    /// The record as it stands there.
    pub text: String,
}

/// Which transactions the primary has after the workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Journal {
    /// When it was asked.
    pub at_us: u64,
    /// The primary's name in the lab.
    pub server: String,
    /// The transactions' numbers.
    pub numbers: Vec<u64>,
}

/// Whether the pipeline caught up after the workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settled {
    /// When.
    pub at_us: u64,
    /// Whether the last row written was visible in Kafka before the deadline.
    pub caught_up: bool,
    /// What was awaited.
    pub detail: String,
}

/// What the checker said of one store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Convergence {
    /// When.
    pub at_us: u64,
    /// The store.
    #[serde(default)]
    pub store: TargetName,
    /// The checker's own word.
    pub verdict: crate::verdict::Verdict,
    /// Rows compared.
    pub rows: u64,
    /// Rows of MySQL that the store lacks.
    pub missing: u64,
    /// Rows of the store that MySQL lacks.
    pub extra: u64,
    /// Rows that differ.
    pub different: u64,
    /// Some of them, or why it could not tell.
    pub examples: Vec<String>,
}

/// The run went its whole way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// When.
    pub at_us: u64,
    /// Why it stopped early, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// A whole history, sorted by kind of record; each list is in the order of the file.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct History {
    pub begun: Option<Box<Begun>>,
    pub phases: Vec<PhaseBegun>,
    pub transactions: Vec<Transaction>,
    pub faults: Vec<FaultEvent>,
    pub observed: Vec<Observed>,
    pub applied: Vec<Applied>,
    pub processes: Vec<ProcessSample>,
    pub process_events: Vec<ProcessEvent>,
    pub listed: Vec<Listed>,
    pub settled: Option<Settled>,
    pub journal: Option<Journal>,
    pub convergence: Vec<Convergence>,
    pub ended: Option<Ended>,
    /// The last line is cut off.
    pub cut_off: bool,
}

impl History {
    /// Reads the history in a run folder.
    pub fn read(run_folder: &Path) -> Result<Self> {
        let path = run_folder.join(FILE_NAME);
        let file = std::fs::File::open(&path).map_err(|error| {
            Error::configuration(format!("the history cannot be read: {}", path.display()))
                .detail(error)
                .hint("give the run folder that mysync-drill run printed")
        })?;
        let mut history = History::default();
        let mut lines = BufReader::new(file).lines().enumerate().peekable();
        while let Some((index, line)) = lines.next() {
            let line = line.doing(|| format!("the history cannot be read: {}", path.display()))?;
            match serde_json::from_str(&line) {
                Ok(record) => history.add(record),
                Err(_) if lines.peek().is_none() => history.cut_off = true,
                Err(error) => {
                    return Err(Error::definite(format!(
                        "the history is damaged: {}, line {}",
                        path.display(),
                        index + 1
                    ))
                    .detail(error)
                    .hint("it was changed after the run, or written by another version; run the drill again"));
                }
            }
        }
        Ok(history)
    }

    /// Adds one record.
    pub fn add(&mut self, record: Record) {
        match record {
            Record::Begun(begun) => self.begun = Some(begun),
            Record::Phase(phase) => self.phases.push(phase),
            Record::Transaction(transaction) => self.transactions.push(transaction),
            Record::Fault(event) => self.faults.push(event),
            Record::Observed(observed) => self.observed.push(observed),
            Record::Applied(applied) => self.applied.push(applied),
            Record::Process(sample) => self.processes.push(sample),
            Record::ProcessEvent(event) => self.process_events.push(event),
            Record::Listed(listed) => self.listed.push(listed),
            Record::Journal(journal) => self.journal = Some(journal),
            Record::Settled(settled) => self.settled = Some(settled),
            Record::Convergence(convergence) => self.convergence.push(convergence),
            Record::Ended(ended) => self.ended = Some(ended),
        }
    }

    /// The drill, once its first line is there.
    #[must_use]
    pub fn drill(&self) -> Option<&Drill> {
        self.begun.as_ref().map(|begun| &begun.drill)
    }
}

impl FromIterator<Record> for History {
    fn from_iter<I: IntoIterator<Item = Record>>(records: I) -> Self {
        let mut history = History::default();
        records.into_iter().for_each(|record| history.add(record));
        history
    }
}
