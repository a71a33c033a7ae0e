//! The OpenAPI document is what the relay does: validator and linters accept it, generated clients
//! work, and neither schemathesis nor any other test gets an answer that it does not have.

pub(crate) mod documented;
mod fuzzed;
mod generated;
mod linted;

use reqwest::Method;
use serde_json::Value;

use crate::support::child::{fido_relay, run};
use crate::support::relay::{TestRelay, http};

#[tokio::test]
async fn the_address_alone_leads_to_the_page_for_people() {
    let relay = TestRelay::start().await;
    let no_redirects = reqwest::redirect::Policy::none();
    let http = reqwest::Client::builder().no_proxy().redirect(no_redirects).build().unwrap();
    for method in [Method::GET, Method::HEAD] {
        let answer = http.request(method, format!("{}/", relay.url())).send().await.unwrap();
        assert_eq!(answer.status(), 303);
        let there = answer.url().join(answer.headers()["location"].to_str().unwrap()).unwrap();
        assert_eq!(there.as_str(), format!("{}/docs", relay.url()));
    }
    let posted = http.post(format!("{}/", relay.url())).send().await.unwrap();
    assert_eq!(posted.status(), 405);
}

#[tokio::test]
async fn the_documents_are_served_to_anybody_and_again_only_when_they_have_changed() {
    let relay = TestRelay::start().await;
    let served = [
        ("/openapi.json", Some(fido_relay::schema::openapi::document())),
        ("/asyncapi.json", Some(fido_relay::schema::asyncapi::document())),
        ("/docs", None),
    ];
    for (path, expected) in served {
        let url = format!("{}{path}", relay.url());
        let first = http().get(&url).send().await.unwrap();
        assert_eq!(first.status(), 200, "{path}");
        assert_eq!(first.headers()["cache-control"], "public, max-age=300", "{path}");
        assert!(!first.headers().contains_key("access-control-allow-origin"), "{path}");
        let tag = first.headers()["etag"].clone();
        if let Some(expected) = expected {
            assert_eq!(first.headers()["content-type"], "application/json");
            assert_eq!(first.json::<Value>().await.unwrap(), expected, "{path}");
        } else {
            // Which one, `asyncapi::page` says.
            assert!(first.headers().contains_key("content-security-policy"));
        }
        for known in
            [tag.to_str().unwrap(), "\"other\", *", &format!("W/{}", tag.to_str().unwrap())]
        {
            let again = http().get(&url).header("If-None-Match", known).send().await.unwrap();
            assert_eq!(again.status(), 304, "{path} {known}");
            assert_eq!(again.headers()["etag"], tag);
        }
        let other = http().get(&url).header("If-None-Match", "\"other\"").send().await.unwrap();
        assert_eq!(other.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn the_command_prints_what_the_relay_serves() {
    for (arguments, expected) in [
        (&["schema"][..], fido_relay::schema::openapi::document()),
        (&["schema", "asyncapi"], fido_relay::schema::asyncapi::document()),
    ] {
        assert_eq!(run(&mut fido_relay(arguments)).await.json(), expected);
    }
}
