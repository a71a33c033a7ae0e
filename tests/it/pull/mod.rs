//! A device that holds no socket: what it may do, what it gets, and that nothing is easier for it
//! than on the socket.

mod addresses;
mod ceremonies;
mod frames;
mod proofs;
mod refusals;
mod waiting;

use fido_relay::config::Config;
use fido_relay_proto::http::OpenedCeremony;
use serde_json::{Value, json};

use crate::support::pull_phone::PullPhone;
use crate::support::relay::{Initiator, TestRelay};

/// Requests of one device as fast as a test makes them.
pub(crate) fn fast(config: &mut Config) {
    (config.limits.frames_per_s, config.limits.frames_burst) = (1_000, 10_000);
}

async fn relay() -> TestRelay {
    TestRelay::start_with(fast).await
}

async fn phone(relay: &TestRelay, initiator: &Initiator, username: &str) -> PullPhone {
    PullPhone::new(relay, relay.pair(initiator, username).await)
}

fn order(kind: &str) -> Value {
    let mut order = json!({ "type": kind, "username": "ada" });
    if kind == "approval" {
        let fields = json!([{ "label": "Amount", "value": "120.00 EUR" }]);
        order["transaction"] = json!({ "title": "Payment", "fields": fields });
    }
    order
}

pub(crate) async fn opens(initiator: &Initiator, kind: &str) -> OpenedCeremony {
    initiator.open(&order(kind)).await
}
