//! The nodes of a Redis Cluster: commands go to the node that owns their slot, and follow when it has moved.

use super::super::access::{Access, Session};
use super::super::script;
use super::slots::{CursorSlots, SlotMap, address};
use crate::error::{Error, Result};
use futures::future::join_all;
use redis::{Cmd, Pipeline, ServerErrorKind, ToRedisArgs, Value};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// For how long redirections are followed, and keys waited for that stand on two nodes.
const REDIRECTIONS_MAX: Duration = Duration::from_secs(10);

/// Between two looks at keys that stand on two nodes.
const TRY_AGAIN_INTERVAL: Duration = Duration::from_millis(20);

/// A script that every node knows.
#[derive(Debug, Clone, Copy)]
pub(super) enum Script {
    Row,
    Cursor,
}

/// A command whose keys lie in one slot.
pub(super) struct Call {
    slot: u16,
    command: Cmd,
}

impl Call {
    pub(super) fn plain(slot: u16, name: &str, key: &str) -> Self {
        let mut command = redis::cmd(name);
        command.arg(key);
        Self { slot, command }
    }

    pub(super) fn arg(&mut self, argument: impl ToRedisArgs) -> &mut Self {
        self.command.arg(argument);
        self
    }

    pub(super) fn command(&mut self) -> &mut Cmd {
        &mut self.command
    }
}

pub(super) struct Nodes {
    access: Access,
    /// Asked for the map, one after the other: those of the configuration, and all that were seen.
    known: Vec<String>,
    map: SlotMap,
    sessions: BTreeMap<String, Session>,
    /// The scripts' names, the same on every node.
    row: String,
    cursor: String,
}

/// A command that waits: its place, and the node to ask where it is not the owner of the slot.
struct Waiting {
    index: usize,
    asked: Option<String>,
}

impl Nodes {
    pub(super) fn new(access: Access, known: Vec<String>) -> Self {
        Self {
            access,
            known,
            map: SlotMap::default(),
            sessions: BTreeMap::new(),
            row: String::new(),
            cursor: String::new(),
        }
    }

    /// Reads the map from the first node that tells it, and opens a session with every master.
    pub(super) async fn connect(&mut self) -> Result<()> {
        self.sessions.clear();
        let mut seen = Vec::new();
        // Each time another node is asked first: one that is cut off from the others goes on telling what was.
        self.known.rotate_left(1);
        for address in self.known.clone() {
            match self.read_map(&address).await {
                Ok(map) => {
                    self.map = map;
                    let masters: Vec<String> = self.map.masters().map(str::to_owned).collect();
                    for master in masters {
                        self.open(&master).await?;
                    }
                    return Ok(());
                }
                Err(error) if error.is_transient() => seen.push(error.one_line()),
                Err(error) => return Err(error),
            }
        }
        Err(Error::transient("no node of the Redis Cluster can be used")
            .detail(seen.join("; "))
            .hint("are the nodes of writer.redis.cluster up?"))
    }

    async fn read_map(&self, address: &str) -> Result<SlotMap> {
        let mut session = self.access.open(address).await?;
        let mut command = redis::cmd("CLUSTER");
        command.arg("SLOTS");
        let what = || format!("cannot ask {address} which node owns which slot");
        let map = SlotMap::parse(&session.ask::<Value>(&command, what).await?, address)?;
        let is_empty = map.masters().next().is_none();
        match is_empty {
            false => Ok(map),
            true => Err(
                Error::transient(format!("no node of the Redis Cluster owns slots: {address}"))
                    .hint("create the cluster: redis-cli --cluster create ..."),
            ),
        }
    }

    async fn open(&mut self, address: &str) -> Result<()> {
        if self.sessions.contains_key(address) {
            return Ok(());
        }
        let mut session = self.access.open(address).await?;
        self.row = session.load(script::ROW).await?;
        self.cursor = session.load(script::CURSOR).await?;
        self.sessions.insert(address.to_owned(), session);
        if !self.known.iter().any(|known| known == address) {
            self.known.push(address.to_owned());
        }
        Ok(())
    }

    /// Masters that own none of these slots.
    pub(super) fn without(&self, slots: CursorSlots) -> Vec<String> {
        let first = self.map.first_of_each(slots).into_iter();
        let with: Vec<Option<&str>> = first.map(|index| self.map.owner(slots.slot(index))).collect();
        let masters = self.map.masters().filter(|master| !with.contains(&Some(*master)));
        masters.map(str::to_owned).collect()
    }

    /// For each master the first of these slots that it owns, by its place among them.
    pub(super) fn first_of_each(&self, slots: CursorSlots) -> Vec<usize> {
        self.map.first_of_each(slots)
    }

    /// A call of a script; its arguments are to be added.
    pub(super) fn script(&self, slot: u16, script: Script, keys: &[&str]) -> Call {
        let name = match script {
            Script::Row => &self.row,
            Script::Cursor => &self.cursor,
        };
        let mut command = redis::cmd("EVALSHA");
        command.arg(name).arg(keys.len()).arg(keys);
        Call { slot, command }
    }

