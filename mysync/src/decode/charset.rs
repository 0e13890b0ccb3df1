//! Character sets: from the bytes of a text column to Unicode, exactly as MySQL converts them to utf8mb4, or not at all.
//!
//! Bytes that MySQL shows as `?` because they stand for no character are an error here: a question mark in a target could
//! not be told from a real one. Every character set that MySQL 5.6 to 9.7 has is known.

use super::charset_double::Double;
use super::charset_single::{self as single, Half, NONE};
use super::error::{Error, Reason};
use super::write;

/// Ids of collations are lower than this plus one in all versions so far.
const COLLATION_ID_MAX: u16 = 323;

/// A character set of MySQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charset {
    name: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// utf8mb4, utf8mb3 and ENUMs of character set binary.
    Utf8,
    Ucs2,
    Utf16,
    Utf16Le,
    Utf32,
    /// Bytes from 0x80 by a table; those below are ASCII unless there is a second table.
    Single {
        lower: Option<&'static Half>,
        upper: &'static Half,
    },
    /// ASCII, and characters of two bytes or more.
    Double(Double),
    /// A collation that came after 9.7.
    Unknown {
        collation: u16,
    },
}

/// Bytes that are no character: where they begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoCharacter(pub(crate) usize);

impl Charset {
    pub(crate) const BINARY: Charset = Charset {
        name: "binary",
        kind: Kind::Utf8,
    };

    /// What JSON is in.
    pub(crate) const UTF8MB4: Charset = Charset {
        name: "utf8mb4",
        kind: Kind::Utf8,
    };

    /// The character set that a collation belongs to, by the collation's id.
    pub fn of_collation(id: u16) -> Charset {
        let single = |name, upper| Charset {
            name,
            kind: Kind::Single { lower: None, upper },
        };
        let double = |double: Double| Charset {
            name: double.name(),
            kind: Kind::Double(double),
        };
        match id {
            45..=46 | 224..=247 | 255..=323 => Charset::UTF8MB4,
            33 | 76 | 83 | 192..=215 | 223 => Charset {
                name: "utf8mb3",
                kind: Kind::Utf8,
            },
            63 => Charset::BINARY,
            5 | 8 | 15 | 31 | 47..=49 | 94 => single("latin1", &single::LATIN1),
            11 | 65 => single("ascii", &single::EMPTY),
            35 | 90 | 128..=151 | 159 => Charset {
                name: "ucs2",
                kind: Kind::Ucs2,
            },
            54..=55 | 101..=124 => Charset {
                name: "utf16",
                kind: Kind::Utf16,
            },
            56 | 62 => Charset {
                name: "utf16le",
                kind: Kind::Utf16Le,
            },
            60..=61 | 160..=183 => Charset {
                name: "utf32",
                kind: Kind::Utf32,
            },
            1 | 84 => double(Double::Big5),
            95..=96 => double(Double::Cp932),
            97..=98 => double(Double::Eucjpms),
            19 | 85 => double(Double::Euckr),
            248..=250 => double(Double::Gb18030),
            24 | 86 => double(Double::Gb2312),
            28 | 87 => double(Double::Gbk),
            13 | 88 => double(Double::Sjis),
            12 | 91 => double(Double::Ujis),
            32 | 64 => single("armscii8", &single::ARMSCII8),
            26 | 34 | 44 | 66 | 99 => single("cp1250", &single::CP1250),
            14 | 23 | 50..=52 => single("cp1251", &single::CP1251),
            57 | 67 => single("cp1256", &single::CP1256),
            29 | 58..=59 => single("cp1257", &single::CP1257),
            4 | 80 => single("cp850", &single::CP850),
            40 | 81 => single("cp852", &single::CP852),
            36 | 68 => single("cp866", &single::CP866),
            3 | 69 => single("dec8", &single::DEC8),
            92..=93 => single("geostd8", &single::GEOSTD8),
            25 | 70 => single("greek", &single::GREEK),
            16 | 71 => single("hebrew", &single::HEBREW),
            6 | 72 => single("hp8", &single::HP8),
            37 | 73 => single("keybcs2", &single::KEYBCS2),
            7 | 74 => single("koi8r", &single::KOI8R),
            22 | 75 => single("koi8u", &single::KOI8U),
            2 | 9 | 21 | 27 | 77 => single("latin2", &single::LATIN2),
            30 | 78 => single("latin5", &single::LATIN5),
            20 | 41..=42 | 79 => single("latin7", &single::LATIN7),
            38 | 43 => single("macce", &single::MACCE),
            39 | 53 => single("macroman", &single::MACROMAN),
            18 | 89 => single("tis620", &single::TIS620),
            10 | 82 => Charset {
                name: "swe7",
                kind: Kind::Single {
                    lower: Some(&single::SWE7_LOWER),
                    upper: &single::EMPTY,
                },
            },
            collation => Charset {
                name: "unknown",
                kind: Kind::Unknown { collation },
            },
        }
    }

