//! MySync keeps Redis, Elasticsearch and HBase equal to MySQL in real time.
//!
//! The way of a change, in reading order:
//!
//! 1. [`source`] streams the row binlog of a MySQL server,
//! 2. [`decode`] takes rows out of its events, with the [`schema`] where the binlog lacks it,
//! 3. [`encode`] gives them their message form,
//! 4. [`reader`] numbers them and publishes them, exactly once, with its [`checkpoint`],
//! 5. [`queue`] carries them through Kafka,
//! 6. [`writer`] applies them in order to a [`target`].
//!
//! [`metrics`] tells the outside how they are.
//!
//! The reader and the writer are written against three traits, [`source::Source`], [`queue::Queue`] and [`target::Target`].

pub mod checkpoint;
pub mod config;
pub mod decode;
pub mod encode;
pub mod error;
pub mod metrics;
pub mod queue;
pub mod reader;
pub mod schema;
pub mod source;
pub mod stop;
pub mod stop_point;
pub mod tables;
pub mod target;
mod tls;
pub mod usage;
pub mod version;
pub mod writer;
