//! Every answer of every test's relay, held against the document: the suite provokes answers that
//! no fuzzer finds. The relay says at TRACE what it answered ("answered"); what the document does
//! not have ends the process, because a panic within the relay's task would be the relay's to
//! survive.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

static DOCUMENT: LazyLock<Value> = LazyLock::new(fido_relay::schema::openapi::document);

/// Answers that were held against it.
static SEEN: AtomicUsize = AtomicUsize::new(0);

/// Preflights are no calls: browsers make them for what is a call.
const PREFLIGHT: [&str; 3] = ["204", "403", "503"];

/// An answer as the relay tells it.
#[derive(Debug, Default)]
struct Answer(BTreeMap<&'static str, String>);

impl Visit for Answer {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl Answer {
    fn said(&self, what: &str) -> &str {
        self.0.get(what).map_or("", String::as_str)
    }

    /// What the document does not have of it.
    fn undocumented(&self) -> Option<&'static str> {
        let (method, status) = (self.said("method"), self.said("status"));
        let Some(calls) = DOCUMENT["paths"].get(self.said("route")) else {
            return (self.said("route") != "none").then_some("path");
        };
        let method = if method == "HEAD" { "GET" } else { method };
        let Some(call) = calls.get(method.to_lowercase()) else {
            // What names no server is refused before its method is looked at.
            let malformed = status == "400" && self.said("problem") == "invalid_request";
            let other =
                status == "405" || malformed || method == "OPTIONS" && PREFLIGHT.contains(&status);
            return (!other).then_some("method");
        };
        let Some(mut response) = call["responses"].get(status) else { return Some("status") };
        if let Some(reference) = response["$ref"].as_str() {
            response = DOCUMENT.pointer(&reference[1..]).unwrap();
        }
        let media_type = self.said("media_type").split(';').next().unwrap_or_default();
        let Some(content) = response.get("content") else {
            return (!media_type.is_empty()).then_some("body");
        };
        let Some(content) = content.get(media_type) else { return Some("media type") };
        if self.said("sets_cookie") == "true" && response["headers"].get("Set-Cookie").is_none() {
            return Some("cookie");
        }
        let problem = self.said("problem");
        let is_problem = media_type == "application/problem+json";
        (is_problem && content["examples"].get(problem).is_none()).then_some("code")
    }
}

/// Listens to the relays of this process.
pub(crate) struct Documented;

impl Documented {
    pub(crate) fn listening<S: Subscriber>() -> impl Layer<S> {
        Self
    }
}

impl<S: Subscriber> Layer<S> for Documented {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != "fido_relay::edge::public::count_answers" {
            return;
        }
        let mut answer = Answer::default();
        event.record(&mut answer);
        if answer.said("message") != "answered" {
            return;
        }
        SEEN.fetch_add(1, Ordering::Relaxed);
        if let Some(what) = answer.undocumented() {
            let what = format!("\nthe OpenAPI document does not have this {what}: {answer:?}\n");
            let _ = std::io::Write::write_all(&mut std::io::stderr(), what.as_bytes());
            std::process::exit(101);
        }
    }
}

#[tokio::test]
async fn the_answers_of_every_test_are_looked_at() {
    let relay = crate::support::relay::TestRelay::start().await;
    let initiator = relay.initiator().await;
    let before = SEEN.load(Ordering::Relaxed);
    assert_eq!(initiator.get("/v1/clients/self").await.status(), 200);
    assert!(SEEN.load(Ordering::Relaxed) > before);
}

#[test]
fn an_answer_that_the_document_does_not_have_is_seen() {
    let answer = |[method, route, status, media_type, problem]: [&str; 5]| {
        let fields = [
            ("method", method),
            ("route", route),
            ("status", status),
            ("media_type", media_type),
            ("problem", problem),
        ];
        Answer(fields.map(|(name, value)| (name, value.to_owned())).into()).undocumented()
    };
    let (open, problem) = ("/v1/ceremonies", "application/problem+json");
    assert_eq!(answer(["POST", open, "201", "application/json", ""]), None);
    assert_eq!(answer(["POST", open, "409", problem, "already_closed"]), Some("status"));
    assert_eq!(answer(["POST", open, "201", "text/html", ""]), Some("media type"));
    assert_eq!(answer(["POST", open, "403", problem, "scope_missing"]), None);
    assert_eq!(answer(["POST", open, "403", problem, "internal"]), Some("code"));
    assert_eq!(answer(["PUT", open, "405", problem, "method_not_allowed"]), None);
    assert_eq!(answer(["PUT", open, "200", "", ""]), Some("method"));
    assert_eq!(answer(["GET", "/v1/secret", "404", problem, "not_found"]), Some("path"));
    assert_eq!(answer(["DELETE", "/v1/devices/{id}", "204", "text/plain", ""]), Some("body"));
    assert_eq!(answer(["HEAD", "/healthz", "200", "text/plain; charset=utf-8", ""]), None);
}
