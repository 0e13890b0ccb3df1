//! How a column's values are written, from its schema and, where that does not say enough, from its type in MySQL.
//!
//! The schema alone leaves open: the digits of a fraction (`DATETIME` and `DATETIME(3)` have one type), whether an int64 is a
//! BIGINT UNSIGNED, whether a double is a FLOAT(9,3), and whether a string is text or bytes in some other form. The type in MySQL
//! comes from the schema's own parameters (column.propagate.source.type), or else from information_schema. Of a column that
//! MySQL does not have any more, the schema alone decides; where it has one, but of another type than the record's, and
//! the value would look different, the record is refused.

use super::schema::{SOURCE_LENGTH, SOURCE_TYPE, Schema};
use crate::source::mysql::DescribedColumn;

/// A column's type in MySQL, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    /// In lower case, without length and attributes: `bigint`.
    pub(super) name: String,
    pub(super) unsigned: bool,
    /// Of DATETIME, TIME and TIMESTAMP.
    pub(super) digits: u8,
}

impl Origin {
    pub(super) fn of_described(column: &DescribedColumn) -> Self {
        Self {
            name: column.data_type.to_ascii_lowercase(),
            unsigned: column.column_type.to_ascii_lowercase().contains("unsigned"),
            digits: column.fraction_digits.map_or(0, |digits| digits.min(6) as u8),
        }
    }

    /// What the schema's own parameters say, if they do. Debezium has the type as the statement spelled it.
    pub(super) fn of_parameters(field: &Schema) -> Option<Self> {
        let declared = field.parameters.get(SOURCE_TYPE)?.to_ascii_lowercase();
        let length = field
            .parameters
            .get(SOURCE_LENGTH)
            .and_then(|length| length.parse().ok());
        let name = match declared.split(' ').next().unwrap_or_default() {
            "int8" | "serial" => "bigint",
            "float4" => "float",
            "float8" | "real" => "double",
            "dec" | "numeric" | "fixed" => "decimal",
            "nchar" | "character" | "national" => "char",
            "nvarchar" | "varcharacter" | "long" => "varchar",
            name => name,
        };
        Some(Self {
            name: name.to_owned(),
            unsigned: declared.contains("unsigned") || declared.starts_with("serial"),
            digits: length.unwrap_or(0_u8).min(6),
        })
    }

    fn is_text(&self) -> bool {
        let name = self.name.as_str();
        name.ends_with("text") || matches!(name, "char" | "varchar" | "enum" | "set")
    }
}

/// What is known of a column in MySQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    As(Origin),
    /// It is not there any more.
    Gone,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A number of at most 64 bits with its sign; negative ones are another number where the column is not signed.
    Int(Sign),
    Boolean,
    Single,
    Double,
    Text,
    Bytes,
    /// Base64 of the unscaled number; an integer where that is what the column holds.
    Decimal {
        scale: u16,
        is_integer: bool,
    },
    /// Days since 1970.
    Date,
    /// A count since midnight, of so many a second.
    Time {
        per_second: i64,
        digits: u8,
    },
    /// A count since 1970, of so many a second.
    DateTime {
        per_second: i64,
        digits: u8,
    },
    /// ISO 8601 with an offset.
    Timestamp {
        digits: u8,
    },
    Year,
    /// Base64, the lowest byte first.
    Bits,
    Json,
    Geometry,
    SingleVector,
    DoubleVector,
}

/// What a negative int64 is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Signed,
    /// 2^64 above it.
    Unsigned,
    /// The column holds something else now.
    Unknown,
}

/// Why a column's values cannot be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) why: String,
    pub(super) remedy: &'static str,
}

const UNKNOWN_TYPE: &str = "set Debezium's options of values to their defaults (decimal.handling.mode, time.precision.mode, \
     binary.handling.mode), and take converters and transforms that alter values out of the connector";

const PROPAGATE: &str = "set column.propagate.source.type = \".*\" in the connector, so that its records say what their columns \
     were, and have it publish the table anew; a record that is superseded can be skipped: mysync writer skip";

const MILLISECONDS: i64 = 1_000;
const MICROSECONDS: i64 = 1_000_000;
const NANOSECONDS: i64 = 1_000_000_000;

/// Whether the column's type in MySQL has to be known.
pub(super) fn asks(field: &Schema) -> bool {
    match (field.kind.as_str(), field.name.as_deref()) {
        ("int64" | "double" | "string", None) => true,
        (_, Some("org.apache.kafka.connect.data.Decimal")) => scale(field) == Some(0),
        (_, Some(name)) => name.starts_with("io.debezium.time.") && name.contains("Time") || is_connect_time(name),
        _ => false,
    }
}

fn is_connect_time(name: &str) -> bool {
    matches!(
        name,
        "org.apache.kafka.connect.data.Time" | "org.apache.kafka.connect.data.Timestamp"
    )
}

fn scale(field: &Schema) -> Option<u16> {
    field.parameters.get("scale")?.parse().ok().filter(|scale| *scale <= 30)
}

