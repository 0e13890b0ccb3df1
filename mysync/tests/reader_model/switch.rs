//! The reader against several servers with GTID in memory that take over from one another at random, while connections and
//! commits fail at random: each change is published exactly once, in order, and each switch begins a new epoch. A server that
//! has purged what the reader needs stops it, and nothing is skipped.

use super::events::Log;
use super::read_from;
use super::world::{Fault, LOG_ENDED, MemoryQueue};
use mysync::checkpoint::Position;
use mysync::error::{Error, Kind, Result};
use mysync::schema::{TableName, TableSchema};
use mysync::source::gtid_set::GtidSet;
use mysync::source::preflight::Check;
use mysync::source::{Cascade, Facts, Gtids, RowsAnswer, RowsRequest, Server, Source};
use proptest::prelude::*;
use std::collections::VecDeque;

/// The offset of a file's first event.
const FILE_START: u64 = 4;

/// A transaction: the source that it was committed on, its number there, and the ids that it inserts.
type Transaction = (u8, u64, Vec<i32>);

/// How a server differs from the others: events of so many rows, and so many transactions purged.
#[derive(Debug, Clone, Copy)]
struct Traits {
    rows_max: usize,
    purged: usize,
}

/// Servers that have all transactions, each in its own events and under its own names of files.
struct Cluster {
    transactions: Vec<Transaction>,
    servers: Vec<(Traits, Log)>,
    /// Who is the primary at each choice; in the end the last one stays it.
    primaries: VecDeque<usize>,
    followed: usize,
    coming: VecDeque<Vec<u8>>,
    sent: Vec<u8>,
    served: usize,
    /// Counts of events served at which the connection breaks, once each.
    faults: Vec<usize>,
}

impl Cluster {
    fn new(transactions: &[Transaction], traits: &[Traits], primaries: &[usize], faults: &[usize]) -> Self {
        let log = |traits: &Traits| (*traits, Log::with_gtid(transactions, traits.rows_max));
        Self {
            transactions: transactions.to_vec(),
            servers: traits.iter().map(log).collect(),
            primaries: primaries.iter().copied().collect(),
            followed: 0,
            coming: VecDeque::new(),
            sent: Vec::new(),
            served: 0,
            faults: faults.to_vec(),
        }
    }

    fn file(&self) -> String {
        format!("server{}.{:06}", self.followed, 7 * self.followed + 1)
    }

    fn first(&self, count: usize) -> GtidSet {
        let mut set = GtidSet::default();
        for (source, number, _) in &self.transactions[..count] {
            set.add(&uuid(*source), "", *number);
        }
        set
    }

    fn position(&self, offset: u64, count: usize) -> Position {
        Position {
            server_uuid: uuid(server_number(self.followed)),
            file: self.file(),
            offset,
            file_born_s: 0,
            gtid_set: Some(self.first(count).to_string()),
        }
    }
}

/// Of which all bytes are this.
fn uuid(byte: u8) -> String {
    let hex = |count: usize| format!("{byte:02x}").repeat(count);
    [hex(4), hex(2), hex(2), hex(2), hex(6)].join("-")
}

fn server_number(server: usize) -> u8 {
    u8::try_from(server).unwrap() + 0xa0
}

impl Source for Cluster {
    async fn choose(&mut self, _position: Option<&Position>) -> Result<Server> {
        if let Some(primary) = self.primaries.pop_front() {
            self.followed = primary;
        }
        Ok(Server {
            address: format!("memory{}:3306", self.followed),
            uuid: uuid(server_number(self.followed)),
            gtid: true,
            is_primary: true,
        })
    }

    async fn gtids(&mut self) -> Result<Gtids> {
        Ok(Gtids {
            executed: self.first(self.transactions.len()),
            purged: self.first(self.servers[self.followed].0.purged),
        })
    }

    async fn files(&mut self) -> Result<Vec<String>> {
        Ok(vec![self.file()])
    }

    async fn preflight(&mut self) -> Result<Vec<Check>> {
        Ok(Vec::new())
    }

    async fn facts(&mut self) -> Result<Facts> {
        Ok(Facts {
            names_columns: true,
            names_charsets: true,
            lower_case_names: false,
            logs_cascades: true,
        })
    }

    async fn tables(&mut self) -> Result<Vec<TableName>> {
        Ok(Vec::new())
    }

    async fn describe(&mut self, tables: &[TableName]) -> Result<Vec<Option<TableSchema>>> {
        Ok(vec![None; tables.len()])
    }

    fn read(&self, _request: RowsRequest) -> impl Future<Output = Result<RowsAnswer>> + Send + 'static {
        std::future::ready(Err(Error::definite("these servers have no tables")))
    }

    async fn cascades(&mut self) -> Result<Vec<Cascade>> {
        Ok(Vec::new())
    }

    async fn oldest(&mut self) -> Result<Position> {
        Ok(self.position(FILE_START, self.servers[self.followed].0.purged))
    }

    async fn newest(&mut self) -> Result<Position> {
        let log = &self.servers[self.followed].1;
        Ok(self.position(log.offset(log.events.len()), self.transactions.len()))
    }

    async fn start(&mut self, position: &Position) -> Result<()> {
        assert_eq!(position.server_uuid, uuid(server_number(self.followed)));
        let (traits, log) = &self.servers[self.followed];
        let count = match &position.gtid_set {
            Some(set) => {
                let has: GtidSet = set.parse()?;
                let count = (0..=self.transactions.len()).find(|&count| self.first(count) == has);
                count.expect("the set is what the servers had at some time")
            }
            None if position.offset == FILE_START => traits.purged,
            None => log.transaction_at(position.offset).expect("a transaction begins there"),
        };
        assert!(
            traits.purged <= count,
            "the server has not got these transactions any more"
        );
        self.coming = log.sent_from(count, &self.file()).into();
        self.served = 0;
        Ok(())
    }

    async fn next(&mut self) -> Result<&[u8]> {
        self.served += 1;
        if let Some(fault) = self.faults.iter().position(|&fault| fault == self.served) {
            self.faults.remove(fault);
            return Err(Error::transient("the connection broke"));
        }
        self.sent = self.coming.pop_front().ok_or_else(|| Error::definite(LOG_ENDED))?;
        Ok(&self.sent)
    }
}

