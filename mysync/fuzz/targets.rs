//! What is fuzzed, and what must hold whatever the bytes are. Used by the libFuzzer targets and by the test `fuzz`.

#![allow(dead_code)] // Each target uses its own.

use mysync::decode::{
    Body, CHECKSUM_BYTES, Checksum, ColumnSchema, Event, Format, HEADER_BYTES, Header, RowsEvent, TableMap,
};
use mysync::source::gtid_set::GtidSet;
use std::collections::BTreeMap;

/// Inner events of a compressed transaction that are looked at: a few bytes can unpack to very many.
const INNER_EVENTS_MAX: usize = 1_000;
const INNER_BYTES_MAX: usize = 4 << 20;
/// Rows of an event that are looked at: a row can have no bytes but a bit.
const ROWS_MAX: usize = 1_000;

/// A binlog file without its first four bytes: events one behind the other. No bytes may make the decoder panic, and what it
/// gives as text is text. Sizes and checksums are put right first, so that changed bytes get past them.
pub fn decoder(mut data: &[u8]) {
    let mut reader = Reader::default();
    while data.len() >= HEADER_BYTES {
        let said = Header::parse(data).map_or(data.len(), |header| header.size as usize);
        let (event, rest) = data.split_at(said.clamp(HEADER_BYTES, data.len()));
        let mut event = event.to_vec();
        seal(&mut event, reader.format.checksum);
        reader.read(&event);
        data = rest;
    }
}

fn seal(event: &mut [u8], checksum: Checksum) {
    let size = u32::try_from(event.len()).expect("an input of libFuzzer is smaller than 4 GiB");
    event[9..13].copy_from_slice(&size.to_le_bytes());
    if checksum == Checksum::Crc32 && event.len() >= HEADER_BYTES + CHECKSUM_BYTES {
        let (content, stored) = event.split_at_mut(event.len() - CHECKSUM_BYTES);
        stored.copy_from_slice(&crc32fast::hash(content).to_le_bytes());
    }
}

/// What a reader keeps from one event to the next.
#[derive(Default)]
struct Reader {
    format: Format,
    maps: BTreeMap<u64, TableMap>,
    text: Vec<u8>,
}

impl Reader {
    fn read(&mut self, bytes: &[u8]) {
        let mut format = self.format.clone();
        match Event::parse(bytes, &mut format) {
            Ok(event) => self.take(&event, false),
            Err(error) => assert!(!error.to_string().is_empty() && !error.hint().is_empty()),
        }
        self.format = format;
    }

    fn take(&mut self, event: &Event<'_>, is_inner: bool) {
        if matches!(event.body, Body::TableMap(_) | Body::Rows(_)) {
            // What is held back of an XA transaction can be read again.
            let mut copy = Vec::new();
            event.write_without_checksum(&mut copy);
            let again = Event::parse(&copy, &mut self.format.without_checksum());
            assert!(again.is_ok(), "{again:?}");
        }
        match &event.body {
            Body::TableMap(event) => {
                if let Ok(mut map) = event.table_map() {
                    assert!(event.is_source_of(&map));
                    supply(&mut map);
                    self.maps.insert(map.table_id, map);
                }
            }
            Body::Rows(event) => {
                if let Some(map) = self.maps.get(&event.table_id).cloned() {
                    self.rows(event, &map);
                }
            }
            Body::TransactionPayload(payload) if !is_inner => {
                let Ok(mut events) = payload.events() else { return };
                let mut bytes = 0;
                for _ in 0..INNER_EVENTS_MAX {
                    let Ok(Some(event)) = events.next_event() else { break };
                    bytes += event.header.size as usize;
                    self.take(&event, true);
                    if bytes > INNER_BYTES_MAX {
                        break;
                    }
                }
            }
            Body::PreviousGtids(gtids) => drop(gtids.intervals()),
            Body::Gtid(gtid) if !gtid.anonymous => {
                let mut set = GtidSet::default();
                set.add(&gtid.source.to_string(), gtid.tag, gtid.number);
                assert!(set.contains(&gtid.source.to_string(), gtid.tag, gtid.number));
            }
            Body::Query(query) => drop(query.text_lossy()),
            _ => {}
        }
    }

    fn rows(&mut self, event: &RowsEvent<'_>, map: &TableMap) {
        let Ok(rows) = event.rows(map) else { return };
        for change in rows.take(ROWS_MAX) {
            let Ok(change) = change else { break };
            for row in [change.before, change.after].into_iter().flatten() {
                self.text.clear();
                if row.write_json(&mut self.text).is_ok() {
                    let parsed = serde_json::from_slice::<serde_json::Value>(&self.text);
                    assert!(parsed.is_ok(), "{}", String::from_utf8_lossy(&self.text));
                }
            }
        }
    }
}

/// Gives a table without metadata (5.6) what its rows need to be decoded.
fn supply(map: &mut TableMap) {
    if map.is_complete() {
        return;
    }
    let column = |index: usize| ColumnSchema {
        name: format!("c{index}"),
        unsigned: index.is_multiple_of(2),
        collation: Some([45, 8, 28, 63, 192][index % 5]),
        members: vec!["x".into(), "y".into(), "z".into()],
        geometry_type: None,
    };
    let schema: Vec<_> = (0..map.columns.len()).map(column).collect();
    map.supply(&schema).ok();
}

/// A GTID set as text: what is printed is read back as the same, and contains what was added.
pub fn gtid(data: &[u8]) {
    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    let Ok(set) = String::from_utf8_lossy(data).parse::<GtidSet>() else {
        return;
    };
    let printed = set.to_string();
    let again: GtidSet = printed.parse().expect("what was printed");
    assert_eq!((&again, again.to_string()), (&set, printed));
    assert!(set.is_subset(&again) && GtidSet::default().is_subset(&set));
    let mut more = set.clone();
    for number in [1, u64::MAX, 7, 6] {
        more.add(UUID, "", number);
        assert!(more.contains(UUID, "", number));
    }
    assert!(set.is_subset(&more));
}
