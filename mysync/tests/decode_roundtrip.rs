//! Values encoded here, by an encoder of the tests' own, and decoded: numbers, decimals, dates and times (those from before
//! 5.6.4 too, which no server at hand writes), and documents made to mislead.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use mysync::decode::{Body, Error, Event, EventType, Format, HEADER_BYTES, Reason, Value};
use proptest::prelude::*;

const TABLE_ID: u64 = 77;

/// One column: type code, metadata, and what the optional metadata says.
#[derive(Debug, Clone)]
struct Shape {
    code: u8,
    metadata: Vec<u8>,
    unsigned: bool,
    collation: u8,
    members: Vec<&'static str>,
}

fn shape(code: u8, metadata: &[u8]) -> Shape {
    Shape {
        code,
        metadata: metadata.into(),
        unsigned: false,
        collation: 45,
        members: Vec::new(),
    }
}

fn event(event_type: EventType, body: &[u8]) -> Vec<u8> {
    let size = (HEADER_BYTES + body.len()) as u32;
    let mut bytes = vec![0; 4];
    bytes.push(event_type.0);
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(size.to_le_bytes());
    bytes.extend([0; 6]);
    bytes.extend(body);
    bytes
}

fn field(out: &mut Vec<u8>, code: u8, value: &[u8]) {
    out.push(code);
    out.push(u8::try_from(value.len()).unwrap());
    out.extend(value);
}

/// The table map of `t.t` with a column `v`, and an insert of one row whose value is `stored`; `None` for NULL.
fn encode(shape: &Shape, stored: Option<&[u8]>) -> (Vec<u8>, Vec<u8>) {
    let mut map = TABLE_ID.to_le_bytes()[..6].to_vec();
    map.extend([0, 0, 1, b't', 0, 1, b't', 0, 1, shape.code, shape.metadata.len() as u8]);
    map.extend(&shape.metadata);
    map.push(1);
    field(&mut map, 4, b"\x01v");
    field(&mut map, 1, &[if shape.unsigned { 0x80 } else { 0 }]);
    field(&mut map, 3, &[shape.collation]);
    field(&mut map, 11, &[shape.collation]);
    let mut members = vec![shape.members.len() as u8];
    shape.members.iter().for_each(|member| {
        members.push(member.len() as u8);
        members.extend(member.bytes());
    });
    field(
        &mut map,
        if shape.metadata.first() == Some(&248) { 5 } else { 6 },
        &members,
    );
    let mut rows = TABLE_ID.to_le_bytes()[..6].to_vec();
    rows.extend([1, 0, 2, 0, 1, 0xff, u8::from(stored.is_none())]);
    rows.extend(stored.unwrap_or_default());
    (event(EventType::TABLE_MAP, &map), event(EventType::WRITE_ROWS, &rows))
}

/// The JSON form of the value.
fn decode(shape: &Shape, stored: Option<&[u8]>) -> Result<String, Error> {
    let (map, rows) = encode(shape, stored);
    let Body::TableMap(map) = Event::parse(&map, &mut Format::default())?.body else {
        unreachable!()
    };
    let map = map.table_map()?;
    let Body::Rows(rows) = Event::parse(&rows, &mut Format::default())?.body else {
        unreachable!()
    };
    let mut changes = rows.rows(&map)?;
    let row = changes.next().unwrap()?.after.unwrap();
    let mut out = Vec::new();
    row.write_json(&mut out)?;
    let json = out
        .strip_prefix(b"{\"v\":")
        .and_then(|rest| rest.strip_suffix(b"}"))
        .unwrap();
    let mut alone = Vec::new();
    row.value(0)?.unwrap().write_json(&mut alone)?;
    assert_eq!(alone, json);
    assert!(changes.next().is_none_or(|next| next.is_err()), "one row was written");
    Ok(String::from_utf8(alone).unwrap())
}

fn text(shape: &Shape, stored: &[u8]) -> String {
    serde_json::from_str(&decode(shape, Some(stored)).unwrap()).unwrap()
}

/// The highest `digits` of six digits of microseconds, in the bytes that MySQL stores them in.
fn stored_fraction(microsecond: u32, digits: u8) -> (u64, u32) {
    match digits {
        0 => (0, 0),
        1 | 2 => (u64::from(microsecond / 10_000), 8),
        3 | 4 => (u64::from(microsecond / 100), 16),
        _ => (u64::from(microsecond), 24),
    }
}

fn big_endian(value: u64, bytes: usize) -> Vec<u8> {
    value.to_be_bytes()[8 - bytes..].to_vec()
}

