//! The three events that say GTIDs: with and without a tag, and the list at a file's start.

use std::fmt;

use super::cursor::Cursor;
use super::error::Error;

/// Bytes of a server's UUID.
const UUID_BYTES: usize = 16;
/// Bytes of the longest tag.
const TAG_BYTES_MAX: usize = 32;

/// A server's UUID; prints as MySQL prints it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; UUID_BYTES]);

impl fmt::Display for Uuid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let (mut text, mut length) = ([b'-'; 36], 0);
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                length += 1;
            }
            text[length] = DIGITS[usize::from(byte >> 4)];
            text[length + 1] = DIGITS[usize::from(byte & 15)];
            length += 2;
        }
        // All of it is ASCII.
        out.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// The beginning of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gtid<'a> {
    /// Server that ran the transaction first; zeros when anonymous.
    pub source: Uuid,
    /// Tag, empty for none (8.3 and later).
    pub tag: &'a str,
    /// Number of the transaction within source and tag, from 1; 0 when anonymous.
    pub number: u64,
    /// The transaction has no GTID.
    pub anonymous: bool,
    /// Sequence number of the last transaction that this one depends on; 0 before 5.7.
    pub last_committed: u64,
    /// Position in the order of commits within the file; 0 before 5.7.
    pub sequence_number: u64,
    /// Commit on the server that is read, Unix microseconds; 0 before 8.0.
    pub immediate_commit_microseconds: u64,
    /// Commit on the server where it ran first, Unix microseconds; 0 before 8.0 or when unknown.
    pub original_commit_microseconds: u64,
    /// Bytes of all events of the transaction, this one included; 0 before 8.0.
    pub transaction_bytes: u64,
}

impl fmt::Display for Gtid<'_> {
    /// `source:number`, `source:tag:number` or `ANONYMOUS`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.anonymous, self.tag) {
            (true, _) => out.write_str("ANONYMOUS"),
            (false, "") => write!(out, "{}:{}", self.source, self.number),
            (false, tag) => write!(out, "{}:{tag}:{}", self.source, self.number),
        }
    }
}

impl<'a> Gtid<'a> {
    const NONE: Gtid<'static> = Gtid {
        source: Uuid([0; UUID_BYTES]),
        tag: "",
        number: 0,
        anonymous: false,
        last_committed: 0,
        sequence_number: 0,
        immediate_commit_microseconds: 0,
        original_commit_microseconds: 0,
        transaction_bytes: 0,
    };

    /// The event has grown at its end with every version; what is not there is 0.
    pub(crate) fn parse(mut cursor: Cursor<'a>, anonymous: bool) -> Result<Gtid<'a>, Error> {
        const LOGICAL_CLOCK: u8 = 2;
        const HAS_ORIGINAL: u64 = 1 << 55;
        let what = "GTID event";
        let _flags = cursor.u8(what)?;
        let source = Uuid(cursor.array(what)?);
        let number = cursor.u64(what)?;
        let mut gtid = Gtid {
            source,
            number,
            anonymous,
            ..Gtid::NONE
        };
        if cursor.rest().first() != Some(&LOGICAL_CLOCK) {
            return Ok(gtid);
        }
        cursor.u8(what)?;
        gtid.last_committed = cursor.u64(what)?;
        gtid.sequence_number = cursor.u64(what)?;
        if cursor.rest().len() >= 7 {
            let immediate = cursor.uint(7, what)?;
            gtid.immediate_commit_microseconds = immediate & !HAS_ORIGINAL;
            gtid.original_commit_microseconds = if immediate & HAS_ORIGINAL != 0 {
                cursor.uint(7, what)?
            } else {
                immediate
            };
        }
        if !cursor.is_empty() {
            gtid.transaction_bytes = cursor.packed(what)?;
        }
        Ok(gtid)
    }

    /// The tagged event is written in MySQL's serialization format: numbered fields of variable-length integers. Numbers
    /// above the last one that matters may be skipped, but carry no length, so reading ends at the first unknown one.
    pub(crate) fn parse_tagged(mut cursor: Cursor<'a>) -> Result<Gtid<'a>, Error> {
        const VERSION: u64 = 1;
        let what = "tagged GTID event";
        let start = cursor.offset();
        let version = variable(&mut cursor, what)?;
        if version != VERSION {
            let detail = format!("unknown version {version} of MySQL's serialization format");
            return Err(Error::malformed(what, detail).at(start));
        }
        let size_offset = cursor.offset();
        let size = variable(&mut cursor, what)?;
        let last_field_that_matters = variable(&mut cursor, what)?;
        let used = cursor.offset() - start;
        let length = usize::try_from(size).ok().and_then(|size| size.checked_sub(used));
        let Some(length) = length else {
            return Err(Error::malformed(what, format!("a size of {size} bytes, {used} are used up")).at(size_offset));
        };
        let fields_offset = cursor.offset();
        let mut fields = Cursor::new(cursor.take(length, what)?, fields_offset);
        let mut gtid = Gtid::NONE;
        let mut original = None;
        while !fields.is_empty() {
            let offset = fields.offset();
            match variable(&mut fields, what)? {
                0 | 9 | 10 | 11 => drop(variable(&mut fields, what)?),
                1 => gtid.source = tagged_uuid(&mut fields)?,
                2 => gtid.number = variable_signed(&mut fields, what)?,
                3 => gtid.tag = tagged_tag(&mut fields)?,
                4 => gtid.last_committed = variable_signed(&mut fields, what)?,
                5 => gtid.sequence_number = variable_signed(&mut fields, what)?,
                6 => gtid.immediate_commit_microseconds = variable(&mut fields, what)?,
                7 => original = Some(variable(&mut fields, what)?),
                8 => gtid.transaction_bytes = variable(&mut fields, what)?,
                field if field > last_field_that_matters => break,
                field => return Err(Error::malformed(what, format!("unknown field {field}")).at(offset)),
            }
        }
        gtid.original_commit_microseconds = original.unwrap_or(gtid.immediate_commit_microseconds);
        Ok(gtid)
    }
}

fn tagged_uuid(fields: &mut Cursor<'_>) -> Result<Uuid, Error> {
    let what = "tagged GTID event's UUID";
    let mut uuid = [0; UUID_BYTES];
    for byte in &mut uuid {
        let offset = fields.offset();
        let value = variable(fields, what)?;
        *byte = u8::try_from(value).map_err(|_| Error::malformed(what, format!("{value} is no byte")).at(offset))?;
    }
    Ok(Uuid(uuid))
}

fn tagged_tag<'a>(fields: &mut Cursor<'a>) -> Result<&'a str, Error> {
    let what = "tagged GTID event's tag";
    let offset = fields.offset();
    let length = variable(fields, what)?;
    match usize::try_from(length) {
        Ok(length) if length <= TAG_BYTES_MAX => fields.text(length, what),
        _ => Err(Error::malformed(what, format!("{length} bytes, at most {TAG_BYTES_MAX} are possible")).at(offset)),
    }
}

