//! The cookies that tie one completion call to its begin call, carried by hand: what one begin
//! answer sets goes to that ceremony's completion call and nowhere else. There is no jar.

use std::fmt;

use reqwest::header::HeaderValue;
use serde::{Deserialize, Serialize};

use crate::ceremony::UpstreamSession;

/// Cookies that one begin answer may set.
const COUNT_MAX: usize = 20;
/// Bytes of all their names and values together; common servers take headers of 8 KiB.
const SIZE_MAX: usize = 8 * 1024;

/// The cookies of one ceremony. Prints nothing.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Cookies {
    /// `name=value`, each name once.
    cookies: Vec<String>,
}

impl fmt::Debug for Cookies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cookies(hidden)")
    }
}

impl Cookies {
    /// What these `Set-Cookie` headers set. Attributes do not matter, since the one server that
    /// set them gets them back within minutes; only a cookie that is set to be deleted is none.
    pub(super) fn set_by(headers: &[HeaderValue]) -> Result<Self, &'static str> {
        let mut cookies: Vec<String> = Vec::new();
        for header in headers {
            let text = header.to_str().map_err(|_| "a cookie has characters beyond ASCII")?;
            let mut parts = text.split(';').map(str::trim);
            let pair = parts.next().unwrap_or_default();
            let Some((name, _)) = pair.split_once('=') else { continue };
            if name.is_empty() {
                continue;
            }
            let name = &pair[..=name.len()];
            cookies.retain(|known| !known.starts_with(name));
            if !parts.any(is_deletion) {
                cookies.push(pair.to_owned());
            }
        }
        let size: usize = cookies.iter().map(String::len).sum();
        if cookies.len() > COUNT_MAX || size > SIZE_MAX {
            return Err("too many or too large cookies");
        }
        Ok(Self { cookies })
    }

    /// The form in which a ceremony keeps them.
    pub(super) fn into_session(self) -> UpstreamSession {
        // Serialising strings to a string cannot fail.
        UpstreamSession(serde_json::to_string(&self).unwrap_or_default())
    }

    /// The cookies of a stored session; `None` if another backend wrote it.
    pub(super) fn of_session(session: &UpstreamSession) -> Option<Self> {
        serde_json::from_str(&session.0).ok()
    }

    /// The one `Cookie` header; `None` without cookies.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        if self.cookies.is_empty() {
            return None;
        }
        let mut value = HeaderValue::from_str(&self.cookies.join("; ")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// `Max-Age` of zero or less (RFC 6265 section 5.2.2).
fn is_deletion(attribute: &str) -> bool {
    attribute.split_once('=').is_some_and(|(name, value)| {
        name.trim().eq_ignore_ascii_case("max-age")
            && value.trim().parse::<i64>().is_ok_and(|seconds| seconds <= 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(lines: &[&str]) -> Result<Cookies, &'static str> {
        let headers: Vec<_> =
            lines.iter().map(|line| HeaderValue::from_str(line).unwrap()).collect();
        Cookies::set_by(&headers)
    }

    #[test]
    fn every_cookie_goes_back_in_one_header_without_its_attributes() {
        let cookies = set(&[
            "session=eyJ.a=b; HttpOnly; Path=/",
            "node=7",
            "session=newer; Max-Age=600",
            "sess=other",
            "gone=; Max-Age=0",
            "nonsense",
        ])
        .unwrap();
        let kept = Cookies::of_session(&cookies.into_session()).unwrap();
        let header = kept.header().unwrap();
        assert_eq!(header.to_str().unwrap(), "node=7; session=newer; sess=other");
        assert!(header.is_sensitive());
    }

    #[test]
    fn a_server_without_cookies_gets_none() {
        assert!(set(&[]).unwrap().header().is_none());
    }

    #[test]
    fn number_and_size_are_bounded() {
        let many: Vec<_> = (0..21).map(|i| format!("c{i}=v")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert!(set(&many[..20]).is_ok());
        assert!(set(&many).is_err());
        assert!(set(&[&format!("big={}", "x".repeat(8 * 1024))]).is_err());
    }

    #[test]
    fn another_backends_session_is_not_taken() {
        assert!(Cookies::of_session(&UpstreamSession("{\"state\":1}".to_owned())).is_none());
    }
}
