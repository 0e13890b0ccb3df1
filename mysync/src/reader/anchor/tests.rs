//! A reader on one server, then the search on another, which writes the same in its own way.

mod binlog;
mod world;

use super::*;
use crate::config::{self, Config, OnDdl};
use crate::reader::{self, Options};
use crate::stop;
use binlog::{Binlog, Item, Manner, READER, Row};
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::BTreeMap;
use world::{MemoryQueue, MemorySource};

fn config() -> Config {
    let text = config::TEMPLATE.replace("password_env = \"MYSYNC_MYSQL_PASSWORD\"", "password = \"x\"");
    config::parse(&text, "test").unwrap()
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    runtime.unwrap().block_on(work)
}

/// Reads all that a server has, from the last checkpoint on.
async fn read(binlog: &Binlog, queue: &MemoryQueue, config: &Config) -> Result<()> {
    let mut options = Options::new(config, true);
    options.commit_changes_max = 3;
    options.on_ddl = OnDdl::Ignore;
    options.heartbeat_name = READER.into();
    let (_sender, stop) = stop::channel();
    let filter = TableFilter::new(config);
    let mut source = MemorySource::new(binlog);
    let keys = BTreeMap::new();
    let reading = reader::run(&mut source, queue, &filter, &keys, &options, stop);
    reading.await.map(drop)
}

fn checkpoint(queue: &MemoryQueue) -> Checkpoint {
    queue.stored.borrow().checkpoints.last().unwrap().clone()
}

async fn locate_on(binlog: &Binlog, queue: &MemoryQueue, config: &Config) -> Result<Located> {
    let filter = TableFilter::new(config);
    locate(
        &mut MemorySource::new(binlog),
        queue,
        &filter,
        READER,
        &checkpoint(queue),
    )
    .await
}

fn row() -> impl Strategy<Value = Row> {
    (0..3_usize, 0..3_u8, 0..9_i32, prop::option::of(b'a'..b'c')).prop_map(|(table, kind, id, name)| Row {
        table,
        kind,
        id,
        name,
    })
}

