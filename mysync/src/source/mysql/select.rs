//! Rows of a SELECT in the binary protocol: each is taken apart where it lies in the connection's buffer, and nothing is
//! allocated for it.

use super::wire::Wire;
use crate::decode::{Cell, Date, DateTime, TableRows, Time};
use crate::encode::refuse;
use crate::error::{Error, Result};
use mysql_async::DriverError;

const ROW: u8 = 0x00;
const END: u8 = 0xfe;
/// The end of columns or rows has fewer bytes.
const END_BYTES_MAX: usize = 9;
/// Bits before the first column's in a row's NULL bits.
const NULL_BITS_UNUSED: usize = 2;
const UNSIGNED_FLAG: u16 = 32;

/// How a value stands in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Int(usize),
    UInt(usize),
    Float,
    Double,
    DateTime,
    Time,
    Bytes,
}

impl Kind {
    /// By the type and the flags of a column's description.
    fn of(column_type: u8, flags: u16) -> Self {
        let integer = |bytes| match flags & UNSIGNED_FLAG {
            0 => Kind::Int(bytes),
            _ => Kind::UInt(bytes),
        };
        match column_type {
            1 => integer(1),
            2 | 13 => integer(2),
            3 | 9 => integer(4),
            8 => integer(8),
            4 => Kind::Float,
            5 => Kind::Double,
            7 | 10 | 12 => Kind::DateTime,
            11 => Kind::Time,
            _ => Kind::Bytes,
        }
    }
}

/// Adds a statement's rows until they are so many bytes; whether none was passed over.
pub(super) async fn fetch(
    wire: &mut Wire,
    statement: &str,
    bytes_max: usize,
    rows: &mut TableRows,
) -> mysql_async::Result<Result<bool>> {
    let id = wire.prepare(statement).await?;
    let outcome = execute(wire, id, bytes_max, rows).await;
    wire.close(id).await?;
    outcome
}

async fn execute(
    wire: &mut Wire,
    id: u32,
    bytes_max: usize,
    rows: &mut TableRows,
) -> mysql_async::Result<Result<bool>> {
    wire.execute(id).await?;
    let count = match wire.next().await? {
        [count, ..] if *count < 0xfb => usize::from(*count),
        [0xfc, low, high, ..] => usize::from(u16::from_le_bytes([*low, *high])),
        other => return Err(unexpected(other)),
    };
    let mut kinds = Vec::with_capacity(count);
    for _ in 0..count {
        let packet = wire.next().await?;
        kinds.push(kind(packet).ok_or_else(|| unexpected(packet))?);
    }
    require_end(wire.next().await?)?;
    let (mut is_whole, mut pushed) = (true, Ok(()));
    loop {
        match wire.next().await? {
            [END, rest @ ..] if rest.len() + 1 < END_BYTES_MAX => break,
            packet @ [ROW, ..] if pushed.is_ok() && rows.bytes_len() < bytes_max => {
                let mut is_malformed = false;
                let Some(cells) = Cells::new(&kinds, &packet[1..], &mut is_malformed) else {
                    return Err(unexpected(packet));
                };
                pushed = rows.push(cells).map_err(refuse);
                if is_malformed {
                    return Err(unexpected(wire.packet()));
                }
            }
            // The rest of the answer is passed over.
            [ROW, ..] => is_whole = false,
            other => return Err(unexpected(other)),
        }
    }
    Ok(pushed.map(|()| is_whole))
}

/// What a column's description says: five texts and a name, then character set, length, type, flags.
fn kind(packet: &[u8]) -> Option<Kind> {
    const TEXTS: usize = 6;
    const BEFORE_TYPE: usize = 1 + 2 + 4;
    let mut rest = packet;
    for _ in 0..TEXTS {
        (_, rest) = text(rest)?;
    }
    let fields = rest.get(BEFORE_TYPE..)?;
    let flags = u16::from_le_bytes([*fields.get(1)?, *fields.get(2)?]);
    Some(Kind::of(*fields.first()?, flags))
}

