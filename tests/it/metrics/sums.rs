//! The state counters add up (I11 of the invariants): what was opened is closed or open.

use std::time::Duration;

use fido_relay::app::ceremonies::CeremonyKey;
use fido_relay::core::ceremony::{Event, State, Verdict};
use fido_relay::metrics::NodeGauges;
use fido_relay_proto::device::DeclineReason;
use fido_relay_proto::{AttemptId, DeviceId, NodeId, Reason, TenantId};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::metric_samples::MetricSamples;
use crate::support::stub_relay::StubRelay;

const DEVICE: DeviceId = DeviceId::from_bytes([1; 16]);

fn key(id: &str) -> CeremonyKey {
    CeremonyKey { tenant: TenantId::default(), id: id.parse().unwrap() }
}

async fn open(relay: &StubRelay, kind: &str, binding: &str) -> String {
    let mut order = json!({ "type": kind, "username": "ada", "binding": binding, "timeout_s": 60 });
    if kind == "approval" {
        order["transaction"] =
            json!({ "title": "Pay", "fields": [{ "label": "a", "value": "b" }] });
    }
    relay.open(&order).await.0
}

async fn answered(relay: &StubRelay, id: &str) {
    let attempt = loop {
        let ceremony = relay.relay.ceremonies.load(&key(id)).await.unwrap().unwrap();
        if let State::Challenged(challenge) = &ceremony.state {
            break challenge.attempt;
        }
        sleep(Duration::from_millis(1)).await;
    };
    let answer = Event::Answer {
        device: DEVICE,
        attempt,
        credential: serde_json::from_str("{}").unwrap(),
        digest: [1; 32],
        by: NodeId::from_bytes([1; 16]),
    };
    // Twice: the second is acknowledged again and changes nothing.
    for _ in 0..2 {
        relay.relay.ceremonies.advance(&key(id), answer.clone()).await.unwrap();
    }
}

fn figures(relay: &StubRelay) -> MetricSamples {
    let open = relay.relay.occupancy().open;
    MetricSamples::read(&relay.metrics.render(NodeGauges { open, ..NodeGauges::default() }))
}

#[track_caller]
fn adds_up(figures: &MetricSamples) {
    let sum = |name: &str| figures.sum(&format!("fido_relay_ceremonies_{name}"), &[]);
    let (entered, left) = (sum("opened_total") + sum("taken_up_total"), sum("closed_total"));
    assert_eq!(entered, left + sum("open"));
}

#[tokio::test(start_paused = true)]
async fn after_every_outcome_what_was_opened_is_closed_or_open() {
    let relay = StubRelay::start().await;
    let kinds = ["registration", "authentication", "approval"];
    for kind in kinds {
        // Succeeded, rejected, failed, and one whose result is lost.
        for verdict in [
            None,
            Some(Verdict::Rejected(Reason::UpstreamRejected)),
            Some(Verdict::Full),
            Some(Verdict::Unknown),
        ] {
            *relay.fido.verdict.lock().unwrap() = verdict;
            let id = open(&relay, kind, "none").await;
            answered(&relay, &id).await;
            while relay.read(&id).await["phase"] != "closed" {
                sleep(Duration::from_millis(5)).await;
            }
        }
        let denied = open(&relay, kind, "code").await;
        let decline = Event::Decline { device: DEVICE, reason: DeclineReason::NotMe };
        relay.relay.ceremonies.advance(&key(&denied), decline.clone()).await.unwrap();
        // Late and twice: counted as an event, not as an end.
        relay.relay.ceremonies.advance(&key(&denied), decline).await.unwrap();
        let cancelled = open(&relay, kind, "code").await;
        let path = format!("/v1/ceremonies/{cancelled}");
        assert_eq!(relay.call("DELETE", &path, &relay.key, &Value::Null).await.status, 200);
        let guessed = open(&relay, kind, "code").await;
        for _ in 0..3 {
            let attempt = AttemptId::from_bytes([9; 16]);
            let claim = Event::Claim {
                device: DEVICE,
                attempt,
                code: "none".to_owned(),
                same_network: None,
            };
            relay.relay.ceremonies.advance(&key(&guessed), claim).await.unwrap();
        }
        open(&relay, kind, "code").await;
    }
    adds_up(&figures(&relay));
    sleep(Duration::from_secs(61)).await;
    // Those without an end expired; one of each kind is open again.
    for kind in kinds {
        open(&relay, kind, "code").await;
    }

    let figures = figures(&relay);
    adds_up(&figures);
    let closed = |outcome: &str, kind: &str| {
        let labels = [("outcome", outcome), ("type", kind)];
        figures.sum("fido_relay_ceremonies_closed_total", &labels)
    };
    for kind in kinds {
        for outcome in ["succeeded", "rejected", "indeterminate", "expired", "cancelled"] {
            assert_eq!(closed(outcome, kind), 1.0, "{kind} {outcome}");
        }
        // Three wrong codes are a denial or a failure by the rules of the core; either way one.
        assert_eq!(closed("denied", kind) + closed("failed", kind), 3.0, "{kind}");
    }
    assert_eq!(figures.sum("fido_relay_ceremonies_open", &[]), 3.0);
    let reasons =
        |reason: &str| figures.sum("fido_relay_ceremony_reasons_total", &[("reason", reason)]);
    assert_eq!((reasons("not_me"), reasons("wrong_code"), reasons("deadline")), (3.0, 3.0, 3.0));
    let duration = "fido_relay_ceremony_duration_seconds_count";
    assert_eq!(figures.sum(duration, &[("outcome", "succeeded")]), 3.0);
    let events = |event: &str, reply: &str| {
        figures.sum("fido_relay_events_total", &[("event", event), ("reply", reply)])
    };
    assert_eq!(events("claim", "wrong_code"), 9.0);
    assert!(events("decline", "already_closed") + events("decline", "done") == 6.0);
    assert_eq!(events("answer", "accepted"), 24.0);
    let call = [("call", "complete"), ("result", "unknown")];
    assert_eq!(figures.sum("fido_relay_upstream_seconds_count", &call), 3.0);
    assert_eq!(figures.sum("fido_relay_upstream_seconds_count", &[("call", "begin")]), 12.0);
}
