//! A record's key read back: the names and values of the key's columns, in order.

use super::TABLE_IN_KEY;
use crate::error::{Error, Result};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// A value of a key as its JSON shows it.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyValue {
    /// A number of at most 63 bits.
    Int(i64),
    /// A larger one.
    UInt(u64),
    /// A number with a point or an exponent.
    Double(f64),
    /// BIT(1), where it is written so.
    Bool(bool),
    /// Everything else.
    Text(String),
}

/// Reads a key; the member that names its table in a shared topic is left out.
pub fn parse(key: &[u8]) -> Result<Vec<(String, KeyValue)>> {
    let refuse = |detail: String| {
        Error::definite("a record's key is no JSON object of columns")
            .detail(detail)
            .hint("who else writes to this topic? it must hold mysync's records only")
    };
    let members: Members = serde_json::from_slice(key).map_err(|error| refuse(error.to_string()))?;
    let is_column = |(name, _): &(String, Value)| name != TABLE_IN_KEY;
    let value = |(name, value): (String, Value)| match value_of(&value) {
        Some(value) => Ok((name, value)),
        None => Err(refuse(format!("{name} is {value}"))),
    };
    members.0.into_iter().filter(is_column).map(value).collect()
}

/// A key's values as texts: what stores know its row by, whatever the columns are called and of whichever type. A key that cannot
/// be read stands for itself.
pub fn texts(key: &[u8]) -> Vec<u8> {
    let Ok(columns) = parse(key) else { return key.to_vec() };
    let mut texts = Vec::new();
    for (_, value) in columns {
        texts.extend_from_slice(value.text().as_bytes());
        // In no text.
        texts.push(0xff);
    }
    texts
}

impl KeyValue {
    fn text(&self) -> String {
        match self {
            KeyValue::Int(number) => number.to_string(),
            KeyValue::UInt(number) => number.to_string(),
            KeyValue::Double(number) => format!("{number:?}"),
            KeyValue::Bool(bit) => bit.to_string(),
            KeyValue::Text(text) => text.clone(),
        }
    }

    /// Values of other types with the same text.
    pub fn of_other_types(&self) -> Vec<KeyValue> {
        let text = self.text();
        let numbers = [
            text.parse().ok().map(KeyValue::Int),
            text.parse().ok().map(KeyValue::UInt),
            text.parse().ok().map(KeyValue::Double),
        ];
        let mut others: Vec<KeyValue> = numbers
            .into_iter()
            .flatten()
            .filter(|other| other.text() == text)
            .collect();
        others.push(KeyValue::Text(text));
        others.retain(|other| other != self);
        others
    }
}

fn value_of(value: &Value) -> Option<KeyValue> {
    match value {
        Value::Bool(bit) => Some(KeyValue::Bool(*bit)),
        Value::String(text) => Some(KeyValue::Text(text.clone())),
        Value::Number(number) => number
            .as_i64()
            .map(KeyValue::Int)
            .or_else(|| number.as_u64().map(KeyValue::UInt))
            .or_else(|| number.as_f64().map(KeyValue::Double)),
        _ => None,
    }
}

/// An object's members in their order.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Ordered;
        impl<'de> Visitor<'de> for Ordered {
            type Value = Members;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Ordered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_tell_rows_apart_as_stores_do() {
        assert_eq!(texts(br#"{"a":7,"b":"x"}"#), b"7\xffx\xff");
        assert_eq!(texts(br#"{"id":"7"}"#), texts(br#"{"uid":7}"#));
        assert_ne!(texts(br#"{"a":"1","b":"2"}"#), texts(br#"{"a":"12","b":""}"#));
        assert_eq!(texts(b"7"), b"7");
        assert_eq!(
            KeyValue::Int(7).of_other_types(),
            [KeyValue::UInt(7), KeyValue::Text("7".into())]
        );
        assert_eq!(KeyValue::Text("07".into()).of_other_types(), []);
        let double = [KeyValue::Double(1.5)];
        assert_eq!(KeyValue::Text("1.5".into()).of_other_types(), double);
    }

    #[test]
    fn columns_keep_their_order_and_the_table_is_none() {
        let key =
            br#"{"b":1,"a":"x","c":18446744073709551615,"d":-1.5,"e":true,"__dbz__physicalTableIdentifier":"p.d.t"}"#;
        let expected = [
            ("b", KeyValue::Int(1)),
            ("a", KeyValue::Text("x".into())),
            ("c", KeyValue::UInt(u64::MAX)),
            ("d", KeyValue::Double(-1.5)),
            ("e", KeyValue::Bool(true)),
        ];
        assert_eq!(
            parse(key).unwrap(),
            expected.map(|(name, value)| (name.to_owned(), value))
        );
        for wrong in [&b"7"[..], b"{\"a\":null}", b"{\"a\":", b""] {
            assert!(parse(wrong).unwrap_err().hint.is_some());
        }
    }
}
