//! Who may call what: every route, from a table of its own that is held against the relay's.

use std::collections::BTreeSet;

use fido_relay::app::clients;
use fido_relay::app::clients::NewClient;
use fido_relay::core::ceremony::Ceremony;
use fido_relay::schema::operations::{self, Access};
use fido_relay_proto::http::Scope;
use fido_relay_proto::{Binding, PlainText, Problem, TenantId};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::accepting_server::{accepting_server, upstream_at};
use crate::support::actions::{make_client, operator};
use crate::support::relay::{Initiator, TestRelay, http};

/// What a route asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// Nothing, or not an initiator's credential.
    Nothing,
    /// An API key.
    Key,
    /// An API key with this scope.
    Scope(Scope),
}

pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    needs: Needs,
    /// A body that gets past parsing.
    pub(crate) body: Option<fn() -> Value>,
}

impl Route {
    /// Whether it asks for an initiator's credential.
    pub(crate) fn is_guarded(&self) -> bool {
        self.needs != Needs::Nothing
    }
}

const fn route(method: &'static str, path: &'static str, needs: Needs) -> Route {
    Route { method, path, needs, body: None }
}

const fn with_body(
    method: &'static str,
    path: &'static str,
    needs: Needs,
    body: fn() -> Value,
) -> Route {
    Route { method, path, needs, body: Some(body) }
}

fn registration() -> Value {
    json!({ "type": "registration", "username": "ada" })
}

fn authentication() -> Value {
    json!({ "type": "authentication", "username": "ada" })
}

fn approval() -> Value {
    let transaction = json!({ "title": "Pay", "fields": [{ "label": "To", "value": "Bob" }] });
    json!({ "type": "approval", "username": "ada", "transaction": transaction })
}

fn pairing() -> Value {
    json!({ "username": "ada" })
}

fn webhook() -> Value {
    json!({ "url": "https://hooks.example.com/" })
}

fn moved() -> Value {
    json!({ "events": ["user.not_me"] })
}

fn rotation() -> Value {
    json!({ "scheme": "v1a" })
}

fn new_name() -> Value {
    json!({ "name": "Ada's phone" })
}

