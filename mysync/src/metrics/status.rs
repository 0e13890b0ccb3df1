//! The status of a running process: what it answers to `/status`, how that is asked for, and how it reads for people.

use super::client;
use super::condition::Phase;
use crate::checkpoint::Position;
use crate::error::{Error, Result};
use http_body_util::Empty;
use hyper::body::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// How long a process may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How a process is. Unknown keys are passed over: the process that answers may be newer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// `reader` or `writer`.
    pub role: String,
    /// Version of the program.
    pub version: String,
    /// `starting`, `running`, `waiting` or `standby`.
    pub phase: String,
    /// Whether it does its work.
    pub healthy: bool,
    /// Why not; `None` when healthy.
    pub reason: Option<String>,
    /// Seconds since it was started.
    pub uptime_s: u64,
    /// The last error, mended or not.
    pub last_error: Option<LastError>,
    /// Settings that can lose changes and that `reader.allow_unsafe` let pass.
    pub unsafe_settings: Vec<String>,
    /// What only a reader has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reader: Option<ReaderStatus>,
    /// What only a writer has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writer: Option<WriterStatus>,
}

/// An error and when it happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// How long ago, seconds.
    pub ago_s: u64,
    /// What, detail and hint.
    pub text: String,
}

/// What only a reader has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReaderStatus {
    /// `leading` or `standby`; `None` where no other reader of its name may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leadership: Option<String>,
    /// The MySQL server, `host:port`.
    pub server: String,
    /// What the other servers of `source.servers` are, one line each; as far as one is followed.
    #[serde(default)]
    pub others: Vec<String>,
    /// Transactions that it made of its own before it had all that was published, when the reader went on there; rows that
    /// they changed are to be checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errant: Option<String>,
    /// The last committed checkpoint; `None` before the first commit.
    pub position: Option<Position>,
    /// Seconds that it is behind; -1 when unknown.
    pub lag_seconds: f64,
    /// Changes that were read and not committed.
    pub changes_in_flight: i64,
    /// Changes committed since the start.
    pub changes: u64,
    /// Times that it went back to its checkpoint after an error.
    pub resumptions: u64,
    /// Times that it went on from its checkpoint on another server.
    #[serde(default)]
    pub switches: u64,
    /// Transactions that it had published and that MySQL lost in a switch, since the start; the topic `<prefix>.__lost` lists them.
    #[serde(default)]
    pub lost_transactions: u64,
    /// Rows that are still to be read from their tables.
    #[serde(default)]
    pub refresh_pending_keys: i64,
}

/// What only a writer has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WriterStatus {
    /// The target's name.
    pub target: String,
    /// Partitions that are this writer's.
    pub partitions: u64,
    /// Records that it is behind in all of its partitions; -1 when unknown.
    pub lag_records: i64,
    /// Seconds since the oldest record was written that is not applied; 0 when all are, -1 when unknown.
    #[serde(default = "unknown_seconds")]
    pub lag_seconds: f64,
    /// Changes applied since the start.
    pub changes: u64,
    /// Times that something was tried again.
    pub retries: u64,
    /// Records that a person has skipped, since the start.
    #[serde(default)]
    pub skipped: u64,
    /// Partitions that a record stops which cannot be applied.
    #[serde(default)]
    pub stopped: Vec<StoppedPartition>,
    /// What a fence row waits for; `None` while none waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence_waits: Option<String>,
}

/// A partition that waits for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoppedPartition {
    /// Name of the topic.
    pub topic: String,
    /// Number of the partition.
    pub partition: i32,
    /// Offset of the record that cannot be applied.
    pub offset: i64,
    /// How long it has been stopped, seconds.
    pub since_s: u64,
    /// What, detail and hint.
    pub reason: String,
}

fn unknown_seconds() -> f64 {
    -1.0
}

