//! A wall clock that is set, forward past every deadline and back by hours, in every phase of a
//! ceremony: each ends once, in order, and none lives longer than its life and the jump.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fido_relay::app::ceremonies::CeremonyKey;
use fido_relay::core::ceremony::{Ceremony, Event, State};
use fido_relay_proto::{AttemptId, DeviceId, NodeId, TenantId};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::support::stub_relay::StubRelay;

const DEVICE: DeviceId = DeviceId::from_bytes([1; 16]);
const HOURS: Duration = Duration::from_secs(3 * 3600);
/// How long a ceremony of these tests lives, in seconds.
const LIFE: u64 = 60;
/// A clock that was set is noticed within this many seconds.
const NOTICED: u64 = 31;

/// Where a ceremony is when the clock is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Offered,
    Preparing,
    Challenged,
    Verifying,
}

const ALL: [At; 4] = [At::Offered, At::Preparing, At::Challenged, At::Verifying];

fn order(binding: &str) -> Value {
    json!({ "type": "authentication", "username": "ada", "binding": binding, "timeout_s": LIFE })
}

async fn load(relay: &StubRelay, id: &str) -> Arc<Ceremony> {
    let key = CeremonyKey { tenant: TenantId::default(), id: id.parse().unwrap() };
    relay.relay.ceremonies.load(&key).await.unwrap().unwrap()
}

async fn challenged(relay: &StubRelay, id: &str) -> AttemptId {
    loop {
        if let State::Challenged(challenge) = &load(relay, id).await.state {
            return challenge.attempt;
        }
        sleep(Duration::from_millis(1)).await;
    }
}

async fn answer(relay: &StubRelay, id: &str, attempt: AttemptId) -> String {
    let key = CeremonyKey { tenant: TenantId::default(), id: id.parse().unwrap() };
    let event = Event::Answer {
        device: DEVICE,
        attempt,
        credential: serde_json::from_str("{}").unwrap(),
        digest: [1; 32],
        by: NodeId::from_bytes([1; 16]),
    };
    format!("{:?}", relay.relay.ceremonies.advance(&key, event).await.unwrap().reply)
}

/// A ceremony in this phase, whose FIDO2 server never answers again.
async fn standing(relay: &StubRelay, at: At) -> String {
    let id = match at {
        At::Offered => relay.open(&order("code")).await.0,
        At::Preparing => {
            *relay.fido.begin_takes.lock().unwrap() = None;
            relay.open(&order("none")).await.0
        }
        At::Challenged | At::Verifying => relay.open(&order("none")).await.0,
    };
    if matches!(at, At::Challenged | At::Verifying) {
        let attempt = challenged(relay, &id).await;
        if at == At::Verifying {
            *relay.fido.complete_takes.lock().unwrap() = None;
            assert!(answer(relay, &id, attempt).await.contains("Accepted"));
        }
    }
    id
}

/// Waits for its end; gives the ceremony and the seconds that it took.
async fn ends(relay: &StubRelay, id: &str) -> (Arc<Ceremony>, u64) {
    let started = Instant::now();
    loop {
        let ceremony = load(relay, id).await;
        if ceremony.closed().is_some() {
            return (ceremony, started.elapsed().as_secs());
        }
        assert!(started.elapsed() < 2 * HOURS, "it never ends: {ceremony:?}");
        sleep(Duration::from_secs(1)).await;
    }
}

fn is_in_order(ceremony: &Ceremony) -> bool {
    ceremony.history.is_sorted_by_key(|fact| fact.at)
}

