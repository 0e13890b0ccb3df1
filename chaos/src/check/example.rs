//! A small good history that the checks' tests break in every way.

use crate::drill::{Drill, FaultKind, TargetName};
use crate::history::{
    Applied, Begun, Convergence, Ended, FaultEvent, FaultStep, History, Journal, Listed, Observed, Op, Outcome, Phase,
    PhaseBegun, ProcessSample, Record, Row, Settled, Transaction, Write,
};
use crate::verdict::Verdict;

/// When the victim was gone.
pub(crate) const STRUCK_US: u64 = 10_000_000;

/// The stores, and how long after Kafka a change is seen in each.
const STORES: [(TargetName, u64); 3] = [
    (TargetName::Redis, 50_000),
    (TargetName::Elasticsearch, 60_000),
    (TargetName::Hbase, 70_000),
];

const PREFIX: &str = "mysync";
const FIRST_VERSION: i64 = (1 << 48) | 1;

/// Two accounts are opened, money is moved four times (once in flight at the kill), a transfer moves and is deleted.
pub(crate) fn history() -> History {
    records().into_iter().collect()
}

/// The same as it stands in the file.
pub(crate) fn records() -> Vec<Record> {
    let mut maker = Maker {
        records: Vec::new(),
        version: FIRST_VERSION,
        offset: 0,
    };
    maker.begin();
    let insert = |table: &str, key| row(table, Write::Insert { key });
    maker.transaction(
        1,
        1_000_000,
        1_030_000,
        &[(insert("account", 1), Some(100)), (insert("account", 2), Some(100))],
    );
    for (number, end_us, seen_us, balances) in [
        (2, 2_000_000, 2_020_000, (90, 110)),
        (3, 9_000_000, 9_020_000, (80, 120)),
        (4, 11_000_000, 11_250_000, (70, 130)),
        (6, 13_000_000, 13_020_000, (60, 140)),
    ] {
        let update = |key| row("account", Write::Update { key });
        let written = [
            (update(1), Some(balances.0)),
            (update(2), Some(balances.1)),
            (insert("transfer", number), None),
        ];
        maker.transaction(number, end_us, seen_us, &written);
        if number == 3 {
            // Acknowledged before the strike, seen after it.
            let update = (row("account", Write::Update { key: 1 }), Some(80));
            maker.transaction(30, 9_990_000, 11_200_000, &[update]);
            maker.strike();
        }
        if number == 4 {
            let moved = row("transfer", Write::Move { from: 3, key: 5 });
            maker.transaction(5, 12_000_000, 12_020_000, &[(moved, None)]);
        }
    }
    maker.transaction(
        7,
        14_000_000,
        14_020_000,
        &[(row("transfer", Write::Delete { key: 5 }), None)],
    );
    let update = (row("account", Write::Update { key: 1 }), Some(60));
    maker.transaction(8, 15_000_000, 15_020_000, &[update]);
    maker.end();
    maker.records
}

/// The same, with a switch after it to a server that lacks the last three transactions: they are listed, and their rows are
/// read anew from it.
pub(crate) fn lossy() -> History {
    let lost = [6, 7, 8];
    let mut history = history();
    history.begun.as_mut().unwrap().drill = Drill::named("switch-lossy-gtid").unwrap();
    for number in lost {
        let of_number =
            |record: &&Observed| record.written_by == Some(number) || (number == 7 && record.at_us == 14_020_000);
        let versions: Vec<i64> = history
            .observed
            .iter()
            .filter(of_number)
            .filter_map(|record| record.version)
            .collect();
        let first = *versions.iter().min().unwrap();
        history.listed.push(Listed {
            at_us: 16_000_000,
            offset: number.try_into().unwrap(),
            first_version: Some(first),
            changes: Some((versions.iter().max().unwrap() - first + 1).try_into().unwrap()),
            text: String::new(),
        });
    }
    history.journal = Some(journal(&history, &lost));
    let mut last = history.observed.last().unwrap().clone();
    for (seq, table, key, op, written_by, balance) in [
        (1, "account", 1, Op::Refresh, Some(4), Some(70)),
        (2, "account", 2, Op::Refresh, Some(4), Some(130)),
        (3, "transfer", 5, Op::Refresh, Some(5), None),
        (4, "transfer", 6, Op::Delete, None, None),
        (4, "transfer", 6, Op::Tombstone, None, None),
    ] {
        last = Observed {
            at_us: 16_500_000,
            topic: format!("{PREFIX}.bank.{table}"),
            offset: last.offset + 1,
            version: Some((2 << 48) | seq),
            origin: Some(format!("1:900:{seq}")),
            key: format!("{{\"id\":{key}}}"),
            op,
            written_by,
            balance,
            ..last
        };
        history.observed.push(last.clone());
    }
    history
}

