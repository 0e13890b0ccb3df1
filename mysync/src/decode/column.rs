//! A column: its type as the Table_map event says it, what else is known of it, and what that makes of a row's bytes.

use std::sync::Arc;

use super::charset::Charset;
use super::cursor::Cursor;
use super::error::{Error, Reason};
use super::table_map::ColumnSchema;
use super::write;

/// Collation id of binary strings.
pub(crate) const COLLATION_BINARY: u16 = 63;

/// A column's type with what the Table_map's metadata says of it, hence how a value lies in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// TINYINT, BOOL: 1 byte.
    TinyInt,
    /// SMALLINT: 2 bytes.
    SmallInt,
    /// MEDIUMINT: 3 bytes.
    MediumInt,
    /// INT: 4 bytes.
    Int,
    /// BIGINT: 8 bytes.
    BigInt,
    /// FLOAT: an IEEE 754 single.
    Float,
    /// DOUBLE: an IEEE 754 double.
    Double,
    /// DECIMAL(precision, scale).
    Decimal {
        /// Digits in all, at most 65.
        precision: u8,
        /// Digits after the point, at most 30.
        scale: u8,
    },
    /// YEAR: years since 1900, 0 for 0000.
    Year,
    /// DATE: 3 bytes.
    Date,
    /// TIME from before 5.6.4: a decimal HHMMSS in 3 bytes.
    TimeOld,
    /// DATETIME from before 5.6.4: a decimal YYYYMMDDHHMMSS in 8 bytes.
    DateTimeOld,
    /// TIMESTAMP from before 5.6.4: 4 bytes.
    TimestampOld,
    /// TIME(digits).
    Time {
        /// Digits of the fraction of a second, 0 to 6.
        digits: u8,
    },
    /// DATETIME(digits).
    DateTime {
        /// Digits of the fraction of a second, 0 to 6.
        digits: u8,
    },
    /// TIMESTAMP(digits).
    Timestamp {
        /// Digits of the fraction of a second, 0 to 6.
        digits: u8,
    },
    /// BIT(bits).
    Bit {
        /// 1 to 64.
        bits: u8,
    },
    /// CHAR or BINARY: at most this many bytes, after their number.
    Char {
        /// Bytes of the longest value: characters times the character set's longest.
        bytes_max: u16,
    },
    /// VARCHAR or VARBINARY: at most this many bytes, after their number.
    VarChar {
        /// Bytes of the longest value.
        bytes_max: u16,
    },
    /// TEXT or BLOB of any size.
    Blob {
        /// Bytes of the length before the value, 1 to 4: TINYBLOB, BLOB, MEDIUMBLOB, LONGBLOB.
        length_bytes: u8,
    },
    /// JSON in MySQL's binary form.
    Json {
        /// Bytes of the length before the value.
        length_bytes: u8,
    },
    /// JSON as MySQL's text of it, which a SELECT answers; never in a binlog.
    JsonText {
        /// Bytes of the length before the value.
        length_bytes: u8,
    },
    /// GEOMETRY or a subtype.
    Geometry {
        /// Bytes of the length before the value.
        length_bytes: u8,
    },
    /// VECTOR: single precision numbers.
    Vector {
        /// Bytes of the length before the value.
        length_bytes: u8,
    },
    /// ENUM: a member's number from 1.
    Enum {
        /// 1 or 2.
        bytes: u8,
    },
    /// SET: a bit a member.
    Set {
        /// 1 to 8.
        bytes: u8,
    },
}

