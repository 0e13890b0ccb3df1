//! From a record to a change: the Debezium MySQL envelope, schemas off, as mysync and Debezium write it, or mysync's compact
//! form. Each record is looked at by itself: a topic may hold both, from before and after a change of `messages.format`.
//!
//! Only what is needed is looked at: `op`, `after`, and database and table in `source`. Row values stay the raw text of the
//! message. An operation that is not known, or JSON that is not an envelope, is a definite error: it is never skipped.
//! With `writer.format = "debezium"` all of this is different, and stands in [`super::debezium`].
//!
//! A record without a value (a tombstone) deletes the row of its key. Its table stands in the header `mysync.table`; a
//! tombstone of Debezium's has none, and then the topic's own records tell the table, or at last the topic's name. Where all
//! tables share a topic their keys name them; that member is for Kafka and not of the row.

use super::debezium::Records;
use super::protobuf;
use crate::encode::TABLE_IN_KEY;
use crate::error::{Error, Result};
use crate::queue::Message;
use crate::source::mysql::DescribedColumn;
use crate::target::{RowChange, TableName, canonical};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    op: Cow<'a, str>,
    #[serde(borrow)]
    after: Option<&'a RawValue>,
    #[serde(borrow)]
    source: Source<'a>,
}

#[derive(Deserialize)]
struct Source<'a> {
    #[serde(borrow)]
    db: Cow<'a, str>,
    #[serde(borrow)]
    table: Cow<'a, str>,
}

/// Parses records, and remembers which table each topic holds.
#[derive(Debug)]
pub struct Parser {
    topic_prefix: String,
    /// Of each topic, the tables seen in it.
    tables: HashMap<Arc<str>, Vec<Arc<TableName>>>,
    columns_changed: Option<bool>,
    /// Where records are Debezium's own.
    debezium: Option<Box<Records>>,
}

impl Parser {
    /// A parser for the topics `<prefix>.<database>.<table>`.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self {
            topic_prefix: format!("{prefix}."),
            tables: HashMap::new(),
            columns_changed: None,
            debezium: None,
        }
    }

    /// Takes all records from now on for Debezium's own, with schemas: [`Parser::wants`] before each one.
    pub fn read_debezium(&mut self) {
        let prefix = self.topic_prefix.strip_suffix('.').unwrap_or(&self.topic_prefix);
        self.debezium = Some(Box::new(Records::new(prefix)));
    }

    /// The table whose columns in MySQL have to be told before this record is parsed.
    pub fn wants(&mut self, message: &Message) -> Option<Arc<TableName>> {
        self.debezium.as_mut()?.wants(message)
    }

    /// What the columns of a table are now; none if it is not there.
    pub fn tell(&mut self, table: &Arc<TableName>, columns: Option<Vec<DescribedColumn>>) {
        if let Some(records) = &mut self.debezium {
            records.tell(table, columns);
        }
    }

    /// What a row is known by within its partition: the record's key, unless a schema stands in it, which may change.
    pub(super) fn row_key(&self, record_key: Vec<u8>, change: &RowChange) -> Vec<u8> {
        match self.debezium {
            None => record_key,
            Some(_) => change
                .key
                .iter()
                .flat_map(|(_, text)| [text.as_bytes(), &[0xff]].concat())
                .collect(),
        }
    }

    /// Lets changes say from now on whether their columns differ from those that are folded into them.
    pub fn compare_columns(&mut self) {
        self.columns_changed = Some(false);
    }

    /// The change that a record stands for.
    pub fn parse(&mut self, message: &Message) -> Result<RowChange> {
        let located = |error: Error| error.detail(format!("{} at offset {}", message.partition, message.offset));
        let version = message.version.unwrap_or(message.offset + 1);
        if let Some(records) = &mut self.debezium {
            let change = records.read(message).map_err(located)?;
            return Ok(RowChange {
                table: change.table,
                key: parse_key(change.key.as_bytes()).map_err(located)?,
                row: change.row,
                version,
                columns_changed: self.columns_changed,
            });
        }
        let key = parse_key(&message.key).map_err(located)?;
        let Some(value) = &message.value else {
            let table = self.tombstone_table(message).map_err(located)?;
            return Ok(RowChange {
                table,
                key,
                row: None,
                version,
                columns_changed: self.columns_changed,
            });
        };
        if value.first() == Some(&protobuf::FIRST_BYTE) {
            let change = protobuf::parse(value)
                .map_err(|wrong| located(refuse("a record's value is not a change in the compact form", wrong)))?;
            let table = self.table(&message.partition.topic, &change.database, &change.table);
            return Ok(RowChange {
                table,
                key,
                row: change.row,
                version,
                columns_changed: self.columns_changed,
            });
        }
        let envelope: Envelope<'_> = serde_json::from_slice(value)
            .map_err(|error| located(refuse("a record's value is not a Debezium envelope", error)))?;
        let row = match (envelope.op.as_ref(), envelope.after) {
            ("c" | "u" | "r", Some(after)) => Some(after.to_owned()),
            ("d", _) => None,
            ("c" | "u" | "r", None) => {
                return Err(located(refuse(
                    "an insert or update has no row in \"after\"",
                    envelope.op,
                )));
            }
            _ => {
                return Err(located(refuse(
                    &format!("a record has an operation that is not known: {}", envelope.op),
                    "known: c, u, r, d",
                )));
            }
        };
        let table = self.table(&message.partition.topic, &envelope.source.db, &envelope.source.table);
        Ok(RowChange {
            table,
            key,
            row,
            version,
            columns_changed: self.columns_changed,
        })
    }

    fn tombstone_table(&mut self, message: &Message) -> Result<Arc<TableName>> {
        let topic = &message.partition.topic;
        if let Some(header) = &message.table {
            let (database, table): (String, String) = serde_json::from_str(header)
                .map_err(|error| refuse("a header mysync.table is not [\"database\",\"table\"]", error))?;
            return Ok(self.table(topic, &database, &table));
        }
        if let Some([known]) = self.tables.get(topic).map(Vec::as_slice) {
            return Ok(Arc::clone(known));
        }
        // A name in which characters were replaced names a table that cannot have this topic, so no row of another table
        // is deleted by it.
        match topic
            .strip_prefix(&self.topic_prefix)
            .and_then(|rest| rest.split_once('.'))
        {
            Some((database, table)) if !table.contains('.') => Ok(self.table(topic, database, table)),
            _ => Err(refuse(
                "a tombstone does not tell its table",
                "no header mysync.table, and the topic's name is not clear",
            )),
        }
    }

    fn table(&mut self, topic: &Arc<str>, database: &str, table: &str) -> Arc<TableName> {
        let is_it = |known: &Arc<TableName>| known.database == database && known.table == table;
        if let Some(known) = self
            .tables
            .get(topic)
            .and_then(|tables| tables.iter().find(|known| is_it(known)))
        {
            return Arc::clone(known);
        }
        let name = Arc::new(TableName {
            database: database.to_owned(),
            table: table.to_owned(),
        });
        self.tables
            .entry(Arc::clone(topic))
            .or_default()
            .push(Arc::clone(&name));
        name
    }
}

