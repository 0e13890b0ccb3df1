//! The writer for HBase through faults: killed with -9 itself, the way to HBase cut or slow, and an HBase that is killed, paused, read
//! only or emptied, or has one of its tables restored from an older copy. After each, HBase holds exactly what the topics say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/process.rs"]
mod process;
#[path = "hbase/store.rs"]
mod store;
#[path = "hbase/way.rs"]
mod way;
#[path = "writer/world.rs"]
mod world;

use fixtures::Lab;
use hbase_thrift2::TTHBaseServiceSyncClient;
use process::Process;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use store::{Rows, client};
use way::{Mode, Way};
use world::{Source, create_topic};

const TABLES: [&str; 2] = ["shop.a", "shop.b"];
const ANSWER_SECONDS_MAX: u64 = 2;
/// A stop waits for one answer, and for the brokers.
const STOP_DEADLINE: Duration = Duration::from_secs(ANSWER_SECONDS_MAX + 10);

/// Changes to both tables, and what they lead to.
struct Changes {
    expected: [Rows; 2],
    state: u64,
    number: u64,
}

impl Changes {
    fn below(&mut self, bound: u64) -> u64 {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % bound
    }

    async fn make(&mut self, source: &Source, transactions: usize) {
        for _ in 0..transactions {
            source.begin();
            for _ in 0..20 {
                self.number += 1;
                let table = usize::from(self.below(2) == 1);
                let id = self.below(150).to_string();
                let key = format!("{{\"id\":{id}}}");
                if self.below(4) == 0 {
                    source.delete(TABLES[table], &key);
                    self.expected[table].remove(&id);
                    continue;
                }
                let mut columns = vec![("id", id.clone()), ("n", self.number.to_string())];
                let note = (self.below(2) == 0).then(|| format!("note {}", self.number));
                let shown = note.as_ref().map_or("null".into(), |note| format!("{note:?}"));
                columns.extend(note.map(|note| ("note", note)));
                let row = format!("{{\"id\":{id},\"n\":{},\"note\":{shown}}}", self.number);
                source.put(TABLES[table], &key, &row);
                let columns = columns.into_iter().map(|(name, text)| (name.to_owned(), text));
                self.expected[table].insert(id, columns.collect());
            }
            source.commit().await;
        }
    }

    async fn arrive(&self, lab: &Lab, when: &str) {
        fixtures::wait_for(
            &format!("HBase holds exactly the rows expected: {when}"),
            world::DEADLINE,
            async || {
                // A region server whose session ended while it was paused ends itself, and a supervisor starts it again.
                let hbase = lab.hbase().unwrap();
                if !hbase.is_running().await.map_err(|error| error.to_string())? {
                    hbase.start().await.map_err(|error| error.to_string())?;
                }
                let mut client = store::try_client(lab).map_err(|error| error.to_string())?;
                for (table, expected) in TABLES.iter().zip(&self.expected) {
                    let found = store::try_rows(&mut client, table).map_err(|error| error.to_string())?;
                    if found != *expected {
                        let differ = |key: &&String| found.get(*key) != expected.get(*key);
                        let some: Vec<_> = found.keys().chain(expected.keys()).filter(differ).take(2).collect();
                        let (found, expected) = (
                            some.iter().map(|key| found.get(*key)),
                            some.iter().map(|key| expected.get(*key)),
                        );
                        return Err(format!(
                            "{table}, rows {some:?}: found {:?}, expected {:?}",
                            found.collect::<Vec<_>>(),
                            expected.collect::<Vec<_>>()
                        ));
                    }
                }
                Ok(())
            },
        )
        .await
        .unwrap();
    }
}

struct Writer<'a> {
    config: &'a PathBuf,
    process: Option<Process>,
}

impl Writer<'_> {
    fn start(&mut self) {
        let config = self.config.display().to_string();
        self.process = Some(Process::start(
            "hbase",
            &["writer", "hbase", "--config", &config],
            "mysync=info",
        ));
    }

    fn kill(&mut self) {
        self.process.take().unwrap().kill();
    }

    /// Waits until the log holds a text once more than now.
    fn says_again(&self, text: &str) {
        let process = self.process.as_ref().unwrap();
        let before = process.stderr().matches(text).count();
        process::wait_until(&format!("the writer says again: {text}"), || {
            (process.stderr().matches(text).count() > before).then_some(())
        });
    }

    /// Waits until the log holds a text.
    fn says(&self, text: &str) {
        let process = self.process.as_ref().unwrap();
        process::wait_until(&format!("the writer says: {text}"), || {
            process.stderr().contains(text).then_some(())
        });
    }
}

