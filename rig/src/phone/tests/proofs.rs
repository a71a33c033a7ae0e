//! The proofs are what the protocol's text asks for, and nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_proto::device::{AUTH_TYP, AuthClaims, PAIRING_TYP, PairingClaims};
use fido_relay_proto::http::{P256Jwk, PairDevice, PairedDevice, Platform};
use fido_relay_proto::{PlainText, Problem, ProblemCode, RelayFrame};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::relay::{ScriptedRelay, soon};
use crate::phone::wire::Socket;
use crate::phone::{Codes, DeviceKey, Faults, PairingError, PairingLink, pair};

/// The claims, if `jwk` signed them under this `typ`.
pub(super) fn verified<T: DeserializeOwned + Clone>(proof: &str, typ: &str, jwk: &P256Jwk) -> T {
    assert_eq!(decode_header(proof).unwrap().typ.as_deref(), Some(typ));
    let mut rules = Validation::new(Algorithm::ES256);
    rules.required_spec_claims.clear();
    rules.validate_exp = false;
    rules.validate_aud = false;
    let key = DecodingKey::from_ec_components(&jwk.x, &jwk.y).unwrap();
    decode::<T>(proof, &key, &rules).unwrap().claims
}

#[test]
fn the_thumbprint_is_that_of_rfc_7638() {
    let key = DeviceKey::generate().unwrap();
    let P256Jwk { x, y, .. } = key.jwk();
    let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_str(&members).unwrap();
    let theirs = jwk.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256);
    assert_eq!(key.thumbprint(), theirs.unwrap());
}

#[test]
fn a_key_survives_its_own_storage() {
    let key = DeviceKey::generate().unwrap();
    let again = DeviceKey::from_pkcs8(key.pkcs8()).unwrap();
    assert_eq!(again.jwk(), key.jwk());
    assert!(DeviceKey::from_pkcs8(b"not a key").is_err());
    assert!(!format!("{key:?}").contains(&URL_SAFE_NO_PAD.encode(&key.pkcs8()[36..60])));
}

#[tokio::test]
async fn the_auth_proof_names_the_dialled_url_the_nonce_and_the_device() {
    let relay = ScriptedRelay::new().await;
    let _phone = relay.phone(std::sync::Arc::new(Codes::default()), Faults::none());
    let (_line, proof) = relay.proven("a nonce of this socket").await;
    let claims: AuthClaims = verified(&proof, AUTH_TYP, relay.key.jwk());
    assert_eq!(claims.aud, relay.socket_url());
    assert_eq!(claims.nonce, "a nonce of this socket");
    assert_eq!(claims.device_id, relay.device_id);
    assert!(claims.iat > 1_600_000_000);
}

#[tokio::test]
async fn a_reauth_is_answered_with_a_proof_of_its_own_nonce() {
    let relay = ScriptedRelay::new().await;
    let _phone = relay.phone(std::sync::Arc::new(Codes::default()), Faults::none());
    let mut line = relay.welcomed().await;
    line.send(&RelayFrame::Reauth { nonce: "another".to_owned(), auth_within_s: 10 }).await;
    let fido_relay_proto::DeviceFrame::Auth(auth) = line.frame().await else { panic!() };
    let claims: AuthClaims = verified(&auth.proof, AUTH_TYP, relay.key.jwk());
    assert_eq!(claims.nonce, "another");
}

#[tokio::test]
async fn a_low_level_socket_authenticates_and_reads_frame_by_frame() {
    let relay = ScriptedRelay::new().await;
    let url = relay.socket_url();
    let (line, socket) = tokio::join!(relay.welcomed(), async {
        let mut socket = Socket::connect(&url).await.unwrap();
        socket.authenticate(&relay.key, relay.device_id).await.unwrap();
        socket
    });
    let (mut line, mut socket) = (line, socket);
    socket.send_text("not json").await.unwrap();
    assert_eq!(line.text().await.as_deref(), Some("not json"));
    line.send(&RelayFrame::Goaway { reconnect_in_ms: 7 }).await;
    assert!(matches!(
        soon("goaway", socket.next_frame()).await,
        Ok(RelayFrame::Goaway { reconnect_in_ms: 7 })
    ));
    line.close(4403).await;
    let end = soon("the close", socket.next_frame()).await.unwrap_err();
    assert_eq!(end.code(), Some(4403));
}

