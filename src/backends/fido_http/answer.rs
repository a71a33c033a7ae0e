//! The meaning of the server's answers: the one exact form of success, and the kinds of failure.
//! Pure; knows nothing of HTTP clients.
//!
//! Success is HTTP 200 **and** JSON **and** `status` the string `"ok"` **and** a body that parses.
//! Other statuses count as the `x00` of their class (RFC 9110 section 15): an unknown 4xx is a
//! refusal, an unknown 5xx a failing server. A 2xx other than 200 and a 3xx are not relied upon. A
//! refusal is the server's own only with a `status` member: gateways answer 403, 404, 413 and 429
//! with pages of their own.

use serde::Deserialize;
use serde_json::value::RawValue;

use fido_relay_proto::limits::{JSON_DEPTH, JSON_OPTIONS_KEYS};
use fido_relay_proto::shape;

use super::call::HttpAnswer;
use super::lenient_base64::decode;
use crate::encoding::base64url;

/// The server's code for a session that ran out between begin and complete.
const SESSION_EXPIRED: &str = "E0024R";

/// The kind of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerKind {
    Ok,
    /// A refusal by the server.
    Refused,
    /// A 4xx without the interface's `status`: of a gateway, not of the server.
    Gateway,
    /// A refusal because the server does not know the user.
    NoAccount,
    /// The server's session has expired.
    SessionLost,
    /// The server could not store.
    Full,
    /// A 5xx: the server fails.
    Unwell,
    /// An invalid answer: a redirect, not JSON, no status.
    Garbled,
}

/// The members of every answer. Others are ignored.
#[derive(Deserialize)]
struct Common<'a> {
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow, rename = "errorMessage")]
    error_message: Option<&'a RawValue>,
    #[serde(borrow)]
    statuscode: Option<&'a RawValue>,
    #[serde(borrow, rename = "responseCode")]
    response_code: Option<&'a RawValue>,
}

/// The text of a JSON string.
fn string(value: Option<&RawValue>) -> Option<String> {
    serde_json::from_str(value?.get()).ok()
}

fn common(response: &HttpAnswer) -> Option<Common<'_>> {
    if !response.is_json {
        return None;
    }
    let text = std::str::from_utf8(&response.body).ok()?;
    // A struct can also be read from an array; an answer is an object.
    if !text.trim_start().starts_with('{') || !is_modest(text) {
        return None;
    }
    serde_json::from_str(text).ok()
}

pub(super) fn classify(response: &HttpAnswer) -> AnswerKind {
    let common = common(response);
    let status = common.as_ref().and_then(|common| string(common.status));
    let session_lost = common.as_ref().is_some_and(|common| {
        [common.statuscode, common.response_code, common.error_message]
            .into_iter()
            .any(|field| field.is_some_and(|text| text.get().contains(SESSION_EXPIRED)))
    });
    match (response.status, status.as_deref()) {
        (200, Some("ok")) => AnswerKind::Ok,
        (507, _) => AnswerKind::Full,
        (408, _) => AnswerKind::SessionLost,
        (200 | 400..=599, _) if session_lost => AnswerKind::SessionLost,
        // `"false"` is the server's status for a fault of the session.
        (401, Some("false")) => AnswerKind::SessionLost,
        (200, Some(_)) => AnswerKind::Refused,
        (403, Some(_)) => AnswerKind::NoAccount,
        (400..=499, Some(_)) => AnswerKind::Refused,
        (400..=499, None) => AnswerKind::Gateway,
        (500..=599, _) => AnswerKind::Unwell,
        _ => AnswerKind::Garbled,
    }
}

/// A summary of an answer for the log: status and codes, never its texts.
pub(super) fn describe(response: &HttpAnswer) -> String {
    let mut text = format!("HTTP {}", response.status);
    let Some(common) = common(response) else {
        text.push_str(", not a JSON object");
        return text;
    };
    for (name, value) in [
        ("status", common.status),
        ("statuscode", common.statuscode),
        ("responseCode", common.response_code),
    ] {
        let Some(value) = value else { continue };
        let code = value.get().trim_matches('"');
        if !code.is_empty() && code.len() <= 16 && code.bytes().all(|b| b.is_ascii_alphanumeric()) {
            text.push_str(&format!(", {name} {code}"));
        }
    }
    text
}

/// The challenge (base64url without padding) and the options object of a successful
/// begin answer. The object is the whole flat body, byte for byte.
pub(super) fn options(body: &[u8]) -> Result<(String, Box<RawValue>), &'static str> {
    #[derive(Deserialize)]
    struct WithChallenge {
        challenge: String,
    }
    let text = std::str::from_utf8(body).map_err(|_| "the options are not UTF-8")?;
    let options: WithChallenge =
        serde_json::from_str(text).map_err(|_| "the options hold no challenge")?;
    let challenge = decode(&options.challenge)
        .filter(|challenge| !challenge.is_empty())
        .map(base64url)
        .ok_or("the challenge is not base64")?;
    let options = serde_json::from_str(text).map_err(|_| "the options are not JSON")?;
    Ok((challenge, options))
}

