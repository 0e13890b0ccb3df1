//! All three brokers killed and started again: the pipeline goes on by itself. Redis killed and started: likewise.

#![allow(clippy::unwrap_used)]

use chaos::check::judge;
use chaos::drill::{Drill, Phases, TargetName};
use chaos::history::History;
use chaos::rig::{Rig, Setup};
use chaos::verdict::Verdict;
use std::path::PathBuf;
use std::time::Duration;

const SEED: u64 = 4;
/// How long a server is away.
const AWAY: Duration = Duration::from_secs(4);
/// How long the workload goes on between two outages.
const BETWEEN: Duration = Duration::from_secs(3);
/// Longest time until changes come through again.
const RECOVERY_DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn the_pipeline_goes_on_by_itself_after_all_brokers_and_after_redis_were_killed() {
    let drill = drill();
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("outage-{}", std::process::id()));
    let mut rig = Rig::set_up(Setup {
        drill: &drill,
        seed: SEED,
        folder: &folder,
        more_tables: &[],
    })
    .await
    .unwrap();
    let working = rig.bank.work();
    rig.hold(BETWEEN).await.unwrap();

    rig.lab.kafka().unwrap().kill_all().await.unwrap();
    rig.hold(AWAY).await.unwrap();
    rig.lab.kafka().unwrap().start_all().await.unwrap();
    let number = rig.bank.pulse(true).await.unwrap();
    assert!(
        rig.topics.wait_for_pulse(number, RECOVERY_DEADLINE).await,
        "no change came through after the brokers' return"
    );
    rig.hold(BETWEEN).await.unwrap();

    rig.lab.redis().unwrap().kill().await.unwrap();
    rig.hold(AWAY).await.unwrap();
    rig.lab.redis().unwrap().start().await.unwrap();
    rig.hold(BETWEEN).await.unwrap();

    working.stop().await.unwrap();
    rig.settle().await.unwrap();
    rig.converge().await.unwrap();
    rig.tear_down(None).await.unwrap();
    let judgement = judge(&History::read(&folder).unwrap(), &folder).unwrap();
    assert_eq!(judgement.verdict, Verdict::Consistent, "{:#?}", judgement.findings);
}

fn drill() -> Drill {
    let mut drill = Drill::named("kill-partition-leader").unwrap();
    drill.name = "outage".into();
    drill.about = "all brokers, then Redis, killed and started again".into();
    drill.lab.targets = vec![TargetName::Redis];
    drill.faults.clear();
    drill.phases = Phases {
        before_seconds: 0,
        during_seconds: 0,
        after_seconds: 0,
    };
    drill
}
