//! Rows events: which rows, and each row's values, borrowed from the event.
//!
//! A row image is a bit for each column that is present (set: NULL), then the values that are not NULL, one after the other.
//! An insert has an image after, a delete one before, an update both.

use super::column::{Column, Extent};
use super::cursor::{Cursor, little_endian};
use super::error::{Error, Reason};
use super::event::{EventType, Format};
use super::table_map::{COLUMNS_MAX, TableMap};
use super::value::{self, Value};

const TABLE_MAP: &str = "rows event's table map";

/// What happened to the rows of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowsKind {
    /// Each row was inserted.
    Insert,
    /// Each row was updated.
    Update,
    /// Each row was deleted.
    Delete,
}

/// A rows event, its rows not looked at yet.
#[derive(Debug, Clone, Copy)]
pub struct RowsEvent<'a> {
    /// Number of the table, as in the table map before it.
    pub table_id: u64,
    /// What happened.
    pub kind: RowsKind,
    /// The last rows event of its statement: table ids are void after it.
    pub is_statement_end: bool,
    /// Columns in the events' bitmaps.
    pub column_count: usize,
    present_before: &'a [u8],
    present_after: &'a [u8],
    rows: Cursor<'a>,
}

impl<'a> RowsEvent<'a> {
    pub(crate) fn parse(
        event_type: EventType,
        mut cursor: Cursor<'a>,
        format: &Format,
    ) -> Result<RowsEvent<'a>, Error> {
        const STATEMENT_END: u16 = 1;
        let what = "rows event";
        let (kind, has_extra) = match event_type {
            EventType::WRITE_ROWS_V1 => (RowsKind::Insert, false),
            EventType::UPDATE_ROWS_V1 => (RowsKind::Update, false),
            EventType::DELETE_ROWS_V1 => (RowsKind::Delete, false),
            EventType::WRITE_ROWS => (RowsKind::Insert, true),
            EventType::UPDATE_ROWS => (RowsKind::Update, true),
            _ => (RowsKind::Delete, true),
        };
        let table_id = cursor.uint(format.table_id_bytes(event_type), what)?;
        let flags = cursor.u16(what)?;
        if has_extra {
            // Its length counts itself. It names partitions and NDB's own data, neither of which changes the rows.
            let offset = cursor.offset();
            let length = usize::from(cursor.u16(what)?);
            let Some(length) = length.checked_sub(2) else {
                return Err(
                    Error::malformed(what, format!("extra data of {length} bytes, at least 2 are needed")).at(offset),
                );
            };
            cursor.take(length, what)?;
        }
        let column_count = cursor.packed_length(what)?;
        let bitmap_bytes = column_count.div_ceil(8);
        let present = cursor.take(bitmap_bytes, "rows event's bits of the columns present")?;
        let (present_before, present_after) = match kind {
            RowsKind::Insert => (&present[..0], present),
            RowsKind::Delete => (present, &present[..0]),
            RowsKind::Update => (
                present,
                cursor.take(bitmap_bytes, "rows event's bits of the columns present after")?,
            ),
        };
        let is_statement_end = flags & STATEMENT_END != 0;
        Ok(RowsEvent {
            table_id,
            kind,
            is_statement_end,
            column_count,
            present_before,
            present_after,
            rows: cursor,
        })
    }

    /// The rows, decoded by the table map that has their table id. It must be complete, and of as many columns.
    pub fn rows<'m: 'a>(&self, map: &'m TableMap) -> Result<Rows<'a>, Error> {
        let rows = self.images(map)?;
        if !map.is_complete() {
            let detail = format!(
                "names, signedness, character sets or members of {}.{} are unknown",
                map.database, map.table
            );
            return Err(Error::new(Reason::Metadata, TABLE_MAP, detail));
        }
        Ok(rows)
    }

    /// The rows as [`Row::image`] gives them; for values the table map would have to be complete, which it need not be here.
    pub fn images<'m: 'a>(&self, map: &'m TableMap) -> Result<Rows<'a>, Error> {
        if map.table_id != self.table_id || map.columns.len() != self.column_count {
            let detail = format!(
                "rows of {} columns for table id {}, the table map of {}.{} has {} columns and table id {}",
                self.column_count,
                self.table_id,
                map.database,
                map.table,
                map.columns.len(),
                map.table_id
            );
            return Err(Error::malformed(TABLE_MAP, detail).at(self.rows.offset()));
        }
        let shape = |present: &'a [u8]| Shape::new(map, present);
        Ok(Rows {
            kind: self.kind,
            before: shape(self.present_before),
            after: shape(self.present_after),
            rows: self.rows,
        })
    }
}

/// What the images of one side of an event have in common.
#[derive(Debug, Clone, Copy)]
struct Shape<'a> {
    map: &'a TableMap,
    present: &'a [u8],
    present_count: usize,
}

