//! The cookies that tie a completion call to its begin call. There is no shared cookie jar: the
//! cookies of one begin answer go to that ceremony's completion call only.
//!
//! The rules are those of RFC 6265bis section 5, for one server and two paths, with two differences.
//! `Domain` is ignored: every cookie is host-only. `Secure` is ignored: the cookie goes back to the
//! same URL, and if that is plain http, the operator chose it (and is warned).

use std::fmt;

use fido_relay_proto::UnixMillis;
use reqwest::header::HeaderValue;
use serde::{Deserialize, Serialize};

use super::cookie_date;
use crate::core::ceremony::UpstreamSession;
use crate::ports::{latin1, latin1_bytes};

/// Cookies that one begin answer may set for its completion call.
const COUNT_MAX: usize = 64;
/// Bytes of all their names and values together.
const SIZE_MAX: usize = 16 * 1024;

/// The two calls of a ceremony, as their URLs' paths.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paths<'a> {
    pub(super) begin: &'a str,
    pub(super) complete: &'a str,
}

/// The cookies of one ceremony, in the order in which they are sent. Prints nothing.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Cookies {
    /// `name=value`, as [`latin1`].
    cookies: Vec<String>,
    /// The expiry of each; one that is missing here does not expire.
    #[serde(default)]
    until: Vec<UnixMillis>,
}

impl fmt::Debug for Cookies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cookies(hidden)")
    }
}

struct SetCookie {
    name: String,
    value: String,
    path: String,
    until: UnixMillis,
}

impl Cookies {
    /// The cookies for the completion call that these `Set-Cookie` headers of a begin answer set.
    ///
    /// # Errors
    /// More than [`COUNT_MAX`] cookies or [`SIZE_MAX`] bytes.
    pub(super) fn set_by(
        headers: &[HeaderValue],
        paths: Paths<'_>,
        now: UnixMillis,
    ) -> Result<Self, &'static str> {
        let mut all: Vec<SetCookie> = Vec::new();
        for header in headers {
            let Some(new) = SetCookie::parse(&latin1(header.as_bytes()), paths.begin, now) else {
                continue;
            };
            match all.iter_mut().find(|old| old.name == new.name && old.path == new.path) {
                // The new cookie keeps the old one's position.
                Some(old) => *old = new,
                None => all.push(new),
            }
        }
        all.retain(|cookie| cookie.until > now && matches(paths.complete, &cookie.path));
        all.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let size: usize = all.iter().map(|cookie| cookie.name.len() + cookie.value.len()).sum();
        if all.len() > COUNT_MAX || size > SIZE_MAX {
            return Err("too many or too large cookies");
        }
        let until = all.iter().map(|cookie| cookie.until).collect();
        Ok(Self { cookies: all.into_iter().map(SetCookie::into_pair).collect(), until })
    }

    /// The form in which a ceremony keeps them.
    pub(super) fn into_session(self) -> UpstreamSession {
        // Serialising strings and numbers to a string cannot fail.
        UpstreamSession(serde_json::to_string(&self).unwrap_or_default())
    }

    /// The cookies of a stored session; `None` if another backend wrote it.
    pub(super) fn of_session(session: &UpstreamSession) -> Option<Self> {
        serde_json::from_str(&session.0).ok()
    }

    /// The one `Cookie` header; `None` without cookies.
    pub(super) fn header(&self, now: UnixMillis) -> Option<HeaderValue> {
        let lives = |index| self.until.get(index).is_none_or(|until| *until > now);
        let cookies = self.cookies.iter().enumerate().filter(|(index, _)| lives(*index));
        let cookies: Vec<_> = cookies.map(|(_, cookie)| cookie.as_str()).collect();
        header(&cookies.join("; ")).filter(|_| !cookies.is_empty())
    }
}

