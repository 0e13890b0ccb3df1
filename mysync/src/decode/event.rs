//! One event: its header, its checksum, its typed body.

use super::body::{self, Body, FormatDescription};
use super::cursor::Cursor;
use super::error::{Error, Reason};

/// Bytes of an event's header.
pub const HEADER_BYTES: usize = 19;
/// Bytes of the CRC32 at an event's end.
pub const CHECKSUM_BYTES: usize = 4;

/// Byte of the header's size.
const SIZE_OFFSET: usize = 9;
/// Byte of the header's flags, which a server sets in a file's first event while the file is open.
const FLAGS_OFFSET: usize = 17;
const FLAG_BINLOG_IN_USE: u16 = 0x01;
const FLAG_ARTIFICIAL: u16 = 0x20;
const FLAG_IGNORABLE: u16 = 0x80;

/// Whether events end with a CRC32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checksum {
    /// They do not.
    Off,
    /// They do, and it is verified.
    Crc32,
    /// No format description has been read: an event whose last four bytes are the CRC32 of the others has one.
    #[default]
    Undetermined,
}

/// What an event's parser must know of the file the event is in. It comes from the file's format description event, and
/// `Format::default()` reads what a server sends before that one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Format {
    /// Whether events end with a CRC32.
    pub checksum: Checksum,
    /// Bytes of the fixed part of each event type's body, the first for type 1; empty before the format description.
    pub(crate) post_header_bytes: Vec<u8>,
}

impl Format {
    /// The format of the events inside a compressed transaction payload: this one, without checksums.
    pub fn without_checksum(&self) -> Format {
        Format {
            checksum: Checksum::Off,
            post_header_bytes: self.post_header_bytes.clone(),
        }
    }

    /// Bytes of a table id in events of this type: 6, and 4 before MySQL 5.1.4.
    pub(crate) fn table_id_bytes(&self, event_type: EventType) -> usize {
        match usize::from(event_type.0)
            .checked_sub(1)
            .and_then(|index| self.post_header_bytes.get(index))
        {
            Some(6) => 4,
            _ => 6,
        }
    }
}

/// The type byte of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventType(pub u8);

