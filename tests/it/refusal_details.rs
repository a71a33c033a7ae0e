//! The detail of a refusal names the field and what is allowed there, and never repeats the request.

use fido_relay_proto::Binding;
use fido_relay_proto::http::Scope;
use fido_relay_proto::limits::{JSON_KEYS, JSON_OPTIONS_KEYS};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::support::relay::{Initiator, TestRelay};

/// Put wherever a request has room for it; must be in no answer.
const CANARY: &str = "canary7Q";

const KNOWN: &str = "unknown field; known: type, username, display_name, device_id, timeout_s, \
     binding, message, transaction, context, client_nonce, prior_auth, show_delivery, options";

async fn relay() -> (TestRelay, Initiator) {
    let relay = TestRelay::start_with(|config| {
        config.webhooks.allowed_hosts = vec!["hooks.example.com".to_owned()];
    })
    .await;
    let initiator = relay.initiator().await;
    (relay, initiator)
}

/// The details of a problem with this status.
async fn detail(response: Response, status: u16) -> String {
    assert_eq!(response.status(), status);
    let problem: Value = response.json().await.unwrap();
    let client_direct = problem["errorMessage"].as_str();
    problem["detail"].as_str().or(client_direct).unwrap_or_default().to_owned()
}

async fn send(initiator: &Initiator, method: &str, path: &str, body: String) -> Response {
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let request = initiator.http.request(method, format!("{}{path}", initiator.url));
    let request = request.bearer_auth(&initiator.key).header("Content-Type", "application/json");
    request.body(body).send().await.unwrap()
}

/// An opening with this field set to this value.
fn opening(field: &str, value: Value) -> String {
    let mut body = json!({ "type": "authentication", "username": "ada" });
    body[field] = value;
    body.to_string()
}

fn approval(transaction: Value) -> String {
    json!({ "type": "approval", "username": "ada", "transaction": transaction }).to_string()
}

