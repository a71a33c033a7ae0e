//! Origins of web pages, in the exact form that browsers send. It knows nothing of HTTP.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// The origin of a page: scheme, host and port as browsers serialise them (RFC 6454 section 6.2),
/// `https` unless the page is on this machine. It is compared byte for byte: another spelling is
/// another origin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin(String);

/// A text that is no origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be an origin as a browser writes it, such as https://shop.example: https except on \
     localhost, small letters, without a path, without the scheme's own port"
)]
pub struct InvalidOrigin;

impl Origin {
    /// As a browser writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let url = Url::parse(text).map_err(|_| InvalidOrigin)?;
        let here = match url.host() {
            Some(Host::Domain(name)) if name.ends_with('.') => return Err(InvalidOrigin),
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        let safe = url.scheme() == "https" || (url.scheme() == "http" && here);
        // Nor is there a pattern: `*` is a letter of a host's name as any other to the parser.
        let safe = safe && !text.contains('*');
        // A text that browsers would write otherwise would never match.
        if safe && url.origin().ascii_serialization() == text {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidOrigin)
        }
    }
}

impl TryFrom<String> for Origin {
    type Error = InvalidOrigin;

    fn try_from(text: String) -> Result<Self, InvalidOrigin> {
        text.parse()
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_taken_only_as_a_browser_writes_it() {
        let right = [
            "https://shop.example",
            "https://shop.example:8443",
            "https://xn--bcher-kva.example",
            "https://192.0.2.7",
            "https://[2001:db8::1]",
            "http://localhost:3000",
            "http://127.0.0.1:8080",
            "http://[::1]",
        ];
        for text in right {
            assert_eq!(text.parse::<Origin>().unwrap().as_str(), text);
        }
        let wrong = [
            "",
            "*",
            "null",
            "shop.example",
            "//shop.example",
            "https://",
            "https://shop.example/",
            "https://shop.example.",
            "https://shop.example:443",
            "https://Shop.example",
            "HTTPS://shop.example",
            " https://shop.example",
            "https://shop.example/path",
            "https://shop.example?query",
            "https://shop.example#fragment",
            "https://user@shop.example",
            "https://*.shop.example",
            "https://bücher.example",
            "https://0x7f.1",
            "http://shop.example",
            "http://localhost.evil.example",
            "file:///tmp/page.html",
            "wss://shop.example",
            "chrome-extension://abcdefghijklmnop",
        ];
        for text in wrong {
            assert_eq!(text.parse::<Origin>(), Err(InvalidOrigin), "{text:?}");
        }
    }
}
