//! The sequencer against the library's own mock of a cluster, which refuses deliveries when it is told to.

use super::*;
use crate::checkpoint::Position;
use crate::queue::leadership::{CONFIRMATION_AGE_MAX, Leadership};
use crate::queue::{Origin, TopicId};
use crate::version::Version;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeSet;
use std::thread::JoinHandle;

const TABLE: &str = "p.d.t";
const FENCES: &str = "p.__db_mysync.t_fence";
const INTERNAL: TopicId = 2;
const PARTITIONS: i32 = 2;
/// Looks at a topic to which nothing must come; each takes longer than a record does.
const LOOKS: usize = 5;
const DEADLINE: Duration = Duration::from_secs(60);

/// A sequencer at work, and what it gives to the thread of transactions.
struct Bench {
    cluster: MockCluster<'static, rdkafka::producer::DefaultProducerContext>,
    commands: mpsc::Sender<Command>,
    following: mpsc::Receiver<Command>,
    outcomes: mpsc::Receiver<Result<()>>,
    thread: JoinHandle<()>,
    sent: u64,
}

impl Bench {
    fn start() -> Self {
        Self::start_under(Tenure::unlimited())
    }

    fn start_under(tenure: Tenure) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        for topic in [TABLE, FENCES] {
            cluster.create_topic(topic, PARTITIONS, 1).unwrap();
        }
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .set("enable.idempotence", "true")
            .set("topic.metadata.refresh.interval.ms", "100")
            .set("partitioner", "murmur2");
        let (commands, received) = mpsc::channel(64);
        let (transactions, following) = mpsc::channel(64);
        let (outcome, outcomes) = mpsc::channel(2);
        let (give_back, _) = mpsc::channel(1);
        let sequencer = Sequencer::with_config(config, tenure, Duration::ZERO, transactions, give_back).unwrap();
        let thread = std::thread::spawn(move || sequencer.run(received, &outcome));
        for (id, (name, is_table)) in (0..).zip([(TABLE, true), (FENCES, true), ("p.__internal", false)]) {
            let declared = Declared {
                name: name.into(),
                is_fence: name == FENCES,
                table_header: is_table.then(Vec::new),
            };
            commands.blocking_send(Command::Declare(id, declared)).ok().unwrap();
        }
        Self {
            cluster,
            commands,
            following,
            outcomes,
            thread,
            sent: 0,
        }
    }

    /// Sends records of these topics, whose keys and versions are their numbers.
    fn send(&mut self, topics: &[TopicId]) {
        let mut batch = Batch::default();
        for &topic in topics {
            self.sent += 1;
            let from = batch.bytes_len();
            batch.bytes().extend_from_slice(self.sent.to_string().as_bytes());
            let key = from..batch.bytes_len();
            let origin = Origin {
                file_number: 1,
                offset: self.sent,
                row: 0,
            };
            batch.push(topic, 0, Version::new(1, self.sent).unwrap(), origin, key, None);
        }
        self.commands.blocking_send(Command::Send(batch)).ok().unwrap();
    }

    fn commit(&self) {
        let checkpoint = Checkpoint {
            position: Position {
                server_uuid: String::new(),
                file: String::new(),
                offset: self.sent,
                file_born_s: 0,
                gtid_set: None,
            },
            next_version: Version::FIRST,
            prepared: Vec::new(),
            refreshes: 0,
            is_sequenced: false,
            numbering: 0,
            trail: None,
            unseen: None,
        };
        self.commands
            .blocking_send(Command::Commit(Box::new(checkpoint)))
            .ok()
            .unwrap();
    }

    fn refuse_deliveries(&self, errors: &[RDKafkaRespErr]) {
        self.cluster.request_errors(RDKafkaApiKey::Produce, errors);
    }

    /// What the thread of transactions has got by the next checkpoint: numbers of internal records, and where it stands.
    fn until_checkpoint(&mut self) -> (Vec<u64>, u64) {
        let mut internal = Vec::new();
        loop {
            match self.following.blocking_recv().expect("the sequencer is at work") {
                Command::Declare(..) => {}
                Command::Send(batch) => internal.extend(batch.records().map(|record| record.version.seq())),
                Command::Commit(checkpoint) => return (internal, checkpoint.position.offset),
            }
        }
    }

    /// The numbers of a topic's records, partition by partition.
    fn read(&self, topic: &str) -> Vec<Vec<u64>> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.cluster.bootstrap_servers())
            .set("group.id", "test")
            .set("enable.partition.eof", "true")
            .create()
            .unwrap();
        let mut assignment = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            assignment
                .add_partition_offset(topic, partition, Offset::Beginning)
                .unwrap();
        }
        consumer.assign(&assignment).unwrap();
        let (mut seen, mut ended) = (vec![Vec::new(); PARTITIONS as usize], 0);
        let deadline = std::time::Instant::now() + DEADLINE;
        while ended < PARTITIONS {
            assert!(
                std::time::Instant::now() < deadline,
                "the ends of {topic} were not reached in {DEADLINE:?}"
            );
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    let header = message.headers().unwrap().get(0);
                    let version: i64 = std::str::from_utf8(header.value.unwrap()).unwrap().parse().unwrap();
                    let seq = u64::try_from(version & ((1 << 48) - 1)).unwrap();
                    seen[usize::try_from(message.partition()).unwrap()].push(seq);
                }
                Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(error)) => panic!("{error}"),
                None => {}
            }
        }
        seen
    }
}