/// Every route of the public listener, once for each thing that it asks.
pub(crate) const ROUTES: &[Route] = &[
    with_body("POST", "/v1/ceremonies", Needs::Scope(Scope::CeremonyReg), registration),
    with_body("POST", "/v1/ceremonies", Needs::Scope(Scope::CeremonyAuth), authentication),
    with_body("POST", "/v1/ceremonies", Needs::Scope(Scope::CeremonyApprove), approval),
    route("GET", "/v1/ceremonies/{id}", Needs::Scope(Scope::CeremonyRead)),
    route("DELETE", "/v1/ceremonies/{id}", Needs::Scope(Scope::CeremonyRead)),
    route("GET", "/v1/ceremonies/{id}/receipt", Needs::Scope(Scope::CeremonyRead)),
    route("GET", "/v1/ceremonies/{id}/events", Needs::Scope(Scope::CeremonyRead)),
    route("POST", "/v1/ceremonies/{id}/events/ticket", Needs::Scope(Scope::CeremonyRead)),
    route("GET", "/v1/ceremonies/{id}/socket", Needs::Scope(Scope::CeremonyRead)),
    with_body("POST", "/v1/pairings", Needs::Scope(Scope::DevicePair), pairing),
    route("POST", "/v1/devices", Needs::Nothing),
    with_body("PATCH", "/v1/devices/{id}", Needs::Scope(Scope::DevicePair), new_name),
    route("DELETE", "/v1/devices/{id}", Needs::Scope(Scope::DeviceRevoke)),
    route("POST", "/v1/device/key", Needs::Nothing),
    route("GET", "/v1/device/ceremonies", Needs::Nothing),
    route("POST", "/v1/device/ceremonies/{id}/{act}", Needs::Nothing),
    route("POST", "/v1/device/claim", Needs::Nothing),
    route("POST", "/v1/device/decline", Needs::Nothing),
    route("PUT", "/v1/device/push", Needs::Nothing),
    route("GET", "/v1/users/{username}/devices", Needs::Scope(Scope::DevicePair)),
    route("DELETE", "/v1/users/{username}/pairings", Needs::Scope(Scope::DevicePair)),
    route("GET", "/v1/users/{username}/prompts", Needs::Scope(Scope::UserUnlock)),
    route("DELETE", "/v1/users/{username}/prompts", Needs::Scope(Scope::UserUnlock)),
    route("GET", "/v1/users/{username}/cards", Needs::Scope(Scope::CardRead)),
    route("DELETE", "/v1/users/{username}/cards/{id}", Needs::Scope(Scope::CardRevoke)),
    with_body("POST", "/v1/webhooks", Needs::Scope(Scope::WebhookAdmin), webhook),
    route("GET", "/v1/webhooks", Needs::Scope(Scope::WebhookAdmin)),
    route("GET", "/v1/webhooks/{id}", Needs::Scope(Scope::WebhookAdmin)),
    with_body("PATCH", "/v1/webhooks/{id}", Needs::Scope(Scope::WebhookAdmin), moved),
    route("DELETE", "/v1/webhooks/{id}", Needs::Scope(Scope::WebhookAdmin)),
    with_body("POST", "/v1/webhooks/{id}/secrets", Needs::Scope(Scope::WebhookAdmin), rotation),
    route("POST", "/v1/webhooks/{id}/enable", Needs::Scope(Scope::WebhookAdmin)),
    route("POST", "/v1/webhooks/{id}/test", Needs::Scope(Scope::WebhookAdmin)),
    route("GET", "/v1/webhooks/{id}/deliveries", Needs::Scope(Scope::WebhookAdmin)),
    route(
        "POST",
        "/v1/webhooks/{id}/deliveries/{delivery}/resend",
        Needs::Scope(Scope::WebhookAdmin),
    ),
    route("GET", "/v1/clients/self", Needs::Key),
    route("GET", "/v1/device/socket", Needs::Nothing),
    route("POST", "/fidoapi/certify/attestation/options", Needs::Nothing),
    route("POST", "/fidoapi/certify/attestation/result", Needs::Nothing),
    route("POST", "/fidoapi/certify/assertion/options", Needs::Nothing),
    route("POST", "/fidoapi/certify/assertion/result", Needs::Nothing),
    route("POST", "/fidoapi/register/begin", Needs::Nothing),
    route("POST", "/fidoapi/register/complete", Needs::Nothing),
    route("POST", "/fidoapi/authenticate/begin", Needs::Nothing),
    route("POST", "/fidoapi/authenticate/complete", Needs::Nothing),
    route("POST", "/oauth/token", Needs::Nothing),
    route("GET", "/.well-known/oauth-authorization-server", Needs::Nothing),
    route("GET", "/.well-known/jwks.json", Needs::Nothing),
    route("GET", "/openapi.json", Needs::Nothing),
    route("GET", "/asyncapi.json", Needs::Nothing),
    route("GET", "/docs", Needs::Nothing),
    route("GET", "/", Needs::Nothing),
    route("GET", "/healthz", Needs::Nothing),
    route("GET", "/readyz", Needs::Nothing),
];

/// What the relay's own table asks.
fn needs(access: Access) -> Vec<Needs> {
    match access {
        Access::Anybody | Access::Device => vec![Needs::Nothing],
        Access::Client([]) => vec![Needs::Key],
        Access::Client(scopes) => scopes.iter().map(|scope| Needs::Scope(*scope)).collect(),
        Access::Watcher | Access::EventWatcher => vec![Needs::Scope(Scope::CeremonyRead)],
    }
}

#[test]
fn the_table_of_this_test_says_of_every_operation_what_it_asks() {
    let mut of_relay: Vec<_> = operations::ROUTES
        .iter()
        .flat_map(|route| {
            let needs = needs(route.access).into_iter();
            needs.map(|needs| (route.path, route.method.as_str(), format!("{needs:?}")))
        })
        .collect();
    let mut of_test: Vec<_> = ROUTES
        .iter()
        .map(|route| (route.path, route.method, format!("{:?}", route.needs)))
        .collect();
    of_relay.sort_unstable();
    of_test.sort_unstable();
    assert_eq!(of_test, of_relay, "a route without a row here is tested by nobody");
}

