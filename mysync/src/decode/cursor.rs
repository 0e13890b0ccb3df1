//! Reading integers and slices off the front of a byte slice, with the place in the event kept for errors.

use super::error::Error;

/// The unread part of some bytes of an event, and where in the event it begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Cursor<'a> {
    /// `offset`: the place of the first byte within the event.
    #[inline]
    pub(crate) fn new(bytes: &'a [u8], offset: usize) -> Cursor<'a> {
        Cursor { bytes, offset }
    }

    #[inline]
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What is left, unread.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    #[inline]
    pub(crate) fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], Error> {
        match self.bytes.split_at_checked(length) {
            Some((taken, rest)) => {
                self.bytes = rest;
                self.offset += length;
                Ok(taken)
            }
            None => Err(Error::truncated(what, length, self.bytes.len()).at(self.offset)),
        }
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Error> {
        match self.bytes.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.bytes = rest;
                self.offset += N;
                Ok(*taken)
            }
            None => Err(Error::truncated(what, N, self.bytes.len()).at(self.offset)),
        }
    }

    #[inline]
    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, Error> {
        Ok(self.array::<1>(what)?[0])
    }

    #[inline]
    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, Error> {
        Ok(u16::from_le_bytes(self.array(what)?))
    }

    #[inline]
    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    #[inline]
    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// An unsigned little-endian integer of 1 to 8 bytes.
    #[inline]
    pub(crate) fn uint(&mut self, length: usize, what: &'static str) -> Result<u64, Error> {
        Ok(little_endian(self.take(length, what)?))
    }

    /// MySQL's length-encoded integer. The markers of NULL (251) and of an error (255) are malformed here.
    #[inline]
    pub(crate) fn packed(&mut self, what: &'static str) -> Result<u64, Error> {
        let offset = self.offset;
        match self.u8(what)? {
            first @ 0..=250 => Ok(u64::from(first)),
            252 => self.uint(2, what),
            253 => self.uint(3, what),
            254 => self.u64(what),
            other => Err(Error::malformed(what, format!("no length-encoded integer starts with {other}")).at(offset)),
        }
    }

    /// A length-encoded integer that counts bytes or items in memory.
    #[inline]
    pub(crate) fn packed_length(&mut self, what: &'static str) -> Result<usize, Error> {
        let offset = self.offset;
        let length = self.packed(what)?;
        usize::try_from(length)
            .map_err(|_| Error::malformed(what, format!("the length {length} fits no memory")).at(offset))
    }

    /// Bytes after their length as a length-encoded integer.
    #[inline]
    pub(crate) fn packed_bytes(&mut self, what: &'static str) -> Result<&'a [u8], Error> {
        let length = self.packed_length(what)?;
        self.take(length, what)
    }

    /// UTF-8 text after its length as a length-encoded integer.
    pub(crate) fn packed_text(&mut self, what: &'static str) -> Result<&'a str, Error> {
        let length = self.packed_length(what)?;
        self.text(length, what)
    }

    pub(crate) fn text(&mut self, length: usize, what: &'static str) -> Result<&'a str, Error> {
        let offset = self.offset;
        std::str::from_utf8(self.take(length, what)?)
            .map_err(|error| Error::malformed(what, format!("no UTF-8: {error}")).at(offset + error.valid_up_to()))
    }
}

/// An unsigned little-endian integer of at most 8 bytes.
#[inline]
pub(crate) fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// An unsigned big-endian integer of at most 8 bytes.
#[inline]
pub(crate) fn big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}