/// A `Cookie` header of a [`latin1`] text that no log shows; `None` if it cannot be one.
pub(super) fn header(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(&latin1_bytes(text)?).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl SetCookie {
    /// Section 5.7. `None` for what sets no cookie.
    fn parse(header: &str, request_path: &str, now: UnixMillis) -> Option<Self> {
        let mut parts = header.split(';');
        let pair = trimmed(parts.next().unwrap_or_default());
        let (name, value) = pair.split_once('=').unwrap_or(("", pair));
        let (name, value) = (trimmed(name).to_owned(), trimmed(value).to_owned());
        if name.is_empty() && value.is_empty() {
            return None;
        }
        let (mut path, mut expires, mut max_age) = (None, None, None);
        for part in parts {
            let (attribute, value) = attribute(part);
            if attribute.eq_ignore_ascii_case("path") {
                path = Some(value).filter(|path| path.starts_with('/'));
            } else if attribute.eq_ignore_ascii_case("expires") {
                expires = cookie_date::seconds(value).map(at).or(expires);
            } else if attribute.eq_ignore_ascii_case("max-age") {
                max_age = seconds(value).map(|seconds| end(now, seconds)).or(max_age);
            }
        }
        let path = path.unwrap_or_else(|| default_path(request_path)).to_owned();
        let until = max_age.or(expires).unwrap_or(UnixMillis(u64::MAX));
        Some(Self { name, value, path, until })
    }

    fn into_pair(self) -> String {
        match self.name.as_str() {
            "" => self.value,
            name => format!("{name}={}", self.value),
        }
    }
}

/// Name and value of an attribute.
pub(super) fn attribute(part: &str) -> (&str, &str) {
    let (name, value) = part.split_once('=').unwrap_or((part, ""));
    (trimmed(name), trimmed(value))
}

/// Without the white space of cookies, which is narrower than Unicode's: U+00A0 is half an `à`.
fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// The value of `Max-Age`, saturating.
fn seconds(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let saturated = if digits == text { i64::MAX } else { i64::MIN };
    is_number.then(|| text.parse().unwrap_or(saturated))
}

/// The time so many seconds after 1970; earlier ones count as 1970.
fn at(seconds: i64) -> UnixMillis {
    UnixMillis(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000))
}

fn end(now: UnixMillis, seconds: i64) -> UnixMillis {
    let lifetime = u64::try_from(seconds).unwrap_or(0).saturating_mul(1000);
    // A `Max-Age` of 0 or less expires at once.
    if lifetime == 0 { UnixMillis(0) } else { UnixMillis(now.0.saturating_add(lifetime)) }
}

/// Section 5.1.4: the folder of the request.
fn default_path(request: &str) -> &str {
    match request.rfind('/') {
        None | Some(0) => "/",
        Some(last) => &request[..last],
    }
}

