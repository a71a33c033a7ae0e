//! The demo bank without a browser: what it believes, and what it serves to whom.

use std::time::Duration;

use fido_relay_proto::{CeremonyId, Outcome, Reason};
use fido_relay_rig::demo::request::Action;
use fido_relay_rig::demo::site::FILES;
use fido_relay_rig::demo::visitor::{OutcomeReply, VisitError, Visitor};
use reqwest::{Client, StatusCode, header};
use serde_json::{Value, json};

use super::scene::{Scene, UP_TO_DELIVERED, UP_TO_VERIFYING};

impl Scene {
    fn visitor(&self) -> Visitor {
        Visitor::new(self.url.parse().unwrap()).unwrap()
    }

    async fn signed_in_visitor(&self) -> Visitor {
        let mut visitor = self.visitor();
        let told = self.visit(&mut visitor, Action::SignIn, Outcome::Succeeded, None).await;
        assert_eq!(told.verdict, "approved");
        visitor
    }

    /// A visit that the relay ends so.
    async fn visit(
        &self,
        visitor: &mut Visitor,
        action: Action,
        outcome: Outcome,
        reason: Option<Reason>,
    ) -> OutcomeReply {
        let ends = async {
            let id = self.relay.opened_by(std::future::ready(())).await;
            self.relay.steps(id, &UP_TO_DELIVERED);
            self.relay.steps(id, &UP_TO_VERIFYING);
            self.relay.close(id, outcome, reason);
        };
        let (told, ()) = tokio::join!(visitor.run_action(action), ends);
        told.unwrap()
    }
}

#[tokio::test]
async fn the_bank_believes_a_success_whose_token_fits_what_it_asked() {
    let scene = Scene::set().await;
    let mut visitor = scene.visitor();
    for action in [Action::Register, Action::SignIn, Action::Approve] {
        let told = scene.visit(&mut visitor, action, Outcome::Succeeded, None).await;
        assert_eq!(told.verdict, "approved", "{action:?}");
    }
    scene.clear().await;
}

#[tokio::test]
async fn the_bank_believes_no_token_that_speaks_of_something_else() {
    let scene = Scene::set().await;
    let mut visitor = scene.signed_in_visitor().await;
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
        json!({ "amr": ["pop", "user"] }),
        json!({ "binding": "none" }),
        json!({ "tx_binding": null }),
        json!({ "tx_binding": "somebody" }),
        json!({ "iat": u32::MAX }),
        json!({ "auth_time": 1_700_000_000 }),
        json!({ "auth_time": u32::MAX }),
    ] {
        scene.relay.forge(forgery.clone());
        let told = scene.visit(&mut visitor, Action::Approve, Outcome::Succeeded, None).await;
        assert_eq!(told.verdict, "refused", "{forgery}");
    }
    let told = scene.told.text();
    assert_eq!(told.matches("verified").count(), 1, "the sign-in's alone: {told}");
    scene.clear().await;
}

#[tokio::test]
async fn the_bank_believes_no_token_of_another_key_or_kind() {
    let scene = Scene::set().await;
    for (header, why) in [
        (json!({ "typ": "JWT" }), "another kind of token"),
        (json!({ "kid": "unknown" }), "a key that the relay does not publish"),
        (json!({ "kid": null }), "no key named"),
        (json!({ "crit": ["b64"] }), "a rule that the bank does not know"),
    ] {
        scene.relay.forge_header(header);
        let told =
            scene.visit(&mut scene.visitor(), Action::SignIn, Outcome::Succeeded, None).await;
        assert_eq!(told.verdict, "refused", "{why}");
    }
    scene.relay.forge_header(json!({}));
    scene.relay.sign_with_another_key();
    let told = scene.visit(&mut scene.visitor(), Action::SignIn, Outcome::Succeeded, None).await;
    assert_eq!(told.verdict, "refused", "another key under the published name");
    scene.clear().await;
}

