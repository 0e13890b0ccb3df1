//! Refreshes of a whole table against a model of a server whose rows change meanwhile, with and without a trace in the binlog, and of
//! a queue that fails: whatever happens and whenever, consumers end with the rows that the server has, and each change of the stream
//! comes once, in order.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "refresh_model/binlog.rs"]
mod binlog;
#[path = "refresh_model/queue.rs"]
mod queue;
#[path = "refresh_model/server.rs"]
mod server;

use mysync::config::{Config, OnCascade, OnDdl, OnGap, OnLost, Start};
use mysync::encode::Form;
use mysync::error::{Error, Result};
use mysync::reader::{self, Options, Summary};
use mysync::stop;
use mysync::tables::TableFilter;
use proptest::prelude::*;
use queue::{Fault, MemoryQueue, Seen};
use server::{Memory, READER, State, Step};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A reader that is not done after so long, of the paused clock, waits for something that never comes.
const HANGS_AFTER: Duration = Duration::from_secs(3_600);

fn options(config: &Config, is_sequenced: bool) -> Options {
    Options {
        form: Form::new(config),
        commit_interval: Duration::from_millis(50),
        commit_changes_max: 3,
        catching_up_factor: if is_sequenced { 1 } else { 4 },
        start: Start::Oldest,
        on_ddl: OnDdl::Refresh,
        on_cascade: OnCascade::Refuse,
        allow_unsafe: false,
        on_lost: OnLost::Refresh,
        on_gap: OnGap::Stop,
        dump_tables_max: 2,
        is_sequenced,
        until_caught_up: true,
        takes_pieces: !is_sequenced,
        numbering: 1,
        heartbeat_name: READER.into(),
        metrics: Arc::default(),
    }
}