    /// A collation of the character set of this name, its id; any of them will do for decoding.
    #[must_use]
    pub fn collation_of_name(name: &str) -> Option<u16> {
        let name = match name {
            "utf8" => "utf8mb3",
            other => other,
        };
        (1..=COLLATION_ID_MAX).find(|&id| {
            let charset = Self::of_collation(id);
            charset.name == name && !matches!(charset.kind, Kind::Unknown { .. })
        })
    }

    /// The character set of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Charset> {
        Self::collation_of_name(name).map(Self::of_collation)
    }

    /// Bytes of its longest character, which MySQL multiplies the length of a CHAR or VARCHAR with; none if it is unknown.
    #[must_use]
    pub fn character_bytes_max(&self) -> Option<u32> {
        match self.name {
            "utf8mb4" | "utf16" | "utf16le" | "utf32" | "gb18030" => Some(4),
            "utf8mb3" | "ujis" | "eucjpms" => Some(3),
            "ucs2" | "big5" | "cp932" | "euckr" | "gb2312" | "gbk" | "sjis" => Some(2),
            "unknown" => None,
            _ => Some(1),
        }
    }

    /// MySQL's name of it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// A CHAR does not keep the spaces it ends with: the server strips them when it reads, and mostly when it logs.
    pub(crate) fn without_trailing_spaces<'a>(&self, mut bytes: &'a [u8]) -> &'a [u8] {
        let space: &[u8] = match self.kind {
            Kind::Ucs2 | Kind::Utf16 => &[0, b' '],
            Kind::Utf16Le => &[b' ', 0],
            Kind::Utf32 => &[0, 0, 0, b' '],
            _ => b" ",
        };
        while let Some(shorter) = bytes.strip_suffix(space) {
            bytes = shorter;
        }
        bytes
    }

    /// Appends `bytes` as a JSON string with its quotes.
    #[inline]
    pub(crate) fn write_json(&self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        if self.kind == Kind::Utf8 {
            return write::json_string_checked(out, bytes).map_err(|place| self.refused(bytes, NoCharacter(place)));
        }
        out.push(b'"');
        let plain = if self.contains_ascii() {
            write::plain_ascii_prefix(bytes)
        } else {
            0
        };
        out.extend_from_slice(&bytes[..plain]);
        let decoded = self.decode(&bytes[plain..], &mut |character| write::json_char(out, character));
        decoded.map_err(|NoCharacter(place)| self.refused(bytes, NoCharacter(plain + place)))?;
        out.push(b'"');
        Ok(())
    }

    /// All of `bytes` as text, for names rather than for rows.
    pub fn decode_to_string(&self, bytes: &[u8]) -> Result<String, Error> {
        let mut text = String::with_capacity(bytes.len());
        self.decode(bytes, &mut |character| text.push(character))
            .map_err(|place| self.refused(bytes, place))?;
        Ok(text)
    }

    /// A byte below 0x80 at the place of a character is that ASCII character.
    fn contains_ascii(&self) -> bool {
        matches!(
            self.kind,
            Kind::Utf8 | Kind::Double(_) | Kind::Single { lower: None, .. }
        )
    }

    fn decode(&self, bytes: &[u8], sink: &mut impl FnMut(char)) -> Result<(), NoCharacter> {
        match self.kind {
            Kind::Utf8 => match std::str::from_utf8(bytes) {
                Ok(text) => text.chars().for_each(sink),
                Err(error) => return Err(NoCharacter(error.valid_up_to())),
            },
            Kind::Single { lower, upper } => decode_single(bytes, lower, upper, sink)?,
            Kind::Double(double) => double.decode(bytes, sink)?,
            Kind::Ucs2 => decode_ucs2(bytes, sink)?,
            Kind::Utf16 => decode_utf16(bytes, u16::from_be_bytes, sink)?,
            Kind::Utf16Le => decode_utf16(bytes, u16::from_le_bytes, sink)?,
            Kind::Utf32 => decode_utf32(bytes, sink)?,
            Kind::Unknown { .. } if bytes.is_empty() => {}
            Kind::Unknown { .. } => return Err(NoCharacter(0)),
        }
        Ok(())
    }

    #[cold]
    fn refused(&self, bytes: &[u8], NoCharacter(place): NoCharacter) -> Error {
        const SHOWN_BYTES: usize = 4;
        if let Kind::Unknown { collation } = self.kind {
            let detail = format!("the character set of collation {collation} is unknown");
            return Error::new(Reason::Unsupported, "text", detail).with_hint("convert the column to utf8mb4");
        }
        let from = bytes.get(place..).unwrap_or_default();
        let shown = &from[..from.len().min(SHOWN_BYTES)];
        let detail = format!(
            "no character of {} begins with bytes {shown:02x?}, byte {place} of the value",
            self.name
        );
        Error::new(Reason::Text, "text", detail)
    }
}

