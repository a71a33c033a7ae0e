//! The client's address behind trusted proxies, from `Forwarded` (RFC 7239) and `X-Forwarded-For`.
//! Pure: an address and headers in, an address out.
//!
//! Each proxy appends its peer at the right end. Read from there leftwards, every trusted proxy
//! vouches for its left neighbour, and the first address that is no trusted proxy is the client.
//! Everything further left was written by the client itself.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// How proxies name the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedBy {
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// `X-Forwarded-For`, with `X-Forwarded-Proto` beside it.
    XForwardedFor,
}

/// The trusted proxies, and how they name the client.
#[derive(Clone, Debug, Default)]
pub struct ProxyTrust {
    /// Proxies whose forwarding headers are trusted. Empty: headers are ignored.
    pub proxies: Vec<IpNet>,
    /// The header that they write.
    pub header: Option<ForwardedBy>,
    /// Whether their connections begin with a PROXY protocol header.
    pub protocol: bool,
}

/// The client of a request, as trusted proxies name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ForwardedClient {
    pub(super) client: IpAddr,
    /// Whether the client used https to the proxy.
    pub(super) secure: bool,
}

/// One hop as its proxy described it: the address, unless it is hidden or malformed, and https.
type Hop = (Option<IpAddr>, bool);

impl ProxyTrust {
    /// Whether this is one of the proxies.
    pub(super) fn is_proxy(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.proxies.iter().any(|network| network.contains(&ip))
    }

    /// The client that a trusted proxy names; `None` if the peer is none or its header is unusable.
    pub(super) fn named(&self, peer: IpAddr, headers: &HeaderMap) -> Option<ForwardedClient> {
        if !self.is_proxy(peer) {
            return None;
        }
        match self.header? {
            ForwardedBy::Forwarded => {
                self.first_untrusted(lines(headers, &header::FORWARDED).flat_map(forwarded))
            }
            ForwardedBy::XForwardedFor => self.first_untrusted(x_forwarded(headers)),
        }
    }

    /// The first of these hops, the rightmost first, that is no trusted proxy; if all are, the
    /// last.
    fn first_untrusted(&self, hops: impl Iterator<Item = Hop>) -> Option<ForwardedClient> {
        let mut last = None;
        for (address, secure) in hops {
            let client = address?.to_canonical();
            last = Some(ForwardedClient { client, secure });
            if !self.is_proxy(client) {
                break;
            }
        }
        last
    }
}

/// A header's lines, the last first. A line that is not text is replaced by a malformed one.
fn lines<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines: Vec<_> = headers.get_all(name).iter().map(|line| line.to_str()).collect();
    lines.into_iter().rev().map(|line| line.unwrap_or("\""))
}

/// The hops of a `Forwarded` line from the right. A line that breaks the grammar is one malformed
/// hop: nothing in it can be distinguished from what a client wrote.
fn forwarded(line: &str) -> Vec<Hop> {
    let mut elements: Vec<_> = elements(line).unwrap_or_else(|| vec![(None, false)]);
    elements.reverse();
    elements
}

/// RFC 7239 section 4: elements between commas, pairs between semicolons, values in quotes or not.
fn elements(line: &str) -> Option<Vec<Hop>> {
    let mut hops = Vec::new();
    let mut rest = line;
    loop {
        let (mut address, mut proto) = (None, None);
        loop {
            rest = rest.trim_start_matches([' ', '\t']);
            if let Some(after) = rest.strip_prefix(';') {
                rest = after;
                continue;
            }
            if rest.is_empty() || rest.starts_with(',') {
                break;
            }
            let (name, after) = rest.split_once('=')?;
            if name.is_empty() || !name.bytes().all(is_token) {
                return None;
            }
            let (value, after) = value(after)?;
            // A parameter is allowed once in an element.
            let place = match name.to_ascii_lowercase().as_str() {
                "for" => Some(&mut address),
                "proto" => Some(&mut proto),
                _ => None,
            };
            if let Some(place) = place
                && place.replace(value).is_some()
            {
                return None;
            }
            rest = after.trim_start_matches([' ', '\t']);
            if !(rest.is_empty() || rest.starts_with([',', ';'])) {
                return None;
            }
        }
        if address.is_some() || proto.is_some() {
            let secure = proto.is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
            hops.push((address.and_then(|text| node(&text)), secure));
        }
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None => return Some(hops),
        }
    }
}

