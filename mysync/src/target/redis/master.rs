//! Which server is written to: the only one, the one of several that is the master, or the one that sentinels name.

use super::access::{Access, Session};
use crate::config::RedisWriter;
use crate::error::{Error, Result};
use futures::future::join_all;
use redis::Value;
use std::collections::BTreeMap;

/// Where the master is looked for.
pub(super) enum Place {
    /// This one, whatever it is: as a replica it refuses writes.
    One(String),
    /// The only one among these that is a master.
    Several(Vec<String>),
    /// What most of the sentinels say.
    Sentinels {
        access: Access,
        addresses: Vec<String>,
        master: String,
    },
}

impl Place {
    pub(super) fn new(config: &RedisWriter) -> Result<Self> {
        let owned = |addresses: &[String]| addresses.to_vec();
        match (&config.address, &config.master_name) {
            (Some(address), _) => Ok(Self::One(address.clone())),
            (None, Some(master)) => Ok(Self::Sentinels {
                access: Access::to_sentinels(config)?,
                addresses: owned(&config.sentinels),
                master: master.clone(),
            }),
            (None, None) => Ok(Self::Several(owned(&config.addresses))),
        }
    }

    pub(super) async fn open_master(&self, access: &Access) -> Result<Session> {
        match self {
            Self::One(address) => access.open(address).await,
            Self::Several(addresses) => only_master(access, addresses).await,
            Self::Sentinels {
                access: to_sentinels,
                addresses,
                master,
            } => {
                let address = ask_sentinels(to_sentinels, addresses, master).await?;
                let (session, is_master) = open(access, &address).await?;
                match is_master {
                    true => Ok(session),
                    false => Err(Error::transient(format!(
                        "the sentinels name a server that is not the master: {address}"
                    ))
                    .hint("a failover is under way")),
                }
            }
        }
    }
}

/// A session, and whether the server is a master.
async fn open(access: &Access, address: &str) -> Result<(Session, bool)> {
    let mut session = access.open(address).await?;
    let what = || format!("cannot ask Redis at {address} for its role");
    let role: Vec<Value> = session.ask(&redis::cmd("ROLE"), what).await?;
    let is_master = matches!(role.first(), Some(Value::BulkString(text)) if text == b"master");
    Ok((session, is_master))
}

async fn only_master(access: &Access, addresses: &[String]) -> Result<Session> {
    let opened = join_all(addresses.iter().map(|address| open(access, address))).await;
    let mut masters = Vec::new();
    let mut seen = Vec::new();
    for (address, opened) in addresses.iter().zip(opened) {
        match opened {
            Ok((session, true)) => masters.push(session),
            Ok((_, false)) => seen.push(format!("{address} is a replica")),
            Err(error) if error.is_transient() => seen.push(error.one_line()),
            Err(error) => return Err(error),
        }
    }
    if masters.len() > 1 {
        let names: Vec<&str> = masters.iter().map(|session| session.address.as_str()).collect();
        return Err(
            Error::transient(format!("several Redis servers are masters: {}", names.join(", ")))
                .hint("make all but one replicas (REPLICAOF), or stop them: the writer waits for that"),
        );
    }
    masters.pop().ok_or_else(|| {
        Error::transient("no Redis server of writer.redis.addresses is a master")
            .detail(seen.join("; "))
            .hint("promote one: REPLICAOF NO ONE")
    })
}

/// The address that most of the sentinels give: one that is cut off from the others may name a former master.
async fn ask_sentinels(access: &Access, addresses: &[String], master: &str) -> Result<String> {
    let answers = join_all(addresses.iter().map(|address| ask_sentinel(access, address, master))).await;
    let mut votes: BTreeMap<String, usize> = BTreeMap::new();
    let (mut seen, mut is_known, mut silent) = (Vec::new(), false, false);
    for (address, answer) in addresses.iter().zip(answers) {
        match answer {
            Ok(Some(named)) => {
                is_known = true;
                *votes.entry(named).or_default() += 1;
            }
            Ok(None) => seen.push(format!("{address} knows no such master")),
            Err(error) if error.is_transient() => {
                silent = true;
                seen.push(error.one_line());
            }
            Err(error) => return Err(error),
        }
    }
    if let Some((address, _)) = votes.into_iter().max_by_key(|(_, count)| *count) {
        return Ok(address);
    }
    let what = format!("no sentinel names the master {master:?}");
    let error = match silent || is_known {
        true => Error::transient(what).hint("are the sentinels up?"),
        false => {
            Error::configuration(what).hint("correct writer.redis.master_name: sentinel monitor <master-name> ...")
        }
    };
    Err(error.detail(seen.join("; ")))
}

async fn ask_sentinel(access: &Access, address: &str, master: &str) -> Result<Option<String>> {
    let mut session = access.open(address).await?;
    let mut command = redis::cmd("SENTINEL");
    command.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
    let what = || format!("cannot ask the sentinel at {address}");
    let named: Option<(String, u16)> = session.ask(&command, what).await?;
    Ok(named.map(|(host, port)| match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }))
}
