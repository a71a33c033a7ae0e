//! The PROXY protocol, versions 1 and 2, as its receiver: the header that a trusted proxy sends
//! before anything else. Reads exactly the header, so that nothing has to be given back to the
//! stream.
//!
//! A parser of our own: a library gives a parser of bytes that were read already, and to read
//! no byte too many is what there is to do here. Specification: "The PROXY protocol, Versions 1
//! & 2", sections 2.1 and 2.2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Both versions are at least as long as version 2's signature.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, with its end (section 2.1).
const LINE: usize = 107;
/// What version 2 may announce: addresses and a proxy's additions, which are some dozens of bytes.
const ADDITIONS: usize = 1024;

/// Why a connection is not a proxy's.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeaderError {
    #[error("it ended within the header: {0}")]
    Ended(#[from] std::io::Error),
    #[error("it does not begin with a PROXY protocol header")]
    Missing,
    #[error("its PROXY protocol header is malformed")]
    Malformed,
    #[error("its PROXY protocol header is too long")]
    TooLong,
}

/// Reads the header: the client's address, or none if the proxy speaks for itself.
pub(super) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<IpAddr>, HeaderError> {
    let mut start = [0; SIGNATURE.len()];
    // Byte by byte while it can be a header: a peer that sends something else and waits is refused
    // at once.
    for at in 0..start.len() {
        start[at] = stream.read_u8().await?;
        let so_far = &start[..=at];
        if !SIGNATURE.starts_with(so_far) && !is_start_of_line(so_far) {
            return Err(HeaderError::Missing);
        }
    }
    if start == SIGNATURE { binary(stream).await } else { line(stream, start.to_vec()).await }
}

fn is_start_of_line(bytes: &[u8]) -> bool {
    bytes.iter().zip(b"PROXY ").all(|(byte, expected)| byte == expected)
}

async fn line(
    stream: &mut (impl AsyncRead + Unpin),
    mut line: Vec<u8>,
) -> Result<Option<IpAddr>, HeaderError> {
    while !line.ends_with(b"\r\n") {
        if line.len() == LINE {
            return Err(HeaderError::TooLong);
        }
        line.push(stream.read_u8().await?);
    }
    let text = line.strip_suffix(b"\r\n").and_then(|line| std::str::from_utf8(line).ok());
    text.and_then(parse_line).ok_or(HeaderError::Malformed)
}

/// `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443`
fn parse_line(line: &str) -> Option<Option<IpAddr>> {
    let mut words = line.split(' ');
    if words.next()? != "PROXY" {
        return None;
    }
    let family = words.next()?;
    if family == "UNKNOWN" {
        // Whatever follows is to be ignored.
        return Some(None);
    }
    let (from, to) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    for _ in 0..2 {
        let port = words.next()?;
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        port.parse::<u16>().ok().filter(|_| digits && (port == "0" || !port.starts_with('0')))?;
    }
    let fits = match family {
        "TCP4" => matches!((from, to), (IpAddr::V4(_), IpAddr::V4(_))),
        "TCP6" => matches!((from, to), (IpAddr::V6(_), IpAddr::V6(_))),
        _ => false,
    };
    (fits && words.next().is_none()).then_some(Some(from))
}

