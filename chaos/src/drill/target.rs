//! The stores that a drill fills and checks.

use serde::{Deserialize, Serialize};

/// A store that is filled and checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TargetName {
    /// Redis, layout hash.
    #[default]
    Redis,
    /// Elasticsearch.
    Elasticsearch,
    /// HBase.
    Hbase,
}

impl TargetName {
    /// The word in a plan, in arguments of `mysync writer`, and for the checker.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            TargetName::Redis => "redis",
            TargetName::Elasticsearch => "elasticsearch",
            TargetName::Hbase => "hbase",
        }
    }

    /// Its name for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            TargetName::Redis => "Redis",
            TargetName::Elasticsearch => "Elasticsearch",
            TargetName::Hbase => "HBase",
        }
    }
}
