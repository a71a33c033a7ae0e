//! Browsers' pages: which of them may watch what, with which credential, and what their browser is
//! told. Every road on which a browser comes meets the same corpus of origins.

use fido_relay::app::clients;
use fido_relay::app::clients::ClientChange;
use fido_relay_proto::ClientId;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::support::actions::operator;
use crate::support::origins::not_listed;
use crate::support::relay::{Initiator, TestRelay};

const LISTED: &str = "https://shop.bank.example";
const OTHER: &str = "https://other.bank.example";

/// An initiator with these pages.
async fn initiator(relay: &TestRelay, pages: &[&str]) -> Initiator {
    let initiator = relay.initiator().await;
    list(relay, &initiator, pages).await;
    initiator
}

async fn list(relay: &TestRelay, initiator: &Initiator, pages: &[&str]) {
    let origins = pages.iter().map(|page| page.parse().unwrap()).collect();
    let change = ClientChange { page_origins: Some(origins), ..ClientChange::default() };
    let id = id_of(initiator).await;
    clients::alter(relay.running.app(), &operator(), id, &change).await.unwrap();
}

async fn id_of(initiator: &Initiator) -> ClientId {
    let me: Value = initiator.get("/v1/clients/self").await.json().await.unwrap();
    serde_json::from_value(me["client_id"].clone()).unwrap()
}

/// The request with these lines of `Origin`.
fn from(request: RequestBuilder, lines: &[String]) -> RequestBuilder {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append("origin", HeaderValue::from_bytes(line.as_bytes()).unwrap());
    }
    request.headers(headers)
}

async fn preflight(url: &str, lines: &[String]) -> Response {
    let asked = reqwest::Client::new()
        .request(Method::OPTIONS, url)
        .header("Access-Control-Request-Method", "GET")
        .header("Access-Control-Request-Headers", "authorization");
    from(asked, lines).send().await.unwrap()
}

/// Holds a refusal of a page: 403, and nothing that would let a browser hand it over.
async fn refuses_the_page(what: &str, response: Response) {
    let headers = response.headers().clone();
    let status = response.status();
    let text = response.text().await.unwrap();
    assert_eq!(status, 403, "{what}: {text}");
    assert!(text.contains("\"origin_not_allowed\""), "{what}: {text}");
    let cors = headers.keys().filter(|name| name.as_str().starts_with("access-control"));
    assert_eq!(cors.count(), 0, "{what}: {headers:?}");
    assert!(headers.values().all(|value| value != "*"), "{what}: {headers:?}");
}

#[tokio::test]
async fn no_spelling_of_an_origin_watches_but_the_listed_one() {
    let relay = TestRelay::start().await;
    let initiator = initiator(&relay, &[LISTED]).await;
    let opened = initiator.open(&json!({ "type": "authentication", "username": "ada" })).await;
    let url = format!("{}/v1/ceremonies/{}", relay.url(), opened.id);
    let variants = not_listed(LISTED, &relay.url());
    assert!(variants.len() >= 30, "{}", variants.len());
    for lines in &variants {
        let watching = initiator.http.get(&url).bearer_auth(&opened.ticket);
        let response = from(watching, lines).send().await.unwrap();
        refuses_the_page(&format!("watching from {lines:?}"), response).await;
        refuses_the_page(&format!("preflight from {lines:?}"), preflight(&url, lines).await).await;
    }
    let watching = initiator.http.get(&url).bearer_auth(&opened.ticket);
    let response = from(watching, &[LISTED.to_owned()]).send().await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_listed_page_watches_and_its_browser_is_told_so_and_no_more() {
    let relay = TestRelay::start().await;
    let initiator = initiator(&relay, &[LISTED, "http://localhost:3000"]).await;
    let opened = initiator.open(&json!({ "type": "authentication", "username": "ada" })).await;
    let url = format!("{}/v1/ceremonies/{}", relay.url(), opened.id);
    for page in [LISTED, "http://localhost:3000"] {
        let lines = [page.to_owned()];
        let told = preflight(&url, &lines).await;
        assert_eq!(told.status(), 204);
        let headers = told.headers();
        assert_eq!(headers["access-control-allow-origin"], page);
        assert_eq!(headers["access-control-allow-methods"], "GET");
        assert_eq!(headers["access-control-allow-headers"], "Authorization, Last-Event-ID");
        assert_eq!(headers["access-control-max-age"], "600");
        assert_eq!(headers["vary"], "Origin");
        assert!(!headers.contains_key("access-control-allow-credentials"));
        assert_eq!(told.bytes().await.unwrap().len(), 0);

        let watching = initiator.http.get(&url).bearer_auth(&opened.ticket);
        let seen = from(watching, &lines).send().await.unwrap();
        assert_eq!(seen.status(), 200);
        assert_eq!(seen.headers()["access-control-allow-origin"], page);
        assert_eq!(seen.headers()["vary"], "Origin");
        assert!(!seen.headers().contains_key("access-control-allow-credentials"));
        let view: Value = seen.json().await.unwrap();
        assert_eq!(view["id"], opened.id.to_string());

        // A void ticket is the page's to read about, not a failure of its network.
        let void = from(initiator.http.get(&url).bearer_auth("tkt_AAAA"), &lines);
        let void = void.send().await.unwrap();
        assert_eq!(void.status(), 401);
        assert_eq!(void.headers()["access-control-allow-origin"], page);
    }
    // Without an origin, as a backend or an app: it works, and nothing is said of pages.
    let plain = initiator.http.get(&url).bearer_auth(&opened.ticket).send().await.unwrap();
    assert_eq!(plain.status(), 200);
    assert!(!plain.headers().contains_key("access-control-allow-origin"));
    assert_eq!(plain.headers()["vary"], "Origin", "a cache must not give this to a page");
}

#[tokio::test]
async fn a_ticket_works_only_in_the_pages_of_the_client_that_opened_the_ceremony() {
    let relay = TestRelay::start().await;
    let ours = initiator(&relay, &[LISTED]).await;
    let theirs = initiator(&relay, &[OTHER]).await;
    let opened = ours.open(&json!({ "type": "authentication", "username": "ada" })).await;
    let url = format!("{}/v1/ceremonies/{}", relay.url(), opened.id);
    // A preflight names no ceremony's owner: any client's page may ask on.
    assert_eq!(preflight(&url, &[OTHER.to_owned()]).await.status(), 204);
    let watch = |page: &'static str| {
        let watching = ours.http.get(&url).bearer_auth(&opened.ticket);
        async move { from(watching, &[page.to_owned()]).send().await.unwrap() }
    };
    let stolen = watch(OTHER).await;
    assert_eq!(stolen.status(), 403);
    let text = stolen.text().await.unwrap();
    assert!(text.contains("origin_not_allowed") && !text.contains(&opened.id.to_string()));
    assert_eq!(watch(LISTED).await.status(), 200);

    // What is taken off the list is refused from the next request on.
    list(&relay, &ours, &[]).await;
    assert_eq!(watch(LISTED).await.status(), 403);
    // And a client that is gone has no pages.
    list(&relay, &ours, &[LISTED]).await;
    assert_eq!(watch(LISTED).await.status(), 200);
    let id = id_of(&ours).await;
    clients::remove(relay.running.app(), &operator(), id).await.unwrap();
    assert_eq!(watch(LISTED).await.status(), 403);
    drop(theirs);
}