macro_rules! event_types {
    ($($name:ident = $code:literal,)*) => {
        #[allow(missing_docs)]
        impl EventType {
            $(pub const $name: EventType = EventType($code);)*

            /// MySQL's name of the type, where it is one that MySQL 5.6 to 9.7 write.
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

event_types! {
    QUERY = 2,
    STOP = 3,
    ROTATE = 4,
    INTVAR = 5,
    APPEND_BLOCK = 9,
    DELETE_FILE = 11,
    RAND = 13,
    USER_VAR = 14,
    FORMAT_DESCRIPTION = 15,
    XID = 16,
    BEGIN_LOAD_QUERY = 17,
    EXECUTE_LOAD_QUERY = 18,
    TABLE_MAP = 19,
    WRITE_ROWS_V1 = 23,
    UPDATE_ROWS_V1 = 24,
    DELETE_ROWS_V1 = 25,
    INCIDENT = 26,
    HEARTBEAT = 27,
    IGNORABLE = 28,
    ROWS_QUERY = 29,
    WRITE_ROWS = 30,
    UPDATE_ROWS = 31,
    DELETE_ROWS = 32,
    GTID = 33,
    ANONYMOUS_GTID = 34,
    PREVIOUS_GTIDS = 35,
    TRANSACTION_CONTEXT = 36,
    VIEW_CHANGE = 37,
    XA_PREPARE = 38,
    PARTIAL_UPDATE_ROWS = 39,
    TRANSACTION_PAYLOAD = 40,
    HEARTBEAT_V2 = 41,
    GTID_TAGGED = 42,
}

/// The 19 bytes that every event begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Unix time in seconds at which the statement began; 0 in artificial events.
    pub timestamp_seconds: u32,
    /// The event's type.
    pub event_type: EventType,
    /// Server that wrote the event first.
    pub server_id: u32,
    /// Bytes of the event: header, body and checksum.
    pub size: u32,
    /// Position of the next event in the file, modulo 2^32; 0 in artificial events and inside a compressed payload.
    pub next_position: u32,
    /// LOG_EVENT_*_F.
    pub flags: u16,
}

impl Header {
    /// Reads the header alone, for instance to learn how long the event is.
    pub fn parse(bytes: &[u8]) -> Result<Header, Error> {
        let what = "event header";
        let mut cursor = Cursor::new(bytes, 0);
        Ok(Header {
            timestamp_seconds: cursor.u32(what)?,
            event_type: EventType(cursor.u8(what)?),
            server_id: cursor.u32(what)?,
            size: cursor.u32(what)?,
            next_position: cursor.u32(what)?,
            flags: cursor.u16(what)?,
        })
    }

    /// Made by the server for the stream: it is in no file, and the position does not move.
    pub fn is_artificial(&self) -> bool {
        self.flags & FLAG_ARTIFICIAL != 0
    }

    /// A reader that does not know the type may skip the event.
    pub fn is_ignorable(&self) -> bool {
        self.flags & FLAG_IGNORABLE != 0
    }
}

/// An event, borrowed from the bytes it was read from.
#[derive(Debug, Clone)]
pub struct Event<'a> {
    /// Its header.
    pub header: Header,
    /// Its content.
    pub body: Body<'a>,
    /// Header and body as they came, without the checksum.
    content: &'a [u8],
}

impl<'a> Event<'a> {
    /// Parses one event of exactly `bytes`, verifies its checksum, and learns the format if it is a format description.
    ///
    /// Rows stay bytes until they are asked for with their table map.
    pub fn parse(bytes: &'a [u8], format: &mut Format) -> Result<Event<'a>, Error> {
        let header = Header::parse(bytes)?;
        if header.size as usize != bytes.len() {
            let detail = format!("the header says {} bytes, the event has {}", header.size, bytes.len());
            return Err(Error::malformed("event size", detail).at(SIZE_OFFSET));
        }
        let content = match header.event_type {
            EventType::FORMAT_DESCRIPTION => match FormatDescription::checksum_of(bytes)? {
                // The place of the checksum is there, and stale: a server that changes the event for the stream fills it
                // only where checksums are on.
                Checksum::Off => &bytes[..bytes.len() - CHECKSUM_BYTES],
                checksum => verify_checksum(bytes, &header, checksum)?,
            },
            _ => verify_checksum(bytes, &header, format.checksum)?,
        };
        let cursor = Cursor::new(&content[HEADER_BYTES..], HEADER_BYTES);
        let body = body::parse(&header, cursor, format)?;
        if let Body::FormatDescription(description) = &body {
            *format = description.format();
        }
        Ok(Event { header, body, content })
    }

    /// An event of parts that were parsed elsewhere.
    pub(super) fn new(header: Header, body: Body<'a>, content: &'a [u8]) -> Event<'a> {
        Event { header, body, content }
    }

    /// Appends the event to `out` in a form that [`Format::without_checksum`] reads: the same bytes, without a checksum.
    pub fn write_without_checksum(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(self.content);
        // An event is at most 4 GiB, as its header says itself.
        let size = u32::try_from(self.content.len()).unwrap_or(u32::MAX);
        out[begin + SIZE_OFFSET..begin + SIZE_OFFSET + 4].copy_from_slice(&size.to_le_bytes());
    }
}

/// The event without its checksum.
fn verify_checksum<'a>(bytes: &'a [u8], header: &Header, checksum: Checksum) -> Result<&'a [u8], Error> {
    if checksum == Checksum::Off {
        return Ok(bytes);
    }
    let parts = bytes
        .split_last_chunk::<CHECKSUM_BYTES>()
        .filter(|(content, _)| content.len() >= HEADER_BYTES);
    let Some((content, stored)) = parts else {
        return match checksum {
            Checksum::Undetermined => Ok(bytes),
            _ => Err(Error::truncated("event checksum", HEADER_BYTES + CHECKSUM_BYTES, bytes.len()).at(bytes.len())),
        };
    };
    let stored = u32::from_le_bytes(*stored);
    let computed = checksum_of(content, header);
    if stored == computed {
        return Ok(content);
    }
    if checksum == Checksum::Undetermined {
        return Ok(bytes);
    }
    let detail = format!("stored {stored:08x}, computed {computed:08x}");
    Err(Error::new(Reason::Checksum, "event checksum", detail).at(content.len()))
}

/// The CRC32 of an event. The flag that says a file is open is changed in place when the file is closed, so it counts as 0.
fn checksum_of(content: &[u8], header: &Header) -> u32 {
    if header.event_type != EventType::FORMAT_DESCRIPTION || header.flags & FLAG_BINLOG_IN_USE == 0 {
        return crc32fast::hash(content);
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&content[..FLAGS_OFFSET]);
    hasher.update(&(header.flags & !FLAG_BINLOG_IN_USE).to_le_bytes());
    hasher.update(&content[HEADER_BYTES..]);
    hasher.finalize()
}
