//! What stays when a relay is killed: its data and its port, and the initiator's webhook endpoint.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fido_relay::app::audit::{Audit, AuditDependencies, Settings};
use fido_relay::app::keys;
use fido_relay::app::webhooks;
use fido_relay::backends::embedded::{FileStore, SystemClock};
use fido_relay::core::ceremony::{Ceremony, Closed};
use fido_relay::fault_point::Point;
use fido_relay::ports::{Bucket, Store, records};
use fido_relay::security::encryption::Encryptor;
use fido_relay::security::record::RecordSigner;
use fido_relay::serve::{AUDIT_DIR, DataDirectory, SEAL_KEY_FILE};
use fido_relay_proto::{CeremonyId, EventId, Outcome};
use serde_json::Value;
use tokio::time::timeout;

use super::history::Seen;
use crate::audit;
use crate::support::child_relay::{ChildRelay, Home};
use crate::support::own_port::OwnPort;
use crate::webhooks::receiver::Receiver;

/// A start or a step takes no longer, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The file of the key that the relay signs wakes with.
const VAPID_KEY: &str = "vapid.pem";

/// What stays when a relay is killed.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) home: Home,
    port: OwnPort,
    /// The initiator's webhook endpoint.
    receiver: Receiver,
}

impl Place {
    pub(super) async fn new(upstream: &str) -> Self {
        let (port, receiver) = (OwnPort::reserve(), Receiver::start().await);
        let mut home = Home::new(&[
            ("FIDO_RELAY_LISTEN", &port.address.to_string()),
            ("FIDO_RELAY_UPSTREAM__URL", upstream),
            ("FIDO_RELAY_TENANT__RP_ID", "localhost"),
            ("FIDO_RELAY_LIMITS__ATTEMPTS_BURST", "100000"),
            ("FIDO_RELAY_PUSH__AFTER_MS", "0"),
            ("FIDO_RELAY_PUSH__WEBPUSH__KEY_FILE", VAPID_KEY),
            ("FIDO_RELAY_PUSH__WEBPUSH__CONTACT", "mailto:ops@example.com"),
            ("FIDO_RELAY_PUSH__WEBPUSH__ALLOW_LOOPBACK_HTTP", "true"),
        ]);
        for (name, value) in receiver.variables() {
            home.set(name, &value);
        }
        let key = rcgen::KeyPair::generate().unwrap();
        std::fs::write(home.path().join(VAPID_KEY), key.serialize_pem()).unwrap();
        Self { home, port, receiver }
    }

    /// Starts the relay, which halts at the point that it is armed with.
    pub(super) async fn start(&self, armed: Option<Point>) -> ChildRelay {
        let mut command = self.home.command(&["serve"]);
        let armed = armed.map(|point| ("FAULT_POINT", point.name()));
        ChildRelay::start_by(command.envs(armed)).await
    }

    pub(super) fn webhook_url(&self) -> String {
        self.receiver.url()
    }

    /// Waits for the webhook that tells the end of this ceremony.
    pub(super) async fn hears_the_end(&self, ceremony: CeremonyId) {
        let id = serde_json::json!(ceremony);
        let told = self.receiver.until_those(1, |received| received.json()["data"]["id"] == id);
        timeout(PATIENCE, told).await.expect("a webhook of the end");
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.port.address)
    }

    #[cfg(target_os = "linux")]
    pub(super) fn port(&self) -> u16 {
        self.port.address.port()
    }

    fn store(&self) -> FileStore {
        DataDirectory::at(&self.home.data_dir()).open().unwrap()
    }

    /// Every ceremony that is stored, read while no relay runs.
    pub(super) async fn stored(&self) -> Vec<Seen> {
        let listed = self.store().list(Bucket::Ceremonies, "").await.unwrap();
        let stored = |record| {
            let ceremony: Ceremony = records::parse(&record).unwrap();
            let (outcome, accepted) = match ceremony.closed() {
                Some(Closed { outcome, accepted, .. }) => (Some(*outcome), *accepted),
                None => (None, None),
            };
            let accepted = accepted.map(|(attempt, _, _)| attempt);
            Seen::Stored { id: ceremony.request.id, outcome, accepted }
        };
        listed.into_iter().map(|(_, record)| stored(record)).collect()
    }

    /// Completes the audit log as the next start would, and asserts that it verifies and says of
    /// every stored ceremony what it must, once and in order; and that log and webhooks say what
    /// the ceremony's facts make.
    pub(super) async fn audit_is_complete(&self) {
        let store: Arc<dyn Store> = Arc::new(self.store());
        let sealer = Encryptor::load_or_make(&self.home.data_dir().join(SEAL_KEY_FILE)).unwrap();
        let keys = keys::load_or_make(&*store, &sealer).await.unwrap();
        let signer = RecordSigner::new(&keys, &self.url()).unwrap();
        let published = audit::jwks(&signer);
        let directory = self.home.data_dir().join(AUDIT_DIR);
        let settings = Settings::new(directory.clone());
        let journal = crate::support::journal();
        let ground = AuditDependencies {
            store: Arc::clone(&store),
            clock: Arc::new(SystemClock),
            signer: Arc::new(signer),
            refusals: Arc::default(),
        };
        let log = Audit::start(settings, ground, &journal).await.unwrap();
        assert!(log.close().await);
        audit::verify(&directory, &published, None).unwrap();
        for (_, record) in store.list(Bucket::Ceremonies, "").await.unwrap() {
            let ceremony: Ceremony = records::parse(&record).unwrap();
            audit::trail::assert_complete(&directory, &ceremony);
            let entries = ceremony.history.iter().flat_map(|fact| journal.entries(&ceremony, fact));
            let told: BTreeMap<_, _> =
                entries.flat_map(|entry| webhooks::of_entry(&entry)).collect();
            assert_eq!(self.told_of(&ceremony), told);
        }
    }

    /// The webhooks of this ceremony that arrived, each as often as it did.
    fn told_of(&self, ceremony: &Ceremony) -> BTreeMap<EventId, String> {
        let id = serde_json::json!(ceremony.request.id);
        let received = self.receiver.received().into_iter();
        let those = received.filter(|received| received.json()["data"]["id"] == id);
        let mut told = BTreeMap::new();
        for received in those {
            let id = received.header("webhook-id").parse().unwrap();
            let before = told.insert(id, received.body.clone());
            assert!(before.is_none_or(|before| before == received.body), "one id, two bodies");
        }
        told
    }

    /// Asserts that no ceremony whose end was counted still counts as open for its user. An expiry
    /// is not counted: the record forgets it by itself at the deadline.
    pub(super) async fn no_ended_ceremony_counts_as_open(&self) {
        let standings = self.store().list(Bucket::Standings, "").await.unwrap();
        let counted = |id: &CeremonyId| {
            let id = serde_json::json!(id);
            standings.iter().any(|(_, record)| {
                let standing: Value = serde_json::from_slice(&record.value).unwrap();
                standing["live"].as_array().unwrap().iter().any(|live| live["ceremony"] == id)
            })
        };
        for seen in self.stored().await {
            let Seen::Stored { id, outcome: Some(outcome), .. } = seen else { continue };
            assert!(outcome == Outcome::Expired || !counted(&id), "{id} ended and counts as open");
        }
    }
}
