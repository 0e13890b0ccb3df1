//! The reader against a model of a server and of a queue that fail at random: each change is published exactly once, in
//! order, and whole MySQL transactions at a time, whatever fails and whenever.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "reader_model/events.rs"]
mod events;
#[path = "reader_model/switch.rs"]
mod switch;
#[path = "reader_model/world.rs"]
mod world;

use events::{Log, Transaction};
use mysync::config::{Config, OnCascade, OnDdl, OnGap, OnLost, Start};
use mysync::encode::Form;
use mysync::error::{Error, Kind};
use mysync::reader::{self, Options, Summary};
use mysync::source::Source;
use mysync::stop;
use mysync::tables::TableFilter;
use mysync::version::Version;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;
use world::{Fault, LOG_ENDED, MemoryQueue, MemorySource, World};

fn options(config: &Config, takes_pieces: bool) -> Options {
    Options {
        form: Form::new(config),
        commit_interval: Duration::from_millis(50),
        commit_changes_max: 3,
        catching_up_factor: 20,
        start: Start::Oldest,
        on_ddl: OnDdl::Stop,
        on_cascade: OnCascade::Refuse,
        allow_unsafe: false,
        on_lost: OnLost::Refresh,
        on_gap: OnGap::Stop,
        dump_tables_max: 2,
        is_sequenced: false,
        until_caught_up: true,
        takes_pieces,
        numbering: 1,
        heartbeat_name: "p.default".into(),
        metrics: std::sync::Arc::default(),
    }
}

/// Runs the reader over a log until it has caught up.
fn read(log: &Log, queue: &MemoryQueue, source_faults: &[usize]) -> Result<Summary, Error> {
    read_as(log, queue, source_faults, false)
}

/// The same, with compressed transactions as a whole or in pieces.
fn read_as(log: &Log, queue: &MemoryQueue, source_faults: &[usize], takes_pieces: bool) -> Result<Summary, Error> {
    read_from(&mut MemorySource::new(log, source_faults), queue, takes_pieces)
}

/// Runs the reader until it has caught up with a source.
fn read_from(source: &mut impl Source, queue: &MemoryQueue, takes_pieces: bool) -> Result<Summary, Error> {
    let text = mysync::config::TEMPLATE.replace("password_env = \"MYSYNC_MYSQL_PASSWORD\"", "password = \"x\"");
    let text = text.replace("transaction_metadata = false", "transaction_metadata = true");
    let config = mysync::config::parse(&text, "test").unwrap();
    let filter = TableFilter::new(&config);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let (_sender, stop) = stop::channel();
    runtime.block_on(reader::run(
        source,
        queue,
        &filter,
        &BTreeMap::new(),
        &options(&config, takes_pieces),
        stop,
    ))
}

/// Transactions of all kinds: some are prepared, and each of those is decided later, or never.
fn xa_transactions() -> impl Strategy<Value = Vec<Transaction>> {
    let ids = || prop::collection::vec(0..1_000_i32, 0..4);
    let step = (0..8_u8, ids(), any::<prop::sample::Index>());
    prop::collection::vec(step, 1..25).prop_map(|steps| {
        let (mut transactions, mut prepared, mut next) = (Vec::new(), Vec::new(), 0_u8);
        for (kind, ids, which) in steps {
            transactions.push(match kind {
                0..=1 => Transaction::Plain(ids),
                2 => Transaction::OnePhase(ids),
                3..=4 => {
                    // A name can be used again once it is decided.
                    let lowest = if next % 2 == 0 { 0 } else { next };
                    let number = (lowest..).find(|number| !prepared.contains(number)).unwrap();
                    next += 1;
                    prepared.push(number);
                    Transaction::Prepare(number, ids)
                }
                _ if prepared.is_empty() => Transaction::Packed(ids),
                5..=6 => Transaction::Commit(prepared.swap_remove(which.index(prepared.len()))),
                _ => Transaction::Rollback(prepared.swap_remove(which.index(prepared.len()))),
            });
        }
        transactions
    })
}

/// The ids in the order in which they are committed, and how many are after each transaction.
fn committed(transactions: &[Transaction]) -> (Vec<i32>, Vec<u64>) {
    let (mut ids, mut ends, mut prepared) = (Vec::new(), vec![1], BTreeMap::new());
    for transaction in transactions {
        match transaction {
            Transaction::Plain(new) | Transaction::Packed(new) | Transaction::OnePhase(new) => ids.extend(new),
            Transaction::Prepare(number, new) => drop(prepared.insert(number, new)),
            Transaction::Commit(number) => ids.extend(prepared.remove(number).unwrap()),
            Transaction::Rollback(number) => drop(prepared.remove(number)),
        }
        ends.push(ids.len() as u64 + 1);
    }
    (ids, ends)
}