impl Status {
    pub(super) fn phase_name(phase: Phase) -> String {
        phase.name().to_owned()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let health = if self.healthy { "healthy" } else { "NOT HEALTHY" };
        writeln!(formatter, "{} {}: {health}", self.role, self.version)?;
        let mut line = |name: &str, value: &dyn fmt::Display| writeln!(formatter, "  {name:<20} {value}");
        if let Some(reason) = &self.reason {
            line("reason", reason)?;
        }
        line("phase", &format_args!("{}, up {} s", self.phase, self.uptime_s))?;
        if let Some(reader) = &self.reader {
            if let Some(leadership) = &reader.leadership {
                line("leadership", leadership)?;
            }
            line("server", &reader.server)?;
            match &reader.position {
                None => line("position", &"none committed yet")?,
                Some(position) => {
                    line("position", &format_args!("{}:{}", position.file, position.offset))?;
                    line("server uuid", &position.server_uuid)?;
                    if let Some(set) = &position.gtid_set {
                        line("gtid set", set)?;
                    }
                }
            }
            match reader.lag_seconds >= 0.0 {
                true => line("lag", &format_args!("{:.3} s", reader.lag_seconds))?,
                false => line("lag", &"unknown")?,
            }
            line("changes", &reader.changes)?;
            if reader.lost_transactions > 0 {
                let lost = reader.lost_transactions;
                line(
                    "lost by MySQL",
                    &format_args!("{lost} published transactions: topic __lost"),
                )?;
            }
            if reader.refresh_pending_keys > 0 {
                line("to be refreshed", &format_args!("{} rows", reader.refresh_pending_keys))?;
            }
            line("changes in flight", &reader.changes_in_flight)?;
            line("resumptions", &reader.resumptions)?;
            line("switches", &reader.switches)?;
            if let Some(errant) = &reader.errant {
                line("errant", errant)?;
            }
            for other in &reader.others {
                line("other server", other)?;
            }
        }
        if let Some(writer) = &self.writer {
            line("target", &writer.target)?;
            line("partitions", &writer.partitions)?;
            match (writer.lag_records >= 0, writer.lag_seconds >= 0.0) {
                (true, true) => line(
                    "lag",
                    &format_args!("{} records, {:.1} s", writer.lag_records, writer.lag_seconds),
                )?,
                (true, false) => line("lag", &format_args!("{} records", writer.lag_records))?,
                (false, _) => line("lag", &"unknown")?,
            }
            line("changes", &writer.changes)?;
            line("retries", &writer.retries)?;
            if writer.skipped > 0 {
                line("skipped", &format_args!("{} records: topic __dead", writer.skipped))?;
            }
            for stopped in &writer.stopped {
                let StoppedPartition {
                    topic,
                    partition,
                    offset,
                    since_s,
                    reason,
                } = stopped;
                line(
                    "STOPPED",
                    &format_args!("{topic} partition {partition} at offset {offset}, for {since_s} s: {reason}"),
                )?;
            }
            if let Some(waits) = &writer.fence_waits {
                line("fence waits for", waits)?;
            }
        }
        if let Some(error) = &self.last_error {
            line("last error", &format_args!("{} s ago: {}", error.ago_s, error.text))?;
        }
        for setting in &self.unsafe_settings {
            line("unsafe setting", setting)?;
        }
        Ok(())
    }
}

/// Asks the process that serves at this address, `host:port`.
pub async fn ask(address: &str) -> Result<Status> {
    let request = hyper::Request::get("/status").body(Empty::<Bytes>::new());
    let what = || format!("no status from {address}");
    let answer = client::send(address, request, ANSWER_TIMEOUT).await;
    let (_, bytes) = answer.map_err(|error| Error { what: what(), ..error })?;
    serde_json::from_slice(&bytes).map_err(|error| {
        Error::definite(what()).detail(error).hint(
            "another program listens there: correct key listen in section [metrics] or in that of the writer's target",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader() -> Status {
        Status {
            role: "reader".into(),
            version: "0.1.0".into(),
            phase: "waiting".into(),
            healthy: false,
            reason: Some("waiting: the server ended the binlog stream: db:3306".into()),
            uptime_s: 77,
            last_error: Some(LastError {
                ago_s: 3,
                text: "the server ended the binlog stream: db:3306".into(),
            }),
            unsafe_settings: vec!["kafka.min_insync_replicas: expected 2 or more, found 1".into()],
            reader: Some(ReaderStatus {
                leadership: Some("leading".into()),
                server: "db:3306".into(),
                errant: Some("3e11fa47-71ca-11e1-9e33-c80aa9429562:7".into()),
                others: vec!["db2:3306: read-only, replicates from 3e11fa47-71ca-11e1-9e33-c80aa9429562".into()],
                position: Some(Position {
                    server_uuid: "3e11fa47-71ca-11e1-9e33-c80aa9429562".into(),
                    file: "binlog.000007".into(),
                    offset: 4711,
                    file_born_s: 1,
                    gtid_set: Some("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5".into()),
                }),
                lag_seconds: -1.0,
                changes_in_flight: 3,
                changes: 1_000,
                resumptions: 1,
                switches: 2,
                lost_transactions: 2,
                refresh_pending_keys: 5,
            }),
            writer: None,
        }
    }

    fn writer() -> Status {
        Status {
            role: "writer".into(),
            phase: "running".into(),
            healthy: true,
            reason: None,
            last_error: None,
            unsafe_settings: Vec::new(),
            reader: None,
            writer: Some(WriterStatus {
                target: "redis".into(),
                partitions: 9,
                lag_records: 12,
                lag_seconds: 0.25,
                changes: 900,
                retries: 0,
                skipped: 1,
                stopped: vec![StoppedPartition {
                    topic: "mysync.shop.a".into(),
                    partition: 2,
                    offset: 41,
                    since_s: 7,
                    reason: "a record's value is not a Debezium envelope".into(),
                }],
                fence_waits: Some("1 partitions, of which 1 are stopped: mysync.shop.a[2]".into()),
            }),
            ..reader()
        }
    }

    #[test]
    fn reads_as_a_table_and_as_json() {
        insta::assert_snapshot!(format!("{}\n{}", reader(), writer()));
        insta::assert_json_snapshot!(reader());
        let text = serde_json::to_string(&writer()).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), writer());
    }
}
