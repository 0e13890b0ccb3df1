//! The optional fields of a Table_map event (8.0 and later): each is a type, a length, and so many bytes.

use super::charset::Charset;
use super::column::Column;
use super::cursor::Cursor;
use super::error::Error;
use super::table_map::{KeyPart, TableMap};

const SIGNEDNESS: u8 = 1;
const DEFAULT_CHARSET: u8 = 2;
const COLUMN_CHARSET: u8 = 3;
const COLUMN_NAME: u8 = 4;
const SET_MEMBERS: u8 = 5;
const ENUM_MEMBERS: u8 = 6;
const GEOMETRY_TYPE: u8 = 7;
const SIMPLE_PRIMARY_KEY: u8 = 8;
const PRIMARY_KEY_WITH_PREFIX: u8 = 9;
const ENUM_AND_SET_DEFAULT_CHARSET: u8 = 10;
const ENUM_AND_SET_COLUMN_CHARSET: u8 = 11;
const COLUMN_VISIBILITY: u8 = 12;
const VECTOR_DIMENSION: u8 = 13;

const WHAT: &str = "table map event's optional metadata";

/// Members as they stand in the event, before the character set that they are in is known.
#[derive(Default)]
struct Members<'a> {
    sets: Option<Cursor<'a>>,
    enums: Option<Cursor<'a>>,
}

/// Reads all fields into `map`.
pub(crate) fn apply(map: &mut TableMap, mut cursor: Cursor<'_>) -> Result<(), Error> {
    use super::column::ColumnType as Type;
    let mut members = Members::default();
    while !cursor.is_empty() {
        let field = cursor.u8(WHAT)?;
        let length = cursor.packed_length(WHAT)?;
        let offset = cursor.offset();
        let value = Cursor::new(cursor.take(length, WHAT)?, offset);
        match field {
            SIGNEDNESS => bits(
                map,
                value,
                |column| column.column_type.is_numeric(),
                |column, bit| column.unsigned = Some(bit),
            )?,
            DEFAULT_CHARSET => default_charset(map, value, |column| column.column_type.is_string())?,
            COLUMN_CHARSET => column_charset(map, value, |column| column.column_type.is_string())?,
            COLUMN_NAME => names(map, value)?,
            SET_MEMBERS => members.sets = Some(value),
            ENUM_MEMBERS => members.enums = Some(value),
            GEOMETRY_TYPE => numbers(
                map,
                value,
                |column| matches!(column.column_type, Type::Geometry { .. }),
                |column, number| {
                    column.geometry_type = u8::try_from(number).ok();
                },
            )?,
            SIMPLE_PRIMARY_KEY => primary_key(map, value, false)?,
            PRIMARY_KEY_WITH_PREFIX => primary_key(map, value, true)?,
            ENUM_AND_SET_DEFAULT_CHARSET => default_charset(map, value, |column| column.column_type.is_enum_or_set())?,
            ENUM_AND_SET_COLUMN_CHARSET => column_charset(map, value, |column| column.column_type.is_enum_or_set())?,
            COLUMN_VISIBILITY => bits(map, value, |_| true, |column, bit| column.visible = Some(bit))?,
            VECTOR_DIMENSION => numbers(
                map,
                value,
                |column| matches!(column.column_type, Type::Vector { .. }),
                |column, number| {
                    column.vector_dimension = u32::try_from(number).ok();
                },
            )?,
            _ => {}
        }
    }
    if let Some(value) = members.enums {
        set_members(map, value, |column| matches!(column.column_type, Type::Enum { .. }))?;
    }
    if let Some(value) = members.sets {
        set_members(map, value, |column| matches!(column.column_type, Type::Set { .. }))?;
    }
    Ok(())
}

/// One bit for each column that `counts`, the first in the highest bit of the first byte.
fn bits(
    map: &mut TableMap,
    value: Cursor<'_>,
    counts: impl Fn(&Column) -> bool,
    set: impl Fn(&mut Column, bool),
) -> Result<(), Error> {
    let bytes = value.rest();
    for (index, column) in map.columns.iter_mut().filter(|column| counts(column)).enumerate() {
        let Some(byte) = bytes.get(index / 8) else {
            return Err(Error::truncated(WHAT, index / 8 + 1, bytes.len()).at(value.offset()));
        };
        set(column, byte << (index % 8) & 0x80 != 0);
    }
    Ok(())
}