/// Every transaction that changes something has one mark before its changes and one behind them, with their number.
fn require_marks(world: &World, ends: &[u64]) {
    let mut marks = world.marks.iter();
    for bounds in ends.windows(2).filter(|bounds| bounds[0] < bounds[1]) {
        let (begin, end) = (marks.next().unwrap(), marks.next().unwrap());
        assert_eq!(
            (&begin.value["status"], &end.value["status"]),
            (&"BEGIN".into(), &"END".into())
        );
        assert_eq!(begin.value["id"], end.value["id"]);
        let places = [begin, end].map(|mark| mark.changes_before as u64 + 1);
        assert_eq!(places, bounds, "{begin:?} {end:?}");
        assert_eq!(end.value["event_count"], bounds[1] - bounds[0]);
    }
    assert_eq!(marks.count(), 0);
}

/// A few transactions, each of some inserted ids.
fn transactions() -> impl Strategy<Value = Vec<Vec<i32>>> {
    prop::collection::vec(prop::collection::vec(0..1_000_i32, 0..5), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_change_once_in_order_and_in_whole_transactions(
        transactions in transactions(),
        commit_faults in prop::collection::vec((0..12_usize, prop_oneof![Just(Fault::Aborted), Just(Fault::AnswerLost)]), 0..6),
        source_faults in prop::collection::vec(0..60_usize, 0..6),
    ) {
        let log = Log::of(&transactions);
        let queue = MemoryQueue::new(&commit_faults);
        let summary = read(&log, &queue, &source_faults).unwrap();
        let expected: Vec<i32> = transactions.concat();
        let world = queue.world();
        prop_assert_eq!(world.ids(), expected.clone());
        let versions: Vec<u64> = world.committed.iter().map(|record| record.version.seq()).collect();
        prop_assert_eq!(versions, (1..=expected.len() as u64).collect::<Vec<_>>());
        // A checkpoint that consumers can see stands behind the end of a whole transaction, and after its last change.
        let mut ends: Vec<u64> = vec![1];
        for transaction in &transactions {
            ends.push(ends.last().unwrap() + transaction.len() as u64);
        }
        for checkpoint in &world.checkpoints {
            prop_assert!(ends.contains(&checkpoint.next_version.seq()), "{:?} is within a transaction", checkpoint);
        }
        require_marks(&world, &ends);
        prop_assert!(summary.changes <= expected.len() as u64);
    }

    #[test]
    fn prepared_rows_are_published_at_their_commit_and_never_at_a_rollback(
        transactions in xa_transactions(),
        stops in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        commit_faults in prop::collection::vec((0..16_usize, prop_oneof![Just(Fault::Aborted), Just(Fault::AnswerLost)]), 0..6),
        source_faults in prop::collection::vec(0..100_usize, 0..6),
        takes_pieces in any::<bool>(),
    ) {
        let log = Log::of_kinds(&transactions);
        let queue = MemoryQueue::new(&commit_faults);
        // Some readers see only a beginning and are then gone without a word: the next ones know of it what is stored.
        let mut stops: Vec<usize> = stops.iter().map(|stop| stop.index(transactions.len()) + 1).collect();
        stops.sort_unstable();
        for stop in stops {
            read_as(&log.truncated(stop), &queue, &[], takes_pieces).unwrap();
        }
        read_as(&log, &queue, &source_faults, takes_pieces).unwrap();
        let (ids, ends) = committed(&transactions);
        let world = queue.world();
        prop_assert_eq!(world.ids(), ids.clone());
        let versions: Vec<u64> = world.committed.iter().map(|record| record.version.seq()).collect();
        prop_assert_eq!(versions, (1..=ids.len() as u64).collect::<Vec<_>>());
        for checkpoint in &world.checkpoints {
            prop_assert!(ends.contains(&checkpoint.next_version.seq()), "{:?} is within a transaction", checkpoint);
        }
        require_marks(&world, &ends);
        // What is left in the topic is what waits: everything else has its tombstone.
        let mut left = BTreeMap::new();
        for record in &world.stored {
            left.insert(&record.key, record.value.is_some());
        }
        let waiting: usize = world.checkpoints.last().unwrap().prepared.iter().map(|prepared| prepared.chunks).sum();
        prop_assert_eq!(left.values().filter(|is_left| **is_left).count(), waiting);
    }

    #[test]
    fn changed_events_never_make_it_panic_and_errors_name_the_position(
        transactions in transactions(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut log = Log::of(&transactions);
        for (event, byte, value) in &changes {
            let event = event.get_mut(&mut log.events);
            let at = byte.index(event.len());
            event[at] = *value;
        }
        if let Err(error) = read(&log, &MemoryQueue::new(&[]), &[]) {
            prop_assert_eq!(error.kind, Kind::Definite, "{}", error);
            let detail = error.detail.unwrap_or_default();
            prop_assert!(error.what == LOG_ENDED || detail.contains("at ") && detail.contains(':'), "{}", error.what);
        }
    }
}

/// A compressed transaction that is cut off anywhere, or is no zstd, gives an error with the place, and none of its rows. (Any
/// other changed byte is found by the event's checksum.)
#[test]
fn a_broken_compressed_transaction_stops_it_with_the_position() {
    let ids: Vec<i32> = (0..300).collect();
    let log = Log::of_kinds(&[Transaction::Packed(ids), Transaction::Plain(vec![1_000])]);
    let whole = log.events[1].len();
    let mut broken = Vec::new();
    for at in 19..whole {
        let mut cut = log.clone();
        cut.events[1].truncate(at);
        let size = u32::try_from(at).unwrap();
        cut.events[1][9..13].copy_from_slice(&size.to_le_bytes());
        broken.push(cut);
    }
    let magic = log.events[1]
        .windows(4)
        .position(|bytes| bytes == [0x28, 0xb5, 0x2f, 0xfd])
        .unwrap();
    for at in magic..magic + 4 {
        let mut changed = log.clone();
        changed.events[1][at] ^= 0x55;
        broken.push(changed);
    }
    for log in &broken {
        for takes_pieces in [false, true] {
            require_stop(log, takes_pieces);
        }
    }
}

/// The reader stops with an error that names the place and what to do, and publishes nothing.
fn require_stop(log: &Log, takes_pieces: bool) -> String {
    let queue = MemoryQueue::new(&[]);
    let error = read_as(log, &queue, &[], takes_pieces).unwrap_err();
    assert_eq!(error.kind, Kind::Definite);
    let detail = error.detail.clone().unwrap_or_default();
    assert!(detail.contains("at binlog.000001:"), "{error}");
    assert!(error.hint.is_some(), "{error}");
    assert!(queue.world().ids().is_empty(), "{error}");
    error.to_string()
}

/// A byte that changed on its way, whichever it is, is found before anything of the transaction is committed, also if the
/// checksum comes in a last piece of its own.
#[test]
fn a_compressed_transaction_with_a_wrong_checksum_is_not_committed() {
    for count in 300..307 {
        let ids: Vec<i32> = (0..count).collect();
        let log = Log::of_kinds(&[Transaction::Packed(ids.clone()), Transaction::Plain(vec![1_000])]).with_checksums();
        let whole = log.events[1].len();
        for takes_pieces in [false, true] {
            let queue = MemoryQueue::new(&[]);
            read_as(&log, &queue, &[], takes_pieces).unwrap();
            assert_eq!(queue.world().ids(), [&ids[..], &[1_000]].concat());
            // From behind the header on, which says what kind of event this is and where it ends.
            for at in 19..whole {
                let mut changed = log.clone();
                changed.events[1][at] ^= 0x10;
                let error = require_stop(&changed, takes_pieces);
                assert!(
                    at < whole - 4 || error.contains("event checksum"),
                    "{at} of {whole}: {error}"
                );
            }
        }
    }
}

#[test]
fn a_second_reader_goes_on_where_the_first_was_killed() {
    let log = Log::of(&[vec![1, 2], vec![3], vec![4, 5, 6]]);
    let queue = MemoryQueue::new(&[]);
    // The first reader sees only the first two transactions; then it is gone without a word.
    read(&log.truncated(2), &queue, &[]).unwrap();
    assert_eq!(queue.world().ids(), [1, 2, 3]);
    read(&log, &queue, &[]).unwrap();
    assert_eq!(queue.world().ids(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(
        queue.world().checkpoints.last().unwrap().next_version,
        Version::new(1, 7).unwrap()
    );
}

#[test]
fn what_would_be_skipped_stops_it_with_the_position() {
    for (statement, expected) in [
        (
            "TRUNCATE TABLE shop.t",
            "a statement changes rows without row events: shop.t",
        ),
        (
            "INSERT INTO shop.t VALUES (1)",
            "rows were changed by a statement that is logged as text",
        ),
        ("XA RECOVER", "an XA statement that mysync does not know"),
        (
            "XA COMMIT X'61',X'',1",
            "an XA transaction commits that was prepared before the reader's beginning: 61,,1",
        ),
        ("FROBNICATE", "a statement in the binlog that mysync does not know"),
    ] {
        let mut log = Log::of(&[vec![1]]);
        log.statement(statement);
        let error = read(&log, &MemoryQueue::new(&[]), &[]).unwrap_err();
        assert_eq!((error.kind, error.what.as_str()), (Kind::Definite, expected));
        assert!(error.detail.unwrap().contains("at binlog.000001:"), "{statement}");
        assert!(error.hint.is_some(), "{statement}");
    }
    let mut log = Log::of(&[vec![1]]);
    log.statement("TRUNCATE TABLE other.t");
    log.statement("CREATE TABLE shop.u (a int)");
    read(&log, &MemoryQueue::new(&[]), &[]).unwrap();
}

#[test]
fn a_file_that_was_begun_anew_is_refused() {
    let queue = MemoryQueue::new(&[]);
    read(&Log::of(&[vec![1, 2, 3]]), &queue, &[]).unwrap();
    let mut reset = Log::of(&[vec![7, 8, 9], vec![10]]);
    reset.born_at(events::BORN_S + 60);
    let error = read(&reset, &queue, &[]).unwrap_err();
    assert_eq!(error.kind, Kind::Definite);
    assert!(
        error.what.contains("is not the one that the checkpoint was taken in"),
        "{error}"
    );
    assert_eq!(queue.world().ids(), [1, 2, 3]);
}