/// The key columns and their canonical texts, in order.
fn parse_key(key: &[u8]) -> Result<Vec<(String, String)>> {
    let text = std::str::from_utf8(key).map_err(|error| refuse("a record's key is not UTF-8", error))?;
    let mut columns =
        canonical::columns(text).map_err(|error| refuse("a record's key is not a JSON object of columns", error))?;
    columns.retain(|(name, _)| name != TABLE_IN_KEY);
    if columns.is_empty() {
        return Err(refuse("a record's key has no column", "{}"));
    }
    let column = |(name, text): (Cow<'_, str>, Option<Cow<'_, str>>)| match text {
        Some(text) => Ok((name.into_owned(), text.into_owned())),
        None => Err(refuse("a key column is null", name)),
    };
    columns.into_iter().map(column).collect()
}

fn refuse(what: &str, detail: impl std::fmt::Display) -> Error {
    Error::definite(what).detail(detail).hint(
        "who else writes to this topic? the writer understands the records of mysync's reader and of Debezium's MySQL \
         connector with JSON converters and schemas off; for embedded schemas set writer.format = \"debezium\"",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Partition;
    use proptest::prelude::*;
    use serde_json::json;

    fn message(topic: &str, key: &str, value: Option<&str>, table: Option<&str>) -> Message {
        Message {
            partition: Partition {
                topic: topic.into(),
                number: 2,
            },
            offset: 41,
            version: None,
            timestamp_ms: None,
            table: table.map(str::to_owned),
            key: key.as_bytes().to_vec(),
            value: value.map(|value| value.as_bytes().to_vec()),
        }
    }

    fn envelope(op: &str, after: &str) -> String {
        format!(
            r#"{{"before":null,"after":{after},"source":{{"version":"1","db":"shop","table":"or\u0064er","pos":4}},"op":"{op}","ts_ms":1,"transaction":null}}"#
        )
    }

    fn parsed(op: &str, after: &str) -> Result<RowChange> {
        Parser::new("p").parse(&message(
            "p.shop.order",
            r#"{"id":1,"at":"a\"b"}"#,
            Some(&envelope(op, after)),
            None,
        ))
    }

    #[test]
    fn inserts_updates_and_snapshots_carry_the_row() {
        for op in ["c", "u", "r"] {
            let change = parsed(op, r#"{"id":1, "n":18446744073709551615}"#).unwrap();
            assert_eq!(
                (change.table.database.as_str(), change.table.table.as_str()),
                ("shop", "order")
            );
            assert_eq!(change.key, [("id".into(), "1".into()), ("at".into(), "a\"b".into())]);
            assert_eq!(change.row.unwrap().get(), r#"{"id":1, "n":18446744073709551615}"#);
        }
    }

    #[test]
    fn a_delete_is_an_envelope_or_a_tombstone() {
        assert!(parsed("d", "null").unwrap().row.is_none());
        let table = |topic: &str, header| {
            let change = Parser::new("p")
                .parse(&message(topic, r#"{"id":1}"#, None, header))
                .unwrap();
            assert!(change.row.is_none());
            (change.table.database.clone(), change.table.table.clone())
        };
        assert_eq!(table("p.a_.b", Some(r#"["a$","b"]"#)), ("a$".into(), "b".into()));
        assert_eq!(table("p.a.b", None), ("a".into(), "b".into()));
    }

    #[test]
    fn a_tombstone_without_header_is_of_the_table_that_the_topic_holds() {
        let mut parser = Parser::new("p");
        parser
            .parse(&message("p.a.b.c", r#"{"id":1}"#, Some(&envelope("c", "{}")), None))
            .unwrap();
        let change = parser.parse(&message("p.a.b.c", r#"{"id":1}"#, None, None)).unwrap();
        assert_eq!(change.table.table, "order");
    }

    #[test]
    fn a_key_that_names_its_table_is_the_columns_without_it() {
        let key = r#"{"id":1,"__dbz__physicalTableIdentifier":"p.shop.order"}"#;
        let mut parser = Parser::new("p");
        for value in [Some(envelope("c", "{}")), None] {
            let header = value.is_none().then_some(r#"["shop","order"]"#);
            let change = parser
                .parse(&message("p.changes", key, value.as_deref(), header))
                .unwrap();
            assert_eq!(change.key, [("id".into(), "1".into())]);
            assert_eq!(change.table.table, "order");
        }
        // Without the header, the tables in the topic do not tell.
        parser
            .parse(&message(
                "p.changes",
                key,
                Some(&envelope("c", "{}").replace("shop", "bank")),
                None,
            ))
            .unwrap();
        assert!(parser.parse(&message("p.changes", key, None, None)).is_err());
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_place() {
        let mut refusals = Vec::new();
        for (key, value) in [
            (r#"{"id":1}"#, Some(envelope("t", "null"))),
            (r#"{"id":1}"#, Some(envelope("u", "null"))),
            (r#"{"id":1}"#, Some("{\"op\":\"c\"".into())),
            (r#"{"id":1}"#, Some("\u{8}\u{1}".into())),
            (r#"{"id":1}"#, Some("{\"op\":\"c\",\"after\":{}}".into())),
            (r#"{"id":null}"#, None),
            ("{}", None),
            ("", None),
            ("7", None),
        ] {
            let error = Parser::new("p")
                .parse(&message("p.a.b", key, value.as_deref(), None))
                .unwrap_err();
            assert!(!error.is_transient() && error.hint.is_some(), "{error}");
            refusals.push(format!("{}\n  {}", error.what, error.detail.unwrap_or_default()));
        }
        let dotted = Parser::new("p")
            .parse(&message("p.a.b.c", r#"{"id":1}"#, None, None))
            .unwrap_err();
        refusals.push(format!("{}\n  {}", dotted.what, dotted.detail.unwrap_or_default()));
        insta::assert_snapshot!(refusals.join("\n"));
    }

    proptest! {
        #[test]
        fn any_row_and_key_come_through(key in proptest::collection::btree_map(".{0,8}", any::<String>(), 1..4), row in any::<String>()) {
            let key_text = json!(key).to_string();
            let after = json!({"v": row}).to_string();
            let change = Parser::new("p").parse(&message("p.shop.order", &key_text, Some(&envelope("u", &after)), None)).unwrap();
            let found = change.row.unwrap();
            prop_assert_eq!(found.get(), after);
            prop_assert_eq!(change.key, key.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn mangled_records_never_panic(value in proptest::collection::vec(any::<u8>(), 0..60), at in 0usize..200, byte in any::<u8>()) {
            let mut mangled = envelope("u", r#"{"id":1}"#).into_bytes();
            let index = at % mangled.len();
            mangled[index] = byte;
            for value in [value, mangled] {
                let mut record = message("p.a.b", r#"{"id":1}"#, None, None);
                record.value = Some(value);
                let _ = Parser::new("p").parse(&record);
            }
        }
    }
}
