//! The figures of a relay: that they add up, that each relay has its own, that nothing of a caller
//! becomes a label, and that the document lists what there is.

mod documented;
mod packaged;
mod sums;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fido_relay_proto::Binding;
use fido_relay_proto::http::Scope;
use fido_relay_rig::phone::PhoneEvent;
use reqwest::StatusCode;
use serde_json::json;

use crate::support::metric_samples::MetricSamples;
use crate::support::relay::{TestRelay, http};
use crate::support::stub_relay::Switchable;

/// A relay with an admin listener.
async fn watched() -> TestRelay {
    TestRelay::start_with(|config| config.admin.listen = Some("127.0.0.1:0".parse().unwrap())).await
}

async fn ask(relay: &TestRelay, path: &str) -> reqwest::Response {
    let address = relay.running.admin_address().unwrap();
    http().get(format!("http://{address}{path}")).send().await.unwrap()
}

async fn text(relay: &TestRelay) -> String {
    let answer = ask(relay, "/metrics").await;
    assert_eq!(answer.status(), 200);
    answer.text().await.unwrap()
}

async fn figures(relay: &TestRelay) -> MetricSamples {
    MetricSamples::read(&text(relay).await)
}

#[tokio::test]
async fn what_a_relay_counts_is_its_own_however_many_run_beside_it() {
    let (one, other) = tokio::join!(watched(), watched());
    let initiator = one.initiator().await;
    let order = json!({ "type": "authentication", "username": "ada" });
    for _ in 0..3 {
        initiator.open(&order).await;
    }
    let opened = "fido_relay_ceremonies_opened_total";
    let figures_of_one = figures(&one).await;
    assert_eq!(figures_of_one.sum(opened, &[]), 3.0);
    assert_eq!(figures_of_one.sum(opened, &[("type", "authentication"), ("binding", "code")]), 3.0);
    assert_eq!(figures_of_one.sum("fido_relay_ceremonies_open", &[]), 3.0);
    assert_eq!(figures(&other).await.sum(opened, &[]), 0.0);
}

#[tokio::test]
async fn answers_are_counted_by_route_and_code_and_nothing_of_a_caller_becomes_a_label() {
    let relay = watched().await;
    let initiator = relay.initiator_with(vec![Scope::CeremonyAuth], vec![Binding::Code]).await;
    let anonymous = |path: &str| http().get(format!("{}{path}", relay.url())).send();
    anonymous("/v1/ceremonies/canary7Q").await.unwrap();
    anonymous("/canary7Q/\"}x{y=\"").await.unwrap();
    anonymous("/v1/users/canary7Q/devices").await.unwrap();
    initiator.post("/v1/pairings", &json!({ "username": "canary7Q" })).await;
    initiator.delete("/v1/pairings").await;

    let rendered = text(&relay).await;
    assert!(!rendered.contains("canary7Q"), "{rendered}");
    let figures = MetricSamples::read(&rendered);
    let refused = |route: &str, code: &str| {
        figures.sum("fido_relay_http_refusals_total", &[("route", route), ("code", code)])
    };
    assert_eq!(refused("/v1/ceremonies/{id}", "unauthorized"), 1.0);
    assert_eq!(refused("none", "not_found"), 1.0);
    assert_eq!(refused("/v1/users/{username}/devices", "unauthorized"), 1.0);
    assert_eq!(refused("/v1/pairings", "scope_missing"), 1.0);
    assert_eq!(refused("/v1/pairings", "method_not_allowed"), 1.0);
    let class = [("route", "/v1/pairings"), ("status", "4xx")];
    assert_eq!(figures.sum("fido_relay_http_responses_total", &class), 2.0);
}

#[tokio::test]
async fn every_device_socket_is_counted_once_at_each_end_and_by_its_reason() {
    let relay = watched().await;
    let initiator = relay.initiator().await;
    let mut phone = relay.phone(&initiator, "ada").await;
    let online = figures(&relay).await;
    assert_eq!(online.sum("fido_relay_device_sockets", &[]), 1.0);
    assert_eq!(online.sum("fido_relay_device_sockets_opened_total", &[]), 1.0);
    assert_eq!(online.sum("fido_relay_device_sockets_closed_total", &[]), 0.0);

    let path = format!("/v1/devices/{}", phone.handle.device_id());
    assert_eq!(initiator.delete(&path).await.status(), StatusCode::NO_CONTENT);
    phone.until(|event| matches!(event, PhoneEvent::Stopped(_))).await;
    // Counted when the closing handshake is over, which may be a moment later.
    let gone = loop {
        let figures = figures(&relay).await;
        if figures.sum("fido_relay_device_sockets_closed_total", &[]) > 0.0 {
            break figures;
        }
        tokio::task::yield_now().await;
    };
    let revoked = [("reason", "revoked")];
    assert_eq!(gone.sum("fido_relay_device_sockets_closed_total", &revoked), 1.0);
    assert_eq!(gone.sum("fido_relay_device_sockets_closed_total", &[]), 1.0);
    assert_eq!(gone.sum("fido_relay_device_sockets", &[]), 0.0);
}

#[tokio::test]
async fn a_store_that_is_down_shows_in_its_errors_and_in_readiness() {
    let store = Arc::new(Switchable::default());
    let relay = TestRelay::start_on(Arc::clone(&store) as _, |config| {
        config.admin.listen = Some("127.0.0.1:0".parse().unwrap());
    })
    .await;
    let down = [("error", "unavailable")];
    let well = figures(&relay).await;
    assert_eq!(well.sum("fido_relay_ready", &[]), 1.0);
    assert_eq!(well.sum("fido_relay_store_errors_total", &down), 0.0);
    assert!(well.sum("fido_relay_store_seconds_count", &[("operation", "commit")]) > 0.0);

    store.is_down.store(true, Ordering::Relaxed);
    assert_eq!(ask(&relay, "/readyz").await.status(), 503);
    let ill = figures(&relay).await;
    assert_eq!(ill.sum("fido_relay_ready", &[]), 0.0);
    assert!(ill.sum("fido_relay_store_errors_total", &down) >= 1.0);
    assert_eq!(ask(&relay, "/healthz").await.status(), 200, "the process is alive all the same");
}

#[tokio::test]
async fn the_public_listener_serves_no_figures() {
    let relay = watched().await;
    let initiator = relay.initiator().await;
    let there = initiator.get("/metrics").await;
    assert_eq!(there.status(), 404);
    let nowhere = initiator.get("/no-such-path").await.text().await.unwrap();
    assert_eq!(there.text().await.unwrap(), nowhere);
}

#[tokio::test]
async fn the_admin_listener_serves_three_paths_and_nothing_else() {
    let relay = watched().await;
    let key = relay.initiator().await.key;
    for (path, begins) in [("/metrics", "# HELP "), ("/healthz", "ok"), ("/readyz", "ready")] {
        let answer = ask(&relay, path).await;
        assert_eq!(answer.status(), 200, "{path}");
        assert!(answer.text().await.unwrap().starts_with(begins), "{path}");
    }
    let address = relay.running.admin_address().unwrap();
    for path in ["/", "/v1/clients/self", "/v1/ceremonies", "/clients", "/.well-known/jwks.json"] {
        let url = format!("http://{address}{path}");
        let answer = http().get(url).bearer_auth(&key).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
    }
    let posted = http().post(format!("http://{address}/metrics")).send().await.unwrap();
    assert_eq!(posted.status(), 405);
    let without = TestRelay::start().await;
    assert_eq!(without.running.admin_address(), None, "there is none unless it is asked for");
}
