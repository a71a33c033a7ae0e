//! Everything that somebody can make of the relay's signed words without its keys, held against the
//! verification that initiators and auditors are told to do.

mod languages;
mod samples;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay::app::audit::known_checkpoint;
use fido_relay::backends::embedded::SystemClock;
use fido_relay::cli::audit::receipt;
use fido_relay::ports::Clock as _;
use fido_relay::security::device_proof;
use fido_relay::security::result_token::JwkSet;
use fido_relay_proto::http::OpenedCeremony;
use fido_relay_proto::{Binding, CeremonyType, UnixMillis, Username};
use fido_relay_rig::demo::result_token::{self, Expected};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::support::relay::TestRelay;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What the relay signed, and what is publicly known.
struct Signed {
    issuer: String,
    audience: String,
    opened: OpenedCeremony,
    nonce: String,
    result: String,
    other_result: String,
    receipt: String,
    other_receipt: String,
    checkpoint: String,
    jwks: Value,
}

impl Signed {
    async fn new() -> Self {
        let relay = TestRelay::start_with(|config| {
            config.receipts = true;
            config.audit.checkpoint_entries = 1;
        })
        .await;
        let bank = relay.initiator().await;
        let phone = relay.phone(&bank, "ada").await;
        let nonce = "n".repeat(16);
        let mut got = Vec::new();
        for kind in ["registration", "authentication"] {
            let body = json!({ "type": kind, "username": "ada", "client_nonce": nonce });
            let opened = bank.open(&body).await;
            phone.types(&opened);
            let result = bank.outcome(opened.id).await.result.unwrap();
            let path = format!("/v1/ceremonies/{}/receipt", opened.id);
            let receipt = bank.get(&path).await.text().await.unwrap();
            got.push((opened, result, receipt));
        }
        let whoami: Value = bank.get("/v1/clients/self").await.json().await.unwrap();
        let jwks = bank.get("/.well-known/jwks.json").await.json().await.unwrap();
        let issuer = relay.url();
        let directory = fido_relay::serve::audit_dir(relay.running.config());
        let _kept = relay.stop().await;
        let lines = crate::audit::lines(&directory);
        let line = lines.iter().rev().find(|line| line.contains("\"checkpoint\"")).unwrap();
        let line: Value = serde_json::from_str(line).unwrap();
        let (opened, result, receipt) = got.pop().unwrap();
        let (_, other_result, other_receipt) = got.pop().unwrap();
        Self {
            issuer,
            audience: whoami["client_id"].as_str().unwrap().to_owned(),
            opened,
            nonce,
            result,
            other_result,
            receipt,
            other_receipt,
            checkpoint: line["jws"].as_str().unwrap().to_owned(),
            jwks,
        }
    }

    fn result_holds(&self, token: &str) -> bool {
        let keys = serde_json::from_value(self.jwks.clone()).unwrap();
        let expected = Expected {
            issuer: self.issuer.clone(),
            audience: self.audience.parse().unwrap(),
            id: self.opened.id,
            ceremony_type: CeremonyType::Authentication,
            binding: Binding::Code,
            opened_at: UnixMillis(0),
            username: Username::new("ada").unwrap(),
            client_nonce: self.nonce.clone(),
            transaction: None,
        };
        result_token::verify(token, &keys, &expected, SystemClock.now()).is_ok()
    }

    fn keys(&self) -> JwkSet {
        serde_json::from_value(self.jwks.clone()).unwrap()
    }

    fn receipt_holds(&self, token: &str) -> bool {
        receipt::check(token, &self.keys(), None, None).is_ok()
    }

