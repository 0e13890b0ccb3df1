//! Whose the 16,384 slots of a Redis Cluster are, and which of them a key lies in.

use redis::Value;

use crate::config::Address;

const SLOTS: usize = 16_384;

/// The slot of a key: the CRC-16 (XMODEM) of what stands between its first `{` and the next `}`, or else of all of it.
pub fn slot_of(key: &[u8]) -> u16 {
    let hashed = match key.iter().position(|byte| *byte == b'{') {
        Some(open) => match key[open + 1..].iter().position(|byte| *byte == b'}') {
            Some(length) if length > 0 => &key[open + 1..open + 1 + length],
            _ => key,
        },
        None => key,
    };
    let mut crc: u16 = 0;
    for byte in hashed {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = match crc & 0x8000 {
                0 => crc << 1,
                _ => (crc << 1) ^ 0x1021,
            };
        }
    }
    crc % SLOTS as u16
}

/// Whose each slot is.
#[derive(Clone, Debug)]
pub struct SlotMap {
    owners: Vec<Option<Address>>,
}

impl SlotMap {
    /// From a node's answer to CLUSTER SLOTS; none if it is nothing of the kind.
    pub fn parse(answer: &Value, node: &Address) -> Option<Self> {
        let mut owners = vec![None; SLOTS];
        let Value::Array(ranges) = answer else {
            return None;
        };
        for range in ranges {
            let Value::Array(range) = range else {
                return None;
            };
            let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = &range[..] else {
                return None;
            };
            let [host, Value::Int(port), ..] = &master[..] else {
                return None;
            };
            let host = match host {
                Value::BulkString(text) => String::from_utf8_lossy(text).into_owned(),
                _ => String::new(),
            };
            let owner = address(&host, u16::try_from(*port).ok()?, node)?;
            let slots = usize::try_from(*first).ok()?..=usize::try_from(*last).ok()?;
            owners.get_mut(slots)?.fill(Some(owner));
        }
        Some(Self { owners })
    }

    /// The owner of a slot.
    pub fn owner(&self, slot: u16) -> Option<&Address> {
        self.owners.get(usize::from(slot))?.as_ref()
    }

    /// A slot has another owner now.
    pub fn set(&mut self, slot: u16, owner: &Address) {
        if let Some(place) = self.owners.get_mut(usize::from(slot)) {
            *place = Some(owner.clone());
        }
    }

    /// All owners, each once.
    pub fn masters(&self) -> Vec<Address> {
        let mut masters: Vec<Address> = Vec::new();
        for owner in self.owners.iter().flatten() {
            if !masters.contains(owner) {
                masters.push(owner.clone());
            }
        }
        masters
    }
}

/// A node that is told without a host is on the host of the one that told.
pub fn address(host: &str, port: u16, told_by: &Address) -> Option<Address> {
    let host = match host.trim_matches(['[', ']']) {
        "" | "?" => told_by.host.clone(),
        host => host.to_owned(),
    };
    Some(Address { host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_owners_are_those_of_redis() {
        // As CLUSTER KEYSLOT says.
        for (key, slot) in [
            ("foo", 12_182),
            ("{foo}x", 12_182),
            ("a{foo}{b}", 12_182),
            ("a", 15_495),
            ("", 0),
        ] {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
        let told_by = Address {
            host: "here".into(),
            port: 1,
        };
        let master = |host: &str, port| Value::Array(vec![Value::BulkString(host.into()), Value::Int(port)]);
        let range = |first, last, master| Value::Array(vec![Value::Int(first), Value::Int(last), master]);
        let answer = Value::Array(vec![range(0, 9, master("", 7)), range(10, 16_383, master("there", 8))]);
        let mut slots = SlotMap::parse(&answer, &told_by).unwrap();
        let texts = |slots: &SlotMap| slots.masters().iter().map(Address::to_string).collect::<Vec<_>>();
        assert_eq!(texts(&slots), ["here:7", "there:8"]);
        (0..10).for_each(|slot| {
            slots.set(
                slot,
                &Address {
                    host: "there".into(),
                    port: 8,
                },
            )
        });
        assert_eq!(texts(&slots), ["there:8"]);
        assert!(SlotMap::parse(&Value::Array(vec![range(0, 16_384, master("a", 1))]), &told_by).is_none());
        assert!(SlotMap::parse(&Value::Okay, &told_by).is_none());
    }
}
