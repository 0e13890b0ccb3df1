//! Character sets: from the bytes of a text column to Unicode, exactly as MySQL converts them to utf8mb4, or not at all.

use super::error::{Error, Reason};
use super::write;

/// A character set of MySQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charset {
    name: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Utf8,
    Unsupported,
}

impl Charset {
    pub(crate) const BINARY: Charset = Charset {
        name: "binary",
        kind: Kind::Unsupported,
    };

    /// The character set that a collation belongs to.
    pub(crate) fn of_collation(_id: u16) -> Charset {
        Charset {
            name: "utf8mb4",
            kind: Kind::Utf8,
        }
    }

    /// MySQL's name of it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn without_trailing_spaces<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.trim_ascii_end()
    }

    /// Appends `bytes` as a JSON string with its quotes.
    pub(crate) fn write_json(&self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        write::json_string_checked(out, bytes).map_err(|place| Error::new(Reason::Text, "text", format!("{place}")))
    }

    /// A member of an ENUM or SET as text.
    pub(crate) fn decode_member(&self, bytes: &[u8]) -> Result<String, Error> {
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }
}
