//! A set of GTIDs: for each server and tag, disjoint intervals of transaction numbers. Gaps are kept.

use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A set of GTIDs, as MySQL prints and parses it; tags of 8.4 and later included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GtidSet {
    /// Server uuid and tag (empty for none) to intervals `[first, last]`, sorted and neither touching nor overlapping.
    intervals: BTreeMap<(String, String), Vec<(u64, u64)>>,
}

impl GtidSet {
    /// Adds one transaction.
    pub fn add(&mut self, uuid: &str, tag: &str, number: u64) {
        // The common case by far, without building a key: the next number of the last interval.
        if let Some(((known_uuid, known_tag), intervals)) = self.intervals.iter_mut().next()
            && known_uuid == uuid
            && known_tag == tag
            && let Some(last) = intervals.last_mut()
            && last.1.checked_add(1) == Some(number)
        {
            last.1 = number;
            return;
        }
        self.add_interval(uuid, tag, number, number);
    }

    /// Adds transactions that follow each other, the last one included.
    pub fn add_interval(&mut self, uuid: &str, tag: &str, first: u64, last: u64) {
        let known = self.intervals.entry((uuid.to_owned(), tag.to_owned())).or_default();
        insert(known, first, last);
    }

    /// Whether the transaction is in the set.
    #[must_use]
    pub fn contains(&self, uuid: &str, tag: &str, number: u64) -> bool {
        let intervals = self.intervals.get(&(uuid.to_owned(), tag.to_owned()));
        intervals.is_some_and(|intervals| intervals.iter().any(|&(first, last)| (first..=last).contains(&number)))
    }

    /// Whether every transaction of this set is in the other.
    #[must_use]
    pub fn is_subset(&self, other: &GtidSet) -> bool {
        self.intervals.iter().all(|(source, intervals)| {
            let others = other.intervals.get(source).map_or(&[][..], Vec::as_slice);
            intervals
                .iter()
                .all(|&(first, last)| others.iter().any(|&(from, to)| from <= first && last <= to))
        })
    }

    /// Whether it has no transaction.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    /// The transactions of both sets.
    #[must_use]
    pub fn union(&self, other: &GtidSet) -> GtidSet {
        let mut union = self.clone();
        for (source, intervals) in &other.intervals {
            let known = union.intervals.entry(source.clone()).or_default();
            for &(first, last) in intervals {
                insert(known, first, last);
            }
        }
        union
    }

    /// The transactions of this set that are not in the other.
    #[must_use]
    pub fn minus(&self, other: &GtidSet) -> GtidSet {
        let left = self.intervals.iter().map(|(source, intervals)| {
            let others = other.intervals.get(source).map_or(&[][..], Vec::as_slice);
            (source.clone(), cut(intervals, others))
        });
        GtidSet {
            intervals: left.filter(|(_, intervals)| !intervals.is_empty()).collect(),
        }
    }

    /// The transactions that are in both sets.
    #[must_use]
    pub fn intersection(&self, other: &GtidSet) -> GtidSet {
        self.minus(&self.minus(other))
    }

    /// The parts `uuid[:tag]:first-last:…`, one a server and tag.
    pub fn parts(&self) -> impl Iterator<Item = String> + '_ {
        self.intervals.iter().map(|((uuid, tag), intervals)| {
            let mut part = uuid.clone();
            if !tag.is_empty() {
                part.push(':');
                part.push_str(tag);
            }
            for &(first, last) in intervals {
                part.push_str(&if first == last {
                    format!(":{first}")
                } else {
                    format!(":{first}-{last}")
                });
            }
            part
        })
    }
}

/// Inserts `[first, last]` and merges what it touches.
fn insert(intervals: &mut Vec<(u64, u64)>, first: u64, last: u64) {
    let begin = intervals.partition_point(|&(_, to)| to.saturating_add(1) < first);
    let end = intervals.partition_point(|&(from, _)| from <= last.saturating_add(1));
    let merged = intervals[begin..end]
        .iter()
        .fold((first, last), |(low, high), &(from, to)| (low.min(from), high.max(to)));
    intervals.splice(begin..end, [merged]);
}

/// What is left of sorted intervals without others.
fn cut(intervals: &[(u64, u64)], others: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut left = Vec::new();
    for &(first, last) in intervals {
        let begin = others.partition_point(|&(_, to)| to < first);
        // The first number that nothing has been said about yet; none once the last one is cut off.
        let mut next = Some(first);
        for &(from, to) in others[begin..].iter().take_while(|&&(from, _)| from <= last) {
            if let Some(at) = next.filter(|&at| at < from) {
                left.push((at, from - 1));
            }
            next = to.checked_add(1).filter(|&at| at <= last);
        }
        left.extend(next.map(|at| (at, last)));
    }
    left
}

impl fmt::Display for GtidSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.parts().enumerate() {
            if index > 0 {
                formatter.write_str(",")?;
            }
            formatter.write_str(&part)?;
        }
        Ok(())
    }
}

