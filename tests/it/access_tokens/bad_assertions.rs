//! What is no client assertion, however much it looks like one.

use aws_lc_rs::hmac;
use fido_relay::app::clients::PublicKey;
use fido_relay_proto::ClientId;
use serde_json::{Value, json};

use super::Bank;
use crate::support::key_pair::{KeyPair, base64, claims};

/// Everything that is no assertion of the bank's, by name.
#[expect(clippy::too_many_lines, reason = "one list, one line for each")]
pub(super) async fn all(bank: &Bank) -> Vec<(String, String)> {
    let (pair, now) = (&bank.pair, bank.now_s());
    let mut bad: Vec<(String, String)> = Vec::new();
    let mut add = |what: &str, assertion: String| bad.push((what.to_owned(), assertion));
    let good = bank.assertion();
    let parts: Vec<_> = good.split('.').map(str::to_owned).collect();

    // the form
    add("two parts", format!("{}.{}", parts[0], parts[1]));
    add("four parts", format!("{good}.{}", parts[2]));
    add("five parts, as an encrypted one", format!("{good}.{}.{}", parts[1], parts[2]));
    add("no signature", format!("{}.{}.", parts[0], parts[1]));
    add("padded", format!("{good}=="));
    add("with a space", format!("{good} "));
    add("words", "not a token".to_owned());
    add("dots", "..".to_owned());
    add("an unsigned claim set", bank.claims().to_string());
    add(
        "oversized",
        pair.sign(&pair.header(), &bank.claiming("pad", Some(json!("x".repeat(9000))))),
    );
    add(
        "a long jti",
        pair.sign(&pair.header(), &bank.claiming("jti", Some(json!("j".repeat(257))))),
    );
    add("claims that are a list", pair.sign_texts(&pair.header().to_string(), "[]"));
    add("claims that are no JSON", pair.sign_texts(&pair.header().to_string(), "{"));
    add("a header that is no JSON", pair.sign_texts("{", &bank.claims().to_string()));
    let nested = base64(&good);
    add("another token inside", {
        let text = format!("{}.{nested}", parts[0]);
        format!("{text}.{}", base64(pair.signature(text.as_bytes())))
    });

    // the signature
    let mut flipped = pair.signature(format!("{}.{}", parts[0], parts[1]).as_bytes());
    flipped[7] ^= 1;
    add("a changed signature", format!("{}.{}.{}", parts[0], parts[1], base64(&flipped)));
    let other_claims = base64(bank.claims().to_string());
    add("other claims under it", format!("{}.{other_claims}.{}", parts[0], parts[2]));
    let stranger = KeyPair::generate("ES256", "first");
    add("another key of the same name", stranger.sign(&pair.header(), &bank.claims()));
    add("zeros", format!("{}.{}.{}", parts[0], parts[1], base64([0; 64])));
    for alg in ["none", "None", "NONE", ""] {
        let header = json!({ "alg": alg, "typ": "JWT", "kid": pair.kid });
        let text = format!("{}.{}", base64(header.to_string()), base64(bank.claims().to_string()));
        add(&format!("alg {alg:?}"), format!("{text}."));
        add(&format!("alg {alg:?}, signed"), pair.sign(&header, &bank.claims()));
    }
    let jwk = pair.jwk();
    let secrets = [jwk.to_string(), jwk["x"].to_string(), jwk["x"].as_str().unwrap().to_owned()];
    for (number, secret) in secrets.iter().enumerate() {
        let header = json!({ "alg": "HS256", "typ": "JWT", "kid": pair.kid });
        let text = format!("{}.{}", base64(header.to_string()), base64(bank.claims().to_string()));
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let tag = base64(hmac::sign(&key, text.as_bytes()));
        add(&format!("HS256 with the public key, {number}"), format!("{text}.{tag}"));
    }
    for alg in ["ES384", "RS256", "PS256", "EdDSA", "HS512", "es256", "XX"] {
        let header = json!({ "alg": alg, "typ": "JWT", "kid": pair.kid });
        add(&format!("alg {alg}"), pair.sign(&header, &bank.claims()));
    }

    // the header
    let with = |name: &str, value: Value| {
        let mut header = pair.header();
        header[name] = value;
        pair.sign(&header, &bank.claims())
    };
    add("no such kid", with("kid", json!("second")));
    add("a kid in capitals", with("kid", json!("FIRST")));
    add("an empty kid", with("kid", json!("")));
    add("a kid that is a path", with("kid", json!("../../../dev/null")));
    add("a kid that is a number", with("kid", json!(1)));
    add("no kid", pair.sign(&json!({ "alg": "ES256", "typ": "JWT" }), &bank.claims()));
    add("crit", with("crit", json!(["exp"])));
    add("an empty crit", with("crit", json!([])));
    add("unencoded payload", with("b64", json!(false)));
    add("jku", with("jku", json!("https://evil.example/jwks.json")));
    add("x5u", with("x5u", json!("https://evil.example/chain.pem")));
    add("x5c", with("x5c", json!(["MIIB"])));
    add("jwk", with("jwk", pair.jwk()));
    let own = json!({ "alg": "ES256", "typ": "JWT", "kid": "first", "jwk": stranger.jwk() });
    add("a key of its own", stranger.sign(&own, &bank.claims()));
    add("a token within", with("cty", json!("JWT")));
    add("compressed", with("zip", json!("DEF")));
    for typ in [
        "ceremony-result+jwt",
        "fido-relay-device+jwt",
        "fido-relay-pairing+jwt",
        "at+jwt",
        "dpop+jwt",
        "",
        "JWT ",
    ] {
        add(&format!("typ {typ:?}"), with("typ", json!(typ)));
    }
    let twice = r#"{"alg":"ES256","alg":"ES256","typ":"JWT","kid":"first"}"#;
    add("alg twice", pair.sign_texts(twice, &bank.claims().to_string()));
    let twice = r#"{"alg":"ES256","typ":"JWT","kid":"second","kid":"first"}"#;
    add("kid twice", pair.sign_texts(twice, &bank.claims().to_string()));

    // the claims
    let endpoint = bank.claims()["aud"].as_str().unwrap().to_owned();
    let url = bank.relay.url();
    let nobody = ClientId::from_bytes([9; 16]);
    let cases: Vec<(&str, Option<Value>)> = vec![
        ("iss", None),
        ("iss", Some(json!(nobody))),
        ("iss", Some(json!(""))),
        ("iss", Some(json!(format!("{} ", bank.id)))),
        ("sub", None),
        ("sub", Some(json!(nobody))),
        ("sub", Some(json!("ada"))),
        ("sub", Some(json!([bank.id]))),
        ("aud", None),
        ("aud", Some(json!(""))),
        ("aud", Some(json!("https://relay.evil.example/oauth/token"))),
        ("aud", Some(json!(format!("{endpoint}/")))),
        ("aud", Some(json!(format!("{endpoint}?x")))),
        ("aud", Some(json!(endpoint.to_uppercase()))),
        ("aud", Some(json!(format!("{url}/")))),
        ("aud", Some(json!(format!("{url}/v1/device/socket")))),
        ("aud", Some(json!([endpoint, "https://relay.evil.example"]))),
        ("aud", Some(json!(["https://relay.evil.example", endpoint]))),
        ("aud", Some(json!([]))),
        ("aud", Some(json!({ "aud": endpoint }))),
        ("exp", None),
        ("exp", Some(json!(now - 31))),
        ("exp", Some(json!(0))),
        ("exp", Some(json!(-1))),
        ("exp", Some(json!(now + 400))),
        ("exp", Some(json!(now + 86_400 * 365))),
        ("exp", Some(json!((now + 60) * 1000))),
        ("exp", Some(json!(1e300))),
        ("exp", Some(json!((now + 60).to_string()))),
        ("exp", Some(json!(null))),
        ("iat", Some(json!(now + 60))),
        ("iat", Some(json!(now - 400))),
        ("iat", Some(json!("now"))),
        ("nbf", Some(json!(now + 60))),
        ("nbf", Some(json!("now"))),
        ("jti", None),
        ("jti", Some(json!(""))),
        ("jti", Some(json!(7))),
        ("jti", Some(json!(null))),
    ];
    for (name, value) in cases {
        let what = format!("{name} {value:?}");
        add(&what, pair.sign(&pair.header(), &bank.claiming(name, value)));
    }
    let double = |name: &str, value: Value| {
        let text = bank.claims().to_string();
        let text = format!("{{\"{name}\":{value},{}", &text[1..]);
        pair.sign_texts(&pair.header().to_string(), &text)
    };
    add("exp twice", double("exp", json!(now + 60)));
    add("aud twice", double("aud", json!(url)));
    add("jti twice", double("jti", json!("a")));
    add("iss twice", double("iss", json!(nobody)));

    // somebody else
    let other = bank.relay.initiator().await;
    let me: Value = other.get("/v1/clients/self").await.json().await.unwrap();
    let theirs: ClientId = serde_json::from_value(me["client_id"].clone()).unwrap();
    let their_pair = KeyPair::generate("ES256", "theirs");
    let key = PublicKey::from_jwk(
        &their_pair.jwk(),
        bank.relay.running.relay().dependencies().clock.now(),
    );
    bank.register_for(theirs, &key.unwrap()).await;
    add("a key of another client", their_pair.sign(&their_pair.header(), &bank.claims()));
    add("a key of another client under our name", {
        their_pair.sign(&pair.header(), &bank.claims())
    });
    add("our key for another client", {
        pair.sign(&pair.header(), &claims(theirs, &endpoint, now))
    });
    let mut mixed = bank.claims();
    mixed["sub"] = json!(theirs);
    add("for another client, by ours", pair.sign(&pair.header(), &mixed));
    let used = bank.assertion();
    assert_eq!(bank.exchange(&used).await.status(), 200);
    add("used before", used);
    bad
}