#[tokio::test]
async fn the_terminal_tells_the_steps_in_order_with_time_and_actor() {
    let scene = Scene::set().await;
    let why = Some(Reason::NotMe);
    scene.visit(&mut scene.visitor(), Action::SignIn, Outcome::Denied, why).await;
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
    let paths = FILES.map(|(path, _, _)| path);
    for path in paths.into_iter().chain(["/api/account", "/nowhere"]) {
        let answer = http.get(format!("{}{}", scene.url, &path[1..])).send().await.unwrap();
        let found = if path == "/nowhere" { StatusCode::NOT_FOUND } else { StatusCode::OK };
        assert_eq!(answer.status(), found, "{path}");
        let headers = answer.headers().clone();
        let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        let mut rules: Vec<&str> = policy.split(';').map(str::trim).collect();
        rules.sort_unstable();
        let strict = [
            "base-uri 'none'",
            "connect-src 'self'",
            "default-src 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "img-src 'self'",
            "require-trusted-types-for 'script'",
            "script-src 'self'",
            "style-src 'self'",
        ];
        assert_eq!(rules, strict, "{path}");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(headers[header::REFERRER_POLICY], "no-referrer");
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        let body = answer.text().await.unwrap();
        assert!(!body.contains("https://"), "{path} needs no other host");
        for inline in ["style=", " onclick", "<style", "javascript:", "innerHTML"] {
            assert!(!body.contains(inline), "{path} has no {inline}");
        }
    }
    let page = FILES[0].2;
    assert_eq!(
        page.matches("<script").count(),
        page.matches("<script type=\"module\" src=").count()
    );
    scene.clear().await;
}

#[tokio::test]
async fn an_approval_is_for_the_signed_in_and_is_carried_out_once() {
    let scene = Scene::set().await;
    let mut stranger = scene.visitor();
    let refused = stranger.run_action(Action::Approve).await.unwrap_err();
    assert!(matches!(&refused, VisitError::Refused { status, .. } if *status == 401), "{refused}");

    let mut ada = scene.signed_in_visitor().await;
    for (outcome, verdict) in [(Outcome::Expired, "refused"), (Outcome::Succeeded, "approved")] {
        let told = scene.visit(&mut ada, Action::Approve, outcome, None).await;
        assert_eq!(told.verdict, verdict, "a payment that was not approved still waits");
    }
    let refused = ada.run_action(Action::Approve).await.unwrap_err();
    assert!(matches!(&refused, VisitError::Refused { status, .. } if *status == 409), "{refused}");
    scene.clear().await;
}

