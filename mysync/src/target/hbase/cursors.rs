//! The cursors' own table, and what they are worth by the marks of the tables that they speak of.
//!
//! A cursor's row holds, besides the cursor, each table that the partition's changes went to: its id, and the cursor that its mark
//! has right after the row was written. A table whose mark says less is an older copy (or its writer died in between), and
//! its partitions begin where that one stands; a table that is gone, or another one, has nothing of what was written, and
//! its partitions begin anew.

use super::connection::Lent;
use super::table::{Mark, Table, get, make, put, text};
use crate::error::{Error, Result};
use crate::target::Cursor;
use hbase_thrift2::{TResult, TTHBaseServiceSyncClient};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The table of all cursors.
pub(super) const TABLE: &str = "mysync-cursors";
const FAMILY: &[u8] = b"c";
const CURSOR: &[u8] = b"cursor";
const TABLE_PREFIX: &str = "table:";

/// A partition's row, and what follows from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// The cursor as it stands there; empty where there is none.
    stored: String,
    /// The cursor as it is told.
    pub(super) cursor: Option<Cursor>,
    /// The tables: their ids, and the cursors in their marks.
    pub(super) tables: BTreeMap<String, (String, Cursor)>,
    /// Tables that the row names and that are not there any more.
    gone: Vec<String>,
}

/// Makes the cursors' table.
pub(super) fn prepare(lent: &mut Lent) -> Result<()> {
    make(lent, TABLE, FAMILY, &[]).map(drop)
}

/// The marks of tables; none of a table that is not there.
pub(super) type Marks = BTreeMap<String, Option<Mark>>;

/// Reads the rows of partitions, and the marks of the tables that they name.
pub(super) fn read(lent: &mut Lent, rows: &[String]) -> Result<(Vec<Held>, Marks)> {
    let what = || "cannot read the cursors".to_owned();
    let gets = rows.iter().map(|row| get(row.as_bytes())).collect();
    let found = lent.call(what, |client| client.get_multiple(TABLE.as_bytes().to_vec(), gets))?;
    if found.len() != rows.len() {
        return Err(Error::transient(format!(
            "HBase told {} rows of {} that were asked for",
            found.len(),
            rows.len()
        )));
    }
    let mut held = Vec::with_capacity(rows.len());
    for (row, cells) in rows.iter().zip(&found) {
        held.push(Held::parse(row, cells)?);
    }
    let mut marks = Marks::new();
    for name in held.iter().flat_map(|held| held.tables.keys()) {
        if !marks.contains_key(name) {
            marks.insert(name.clone(), Mark::read(lent, name)?);
        }
    }
    for (row, held) in rows.iter().zip(&mut held) {
        held.judge(row, &marks);
    }
    Ok((held, marks))
}

impl Held {
    fn parse(row: &str, cells: &TResult) -> Result<Self> {
        let mut held = Self::default();
        let refuse = |value: &str| {
            Error::definite(format!("a cursor in HBase is not an offset and a version: {value:?}"))
                .detail(format!("table {TABLE}, row {row}"))
                .hint("does anything else write to this table? delete the row to replay the partition from its oldest record")
        };
        for cell in &cells.column_values {
            let (name, value) = (text(&cell.qualifier), text(&cell.value));
            if cell.qualifier == CURSOR {
                held.cursor = Some(value.parse().map_err(|_| refuse(&value))?);
                held.stored = value.into_owned();
            } else if let Some(table) = name.strip_prefix(TABLE_PREFIX)
                && !value.is_empty()
            {
                let (id, cursor) = value.split_once(' ').ok_or_else(|| refuse(&value))?;
                let cursor = cursor.parse().map_err(|_| refuse(&value))?;
                held.tables.insert(table.to_owned(), (id.to_owned(), cursor));
            }
        }
        Ok(held)
    }

    /// Whether there is no row.
    pub(super) fn is_new(&self) -> bool {
        self.stored.is_empty()
    }

    /// What the tables still hold of what the cursor says.
    fn judge(&mut self, row: &str, marks: &Marks) {
        self.tables.retain(|name, (id, noted)| {
            let mark = marks.get(name).and_then(Option::as_ref);
            let mark = mark.filter(|mark| mark.id.as_ref() == Some(id));
            match mark.map(|mark| mark.cursors.get(row)) {
                Some(Some(found)) => {
                    if found.offset < noted.offset {
                        tracing::warn!(
                            table = name,
                            row,
                            "the table is an older copy, or its mark was not written: replaying from its cursor, {found}"
                        );
                        self.cursor = self
                            .cursor
                            .map(|told| if told.offset <= found.offset { told } else { *found });
                    }
                    *noted = *found;
                    true
                }
                Some(None) => {
                    tracing::warn!(
                        table = name,
                        row,
                        "the table is an older copy, without the partition: replaying all of it"
                    );
                    self.cursor = None;
                    self.gone.push(name.clone());
                    false
                }
                None => {
                    tracing::warn!(
                        table = name,
                        row,
                        "the table was dropped, emptied or made anew: replaying all of its partition"
                    );
                    self.cursor = None;
                    self.gone.push(name.clone());
                    false
                }
            }
        });
    }