impl<'a> Shape<'a> {
    fn new(map: &'a TableMap, present: &'a [u8]) -> Shape<'a> {
        let count = map.columns.len();
        let present_count = (0..count).filter(|index| bit(present, *index)).count();
        Shape {
            map,
            present,
            present_count,
        }
    }

    /// Takes one image off the front.
    fn take(&self, cursor: &mut Cursor<'a>) -> Result<Row<'a>, Error> {
        let nulls = cursor.take(self.present_count.div_ceil(8), "row's NULL bits")?;
        let mut row = Row {
            shape: *self,
            nulls,
            values: *cursor,
        };
        let mut position = 0;
        for (index, column) in self.map.columns.iter().enumerate() {
            if self.present_count != self.map.columns.len() && !bit(self.present, index) {
                continue;
            }
            if !bit(nulls, position) {
                extent(column, cursor).map_err(|error| self.map.locate(error, index))?;
            }
            position += 1;
        }
        let length = cursor.offset() - row.values.offset();
        row.values = Cursor::new(&row.values.rest()[..length], row.values.offset());
        Ok(row)
    }
}

#[inline]
fn bit(bits: &[u8], index: usize) -> bool {
    bits.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 != 0)
}

/// Takes a value's bytes, without the length before them.
#[inline]
fn extent<'a>(column: &Column, cursor: &mut Cursor<'a>) -> Result<&'a [u8], Error> {
    let what = "value in a row";
    match column.extent {
        Extent::Fixed(length) => cursor.take(usize::from(length), what),
        Extent::Prefixed(length_bytes) => {
            let length = little_endian(cursor.take(usize::from(length_bytes), what)?);
            // At most four bytes of length, so it fits.
            cursor.take(length as usize, what)
        }
    }
}

/// The images of one row.
#[derive(Debug, Clone, Copy)]
pub struct RowChange<'a> {
    /// The row before the change; `None` for an insert.
    pub before: Option<Row<'a>>,
    /// The row after the change; `None` for a delete.
    pub after: Option<Row<'a>>,
}

/// Iterates over the rows of an event. After an error it ends.
#[derive(Debug, Clone)]
pub struct Rows<'a> {
    kind: RowsKind,
    before: Shape<'a>,
    after: Shape<'a>,
    rows: Cursor<'a>,
}

impl<'a> Rows<'a> {
    fn take(&mut self) -> Result<RowChange<'a>, Error> {
        let start = self.rows.offset();
        let change = match self.kind {
            RowsKind::Insert => RowChange {
                before: None,
                after: Some(self.after.take(&mut self.rows)?),
            },
            RowsKind::Delete => RowChange {
                before: Some(self.before.take(&mut self.rows)?),
                after: None,
            },
            RowsKind::Update => RowChange {
                before: Some(self.before.take(&mut self.rows)?),
                after: Some(self.after.take(&mut self.rows)?),
            },
        };
        if self.rows.offset() == start {
            return Err(Error::malformed("rows event", "rows without columns").at(start));
        }
        Ok(change)
    }
}

impl<'a> Iterator for Rows<'a> {
    type Item = Result<RowChange<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rows.is_empty() {
            return None;
        }
        let taken = self.take();
        if taken.is_err() {
            self.rows = Cursor::new(&[], self.rows.offset());
        }
        Some(taken)
    }
}

/// The bytes of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image<'a> {
    /// A bit a column, set for NULL, without the last byte.
    pub nulls: &'a [u8],
    /// The last byte of them, 0 where no column is.
    pub nulls_last: u8,
    /// The values that are not NULL.
    pub values: &'a [u8],
}

/// The bits of an image of all columns.
static ALL_PRESENT: [u8; COLUMNS_MAX / 8] = [0xff; COLUMNS_MAX / 8];

/// One image of a row: the values that are present, undecoded.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    shape: Shape<'a>,
    nulls: &'a [u8],
    values: Cursor<'a>,
}