    fn checkpoint_holds(&self, token: &str) -> bool {
        known_checkpoint(token, Some(&self.keys())).is_ok()
    }
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn parts(token: &str) -> (Value, Value, Vec<u8>) {
    let parts: Vec<_> =
        token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
    let json = |bytes: &[u8]| serde_json::from_slice(bytes).unwrap();
    (json(&parts[0]), json(&parts[1]), parts[2].clone())
}

fn joined(header: &Value, payload: &Value, signature: &[u8]) -> String {
    format!("{}.{}.{}", b64(header.to_string()), b64(payload.to_string()), b64(signature))
}

/// Forgeries of `token` by somebody who has also seen `other`, a genuine one of the same kind, and
/// knows the published keys. Each has a name.
fn forgeries(token: &str, other: &str, jwks: &Value) -> Vec<(String, String)> {
    let (header, payload, signature) = parts(token);
    let (_, other_payload, other_signature) = parts(other);
    let mut all: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, token: String| all.push((name.to_owned(), token));
    let changed = |name: &str, value: Value| {
        let mut changed = header.clone();
        changed[name] = value;
        changed
    };
    let kid = header["kid"].as_str().unwrap();
    let own = jwks["keys"].as_array().unwrap().iter().find(|key| key["kid"] == kid).unwrap();
    let foreign = jwks["keys"].as_array().unwrap().iter().find(|key| key["kid"] != kid).unwrap();

    for none in ["none", "None", "NONE", "nOnE", ""] {
        add("alg none, unsigned", joined(&changed("alg", none.into()), &payload, &[]));
        add("alg none, signed", joined(&changed("alg", none.into()), &payload, &signature));
    }
    for alg in ["ES384", "RS256", "PS256", "EdDSA", "HS256", "ES256K", "es256"] {
        add(alg, joined(&changed("alg", alg.into()), &payload, &signature));
    }
    // The public key as an HMAC secret, in every form in which a library may hold it.
    let decode = |name: &str| URL_SAFE_NO_PAD.decode(own[name].as_str().unwrap()).unwrap();
    let point = [&[4][..], &decode("x"), &decode("y")].concat();
    let mut spki = vec![0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02];
    spki.extend([0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0]);
    spki.extend(&point);
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        base64::engine::general_purpose::STANDARD.encode(&spki)
    );
    let secrets =
        [&point[..], &spki, pem.as_bytes(), own.to_string().as_bytes(), kid.as_bytes(), b""]
            .map(<[u8]>::to_vec);
    for secret in secrets {
        for algorithm in [Algorithm::HS256, Algorithm::HS512] {
            let mut header: Header = serde_json::from_value(header.clone()).unwrap();
            header.alg = algorithm;
            let key = EncodingKey::from_secret(&secret);
            add("public key as a secret", jsonwebtoken::encode(&header, &payload, &key).unwrap());
        }
    }
    // A key of the forger's own, brought along or named in every way there is.
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let pkcs8 = pair.to_pkcs8v1().unwrap();
    let mine = EncodingKey::from_ec_der(pkcs8.as_ref());
    let jwk = device_proof::jwk(pair.public_key().as_ref()).unwrap();
    let by_me = |header: &Value| {
        let signed = format!("{}.{}", b64(header.to_string()), b64(payload.to_string()));
        let signature =
            jsonwebtoken::crypto::sign(signed.as_bytes(), &mine, Algorithm::ES256).unwrap();
        format!("{signed}.{signature}")
    };
    add("another key under its kid", by_me(&header));
    add(
        "another key under its own kid",
        by_me(&changed("kid", device_proof::thumbprint(&jwk).into())),
    );
    add("another key with jwk", by_me(&changed("jwk", serde_json::to_value(&jwk).unwrap())));
    add("another key with jku", by_me(&changed("jku", "https://evil.example/jwks.json".into())));
    add("another key with x5u", by_me(&changed("x5u", "https://evil.example/cert".into())));
    add("another key with x5c", by_me(&changed("x5c", json!([b64(&spki)]))));
    for kid in ["", "../../dev/null", "' OR 1=1 --", foreign["kid"].as_str().unwrap()] {
        add("another kid", joined(&changed("kid", kid.into()), &payload, &signature));
    }
    for name in ["kid", "typ", "alg"] {
        let mut without = header.clone();
        without.as_object_mut().unwrap().remove(name);
        add(&format!("without {name}"), joined(&without, &payload, &signature));
    }
    for typ in [
        "JWT",
        "jwt",
        "ceremony-result",
        "ceremony-result+jwt",
        "ceremony-receipt+jwt",
        "audit-checkpoint+jwt",
        "fido-relay-device+jwt",
    ] {
        if header["typ"] != typ {
            add("another typ", joined(&changed("typ", typ.into()), &payload, &signature));
        }
    }
    add("crit", joined(&changed("crit", json!(["x"])), &payload, &signature));
    add("unencoded payload", joined(&changed("b64", false.into()), &payload, &signature));
    // Signatures that are none, or another's.
    add("another's payload", joined(&header, &other_payload, &signature));
    add("another's signature", joined(&header, &payload, &other_signature));
    for broken in [
        vec![],
        vec![0; 64],
        vec![0xff; 64],
        [&signature[..], &[0]].concat(),
        signature[..63].to_vec(),
        [&signature[32..], &signature[..32]].concat(),
        [&signature[..32], &[0; 32]].concat(),
        [&[0; 32], &signature[32..]].concat(),
        [&[0x30, 0x44, 0x02, 0x20], &signature[..32], &[0x02, 0x20], &signature[32..]].concat(),
    ] {
        add("broken signature", joined(&header, &payload, &broken));
    }
    // Shapes.
    let pieces: Vec<_> = token.split('.').collect();
    add("no signature part", format!("{}.{}", pieces[0], pieces[1]));
    add("stripped signature", format!("{}.{}.", pieces[0], pieces[1]));
    add("four parts", format!("{token}.{}", pieces[2]));
    add("five parts", format!("{token}.{}.{}", pieces[1], pieces[2]));
    add("padded", format!("{token}=="));
    add("payload twice", format!("{}.{}{}.{}", pieces[0], pieces[1], pieces[1], pieces[2]));
    add("nothing", String::new());
    add("dots", "..".to_owned());
    add(
        "JSON serialization",
        json!({ "protected": pieces[0], "payload": pieces[1],
        "signature": pieces[2] })
        .to_string(),
    );
    // Each claim, one by one.
    for name in payload.as_object().unwrap().keys() {
        let mut claims = payload.clone();
        claims[name] = match &claims[name] {
            Value::Number(number) => (number.as_u64().unwrap() + 60_000).into(),
            Value::Array(_) => json!(["pop", "user", "pin", "mfa", "hwk"]),
            Value::String(text) => format!("{text}x").into(),
            other => json!({ "was": other }),
        };
        add(&format!("changed {name}"), joined(&header, &claims, &signature));
    }
    all
}