/// A token, or a quoted string without its escapes, and the rest of the text. Addresses with ports
/// and brackets must be quoted, but proxies leave the quotes out, and they are unambiguous without.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ';', ' ', '\t']).unwrap_or(text.len());
        let (value, after) = text.split_at(end);
        let plain = |byte| is_token(byte) || matches!(byte, b':' | b'[' | b']');
        return (!value.is_empty() && value.bytes().all(plain)).then(|| (value.to_owned(), after));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            char => value.push(char),
        }
    }
    None
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The hops of `X-Forwarded-For` from the right, each with what `X-Forwarded-Proto` says at its
/// place. A single word there applies to all hops, as proxies overwrite it.
fn x_forwarded(headers: &HeaderMap) -> impl Iterator<Item = Hop> {
    let items = |name: &HeaderName| -> Vec<&str> {
        lines(headers, name).flat_map(|line| line.rsplit(',')).map(str::trim).collect()
    };
    let (addresses, protos) = (items(&X_FORWARDED_FOR), items(&X_FORWARDED_PROTO));
    let hops = addresses.into_iter().enumerate().map(move |(place, address)| {
        let proto = if protos.len() == 1 { protos.first() } else { protos.get(place) };
        let secure = proto.is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
        (node(address), secure)
    });
    hops.collect::<Vec<_>>().into_iter()
}

