//! What time alone does: ceremonies, tickets, tokens and keys that end, and a store that is away
//! for a while. Time is paused and moves only when all tasks wait.

use std::sync::atomic::Ordering;
use std::time::Duration;

use fido_relay::app::ceremonies::{AdvanceError, CeremonyKey};
use fido_relay::core::ceremony::Event;
use fido_relay_proto::{AttemptId, DeviceId, NodeId, TenantId};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::support::stub_relay::StubRelay;

const DEVICE: DeviceId = DeviceId::from_bytes([1; 16]);

fn order(binding: &str) -> Value {
    json!({ "type": "authentication", "username": "ada", "binding": binding, "timeout_s": 30 })
}

fn key(id: &str) -> CeremonyKey {
    CeremonyKey { tenant: TenantId::default(), id: id.parse().unwrap() }
}

/// Waits as a backend does, and gives the view with the seconds that it took.
async fn ends(relay: &StubRelay, id: &str) -> (Value, f32) {
    let started = Instant::now();
    let mut since = 0;
    loop {
        let path = format!("/v1/ceremonies/{id}?wait=55&since={since}");
        let came = relay.call("GET", &path, &relay.key, &Value::Null).await;
        assert_eq!(came.status, 200, "{came:?}");
        if came.body["phase"] == "closed" {
            return (came.body, started.elapsed().as_secs_f32());
        }
        since = came.body["seq"].as_u64().unwrap();
        assert!(started.elapsed() < Duration::from_secs(700), "it never ends: {}", came.body);
    }
}

/// Waits until it is in this phase and gives the current attempt, if it has one.
async fn reaches(relay: &StubRelay, id: &str, phase: &str) -> AttemptId {
    while relay.read(id).await["phase"] != phase {
        sleep(Duration::from_millis(1)).await;
    }
    let ceremony = relay.relay.ceremonies.load(&key(id)).await.unwrap().unwrap();
    match &ceremony.state {
        fido_relay::core::ceremony::State::Challenged(challenge) => challenge.attempt,
        other => panic!("{other:?}"),
    }
}

fn answer(attempt: AttemptId) -> Event {
    Event::Answer {
        device: DEVICE,
        attempt,
        credential: serde_json::from_str("{}").unwrap(),
        digest: [1; 32],
        by: NodeId::from_bytes([1; 16]),
    }
}

fn close_to(seconds: f32, expected: f32) -> bool {
    (seconds - expected).abs() < 0.5
}

#[tokio::test(start_paused = true)]
async fn whatever_was_not_answered_expires_at_its_deadline_and_not_before() {
    let relay = StubRelay::start().await;
    let offered = relay.open(&order("code")).await.0;
    let challenged = relay.open(&order("none")).await.0;
    reaches(&relay, &challenged, "challenged").await;
    *relay.fido.begin_takes.lock().unwrap() = None;
    let preparing = relay.open(&order("none")).await.0;
    sleep(Duration::from_secs(29)).await;
    for id in [&offered, &challenged, &preparing] {
        assert_eq!(relay.read(id).await["status"], "pending");
    }
    for id in [&offered, &challenged, &preparing] {
        let (view, seconds) = ends(&relay, id).await;
        assert_eq!((&view["status"], &view["reason"]), (&json!("expired"), &json!("deadline")));
        assert!(seconds < 1.5, "{seconds}");
    }
    assert_eq!(relay.fido.completions.load(Ordering::Relaxed), 0);
}

/// No call is made while it expires: the relay closes it by itself.
#[tokio::test(start_paused = true)]
async fn it_expires_without_anybody_watching() {
    let relay = StubRelay::start().await;
    let id = relay.open(&order("code")).await.0;
    sleep(Duration::from_secs(31)).await;
    let ceremony = relay.relay.ceremonies.load(&key(&id)).await.unwrap().unwrap();
    let closed = ceremony.closed().expect("closed by the relay itself");
    let late = closed.at.millis_since(ceremony.request.deadline);
    assert!(late < 100, "{late} ms late");
}

