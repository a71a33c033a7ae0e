//! The demo bank without a browser: what it believes, and what it serves to whom.

use fido_relay::cli::demo::bank::Action;
use fido_relay::cli::demo::visitor::{Told, Visitor};
use fido_relay_proto::{Outcome, Reason};
use reqwest::{Client, StatusCode, header};
use serde_json::{Value, json};

use super::scene::{Scene, UP_TO_DELIVERED, UP_TO_VERIFYING};

impl Scene {
    /// A visit that the relay ends so.
    async fn visit(&self, action: Action, outcome: Outcome, reason: Option<Reason>) -> Told {
        let visitor = Visitor::new(self.url.parse().unwrap()).unwrap();
        let ends = async {
            let id = self.relay.opened_by(std::future::ready(())).await;
            self.relay.steps(id, &UP_TO_DELIVERED);
            self.relay.steps(id, &UP_TO_VERIFYING);
            self.relay.close(id, outcome, reason);
        };
        let (told, ()) = tokio::join!(visitor.goes_through(action), ends);
        told.unwrap()
    }
}

#[tokio::test]
async fn the_bank_believes_a_success_whose_token_fits_what_it_asked() {
    let scene = Scene::set().await;
    for action in [Action::Register, Action::SignIn, Action::Approve] {
        let told = scene.visit(action, Outcome::Succeeded, None).await;
        assert_eq!(told.verdict, "approved", "{action:?}");
    }
    scene.clear().await;
}

#[tokio::test]
async fn the_bank_believes_no_token_that_speaks_of_something_else() {
    let scene = Scene::set().await;
    for forgery in [
        json!({ "client_nonce": "another" }),
        json!({ "client_nonce": null }),
        json!({ "aud": "cli_BwcHBwcHBwcHBwcHBwcHCA" }),
        json!({ "iss": "https://elsewhere.example" }),
        json!({ "jti": "cer_BwcHBwcHBwcHBwcHBwcHBw" }),
        json!({ "tx_hash": "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU" }),
        json!({ "tx_hash": null }),
        json!({ "ceremony_type": "authentication" }),
        json!({ "outcome": "denied" }),
        json!({ "sub": "mallory@harbour.example" }),
        json!({ "exp": 1_700_000_000 }),
    ] {
        scene.relay.forge(forgery.clone());
        let told = scene.visit(Action::Approve, Outcome::Succeeded, None).await;
        assert_eq!(told.verdict, "refused", "{forgery}");
    }
    assert!(!scene.told.text().contains("verified"), "{}", scene.told.text());
    scene.clear().await;
}

#[tokio::test]
async fn the_bank_believes_no_token_of_another_key_or_kind() {
    let scene = Scene::set().await;
    for (header, why) in [
        (json!({ "typ": "JWT" }), "another kind of token"),
        (json!({ "kid": "unknown" }), "a key that the relay does not publish"),
        (json!({ "kid": null }), "no key named"),
    ] {
        scene.relay.forge_header(header);
        let told = scene.visit(Action::SignIn, Outcome::Succeeded, None).await;
        assert_eq!(told.verdict, "refused", "{why}");
    }
    scene.relay.forge_header(json!({}));
    scene.relay.sign_with_another_key();
    let told = scene.visit(Action::SignIn, Outcome::Succeeded, None).await;
    assert_eq!(told.verdict, "refused", "another key under the published name");
    scene.clear().await;
}

#[tokio::test]
async fn the_terminal_tells_the_steps_in_order_with_time_and_actor() {
    let scene = Scene::set().await;
    scene.visit(Action::SignIn, Outcome::Denied, Some(Reason::NotMe)).await;
    let told = scene.told.text();
    let lines: Vec<&str> = told.lines().filter(|line| line.contains(" s  ")).collect();
    let who = |line: &&str| line.split_whitespace().nth(2).unwrap().to_owned();
    let actors: Vec<String> = lines.iter().map(who).collect();
    let expected =
        ["page", "relay", "relay", "phone", "phone", "fido2", "card", "relay", "relay", "bank"];
    assert_eq!(actors, expected, "{told}");
    assert!(told.contains("opened      stored; code 481 205"), "{told}");
    assert!(told.contains("closed      denied (not_me)"), "{told}");
    assert!(!told.contains('\x1b'), "no colours off a terminal");
    scene.clear().await;
}

#[tokio::test]
async fn the_site_answers_its_own_page_and_no_other_sites() {
    let scene = Scene::set().await;
    let http = Client::builder().no_proxy().build().unwrap();
    let sign_in = format!("{}api/sign-in", scene.url);
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://elsewhere.example"),
        ("origin", "null"),
        ("host", "elsewhere.example"),
        ("host", "harbour.example:80"),
    ] {
        let answer = http.post(&sign_in).header(name, value).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{name}: {value}");
    }
    let page = http.get(&scene.url).header("host", "elsewhere.example").send().await.unwrap();
    assert_eq!(page.status(), StatusCode::FORBIDDEN, "a rebound name sees nothing");

    let own = scene.url.trim_end_matches('/');
    let answer =
        http.post(&sign_in).header("origin", own).header("sec-fetch-site", "same-origin").send();
    assert_eq!(answer.await.unwrap().status(), StatusCode::CREATED);
    scene.clear().await;
}

#[tokio::test]
async fn the_page_allows_itself_nothing_but_its_own_files() {
    let scene = Scene::set().await;
    let http = Client::builder().no_proxy().build().unwrap();
    for path in ["", "page.css", "page.js", "icon.svg", "api/account"] {
        let answer = http.get(format!("{}{path}", scene.url)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let headers = answer.headers().clone();
        let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(headers[header::REFERRER_POLICY], "no-referrer");
        let body = answer.text().await.unwrap();
        assert!(!body.contains("https://"), "{path} needs no other host");
        for inline in ["style=", " onclick", "<style", "javascript:", "innerHTML"] {
            assert!(!body.contains(inline), "{path} has no {inline}");
        }
    }
    scene.clear().await;
}

#[tokio::test]
async fn a_ticket_opens_its_own_ceremony_and_no_other() {
    let scene = Scene::set().await;
    let http = Client::builder().no_proxy().build().unwrap();
    let open = async || -> Value {
        let answer = http.post(format!("{}api/sign-in", scene.url)).send().await.unwrap();
        answer.json().await.unwrap()
    };
    let (mine, other) = (open().await, open().await);
    let path = format!("{}api/ceremonies/{}", scene.url, mine["id"].as_str().unwrap());
    let wrong = other["ticket"].as_str().unwrap();
    for request in [http.get(&path), http.get(format!("{path}/outcome")), http.delete(&path)] {
        let answer = request.bearer_auth(wrong).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    }
    let without = http.get(format!("{path}/outcome")).send().await.unwrap();
    assert_eq!(without.status(), StatusCode::NOT_FOUND);
    let right = http.delete(&path).bearer_auth(mine["ticket"].as_str().unwrap());
    assert_eq!(right.send().await.unwrap().status(), StatusCode::NO_CONTENT);
    scene.clear().await;
}
