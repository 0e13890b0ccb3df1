//! A sample of the drills of the suite `switch`, which `ci/drills switch` runs whole: one with GTID, and one without in which
//! MySQL loses what was published.

#![allow(clippy::unwrap_used)]

use chaos::drill::Drill;
use chaos::run::{self, Request};
use chaos::verdict::Verdict;
use std::path::PathBuf;

const SEED: u64 = 20_261_125;

async fn drill(name: &str) {
    let mut drill = Drill::named(name).unwrap();
    drill.phases.before_seconds = 3;
    drill.phases.during_seconds = 5;
    drill.phases.after_seconds = 1;
    let run_folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let request = Request {
        drill,
        seed: SEED,
        run_folder,
    };
    let judgement = run::run(&request).await.unwrap();
    assert_eq!(
        judgement.verdict,
        Verdict::Consistent,
        "{name}: {:#?}",
        judgement.findings
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reader_follows_another_server_with_gtid() {
    drill("switch-gtid").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_mysql_loses_without_gtid_is_listed_and_taken_back() {
    drill("switch-lossy-anchor").await;
}