#[tokio::test]
async fn an_initiators_credential_in_a_page_is_refused_whoever_lists_the_page() {
    let relay = TestRelay::start().await;
    let initiator = initiator(&relay, &[LISTED]).await;
    let opened = initiator.open(&json!({ "type": "authentication", "username": "ada" })).await;
    let mut variants = not_listed(LISTED, &relay.url());
    variants.push(vec![LISTED.to_owned()]);
    let calls = [
        (Method::GET, format!("/v1/ceremonies/{}", opened.id)),
        (Method::DELETE, format!("/v1/ceremonies/{}", opened.id)),
        (Method::GET, "/v1/clients/self".to_owned()),
        (Method::GET, "/v1/users/ada/devices".to_owned()),
        (Method::DELETE, "/v1/devices/dev_AAAAAAAAAAAAAAAAAAAAAA".to_owned()),
    ];
    for (method, path) in &calls {
        let url = format!("{}{path}", relay.url());
        for lines in &variants {
            for key in [initiator.key.as_str(), "rk_bad"] {
                let call = initiator.http.request(method.clone(), &url).bearer_auth(key);
                let response = from(call, lines).send().await.unwrap();
                let status = response.status();
                let text = response.text().await.unwrap();
                assert_eq!(status, 403, "{method} {path} {lines:?} {key}: {text}");
                assert!(text.contains("origin_not_allowed"), "{method} {path} {lines:?}: {text}");
            }
        }
    }
    for path in ["/v1/ceremonies", "/v1/pairings"] {
        let body = json!({ "type": "authentication", "username": "ada" });
        let call = initiator.http.post(format!("{}{path}", relay.url())).json(&body);
        let call = from(call.bearer_auth(&initiator.key), &[LISTED.to_owned()]);
        refuses_the_page(path, call.send().await.unwrap()).await;
    }
    let view = initiator.read(opened.id).await;
    assert_eq!(serde_json::to_value(view.status).unwrap(), "pending", "nothing was cancelled");
}

#[tokio::test]
async fn no_other_path_answers_a_preflight() {
    let relay = TestRelay::start().await;
    let _initiator = initiator(&relay, &[LISTED]).await;
    for path in ["/v1/ceremonies", "/v1/clients/self", "/v1/devices", "/readyz", "/nowhere"] {
        let response = preflight(&format!("{}{path}", relay.url()), &[LISTED.to_owned()]).await;
        assert!(matches!(response.status().as_u16(), 404 | 405), "{path}: {response:?}");
        let cors = response.headers().keys().filter(|name| name.as_str().starts_with("access-"));
        assert_eq!(cors.count(), 0, "{path}");
    }
}