fn decode_single(
    bytes: &[u8],
    lower: Option<&Half>,
    upper: &Half,
    sink: &mut impl FnMut(char),
) -> Result<(), NoCharacter> {
    for (place, byte) in bytes.iter().enumerate() {
        let code = match (byte & 0x80 != 0, lower) {
            (true, _) => upper[usize::from(byte & 0x7f)],
            (false, Some(lower)) => lower[usize::from(*byte)],
            (false, None) => u16::from(*byte),
        };
        match char::from_u32(u32::from(code)) {
            Some(character) if code != NONE => sink(character),
            _ => return Err(NoCharacter(place)),
        }
    }
    Ok(())
}

fn decode_ucs2(bytes: &[u8], sink: &mut impl FnMut(char)) -> Result<(), NoCharacter> {
    let (units, rest) = bytes.as_chunks::<2>();
    for (index, unit) in units.iter().enumerate() {
        sink(char::from_u32(u16::from_be_bytes(*unit).into()).ok_or(NoCharacter(2 * index))?);
    }
    complete(bytes, rest)
}

fn decode_utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16, sink: &mut impl FnMut(char)) -> Result<(), NoCharacter> {
    let (units, rest) = bytes.as_chunks::<2>();
    let mut place = 0;
    for decoded in char::decode_utf16(units.iter().map(|bytes| unit(*bytes))) {
        let character = decoded.map_err(|_| NoCharacter(place))?;
        place += 2 * character.len_utf16();
        sink(character);
    }
    complete(bytes, rest)
}

fn decode_utf32(bytes: &[u8], sink: &mut impl FnMut(char)) -> Result<(), NoCharacter> {
    let (units, rest) = bytes.as_chunks::<4>();
    for (index, unit) in units.iter().enumerate() {
        sink(char::from_u32(u32::from_be_bytes(*unit)).ok_or(NoCharacter(4 * index))?);
    }
    complete(bytes, rest)
}

fn complete(bytes: &[u8], rest: &[u8]) -> Result<(), NoCharacter> {
    if rest.is_empty() {
        Ok(())
    } else {
        Err(NoCharacter(bytes.len() - rest.len()))
    }
}
