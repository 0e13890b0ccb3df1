//! MySQL's binary JSON, printed as MySQL prints it: `{"a": 1, "b": [true, 2.5]}`.
//!
//! A document is a type byte and a value. Objects and arrays hold a count, their size, and entries that point to keys and
//! values by offsets from their own beginning, of two bytes in small documents and four in large ones; small scalars stand
//! in the entry itself. Since offsets may point anywhere, two entries could share a value, and a few bytes could mean an
//! endless text: every entry and every string is therefore paid for from a budget of the document's own length. A depth
//! beyond MySQL's own limit ends with an error before the stack would.

use super::cursor::little_endian;
use super::error::Error;
use super::json_scalar;
use super::write;

/// Containers within containers that MySQL lets a document have.
const DEPTH_MAX: usize = 100;

const WHAT: &str = "JSON value";

const SMALL_OBJECT: u8 = 0;
const LARGE_OBJECT: u8 = 1;
const SMALL_ARRAY: u8 = 2;
const LARGE_ARRAY: u8 = 3;
const LITERAL: u8 = 4;
const INT16: u8 = 5;
const UINT16: u8 = 6;
const INT32: u8 = 7;
const UINT32: u8 = 8;
const INT64: u8 = 9;
const UINT64: u8 = 10;
const DOUBLE: u8 = 11;
const STRING: u8 = 12;
const OPAQUE: u8 = 15;

/// Appends the document's text, escaped for the inside of a JSON string.
pub(crate) fn write_escaped(document: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let Some((kind, value)) = document.split_first() else {
        // What an invalid value became where errors were ignored: MySQL prints it as null.
        out.extend_from_slice(b"null");
        return Ok(());
    };
    Printer {
        out,
        budget: document.len(),
    }
    .value(*kind, value, 0)
}

struct Printer<'o> {
    out: &'o mut Vec<u8>,
    budget: usize,
}

/// An object or array: its bytes from the count on, and how wide its numbers are.
#[derive(Clone, Copy)]
struct Container<'a> {
    bytes: &'a [u8],
    is_object: bool,
    width: usize,
    count: usize,
}

impl Printer<'_> {
    fn value(&mut self, kind: u8, bytes: &[u8], depth: usize) -> Result<(), Error> {
        match kind {
            SMALL_OBJECT | LARGE_OBJECT | SMALL_ARRAY | LARGE_ARRAY => self.container(kind, bytes, depth),
            LITERAL => self.literal(take(bytes, 0, 1)?[0]),
            INT16 => self.signed(take(bytes, 0, 2)?),
            INT32 => self.signed(take(bytes, 0, 4)?),
            INT64 => self.signed(take(bytes, 0, 8)?),
            UINT16 => self.unsigned(take(bytes, 0, 2)?),
            UINT32 => self.unsigned(take(bytes, 0, 4)?),
            UINT64 => self.unsigned(take(bytes, 0, 8)?),
            DOUBLE => json_scalar::write_double(f64::from_bits(little_endian(take(bytes, 0, 8)?)), self.out),
            STRING => {
                let text = self.counted(bytes)?;
                self.string(text)
            }
            OPAQUE => {
                let Some((field_type, bytes)) = bytes.split_first() else {
                    return Err(Error::truncated(WHAT, 1, 0));
                };
                let data = self.counted(bytes)?;
                json_scalar::write_opaque(*field_type, data, self.out)
            }
            other => Err(Error::malformed(WHAT, format!("unknown type {other}"))),
        }
    }

    fn literal(&mut self, literal: u8) -> Result<(), Error> {
        let text: &[u8] = match literal {
            0 => b"null",
            1 => b"true",
            2 => b"false",
            other => return Err(Error::malformed(WHAT, format!("unknown literal {other}"))),
        };
        self.out.extend_from_slice(text);
        Ok(())
    }

    fn signed(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let spare_bits = 64 - 8 * bytes.len().clamp(1, 8);
        let value = (little_endian(bytes) << spare_bits) as i64 >> spare_bits;
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        Ok(())
    }

    fn unsigned(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out
            .extend_from_slice(itoa::Buffer::new().format(little_endian(bytes)).as_bytes());
        Ok(())
    }

    fn string(&mut self, text: &[u8]) -> Result<(), Error> {
        if let Err(error) = std::str::from_utf8(text) {
            return Err(Error::malformed(WHAT, format!("a string is no UTF-8: {error}")));
        }
        write::json_string_nested(self.out, text);
        Ok(())
    }

    /// Bytes after their number: seven bits a byte, the lowest first, the highest bit set in all but the last.
    fn counted<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Error> {
        const LENGTH_BYTES_MAX: usize = 5;
        let mut length = 0_u64;
        for (index, byte) in bytes.iter().take(LENGTH_BYTES_MAX).enumerate() {
            length |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                self.pay(length)?;
                return take(bytes, index + 1, length);
            }
        }
        Err(Error::malformed(WHAT, "a length without end"))
    }

    fn pay(&mut self, bytes: usize) -> Result<(), Error> {
        match self.budget.checked_sub(bytes) {
            Some(left) => {
                self.budget = left;
                Ok(())
            }
            None => Err(Error::malformed(WHAT, "more content than the document has bytes")),
        }
    }

    fn container(&mut self, kind: u8, bytes: &[u8], depth: usize) -> Result<(), Error> {
        if depth >= DEPTH_MAX {
            return Err(Error::malformed(WHAT, format!("deeper than {DEPTH_MAX} containers")));
        }
        let container = Container::parse(kind, bytes)?;
        self.pay(container.count * container.entry_bytes())?;
        self.out.push(if container.is_object { b'{' } else { b'[' });
        for index in 0..container.count {
            if index > 0 {
                self.out.extend_from_slice(b", ");
            }
            if container.is_object {
                let key = container.key(index)?;
                self.pay(key.len())?;
                self.string(key)?;
                self.out.extend_from_slice(b": ");
            }
            let (kind, value) = container.value(index)?;
            self.value(kind, value, depth + 1)?;
        }
        self.out.push(if container.is_object { b'}' } else { b']' });
        Ok(())
    }
}

