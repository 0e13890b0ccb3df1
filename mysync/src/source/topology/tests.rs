//! The choice of a server, case by case and over random topologies.

use super::*;
use proptest::prelude::*;

const UUIDS: [&str; 4] = [
    "aaaaaaaa-71ca-11e1-9e33-c80aa9429562",
    "bbbbbbbb-71ca-11e1-9e33-c80aa9429562",
    "cccccccc-71ca-11e1-9e33-c80aa9429562",
    "dddddddd-71ca-11e1-9e33-c80aa9429562",
];
const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

fn set(text: &str) -> GtidSet {
    let text = text
        .replace('A', UUIDS[A])
        .replace('B', UUIDS[B])
        .replace('C', UUIDS[C]);
    text.parse().unwrap()
}

fn primary(server: usize, executed: &str) -> Seen {
    Seen {
        address: format!("db-{server}:3306"),
        answer: Ok(Answer {
            uuid: UUIDS[server].into(),
            read_only: false,
            sources: BTreeSet::new(),
            executed: Some(set(executed)),
            beat: None,
        }),
    }
}

fn replica(server: usize, of: usize, executed: &str) -> Seen {
    let mut seen = primary(server, executed);
    let answer = seen.answer.as_mut().unwrap();
    answer.read_only = true;
    answer.sources.insert(UUIDS[of].into());
    seen
}

fn dead(server: usize) -> Seen {
    Seen {
        address: format!("db-{server}:3306"),
        answer: Err(Error::transient("MySQL did not answer")),
    }
}

impl Seen {
    /// Its copy of the heartbeat row.
    fn beat(mut self, sequence: u64, written_on: usize) -> Self {
        self.answer.as_mut().unwrap().beat = Some(Heartbeat {
            sequence,
            server_uuid: UUIDS[written_on].into(),
        });
        self
    }

    fn without_gtid(mut self) -> Self {
        self.answer.as_mut().unwrap().executed = None;
        self
    }

    fn writable(mut self) -> Self {
        self.answer.as_mut().unwrap().read_only = false;
        self
    }
}

fn reached(server: usize, gtids: &str) -> Reached {
    Reached {
        server_uuid: UUIDS[server].into(),
        gtids: Some(set(gtids)),
    }
}

