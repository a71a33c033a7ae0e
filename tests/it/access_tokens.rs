//! `POST /oauth/token`: who gets an access token, what it opens and when it ends; and everything
//! that is no client assertion, all of it answered in the same words.

mod bad_assertions;
#[cfg(target_os = "linux")]
mod pace;

use std::collections::BTreeSet;
use std::sync::Arc;

use fido_relay::app::clients;
use fido_relay::app::clients::{ClientChange, PublicKey};
use fido_relay::config::Config;
use fido_relay::ports::{Batch, BoxFuture, Bucket, Revision, Store, StoreError};
use fido_relay_proto::http::Scope;
use fido_relay_proto::{Binding, ClientId};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use crate::support::actions::operator;
use crate::support::faulty_store::{self, Faults, FaultyStore};
use crate::support::key_pair::{ASSERTION_TYPE, KeyPair, claims};
use crate::support::origins::not_listed;
use crate::support::relay::{Initiator, TestRelay, http};

/// A relay that lets one address fail as often as these tests do.
fn patient(config: &mut Config) {
    config.limits.rates.attempts_burst = 100_000;
}

/// A relay and a client of it that has a key pair.
struct Bank {
    relay: TestRelay,
    initiator: Initiator,
    id: ClientId,
    pair: KeyPair,
}

impl Bank {
    async fn open() -> Self {
        Self::at(TestRelay::start_with(patient).await).await
    }

    async fn at(relay: TestRelay) -> Self {
        let scopes = vec![Scope::CeremonyAuth, Scope::CeremonyRead, Scope::DevicePair];
        let initiator = relay.initiator_with(scopes, vec![Binding::Code]).await;
        let me: Value = initiator.get("/v1/clients/self").await.json().await.unwrap();
        let id = serde_json::from_value(me["client_id"].clone()).unwrap();
        let bank = Self { relay, initiator, id, pair: KeyPair::generate("ES256", "first") };
        bank.register(&bank.pair).await;
        bank
    }

    async fn register(&self, pair: &KeyPair) {
        let key =
            PublicKey::from_jwk(&pair.jwk(), self.relay.running.relay().dependencies().clock.now());
        self.register_for(self.id, &key.unwrap()).await;
    }

    async fn register_for(&self, id: ClientId, key: &PublicKey) {
        let app = self.relay.running.app();
        clients::add_public_key(app, &operator(), id, key).await.unwrap();
    }

    async fn alter(&self, change: &ClientChange) {
        clients::alter(self.relay.running.app(), &operator(), self.id, change).await.unwrap();
    }

    fn now_s(&self) -> u64 {
        self.relay.running.relay().dependencies().clock.now().as_secs()
    }

    fn claims(&self) -> Value {
        claims(self.id, &format!("{}/oauth/token", self.relay.url()), self.now_s())
    }

    /// The proper claims with this one in another form, or gone.
    fn claiming(&self, name: &str, value: Option<Value>) -> Value {
        let mut claims = self.claims();
        match value {
            Some(value) => claims[name] = value,
            None => drop(claims.as_object_mut().unwrap().remove(name)),
        }
        claims
    }

    fn assertion(&self) -> String {
        self.pair.sign(&self.pair.header(), &self.claims())
    }

    async fn ask(&self, form_of: &[(&str, &str)]) -> Response {
        let url = format!("{}/oauth/token", self.relay.url());
        form(http().post(url), form_of).send().await.unwrap()
    }

    async fn exchange(&self, assertion: &str) -> Response {
        self.ask(&good_form(assertion)).await
    }

    async fn token(&self) -> String {
        let response = self.exchange(&self.assertion()).await;
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
        let body: Value = response.json().await.unwrap();
        body["access_token"].as_str().unwrap().to_owned()
    }

    async fn status_with(&self, bearer: &str) -> u16 {
        let url = format!("{}/v1/clients/self", self.relay.url());
        http().get(url).bearer_auth(bearer).send().await.unwrap().status().as_u16()
    }
}

/// A request with this form.
fn form(request: RequestBuilder, pairs: &[(&str, &str)]) -> RequestBuilder {
    let text = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    request.header("Content-Type", "application/x-www-form-urlencoded").body(text)
}

fn good_form(assertion: &str) -> [(&str, &str); 3] {
    [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", assertion),
    ]
}