/// Whether a JSON text keeps the bounds on nesting and keys.
pub(super) fn is_modest(text: &str) -> bool {
    shape::check(text.as_bytes(), JSON_DEPTH, JSON_OPTIONS_KEYS).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, body: &str) -> HttpAnswer {
        let (set_cookies, encoding) = (Vec::new(), None);
        HttpAnswer { status, is_json: true, set_cookies, encoding, body: body.into() }
    }

    #[test]
    fn only_the_exact_form_is_success() {
        assert_eq!(classify(&response(200, r#"{"status":"ok"}"#)), AnswerKind::Ok);
        assert_eq!(
            classify(&response(200, r#" { "x": [1], "status" : "\u006fk" } "#)),
            AnswerKind::Ok
        );
        for (status, body) in [
            (200, r#"{"status":"OK"}"#),
            (200, r#"{"status":"ok "}"#),
            (200, r#"{"status":true}"#),
            (200, r#"{"status":["ok"]}"#),
            (200, r#"{"Status":"ok"}"#),
            (200, r#"{"status":"failed","status":"ok"}"#),
            (200, r#"["ok"]"#),
            (200, r#"{"status":"ok"} trailing"#),
            (200, r#"{"status":"ok""#),
            (200, ""),
            (201, r#"{"status":"ok"}"#),
            (204, ""),
            (302, r#"{"status":"ok"}"#),
            (400, r#"{"status":"ok"}"#),
            (500, r#"{"status":"ok"}"#),
        ] {
            assert_ne!(classify(&response(status, body)), AnswerKind::Ok, "{status} {body}");
        }
        let html = HttpAnswer { is_json: false, ..response(200, r#"{"status":"ok"}"#) };
        assert_eq!(classify(&html), AnswerKind::Garbled);
    }

    #[test]
    fn a_lost_session_is_known_by_its_code_wherever_it_stands() {
        for body in [
            r#"{"status":"false","statuscode":"E0024R"}"#,
            r#"{"status":"failed","errorMessage":"E0024R: session expired"}"#,
        ] {
            for status in [200, 400, 401, 403, 500] {
                assert_eq!(
                    classify(&response(status, body)),
                    AnswerKind::SessionLost,
                    "{status} {body}"
                );
            }
        }
        assert_eq!(classify(&response(408, "")), AnswerKind::SessionLost);
        assert_eq!(classify(&response(401, r#"{"status":"false"}"#)), AnswerKind::SessionLost);
        assert_eq!(classify(&response(401, r#"{"status":"failed"}"#)), AnswerKind::Refused);
        assert_eq!(classify(&response(200, r#"{"status":"false"}"#)), AnswerKind::Refused);
    }

    #[test]
    fn statuses_that_nobody_named_count_as_the_first_of_their_class() {
        assert_eq!(classify(&response(429, r#"{"status":"failed"}"#)), AnswerKind::Refused);
        assert_eq!(classify(&response(599, "{}")), AnswerKind::Unwell);
        assert_eq!(classify(&response(299, r#"{"status":"failed"}"#)), AnswerKind::Garbled);
    }

    #[test]
    fn a_refusal_is_the_servers_own_only_with_a_status() {
        for status in [400, 401, 403, 404, 413, 429] {
            for body in ["", "<html>", "{}", r#"{"message":"no"}"#, r#"{"status":429}"#] {
                assert_eq!(
                    classify(&response(status, body)),
                    AnswerKind::Gateway,
                    "{status} {body}"
                );
            }
        }
    }

    #[test]
    fn options_keep_their_bytes_and_any_base64_gives_the_same_challenge() {
        for challenge in ["-_-_AA==", "+/+/AA==", "-_-_AA"] {
            let body = format!("{{ \"z\":1,\n\"challenge\" : \"{challenge}\" ,\"status\":\"ok\"}}");
            let (normalised, options) = options(body.as_bytes()).unwrap();
            assert_eq!(normalised, "-_-_AA");
            assert_eq!(options.get(), body);
        }
        for body in [r#"{}"#, r#"{"challenge":""}"#, r#"{"challenge":"!"}"#, r#"{"challenge":1}"#] {
            assert!(options(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn deep_or_crowded_answers_are_not_read() {
        let deep = format!(r#"{{"status":"ok","x":{}{}}}"#, "[".repeat(8), "]".repeat(8));
        assert_eq!(classify(&response(200, &deep)), AnswerKind::Garbled);
        let keys: Vec<_> = (0..256).map(|i| format!(r#""k{i}":"[[[[\"::""#)).collect();
        let crowded = format!(r#"{{"status":"ok",{}}}"#, keys.join(","));
        assert_eq!(classify(&response(200, &crowded)), AnswerKind::Garbled);
        let full = format!(r#"{{"status":"ok",{}}}"#, keys[1..].join(","));
        assert_eq!(classify(&response(200, &full)), AnswerKind::Ok);
    }

    #[test]
    fn a_log_line_holds_codes_and_no_text_of_the_server() {
        let body = r#"{"status":"failed","statuscode":"E0012","responseCode":403,
            "errorMessage":"canary"}"#;
        let line = describe(&response(403, body));
        assert_eq!(line, "HTTP 403, status failed, statuscode E0012, responseCode 403");
    }
}
