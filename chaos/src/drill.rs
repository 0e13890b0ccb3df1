//! A drill is one value: a lab, a workload, phases, faults, checks and limits.
//!
//! It is written as TOML, stored in every run folder, printed by `mysync-drill show`, and run again from either. Unknown
//! keys are refused, so that a misspelt limit is an error and never a limit that does not hold.

mod embedded;
mod fault;
mod target;

pub use fault::{FaultKind, FaultPlan};
pub use target::TargetName;

use crate::error::{Error, Result};
use embedded::EMBEDDED;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Name of the file in the run folder.
pub const FILE_NAME: &str = "drill.toml";

/// Longest phase, seconds: a drill ends.
const PHASE_SECONDS_MAX: u64 = 24 * 3600;
/// Most clients of a workload: each is one connection and one task.
const CLIENTS_MAX: u32 = 256;
/// Most readers: they share what the machine has.
const READERS_MAX: usize = 2;
/// Most accounts of the bank.
const ACCOUNTS_MAX: u32 = 1_000_000;

/// A lab + a workload + a schedule of faults + checks + limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drill {
    /// Its name, as on the command line.
    pub name: String,
    /// One line for people.
    pub about: String,
    /// The suite in which it is run, with others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
    /// What is judged, besides what is always judged (did the fault meet something in flight, the limits).
    pub checks: Vec<CheckName>,
    /// How the reader delivers.
    #[serde(default, skip_serializing_if = "Delivery::is_transactional")]
    pub delivery: Delivery,
    /// The servers.
    pub lab: LabPlan,
    /// What writes to MySQL.
    pub workload: WorkloadPlan,
    /// How long it goes on.
    pub phases: Phases,
    /// What is broken on purpose, and when.
    #[serde(default)]
    pub faults: Vec<FaultPlan>,
    /// What the faults must bring about.
    #[serde(default, skip_serializing_if = "Expects::is_nothing")]
    pub expects: Expects,
    /// What is still all right.
    pub limits: Limits,
}

/// How the reader delivers changes, `reader.delivery` of its configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// In Kafka transactions: nothing is seen twice.
    #[default]
    Transactional,
    /// At once: after a crash the last changes come again as they were.
    Sequenced,
}

impl Delivery {
    /// The word in the configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Delivery::Transactional => "transactional",
            Delivery::Sequenced => "sequenced",
        }
    }

    fn is_transactional(&self) -> bool {
        *self == Delivery::Transactional
    }
}

/// The servers of a drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabPlan {
    /// Version of MySQL, e.g. `8.0`.
    pub mysql: String,
    /// Further versions on which the suite runs it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_mysql: Vec<String>,
    /// Replicas of the primary.
    pub replicas: usize,
    /// Whether the servers run with GTIDs.
    pub gtid: bool,
    /// Whether a primary acknowledges only what a replica has received.
    #[serde(default, skip_serializing_if = "is_false")]
    pub semi_sync: bool,
    /// Whether the reader comes to MySQL through proxies, which a fault can block.
    #[serde(default, skip_serializing_if = "is_false")]
    pub proxies: bool,
    /// Readers; more than one share a name, and one of them leads.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub readers: usize,
    /// Kafka brokers.
    pub brokers: usize,
    /// The stores that are filled.
    pub targets: Vec<TargetName>,
}

/// What writes to MySQL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadPlan {
    /// Which workload.
    pub kind: WorkloadKind,
    /// Accounts that money is moved between.
    pub accounts: u32,
    /// Connections that write at the same time.
    pub clients: u32,
    /// Transactions a second of all clients together.
    pub transfers_per_second: Rate,
}

/// The workloads that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkloadKind {
    /// Money moved between accounts.
    Bank,
}

/// A number a second, or as many as the server takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Rate {
    /// This many a second.
    PerSecond(u32),
    /// The word `max`.
    Max(Max),
}

/// The word `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Max {
    /// As many as the server takes.
    Max,
}

/// How long the workload goes on, seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phases {
    /// All is well.
    pub before_seconds: u64,
    /// Faults strike and are cured.
    pub during_seconds: u64,
    /// All is well again.
    pub after_seconds: u64,
}

