//! `kill -9` of the reader and of the writer at any time, and restart: nothing lost, nothing twice in the topics for a
//! read-committed consumer, Redis equal to MySQL.

#![allow(clippy::unwrap_used)]

use chaos::check::{in_flight, judge};
use chaos::drill::{Drill, FaultKind, Phases};
use chaos::facts::Facts;
use chaos::history::{FaultEvent, FaultStep, History, Phase, PhaseBegun, ProcessChange, ProcessEvent, Record};
use chaos::pipeline::Role;
use chaos::rig::{Rig, Setup};
use chaos::verdict::Verdict;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::path::PathBuf;
use std::time::Duration;

const SEED: u64 = 20_261_125;
const KILLS: usize = 12;
/// A process lives so long before it is killed, by turns: hardly long enough to begin, and long enough to be at work. The
/// brokers let a writer into its group only when they have given up the one that was killed, after its session of 6 s.
const SHORT_LIFE_MS: std::ops::Range<u64> = 50..1_500;
const LONG_LIFE_MS: std::ops::Range<u64> = 7_000..9_000;
/// And is dead so long.
const DEATH_MS: std::ops::Range<u64> = 0..500;
/// A writer that applied something so shortly before its end was at work.
const AT_WORK_US: u64 = 1_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn reader_and_writer_survive_kill_nine_at_any_moment() {
    let drill = drill();
    let folder = folder("kill-nine");
    let mut rig = Rig::set_up(Setup {
        drill: &drill,
        seed: SEED,
        folder: &folder,
        more_tables: &[],
    })
    .await
    .unwrap();
    let working = rig.bank.work();
    rig.recorder.append(&Record::Phase(PhaseBegun {
        at_us: rig.recorder.now_us(),
        phase: Phase::During,
    }));
    let mut random = StdRng::seed_from_u64(SEED);
    for kill in 0..KILLS {
        let life_ms = if kill % 2 == 0 { SHORT_LIFE_MS } else { LONG_LIFE_MS };
        rig.hold(Duration::from_millis(random.random_range(life_ms)))
            .await
            .unwrap();
        let victims: &[Role] = [&[Role::Reader][..], &[Role::Writer], &Role::ALL]
            .choose(&mut random)
            .unwrap();
        for role in victims {
            rig.pipeline.kill9(*role).await.unwrap();
        }
        rig.hold(Duration::from_millis(random.random_range(DEATH_MS)))
            .await
            .unwrap();
        for role in victims {
            rig.pipeline.start(*role).unwrap();
        }
    }
    rig.hold(Duration::from_secs(2)).await.unwrap();
    working.stop().await.unwrap();
    rig.settle().await.unwrap();
    rig.converge().await.unwrap();
    rig.tear_down(None).await.unwrap();

    let history = History::read(&folder).unwrap();
    let judgement = judge(&history, &folder).unwrap();
    assert_eq!(judgement.verdict, Verdict::Consistent, "{:#?}", judgement.findings);
    let met = changes_in_flight_at_kills(&history);
    assert!(met > 0, "the kills met nothing in flight, so they proved nothing");
    assert!(
        writers_killed_at_work(&history) > 0,
        "no writer was at work when it was killed"
    );
}

fn drill() -> Drill {
    let mut drill = Drill::named("kill-partition-leader").unwrap();
    drill.name = "kill-nine".into();
    drill.about = "SIGKILL of reader and writer at random moments".into();
    drill.faults.clear();
    drill.phases = Phases {
        before_seconds: 0,
        during_seconds: 0,
        after_seconds: 0,
    };
    drill
}

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()))
}

fn changes_in_flight_at_kills(history: &History) -> u64 {
    let facts = Facts::of(history);
    let kills = history
        .process_events
        .iter()
        .filter(|event| event.what == ProcessChange::Killed);
    kills
        .map(|event| {
            let struck = FaultEvent {
                at_us: event.at_us,
                fault: FaultKind::KillPartitionLeader,
                step: FaultStep::Struck,
                detail: String::new(),
                topic: None,
                partition: None,
                broker: None,
            };
            in_flight::met(&facts, &struck).changes
        })
        .sum()
}

fn writers_killed_at_work(history: &History) -> usize {
    let applied_before = |end_us: u64| {
        history
            .applied
            .iter()
            .any(|applied| (end_us.saturating_sub(AT_WORK_US)..end_us).contains(&applied.at_us))
    };
    kills(history)
        .filter(|event| event.name == Role::Writer.name() && applied_before(event.at_us))
        .count()
}

fn kills(history: &History) -> impl Iterator<Item = &ProcessEvent> {
    history
        .process_events
        .iter()
        .filter(|event| event.what == ProcessChange::Killed)
}
