//! The schema that Kafka Connect's JsonConverter puts before each payload: which fields a struct has, and what each one is.
//!
//! Only what a value's meaning depends on is kept. `default`, `doc` and `version` are not: a value stands in the payload, and
//! the types that are known here have one version.

use crate::error::{Error, Result};
use crate::target::canonical::Name;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;

pub(super) const SCHEMAS_ENABLE: &str = "set key.converter.schemas.enable and value.converter.schemas.enable = true in the connector, with \
     org.apache.kafka.connect.json.JsonConverter; records of mysync's own reader are read with writer.format = \"mysync\"";

/// A schema as it stands in a record.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Schema {
    /// `int64`, `string`, `struct` and so on.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// What the type stands for, as `io.debezium.time.Date`.
    pub(super) name: Option<String>,
    /// Of a field of a struct, its name.
    #[serde(default)]
    pub(super) field: String,
    /// More about the type; those that begin with [`SOURCE_TYPE`]'s stem tell of the column in MySQL.
    #[serde(default)]
    pub(super) parameters: HashMap<String, String>,
    /// Of a struct.
    #[serde(default)]
    pub(super) fields: Vec<Schema>,
    /// Of an array.
    pub(super) items: Option<Box<Schema>>,
}

/// With `column.propagate.source.type`: the column's type in MySQL, as `BIGINT UNSIGNED`.
pub(super) const SOURCE_TYPE: &str = "__debezium.source.column.type";

/// With it, its length; of a DATETIME, TIME or TIMESTAMP the digits of the fraction, and absent for none.
pub(super) const SOURCE_LENGTH: &str = "__debezium.source.column.length";

impl Schema {
    /// What an error calls the type.
    pub(super) fn shown(&self) -> String {
        match &self.name {
            Some(name) => format!("{} ({})", name, self.kind),
            None => self.kind.clone(),
        }
    }

    /// The field of a struct.
    pub(super) fn get(&self, name: &str) -> Option<&Schema> {
        self.fields.iter().find(|field| field.field == name)
    }
}

/// A record's key or value: the schema and what it describes.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Framed<'a> {
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

/// What a change says besides its rows.
#[derive(Debug, Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow)]
    pub(super) op: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) after: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) source: Source<'a>,
}

/// Where a change comes from.
#[derive(Debug, Deserialize)]
pub(super) struct Source<'a> {
    #[serde(borrow)]
    pub(super) db: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) table: Cow<'a, str>,
}

/// The schema and the payload of a key or value.
pub(super) fn framed(record: &[u8]) -> Result<(&RawValue, &RawValue)> {
    match serde_json::from_slice::<Framed<'_>>(record) {
        Ok(Framed {
            schema: Some(schema),
            payload: Some(payload),
        }) => Ok((schema, payload)),
        Ok(_) => Err(Error::definite("a record has no schema").hint(SCHEMAS_ENABLE)),
        Err(error) => Err(Error::definite("a record is not Debezium's JSON with a schema")
            .detail(error)
            .hint(SCHEMAS_ENABLE)),
    }
}

/// What a schema says.
pub(super) fn parse(schema: &RawValue) -> Result<Schema> {
    serde_json::from_str(schema.get()).map_err(|error| {
        Error::definite("a record's schema is not understood")
            .detail(error)
            .hint(SCHEMAS_ENABLE)
    })
}

/// What the payload of a value says.
pub(super) fn envelope(payload: &str) -> Result<Envelope<'_>> {
    serde_json::from_str(payload).map_err(|error| {
        Error::definite("a record's payload is not a Debezium envelope")
            .detail(error)
            .hint("take transforms that unwrap or alter records (ExtractNewRecordState) out of the connector")
    })
}

/// A struct's fields, in order.
pub(super) struct Members<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object of columns")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(16);
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}
