//! A compressed transaction: all of its events in one, unpacked as a stream.
//!
//! The event that holds them is at most 1 GiB, but what it unpacks to has no limit, so the inner events come one at a time
//! through a buffer that grows with the largest one. They carry no checksum: the outer event's covers them.
//!
//! The packed bytes are given to an [`Unpacker`] as they come: all at once ([`Payload::events`]), or piece by piece
//! ([`super::pieces`]).

use std::ops::Range;

use zstd::stream::raw::{DParameter, Decoder, Operation};

use super::cursor::Cursor;
use super::error::{Error, Reason};
use super::event::{Event, Format, HEADER_BYTES, Header};

/// The largest event that is unpacked: what MySQL's largest packet (1 GiB) can carry.
pub const EVENT_BYTES_MAX: usize = 1 << 30;
/// The largest window that zstd may ask memory for: that of its highest level.
const WINDOW_LOG_MAX: u32 = 27;
/// Unpacked at a time.
const UNPACKED_BYTES: usize = 64 << 10;

const WHAT: &str = "transaction payload event";

/// A compressed transaction.
#[derive(Debug, Clone)]
pub struct Payload<'a> {
    /// Bytes of all its events unpacked, as the server says.
    pub unpacked_bytes: Option<u64>,
    compression: Compression,
    /// The packed bytes, as far as they have come.
    pub(super) data: &'a [u8],
    /// How many there are in all.
    pub(super) data_bytes: usize,
    offset: usize,
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    Zstd,
    None,
}

impl<'a> Payload<'a> {
    /// Fields of type, length and value, up to a type 0; then the data, of which so many bytes have not come yet.
    pub(crate) fn parse(mut cursor: Cursor<'a>, format: &Format, bytes_to_come: usize) -> Result<Payload<'a>, Error> {
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
        let here = cursor.rest().len();
        let data_bytes = size.unwrap_or(here + bytes_to_come);
        if data_bytes > here + bytes_to_come {
            return Err(Error::truncated(WHAT, data_bytes, here + bytes_to_come).at(offset));
        }
        Ok(Payload {
            unpacked_bytes,
            compression,
            data: cursor.take(data_bytes.min(here), WHAT)?,
            data_bytes,
            offset,
            format: format.without_checksum(),
        })
    }

    /// Begins to unpack what has come.
    pub fn events(&self) -> Result<PayloadEvents<'a>, Error> {
        Ok(PayloadEvents {
            unpacker: self.unpacker()?,
            data: self.data,
            is_over: false,
        })
    }

    pub(super) fn unpacker(&self) -> Result<Unpacker, Error> {
        let decoder = match self.compression {
            Compression::None => None,
            Compression::Zstd => {
                let limit = DParameter::WindowLogMax(WINDOW_LOG_MAX);
                let made = Decoder::new().and_then(|mut decoder| decoder.set_parameter(limit).map(|()| decoder));
                Some(made.map_err(|error| zstd_failed(&error, self.offset))?)
            }
        };
        Ok(Unpacker {
            decoder,
            is_frame_open: false,
            is_more_at_hand: false,
            unpacked: vec![0; UNPACKED_BYTES].into(),
            unread: 0..0,
            event: Vec::new(),
            is_complete: false,
            format: self.format.clone(),
            offset: self.offset,
            unpacked_bytes: 0,
            unpacked_bytes_expected: self.unpacked_bytes,
        })
    }
}

fn zstd_failed(error: &std::io::Error, offset: usize) -> Error {
    Error::malformed(WHAT, format!("zstd: {error}")).at(offset)
}

/// Hands out the events of a compressed transaction, each valid until the next one is asked for.
pub struct PayloadEvents<'a> {
    unpacker: Unpacker,
    data: &'a [u8],
    is_over: bool,
}

impl PayloadEvents<'_> {
    /// The next event, `None` after the last. Offsets in its errors are within the inner event. After an error it ends.
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, Error> {
        if self.is_over {
            return Ok(None);
        }
        self.is_over = true;
        if !self.unpacker.advance(&mut self.data)? {
            self.unpacker.finish()?;
            return Ok(None);
        }
        let event = self.unpacker.event()?;
        self.is_over = false;
        Ok(Some(event))
    }
}