/// Holds a refusal to RFC 6749 section 5.2 and gives its body.
async fn refused(what: &str, response: Response, status: u16, error: &str) -> String {
    let (got, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.unwrap();
    assert_eq!(got, status, "{what}: {text}");
    assert_eq!(headers["content-type"], "application/json", "{what}");
    assert_eq!(headers["cache-control"], "no-store", "{what}");
    assert_eq!(headers.contains_key("www-authenticate"), status == 401, "{what}");
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(body["error"], error, "{what}: {text}");
    text
}

#[tokio::test]
async fn with_every_algorithm_an_assertion_gives_a_token_that_calls_as_a_key_does() {
    let bank = Bank::open().await;
    for alg in ["ES256", "EdDSA", "PS256", "RS256"] {
        let pair = KeyPair::generate(alg, alg);
        bank.register(&pair).await;
        let issuer = bank.claiming("aud", Some(json!(bank.relay.url())));
        let listed = bank.claiming("aud", Some(json!([bank.claims()["aud"]])));
        for claims in [bank.claims(), issuer, listed] {
            let response = bank.exchange(&pair.sign(&pair.header(), &claims)).await;
            let (status, headers) = (response.status(), response.headers().clone());
            let text = response.text().await.unwrap();
            assert_eq!(status, 200, "{alg}: {text}");
            assert_eq!(headers["cache-control"], "no-store");
            let body: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(body["token_type"], "Bearer");
            assert_eq!(body["expires_in"], 600);
            assert_eq!(body["scope"], "ceremony:auth ceremony:read device:pair");
            let token = body["access_token"].as_str().unwrap();
            assert_eq!(bank.status_with(token).await, 200, "{alg}");
        }
    }
    let by_token = Initiator { url: bank.relay.url(), key: bank.token().await, http: http() };
    let opened = by_token.open(&json!({ "type": "authentication", "username": "ada" })).await;
    assert_eq!(by_token.read(opened.id).await.id, opened.id);
    // The same client, whichever credential it comes with.
    assert_eq!(bank.initiator.read(opened.id).await.id, opened.id);
    let cancelled = by_token.delete(&format!("/v1/ceremonies/{}", opened.id)).await;
    assert_eq!(cancelled.status(), 200);
    let not_its_own = json!({ "type": "registration", "username": "ada" });
    assert_eq!(by_token.post("/v1/ceremonies", &not_its_own).await.status(), 403);
}

#[tokio::test]
async fn every_bad_assertion_is_the_same_invalid_client() {
    let bank = Bank::open().await;
    let bad = bad_assertions::all(&bank).await;
    assert!(bad.len() >= 40, "{}", bad.len());
    let mut words = BTreeSet::new();
    for (what, assertion) in &bad {
        let response = bank.exchange(assertion).await;
        words.insert(refused(what, response, 401, "invalid_client").await);
    }
    let good = bank.assertion();
    let forms: [(&str, Vec<(&str, &str)>); 7] = [
        ("no assertion", good_form(&good)[..2].to_vec()),
        ("an empty assertion", good_form("").to_vec()),
        ("no type", vec![good_form(&good)[0], good_form(&good)[2]]),
        (
            "another type",
            vec![
                good_form(&good)[0],
                (
                    "client_assertion_type",
                    "urn:ietf:params:oauth:client-assertion-type:saml2-bearer",
                ),
                good_form(&good)[2],
            ],
        ),
        (
            "another client_id",
            [&good_form(&good)[..], &[("client_id", "cli_AAAAAAAAAAAAAAAAAAAAAA")]].concat(),
        ),
        ("a key as assertion", good_form(&bank.initiator.key).to_vec()),
        (
            "nothing but a client_id",
            vec![good_form(&good)[0], ("client_id", "cli_AAAAAAAAAAAAAAAAAAAAAA")],
        ),
    ];
    for (what, form) in &forms {
        words.insert(refused(what, bank.ask(form).await, 401, "invalid_client").await);
    }
    let url = format!("{}/oauth/token", bank.relay.url());
    let by_key = form(http().post(url).bearer_auth(&bank.initiator.key), &good_form(&good));
    let by_key = by_key.send().await.unwrap();
    words.insert(refused("a key beside it", by_key, 401, "invalid_client").await);
    assert_eq!(words.len(), 1, "{words:#?}");
    // None of the forms above used it up.
    assert_eq!(bank.exchange(&good).await.status(), 200);
}

#[tokio::test]
async fn of_fifty_that_use_an_assertion_at_once_one_gets_a_token_also_after_a_restart() {
    let bank = Bank::open().await;
    let assertion = bank.assertion();
    let tries = (0..50).map(|_| bank.exchange(&assertion));
    let answers = futures::future::join_all(tries).await;
    let tokens = answers.iter().filter(|answer| answer.status() == 200).count();
    assert_eq!(tokens, 1);
    assert!(answers.iter().all(|answer| matches!(answer.status().as_u16(), 200 | 401)));
    let Bank { relay, initiator, id, pair } = bank;
    let bank = Bank { relay: relay.restart().await, initiator, id, pair };
    assert_eq!(bank.exchange(&assertion).await.status(), 401);
    assert_eq!(bank.exchange(&bank.assertion()).await.status(), 200);
}

/// Takes everything but used assertions.
#[derive(Debug, Default)]
struct Forgetful;

impl Faults for Forgetful {
    fn commit<'a>(
        &'a self,
        store: &'a dyn Store,
        batch: Batch,
    ) -> BoxFuture<'a, Result<Revision, StoreError>> {
        if batch.changes().iter().any(|change| change.bucket == Bucket::Assertions) {
            return Box::pin(std::future::ready(faulty_store::refused("no room")));
        }
        store.commit(batch)
    }
}

