//! A run of the pipeline in which the reader is killed at random moments and at every stop point, and the writer now and
//! then; what both ways of delivery have in common.

use chaos::check::{in_flight, judge};
use chaos::drill::{CheckName, Delivery, Drill, FaultKind, Phases, TargetName};
use chaos::facts::Facts;
use chaos::history::{FaultEvent, FaultStep, History, Phase, PhaseBegun, ProcessChange, ProcessEvent, Record};
use chaos::pipeline::Role;
use chaos::rig::{Rig, Setup};
use chaos::verdict::{Finding, Verdict};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

/// The one that is killed, too.
const WRITER: Role = Role::Writer(TargetName::Redis);
/// The seed, if `MYSYNC_SEED` says no other.
const SEED: u64 = 20_261_125;
/// A reader lives so long before it is killed: hardly long enough to begin, or to be at work for a while. It takes about a
/// second to begin, and twice that on a busy machine.
const LIFE_MS: Range<u64> = 50..4_000;
/// And is dead so long.
const DEATH_MS: Range<u64> = 0..300;
/// With every so many kills of the reader the writer is killed too. The brokers let a new one into its group only when they
/// have given up the old one, after its session of 6 s.
const KILLS_A_WRITER: usize = 7;
/// Longest time until a writer is at work, its waiting for the group among it.
const AT_WORK_DEADLINE: Duration = Duration::from_secs(60);
/// Longest time until a reader under load comes to its stop point.
const STOP_POINT_DEADLINE: Duration = Duration::from_secs(30);
/// How often the binlog is rotated while a reader is to die at it.
const ROTATE_INTERVAL: Duration = Duration::from_millis(500);

/// The stop points, each with the time at which it is passed, so that the reader has done something before, and with how
/// long the library may go on delivering what it has.
const STOP_POINTS: [&str; 9] = [
    "fenced@1=die",
    "after-rotate@2=die",
    "mid-transaction@1=die:20",
    "between-records@3=die",
    "between-records@2=die:20",
    "after-send@9=die",
    "after-send@5=die:20",
    "before-checkpoint@5=die",
    "after-checkpoint@5=die",
];

/// Kills and judges. `MYSYNC_KILLS` says how many kills at random moments there are, if not so many as in a short run;
/// `MYSYNC_SEED` makes them others.
pub async fn kill_and_judge(name: &str, delivery: Delivery, kills_short: usize) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = number("MYSYNC_SEED").unwrap_or(SEED);
    let kills = number("MYSYNC_KILLS").map_or(kills_short, |kills| kills.try_into().unwrap());
    let drill = drill(name, delivery);
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let setup = Setup {
        drill: &drill,
        seed,
        folder: &folder,
        more_tables: &[],
    };
    let mut rig = Rig::set_up(setup).await.unwrap();
    let working = rig.bank.work();
    rig.recorder.append(&Record::Phase(PhaseBegun {
        at_us: rig.recorder.now_us(),
        phase: Phase::During,
    }));
    kill_at_random(&rig, kills, seed).await;
    kill_at_stop_points(&rig).await;
    rig.hold(Duration::from_secs(1)).await.unwrap();
    working.stop().await.unwrap();
    rig.settle().await.unwrap();
    rig.converge().await.unwrap();
    rig.tear_down(None).await.unwrap();

    let history = History::read(&folder).unwrap();
    let judgement = judge(&history, &folder).unwrap();
    say(name, seed, kills, &history, &judgement.findings);
    assert_eq!(judgement.verdict, Verdict::Consistent, "{:#?}", judgement.findings);
    let met = changes_in_flight_at_kills(&history);
    assert!(met > 0, "the kills met nothing in flight, so they proved nothing");
    assert_eq!(writers_killed_at_work(&history), kills / KILLS_A_WRITER);
    let at_stop_points = kills_of(&history).filter(|event| !event.detail.is_empty()).count();
    assert_eq!(at_stop_points, STOP_POINTS.len());
}