/// How a column's values are written. `known` is looked at where [`asks`] says so.
pub(super) fn form(field: &Schema, known: &Known) -> Result<Form, Refusal> {
    let Some(name) = field.name.as_deref() else {
        return unnamed(field, known);
    };
    let short = name
        .strip_prefix("io.debezium.")
        .or_else(|| name.strip_prefix("org.apache.kafka."));
    let time = |per_second| {
        let digits = digits(field, known, "time")?;
        Ok(Form::Time { per_second, digits })
    };
    let date_time = |per_second| {
        let digits = digits(field, known, "datetime")?;
        Ok(Form::DateTime { per_second, digits })
    };
    match (field.kind.as_str(), short.unwrap_or_default()) {
        ("bytes", "connect.data.Decimal") => match scale(field) {
            Some(scale) => Ok(Form::Decimal {
                scale,
                is_integer: scale == 0 && matches!(known, Known::As(origin) if origin.name == "bigint"),
            }),
            None => Err(unknown_type(field)),
        },
        ("int32", "time.Date" | "connect.data.Date") => Ok(Form::Date),
        ("int32", "time.Time") => time(MILLISECONDS),
        ("int64", "time.MicroTime") => time(MICROSECONDS),
        ("int64", "time.NanoTime") => time(NANOSECONDS),
        ("int32", "connect.data.Time") => whole_milliseconds(time(MILLISECONDS)?),
        ("int64", "time.Timestamp") => date_time(MILLISECONDS),
        ("int64", "time.MicroTimestamp") => date_time(MICROSECONDS),
        ("int64", "time.NanoTimestamp") => date_time(NANOSECONDS),
        ("int64", "connect.data.Timestamp") => whole_milliseconds(date_time(MILLISECONDS)?),
        ("string", "time.ZonedTimestamp") => Ok(Form::Timestamp {
            digits: digits(field, known, "timestamp")?,
        }),
        ("int32", "time.Year") => Ok(Form::Year),
        ("bytes", "data.Bits") => Ok(Form::Bits),
        ("string", "data.Json") => Ok(Form::Json),
        ("string", "data.Enum" | "data.EnumSet") => Ok(Form::Text),
        ("struct", "data.geometry.Geometry" | "data.geometry.Point") => Ok(Form::Geometry),
        ("array", "data.FloatVector") if items(field) == Some("float") => Ok(Form::SingleVector),
        ("array", "data.DoubleVector") if items(field) == Some("double") => Ok(Form::DoubleVector),
        _ => Err(unknown_type(field)),
    }
}

fn items(field: &Schema) -> Option<&str> {
    field.items.as_ref().map(|items| items.kind.as_str())
}

fn unnamed(field: &Schema, known: &Known) -> Result<Form, Refusal> {
    let origin = match known {
        Known::As(origin) => Some(origin),
        Known::Gone => None,
    };
    let is = |name: &str| origin.is_some_and(|origin| origin.name == name);
    match field.kind.as_str() {
        "int8" | "int16" | "int32" => Ok(Form::Int(Sign::Signed)),
        "int64" => Ok(Form::Int(match origin {
            Some(origin) if origin.name != "bigint" => Sign::Unknown,
            Some(origin) if origin.unsigned => Sign::Unsigned,
            _ => Sign::Signed,
        })),
        "boolean" => Ok(Form::Boolean),
        "float" => Ok(Form::Single),
        "double" if is("float") => Ok(Form::Single),
        "double" if is("decimal") => Err(other_mode(
            field,
            "decimal",
            "set decimal.handling.mode = precise in the connector",
        )),
        "double" => Ok(Form::Double),
        "bytes" => Ok(Form::Bytes),
        "string" => match origin {
            Some(origin) if origin.name == "decimal" => Err(other_mode(
                field,
                "decimal",
                "set decimal.handling.mode = precise in the connector",
            )),
            Some(origin) if origin.name.ends_with("binary") || origin.name.ends_with("blob") => Err(other_mode(
                field,
                &origin.name,
                "set binary.handling.mode = bytes in the connector",
            )),
            Some(origin) if !origin.is_text() => Err(other_mode(field, &origin.name, UNKNOWN_TYPE)),
            _ => Ok(Form::Text),
        },
        _ => Err(unknown_type(field)),
    }
}

/// The digits of the fraction that the column has.
fn digits(field: &Schema, known: &Known, expected: &str) -> Result<u8, Refusal> {
    match known {
        Known::Gone => Ok(0),
        Known::As(origin) if origin.name == expected => Ok(origin.digits),
        Known::As(origin) => Err(other_mode(field, &origin.name, PROPAGATE)),
    }
}

/// time.precision.mode=connect cuts what is finer.
fn whole_milliseconds(form: Form) -> Result<Form, Refusal> {
    match form {
        Form::Time { digits: 4.., .. } | Form::DateTime { digits: 4.., .. } => Err(Refusal {
            why: "milliseconds of a column that has microseconds".to_owned(),
            remedy: "set time.precision.mode = adaptive_time_microseconds in the connector",
        }),
        form => Ok(form),
    }
}

fn unknown_type(field: &Schema) -> Refusal {
    Refusal {
        why: format!("a type that is not known: {}", field.shown()),
        remedy: UNKNOWN_TYPE,
    }
}