/// Microseconds cut to the digits, as a server rounds them before it stores them; and as text.
fn cut(microsecond: u32, digits: u8) -> (u32, String) {
    let unit = 10_u32.pow(6 - u32::from(digits));
    let text = format!("{:06}", microsecond / unit * unit);
    (
        microsecond / unit * unit,
        if digits == 0 {
            String::new()
        } else {
            format!(".{}", &text[..usize::from(digits)])
        },
    )
}

proptest! {
    #[test]
    fn integers(value in any::<i64>(), width in 0..5_usize, unsigned in any::<bool>()) {
        let (code, bytes) = [(1, 1), (2, 2), (9, 3), (3, 4), (8, 8)][width];
        let shape = Shape { unsigned, ..shape(code, &[]) };
        let bits = 64 - 8 * bytes as u32;
        let expected = if unsigned { ((value as u64) << bits >> bits).to_string() } else { (value << bits >> bits).to_string() };
        prop_assert_eq!(decode(&shape, Some(&value.to_le_bytes()[..bytes])).unwrap(), expected);
    }

    #[test]
    fn floats_read_back_the_same(single in any::<f32>(), double in any::<f64>()) {
        let ours = decode(&shape(4, &[4]), Some(&single.to_le_bytes()));
        match single.is_finite() {
            true => prop_assert_eq!(ours.unwrap().parse::<f32>().unwrap().to_bits(), single.to_bits()),
            false => prop_assert_eq!(ours.unwrap_err().reason(), Reason::Malformed),
        }
        let ours = decode(&shape(5, &[8]), Some(&double.to_le_bytes()));
        match double.is_finite() {
            true => prop_assert_eq!(ours.unwrap().parse::<f64>().unwrap().to_bits(), double.to_bits()),
            false => prop_assert_eq!(ours.unwrap_err().reason(), Reason::Malformed),
        }
    }

    #[test]
    fn decimals(digits in prop::collection::vec(0..10_u8, 1..=65), scale in 0..=30_usize, negative in any::<bool>()) {
        let scale = scale.min(digits.len());
        let all: String = digits.iter().map(|digit| char::from(b'0' + digit)).collect();
        let (whole, part) = all.split_at(digits.len() - scale);
        let negative = negative && digits.iter().any(|digit| *digit != 0);
        let group = |group: &str| {
            let bytes = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4][group.len()];
            big_endian(group.parse().unwrap_or(0), bytes)
        };
        let (head, groups) = whole.split_at(whole.len() % 9);
        let mut stored = group(head);
        for place in (0..groups.len()).step_by(9) {
            stored.extend(group(&groups[place..place + 9]));
        }
        for place in (0..part.len()).step_by(9) {
            stored.extend(group(&part[place..part.len().min(place + 9)]));
        }
        if negative {
            stored.iter_mut().for_each(|byte| *byte = !*byte);
        }
        stored[0] ^= 0x80;
        let trimmed = whole.trim_start_matches('0');
        let point = if scale > 0 { "." } else { "" };
        let expected = format!("{}{}{point}{part}", if negative { "-" } else { "" }, if trimmed.is_empty() { "0" } else { trimmed });
        prop_assert_eq!(text(&shape(246, &[digits.len() as u8, scale as u8]), &stored), expected);
    }

    #[test]
    fn times(hours in 0..=838_u64, minute in 0..60_u64, second in 0..60_u64, microsecond in 0..1_000_000_u32, digits in 0..=6_u8, negative in any::<bool>()) {
        let (microsecond, fraction) = cut(microsecond, digits);
        let negative = negative && (hours, minute, second, microsecond) != (0, 0, 0, 0);
        let (stored, bits) = stored_fraction(microsecond, digits);
        let magnitude = ((hours << 12 | minute << 6 | second) << bits | stored) as i64;
        let packed = (0x80_0000_i64 << bits) + if negative { -magnitude } else { magnitude };
        let sign = if negative { "-" } else { "" };
        let expected = format!("{sign}{hours:02}:{minute:02}:{second:02}{fraction}");
        prop_assert_eq!(text(&shape(19, &[digits]), &big_endian(packed as u64, 3 + bits as usize / 8)), expected);
        let old = (hours * 10_000 + minute * 100 + second) as i32 * if negative { -1 } else { 1 };
        let sign = if old < 0 { "-" } else { "" };
        let expected = format!("{sign}{hours:02}:{minute:02}:{second:02}");
        prop_assert_eq!(text(&shape(11, &[]), &old.to_le_bytes()[..3]), expected);
    }

    #[test]
    fn dates_and_times_of_day(
        year in 0..=9999_u64, month in 0..=12_u64, day in 0..=31_u64,
        seconds in 0..86_400_u64, microsecond in 0..1_000_000_u32, digits in 0..=6_u8,
    ) {
        let (microsecond, fraction) = cut(microsecond, digits);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let (stored, bits) = stored_fraction(microsecond, digits);
        let whole = (year * 13 + month) << 22 | day << 17 | hour << 12 | minute << 6 | second;
        let packed = (whole + 0x80_0000_0000) << bits | stored;
        let date = format!("{year:04}-{month:02}-{day:02}");
        let time = format!("{hour:02}:{minute:02}:{second:02}");
        prop_assert_eq!(text(&shape(18, &[digits]), &big_endian(packed, 5 + bits as usize / 8)), format!("{date} {time}{fraction}"));
        let old = ((year * 100 + month) * 100 + day) * 1_000_000 + (hour * 100 + minute) * 100 + second;
        prop_assert_eq!(text(&shape(12, &[]), &old.to_le_bytes()), format!("{date} {time}"));
        let days = (year << 9 | month << 5 | day).to_le_bytes();
        prop_assert_eq!(text(&shape(10, &[]), &days[..3]), date.clone());
        prop_assert_eq!(text(&shape(14, &[]), &days[..3]), date);
    }

    #[test]
    fn timestamps_count_on_by_the_second(seconds in 1..u32::MAX, microsecond in 0..1_000_000_u32, digits in 0..=6_u8) {
        let (microsecond, fraction) = cut(microsecond, digits);
        let (stored, bits) = stored_fraction(microsecond, digits);
        let packed = u64::from(seconds) << bits | stored;
        let ours = text(&shape(17, &[digits]), &big_endian(packed, 4 + bits as usize / 8));
        // Howard Hinnant's days_from_civil, the way back.
        let part = |from: usize, to: usize| ours[from..to].parse::<i64>().unwrap();
        let (year, month, day) = (part(0, 4) - i64::from(part(5, 7) <= 2), part(5, 7), part(8, 10));
        let (era, in_era) = (year / 400, year % 400);
        let in_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
        let days = era * 146_097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719_468;
        let back = days * 86_400 + part(11, 13) * 3600 + part(14, 16) * 60 + part(17, 19);
        prop_assert_eq!(back, i64::from(seconds));
        prop_assert_eq!(&ours[19..], format!("{fraction}Z"));
        let old = text(&shape(7, &[]), &seconds.to_le_bytes());
        prop_assert_eq!(&old[..19], &ours[..19]);
    }

    #[test]
    fn texts(value in ".{0,80}") {
        let mut stored = vec![value.len() as u8, (value.len() >> 8) as u8];
        stored.extend(value.bytes());
        prop_assert_eq!(text(&shape(15, &[0, 4]), &stored), value);
    }

    #[test]
    fn any_bytes_as_a_document(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut stored = vec![bytes.len() as u8];
        stored.extend(&bytes);
        if let Ok(json) = decode(&shape(245, &[1]), Some(&stored)) {
            let text: String = serde_json::from_str(&json).unwrap();
            prop_assert!(text.len() < 100 + 40 * bytes.len());
        }
    }
}

