//! Benchmarks: programs that time reader, dump and writers beside their floors and beside others, on servers of their own.
//!
//! What is compared is run in turns in one run, each in a process of its own, and told by the median: the machine's other
//! work then hits all alike. CPU seconds and ratios are steadier than seconds. Clients reach the servers at their addresses
//! in the lab's network, since the proxy of published ports takes CPU of its own.

mod backlog;
mod child;
pub mod cli;
mod dump;
mod floor;
mod ground;
mod latency;
mod reader;
mod report;
mod wide;
mod writer;
