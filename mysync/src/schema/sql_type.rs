//! A column's type as SQL has it: read from a definition or from information_schema, and compared with a Table_map's.

use super::tokens::{Quoting, Tokens};
use crate::decode::{Charset, ColumnType};
use std::fmt;

/// A type in canonical form: its synonyms, display widths and ZEROFILL are resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlType {
    /// In lower case, as information_schema's data_type.
    base: &'static str,
    length: Option<u32>,
    scale: Option<u32>,
    unsigned: bool,
    members: Vec<String>,
}

/// What a definition says besides its type, where the type stands.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Implied {
    /// NATIONAL, NCHAR and the like.
    pub(super) charset: Option<&'static str>,
    /// SERIAL.
    pub(super) serial: bool,
}

impl SqlType {
    /// Reads information_schema's column_type, or [`SqlType`]'s own text.
    pub fn of_text(text: &str) -> Option<Self> {
        let mut tokens = Tokens::new(text, Quoting::default());
        let (parsed, _) = Self::parse(&mut tokens)?;
        tokens.is_empty().then_some(parsed)
    }

    /// Reads the type at the start of a definition; none if it is not known.
    pub(super) fn parse(tokens: &mut Tokens) -> Option<(Self, Implied)> {
        let mut implied = Implied::default();
        let word = tokens.word()?;
        let base = match word.as_str() {
            "TINYINT" | "INT1" => "tinyint",
            "SMALLINT" | "INT2" => "smallint",
            "MEDIUMINT" | "INT3" | "MIDDLEINT" => "mediumint",
            "INT" | "INTEGER" | "INT4" => "int",
            "BIGINT" | "INT8" => "bigint",
            "BOOL" | "BOOLEAN" => return Some((Self::plain("tinyint"), implied)),
            "SERIAL" => {
                implied.serial = true;
                let unsigned = true;
                return Some((
                    Self {
                        unsigned,
                        ..Self::plain("bigint")
                    },
                    implied,
                ));
            }
            "FLOAT" | "FLOAT4" => "float",
            "FLOAT8" | "REAL" => "double",
            "DOUBLE" => {
                tokens.skip("PRECISION");
                "double"
            }
            "DECIMAL" | "DEC" | "NUMERIC" | "FIXED" => "decimal",
            "BIT" => "bit",
            "YEAR" => "year",
            "DATE" => "date",
            "TIME" => "time",
            "DATETIME" => "datetime",
            "TIMESTAMP" => "timestamp",
            "NATIONAL" | "NCHAR" | "NVARCHAR" => {
                implied.charset = Some("utf8mb3");
                national(&word, tokens)?
            }
            "CHAR" | "CHARACTER" => varying(tokens, "char", "varchar"),
            "VARCHAR" | "VARCHARACTER" => "varchar",
            "BINARY" => "binary",
            "VARBINARY" => "varbinary",
            "TINYTEXT" => "tinytext",
            "TEXT" => "text",
            "MEDIUMTEXT" => "mediumtext",
            "LONGTEXT" => "longtext",
            "TINYBLOB" => "tinyblob",
            "BLOB" => "blob",
            "MEDIUMBLOB" => "mediumblob",
            "LONGBLOB" => "longblob",
            "ENUM" => "enum",
            "SET" => "set",
            "JSON" => "json",
            "GEOMETRY" => "geometry",
            "POINT" => "point",
            "LINESTRING" => "linestring",
            "POLYGON" => "polygon",
            "MULTIPOINT" => "multipoint",
            "MULTILINESTRING" => "multilinestring",
            "MULTIPOLYGON" => "multipolygon",
            "GEOMETRYCOLLECTION" | "GEOMCOLLECTION" => "geomcollection",
            "VECTOR" => "vector",
            _ => return None,
        };
        let mut parsed = Self::plain(base);
        parsed.arguments(tokens)?;
        if parsed.is_numeric() {
            while let Some(word) = ["UNSIGNED", "ZEROFILL", "SIGNED"].iter().find(|word| tokens.skip(word)) {
                parsed.unsigned |= *word != "SIGNED";
            }
        }
        Some((parsed, implied))
    }

    fn plain(base: &'static str) -> Self {
        Self {
            base,
            length: None,
            scale: None,
            unsigned: false,
            members: Vec::new(),
        }
    }

