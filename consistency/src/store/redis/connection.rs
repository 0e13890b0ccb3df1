//! The sessions with Redis: a few with the one server that is written to, used in turn, or some with each master of a cluster.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use redis::{Pipeline, RedisError, ServerErrorKind, Value};

use super::Client;
use super::session::{Access, ask, broke};
use super::slots::{SlotMap, slot_of};
use crate::config::redis::Servers;
use crate::config::{Address, Redis};
use crate::error::Error;

/// How often a command follows a slot that moves.
const REDIRECTIONS_MAX: usize = 20;
const REDIRECTION_PAUSE: Duration = Duration::from_millis(50);

/// Where a scan goes on: on which server, and behind which of its cursors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanPlace {
    server: usize,
    cursor: String,
}

impl ScanPlace {
    /// At the beginning.
    pub fn first() -> Self {
        Self {
            server: 0,
            cursor: "0".to_owned(),
        }
    }
}

/// The sessions.
pub struct Connections {
    servers: Vec<Server>,
    /// Of a cluster: whose each slot is, as far as is known.
    slots: Option<Mutex<SlotMap>>,
}

/// Several sessions with one server, since one parses its answers in one task.
struct Server {
    address: Address,
    clients: Vec<Client>,
    next: AtomicUsize,
}

impl Server {
    async fn open(access: &Access, address: Address, count: usize) -> Result<Self, Error> {
        let clients = try_join_all((0..count).map(|_| access.open(&address))).await?;
        let next = AtomicUsize::new(0);
        Ok(Self { address, clients, next })
    }

    fn client(&self) -> Client {
        self.clients[self.next.fetch_add(1, Ordering::Relaxed) % self.clients.len()].clone()
    }

    async fn ask(&self, pipeline: &Pipeline) -> Result<Vec<Value>, Error> {
        let answers = pipeline.query_async(&mut self.client()).await;
        answers.map_err(|error: RedisError| broke(&self.address, &error.to_string()))
    }
}

impl Connections {
    /// Opens as many sessions with each server as asked for.
    pub async fn open(section: &Redis, count: usize) -> Result<Self, Error> {
        let access = Access::to_servers(section)?;
        let address = match &section.servers {
            Servers::One(address) => address.clone(),
            Servers::Several(addresses) => only_master(&access, addresses).await?,
            Servers::Sentinels(sentinels, name) => {
                named_master(&Access::to_sentinels(section)?, sentinels, name).await?
            }
            Servers::Cluster(nodes) => return Self::open_cluster(&access, nodes, count).await,
        };
        Ok(Self {
            servers: vec![Server::open(&access, address, count).await?],
            slots: None,
        })
    }

