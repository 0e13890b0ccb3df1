//! A client of HBase's Thrift2 gateway, for what writes and what checks.
//!
//! `hbase.thrift` beside this folder is a subset of the interface of the gateway's own jar. `src/hbase.rs` is what the Thrift
//! compiler 0.17.0 (Debian's package `thrift-compiler`) makes of it, unchanged:
//! ```text
//! thrift --gen rs -out src hbase.thrift
//! ```
//! The compiler writes a server's half too, which nobody uses. A method's optional arguments are always sent: an empty list or
//! an empty value stands for none.

#[allow(clippy::all, missing_docs)]
mod hbase;

pub use hbase::*;
pub use thrift;