impl ColumnType {
    /// Reads the metadata of a column of type `code`.
    pub(crate) fn parse(code: u8, metadata: &mut Cursor<'_>) -> Result<ColumnType, Error> {
        let what = "table map event's column metadata";
        let offset = metadata.offset();
        let column_type = match code {
            1 => ColumnType::TinyInt,
            2 => ColumnType::SmallInt,
            3 => ColumnType::Int,
            4 => {
                expect(metadata.u8(what)?, 4, "bytes of a FLOAT", offset)?;
                ColumnType::Float
            }
            5 => {
                expect(metadata.u8(what)?, 8, "bytes of a DOUBLE", offset)?;
                ColumnType::Double
            }
            7 => ColumnType::TimestampOld,
            8 => ColumnType::BigInt,
            9 => ColumnType::MediumInt,
            10 | 14 => ColumnType::Date,
            11 => ColumnType::TimeOld,
            12 => ColumnType::DateTimeOld,
            13 => ColumnType::Year,
            15 | 253 => ColumnType::VarChar {
                bytes_max: metadata.u16(what)?,
            },
            16 => {
                let (rest_bits, whole_bytes) = (metadata.u8(what)?, metadata.u8(what)?);
                let bits = u32::from(whole_bytes) * 8 + u32::from(rest_bits);
                ColumnType::Bit {
                    bits: limited(bits, 1, 64, "bits of a BIT", offset)?,
                }
            }
            17 => ColumnType::Timestamp {
                digits: digits(metadata)?,
            },
            18 => ColumnType::DateTime {
                digits: digits(metadata)?,
            },
            19 => ColumnType::Time {
                digits: digits(metadata)?,
            },
            242 => ColumnType::Vector {
                length_bytes: length_bytes(metadata)?,
            },
            245 => ColumnType::Json {
                length_bytes: length_bytes(metadata)?,
            },
            246 => {
                let precision = limited(metadata.u8(what)?.into(), 1, 65, "precision of a DECIMAL", offset)?;
                let scale = limited(
                    metadata.u8(what)?.into(),
                    0,
                    precision.min(30).into(),
                    "scale of a DECIMAL",
                    offset,
                )?;
                ColumnType::Decimal { precision, scale }
            }
            249..=252 => ColumnType::Blob {
                length_bytes: length_bytes(metadata)?,
            },
            247 | 248 | 254 => return string(code, metadata),
            255 => ColumnType::Geometry {
                length_bytes: length_bytes(metadata)?,
            },
            other => return Err(unknown_type(other, offset)),
        };
        Ok(column_type)
    }

    /// Text, BLOB and binary strings: what MySQL counts in the metadata of character sets.
    pub(crate) fn is_string(self) -> bool {
        matches!(
            self,
            ColumnType::Char { .. } | ColumnType::VarChar { .. } | ColumnType::Blob { .. }
        )
    }

    /// What MySQL counts in the metadata of ENUM's and SET's character sets.
    pub(crate) fn is_enum_or_set(self) -> bool {
        matches!(self, ColumnType::Enum { .. } | ColumnType::Set { .. })
    }

    /// What MySQL counts in the metadata of signedness.
    pub(crate) fn is_numeric(self) -> bool {
        self.is_integer()
            || matches!(
                self,
                ColumnType::Float | ColumnType::Double | ColumnType::Decimal { .. } | ColumnType::Year
            )
    }

    /// Integers, whose signedness decides their value.
    pub(crate) fn is_integer(self) -> bool {
        matches!(
            self,
            ColumnType::TinyInt | ColumnType::SmallInt | ColumnType::MediumInt | ColumnType::Int | ColumnType::BigInt
        )
    }