/// Items of a server, whose anchors go on from a sequence.
fn items(server: u8, length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Item>> {
    let step = (0..12_u8, prop::collection::vec(row(), 1..6), any::<Index>());
    prop::collection::vec(step, length).prop_map(move |mut steps| {
        let (mut prepared, mut next) = (Vec::new(), 0);
        // Two servers never do the same by chance: that could not be told from one thing that both have.
        let own = |row: &mut Row| row.id += 100 * i32::from(server);
        steps.iter_mut().flat_map(|(_, rows, _)| rows).for_each(own);
        let ddl = [
            "ALTER TABLE shop.t1 ADD a INT",
            "ALTER TABLE shop.t2 ADD a INT",
            "ALTER TABLE shop.t3 ADD a INT",
        ];
        let item = |(kind, rows, which): (u8, Vec<Row>, Index)| match kind {
            0..=3 => Item::Rows(rows),
            4..=7 => Item::Anchor {
                sequence: 0,
                server,
                second: 0,
            },
            8 if which.index(2) == 0 => Item::Ddl(ddl[usize::from(server) - 1]),
            8 => Item::Ddl("ALTER TABLE other.x ADD a INT"),
            9 => {
                next += 1;
                prepared.push(16 * server + next);
                Item::Prepare(16 * server + next, rows)
            }
            _ if prepared.is_empty() => Item::Rows(rows),
            10 => Item::Commit(prepared.swap_remove(which.index(prepared.len()))),
            _ => Item::Rollback(prepared.swap_remove(which.index(prepared.len()))),
        };
        steps.into_iter().map(item).collect()
    })
}

/// Gives anchors their numbers, as the row goes on counting on whatever server.
fn number(items: &mut [Item]) {
    let mut next = 0;
    for item in items {
        if let Item::Anchor { sequence, second, .. } = item {
            next += 1;
            (*sequence, *second) = (next, 100 + next);
        }
    }
}

fn manner(server: u8) -> impl Strategy<Value = Manner> {
    (1..5_usize, 1..9_usize, any::<[bool; 4]>()).prop_map(move |(rows_per_event, items_per_file, flags)| Manner {
        server,
        rows_per_event,
        items_per_file,
        compresses: flags[0],
        fills_bits: flags[1],
        sorts_rows: flags[2],
        filters: flags[3],
    })
}

/// The versions that items took, from the first of `version` on: the first one of each.
fn first_versions(items: &[Item], mut version: Version) -> Vec<Version> {
    let mut waiting = BTreeMap::new();
    let followed = |rows: &[Row]| rows.iter().filter(|row| row.is_followed()).count();
    let mut firsts = Vec::new();
    for item in items {
        firsts.push(version);
        let changes = match item {
            Item::Rows(rows) => followed(rows),
            Item::Prepare(number, rows) => {
                waiting.insert(*number, followed(rows));
                0
            }
            Item::Commit(number) => waiting.remove(number).unwrap(),
            Item::Rollback(number) => {
                waiting.remove(number);
                0
            }
            Item::Ddl(_) | Item::Anchor { .. } => 0,
        };
        for _ in 0..changes {
            version = version.next().unwrap();
        }
    }
    firsts
}

/// What must be found on a server whose first `common` items are those of the one that was read.
fn require(
    found: Result<Located>,
    items: &[Item],
    firsts: &[Version],
    server: &[Item],
    common: usize,
    binlog: &Binlog,
) -> Option<Located> {
    let lost = &items[common..];
    let is_anchor = |item: &Item| matches!(item, Item::Anchor { .. });
    if !items[..common].iter().any(is_anchor) {
        let error = found.unwrap_err();
        assert!(error.what.contains("no anchor"), "{error}");
        return None;
    }
    if lost.iter().any(Item::is_xa) {
        let error = found.unwrap_err();
        assert!(
            error.what.contains("an XA transaction was prepared or decided"),
            "{error}"
        );
        return None;
    }
    let found = found.unwrap();
    let done = binlog.items_before(&found.position.file, found.position.offset);
    let last_common = server[..common]
        .iter()
        .rposition(Item::counts)
        .map_or(0, |last| last + 1);
    assert!(done >= last_common, "item {} comes twice, of {server:?}", done);
    assert!(
        !server[common.min(done)..done].iter().any(Item::counts),
        "item {done} is passed over, of {server:?}"
    );
    let first_lost = lost.iter().position(Item::counts).map(|lost| firsts[common + lost]);
    assert_eq!(found.lost_from, first_lost, "common {common} of {items:?}");
    Some(found)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// A reader on server 1, lossy or not; then on server 2, and again lossy or not, on server 3.
    #[test]
    fn the_end_of_what_two_servers_share_is_found_exactly(
        mut items_1 in items(1, 1..24),
        own_2 in items(2, 0..12),
        own_3 in items(3, 0..6),
        manners in (manner(1), manner(2), manner(3)),
        parts in (any::<Index>(), any::<Index>(), any::<bool>(), any::<bool>()),
        window_divisor in prop_oneof![Just(1), Just(512), Just(256)],
    ) {
        run(async {
            let config = config();
            let queue = MemoryQueue { window_divisor, ..MemoryQueue::default() };
            number(&mut items_1);
            let log_1 = Binlog::new(&items_1, manners.0);
            read(&log_1, &queue, &config).await.unwrap();
            let firsts = first_versions(&items_1, Version::FIRST);

            let common = if parts.2 { items_1.len() } else { parts.0.index(items_1.len() + 1) };
            let mut items_2 = [&items_1[..common], &own_2].concat();
            number(&mut items_2);
            let log_2 = Binlog::new(&items_2, manners.1);
            let found = locate_on(&log_2, &queue, &config).await;
            let Some(located) = require(found, &items_1, &firsts, &items_2, common, &log_2) else { return Ok(()) };

            // It goes on there, as if what was lost had been made good.
            let before = checkpoint(&queue);
            let next_version = before.next_version.next_epoch().unwrap();
            let resumed = Checkpoint { position: located.position, trail: Some(located.trail), next_version, ..before };
            queue.stored.borrow_mut().checkpoints.push(resumed);
            read(&log_2, &queue, &config).await.unwrap();
            let versions = queue.stored.borrow().versions.clone();
            prop_assert!(versions.is_sorted_by(|one, other| one < other));

            let mut firsts = firsts;
            firsts.truncate(common);
            firsts.extend(first_versions(&items_2[common..], next_version));
            let common = if parts.3 { items_2.len() } else { common + parts.1.index(own_2.len() + 1) };
            let mut items_3 = [&items_2[..common], &own_3].concat();
            number(&mut items_3);
            let log_3 = Binlog::new(&items_3, manners.2);
            let found = locate_on(&log_3, &queue, &config).await;
            require(found, &items_2, &firsts, &items_3, common, &log_3);
            Ok(())
        })?;
    }
}
