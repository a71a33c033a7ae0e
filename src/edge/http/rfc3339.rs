//! Times for people and programs outside: RFC 3339, UTC, milliseconds.

use fido_relay_proto::UnixMillis;
use time::OffsetDateTime;
use time::macros::format_description;

/// The time as `2026-01-31T12:00:00.000Z`.
pub(in crate::edge) fn format(at: UnixMillis) -> String {
    let form =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000)
        .ok()
        .and_then(|time| time.format(form).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_kept() {
        assert_eq!(format(UnixMillis(1_769_860_800_042)), "2026-01-31T12:00:00.042Z");
        assert_eq!(format(UnixMillis(0)), "1970-01-01T00:00:00.000Z");
    }
}