    /// How far a value reaches in a row.
    fn extent(self) -> Extent {
        let fraction = |digits: u8| digits.div_ceil(2);
        match self {
            ColumnType::TinyInt | ColumnType::Year => Extent::Fixed(1),
            ColumnType::SmallInt => Extent::Fixed(2),
            ColumnType::MediumInt | ColumnType::Date | ColumnType::TimeOld => Extent::Fixed(3),
            ColumnType::Int | ColumnType::Float | ColumnType::TimestampOld => Extent::Fixed(4),
            ColumnType::BigInt | ColumnType::Double | ColumnType::DateTimeOld => Extent::Fixed(8),
            ColumnType::Decimal { precision, scale } => Extent::Fixed(super::decimal::bytes(precision, scale)),
            ColumnType::Time { digits } => Extent::Fixed(3 + fraction(digits)),
            ColumnType::DateTime { digits } => Extent::Fixed(5 + fraction(digits)),
            ColumnType::Timestamp { digits } => Extent::Fixed(4 + fraction(digits)),
            ColumnType::Bit { bits } => Extent::Fixed(bits.div_ceil(8)),
            ColumnType::Char { bytes_max } | ColumnType::VarChar { bytes_max } => {
                Extent::Prefixed(if bytes_max < 256 { 1 } else { 2 })
            }
            ColumnType::Blob { length_bytes }
            | ColumnType::Json { length_bytes }
            | ColumnType::JsonText { length_bytes }
            | ColumnType::Geometry { length_bytes }
            | ColumnType::Vector { length_bytes } => Extent::Prefixed(length_bytes),
            ColumnType::Enum { bytes } | ColumnType::Set { bytes } => Extent::Fixed(bytes),
        }
    }
}

fn unknown_type(code: u8, offset: usize) -> Error {
    let (detail, hint) = match code {
        20 => (
            "a typed array, which only hidden columns of functional indexes have".to_owned(),
            "drop the index",
        ),
        0 => (
            "DECIMAL from before 5.0.3".to_owned(),
            "run ALTER TABLE ... FORCE on the server",
        ),
        other => (
            format!("unknown type {other}"),
            "exclude the table, or use a version that knows the type",
        ),
    };
    Error::new(Reason::Unsupported, "column type", detail)
        .at(offset)
        .with_hint(hint)
}

/// CHAR, and ENUM and SET in its disguise. A CHAR of more than 255 bytes has the two highest bits of its length, inverted,
/// in bits 4 and 5 of the type.
fn string(code: u8, metadata: &mut Cursor<'_>) -> Result<ColumnType, Error> {
    let what = "table map event's column metadata";
    let offset = metadata.offset();
    let (real_type, length) = (metadata.u8(what)?, metadata.u8(what)?);
    let enumeration = |code: u8| match code {
        247 => limited(length.into(), 1, 2, "bytes of an ENUM", offset).map(|bytes| ColumnType::Enum { bytes }),
        _ => limited(length.into(), 1, 8, "bytes of a SET", offset).map(|bytes| ColumnType::Set { bytes }),
    };
    match (code, real_type) {
        (247 | 248, _) => enumeration(code),
        (_, 247 | 248) => enumeration(real_type),
        (_, real_type) if real_type | 0x30 == 254 => {
            let high = u16::from((real_type & 0x30) ^ 0x30) << 4;
            Ok(ColumnType::Char {
                bytes_max: high | u16::from(length),
            })
        }
        (_, other) => Err(Error::malformed(what, format!("a string of type {other}")).at(offset)),
    }
}

fn digits(metadata: &mut Cursor<'_>) -> Result<u8, Error> {
    let offset = metadata.offset();
    limited(
        metadata.u8("table map event's column metadata")?.into(),
        0,
        6,
        "digits of a fraction",
        offset,
    )
}

fn length_bytes(metadata: &mut Cursor<'_>) -> Result<u8, Error> {
    let offset = metadata.offset();
    limited(
        metadata.u8("table map event's column metadata")?.into(),
        1,
        4,
        "bytes of a length",
        offset,
    )
}

fn expect(found: u8, expected: u8, what: &'static str, offset: usize) -> Result<(), Error> {
    limited(found.into(), expected.into(), expected.into(), what, offset).map(drop)
}

fn limited(found: u32, min: u32, max: u32, what: &'static str, offset: usize) -> Result<u8, Error> {
    match u8::try_from(found) {
        Ok(value) if (min..=max).contains(&found) => Ok(value),
        _ => Err(Error::malformed(
            "table map event's column metadata",
            format!("{found} {what}, possible are {min} to {max}"),
        )
        .at(offset)),
    }
}