/// Runs the reader until it has caught up with what there was when it began, and has no refresh left.
fn read(source: &mut Memory, queue: &MemoryQueue, is_sequenced: bool) -> Result<Summary> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_env("MYSYNC_LOG"))
        .try_init()
        .ok();
    let text = mysync::config::TEMPLATE.replace("password_env = \"MYSYNC_MYSQL_PASSWORD\"", "password = \"x\"");
    let config = mysync::config::parse(&text, "test").unwrap();
    let filter = TableFilter::new(&config);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let (_sender, stop) = stop::channel();
    let options = options(&config, is_sequenced);
    runtime.block_on(async {
        let keys = BTreeMap::new();
        let reading = reader::run(source, queue, &filter, &keys, &options, stop);
        match tokio::time::timeout(HANGS_AFTER, reading).await {
            Ok(read) => read,
            Err(_) => Err(Error::definite("the reader hangs")),
        }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let id = || 0..24_i32;
    prop_oneof![
        6 => (id(), 0..1_000_i32).prop_map(|(id, v)| Step::Put(id, v)),
        3 => id().prop_map(Step::Delete),
        2 => (id(), id()).prop_map(|(from, to)| Step::Move(from, to)),
        1 => (id(), 0..1_000_i32).prop_map(|(id, v)| Step::PutMany(id, v)),
        1 => Just(Step::Truncate),
        2 => (id(), prop::option::of(0..1_000_i32)).prop_map(|(id, v)| Step::Unseen(id, v)),
        2 => Just(Step::Dump),
        1 => Just(Step::DumpNone),
    ]
}

/// What a consumer has that passes over everything that is not above the highest version it has seen.
fn state(seen: &[Seen]) -> BTreeMap<i32, i32> {
    let (mut rows, mut highest) = (BTreeMap::new(), None);
    for record in seen {
        if Some(record.version) < highest {
            continue;
        }
        highest = Some(record.version);
        match record.row {
            Some(v) => drop(rows.insert(record.id, v)),
            None => drop(rows.remove(&record.id)),
        }
    }
    rows
}

/// The last record of each key, as compaction leaves it.
fn compacted(seen: &[Seen]) -> BTreeMap<i32, i32> {
    let last: BTreeMap<i32, Option<i32>> = seen.iter().map(|record| (record.id, record.row)).collect();
    last.into_iter().filter_map(|(id, row)| Some((id, row?))).collect()
}

/// The stream's own changes.
fn changes(seen: &[Seen]) -> Vec<(i32, Option<i32>)> {
    let own = seen.iter().filter(|record| !record.is_refresh && !record.is_tombstone);
    own.map(|record| (record.id, record.row)).collect()
}

fn check(script: &[Step], busy: u32, rows_max: usize, is_sequenced: bool, faults: &Faults) -> MemoryQueue {
    let mut script = script.to_vec();
    // What was changed unseen is only found by a dump that begins afterwards.
    script.push(Step::Dump);
    let server = Arc::new(Mutex::new(State::new(&script, busy, &faults.reads)));
    let queue = MemoryQueue::new(&faults.commits, is_sequenced);
    let mut source = Memory::new(&server, &faults.source, rows_max);
    let mut is_over = false;
    while !is_over {
        is_over = !work(&server);
        read(&mut source, &queue, is_sequenced).unwrap();
    }
    // What came last is behind the end that the last reader knew.
    read(&mut source, &queue, is_sequenced).unwrap();
    let (world, server) = (queue.world(), server.lock().unwrap());
    assert_eq!(state(&world.seen), server.rows, "what a consumer has");
    assert_eq!(compacted(&world.seen), server.rows, "what compaction leaves");
    assert_eq!(world.checkpoints.last().unwrap().refreshes, 0);
    if !is_sequenced {
        assert!(world.seen.is_sorted_by(|one, other| one.version <= other.version));
        assert_eq!(changes(&world.seen), server.changes, "the stream's changes");
    }
    drop((world, server));
    queue
}

/// Steps that clients make while no reader runs; false if there were none left.
fn work(server: &Mutex<State>) -> bool {
    const STEPS: usize = 10;
    let mut server = server.lock().unwrap();
    (0..STEPS).fold(false, |any, _| server.step() || any)
}

#[derive(Debug, Clone, Default)]
struct Faults {
    commits: Vec<(usize, Fault)>,
    source: Vec<usize>,
    reads: Vec<usize>,
}

fn faults() -> impl Strategy<Value = Faults> {
    let commit = (0..40_usize, prop_oneof![Just(Fault::Aborted), Just(Fault::AnswerLost)]);
    (
        prop::collection::vec(commit, 0..8),
        prop::collection::vec(0..150_usize, 0..6),
        prop::collection::vec(1..20_usize, 0..4),
    )
        .prop_map(|(commits, source, reads)| Faults { commits, source, reads })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn consumers_end_with_the_servers_rows(
        script in prop::collection::vec(step(), 1..60),
        busy in 0..=10_u32,
        rows_max in 1..6_usize,
        is_sequenced in any::<bool>(),
        faults in faults(),
    ) {
        check(&script, busy, rows_max, is_sequenced, &faults);
    }
}

/// Every place at which a dump can be cut short, one after the other.
#[test]
fn a_dump_goes_on_at_every_point() {
    let mut script: Vec<Step> = (0..12).map(|id| Step::Put(id, id)).collect();
    script.extend([
        Step::Unseen(3, None),
        Step::Unseen(20, Some(5)),
        Step::Unseen(7, Some(70)),
    ]);
    script.push(Step::Dump);
    script.extend([Step::Put(4, 44), Step::Delete(9), Step::Move(1, 30), Step::Put(31, 1)]);
    for is_sequenced in [false, true] {
        for at in 0..60 {
            for kind in [Fault::Aborted, Fault::AnswerLost] {
                let faults = Faults {
                    commits: vec![(at, kind)],
                    ..Faults::default()
                };
                check(&script, 5, 2, is_sequenced, &faults);
            }
            let faults = Faults {
                source: vec![at * 3, at],
                reads: vec![at / 4],
                ..Faults::default()
            };
            check(&script, 5, 2, is_sequenced, &faults);
        }
    }
}

#[test]
fn a_truncated_table_is_emptied_and_rows_that_nobody_changed_are_read_once() {
    let mut script: Vec<Step> = (0..10).map(|id| Step::Put(id, id)).collect();
    script.push(Step::Truncate);
    script.push(Step::Put(50, 1));
    let queue = check(&script, 0, 3, false, &Faults::default());
    let world = queue.world();
    let gone = world
        .seen
        .iter()
        .filter(|record| record.is_refresh && record.row.is_none());
    assert_eq!(gone.count(), 10, "each row that is gone is deleted once");
}

#[test]
fn a_dump_by_a_condition_deletes_nothing() {
    let script = [
        Step::Put(1, 1),
        Step::Unseen(1, None),
        Step::Put(2, 2),
        Step::DumpNone,
        Step::Put(3, 3),
    ];
    let server = Arc::new(Mutex::new(State::new(&script, 0, &[])));
    let queue = MemoryQueue::new(&[], false);
    let mut source = Memory::new(&server, &[], 2);
    while work(&server) {
        read(&mut source, &queue, false).unwrap();
    }
    assert_eq!(state(&queue.world().seen), BTreeMap::from([(1, 1), (2, 2), (3, 3)]));
}
