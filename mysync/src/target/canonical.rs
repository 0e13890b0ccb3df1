//! From a message's JSON to the canonical texts that stores hold.
//!
//! The message already holds one canonical text a value (docs/types.md). Here a JSON string is unescaped, null is no text, and
//! anything else (number, boolean, object, array) is its text exactly as it stands in the message: no number passes
//! through a float.

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// A row's columns in message order; `None` is NULL.
pub type Columns<'a> = Vec<(Cow<'a, str>, Option<Cow<'a, str>>)>;

/// The columns of a row given as JSON object text.
pub fn columns(object: &str) -> serde_json::Result<Columns<'_>> {
    let mut deserializer = serde_json::Deserializer::from_str(object);
    let columns = deserializer.deserialize_map(ColumnsVisitor)?;
    deserializer.end()?;
    Ok(columns)
}

/// The canonical text of one JSON value; `None` is null.
pub fn text(value: &RawValue) -> serde_json::Result<Option<Cow<'_, str>>> {
    let raw = value.get();
    match raw.as_bytes().first() {
        Some(b'"') => Ok(Some(unescape(raw)?)),
        Some(b'n') => Ok(None),
        _ => Ok(Some(Cow::Borrowed(raw))),
    }
}

/// Most strings hold no escape, and are borrowed.
fn unescape(quoted: &str) -> serde_json::Result<Cow<'_, str>> {
    match quoted.get(1..quoted.len().saturating_sub(1)) {
        Some(inner) if !inner.contains('\\') => Ok(Cow::Borrowed(inner)),
        _ => serde_json::from_str(quoted).map(Cow::Owned),
    }
}

/// A name that is borrowed where it holds no escape.
pub(crate) struct Name<'a>(pub(crate) Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a column's name")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

struct ColumnsVisitor;

impl<'de> Visitor<'de> for ColumnsVisitor {
    type Value = Columns<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a row as a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut columns = Vec::with_capacity(map.size_hint().unwrap_or(8));
        while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
            let value = text(value).map_err(serde::de::Error::custom)?;
            columns.push((name, value));
        }
        Ok(columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn each_kind_of_value_has_its_text() {
        let row = concat!(
            r#"{"id":18446744073709551615,"name":"a\"\u00e9\n😀","empty":"","gone":null,"f":-0.0,"ok":true,"#,
            r#""g":{"srid":4326,"wkb":"AA=="},"v":[1.0,2.5],"d\"q":"x"}"#
        );
        let expected = [
            ("id", Some("18446744073709551615")),
            ("name", Some("a\"é\n😀")),
            ("empty", Some("")),
            ("gone", None),
            ("f", Some("-0.0")),
            ("ok", Some("true")),
            ("g", Some(r#"{"srid":4326,"wkb":"AA=="}"#)),
            ("v", Some("[1.0,2.5]")),
            ("d\"q", Some("x")),
        ];
        let found = columns(row).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|(name, text)| (name.as_ref(), text.as_deref()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn anything_but_one_object_is_refused() {
        for text in ["[]", "1", "{", "{\"a\":1} x", "{\"a\":\"\\ud83d\"}", ""] {
            assert!(columns(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn strings_come_back_as_they_were(name in ".{0,20}", value in any::<String>()) {
            let row = json!({ name.clone(): value.clone() }).to_string();
            let found = columns(&row).unwrap();
            prop_assert_eq!(found, vec![(Cow::Owned(name), Some(Cow::Owned(value)))]);
        }
    }
}
