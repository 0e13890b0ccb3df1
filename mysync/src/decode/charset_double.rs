//! The character sets of ASCII and characters of two bytes or more: the Chinese, Japanese and Korean ones.
//!
//! Their characters come from `encoding_rs` where it agrees with MySQL, which is nearly everywhere, and from runs of exceptions
//! where it does not: codes that MySQL maps to other characters (gb2312's dot, the wave dash of sjis and ujis, user-defined
//! ranges) or to none. Each character set is worked out into a table the first time that a column uses it.

use std::sync::LazyLock;

use super::charset::NoCharacter;
use super::charset_exceptions::{self as exceptions, Run};

/// A character set of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Double {
    Big5,
    Cp932,
    Eucjpms,
    Euckr,
    Gb18030,
    Gb2312,
    Gbk,
    Sjis,
    Ujis,
}

/// Characters by code. All of them are in the Basic Multilingual Plane; 0 stands for none.
struct Table {
    /// Single bytes from 0x80.
    one: [u16; 0x80],
    /// Two bytes from 0x8000, less 0x8000.
    two: Vec<u16>,
    /// Three bytes from 0x8f8000, less 0x8f8000; empty where there are none.
    three: Vec<u16>,
}

/// Byte that three-byte characters begin with.
const THREE_BYTES: u8 = 0x8f;

static BIG5: LazyLock<Table> = LazyLock::new(|| Table::new(encoding_rs::BIG5, exceptions::BIG5, false));
static CP932: LazyLock<Table> = LazyLock::new(|| Table::new(encoding_rs::SHIFT_JIS, exceptions::CP932, false));
static EUCJPMS: LazyLock<Table> = LazyLock::new(|| Table::new(encoding_rs::EUC_JP, exceptions::EUCJPMS, true));
static EUCKR: LazyLock<Table> = LazyLock::new(|| Table::new(encoding_rs::EUC_KR, &[], false));
static GB18030: LazyLock<Table> = LazyLock::new(|| Table::new(encoding_rs::GB18030, exceptions::GB18030, false));
static GB2312: LazyLock<Table> = LazyLock::new(|| Table::new(encoding_rs::GBK, exceptions::GB2312, false));
static GBK: LazyLock<Table> = LazyLock::new(|| Table::new(encoding_rs::GBK, exceptions::GBK, false));
static SJIS: LazyLock<Table> = LazyLock::new(|| Table::new(encoding_rs::SHIFT_JIS, exceptions::SJIS, false));
static UJIS: LazyLock<Table> = LazyLock::new(|| Table::new(encoding_rs::EUC_JP, exceptions::UJIS, true));

impl Double {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Double::Big5 => "big5",
            Double::Cp932 => "cp932",
            Double::Eucjpms => "eucjpms",
            Double::Euckr => "euckr",
            Double::Gb18030 => "gb18030",
            Double::Gb2312 => "gb2312",
            Double::Gbk => "gbk",
            Double::Sjis => "sjis",
            Double::Ujis => "ujis",
        }
    }

    fn table(self) -> &'static Table {
        match self {
            Double::Big5 => &BIG5,
            Double::Cp932 => &CP932,
            Double::Eucjpms => &EUCJPMS,
            Double::Euckr => &EUCKR,
            Double::Gb18030 => &GB18030,
            Double::Gb2312 => &GB2312,
            Double::Gbk => &GBK,
            Double::Sjis => &SJIS,
            Double::Ujis => &UJIS,
        }
    }

    pub(crate) fn decode(self, bytes: &[u8], sink: &mut impl FnMut(char)) -> Result<(), NoCharacter> {
        let table = self.table();
        let mut rest = bytes;
        while let Some((first, after)) = rest.split_first() {
            let (character, after) = if first.is_ascii() {
                (Some(char::from(*first)), after)
            } else if self == Double::Gb18030 && after.first().is_some_and(u8::is_ascii_digit) {
                let (code, after) = rest.split_at(rest.len().min(4));
                (four_bytes(code), after)
            } else {
                table.take(*first, after)
            };
            sink(character.ok_or(NoCharacter(bytes.len() - rest.len()))?);
            rest = after;
        }
        Ok(())
    }
}

/// A character of gb18030 in four bytes, which covers all of Unicode.
fn four_bytes(code: &[u8]) -> Option<char> {
    let number = u32::from_be_bytes(*code.first_chunk::<4>()?);
    if let Some(to) = exceptional(exceptions::GB18030, number) {
        return character(to);
    }
    only_character(encoding_rs::GB18030, code)
}

/// The one character that bytes stand for.
fn only_character(encoding: &'static encoding_rs::Encoding, code: &[u8]) -> Option<char> {
    let text = encoding.decode_without_bom_handling_and_without_replacement(code)?;
    let mut characters = text.chars();
    characters.next().filter(|_| characters.next().is_none())
}

/// The character that MySQL maps a code to where `encoding_rs` does otherwise, 0 for none.
fn exceptional(runs: &[Run], code: u32) -> Option<u32> {
    let after = runs.partition_point(|(first, ..)| *first <= code);
    let (first, last, to) = *runs.get(after.checked_sub(1)?)?;
    (code <= last).then(|| if to == 0 { 0 } else { to + (code - first) })
}

fn character(code: u32) -> Option<char> {
    char::from_u32(code).filter(|_| code != 0)
}

impl Table {
    fn new(encoding: &'static encoding_rs::Encoding, runs: &[Run], has_three: bool) -> Table {
        let look_up = |code: u32, bytes: &[u8]| match exceptional(runs, code) {
            Some(to) => u16::try_from(to).unwrap_or(0),
            None => only_character(encoding, bytes)
                .and_then(|only| u16::try_from(u32::from(only)).ok())
                .unwrap_or(0),
        };
        let mut one = [0; 0x80];
        for (byte, place) in (0x80..=0xff_u8).zip(&mut one) {
            *place = look_up(byte.into(), &[byte]);
        }
        let codes = || 0x8000..=0xffff_u16;
        let two = codes().map(|code| {
            let bytes = code.to_be_bytes();
            // Where the first byte is a character of its own, two bytes are two characters.
            if one[usize::from(bytes[0] & 0x7f)] == 0 {
                look_up(code.into(), &bytes)
            } else {
                0
            }
        });
        let two = two.collect();
        let three = codes().filter(|_| has_three).map(|code| {
            let [second, third] = code.to_be_bytes();
            look_up(
                u32::from_be_bytes([0, THREE_BYTES, second, third]),
                &[THREE_BYTES, second, third],
            )
        });
        Table {
            one,
            two,
            three: three.collect(),
        }
    }

    /// Takes the character that begins with `first`, a byte from 0x80; and what is left.
    fn take<'a>(&self, first: u8, after: &'a [u8]) -> (Option<char>, &'a [u8]) {
        let found = |code: Option<&u16>| code.and_then(|code| character(u32::from(*code)));
        let place = |high: u8, low: u8| usize::from(u16::from_be_bytes([high & 0x7f, low]));
        let single = found(self.one.get(usize::from(first & 0x7f)));
        match *after {
            _ if single.is_some() => (single, after),
            [second @ 0x80..=0xff, third, ref rest @ ..] if first == THREE_BYTES && !self.three.is_empty() => {
                (found(self.three.get(place(second, third))), rest)
            }
            [second, ref rest @ ..] => (found(self.two.get(place(first, second))), rest),
            [] => (None, after),
        }
    }
}
