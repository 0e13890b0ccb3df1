//! Appending text to a buffer: JSON strings, numbers, base64. This is where most of a row's time goes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::error::{Error, Reason};

/// Bytes looked at together: the compiler turns the loop over them into a few vector instructions.
const CHUNK_BYTES: usize = 16;
/// Bytes of the longest BINARY(n).
const BINARY_BYTES_MAX: usize = 255;

/// The letter that stands after the backslash, `u` for \u00XX, 0 for bytes that stand for themselves.
static ESCAPES: [u8; 256] = {
    let mut escapes = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        escapes[byte] = b'u';
        byte += 1;
    }
    escapes[0x08] = b'b';
    escapes[0x09] = b't';
    escapes[0x0a] = b'n';
    escapes[0x0c] = b'f';
    escapes[0x0d] = b'r';
    escapes[b'"' as usize] = b'"';
    escapes[b'\\' as usize] = b'\\';
    escapes
};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// How many bytes at the beginning need no escape, counted in whole chunks but for the last ones. With `ASCII` they are
/// ASCII too, so that they need no check as UTF-8.
#[inline]
fn plain_prefix<const ASCII: bool>(bytes: &[u8]) -> usize {
    let is_special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\' || (ASCII && byte >= 0x80);
    let (chunks, rest) = bytes.as_chunks::<CHUNK_BYTES>();
    for (index, chunk) in chunks.iter().enumerate() {
        if chunk.iter().fold(false, |special, byte| special | is_special(*byte)) {
            return index * CHUNK_BYTES;
        }
    }
    let plain = rest.iter().position(|byte| is_special(*byte)).unwrap_or(rest.len());
    chunks.len() * CHUNK_BYTES + plain
}

/// How many bytes at the beginning are ASCII that needs no escape in JSON, at least to the last whole chunk.
#[inline]
pub(crate) fn plain_ascii_prefix(bytes: &[u8]) -> usize {
    plain_prefix::<true>(bytes)
}

/// Appends `utf8`, which must be UTF-8, as a JSON string with its quotes.
#[inline]
pub(crate) fn json_string(out: &mut Vec<u8>, utf8: &[u8]) {
    out.push(b'"');
    json_escaped(out, utf8);
    out.push(b'"');
}

/// Appends `utf8`, which must be UTF-8, as the inside of a JSON string.
#[inline]
pub(crate) fn json_escaped(out: &mut Vec<u8>, utf8: &[u8]) {
    let mut rest = utf8;
    loop {
        let (plain, after) = rest.split_at(plain_prefix::<false>(rest));
        out.extend_from_slice(plain);
        // What follows is a chunk with an escape in it, or the end.
        let (chunk, after) = after.split_at(after.len().min(CHUNK_BYTES));
        if chunk.is_empty() {
            return;
        }
        chunk.iter().for_each(|byte| json_byte(out, *byte));
        rest = after;
    }
}

/// Appends bytes that claim to be UTF-8 as a JSON string with its quotes; the error is the place of the first byte that
/// is not.
#[inline]
pub(crate) fn json_string_checked(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), usize> {
    out.push(b'"');
    let (plain, rest) = bytes.split_at(plain_prefix::<true>(bytes));
    out.extend_from_slice(plain);
    if !rest.is_empty() {
        std::str::from_utf8(rest).map_err(|error| plain.len() + error.valid_up_to())?;
        json_escaped(out, rest);
    }
    out.push(b'"');
    Ok(())
}

#[inline]
fn json_byte(out: &mut Vec<u8>, byte: u8) {
    match ESCAPES[usize::from(byte)] {
        0 => out.push(byte),
        b'u' => out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte & 15)]),
        letter => out.extend_from_slice(&[b'\\', letter]),
    }
}

#[inline]
fn hex(digit: u8) -> u8 {
    HEX[usize::from(digit & 15)]
}

/// Appends one character as the inside of a JSON string.
#[inline]
pub(crate) fn json_char(out: &mut Vec<u8>, character: char) {
    if character.is_ascii() {
        json_byte(out, character as u8);
    } else {
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

/// Appends `utf8` as the inside of a JSON string within a JSON string, with its own quotes: each is escaped, and what
/// escapes is escaped again.
pub(crate) fn json_string_nested(out: &mut Vec<u8>, utf8: &[u8]) {
    out.extend_from_slice(b"\\\"");
    let mut rest = utf8;
    loop {
        let (plain, after) = rest.split_at(plain_prefix::<false>(rest));
        out.extend_from_slice(plain);
        let (chunk, after) = after.split_at(after.len().min(CHUNK_BYTES));
        if chunk.is_empty() {
            break;
        }
        for byte in chunk {
            match ESCAPES[usize::from(*byte)] {
                0 => out.push(*byte),
                b'u' => out.extend_from_slice(&[b'\\', b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte & 15)]),
                letter @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', b'\\', b'\\', letter]),
                letter => out.extend_from_slice(&[b'\\', b'\\', letter]),
            }
        }
        rest = after;
    }
    out.extend_from_slice(b"\\\"");
}

/// Appends the shortest text that reads back as the same single.
pub(crate) fn float(out: &mut Vec<u8>, value: f32) -> Result<(), Error> {
    if !value.is_finite() {
        return Err(Error::malformed(
            "FLOAT value",
            format!("{value} is no number that MySQL can hold"),
        ));
    }
    out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
    Ok(())
}

/// Appends the shortest text that reads back as the same double.
pub(crate) fn double(out: &mut Vec<u8>, value: f64) -> Result<(), Error> {
    if !value.is_finite() {
        return Err(Error::malformed(
            "DOUBLE value",
            format!("{value} is no number that MySQL can hold"),
        ));
    }
    out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
    Ok(())
}

/// Appends standard base64 with padding.
pub(crate) fn base64(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Error> {
    let start = out.len();
    let too_long = || {
        Error::new(
            Reason::Unsupported,
            "base64",
            format!("{} bytes fit no memory", bytes.len()),
        )
    };
    let length = base64::encoded_len(bytes.len(), true).ok_or_else(too_long)?;
    out.resize(start + length, 0);
    STANDARD
        .encode_slice(bytes, &mut out[start..])
        .map_err(|_| too_long())?;
    Ok(())
}

/// Appends base64 of the bytes with zeros behind them up to `pad_to`.
pub(crate) fn base64_padded(out: &mut Vec<u8>, bytes: &[u8], pad_to: usize) -> Result<(), Error> {
    if bytes.len() >= pad_to {
        return base64(out, bytes);
    }
    let mut padded = [0; BINARY_BYTES_MAX];
    match (padded.get_mut(..bytes.len()), pad_to <= BINARY_BYTES_MAX) {
        (Some(place), true) => place.copy_from_slice(bytes),
        _ => return Err(Error::malformed("BINARY value", format!("padded to {pad_to} bytes"))),
    }
    base64(out, &padded[..pad_to])
}

/// Appends a number below 100 as two digits.
#[inline]
pub(crate) fn two_digits(out: &mut Vec<u8>, value: u8) {
    out.extend_from_slice(&[b'0' + value / 10 % 10, b'0' + value % 10]);
}

/// Appends a number as exactly `digits` digits, at most 9 of them.
#[inline]
pub(crate) fn fixed_digits(out: &mut Vec<u8>, mut value: u32, digits: usize) {
    let mut text = [b'0'; 9];
    for place in text.iter_mut().take(digits).rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
    }
    // The places are filled from `digits - 1` down.
    out.extend_from_slice(&text[..digits.min(9)]);
}
