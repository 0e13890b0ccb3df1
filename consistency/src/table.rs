//! What is known of a table: its columns in order, how each is written, and which of them identify a row.

use crate::canonical::{Kind, Text};
use crate::mask::Mask;
use crate::store::StoredRow;

/// A table to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its place among the tables of this check; a store may keep what it knows of the table under it.
    pub number: usize,
    /// The database's name.
    pub database: String,
    /// The table's name.
    pub name: String,
    /// All columns in the table's order.
    pub columns: Vec<Column>,
    /// The places in `columns` of those that identify a row, in key order.
    pub key: Vec<usize>,
    /// Whether the key is the primary key: rows can be read in its order without sorting.
    pub key_is_primary: bool,
    /// The server's estimate, for a progress bar and nothing else.
    pub rows_estimate: u64,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The column's name.
    pub name: String,
    /// How its values are written in a store.
    pub kind: Kind,
    /// Where it is masked: what it is in MySQL, and the mask.
    pub mask: Option<Mask>,
}

impl Column {
    /// A column whose values are in the store as they are.
    pub fn plain(name: impl Into<String>, kind: Kind) -> Self {
        Self {
            name: name.into(),
            kind,
            mask: None,
        }
    }

    /// How MySQL's values are written.
    pub fn kind_in_mysql(&self) -> Kind {
        self.mask.as_ref().map_or(self.kind, |mask| mask.kind)
    }
}

/// A row's values in the table's order as canonical texts, NULL as none.
pub type Row = Vec<Option<Text>>;

/// The canonical texts of the key columns, in key order.
pub type Key = Vec<Text>;

impl Table {
    /// Whether this is the same table with the same columns and key.
    pub fn is_alike(&self, other: &Table) -> bool {
        let shape = |table: &Table| {
            let Table {
                database,
                name,
                columns,
                key,
                ..
            } = table.clone();
            (database, name, columns, key)
        };
        shape(self) == shape(other)
    }

    /// `<database>.<table>`.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.database, self.name)
    }

    /// The columns that identify a row, in key order.
    pub fn key_columns(&self) -> impl Iterator<Item = &Column> {
        self.key.iter().filter_map(|place| self.columns.get(*place))
    }

    /// `<database>.<table>.<column>` of the columns whose values cannot be compared.
    pub fn columns_not_compared(&self) -> impl Iterator<Item = String> {
        let unknown = |column: &&Column| column.mask.as_ref().is_some_and(Mask::is_unknown);
        let columns = self.columns.iter().filter(unknown);
        columns.map(|column| format!("{}.{}", self.full_name(), column.name))
    }

    /// Takes out of a store's row what cannot be compared.
    pub fn comparable(&self, mut stored: StoredRow) -> StoredRow {
        for (column, value) in self.columns.iter().zip(&mut stored.values) {
            if let Some(mask) = &column.mask {
                *value = value.take().map(|text| mask.seen(text));
            }
        }
        stored
    }

    /// The row's key; none when a key column is NULL.
    pub fn key_of(&self, row: &Row) -> Option<Key> {
        self.key.iter().map(|place| row.get(*place)?.clone()).collect()
    }
}
