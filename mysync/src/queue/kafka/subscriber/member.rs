//! Which member of its group a writer is.
//!
//! A member has a name of its own that outlives the process (`group.instance.id`): `writer.member` of the configuration, or else
//! the host's name and the lowest number that no other writer of the group on this machine has. So a writer that was killed and
//! started again is the same member, gets its partitions back at once, and need not wait until the brokers give up the one
//! that died. Numbers are told apart by sockets of the operating system, which end with their process, whatever ended it.
//!
//! # Two of one name
//! The newest wins: the brokers fence the other one. If its name was configured it ends with an error that says so. If not, two
//! machines have the same name; it goes on without a name of its own.
//!
//! # A predecessor that died
//! The brokers would give its place to its successor without asking anybody, and so without a look at topics that have come since
//! (for a member that is the group's only one: for ever). So the successor takes the place, leaves it, and then joins like
//! any other. A writer that ends in good order leaves its place, so that others need not wait.

use super::super::{KafkaQueue, sort};
use crate::error::{Error, Result};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::xxh3_64;

/// Writers of one group on one machine that have names of their own; further ones have none.
const NUMBERS_MAX: u32 = 100;

/// How long the brokers may take to tell the members of a group, before they are asked again.
const MEMBERS_TIMEOUT: Duration = Duration::from_secs(3);

/// Of the text form of a UUID.
const UUID_LENGTH: usize = 36;

const POLL_TIMEOUT: Duration = Duration::from_millis(20);

/// How long leaving may take until the brokers have confirmed it.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(3);

/// A place in the group, taken for as long as this is kept.
#[derive(Debug)]
pub(super) struct Member {
    /// The name; `None` for a member that is known by nothing when it comes again.
    pub(super) name: Option<String>,
    pub(super) is_configured: bool,
    _number: Option<UnixListener>,
}

impl Member {
    pub(super) fn new(queue: &KafkaQueue, group: &str) -> Self {
        if let Some(name) = &queue.config.writer.member {
            return Self {
                name: Some(name.clone()),
                is_configured: true,
                _number: None,
            };
        }
        let taken = match queue.is_fenced.load(Ordering::Relaxed) {
            true => None,
            false => take_number(&format!("{} {group}", queue.config.kafka.brokers.join(","))),
        };
        let (name, number) = taken
            .map(|(number, listener)| (format!("{}-{number}", host_name()), listener))
            .unzip();
        Self {
            name,
            is_configured: false,
            _number: number,
        }
    }

    pub(super) fn configure(&self, config: &mut ClientConfig) {
        if let Some(name) = &self.name {
            config.set("group.instance.id", name);
        }
    }

    /// Another writer has taken the place.
    pub(super) fn fenced(&self, queue: &KafkaQueue, group: &str) -> Error {
        let name = self.name.as_deref().unwrap_or_default();
        let what = format!("another writer of group {group} has the same name: {name}");
        if self.is_configured {
            return Error::definite(what).hint("give each writer of a target a writer.member of its own, or none");
        }
        queue.is_fenced.store(true, Ordering::Relaxed);
        Error::transient(what)
            .detail("two hosts have the same name")
            .hint("give each writer of a target a writer.member of its own")
    }
}

/// The lowest number that no process on this machine has for this purpose.
fn take_number(purpose: &str) -> Option<(u32, UnixListener)> {
    let hash = xxh3_64(purpose.as_bytes());
    (0..NUMBERS_MAX).find_map(|number| {
        let address = SocketAddr::from_abstract_name(format!("mysync-writer-{hash:016x}-{number}")).ok()?;
        Some((number, UnixListener::bind_addr(&address).ok()?))
    })
}

/// The host's name, as far as Kafka allows it.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let allowed = |character: char| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-' => character,
        _ => '_',
    };
    match name.trim() {
        "" => "writer".to_owned(),
        name => name.chars().map(allowed).collect(),
    }
}

/// What the consumer's thread does about its place before it joins, and when it leaves.
pub(super) struct Place {
    config: ClientConfig,
    group: String,
    name: Option<String>,
    pattern: String,
    session: Duration,
}

impl Place {
    /// `config` is that of the member itself.
    pub(super) fn new(config: &ClientConfig, group: &str, member: &Member, pattern: String, session: Duration) -> Self {
        Self {
            config: config.clone(),
            group: group.to_owned(),
            name: member.name.clone(),
            pattern,
            session,
        }
    }