/// An integer of 1 to 9 bytes: the ones at the low end of the first byte count the bytes that follow it.
fn variable(cursor: &mut Cursor<'_>, what: &'static str) -> Result<u64, Error> {
    let first = cursor.u8(what)?;
    let following = first.trailing_ones() as usize;
    let high = cursor.uint(following, what)?;
    let low_bits = 7usize.saturating_sub(following);
    let low = if low_bits == 0 {
        0
    } else {
        u64::from(first) >> (following + 1)
    };
    Ok(high << low_bits | low)
}

/// A signed one, whose sign is its lowest bit. None of the fields can be negative.
fn variable_signed(cursor: &mut Cursor<'_>, what: &'static str) -> Result<u64, Error> {
    let offset = cursor.offset();
    let value = variable(cursor, what)?;
    if value & 1 != 0 {
        return Err(Error::malformed(what, "a negative number").at(offset));
    }
    Ok(value >> 1)
}

/// The GTIDs of all files before this one.
#[derive(Debug, Clone, Copy)]
pub struct PreviousGtids<'a> {
    cursor: Cursor<'a>,
}

/// Transactions of one source and tag that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GtidInterval<'a> {
    /// Server that ran them first.
    pub source: Uuid,
    /// Their tag, empty for none.
    pub tag: &'a str,
    /// Number of the first one.
    pub first: u64,
    /// Number of the last one.
    pub last: u64,
}

impl<'a> PreviousGtids<'a> {
    pub(crate) fn new(cursor: Cursor<'a>) -> PreviousGtids<'a> {
        PreviousGtids { cursor }
    }

    /// The set as MySQL encodes it, which is also the form that COM_BINLOG_DUMP_GTID takes.
    pub fn bytes(&self) -> &'a [u8] {
        self.cursor.rest()
    }

    /// All intervals of the set, in its order.
    pub fn intervals(&self) -> Result<Vec<GtidInterval<'a>>, Error> {
        let what = "previous GTIDs event";
        let mut cursor = self.cursor;
        let head = cursor.u64(what)?;
        // The highest byte tells the two formats apart: with tags, the count stands between it and the lowest byte.
        let tagged = head >> 56 == 1;
        let sources = if tagged { head >> 8 & 0xffff_ffff_ffff } else { head };
        let mut intervals = Vec::new();
        for _ in 0..sources {
            let source = Uuid(cursor.array(what)?);
            let tag = if tagged { tagged_tag(&mut cursor)? } else { "" };
            for _ in 0..cursor.u64(what)? {
                let offset = cursor.offset();
                let (first, end) = (cursor.u64(what)?, cursor.u64(what)?);
                if first == 0 || end <= first {
                    return Err(Error::malformed(what, format!("an interval from {first} to before {end}")).at(offset));
                }
                intervals.push(GtidInterval {
                    source,
                    tag,
                    first,
                    last: end - 1,
                });
            }
        }
        Ok(intervals)
    }
}