    /// Moves the cursor of a step whose rows are there, and notes it in the marks of the tables that they went to. A transient
    /// error when something is not where it was left. The marks come last: a writer that was replaced must not touch them.
    pub(super) fn advance(&mut self, lent: &mut Lent, row: &str, after: Cursor, tables: &[Arc<Table>]) -> Result<()> {
        let stored = after.to_string();
        let mut cells = vec![(CURSOR.to_vec(), stored.clone().into_bytes())];
        let named = |table: &str| format!("{TABLE_PREFIX}{table}").into_bytes();
        let gone = self
            .gone
            .iter()
            .filter(|name| tables.iter().all(|table| table.name != **name));
        cells.extend(gone.map(|table| (named(table), Vec::new())));
        let noted = |table: &Arc<Table>| (named(&table.name), format!("{} {after}", table.id).into_bytes());
        cells.extend(tables.iter().map(noted));
        let put = put(row.as_bytes(), FAMILY, cells);
        let (key, expected) = (row.as_bytes().to_vec(), self.stored.clone().into_bytes());
        let what = || format!("cannot move the cursor of {row}");
        let moved = lent.call(what, |client| {
            client.check_and_put(
                TABLE.as_bytes().to_vec(),
                key,
                FAMILY.to_vec(),
                CURSOR.to_vec(),
                expected,
                put,
            )
        })?;
        if !moved {
            return Err(
                Error::transient(format!("a cursor in HBase is not where it was left: {row}"))
                    .hint("another writer of the same group has taken over, or HBase has lost writes"),
            );
        }
        self.stored = stored;
        self.cursor = Some(after);
        self.gone.clear();
        for table in tables {
            let before = self.tables.get(&table.name).map(|(_, noted)| *noted);
            if !table.note(lent, row, before, after)? {
                return Err(table.is_another());
            }
            self.tables.insert(table.name.clone(), (table.id.clone(), after));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::cell;
    use super::*;

    const ROW: &str = "p.hbase:p.shop.a:0";

    fn cursor(offset: i64) -> Cursor {
        Cursor {
            offset,
            version: Some(offset * 10),
        }
    }

    fn row(cells: &[(&str, &str)]) -> TResult {
        let cells = cells.iter();
        let cells = cells.map(|(name, value)| cell(FAMILY, name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        TResult {
            row: None,
            column_values: cells.collect(),
            stale: None,
            partial: None,
        }
    }

    fn held(cells: &[(&str, &str)]) -> Held {
        Held::parse(ROW, &row(cells)).unwrap()
    }

    fn mark(id: &str, at: Option<i64>) -> Option<Mark> {
        Some(Mark {
            id: Some(id.into()),
            columns: Default::default(),
            cursors: at.map(|at| (ROW.to_owned(), cursor(at))).into_iter().collect(),
        })
    }

    /// The cursor stands at 9; table a had the changes before 9, b those before 7.
    fn judged(a: Option<Mark>, b: Option<Mark>) -> (Option<i64>, Vec<String>) {
        let mut held = held(&[
            ("cursor", "9 90"),
            ("table:a", "A 9 90"),
            ("table:b", "B 7 70"),
            ("table:c", ""),
        ]);
        held.judge(ROW, &BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), b)]));
        (held.cursor.map(|cursor| cursor.offset), held.gone)
    }

    #[test]
    fn a_cursor_is_worth_what_all_of_its_tables_hold() {
        let none = Vec::new;
        assert_eq!(judged(mark("A", Some(9)), mark("B", Some(7))), (Some(9), none()));
        // Rows of a step whose cursor was not moved any more.
        assert_eq!(judged(mark("A", Some(12)), mark("B", Some(12))), (Some(9), none()));
        assert_eq!(judged(mark("A", Some(4)), mark("B", Some(7))), (Some(4), none()));
        assert_eq!(judged(mark("A", Some(4)), mark("B", Some(2))), (Some(2), none()));
        assert_eq!(judged(mark("A", Some(3)), mark("B", Some(6))), (Some(3), none()));
        for other in [None, mark("X", Some(9)), mark("B", None), Some(Mark::default())] {
            assert_eq!(judged(mark("A", Some(9)), other.clone()), (None, vec!["b".to_owned()]));
            assert_eq!(judged(mark("A", Some(4)), other), (None, vec!["b".to_owned()]));
        }
    }

    #[test]
    fn a_row_that_is_not_a_cursors_is_refused() {
        for (name, value) in [("cursor", "x"), ("cursor", ""), ("table:a", "A"), ("table:a", "A x")] {
            let error = Held::parse(ROW, &row(&[(name, value)])).unwrap_err();
            assert!(!error.is_transient(), "{error}");
        }
        assert_eq!(held(&[]), Held::default());
    }
}