async fn kill_at_random(rig: &Rig, kills: usize, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    for kill in 1..=kills {
        let life = Duration::from_millis(random.random_range(LIFE_MS));
        rig.hold(life).await.unwrap();
        let victims = if kill % KILLS_A_WRITER == 0 {
            assert!(
                rig.rows[0].wait_for_change(AT_WORK_DEADLINE).await,
                "the writer applied nothing in {AT_WORK_DEADLINE:?}"
            );
            vec![Role::Reader, WRITER]
        } else {
            vec![Role::Reader]
        };
        for role in &victims {
            rig.pipeline.kill9(*role).await.unwrap();
        }
        rig.hold(Duration::from_millis(random.random_range(DEATH_MS)))
            .await
            .unwrap();
        for role in victims {
            rig.pipeline.start(role).unwrap();
        }
    }
}

async fn kill_at_stop_points(rig: &Rig) {
    rig.pipeline.kill9(Role::Reader).await.unwrap();
    for stop_point in STOP_POINTS {
        rig.pipeline.start_doomed(Role::Reader, stop_point).unwrap();
        let death = rig.pipeline.wait_for_death(Role::Reader, STOP_POINT_DEADLINE);
        let died = if stop_point.starts_with("after-rotate") {
            tokio::select! {
                died = death => died,
                () = rotate_for_ever(rig) => false,
            }
        } else {
            death.await
        };
        rig.pipeline.check().unwrap();
        assert!(
            died,
            "the reader did not come to {stop_point} in {STOP_POINT_DEADLINE:?}"
        );
    }
    rig.pipeline.start(Role::Reader).unwrap();
}

async fn rotate_for_ever(rig: &Rig) {
    loop {
        tokio::time::sleep(ROTATE_INTERVAL).await;
        rig.lab.primary().unwrap().sql("FLUSH BINARY LOGS").await.unwrap();
    }
}

fn drill(name: &str, delivery: Delivery) -> Drill {
    let mut drill = Drill::named("kill-partition-leader").unwrap();
    drill.name = name.into();
    drill.about = "SIGKILL of reader and writer at random moments and at stop points".into();
    drill.delivery = delivery;
    drill.lab.targets = vec![TargetName::Redis];
    drill.checks.push(CheckName::Backwards);
    if delivery == Delivery::Transactional {
        drill.checks.push(CheckName::Partial);
    }
    drill.faults.clear();
    drill.phases = Phases {
        before_seconds: 0,
        during_seconds: 0,
        after_seconds: 0,
    };
    drill
}

/// The figures, for the reader of `--nocapture`.
#[allow(clippy::print_stdout)]
fn say(name: &str, seed: u64, kills: usize, history: &History, findings: &[Finding]) {
    let stop_points = STOP_POINTS.len();
    println!("{name}: seed {seed}, {kills} kills of the reader at random moments, {stop_points} at stop points");
    println!(
        "  {} changes in flight at kills, {} of {} kills of the writer while it was at work",
        changes_in_flight_at_kills(history),
        writers_killed_at_work(history),
        kills_of(history).filter(|event| event.name == WRITER.name()).count()
    );
    for finding in findings {
        println!(
            "  {:12} {:12} {}",
            finding.verdict.word(),
            finding.check,
            finding.summary
        );
    }
}

fn changes_in_flight_at_kills(history: &History) -> u64 {
    let facts = Facts::of(history);
    kills_of(history)
        .map(|event| {
            let struck = FaultEvent {
                at_us: event.at_us,
                fault: FaultKind::KillPartitionLeader,
                step: FaultStep::Struck,
                detail: String::new(),
                target: None,
                topic: None,
                partition: None,
                broker: None,
            };
            in_flight::met(&facts, &struck).changes
        })
        .sum()
}

/// Those that had applied something in their lives.
fn writers_killed_at_work(history: &History) -> usize {
    let (mut at_work, mut started_us) = (0, 0);
    for event in history
        .process_events
        .iter()
        .filter(|event| event.name == WRITER.name())
    {
        let life_us = started_us..event.at_us;
        match event.what {
            ProcessChange::Started => started_us = event.at_us,
            ProcessChange::Killed => {
                at_work += usize::from(history.applied.iter().any(|applied| life_us.contains(&applied.at_us)));
            }
            _ => {}
        }
    }
    at_work
}

fn kills_of(history: &History) -> impl Iterator<Item = &ProcessEvent> {
    history
        .process_events
        .iter()
        .filter(|event| event.what == ProcessChange::Killed)
}
