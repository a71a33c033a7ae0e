//! The table in `docs/operations.md` against what a relay really serves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fido_relay::app::ceremonies::CeremonyKey;
use fido_relay::core::ceremony::Event;
use fido_relay_proto::device::AckOf;
use fido_relay_proto::{CeremonyId, DeviceId, TenantId};
use serde_json::json;

use super::{text, watched};
use crate::support::metric_samples::MetricSamples;
use crate::support::relay::TestRelay;

/// Metric → its label names, from the document.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let document = std::fs::read_to_string(path).unwrap();
    let (_, section) = document.split_once("\n## Metrics\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let codes = |cell: &str| -> Vec<String> {
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut cells = row.split('|').skip(1);
        let name = codes(cells.next().unwrap()).remove(0);
        (name, codes(cells.next().unwrap()).into_iter().collect())
    })
    .collect()
}

/// The name under which a metric is documented: a counter's sample, a histogram's own.
fn names(text: &str) -> BTreeMap<String, (String, String)> {
    let helps: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# HELP "))
        .filter_map(|rest| rest.split_once(' '))
        .collect();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types
        .map(|rest| {
            let (name, kind) = rest.split_once(' ').unwrap();
            let sample = match kind {
                "counter" => format!("{name}_total"),
                "histogram" => format!("{name}_count"),
                "info" => format!("{name}_info"),
                _ => name.to_owned(),
            };
            let shown = if kind == "histogram" { name.to_owned() } else { sample.clone() };
            (shown, (sample, helps[name].to_owned()))
        })
        .collect()
}

/// A wake that a push service took, and that its app followed.
async fn woken(relay: &TestRelay, id: CeremonyId) {
    let device = DeviceId::from_bytes([7; 16]);
    let key = CeremonyKey { tenant: TenantId::default(), id };
    let relay = relay.running.relay();
    relay.dependencies().counts.wake("fcm", "taken");
    for event in [Event::Woken { device }, Event::Acked { device, of: AckOf::Offer }] {
        relay.ceremonies.advance(&key, event).await.unwrap();
    }
}

/// The figures of a relay at which one of everything happened, so that every family has a sample.
pub(super) async fn eventful() -> String {
    let relay = watched().await;
    let initiator = relay.initiator().await;
    let mut phone = relay.phone(&initiator, "ada").await;
    let opened = initiator.open(&json!({ "type": "registration", "username": "ada" })).await;
    phone.types(&opened);
    initiator.outcome(opened.id).await;
    let opened = initiator.open(&json!({ "type": "authentication", "username": "ada" })).await;
    phone.until(|event| matches!(event, fido_relay_rig::phone::PhoneEvent::Offered { .. })).await;
    initiator.delete(&format!("/v1/ceremonies/{}", opened.id)).await;
    initiator.get("/nowhere").await;
    let opened = initiator.open(&json!({ "type": "authentication", "username": "ada" })).await;
    woken(&relay, opened.id).await;
    for _ in 0..3 {
        let wrong = fido_relay::core::ceremony::Event::Claim {
            device: phone.handle.device_id(),
            attempt: fido_relay_proto::AttemptId::from_bytes([1; 16]),
            code: "none".to_owned(),
            same_network: None,
        };
        let key = fido_relay::app::ceremonies::CeremonyKey {
            tenant: fido_relay_proto::TenantId::default(),
            id: opened.id,
        };
        relay.running.relay().ceremonies.advance(&key, wrong).await.unwrap();
    }

    text(&relay).await
}

#[tokio::test]
async fn every_metric_stands_in_the_document_with_its_labels_and_none_besides() {
    let text = eventful().await;
    let figures = MetricSamples::read(&text);
    let mut served = BTreeMap::new();
    for (shown, (sample, help)) in names(&text) {
        assert!(help.len() > 10, "{shown} says nothing of itself: {help}");
        let of_it = figures.0.iter().find(|found| found.name == sample);
        let labels = of_it.unwrap_or_else(|| panic!("no sample of {shown}")).labels.keys();
        served.insert(shown, labels.cloned().collect::<BTreeSet<_>>());
    }
    let ours = served.keys().filter(|name| name.starts_with("fido_relay_")).count();
    assert_eq!(ours + 4, served.len(), "ours, and four of the process: {:?}", served.keys());
    assert_eq!(served, documented());
}
