//! Verification by the samples of `examples/{node,go,java}`: the forgeries of the relay's own token,
//! and tokens that are signed rightly but say one thing that they should not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use fido_relay::tasks::Tasks;
use fido_relay_rig::demo::result_token::transaction_hash;
use fido_relay_rig::demo::web;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::Signed;
use crate::support::child::run_with;
use crate::support::samples::{Language, Sample};

/// When everything happens, in seconds since 1970.
const NOW: i64 = 1_800_000_000;
/// What the samples allow a clock, and how old a success may be.
const LEEWAY: i64 = 30;
const MAX_AGE: i64 = 300;
/// A token by a key that is not in the set fetched a moment ago.
const NEW_KEY: &str = "a new one, asked for a moment ago";

/// A key of the test's own.
struct Signer {
    key: EncodingKey,
    jwk: Value,
}

impl Signer {
    fn new(id: &str) -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let key = EncodingKey::from_ec_der(pair.serialized_der());
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
        jwk.common.key_id = Some(id.to_owned());
        Self { key, jwk: serde_json::to_value(jwk).unwrap() }
    }

    fn signs(&self, claims: &Value) -> String {
        self.signs_as("ceremony-result+jwt", claims)
    }

    fn signs_as(&self, typ: &str, claims: &Value) -> String {
        let header = json!({ "typ": typ, "alg": "ES256", "kid": self.jwk["kid"] });
        let header: Header = serde_json::from_value(header).unwrap();
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }
}

/// One question, and whether the token holds.
struct Asked {
    what: String,
    question: Value,
    holds: bool,
}

/// What the samples are asked, in order.
#[derive(Default)]
struct Questions(Vec<Asked>);

impl Questions {
    fn ask(&mut self, what: &str, holds: bool, set: &str, token: &str, opened: &Value, now: i64) {
        let question = json!({ "url": set, "issuer": "https://relay.example", "client_id": "cli_a",
            "tx_binding": "card", "token": token, "opened": opened, "now": now });
        self.0.push(Asked { what: what.to_owned(), question, holds });
    }

    fn change(&mut self, name: &str, value: &str) {
        self.0.last_mut().unwrap().question[name] = value.into();
    }
}