impl<'a> Row<'a> {
    /// An image of all columns that stands outside of an event.
    pub(crate) fn of_image(map: &'a TableMap, mut image: Cursor<'a>) -> Result<Row<'a>, Error> {
        Shape::new(map, &ALL_PRESENT).take(&mut image)
    }

    /// The row's table.
    pub fn table_map(&self) -> &'a TableMap {
        self.shape.map
    }

    /// The image's bytes: two images of one shape are equal if and only if their rows are.
    pub fn image(&self) -> Image<'a> {
        let (nulls_last, nulls) = self.nulls.split_last().unwrap_or((&0, &[]));
        let used = self.shape.present_count % 8;
        Image {
            nulls,
            // Servers fill the bits behind the last column as they like.
            nulls_last: if used == 0 {
                *nulls_last
            } else {
                nulls_last & ((1 << used) - 1)
            },
            values: self.values.rest(),
        }
    }

    /// Every column is present: the image is FULL.
    pub fn is_full(&self) -> bool {
        self.shape.present_count == self.shape.map.columns.len()
    }

    /// The column is present. An absent one is not NULL: the image does not say its value.
    pub fn is_present(&self, column: usize) -> bool {
        column < self.shape.map.columns.len() && bit(self.shape.present, column)
    }

    /// Index and value of each column that is present, in table order.
    pub fn values(&self) -> Values<'a> {
        Values {
            row: *self,
            cursor: self.values,
            column: 0,
            position: 0,
        }
    }

    /// The value of one column, `None` where it is absent. It walks over the columns before it.
    pub fn value(&self, column: usize) -> Result<Option<Value<'a>>, Error> {
        let Some((null, mut cursor)) = self.find(column)? else {
            return Ok(None);
        };
        self.decode(column, null, &mut cursor).map(Some)
    }

    /// The bytes of one column's value as they stand in the image, without the length before them; `None` where it is absent or
    /// NULL.
    pub(crate) fn bytes(&self, column: usize) -> Result<Option<&'a [u8]>, Error> {
        let map = self.shape.map;
        match self.find(column)? {
            Some((false, mut cursor)) => extent(&map.columns[column], &mut cursor)
                .map(Some)
                .map_err(|error| map.locate(error, column)),
            _ => Ok(None),
        }
    }

    /// Whether a column is NULL, and where its value begins; `None` where it is absent.
    fn find(&self, column: usize) -> Result<Option<(bool, Cursor<'a>)>, Error> {
        if !self.is_present(column) {
            return Ok(None);
        }
        let map = self.shape.map;
        let (mut cursor, mut position) = (self.values, 0);
        for (index, described) in map.columns.iter().enumerate().take(column) {
            if !bit(self.shape.present, index) {
                continue;
            }
            if !bit(self.nulls, position) {
                extent(described, &mut cursor).map_err(|error| map.locate(error, index))?;
            }
            position += 1;
        }
        Ok(Some((bit(self.nulls, position), cursor)))
    }

    #[inline]
    fn decode(&self, column: usize, null: bool, cursor: &mut Cursor<'a>) -> Result<Value<'a>, Error> {
        if null {
            return Ok(Value::Null);
        }
        let described = &self.shape.map.columns[column];
        let offset = cursor.offset();
        extent(described, cursor)
            .and_then(|bytes| value::decode(described, bytes))
            .map_err(|error| self.shape.map.locate(error.at(offset), column))
    }

    /// Appends the image as a JSON object of the columns that are present, in table order, each in its canonical form.
    /// `out` is left with part of it when that fails.
    pub fn write_json(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        let columns = &self.shape.map.columns;
        let mut separator = b'{';
        for item in self.values() {
            let (index, offset, value) = item?;
            out.push(separator);
            separator = b',';
            out.extend_from_slice(columns[index].json_name());
            value
                .write_json(out)
                .map_err(|error| self.shape.map.locate(error.at(offset), index))?;
        }
        if separator == b'{' {
            out.push(b'{');
        }
        out.push(b'}');
        Ok(())
    }

    /// Appends a JSON object of some columns, in the order of `columns`. All must be present.
    pub fn write_json_of(&self, columns: &[usize], out: &mut Vec<u8>) -> Result<(), Error> {
        self.write_json_of_with(columns, out, |_, value, out| value.write_json(out))
    }

    /// The same with values in another form, appended by `write`, which is given the column's index.
    #[inline]
    pub(crate) fn write_json_of_with(
        &self,
        columns: &[usize],
        out: &mut Vec<u8>,
        write: impl Fn(usize, &Value<'_>, &mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let map = self.shape.map;
        out.push(b'{');
        for (position, index) in columns.iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            let Some(value) = self.value(*index)? else {
                let error = Error::new(Reason::Metadata, "row image", "a column of the key is absent")
                    .with_hint("set binlog_row_image=FULL on the server");
                return Err(map.locate(error, *index));
            };
            out.extend_from_slice(map.columns[*index].json_name());
            write(*index, &value, out).map_err(|error| map.locate(error.at(self.values.offset()), *index))?;
        }
        out.push(b'}');
        Ok(())
    }
}

/// Iterates over a row image: column index, place of the value in the event, value.
#[derive(Debug, Clone)]
pub struct Values<'a> {
    row: Row<'a>,
    cursor: Cursor<'a>,
    column: usize,
    position: usize,
}

impl<'a> Iterator for Values<'a> {
    type Item = Result<(usize, usize, Value<'a>), Error>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let count = self.row.shape.map.columns.len();
        while self.column < count && !bit(self.row.shape.present, self.column) {
            self.column += 1;
        }
        if self.column >= count {
            return None;
        }
        let (column, offset) = (self.column, self.cursor.offset());
        let null = bit(self.row.nulls, self.position);
        self.column += 1;
        self.position += 1;
        Some(
            self.row
                .decode(column, null, &mut self.cursor)
                .map(|value| (column, offset, value)),
        )
    }
}
