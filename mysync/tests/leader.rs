//! Two readers of one name, in each way of delivery, while a workload goes on: the one that leads is stopped in good order,
//! stands still and goes on, is killed, is cut off from MySQL, and the brokers stand still. Each change is published, in order, once or (sequenced) with the
//! version that it had; and it is known who leads. Needs Docker and the lab's images.
//!
//! `MYSYNC_PAUSE_SECONDS` makes the pause longer than the brokers' patience alone asks for.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

#[path = "support/process.rs"]
mod process;
#[path = "leader/watcher.rs"]
mod watcher;
#[path = "support/way.rs"]
mod way;

use fixtures::Lab;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use process::{Process, free_address, get, mysync, wait_until};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use watcher::Watcher;
use way::Way;

/// Longer than the brokers wait for a reader that is not heard of.
const PAUSE_SECONDS_MIN: u64 = 8;
/// A leader that leaves is followed at once, one that is gone without a word when the brokers have waited for 6 s; what is allowed
/// has room for a machine that is busy with other things. One that is cut off from MySQL gives up after 15 s.
const TAKEOVER_MAX: Duration = Duration::from_secs(50);
/// The controller does not take the broker that stands still for dead: a partition without a leader can leave transactions in
/// Kafka without an outcome (see the README), which a person has to end.
const BROKER_SESSION_MS: u32 = 120_000;
const TRANSACTION_INTERVAL: Duration = Duration::from_millis(5);

const LEADING: &str = "leading";
const STANDBY: &str = "standby";

/// One reader's process, or its place while there is none.
struct Reader {
    name: String,
    config: String,
    address: String,
    process: Option<Process>,
    /// To MySQL.
    way: Way,
}

impl Reader {
    fn start(&mut self) {
        // What the process before it left is removed first: its log has the same name.
        self.process = None;
        let arguments = ["reader", "--config", &self.config, "--metrics", &self.address];
        self.process = Some(Process::start(&self.name, &arguments, "mysync=debug"));
    }

    fn process(&mut self) -> &mut Process {
        self.process.as_mut().unwrap()
    }

    /// `leading` or `standby`, and whether it is healthy.
    fn leadership(&self) -> Option<(String, bool)> {
        let (_, text) = get(&self.address, "/status")?;
        let status: serde_json::Value = serde_json::from_str(&text).unwrap();
        let leadership = status["reader"]["leadership"].as_str()?.to_owned();
        Some((leadership, status["healthy"].as_bool().unwrap()))
    }

    fn wait_until(&self, expected: &str) {
        let condition = format!("{} is {expected} and healthy", self.name);
        wait_until(&condition, || {
            self.leadership().filter(|found| *found == (expected.to_owned(), true))
        });
        let (code, text) = get(&self.address, "/metrics").unwrap();
        let line = format!("mysync_reader_leading {}", u8::from(expected == LEADING));
        assert!(code == 200 && text.contains(&line), "{line} is not in:\n{text}");
    }
}

/// The two readers of one name, and a consumer of what they publish.
struct Pair {
    delivery: &'static str,
    readers: [Reader; 2],
    watcher: Watcher,
}

impl Pair {
    async fn new(lab: &Lab, delivery: &'static str, server_id: u32) -> Self {
        let primary = lab.primary().unwrap().address();
        let text = lab
            .config_toml(delivery, &["shop.*"])
            .replace("server_id = 4271", &format!("server_id = {server_id}"))
            .replace("[reader]", &format!("[reader]\nha = true\ndelivery = \"{delivery}\""));
        assert!(text.contains("ha = true") && text.contains(&primary), "{text}");
        let reader = async |name: &str| {
            let name = format!("{delivery}-{name}");
            let config = lab.folder().join(format!("{name}.toml"));
            let way = Way::to(&primary).await;
            std::fs::write(&config, text.replace(&primary, &way.address)).unwrap();
            Reader {
                name,
                config: config.display().to_string(),
                address: free_address(),
                process: None,
                way,
            }
        };
        Self {
            delivery,
            readers: [reader("a").await, reader("b").await],
            watcher: Watcher::new(&lab.kafka().unwrap().bootstrap(), &format!("{delivery}.shop.a")),
        }
    }

    fn begin(&mut self) {
        self.readers[0].start();
        self.readers[0].wait_until(LEADING);
        self.readers[1].start();
        self.readers[1].wait_until(STANDBY);
        self.readers[0].wait_until(LEADING);
        self.watcher.start();
    }

    /// Strikes the leader, and says how long it took until a change of the other's could be seen.
    fn strike(&mut self, what: &str, strike: impl FnOnce(&mut Reader)) {
        self.watcher.wait_for_more();
        let struck_at = Instant::now();
        strike(&mut self.readers[0]);
        self.readers[1].wait_until(LEADING);
        self.watcher.wait_for_more();
        let silence = self.watcher.silence_after(struck_at);
        eprintln!(
            "{}: {what}: a change of the new leader after {silence:.2?}",
            self.delivery
        );
        assert!(
            silence < TAKEOVER_MAX,
            "{what}: {silence:?} is more than {TAKEOVER_MAX:?}"
        );
        // The leader stands first.
        self.readers.swap(0, 1);
    }