#[tokio::test]
async fn only_a_proven_sign_in_signs_in_and_only_until_it_signs_out() {
    let scene = Scene::set().await;
    let http = Client::builder().no_proxy().build().unwrap();
    let customer = async |cookie: &str| -> Value {
        let asked = http.get(format!("{}api/account", scene.url)).header("cookie", cookie);
        asked.send().await.unwrap().json::<Value>().await.unwrap()["customer"].clone()
    };
    let sign_in = async |outcome| {
        let asked = async {
            let opened = http.post(format!("{}api/sign-in", scene.url)).send().await.unwrap();
            opened.json::<Value>().await.unwrap()
        };
        let opened = asked.await;
        scene.relay.close(opened["id"].as_str().unwrap().parse().unwrap(), outcome, None);
        let path = format!("{}api/ceremonies/{}", scene.url, opened["id"].as_str().unwrap());
        let concludes = http.post(format!("{path}/outcome"));
        let told = concludes.bearer_auth(opened["ticket"].as_str().unwrap()).send().await.unwrap();
        told.headers().get(header::SET_COOKIE).map(|line| line.to_str().unwrap().to_owned())
    };
    for outcome in [Outcome::Denied, Outcome::Rejected, Outcome::Expired, Outcome::Indeterminate] {
        assert_eq!(sign_in(outcome).await, None, "{outcome:?}");
    }
    scene.relay.forge(json!({ "client_nonce": "another" }));
    assert_eq!(sign_in(Outcome::Succeeded).await, None, "an unproven success");
    scene.relay.forge(json!({}));

    let set = sign_in(Outcome::Succeeded).await.unwrap();
    for rule in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=900"] {
        assert!(set.split("; ").any(|given| given == rule), "{rule}: {set}");
    }
    let cookie = set.split(';').next().unwrap();
    assert_eq!(customer("").await, Value::Null);
    assert_eq!(customer("harbour_session=guessed").await, Value::Null);
    assert_eq!(customer(&format!("other=1; {cookie}")).await["username"], "ada@harbour.example");

    let out = http.delete(format!("{}api/session", scene.url)).header("cookie", cookie);
    let out = out.send().await.unwrap();
    assert_eq!(out.status(), StatusCode::NO_CONTENT);
    assert!(out.headers()[header::SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(customer(cookie).await, Value::Null, "the token is worth nothing any more");
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
    for request in [http.get(&path), http.post(format!("{path}/outcome")), http.delete(&path)] {
        let answer = request.bearer_auth(wrong).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    }
    let without = http.post(format!("{path}/outcome")).send().await.unwrap();
    assert_eq!(without.status(), StatusCode::NOT_FOUND);
    let right = http.delete(&path).bearer_auth(mine["ticket"].as_str().unwrap());
    assert_eq!(right.send().await.unwrap().status(), StatusCode::NO_CONTENT);
    scene.clear().await;
}

/// A browser's calls, one at a time.
struct Calls<'a> {
    scene: &'a Scene,
    http: Client,
    cookie: String,
}

impl<'a> Calls<'a> {
    fn of(scene: &'a Scene) -> Self {
        let http = Client::builder().no_proxy().build().unwrap();
        Self { scene, http, cookie: String::new() }
    }

    async fn open(&self, action: &str) -> Value {
        let asked = self.http.post(format!("{}api/{action}", self.scene.url));
        asked.header("cookie", &self.cookie).send().await.unwrap().json().await.unwrap()
    }

    async fn tell(&mut self, opened: &Value, what: &str) -> (StatusCode, Value) {
        let id = opened["id"].as_str().unwrap();
        let asked = self.http.post(format!("{}api/ceremonies/{id}/{what}", self.scene.url));
        let asked = asked.bearer_auth(opened["ticket"].as_str().unwrap());
        let answer = asked.header("cookie", &self.cookie).send().await.unwrap();
        if let Some(set) = answer.headers().get(header::SET_COOKIE) {
            self.cookie = set.to_str().unwrap().split(';').next().unwrap().to_owned();
        }
        (answer.status(), answer.json().await.unwrap_or_default())
    }

    /// Lets it succeed, and what the bank then says.
    async fn succeeds(&mut self, opened: &Value) -> Value {
        self.scene.relay.close(id(opened), Outcome::Succeeded, None);
        self.tell(opened, "outcome").await.1
    }

    async fn customer(&self) -> Value {
        let asked = self.http.get(format!("{}api/account", self.scene.url));
        let answer = asked.header("cookie", &self.cookie).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["customer"].clone()
    }
}

