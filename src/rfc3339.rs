//! Times as text: RFC 3339, UTC, milliseconds.

use fido_relay_proto::UnixMillis;
use time::macros::format_description;
use time::{Date, Month, OffsetDateTime, Time};

/// The time as `2026-01-31T12:00:00.000Z`.
#[must_use]
pub fn format(at: UnixMillis) -> String {
    let form =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000)
        .ok()
        .and_then(|time| time.format(form).ok())
        .unwrap_or_default()
}

/// Parses a time that [`format`] wrote.
#[must_use]
pub fn parse(text: &str) -> Option<UnixMillis> {
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<u16>().ok();
    let small = |from, to| part(from, to).and_then(|number| u8::try_from(number).ok());
    let month = Month::try_from(small(5, 7)?).ok()?;
    let date = Date::from_calendar_date(i32::from(part(0, 4)?), month, small(8, 10)?).ok()?;
    let time = Time::from_hms_milli(small(11, 13)?, small(14, 16)?, small(17, 19)?, part(20, 23)?);
    let nanos = date.with_time(time.ok()?).assume_utc().unix_timestamp_nanos();
    u64::try_from(nanos / 1_000_000).ok().map(UnixMillis)
}

/// For `#[serde(with = "rfc3339")]`.
///
/// # Errors
/// The serializer's.
pub fn serialize<S: serde::Serializer>(at: &UnixMillis, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&format(*at))
}

/// For `#[serde(with = "rfc3339")]`.
///
/// # Errors
/// The deserializer's, and for a text that [`format`] did not write.
pub fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<UnixMillis, D::Error> {
    let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(from)?;
    parse(&text).ok_or_else(|| serde::de::Error::custom("must be an RFC 3339 time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_it_was_written() {
        assert_eq!(format(UnixMillis(1_769_860_800_042)), "2026-01-31T12:00:00.042Z");
        assert_eq!(format(UnixMillis(0)), "1970-01-01T00:00:00.000Z");
        for at in [0, 1_769_860_800_042, 4_102_444_799_999] {
            assert_eq!(parse(&format(UnixMillis(at))), Some(UnixMillis(at)));
        }
        for text in ["", "2026", "2026-13-01T00:00:00.000Z", "not a time at all, no"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
