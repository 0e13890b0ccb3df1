//! Compares MySQL rows with the stores that the pipeline fills, and says what differs.
//!
//! The checker is built to disagree with the pipeline: it shares no code with the reader and the writers, reads MySQL
//! as the text that the server prints, and has its own reading of the canonical form and of the key template.
//!
//! ```no_run
//! # async fn example() -> Result<(), consistency::Error> {
//! use consistency::{Config, Options, Silent, Verdict, check};
//!
//! let config = Config::load("mysync.toml".as_ref())?;
//! let report = check(&config, &Options::default(), &Silent).await?;
//! assert_eq!(report.verdict, Verdict::Consistent);
//! # Ok(())
//! # }
//! ```
//!
//! In reading order: `check.rs` is the protocol, `compare.rs` one row, `canonical.rs` one value, `mysql.rs` and
//! `store.rs` the two sides, `fence.rs` the marker between them, `report.rs` the outcome.
//!
//! Errors are a configuration that does not fit (the person who checks repairs it) or a server that fails (the person
//! who runs it does). That nothing could be proven is no error but the verdict `unknown`.
//!
//! Architecture invariants: nothing here depends on `mysync`; no table is ever held whole; only `console` formats for
//! people; secrets have no text form.

mod canonical;
mod check;
pub mod cli;
mod compare;
mod config;
pub mod console;
mod error;
mod fence;
mod findings;
mod fingerprints;
mod mask;
mod mysql;
mod options;
mod pattern;
mod progress;
mod report;
mod store;
mod table;

pub use canonical::{Kind, Text, canonical};
pub use check::check;
pub use config::tls::{Mode, Tls};
pub use config::{
    Address, Check, Config, Elasticsearch, Hbase, Layout, Login, Protocol, Redis, Secret, Source, Transport,
};
pub use error::{Error, ErrorKind};
pub use mask::{ColumnRules, Mask, MaskRule, Rule};
pub use options::{Options, StoreName};
pub use pattern::{ColumnPattern, Pattern};
pub use progress::{Event, Progress, Silent};
pub use report::{
    ColumnDifference, FenceReport, Finding, FindingKind, Reason, Report, StoreReport, TableReport, Verdict,
};
pub use store::name_template::{Alphabet, NameTemplate};
pub use store::redis::KeyTemplate;