#[test]
fn zero_values_and_null() {
    assert_eq!(
        decode(&shape(17, &[3]), Some(&[0; 6])).unwrap(),
        r#""0000-00-00T00:00:00.000Z""#
    );
    assert_eq!(
        decode(&shape(7, &[]), Some(&[0; 4])).unwrap(),
        r#""0000-00-00T00:00:00Z""#
    );
    assert_eq!(decode(&shape(13, &[]), Some(&[0])).unwrap(), "0");
    assert_eq!(decode(&shape(13, &[]), Some(&[255])).unwrap(), "2155");
    for code in [1, 2, 3, 8, 9, 13] {
        assert_eq!(decode(&shape(code, &[]), None).unwrap(), "null");
    }
}

#[test]
fn strings_of_every_length_encoding() {
    // CHAR(200) of utf8mb4 has 800 bytes: bits 8 and 9 of 800, inverted, are bits 4 and 5 of the type.
    let long = shape(254, &[0xce, 0x20]);
    assert_eq!(decode(&long, Some(b"\x02\x00hi")).unwrap(), r#""hi""#);
    let short = shape(254, &[0xfe, 255]);
    assert_eq!(decode(&short, Some(b"\x04hi  ")).unwrap(), r#""hi""#);
    for length_bytes in 1..=4 {
        let mut stored = 2_u32.to_le_bytes()[..length_bytes].to_vec();
        stored.extend(b"hi");
        assert_eq!(
            decode(&shape(252, &[length_bytes as u8]), Some(&stored)).unwrap(),
            r#""hi""#
        );
    }
    let binary = Shape {
        collation: 63,
        ..shape(254, &[0xfe, 4])
    };
    assert_eq!(decode(&binary, Some(b"\x01a")).unwrap(), r#""YQAAAA==""#);
}

#[test]
fn members_that_do_not_exist_are_refused() {
    let chosen = Shape {
        members: vec!["a", "b"],
        ..shape(254, &[247, 1])
    };
    assert_eq!(decode(&chosen, Some(&[0])).unwrap(), r#""""#);
    assert_eq!(decode(&chosen, Some(&[2])).unwrap(), r#""b""#);
    assert_eq!(decode(&chosen, Some(&[3])).unwrap_err().reason(), Reason::Malformed);
    let several = Shape {
        members: vec!["a", "b"],
        ..shape(254, &[248, 1])
    };
    assert_eq!(decode(&several, Some(&[3])).unwrap(), r#""a,b""#);
    assert_eq!(decode(&several, Some(&[4])).unwrap_err().column(), Some("t.t.v"));
}

#[test]
fn errors_say_column_place_and_remedy() {
    let error = decode(&shape(15, &[100, 0]), Some(b"\x03a\xff\xfe")).unwrap_err();
    assert_eq!(error.reason(), Reason::Text);
    assert_eq!(
        error.to_string(),
        "text: no character of utf8mb4 begins with bytes [ff, fe], byte 1 of the value, column t.t.v, at byte 32 of the event; \
         hint: correct the row on the server, or convert the column to utf8mb4"
    );
    let error = decode(&shape(15, &[100, 0]), Some(b"\x09a")).unwrap_err();
    assert_eq!((error.reason(), error.column()), (Reason::Truncated, Some("t.t.v")));
    let later = Shape {
        collation: 250,
        ..shape(15, &[100, 0])
    };
    assert_eq!(decode(&later, Some("\u{1}a".as_bytes())).unwrap(), r#""a""#);
    let error = decode(&shape(20, &[1, 8]), Some(&[])).unwrap_err();
    assert_eq!((error.reason(), error.hint()), (Reason::Unsupported, "drop the index"));
    let error = decode(&shape(18, &[0]), Some(&[0x99, 0xff, 0xff, 0xff, 0xff])).unwrap_err();
    assert_eq!(
        (error.reason(), error.offset()),
        (Reason::Malformed, Some(HEADER_BYTES + 13))
    );
}

/// A document whose two entries at each of 60 levels are one value would print 2^60 numbers.
#[test]
fn documents_that_share_values_do_not_explode() {
    let mut document = vec![2_u8];
    for level in 0..60_u16 {
        // An array of two, both entries pointing behind them, to the next level.
        document.extend([2, 0]);
        document.extend((10 + (59 - level) * 10 + 4).to_le_bytes());
        document.extend([2, 10, 0, 2, 10, 0]);
    }
    document.extend([0, 0, 4, 0]);
    let mut stored = (document.len() as u32).to_le_bytes().to_vec();
    stored.extend(&document);
    let error = decode(&shape(245, &[4]), Some(&stored)).unwrap_err();
    assert!(
        error.to_string().contains("more content than the document has bytes"),
        "{error}"
    );
}

#[test]
fn documents_nested_without_end_are_refused() {
    // An array of one entry that points to its own beginning.
    let document = [2, 1, 0, 7, 0, 2, 0, 0];
    let mut stored = vec![document.len() as u8];
    stored.extend(document);
    assert_eq!(
        decode(&shape(245, &[1]), Some(&stored)).unwrap_err().reason(),
        Reason::Malformed
    );
}

#[test]
fn a_value_is_read_without_its_row() {
    let (map, rows) = encode(&shape(3, &[]), Some(&[1, 0, 0, 0]));
    let mut format = Format::default();
    let Body::TableMap(event) = Event::parse(&map, &mut format).unwrap().body else {
        unreachable!()
    };
    let map = event.table_map().unwrap();
    assert_eq!((event.database, event.table, map.table_id), ("t", "t", TABLE_ID));
    let Body::Rows(rows) = Event::parse(&rows, &mut format).unwrap().body else {
        unreachable!()
    };
    assert!(rows.is_statement_end);
    let row = rows.rows(&map).unwrap().next().unwrap().unwrap().after.unwrap();
    assert_eq!(row.value(0).unwrap(), Some(Value::Int(1)));
    assert_eq!(row.value(1).unwrap(), None);
    assert!(row.is_present(0) && !row.is_present(1) && row.is_full());
}
