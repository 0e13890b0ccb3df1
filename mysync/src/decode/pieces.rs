//! A compressed transaction whose event comes in pieces, for it is too large to be held as a whole.
//!
//! Its checksum comes last, behind all that it covers. So rows are known before they are known to be right: whoever takes them
//! may make them final only after [`Pieces::finish`].

use super::body::Body;
use super::cursor::Cursor;
use super::error::{Error, Reason};
use super::event::{CHECKSUM_BYTES, Checksum, Event, EventType, Format, HEADER_BYTES, Header};
use super::payload::{Payload, Unpacker};

const WHAT: &str = "transaction payload event in pieces";

/// What has come of the event.
pub struct Pieces {
    unpacker: Unpacker,
    /// The packed bytes that have not come.
    data_bytes_left: usize,
    /// Header and body that have not come.
    content_bytes_left: usize,
    checksum: Option<RunningChecksum>,
}

struct RunningChecksum {
    computed: crc32fast::Hasher,
    stored: Vec<u8>,
    offset: usize,
}

impl Pieces {
    /// Whether these bytes are the first piece of such an event.
    pub fn begin_in(bytes: &[u8]) -> bool {
        let header = Header::parse(bytes);
        header.is_ok_and(|header| {
            header.event_type == EventType::TRANSACTION_PAYLOAD && header.size as usize > bytes.len()
        })
    }

    /// Takes the first piece, which holds at least what stands before the packed bytes. Gives the event, and the packed bytes
    /// that came with it.
    pub fn begin<'a>(piece: &'a [u8], format: &Format) -> Result<(Self, Event<'a>, &'a [u8]), Error> {
        let header = Header::parse(piece)?;
        let checksum_bytes = match format.checksum {
            Checksum::Off => 0,
            Checksum::Crc32 => CHECKSUM_BYTES,
            Checksum::Undetermined => {
                return Err(Error::malformed(
                    WHAT,
                    "it comes before the format description".to_owned(),
                ));
            }
        };
        let content_bytes = (header.size as usize).saturating_sub(checksum_bytes);
        let content = &piece[..piece.len().min(content_bytes)];
        let body = content.get(HEADER_BYTES..).unwrap_or_default();
        let cursor = Cursor::new(body, HEADER_BYTES);
        let payload = Payload::parse(cursor, format, content_bytes - content.len())?;
        let mut pieces = Self {
            unpacker: payload.unpacker()?,
            data_bytes_left: payload.data_bytes - payload.data.len(),
            content_bytes_left: content_bytes,
            checksum: (checksum_bytes > 0).then(|| RunningChecksum {
                computed: crc32fast::Hasher::new(),
                stored: Vec::new(),
                offset: content_bytes,
            }),
        };
        pieces.count(piece)?;
        let data = payload.data;
        let body = Body::TransactionPayload(payload);
        Ok((pieces, Event::new(header, body, content), data))
    }

    /// Takes the next piece and gives the packed bytes in it.
    pub fn take<'a>(&mut self, piece: &'a [u8]) -> Result<&'a [u8], Error> {
        self.count(piece)?;
        let data = &piece[..piece.len().min(self.data_bytes_left)];
        self.data_bytes_left -= data.len();
        Ok(data)
    }

    fn count(&mut self, piece: &[u8]) -> Result<(), Error> {
        let (content, rest) = piece.split_at(piece.len().min(self.content_bytes_left));
        self.content_bytes_left -= content.len();
        let mut bytes_too_many = rest.len();
        if let Some(checksum) = &mut self.checksum {
            checksum.computed.update(content);
            let stored = rest.len().min(CHECKSUM_BYTES - checksum.stored.len());
            checksum.stored.extend_from_slice(&rest[..stored]);
            bytes_too_many -= stored;
        }
        match bytes_too_many {
            0 => Ok(()),
            _ => Err(Error::malformed(WHAT, format!("{bytes_too_many} bytes too many"))),
        }
    }

    /// Goes to the next event in the packed bytes at hand, which lose what has been used; `false` if they hold no more.
    pub fn advance(&mut self, data: &mut &[u8]) -> Result<bool, Error> {
        self.unpacker.advance(data)
    }

    /// The event that [`Pieces::advance`] went to. Offsets in its errors are within it.
    pub fn event(&mut self) -> Result<Event<'_>, Error> {
        self.unpacker.event()
    }

    /// Whether all pieces have come.
    pub fn is_complete(&self) -> bool {
        let checksum = self.checksum.as_ref();
        self.content_bytes_left == 0 && checksum.is_none_or(|checksum| checksum.stored.len() == CHECKSUM_BYTES)
    }

    /// To be called when all pieces have come and all events been taken: verifies what can only be verified now.
    pub fn finish(self) -> Result<(), Error> {
        if let Some(RunningChecksum {
            computed,
            stored,
            offset,
        }) = self.checksum
        {
            let computed = computed.finalize();
            if stored != computed.to_le_bytes() {
                let stored: String = stored.iter().rev().map(|byte| format!("{byte:02x}")).collect();
                let detail = format!("stored {stored}, computed {computed:08x}");
                return Err(Error::new(Reason::Checksum, "event checksum", detail).at(offset));
            }
        }
        self.unpacker.finish()
    }
}