    /// What stands in parentheses after the type's name.
    fn arguments(&mut self, tokens: &mut Tokens) -> Option<()> {
        if matches!(self.base, "enum" | "set") {
            for mut part in tokens.group()?.parts() {
                let member = part.text()?;
                self.members.push(member.trim_end_matches(' ').to_owned());
                if !part.is_empty() {
                    return None;
                }
            }
            return Some(());
        }
        let mut numbers = Vec::new();
        if let Some(group) = tokens.group() {
            for mut part in group.parts() {
                numbers.push(part.number().filter(|_| part.is_empty())?);
            }
        }
        let (first, second) = match numbers[..] {
            [] => (None, None),
            [first] => (Some(first), None),
            [first, second] => (Some(first), Some(second)),
            _ => return None,
        };
        match self.base {
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" | "double" => {}
            // A single number is a precision in bits; more than 24 need a double.
            "float" if second.is_none() && first.is_some_and(|bits| bits > 24) => self.base = "double",
            "float" => {}
            "decimal" => {
                self.length = Some(first.filter(|&digits| digits > 0).unwrap_or(10));
                self.scale = Some(second.unwrap_or(0));
            }
            "bit" | "char" | "binary" => self.length = Some(first.filter(|_| second.is_none()).unwrap_or(1)),
            "time" | "datetime" | "timestamp" => self.length = Some(first.unwrap_or(0)),
            // Without a length they are none; TEXT and BLOB are of the smallest size that holds their length.
            "varchar" | "varbinary" => self.length = Some(first?),
            "text" | "blob" | "vector" => self.length = first,
            _ if first.is_some() => return None,
            _ => {}
        }
        Some(())
    }

    /// UNSIGNED or ZEROFILL. A YEAR counts as unsigned, as it does in the binlog.
    pub(super) fn is_unsigned(&self) -> bool {
        self.unsigned || self.base == "year"
    }

    /// Members of an ENUM or SET.
    pub(super) fn members(&self) -> &[String] {
        &self.members
    }

    /// The same type with names for the members that may have been lost on their way through character sets.
    pub(super) fn has_only_ascii_members(&self) -> bool {
        self.members.iter().all(|member| member.is_ascii())
    }

    /// Text, ENUM or SET: it has a character set.
    pub(super) fn has_charset(&self) -> bool {
        matches!(
            self.base,
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum" | "set"
        )
    }

    pub(super) fn is_timestamp(&self) -> bool {
        self.base == "timestamp"
    }

    fn is_numeric(&self) -> bool {
        matches!(
            self.base,
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "float" | "double" | "decimal"
        )
    }

    /// The same type for bytes: what `CHARACTER SET binary` makes of it.
    pub(super) fn as_bytes(&self) -> Self {
        let base = match self.base {
            "char" => "binary",
            "varchar" => "varbinary",
            "tinytext" => "tinyblob",
            "text" => "blob",
            "mediumtext" => "mediumblob",
            "longtext" => "longblob",
            other => other,
        };
        Self { base, ..self.clone() }
    }

    /// The type of a column whose values come from a SELECT ([`crate::decode::TableRows`]). Of strings and the like only the
    /// kind counts: every value brings its length.
    pub(super) fn selected(&self) -> Option<ColumnType> {
        use ColumnType as Type;
        let small = |number: Option<u32>| number.and_then(|number| u8::try_from(number).ok());
        let digits = small(self.length);
        let length_bytes = 4;
        Some(match self.base {
            "tinyint" => Type::TinyInt,
            "smallint" => Type::SmallInt,
            "mediumint" => Type::MediumInt,
            "int" => Type::Int,
            "bigint" => Type::BigInt,
            "float" => Type::Float,
            "double" => Type::Double,
            "decimal" => Type::Decimal {
                precision: digits?,
                scale: small(self.scale)?,
            },
            "year" => Type::Year,
            "date" => Type::Date,
            "time" => Type::Time { digits: digits? },
            "datetime" => Type::DateTime { digits: digits? },
            "timestamp" => Type::Timestamp { digits: digits? },
            "bit" => Type::Bit { bits: digits? },
            "enum" => Type::Enum {
                bytes: if self.members.len() < 256 { 1 } else { 2 },
            },
            "set" => Type::Set {
                bytes: u8::try_from(set_bytes(self.members.len())).ok()?,
            },
            "json" => Type::JsonText { length_bytes },
            "vector" => Type::Vector { length_bytes },
            _ if self.geometry_type().is_some() => Type::Geometry { length_bytes },
            _ if self.has_charset() || self.is_bytes() => Type::Blob { length_bytes },
            _ => return None,
        })
    }