/// A path with this ceremony, device or user in its place.
pub(crate) fn concrete(path: &str, ceremony: &str) -> String {
    let id = if path.contains("devices") {
        "dev_AAAAAAAAAAAAAAAAAAAAAA"
    } else if path.contains("cards") {
        "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"
    } else if path.contains("webhooks") {
        "whk_AAAAAAAAAAAAAAAAAAAAAA"
    } else {
        ceremony
    };
    let path = path.replace("{delivery}", "msg_AAAAAAAAAAAAAAAAAAAAAA");
    path.replace("{id}", id).replace("{username}", "ada").replace("{act}", "ack")
}

async fn call(
    initiator: &Initiator,
    route: &Route,
    ceremony: &str,
    authorization: Option<&str>,
) -> reqwest::Response {
    let url = format!("{}{}", initiator.url, concrete(route.path, ceremony));
    let method = Method::from_bytes(route.method.as_bytes()).unwrap();
    let mut request = initiator.http.request(method, url);
    if let Some(authorization) = authorization {
        request = request.header("Authorization", authorization);
    }
    if let Some(body) = route.body {
        request = request.json(&body());
    }
    request.send().await.unwrap()
}

async fn relay() -> (TestRelay, crate::support::scripted_upstream::ScriptedUpstream) {
    let upstream = accepting_server();
    let external = upstream_at(&upstream.url());
    let relay = TestRelay::start_with(|config| {
        external(config);
        config.webhooks.allowed_hosts = vec!["hooks.example.com".to_owned()];
    })
    .await;
    (relay, upstream)
}

#[tokio::test]
async fn without_a_good_key_every_guarded_route_gives_the_same_401() {
    let (relay, _upstream) = relay().await;
    let initiator = relay.initiator().await;
    let opened = initiator.open(&authentication()).await;
    let ceremony = opened.id.to_string();

    let app = relay.running.app();
    let tenant = TenantId::default();
    let new = |name: &str| NewClient {
        tenant: tenant.clone(),
        name: PlainText::new(name).unwrap(),
        scopes: Scope::ALL.to_vec(),
        bindings: vec![Binding::Code, Binding::None],
    };
    let (late, _) = make_client(app, new("Late")).await;
    let now = Some(app.clock.now());
    let expired = clients::add_key(app, &operator(), late, now, None).await.unwrap();
    let (gone, removed) = make_client(app, new("Gone")).await;
    clients::remove(app, &operator(), gone).await.unwrap();

    let key = initiator.key.clone();
    let mut last_flipped = key.clone();
    let last = if last_flipped.pop() == Some('A') { 'E' } else { 'A' };
    last_flipped.push(last);
    let bad = [
        None,
        Some(String::new()),
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some(key.clone()),
        Some(format!("Basic {key}")),
        Some(format!("Bearer {key}=")),
        Some(format!("Bearer {key} {key}")),
        Some(format!("Bearer {}", key.to_uppercase())),
        Some(format!("Bearer {}", &key[3..])),
        Some(format!("Bearer {last_flipped}")),
        Some(format!("Bearer {}", "x".repeat(4000))),
        Some("Bearer rk_../../../clients".to_owned()),
        Some(format!("Bearer tkt_{}", "A".repeat(75))),
        Some(format!("Bearer at_{}", "A".repeat(75))),
        Some("Bearer at_".to_owned()),
        Some(format!("Bearer {}", expired.expose())),
        Some(format!("Bearer {}", removed)),
    ];
    let mut bodies = BTreeSet::new();
    for route in ROUTES.iter().filter(|route| route.needs != Needs::Nothing) {
        for bad in &bad {
            let response = call(&initiator, route, &ceremony, bad.as_deref()).await;
            assert_eq!(response.status(), 401, "{} {} {bad:?}", route.method, route.path);
            assert_eq!(response.headers()["www-authenticate"], "Bearer");
            assert_eq!(response.headers()["content-type"], "application/problem+json");
            bodies.insert(response.text().await.unwrap());
        }
    }
    assert_eq!(bodies.len(), 1, "one and the same: {bodies:?}");
    let problem: Problem = serde_json::from_str(bodies.first().unwrap()).unwrap();
    assert_eq!(serde_json::to_value(problem.code).unwrap(), "unauthorized");

    // And the ticket is no key: it watches its ceremony and does nothing else.
    let ticket = format!("Bearer {}", opened.ticket);
    for route in ROUTES.iter().filter(|route| route.needs != Needs::Nothing) {
        let response = call(&initiator, route, &ceremony, Some(&ticket)).await;
        let expected = match (route.method, route.path) {
            ("GET", "/v1/ceremonies/{id}" | "/v1/ceremonies/{id}/events") => 200,
            ("POST", "/v1/ceremonies/{id}/events/ticket") => 201,
            // Let in, but this request is no handshake.
            ("GET", "/v1/ceremonies/{id}/socket") => 426,
            _ => 401,
        };
        assert_eq!(response.status(), expected, "{} {}", route.method, route.path);
    }
    assert_eq!(
        serde_json::to_value(initiator.read(opened.id).await.status).unwrap(),
        "pending",
        "nothing of this did anything"
    );
}

