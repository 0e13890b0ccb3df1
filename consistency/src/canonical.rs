//! One canonical text a value: what MySQL prints, brought into the form that the stores hold.
//!
//! MySQL is asked for text, so most values are canonical as they come; the rest is small:
//!
//! | type | what is asked for | what is done to it |
//! | --- | --- | --- |
//! | integers, BIT, YEAR, DECIMAL | the column (BIT as `+ 0`) | leading zeros of ZEROFILL and YEAR 0000 go |
//! | FLOAT, DOUBLE | `* 1e0` (a bare FLOAT loses digits, `+ 0e0` the sign of -0.0) | the shortest text that reads back to the same f32, f64 |
//! | TIMESTAMP | the column, in a session at +00:00 | `T` between, `Z` behind |
//! | BINARY, VARBINARY, BLOB | the raw bytes | base64 |
//! | GEOMETRY | the raw bytes: SRID, then WKB | `{"srid":4326,"wkb":"<base64>"}` |
//! | VECTOR | `HEX()`: little-endian f32s | `[1.0,2.5]` |
//! | DATE, TIME, DATETIME, CHAR, TEXT, ENUM, SET, JSON | the column, over a utf8mb4 connection | nothing |
//!
//! This is written from the description of the form alone and shares no code with the writers: a checker that shares
//! the writer's code shares its bugs.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

/// A value's canonical text. Bytes, because a store may hold what is not UTF-8, and that is a difference to show.
pub type Text = Vec<u8>;

/// How a column's values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TINYINT to BIGINT, signed and unsigned, and YEAR.
    Integer,
    /// BIT(n).
    Bit,
    /// FLOAT.
    Float,
    /// DOUBLE.
    Double,
    /// DECIMAL.
    Decimal,
    /// DATE.
    Date,
    /// TIME.
    Time,
    /// DATETIME.
    DateTime,
    /// TIMESTAMP.
    Timestamp,
    /// CHAR, VARCHAR, TEXT, ENUM and SET.
    Characters,
    /// BINARY, VARBINARY and BLOB.
    Binary,
    /// JSON.
    Json,
    /// GEOMETRY and its subtypes.
    Geometry,
    /// VECTOR.
    Vector,
}

impl Kind {
    /// The kind for information_schema's DATA_TYPE; none for a type that this version does not know.
    pub fn of_data_type(data_type: &str) -> Option<Self> {
        Some(match data_type.to_ascii_lowercase().as_str() {
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" => Self::Integer,
            "bit" => Self::Bit,
            "float" => Self::Float,
            "double" => Self::Double,
            "decimal" => Self::Decimal,
            "date" => Self::Date,
            "time" => Self::Time,
            "datetime" => Self::DateTime,
            "timestamp" => Self::Timestamp,
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum" | "set" => Self::Characters,
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Self::Binary,
            "json" => Self::Json,
            "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring" | "multipolygon"
            | "geomcollection" | "geometrycollection" => Self::Geometry,
            "vector" => Self::Vector,
            _ => return None,
        })
    }
}

/// Brings what MySQL printed into the canonical form. The error says what was expected of MySQL's text.
pub fn canonical(kind: Kind, printed: Vec<u8>) -> Result<Text, String> {
    match kind {
        Kind::Integer | Kind::Bit | Kind::Decimal => Ok(without_leading_zeros(printed)),
        Kind::Float => number(&printed).map(|value| ryu::Buffer::new().format(value as f32).into()),
        Kind::Double => number(&printed).map(|value| ryu::Buffer::new().format(value).into()),
        Kind::Timestamp => timestamp(printed),
        Kind::Binary => Ok(BASE64.encode(printed).into_bytes()),
        Kind::Geometry => geometry(&printed),
        Kind::Vector => vector(&printed),
        Kind::Date | Kind::Time | Kind::DateTime | Kind::Characters | Kind::Json => Ok(printed),
    }
}

/// Whether some value of this kind has this canonical text: a key in a store whose parts are not so cannot be ours.
pub fn is_canonical(kind: Kind, text: &[u8]) -> bool {
    let reads_back = |number: Option<String>| number.is_some_and(|number| number.as_bytes() == text);
    let shape = |allowed: &[u8]| !text.is_empty() && text.iter().all(|b| b.is_ascii_digit() || allowed.contains(b));
    let utf8 = std::str::from_utf8(text).ok();
    match kind {
        Kind::Integer | Kind::Bit => reads_back(
            utf8.and_then(|text| text.parse::<i128>().ok())
                .map(|number| number.to_string()),
        ),
        Kind::Float => reads_back(finite::<f32>(utf8).map(|value| ryu::Buffer::new().format(value).into())),
        Kind::Double => reads_back(finite::<f64>(utf8).map(|value| ryu::Buffer::new().format(value).into())),
        Kind::Decimal => {
            let digits = text.strip_prefix(b"-").unwrap_or(text);
            shape(b"-.")
                && without_leading_zeros(text.to_vec()) == text
                && digits.iter().filter(|b| **b == b'.').count() <= 1
                && digits.first().is_some_and(u8::is_ascii_digit)
                && digits.last().is_some_and(u8::is_ascii_digit)
                && !digits.contains(&b'-')
        }
        Kind::Date => shape(b"-"),
        Kind::Time => shape(b"-:."),
        Kind::DateTime => shape(b"-:. "),
        Kind::Timestamp => shape(b"-:.TZ") && text.ends_with(b"Z") && text.get(10) == Some(&b'T'),
        Kind::Binary => BASE64.decode(text).is_ok(),
        Kind::Characters => utf8.is_some(),
        Kind::Json | Kind::Geometry | Kind::Vector => false,
    }
}