/// One number for each column that `counts`.
fn numbers(
    map: &mut TableMap,
    mut value: Cursor<'_>,
    counts: impl Fn(&Column) -> bool,
    set: impl Fn(&mut Column, u64),
) -> Result<(), Error> {
    for column in map.columns.iter_mut().filter(|column| counts(column)) {
        set(column, value.packed(WHAT)?);
    }
    Ok(())
}

fn collation(value: &mut Cursor<'_>) -> Result<u16, Error> {
    let offset = value.offset();
    let id = value.packed(WHAT)?;
    u16::try_from(id).map_err(|_| Error::malformed(WHAT, format!("a collation id of {id}")).at(offset))
}

fn column_charset(map: &mut TableMap, mut value: Cursor<'_>, counts: impl Fn(&Column) -> bool) -> Result<(), Error> {
    for column in map.columns.iter_mut().filter(|column| counts(column)) {
        column.collation = Some(collation(&mut value)?);
    }
    Ok(())
}

/// The commonest collation, then pairs of index (among the columns that count) and collation for the others.
fn default_charset(map: &mut TableMap, mut value: Cursor<'_>, counts: impl Fn(&Column) -> bool) -> Result<(), Error> {
    let default = collation(&mut value)?;
    let mut columns: Vec<&mut Column> = map.columns.iter_mut().filter(|column| counts(column)).collect();
    for column in &mut columns {
        column.collation = Some(default);
    }
    while !value.is_empty() {
        let offset = value.offset();
        let index = value.packed_length(WHAT)?;
        let id = collation(&mut value)?;
        match columns.get_mut(index) {
            Some(column) => column.collation = Some(id),
            None => {
                return Err(Error::malformed(WHAT, format!("a character set for string column {index}")).at(offset));
            }
        }
    }
    Ok(())
}

fn names(map: &mut TableMap, mut value: Cursor<'_>) -> Result<(), Error> {
    for column in &mut map.columns {
        value.packed_text(WHAT)?.clone_into(&mut column.name);
    }
    map.metadata_is_full = true;
    Ok(())
}

/// Indexes of columns, each followed by the length of its prefix (0 for all of it) where any column has one.
fn primary_key(map: &mut TableMap, mut value: Cursor<'_>, with_prefix: bool) -> Result<(), Error> {
    let mut parts = Vec::new();
    while !value.is_empty() {
        let offset = value.offset();
        let column = value.packed_length(WHAT)?;
        if column >= map.columns.len() {
            return Err(Error::malformed(WHAT, format!("a key over column {column}")).at(offset));
        }
        let prefix = if with_prefix { value.packed(WHAT)? } else { 0 };
        let prefix_characters = u32::try_from(prefix).ok().filter(|prefix| *prefix != 0);
        parts.push(KeyPart {
            column,
            prefix_characters,
        });
    }
    map.primary_key = Some(parts);
    Ok(())
}

/// For each column that `counts`: the number of members, then each member, in the column's character set.
fn set_members(map: &mut TableMap, mut value: Cursor<'_>, counts: impl Fn(&Column) -> bool) -> Result<(), Error> {
    let (database, table) = (map.database.clone(), map.table.clone());
    for column in map.columns.iter_mut().filter(|column| counts(column)) {
        let count = value.packed_length(WHAT)?;
        let charset = Charset::of_collation(column.collation.unwrap_or(super::column::COLLATION_BINARY));
        let mut members = Vec::new();
        for _ in 0..count {
            let offset = value.offset();
            let bytes = value.packed_bytes(WHAT)?;
            let text = charset.decode_to_string(bytes).map_err(|error| error.at(offset));
            members.push(text.map_err(|error| error.in_column(&database, &table, &column.name))?);
        }
        column.members = members.into();
    }
    Ok(())
}
