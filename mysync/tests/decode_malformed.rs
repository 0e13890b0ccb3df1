//! Bytes that no server sent: real events of 8.0 and 9.7 with bytes changed, cut off or put in give events or errors, and
//! never a panic, an endless loop or an endless text.
//!
//! The events are in `decode_data`; the container test `decode_types` writes them anew with `MYSYNC_UPDATE_EVENTS=1`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;

use mysync::decode::{Body, CHECKSUM_BYTES, Checksum, Event, EventType, Format, HEADER_BYTES, Header, TableMap};
use proptest::prelude::*;

/// A few kilobytes of event never become more text than this.
const TEXT_BYTES_MAX: usize = 16 << 20;

const FILES: [&[u8]; 2] = [
    include_bytes!("decode_data/events-8.0.bin"),
    include_bytes!("decode_data/events-9.7.bin"),
];

fn events(file: &[u8]) -> Vec<Vec<u8>> {
    let (mut events, mut rest) = (Vec::new(), file);
    while !rest.is_empty() {
        let (event, after) = rest.split_at(Header::parse(rest).unwrap().size as usize);
        events.push(event.to_vec());
        rest = after;
    }
    events
}

/// What a reader would keep, and how much it has read.
#[derive(Default)]
struct Reader {
    format: Format,
    maps: HashMap<u64, TableMap>,
    rows: usize,
    errors: usize,
    text: Vec<u8>,
}

impl Reader {
    fn read(&mut self, bytes: &[u8]) {
        let mut format = self.format.clone();
        match Event::parse(bytes, &mut format) {
            Ok(event) => self.handle(&event, 0),
            Err(error) => {
                assert!(error.offset().is_none_or(|offset| offset <= bytes.len()), "{error}");
                assert!(!error.hint().is_empty());
                self.errors += 1;
            }
        }
        self.format = format;
    }

    fn handle(&mut self, event: &Event<'_>, depth: usize) {
        match &event.body {
            Body::TableMap(event) => match event.table_map() {
                Ok(map) => drop(self.maps.insert(map.table_id, map)),
                Err(_) => self.errors += 1,
            },
            Body::Rows(event) => {
                let maps: Vec<_> = self.maps.get(&event.table_id).cloned().into_iter().collect();
                for map in &maps {
                    self.rows_of(event, map);
                }
            }
            Body::TransactionPayload(payload) if depth == 0 => {
                let Ok(mut events) = payload.events() else { return };
                loop {
                    match events.next_event() {
                        Ok(Some(event)) => self.handle(&event, depth + 1),
                        Ok(None) => break,
                        Err(_) => self.errors += 1,
                    }
                }
            }
            Body::PreviousGtids(gtids) => self.errors += usize::from(gtids.intervals().is_err()),
            _ => {}
        }
    }

    fn rows_of(&mut self, event: &mysync::decode::RowsEvent<'_>, map: &TableMap) {
        let Ok(rows) = event.rows(map) else {
            self.errors += 1;
            return;
        };
        for change in rows {
            let Ok(change) = change else {
                self.errors += 1;
                break;
            };
            self.rows += 1;
            for row in [change.before, change.after].into_iter().flatten() {
                self.text.clear();
                self.errors += usize::from(row.write_json(&mut self.text).is_err());
                assert!(self.text.len() < TEXT_BYTES_MAX);
            }
        }
    }
}

/// Puts right what the header and the checksum say, so that a change reaches the decoder behind them.
fn seal(event: &mut [u8]) {
    let length = event.len();
    if length < HEADER_BYTES + CHECKSUM_BYTES {
        return;
    }
    event[9..13].copy_from_slice(&(length as u32).to_le_bytes());
    let (content, checksum) = event.split_at_mut(length - CHECKSUM_BYTES);
    checksum.copy_from_slice(&crc32fast::hash(content).to_le_bytes());
}

#[test]
fn the_events_as_they_were_have_no_error() {
    for file in FILES {
        let mut reader = Reader::default();
        events(file).iter().for_each(|event| reader.read(event));
        assert_eq!((reader.errors, reader.rows > 20), (0, true));
        assert_eq!(reader.format.checksum, Checksum::Crc32);
    }
}