    async fn open_cluster(access: &Access, nodes: &[Address], count: usize) -> Result<Self, Error> {
        let mut last = None;
        for node in nodes {
            match read_slots(access, node).await {
                Ok(slots) => {
                    let masters = slots.masters().into_iter();
                    let servers = masters.map(|master| Server::open(access, master, count));
                    return Ok(Self {
                        servers: try_join_all(servers).await?,
                        slots: Some(Mutex::new(slots)),
                    });
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| no_owner(0)))
    }

    /// One command for each key; the answers stand in the order of the keys, an error of the server as its value.
    pub async fn ask(&self, command: &str, keys: &[Vec<u8>]) -> Result<Vec<Value>, Error> {
        let mut answers = vec![Value::Nil; keys.len()];
        let mut waiting: Vec<(usize, Option<Address>)> = (0..keys.len()).map(|place| (place, None)).collect();
        for _ in 0..REDIRECTIONS_MAX {
            let mut batches: BTreeMap<usize, Vec<(usize, bool)>> = BTreeMap::new();
            for (place, asked) in waiting {
                let server = self.server_of(&keys[place], asked.as_ref())?;
                batches.entry(server).or_default().push((place, asked.is_some()));
            }
            waiting = Vec::new();
            let sent = batches.iter().map(|(server, batch)| async move {
                let mut pipeline = Pipeline::with_capacity(batch.len());
                pipeline.ignore_errors();
                for (place, is_asked) in batch {
                    if *is_asked {
                        pipeline.cmd("ASKING");
                    }
                    pipeline.cmd(command).arg(keys[*place].as_slice());
                }
                self.servers[*server].ask(&pipeline).await
            });
            let found = join_all(sent).await;
            for ((server, batch), found) in batches.iter().zip(found) {
                let mut found = found?.into_iter();
                for (place, is_asked) in batch {
                    if *is_asked {
                        found.next();
                    }
                    let answer = found.next().unwrap_or(Value::Nil);
                    match self.redirected(&answer, &self.servers[*server].address, &keys[*place]) {
                        Some(asked) => waiting.push((*place, asked)),
                        None => answers[*place] = answer,
                    }
                }
            }
            if waiting.is_empty() {
                return Ok(answers);
            }
            tokio::time::sleep(REDIRECTION_PAUSE).await;
        }
        Err(Error::failed(
            "redis sends a command from node to node",
            format!("{} of {} keys found no node", waiting.len(), keys.len()),
            "check again when no slots are being moved",
        ))
    }

    /// The place of the server to ask for a key.
    fn server_of(&self, key: &[u8], asked: Option<&Address>) -> Result<usize, Error> {
        let Some(slots) = &self.slots else {
            return Ok(0);
        };
        let slot = slot_of(key);
        let owner = match asked {
            Some(asked) => Some(asked.clone()),
            None => slots.lock().ok().and_then(|slots| slots.owner(slot).cloned()),
        };
        let owner = owner.ok_or_else(|| no_owner(slot))?;
        let place = self.servers.iter().position(|server| server.address == owner);
        place.ok_or_else(|| {
            Error::failed(
                "the Redis Cluster has a node that was not there when the check began",
                format!("slot {slot}, {owner}"),
                "check again",
            )
        })
    }

    /// Whether the command is to be sent again, and to which node, if not to the slot's owner.
    fn redirected(&self, answer: &Value, from: &Address, key: &[u8]) -> Option<Option<Address>> {
        let (Some(slots), Value::ServerError(error)) = (&self.slots, answer) else {
            return None;
        };
        let target = || {
            let (_, target) = error.details()?.split_once(' ')?;
            let (host, port) = target.rsplit_once(':')?;
            super::slots::address(host, port.parse().ok()?, from)
        };
        match error.kind()? {
            ServerErrorKind::Ask => Some(Some(target()?)),
            ServerErrorKind::TryAgain => Some(None),
            ServerErrorKind::Moved => {
                if let (Ok(mut slots), Some(target)) = (slots.lock(), target()) {
                    slots.set(slot_of(key), &target);
                }
                Some(None)
            }
            _ => None,
        }
    }

    /// One step of a SCAN: where it goes on, if anywhere, and the keys found.
    pub async fn scan(
        &self,
        place: &ScanPlace,
        pattern: &[u8],
        count: usize,
    ) -> Result<(Option<ScanPlace>, Vec<Vec<u8>>), Error> {
        let Some(server) = self.servers.get(place.server) else {
            return Ok((None, Vec::new()));
        };
        let mut command = redis::cmd("SCAN");
        command
            .arg(&place.cursor)
            .arg("MATCH")
            .arg(pattern)
            .arg("COUNT")
            .arg(count);
        let answer = command.query_async(&mut server.client()).await;
        let (cursor, keys): (String, Vec<Vec<u8>>) =
            answer.map_err(|error: RedisError| broke(&server.address, &error.to_string()))?;
        let next = match cursor.as_str() {
            "0" if place.server + 1 == self.servers.len() => None,
            "0" => Some(ScanPlace {
                server: place.server + 1,
                ..ScanPlace::first()
            }),
            _ => Some(ScanPlace {
                server: place.server,
                cursor,
            }),
        };
        Ok((next, keys))
    }
}

fn no_owner(slot: u16) -> Error {
    Error::failed(
        "the Redis Cluster is not whole",
        format!("slot {slot} has no owner"),
        "see CLUSTER INFO of its nodes",
    )
}

async fn read_slots(access: &Access, node: &Address) -> Result<SlotMap, Error> {
    let client = access.open(node).await?;
    let answer: Value = ask(&client, node, &["CLUSTER", "SLOTS"]).await?;
    let slots =
        SlotMap::parse(&answer, node).ok_or_else(|| broke(node, "its answer to CLUSTER SLOTS is no list of slots"))?;
    match slots.masters().is_empty() {
        false => Ok(slots),
        true => Err(no_owner(0)),
    }
}

async fn only_master(access: &Access, addresses: &[Address]) -> Result<Address, Error> {
    let roles = join_all(addresses.iter().map(|address| async move {
        let client = access.open(address).await?;
        let role: Vec<Value> = ask(&client, address, &["ROLE"]).await?;
        Ok::<_, Error>(matches!(role.first(), Some(Value::BulkString(text)) if text == b"master"))
    }))
    .await;
    let mut masters = Vec::new();
    let mut last = None;
    for (address, role) in addresses.iter().zip(roles) {
        match role {
            Ok(true) => masters.push(address),
            Ok(false) => {}
            Err(error) => last = Some(error),
        }
    }
    match (masters.as_slice(), last) {
        ([master], _) => Ok((*master).clone()),
        ([], Some(error)) => Err(error),
        _ => Err(Error::failed(
            "not one of the Redis servers is the master",
            format!("{} of {} say that they are", masters.len(), addresses.len()),
            "promote one (REPLICAOF NO ONE), and make the others its replicas",
        )),
    }
}

async fn named_master(access: &Access, sentinels: &[Address], name: &str) -> Result<Address, Error> {
    let named = join_all(sentinels.iter().map(|sentinel| async move {
        let client = access.open(sentinel).await?;
        let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", name];
        let named: Option<(String, u16)> = ask(&client, sentinel, &words).await?;
        Ok::<_, Error>(named)
    }))
    .await;
    let mut votes: BTreeMap<(String, u16), usize> = BTreeMap::new();
    let mut last = None;
    for named in named {
        match named {
            Ok(Some(named)) => *votes.entry(named).or_default() += 1,
            Ok(None) => {}
            Err(error) => last = Some(error),
        }
    }
    match (votes.into_iter().max_by_key(|(_, votes)| *votes), last) {
        (Some(((host, port), _)), _) => Ok(Address { host, port }),
        (None, Some(error)) => Err(error),
        (None, None) => Err(Error::configuration(
            "no sentinel knows the master",
            name,
            "correct writer.redis.master_name: sentinel monitor <master-name> ...",
        )),
    }
}