fn followed(seen: &[Seen], reached: &Reached) -> usize {
    decide(seen, Some(reached)).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(seen: &[Seen], reached: &Reached) -> String {
    let error = decide(seen, Some(reached)).unwrap_err();
    assert!(error.is_transient() && error.hint.is_some(), "{error}");
    error.one_line()
}

#[test]
fn the_primary_is_followed_and_a_promoted_replica_after_it() {
    let at = reached(A, "A:1-9");
    let before = [primary(A, "A:1-9"), replica(B, A, "A:1-8"), replica(C, A, "A:1-9")];
    assert_eq!(followed(&before, &at), A);
    let orphans = [dead(A), replica(B, A, "A:1-9"), replica(C, A, "A:1-9")];
    let text = refused(&orphans, &at);
    assert!(text.starts_with("no server of source.servers is the primary"), "{text}");
    assert!(
        text.contains("db-1:3306: read-only, replicates from aaaaaaaa-"),
        "{text}"
    );
    assert_eq!(
        followed(&[dead(A), primary(B, "A:1-9,B:1"), replica(C, A, "A:1-9")], &at),
        B
    );
    // MySQL lost the tail: still the one that was promoted.
    assert_eq!(followed(&[dead(A), primary(B, "A:1-7,B:1"), dead(C)], &at), B);
    assert_eq!(
        followed(&[dead(A), primary(B, "A:1-7,B:1"), replica(C, B, "A:1-7,B:1")], &at),
        B
    );
    // The old primary is back as a replica, with the transactions that the new one lacks.
    assert_eq!(followed(&[replica(A, B, "A:1-9,B:1"), primary(B, "A:1-7,B:1")], &at), B);
}

#[test]
fn two_primaries_are_refused_until_one_is_gone() {
    let at = reached(A, "A:1-9");
    let both = [primary(A, "A:1-9"), primary(B, "A:1-9,B:1")];
    let text = refused(&both, &at);
    assert!(text.starts_with("split brain: 2 servers"), "{text}");
    assert!(decide(&both, None).is_err(), "without a checkpoint too");
    assert_eq!(followed(&[dead(A), both[1].clone()], &at), B);
    // A replica that somebody left writable is none.
    assert_eq!(
        followed(&[primary(A, "A:1-9"), replica(B, A, "A:1-9").writable()], &at),
        A
    );
    // Two addresses of one server are one.
    assert_eq!(followed(&[primary(A, "A:1-9"), primary(A, "A:1-9"), dead(C)], &at), A);
}

#[test]
fn a_primary_that_was_left_behind_is_passed_over_until_it_has_heard_of_the_new_one() {
    let at = reached(B, "A:1-9,B:1-5");
    let new = primary(B, "A:1-9,B:1-5").beat(12, B);
    let old = primary(A, "A:1-11").beat(10, A);
    assert_eq!(followed(&[old.clone(), new.clone()], &at), B);
    // Not even while the new one is away for a moment.
    let text = refused(&[old.clone(), dead(B)], &at);
    assert!(text.contains("left behind when the reader went on elsewhere"), "{text}");
    assert!(refused(std::slice::from_ref(&old), &at).contains("one that was left behind"));
    // Without GTID alike.
    let at_offsets = Reached {
        gtids: None,
        ..at.clone()
    };
    let (old_by_offset, new_by_offset) = (old.without_gtid(), new.without_gtid());
    assert_eq!(
        followed(&[old_by_offset.clone(), new_by_offset.clone()], &at_offsets),
        B
    );
    assert!(decide(&[old_by_offset, dead(B)], Some(&at_offsets)).is_err());
    // It has replicated from the new one, and is promoted again.
    let back = primary(A, "A:1-9,B:1-5").beat(12, B);
    assert_eq!(followed(&[back.clone(), dead(B)], &at), A);
    assert_eq!(followed(&[back], &at), A);
    // The switch back came before the first heartbeat there; its GTIDs tell that it knows everything.
    assert_eq!(followed(&[primary(A, "A:1-9,B:1-5").beat(10, A), dead(B)], &at), A);
    // A replica that is promoted beside the primary has the primary's row: that is a split brain.
    let beside = [primary(A, "A:1-9").beat(10, A), primary(B, "A:1-9").beat(9, A)];
    assert!(refused(&beside, &reached(A, "A:1-9")).starts_with("split brain"));
}

#[test]
fn a_writable_server_that_is_behind_another_ones_replica_is_waited_for() {
    let at = reached(A, "A:1-9");
    let stale = [dead(A), primary(B, "A:1-3"), replica(C, A, "A:1-9")];
    let text = refused(&stale, &at);
    assert!(
        text.starts_with("the only writable server is behind a replica of another: db-1:3306"),
        "{text}"
    );
    assert!(
        text.contains("lacks aaaaaaaa-71ca-11e1-9e33-c80aa9429562:4-9"),
        "{text}"
    );
    // The other replica is led to it: so it is the new primary, and what it lacks is lost.
    assert_eq!(
        followed(&[dead(A), primary(B, "A:1-3"), replica(C, B, "A:1-9")], &at),
        B
    );
    // Without GTID the heartbeat rows tell.
    let at_offsets = Reached { gtids: None, ..at };
    let [_, behind, ahead] = stale.map(|seen| match seen.answer {
        Ok(_) => seen.without_gtid(),
        Err(_) => seen,
    });
    let seen = [dead(A), behind.beat(3, A), ahead.beat(9, A)];
    assert!(decide(&seen, Some(&at_offsets)).is_err());
    let seen = [dead(A), seen[1].clone().beat(9, A), seen[2].clone()];
    assert_eq!(followed(&seen, &at_offsets), B);
}

#[test]
fn a_server_that_is_listed_alone_is_followed_whatever_it_is_unless_it_lags() {
    let at = reached(A, "A:1-9");
    assert_eq!(followed(&[replica(B, A, "A:1-9")], &at), 0);
    assert_eq!(decide(&[replica(B, A, "A:1-3")], None), Ok(0));
    assert!(refused(&[replica(B, A, "A:1-3")], &at).contains("it lacks aaaaaaaa-71ca-11e1-9e33-c80aa9429562:4-9"));
    // A primary does not catch up: what it lacks is lost.
    assert_eq!(followed(&[primary(B, "A:1-3")], &at), 0);
    let refusal = Error::definite("access denied");
    let denied = Seen {
        answer: Err(refusal.clone()),
        ..dead(A)
    };
    assert_eq!(decide(&[denied], None), Err(refusal));
}

fn servers() -> impl Strategy<Value = Vec<Seen>> {
    let one = (
        0..6_u8,
        any::<bool>(),
        prop::option::of(0..4_usize),
        1..9_u64,
        prop::option::of((0..9_u64, 0..4_usize)),
    );
    prop::collection::vec(one, 2..5).prop_map(|servers| {
        let seen = servers
            .into_iter()
            .enumerate()
            .map(|(index, (alive, read_only, source, last, beat))| {
                if alive == 0 {
                    return dead(index);
                }
                let mut seen = primary(index, &format!("A:1-{last}"));
                let answer = seen.answer.as_mut().unwrap();
                answer.read_only = read_only;
                answer.sources.extend(source.map(|source| UUIDS[source].to_owned()));
                match beat {
                    Some((sequence, server)) => seen.beat(sequence, server),
                    None => seen,
                }
            });
        seen.collect()
    })
}

proptest! {
    #[test]
    fn only_the_one_primary_is_ever_followed_however_the_list_is_ordered(
        seen in servers(),
        last in prop::option::of((0..4_usize, 1..9_u64)),
        order in any::<prop::sample::Index>(),
    ) {
        let reached = last.map(|(server, last)| reached(server, &format!("A:1-{last}")));
        let chosen = decide(&seen, reached.as_ref());
        if let Ok(index) = chosen {
            let answer = seen[index].answer.as_ref().unwrap();
            prop_assert!(answer.is_primary());
            for (other, seen) in seen.iter().enumerate().filter(|(other, _)| *other != index) {
                // Any other one that takes writes must be one that was left behind.
                let Ok(answer) = &seen.answer else { continue };
                prop_assert!(!answer.is_primary() || reached.as_ref().is_some_and(|at| answer.is_left_behind(at)), "{}", other);
            }
        }
        let mut turned = seen.clone();
        turned.rotate_left(order.index(seen.len()));
        let address = |seen: &[Seen], chosen: Result<usize>| chosen.ok().map(|index| seen[index].address.clone());
        prop_assert_eq!(address(&turned, decide(&turned, reached.as_ref())), address(&seen, chosen));
    }
}
