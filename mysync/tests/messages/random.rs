//! Random rows: a writer takes the same row from both forms, whatever the lengths, escapes and numbers.

use super::every_type::encode;
use super::recorded::{Published, config};
use super::schema::{by_schema, change_descriptor, parsed};
use mysync::decode::{Body, Event, EventType, Format, HEADER_BYTES};
use mysync::encode::Form;
use mysync::writer::Parser;
use proptest::prelude::*;

#[derive(Debug, Clone)]
pub struct Values {
    text: Option<String>,
    bytes: Option<Vec<u8>>,
    single: Option<f32>,
    double: Option<f64>,
    unsigned: Option<u64>,
    signed: Option<i64>,
}

fn event(event_type: EventType, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.push(event_type.0);
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(((HEADER_BYTES + body.len()) as u32).to_le_bytes());
    bytes.extend([0; 6]);
    bytes.extend(body);
    bytes
}

/// `t.t (id INT PRIMARY KEY, s VARCHAR, b LONGBLOB, f FLOAT, d DOUBLE, u BIGINT UNSIGNED, i BIGINT)`.
pub fn table_map() -> Vec<u8> {
    let mut body = vec![77, 0, 0, 0, 0, 0, 1, 0, 1, b't', 0, 1, b't', 0];
    body.extend([7, 3, 15, 252, 4, 5, 8, 8]);
    // Bytes of the longest text; of a length before a blob, of a single, of a double.
    body.extend([5, 0xff, 0xff, 4, 4, 8]);
    body.push(0b111_1110);
    // Signedness of the five numbers, character sets, names, primary key.
    body.extend([1, 1, 0b0001_0000]);
    body.extend([3, 2, 45, 63]);
    body.extend([
        4, 15, 2, b'i', b'd', 1, b's', 1, b'b', 1, b'f', 1, b'd', 1, b'u', 1, b'i',
    ]);
    body.extend([8, 1, 0]);
    event(EventType::TABLE_MAP, &body)
}

pub fn rows(values: &Values) -> Vec<u8> {
    let Values {
        text,
        bytes,
        single,
        double,
        unsigned,
        signed,
    } = values;
    let is_null = [
        false,
        text.is_none(),
        bytes.is_none(),
        single.is_none(),
        double.is_none(),
        unsigned.is_none(),
        signed.is_none(),
    ];
    let nulls = is_null
        .iter()
        .rev()
        .fold(0, |bits, is_null| bits << 1 | u8::from(*is_null));
    let mut body = vec![77, 0, 0, 0, 0, 0, 1, 0, 2, 0, 7, 0xff, nulls, 5, 0, 0, 0];
    if let Some(text) = text {
        body.extend((text.len() as u16).to_le_bytes());
        body.extend(text.as_bytes());
    }
    if let Some(bytes) = bytes {
        body.extend((bytes.len() as u32).to_le_bytes());
        body.extend(bytes);
    }
    body.extend(single.iter().flat_map(|single| single.to_le_bytes()));
    body.extend(double.iter().flat_map(|double| double.to_le_bytes()));
    body.extend(unsigned.iter().flat_map(|unsigned| unsigned.to_le_bytes()));
    body.extend(signed.iter().flat_map(|signed| signed.to_le_bytes()));
    event(EventType::WRITE_ROWS, &body)
}

pub fn values() -> impl Strategy<Value = Values> {
    use proptest::num::{f32, f64};
    let text = prop_oneof![
        "[\\x00-\\x7f]{0,300}",
        ".{0,60}",
        "[a-z]{110,140}",
        "[a-z]{16370,16390}"
    ];
    let single = f32::POSITIVE | f32::NEGATIVE | f32::NORMAL | f32::SUBNORMAL | f32::ZERO;
    let double = f64::POSITIVE | f64::NEGATIVE | f64::NORMAL | f64::SUBNORMAL | f64::ZERO;
    let optional = (
        prop::option::of(text),
        prop::option::of(prop::collection::vec(any::<u8>(), 0..300)),
        prop::option::of(single),
        prop::option::of(double),
        prop::option::of(any::<u64>()),
        prop::option::of(any::<i64>()),
    );
    optional.prop_map(|(text, bytes, single, double, unsigned, signed)| Values {
        text,
        bytes,
        single,
        double,
        unsigned,
        signed,
    })
}

#[test]
fn a_writer_takes_the_same_row_from_both_forms() {
    let forms = ["debezium", "protobuf"].map(|format| Form::new(&config(&format!("format = \"{format}\""), "")));
    let descriptor = change_descriptor();
    let (map, mut format) = (table_map(), Format::default());
    let Body::TableMap(map) = Event::parse(&map, &mut format).unwrap().body else {
        unreachable!()
    };
    let map = map.table_map().unwrap();
    proptest!(ProptestConfig::with_cases(500), |(values in values())| {
        let bytes = rows(&values);
        let Body::Rows(rows) = Event::parse(&bytes, &mut Format::default()).unwrap().body else {
            unreachable!()
        };
        let change = rows.rows(&map).unwrap().next().unwrap().unwrap();
        let mut expected = Vec::new();
        change.after.unwrap().write_json(&mut expected).unwrap();
        for form in &forms {
            let value = encode(form, &map, &change);
            if value[0] != b'{' {
                by_schema(&descriptor, &value);
            }
            let record = Published {
                topic: "dbz.t.t".into(),
                key: b"{\"id\":5}".to_vec(),
                value: Some(value),
                header: None,
                version: 1,
                table: None,
            };
            let row = parsed(&mut Parser::new("dbz"), &record).row.unwrap();
            prop_assert_eq!(row.get().as_bytes(), expected.as_slice());
        }
    });
}
