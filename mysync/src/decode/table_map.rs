//! The shape of a table, from a Table_map event: parsed once, then shared by all of the table's rows.
//!
//! A Table_map carries types always, and the rest in optional fields: signedness and character sets from 8.0 on; names,
//! members and keys with `binlog_row_metadata=FULL`. Where they are missing the rows cannot be decoded (a BIGINT of eight
//! `ff` is -1 or 18446744073709551615), until [`TableMap::supply`] adds the columns from elsewhere.
//!
//! Each optional field stands after its type and its length, so one of an unknown type is skipped: what MySQL has added
//! so far (visibility, dimension of a vector) describes columns further and changes nothing in how rows are laid out.

use super::column::{Column, ColumnType};
use super::cursor::Cursor;
use super::error::{Error, Reason};
use super::event::{EventType, Format};
use super::metadata;

/// More columns than any table of MySQL has (4096), and no more than a Table_map's numbers can mean.
pub(crate) const COLUMNS_MAX: usize = 4096;

/// A Table_map event whose columns have not been looked at.
#[derive(Debug, Clone, Copy)]
pub struct TableMapEvent<'a> {
    /// Number by which the rows that follow name the table. It changes when the table is opened anew.
    pub table_id: u64,
    /// Database.
    pub database: &'a str,
    /// Table.
    pub table: &'a str,
    /// The event's body, from the table's number to the end.
    bytes: &'a [u8],
    columns: Cursor<'a>,
}

/// The shape of a table, owned.
#[derive(Debug, Clone)]
pub struct TableMap {
    /// Number by which rows events name the table.
    pub table_id: u64,
    /// Database.
    pub database: String,
    /// Table.
    pub table: String,
    /// Columns in table order, without the hidden ones of functional indexes.
    pub columns: Vec<Column>,
    /// Columns of the primary key in the key's order. `None` without one, and where the metadata does not say.
    pub primary_key: Option<Vec<KeyPart>>,
    /// The event carried names, thus FULL metadata: no `primary_key` means that the table has none.
    pub metadata_is_full: bool,
    body: Box<[u8]>,
}

/// A column of a primary key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyPart {
    /// Index into [`TableMap::columns`].
    pub column: usize,
    /// Only this many first characters count (`PRIMARY KEY (name(10))`); `None` for the whole value. Two rows can differ
    /// in a value whose prefixes are equal only if they are not both in the table, so the whole value identifies a row too.
    pub prefix_characters: Option<u32>,
}

/// What is known of a column from elsewhere than the binlog.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnSchema {
    /// Name.
    pub name: String,
    /// UNSIGNED (or ZEROFILL), for numbers.
    pub unsigned: bool,
    /// Collation id, for text, ENUM and SET; 63 for binary strings.
    pub collation: Option<u16>,
    /// Members of an ENUM or SET, in order.
    pub members: Vec<String>,
    /// Subtype of a GEOMETRY, 1 for POINT.
    pub geometry_type: Option<u8>,
}

impl<'a> TableMapEvent<'a> {
    pub(crate) fn parse(mut cursor: Cursor<'a>, format: &Format) -> Result<TableMapEvent<'a>, Error> {
        let what = "table map event";
        let bytes = cursor.rest();
        let table_id = cursor.uint(format.table_id_bytes(EventType::TABLE_MAP), what)?;
        let _flags = cursor.u16(what)?;
        let database = name(&mut cursor)?;
        let table = name(&mut cursor)?;
        Ok(TableMapEvent {
            table_id,
            database,
            table,
            bytes,
            columns: cursor,
        })
    }

    /// Parses the columns.
    pub fn table_map(&self) -> Result<TableMap, Error> {
        let what = "table map event's columns";
        let mut cursor = self.columns;
        let count = cursor.packed_length(what)?;
        if count > COLUMNS_MAX {
            let detail = format!("{count} columns, at most {COLUMNS_MAX} are possible");
            return Err(Error::malformed(what, detail).at(self.columns.offset()));
        }
        let types = cursor.take(count, what)?;
        let metadata_offset = cursor.offset();
        let mut metadata = Cursor::new(cursor.packed_bytes("table map event's column metadata")?, 0);
        metadata = Cursor::new(metadata.rest(), metadata_offset);
        let mut columns = Vec::with_capacity(count);
        for code in types {
            columns.push(Column::new(ColumnType::parse(*code, &mut metadata)?));
        }
        let nullable = cursor.take(count.div_ceil(8), "table map event's NULL bits")?;
        for (index, column) in columns.iter_mut().enumerate() {
            column.nullable = nullable[index / 8] >> (index % 8) & 1 != 0;
        }
        let mut map = TableMap {
            table_id: self.table_id,
            database: self.database.to_owned(),
            table: self.table.to_owned(),
            columns,
            primary_key: None,
            metadata_is_full: false,
            body: self.bytes.into(),
        };
        metadata::apply(&mut map, cursor)?;
        map.columns.iter_mut().for_each(Column::plan);
        Ok(map)
    }

    /// Whether `map` was parsed from these very bytes: then parsing them again would yield the same.
    pub fn is_source_of(&self, map: &TableMap) -> bool {
        *self.bytes == *map.body
    }
}

/// A name: its length in one byte, then UTF-8, then a zero.
fn name<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, Error> {
    let what = "table map event's names";
    let length = usize::from(cursor.u8(what)?);
    let name = cursor.text(length, what)?;
    cursor.u8(what)?;
    Ok(name)
}

impl TableMap {
    /// A table that no event describes: of each column the type, and whether NULL is possible. [`TableMap::supply`] adds the rest.
    pub fn of_columns(database: &str, table: &str, columns: Vec<(ColumnType, bool)>) -> TableMap {
        let column = |(column_type, nullable)| {
            let mut column = Column::new(column_type);
            column.nullable = nullable;
            column
        };
        TableMap {
            table_id: 0,
            database: database.to_owned(),
            table: table.to_owned(),
            columns: columns.into_iter().map(column).collect(),
            primary_key: None,
            metadata_is_full: false,
            body: Box::default(),
        }
    }

    /// Rows can be decoded: every column has all that its type needs.
    pub fn is_complete(&self) -> bool {
        self.columns.iter().all(Column::is_complete)
    }

    /// Adds what the binlog does not say (5.6, or minimal metadata) from a schema known otherwise; what the binlog says
    /// stays. A schema of another shape is an error, never a guess.
    pub fn supply(&mut self, schema: &[ColumnSchema]) -> Result<(), Error> {
        let what = "schema of the table";
        if schema.len() != self.columns.len() {
            let detail = format!(
                "the schema has {} columns, the table map of {}.{} has {}",
                schema.len(),
                self.database,
                self.table,
                self.columns.len()
            );
            return Err(Error::new(Reason::Metadata, what, detail));
        }
        for (column, known) in self.columns.iter_mut().zip(schema) {
            column
                .supply(known)
                .map_err(|error| error.in_column(&self.database, &self.table, &known.name))?;
            column.plan();
        }
        Ok(())
    }

    /// Index of the column of this name.
    pub fn column_index(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    pub(crate) fn locate(&self, error: Error, column: usize) -> Error {
        match self.columns.get(column) {
            Some(column) => error.in_column(&self.database, &self.table, &column.name),
            None => error,
        }
    }
}
