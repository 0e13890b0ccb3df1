//! A compressed transaction: all of its events in one, unpacked as a stream.
//!
//! The event that holds them is at most 1 GiB, but what it unpacks to has no limit, so the inner events come one at a time
//! through a buffer that grows with the largest one. They carry no checksum: the outer event's covers them.

use std::io::{BufReader, Read};

use super::cursor::Cursor;
use super::error::{Error, Reason};
use super::event::{Event, Format, HEADER_BYTES, Header};

/// The largest event that is unpacked: what MySQL's largest packet (1 GiB) can carry.
pub const EVENT_BYTES_MAX: usize = 1 << 30;
/// The largest window that zstd may ask memory for: that of its highest level.
const WINDOW_LOG_MAX: u32 = 27;

const WHAT: &str = "transaction payload event";

/// A compressed transaction.
#[derive(Debug, Clone)]
pub struct Payload<'a> {
    /// Bytes of all its events unpacked, as the server says.
    pub unpacked_bytes: Option<u64>,
    compression: Compression,
    data: &'a [u8],
    offset: usize,
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    Zstd,
    None,
}

impl<'a> Payload<'a> {
    /// Fields of type, length and value, up to a type 0; then the data.
    pub(crate) fn parse(mut cursor: Cursor<'a>, format: &Format) -> Result<Payload<'a>, Error> {
        const FIELD_END: u64 = 0;
        const FIELD_SIZE: u64 = 1;
        const FIELD_COMPRESSION: u64 = 2;
        const FIELD_UNPACKED_SIZE: u64 = 3;
        let (mut size, mut compression, mut unpacked_bytes) = (None, Compression::Zstd, None);
        loop {
            let field = cursor.packed(WHAT)?;
            if field == FIELD_END {
                break;
            }
            let length = cursor.packed_length(WHAT)?;
            let offset = cursor.offset();
            let mut value = Cursor::new(cursor.take(length, WHAT)?, offset);
            match field {
                FIELD_SIZE => size = Some(value.packed_length(WHAT)?),
                FIELD_COMPRESSION => {
                    compression = match value.packed(WHAT)? {
                        0 => Compression::Zstd,
                        255 => Compression::None,
                        other => {
                            let error = Error::new(Reason::Unsupported, WHAT, format!("unknown compression {other}"));
                            let hint = "set binlog_transaction_compression=OFF on the server";
                            return Err(error.at(offset).with_hint(hint));
                        }
                    }
                }
                FIELD_UNPACKED_SIZE => unpacked_bytes = Some(value.packed(WHAT)?),
                _ => {}
            }
        }
        let offset = cursor.offset();
        let data = cursor.take(size.unwrap_or(cursor.rest().len()), WHAT)?;
        Ok(Payload {
            unpacked_bytes,
            compression,
            data,
            offset,
            format: format.without_checksum(),
        })
    }

    /// Begins to unpack.
    pub fn events(&self) -> Result<PayloadEvents<'a>, Error> {
        let source = match self.compression {
            Compression::None => Source::Plain(self.data),
            Compression::Zstd => {
                let mut decoder =
                    zstd::stream::read::Decoder::with_buffer(self.data).map_err(|error| self.failed(&error))?;
                decoder
                    .window_log_max(WINDOW_LOG_MAX)
                    .map_err(|error| self.failed(&error))?;
                Source::Zstd(BufReader::new(decoder))
            }
        };
        let (offset, format) = (self.offset, self.format.clone());
        Ok(PayloadEvents {
            source,
            offset,
            format,
            buffer: Vec::new(),
            unpacked: 0,
            expected: self.unpacked_bytes,
            failed: false,
        })
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        Error::malformed(WHAT, format!("zstd: {error}")).at(self.offset)
    }
}

enum Source<'a> {
    Plain(&'a [u8]),
    Zstd(BufReader<zstd::stream::read::Decoder<'static, &'a [u8]>>),
}

impl Source<'_> {
    /// Reads up to `limit` bytes more into `buffer`, fewer only at the end.
    fn read_to(&mut self, buffer: &mut Vec<u8>, limit: usize) -> std::io::Result<usize> {
        // `read_to_end` grows the buffer by what arrives, not by what an event claims.
        match self {
            Source::Plain(bytes) => bytes.take(limit as u64).read_to_end(buffer),
            Source::Zstd(decoder) => decoder.take(limit as u64).read_to_end(buffer),
        }
    }
}

/// Hands out the events of a compressed transaction, each valid until the next one is asked for.
pub struct PayloadEvents<'a> {
    source: Source<'a>,
    offset: usize,
    format: Format,
    buffer: Vec<u8>,
    unpacked: u64,
    expected: Option<u64>,
    failed: bool,
}

impl PayloadEvents<'_> {
    /// The next event, `None` after the last. Offsets in its errors are within the inner event. After an error it ends.
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, Error> {
        if self.failed {
            return Ok(None);
        }
        self.failed = true;
        if !self.read_event()? {
            return Ok(None);
        }
        let event = Event::parse(&self.buffer, &mut self.format)?;
        self.failed = false;
        Ok(Some(event))
    }

    fn read_event(&mut self) -> Result<bool, Error> {
        self.buffer.clear();
        if self.fill(HEADER_BYTES)? == 0 {
            return match self.expected {
                Some(expected) if expected != self.unpacked => {
                    let detail = format!("unpacks to {} bytes, announced were {expected}", self.unpacked);
                    Err(Error::malformed(WHAT, detail).at(self.offset))
                }
                _ => Ok(false),
            };
        }
        let header = Header::parse(&self.buffer)?;
        let size = header.size as usize;
        if !(HEADER_BYTES..=EVENT_BYTES_MAX).contains(&size) {
            return Err(Error::malformed(WHAT, format!("an inner event of {size} bytes")).at(self.offset));
        }
        self.fill(size - HEADER_BYTES)?;
        if self.buffer.len() < size {
            return Err(
                Error::truncated("inner event of a transaction payload", size, self.buffer.len()).at(self.offset),
            );
        }
        Ok(true)
    }

    fn fill(&mut self, limit: usize) -> Result<usize, Error> {
        let read = self.source.read_to(&mut self.buffer, limit);
        let read = read.map_err(|error| Error::malformed(WHAT, format!("zstd: {error}")).at(self.offset))?;
        self.unpacked += read as u64;
        Ok(read)
    }
}