impl FromStr for GtidSet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse =
            || Error::definite(format!("not a GTID set: {text}")).hint("expected uuid[:tag]:first[-last][:…][,…]");
        let mut set = GtidSet::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let mut pieces = part.split(':').map(str::trim);
            let uuid = pieces
                .next()
                .filter(|uuid| is_uuid(uuid))
                .ok_or_else(refuse)?
                .to_ascii_lowercase();
            let mut tag = String::new();
            for piece in pieces {
                if piece.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
                    tag = piece.to_ascii_lowercase();
                    continue;
                }
                let (first, last) = piece.split_once('-').unwrap_or((piece, piece));
                let first = first.trim().parse().map_err(|_| refuse())?;
                let last = last.trim().parse().map_err(|_| refuse())?;
                if first == 0 || last < first {
                    return Err(refuse());
                }
                insert(
                    set.intervals.entry((uuid.clone(), tag.clone())).or_default(),
                    first,
                    last,
                );
            }
        }
        Ok(set)
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const UUIDS: [&str; 2] = [
        "3e11fa47-71ca-11e1-9e33-c80aa9429562",
        "4e11fa47-71ca-11e1-9e33-c80aa9429562",
    ];
    const TAGS: [&str; 2] = ["", "batch"];

    fn gtids() -> impl Strategy<Value = Vec<(usize, usize, u64)>> {
        prop::collection::vec((0..2_usize, 0..2_usize, 1..40_u64), 0..60)
    }

    fn build(gtids: &[(usize, usize, u64)]) -> (GtidSet, BTreeSet<(usize, usize, u64)>) {
        let mut set = GtidSet::default();
        for &(uuid, tag, number) in gtids {
            set.add(UUIDS[uuid], TAGS[tag], number);
        }
        (set, gtids.iter().copied().collect())
    }

    proptest! {
        #[test]
        fn agrees_with_a_set_of_single_numbers(left in gtids(), right in gtids()) {
            let (left, left_model) = build(&left);
            let (right, right_model) = build(&right);
            for (uuid, uuid_text) in UUIDS.iter().enumerate() {
                for (tag, tag_text) in TAGS.iter().enumerate() {
                    for number in 0..42 {
                        let expected = left_model.contains(&(uuid, tag, number));
                        prop_assert_eq!(left.contains(uuid_text, tag_text, number), expected);
                    }
                }
            }
            prop_assert_eq!(left.is_subset(&right), left_model.is_subset(&right_model));
            prop_assert_eq!(&left.to_string().parse::<GtidSet>().unwrap(), &left);
            let of = |model: BTreeSet<(usize, usize, u64)>| build(&model.into_iter().collect::<Vec<_>>()).0;
            prop_assert_eq!(left.union(&right), of(&left_model | &right_model));
            prop_assert_eq!(left.minus(&right), of(&left_model - &right_model));
            prop_assert_eq!(left.intersection(&right), of(&left_model & &right_model));
            prop_assert_eq!(left.is_empty(), left_model.is_empty());
            // What was read from text, in whatever pieces, is the same set.
            let pieces = left_model.iter().rev().map(|(uuid, tag, number)| match TAGS[*tag] {
                "" => format!("{}:{number}", UUIDS[*uuid]),
                tag => format!("{}:{tag}:{number}", UUIDS[*uuid]),
            });
            prop_assert_eq!(pieces.collect::<Vec<_>>().join(",").parse::<GtidSet>().unwrap(), left);
        }
    }

    #[test]
    fn the_last_possible_number_has_no_next() {
        let set = |interval: &str| format!("{}:{interval}", UUIDS[0]).parse::<GtidSet>().unwrap();
        let whole = set(&format!("1-{}", u64::MAX));
        assert_eq!(whole.minus(&set(&format!("5-{}", u64::MAX))), set("1-4"));
        assert_eq!(whole.minus(&set("1-9")), set(&format!("10-{}", u64::MAX)));
        assert!(whole.minus(&whole).is_empty());
        assert_eq!(whole.union(&set("7")), whole);
    }

    #[test]
    fn reads_what_servers_print() {
        let set: GtidSet =
            "3E11FA47-71CA-11E1-9E33-C80AA9429562:1-5:7:batch:1-3:x:9,\n4e11fa47-71ca-11e1-9e33-c80aa9429562:1"
                .parse()
                .unwrap();
        assert_eq!(
            set.to_string(),
            "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7,3e11fa47-71ca-11e1-9e33-c80aa9429562:batch:1-3,\
             3e11fa47-71ca-11e1-9e33-c80aa9429562:x:9,4e11fa47-71ca-11e1-9e33-c80aa9429562:1"
        );
        for wrong in [
            "x:1",
            "3e11fa47-71ca-11e1-9e33-c80aa9429562:0",
            "3e11fa47-71ca-11e1-9e33-c80aa9429562:5-2",
            "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-",
        ] {
            assert!(wrong.parse::<GtidSet>().is_err(), "{wrong}");
        }
        assert_eq!("".parse::<GtidSet>().unwrap(), GtidSet::default());
    }
}