#[test]
fn every_single_changed_byte_is_seen_by_the_checksum() {
    let events = events(FILES[0]);
    let mut format = Format::default();
    let is_description = |event: &&Vec<u8>| EventType(event[4]) == EventType::FORMAT_DESCRIPTION;
    let mut description = events.iter().find(is_description).unwrap().clone();
    Event::parse(&description, &mut format).unwrap();
    for event in events
        .iter()
        .filter(|event| !is_description(event))
        .filter(|event| event.len() < 400)
    {
        for place in HEADER_BYTES..event.len() {
            let mut changed = event.clone();
            changed[place] ^= 0x10;
            let error = Event::parse(&changed, &mut format.clone()).unwrap_err();
            assert_eq!(error.reason(), mysync::decode::Reason::Checksum);
        }
    }
    // A server marks the description of a file that it has open, without a new checksum.
    description[17] |= 1;
    assert!(Event::parse(&description, &mut Format::default()).is_ok());
}

#[test]
fn every_event_cut_off_anywhere_is_an_event_or_an_error() {
    for file in FILES {
        let events = events(file);
        let mut reader = Reader::default();
        for event in &events {
            for length in 0..event.len().min(2_000) {
                let mut cut = event[..length].to_vec();
                let kept = reader.format.clone();
                reader.read(&cut);
                seal(&mut cut);
                reader.read(&cut);
                reader.format = kept;
            }
            reader.read(event);
        }
    }
}

#[derive(Debug, Clone)]
enum Change {
    Set(prop::sample::Index, u8),
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    use prop::sample::Index;
    let edge = prop_oneof![
        any::<u8>(),
        prop::sample::select(vec![0, 1, 0x7f, 0x80, 0xfb, 0xfc, 0xfd, 0xfe, 0xff])
    ];
    prop_oneof![
        4 => (any::<Index>(), edge).prop_map(|(place, byte)| Change::Set(place, byte)),
        4 => (any::<Index>(), 0..8_u8).prop_map(|(place, bit)| Change::Flip(place, bit)),
        1 => any::<Index>().prop_map(Change::Cut),
        1 => (any::<Index>(), prop::collection::vec(any::<u8>(), 1..20)).prop_map(|(place, bytes)| Change::Insert(place, bytes)),
        1 => (any::<Index>(), 1..20_usize).prop_map(|(place, length)| Change::Remove(place, length)),
    ]
}

fn apply(change: &Change, event: &mut Vec<u8>) {
    let body = |place: &prop::sample::Index, event: &Vec<u8>| {
        let length = event.len().saturating_sub(HEADER_BYTES);
        if length == 0 {
            event.len().saturating_sub(1)
        } else {
            HEADER_BYTES + place.index(length)
        }
    };
    match change {
        Change::Set(place, byte) => {
            let place = body(place, event);
            event[place] = *byte;
        }
        Change::Flip(place, bit) => {
            let place = body(place, event);
            event[place] ^= 1 << bit;
        }
        Change::Cut(place) => event.truncate(body(place, event).max(HEADER_BYTES)),
        Change::Insert(place, bytes) => {
            let place = body(place, event);
            event.splice(place..place, bytes.iter().copied());
        }
        Change::Remove(place, length) => {
            let place = body(place, event);
            let end = (place + length).min(event.len());
            event.drain(place..end);
            if event.is_empty() {
                event.push(0);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn changed_events_are_events_or_errors(
        file in 0..FILES.len(),
        chosen in any::<prop::sample::Index>(),
        changes in prop::collection::vec(change(), 1..6),
        type_code in prop::option::weighted(0.1, 0..45_u8),
    ) {
        let events = events(FILES[file]);
        let chosen = chosen.index(events.len());
        let mut reader = Reader::default();
        for (index, event) in events.iter().enumerate() {
            let near = index + 3 > chosen && index < chosen + 6;
            if index == chosen {
                let mut changed = event.clone();
                changes.iter().for_each(|change| apply(change, &mut changed));
                if let Some(code) = type_code {
                    changed[4] = code;
                }
                seal(&mut changed);
                reader.read(&changed);
            } else if near || EventType(event[4]) == EventType::FORMAT_DESCRIPTION {
                reader.read(event);
            }
        }
    }

    #[test]
    fn any_bytes_are_an_event_or_an_error(type_code in 0..45_u8, body in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut event = vec![0; HEADER_BYTES];
        event[4] = type_code;
        event.extend(body);
        let length = event.len() as u32;
        event[9..13].copy_from_slice(&length.to_le_bytes());
        Reader { format: Format::default(), ..Reader::default() }.read(&event);
    }
}
