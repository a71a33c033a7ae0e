//! What bad requests get: the right status, a problem with a stable code, and never a word of
//! their own back.

use std::collections::BTreeSet;

use fido_relay_proto::limits::{HTTP_BODY, JSON_KEYS, JSON_OPTIONS_KEYS};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::support::accepting_server::{accepting_server, upstream_at};
use crate::support::raw_socket::RawSocket;
use crate::support::relay::{Initiator, TestRelay};
use crate::support::scripted_upstream::ScriptedUpstream;

/// Stands wherever a request has room for it, and in no answer.
const CANARY: &str = "canary7Q";

async fn relay() -> (TestRelay, Initiator, ScriptedUpstream) {
    let upstream = accepting_server();
    let relay = TestRelay::start_with(upstream_at(&upstream.url())).await;
    let initiator = relay.initiator().await;
    (relay, initiator, upstream)
}

/// Holds a response to the rules of every refusal.
#[track_caller]
fn refuses(what: &str, response: Response, status: u16, code: &str) -> impl Future<Output = Value> {
    let caller = std::panic::Location::caller();
    let what = what.chars().take(120).collect::<String>();
    async move {
        let (got, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        assert_eq!(got, status, "{caller}: {what}: {text}");
        let client_direct = what.starts_with("/fidoapi");
        let form = if client_direct { "application/json" } else { "application/problem+json" };
        assert_eq!(headers["content-type"], form, "{caller}: {what}");
        assert_eq!(headers["cache-control"], "no-store", "{caller}: {what}");
        assert!(!text.contains(CANARY), "{caller}: {what}: input came back: {text}");
        for (name, value) in &headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            assert!(!value.contains(CANARY), "{caller}: {what}: {name}: {value}");
        }
        let problem: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(problem["code"], code, "{caller}: {what}: {text}");
        if client_direct {
            assert_eq!(problem["status"], "failed", "{caller}: {what}: {text}");
            assert_eq!(problem["responseCode"], status, "{caller}: {what}: {text}");
            assert!(problem["errorMessage"].is_string(), "{caller}: {what}: {text}");
        } else {
            assert_eq!(problem["status"], status, "{caller}: {what}: {text}");
            assert_eq!(problem["type"], "about:blank", "{caller}: {what}: {text}");
        }
        if matches!(status, 429 | 503) {
            assert!(headers.contains_key("retry-after"), "{caller}: {what}");
        }
        problem
    }
}

async fn post_bytes(initiator: &Initiator, path: &str, body: impl Into<Vec<u8>>) -> Response {
    let request = initiator.http.post(format!("{}{path}", initiator.url));
    let request = request.bearer_auth(&initiator.key).header("Content-Type", "application/json");
    request.body(body.into()).send().await.unwrap()
}

/// A body with this field set, or another value in its place.
fn open_with(field: &str, value: Value) -> Value {
    let mut body = json!({ "type": "authentication", "username": "ada" });
    body[field] = value;
    body
}

