//! The form of the log: one line is one JSON object, and each holds the hash of the line before.
//!
//! ```text
//! {"seq":7,"time":"2026-11-23T10:00:00.000Z","chain":"…","prev":"<SHA-256 of line 6>","position":"41.0","event":…}
//! ```
//! The hash is over a line's exact bytes without its line feed, so nobody has to agree on how JSON
//! is written. What an entry tells is its `event` and what belongs to that.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_proto::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::journal::EntryPosition;
use crate::rfc3339;

/// What stands before the first line: the hash of nothing that exists.
pub(super) const NO_LINE: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// `event` of a signed checkpoint.
pub(super) const CHECKPOINT: &str = "checkpoint";
/// `typ` of a checkpoint's JWS.
pub const CHECKPOINT_TYP: &str = "audit-checkpoint+jwt";

/// What every line has. Further members are its event's own.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Head {
    /// The line's number in its chain, from 1 without gaps.
    pub(super) seq: u64,
    /// When it was written (RFC 3339, UTC).
    pub(super) time: String,
    /// Which chain: one for each audit directory.
    pub(super) chain: String,
    /// The hash of the line before.
    pub(super) prev: String,
    /// The entry of the relay's journal that it holds, or the last one before it; none in lines of
    /// earlier versions.
    #[serde(default)]
    pub(super) position: Option<String>,
    /// What happened.
    pub(super) event: String,
    /// With a checkpoint: the signature.
    #[serde(default)]
    pub(super) jws: Option<String>,
}

/// What a checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The relay's public URL.
    pub iss: String,
    /// When it was signed, in seconds.
    pub iat: u64,
    /// The chain.
    pub chain: String,
    /// The last line that it covers.
    pub seq: u64,
    /// That line's hash.
    pub hash: String,
    /// The first line that is kept; older ones passed their retention.
    pub first_seq: u64,
    /// The hash of the line before that one.
    pub first_prev: String,
}

/// The hash of a line, without its line feed.
#[must_use]
pub(super) fn hash(line: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, line))
}

/// A line around the JSON object of an event, without line feed.
pub(super) fn line(
    (seq, prev, chain): (u64, &str, &str),
    at: UnixMillis,
    position: EntryPosition,
    body: &str,
) -> String {
    let body = body.strip_prefix('{').unwrap_or(body);
    let time = rfc3339::format(at);
    format!(
        r#"{{"seq":{seq},"time":"{time}","chain":"{chain}","prev":"{prev}","position":"{position}",{body}"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_object_whose_head_can_be_read() {
        let place = EntryPosition { row: 41, index: 2 };
        let started = r#"{"event":"started","version":"1"}"#;
        let text = line((7, NO_LINE, "c"), UnixMillis(0), place, started);
        let head: Head = serde_json::from_str(&text).unwrap();
        assert_eq!((head.seq, head.event.as_str(), head.prev.as_str()), (7, "started", NO_LINE));
        assert_eq!(head.position.as_deref(), Some("41.2"));
        // printf '' | openssl dgst -sha256 -binary | basenc --base64url
        assert_eq!(hash(b""), "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU");
    }
}