/// What a primary says that has all transactions but `absent`.
pub(crate) fn journal(history: &History, absent: &[u64]) -> Journal {
    let numbers = history.transactions.iter().map(|transaction| transaction.number);
    Journal {
        at_us: 16_900_000,
        server: "replica-1".into(),
        numbers: numbers.filter(|number| !absent.contains(number)).collect(),
    }
}

fn row(table: &str, write: Write) -> Row {
    Row {
        table: format!("bank.{table}"),
        write,
    }
}

struct Maker {
    records: Vec<Record>,
    version: i64,
    offset: i64,
}

impl Maker {
    fn begin(&mut self) {
        let drill = Drill::named("kill-partition-leader").unwrap();
        self.records.push(Record::Begun(Box::new(Begun {
            drill,
            seed: 7,
            started_unix_ms: 1_790_000_000_000,
            mysync_version: "0.1.0".into(),
            prefix: PREFIX.into(),
        })));
        for (at_us, phase) in [
            (500_000, Phase::Before),
            (9_500_000, Phase::During),
            (12_500_000, Phase::After),
        ] {
            self.records.push(Record::Phase(PhaseBegun { at_us, phase }));
        }
    }

    fn transaction(&mut self, number: u64, end_us: u64, seen_us: u64, written: &[(Row, Option<i64>)]) {
        let rows: Vec<Row> = written.iter().map(|(row, _)| row.clone()).collect();
        for (row, balance) in written {
            for (table, key, op, written_by) in crate::facts::marks(row, number) {
                self.offset += 1;
                self.records.push(Record::Observed(Observed {
                    at_us: seen_us,
                    topic: format!("{PREFIX}.{table}"),
                    partition: 0,
                    offset: self.offset,
                    version: Some(self.version),
                    origin: Some(format!("1:{}:0", self.version)),
                    key: format!("{{\"id\":{key}}}"),
                    op,
                    written_by: matches!(op, Op::Insert | Op::Update).then_some(written_by),
                    balance: *balance,
                    content: None,
                }));
            }
            self.version += 1;
            if let Write::Update { key } = row.write {
                for (store, after_us) in STORES {
                    self.records.push(Record::Applied(Applied {
                        at_us: seen_us + after_us,
                        store,
                        table: row.table.clone(),
                        key,
                        written_by: number,
                    }));
                }
            }
        }
        let begin_us = end_us - 1_000;
        self.records.push(Record::Transaction(Transaction {
            number,
            begin_us,
            end_us,
            outcome: Outcome::Acknowledged,
            rows,
            error: None,
        }));
    }

    fn strike(&mut self) {
        let step = |at_us, step, broker| {
            Record::Fault(FaultEvent {
                at_us,
                fault: FaultKind::KillPartitionLeader,
                step,
                detail: "broker 2".into(),
                target: None,
                topic: Some(format!("{PREFIX}.bank.account")),
                partition: Some(0),
                broker: Some(broker),
            })
        };
        self.records.push(step(STRUCK_US - 80_000, FaultStep::Aimed, 2));
        self.records.push(step(STRUCK_US, FaultStep::Struck, 2));
        self.records
            .push(step(STRUCK_US + 900_000, FaultStep::LeaderElected, 3));
        self.records.push(step(STRUCK_US + 1_500_000, FaultStep::CureBegun, 2));
        self.records.push(step(STRUCK_US + 2_000_000, FaultStep::Cured, 2));
    }

    fn end(&mut self) {
        for (name, resident_peak_kb) in [
            ("reader", 40_000),
            ("writer-redis", 45_000),
            ("writer-elasticsearch", 46_000),
            ("writer-hbase", 47_000),
        ] {
            self.records.push(Record::Process(ProcessSample {
                at_us: 15_000_000,
                name: name.into(),
                pid: 1,
                resident_kb: 30_000,
                resident_peak_kb,
                cpu_ms: 1_500,
            }));
        }
        self.records.push(Record::Settled(Settled {
            at_us: 16_000_000,
            caught_up: true,
            detail: "pulse 8".into(),
        }));
        for (store, _) in STORES {
            self.records.push(Record::Convergence(Convergence {
                at_us: 17_000_000,
                store,
                verdict: Verdict::Consistent,
                rows: 5,
                missing: 0,
                extra: 0,
                different: 0,
                examples: vec![],
            }));
        }
        self.records.push(Record::Ended(Ended {
            at_us: 18_000_000,
            trouble: None,
        }));
    }
}
