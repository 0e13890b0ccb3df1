//! The 16,384 slots of a Redis Cluster: which slot a key lies in, a tag for keys that shall lie in a given slot, and which node
//! owns which slot.

use crate::error::{Error, Result};
use redis::Value;
use std::sync::LazyLock;

/// Number of slots.
pub(super) const SLOTS: u16 = 16_384;

/// The slots that hold cursors: every 64th.
pub(super) const CURSOR_SLOTS: CursorSlots = CursorSlots;

/// See [`CURSOR_SLOTS`].
#[derive(Debug, Clone, Copy)]
pub(super) struct CursorSlots;

impl CursorSlots {
    const STRIDE: u16 = 64;

    pub(super) fn len(self) -> usize {
        usize::from(SLOTS / Self::STRIDE)
    }

    pub(super) fn slot(self, index: usize) -> u16 {
        index as u16 * Self::STRIDE
    }
}

/// CRC-16/XMODEM of a byte, for each byte.
const CRC: [u16; 256] = {
    let mut table = [0u16; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 {
                (crc << 1) ^ 0x1021
            } else {
                crc << 1
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// The slot of a key: of what stands between the first `{` and the next `}`, if anything does, else of the whole key.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let tagged = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let length = rest.iter().position(|byte| *byte == b'}')?;
        (length > 0).then(|| &rest[..length])
    });
    let crc = tagged
        .unwrap_or(key)
        .iter()
        .fold(0u16, |crc, byte| (crc << 8) ^ CRC[usize::from((crc >> 8) as u8 ^ byte)]);
    crc % SLOTS
}

/// The least number whose text lies in the slot.
pub(super) fn tag(slot: u16) -> u32 {
    static TAGS: LazyLock<Vec<u32>> = LazyLock::new(|| {
        let mut tags = vec![u32::MAX; usize::from(SLOTS)];
        let mut missing = tags.len();
        for number in 0..u32::MAX {
            let tag = &mut tags[usize::from(slot_of(number.to_string().as_bytes()))];
            if *tag == u32::MAX {
                *tag = number;
                missing -= 1;
            }
            if missing == 0 {
                break;
            }
        }
        tags
    });
    TAGS[usize::from(slot)]
}

/// Which node owns which slot.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct SlotMap {
    nodes: Vec<String>,
    /// By slot, the node's place among `nodes`.
    owners: Vec<Option<u16>>,
}

impl SlotMap {
    /// From the answer to CLUSTER SLOTS of the node at `asked`, which need not name its own host.
    pub(super) fn parse(answer: &Value, asked: &str) -> Result<Self> {
        let unreadable = || {
            Error::definite(format!("the answer to CLUSTER SLOTS cannot be read: {asked}")).hint("what answers there?")
        };
        let mut map = Self {
            nodes: Vec::new(),
            owners: vec![None; usize::from(SLOTS)],
        };
        let Value::Array(ranges) = answer else {
            return Err(unreadable());
        };
        for range in ranges {
            let Value::Array(range) = range else {
                return Err(unreadable());
            };
            let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = range.as_slice() else {
                return Err(unreadable());
            };
            let [host, Value::Int(port), ..] = master.as_slice() else {
                return Err(unreadable());
            };
            let host = match host {
                Value::BulkString(text) => String::from_utf8_lossy(text).into_owned(),
                _ => String::new(),
            };
            let address = address(&host, &port.to_string(), asked);
            for slot in *first..=*last {
                let slot = u16::try_from(slot)
                    .ok()
                    .filter(|slot| *slot < SLOTS)
                    .ok_or_else(unreadable)?;
                map.set(slot, &address);
            }
        }
        Ok(map)
    }

    pub(super) fn set(&mut self, slot: u16, address: &str) {
        let known = self.nodes.iter().position(|node| node == address);
        let place = known.unwrap_or_else(|| {
            self.nodes.push(address.to_owned());
            self.nodes.len() - 1
        });
        if let Some(owner) = self.owners.get_mut(usize::from(slot)) {
            *owner = Some(place as u16);
        }
    }

    pub(super) fn owner(&self, slot: u16) -> Option<&str> {
        let place = (*self.owners.get(usize::from(slot))?)?;
        self.nodes.get(usize::from(place)).map(String::as_str)
    }

    /// The nodes that own slots.
    pub(super) fn masters(&self) -> impl Iterator<Item = &str> {
        let owns = |place: usize| self.owners.contains(&Some(place as u16));
        let nodes = self.nodes.iter().enumerate();
        nodes
            .filter(move |(place, _)| owns(*place))
            .map(|(_, node)| node.as_str())
    }

    /// For each node the first of these slots that it owns, by its place among them.
    pub(super) fn first_of_each(&self, slots: CursorSlots) -> Vec<usize> {
        let mut seen = Vec::new();
        let mut first = Vec::new();
        for index in 0..slots.len() {
            let owner = self.owners.get(usize::from(slots.slot(index))).copied().flatten();
            if owner.is_some() && !seen.contains(&owner) {
                seen.push(owner);
                first.push(index);
            }
        }
        first
    }
}

/// A redirection without a host means the one that was asked.
pub(super) fn address(host: &str, port: &str, asked: &str) -> String {
    let host = match host {
        "" | "?" => asked.rsplit_once(':').map_or(asked, |(host, _)| host).to_owned(),
        host if host.contains(':') && !host.starts_with('[') => format!("[{host}]"),
        host => host.to_owned(),
    };
    format!("{host}:{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lie_where_redis_says() {
        // From redis-cli CLUSTER KEYSLOT.
        for (key, slot) in [
            ("123456789", 12_739),
            ("foo", 12_182),
            ("a", 15_495),
            ("{foo}bar", 12_182),
            ("x{foo}{a}", 12_182),
            ("{}foo", 9_500),
            ("", 0),
        ] {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
    }

    #[test]
    fn every_slot_has_a_tag() {
        for slot in 0..SLOTS {
            let tag = tag(slot);
            assert_eq!(slot_of(format!("x{{{tag}}}:y{{a}}").as_bytes()), slot);
        }
        assert_eq!(CURSOR_SLOTS.slot(CURSOR_SLOTS.len() - 1), SLOTS - 64);
    }

    #[test]
    fn the_map_knows_owners_and_moves() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let range = |first: i64, last: i64, host: &str, port: i64| {
            let master = Value::Array(vec![text(host), Value::Int(port), text("id")]);
            Value::Array(vec![Value::Int(first), Value::Int(last), master])
        };
        let answer = Value::Array(vec![
            range(0, 99, "", 1),
            range(100, 199, "b", 2),
            range(200, 299, "::1", 3),
        ]);
        let mut map = SlotMap::parse(&answer, "a:9").unwrap();
        assert_eq!(map.masters().collect::<Vec<_>>(), ["a:1", "b:2", "[::1]:3"]);
        assert_eq!(
            [0, 100, 299, 300].map(|slot| map.owner(slot)),
            [Some("a:1"), Some("b:2"), Some("[::1]:3"), None]
        );
        // Slots 0, 128 and 256.
        assert_eq!(map.first_of_each(CURSOR_SLOTS), [0, 2, 4]);
        (100..200).for_each(|slot| map.set(slot, "a:1"));
        assert_eq!(map.masters().collect::<Vec<_>>(), ["a:1", "[::1]:3"]);
        assert_eq!(map.first_of_each(CURSOR_SLOTS), [0, 4]);
        assert!(SlotMap::parse(&Value::Okay, "a:9").is_err());
        assert!(SlotMap::parse(&Value::Array(vec![range(0, 16_384, "a", 1)]), "a:9").is_err());
    }
}
