//! The forms of messages, from recorded binlog events, without servers: compared with what Debezium's real engine made of
//! the same events, read by the published schema, and shown as snapshots.
//!
//! `messages_data` holds the events of one binlog file of MySQL 9.7 and the records that Debezium 3.6.1 (schemas off, its
//! defaults, include.query and provide.transaction.metadata on) published while they were written; without its headers
//! `__debezium.context.*`, which tell its runs apart.
//!
//! `messages_data/debezium-schemas.*` are the same with schemas embedded, as Debezium comes: the statements, the events of
//! MySQL 9.7's binlog, and what Debezium 3.6.1 published (ci/peers/debezium/record), of a snapshot and of the stream,
//! once by its defaults and once with column.propagate.source.type and replace.null.with.default=false. Each schema stands
//! once in the file, before the records that have it; the first line is what information_schema had.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "messages/columns.rs"]
mod columns;
#[path = "messages/debezium.rs"]
mod debezium;
#[path = "messages/embedded.rs"]
mod embedded;
#[path = "messages/embedded_strict.rs"]
mod embedded_strict;
#[path = "messages/every_type.rs"]
mod every_type;
#[path = "messages/random.rs"]
mod random;
#[path = "messages/recorded.rs"]
mod recorded;
#[path = "messages/records.rs"]
mod records;
#[path = "messages/schema.rs"]
mod schema;
