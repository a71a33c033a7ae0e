//! Extra headers of every call, such as an API key of a gateway before the FIDO2 server, from a file
//! of `Name: value` lines.

use std::path::Path;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

/// Largest file in bytes: common servers accept 8 KiB of headers.
const SIZE_MAX: usize = 8 * 1024;
/// Headers that the relay or its HTTP library sets, and those of a single connection (RFC 9110
/// section 7.6.1).
const RESERVED: [&str; 14] = [
    "accept-encoding",
    "connection",
    "cookie",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Reads the headers of a file.
///
/// # Errors
/// A description of the error with its line, which repeats nothing of the file.
pub(super) fn read(file: &Path) -> Result<HeaderMap, String> {
    parse(&std::fs::read(file).map_err(|error| error.to_string())?)
}

fn parse(file: &[u8]) -> Result<HeaderMap, String> {
    if file.len() > SIZE_MAX {
        return Err(format!("has more than {SIZE_MAX} bytes"));
    }
    let mut headers = HeaderMap::new();
    for (index, line) in file.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let (name, value) = header(line).map_err(|why| format!("line {}: {why}", index + 1))?;
        if headers.insert(name, value).is_some() {
            return Err(format!("line {}: the same name again", index + 1));
        }
    }
    Ok(headers)
}

fn header(line: &[u8]) -> Result<(HeaderName, HeaderValue), &'static str> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or("must be `Name: value`")?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    let name = HeaderName::from_bytes(name).map_err(|_| "is no name of a header")?;
    if RESERVED.contains(&name.as_str()) || name.as_str().starts_with("content-") {
        return Err("is a header that the relay sets itself, or one of a single connection");
    }
    if value.is_empty() {
        return Err("has no value");
    }
    let mut value = HeaderValue::from_bytes(value).map_err(|_| "has a control character")?;
    value.set_sensitive(true);
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_a_header_that_no_log_shows() {
        let text = "# the gateway's\r\nX-Api-Key:  s3cret: ü \r\n\nauthorization: Basic YTpi";
        let headers = parse(text.as_bytes()).unwrap();
        assert_eq!(headers.len(), 2);
        assert_eq!(headers["x-api-key"].as_bytes(), "s3cret: ü".as_bytes());
        assert_eq!(headers["authorization"], "Basic YTpi");
        let printed = format!("{headers:?}");
        assert!(!printed.contains("s3cret") && !printed.contains("YTpi"), "{printed}");
    }

    #[test]
    fn what_is_no_header_or_not_the_operators_is_refused_without_repeating_it() {
        for line in [
            "s3cret",
            "s3cret key: s3cret",
            ": s3cret",
            "X-Api-Key:",
            "X-Api-Key: s3\u{1}cret",
            "X-Api-Key: one\nx-api-KEY: s3cret",
            "Host: s3cret",
            "Cookie: s3cret",
            "Content-Length: 1",
            "Content-Type: s3cret",
            "Content-Encoding: s3cret",
            "Transfer-Encoding: s3cret",
            "Connection: s3cret",
            "Proxy-Authorization: s3cret",
            "TE: s3cret",
            "Accept-Encoding: gzip",
        ] {
            let why = parse(line.as_bytes()).unwrap_err();
            assert!(why.starts_with("line ") && !why.contains("s3"), "{line}: {why}");
        }
        assert!(parse(&vec![b'\n'; SIZE_MAX + 1]).is_err());
        assert!(parse(&vec![b'\n'; SIZE_MAX]).unwrap().is_empty());
    }
}