#[tokio::test]
async fn a_body_that_is_not_what_it_should_be_is_malformed() {
    let (_relay, initiator, upstream) = relay().await;
    let deep = format!("{}\"{CANARY}\"{}", "[".repeat(9), "]".repeat(9));
    let wide: Vec<_> = (0..=JSON_KEYS).map(|key| format!("\"{CANARY}{key}\":0")).collect();
    let good = r#"{"type":"authentication","username":"ada"}"#;
    let mut bodies: Vec<Vec<u8>> = [
        "",
        " ",
        "null",
        "[]",
        "\"canary7Q\"",
        "7",
        "{}",
        "{",
        "{canary7Q}",
        r#"{"type":"authentication"}"#,
        r#"{"username":"canary7Q"}"#,
        r#"{"type":"authentication","username":"canary7Q",}"#,
        r#"{"type":"authentication","username":"canary7Q"}}"#,
        r#"{"type":"authentication","username":"canary7Q"} canary7Q"#,
        r#"{"type":"authentication","type":"registration","username":"canary7Q"}"#,
        r#"{"type":"authentication","username":"ada","username":"canary7Q"}"#,
        r#"["authentication","canary7Q"]"#,
        r#"{'type':'authentication','username':'canary7Q'}"#,
        r#"{"type":"authentication","username":"\ud800canary7Q"}"#,
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    bodies.push(format!("\u{feff}{good}").into_bytes());
    bodies.push(deep.into_bytes());
    bodies.push(format!("{{{}}}", wide.join(",")).into_bytes());
    bodies.push(format!("{}{CANARY}", "[".repeat(10_000)).into_bytes());
    bodies.push(good.replace("ada", "a\u{0}b").into_bytes());
    bodies.push([&b"{\"type\":\"authentication\",\"username\":\"\xff\xfecanary7Q\"}"[..]].concat());
    bodies.push(good.encode_utf16().flat_map(u16::to_le_bytes).collect());

    let transaction =
        |value: Value| json!({ "type": "approval", "username": "ada", "transaction": value });
    let wrong = [
        open_with(CANARY, json!(1)),
        open_with("Username", json!(CANARY)),
        open_with("code", json!("000000")),
        open_with("challenge", json!(CANARY)),
        open_with("type", json!(CANARY)),
        open_with("type", json!("Authentication")),
        open_with("type", json!(null)),
        open_with("type", json!(["authentication"])),
        open_with("username", json!(null)),
        open_with("username", json!(7)),
        open_with("username", json!("")),
        open_with("username", json!("  \t ")),
        open_with("username", json!({ CANARY: 1 })),
        open_with("username", json!(CANARY.repeat(32))),
        open_with("username", json!(format!("{CANARY}\u{202e}"))),
        open_with("username", json!(format!("{CANARY}\u{200b}"))),
        open_with("username", json!(format!("{CANARY}\n"))),
        open_with("display_name", json!("")),
        open_with("display_name", json!(true)),
        open_with("device_id", json!(CANARY)),
        open_with("device_id", json!("cer_AAAAAAAAAAAAAAAAAAAAAA")),
        open_with("timeout_s", json!(-1)),
        open_with("timeout_s", json!(60.5)),
        open_with("timeout_s", json!("60")),
        open_with("timeout_s", json!(1e30)),
        open_with("binding", json!(CANARY)),
        open_with("binding", json!(null)),
        open_with("message", json!(CANARY.repeat(18))),
        open_with("message", json!(format!("{CANARY}\u{2066}x"))),
        open_with("message", json!([CANARY])),
        open_with("prior_auth", json!(CANARY)),
        open_with("show_delivery", json!(CANARY)),
        open_with("client_nonce", json!(CANARY.repeat(17))),
        open_with("context", json!({ CANARY: CANARY })),
        open_with("context", json!({ "ip": CANARY.repeat(6) })),
        open_with("context", json!(CANARY)),
        open_with("context", json!([CANARY])),
        open_with("context", json!([])),
        open_with("options", json!([])),
        open_with("options", json!(null)),
        transaction(json!([CANARY, [{ "label": CANARY, "value": CANARY }]])),
        transaction(json!({ "title": CANARY, "fields": [[CANARY, CANARY]] })),
        open_with("options", json!({ CANARY: CANARY })),
        open_with("options", json!({ "userVerification": CANARY })),
        open_with("options", json!({ "algorithms": [CANARY] })),
        open_with("options", json!({ "algorithms": "es256" })),
        open_with("options", json!({ "challenge": CANARY })),
        transaction(json!(CANARY)),
        transaction(json!({ "title": CANARY })),
        transaction(json!({ "title": CANARY, "fields": {} })),
        transaction(json!({ "title": CANARY, "fields": [], CANARY: 1 })),
        transaction(json!({ "title": CANARY, "fields": [{ "label": CANARY }] })),
        transaction(json!({ "title": CANARY, "fields": [{ "label": "", "value": CANARY }] })),
        transaction(json!({ "title": CANARY, "fields": [{ "label": "a", "value": "b", "c": 1 }] })),
        transaction(json!({ "title": CANARY.repeat(11), "fields": [] })),
    ];
    bodies.extend(wrong.iter().map(|body| body.to_string().into_bytes()));
    for body in bodies {
        let what = String::from_utf8_lossy(&body).into_owned();
        let response = post_bytes(&initiator, "/v1/ceremonies", body).await;
        refuses(&what, response, 400, "invalid_request").await;
    }
    let pairings = [json!({}), json!({ "username": 1 }), json!({ "username": "a", CANARY: 1 })];
    for body in pairings {
        let response = initiator.post("/v1/pairings", &body).await;
        refuses("pairing", response, 400, "invalid_request").await;
    }
    assert_eq!(upstream.received().len(), 0);
}

#[tokio::test]
async fn values_that_do_not_go_together_are_unprocessable_and_said_to_be() {
    let (_relay, initiator, upstream) = relay().await;
    let field = json!({ "label": "a", "value": CANARY });
    let transaction =
        |fields: usize| json!({ "title": CANARY, "fields": vec![field.clone(); fields] });
    let approval = |fields: usize| json!({ "type": "approval", "username": "ada", "transaction": transaction(fields) });
    for (body, about) in [
        (open_with("timeout_s", json!(29)), "timeout_s"),
        (open_with("timeout_s", json!(601)), "timeout_s"),
        (open_with("timeout_s", json!(0)), "timeout_s"),
        (open_with("timeout_s", json!(u64::MAX)), "timeout_s"),
        (open_with("type", json!("approval")), "transaction"),
        (open_with("transaction", transaction(1)), "transaction"),
        (approval(0), "fields"),
        (approval(17), "fields"),
        (open_with("options", json!({ "rpId": CANARY })), "rpId"),
    ] {
        let response = initiator.post("/v1/ceremonies", &body).await;
        let problem = refuses(&body.to_string(), response, 422, "unprocessable").await;
        assert!(problem["detail"].as_str().unwrap().contains(about), "{problem}");
    }
    for body in
        [open_with("timeout_s", json!(30)), open_with("timeout_s", json!(600)), approval(16)]
    {
        let response = initiator.post("/v1/ceremonies", &body).await;
        assert_eq!(response.status(), 201, "{body}");
    }
    assert_eq!(upstream.received().len(), 0);
}

#[tokio::test]
async fn only_plain_json_is_taken() {
    let (_relay, initiator, _upstream) = relay().await;
    let body = r#"{"type":"authentication","username":"canary7Q"}"#;
    let routes = ["/v1/ceremonies", "/v1/pairings", "/v1/devices", "/fidoapi/register/begin"];
    for path in routes {
        let post = || initiator.http.post(format!("{}{path}", initiator.url)).body(body);
        let json = || post().bearer_auth(&initiator.key).header("Content-Type", "application/json");
        let as_type = |kind: &str| post().bearer_auth(&initiator.key).header("Content-Type", kind);
        let requests = [
            post().bearer_auth(&initiator.key),
            as_type("text/plain"),
            as_type("application/json-canary7Q"),
            as_type("application/jsonp"),
            as_type("application/x-www-form-urlencoded"),
            as_type("text/json"),
            as_type("multipart/form-data; boundary=application/json"),
            json().header("Content-Encoding", "gzip"),
            json().header("Content-Encoding", "identity"),
            json().header("Content-Encoding", CANARY),
            json().header("Content-Encoding", ""),
        ];
        for request in requests {
            let response = request.send().await.unwrap();
            refuses(path, response, 415, "unsupported_media_type").await;
        }
    }
    for kind in ["application/json", "APPLICATION/JSON", "application/json; charset=utf-8"] {
        let request = initiator.http.post(format!("{}/v1/ceremonies", initiator.url)).body(body);
        let request = request.bearer_auth(&initiator.key).header("Content-Type", kind);
        assert_eq!(request.send().await.unwrap().status(), 201, "{kind}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_too_large_also_without_a_length() {
    let (relay, initiator, _upstream) = relay().await;
    let big = |size: usize| {
        let body = r#"{"type":"authentication","username":"ada"}"#;
        format!("{body}{}", " ".repeat(size - body.len()))
    };
    for path in ["/v1/ceremonies", "/v1/pairings", "/v1/devices", "/fidoapi/register/begin"] {
        let response = post_bytes(&initiator, path, big(HTTP_BODY + 1)).await;
        refuses(path, response, 413, "too_large").await;

        // Chunked: nothing announces the size.
        let mut socket = RawSocket::tcp(&relay.url()).await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
            initiator.key
        );
        socket.send(head.as_bytes()).await;
        let chunk = format!("8000\r\n{}\r\n", " ".repeat(0x8000));
        for _ in 0..3 {
            socket.send(chunk.as_bytes()).await;
        }
        let head = socket.head().await;
        assert_eq!(head.status, 413, "{path}: {head:?}");
        assert!(head.body.contains(r#""code":"too_large""#), "{path}: {head:?}");
    }
    let response = post_bytes(&initiator, "/v1/ceremonies", big(HTTP_BODY)).await;
    assert_eq!(response.status(), 201, "at the limit it fits");
}

/// An answer without what differs from one second to the next.
async fn whole(response: Response) -> (StatusCode, Vec<(String, String)>, String) {
    let headers = response.headers().iter().filter(|(name, _)| *name != "date");
    let headers = headers
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    (response.status(), headers, response.text().await.unwrap())
}

#[tokio::test]
async fn what_is_somebody_elses_looks_like_what_never_was_to_the_byte() {
    let (relay, initiator, _upstream) = relay().await;
    let other = relay.initiator().await;
    let open = json!({ "type": "authentication", "username": "ada" });
    let (theirs, mine) = (other.open(&open).await, initiator.open(&open).await);
    let theirs_closed = other.open(&open).await;
    assert_eq!(other.delete(&format!("/v1/ceremonies/{}", theirs_closed.id)).await.status(), 200);
    let ids = [
        theirs.id.to_string(),
        theirs_closed.id.to_string(),
        "cer_AAAAAAAAAAAAAAAAAAAAAA".to_owned(),
        theirs.id.to_string().to_uppercase(),
        theirs.id.to_string().replace("cer_", "dev_"),
        CANARY.to_owned(),
        format!("{}%00", theirs.id),
        "%FF%FE".to_owned(),
        "%2e%2e%2fclients".to_owned(),
        "a".repeat(5000),
    ];
    let mut seen = BTreeSet::new();
    for id in &ids {
        for query in ["", "?wait=1", "?since=0"] {
            let path = format!("/v1/ceremonies/{id}{query}");
            seen.insert(whole(initiator.get(&path).await).await);
            let by_ticket = initiator.http.get(format!("{}{path}", initiator.url));
            let by_ticket = by_ticket.bearer_auth(&mine.ticket).send().await.unwrap();
            seen.insert(whole(by_ticket).await);
        }
        seen.insert(whole(initiator.delete(&format!("/v1/ceremonies/{id}")).await).await);
    }
    for id in ["dev_AAAAAAAAAAAAAAAAAAAAAA", CANARY, "%FF", &theirs.id.to_string()] {
        seen.insert(whole(initiator.delete(&format!("/v1/devices/{id}")).await).await);
    }
    for path in
        ["/v", "/v1", "/v1/ceremonies/", "/v2/ceremonies", "/canary7Q?canary7Q", "/v1/users"]
    {
        seen.insert(whole(initiator.get(path).await).await);
    }
    assert_eq!(seen.len(), 1, "they differ: {seen:#?}");
    let response = initiator.get("/v1/ceremonies/cer_AAAAAAAAAAAAAAAAAAAAAA").await;
    refuses("unknown", response, 404, "not_found").await;
    assert_eq!(other.read(theirs.id).await.id, theirs.id);
}

#[tokio::test]
async fn a_device_that_was_revoked_is_as_unknown_as_one_that_never_was() {
    let (relay, initiator, _upstream) = relay().await;
    let device = relay.pair(&initiator, "ada").await.device_id;
    let path = format!("/v1/devices/{device}");
    assert_eq!(initiator.delete(&path).await.status(), 204);
    let again = whole(initiator.delete(&path).await).await;
    let never = whole(initiator.delete("/v1/devices/dev_AAAAAAAAAAAAAAAAAAAAAA").await).await;
    assert_eq!(again, never);
}

#[tokio::test]
async fn a_bad_query_is_malformed_and_a_long_wait_is_cut() {
    let (_relay, initiator, _upstream) = relay().await;
    let opened = initiator.open(&json!({ "type": "authentication", "username": "ada" })).await;
    for query in [
        "wait=-1",
        "wait=canary7Q",
        "wait=1.5",
        "since=-1",
        "since=4294967296",
        "since=canary7Q",
        "canary7Q=1",
        "wait=1&wait=2",
        "Wait=1",
        "wait=99999999999999999999999",
        "since=%FF",
    ] {
        let response = initiator.get(&format!("/v1/ceremonies/{}?{query}", opened.id)).await;
        refuses(query, response, 400, "invalid_request").await;
    }
    // Far more than may be waited for, but there is news: the answer comes at once.
    let path = format!("/v1/ceremonies/{}?wait=4294967295&since=0", opened.id);
    assert_eq!(initiator.get(&path).await.status(), 200);
}

#[tokio::test]
async fn what_is_closed_cannot_be_cancelled_again() {
    let (_relay, initiator, _upstream) = relay().await;
    let opened = initiator.open(&json!({ "type": "authentication", "username": "ada" })).await;
    let path = format!("/v1/ceremonies/{}", opened.id);
    let cancelled: Value = initiator.delete(&path).await.json().await.unwrap();
    assert_eq!(cancelled["status"], "cancelled");
    refuses("cancel", initiator.delete(&path).await, 409, "already_closed").await;
    let stays = initiator.read(opened.id).await;
    assert_eq!(serde_json::to_value(stays.status).unwrap(), "cancelled");
}

#[tokio::test]
async fn an_idempotency_key_out_of_bounds_is_malformed() {
    let (_relay, initiator, _upstream) = relay().await;
    let body = json!({ "type": "authentication", "username": "ada" });
    let url = format!("{}/v1/ceremonies", initiator.url);
    for key in [String::new(), CANARY.repeat(32)] {
        let request = initiator.http.post(&url).bearer_auth(&initiator.key).json(&body);
        let response = request.header("Idempotency-Key", &key).send().await.unwrap();
        refuses(&key, response, 400, "invalid_request").await;
    }
    let request = initiator.http.post(&url).bearer_auth(&initiator.key).json(&body);
    let twice = request.header("Idempotency-Key", "a").header("Idempotency-Key", "b");
    refuses("two keys", twice.send().await.unwrap(), 400, "invalid_request").await;
    let request = initiator.http.post(&url).bearer_auth(&initiator.key).json(&body);
    let bytes = request.header("Idempotency-Key", &b"\xc3\xa9"[..]);
    refuses("not ASCII", bytes.send().await.unwrap(), 400, "invalid_request").await;
}

#[tokio::test]
async fn headers_over_the_limits_are_refused_before_anything_looks_at_them() {
    let (relay, _initiator, _upstream) = relay().await;
    let many: String = (0..65).map(|number| format!("X-{number}: {CANARY}\r\n")).collect();
    let long = format!("X-Long: {CANARY}{}\r\n", "a".repeat(20 * 1024));
    let line = format!("/{CANARY}{}", "a".repeat(20 * 1024));
    for (name, path, headers) in
        [("many", "/healthz", &many), ("long", "/healthz", &long), ("path", &line, &String::new())]
    {
        let mut socket = RawSocket::tcp(&relay.url()).await;
        let request = format!("GET {path} HTTP/1.1\r\nHost: relay\r\n{headers}\r\n");
        socket.send(request.as_bytes()).await;
        let head = socket.head().await;
        assert!(matches!(head.status, 414 | 431), "{name}: {head:?}");
        assert!(!format!("{head:?}").contains(CANARY), "{name}: {head:?}");
        socket.hung_up().await;
    }
    for garbage in ["GET /healthz\r\n\r\n", "canary7Q\r\n\r\n", "GET /\0 HTTP/1.1\r\n\r\n"] {
        let mut socket = RawSocket::tcp(&relay.url()).await;
        socket.send(garbage.as_bytes()).await;
        let head = socket.head().await;
        assert_eq!(head.status, 400, "{garbage:?}: {head:?}");
        assert!(!format!("{head:?}").contains(CANARY), "{garbage:?}: {head:?}");
    }
}

#[tokio::test]
async fn client_direct_bodies_that_are_too_wide_or_too_deep_are_malformed() {
    // The built-in server, which reads them itself.
    let relay = TestRelay::start().await;
    let initiator = relay.initiator().await;
    let body = |keys: usize, depth: usize| {
        let rest: Vec<_> = (0..keys - 2).map(|key| format!("\"{CANARY}{key}\":0")).collect();
        let deep = format!("{}{}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        format!(r#"{{"username":"ada","x":{deep},{}}}"#, rest.join(","))
    };
    let path = "/fidoapi/certify/attestation/options";
    for (keys, depth) in [(JSON_OPTIONS_KEYS + 1, 2), (3, 9)] {
        let response = post_bytes(&initiator, path, body(keys, depth)).await;
        refuses(path, response, 400, "invalid_request").await;
    }
    let within = post_bytes(&initiator, path, body(JSON_OPTIONS_KEYS, 8)).await;
    assert_eq!(within.status(), 200);
    let unknown = post_bytes(&initiator, "/fidoapi/certify/attestation", "{}").await;
    refuses("/fidoapi/certify/attestation", unknown, 404, "not_found").await;
    let large = post_bytes(&initiator, path, " ".repeat(HTTP_BODY + 1)).await;
    refuses(path, large, 413, "too_large").await;
}

#[tokio::test]
async fn a_client_direct_call_that_the_fido2_server_does_not_answer_is_a_failure() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let relay = TestRelay::start_with(|config| {
        upstream_at(&url)(config);
        config.client_direct = true;
    })
    .await;
    let initiator = relay.initiator().await;
    for step in ["attestation/options", "attestation/result"] {
        let path = format!("/fidoapi/certify/{step}");
        let response = post_bytes(&initiator, &path, r#"{"username":"ada"}"#).await;
        assert_eq!(response.status(), 502, "{step}");
        let told: Value = response.json().await.unwrap();
        assert_eq!(told["status"], "failed", "{step}");
    }
}
