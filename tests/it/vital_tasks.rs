//! A node that lost a task which it cannot do without: it says so, and no longer claims to be
//! ready.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fido_relay::ports::{Bucket, Notice, StoreError, Stored};
use fido_relay_proto::{CeremonyId, TenantId};
use serde_json::Value;

use crate::support::faulty_store::{Faults, FaultyStore};
use crate::support::metric_samples::MetricSamples;
use crate::support::relay::{TestRelay, http};

/// A fault that no code expects: once armed, the store panics when it reads a ceremony.
#[derive(Debug, Default)]
struct Broken {
    is_armed: AtomicBool,
}

impl Faults for Broken {
    fn load(&self, bucket: Bucket, _: &str) -> Result<Option<Stored>, StoreError> {
        let strikes = bucket == Bucket::Ceremonies && self.is_armed.load(Ordering::Relaxed);
        assert!(!strikes, "on purpose");
        Ok(None)
    }
}

#[tokio::test]
async fn a_node_whose_vital_task_panics_is_not_ready_and_says_which() {
    let store = Arc::new(FaultyStore::<Broken>::default());
    let relay = TestRelay::start_on(Arc::clone(&store) as _, |config| {
        config.admin.listen = Some("127.0.0.1:0".parse().unwrap());
    })
    .await;
    let initiator = relay.initiator().await;
    assert_eq!(initiator.get("/readyz").await.status(), 200);

    store.is_armed.store(true, Ordering::Relaxed);
    let world = relay.running.relay().dependencies();
    let somebody = CeremonyId::from_bytes([1; 16]);
    world.bus.publish(Notice::Ceremony(TenantId::default(), somebody)).await;
    let failed = relay.running.tasks().failed().cancelled();
    tokio::time::timeout(Duration::from_secs(20), failed).await.unwrap();

    let ready = initiator.get("/readyz").await;
    assert_eq!(ready.status(), 503);
    let problem: Value = ready.json().await.unwrap();
    assert!(problem["detail"].as_str().unwrap().contains("\"notices\""), "{problem}");
    assert_eq!(initiator.get("/healthz").await.status(), 200);
    let address = relay.running.admin_address().unwrap();
    let figures = http().get(format!("http://{address}/metrics")).send().await.unwrap();
    let figures = MetricSamples::read(&figures.text().await.unwrap());
    assert_eq!(figures.sum("fido_relay_ready", &[]), 0.0);
    assert!(figures.sum("fido_relay_task_panics_total", &[]) >= 1.0);
}