fn id(opened: &Value) -> CeremonyId {
    opened["id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn two_approvals_of_one_payment_make_it_once_and_say_so() {
    let scene = Scene::set().await;
    let mut tabs = Calls::of(&scene);
    let sign_in = tabs.open("sign-in").await;
    tabs.succeeds(&sign_in).await;
    let (first, second) = (tabs.open("approve").await, tabs.open("approve").await);
    let told = tabs.succeeds(&first).await;
    assert_eq!(told["words"]["headline"], "Payment approved");
    let before = "It had been approved before, in another tab. The bank makes it once.";
    assert_eq!(tabs.succeeds(&second).await["words"]["detail"], before);
    let again = tabs.tell(&first, "outcome").await.1;
    assert_eq!(again, told, "who asks twice hears the same");
    scene.clear().await;
}

#[tokio::test]
async fn a_second_sign_in_of_a_browser_goes_on_with_its_session() {
    let scene = Scene::set().await;
    let mut tabs = Calls::of(&scene);
    let (one, two) = (tabs.open("sign-in").await, tabs.open("sign-in").await);
    tabs.succeeds(&one).await;
    let pays = tabs.open("approve").await;
    tabs.succeeds(&two).await;
    tabs.succeeds(&pays).await;
    assert_eq!(tabs.customer().await["approved"], true, "who was told so sees it");
    scene.clear().await;
}

#[tokio::test]
async fn an_approval_that_outlives_its_session_is_not_carried_out() {
    let scene = Scene::set().await;
    let mut tabs = Calls::of(&scene);
    let sign_in = tabs.open("sign-in").await;
    tabs.succeeds(&sign_in).await;
    let (pays, stranded) = (tabs.open("approve").await, tabs.open("approve").await);
    scene.relay.steps(id(&stranded), &UP_TO_DELIVERED);
    scene.relay.close(id(&stranded), Outcome::Succeeded, None);
    let out = tabs.http.delete(format!("{}api/session", scene.url));
    assert!(out.header("cookie", &tabs.cookie).send().await.unwrap().status().is_success());
    assert!(!scene.relay.is_pending(id(&pays)), "taken back");
    let told = tabs.tell(&stranded, "outcome").await.1;
    assert_eq!((&told["verdict"], &told["outcome"]), (&json!("refused"), &json!("succeeded")));
    assert_eq!(told["words"]["headline"], "Not approved");
    scene.clear().await;
}

#[tokio::test]
async fn a_page_that_left_after_its_card_had_answered_is_settled_without_it() {
    let scene = Scene::that_gives(Duration::from_millis(1)).await;
    let mut tab = Calls::of(&scene);
    let sign_in = tab.open("sign-in").await;
    tab.succeeds(&sign_in).await;
    let pays = tab.open("approve").await;
    scene.relay.steps(id(&pays), &UP_TO_VERIFYING);
    assert_eq!(tab.tell(&pays, "left").await.0, StatusCode::NO_CONTENT);
    scene.relay.close(id(&pays), Outcome::Succeeded, None);
    while tab.customer().await["approved"] == false {}
    let told = tab.tell(&pays, "outcome").await.1;
    assert_eq!(told["words"]["headline"], "Payment approved", "also to who comes back");

    let given_up = tab.open("register").await;
    let stranger = json!({ "id": given_up["id"], "ticket": pays["ticket"] });
    assert_eq!(tab.tell(&stranger, "left").await.0, StatusCode::NOT_FOUND);
    tab.tell(&given_up, "left").await;
    scene.relay.ended(id(&given_up)).await;
    scene.clear().await;
}

#[tokio::test]
async fn a_known_browser_is_not_kept_waiting_after_not_me() {
    let scene = Scene::set().await;
    let mut tab = Calls::of(&scene);
    let page = tab.http.get(&scene.url).send().await.unwrap();
    let set = page.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
    for rule in ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=7776000"] {
        assert!(set.split("; ").any(|given| given == rule), "{rule}: {set}");
    }
    set.split(';').next().unwrap().clone_into(&mut tab.cookie);
    let again = tab.http.get(&scene.url).header("cookie", &tab.cookie).send().await.unwrap();
    assert!(again.headers()[header::SET_COOKIE].to_str().unwrap().starts_with(&tab.cookie));
    let card = tab.open("register").await;
    assert_eq!(format!("harbour_browser={}", scene.relay.browser_of(id(&card))), tab.cookie);
    tab.succeeds(&card).await;
    let sign_in = tab.open("sign-in").await;
    scene.relay.close(id(&sign_in), Outcome::Denied, Some(Reason::NotMe));
    tab.tell(&sign_in, "outcome").await;
    assert_eq!(tab.open("sign-in").await["rings_in_s"], Value::Null);
    assert!(Calls::of(&scene).open("sign-in").await["rings_in_s"].is_u64(), "a stranger's waits");
    scene.clear().await;
}