/// The first copies of each partition rise, and together they are all numbers.
fn require_first_copies_in_order(partitions: &[Vec<u64>], numbers: impl Iterator<Item = u64>) {
    let mut all = BTreeSet::new();
    for partition in partitions {
        let mut highest = 0;
        for &number in partition {
            if all.insert(number) {
                assert!(number > highest, "{number} came first after {highest}: {partition:?}");
                highest = number;
            }
        }
    }
    assert_eq!(all, numbers.collect::<BTreeSet<_>>());
}

#[test]
fn a_checkpoint_follows_when_all_before_it_is_acknowledged_and_internal_records_go_with_it() {
    let mut bench = Bench::start();
    bench.send(&[0, 0, INTERNAL, 0]);
    bench.commit();
    bench.send(&[INTERNAL, 0]);
    assert_eq!(bench.until_checkpoint(), (vec![3], 4));
    bench.commit();
    assert_eq!(bench.until_checkpoint(), (vec![5], 6));
    let seen = bench.read(TABLE);
    require_first_copies_in_order(&seen, [1, 2, 4, 6].into_iter());
    assert_eq!(
        seen.iter().map(Vec::len).sum::<usize>(),
        4,
        "nothing failed, so nothing comes twice"
    );
    drop(bench.commands);
    bench.thread.join().unwrap();
}

#[test]
fn after_failed_deliveries_a_new_producer_sends_again_and_the_order_holds() {
    use RDKafkaRespErr::{
        RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS as REFUSED, RD_KAFKA_RESP_ERR_NO_ERROR as TAKEN,
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION as ELSEWHERE,
    };
    let mut bench = Bench::start();
    bench.refuse_deliveries(&[TAKEN, REFUSED, TAKEN, ELSEWHERE, TAKEN, REFUSED]);
    for _ in 0..40 {
        bench.send(&[0; 5]);
    }
    bench.commit();
    assert_eq!(bench.until_checkpoint(), (vec![], 200));
    require_first_copies_in_order(&bench.read(TABLE), 1..=200);
    drop(bench.commands);
    bench.thread.join().unwrap();
    assert!(
        bench.outcomes.blocking_recv().is_none(),
        "no failure reached the reader"
    );
}

#[test]
fn a_record_that_the_brokers_refuse_for_good_ends_it() {
    let mut bench = Bench::start();
    bench.refuse_deliveries(&[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
    bench.send(&[0]);
    bench.commit();
    let error = bench.outcomes.blocking_recv().unwrap().unwrap_err();
    assert!(!error.is_transient() && error.hint.is_some(), "{error}");
    bench.thread.join().unwrap();
    while let Some(command) = bench.following.blocking_recv() {
        assert!(
            matches!(command, Command::Declare(..)),
            "no checkpoint stands over a record that is not there"
        );
    }
}

#[test]
fn a_fence_waits_for_everything_before_it() {
    let mut bench = Bench::start();
    let lead = |bench: &Bench, broker| {
        for partition in 0..PARTITIONS {
            bench.cluster.partition_leader(TABLE, partition, broker).unwrap();
        }
    };
    lead(&bench, None);
    // The way to the fences is open.
    bench.send(&[1]);
    bench.commit();
    bench.until_checkpoint();
    bench.send(&[0, 0, 1, 0]);
    for _ in 0..LOOKS {
        assert_eq!(bench.read(FENCES).concat(), [1]);
    }
    lead(&bench, Some(1));
    bench.commit();
    bench.until_checkpoint();
    assert_eq!(bench.read(FENCES).concat().len(), 2);
    require_first_copies_in_order(&bench.read(TABLE), [2, 3, 5].into_iter());
    drop(bench.commands);
    bench.thread.join().unwrap();
}

#[test]
fn a_reader_whose_tenure_is_in_doubt_sends_nothing_and_takes_back_what_the_library_has_not_sent() {
    let (candidate, leadership) = Leadership::contested();
    candidate.elect();
    candidate.confirm(Instant::now());
    let mut bench = Bench::start_under(leadership.tenure().unwrap());
    let lead = |bench: &Bench, broker| {
        for partition in 0..PARTITIONS {
            bench.cluster.partition_leader(TABLE, partition, broker).unwrap();
        }
    };
    lead(&bench, None);
    bench.send(&[1]);
    bench.commit();
    bench.until_checkpoint();
    // The library holds two records when the process stands still, and gets no more when it goes on. Each look takes longer
    // than a record does.
    bench.send(&[0, 0]);
    assert_eq!(bench.read(FENCES).concat(), [1]);
    candidate.confirm(Instant::now() - CONFIRMATION_AGE_MAX);
    bench.send(&[0]);
    assert_eq!(bench.read(FENCES).concat(), [1]);
    lead(&bench, Some(1));
    for _ in 0..LOOKS {
        assert!(bench.read(TABLE).concat().is_empty());
    }
    // It leads after all.
    candidate.confirm(Instant::now());
    bench.commit();
    bench.until_checkpoint();
    require_first_copies_in_order(&bench.read(TABLE), 2..=4);
    // It does not: what comes now is its successor's.
    candidate.confirm(Instant::now() - CONFIRMATION_AGE_MAX);
    bench.send(&[0]);
    candidate.dismiss();
    let error = bench.outcomes.blocking_recv().unwrap().unwrap_err();
    assert!(error.is_transient(), "{error}");
    require_first_copies_in_order(&bench.read(TABLE), 2..=4);
    bench.thread.join().unwrap();
}