/// What was opened, and the claims of its success.
fn approval() -> (Value, Value) {
    let transaction = json!({ "title": "Payment to Grace “Amazing” 👩‍🚀",
        "fields": [{ "value": r#"Rent \ "May" <2> & ü"#, "label": "Reference" }] });
    let opened = json!({ "id": "cer_a", "type": "approval", "username": "ada", "opened_at": NOW - 20,
        "client_nonce": "n", "transaction": transaction });
    let hash = transaction_hash(&serde_json::from_value(transaction).unwrap());
    let claims = json!({ "iss": "https://relay.example", "aud": "cli_a", "sub": "ada",
        "jti": "cer_a", "iat": NOW, "exp": NOW + 60, "client_nonce": "n",
        "ceremony_type": "approval", "outcome": "succeeded", "binding": "code",
        "amr": ["pop", "user", "pin", "mfa"], "auth_time": NOW - 1, "tx_hash": hash,
        "tx_binding": "card", "cred_hash": "c", "device_id": "dev_a" });
    (opened, claims)
}

fn with(of: &Value, name: &str, value: Value) -> Value {
    let mut changed = of.clone();
    changed[name] = value;
    changed
}

fn without(of: &Value, name: &str) -> Value {
    let mut changed = of.clone();
    changed.as_object_mut().unwrap().remove(name);
    changed
}

/// Tokens by a published key, each with one claim that is not what was opened.
fn signed_rightly(all: &mut Questions, own: &Signer) {
    const SET: &str = "own";
    let (opened, claims) = approval();
    let header = super::b64(r#"{"typ":"ceremony-result+jwt","alg":"ES256"}"#);
    // While no key is known yet.
    for token in [format!("{header}.e30.AA"), "bnVsbA.bnVsbA.AA".to_owned()] {
        all.ask("no key id", false, SET, &token, &opened, NOW);
    }
    all.ask("no token", false, SET, "", &opened, NOW);
    all.0.last_mut().unwrap().question["token"] = Value::Null;
    let mut claimed = |what: &str, holds: bool, claims: &Value| {
        all.ask(what, holds, SET, &own.signs(claims), &opened, NOW);
    };
    claimed("as it is", true, &claims);
    for name in [
        "iss",
        "aud",
        "sub",
        "jti",
        "client_nonce",
        "ceremony_type",
        "outcome",
        "binding",
        "tx_hash",
        "tx_binding",
    ] {
        claimed(&format!("another {name}"), false, &with(&claims, name, "another".into()));
        claimed(&format!("{name} is a list"), false, &with(&claims, name, json!([claims[name]])));
    }
    for name in claims.as_object().unwrap().keys() {
        let is_checked = !["cred_hash", "device_id"].contains(&name.as_str());
        claimed(&format!("without {name}"), !is_checked, &without(&claims, name));
    }
    for (name, value, holds) in [
        ("iat", NOW + LEEWAY, true),
        ("iat", NOW + LEEWAY + 1, false),
        ("exp", NOW - LEEWAY + 1, true),
        ("exp", NOW - LEEWAY, false),
        ("auth_time", NOW - 20 - LEEWAY, true),
        ("auth_time", NOW - 20 - LEEWAY - 1, false),
        ("auth_time", NOW + LEEWAY, true),
        ("auth_time", NOW + LEEWAY + 1, false),
    ] {
        claimed(&format!("{name} {value}"), holds, &with(&claims, name, value.into()));
        claimed(&format!("{name} as text"), false, &with(&claims, name, value.to_string().into()));
    }
    for amr in [json!(["pop", "user"]), json!([]), json!(["pinned"]), json!("pin"), json!({})] {
        claimed(&format!("amr {amr}"), false, &with(&claims, "amr", amr));
    }
    for typ in ["JWT", "ceremony-receipt+jwt"] {
        let token = own.signs_as(typ, &claims);
        all.ask(&format!("typ {typ}"), false, SET, &token, &opened, NOW);
    }
    let token = own.signs(&claims);
    let mut opening = |what: &str, holds: bool, opened: &Value| {
        all.ask(what, holds, SET, &token, opened, NOW);
    };
    for name in ["id", "type", "username", "client_nonce", "binding"] {
        opening(&format!("opened with another {name}"), false, &with(&opened, name, "x".into()));
    }
    let transaction = &opened["transaction"];
    let field = &transaction["fields"][0];
    for transaction in [
        with(transaction, "title", "Payment to Mallory".into()),
        with(transaction, "fields", json!([with(field, "value", "x".into())])),
        with(transaction, "fields", json!([with(field, "label", "x".into())])),
        with(transaction, "fields", json!([field, field])),
        with(transaction, "fields", json!([])),
    ] {
        let what = format!("opened with {transaction}");
        opening(&what, false, &with(&opened, "transaction", transaction));
    }
    let sign_in = with(&without(&opened, "transaction"), "type", "authentication".into());
    opening("opened as a sign-in", false, &sign_in);

    let of_sign_in = with(&claims, "ceremony_type", "authentication".into());
    for (names, holds) in
        [(&["tx_hash", "tx_binding"][..], true), (&["tx_hash"], false), (&["tx_binding"], false)]
    {
        let claims = names.iter().fold(of_sign_in.clone(), |claims, name| without(&claims, name));
        all.ask(
            &format!("a sign-in without {names:?}"),
            holds,
            SET,
            &own.signs(&claims),
            &sign_in,
            NOW,
        );
    }
    for (asked, vouches, holds) in [
        ("card", "relay", false),
        ("relay", "relay", true),
        ("relay", "card", true),
        ("relay", "none", false),
    ] {
        let token = own.signs(&with(&claims, "tx_binding", vouches.into()));
        all.ask(&format!("{vouches} where {asked} is asked"), holds, SET, &token, &opened, NOW);
        all.change("tx_binding", asked);
    }
    // A result is signed anew at each fetch: what it tells must be new.
    let earlier = with(&opened, "opened_at", (NOW - 2 * MAX_AGE).into());
    for (age, holds) in [(MAX_AGE, true), (MAX_AGE + 1, false)] {
        let token = own.signs(&with(&claims, "auth_time", (NOW - age).into()));
        all.ask(&format!("{age} s old"), holds, SET, &token, &earlier, NOW);
    }
}

/// The relay changes its key.
fn with_new_keys(all: &mut Questions, first: &Signer, second: &Signer) {
    let (opened, claims) = approval();
    let mut at = |what: &str, holds: bool, set: &str, signer: &Signer, later: i64| {
        let times = [("iat", NOW + later), ("exp", NOW + later + 60), ("auth_time", NOW + later)];
        let claims =
            times.iter().fold(claims.clone(), |all, (name, at)| with(&all, name, (*at).into()));
        all.ask(what, holds, set, &signer.signs(&claims), &opened, NOW + later);
    };
    at("the first key", true, "turned", first, 0);
    at(NEW_KEY, false, "turned", second, 59);
    at("a new one, fetched", true, "turned", second, 60);
    at("one that was withdrawn", false, "turned", first, 61);
    at("the first key again", true, "withdrawn", first, 0);
    at("kept for an hour", true, "withdrawn", first, 3599);
    at("withdrawn meanwhile", false, "withdrawn", first, 3600);
}

/// The relay's own token, what was opened changed, and its forgeries.
fn of_the_relay(all: &mut Questions, signed: &Signed, forged: &[String]) {
    let payload = super::parts(&signed.result).1;
    let (issued, expires) = (payload["iat"].as_i64().unwrap(), payload["exp"].as_i64().unwrap());
    let opened = json!({ "id": signed.opened.id, "type": "authentication", "username": "ada",
        "client_nonce": signed.nonce, "opened_at": payload["auth_time"] });
    let mut ask = |what: &str, holds: bool, token: &str, opened: &Value, now: i64| {
        all.ask(what, holds, "relay", token, opened, now);
        all.change("issuer", &signed.issuer);
        all.change("client_id", &signed.audience);
    };
    for (now, holds) in [
        (issued, true),
        (issued - LEEWAY - 1, false),
        (expires + LEEWAY - 1, true),
        (expires + LEEWAY, false),
    ] {
        ask(&format!("at {now}"), holds, &signed.result, &opened, now);
    }
    ask("without a nonce", false, &signed.result, &without(&opened, "client_nonce"), issued);
    // Of the tokens with one character changed each sixteenth: what the others meet is the same
    // base64 and the same signature check.
    let is_flip = |token: &str| {
        let pairs = token.bytes().zip(signed.result.bytes());
        token.len() == signed.result.len() && pairs.filter(|(one, other)| one != other).count() == 1
    };
    for (at, token) in forged.iter().enumerate() {
        if at % 16 == 0 || !is_flip(token) {
            ask("a forgery", false, token, &opened, issued);
        }
    }
}

/// Each set of keys by its name: what each fetch gives, the last one from then on.
type Sets = HashMap<&'static str, Vec<Value>>;

/// How often each set was fetched, by language and name.
#[derive(Default)]
struct Fetched(Mutex<HashMap<(String, String), usize>>);

async fn published(
    State((sets, fetched)): State<(Arc<Sets>, Arc<Fetched>)>,
    Path((language, set)): Path<(String, String)>,
) -> Json<Value> {
    let given = &sets[set.as_str()];
    let mut fetched = fetched.0.lock().unwrap();
    let times = fetched.entry((language, set)).or_default();
    *times += 1;
    Json(given[(*times - 1).min(given.len() - 1)].clone())
}

/// The answers of one sample, in order.
async fn answers(language: Language, base: &str, questions: &[Asked]) -> Option<Vec<String>> {
    let sample = Sample::check(language).await?;
    let lines: String = questions
        .iter()
        .map(|asked| {
            let url = format!("{base}/{language:?}/{}", asked.question["url"].as_str().unwrap());
            format!("{}\n", with(&asked.question, "url", url.into()))
        })
        .collect();
    let printed = run_with(&mut sample.command(), &lines).await.stdout();
    Some(printed.lines().map(str::to_owned).collect())
}

pub(super) async fn refuse_too(signed: &Signed, forged: &[String]) {
    let [own, first, second] = ["own", "first", "second"].map(Signer::new);
    let mut all = Questions::default();
    of_the_relay(&mut all, signed, forged);
    signed_rightly(&mut all, &own);
    with_new_keys(&mut all, &first, &second);
    let set = |signers: &[&Signer]| json!({ "keys": signers.iter().map(|signer| &signer.jwk).collect::<Vec<_>>() });
    let sets = HashMap::from([
        ("relay", vec![signed.jwks.clone()]),
        ("own", vec![set(&[&second, &own])]),
        ("turned", vec![set(&[&first]), set(&[&second])]),
        ("withdrawn", vec![set(&[&first]), set(&[])]),
    ]);
    let (tasks, fetched) = (Tasks::default(), Arc::new(Fetched::default()));
    let routes = Router::new()
        .route("/{language}/{set}/.well-known/jwks.json", get(published))
        .with_state((Arc::new(sets), Arc::clone(&fetched)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    web::serve(listener, routes, &tasks).unwrap();

    let asked = &all.0;
    assert!(asked.len() > 200, "{}", asked.len());
    let hold = async |language: Language| {
        let Some(answers) = answers(language, &base, asked).await else { return };
        assert_eq!(answers.len(), asked.len(), "{language:?}");
        for (Asked { what, question, holds }, answer) in asked.iter().zip(&answers) {
            let is_open = answer.starts_with("cannot say: 0 unknown_key: ");
            let right =
                if *holds { answer == "ok" } else { is_open || answer.starts_with("refused: ") };
            assert!(right, "{language:?}, {what}: {answer} to {question}");
            // It may have been published since the last fetch.
            assert!(is_open || what != NEW_KEY, "{language:?}, {what}: {answer}");
        }
        // Once by each of the two that differ in what must vouch for the words.
        for (set, times) in [("own", 2), ("turned", 2), ("withdrawn", 2)] {
            let key = (format!("{language:?}"), set.to_owned());
            assert_eq!(fetched.0.lock().unwrap()[&key], times, "{language:?} fetched {set}");
        }
    };
    tokio::join!(hold(Language::Node), hold(Language::Go), hold(Language::Java));
}