    /// Joins like any other, after a predecessor of the same name has been led out who died without leaving. `is_wanted` says
    /// whether anybody still waits for it.
    pub(super) fn join<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        is_wanted: impl Fn() -> bool,
    ) -> Result<()> {
        if let Some(name) = &self.name
            && self.has_predecessor(consumer, name, &is_wanted)
        {
            tracing::info!(
                member = name,
                "taking the place of a writer of this name that has not left"
            );
            self.lead_out(&is_wanted)?;
        }
        self.subscribe(consumer)
    }

    fn subscribe<C: ConsumerContext>(&self, consumer: &BaseConsumer<C>) -> Result<()> {
        let subscribed = consumer.subscribe(&[&self.pattern]);
        subscribed.map_err(|error| sort(&error, format!("cannot subscribe to {}", self.pattern)))
    }

    /// Asks the brokers until they answer. When they have not for a whole session they must have given it up by themselves.
    fn has_predecessor<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        name: &str,
        is_wanted: &impl Fn() -> bool,
    ) -> bool {
        let deadline = Instant::now() + self.session;
        while Instant::now() < deadline && is_wanted() {
            match self.is_in_group(consumer, name) {
                Ok(is_in_group) => return is_in_group,
                Err(error) => {
                    tracing::debug!(%error, "the brokers do not tell the members of the group");
                    poll(consumer);
                }
            }
        }
        false
    }

    fn is_in_group<C: ConsumerContext>(&self, consumer: &BaseConsumer<C>, name: &str) -> KafkaResult<bool> {
        let groups = consumer.fetch_group_list(Some(&self.group), MEMBERS_TIMEOUT)?;
        let mut members = groups.groups().iter().flat_map(|group| group.members());
        // The brokers make a member's id of its name and something of their own.
        Ok(members.any(|member| {
            let rest = member.id().strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with('-') && rest.len() == UUID_LENGTH + 1)
        }))
    }

    /// Takes the predecessor's place, and leaves it.
    fn lead_out(&self, is_wanted: &impl Fn() -> bool) -> Result<()> {
        let usher: BaseConsumer<Joining> = self
            .config
            .create_with_context(Joining::default())
            .map_err(|error| sort(&error, "cannot make a Kafka consumer"))?;
        self.subscribe(&usher)?;
        let deadline = Instant::now() + 2 * self.session;
        while !usher.context().has_joined.load(Ordering::Relaxed) && Instant::now() < deadline && is_wanted() {
            poll(&usher);
        }
        self.leave(&usher);
        Ok(())
    }

    /// Leaves the group for good. Of its own a member with a name would only go away, and its place be kept; so it stays until the
    /// brokers say that it is out.
    pub(super) fn leave<C: ConsumerContext>(&self, consumer: &BaseConsumer<C>) {
        consumer.unsubscribe();
        let Some(name) = &self.name else {
            return;
        };
        let deadline = Instant::now() + LEAVE_TIMEOUT;
        while Instant::now() < deadline {
            // The library tells that the partitions are given up, and then asks to leave.
            poll(consumer);
            let has_partitions = consumer.assignment().is_ok_and(|list| list.count() > 0);
            if !has_partitions && matches!(self.is_in_group(consumer, name), Ok(false)) {
                return;
            }
        }
        tracing::debug!(
            member = name,
            "the brokers did not confirm that this writer has left its group"
        );
    }
}

/// Lets the library tell what it has to.
fn poll<C: ConsumerContext>(consumer: &BaseConsumer<C>) {
    if let Some(Err(error)) = consumer.poll(POLL_TIMEOUT) {
        tracing::debug!(%error, "librdkafka");
    }
}

#[derive(Default)]
struct Joining {
    has_joined: AtomicBool,
}

impl ClientContext for Joining {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
    }
}

impl ConsumerContext for Joining {
    fn post_rebalance(&self, _consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if matches!(rebalance, Rebalance::Assign(_)) {
            self.has_joined.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_lowest_that_are_free_and_end_with_their_owner() {
        let purpose = format!("test {}", std::process::id());
        let numbers =
            |count: usize| -> Vec<(u32, UnixListener)> { (0..count).map(|_| take_number(&purpose).unwrap()).collect() };
        let mut taken = numbers(3);
        assert_eq!(taken.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(take_number("another purpose of the test").unwrap().0, 0);
        drop(taken.remove(1));
        assert_eq!(numbers(2).iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn the_hosts_name_is_one_that_kafka_takes() {
        let name = host_name();
        assert!(!name.is_empty() && !name.contains(char::is_whitespace));
    }
}