#[tokio::test]
async fn where_it_cannot_be_known_whether_an_assertion_was_used_there_is_no_token() {
    let store = Arc::new(FaultyStore::<Forgetful>::default());
    let bank = Bank::at(TestRelay::start_on(store, patient).await).await;
    let response = bank.exchange(&bank.assertion()).await;
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    assert!(!response.text().await.unwrap().contains("access_token"));
}

#[tokio::test]
async fn a_token_ends_at_once_with_its_key_or_its_client() {
    let bank = Bank::open().await;
    let second = KeyPair::generate("EdDSA", "second");
    bank.register(&second).await;
    let by_first = bank.token().await;
    let answer = bank.exchange(&second.sign(&second.header(), &bank.claims())).await;
    let answer: Value = answer.json().await.unwrap();
    let by_second = answer["access_token"].as_str().unwrap();
    let (app, operator) = (bank.relay.running.app(), operator());

    clients::remove_public_key(app, &operator, bank.id, "first").await.unwrap();
    assert_eq!(bank.status_with(&by_first).await, 401, "its key is gone");
    assert_eq!(bank.status_with(by_second).await, 200, "the other key lives on");
    let response = bank.exchange(&bank.assertion()).await;
    refused("by the removed key", response, 401, "invalid_client").await;

    // Another key under the old name does not revive what the old key was given.
    bank.register(&KeyPair::generate("ES256", "first")).await;
    assert_eq!(bank.status_with(&by_first).await, 401);

    let change = ClientChange { end_api_keys: true, ..ClientChange::default() };
    bank.alter(&change).await;
    assert_eq!(bank.status_with(&bank.initiator.key).await, 401, "the API keys are ended");
    assert_eq!(bank.status_with(by_second).await, 200);

    clients::remove(app, &operator, bank.id).await.unwrap();
    assert_eq!(bank.status_with(by_second).await, 401, "its client is gone");
}

#[tokio::test]
async fn a_token_has_the_scopes_that_were_asked_for_and_never_more_than_the_client() {
    let bank = Bank::open().await;
    let ask = |scope: &'static str| {
        let assertion = bank.assertion();
        let bank = &bank;
        async move { bank.ask(&[&good_form(&assertion)[..], &[("scope", scope)]].concat()).await }
    };
    let narrow: Value = ask("ceremony:read").await.json().await.unwrap();
    assert_eq!(narrow["scope"], "ceremony:read");
    let reader = Initiator {
        url: bank.relay.url(),
        key: narrow["access_token"].as_str().unwrap().to_owned(),
        http: http(),
    };
    let me: Value = reader.get("/v1/clients/self").await.json().await.unwrap();
    assert_eq!(me["scopes"], json!(["ceremony:read"]));
    let open = json!({ "type": "authentication", "username": "ada" });
    let response = reader.post("/v1/ceremonies", &open).await;
    assert_eq!(response.status(), 403);
    assert!(response.text().await.unwrap().contains("scope_missing"));
    let twice: Value = ask("device:pair ceremony:read device:pair").await.json().await.unwrap();
    assert_eq!(twice["scope"], "ceremony:read device:pair");
    for scope in [
        "ceremony:reg",
        "ceremony:read ceremony:reg",
        "ceremony:all",
        "CEREMONY:READ",
        "ceremony:read,device:pair",
        "ceremony:read  device:pair",
        " ceremony:read",
        "openid",
    ] {
        refused(scope, ask(scope).await, 400, "invalid_scope").await;
    }
}