/// An address with or without a port, IPv6 with or without brackets.
fn node(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(bracketed).or_else(with_port)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const PROXY: &str = "10.0.0.1";

    fn trust(header: ForwardedBy) -> ProxyTrust {
        let proxies = ["10.0.0.0/24", "fd00::/64"].map(|network| network.parse().unwrap());
        ProxyTrust { proxies: proxies.to_vec(), header: Some(header), protocol: false }
    }

    fn named(header: ForwardedBy, lines: &[(&'static str, &str)]) -> Option<(String, bool)> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        let named = trust(header).named(PROXY.parse().unwrap(), &headers);
        named.map(|named| (named.client.to_string(), named.secure))
    }

    #[test]
    fn forwarded_names_the_first_from_the_right_that_is_no_proxy() {
        let cases: [(&str, Option<(&str, bool)>); 32] = [
            ("for=192.0.2.60", Some(("192.0.2.60", false))),
            ("for=192.0.2.60;proto=https", Some(("192.0.2.60", true))),
            ("For=192.0.2.60; Proto=HTTPS; by=203.0.113.43", Some(("192.0.2.60", true))),
            ("proto=https;for=192.0.2.60", Some(("192.0.2.60", true))),
            ("for=192.0.2.60;proto=http", Some(("192.0.2.60", false))),
            ("for=\"192.0.2.60:4711\"", Some(("192.0.2.60", false))),
            ("for=192.0.2.60:4711", Some(("192.0.2.60", false))),
            ("for=\"[2001:db8:cafe::17]:4711\"", Some(("2001:db8:cafe::17", false))),
            ("for=\"[2001:db8:cafe::17]\"", Some(("2001:db8:cafe::17", false))),
            ("for=[2001:db8:cafe::17]", Some(("2001:db8:cafe::17", false))),
            ("for=\"\\1\\92.0.2.60\"", Some(("192.0.2.60", false))),
            ("for=\"::ffff:192.0.2.60\"", Some(("192.0.2.60", false))),
            // A forged address is further left.
            ("for=198.51.100.9, for=192.0.2.60", Some(("192.0.2.60", false))),
            (
                "for=198.51.100.9;proto=https, for=192.0.2.60;proto=http",
                Some(("192.0.2.60", false)),
            ),
            ("for=10.0.0.7, for=192.0.2.60", Some(("192.0.2.60", false))),
            // A chain of trusted proxies.
            ("for=192.0.2.60;proto=https, for=10.0.0.7;proto=http", Some(("192.0.2.60", true))),
            (
                "for=1.1.1.1, for=192.0.2.60, for=\"[fd00::1]\", for=10.0.0.9",
                Some(("192.0.2.60", false)),
            ),
            ("for=10.0.0.7", Some(("10.0.0.7", false))),
            (",, for=192.0.2.60 ,", Some(("192.0.2.60", false))),
            // Hidden, unknown or malformed at the deciding hop: no client.
            ("for=unknown", None),
            ("for=_hidden", None),
            ("for=\"_SEVKISEK\";proto=https", None),
            ("for=192.0.2.60, for=_hidden", None),
            ("for=192.0.2.60, for=unknown", None),
            ("proto=https", None),
            ("for=192.0.2.999", None),
            ("for=", None),
            ("for=192.0.2.60;for=198.51.100.9", None),
            ("for=\"192.0.2.60", None),
            ("for=192.0.2.60 for=198.51.100.9", None),
            ("192.0.2.60", None),
            ("", None),
        ];
        for (line, expected) in cases {
            let found = named(ForwardedBy::Forwarded, &[("forwarded", line)]);
            let expected = expected.map(|(client, secure)| (client.to_owned(), secure));
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn what_a_client_breaks_on_its_own_line_does_not_hide_it() {
        let lines = [("forwarded", "for=\"1.1.1.1"), ("forwarded", "for=192.0.2.60;proto=https")];
        let found = named(ForwardedBy::Forwarded, &lines);
        assert_eq!(found, Some(("192.0.2.60".to_owned(), true)));
        let lines = [("x-forwarded-for", "nonsense"), ("x-forwarded-for", "192.0.2.60")];
        let found = named(ForwardedBy::XForwardedFor, &lines);
        assert_eq!(found, Some(("192.0.2.60".to_owned(), false)));
    }

    #[test]
    fn x_forwarded_for_is_read_in_the_same_way() {
        type Case = (&'static str, &'static str, Option<(&'static str, bool)>);
        let cases: [Case; 16] = [
            ("192.0.2.60", "", Some(("192.0.2.60", false))),
            ("192.0.2.60", "https", Some(("192.0.2.60", true))),
            ("192.0.2.60", "http", Some(("192.0.2.60", false))),
            ("198.51.100.9, 192.0.2.60", "https", Some(("192.0.2.60", true))),
            ("198.51.100.9, 192.0.2.60", "https, http", Some(("192.0.2.60", false))),
            ("192.0.2.60, 10.0.0.7", "https, http", Some(("192.0.2.60", true))),
            ("192.0.2.60,10.0.0.7,10.0.0.8", "https", Some(("192.0.2.60", true))),
            ("2001:db8::1", "https", Some(("2001:db8::1", true))),
            ("[2001:db8::1]:443", "https", Some(("2001:db8::1", true))),
            ("192.0.2.60:4711", "https", Some(("192.0.2.60", true))),
            ("10.0.0.7", "", Some(("10.0.0.7", false))),
            ("unknown", "https", None),
            ("192.0.2.60, unknown", "https", None),
            ("192.0.2.60,", "https", None),
            ("_hidden", "https", None),
            ("192.0.2.60; DROP", "https", None),
        ];
        for (addresses, proto, expected) in cases {
            let mut lines = vec![("x-forwarded-for", addresses)];
            if !proto.is_empty() {
                lines.push(("x-forwarded-proto", proto));
            }
            let found = named(ForwardedBy::XForwardedFor, &lines);
            let expected = expected.map(|(client, secure)| (client.to_owned(), secure));
            assert_eq!(found, expected, "{addresses} {proto}");
        }
    }

    #[test]
    fn only_the_configured_header_of_a_trusted_proxy_is_read() {
        let mut headers = HeaderMap::new();
        headers.insert(header::FORWARDED, HeaderValue::from_static("for=192.0.2.60"));
        headers.insert(X_FORWARDED_FOR, HeaderValue::from_static("192.0.2.61"));
        let asks = |trust: &ProxyTrust, peer: &str| {
            trust.named(peer.parse().unwrap(), &headers).map(|named| named.client.to_string())
        };
        let by_forwarded = trust(ForwardedBy::Forwarded);
        assert_eq!(asks(&by_forwarded, PROXY).as_deref(), Some("192.0.2.60"));
        assert_eq!(asks(&by_forwarded, "::ffff:10.0.0.1").as_deref(), Some("192.0.2.60"));
        let by_x = trust(ForwardedBy::XForwardedFor);
        assert_eq!(asks(&by_x, PROXY).as_deref(), Some("192.0.2.61"));
        for peer in ["10.0.1.1", "127.0.0.1", "fd00:0:0:1::1", "192.0.2.60"] {
            assert_eq!(asks(&by_forwarded, peer), None, "{peer}");
        }
        assert_eq!(asks(&ProxyTrust::default(), PROXY), None);
    }
}