#[tokio::test]
async fn an_opening_that_does_not_fit_names_the_field_and_what_it_takes() {
    let (_relay, initiator) = relay().await;
    let line = |label: Value| json!({ "title": "Payment", "fields": [{ "label": "a", "value": "b" }, label] });
    let types = "/type: one of registration, authentication, approval";
    let seconds = "/timeout_s: a whole number from 30 to 600";
    let algorithms = json!({ "algorithms": ["es256", CANARY] });
    let wide = format!("{{{}}}", vec!["\"a\":0"; JSON_KEYS + 1].join(","));
    for (body, expected) in [
        // The issue's three.
        (r#"{"username":"a"}"#.to_owned(), "/type: missing"),
        (r#"{"type":"login","username":"a"}"#.to_owned(), types),
        (r#"{"type":"authentication","username":"a","x":1}"#.to_owned(), KNOWN),
        // Shapes.
        (String::new(), "the body must be a JSON object"),
        ("[1]".to_owned(), "the body must be a JSON object"),
        ("[".repeat(9), "the body must be a JSON object"),
        (format!("{{\"a\":{}", "[".repeat(8)), "the body may be nested 8 levels deep"),
        (wide, "the body may have 64 keys"),
        (r#"{"type":"#.to_owned(), "not JSON: EOF while parsing a value at line 1 column 8"),
        (r#"{"x":7}}"#.to_owned(), "not JSON: trailing characters at line 1 column 8"),
        (r#"{'type':1}"#.to_owned(), "not JSON: key must be a string at line 1 column 2"),
        (
            r#"{"type":"authentication","username":"ada","username":"canary7Q"}"#.to_owned(),
            "a field is given twice at line 1 column 52",
        ),
        // Values.
        (r#"{"type":"authentication"}"#.to_owned(), "/username: missing"),
        (opening("type", json!(7)), types),
        (opening("type", Value::Null), types),
        (opening("username", json!(7)), "/username: a string"),
        (opening("username", json!({ CANARY: 1 })), "/username: a string"),
        (opening("username", json!(" ")), "/username: must not be empty"),
        (
            opening("username", json!(CANARY.repeat(32))),
            "/username: must have at most 255 characters",
        ),
        (
            opening("username", json!("canary7Q\u{202e}")),
            "/username: must not contain control, bidirectional, invisible or private-use characters",
        ),
        (opening("username", json!(" ada")), "/username: must not begin or end with a blank"),
        (opening("username", json!("ada\u{a0}")), "/username: must not begin or end with a blank"),
        (
            opening("username", json!("canary7Qe\u{301}")),
            "/username: must be in Unicode normalization form C",
        ),
        (
            opening("message", json!("canary7Q  5 EUR")),
            "/message: must not have more than one blank in a row",
        ),
        (
            opening("display_name", json!("5\u{335}\u{335}\u{335}\u{335}")),
            "/display_name: must not begin with a combining mark or have more than 3 in a row",
        ),
        (
            opening("context", json!({ "location": "canary\u{200c}7Q" })),
            "/context/location: must have joiners and emoji selectors only where a script or an \
             emoji needs them",
        ),
        (opening("device_id", json!(CANARY)), "/device_id: not a valid device id"),
        (opening("timeout_s", json!("60")), seconds),
        (opening("timeout_s", json!(60.5)), seconds),
        (opening("timeout_s", json!(-1)), seconds),
        (opening("timeout_s", json!([60])), seconds),
        (opening("binding", Value::Null), "/binding: one of code, none"),
        (opening("prior_auth", json!(CANARY)), "/prior_auth: one of none, password, session"),
        (opening("show_delivery", json!(CANARY)), "/show_delivery: true or false"),
        (opening("context", json!([])), "/context: an object"),
        (
            opening("context", json!({ CANARY: CANARY })),
            "/context: unknown field; known: ip, user_agent, location, browser",
        ),
        (
            opening("options", json!({ "userVerification": CANARY })),
            "/options/userVerification: one of required, preferred, discouraged",
        ),
        (opening("options", json!({ "algorithms": CANARY })), "/options/algorithms: a list"),
        (
            opening("options", algorithms),
            "/options/algorithms/1: one of es256, eddsa, es384, ps256, ml_dsa_44, ml_dsa_65, rs256",
        ),
        (approval(json!({ "title": "Payment" })), "/transaction/fields: missing"),
        (approval(json!({ "title": "Payment", "fields": {} })), "/transaction/fields: a list"),
        (approval(line(json!({ "label": "a" }))), "/transaction/fields/1/value: missing"),
        (approval(line(json!([CANARY, CANARY]))), "/transaction/fields/1: an object"),
        (
            approval(line(json!({ "label": CANARY.repeat(9), "value": "b" }))),
            "/transaction/fields/1/label: must have at most 40 characters",
        ),
    ] {
        let response = send(&initiator, "POST", "/v1/ceremonies", body.clone()).await;
        assert_eq!(detail(response, 400).await, expected, "{body}");
    }
    let payment = json!({ "title": "Payment", "fields": [{ "label": "a", "value": "b" }] });
    for (body, expected) in [
        (opening("timeout_s", json!(29)), seconds),
        (opening("type", json!("approval")), "/transaction: missing; an approval needs it"),
        (opening("transaction", payment), "/transaction: only for an approval"),
        (
            approval(json!({ "title": "Payment", "fields": [] })),
            "/transaction/fields: a list of 1 to 16",
        ),
        (opening("options", json!({ "rpId": CANARY })), "/options/rpId: not served here"),
    ] {
        let response = send(&initiator, "POST", "/v1/ceremonies", body.clone()).await;
        assert_eq!(detail(response, 422).await, expected, "{body}");
    }
}

#[tokio::test]
async fn every_other_route_names_the_field_too() {
    let (_relay, initiator) = relay().await;
    let opened = initiator.open(&json!({ "type": "authentication", "username": "ada" })).await;
    let webhook: Value = initiator
        .post("/v1/webhooks", &json!({ "url": "https://hooks.example.com/" }))
        .await
        .json()
        .await
        .unwrap();
    let hook = format!("/v1/webhooks/{}", webhook["id"].as_str().unwrap());
    let ceremony = format!("/v1/ceremonies/{}", opened.id);
    let device = "/v1/devices/dev_AAAAAAAAAAAAAAAAAAAAAA";
    let key = json!({ "kty": "EC", "crv": "P-256", "x": "a", "y": "b" });
    let mut private = key.clone();
    private["d"] = json!(CANARY);
    let pair = |field: &str, value: Value| {
        let mut body = json!({
            "pairing_token": CANARY, "jwk": key, "proof": CANARY, "platform": "other",
        });
        body[field] = value;
        body
    };
    let with_query = |path: &str, query: &str| format!("{path}?{query}");
    let wide: Vec<_> = (0..=JSON_OPTIONS_KEYS).map(|key| (key.to_string(), json!(0))).collect();
    let wide = Value::Object(wide.into_iter().collect());
    let nothing = Value::Null;
    for (method, path, body, expected) in [
        ("POST", "/v1/pairings".to_owned(), json!({}), "/username: missing"),
        ("POST", "/v1/pairings".into(), json!({ CANARY: 1 }), "unknown field; known: username"),
        ("PATCH", device.into(), json!({ "name": "" }), "/name: must not be empty"),
        ("POST", "/v1/devices".into(), pair("jwk", json!({ "kty": "EC" })), "/jwk/crv: missing"),
        ("POST", "/v1/devices".into(), pair("jwk", json!([CANARY])), "/jwk: an object"),
        (
            "POST",
            "/v1/devices".into(),
            pair("jwk", private.clone()),
            "/jwk/d: a private key: give the public half, of a new pair",
        ),
        (
            "POST",
            "/v1/device/key".into(),
            json!({ "new_jwk": private, "old_proof": CANARY, "new_proof": CANARY }),
            "/new_jwk/d: a private key: give the public half, of a new pair",
        ),
        (
            "POST",
            "/v1/devices".into(),
            pair("platform", json!(CANARY)),
            "/platform: one of android, ios, other",
        ),
        (
            "POST",
            "/v1/devices".into(),
            pair("push", json!({ "service": "fcm" })),
            "/push/token: missing",
        ),
        (
            "POST",
            "/v1/devices".into(),
            pair("typed_code", json!(CANARY)),
            "/pairing_token, /typed_code: give one of the two",
        ),
        ("POST", "/v1/device/key".into(), json!({ "new_jwk": key }), "/old_proof: missing"),
        ("POST", "/v1/webhooks".into(), json!({}), "/url: missing"),
        (
            "POST",
            "/v1/webhooks".into(),
            json!({ "url": "https://hooks.example.com/", "schemes": ["v1", CANARY] }),
            "/schemes/1: one of v1a, v1",
        ),
        (
            "POST",
            format!("{hook}/secrets"),
            json!({ "scheme": "v1", "old_lives_s": -1 }),
            "/old_lives_s: a whole number from 0 to 2592000",
        ),
        (
            "GET",
            with_query(&format!("{hook}/deliveries"), "state=canary7Q"),
            nothing.clone(),
            "query state: one of waiting, dead",
        ),
        (
            "GET",
            with_query(&format!("{hook}/deliveries"), "after=canary7Q"),
            nothing.clone(),
            "query after: not a valid event id",
        ),
        ("GET", with_query(&ceremony, "wait=x"), nothing.clone(), "query wait: a whole number"),
        ("GET", with_query(&ceremony, "since=-1"), nothing.clone(), "query since: a whole number"),
        ("GET", with_query(&ceremony, "wait=1&wait=2"), nothing.clone(), "query wait: given twice"),
        (
            "GET",
            with_query(&ceremony, "canary7Q=1"),
            nothing.clone(),
            "query: unknown field; known: wait, since",
        ),
        (
            "GET",
            with_query(&format!("{ceremony}/events"), "since=canary7Q"),
            nothing.clone(),
            "query since: a whole number",
        ),
        (
            "GET",
            with_query(&format!("{ceremony}/events"), "ticket=canary7Q"),
            nothing.clone(),
            "query ticket: not beside an Authorization header",
        ),
        (
            "GET",
            with_query(&format!("{ceremony}/socket"), "ticket=canary7Q"),
            nothing,
            "query ticket: not taken here; offer it as a subprotocol, ticket.<ticket>",
        ),
        ("POST", "/fidoapi/certify/attestation/options".into(), wide, "the body may have 256 keys"),
    ] {
        let response = send(&initiator, method, &path, body.to_string()).await;
        assert_eq!(detail(response, 400).await, expected, "{method} {path} {body}");
    }
    for (path, name, value, expected) in [
        (
            "/v1/ceremonies",
            "Idempotency-Key",
            "",
            "header Idempotency-Key: one, of 1 to 255 visible ASCII characters",
        ),
        (
            &format!("{ceremony}/events"),
            "Last-Event-ID",
            CANARY,
            "header Last-Event-ID: the number of an event",
        ),
    ] {
        let url = format!("{}{path}", initiator.url);
        let request = if name == "Last-Event-ID" {
            initiator.http.get(url)
        } else {
            initiator.http.post(url).json(&json!({ "type": "authentication", "username": "ada" }))
        };
        let request = request.bearer_auth(&initiator.key).header(name, value);
        assert_eq!(detail(request.send().await.unwrap(), 400).await, expected, "{name}");
    }
}

#[tokio::test]
async fn the_token_endpoint_names_the_parameter() {
    let (_relay, initiator) = relay().await;
    for (form, error, expected) in [
        ("", "invalid_request", "grant_type: missing"),
        ("grant_type=canary7Q", "unsupported_grant_type", "grant_type: one of client_credentials"),
        ("scope=a&scope=canary7Q", "invalid_request", "scope: given twice"),
        ("client_secret=canary7Q", "invalid_request", "client_secret: there are none here"),
    ] {
        let request = initiator.http.post(format!("{}/oauth/token", initiator.url)).body(form);
        let request = request.header("Content-Type", "application/x-www-form-urlencoded");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 400, "{form}");
        let told: Value = response.json().await.unwrap();
        assert_eq!(told, json!({ "error": error, "error_description": expected }), "{form}");
    }
}

#[tokio::test]
async fn a_webhook_about_devices_names_the_scope_that_it_needs_besides() {
    let (relay, _) = relay().await;
    let initiator = relay.initiator_with(vec![Scope::WebhookAdmin], vec![Binding::Code]).await;
    let body = json!({ "url": "https://hooks.example.com/", "events": ["device.paired"] });
    let response = initiator.post("/v1/webhooks", &body).await;
    assert_eq!(detail(response, 403).await, "needs the scope device:pair");
}

/// The value with each part of it in turn replaced, renamed or added to by what holds the canary.
fn mutations(value: &Value) -> Vec<Value> {
    let mut all = vec![
        json!(CANARY),
        json!(format!("{CANARY}\u{202e}")),
        json!(CANARY.repeat(300)),
        json!({ CANARY: CANARY }),
        json!([CANARY, [CANARY]]),
        json!(77_177_177_177_u64),
        json!(-77_177_177_177_i64),
        json!(77_177_177_177.5),
        json!(true),
        Value::Null,
    ];
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                for changed in mutations(field) {
                    let mut fields = fields.clone();
                    fields.insert(name.clone(), changed);
                    all.push(Value::Object(fields));
                }
                let mut renamed = fields.clone();
                let field = renamed.remove(name).unwrap();
                all.push(Value::Object(renamed.clone()));
                renamed.insert(format!("{name}{CANARY}"), field);
                all.push(Value::Object(renamed));
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                for changed in mutations(item) {
                    let mut items = items.clone();
                    items[index] = changed;
                    all.push(Value::Array(items));
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    all
}

#[tokio::test]
async fn no_mutation_of_a_body_brings_input_back() {
    let (_relay, initiator) = relay().await;
    let key = json!({ "kty": "EC", "crv": "P-256", "x": CANARY, "y": CANARY });
    let bodies = [
        (
            "/v1/ceremonies",
            json!({
                "type": "approval", "username": "ada", "display_name": "Ada", "timeout_s": 60,
                "device_id": "dev_AAAAAAAAAAAAAAAAAAAAAA", "binding": "code", "message": "Hello",
                "transaction": { "title": "Payment", "fields": [{ "label": "a", "value": "b" }] },
                "context": { "ip": "192.0.2.1", "user_agent": "Firefox", "location": "Berlin" },
                "client_nonce": "n", "prior_auth": "none", "show_delivery": false,
                "options": { "userVerification": "required", "algorithms": ["es256"] },
            }),
        ),
        (
            "/v1/devices",
            json!({
                "pairing_token": CANARY, "jwk": key, "proof": CANARY, "name": "Phone",
                "platform": "other", "push": { "service": "fcm", "token": CANARY },
            }),
        ),
        ("/v1/device/key", json!({ "new_jwk": key, "old_proof": CANARY, "new_proof": CANARY })),
        ("/v1/pairings", json!({ "username": "ada" })),
        (
            "/v1/webhooks",
            json!({
                "url": "https://hooks.example.com/x", "events": ["user.not_me"], "schemes": ["v1"],
            }),
        ),
    ];
    let mut refused = 0;
    for (path, body) in &bodies {
        for changed in mutations(body) {
            let response = send(&initiator, "POST", path, changed.to_string()).await;
            let status = response.status();
            if status.is_success() {
                continue;
            }
            let text = response.text().await.unwrap();
            assert!(!text.contains(CANARY) && !text.contains("77177"), "{path} {changed}: {text}");
            if status == StatusCode::BAD_REQUEST {
                refused += 1;
                let problem: Value = serde_json::from_str(&text).unwrap();
                assert!(problem["detail"].is_string(), "{path} {changed}: {text}");
            }
        }
    }
    assert!(refused > 200, "{refused}");
}
