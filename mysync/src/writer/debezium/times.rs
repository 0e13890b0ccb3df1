//! Counts of days and parts of a second, and ISO 8601, as MySQL's dates and times. A fraction has the digits of its column, or
//! more where the value needs them: then it is from before an ALTER, and no digit is lost.

use super::values::{Wrong, unexpected};
use crate::decode::{Date, DateTime, Time, Timestamp};

const SECONDS_A_DAY: i64 = 86_400;

/// Days from 0000-03-01, where the years of the calculation begin, to 1970-01-01.
const DAYS_TO_1970: i64 = 719_468;

const DAYS_IN_400_YEARS: i64 = 146_097;

/// From days since 1970, of the calendar that has always been as it is now, which is MySQL's too.
pub(super) fn date(days: i64) -> Result<Date, Wrong> {
    let wrong = || format!("{days} days since 1970 are no date of MySQL's");
    let day = days.checked_add(DAYS_TO_1970).ok_or_else(wrong)?;
    let (era, day_of_era) = (day.div_euclid(DAYS_IN_400_YEARS), day.rem_euclid(DAYS_IN_400_YEARS));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March on.
    let month_of_year = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_of_year + 2) / 5 + 1;
    let month = (month_of_year + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let year = u16::try_from(year)
        .ok()
        .filter(|year| *year < 10_000)
        .ok_or_else(wrong)?;
    Ok(Date {
        year,
        month: month as u8,
        day: day as u8,
    })
}

/// Seconds, and microseconds of the next one.
fn parted(count: i64, per_second: i64) -> Result<(i64, u32), Wrong> {
    let (seconds, rest) = (count.div_euclid(per_second), count.rem_euclid(per_second));
    match per_second <= 1_000_000 {
        true => Ok((seconds, (rest * (1_000_000 / per_second)) as u32)),
        false if rest % (per_second / 1_000_000) == 0 => Ok((seconds, (rest / (per_second / 1_000_000)) as u32)),
        false => Err(format!("{count} is finer than a microsecond")),
    }
}

/// Digits of a fraction that are not zeros at its end.
fn digits_of(mut microsecond: u32) -> u8 {
    let mut digits = 6;
    while digits > 0 && microsecond.is_multiple_of(10) {
        microsecond /= 10;
        digits -= 1;
    }
    digits
}

/// From a count, which may be below zero.
pub(super) fn time(count: i64, per_second: i64, digits: u8) -> Result<Time, Wrong> {
    let magnitude = i64::try_from(count.unsigned_abs()).map_err(|_| format!("{count} is no TIME"))?;
    let (seconds, microsecond) = parted(magnitude, per_second)?;
    let hours = u16::try_from(seconds / 3_600).ok().filter(|hours| *hours <= 838);
    Ok(Time {
        negative: count < 0,
        hours: hours.ok_or_else(|| format!("{count} is no TIME of MySQL's"))?,
        minute: (seconds / 60 % 60) as u8,
        second: (seconds % 60) as u8,
        microsecond,
        digits: digits.max(digits_of(microsecond)),
    })
}

/// From a count since 1970.
pub(super) fn date_time(count: i64, per_second: i64, digits: u8) -> Result<DateTime, Wrong> {
    let (seconds, microsecond) = parted(count, per_second)?;
    let in_day = seconds.rem_euclid(SECONDS_A_DAY);
    Ok(DateTime {
        date: date(seconds.div_euclid(SECONDS_A_DAY))?,
        hour: (in_day / 3_600) as u8,
        minute: (in_day / 60 % 60) as u8,
        second: (in_day % 60) as u8,
        microsecond,
        digits: digits.max(digits_of(microsecond)),
    })
}

/// From ISO 8601 with an offset. No TIMESTAMP of MySQL's is the first second of 1970: it stands for the zero value, as in MySQL.
pub(super) fn timestamp(text: &str, digits: u8) -> Result<Timestamp, Wrong> {
    let wrong = || unexpected("a time as 2026-11-25T01:02:03.45Z", text);
    let (whole, rest) = text.split_at_checked(19).ok_or_else(wrong)?;
    let part = |from: usize, to: usize| {
        let digits = whole
            .get(from..to)
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        digits.and_then(|digits| digits.parse::<i64>().ok()).ok_or_else(wrong)
    };
    let marks: Vec<u8> = [4, 7, 10, 13, 16].iter().map(|at| whole.as_bytes()[*at]).collect();
    if marks != *b"--T::" {
        return Err(wrong());
    }
    let days = days(part(0, 4)?, part(5, 7)?, part(8, 10)?);
    let seconds = days * SECONDS_A_DAY + part(11, 13)? * 3_600 + part(14, 16)? * 60 + part(17, 19)?;
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|sign: char| !sign.is_ascii_digit()).ok_or_else(wrong)?),
        None => ("", rest),
    };
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 6 {
        return Err(format!("{text} is finer than a microsecond"));
    }
    let microsecond: u32 = format!("{fraction:0<6}").parse().map_err(|_| wrong())?;
    let seconds = u32::try_from(seconds - offset(zone).ok_or_else(wrong)?).map_err(|_| wrong())?;
    Ok(Timestamp {
        seconds,
        microsecond,
        digits: digits.max(digits_of(microsecond)),
    })
}

/// Seconds that a zone is ahead: `Z`, `+01:00`, `-03:30`.
fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = zone.strip_prefix(['+', '-'])?.split_once(':')?;
    let two = |text: &str| text.parse::<i64>().ok().filter(|_| text.len() == 2);
    Some(sign * (two(hours)? * 3_600 + two(minutes)? * 60))
}

/// Days since 1970.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year_from_march = if month > 2 { year } else { year - 1 };
    let days_before_month = (153 * ((month + 9) % 12) + 2) / 5;
    let leap_days = year_from_march / 4 - year_from_march / 100 + year_from_march / 400;
    365 * year_from_march + leap_days + days_before_month + day - 1 - DAYS_TO_1970
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn days_go_there_and_back(number in -719_162_i64..2_932_896) {
            let date = date(number).unwrap();
            prop_assert_eq!(days(date.year.into(), date.month.into(), date.day.into()), number);
        }
    }
}
