//! Drills: a lab, a workload, faults, and checks that give a verdict.
//!
//! A run goes through these modules, in reading order:
//!
//! 1. [`drill`] is the plan, one value that is stored and run again,
//! 2. [`rig`] sets up the lab with the [`pipeline`] (the real binaries), the [`workload`] and what [`observe`]s each hop,
//! 3. [`run`] goes through the phases while a [`fault`] strikes and is cured,
//! 4. everybody writes to the [`history`], and nobody judges,
//! 5. [`facts`], [`check`] and [`figures`] read it afterwards and give a [`verdict`],
//! 6. [`report`] shows it; a [`suite`] is several drills, one after the other.
//!
//! [`bench`] stands beside: it times instead of breaking.
//!
//! Nothing observed, a fault that met nothing in flight, and a run that was stopped are `unknown`, never a pass.
//!
//! Architecture invariants: only [`fault`] breaks things; only [`report`] formats for people; the checks need no server;
//! the reader and the writer are run as binaries and not as code, and rows are compared by `consistency` alone.

pub mod bench;
pub mod check;
pub mod cli;
pub mod drill;
pub mod error;
pub mod facts;
pub mod fault;
pub mod figures;
pub mod history;
pub mod observe;
pub mod pipeline;
pub mod proxy;
pub mod report;
pub mod rig;
pub mod run;
pub mod suite;
pub mod verdict;
pub mod workload;