async fn check_end(relay: &StubRelay, at: At, id: &str, ceremony: &Ceremony) {
    let view = relay.read(id).await;
    let ended = (&view["status"], &view["reason"]);
    match at {
        At::Verifying => assert_eq!(ended, (&json!("indeterminate"), &json!("upstream_unknown"))),
        At::Offered | At::Preparing | At::Challenged => {
            assert_eq!(ended, (&json!("expired"), &json!("deadline")), "{at:?}");
        }
    }
    let completions = relay.fido.completions.load(Ordering::Relaxed);
    assert_eq!(completions, usize::from(at == At::Verifying), "{at:?}");
    assert!(is_in_order(ceremony), "{at:?}: {:?}", ceremony.history);
    // Whatever the clock does then, it has ended as it did, and when it did.
    let closed = ceremony.closed().unwrap().at;
    for _ in 0..2 {
        relay.clock.set_back(2 * HOURS);
        sleep(Duration::from_secs(NOTICED)).await;
        relay.clock.set_forward(3 * HOURS);
        sleep(Duration::from_secs(NOTICED)).await;
        assert_eq!(load(relay, id).await.closed().unwrap().at, closed, "{at:?}");
        assert_eq!(relay.read(id).await["status"], view["status"], "{at:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_forward_ends_what_it_makes_overdue_within_half_a_minute() {
    for at in ALL {
        let relay = StubRelay::start().await;
        let id = standing(&relay, at).await;
        relay.clock.set_forward(HOURS);
        let (ceremony, seconds) = ends(&relay, &id).await;
        assert!(seconds <= NOTICED, "{at:?}: {seconds} s");
        check_end(&relay, at, &id, &ceremony).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_back_prolongs_a_ceremony_by_the_jump_and_no_more() {
    for at in ALL {
        let relay = StubRelay::start().await;
        let id = standing(&relay, at).await;
        relay.clock.set_back(HOURS);
        let (ceremony, seconds) = ends(&relay, &id).await;
        assert!(seconds <= HOURS.as_secs() + LIFE + 1, "{at:?}: {seconds} s");
        check_end(&relay, at, &id, &ceremony).await;
    }
}

/// As when a time server corrects what another had set wrong.
#[tokio::test(start_paused = true)]
async fn a_clock_set_back_and_right_again_leaves_no_ceremony_behind() {
    for at in ALL {
        let relay = StubRelay::start().await;
        let id = standing(&relay, at).await;
        relay.clock.set_back(HOURS);
        sleep(Duration::from_secs(40)).await;
        relay.clock.set_forward(HOURS);
        let (ceremony, seconds) = ends(&relay, &id).await;
        assert!(seconds <= LIFE - 40 + NOTICED, "{at:?}: {seconds} s");
        check_end(&relay, at, &id, &ceremony).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_counts_after_the_clock_was_set_back() {
    let relay = StubRelay::start().await;
    let id = standing(&relay, At::Challenged).await;
    let attempt = challenged(&relay, &id).await;
    relay.clock.set_back(HOURS);
    assert!(answer(&relay, &id, attempt).await.contains("Accepted"));
    let (ceremony, seconds) = ends(&relay, &id).await;
    assert_eq!(relay.read(&id).await["status"], "succeeded");
    assert!(seconds <= 1, "{seconds}");
    assert!(is_in_order(&ceremony), "{:?}", ceremony.history);
    assert_eq!(relay.fido.completions.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_the_clock_made_late_is_never_handed_in() {
    let relay = StubRelay::start().await;
    let id = standing(&relay, At::Challenged).await;
    let attempt = challenged(&relay, &id).await;
    relay.clock.set_forward(HOURS);
    assert!(answer(&relay, &id, attempt).await.contains("AlreadyClosed"));
    relay.clock.set_back(HOURS);
    assert!(answer(&relay, &id, attempt).await.contains("AlreadyClosed"));
    assert_eq!(relay.read(&id).await["status"], "expired");
    assert_eq!(relay.fido.completions.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_verdict_counts_however_the_clock_was_set_while_it_was_under_way() {
    let sets: [fn(&StubRelay); 2] =
        [|relay| relay.clock.set_forward(HOURS), |relay| relay.clock.set_back(HOURS)];
    for set in sets {
        let relay = StubRelay::start().await;
        *relay.fido.complete_takes.lock().unwrap() = Some(Duration::from_secs(5));
        let id = standing(&relay, At::Challenged).await;
        let attempt = challenged(&relay, &id).await;
        assert!(answer(&relay, &id, attempt).await.contains("Accepted"));
        sleep(Duration::from_secs(1)).await;
        set(&relay);
        let (ceremony, seconds) = ends(&relay, &id).await;
        assert_eq!(relay.read(&id).await["status"], "succeeded");
        assert!(seconds <= 6, "{seconds}");
        assert!(is_in_order(&ceremony), "{:?}", ceremony.history);
    }
}

#[tokio::test(start_paused = true)]
async fn a_ticket_outlives_the_end_that_the_clock_brought_by_a_minute() {
    let relay = StubRelay::start().await;
    let (id, _, ticket) = relay.open(&order("code")).await;
    let path = format!("/v1/ceremonies/{id}");
    let came = async || relay.call("GET", &path, &ticket, &Value::Null).await;
    relay.clock.set_back(HOURS);
    assert_eq!(came().await.body["status"], "pending");
    relay.clock.set_forward(2 * HOURS);
    ends(&relay, &id).await;
    let told = came().await;
    assert_eq!((told.status, &told.body["status"]), (200, &json!("expired")));
    sleep(Duration::from_secs(61)).await;
    assert_eq!(came().await.status, 401);
    assert_eq!(relay.read(&id).await["status"], "expired", "its opener still sees it");
}

#[tokio::test(start_paused = true)]
async fn an_idempotency_key_stands_for_one_ceremony_though_the_clock_is_set_back() {
    let relay = StubRelay::start().await;
    let again = async || relay.open_under("order-1", &order("code")).await;
    let first = again().await;
    relay.clock.set_back(HOURS);
    assert_eq!(again().await, first);
    relay.clock.set_forward(2 * HOURS);
    assert_eq!(again().await, first);
    relay.clock.set_forward(10 * HOURS);
    let second = again().await;
    assert_ne!(second, first, "a new day, a new ceremony");
    relay.clock.set_back(10 * HOURS);
    assert_eq!(again().await, second, "and the newer one stands");
}