    /// The subtype's number, 0 for any.
    pub(super) fn geometry_type(&self) -> Option<u8> {
        const NAMES: [&str; 8] = [
            "geometry",
            "point",
            "linestring",
            "polygon",
            "multipoint",
            "multilinestring",
            "multipolygon",
            "geomcollection",
        ];
        let found = NAMES.iter().position(|name| *name == self.base);
        found.and_then(|number| u8::try_from(number).ok())
    }

    fn is_bytes(&self) -> bool {
        matches!(
            self.base,
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob"
        )
    }

    /// Whether a Table_map's column can be of this type; without a character set, lengths in characters are not compared.
    pub(super) fn agrees(&self, column: ColumnType, charset: Option<Charset>) -> bool {
        use ColumnType as Type;
        let length = self.length.unwrap_or(0);
        let bytes = match charset {
            _ if !self.has_charset() => Some(length),
            Some(charset) => charset.character_bytes_max().map(|bytes| length.saturating_mul(bytes)),
            None => None,
        };
        let is = |bytes_max: u16| bytes.is_none_or(|bytes| bytes == u32::from(bytes_max));
        match (self.base, column) {
            ("tinyint", Type::TinyInt)
            | ("smallint", Type::SmallInt)
            | ("mediumint", Type::MediumInt)
            | ("int", Type::Int)
            | ("bigint", Type::BigInt)
            | ("float", Type::Float)
            | ("double", Type::Double)
            | ("year", Type::Year)
            | ("date", Type::Date)
            | ("json", Type::Json { .. })
            | ("vector", Type::Vector { .. }) => true,
            ("time", Type::TimeOld) | ("datetime", Type::DateTimeOld) | ("timestamp", Type::TimestampOld) => {
                length == 0
            }
            ("time", Type::Time { digits })
            | ("datetime", Type::DateTime { digits })
            | ("timestamp", Type::Timestamp { digits }) => length == u32::from(digits),
            ("decimal", Type::Decimal { precision, scale }) => {
                (self.length, self.scale) == (Some(precision.into()), Some(scale.into()))
            }
            ("bit", Type::Bit { bits }) => length == u32::from(bits),
            ("char" | "binary", Type::Char { bytes_max }) | ("varchar" | "varbinary", Type::VarChar { bytes_max }) => {
                is(bytes_max)
            }
            ("enum", Type::Enum { bytes }) => bytes == if self.members.len() < 256 { 1 } else { 2 },
            ("set", Type::Set { bytes }) => usize::from(bytes) == set_bytes(self.members.len()),
            ("tinytext" | "tinyblob", Type::Blob { length_bytes }) => length_bytes == 1,
            ("text" | "blob", Type::Blob { length_bytes }) => match (self.length, bytes) {
                (None | Some(0), _) => length_bytes == 2,
                (Some(_), Some(bytes)) => length_bytes == blob_length_bytes(bytes),
                (Some(_), None) => true,
            },
            ("mediumtext" | "mediumblob", Type::Blob { length_bytes }) => length_bytes == 3,
            ("longtext" | "longblob", Type::Blob { length_bytes }) => length_bytes == 4,
            (_, Type::Geometry { .. }) => self.geometry_type().is_some(),
            _ => false,
        }
    }
}

/// LONG VARCHAR and the like are not among these: they are not known here, so the table is read anew.
fn national(word: &str, tokens: &mut Tokens) -> Option<&'static str> {
    match word {
        "NVARCHAR" => Some("varchar"),
        "NCHAR" if tokens.skip("VARCHAR") || tokens.skip("VARCHARACTER") => Some("varchar"),
        "NCHAR" => Some(varying(tokens, "char", "varchar")),
        _ if tokens.skip("VARCHAR") || tokens.skip("VARCHARACTER") => Some("varchar"),
        _ if tokens.skip("CHAR") || tokens.skip("CHARACTER") => Some(varying(tokens, "char", "varchar")),
        _ => None,
    }
}

fn varying(tokens: &mut Tokens, fixed: &'static str, varying: &'static str) -> &'static str {
    if tokens.skip("VARYING") { varying } else { fixed }
}

