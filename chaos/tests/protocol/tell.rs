//! A counterexample as a person reads it.

use super::action::{Action, Promoted, Who};
use super::kafka::Record;
use super::model::State;
use super::mysql::Entry;
use stateright::Path;

/// The steps of a path, and what they led to.
pub fn tell(path: &Path<State, Action>) -> String {
    let steps = path.clone().into_actions();
    let mut lines: Vec<String> = steps
        .iter()
        .enumerate()
        .map(|(at, step)| format!("{:4} {}", at + 1, told(step)))
        .collect();
    let last = path.last_state();
    for (number, server) in last.servers.iter().enumerate() {
        let log: Vec<String> = server.log.iter().map(entry).collect();
        lines.push(format!("     server {number}: {}", log.join(", ")));
    }
    let topic: Vec<String> = last.topic.iter().map(record).collect();
    lines.push(format!("     topic: {}", topic.join(", ")));
    let checkpoint = &last.checkpoint;
    lines.push(format!(
        "     checkpoint: server {} after {} transactions, next version {}.{}, {} rows due",
        checkpoint.server,
        checkpoint.position,
        checkpoint.next.epoch,
        checkpoint.next.number,
        checkpoint.due.count_ones()
    ));
    lines.join("\n")
}

fn told(action: &Action) -> String {
    let reader = |who: &Who| match who {
        Who::Live => "the reader",
        Who::Zombie => "the older reader",
    };
    match action {
        Action::Write => "a client commits".into(),
        Action::Switch { promoted, kept } => match promoted {
            Promoted::Replica { purged: 0 } => format!("a replica with {kept} transactions becomes the primary"),
            Promoted::Replica { purged } => {
                format!("a replica with {kept} transactions, {purged} of them purged, becomes the primary")
            }
            Promoted::Former(number) => format!("server {number} becomes the primary again, with {kept} transactions"),
            Promoted::Itself => format!("the primary comes back with its first {kept} transactions"),
        },
        Action::Open { by_other: false } => "the reader fails and opens again".into(),
        Action::Open { by_other: true } => "the other reader takes over".into(),
        Action::Read(who) => format!("{} reads a transaction", reader(who)),
        Action::Send(who) => format!("{} sends a record", reader(who)),
        Action::Commit(who) => format!("{} commits", reader(who)),
        Action::WriteAnchor(who) => format!("{} writes an anchor", reader(who)),
        Action::Select => "the reader selects the rows that are due".into(),
        Action::Watermark => "the reader asks for the end of the log".into(),
    }
}

fn entry(entry: &Entry) -> String {
    match entry {
        Entry::Changes(transaction) => format!("transaction {transaction}"),
        Entry::Anchor(anchor) => format!("anchor {} written at {}", anchor.sequence, anchor.written_at),
    }
}

fn record(record: &Record) -> String {
    match record {
        Record::Change {
            version,
            transaction,
            index,
        } => format!("{}.{} change {transaction}-{index}", version.epoch, version.number),
        Record::Refreshed { version, key, value } => {
            format!("{}.{} row {key} = {value}", version.epoch, version.number)
        }
        Record::Lost { from, server, .. } => format!("lost on server {server} from {}.{}", from.epoch, from.number),
        Record::Barrier { version } => format!("{}.{} barrier", version.epoch, version.number),
    }
}
