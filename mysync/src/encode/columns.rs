//! Columns that are left out, masked, or written in another way than the canonical one: decided once a table.

use super::strict::{self, Strict};
use super::text;
use crate::config::{Config, Format};
use crate::decode::{Column, Error as DecodeError, TableMap, Value};
use crate::error::{Error, Result};
use crate::tables::{INTERNAL_DATABASE, Pattern};
use hmac::{Hmac, Mac};
use sha2::Sha256;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// What a configuration says of columns.
#[derive(Clone, Default)]
pub(super) struct ColumnRules {
    excluded: Vec<Pattern>,
    texts: Vec<(Pattern, String)>,
    hashed: Vec<Pattern>,
    hasher: Option<Hasher>,
}

/// HMAC-SHA-256 with the salt taken in.
type Hasher = Hmac<Sha256>;

/// What is done with the values of a column. NULL stays NULL in all that are written.
#[derive(Clone)]
pub(super) enum Plan {
    /// The canonical form.
    Plain,
    /// The form of Debezium's defaults.
    Strict(Strict),
    /// Not in the message.
    LeftOut,
    /// This text instead.
    Text(String),
    /// The hash of the canonical text instead, in hexadecimal.
    Hash(Hasher),
}

impl ColumnRules {
    pub(super) fn new(config: &Config) -> Self {
        let patterns = |texts: &[String]| texts.iter().map(|text| Pattern::of_column(text)).collect();
        let mask = &config.mask;
        let texts = mask.text.iter();
        Self {
            excluded: patterns(&config.source.columns_exclude),
            texts: texts
                .map(|(pattern, text)| (Pattern::of_column(pattern), text.clone()))
                .collect(),
            hashed: patterns(&mask.hash),
            // A key of any length is possible.
            hasher: Hasher::new_from_slice(mask.salt.reveal().as_bytes()).ok(),
        }
    }

    /// A plan a column; none where every value is written in its canonical form.
    pub(super) fn plans(&self, map: &TableMap, key: &[usize], format: Format) -> Result<Option<Vec<Plan>>> {
        let plans: Vec<Plan> = map
            .columns
            .iter()
            .map(|column| self.plan(map, column, format))
            .collect();
        for &index in key {
            if matches!(plans[index], Plan::LeftOut | Plan::Text(_) | Plan::Hash(_)) {
                let column = &map.columns[index].name;
                let what = format!(
                    "a key column cannot be left out or masked: {}.{}.{column}",
                    map.database, map.table
                );
                return Err(Error::configuration(what)
                    .detail("rows are told apart by it, in Kafka and in the targets")
                    .hint("narrow the patterns of source.columns_exclude and of [mask]"));
            }
        }
        let is_plain = plans.iter().all(|plan| matches!(plan, Plan::Plain));
        Ok((!is_plain).then_some(plans))
    }

    fn plan(&self, map: &TableMap, column: &Column, format: Format) -> Plan {
        let names = [map.database.as_str(), &map.table, &column.name];
        if map.database != INTERNAL_DATABASE {
            if self.excluded.iter().any(|pattern| pattern.matches(&names)) {
                return Plan::LeftOut;
            }
            if let Some((_, text)) = self.texts.iter().find(|(pattern, _)| pattern.matches(&names)) {
                return Plan::Text(text.clone());
            }
            if let Some(hasher) = &self.hasher
                && self.hashed.iter().any(|pattern| pattern.matches(&names))
            {
                return Plan::Hash(hasher.clone());
            }
        }
        match Strict::of(column) {
            Some(strict) if format == Format::DebeziumStrict => Plan::Strict(strict),
            _ => Plan::Plain,
        }
    }
}

impl Plan {
    /// Appends a value as JSON. A column that is left out has to be passed over before.
    pub(super) fn write_json(&self, value: &Value<'_>, out: &mut Vec<u8>) -> std::result::Result<(), DecodeError> {
        match self {
            Plan::Plain | Plan::LeftOut => value.write_json(out),
            _ if matches!(value, Value::Null) => value.write_json(out),
            Plan::Strict(strict) => strict::write_json(*strict, value, out),
            Plan::Text(text) => {
                text::append_json(text, out);
                Ok(())
            }
            Plan::Hash(hasher) => {
                out.push(b'"');
                append_hash(hasher, value, out)?;
                out.push(b'"');
                Ok(())
            }
        }
    }
}

/// Appends the hash of a value's canonical text.
pub(super) fn append_hash(
    hasher: &Hasher,
    value: &Value<'_>,
    out: &mut Vec<u8>,
) -> std::result::Result<(), DecodeError> {
    let start = out.len();
    text::append(value, out)?;
    let hash = hasher.clone().chain_update(&out[start..]).finalize().into_bytes();
    out.truncate(start);
    for byte in hash {
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
    Ok(())
}

impl std::fmt::Debug for ColumnRules {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ColumnRules")
            .field("excluded", &self.excluded)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Plan::Plain => "Plain",
            Plan::Strict(_) => "Strict",
            Plan::LeftOut => "LeftOut",
            Plan::Text(_) => "Text",
            Plan::Hash(_) => "Hash",
        })
    }
}
