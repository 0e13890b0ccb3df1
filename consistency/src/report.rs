//! What a check found, as data: serialised as it stands for `--json`, printed by `console.rs` for people.
//!
//! Each store has a part of its own, and the check's verdict is the gravest of theirs.
//!
//! Three verdicts. A check that observed nothing (no table, no row on either side, a fence that did not arrive) proves
//! nothing: it is `unknown`, never a pass.

use serde::{Serialize, Serializer};

/// The outcome of a check.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// What the check says: the gravest verdict of all stores.
    pub verdict: Verdict,
    /// How long it took.
    pub seconds: f64,
    /// What was found in each store that was compared with.
    pub stores: Vec<StoreReport>,
    /// `<database>.<table>.<column>` of masked columns whose values were not compared, for want of the salt.
    pub not_compared: Vec<String>,
}

/// What was found in one store.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StoreReport {
    /// The store: `redis`, `elasticsearch` or `hbase`.
    pub store: String,
    /// What the check says of this store.
    pub verdict: Verdict,
    /// Why the verdict is `unknown`.
    pub reason: Option<Reason>,
    /// How it was made sure that the pipeline had nothing in flight to this store.
    pub fence: FenceReport,
    /// The tables, in the order of their names.
    pub tables: Vec<TableReport>,
    /// The first findings.
    pub findings: Vec<Finding>,
    /// How many findings there were beyond those.
    pub findings_omitted: u64,
}

/// What a check says. The order is that of gravity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every row of MySQL is in the store, equal, and nothing else is.
    Consistent,
    /// Nothing was proven.
    Unknown,
    /// Some row is missing, too many, or different.
    Inconsistent,
}

impl Verdict {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Consistent => "consistent",
            Self::Unknown => "unknown",
            Self::Inconsistent => "inconsistent",
        }
    }

    /// The exit code of `mysync-check`.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Consistent => 0,
            Self::Inconsistent => 1,
            Self::Unknown => 2,
        }
    }
}

/// Why nothing was proven, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// What happened.
    pub what: String,
    /// What to do.
    pub hint: String,
}

/// How it was made sure that the pipeline had nothing in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct FenceReport {
    /// Whether fences were used at all; without them a difference may be lag.
    pub used: bool,
    /// How many arrived.
    pub passed: u32,
    /// The longest that one took.
    pub wait_seconds_max: f64,
}

/// A table's figures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TableReport {
    /// `<database>.<table>`.
    pub name: String,
    /// Rows read from MySQL.
    pub rows_mysql: u64,
    /// Keys of the table found in the store.
    pub rows_store: u64,
    /// Rows in MySQL that the store lacks.
    pub missing: u64,
    /// Rows in the store that MySQL lacks.
    pub extra: u64,
    /// Rows in both that differ.
    pub different: u64,
    /// Rows that kept changing until the time was up and were never seen equal.
    pub unsettled: u64,
    /// Rows in MySQL that the store lacks, where rows expire: nobody knows whether it has let them go or never had them.
    pub expired: u64,
}

impl TableReport {
    /// Rows that are missing, extra or different.
    pub fn findings(&self) -> u64 {
        self.missing + self.extra + self.different
    }
}

/// One row that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The store.
    pub store: String,
    /// In which way.
    pub kind: FindingKind,
    /// `<database>.<table>`.
    pub table: String,
    /// The key columns and their canonical texts, in key order; empty for a key that no row of the table can have.
    #[serde(serialize_with = "as_map")]
    pub key: Vec<(String, String)>,
    /// The key as the store spells it.
    pub store_key: String,
    /// The columns that differ; empty for a row that is missing or extra.
    pub columns: Vec<ColumnDifference>,
    /// What stands under the key in the store, where it is no row.
    pub unreadable: Option<String>,
}

/// In which way a row is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FindingKind {
    /// In MySQL, not in the store.
    Missing,
    /// In the store, not in MySQL.
    Extra,
    /// In both, with differing columns.
    Different,
}

impl FindingKind {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Different => "different",
        }
    }
}

/// A column with both of its values as canonical texts; none is NULL, or no such column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ColumnDifference {
    /// The column's name, or the name found in the store.
    pub name: String,
    /// What MySQL holds.
    pub mysql: Option<String>,
    /// What the store holds.
    pub store: Option<String>,
}

impl Report {
    /// The outcome of all stores together.
    pub(crate) fn of(stores: Vec<StoreReport>, not_compared: Vec<String>, seconds: f64) -> Self {
        let gravest = stores.iter().map(|store| store.verdict).max();
        Self {
            verdict: gravest.unwrap_or(Verdict::Unknown),
            seconds,
            stores,
            not_compared,
        }
    }

    /// The part of a store, by the store's name.
    pub fn store(&self, name: &str) -> Option<&StoreReport> {
        self.stores.iter().find(|store| store.store == name)
    }

    /// Rows that are missing, extra or different, of all tables and stores.
    pub fn findings_total(&self) -> u64 {
        self.stores.iter().map(StoreReport::findings_total).sum()
    }

    /// Rows read from MySQL, of all tables. Each was compared with every store that the fence had reached.
    pub fn rows_mysql(&self) -> u64 {
        self.stores.iter().map(StoreReport::rows_mysql).max().unwrap_or(0)
    }
}

