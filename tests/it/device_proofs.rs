//! Proofs of a device that prove nothing. Whatever is wrong, the socket ends the same way and
//! nothing else is said, so that a refusal does not reveal what would be accepted.

pub(crate) mod jws;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use fido_relay_proto::DeviceId;
use fido_relay_rig::phone::{DeviceKey, Paired};
use serde_json::{Value, json};

use self::jws::{
    ORDER, b64, jws, jws_of_texts, other_s, resigned, sign, sign_der, with_loose_bits,
};
use crate::support::accepting_server::{accepting_server, upstream_at};
use crate::support::raw_socket::{Heard, RawSocket, text};
use crate::support::relay::TestRelay;
use crate::support::wire_phone::WirePhone;

const TYP: &str = "fido-relay-device+jwt";

fn good_header(cast: &Cast) -> Value {
    json!({ "typ": cast.typ, "alg": "ES256" })
}

/// The devices and keys that take part, and what a good proof is on this road.
pub(crate) struct Cast {
    pub(crate) paired: Paired,
    /// Another user's device.
    pub(crate) foreign: Paired,
    /// Another device of the same user.
    pub(crate) second: Paired,
    pub(crate) revoked: Paired,
    pub(crate) stranger: DeviceKey,
    /// From a socket of its own, used there.
    pub(crate) used_nonce: String,
    /// From a socket that is still open.
    pub(crate) other_nonce: String,
    pub(crate) host: String,
    /// The one `typ` that is good.
    pub(crate) typ: &'static str,
    /// The one audience that is good.
    pub(crate) aud: String,
    /// The claims of a good proof.
    pub(crate) claims: fn(&Cast, &str) -> Value,
}

