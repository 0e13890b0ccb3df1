//! DECIMAL: groups of nine decimal digits in four bytes, big-endian, the incomplete groups at both ends in fewer; the
//! highest bit set for numbers from zero up, all bits inverted for negative ones, so that the bytes compare like the numbers.

use std::fmt;

use super::cursor::big_endian;
use super::error::Error;
use super::write;

/// Decimal digits in a whole group.
const GROUP_DIGITS: usize = 9;
/// Bytes of a group of so many digits.
const GROUP_BYTES: [u8; GROUP_DIGITS + 1] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];
const POWERS_OF_TEN: [u32; GROUP_DIGITS + 1] = [
    1,
    10,
    100,
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
];

/// Bytes of a DECIMAL(precision, scale).
pub(crate) fn bytes(precision: u8, scale: u8) -> u8 {
    let side = |digits: u8| digits / 9 * 4 + GROUP_BYTES[usize::from(digits % 9)];
    side(precision.saturating_sub(scale)) + side(scale)
}

/// Appends the stored form of a number that MySQL printed: all digits of the scale.
pub(crate) fn encode(text: &[u8], precision: u8, scale: u8, out: &mut Vec<u8>) -> Result<(), Error> {
    let refuse = || {
        let text = String::from_utf8_lossy(text);
        Error::malformed("DECIMAL value", format!("{text} for DECIMAL({precision},{scale})"))
    };
    let (negative, magnitude) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, text),
    };
    let mut parts = magnitude.split(|byte| *byte == b'.');
    let (whole, part) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let zeros = whole.iter().take_while(|byte| **byte == b'0').count();
    let whole = &whole[zeros..];
    let whole_digits = usize::from(precision.saturating_sub(scale));
    let are_digits = whole.iter().chain(part).all(u8::is_ascii_digit);
    if !are_digits || parts.next().is_some() || whole.len() > whole_digits || part.len() != usize::from(scale) {
        return Err(refuse());
    }
    let start = out.len();
    let padding = std::iter::repeat_n(b'0', whole_digits - whole.len());
    let digits: Vec<u8> = padding.chain(whole.iter().copied()).collect();
    let (head, groups) = digits.split_at(whole_digits % GROUP_DIGITS);
    for group in std::iter::once(head)
        .chain(groups.chunks(GROUP_DIGITS))
        .chain(part.chunks(GROUP_DIGITS))
    {
        let number = group
            .iter()
            .fold(0_u32, |number, digit| number * 10 + u32::from(digit - b'0'));
        let width = usize::from(GROUP_BYTES[group.len()]);
        out.extend_from_slice(&number.to_be_bytes()[4 - width..]);
    }
    if negative {
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
    match out.get_mut(start) {
        Some(first) => *first ^= 0x80,
        None => return Err(refuse()),
    }
    Ok(())
}

/// A DECIMAL as stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Decimal<'a> {
    bytes: &'a [u8],
    precision: u8,
    scale: u8,
}

impl<'a> Decimal<'a> {
    /// `bytes` must be as many as precision and scale need; else writing it fails.
    pub(crate) fn new(bytes: &'a [u8], precision: u8, scale: u8) -> Decimal<'a> {
        Decimal {
            bytes,
            precision,
            scale,
        }
    }

    /// Digits in all.
    pub fn precision(&self) -> u8 {
        self.precision
    }

    /// Digits after the point.
    pub fn scale(&self) -> u8 {
        self.scale
    }

    /// Appends MySQL's text: all digits of the scale, no zeros in front but one before the point.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        let expected = usize::from(bytes(self.precision, self.scale));
        if self.bytes.len() != expected {
            return Err(Error::truncated("DECIMAL value", expected, self.bytes.len()));
        }
        let Some(first) = self.bytes.first() else {
            return Err(Error::truncated("DECIMAL value", 1, 0));
        };
        let inverted = if first & 0x80 == 0 { 0xff } else { 0 };
        if inverted != 0 {
            out.push(b'-');
        }
        let mut groups = Groups {
            bytes: self.bytes,
            first_flip: 0x80,
            inverted,
        };
        let integer_digits = usize::from(self.precision.saturating_sub(self.scale));
        let start = out.len();
        let head = integer_digits % GROUP_DIGITS;
        if head > 0 {
            significant(out, start, groups.next(head)?);
        }
        for _ in 0..integer_digits / GROUP_DIGITS {
            significant(out, start, groups.next(GROUP_DIGITS)?);
        }
        if out.len() == start {
            out.push(b'0');
        }
        if self.scale > 0 {
            out.push(b'.');
        }
        for _ in 0..usize::from(self.scale) / GROUP_DIGITS {
            write::fixed_digits(out, groups.next(GROUP_DIGITS)?, GROUP_DIGITS);
        }
        let tail = usize::from(self.scale) % GROUP_DIGITS;
        if tail > 0 {
            write::fixed_digits(out, groups.next(tail)?, tail);
        }
        Ok(())
    }
}

/// Appends a group before the point: without zeros in front if it is the first that is not zero.
fn significant(out: &mut Vec<u8>, start: usize, group: u32) {
    if out.len() > start {
        write::fixed_digits(out, group, GROUP_DIGITS);
    } else if group > 0 {
        out.extend_from_slice(itoa::Buffer::new().format(group).as_bytes());
    }
}

struct Groups<'a> {
    bytes: &'a [u8],
    first_flip: u8,
    inverted: u8,
}

impl Groups<'_> {
    fn next(&mut self, digits: usize) -> Result<u32, Error> {
        let length = usize::from(GROUP_BYTES[digits]);
        let Some((group, rest)) = self.bytes.split_at_checked(length) else {
            return Err(Error::truncated("DECIMAL value", length, self.bytes.len()));
        };
        self.bytes = rest;
        let mut plain = [0; 4];
        for (place, byte) in plain.iter_mut().zip(group) {
            *place = byte ^ self.inverted;
        }
        plain[0] ^= std::mem::take(&mut self.first_flip);
        let value = big_endian(&plain[..length]) as u32;
        if value >= POWERS_OF_TEN[digits] {
            return Err(Error::malformed(
                "DECIMAL value",
                format!("{value} in place of {digits} digits"),
            ));
        }
        Ok(value)
    }
}

impl fmt::Display for Decimal<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        self.write(&mut text).map_err(|_| fmt::Error)?;
        out.write_str(&String::from_utf8_lossy(&text))
    }
}

impl fmt::Debug for Decimal<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Decimal({}, {}, {:02x?})", self.precision, self.scale, self.bytes)
    }
}