/// Answers one HTTP request with this status and body, and gives the request's body.
async fn serve_once(relay: &ScriptedRelay, status: &str, body: String) -> (String, PairDevice) {
    let mut stream = relay.raw().await;
    let mut request = Vec::new();
    let (head, body_at) = loop {
        let mut chunk = [0; 4096];
        let read = soon("the request", stream.read(&mut chunk)).await.unwrap();
        assert_ne!(read, 0, "the phone hung up");
        request.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some(end) = text.find("\r\n\r\n")
            && serde_json::from_slice::<PairDevice>(&request[end + 4..]).is_ok()
        {
            break (text[..end].to_owned(), end + 4);
        }
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
    (head, serde_json::from_slice(&request[body_at..]).unwrap())
}

#[tokio::test]
async fn the_pairing_proof_covers_token_key_and_address() {
    let relay = ScriptedRelay::new().await;
    let socket_url = relay.socket_url();
    let base = socket_url.replace("ws://", "http://").replace("/v1/device/socket", "");
    let link = format!("fido-relay://pair?relay={}&token=t%2Dk", base.replace(':', "%3A"));
    let link: PairingLink = link.parse().unwrap();
    let answer = PairedDevice { device_id: relay.device_id, socket_url: socket_url.clone() };
    let key = DeviceKey::generate().unwrap();
    let name = PlainText::new("Ada's phone").unwrap();
    let (paired, (head, sent)) = tokio::join!(
        pair(&link.relay, &link.token, Some(name.clone()), key.clone()),
        serve_once(&relay, "201 Created", serde_json::to_string(&answer).unwrap())
    );
    let paired = paired.unwrap();
    assert_eq!((paired.device_id, &paired.socket_url), (relay.device_id, &socket_url));
    assert!(head.starts_with("POST /v1/devices HTTP/1.1"));
    assert_eq!((sent.pairing_token.as_deref(), sent.name), (Some("t-k"), Some(name)));
    assert_eq!((&sent.jwk, sent.platform), (key.jwk(), Platform::Other));
    let claims: PairingClaims = verified(&sent.proof, PAIRING_TYP, &sent.jwk);
    assert_eq!(claims.aud, format!("{base}/v1/devices"));
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"t-k");
    assert_eq!(claims.token_hash, URL_SAFE_NO_PAD.encode(hash));
    assert_eq!(claims.jkt, key.thumbprint());
}

#[tokio::test]
async fn a_refused_pairing_tells_the_relays_reason() {
    let relay = ScriptedRelay::new().await;
    let base = relay.socket_url().replace("ws://", "http://");
    let problem = serde_json::to_string(&Problem::new(ProblemCode::Gone)).unwrap();
    let base = base.parse().unwrap();
    let (paired, _) = tokio::join!(
        pair(&base, "used", None, DeviceKey::generate().unwrap()),
        serve_once(&relay, "410 Gone", problem)
    );
    let Err(PairingError::Refused { status: 410, title, .. }) = paired else { panic!() };
    assert_eq!(title, "This was used up");
}

#[test]
fn a_link_without_relay_or_token_is_no_pairing_link() {
    for bad in [
        "",
        "https://relay.example/?token=t",
        "fido-relay://pair?relay=https%3A%2F%2Frelay.example",
        "fido-relay://pair?token=t",
        "fido-relay://pair?relay=javascript%3A1&token=t",
        "fido-relay://unpair?relay=https%3A%2F%2Frelay.example&token=t",
    ] {
        assert!(bad.parse::<PairingLink>().is_err(), "{bad}");
    }
}