/// Told the nonce, gives a proof.
type Make = Box<dyn Fn(&Cast, &str) -> String>;
pub(crate) type Forgery = (&'static str, Make);

fn forgery(name: &'static str, make: impl Fn(&Cast, &str) -> String + 'static) -> Forgery {
    (name, Box::new(make))
}

fn claims(cast: &Cast, nonce: &str) -> Value {
    (cast.claims)(cast, nonce)
}

/// Those of a socket.
fn of_socket(cast: &Cast, nonce: &str) -> Value {
    json!({
        "aud": cast.aud, "nonce": nonce, "device_id": cast.paired.device_id,
        "iat": 1_700_000_000_u64,
    })
}

/// Good but for one claim.
fn claim(
    name: &'static str,
    claim: &'static str,
    value: impl Fn(&Cast) -> Value + 'static,
) -> Forgery {
    forgery(name, move |cast, nonce| {
        let mut claims = claims(cast, nonce);
        match value(cast) {
            Value::Null => claims.as_object_mut().unwrap().remove(claim),
            value => claims.as_object_mut().unwrap().insert(claim.to_owned(), value),
        };
        jws(&cast.paired.key, &good_header(cast), &claims)
    })
}

/// Good but for the header.
fn header(name: &'static str, header: impl Fn(&Cast) -> Value + 'static) -> Forgery {
    forgery(name, move |cast, nonce| jws(&cast.paired.key, &header(cast), &claims(cast, nonce)))
}

/// Good but for the signature's bytes.
fn signature(name: &'static str, change: impl Fn(Vec<u8>) -> Vec<u8> + 'static) -> Forgery {
    forgery(name, move |cast, nonce| resigned(&good(cast, nonce), &change))
}

/// Good but for how the three parts are written.
fn written(name: &'static str, write: impl Fn(&str, &str, &str) -> String + 'static) -> Forgery {
    forgery(name, move |cast, nonce| {
        let good = good(cast, nonce);
        let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else {
            panic!("not three parts")
        };
        write(header, payload, signature)
    })
}

pub(crate) fn good(cast: &Cast, nonce: &str) -> String {
    jws(&cast.paired.key, &good_header(cast), &claims(cast, nonce))
}

fn wrong_keys() -> Vec<Forgery> {
    vec![
        forgery("signed by a stranger", |cast, nonce| {
            jws(&cast.stranger, &good_header(cast), &claims(cast, nonce))
        }),
        forgery("another user's key for this device", |cast, nonce| {
            jws(&cast.foreign.key, &good_header(cast), &claims(cast, nonce))
        }),
        forgery("the same user's other key for this device", |cast, nonce| {
            jws(&cast.second.key, &good_header(cast), &claims(cast, nonce))
        }),
        claim("another user's device by this key", "device_id", |cast| {
            json!(cast.foreign.device_id)
        }),
        claim("the same user's other device by this key", "device_id", |cast| {
            json!(cast.second.device_id)
        }),
        claim("an unknown device", "device_id", |_| json!(DeviceId::from_bytes([9; 16]))),
        forgery("an unknown device by its own key", |cast, nonce| {
            let mut claims = claims(cast, nonce);
            claims["device_id"] = json!(DeviceId::from_bytes([8; 16]));
            jws(&cast.stranger, &good_header(cast), &claims)
        }),
        forgery("a revoked device by its own good key", |cast, nonce| {
            let mut claims = claims(cast, nonce);
            claims["device_id"] = json!(cast.revoked.device_id);
            jws(&cast.revoked.key, &good_header(cast), &claims)
        }),
        header(
            "a stranger's key in the header",
            |cast| json!({ "typ": cast.typ, "alg": "ES256", "jwk": cast.stranger.jwk(), "kid": "x" }),
        ),
        forgery("a stranger's key in the header and its signature", |cast, nonce| {
            let header = json!({ "typ": cast.typ, "alg": "ES256", "jwk": cast.stranger.jwk() });
            jws(&cast.stranger, &header, &claims(cast, nonce))
        }),
        header(
            "a key by reference",
            |cast| json!({ "typ": cast.typ, "alg": "ES256", "jku": "http://127.0.0.1:9/keys" }),
        ),
        header(
            "a certificate by reference",
            |cast| json!({ "typ": cast.typ, "alg": "ES256", "x5u": "http://127.0.0.1:9/cert" }),
        ),
    ]
}

fn wrong_claims() -> Vec<Forgery> {
    let mut forgeries = vec![
        claim("another path", "aud", |cast| json!(format!("ws://{}/v1/devices", cast.host))),
        claim("https in place of wss", "aud", |cast| {
            json!(format!("http://{}/v1/device/socket", cast.host))
        }),
        claim("another scheme", "aud", |cast| {
            json!(format!("wss://{}/v1/device/socket", cast.host))
        }),
        claim("another host", "aud", |_| json!("ws://evil.example/v1/device/socket")),
        claim("the host as a label of another", "aud", |cast| {
            json!(format!("ws://{}.evil.example/v1/device/socket", cast.host))
        }),
        claim("the host as a user", "aud", |cast| {
            json!(format!("ws://{}@evil.example/v1/device/socket", cast.host))
        }),
        claim("another port", "aud", |_| json!("ws://127.0.0.1:1/v1/device/socket")),
        claim("no port", "aud", |_| json!("ws://127.0.0.1/v1/device/socket")),
        claim("a slash more", "aud", |cast| json!(format!("{}/", cast.aud))),
        claim("a query", "aud", |cast| json!(format!("{}?x", cast.aud))),
        claim("another case", "aud", |cast| json!(cast.aud.to_uppercase())),
        claim("a blank more", "aud", |cast| json!(format!("{} ", cast.aud))),
        claim("an empty audience", "aud", |_| json!("")),
        claim("no audience", "aud", |_| Value::Null),
        claim("a list of audiences", "aud", |cast| json!([cast.aud])),
        claim("an audience that is no text", "aud", |_| json!(1)),
        claim("an invented nonce", "nonce", |_| json!(b64([7; 32]))),
        claim("a nonce used on another socket", "nonce", |cast| json!(cast.used_nonce)),
        claim("the nonce of another open socket", "nonce", |cast| json!(cast.other_nonce)),
        claim("an empty nonce", "nonce", |_| json!("")),
        claim("no nonce", "nonce", |_| Value::Null),
        claim("a nonce that is no text", "nonce", |_| json!([])),
        claim("no device", "device_id", |_| Value::Null),
        claim("a device that is no id", "device_id", |_| json!("ada")),
        claim("a path for a device", "device_id", |_| json!("dev_../../../clients/x")),
        claim("no time", "iat", |_| Value::Null),
        claim("a time that is no number", "iat", |_| json!("now")),
        claim("a time before time", "iat", |_| json!(-1)),
    ];
    forgeries.push(forgery("the nonce in another writing", |cast, nonce| {
        let bytes = URL_SAFE_NO_PAD.decode(nonce).unwrap();
        let mut claims = claims(cast, nonce);
        claims["nonce"] = json!(URL_SAFE.encode(bytes));
        jws(&cast.paired.key, &good_header(cast), &claims)
    }));
    forgeries.push(forgery("two audiences by two members", |cast, nonce| {
        let claims = claims(cast, nonce).to_string();
        let twice = claims.replacen('{', r#"{"aud":"ws://evil.example/v1/device/socket","#, 1);
        jws_of_texts(&cast.paired.key, &good_header(cast).to_string(), &twice)
    }));
    forgeries
}

fn wrong_headers() -> Vec<Forgery> {
    let mut forgeries = vec![
        header("no typ", |_| json!({ "alg": "ES256" })),
        header("typ JWT", |_| json!({ "typ": "JWT", "alg": "ES256" })),
        header(
            "the typ of a pairing",
            |_| json!({ "typ": "fido-relay-pairing+jwt", "alg": "ES256" }),
        ),
        header("the typ of a result", |_| json!({ "typ": "ceremony-result+jwt", "alg": "ES256" })),
        header(
            "the typ in capitals",
            |cast| json!({ "typ": cast.typ.to_uppercase(), "alg": "ES256" }),
        ),
        header("no alg", |cast| json!({ "typ": cast.typ })),
        header("an alg of nobody", |cast| json!({ "typ": cast.typ, "alg": "ES999" })),
        header("alg in small letters", |cast| json!({ "typ": cast.typ, "alg": "es256" })),
        header("crit of nothing", |cast| json!({ "typ": cast.typ, "alg": "ES256", "crit": [] })),
        header(
            "crit of a claim",
            |cast| json!({ "typ": cast.typ, "alg": "ES256", "crit": ["exp"], "exp": 1 }),
        ),
        header(
            "an unencoded payload",
            |cast| json!({ "typ": cast.typ, "alg": "ES256", "crit": ["b64"], "b64": false }),
        ),
        header("a header that is a list", |cast| json!(["ES256", cast.typ])),
        header("a header that is a text", |_| json!("ES256")),
    ];
    for alg in ["none", "None", "HS256", "HS512", "RS256", "PS256", "ES384", "EdDSA"] {
        forgeries.push(header(
            "another alg over the same signature",
            move |cast| json!({ "typ": cast.typ, "alg": alg }),
        ));
    }
    forgeries.push(forgery("alg none and no signature", |cast, nonce| {
        let header = json!({ "typ": cast.typ, "alg": "none" });
        format!("{}.{}.", b64(header.to_string()), b64(claims(cast, nonce).to_string()))
    }));
    forgeries.push(forgery("the public key as an HMAC secret", |cast, nonce| {
        let header = json!({ "typ": cast.typ, "alg": "HS256" });
        let input = format!("{}.{}", b64(header.to_string()), b64(claims(cast, nonce).to_string()));
        let secret = cast.paired.key.jwk();
        let secret = serde_json::to_string(secret).unwrap();
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
        format!("{input}.{}", b64(aws_lc_rs::hmac::sign(&key, input.as_bytes())))
    }));
    forgeries
}

fn wrong_signatures() -> Vec<Forgery> {
    vec![
        signature("one bit of r", |mut s| {
            s[0] ^= 1;
            s
        }),
        signature("one bit of s", |mut s| {
            s[63] ^= 1;
            s
        }),
        signature("r is zero", |s| [&[0; 32][..], &s[32..]].concat()),
        signature("s is zero", |s| [&s[..32], &[0; 32][..]].concat()),
        signature("r and s are zero", |_| vec![0; 64]),
        signature("r is the order", |s| [&ORDER[..], &s[32..]].concat()),
        signature("s is the order", |s| [&s[..32], &ORDER[..]].concat()),
        signature("r and s are the greatest", |_| vec![0xff; 64]),
        signature("s before r", |s| [&s[32..], &s[..32]].concat()),
        signature("a byte short", |s| s[..63].to_vec()),
        signature("a byte more", |s| [&s[..], &[0][..]].concat()),
        signature("a zero before each", |s| [&[0], &s[..32], &[0], &s[32..]].concat()),
        signature("none", |_| Vec::new()),
        signature("one byte", |_| vec![1]),
        forgery("in DER", |cast, nonce| {
            let good = good(cast, nonce);
            let (input, _) = good.rsplit_once('.').unwrap();
            format!("{input}.{}", b64(sign_der(&cast.paired.key, input)))
        }),
        forgery("over another payload", |cast, nonce| {
            let other = good(cast, &cast.other_nonce);
            let (_, signature) = other.rsplit_once('.').unwrap();
            let good = good(cast, nonce);
            let (input, _) = good.rsplit_once('.').unwrap();
            format!("{input}.{signature}")
        }),
        forgery("over the payload alone", |cast, nonce| {
            let good = good(cast, nonce);
            let (input, _) = good.rsplit_once('.').unwrap();
            let (_, payload) = input.split_once('.').unwrap();
            format!("{input}.{}", b64(sign(&cast.paired.key, payload)))
        }),
    ]
}

fn wrong_writings() -> Vec<Forgery> {
    vec![
        written("two parts", |header, payload, _| format!("{header}.{payload}")),
        written("one part", |header, _, _| header.to_owned()),
        written("four parts", |h, p, s| format!("{h}.{p}.{s}.{s}")),
        written("five parts, as if encrypted", |h, p, s| format!("{h}.{p}.{s}.{s}.{s}")),
        written("a dot at the end", |h, p, s| format!("{h}.{p}.{s}.")),
        written("a dot at the start", |h, p, s| format!(".{h}.{p}.{s}")),
        written("an empty payload", |h, _, s| format!("{h}..{s}")),
        written("an empty header", |_, p, s| format!(".{p}.{s}")),
        written("only dots", |_, _, _| "..".to_owned()),
        written("nothing", |_, _, _| String::new()),
        written("a padded signature", |h, p, s| format!("{h}.{p}.{s}==")),
        written("loose bits in the signature", |h, p, s| format!("{h}.{p}.{}", with_loose_bits(s))),
        written("a blank before", |h, p, s| format!(" {h}.{p}.{s}")),
        written("a blank after", |h, p, s| format!("{h}.{p}.{s} ")),
        written("a line break within", |h, p, s| format!("{h}.\n{p}.{s}")),
        written("base64 that is not for URLs", |h, p, _| {
            format!("{h}.{p}.{}", STANDARD_NO_PAD.encode([0xfb; 64]))
        }),
        written("letters of another script", |h, p, _| format!("{h}.{p}.é")),
        written("a kilobyte of nothing", |_, _, _| "A".repeat(1500)),
        written("the parts in another order", |h, p, s| format!("{p}.{h}.{s}")),
        forgery("a JSON serialisation", |cast, nonce| {
            let good = good(cast, nonce);
            let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else {
                panic!("not three parts")
            };
            json!({ "protected": header, "payload": payload, "signature": signature }).to_string()
        }),
        forgery("a payload that is no object", |cast, _| {
            jws_of_texts(&cast.paired.key, &good_header(cast).to_string(), "[]")
        }),
        forgery("a payload that is no JSON", |cast, _| {
            jws_of_texts(&cast.paired.key, &good_header(cast).to_string(), "aud")
        }),
        forgery("a payload with something behind", |cast, nonce| {
            let payload = format!("{} x", claims(cast, nonce));
            jws_of_texts(&cast.paired.key, &good_header(cast).to_string(), &payload)
        }),
        forgery("a payload without end", |cast, _| {
            jws_of_texts(&cast.paired.key, &good_header(cast).to_string(), &"[".repeat(800))
        }),
    ]
}

/// Every bad proof, whatever the road.
pub(crate) fn forgeries() -> Vec<Forgery> {
    let groups =
        [wrong_keys(), wrong_claims(), wrong_headers(), wrong_signatures(), wrong_writings()];
    let forgeries: Vec<Forgery> = groups.into_iter().flatten().collect();
    assert!(forgeries.len() >= 60, "only {}", forgeries.len());
    forgeries
}

async fn cast(relay: &TestRelay) -> (Cast, RawSocket) {
    let initiator = relay.initiator().await;
    let paired = relay.pair(&initiator, "ada").await;
    let revoked = relay.pair(&initiator, "ada").await;
    let path = format!("/v1/devices/{}", revoked.device_id);
    assert_eq!(initiator.delete(&path).await.status(), 204);
    let mut open = RawSocket::upgraded(&relay.url()).await;
    let mut used = RawSocket::upgraded(&relay.url()).await;
    let used_nonce = used.hello().await;
    let proof = paired.key.auth_proof(&paired.socket_url, &used_nonce, paired.device_id).unwrap();
    used.send(&text(&json!({ "type": "auth", "proof": proof }).to_string())).await;
    let Heard::Text(welcome) = used.next().await else { panic!("a good proof is welcome") };
    assert!(welcome.contains("welcome"), "{welcome}");
    let cast = Cast {
        foreign: relay.pair(&initiator, "bob").await,
        second: relay.pair(&initiator, "ada").await,
        revoked,
        stranger: DeviceKey::generate().unwrap(),
        used_nonce,
        typ: TYP,
        aud: paired.socket_url.clone(),
        claims: of_socket,
        other_nonce: open.hello().await,
        host: relay.url().strip_prefix("http://").unwrap().to_owned(),
        paired,
    };
    (cast, open)
}

/// How a socket answers the `proof` for its nonce.
async fn answer_to(url: &str, proof: impl FnOnce(&str) -> String) -> Heard {
    let mut socket = RawSocket::upgraded(url).await;
    let nonce = socket.hello().await;
    let frame = json!({ "type": "auth", "proof": proof(&nonce) }).to_string();
    assert!(frame.len() <= 2048, "refused for its size and for nothing else: {}", frame.len());
    socket.send(&text(&frame)).await;
    socket.next().await
}

#[tokio::test]
async fn every_bad_proof_ends_the_socket_in_the_same_words() {
    let upstream = accepting_server();
    let relay = TestRelay::start_with(upstream_at(&upstream.url())).await;
    let (cast, _open) = cast(&relay).await;
    let forgeries = forgeries();
    let refused = Heard::Close(4401, "unauthenticated".to_owned());
    let mut accepted = Vec::new();
    for (name, make) in &forgeries {
        let heard = answer_to(&relay.url(), |nonce| make(&cast, nonce)).await;
        if heard != refused {
            accepted.push((*name, heard));
        }
    }
    assert!(accepted.is_empty(), "{accepted:#?}");
    // The same hands, writing the good one, are let in.
    let heard = answer_to(&relay.url(), |nonce| good(&cast, nonce)).await;
    assert!(matches!(&heard, Heard::Text(text) if text.contains("welcome")), "{heard:?}");
}

/// Phones make both forms of a signature; a relay that refuses one refuses every second phone.
#[tokio::test]
async fn both_forms_of_a_signature_are_welcome() {
    let upstream = accepting_server();
    let relay = TestRelay::start_with(upstream_at(&upstream.url())).await;
    let (cast, _open) = cast(&relay).await;
    for _ in 0..4 {
        let heard = answer_to(&relay.url(), |nonce| resigned(&good(&cast, nonce), other_s)).await;
        assert!(matches!(&heard, Heard::Text(text) if text.contains("welcome")), "{heard:?}");
        let heard = answer_to(&relay.url(), |nonce| good(&cast, nonce)).await;
        assert!(matches!(&heard, Heard::Text(text) if text.contains("welcome")), "{heard:?}");
    }
}

/// A phone's clock may be anything, and an app may say more than it must.
#[tokio::test]
async fn neither_the_phones_clock_nor_further_claims_keep_it_out() {
    let upstream = accepting_server();
    let relay = TestRelay::start_with(upstream_at(&upstream.url())).await;
    let (cast, _open) = cast(&relay).await;
    for (claim, value) in [
        ("iat", json!(0)),
        ("iat", json!(u64::MAX)),
        ("exp", json!(1)),
        ("nbf", json!(u32::MAX)),
        ("app_version", json!("9.1")),
    ] {
        let proof = |nonce: &str| {
            let mut claims = claims(&cast, nonce);
            claims[claim] = value;
            jws(&cast.paired.key, &good_header(&cast), &claims)
        };
        let heard = answer_to(&relay.url(), proof).await;
        assert!(matches!(&heard, Heard::Text(text) if text.contains("welcome")), "{claim}");
    }
}

/// A relay in between gets a nonce of ours and a phone that signs what it dialled: another URL.
#[tokio::test]
async fn a_proof_for_a_relay_in_between_is_worth_nothing_here() {
    let upstream = accepting_server();
    let (ours, theirs) = (
        TestRelay::start_with(upstream_at(&upstream.url())).await,
        TestRelay::start_with(upstream_at(&upstream.url())).await,
    );
    let initiator = ours.initiator().await;
    let paired = ours.pair(&initiator, "ada").await;
    let refused = Heard::Close(4401, "unauthenticated".to_owned());
    let heard = answer_to(&ours.url(), |nonce| {
        paired.key.auth_proof(&theirs.socket_url(), nonce, paired.device_id).unwrap()
    })
    .await;
    assert_eq!(heard, refused);
    WirePhone::connect(paired).await.hears_nothing().await;
}
