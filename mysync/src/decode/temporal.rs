//! Dates and times in their binlog forms, and as the texts that MySQL prints.
//!
//! Since 5.6.4 they are packed big-endian, so that bytes compare like times: an integer part offset by half its range, then
//! the fraction in as many bytes as its digits need (two digits a byte). A negative TIME is the whole, fraction included, below
//! that offset. Before, they were decimal numbers such as 20261125103000.

use super::cursor::{big_endian, little_endian};
use super::error::Error;
use super::write::{fixed_digits, two_digits};

/// A date. Zero parts, as in 0000-00-00 and 2026-00-00, stay zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    /// 0 to 9999.
    pub year: u16,
    /// 0 to 12.
    pub month: u8,
    /// 0 to 31.
    pub day: u8,
}

/// A time, which is a span too: from -838:59:59 to 838:59:59.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time {
    /// Below zero.
    pub negative: bool,
    /// Hours, 0 to 838.
    pub hours: u16,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// 0 to 999999.
    pub microsecond: u32,
    /// Digits of the fraction that the column keeps, 0 to 6.
    pub digits: u8,
}

/// A date and a time of day, in no time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateTime {
    /// The date.
    pub date: Date,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// 0 to 999999.
    pub microsecond: u32,
    /// Digits of the fraction that the column keeps, 0 to 6.
    pub digits: u8,
}

/// A point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp {
    /// Unix seconds; 0 for the zero value 0000-00-00 00:00:00.
    pub seconds: u32,
    /// 0 to 999999.
    pub microsecond: u32,
    /// Digits of the fraction that the column keeps, 0 to 6.
    pub digits: u8,
}

const MICROSECONDS: [u32; 7] = [1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];

impl Date {
    /// Three bytes, little-endian: 5 bits of day, 4 of month, the year.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Date, Error> {
        let packed = little_endian(bytes) as u32;
        Date::new(packed >> 9, packed >> 5 & 15, packed & 31)
    }

    fn new(year: u32, month: u32, day: u32) -> Result<Date, Error> {
        if year > 9999 || month > 12 || day > 31 {
            return Err(Error::malformed("date", format!("{year}-{month}-{day}")));
        }
        Ok(Date {
            year: year as u16,
            month: month as u8,
            day: day as u8,
        })
    }

    /// Appends YYYY-MM-DD.
    pub fn write(&self, out: &mut Vec<u8>) {
        two_digits(out, (self.year / 100) as u8);
        two_digits(out, (self.year % 100) as u8);
        out.push(b'-');
        two_digits(out, self.month);
        out.push(b'-');
        two_digits(out, self.day);
    }
}

impl Time {
    pub(crate) fn decode(bytes: &[u8], digits: u8) -> Result<Time, Error> {
        let fraction_bits = 8 * u32::from(digits.div_ceil(2));
        let packed = big_endian(bytes) as i64 - (0x80_0000_i64 << fraction_bits);
        let magnitude = packed.unsigned_abs();
        let seconds = magnitude >> fraction_bits;
        let microsecond = fraction(magnitude & ((1 << fraction_bits) - 1), digits)?;
        Time::from_packed(packed < 0, seconds, microsecond, digits)
    }

    /// `packed`: 10 bits of hours, 6 of minutes, 6 of seconds.
    pub(crate) fn from_packed(negative: bool, packed: u64, microsecond: u32, digits: u8) -> Result<Time, Error> {
        Time::new(
            negative,
            packed >> 12,
            packed >> 6 & 63,
            packed & 63,
            microsecond,
            digits,
        )
    }

    /// Three bytes, little-endian, signed: HHHMMSS.
    pub(crate) fn decode_old(bytes: &[u8]) -> Result<Time, Error> {
        let value = (little_endian(bytes) << 40) as i64 >> 40;
        let magnitude = value.unsigned_abs();
        Time::new(
            value < 0,
            magnitude / 10_000,
            magnitude / 100 % 100,
            magnitude % 100,
            0,
            0,
        )
    }

    fn new(negative: bool, hours: u64, minute: u64, second: u64, microsecond: u32, digits: u8) -> Result<Time, Error> {
        if hours > 838 || minute > 59 || second > 59 || microsecond > 999_999 {
            return Err(Error::malformed(
                "time",
                format!("{hours}:{minute}:{second}.{microsecond}"),
            ));
        }
        let (hours, minute, second) = (hours as u16, minute as u8, second as u8);
        Ok(Time {
            negative,
            hours,
            minute,
            second,
            microsecond,
            digits,
        })
    }

    /// Appends [-]HH:MM:SS[.fraction], hours of three digits where they need them.
    pub fn write(&self, out: &mut Vec<u8>) {
        if self.negative {
            out.push(b'-');
        }
        if self.hours > 99 {
            out.push(b'0' + (self.hours / 100) as u8);
        }
        two_digits(out, (self.hours % 100) as u8);
        write_minutes(out, self.minute, self.second, self.microsecond, self.digits);
    }
}

impl DateTime {
    pub(crate) fn decode(bytes: &[u8], digits: u8) -> Result<DateTime, Error> {
        let fraction_bits = 8 * u32::from(digits.div_ceil(2));
        let packed = big_endian(bytes);
        let microsecond = fraction(packed & ((1 << fraction_bits) - 1), digits)?;
        match (packed >> fraction_bits).checked_sub(0x80_0000_0000) {
            Some(whole) => DateTime::from_packed(whole, microsecond, digits),
            None => Err(Error::malformed("datetime", format!("a negative one, {packed:#x}"))),
        }
    }