/// Transactions that were committed on one of two servers.
fn transactions() -> impl Strategy<Value = Vec<Transaction>> {
    let ids = prop::collection::vec(0..1_000_i32, 0..5);
    prop::collection::vec((any::<bool>(), ids), 1..12).prop_map(|transactions| {
        let mut numbers = [0, 0];
        let numbered = transactions.into_iter().map(|(is_second, ids)| {
            let number = &mut numbers[usize::from(is_second)];
            *number += 1;
            (server_number(usize::from(is_second)), *number, ids)
        });
        numbered.collect()
    })
}

fn traits() -> impl Strategy<Value = Vec<Traits>> {
    let server = (1..4_usize).prop_map(|rows_max| Traits { rows_max, purged: 0 });
    prop::collection::vec(server, 3..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_change_once_in_order_whichever_server_is_the_primary(
        transactions in transactions(),
        traits in traits(),
        primaries in prop::collection::vec(0..3_usize, 1..10),
        commit_faults in prop::collection::vec((0..12_usize, prop_oneof![Just(Fault::Aborted), Just(Fault::AnswerLost)]), 0..6),
        source_faults in prop::collection::vec(0..40_usize, 0..8),
    ) {
        let queue = MemoryQueue::new(&commit_faults);
        read_from(&mut Cluster::new(&transactions, &traits, &primaries, &source_faults), &queue, false).unwrap();
        let expected: Vec<i32> = transactions.iter().flat_map(|(_, _, ids)| ids.clone()).collect();
        let world = queue.world();
        prop_assert_eq!(world.ids(), expected);
        prop_assert!(world.committed.is_sorted_by(|one, other| one.version < other.version));
        // A switch begins a new epoch, and nothing else does.
        for pair in world.checkpoints.windows(2) {
            let is_switch = pair[0].position.server_uuid != pair[1].position.server_uuid;
            let epochs = [&pair[0], &pair[1]].map(|checkpoint| checkpoint.next_version.epoch());
            prop_assert_eq!(epochs[1], epochs[0] + u16::from(is_switch));
        }
    }

    #[test]
    fn a_server_without_the_transactions_that_are_needed_stops_it(
        transactions in transactions(),
        purged in any::<prop::sample::Index>(),
        source_faults in prop::collection::vec(0..40_usize, 0..4),
    ) {
        let purged = purged.index(transactions.len() + 1);
        let traits = [0, purged].map(|purged| Traits { rows_max: 2, purged });
        let queue = MemoryQueue::new(&[]);
        let read = read_from(&mut Cluster::new(&transactions, &traits, &[0, 1], &source_faults), &queue, false);
        let expected: Vec<i32> = transactions.iter().flat_map(|(_, _, ids)| ids.clone()).collect();
        let world = queue.world();
        match read {
            Ok(_) => prop_assert_eq!(world.ids(), expected),
            Err(error) => {
                prop_assert_eq!(error.kind, Kind::Definite);
                prop_assert!(error.what.contains("purged"), "{}", error.what);
                prop_assert!(expected.starts_with(&world.ids()));
                let count = world.ids().len();
                let needed: usize = transactions[..purged].iter().map(|(_, _, ids)| ids.len()).sum();
                prop_assert!(count <= needed, "{} of {} purged changes were published", count, needed);
            }
        }
    }
}

#[test]
fn a_transaction_that_was_read_in_part_comes_whole_from_the_next_server() {
    let source = server_number(0);
    let transactions = [(source, 1, vec![1, 2, 3]), (source, 2, vec![4])];
    let traits = [1, 2].map(|rows_max| Traits { rows_max, purged: 0 });
    let queue = MemoryQueue::new(&[]);
    // The connection breaks behind the first row: file, format, GTID, BEGIN, table, row.
    read_from(&mut Cluster::new(&transactions, &traits, &[0, 1], &[7]), &queue, false).unwrap();
    let world = queue.world();
    assert_eq!(world.ids(), [1, 2, 3, 4]);
    let versions: Vec<(u16, u64)> = world
        .committed
        .iter()
        .map(|record| (record.version.epoch(), record.version.seq()))
        .collect();
    assert_eq!(versions, [(2, 1), (2, 2), (2, 3), (2, 4)]);
    assert_eq!(world.checkpoints[0].position.server_uuid, uuid(server_number(0)));
    let last = &world.checkpoints.last().unwrap().position;
    assert_eq!(
        (&last.server_uuid, &last.file),
        (&uuid(server_number(1)), &"server1.000008".to_owned())
    );
}