    fn strikes(&mut self) {
        self.strike("stopped", |leader| assert_eq!(leader.process().terminate(), 0));
        self.readers[1].start();
        self.readers[1].wait_until(STANDBY);

        let paused_at = Instant::now();
        self.strike("stands still", |leader| leader.process().signal("STOP"));
        while paused_at.elapsed() < pause() {
            self.watcher.wait_for_more();
        }
        self.readers[1].process().signal("CONT");
        self.readers[1].wait_until(STANDBY);
        self.readers[0].wait_until(LEADING);

        // The one that stood still takes over again.
        self.strike("killed", |leader| leader.process().signal("KILL"));
        self.readers[1].start();
        self.readers[1].wait_until(STANDBY);

        self.strike("cut off from MySQL", |leader| leader.way.open(false));
        self.readers[1].wait_until(STANDBY);
        self.readers[1].way.open(true);
    }

    /// While the brokers are away: one that waits for the outcome of a commit does not know whether it leads, and says that it is
    /// not healthy.
    fn wait_until_nobody_leads(&self) {
        wait_until("nobody leads in good health", || {
            let leadership = self.readers.each_ref().map(Reader::leadership);
            let leads = |found: &Option<(String, bool)>| {
                found.as_ref().is_none_or(|(name, healthy)| name == LEADING && *healthy)
            };
            (!leadership.iter().any(leads)).then_some(())
        });
    }

    fn wait_until_one_leads(&mut self) {
        let leader = wait_until("one leads again, and the other stands by", || {
            let [one, other] = self.readers.each_ref().map(Reader::leadership);
            let found = [one?, other?];
            let is = |name: &str| found.iter().position(|found| *found == (name.to_owned(), true));
            is(STANDBY).and(is(LEADING))
        });
        self.watcher.wait_for_more();
        self.readers.swap(0, leader);
        let status = mysync(&["status", "--address", &self.readers[1].address]);
        assert_eq!(status.code, 0, "one that stands by is healthy: {status:?}");
        assert!(status.stdout.contains("leadership           standby"), "{status:?}");
    }
}

fn pause() -> Duration {
    let asked = std::env::var("MYSYNC_PAUSE_SECONDS").map_or(0, |seconds| seconds.parse().unwrap());
    Duration::from_secs(asked.max(PAUSE_SECONDS_MIN))
}

/// Transactions of two changes each: a new row, and a counter. Gives the number of transactions.
async fn work(mut connection: Conn, done: Arc<AtomicBool>) -> u64 {
    let mut number = 0;
    while !done.load(Ordering::Relaxed) {
        number += 1;
        let statements = format!(
            "BEGIN; INSERT INTO shop.a VALUES ({number}, 0); UPDATE shop.a SET v = {number} WHERE id = 0; COMMIT"
        );
        connection.query_drop(statements).await.unwrap();
        tokio::time::sleep(TRANSACTION_INTERVAL).await;
    }
    connection.disconnect().await.unwrap();
    number
}

/// Each pair on a thread of its own.
async fn in_each(pairs: [Pair; 2], act: fn(&mut Pair)) -> [Pair; 2] {
    let acting = pairs.map(|mut pair| {
        tokio::task::spawn_blocking(move || {
            act(&mut pair);
            pair
        })
    });
    let [one, other] = acting;
    [one.await.unwrap(), other.await.unwrap()]
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_readers_leads_and_the_other_takes_over_whatever_becomes_of_it() {
    let lab = Lab::builder()
        .name("leader")
        .mysql("8.0")
        .brokers(1)
        .broker_session_ms(BROKER_SESSION_MS)
        .start()
        .await
        .unwrap();
    let primary = lab.primary().unwrap();
    for statement in [
        "CREATE DATABASE shop",
        "CREATE TABLE shop.a (id INT PRIMARY KEY, v INT)",
        "INSERT INTO shop.a VALUES (0, 0)",
    ] {
        primary.sql(statement).await.unwrap();
    }
    let done = Arc::new(AtomicBool::new(false));
    let working = tokio::spawn(work(primary.connect().await.unwrap(), Arc::clone(&done)));
    let pairs = [
        Pair::new(&lab, "transactional", 4_271).await,
        Pair::new(&lab, "sequenced", 4_272).await,
    ];
    let pairs = in_each(pairs, Pair::begin).await;
    let pairs = in_each(pairs, Pair::strikes).await;
    let broker = lab.kafka().unwrap().broker(1).unwrap();
    broker.pause().await.unwrap();
    let pairs = in_each(pairs, |pair| pair.wait_until_nobody_leads()).await;
    broker.unpause().await.unwrap();
    let pairs = in_each(pairs, Pair::wait_until_one_leads).await;
    done.store(true, Ordering::Relaxed);
    let transactions = working.await.unwrap();
    for mut pair in pairs {
        tokio::task::block_in_place(|| {
            pair.watcher.judge(transactions, pair.delivery == "transactional");
            assert_eq!(
                pair.readers.each_mut().map(|reader| reader.process().terminate()),
                [0, 0]
            );
        });
    }
}