#[tokio::test(start_paused = true)]
async fn an_answer_counts_to_the_last_moment_and_its_verdict_after_it() {
    let relay = StubRelay::start().await;
    *relay.fido.complete_takes.lock().unwrap() = Some(Duration::from_secs(5));
    let id = relay.open(&order("none")).await.0;
    let attempt = reaches(&relay, &id, "challenged").await;
    let ceremony = relay.relay.ceremonies.load(&key(&id)).await.unwrap().unwrap();
    let now = relay.relay.dependencies().clock.now();
    let left = ceremony.request.deadline.millis_since(now);
    sleep(Duration::from_millis(left - 2)).await;
    let advanced = relay.relay.ceremonies.advance(&key(&id), answer(attempt)).await.unwrap();
    assert!(format!("{:?}", advanced.reply).contains("Accepted"), "{:?}", advanced.reply);
    let (view, seconds) = ends(&relay, &id).await;
    assert_eq!(view["status"], "succeeded");
    assert!(close_to(seconds, 5.0), "{seconds}");
    assert_eq!(relay.fido.completions.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_after_the_deadline_is_never_handed_in() {
    let relay = StubRelay::start().await;
    let id = relay.open(&order("none")).await.0;
    let attempt = reaches(&relay, &id, "challenged").await;
    sleep(Duration::from_secs(30)).await;
    let advanced = relay.relay.ceremonies.advance(&key(&id), answer(attempt)).await.unwrap();
    assert!(format!("{:?}", advanced.reply).contains("AlreadyClosed"), "{:?}", advanced.reply);
    assert_eq!(ends(&relay, &id).await.0["status"], "expired");
    assert_eq!(relay.fido.completions.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_completion_without_an_answer_is_indeterminate_and_never_made_again() {
    let relay = StubRelay::start().await;
    *relay.fido.complete_takes.lock().unwrap() = None;
    let id = relay.open(&order("none")).await.0;
    let attempt = reaches(&relay, &id, "challenged").await;
    relay.relay.ceremonies.advance(&key(&id), answer(attempt)).await.unwrap();
    let (view, seconds) = ends(&relay, &id).await;
    assert_eq!(view["status"], "indeterminate");
    assert_eq!(view["result"], Value::Null);
    assert!(close_to(seconds, 20.0), "{seconds}");
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(relay.fido.completions.load(Ordering::Relaxed), 1);
    assert_eq!(relay.read(&id).await["status"], "indeterminate");
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_cut_at_55_seconds() {
    let relay = StubRelay::start().await;
    let mut order = order("code");
    order["timeout_s"] = json!(600);
    let id = relay.open(&order).await.0;
    let started = Instant::now();
    let path = format!("/v1/ceremonies/{id}?wait=600");
    let came = relay.call("GET", &path, &relay.key, &Value::Null).await;
    assert_eq!((came.status, &came.body["status"]), (200, &json!("pending")));
    assert!(close_to(started.elapsed().as_secs_f32(), 55.0), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_ticket_outlives_its_ceremony_by_a_minute() {
    let relay = StubRelay::start().await;
    let (id, _, ticket) = relay.open(&order("code")).await;
    let path = format!("/v1/ceremonies/{id}");
    ends(&relay, &id).await;
    sleep(Duration::from_secs(59)).await;
    let came = relay.call("GET", &path, &ticket, &Value::Null).await;
    assert_eq!((came.status, &came.body["status"]), (200, &json!("expired")));
    sleep(Duration::from_secs(1)).await;
    let came = relay.call("GET", &path, &ticket, &Value::Null).await;
    assert_eq!((came.status, &came.body["code"]), (401, &json!("unauthorized")));
    assert_eq!(relay.read(&id).await["status"], "expired", "its opener still sees it");
}

#[tokio::test(start_paused = true)]
async fn a_result_is_kept_for_a_day_and_then_gone() {
    let relay = StubRelay::start().await;
    let id = relay.open(&order("none")).await.0;
    let attempt = reaches(&relay, &id, "challenged").await;
    relay.relay.ceremonies.advance(&key(&id), answer(attempt)).await.unwrap();
    assert_eq!(ends(&relay, &id).await.0["status"], "succeeded");
    sleep(Duration::from_secs(24 * 3600 - 60)).await;
    let late = relay.read(&id).await;
    assert_eq!(late["status"], "succeeded");
    assert!(late["result"].is_string(), "signed anew");
    sleep(Duration::from_secs(3600)).await;
    let came = relay.call("GET", &format!("/v1/ceremonies/{id}"), &relay.key, &Value::Null).await;
    assert_eq!(came.status, 404);
}

#[tokio::test(start_paused = true)]
async fn an_idempotency_key_stands_for_a_day() {
    let relay = StubRelay::start().await;
    let again = async || relay.open_under("order-1", &order("code")).await;
    let first = again().await;
    sleep(Duration::from_secs(24 * 3600 - 60)).await;
    assert_eq!(again().await, first);
    sleep(Duration::from_secs(3600)).await;
    assert_ne!(again().await, first, "a new day, a new ceremony");
}

#[tokio::test(start_paused = true)]
async fn a_pairing_token_is_void_after_ten_minutes() {
    use fido_relay_rig::phone::DeviceKey;
    let relay = StubRelay::start().await;
    let opened =
        relay.call("POST", "/v1/pairings", &relay.key, &json!({ "username": "ada" })).await;
    let token = opened.body["pairing_token"].as_str().unwrap();
    let device = DeviceKey::generate().unwrap();
    let proof = device.pairing_proof("https://relay.example.com/v1/devices", token).unwrap();
    let body = json!({
        "pairing_token": token, "jwk": device.jwk(), "platform": "other", "proof": proof,
    });
    sleep(Duration::from_secs(601)).await;
    let came = relay.call("POST", "/v1/devices", "", &body).await;
    assert_eq!((came.status, &came.body["code"]), (401, &json!("proof_refused")));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_a_503_that_says_when_to_come_back() {
    let relay = StubRelay::start().await;
    let id = relay.open(&order("code")).await.0;
    relay.store.is_down.store(true, Ordering::Relaxed);
    let body = order("code");
    let pairing = json!({ "username": "ada" });
    for (method, path, body) in [
        ("POST", "/v1/ceremonies", &body),
        ("GET", &*format!("/v1/ceremonies/{id}"), &Value::Null),
        ("DELETE", &*format!("/v1/ceremonies/{id}"), &Value::Null),
        ("POST", "/v1/pairings", &pairing),
        ("GET", "/v1/users/ada/devices", &Value::Null),
        ("DELETE", "/v1/users/ada/pairings", &Value::Null),
        ("GET", "/v1/clients/self", &Value::Null),
        ("GET", "/readyz", &Value::Null),
    ] {
        let came = relay.call(method, path, &relay.key, body).await;
        assert_eq!((came.status, &came.body["code"]), (503, &json!("unavailable")), "{path}");
        assert!(came.headers.contains_key("retry-after"), "{path}");
        assert_eq!(came.headers["content-type"], "application/problem+json", "{path}");
        assert!(!came.body.to_string().contains("canary7Q"), "{path}: {}", came.body);
    }
    assert_eq!(relay.call("GET", "/healthz", "", &Value::Null).await.status, 200);
    let refused = relay.relay.ceremonies.advance(&key(&id), Event::Cancel).await;
    assert!(matches!(refused, Err(AdvanceError::Unavailable(_))), "{refused:?}");
    relay.store.is_down.store(false, Ordering::Relaxed);
    assert_eq!(relay.read(&id).await["status"], "pending", "nothing is lost");
}

/// What the FIDO2 server said cannot be asked again: it must wait for the store to come back.
#[tokio::test(start_paused = true)]
async fn neither_a_verdict_nor_a_deadline_is_lost_while_the_store_is_away() {
    let relay = StubRelay::start().await;
    *relay.fido.complete_takes.lock().unwrap() = Some(Duration::from_secs(2));
    let expiring = relay.open(&order("code")).await.0;
    sleep(Duration::from_secs(25)).await;
    let answered = relay.open(&order("none")).await.0;
    let attempt = reaches(&relay, &answered, "challenged").await;
    relay.relay.ceremonies.advance(&key(&answered), answer(attempt)).await.unwrap();
    relay.store.is_down.store(true, Ordering::Relaxed);
    // The verdict comes and the deadline passes meanwhile.
    sleep(Duration::from_secs(10)).await;
    relay.store.is_down.store(false, Ordering::Relaxed);
    let (view, seconds) = ends(&relay, &answered).await;
    assert_eq!(view["status"], "succeeded");
    assert!(seconds < 3.0, "{seconds}");
    let (view, seconds) = ends(&relay, &expiring).await;
    assert_eq!(view["status"], "expired");
    assert!(seconds < 3.0, "{seconds}");
    assert_eq!(relay.fido.completions.load(Ordering::Relaxed), 1);
}
