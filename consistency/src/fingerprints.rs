//! Which keys MySQL has, in bounded memory.
//!
//! Finding a store's extra keys needs to know all of MySQL's. A key is remembered as a 64-bit hash: two of ten million
//! keys share one with a chance of about 1 in 400,000, and an extra row goes unseen only if its own hash is taken, a
//! chance of one in two trillion.
//!
//! When there are more keys than fit, only those are kept whose hash begins with a zero bit, then with two, and so on.
//! The rest is left to further passes over the keys of both sides, one for each other beginning.

/// Keys remembered at most, of all stores together: 64 MiB.
pub const FINGERPRINTS_MAX: usize = 8 << 20;

/// The hashes of one part of the key space.
pub struct Fingerprints {
    part: Part,
    keys_max: usize,
    sorted: bool,
    hashes: Vec<u64>,
    /// By the place in `hashes`: whether the store was seen to have it.
    seen: Vec<u64>,
}

/// Those hashes that begin with `bits` bits that read as `number`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    bits: u32,
    number: u64,
}

impl Part {
    /// Whether the hash lies in this part.
    pub fn holds(self, hash: u64) -> bool {
        hash.checked_shr(u64::BITS - self.bits).unwrap_or(0) == self.number
    }

    /// The other parts that, with this first one, make up the whole.
    pub fn others(self) -> impl Iterator<Item = Self> {
        (1..1_u64 << self.bits).map(move |number| Self {
            bits: self.bits,
            number,
        })
    }
}

/// What is known of a key that a store was seen to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// MySQL has it; seen in the store for the first time.
    First,
    /// MySQL has it; the store named it before.
    Again,
    /// MySQL does not have it, as far as this part goes.
    Unknown,
    /// Another part's.
    Elsewhere,
}

impl Fingerprints {
    /// Starts with the whole key space, and narrows it down when there are more than `keys_max` keys.
    pub fn whole(keys_max: usize) -> Self {
        Self::of_part(Part { bits: 0, number: 0 }, keys_max)
    }

    /// Holds one part that is known to fit.
    pub fn of_part(part: Part, keys_max: usize) -> Self {
        Self {
            part,
            keys_max,
            sorted: false,
            hashes: Vec::new(),
            seen: Vec::new(),
        }
    }

    /// The part of the key space that is remembered.
    pub fn part(&self) -> Part {
        self.part
    }

    /// Remembers a key of MySQL's.
    pub fn insert(&mut self, hash: u64) {
        if !self.part.holds(hash) {
            return;
        }
        self.hashes.push(hash);
        self.sorted = false;
        // Only the first part can be narrowed down: the others are what it left out.
        while self.hashes.len() > self.keys_max && self.part.number == 0 && self.part.bits < u64::BITS - 1 {
            self.narrow_down_to(self.part.bits + 1);
        }
    }

    /// Narrows the part down to that of another store's, so that all stores leave the same parts to further passes.
    pub fn narrow_down_like(&mut self, other: Part) {
        if self.part.number == 0 && other.number == 0 && self.part.bits < other.bits {
            self.narrow_down_to(other.bits);
        }
    }

    fn narrow_down_to(&mut self, bits: u32) {
        self.part.bits = bits;
        let part = self.part;
        self.hashes.retain(|hash| part.holds(*hash));
    }

    /// Notes that the store has a key.
    pub fn see(&mut self, hash: u64) -> Sighting {
        if !self.part.holds(hash) {
            return Sighting::Elsewhere;
        }
        if !self.sorted {
            self.hashes.sort_unstable();
            self.hashes.dedup();
            self.seen = vec![0; self.hashes.len().div_ceil(u64::BITS as usize)];
            self.sorted = true;
        }
        let Ok(place) = self.hashes.binary_search(&hash) else {
            return Sighting::Unknown;
        };
        let (word, bit) = (place / u64::BITS as usize, 1_u64 << (place % u64::BITS as usize));
        let before = self.seen[word] & bit != 0;
        self.seen[word] |= bit;
        if before { Sighting::Again } else { Sighting::First }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_is_seen_once_and_then_again() {
        let mut known = Fingerprints::whole(10);
        known.insert(7);
        known.insert(u64::MAX);
        assert_eq!(known.see(7), Sighting::First);
        assert_eq!(known.see(7), Sighting::Again);
        assert_eq!(known.see(8), Sighting::Unknown);
        assert_eq!(known.see(u64::MAX), Sighting::First);
        assert_eq!(known.part().others().count(), 0);
    }

    #[test]
    fn a_part_can_be_as_narrow_as_anothers() {
        let (mut one, mut other) = (Fingerprints::whole(1), Fingerprints::whole(10));
        for hash in [1, 2, u64::MAX] {
            one.insert(hash);
            other.insert(hash);
        }
        other.narrow_down_like(one.part());
        assert_eq!(other.part(), one.part());
        assert_eq!(other.see(u64::MAX), Sighting::Elsewhere);
        one.narrow_down_like(Fingerprints::whole(1).part());
        assert_eq!(one.part(), other.part(), "never wider");
    }

    proptest! {
        #[test]
        fn the_parts_together_know_every_key(hashes in proptest::collection::hash_set(any::<u64>(), 0..200)) {
            const KEYS_MAX: usize = 16;
            let strangers: HashSet<u64> = (0..50_u64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
            let mut first = Fingerprints::whole(KEYS_MAX);
            hashes.iter().for_each(|hash| first.insert(*hash));
            let others: Vec<Part> = first.part().others().collect();
            let mut parts = vec![first];
            for part in others {
                let mut known = Fingerprints::of_part(part, KEYS_MAX);
                hashes.iter().for_each(|hash| known.insert(*hash));
                parts.push(known);
            }
            prop_assert!(parts[0].hashes.len() <= KEYS_MAX);
            for hash in hashes.iter().chain(&strangers) {
                let sightings: Vec<Sighting> = parts.iter_mut().map(|part| part.see(*hash)).collect();
                let count = |wanted| sightings.iter().filter(|sighting| **sighting == wanted).count();
                prop_assert_eq!(count(Sighting::Elsewhere), parts.len() - 1);
                let expected = if hashes.contains(hash) { Sighting::First } else { Sighting::Unknown };
                prop_assert_eq!(count(expected), 1);
            }
        }
    }
}
