//! The compact form of a change (`proto/change.proto`), back to the row's JSON text that the envelope would have.
//!
//! A library decodes it: whatever it accepts and we would not write the same way is still a value by the schema. Of the
//! message only what a writer needs is declared here; the other fields are skipped, as in any reader of an older schema.

use prost::Message;
use prost::bytes::Bytes;
use serde_json::value::RawValue;
use std::fmt::Write;

/// The first byte of every record: the tag of field 1, `operation`. A JSON envelope begins with a brace.
pub(super) const FIRST_BYTE: u8 = 0x08;

#[derive(Clone, PartialEq, Message)]
struct Change {
    #[prost(uint32, tag = "1")]
    operation: u32,
    #[prost(message, repeated, tag = "2")]
    columns: Vec<Column>,
    #[prost(message, optional, tag = "4")]
    after: Option<Row>,
    #[prost(message, optional, tag = "5")]
    source: Option<Source>,
}

#[derive(Clone, PartialEq, Message)]
struct Column {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Source {
    #[prost(string, tag = "1")]
    database: String,
    #[prost(string, tag = "2")]
    table: String,
}

#[derive(Clone, PartialEq, Message)]
struct Row {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(sint64, tag = "1")]
    Signed(i64),
    #[prost(uint64, tag = "2")]
    Unsigned(u64),
    #[prost(float, tag = "3")]
    Single(f32),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(string, tag = "5")]
    Text(String),
    #[prost(bytes = "bytes", tag = "6")]
    Bytes(Bytes),
    #[prost(message, tag = "7")]
    Geometry(Geometry),
    #[prost(message, tag = "8")]
    Vector(Vector),
}

#[derive(Clone, PartialEq, Message)]
struct Geometry {
    #[prost(uint32, tag = "1")]
    srid: u32,
    #[prost(bytes = "bytes", tag = "2")]
    wkb: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct Vector {
    #[prost(float, repeated, tag = "1")]
    numbers: Vec<f32>,
}

/// What a writer needs of a change.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) database: String,
    pub(super) table: String,
    /// The row's JSON text; none when it is gone.
    pub(super) row: Option<Box<RawValue>>,
}

/// Reads a record's value; the error says what is wrong with it.
pub(super) fn parse(value: &[u8]) -> Result<Parsed, String> {
    const CREATE: u32 = 1;
    const UPDATE: u32 = 2;
    const DELETE: u32 = 3;
    const READ: u32 = 4;
    let change = Change::decode(value).map_err(|error| error.to_string())?;
    let source = change.source.ok_or("no field source")?;
    if source.table.is_empty() {
        return Err("an empty field source.table".to_owned());
    }
    let row = match (change.operation, change.after) {
        (CREATE | UPDATE | READ, Some(after)) => Some(row_text(&change.columns, after)?),
        (CREATE | UPDATE | READ, None) => return Err("an insert or update has no field after".to_owned()),
        (DELETE, _) => None,
        (other, _) => return Err(format!("operation {other}, known are 1 to 4")),
    };
    Ok(Parsed {
        database: source.database,
        table: source.table,
        row,
    })
}

fn row_text(columns: &[Column], row: Row) -> Result<Box<RawValue>, String> {
    if columns.len() != row.values.len() {
        return Err(format!("{} values of {} columns", row.values.len(), columns.len()));
    }
    let mut out = Vec::new();
    let mut separator = b'{';
    for (column, value) in columns.iter().zip(&row.values) {
        out.push(separator);
        separator = b',';
        string(&mut out, &column.name);
        out.push(b':');
        write_value(&mut out, value)?;
    }
    if columns.is_empty() {
        out.push(b'{');
    }
    out.push(b'}');
    let text = String::from_utf8(out).map_err(|error| error.to_string())?;
    RawValue::from_string(text).map_err(|error| error.to_string())
}

