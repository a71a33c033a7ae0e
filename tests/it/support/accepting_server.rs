//! A FIDO2 server that agrees with everything and counts: for tests of the relay around it. What
//! it must never see twice is counted here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay::config::{Config, HttpUpstream, Upstream};

use super::scripted_upstream::{Answer, Received, Reply, ScriptedUpstream};

/// What a card would have signed, as far as this server looks.
pub(crate) const CREDENTIAL: &str =
    r#"{"id":"AQIDBA","rawId":"AQIDBA","type":"public-key","response":{}}"#;

/// A begin answer for a registration, as far as a card needs it.
pub(crate) const CREATION_OPTIONS: &str = r#"{"status":"ok","errorMessage":"",
    "challenge":"Y2hhbGxlbmdlLWNoYWxsZW5nZQ","rp":{"id":"localhost","name":"Example"},
    "user":{"id":"AQIDBA","name":"ada","displayName":"Ada"},
    "pubKeyCredParams":[{"type":"public-key","alg":-7}]}"#;

/// Agrees with everything; every challenge is another.
pub(crate) fn accepting_server() -> ScriptedUpstream {
    ScriptedUpstream::listening(|number, request| Reply::Answer(accepted_answer(number, request)))
}

/// The answer of a server that agrees.
pub(crate) fn accepted_answer(number: usize, request: &Received) -> Answer {
    if is_completion(request) {
        return Answer::json(200, r#"{"status":"ok","errorMessage":""}"#);
    }
    let challenge = URL_SAFE_NO_PAD.encode(format!("challenge-{number:022}"));
    let body = format!(
        r#"{{"status":"ok","errorMessage":"","challenge":"{challenge}","rpId":"localhost"}}"#
    );
    Answer::json(200, body).with("Set-Cookie", format!("session=s{number}; Path=/; HttpOnly"))
}

pub(crate) fn is_completion(request: &Received) -> bool {
    request.call.ends_with("/result")
}

/// Completions so far.
pub(crate) fn completions(server: &ScriptedUpstream) -> usize {
    server.received().iter().filter(|request| is_completion(request)).count()
}

/// Begun challenges so far.
pub(crate) fn begins(server: &ScriptedUpstream) -> usize {
    server.received().len() - completions(server)
}

/// Has a relay use the server at this URL.
pub(crate) fn upstream_at(url: &str) -> impl FnOnce(&mut Config) + use<> {
    let limit = std::time::Duration::from_secs(10);
    let upstream = Upstream::Http(HttpUpstream {
        begin_timeout: limit,
        complete_timeout: limit,
        ..HttpUpstream::new(url.parse().unwrap())
    });
    |config| config.upstream = upstream
}