/// Makes events of packed bytes.
pub(super) struct Unpacker {
    /// None if the bytes are not packed at all.
    decoder: Option<Decoder<'static>>,
    is_frame_open: bool,
    /// Whether the decoder may have more without being given more.
    is_more_at_hand: bool,
    unpacked: Box<[u8]>,
    /// What has been unpacked and belongs to no event yet.
    unread: Range<usize>,
    /// The event at hand, or as much of it as has come.
    event: Vec<u8>,
    is_complete: bool,
    format: Format,
    offset: usize,
    unpacked_bytes: u64,
    unpacked_bytes_expected: Option<u64>,
}

impl Unpacker {
    /// Goes to the next event; `false` if it takes more than `packed`, which loses what has been used.
    pub(super) fn advance(&mut self, packed: &mut &[u8]) -> Result<bool, Error> {
        if std::mem::take(&mut self.is_complete) {
            self.event.clear();
        }
        loop {
            let missing = self.event_bytes()? - self.event.len();
            let begin = self.unread.start;
            let taken = missing.min(self.unread.len());
            // The buffer grows by what arrives, not by what an event claims.
            self.event.extend_from_slice(&self.unpacked[begin..begin + taken]);
            self.unread.start += taken;
            if self.event.len() >= HEADER_BYTES && self.event.len() == self.event_bytes()? {
                self.is_complete = true;
                return Ok(true);
            }
            if self.unread.is_empty() && !self.unpack(packed)? {
                return Ok(false);
            }
        }
    }

    /// The event that [`Unpacker::advance`] went to.
    pub(super) fn event(&mut self) -> Result<Event<'_>, Error> {
        Event::parse(&self.event, &mut self.format)
    }

    /// To be called when there is no more: an event or a frame that is not complete is an error.
    pub(super) fn finish(&self) -> Result<(), Error> {
        let error = if self.is_frame_open {
            Error::malformed(WHAT, "zstd: incomplete frame".to_owned())
        } else if !self.event.is_empty() && !self.is_complete {
            let what = "inner event of a transaction payload";
            Error::truncated(what, self.event_bytes()?, self.event.len())
        } else {
            return match self.unpacked_bytes_expected {
                Some(expected) if expected != self.unpacked_bytes => {
                    let detail = format!("unpacks to {} bytes, announced were {expected}", self.unpacked_bytes);
                    Err(Error::malformed(WHAT, detail).at(self.offset))
                }
                _ => Ok(()),
            };
        };
        Err(error.at(self.offset))
    }

    /// Bytes of the event at hand; of its header, as long as that has not come.
    fn event_bytes(&self) -> Result<usize, Error> {
        if self.event.len() < HEADER_BYTES {
            return Ok(HEADER_BYTES);
        }
        let size = Header::parse(&self.event)?.size as usize;
        match (HEADER_BYTES..=EVENT_BYTES_MAX).contains(&size) {
            true => Ok(size),
            false => Err(Error::malformed(WHAT, format!("an inner event of {size} bytes")).at(self.offset)),
        }
    }

    /// Unpacks as much as there is room for; `false` if that is nothing, for there is no more.
    fn unpack(&mut self, packed: &mut &[u8]) -> Result<bool, Error> {
        while !packed.is_empty() || self.is_more_at_hand {
            let (read, written) = match &mut self.decoder {
                None => {
                    let bytes = packed.len().min(self.unpacked.len());
                    self.unpacked[..bytes].copy_from_slice(&packed[..bytes]);
                    (bytes, bytes)
                }
                Some(decoder) => {
                    let status = decoder.run_on_buffers(packed, &mut self.unpacked);
                    let status = status.map_err(|error| zstd_failed(&error, self.offset))?;
                    self.is_frame_open = status.remaining != 0;
                    self.is_more_at_hand = self.is_frame_open && status.bytes_written == self.unpacked.len();
                    (status.bytes_read, status.bytes_written)
                }
            };
            *packed = &packed[read..];
            self.unread = 0..written;
            self.unpacked_bytes += written as u64;
            if written > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