fn write_value(out: &mut Vec<u8>, value: &Value) -> Result<(), String> {
    match &value.kind {
        None => out.extend_from_slice(b"null"),
        Some(Kind::Signed(number)) => out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
        Some(Kind::Unsigned(number)) => out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
        Some(Kind::Single(number)) => single(out, *number)?,
        Some(Kind::Double(number)) if number.is_finite() => {
            out.extend_from_slice(ryu::Buffer::new().format_finite(*number).as_bytes());
        }
        Some(Kind::Double(number)) => return Err(format!("{number} is no number that MySQL can hold")),
        Some(Kind::Text(text)) => string(out, text),
        Some(Kind::Bytes(bytes)) => base64(out, bytes)?,
        Some(Kind::Geometry(geometry)) => {
            let mut head = String::new();
            write!(head, "{{\"srid\":{},\"wkb\":", geometry.srid).map_err(|error| error.to_string())?;
            out.extend_from_slice(head.as_bytes());
            base64(out, &geometry.wkb)?;
            out.push(b'}');
        }
        Some(Kind::Vector(vector)) => {
            out.push(b'[');
            for (position, number) in vector.numbers.iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                single(out, *number)?;
            }
            out.push(b']');
        }
    }
    Ok(())
}

fn single(out: &mut Vec<u8>, number: f32) -> Result<(), String> {
    if !number.is_finite() {
        return Err(format!("{number} is no number that MySQL can hold"));
    }
    out.extend_from_slice(ryu::Buffer::new().format_finite(number).as_bytes());
    Ok(())
}

fn string(out: &mut Vec<u8>, text: &str) {
    crate::decode::json_string(out, text.as_bytes());
}

fn base64(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), String> {
    out.push(b'"');
    crate::decode::base64(out, bytes).map_err(|error| error.to_string())?;
    out.push(b'"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn change(operation: u32, columns: usize, values: Option<Vec<Option<Kind>>>) -> Vec<u8> {
        let column = |index| Column {
            name: format!("c{index}"),
        };
        let value = |kind| Value { kind };
        let source = Source {
            database: "shop".into(),
            table: "order".into(),
        };
        Change {
            operation,
            columns: (0..columns).map(column).collect(),
            after: values.map(|kinds| Row {
                values: kinds.into_iter().map(value).collect(),
            }),
            source: Some(source),
        }
        .encode_to_vec()
    }

    #[test]
    fn a_row_becomes_the_text_that_the_envelope_would_have() {
        let vector = Vector {
            numbers: vec![1.0, -3e-10],
        };
        let kinds = vec![
            Some(Kind::Signed(-1)),
            Some(Kind::Unsigned(u64::MAX)),
            Some(Kind::Single(0.1)),
            Some(Kind::Double(1e16)),
            Some(Kind::Text("a\"ü\n".into())),
            Some(Kind::Bytes(Bytes::from_static(&[0, 255]))),
            Some(Kind::Vector(vector)),
            None,
        ];
        let bytes = change(1, kinds.len(), Some(kinds));
        assert_eq!(bytes[0], FIRST_BYTE);
        let parsed = parse(&bytes).unwrap();
        assert_eq!((parsed.database.as_str(), parsed.table.as_str()), ("shop", "order"));
        let expected = concat!(
            r#"{"c0":-1,"c1":18446744073709551615,"c2":0.1,"c3":1e16,"c4":"a\"ü\n","c5":"AP8=","#,
            r#""c6":[1.0,-3e-10],"c7":null}"#
        );
        assert_eq!(parsed.row.unwrap().get(), expected);
        assert!(parse(&change(3, 1, None)).unwrap().row.is_none());
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (bytes, expected) in [
            (change(9, 0, None), "operation 9"),
            (change(1, 1, None), "no field after"),
            (change(1, 2, Some(vec![None])), "1 values of 2 columns"),
            (change(1, 1, Some(vec![Some(Kind::Double(f64::NAN))])), "no number"),
            (vec![8, 1], "no field source"),
            (vec![8], "invalid"),
        ] {
            let error = parse(&bytes).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    proptest! {
        #[test]
        fn mangled_records_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = change(2, 2, Some(vec![Some(Kind::Text("text".into())), Some(Kind::Signed(5))]));
            let index = at.index(bytes.len());
            bytes[index] = byte;
            let _ = parse(&bytes);
        }
    }
}