    /// `packed`: 17 bits of year times 13 plus month, 5 of day, 5 of hour, 6 of minute, 6 of second.
    pub(crate) fn from_packed(packed: u64, microsecond: u32, digits: u8) -> Result<DateTime, Error> {
        let months = (packed >> 22) as u32;
        let date = Date::new(months / 13, months % 13, (packed >> 17 & 31) as u32)?;
        DateTime::new(
            date,
            packed >> 12 & 31,
            packed >> 6 & 63,
            packed & 63,
            microsecond,
            digits,
        )
    }

    /// Eight bytes, little-endian: YYYYMMDDHHMMSS.
    pub(crate) fn decode_old(bytes: &[u8]) -> Result<DateTime, Error> {
        let value = little_endian(bytes);
        let (days, time) = (value / 1_000_000, value % 1_000_000);
        let year = u32::try_from(days / 10_000).unwrap_or(u32::MAX);
        let date = Date::new(year, (days / 100 % 100) as u32, (days % 100) as u32)?;
        DateTime::new(date, time / 10_000, time / 100 % 100, time % 100, 0, 0)
    }

    fn new(date: Date, hour: u64, minute: u64, second: u64, microsecond: u32, digits: u8) -> Result<DateTime, Error> {
        if hour > 23 || minute > 59 || second > 59 || microsecond > 999_999 {
            return Err(Error::malformed(
                "datetime",
                format!("{hour}:{minute}:{second}.{microsecond}"),
            ));
        }
        let (hour, minute, second) = (hour as u8, minute as u8, second as u8);
        Ok(DateTime {
            date,
            hour,
            minute,
            second,
            microsecond,
            digits,
        })
    }

    /// Appends YYYY-MM-DD HH:MM:SS[.fraction].
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_with(out, b' ');
    }

    fn write_with(&self, out: &mut Vec<u8>, separator: u8) {
        self.date.write(out);
        out.push(separator);
        two_digits(out, self.hour);
        write_minutes(out, self.minute, self.second, self.microsecond, self.digits);
    }
}

impl Timestamp {
    pub(crate) fn decode(bytes: &[u8], digits: u8) -> Result<Timestamp, Error> {
        let fraction_bits = 8 * u32::from(digits.div_ceil(2));
        let packed = big_endian(bytes);
        let microsecond = fraction(packed & ((1 << fraction_bits) - 1), digits)?;
        // At most four bytes are left above the fraction.
        Ok(Timestamp {
            seconds: (packed >> fraction_bits) as u32,
            microsecond,
            digits,
        })
    }

    /// Four bytes, little-endian.
    pub(crate) fn decode_old(bytes: &[u8]) -> Timestamp {
        Timestamp {
            seconds: little_endian(bytes) as u32,
            microsecond: 0,
            digits: 0,
        }
    }

    /// The same point in time as date and time of day in UTC; all zero for the zero value.
    pub fn date_time(&self) -> DateTime {
        let Timestamp {
            seconds,
            microsecond,
            digits,
        } = *self;
        if seconds == 0 {
            let date = Date {
                year: 0,
                month: 0,
                day: 0,
            };
            return DateTime {
                date,
                hour: 0,
                minute: 0,
                second: 0,
                microsecond: 0,
                digits,
            };
        }
        let in_day = seconds % 86_400;
        DateTime {
            date: civil_date(seconds / 86_400),
            hour: (in_day / 3_600) as u8,
            minute: (in_day / 60 % 60) as u8,
            second: (in_day % 60) as u8,
            microsecond,
            digits,
        }
    }

    /// Appends YYYY-MM-DDTHH:MM:SS[.fraction]Z.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.date_time().write_with(out, b'T');
        out.push(b'Z');
    }
}

/// The date so many days after 1970-01-01, in years that begin in March, which puts the leap day last.
fn civil_date(days: u32) -> Date {
    const DAYS_TO_1970_FROM_MARCH_OF_YEAR_0: u32 = 719_468;
    const DAYS_IN_400_YEARS: u32 = 146_097;
    let days = days + DAYS_TO_1970_FROM_MARCH_OF_YEAR_0;
    let (era, in_era) = (days / DAYS_IN_400_YEARS, days % DAYS_IN_400_YEARS);
    let year_in_era = (in_era - in_era / 1_460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year_in_era + year_in_era / 4 - year_in_era / 100);
    let month_from_march = (5 * in_year + 2) / 153;
    let day = in_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_in_era + u32::from(month <= 2);
    Date {
        year: year as u16,
        month: month as u8,
        day: day as u8,
    }
}

/// Microseconds of a stored fraction: hundredths, ten-thousandths or microseconds by the digits of the column.
fn fraction(stored: u64, digits: u8) -> Result<u32, Error> {
    let unit = MICROSECONDS[usize::from(digits.div_ceil(2) * 2).min(6)];
    match u32::try_from(stored) {
        Ok(stored) if stored < 1_000_000 / unit => Ok(stored * unit),
        _ => Err(Error::malformed(
            "fraction of a second",
            format!("{stored} in units of {unit} microseconds"),
        )),
    }
}

fn write_minutes(out: &mut Vec<u8>, minute: u8, second: u8, microsecond: u32, digits: u8) {
    out.push(b':');
    two_digits(out, minute);
    out.push(b':');
    two_digits(out, second);
    if digits > 0 {
        out.push(b'.');
        let digits = usize::from(digits.min(6));
        fixed_digits(out, microsecond / MICROSECONDS[digits], digits);
    }
}
