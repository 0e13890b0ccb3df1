//! A table's rows in the order of its key, in ranges: each begins behind the last row of the one before.
//!
//! The order is the server's own: that of the primary key's index, by the columns' collations and types. So the place of a row
//! is kept in the form in which the server stores it (text in its column's character set, an ENUM's number), and compared
//! by the server. `(a, b) > (1, 2)` would be read from the table's beginning, so it is written out in a way that the index
//! serves.
//!
//! Columns of `source.keys` that no unique index has need not differ in their collations, only in their bytes: these are
//! ordered as bytes then.

use super::condition::{in_quotes, plain, quoted};
use crate::decode::{Column, ColumnType, Row, TableMap, Value};
use crate::encode::refuse;
use crate::error::{Error, Result};
use crate::source::Edge;
use std::collections::BTreeMap;
use std::fmt::Write;

/// How a table's rows are ordered.
pub(super) struct Order<'t> {
    pub(super) map: &'t TableMap,
    /// The key's columns.
    pub(super) columns: &'t [usize],
    /// Of columns that have one, by their names.
    pub(super) collations: &'t BTreeMap<String, String>,
    /// The unique index of these columns; without one the order is that of bytes.
    pub(super) index: Option<String>,
}

impl Order<'_> {
    /// Requires that rows can be ordered by the key.
    pub(super) fn require(&self) -> Result<()> {
        let has_none = |index: &&usize| {
            matches!(
                self.map.columns[**index].column_type,
                ColumnType::JsonText { .. } | ColumnType::Geometry { .. } | ColumnType::Vector { .. }
            )
        };
        match self.columns.iter().find(has_none) {
            None => Ok(()),
            Some(index) => {
                let (database, table, column) = (&self.map.database, &self.map.table, &self.map.columns[*index].name);
                Err(Error::definite(format!(
                    "rows have no order by a column of the key: {database}.{table}.{column}"
                ))
                .detail("a JSON, GEOMETRY or VECTOR")
                .hint("name other NOT NULL columns that identify a row in [source.keys]"))
            }
        }
    }

    /// Names of the key's columns.
    pub(super) fn names(&self) -> Vec<String> {
        self.columns
            .iter()
            .map(|index| self.map.columns[*index].name.clone())
            .collect()
    }

    /// The place of a row.
    pub(super) fn edge(&self, row: &Row<'_>) -> Result<Edge> {
        let values = self.columns.iter().map(|index| self.value(row, *index));
        Ok(Edge {
            columns: self.names(),
            values: values.collect::<Result<_>>()?,
        })
    }

    fn value(&self, row: &Row<'_>, index: usize) -> Result<String> {
        let column = &self.map.columns[index];
        let bytes = row.bytes(index).map_err(refuse)?;
        let value = row.value(index).map_err(refuse)?;
        let (Some(bytes), Some(value)) = (bytes, value) else {
            let (database, table, name) = (&self.map.database, &self.map.table, &column.name);
            return Err(
                Error::definite(format!("a column of the key is NULL: {database}.{table}.{name}"))
                    .hint("name NOT NULL columns that identify a row in [source.keys]"),
            );
        };
        Ok(match (column.column_type, value) {
            (ColumnType::Enum { .. } | ColumnType::Set { .. }, _) => {
                let fold = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
                format!("n{}", bytes.iter().rev().fold(0, fold))
            }
            (ColumnType::Blob { .. }, _) => {
                let mut text = String::from("x");
                for byte in bytes {
                    write!(text, "{byte:02x}").ok();
                }
                text
            }
            // The single's exact value is a double.
            (_, Value::Float(number)) => format!("n{:?}", f64::from(number)),
            (_, Value::Double(number)) => format!("n{number:?}"),
            (column_type, value) => {
                let mut text = Vec::new();
                value
                    .write_json(&mut text)
                    .map_err(|error| refuse(self.map.locate(error, index)))?;
                let text = String::from_utf8_lossy(&text).replace('"', "");
                match column_type {
                    ColumnType::Timestamp { .. } => format!("t{}", text.trim_end_matches('Z').replace('T', " ")),
                    ColumnType::Date | ColumnType::DateTime { .. } | ColumnType::Time { .. } => format!("t{text}"),
                    _ => format!("n{text}"),
                }
            }
        })
    }

    /// A value of an edge as a literal; `None` if it is none.
    fn literal(&self, column: &Column, value: &str) -> Option<String> {
        let rest = value.get(1..)?;
        match value.as_bytes().first()? {
            b'n' => plain(rest, "-+.e"),
            b't' => plain(rest, "-:. ").map(in_quotes),
            b'x' if rest.len() % 2 == 0 && rest.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
                match (&self.index, self.collations.get(&column.name)) {
                    (Some(_), Some(collation)) => {
                        let charset = collation.split('_').next()?;
                        Some(format!("_{charset} x'{rest}' COLLATE {collation}"))
                    }
                    _ => Some(format!("x'{rest}'")),
                }
            }
            _ => None,
        }
    }

    /// What is compared.
    fn term(&self, column: &Column) -> String {
        let name = quoted(&column.name);
        let is_text = self.collations.contains_key(&column.name)
            && !matches!(column.column_type, ColumnType::Enum { .. } | ColumnType::Set { .. });
        match self.index.is_none() && is_text {
            true => format!("CAST({name} AS BINARY)"),
            false => name,
        }
    }

    /// The condition of the rows behind an edge; none where there is no edge.
    pub(super) fn behind(&self, edge: Option<&Edge>) -> Result<Option<String>> {
        edge.map(|edge| self.compare(edge, '>', ">")).transpose()
    }

    /// The condition of the rows up to an edge, its own row included; none where there is no edge.
    pub(super) fn up_to(&self, edge: Option<&Edge>) -> Result<Option<String>> {
        edge.map(|edge| self.compare(edge, '<', "<=")).transpose()
    }

    fn compare(&self, edge: &Edge, sign: char, last_sign: &str) -> Result<String> {
        let pairs: Option<Vec<(String, String)>> = (self.columns.iter().zip(&edge.values))
            .map(|(index, value)| {
                let column = &self.map.columns[*index];
                Some((self.term(column), self.literal(column, value)?))
            })
            .collect();
        let pairs = pairs.filter(|pairs| pairs.len() == self.columns.len()).ok_or_else(|| {
            Error::definite(format!(
                "the place in a table is none: {}.{}",
                self.map.database, self.map.table
            ))
            .detail(format!("{edge:?}"))
            .hint("was it written by a newer version of mysync? call the dump off: mysync dump --cancel")
        })?;
        let mut condition = String::new();
        for (term, literal) in pairs.iter().rev() {
            condition = match condition.is_empty() {
                true => format!("{term} {last_sign} {literal}"),
                false => format!("({term} {sign} {literal} OR ({term} = {literal} AND {condition}))"),
            };
        }
        if let (Some((term, literal)), true) = (pairs.first(), pairs.len() > 1) {
            condition = format!("{term} {sign}= {literal} AND {condition}");
        }
        Ok(condition)
    }

    /// The statement that reads rows in order, given what it selects.
    pub(super) fn statement(
        &self,
        selected: &str,
        conditions: &[Option<String>],
        rows_max: usize,
        passed_over: usize,
    ) -> String {
        let (database, table) = (quoted(&self.map.database), quoted(&self.map.table));
        let force = self
            .index
            .as_ref()
            .map(|index| format!(" FORCE INDEX ({})", quoted(index)));
        let conditions: Vec<String> = conditions
            .iter()
            .flatten()
            .map(|condition| format!("({condition})"))
            .collect();
        let filter = match conditions.is_empty() {
            true => String::new(),
            false => format!(" WHERE {}", conditions.join(" AND ")),
        };
        let terms = self.columns.iter().map(|index| self.term(&self.map.columns[*index]));
        let order = terms.collect::<Vec<_>>().join(", ");
        format!(
            "SELECT {selected} FROM {database}.{table}{}{filter} ORDER BY {order} LIMIT {passed_over}, {rows_max}",
            force.unwrap_or_default()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Cell, ColumnSchema, TableRows};

    fn map(columns: &[(&str, ColumnType, u16)]) -> TableMap {
        let types = columns.iter().map(|column| (column.1, false)).collect();
        let mut map = TableMap::of_columns("d", "t", types);
        let known = |column: &(&str, ColumnType, u16)| ColumnSchema {
            name: column.0.into(),
            collation: Some(column.2),
            members: vec!["x".into(), "y".into()],
            ..ColumnSchema::default()
        };
        map.supply(&columns.iter().map(known).collect::<Vec<_>>()).unwrap();
        map
    }

    const TEXT: ColumnType = ColumnType::Blob { length_bytes: 4 };

    #[test]
    fn ranges_begin_behind_a_row_and_are_written_out_for_the_index() {
        let map = map(&[
            ("a`b", ColumnType::BigInt, 63),
            ("t", TEXT, 8),
            ("e", ColumnType::Enum { bytes: 1 }, 8),
            ("f", ColumnType::Float, 63),
            ("s", ColumnType::Timestamp { digits: 1 }, 63),
            ("d", ColumnType::Decimal { precision: 5, scale: 2 }, 63),
        ]);
        let collations = BTreeMap::from([("t".to_owned(), "latin1_swedish_ci".to_owned())]);
        let mut rows = TableRows::new(map.clone());
        let cells = [
            Cell::Int(-5),
            Cell::Bytes(b"\xe4'"),
            Cell::UInt(2),
            Cell::Float(0.1),
            Cell::Bytes(b"1.50"),
            Cell::Bytes(b"-1.28"),
        ];
        rows.push(cells.into_iter()).unwrap();
        let order = |columns, index: Option<&str>| Order {
            map: &map,
            columns,
            collations: &collations,
            index: index.map(str::to_owned),
        };
        let row = rows.row(0).unwrap();
        let pair = order(&[0, 1], Some("PRIMARY"));
        let edge = pair.edge(&row).unwrap();
        assert_eq!(edge.values, ["n-5", "xe427"]);
        let literal = "_latin1 x'e427' COLLATE latin1_swedish_ci";
        let behind = format!("`a``b` >= -5 AND (`a``b` > -5 OR (`a``b` = -5 AND `t` > {literal}))");
        assert_eq!(pair.behind(Some(&edge)).unwrap().unwrap(), behind);
        let up_to = format!("`a``b` <= -5 AND (`a``b` < -5 OR (`a``b` = -5 AND `t` <= {literal}))");
        assert_eq!(pair.up_to(Some(&edge)).unwrap().unwrap(), up_to);
        assert_eq!(
            pair.statement("1", &[None, Some("x".into())], 10, 3),
            "SELECT 1 FROM `d`.`t` FORCE INDEX (`PRIMARY`) WHERE (x) ORDER BY `a``b`, `t` LIMIT 3, 10"
        );
        let bytes = order(&[1], None);
        let edge = bytes.edge(&row).unwrap();
        assert_eq!(
            bytes.behind(Some(&edge)).unwrap().unwrap(),
            "CAST(`t` AS BINARY) > x'e427'"
        );
        let others = order(&[2, 3, 4, 5], Some("PRIMARY")).edge(&row).unwrap();
        assert_eq!(
            others.values,
            ["n2", "n0.10000000149011612", "t1970-01-01 00:00:01.5", "n-1.28"]
        );
        // Nothing that is kept becomes anything but a literal.
        for hostile in ["n1 OR 1=1", "t' OR '1", "x61' OR", "xabc", "q1", "", "n"] {
            let edge = Edge {
                columns: vec!["a`b".into()],
                values: vec![hostile.into()],
            };
            assert!(order(&[0], Some("PRIMARY")).behind(Some(&edge)).is_err(), "{hostile}");
        }
        let short = Edge {
            columns: Vec::new(),
            values: Vec::new(),
        };
        assert!(order(&[0], None).behind(Some(&short)).is_err());
    }

    #[test]
    fn what_has_no_order_is_refused() {
        let map = map(&[("j", ColumnType::JsonText { length_bytes: 4 }, 63)]);
        let order = Order {
            map: &map,
            columns: &[0],
            collations: &BTreeMap::new(),
            index: None,
        };
        assert!(order.require().unwrap_err().hint.unwrap().contains("source.keys"));
    }
}