/// A text behind its length, and what follows.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let length_bytes = match first {
        0..=0xfa => return rest.split_at_checked(usize::from(*first)),
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        _ => return None,
    };
    let (length, rest) = rest.split_at_checked(length_bytes)?;
    rest.split_at_checked(usize::try_from(number(length)).ok()?)
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn require_end(packet: &[u8]) -> mysql_async::Result<()> {
    match packet {
        [END, rest @ ..] if rest.len() + 1 < END_BYTES_MAX => Ok(()),
        other => Err(unexpected(other)),
    }
}

fn unexpected(packet: &[u8]) -> mysql_async::Error {
    let shown = &packet[..packet.len().min(64)];
    DriverError::UnexpectedPacket {
        payload: shown.to_vec(),
    }
    .into()
}

/// The values of a row. One that is cut short says so, and ends with NULLs.
struct Cells<'p, 'm> {
    kinds: &'m [Kind],
    index: usize,
    nulls: &'p [u8],
    values: &'p [u8],
    is_malformed: &'m mut bool,
}

impl<'p, 'm> Cells<'p, 'm> {
    fn new(kinds: &'m [Kind], row: &'p [u8], is_malformed: &'m mut bool) -> Option<Self> {
        let (nulls, values) = row.split_at_checked((kinds.len() + NULL_BITS_UNUSED).div_ceil(8))?;
        Some(Self {
            kinds,
            index: 0,
            nulls,
            values,
            is_malformed,
        })
    }

    fn take(&mut self, count: usize) -> Option<&'p [u8]> {
        let (taken, rest) = self.values.split_at_checked(count)?;
        self.values = rest;
        Some(taken)
    }

    fn cell(&mut self, kind: Kind) -> Option<Cell<'p>> {
        Some(match kind {
            Kind::UInt(bytes) => Cell::UInt(number(self.take(bytes)?)),
            Kind::Int(bytes) => {
                let spare = 64 - 8 * bytes;
                Cell::Int((number(self.take(bytes)?) << spare).cast_signed() >> spare)
            }
            Kind::Float => Cell::Float(f32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            Kind::Double => Cell::Double(f64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            Kind::Bytes => {
                let (bytes, rest) = text(self.values)?;
                self.values = rest;
                Cell::Bytes(bytes)
            }
            Kind::DateTime => {
                let length = usize::from(*self.take(1)?.first()?);
                Cell::DateTime(date_time(self.take(length)?)?)
            }
            Kind::Time => {
                let length = usize::from(*self.take(1)?.first()?);
                Cell::Time(time(self.take(length)?)?)
            }
        })
    }
}

/// What is 0 at the end is left out.
fn date_time(bytes: &[u8]) -> Option<DateTime> {
    let mut all = [0_u8; 11];
    all.get_mut(..bytes.len())?.copy_from_slice(bytes);
    let [year_low, year_high, month, day, hour, minute, second, micros @ ..] = all;
    Some(DateTime {
        date: Date {
            year: u16::from_le_bytes([year_low, year_high]),
            month,
            day,
        },
        hour,
        minute,
        second,
        microsecond: u32::from_le_bytes(micros),
        digits: 6,
    })
}

fn time(bytes: &[u8]) -> Option<Time> {
    let mut all = [0_u8; 12];
    all.get_mut(..bytes.len())?.copy_from_slice(bytes);
    let [negative, d0, d1, d2, d3, hours, minute, second, micros @ ..] = all;
    // At most 34 days.
    let days = u16::try_from(u32::from_le_bytes([d0, d1, d2, d3])).ok()?;
    Some(Time {
        negative: negative != 0,
        hours: days.checked_mul(24)?.checked_add(hours.into())?,
        minute,
        second,
        microsecond: u32::from_le_bytes(micros),
        digits: 6,
    })
}