/// Section 5.1.4: whether a request for this path carries a cookie of that one.
pub(super) fn matches(request: &str, cookie: &str) -> bool {
    request
        .strip_prefix(cookie)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || cookie.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATHS: Paths<'_> = Paths {
        begin: "/pre/fidoapi/certify/assertion/options",
        complete: "/pre/fidoapi/certify/assertion/result",
    };
    /// 2027-01-15.
    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn set(lines: &[&str]) -> Result<Cookies, &'static str> {
        let headers: Vec<_> =
            lines.iter().map(|line| HeaderValue::from_bytes(line.as_bytes()).unwrap()).collect();
        Cookies::set_by(&headers, PATHS, NOW)
    }

    /// What a completion so many seconds later sends, as it went through the store.
    fn sent_after(seconds: u64, lines: &[&str]) -> String {
        let cookies = set(lines).unwrap();
        let kept = Cookies::of_session(&cookies.into_session()).unwrap();
        let Some(header) = kept.header(NOW.plus_secs(seconds)) else { return String::new() };
        assert!(header.is_sensitive());
        String::from_utf8(header.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn each_form_of_a_cookie_is_sent_as_a_browser_sends_it() {
        for (lines, sent) in [
            (&["a=1; HttpOnly; Path=/; SameSite=Lax", "b = x=y ; Secure"][..], "b=x=y; a=1"),
            // The same name is another cookie on another path; longer paths come first.
            (&["a=1; Path=/", "a=2; Path=/pre", "a=3; path=/pre/fidoapi/"], "a=3; a=2; a=1"),
            (&["a=1; Path=/", "b=2; Path=/", "a=3; Path=/"], "a=3; b=2"),
            (&["sid=new; Path=/", "sid=; Path=/old; Max-Age=0"], "sid=new"),
            (&["sid=new; Path=/", "sid=; Path=/; Max-Age=0"], ""),
            (&["sid=1", "sid=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], ""),
            (&["sid=1; Path=/", "sid=; Path=/; Expires=Thu, 01-Jan-1970 00:00:01 GMT"], ""),
            // Max-Age counts more than Expires, the last one more than the first.
            (&["a=1; Max-Age=9; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], "a=1"),
            (&["a=1; Max-Age=0; Max-Age=9"], "a=1"),
            (&["a=1; Max-Age=-1; Expires=Fri, 01 Jan 2100 00:00:00 GMT"], ""),
            (&["a=1; Max-Age=99999999999999999999", "b=2; Max-Age=-99999999999999999999"], "a=1"),
            // What cannot be read is not there.
            (&["a=1; Max-Age=soon; Expires=0; Path=pre; Domain=elsewhere.example"], "a=1"),
            (&["a=1; Max-Age", "b=2; Path="], "a=1; b=2"),
            // Paths end at a slash, and the folder of the begin call is the default.
            (&["a=1; Path=/pre/fido", "b=2; Path=/pre/fidoapi", "c=3; Path=/fidoapi"], "b=2"),
            (
                &["a=1; Path=/pre/fidoapi/certify/attestation", "b=2; Path=/pre/fidoapi/certify"],
                "b=2",
            ),
            (&["a=1; Path=/pre/fidoapi/certify/assertion/options", "b=2"], "b=2"),
            (&["nameless", "=also", "", "=", "a="], "also; a="),
            (&["name=\"quoted, value\"; Path=/", "ü=é à; Path=/"], "name=\"quoted, value\"; ü=é à"),
            (&[], ""),
        ] {
            assert_eq!(sent_after(0, lines), sent, "{lines:?}");
        }
    }

    #[test]
    fn a_cookie_is_sent_until_it_ends() {
        let lines =
            ["a=1; Max-Age=60", "b=2; Expires=Fri, 15-Jan-2027 08:02:00 GMT", "c=3; Max-Age=180"];
        assert_eq!(NOW.0 / 1000 % 86_400, 8 * 3_600, "08:00:00");
        for (seconds, sent) in [(59, "a=1; b=2; c=3"), (60, "b=2; c=3"), (120, "c=3"), (180, "")] {
            assert_eq!(sent_after(seconds, &lines), sent, "after {seconds} s");
        }
    }

    #[test]
    fn number_and_size_are_bounded() {
        let many: Vec<_> = (0..65).map(|i| format!("c{i}=v")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert!(set(&many[..64]).is_ok());
        assert!(set(&many).is_err());
        let big = |bytes| format!("big={}", "x".repeat(bytes - 3));
        assert!(set(&[&big(SIZE_MAX)]).is_ok());
        assert!(set(&[&big(SIZE_MAX + 1)]).is_err());
        // What does not go back costs nothing.
        assert!(set(&[&format!("{}; Path=/other", big(SIZE_MAX + 1))]).is_ok());
    }

    #[test]
    fn sessions_of_the_version_before_are_taken_and_those_of_other_backends_are_not() {
        let before = UpstreamSession(r#"{"cookies":["session=a","node=b"]}"#.to_owned());
        let header = Cookies::of_session(&before).unwrap().header(NOW).unwrap();
        assert_eq!(header.to_str().unwrap(), "session=a; node=b");
        assert!(Cookies::of_session(&UpstreamSession("{\"state\":1}".to_owned())).is_none());
    }
}