fn other_mode(field: &Schema, origin: &str, remedy: &'static str) -> Refusal {
    Refusal {
        why: format!("{} of a column that is {origin} in MySQL", field.shown()),
        remedy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(text: &str) -> Schema {
        serde_json::from_str(text).unwrap()
    }

    fn known(name: &str, unsigned: bool, digits: u8) -> Known {
        let name = name.to_owned();
        Known::As(Origin { name, unsigned, digits })
    }

    #[test]
    fn what_the_schema_leaves_open_mysql_says() {
        let int64 = field(r#"{"type":"int64","field":"u"}"#);
        let double = field(r#"{"type":"double","field":"f"}"#);
        let precise = field(
            r#"{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"0"},"field":"d"}"#,
        );
        let date_time = field(r#"{"type":"int64","name":"io.debezium.time.Timestamp","field":"t"}"#);
        for asking in [&int64, &double, &precise, &date_time] {
            assert!(asks(asking), "{asking:?}");
        }
        for (field, known, expected) in [
            (&int64, known("bigint", true, 0), Form::Int(Sign::Unsigned)),
            (&int64, known("bigint", false, 0), Form::Int(Sign::Signed)),
            (&int64, known("int", true, 0), Form::Int(Sign::Unknown)),
            (&int64, Known::Gone, Form::Int(Sign::Signed)),
            (&double, known("float", false, 0), Form::Single),
            (&double, known("double", false, 0), Form::Double),
            (
                &precise,
                known("bigint", true, 0),
                Form::Decimal {
                    scale: 0,
                    is_integer: true,
                },
            ),
            (
                &precise,
                known("decimal", false, 0),
                Form::Decimal {
                    scale: 0,
                    is_integer: false,
                },
            ),
            (
                &date_time,
                known("datetime", false, 2),
                Form::DateTime {
                    per_second: 1_000,
                    digits: 2,
                },
            ),
            (
                &date_time,
                Known::Gone,
                Form::DateTime {
                    per_second: 1_000,
                    digits: 0,
                },
            ),
        ] {
            assert_eq!(form(field, &known), Ok(expected), "{field:?}");
        }
    }

    #[test]
    fn what_would_be_a_guess_is_refused() {
        for (text, known) in [
            (r#"{"type":"string","field":"c"}"#, known("varbinary", false, 0)),
            (r#"{"type":"string","field":"c"}"#, known("longblob", false, 0)),
            (r#"{"type":"string","field":"c"}"#, known("decimal", false, 0)),
            (r#"{"type":"string","field":"c"}"#, known("datetime", false, 0)),
            (r#"{"type":"double","field":"c"}"#, known("decimal", false, 0)),
            (
                r#"{"type":"int64","name":"io.debezium.time.Timestamp","field":"c"}"#,
                known("varchar", false, 0),
            ),
            (
                r#"{"type":"int64","name":"org.apache.kafka.connect.data.Timestamp","field":"c"}"#,
                known("datetime", false, 6),
            ),
            (
                r#"{"type":"int32","name":"org.apache.kafka.connect.data.Time","field":"c"}"#,
                known("time", false, 4),
            ),
            (
                r#"{"type":"string","name":"io.debezium.time.IsoDate","field":"c"}"#,
                Known::Gone,
            ),
            (
                r#"{"type":"string","name":"com.example.Money","field":"c"}"#,
                Known::Gone,
            ),
            (
                r#"{"type":"int64","name":"io.debezium.time.Date","field":"c"}"#,
                Known::Gone,
            ),
            (
                r#"{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","field":"c"}"#,
                Known::Gone,
            ),
            (
                r#"{"type":"array","name":"io.debezium.data.FloatVector","field":"c"}"#,
                Known::Gone,
            ),
            (r#"{"type":"map","field":"c"}"#, Known::Gone),
        ] {
            let refusal = form(&field(text), &known).unwrap_err();
            assert!(!refusal.why.is_empty() && !refusal.remedy.is_empty(), "{text}");
        }
    }

    #[test]
    fn parameters_say_the_type_as_a_statement_spells_it() {
        let of = |kind: &str, length: Option<&str>| {
            let mut schema = field(r#"{"type":"int64","field":"c"}"#);
            schema.parameters.insert(SOURCE_TYPE.into(), kind.into());
            length.map(|length| schema.parameters.insert(SOURCE_LENGTH.into(), length.into()));
            let origin = Origin::of_parameters(&schema).unwrap();
            (origin.name, origin.unsigned, origin.digits)
        };
        assert_eq!(of("BIGINT UNSIGNED ZEROFILL", Some("5")), ("bigint".into(), true, 5));
        assert_eq!(of("SERIAL", None), ("bigint".into(), true, 0));
        assert_eq!(of("DATETIME", Some("3")), ("datetime".into(), false, 3));
        assert_eq!(of("TIMESTAMP", None), ("timestamp".into(), false, 0));
        assert_eq!(of("NATIONAL VARCHAR", Some("300")).0, "char");
        assert_eq!(Origin::of_parameters(&field(r#"{"type":"int64","field":"c"}"#)), None);
    }
}