fn configure(lab: &Lab, thrift: &str) -> PathBuf {
    let source = "[source]\nservers = [\"127.0.0.1:1\"]\nuser = \"u\"\nserver_id = 1\ntables = [\"*.*\"]\n";
    let text = lab.config_toml(world::PREFIX, &["*.*"]);
    let address = lab.hbase().unwrap().address();
    let text = text.replace(
        &format!("thrift = {address:?}\n"),
        &format!("thrift = {thrift:?}\nanswer_seconds_max = {ANSWER_SECONDS_MAX}\nbatch_changes_max = 40\n"),
    );
    assert!(text.contains("answer_seconds_max"), "{text}");
    let path = std::env::temp_dir().join(format!(
        "mysync-{}-{}.toml",
        std::process::id(),
        thrift.replace(':', "-")
    ));
    std::fs::write(&path, format!("{source}{text}")).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn after_every_fault_hbase_holds_what_the_topics_say() {
    let lab = Lab::builder().brokers(1).hbase().start().await.unwrap();
    let hbase = lab.hbase().unwrap();
    for table in TABLES {
        create_topic(&lab, &format!("w.{table}"), 3).await;
    }
    let source = Source::open(&lab, "reader").await;
    let mut changes = Changes {
        expected: Default::default(),
        state: 4_711,
        number: 0,
    };
    let way = Way::start(&hbase.address()).await;
    let config = configure(&lab, &way.address);
    let mut writer = Writer {
        config: &config,
        process: None,
    };

    // Killed with -9 again and again.
    for _ in 0..3 {
        writer.start();
        changes.make(&source, 8).await;
        writer.says("partitions assigned");
        writer.kill();
        changes.make(&source, 4).await;
    }
    writer.start();
    changes.arrive(&lab, "the writer was killed").await;

    // Paused: the writer still stops in good order, and the next one waits.
    // Docker gives up where a thread cannot be frozen, because it waits for the disk.
    let paused = async || hbase.pause().await.map_err(|error| error.to_string());
    fixtures::wait_for("HBase is paused", world::DEADLINE, paused)
        .await
        .unwrap();
    changes.make(&source, 5).await;
    writer.says("no answer within");
    let begun = Instant::now();
    assert_eq!(writer.process.take().unwrap().terminate(), 0);
    assert!(begun.elapsed() < STOP_DEADLINE, "{:?}", begun.elapsed());
    writer.start();
    hbase.unpause().await.unwrap();
    changes.arrive(&lab, "HBase was paused").await;

    way.set(Mode::Cut);
    changes.make(&source, 5).await;
    writer.says_again("no answer within");
    way.set(Mode::Slow);
    changes.arrive(&lab, "the way was cut").await;
    changes.make(&source, 20).await;
    changes.arrive(&lab, "the way was slow").await;
    way.set(Mode::Open);

    hbase.kill().await.unwrap();
    changes.make(&source, 5).await;
    hbase.start().await.unwrap();
    changes.make(&source, 5).await;
    changes.arrive(&lab, "HBase was killed").await;

    // What a table without space for more, or one that a person has set so, answers.
    set_read_only(&lab, true);
    changes.make(&source, 5).await;
    writer.says("region is read only");
    set_read_only(&lab, false);
    changes.arrive(&lab, "a table was read only").await;

    // One table from an older copy, while the writer runs.
    hbase.snapshot("shop.a", "older").await.unwrap();
    changes.make(&source, 10).await;
    changes.arrive(&lab, "before an older copy is restored").await;
    hbase.restore("shop.a", "older").await.unwrap();
    changes.make(&source, 5).await;
    changes.arrive(&lab, "a table was restored from an older copy").await;
    writer.says("the table is an older copy");

    // And everything empty.
    hbase.exec(&["sh", "-c", "rm -rf /data/*"]).await.unwrap();
    hbase.kill().await.unwrap();
    hbase.start().await.unwrap();
    changes.make(&source, 5).await;
    changes.arrive(&lab, "HBase came back empty").await;
    assert_eq!(writer.process.take().unwrap().terminate(), 0);
    std::fs::remove_file(&config).unwrap();
    lab.down().await.unwrap();
}

fn set_read_only(lab: &Lab, on: bool) {
    let mut client = client(lab);
    let mut table = client.get_table_descriptor(store::table_name("shop.a")).unwrap();
    table.attributes = Some([(b"READONLY".to_vec(), on.to_string().into_bytes())].into());
    client.modify_table(table).unwrap();
}
