//! Dates of cookies as servers really write them (RFC 6265bis section 5.1.1): with dashes, without
//! a weekday, with a zone that is not GMT and counts as GMT.

use time::{Date, Month, Time};

/// The seconds since 1970 that a date stands for, negative before; `None` if it is no date.
pub(super) fn seconds(text: &str) -> Option<i64> {
    let (mut clock, mut day, mut month, mut year) = (None, None, None, None);
    for token in text.split(is_delimiter).filter(|token| !token.is_empty()) {
        if clock.is_none() && time(token).is_some() {
            clock = time(token);
        } else if day.is_none() && number(token, 1, 2).is_some() {
            day = number(token, 1, 2);
        } else if month.is_none() && month_of(token).is_some() {
            month = month_of(token);
        } else if year.is_none() {
            year = number(token, 2, 4);
        }
    }
    let year = match year? {
        year @ 70..=99 => year + 1900,
        year @ 0..=69 => year + 2000,
        year => year,
    };
    if year < 1601 {
        return None;
    }
    let date = Date::from_calendar_date(i32::from(year), month?, u8::try_from(day?).ok()?).ok()?;
    Some(date.with_time(clock?).assume_utc().unix_timestamp())
}

/// Everything that separates tokens: not digits, letters, colons, and nothing beyond ASCII.
fn is_delimiter(character: char) -> bool {
    character.is_ascii() && !character.is_ascii_alphanumeric() && character != ':'
}

/// The number that a token begins with, if it has between `least` and `most` digits.
fn number(token: &str, least: usize, most: usize) -> Option<u16> {
    let digits = token.bytes().take_while(u8::is_ascii_digit).count();
    token[..digits].parse().ok().filter(|_| (least..=most).contains(&digits))
}

fn time(token: &str) -> Option<Time> {
    let mut fields = token.splitn(3, ':').map(|field| number(field, 1, 2));
    let mut next = || u8::try_from(fields.next()??).ok();
    Time::from_hms(next()?, next()?, next()?).ok()
}

fn month_of(token: &str) -> Option<Month> {
    const NAMES: &str = "janfebmaraprmayjunjulaugsepoctnovdec";
    let name = token.get(..3)?.to_ascii_lowercase();
    let index = (0..12).find(|index| NAMES[index * 3..index * 3 + 3] == name)?;
    Month::try_from(u8::try_from(index + 1).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_in_use_is_read() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "6 nov 1994 8:49:37",
            "November 6th, 1994 08:49:37 UTC",
            "08:49:37x 06 Nov 1994",
        ] {
            assert_eq!(seconds(text), Some(784_111_777), "{text}");
        }
        assert_eq!(seconds("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(seconds("Thu, 01 Jan 69 00:00:00 GMT"), Some(3_124_224_000));
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "0",
            "-1",
            "Sun, 06 Nov 1994",
            "08:49:37",
            "31 Feb 2026 00:00:00",
            "06 Nov 1994 24:00:00",
            "06 Nov 1600 08:49:37",
            "06 Nov 19940 08:49:37",
            "06 é 1994 08:49:37",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