impl<'a> Container<'a> {
    fn parse(kind: u8, bytes: &'a [u8]) -> Result<Container<'a>, Error> {
        let width = if matches!(kind, SMALL_OBJECT | SMALL_ARRAY) {
            2
        } else {
            4
        };
        let count = number(bytes, 0, width)?;
        let size = number(bytes, width, width)?;
        let is_object = matches!(kind, SMALL_OBJECT | LARGE_OBJECT);
        let container = Container {
            bytes: take(bytes, 0, size)?,
            is_object,
            width,
            count,
        };
        let needed = count
            .checked_mul(container.entry_bytes())
            .and_then(|entries| entries.checked_add(2 * width));
        match needed {
            Some(needed) if needed <= size => Ok(container),
            _ => Err(Error::malformed(
                WHAT,
                format!("{count} entries in a container of {size} bytes"),
            )),
        }
    }

    /// An offset and a length for the key; a type, and an offset or the value itself.
    fn entry_bytes(&self) -> usize {
        1 + self.width + if self.is_object { self.width + 2 } else { 0 }
    }

    fn key(&self, index: usize) -> Result<&'a [u8], Error> {
        let entry = 2 * self.width + index * (self.width + 2);
        let offset = number(self.bytes, entry, self.width)?;
        let length = number(self.bytes, entry + self.width, 2)?;
        take(self.bytes, offset, length)
    }

    fn value(&self, index: usize) -> Result<(u8, &'a [u8]), Error> {
        let keys = if self.is_object {
            self.count * (self.width + 2)
        } else {
            0
        };
        let entry = 2 * self.width + keys + index * (1 + self.width);
        let kind = take(self.bytes, entry, 1)?[0];
        let inlined = match kind {
            LITERAL | INT16 | UINT16 => true,
            INT32 | UINT32 => self.width == 4,
            _ => false,
        };
        if inlined {
            return Ok((kind, take(self.bytes, entry + 1, self.width)?));
        }
        let offset = number(self.bytes, entry + 1, self.width)?;
        match self.bytes.get(offset..) {
            Some(value) => Ok((kind, value)),
            None => Err(Error::truncated(WHAT, offset, self.bytes.len())),
        }
    }
}

fn take(bytes: &[u8], start: usize, length: usize) -> Result<&[u8], Error> {
    let end = start.checked_add(length);
    end.and_then(|end| bytes.get(start..end))
        .ok_or_else(|| Error::truncated(WHAT, length, bytes.len().saturating_sub(start)))
}

/// An unsigned number of 2 or 4 bytes.
fn number(bytes: &[u8], start: usize, width: usize) -> Result<usize, Error> {
    Ok(little_endian(take(bytes, start, width)?) as usize)
}