#[tokio::test]
async fn each_route_opens_with_its_own_scope_and_with_no_other() {
    let (relay, _upstream) = relay().await;
    let bindings = vec![Binding::Code];
    for route in ROUTES {
        let Needs::Scope(scope) = route.needs else { continue };
        let others = Scope::ALL.into_iter().filter(|other| *other != scope).collect();
        let without = relay.initiator_with(others, bindings.clone()).await;
        let alone = relay.initiator_with(vec![scope], bindings.clone()).await;
        for (initiator, may) in [(&without, false), (&alone, true)] {
            let bearer = format!("Bearer {}", initiator.key);
            let ceremony = own_ceremony(&relay, initiator, scope).await;
            let response = call(initiator, route, &ceremony, Some(&bearer)).await;
            let status = response.status().as_u16();
            let kind = response.headers().get("content-type");
            let streams = kind.is_some_and(|kind| kind == "text/event-stream");
            // A stream would go on for as long as the ceremony does.
            let text = if streams { String::new() } else { response.text().await.unwrap() };
            let what = format!("{} {} {scope:?} {may}: {text}", route.method, route.path);
            if may {
                assert!(matches!(status, 200 | 201 | 204 | 404 | 426 | 501), "{what}");
                let has_none = ["/v1/devices/{id}", "/v1/ceremonies/{id}/receipt"];
                let none =
                    has_none.contains(&route.path) || route.path.starts_with("/v1/webhooks/{id}");
                assert_eq!(status == 404, none, "{what}");
                // Another server than the built-in one keeps its cards to itself.
                assert_eq!(status == 501, route.path.contains("/cards"), "{what}");
                assert_eq!(status == 426, route.path.ends_with("/socket"), "{what}");
            } else {
                assert_eq!(status, 403, "{what}");
                let problem: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(problem["code"], "scope_missing", "{what}");
                assert_eq!(problem["detail"], format!("needs the scope {}", scope.as_str()));
            }
        }
    }
}

/// A ceremony of this initiator, opened behind its back where it may not open any.
async fn own_ceremony(relay: &TestRelay, initiator: &Initiator, scope: Scope) -> String {
    if scope != Scope::CeremonyRead {
        return "cer_AAAAAAAAAAAAAAAAAAAAAA".to_owned();
    }
    let whoami: Value = initiator.get("/v1/clients/self").await.json().await.unwrap();
    let client = serde_json::from_value(whoami["client_id"].clone()).unwrap();
    let opener = relay.initiator().await;
    let opened = opener.open(&authentication()).await;
    let key =
        fido_relay::app::ceremonies::CeremonyKey { tenant: TenantId::default(), id: opened.id };
    let mut ceremony =
        Ceremony::clone(&*relay.running.relay().ceremonies.load(&key).await.unwrap().unwrap());
    ceremony.request.client_id = client;
    ceremony.request.id =
        fido_relay_proto::CeremonyId::from_bytes(fido_relay::security::random::bytes());
    let order =
        fido_relay::app::ceremonies::OpenRequest { request: ceremony.request, idempotency: None };
    relay.running.relay().ceremonies.open(order).await.unwrap().id.to_string()
}