impl StoreReport {
    /// A report that proves nothing, for the reason given.
    pub fn unknown(store: &str, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Unknown,
            reason: Some(Reason {
                what: what.into(),
                hint: hint.into(),
            }),
            store: store.to_owned(),
            fence: FenceReport::default(),
            tables: Vec::new(),
            findings: Vec::new(),
            findings_omitted: 0,
        }
    }

    /// Rows that are missing, extra or different, of all tables.
    pub fn findings_total(&self) -> u64 {
        self.tables.iter().map(TableReport::findings).sum()
    }

    /// Rows read from MySQL, of all tables.
    pub fn rows_mysql(&self) -> u64 {
        self.tables.iter().map(|table| table.rows_mysql).sum()
    }

    /// Rows found in the store, of all tables.
    pub fn rows_store(&self) -> u64 {
        self.tables.iter().map(|table| table.rows_store).sum()
    }

    /// Rows that the store lacks and may have let go, of all tables.
    pub fn expired(&self) -> u64 {
        self.tables.iter().map(|table| table.expired).sum()
    }

    /// Draws the verdict from the figures, unless a reason for `unknown` stands already. What was found stays found:
    /// a finding outweighs everything that was not seen.
    pub(crate) fn judge(&mut self) {
        let unsettled: u64 = self.tables.iter().map(|table| table.unsettled).sum();
        if self.reason.is_none() && self.rows_mysql() + self.rows_store() == 0 {
            self.reason = Some(Reason {
                what: "nothing observed: no row in any table, on either side".to_owned(),
                hint: "check tables that have rows".to_owned(),
            });
        }
        if self.reason.is_none() && self.rows_store() == 0 && self.expired() > 0 {
            self.reason = Some(Reason {
                what: format!(
                    "nothing observed: no row is in {}, which ttl_seconds allows",
                    self.store
                ),
                hint: "check when rows were written that have not expired yet".to_owned(),
            });
        }
        if self.reason.is_none() && unsettled > 0 {
            self.reason = Some(Reason {
                what: format!("rows that kept changing and were never seen equal: {unsettled}"),
                hint: "check when there are fewer writes, or raise settle_seconds_max in [check]".to_owned(),
            });
        }
        self.verdict = match (self.findings_total(), &self.reason) {
            (0, None) => Verdict::Consistent,
            (0, Some(_)) => Verdict::Unknown,
            _ => Verdict::Inconsistent,
        };
    }
}

fn as_map<S: Serializer>(pairs: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(name, value)| (name, value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(tables: Vec<TableReport>, reason: Option<Reason>) -> StoreReport {
        let mut report = StoreReport {
            tables,
            ..StoreReport::unknown("redis", "", "")
        };
        report.reason = reason;
        report.judge();
        report
    }

    #[test]
    fn a_verdict_needs_something_observed() {
        let seen = TableReport {
            rows_mysql: 1,
            rows_store: 1,
            ..TableReport::default()
        };
        assert_eq!(judged(vec![], None).verdict, Verdict::Unknown);
        assert_eq!(judged(vec![TableReport::default()], None).verdict, Verdict::Unknown);
        assert_eq!(
            judged(vec![seen.clone(), TableReport::default()], None).verdict,
            Verdict::Consistent
        );
        let moving = TableReport {
            unsettled: 1,
            ..seen.clone()
        };
        assert_eq!(judged(vec![moving], None).verdict, Verdict::Unknown);
        let expired = |rows_store| TableReport {
            rows_store,
            expired: 1,
            ..seen.clone()
        };
        assert_eq!(judged(vec![expired(0)], None).verdict, Verdict::Unknown);
        assert_eq!(judged(vec![expired(1)], None).verdict, Verdict::Consistent);
        let reason = Reason {
            what: "the fence did not arrive".into(),
            hint: "start the writer".into(),
        };
        assert_eq!(
            judged(vec![seen.clone()], Some(reason.clone())).verdict,
            Verdict::Unknown
        );
        let found = TableReport { missing: 1, ..seen };
        assert_eq!(judged(vec![found], Some(reason)).verdict, Verdict::Inconsistent);
    }

    #[test]
    fn the_gravest_store_decides() {
        let store = |verdict| StoreReport {
            verdict,
            ..StoreReport::unknown("redis", "", "")
        };
        let of = |verdicts: &[Verdict]| {
            let stores = verdicts.iter().map(|verdict| store(*verdict)).collect();
            Report::of(stores, Vec::new(), 0.0).verdict
        };
        use Verdict::{Consistent, Inconsistent, Unknown};
        assert_eq!(of(&[Consistent, Consistent]), Consistent);
        assert_eq!(of(&[Consistent, Unknown]), Unknown);
        assert_eq!(of(&[Inconsistent, Unknown, Consistent]), Inconsistent);
        assert_eq!(of(&[]), Unknown);
    }

    #[test]
    fn the_json_has_the_documented_members() {
        let mut report = judged(
            vec![TableReport {
                name: "bank.accounts".into(),
                rows_mysql: 1,
                rows_store: 1,
                different: 1,
                ..Default::default()
            }],
            None,
        );
        report.findings.push(Finding {
            store: "redis".into(),
            kind: FindingKind::Different,
            table: "bank.accounts".into(),
            key: vec![("id".into(), "7".into())],
            store_key: "bank:accounts:7".into(),
            columns: vec![ColumnDifference {
                name: "owner".into(),
                mysql: None,
                store: Some(String::new()),
            }],
            unreadable: None,
        });
        let other = StoreReport::unknown("hbase", "the fence did not arrive", "start the writer");
        insta::assert_json_snapshot!(Report::of(vec![report, other], Vec::new(), 0.0));
    }
}
