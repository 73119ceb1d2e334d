//! The two forms in which endpoints write times: RFC 3339, and that of HTTP.
//!
//! jiff's own readers know all of ISO 8601, the rules of zones, and what to say of each fault: a thirtieth of the
//! library for phones.

use jiff::Timestamp;

/// A time as RFC 3339 has it.
pub(crate) struct Written {
    pub(crate) year: i64,
    /// Since 1970, in Greenwich if it says where.
    pub(crate) seconds: i64,
    pub(crate) nanos: i32,
    pub(crate) has_offset: bool,
}

impl Written {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut text = Text(text.as_bytes());
        let year = text.digits(4)?;
        text.one_of(b"-")?;
        let month = text.digits(2).filter(|it| (1..=12).contains(it))?;
        text.one_of(b"-")?;
        let day = text.digits(2).filter(|it| (1..=days_in(year, month)).contains(it))?;
        text.one_of(b"Tt ")?;
        let (hour, minute) = text.hour_and_minute()?;
        let (mut second, mut nanos) = (0, 0);
        if text.one_of(b":").is_some() {
            second = text.second()?;
            if text.one_of(b".,").is_some() {
                nanos = text.fraction()?;
            }
        }
        let offset = if text.0.is_empty() { None } else { Some(text.offset()?) };
        let local = seconds_before(year, month, day) + (hour * 60 + minute) * 60 + second;
        let (seconds, has_offset) = (local - offset.unwrap_or(0), offset.is_some());
        text.0.is_empty().then_some(Self { year, seconds, nanos, has_offset })
    }
}

/// A date as HTTP writes it: `Mon, 23 Nov 2026 18:00:00 GMT`. The name of the day is not looked at.
pub(crate) fn http_date(text: &str) -> Option<Timestamp> {
    let (_, date) = text.split_once(", ")?;
    let mut text = Text(date.as_bytes());
    let day = text.digits(2)?;
    text.one_of(b" ")?;
    let (name, rest) = text.0.split_first_chunk::<3>()?;
    let month = 1 + MONTHS.iter().position(|month| month.eq_ignore_ascii_case(name))? as i64;
    text.0 = rest;
    text.one_of(b" ")?;
    let year = text.digits(4)?;
    text.one_of(b" ")?;
    let (hour, minute) = text.hour_and_minute()?;
    text.one_of(b":")?;
    let second = text.second()?;
    if !matches!(text.0, b" GMT" | b" UTC" | b" +0000")
        || !(1..=days_in(year, month)).contains(&day)
    {
        return None;
    }
    let seconds = seconds_before(year, month, day) + (hour * 60 + minute) * 60 + second;
    Timestamp::from_second(seconds).ok()
}

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// What is left to read.
struct Text<'a>(&'a [u8]);

impl Text<'_> {
    fn one_of(&mut self, any: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first().filter(|(first, _)| any.contains(first))?;
        self.0 = rest;
        Some(*first)
    }

    fn digits(&mut self, many: usize) -> Option<i64> {
        (0..many).try_fold(0, |number, _| {
            Some(number * 10 + i64::from(self.one_of(b"0123456789")? - b'0'))
        })
    }

    fn hour_and_minute(&mut self) -> Option<(i64, i64)> {
        let hour = self.digits(2).filter(|it| *it < 24)?;
        self.one_of(b":")?;
        Some((hour, self.digits(2).filter(|it| *it < 60)?))
    }

    /// A leap second is the last one of its minute.
    fn second(&mut self) -> Option<i64> {
        Some(self.digits(2).filter(|it| *it <= 60)?.min(59))
    }

    /// Billionths; what is finer is left out.
    fn fraction(&mut self) -> Option<i32> {
        let (mut nanos, mut unit) = (0, 100_000_000);
        let mut digit = self.digits(1)?;
        loop {
            nanos += digit as i32 * unit;
            unit /= 10;
            match self.digits(1) {
                Some(next) => digit = next,
                None => return Some(nanos),
            }
        }
    }

    /// Seconds east of Greenwich.
    fn offset(&mut self) -> Option<i64> {
        let sign = match self.one_of(b"Zz+-")? {
            b'+' => 1,
            b'-' => -1,
            _ => return Some(0),
        };
        let hours = self.digits(2).filter(|it| *it < 24)?;
        let has_minutes = self.one_of(b":").is_some() || !self.0.is_empty();
        let minutes = if has_minutes { self.digits(2).filter(|it| *it < 60)? } else { 0 };
        Some(sign * (hours * 60 + minutes) * 60)
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Seconds from 1970-01-01 to the beginning of this day.
fn seconds_before(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March end with the day that leap years add.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    (year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468) * 86_400
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, fmt::rfc2822};

    use super::*;

    fn read(text: &str) -> Option<Timestamp> {
        let written = Written::parse(text).filter(|it| it.has_offset)?;
        Timestamp::new(written.seconds, written.nanos).ok()
    }

    #[test]
    fn a_time_is_read_as_jiff_reads_it() {
        for text in [
            "2024-02-29T23:59:60Z",
            "2026-11-23t18:00:00.5z",
            "2026-11-23 18:00:00,123456789+05:30",
            "1900-02-28T00:00:00-00:00",
            "2100-03-01T12:30:00-1130",
            "2000-12-31T00:00+14",
        ] {
            assert_eq!(read(text), Some(text.parse().expect(text)), "{text}");
        }
        let mut at: Timestamp = "0001-01-01T00:00:00Z".parse().expect("a time");
        let end: Timestamp = "9999-12-01T00:00:00Z".parse().expect("a time");
        while at < end {
            assert_eq!(read(&at.to_string()), Some(at), "{at}");
            let date =
                rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at).expect("a date");
            assert_eq!(http_date(&date), Some(at), "{date}");
            at = at.checked_add(SignedDuration::from_hours(24 * 29 + 7)).expect("a time");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "2023-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "2026-04-00T00:00:00Z",
            "2026-04-01T24:00:00Z",
            "2026-04-01T00:60:00Z",
            "2026-04-01T00:00:61Z",
            "2026-04-01T00:00:00.Z",
            "2026-04-01T00:00:00+1:00",
            "2026-04-01T00:00:00+01:",
            "2026-04-01T00:00:00Zx",
            "2026-04-01",
            "26-04-01T00:00:00Z",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        for text in [
            "Mon, 31 Feb 2026 18:00:00 GMT",
            "Mon, 23 Nov 2026 18:00:00",
            "Mon, 23 Nov 2026 18:00:00 PST",
            "Mon, 23 Now 2026 18:00:00 GMT",
            "23 Nov 2026 18:00:00 GMT",
            "Mon, 23 N\u{f6}v 2026 18:00:00 GMT",
            "",
        ] {
            assert_eq!(http_date(text), None, "{text}");
        }
    }
}