#[tokio::test]
async fn a_request_that_is_none_is_answered_by_rfc_6749() {
    let bank = Bank::open().await;
    let good = bank.assertion();
    let proper = good_form(&good);
    let many: Vec<_> = (0..20).map(|_| ("x", "y")).collect();
    type Form<'a> = Vec<(&'a str, &'a str)>;
    let cases: [(&str, Form<'_>, &str); 8] = [
        ("nothing", vec![], "invalid_request"),
        ("no grant type", proper[1..].to_vec(), "invalid_request"),
        ("an empty grant type", [&proper[1..], &[("grant_type", "")]].concat(), "invalid_request"),
        ("a parameter twice", [&proper[..], &proper[..1]].concat(), "invalid_request"),
        ("an assertion twice", [&proper[..], &proper[2..]].concat(), "invalid_request"),
        (
            "a secret beside it",
            [&proper[..], &[("client_secret", "x")]].concat(),
            "invalid_request",
        ),
        ("too many", [&proper[..], &many[..]].concat(), "invalid_request"),
        (
            "another grant",
            [&proper[1..], &[("grant_type", "authorization_code")]].concat(),
            "unsupported_grant_type",
        ),
    ];
    for (what, form, error) in &cases {
        refused(what, bank.ask(form).await, 400, error).await;
    }
    let url = format!("{}/oauth/token", bank.relay.url());
    let as_json = http().post(&url).json(&json!({ "grant_type": "client_credentials" }));
    assert_eq!(as_json.send().await.unwrap().status(), 415);
    let endless = form(http().post(&url), &[("client_assertion", &"x".repeat(100_000))]);
    assert_eq!(endless.send().await.unwrap().status(), 413);
    // What is not known is ignored (RFC 6749 section 3.2), and none of this used it up.
    let known = [&proper[..], &[("resource", "https://relay.example"), ("scope", "")]].concat();
    assert_eq!(bank.ask(&known).await.status(), 200);
}

#[tokio::test]
async fn from_elsewhere_a_good_credential_is_as_bad_as_any() {
    let bank = Bank::open().await;
    let token = bank.token().await;
    let limit = |network: &'static str| {
        let allow_from = Some(vec![network.parse().unwrap()]);
        let change = ClientChange { allow_from, ..ClientChange::default() };
        let bank = &bank;
        async move { bank.alter(&change).await }
    };
    let whole = |bearer: String| {
        let url = format!("{}/v1/clients/self", bank.relay.url());
        async move {
            let response = http().get(url).bearer_auth(bearer).send().await.unwrap();
            let mut headers = response.headers().clone();
            headers.remove("date");
            (response.status(), format!("{headers:?}"), response.text().await.unwrap())
        }
    };
    limit("192.0.2.0/24").await;
    let bad_key = whole("rk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned()).await;
    assert_eq!(bad_key.0, 401);
    assert_eq!(whole(bank.initiator.key.clone()).await, bad_key);
    assert_eq!(whole(token.clone()).await, bad_key);
    let elsewhere = bank.exchange(&bank.assertion()).await;
    let elsewhere = refused("from elsewhere", elsewhere, 401, "invalid_client").await;
    let bad = bank.exchange("x").await;
    assert_eq!(elsewhere, refused("no assertion", bad, 401, "invalid_client").await);

    limit("127.0.0.0/8").await;
    let (status, _, me) = whole(bank.initiator.key.clone()).await;
    assert_eq!(status, 200);
    assert!(me.contains(r#""allow_from":["127.0.0.0/8"]"#), "{me}");
    assert_eq!(whole(token).await.0, 200);
    assert_eq!(bank.exchange(&bank.assertion()).await.status(), 200);
}

#[tokio::test]
async fn no_page_gets_a_token() {
    let bank = Bank::open().await;
    let listed = "https://shop.bank.example";
    let change = ClientChange {
        page_origins: Some(vec![listed.parse().unwrap()]),
        ..ClientChange::default()
    };
    bank.alter(&change).await;
    let mut variants = not_listed(listed, &bank.relay.url());
    variants.push(vec![listed.to_owned()]);
    let assertion = bank.assertion();
    for lines in &variants {
        let url = format!("{}/oauth/token", bank.relay.url());
        let mut request = form(http().post(url), &good_form(&assertion));
        for line in lines {
            request = request.header("origin", line.as_bytes());
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 403, "{lines:?}");
        let headers = response.headers();
        assert!(!headers.contains_key("access-control-allow-origin"), "{lines:?}");
    }
    assert_eq!(bank.exchange(&assertion).await.status(), 200, "and it was not used up");
}

#[tokio::test]
async fn the_metadata_says_where_and_how() {
    let bank = Bank::open().await;
    let url = bank.relay.url();
    let found = http().get(format!("{url}/.well-known/oauth-authorization-server")).send().await;
    let metadata: Value = found.unwrap().json().await.unwrap();
    assert_eq!(metadata["issuer"], url);
    assert_eq!(metadata["token_endpoint"], format!("{url}/oauth/token"));
    assert_eq!(metadata["response_types_supported"], json!([]));
    assert_eq!(metadata["grant_types_supported"], json!(["client_credentials"]));
    assert_eq!(metadata["token_endpoint_auth_methods_supported"], json!(["private_key_jwt"]));
    let algorithms = &metadata["token_endpoint_auth_signing_alg_values_supported"];
    assert_eq!(*algorithms, json!(["ES256", "EdDSA", "PS256", "RS256"]));
}