/// The token with one character changed, for each, so that the bytes it stands for change.
fn flips(token: &str) -> impl Iterator<Item = String> + '_ {
    (0..token.len()).map(|at| {
        let mut bytes = token.as_bytes().to_vec();
        bytes[at] = match ALPHABET.iter().position(|known| *known == bytes[at]) {
            Some(value) => ALPHABET[value ^ 0b10_0000],
            None => b'A',
        };
        String::from_utf8(bytes).unwrap()
    })
}

#[track_caller]
fn all_refused(
    signed: &Signed,
    (token, other): (&str, &str),
    of_other_kinds: &[&str],
    holds: impl Fn(&str) -> bool,
) -> Vec<String> {
    assert!(holds(token), "the genuine one holds");
    let mut tried = Vec::new();
    let forged = forgeries(token, other, &signed.jwks);
    assert!(forged.len() >= 30, "{}", forged.len());
    for (name, forgery) in forged {
        assert!(!holds(&forgery), "{name}: {forgery}");
        tried.push(forgery);
    }
    for flipped in flips(token) {
        assert!(!holds(&flipped), "{flipped}");
        tried.push(flipped);
    }
    // The last character of a signature has bits that stand for nothing: they must be zero.
    let last = ALPHABET.iter().position(|known| *known == *token.as_bytes().last().unwrap());
    for bits in 1..16 {
        let mut spelled = token.to_owned();
        spelled.pop();
        spelled.push(char::from(ALPHABET[last.unwrap() ^ bits]));
        assert!(!holds(&spelled), "another spelling of the same bytes: {spelled}");
    }
    for kind in of_other_kinds {
        assert!(!holds(kind), "a genuine token of another kind: {kind}");
        tried.push((*kind).to_owned());
    }
    tried
}

#[tokio::test]
async fn no_forgery_of_a_result_a_receipt_or_a_checkpoint_holds() {
    let signed = Signed::new().await;
    let Signed { result, other_result, receipt, other_receipt, checkpoint, .. } = &signed;
    let forged_results = all_refused(
        &signed,
        (result, other_result),
        &[other_result, receipt, other_receipt, checkpoint],
        |token| signed.result_holds(token),
    );
    let of_receipts = (receipt.as_str(), other_receipt.as_str());
    all_refused(&signed, of_receipts, &[result, other_result, checkpoint], |token| {
        signed.receipt_holds(token)
    });
    let of_checkpoints = (checkpoint.as_str(), receipt.as_str());
    all_refused(&signed, of_checkpoints, &[result, receipt], |token| {
        signed.checkpoint_holds(token)
    });
    languages::pyjwt_refuses_too(&signed, &forged_results).await;
    samples::refuse_too(&signed, &forged_results).await;
}