#[tokio::test]
async fn a_client_that_may_not_go_without_a_code_gets_403_for_each_type() {
    let (relay, upstream) = relay().await;
    let initiator = relay.initiator_with(Scope::ALL.to_vec(), vec![Binding::Code]).await;
    for body in [registration(), authentication(), approval()] {
        let mut body = body;
        body["binding"] = json!("none");
        let response = initiator.post("/v1/ceremonies", &body).await;
        assert_eq!(response.status(), 403);
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["code"], "binding_not_allowed");
        assert_eq!(problem["detail"], "/binding: this client may use code");
    }
    let only_none = relay.initiator_with(Scope::ALL.to_vec(), vec![Binding::None]).await;
    let response = only_none.post("/v1/ceremonies", &authentication()).await;
    assert_eq!(response.status(), 403);
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["detail"], "/binding: this client may use none");
    assert_eq!(upstream.received().len(), 0, "nobody was asked for a challenge");
}

#[tokio::test]
async fn less_than_user_verification_needs_its_scope_and_is_for_sign_ins_alone() {
    let (relay, _upstream) = relay().await;
    let scopes: Vec<_> = Scope::ALL.into_iter().filter(|one| *one != Scope::UvWeaken).collect();
    let plain = relay.initiator_with(scopes, vec![Binding::Code]).await;
    let weakening = relay.initiator().await;
    for wish in ["preferred", "discouraged"] {
        for (body, code) in [(registration(), 422), (approval(), 422), (authentication(), 201)] {
            let mut body = body;
            body["options"] = json!({ "userVerification": wish });
            let refused = plain.post("/v1/ceremonies", &body).await;
            assert_eq!(refused.status(), 403, "{body}");
            let problem: Value = refused.json().await.unwrap();
            assert_eq!(problem["code"], "scope_missing");
            assert!(problem["detail"].as_str().unwrap().contains("uv:weaken"), "{problem}");
            assert_eq!(weakening.post("/v1/ceremonies", &body).await.status(), code, "{body}");
            body["options"] = json!({ "userVerification": "required" });
            assert_eq!(plain.post("/v1/ceremonies", &body).await.status(), 201, "{body}");
        }
    }
}

#[tokio::test]
async fn every_path_refuses_the_methods_that_it_does_not_have() {
    let (relay, _upstream) = relay().await;
    let paths: BTreeSet<_> = ROUTES.iter().map(|route| route.path).collect();
    for path in paths {
        let known: Vec<_> =
            ROUTES.iter().filter(|route| route.path == path).map(|route| route.method).collect();
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
            if known.contains(&method) {
                continue;
            }
            let url = format!("{}{}", relay.url(), concrete(path, "cer_AAAAAAAAAAAAAAAAAAAAAA"));
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let response = http().request(method.clone(), url).send().await.unwrap();
            assert_eq!(response.status(), 405, "{method} {path}");
            let served = path.starts_with("/fidoapi");
            let form = if served { "application/json" } else { "application/problem+json" };
            assert_eq!(response.headers()["content-type"], form, "{method} {path}");
            let allow = response.headers().get("allow").map(|allow| allow.to_str().unwrap());
            let allow = allow.unwrap_or_else(|| panic!("{method} {path}: RFC 9110 wants Allow"));
            for known in &known {
                assert!(allow.split(',').any(|allowed| allowed == *known), "{path}: {allow}");
            }
            let problem: Value = response.json().await.unwrap();
            assert_eq!(problem["code"], "method_not_allowed", "{method} {path}");
        }
    }
}