/// The checks that a drill can ask for, one file each in `check/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckName {
    /// Every acknowledged change that MySQL has kept has its record.
    Lost,
    /// What MySQL itself lost after it was published is listed, and nothing else.
    LostByMysql,
    /// No change has two; in sequenced delivery only as further copies.
    Duplicate,
    /// Versions rise and have no gaps.
    OutOfOrder,
    /// No transaction is seen in part; for transactional delivery.
    Partial,
    /// No row of the target is set back to what it was before; for targets that are not broken.
    Backwards,
    /// No record stands for a change that nobody made.
    Phantom,
    /// The sum of all balances is what it was.
    Conserved,
    /// Every row of the target equals MySQL's.
    Convergence,
}

/// What the faults must bring about. A drill without it expects that all goes on, and that MySQL loses nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expects {
    /// The reader stops by itself, with an error that has all these words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// MySQL loses changes that were acknowledged and published.
    #[serde(skip_serializing_if = "is_false")]
    pub lost_by_mysql: bool,
}

impl Expects {
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde wants it so
fn is_false(value: &bool) -> bool {
    !value
}

fn one() -> usize {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde wants it so
fn is_one(value: &usize) -> bool {
    *value == 1
}

/// What is still all right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Acknowledged changes without a record.
    pub lost_max: u64,
    /// Changes with more than one.
    pub duplicates_max: u64,
    /// Versions that fall, break real-time order, or are missing.
    pub out_of_order_max: u64,
    /// From the fault until a change acknowledged after it was visible, each hop, seconds.
    pub recovery_seconds_max: u64,
    /// Peak resident memory of the reader and of the writer, each, MB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resident_mb_max: Option<u64>,
}

impl Drill {
    /// The drill of this name that the binary carries.
    pub fn named(name: &str) -> Result<Self> {
        let (_, text) = EMBEDDED.iter().find(|(known, _)| *known == name).ok_or_else(|| {
            Error::configuration(format!("no drill has the name {name}"))
                .hint("mysync-drill list shows them; --file takes one of your own")
        })?;
        Self::parse(text, name)
    }

    /// The same on another version of MySQL.
    #[must_use]
    pub fn on_mysql(mut self, version: &str) -> Self {
        self.lab.mysql = version.into();
        self
    }

