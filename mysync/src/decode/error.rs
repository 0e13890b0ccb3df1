//! What can be wrong with bytes that a server sent, and what to do about it.

use std::borrow::Cow;
use std::fmt;

/// Why bytes could not be decoded, sorted by what to do about it. None of them goes away by trying the same bytes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The event ends before its content does.
    Truncated,
    /// The bytes contradict the format.
    Malformed,
    /// The CRC32 at the end of the event is not that of its bytes.
    Checksum,
    /// The bytes are right, but say something that cannot be decoded exactly.
    Unsupported,
    /// The bytes of a text column are no text in the column's character set.
    Text,
    /// The Table_map event carries too little to decode the rows.
    Metadata,
}

impl Reason {
    fn hint(self) -> &'static str {
        match self {
            Reason::Truncated | Reason::Malformed | Reason::Checksum => {
                "check the file on the server with `mysqlbinlog --verify-binlog-checksum`; if it is sound there, read again from the last checkpoint"
            }
            Reason::Unsupported => "the server uses a feature that must be switched off for this table",
            Reason::Text => "correct the row on the server, or convert the column to utf8mb4",
            Reason::Metadata => {
                "set binlog_row_metadata=FULL on the server (8.0 and later), or supply the columns from the schema history"
            }
        }
    }
}

/// An event that could not be decoded: what, detail, the byte within the event where that was seen, and the remedy.
///
/// The file and the position of the event are the reader's to add: the decoder does not know them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(Box<Fault>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault {
    reason: Reason,
    what: &'static str,
    detail: String,
    column: Option<String>,
    offset: Option<usize>,
    hint: Cow<'static, str>,
}

impl Error {
    #[cold]
    pub(crate) fn new(reason: Reason, what: &'static str, detail: impl Into<String>) -> Error {
        Error(Box::new(Fault {
            reason,
            what,
            detail: detail.into(),
            column: None,
            offset: None,
            hint: Cow::Borrowed(reason.hint()),
        }))
    }

    #[cold]
    pub(crate) fn malformed(what: &'static str, detail: impl Into<String>) -> Error {
        Error::new(Reason::Malformed, what, detail)
    }

    #[cold]
    pub(crate) fn truncated(what: &'static str, wanted: usize, left: usize) -> Error {
        Error::new(Reason::Truncated, what, format!("wanted {wanted} bytes, left {left}"))
    }

    pub(crate) fn at(mut self, offset: usize) -> Error {
        self.0.offset.get_or_insert(offset);
        self
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Error {
        self.0.hint = hint.into();
        self
    }

    /// Names the column that the error was met in, unless one is named already.
    #[cold]
    pub fn in_column(mut self, database: &str, table: &str, column: &str) -> Error {
        self.0
            .column
            .get_or_insert_with(|| format!("{database}.{table}.{column}"));
        self
    }

    /// Why, sorted by what to do about it.
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// The byte within the event (0 is the first byte of its header) at which it was seen, where that is known.
    pub fn offset(&self) -> Option<usize> {
        self.0.offset
    }

    /// `database.table.column`, where the error concerns one column.
    pub fn column(&self) -> Option<&str> {
        self.0.column.as_deref()
    }

    /// The remedy.
    pub fn hint(&self) -> &str {
        &self.0.hint
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = &self.0;
        write!(out, "{}: {}", fault.what, fault.detail)?;
        if let Some(column) = &fault.column {
            write!(out, ", column {column}")?;
        }
        if let Some(offset) = fault.offset {
            write!(out, ", at byte {offset} of the event")?;
        }
        write!(out, "; hint: {}", fault.hint)
    }
}

impl std::error::Error for Error {}