impl<'p> Iterator for Cells<'p, '_> {
    type Item = Cell<'p>;

    fn next(&mut self) -> Option<Cell<'p>> {
        let kind = *self.kinds.get(self.index)?;
        let bit = self.index + NULL_BITS_UNUSED;
        self.index += 1;
        if *self.is_malformed || self.nulls[bit / 8] >> (bit % 8) & 1 != 0 {
            return Some(Cell::Null);
        }
        Some(self.cell(kind).unwrap_or_else(|| {
            *self.is_malformed = true;
            Cell::Null
        }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.kinds.len() - self.index;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Cells<'_, '_> {}

/// What the client library says about rows, and what the decoder says.
pub(super) fn flatten(
    fetched: mysql_async::Result<Result<bool>>,
    sort: impl FnOnce(mysql_async::Error) -> Error,
) -> Result<bool> {
    match fetched {
        Ok(done) => done,
        Err(error) => Err(sort(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_where_they_lie() {
        let kinds = [
            Kind::Int(1),
            Kind::UInt(2),
            Kind::Int(4),
            Kind::Bytes,
            Kind::Bytes,
            Kind::DateTime,
            Kind::Time,
            Kind::Double,
            Kind::Float,
            Kind::Time,
        ];
        let mut row = vec![0b0100_0000, 0];
        row.push(0xff);
        row.extend_from_slice(&60_000_u16.to_le_bytes());
        row.extend_from_slice(&(-5_i32).to_le_bytes());
        row.extend_from_slice(&[2, b'h', b'i']);
        // The fifth is NULL.
        row.extend_from_slice(&[7, 0xea, 7, 11, 28, 1, 2, 3]);
        row.extend_from_slice(&[12, 1, 1, 0, 0, 0, 2, 3, 4, 5, 0, 0, 0]);
        row.extend_from_slice(&1.5_f64.to_le_bytes());
        row.extend_from_slice(&2.5_f32.to_le_bytes());
        row.push(0);
        let mut is_malformed = false;
        let cells: Vec<Cell<'_>> = Cells::new(&kinds, &row, &mut is_malformed).unwrap().collect();
        assert!(!is_malformed);
        let date = Date {
            year: 2026,
            month: 11,
            day: 28,
        };
        let expected = [
            Cell::Int(-1),
            Cell::UInt(60_000),
            Cell::Int(-5),
            Cell::Bytes(b"hi"),
            Cell::Null,
            Cell::DateTime(DateTime {
                date,
                hour: 1,
                minute: 2,
                second: 3,
                microsecond: 0,
                digits: 6,
            }),
            Cell::Time(Time {
                negative: true,
                hours: 26,
                minute: 3,
                second: 4,
                microsecond: 5,
                digits: 6,
            }),
            Cell::Double(1.5),
            Cell::Float(2.5),
            Cell::Time(Time {
                negative: false,
                hours: 0,
                minute: 0,
                second: 0,
                microsecond: 0,
                digits: 6,
            }),
        ];
        assert_eq!(cells, expected);
        // Cut anywhere, it says so and does not panic.
        for length in 2..row.len() {
            let mut is_malformed = false;
            let cells = Cells::new(&kinds, &row[..length], &mut is_malformed).unwrap().count();
            assert_eq!((cells, is_malformed), (kinds.len(), true), "{length}");
        }
        assert!(Cells::new(&kinds, &row[..1], &mut false).is_none());
    }

    #[test]
    fn descriptions_tell_how_values_stand() {
        let description = |column_type: u8, flags: u16| {
            let mut packet = vec![
                3,
                b'd',
                b'e',
                b'f',
                0,
                0,
                0,
                1,
                b'a',
                1,
                b'a',
                0x0c,
                63,
                0,
                11,
                0,
                0,
                0,
                column_type,
            ];
            packet.extend_from_slice(&flags.to_le_bytes());
            packet.extend_from_slice(&[0, 0, 0]);
            kind(&packet)
        };
        assert_eq!(description(3, 0), Some(Kind::Int(4)));
        assert_eq!(description(8, UNSIGNED_FLAG | 1), Some(Kind::UInt(8)));
        assert_eq!(description(13, UNSIGNED_FLAG), Some(Kind::UInt(2)));
        assert_eq!(description(246, 0), Some(Kind::Bytes));
        assert_eq!(kind(&[3, b'd']), None);
        assert_eq!(text(&[0xfc, 2, 0, 7, 8, 9]), Some((&[7, 8][..], &[9][..])));
        assert_eq!(text(&[0xfb]), None);
    }
}