    /// All drills that the binary carries.
    pub fn all() -> Result<Vec<Self>> {
        EMBEDDED.iter().map(|(name, text)| Self::parse(text, name)).collect()
    }

    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::configuration(format!("the drill cannot be read: {}", path.display()))
                .detail(error)
                .hint("give the path of a TOML file; mysync-drill show kill-partition-leader prints one to start from")
        })?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Reads a text; `place` names it in errors.
    pub fn parse(text: &str, place: &str) -> Result<Self> {
        let drill: Drill = toml::from_str(text).map_err(|error| {
            Error::configuration(format!("the drill is not understood: {place}"))
                .detail(error.to_string().trim_end().replace('\n', "\n  "))
                .hint("mysync-drill show kill-partition-leader prints one with every key")
        })?;
        drill.validate(place)?;
        Ok(drill)
    }

    /// The text that [`Drill::parse`] reads back.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|error| Error::definite("the drill cannot be written as TOML").detail(error))
    }

    fn validate(&self, place: &str) -> Result<()> {
        let refuse = |key: &str, expected: String| {
            Err(
                Error::configuration(format!("the drill {place} has a wrong value: {key}"))
                    .hint(format!("expected {expected}")),
            )
        };
        let Phases {
            before_seconds,
            during_seconds,
            after_seconds,
        } = self.phases;
        if [before_seconds, during_seconds, after_seconds]
            .into_iter()
            .any(|seconds| seconds > PHASE_SECONDS_MAX)
        {
            return refuse("phases", format!("at most {PHASE_SECONDS_MAX} seconds each"));
        }
        if !(1..=CLIENTS_MAX).contains(&self.workload.clients) {
            return refuse("workload.clients", format!("1 to {CLIENTS_MAX}"));
        }
        if !(2..=ACCOUNTS_MAX).contains(&self.workload.accounts) {
            return refuse("workload.accounts", format!("2 to {ACCOUNTS_MAX}"));
        }
        if self.workload.transfers_per_second == Rate::PerSecond(0) {
            return refuse("workload.transfers_per_second", "1 or more, or \"max\"".into());
        }
        let mut targets = self.lab.targets.clone();
        targets.sort_unstable();
        targets.dedup();
        if targets.is_empty() || targets.len() < self.lab.targets.len() {
            return refuse("lab.targets", "at least [\"redis\"], and none twice".into());
        }
        if !(1..=READERS_MAX).contains(&self.lab.readers) {
            return refuse("lab.readers", format!("1 to {READERS_MAX}"));
        }
        if self.faults.first().is_some_and(|fault| fault.after_the_one_above) {
            return refuse("faults.after_the_one_above", "not in the first fault".into());
        }
        for fault in &self.faults {
            if fault.kind.needs_replica() && self.lab.replicas == 0 {
                return refuse("lab.replicas", format!("1 or more, for {}", fault.kind.word()));
            }
            if fault.kind.needs_proxies() && !self.lab.proxies {
                return refuse("lab.proxies", format!("true, for {}", fault.kind.word()));
            }
            if fault.kind.needs_target() != fault.target.is_some() {
                let expected = match fault.target {
                    None => format!("one of lab.targets, for {}", fault.kind.word()),
                    Some(_) => format!("none, for {}", fault.kind.word()),
                };
                return refuse("faults.target", expected);
            }
            if fault.target.is_some_and(|target| !targets.contains(&target)) {
                return refuse("faults.target", "one of lab.targets".into());
            }
            if fault.kind.needs_second_reader() && self.lab.readers < 2 {
                return refuse("lab.readers", format!("2, for {}", fault.kind.word()));
            }
            if fault.cure_at_seconds <= fault.at_seconds || fault.cure_at_seconds > during_seconds {
                return refuse(
                    "faults.cure_at_seconds",
                    format!("more than at_seconds and at most the {during_seconds} seconds of the phase during"),
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_drill_parses_under_its_own_name_and_reads_back_from_its_text() {
        for (name, text) in EMBEDDED {
            let drill = Drill::parse(text, name).unwrap();
            assert_eq!(drill.name, name);
            assert_eq!(Drill::parse(&drill.to_toml().unwrap(), "again").unwrap(), drill);
        }
    }

    #[test]
    fn refusals_name_the_key_and_what_is_expected() {
        let good = include_str!("../drills/kill-partition-leader.toml");
        let cases = [
            ("lost_max = 0", "lost_maximum = 0"),
            ("clients = 4", "clients = 0"),
            ("accounts = 1000", "accounts = 1"),
            ("transfers_per_second = 200", "transfers_per_second = \"some\""),
            ("transfers_per_second = 200", "transfers_per_second = 0"),
            ("cure_at_seconds = 12", "cure_at_seconds = 21"),
            (
                "cure_at_seconds = 12",
                "cure_at_seconds = 12\nafter_the_one_above = true",
            ),
            ("targets = [\"redis\", \"elasticsearch\", \"hbase\"]", "targets = []"),
            (
                "targets = [\"redis\", \"elasticsearch\", \"hbase\"]",
                "targets = [\"redis\", \"redis\"]",
            ),
            ("\"phantom\"", "\"ghost\""),
            ("kind = \"kill-partition-leader\"", "kind = \"kill-primary\""),
            ("kind = \"kill-partition-leader\"", "kind = \"kill-target\""),
            (
                "kind = \"kill-partition-leader\"",
                "kind = \"kill-partition-leader\"\ntarget = \"redis\"",
            ),
            ("replicas = 0", "replicas = 0\nreaders = 3"),
        ];
        let refusals = cases.map(|(old, new)| {
            let broken = good.replacen(old, new, 1);
            assert_ne!(broken, good, "{old} is not in the drill");
            Drill::parse(&broken, "drill.toml").unwrap_err().to_string()
        });
        insta::assert_snapshot!(refusals.join("\n\n"));
    }

    #[test]
    fn an_unknown_name_says_how_to_find_the_known_ones() {
        assert!(
            Drill::named("nothing")
                .unwrap_err()
                .to_string()
                .contains("mysync-drill list")
        );
    }
}
