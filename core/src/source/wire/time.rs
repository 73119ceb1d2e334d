//! Times as programs write them, and the many ways in which they write that there is none.
//!
//! Languages have a greatest and a least time, and their serializers write it where a time is missing or
//! has no end: `9999-12-31T23:59:59Z` (Java, .NET, Python, SQL), `0001-01-01T00:00:00Z` (Go, .NET). Taken
//! as times, the one is out of the range of this crate, and the other is long past, so that a key which
//! never ends would seem to have ended. Both are taken as what they mean.

use jiff::Timestamp;

use crate::net::Written;

/// The beginning of the year 9999.
const LAST_YEAR: i64 = 253_370_764_800;
/// The end of that year. What is beyond it is no time, but milliseconds that were taken for seconds.
const END: i64 = 253_402_300_800;
/// The end of the year 1, and the beginning of the year 0: a zone may put the first year into that.
const FIRST_YEAR: i64 = -62_104_060_800;
const BEGINNING: i64 = -62_167_219_200;

/// Whether this time stands at an end of the calendar, and so for none.
pub(in crate::source) fn is_end(at: Timestamp) -> bool {
    !(FIRST_YEAR..LAST_YEAR).contains(&at.as_second())
}

/// The time in this text (RFC 3339), or none if it stands for none. The outer None: it is not a time.
pub(super) fn from_text(text: &str) -> Option<Option<Timestamp>> {
    // A year of more than four digits is beyond any end.
    if let Some((year, rest)) = text.strip_prefix(['+', '-']).and_then(|it| it.split_once('-')) {
        let is_year = (5..=10).contains(&year.len()) && year.bytes().all(|it| it.is_ascii_digit());
        let is_time = Written::parse(&format!("2000-{rest}")).is_some_and(|it| it.has_offset);
        return (is_year && is_time).then_some(None);
    }
    let written = Written::parse(text)?;
    // The last hours of 9999 are beyond jiff's range, and a first or last day may lack a zone.
    if matches!(written.year, 9999 | 0 | 1) {
        return Some(None);
    }
    let at = written.has_offset.then(|| Timestamp::new(written.seconds, written.nanos).ok())??;
    Some(Some(at).filter(|at| !is_end(*at)))
}

/// The same for seconds since 1970.
pub(super) fn from_epoch(seconds: f64) -> Option<Option<Timestamp>> {
    let whole = seconds.floor();
    if (LAST_YEAR as f64..END as f64 + 1.0).contains(&whole)
        || (BEGINNING as f64..FIRST_YEAR as f64).contains(&whole)
    {
        return Some(None);
    }
    // What a program counts in milliseconds is not a whole number of them as a fraction.
    let micros = (seconds * 1e6).round();
    let at =
        if micros.is_finite() { Timestamp::from_microsecond(micros as i64).ok() } else { None };
    at.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_the_calendar_are_none() {
        for text in [
            "9999-12-31T23:59:59Z",
            "9999-12-31T23:59:59.999999Z",
            "9999-12-31T23:59:59.9999999+00:00",
            "9999-12-31T23:59:59-12:00",
            "9999-12-31T23:59:59.999999",
            "9999-01-01T00:00:00Z",
            "0001-01-01T00:00:00Z",
            "0001-01-01T00:00:00",
            "0001-01-01T00:00:00+14:00",
            "0000-12-31T00:00:00Z",
            "+275760-09-13T00:00:00.000Z",
            "+1000000000-12-31T23:59:59.999999999Z",
            "-100001-12-31T23:59:59.999999999Z",
        ] {
            assert_eq!(from_text(text), Some(None), "{text}");
        }
        for seconds in
            [253_402_300_799.0, 253_402_300_799.999_999, 253_370_764_800.0, -62_135_596_800.0]
        {
            assert_eq!(from_epoch(seconds), Some(None), "{seconds}");
        }
    }

    #[test]
    fn what_stands_between_them_is_a_time_and_what_stands_beyond_is_none_of_ours() {
        for text in ["2026-11-23T18:00:00Z", "1970-01-01T00:00:00Z", "4001-01-01T00:00:00Z"] {
            assert_eq!(from_text(text), Some(text.parse().ok()), "{text}");
        }
        assert_eq!(from_epoch(1.5), Some(Timestamp::from_millisecond(1500).ok()));
        for text in
            ["", "never", "9999", "+275760-99-13T00:00:00Z", "2026-11-23T18:00:00", "9998-13-01"]
        {
            assert_eq!(from_text(text), None, "{text}");
        }
        // Milliseconds in place of seconds are a fault of the program, and not a key without an end.
        for seconds in [1_795_442_400_000.0, 1e300, f64::NAN, f64::INFINITY, -1e300] {
            assert_eq!(from_epoch(seconds), None, "{seconds}");
        }
    }
}