    /// Runs commands, those of one node in their order; gives for each a value or the server's error. `what` says what for.
    pub(super) async fn run(&mut self, calls: Vec<Call>, what: impl Fn() -> String) -> Result<Vec<Value>> {
        let end = Instant::now() + REDIRECTIONS_MAX;
        let slots: Vec<u16> = calls.iter().map(|call| call.slot).collect();
        let commands: Vec<Cmd> = calls.into_iter().map(|call| call.command).collect();
        let mut answers: Vec<Value> = vec![Value::Nil; commands.len()];
        let mut waiting: Vec<Waiting> = (0..commands.len())
            .map(|index| Waiting { index, asked: None })
            .collect();
        while !waiting.is_empty() {
            let mut is_split = false;
            let mut again = Vec::new();
            for (address, sent, found) in self.send(waiting, &slots, &commands, &what).await? {
                for (index, answer) in sent.into_iter().zip(found) {
                    let asked = match Redirection::of(&answer, &address) {
                        None => {
                            answers[index] = answer;
                            continue;
                        }
                        Some(Redirection::Split) => {
                            is_split = true;
                            None
                        }
                        Some(Redirection::Moved(to)) => {
                            self.map.set(slots[index], &to);
                            None
                        }
                        Some(Redirection::Ask(to)) => Some(to),
                    };
                    again.push(Waiting { index, asked });
                }
            }
            if !again.is_empty() && Instant::now() >= end {
                return Err(Error::transient(what())
                    .detail(format!(
                        "{} commands found no node within {REDIRECTIONS_MAX:?}",
                        again.len()
                    ))
                    .hint("are slots being moved? the writer goes on when they are where they belong"));
            }
            if is_split {
                tokio::time::sleep(TRY_AGAIN_INTERVAL).await;
            }
            waiting = again;
        }
        Ok(answers)
    }

    /// Sends each command to its node, all nodes at once; gives for each node its commands and their answers.
    async fn send(
        &mut self,
        waiting: Vec<Waiting>,
        slots: &[u16],
        commands: &[Cmd],
        what: &impl Fn() -> String,
    ) -> Result<Vec<(String, Vec<usize>, Vec<Value>)>> {
        let mut batches: BTreeMap<String, Batch> = BTreeMap::new();
        for Waiting { index, asked } in waiting {
            let is_asked = asked.is_some();
            let owner = asked.or_else(|| self.map.owner(slots[index]).map(str::to_owned));
            let address = owner.ok_or_else(|| {
                Error::transient(what())
                    .detail(format!("slot {} has no owner", slots[index]))
                    .hint("the cluster is not whole: see CLUSTER INFO")
            })?;
            batches.entry(address).or_default().add(index, is_asked);
        }
        for address in batches.keys() {
            self.open(address).await?;
        }
        let sent = batches.into_iter().filter_map(|(address, batch)| {
            let session = self.sessions.get(&address)?;
            Some((address, batch, session))
        });
        let sent = sent.map(|(address, batch, session)| async move {
            let mut pipeline = batch.pipeline(commands);
            let found = session.ask_all(&mut pipeline, what).await?;
            Ok::<_, Error>((address, batch.indices(), batch.answers(found)))
        });
        join_all(sent).await.into_iter().collect()
    }
}

/// What goes to one node in one pipeline.
#[derive(Default)]
struct Batch {
    /// The commands, by their places, and whether each is sent in spite of the slot's owner.
    commands: Vec<(usize, bool)>,
}

impl Batch {
    fn add(&mut self, index: usize, is_asked: bool) {
        self.commands.push((index, is_asked));
    }

    fn pipeline(&self, commands: &[Cmd]) -> Pipeline {
        let mut pipeline = Pipeline::with_capacity(self.commands.len());
        for (index, is_asked) in &self.commands {
            if *is_asked {
                pipeline.add_command(redis::cmd("ASKING"));
            }
            pipeline.add_command(commands[*index].clone());
        }
        pipeline
    }

    fn indices(&self) -> Vec<usize> {
        self.commands.iter().map(|(index, _)| *index).collect()
    }

    /// The answers, without those to ASKING.
    fn answers(&self, found: Vec<Value>) -> Vec<Value> {
        let mut found = found.into_iter();
        let mut answer = |is_asked: bool| {
            if is_asked {
                found.next();
            }
            found.next()
        };
        let answers = self.commands.iter().map(|(_, is_asked)| answer(*is_asked));
        answers.map(|answer| answer.unwrap_or(Value::Nil)).collect()
    }
}

/// A node's answer that the command is to be sent elsewhere, or later.
enum Redirection {
    /// The slot is owned by this node.
    Moved(String),
    /// The slot moves to this node, and the keys may be there already.
    Ask(String),
    /// Some of the keys are there already, some are not.
    Split,
}

impl Redirection {
    fn of(answer: &Value, asked: &str) -> Option<Self> {
        let Value::ServerError(error) = answer else {
            return None;
        };
        // `<slot> <host>:<port>`.
        let target = || {
            let (_, target) = error.details()?.split_once(' ')?;
            let (host, port) = target.rsplit_once(':')?;
            Some(address(host, port, asked))
        };
        match error.kind()? {
            ServerErrorKind::Moved => target().map(Self::Moved),
            ServerErrorKind::Ask => target().map(Self::Ask),
            ServerErrorKind::TryAgain => Some(Self::Split),
            // A script deleted a key, and was not let make it anew.
            _ if error.details().is_some_and(|text| text.contains("non local key")) => Some(Self::Split),
            _ => None,
        }
    }
}
