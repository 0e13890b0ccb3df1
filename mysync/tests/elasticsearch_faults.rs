//! Faults of Elasticsearch while a writer works: whatever the fault, in the end the rows are those that the changes lead to, and
//! nothing is refused. Needs Docker and the lab's images; without them it fails with the remedy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "elasticsearch/world.rs"]
mod world;

use mysync::error::{Error, Result};
use mysync::target::elasticsearch::ElasticsearchTarget;
use mysync::target::{Outcome, Target};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use world::{Log, Types, World, catch_up, wait_until};

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A writer that works beside whatever else happens.
struct Work {
    log: RefCell<Log>,
    errors: RefCell<Vec<Error>>,
    is_applying: Cell<bool>,
    applied: Cell<usize>,
    ends: Cell<bool>,
}

impl Work {
    fn new(name: &str) -> Self {
        Self {
            log: RefCell::new(Log::new(&format!("{name}.shop.{name}"), &format!("shop.{name}"))),
            errors: RefCell::default(),
            is_applying: Cell::new(false),
            applied: Cell::new(0),
            ends: Cell::new(false),
        }
    }

    /// Applies what comes until it shall end and has applied everything.
    async fn apply(&self, target: &mut ElasticsearchTarget<Types>) {
        while let Err(error) = self.try_to_apply(target).await {
            assert!(error.is_transient(), "{error}");
            self.errors.borrow_mut().push(error);
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn try_to_apply(&self, target: &mut ElasticsearchTarget<Types>) -> Result<()> {
        target.connect().await?;
        let partition = self.log.borrow().partition.clone();
        let mut cursor = target.cursors(std::slice::from_ref(&partition)).await?[&partition];
        loop {
            let Some(step) = self.log.borrow().step(cursor, 40) else {
                if self.ends.get() {
                    return Ok(());
                }
                tokio::time::sleep(POLL_INTERVAL).await;
                continue;
            };
            self.is_applying.set(true);
            let outcomes = target.apply(std::slice::from_ref(&step)).await;
            self.is_applying.set(false);
            match outcomes?.as_slice() {
                [Outcome::Applied] => cursor = Some(step.cursor_after),
                other => panic!("{other:?}"),
            }
            self.applied.set(self.applied.get() + step.changes.len());
        }
    }

    fn churn(&self, changes: usize) {
        self.log.borrow_mut().churn(changes, 30);
    }

    /// Until the writer has met an error that says this.
    async fn meets(&self, text: &str) {
        let known = self.errors.borrow().len();
        let met = || {
            self.errors.borrow()[known..]
                .iter()
                .any(|error| error.to_string().contains(text))
        };
        wait_until(text, async || met()).await;
    }

    /// Until all that there is now is applied.
    async fn is_through(&self, world: &World) {
        let (alias, expected) = {
            let log = self.log.borrow();
            (format!("shop.{}", log.table.table), log.rows())
        };
        wait_until("the rows are there", async || world.rows(&alias).await == expected).await;
    }
}

/// A writer works while a fault strikes; then the rows must be there.
async fn under(world: &World, name: &str, fault: impl AsyncFnOnce(&Work)) {
    let work = Work::new(name);
    let mut target = world.target(name, "bulk_bytes_max = 65536\n");
    let striking = async {
        work.churn(200);
        work.is_through(world).await;
        fault(&work).await;
        work.churn(100);
        work.is_through(world).await;
        work.ends.set(true);
    };
    tokio::join!(work.apply(&mut target), striking);
    assert!(work.applied.get() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_the_node_is_waited_for() {
    let world = World::elasticsearch().await;
    let node = &world.node;
    under(&world, "blocked", async |work| {
        let block = "{\"index.blocks.read_only_allow_delete\":true}";
        world.must("PUT", "/shop.blocked~rows/_settings", block).await;
        work.churn(20);
        work.meets("flood-stage").await;
        let block = "{\"index.blocks.read_only_allow_delete\":null}";
        world.must("PUT", "/shop.blocked~rows/_settings", block).await;
    })
    .await;
    under(&world, "closed", async |work| {
        world.must("POST", "/shop.closed~rows/_close", "").await;
        work.churn(20);
        work.meets("index_closed_exception").await;
        world.must("POST", "/shop.closed~rows/_open", "").await;
    })
    .await;
    under(&world, "paused", async |work| {
        node.pause().await.unwrap();
        work.churn(20);
        wait_until("a request waits", async || work.is_applying.get()).await;
        node.unpause().await.unwrap();
        wait_until("it is answered", async || !work.is_applying.get()).await;
    })
    .await;
    under(&world, "killed", async |work| {
        work.churn(2_000);
        wait_until("it is at it", async || work.is_applying.get()).await;
        node.kill().await.unwrap();
        // It may have been through before the node was gone.
        work.churn(20);
        work.meets("no answer from Elasticsearch").await;
        node.start().await.unwrap();
    })
    .await;
    under(&world, "cut", async |work| {
        node.cut_off().await.unwrap();
        work.churn(20);
        work.meets("no answer from Elasticsearch").await;
        node.reconnect().await.unwrap();
    })
    .await;
    a_slow_way_to_the_node_is_slow_and_nothing_else(&world).await;
    world.lab.down().await.unwrap();
}

const DATA: &str = "/usr/share/elasticsearch/data";

/// The data directory while the server still has it open: what it holds in memory is gone with the kill.
async fn comes_back_with(world: &World, commands: &str) {
    world.node.exec(&["sh", "-c", commands]).await.unwrap();
    world.node.kill().await.unwrap();
    world.node.start().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_comes_back_older_or_empty_is_filled_again() {
    let world = World::elasticsearch().await;
    let mut log = Log::new("old.shop.old", "shop.old");
    let mut target = world.target("old", "");
    log.churn(200, 30);
    catch_up(&mut target, &[&log], 50).await.unwrap();
    world.must("POST", "/_flush?force=true", "").await;
    world.node.exec(&["cp", "-a", DATA, "/tmp/backup"]).await.unwrap();
    log.churn(50, 30);
    log.delete("1");
    catch_up(&mut target, &[&log], 50).await.unwrap();

    // An older copy of everything: the cursor in it is older, and only what is behind it comes again.
    comes_back_with(
        &world,
        &format!("rm -rf {DATA}/* && cp -a /tmp/backup/. {DATA}/ && rm -f {DATA}/node.lock"),
    )
    .await;
    assert_ne!(world.rows("shop.old").await, log.rows());
    let (sent, _) = catch_up(&mut target, &[&log], 1).await.unwrap();
    assert_eq!(sent, 51);
    assert_eq!(world.rows("shop.old").await, log.rows());

    comes_back_with(&world, &format!("rm -rf {DATA}/*")).await;
    assert_eq!(world.ask("GET", "/shop.old~rows", "").await.0, 404);
    let (sent, _) = catch_up(&mut target, &[&log], 50).await.unwrap();
    assert!(sent > 100, "{sent}");
    assert_eq!(world.rows("shop.old").await, log.rows());
    world.lab.down().await.unwrap();
}

/// Passes on so many bytes at a time, with a pause after each.
async fn slow_proxy(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((from, _)) = listener.accept().await {
            tokio::spawn(async move {
                let to = TcpStream::connect(to).await.unwrap();
                let (mut from_read, mut from_write) = from.into_split();
                let (mut to_read, mut to_write) = to.into_split();
                let slowly = async {
                    let mut bytes = [0; 2_048];
                    while let Ok(count @ 1..) = from_read.read(&mut bytes).await {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        if to_write.write_all(&bytes[..count]).await.is_err() {
                            break;
                        }
                    }
                };
                let back = tokio::io::copy(&mut to_read, &mut from_write);
                tokio::select! {
                    () = slowly => {}
                    copied = back => drop(copied),
                }
            });
        }
    });
    address
}

async fn a_slow_way_to_the_node_is_slow_and_nothing_else(world: &World) {
    let proxy = slow_proxy(world.node.address().parse().unwrap()).await;
    let mut config = world.config("bulk_bytes_max = 200000\n");
    config.urls = vec![format!("http://{proxy}")];
    let mut target = ElasticsearchTarget::new(&config, "slow", world.types.clone()).unwrap();
    let mut log = Log::new("slow.shop.slow", "shop.slow");
    for key in 0..400 {
        log.put(&key.to_string(), &"x".repeat(1_000));
    }
    let (sent, errors) = catch_up(&mut target, &[&log], 200).await.unwrap();
    assert_eq!((sent, errors.len()), (400, 0), "{errors:?}");
    assert_eq!(world.rows("shop.slow").await, log.rows());
}