/// The SQL literal that a column of this kind equals exactly when its canonical text is this one, as far as MySQL's
/// comparison goes: collations make it equal others too, so the caller compares canonical texts once more.
pub fn literal(kind: Kind, text: &[u8]) -> String {
    let characters = String::from_utf8_lossy(text);
    match kind {
        Kind::Integer | Kind::Bit | Kind::Decimal | Kind::Double => characters.into_owned(),
        // MySQL compares FLOAT with a literal as doubles, so the literal is the double of the same value.
        Kind::Float => match characters.parse::<f32>() {
            Ok(value) => format!("{:e}", f64::from(value)),
            Err(_) => "NULL".to_owned(),
        },
        Kind::Timestamp => format!("'{}'", characters.trim_end_matches('Z').replacen('T', " ", 1)),
        Kind::Date | Kind::Time | Kind::DateTime => format!("'{characters}'"),
        Kind::Binary => format!("X'{}'", hex(&BASE64.decode(text).unwrap_or_default())),
        Kind::Characters | Kind::Json | Kind::Geometry | Kind::Vector => format!("_utf8mb4 X'{}'", hex(text)),
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

fn finite<F: std::str::FromStr + Into<f64> + Copy>(text: Option<&str>) -> Option<F> {
    text.and_then(|text| text.parse::<F>().ok())
        .filter(|value| (*value).into().is_finite())
}

fn number(printed: &[u8]) -> Result<f64, String> {
    finite(std::str::from_utf8(printed).ok())
        .ok_or_else(|| format!("expected a number, found `{}`", String::from_utf8_lossy(printed)))
}

/// ZEROFILL pads with zeros, which the binlog knows nothing of; the zero before a decimal point stays.
fn without_leading_zeros(mut printed: Vec<u8>) -> Text {
    let start = usize::from(printed.first() == Some(&b'-'));
    let digits = &printed[start..];
    let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
    let surplus = if digits.get(zeros).is_some_and(u8::is_ascii_digit) {
        zeros
    } else {
        zeros.saturating_sub(1)
    };
    if surplus > 0 {
        printed.drain(start..start + surplus);
    }
    printed
}

fn timestamp(mut printed: Vec<u8>) -> Result<Text, String> {
    const SEPARATOR_AT: usize = 10;
    match printed.get_mut(SEPARATOR_AT) {
        Some(separator) if *separator == b' ' => *separator = b'T',
        _ => {
            return Err(format!(
                "expected YYYY-MM-DD HH:MM:SS, found `{}`",
                String::from_utf8_lossy(&printed)
            ));
        }
    }
    printed.push(b'Z');
    Ok(printed)
}

fn geometry(stored: &[u8]) -> Result<Text, String> {
    let (srid, wkb) = stored
        .split_first_chunk::<4>()
        .ok_or_else(|| format!("expected 4 bytes of SRID and the WKB, found {} bytes", stored.len()))?;
    Ok(format!(
        r#"{{"srid":{},"wkb":"{}"}}"#,
        u32::from_le_bytes(*srid),
        BASE64.encode(wkb)
    )
    .into_bytes())
}

fn vector(hexadecimal: &[u8]) -> Result<Text, String> {
    const DIGITS_A_NUMBER: usize = 8;
    let wrong = || "expected the hexadecimal digits of 4-byte floating point numbers".to_owned();
    if !hexadecimal.len().is_multiple_of(DIGITS_A_NUMBER) {
        return Err(wrong());
    }
    let mut text = String::from("[");
    let mut buffer = ryu::Buffer::new();
    for digits in hexadecimal.chunks_exact(DIGITS_A_NUMBER) {
        let bits = std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| u32::from_str_radix(digits, 16).ok());
        // The first byte printed is the lowest.
        let value = f32::from_bits(bits.ok_or_else(wrong)?.swap_bytes());
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(buffer.format(value));
    }
    text.push(']');
    Ok(text.into_bytes())
}

#[cfg(test)]
mod tests;
