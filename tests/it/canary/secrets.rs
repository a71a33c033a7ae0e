//! Secrets of a run, and whether a text shows one: as it is, or in any of the forms in which a
//! program writes bytes down.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

/// Below this many characters a text may hold a secret by chance.
const LONG: usize = 16;

/// Everything that must show nowhere, with what it is called.
#[derive(Debug, Default)]
pub(crate) struct Secrets {
    /// What a text is searched for, with the secret that it is a form of.
    forms: BTreeMap<String, &'static str>,
    /// Short ones: searched for as a number or a word of its own.
    codes: Vec<String>,
}

impl Secrets {
    /// A secret that is a text, such as a token.
    pub(crate) fn add(&mut self, name: &'static str, secret: &str) {
        assert!(secret.len() >= LONG, "{name} is too short to be found for certain: {secret}");
        self.add_bytes(name, secret.as_bytes());
        self.forms.insert(secret.to_owned(), name);
        self.forms.insert(percent(secret), name);
        // A token is often bytes in base64url behind a prefix, and the parts of a JWS are.
        for part in secret.split(['.', '_']) {
            if let Ok(bytes) = URL_SAFE_NO_PAD.decode(part)
                && bytes.len() >= LONG
            {
                self.add_bytes(name, &bytes);
            }
        }
    }

    /// A secret that is bytes, such as a key.
    pub(crate) fn add_bytes(&mut self, name: &'static str, bytes: &[u8]) {
        assert!(bytes.len() >= LONG, "{name} is too short to be found for certain");
        let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let debug = format!("{bytes:?}");
        for form in [
            STANDARD_NO_PAD.encode(bytes),
            URL_SAFE_NO_PAD.encode(bytes),
            STANDARD.encode(bytes),
            URL_SAFE.encode(bytes),
            percent(&STANDARD.encode(bytes)),
            hex.to_ascii_uppercase(),
            hex,
            debug.trim_matches(['[', ']']).to_owned(),
        ] {
            self.forms.insert(form, name);
        }
    }

    /// A code of six digits.
    pub(crate) fn add_code(&mut self, code: &str) {
        assert!(code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()));
        self.codes.push(code.to_owned());
    }

    /// A pairing code as it is typed, in either of its forms.
    pub(crate) fn add_typed_code(&mut self, code: &str) {
        assert!(code.len() >= 10);
        self.codes.extend([code.to_owned(), code.replace('-', "")]);
    }

    pub(crate) fn len(&self) -> usize {
        self.forms.len() + self.codes.len()
    }

    /// The secrets that a text shows, each with the text around it.
    pub(crate) fn shown_in(&self, text: &str) -> Vec<String> {
        let mut shown = Vec::new();
        for (form, name) in &self.forms {
            if let Some(at) = text.find(form.as_str()) {
                shown.push(format!("{name}: {}", line_around(text, at)));
            }
        }
        for code in &self.codes {
            if let Some((at, _)) = text
                .match_indices(code.as_str())
                .find(|(at, _)| stands_alone(text, *at, code.len()))
            {
                shown.push(format!("code: {}", line_around(text, at)));
            }
            let bytes = format!("{:?}", code.as_bytes());
            if let Some(at) = text.find(bytes.trim_matches(['[', ']'])) {
                shown.push(format!("code: {}", line_around(text, at)));
            }
        }
        shown
    }
}

/// Not a part of a longer number or word, nor of a time (`12:00:00.123456Z`).
fn stands_alone(text: &str, at: usize, length: usize) -> bool {
    let bytes = text.as_bytes();
    let joins = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let before = at.checked_sub(1).and_then(|before| bytes.get(before));
    !joins(before) && !joins(bytes.get(at + length)) && before != Some(&b'.')
}

/// The line of a place, for the report of a leak in a test.
fn line_around(text: &str, at: usize) -> &str {
    let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let end = text[at..].find('\n').map_or(text.len(), |end| at + end);
    let line = &text[start..end];
    line.get(..400).unwrap_or(line)
}

/// Every byte that is no letter or digit as `%2F`.
fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[test]
fn a_leak_is_seen_in_every_form() {
    let mut secrets = Secrets::default();
    let (token, key) = ("rk_abc/def+ghi_jklmnop?x", [0xfb_u8; 32]);
    secrets.add("token", token);
    secrets.add_bytes("key", &key);
    secrets.add_code("481516");
    for leak in [
        format!("authorization: Bearer {token}"),
        format!("{:?}", token.as_bytes()),
        format!("x {} y", STANDARD.encode(token)),
        format!("x={}", URL_SAFE_NO_PAD.encode(token)),
        "?key=rk_abc%2Fdef%2Bghi_jklmnop%3Fx".to_owned(),
        URL_SAFE.encode(key),
        STANDARD.encode(key),
        format!("key {}", "fb".repeat(32)),
        format!("key {}", "FB".repeat(32)),
        format!("{key:?}"),
        "code=481516 ceremony".to_owned(),
        "{\"code\":\"481516\"}".to_owned(),
        format!("{:?}", b"481516"),
    ] {
        assert_ne!(secrets.shown_in(&format!("first\n{leak}\nlast")), [""; 0], "{leak}");
    }
    for innocent in ["12:00:00.481516Z", "4815162", "a481516", "rk_abc", "fbfbfbfb"] {
        assert_eq!(secrets.shown_in(innocent), [""; 0], "{innocent}");
    }
}
