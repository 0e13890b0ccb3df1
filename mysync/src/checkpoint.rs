//! Where the reader stands: always at the end of a MySQL transaction.
//!
//! The checkpoint is a record of the topic `<prefix>.__checkpoint`, written in the same Kafka transaction as the changes
//! before it. So a reader that starts again finds exactly the last checkpoint whose changes consumers can see.

use crate::error::{Error, Result};
use crate::version::Version;
use serde::{Deserialize, Serialize};

/// A place in the binlogs of one server, at the end of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The server whose files these are.
    pub server_uuid: String,
    /// Name of the binlog file.
    pub file: String,
    /// Byte after the transaction's last event.
    pub offset: u64,
    /// When the file was begun, seconds since 1970 as its first event says: a reset server reuses names. 0 where not yet known.
    pub file_born_s: u32,
    /// All transactions up to here, as MySQL prints a GTID set; `None` on a server without GTID.
    pub gtid_set: Option<String>,
}

/// An XA transaction that was prepared before the position and is not decided there. Its rows are in the topic
/// `<prefix>.__prepared`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prepared {
    /// Its name, as `reader::xa` writes it.
    pub xid: String,
    /// Where its events begin, `file number:offset`: with the name, the key of its records.
    pub begun: String,
    /// Number of its records.
    pub chunks: usize,
    /// None of them has a lower offset.
    pub from_offset: i64,
}

/// A row that some reader of this name wrote on the primary, and that replication carries to every server. Sequence, server and
/// time together are never the same twice, not after a lossy switch either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// Grows by one with each.
    pub sequence: u64,
    /// The server that it was written on.
    pub server_uuid: String,
    /// When, by the clock of the reader that wrote it, microseconds since 1970.
    pub written_us: i64,
    /// The running hash at the end of its transaction.
    pub hash: u64,
    /// Where its transaction ends in the binlogs of the position's server: file and offset; none where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<(String, u64)>,
}

/// How the position is told without GTID: what was published, as a running hash, and the last anchor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trail {
    /// Stands for what is hashed, and how.
    pub scheme: u64,
    /// The running hash at the position.
    pub hash: u64,
    /// The last anchor that was read before the position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<Anchor>,
}

/// What a reader needs to go on after the last committed Kafka transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Where the next transaction begins.
    pub position: Position,
    /// The version that the next change gets.
    pub next_version: Version,
    /// Prepared XA transactions that wait for their decision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prepared: Vec<Prepared>,
    /// Requests in the topic `<prefix>.__refresh` that are not done.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refreshes: usize,
    /// Whether it was written in sequenced delivery, so that changes behind it can be in the topics already, whatever the delivery of
    /// the reader that goes on from it. One that does not say may have been.
    #[serde(default = "yes")]
    pub is_sequenced: bool,
    /// Stands for everything that decides which changes are numbered, and where they go. In sequenced delivery changes behind
    /// the checkpoint can be in the topics already, and consumers pass over further copies by their versions: a reader
    /// that numbered otherwise would have new changes taken for copies of old ones.
    pub numbering: u64,
    /// What finds the position in the binlogs of another server; `None` on a server with GTID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trail: Option<Trail>,
    /// With GTID, the transactions that were passed over where the stream began, or began to follow other tables. No history tells
    /// what they changed, and yet a row that was read from its table can show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde hands out references
fn is_zero(number: &usize) -> bool {
    *number == 0
}

fn yes() -> bool {
    true
}

impl Checkpoint {
    /// Goes on from here with a numbering, in a new epoch if it is another one.
    pub fn go_on(&mut self, numbering: u64) -> Result<()> {
        if self.numbering != numbering {
            self.next_version = self.next_version.next_epoch()?;
            self.numbering = numbering;
            self.unseen.clone_from(&self.position.gtid_set);
        }
        Ok(())
    }

    /// The record's value.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a record's value back.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|error| {
            Error::definite("the checkpoint in Kafka cannot be read")
                .detail(error)
                .hint("was it written by a newer version of mysync? run that version, or choose a new reader.name to start anew")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_wrote_and_refuses_what_it_does_not_know() {
        let checkpoint = Checkpoint {
            position: Position {
                server_uuid: "3e11fa47-71ca-11e1-9e33-c80aa9429562".into(),
                file: "binlog.000007".into(),
                offset: 4_711,
                file_born_s: 1_790_000_000,
                gtid_set: Some("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5".into()),
            },
            next_version: Version::FIRST,
            prepared: vec![Prepared {
                xid: "61,,1".into(),
                begun: "7:4000".into(),
                chunks: 2,
                from_offset: 0,
            }],
            refreshes: 3,
            is_sequenced: false,
            numbering: 7,
            trail: Some(Trail {
                scheme: u64::MAX,
                hash: 1 << 63,
                anchor: Some(Anchor {
                    sequence: 3,
                    server_uuid: "3e11fa47-71ca-11e1-9e33-c80aa9429562".into(),
                    written_us: 1_790_000_000_000_000,
                    hash: 5,
                    place: Some(("binlog.000007".into(), 4_000)),
                }),
            }),
            unseen: Some("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-2".into()),
        };
        assert_eq!(Checkpoint::decode(&checkpoint.encode()).unwrap(), checkpoint);
        assert!(Checkpoint::decode(b"{}").is_err());
        let silent = String::from_utf8(checkpoint.encode()).unwrap();
        let silent = silent.replace(",\"is_sequenced\":false", "");
        assert!(
            Checkpoint::decode(silent.as_bytes()).unwrap().is_sequenced,
            "to be on the safe side"
        );
        let newer = String::from_utf8(checkpoint.encode())
            .unwrap()
            .replacen('{', "{\"anchors\":1,", 1);
        assert!(Checkpoint::decode(newer.as_bytes()).is_err());
        let mut again = checkpoint.clone();
        again.go_on(7).unwrap();
        assert_eq!(again, checkpoint);
        again.go_on(8).unwrap();
        assert_eq!(
            (again.next_version.epoch(), again.next_version.seq(), again.numbering),
            (2, 1, 8)
        );
    }
}