/// How far a value reaches in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// So many bytes.
    Fixed(u8),
    /// Their number in so many bytes, little-endian, then they.
    Prefixed(u8),
}

/// A column of a table.
#[derive(Debug, Clone)]
pub struct Column {
    /// Type and metadata.
    pub column_type: ColumnType,
    /// Name; empty where the binlog does not say it.
    pub name: String,
    /// NULL is possible.
    pub nullable: bool,
    /// UNSIGNED, for numbers; `None` where the binlog does not say.
    pub unsigned: Option<bool>,
    /// Collation id, for strings, ENUM and SET; 63 for binary strings; `None` where the binlog does not say.
    pub collation: Option<u16>,
    /// Members of an ENUM or SET in order, as UTF-8.
    pub members: Arc<[String]>,
    /// Subtype of a GEOMETRY: 0 GEOMETRY, 1 POINT, ... 7 GEOMETRYCOLLECTION.
    pub geometry_type: Option<u8>,
    /// Visible to `SELECT *`; `None` where the binlog does not say.
    pub visible: Option<bool>,
    /// Numbers in a VECTOR at most.
    pub vector_dimension: Option<u32>,
    pub(crate) extent: Extent,
    pub(crate) charset: Charset,
    /// `"name":`, escaped for JSON.
    json_name: Vec<u8>,
}

impl Column {
    pub(crate) fn new(column_type: ColumnType) -> Column {
        Column {
            column_type,
            name: String::new(),
            nullable: false,
            unsigned: None,
            collation: None,
            members: Arc::default(),
            geometry_type: None,
            visible: None,
            vector_dimension: None,
            extent: column_type.extent(),
            charset: Charset::BINARY,
            json_name: Vec::new(),
        }
    }

    /// The column's name as it begins a member of a JSON object: `"name":`, escaped.
    pub fn json_name(&self) -> &[u8] {
        &self.json_name
    }

    /// The column holds bytes, not text: BINARY, VARBINARY, BLOB.
    pub fn is_binary_string(&self) -> bool {
        self.column_type.is_string() && self.collation == Some(COLLATION_BINARY)
    }

    /// Its values can be decoded.
    pub(crate) fn is_complete(&self) -> bool {
        !self.name.is_empty()
            && (!self.column_type.is_integer() || self.unsigned.is_some())
            && (!self.column_type.is_string() || self.collation.is_some())
            && (!self.column_type.is_enum_or_set() || !self.members.is_empty())
    }

    pub(crate) fn supply(&mut self, known: &ColumnSchema) -> Result<(), Error> {
        let conflict = |detail: String| Err(Error::new(Reason::Metadata, "schema of the table", detail));
        if self.name.is_empty() {
            self.name.clone_from(&known.name);
        } else if self.name != known.name {
            return conflict(format!("the binlog names it {}", self.name));
        }
        if self.column_type.is_numeric() && *self.unsigned.get_or_insert(known.unsigned) != known.unsigned {
            return conflict("the binlog says the other signedness".to_owned());
        }
        if self.column_type.is_string() || self.column_type.is_enum_or_set() {
            self.collation = self.collation.or(known.collation);
        }
        if self.column_type.is_enum_or_set() && self.members.is_empty() {
            self.members = known.members.clone().into();
        }
        if matches!(self.column_type, ColumnType::Geometry { .. }) {
            self.geometry_type = self.geometry_type.or(known.geometry_type);
        }
        Ok(())
    }

    /// Prepares what every value needs.
    pub(crate) fn plan(&mut self) {
        self.charset = Charset::of_collation(self.collation.unwrap_or(COLLATION_BINARY));
        self.json_name.clear();
        write::json_string(&mut self.json_name, self.name.as_bytes());
        self.json_name.push(b':');
    }
}