fn set_bytes(members: usize) -> usize {
    match members.div_ceil(8) {
        bytes @ 0..=4 => bytes,
        _ => 8,
    }
}

fn blob_length_bytes(bytes: u32) -> u8 {
    match bytes {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xff_ffff => 3,
        _ => 4,
    }
}

impl fmt::Display for SqlType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.base)?;
        if !self.members.is_empty() {
            let quoted = |member: &String| format!("'{}'", member.replace('\\', "\\\\").replace('\'', "''"));
            let members: Vec<String> = self.members.iter().map(quoted).collect();
            return write!(formatter, "({})", members.join(","));
        }
        match (self.length, self.scale) {
            (Some(length), Some(scale)) => write!(formatter, "({length},{scale})")?,
            (Some(0), None) => {}
            (Some(length), None) => write!(formatter, "({length})")?,
            (None, _) => {}
        }
        if self.unsigned {
            formatter.write_str(" unsigned")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charset(name: &str) -> Option<Charset> {
        Charset::of_name(name)
    }

    #[test]
    fn synonyms_have_one_form_that_reads_back() {
        for (text, expected) in [
            ("INT(11)", "int"),
            ("integer unsigned zerofill", "int unsigned"),
            ("int(10) ZEROFILL", "int unsigned"),
            ("BOOL", "tinyint"),
            ("SERIAL", "bigint unsigned"),
            ("float(53)", "double"),
            ("FLOAT(7,3)", "float"),
            ("double precision unsigned", "double unsigned"),
            ("numeric", "decimal(10,0)"),
            ("DEC(5)", "decimal(5,0)"),
            ("decimal(65,30) unsigned", "decimal(65,30) unsigned"),
            ("bit", "bit(1)"),
            ("year(4)", "year"),
            ("timestamp(6)", "timestamp(6)"),
            ("datetime", "datetime"),
            ("CHAR", "char(1)"),
            ("character varying(10)", "varchar(10)"),
            ("NATIONAL VARCHAR(10)", "varchar(10)"),
            ("nchar(3)", "char(3)"),
            ("text(100)", "text(100)"),
            ("enum('a','it''s','b\\\\c ')", "enum('a','it''s','b\\\\c')"),
            ("set('x')", "set('x')"),
            ("geometrycollection", "geomcollection"),
        ] {
            let parsed = SqlType::of_text(text).unwrap();
            assert_eq!(parsed.to_string(), expected, "{text}");
            assert_eq!(SqlType::of_text(expected).unwrap(), parsed, "{text}");
        }
        for unknown in [
            "",
            "long varchar",
            "varchar",
            "enum(x'61')",
            "int(1,2,3)",
            "money",
            "date(3)",
        ] {
            assert_eq!(SqlType::of_text(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_table_map_of_another_type_or_length_does_not_agree() {
        use ColumnType as Type;
        let agrees = |text: &str, column, name: &str| SqlType::of_text(text).unwrap().agrees(column, charset(name));
        assert!(agrees("varchar(10)", Type::VarChar { bytes_max: 40 }, "utf8mb4"));
        assert!(!agrees("varchar(10)", Type::VarChar { bytes_max: 40 }, "utf8mb3"));
        assert!(!agrees("varchar(10)", Type::Char { bytes_max: 40 }, "utf8mb4"));
        assert!(agrees("varchar(10)", Type::VarChar { bytes_max: 7 }, "none"));
        assert!(agrees("varbinary(10)", Type::VarChar { bytes_max: 10 }, "none"));
        assert!(agrees("text(100)", Type::Blob { length_bytes: 2 }, "utf8mb4"));
        assert!(agrees("text(50)", Type::Blob { length_bytes: 1 }, "utf8mb4"));
        assert!(!agrees("int", Type::BigInt, ""));
        assert!(!agrees("decimal(5,2)", Type::Decimal { precision: 5, scale: 1 }, ""));
        assert!(agrees("timestamp", Type::TimestampOld, ""));
        assert!(!agrees("timestamp(3)", Type::Timestamp { digits: 0 }, ""));
        let members: Vec<String> = (0..33).map(|number| format!("'{number}'")).collect();
        assert!(agrees(
            &format!("set({})", members.join(",")),
            Type::Set { bytes: 8 },
            "latin1"
        ));
        assert!(agrees("enum('a')", Type::Enum { bytes: 1 }, "latin1"));
    }
}