async fn binary(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<IpAddr>, HeaderError> {
    let (version_and_command, family) = (stream.read_u8().await?, stream.read_u8().await?);
    let length = usize::from(stream.read_u16().await?);
    if length > ADDITIONS {
        return Err(HeaderError::TooLong);
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    match (version_and_command, family) {
        // LOCAL: the proxy's own, such as a health check. UNSPEC: it cannot say.
        (0x20, _) | (0x21, 0x00) => Ok(None),
        // TCP over IPv4: two addresses of 4 bytes, two ports of 2.
        (0x21, 0x11) if length >= 12 => {
            let from = rest.first_chunk::<4>().ok_or(HeaderError::Malformed)?;
            Ok(Some(Ipv4Addr::from(*from).into()))
        }
        // TCP over IPv6: two addresses of 16 bytes, two ports of 2.
        (0x21, 0x21) if length >= 36 => {
            let from = rest.first_chunk::<16>().ok_or(HeaderError::Malformed)?;
            Ok(Some(Ipv6Addr::from(*from).into()))
        }
        _ => Err(HeaderError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a header comes to, and what is left in the stream after it.
    async fn reads(bytes: &[u8]) -> Result<(Option<String>, usize), String> {
        let mut stream = bytes;
        let found = read(&mut stream).await.map_err(|error| format!("{error:?}"))?;
        Ok((found.map(|ip| ip.to_string()), stream.len()))
    }

    fn second(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    #[tokio::test]
    async fn a_good_header_names_the_client_and_nothing_after_it_is_read() {
        let four: &[u8] = &[192, 0, 2, 60, 10, 0, 0, 1, 0xdc, 4, 1, 187];
        let six = [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[7], &[0; 16], &[1, 2, 3, 4]].concat();
        let with_more = [four, &[0x04, 0, 3, 1, 2, 3]].concat();
        let cases: [(Vec<u8>, Option<&str>); 9] = [
            (b"PROXY TCP4 192.0.2.60 10.0.0.1 56324 443\r\n".to_vec(), Some("192.0.2.60")),
            (b"PROXY TCP6 2001:db8::7 fd00::1 0 65535\r\n".to_vec(), Some("2001:db8::7")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN whatever it is\r\n".to_vec(), None),
            (second(0x21, 0x11, four), Some("192.0.2.60")),
            (second(0x21, 0x11, &with_more), Some("192.0.2.60")),
            (second(0x21, 0x21, &six), Some("2001:db8::7")),
            (second(0x20, 0x00, &[]), None),
            (second(0x21, 0x00, &[1, 2, 3]), None),
        ];
        for (header, expected) in cases {
            let bytes = [&header[..], b"GET /"].concat();
            let found = reads(&bytes).await;
            assert_eq!(found, Ok((expected.map(str::to_owned), 5)), "{header:?}");
        }
    }

    #[tokio::test]
    async fn a_bad_one_is_none() {
        let long_line = [&b"PROXY UNKNOWN "[..], &[b'x'; 200], b"\r\n"].concat();
        let mut endless = SIGNATURE.to_vec();
        endless.extend_from_slice(&[0x21, 0x11, 0xff, 0xff]);
        let cases: [(&str, Vec<u8>); 21] = [
            ("Missing", b"GET / HTTP/1.1\r\n".to_vec()),
            ("Missing", b"\x16\x03\x01".to_vec()),
            ("Missing", b"proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n".to_vec()),
            ("Missing", b"\r\n\r\n\0\r\nQUIX\n".to_vec()),
            ("Ended", b"".to_vec()),
            ("Ended", b"PROXY TCP4 1.1.1.1".to_vec()),
            ("Ended", SIGNATURE.to_vec()),
            ("Ended", second(0x21, 0x11, &[0; 12])[..20].to_vec()),
            ("TooLong", long_line),
            ("TooLong", endless),
            ("Malformed", b"PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n".to_vec()),
            ("Malformed", b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n".to_vec()),
            ("Malformed", b"PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n".to_vec()),
            ("Malformed", b"PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n".to_vec()),
            ("Malformed", b"PROXY TCP4 1.1.1.1 2.2.2.2 1 +2\r\n".to_vec()),
            ("Malformed", b"PROXY TCP4 2001:db8::7 fd00::1 1 2\r\n".to_vec()),
            ("Malformed", b"PROXY TCP4 1.1.1.999 2.2.2.2 1 2\r\n".to_vec()),
            ("Malformed", b"PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n".to_vec()),
            ("Malformed", second(0x11, 0x11, &[0; 12])),
            ("Malformed", second(0x21, 0x11, &[0; 11])),
            ("Malformed", second(0x21, 0x31, &[0; 216])),
        ];
        for (expected, bytes) in cases {
            let found = reads(&bytes).await.unwrap_err();
            assert!(found.starts_with(expected), "{bytes:?}: {found}");
        }
    }
}
