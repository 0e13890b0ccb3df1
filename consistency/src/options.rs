//! What is asked of one check, beside the configuration.

use std::path::PathBuf;

/// Findings in a report, unless another number is asked for.
pub const FINDINGS_MAX_DEFAULT: usize = 20;

/// How to run one check.
#[derive(Clone, Debug)]
pub struct Options {
    /// The stores to compare with; empty for every one that is configured.
    pub stores: Vec<StoreName>,
    /// Patterns `<database>.<table>`: only these of the configured tables; empty for all of them.
    pub tables: Vec<String>,
    /// Whether fences make sure that the pipeline has nothing in flight. They need an account that may write.
    pub fence: bool,
    /// Findings in the report at most.
    pub findings_max: usize,
    /// Where all findings are written, one JSON object a line.
    pub findings_file: Option<PathBuf>,
}

/// A store that can be compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum StoreName {
    /// `[writer.redis]`.
    Redis,
    /// `[writer.elasticsearch]`.
    Elasticsearch,
    /// `[writer.hbase]`.
    Hbase,
}

impl StoreName {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 3] = [Self::Redis, Self::Elasticsearch, Self::Hbase];

    /// The name in arguments and reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Elasticsearch => "elasticsearch",
            Self::Hbase => "hbase",
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            stores: Vec::new(),
            tables: Vec::new(),
            fence: true,
            findings_max: FINDINGS_MAX_DEFAULT,
            findings_file: None,
        }
    }
}
