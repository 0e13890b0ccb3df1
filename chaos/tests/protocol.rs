//! The protocol of checkpoint, anchor, switch and leader change, explored exhaustively within bounds: no order of steps loses a
//! change, publishes one twice or out of order, or leaves a row in the store that the surviving primary does not have. And each
//! mistake that the protocol avoids is planted once: the checker must find the harm that it does.
//!
//! # What is modelled
//! - **MySQL**: servers with a log of transactions, each of rows or of an anchor. A replica has a beginning of its primary's log;
//!   when it is promoted, clients go on there. The old primary still serves whoever is connected to it, and takes their anchors.
//!   It may follow the new one and be promoted again; a server may have purged the beginning of its binlogs, or come back as an
//!   older state of itself. Servers put the rows of a transaction into events differently.
//! - **Readers**: two. One opens a session (fences the other, finds checkpoint and position, commits a first checkpoint), reads
//!   transaction by transaction, commits what it has read with the checkpoint, writes anchors and notes those that it reads,
//!   and reads rows back that a lossy switch left over. It may fail at any time, or be replaced without noticing it and go on
//!   (paused, cut off). Who leads is no part of the model: any reader may open at any time, so nothing rests on the election.
//! - **Kafka**: a log of records, and the last checkpoint. Transactional: both move in one step, and a fenced reader's step is
//!   refused. Sequenced: records go out one by one, a fenced reader's too, and the checkpoint follows; consumers drop what is
//!   not above the highest version that they have seen. The topic is compacted: who looks for rows finds each key's last record.
//! - **Consumers**: the store is what the records make it; what was told to be lost is taken out of what counts as published.
//!
//! # What is abstracted
//! - There is one partition, one table and two keys, and a handful of transactions; `model::Bounds` says how often each thing
//!   happens. Within those bounds every order is looked at.
//! - A commit whose answer is lost is a commit after which the reader fails. One that is aborted is a failure before it.
//! - Replication is the choice of how much of the log a promoted server has; a dead primary is one that nobody reads from.
//! - The running hash is the compared contents themselves: two that differ are taken never to agree.
//! - To find the position is one step. What it reads does not change under it: the checkpoint's owner is fenced, and logs only grow.
//! - A primary that comes back as an older state of itself is not modelled with GTID or in sequenced delivery, which both cannot
//!   notice it: MySQL has to be durable there (`sync_binlog = 1`).
//!
//! How a transactional publisher takes turns over several transactional ids is a model of its own: `lanes`.
//!
//! A counterexample is printed as the steps that lead to it, the shortest there is: `cargo test -p chaos --test protocol -- --nocapture`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "protocol/right.rs"]
mod right;

#[path = "protocol/mistakes.rs"]
mod mistakes;

#[path = "protocol/lanes.rs"]
mod lanes;

#[path = "protocol/mistake.rs"]
mod mistake;

#[path = "protocol/model.rs"]
mod model;

#[path = "protocol/action.rs"]
mod action;

#[path = "protocol/mysql.rs"]
mod mysql;

#[path = "protocol/kafka.rs"]
mod kafka;

#[path = "protocol/session.rs"]
mod session;

#[path = "protocol/locate.rs"]
mod locate;

#[path = "protocol/judge.rs"]
mod judge;

#[path = "protocol/check.rs"]
mod check;

#[path = "protocol/tell.rs"]
mod tell;
