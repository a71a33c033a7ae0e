//! A relay as a process that is killed: its data, its port, and what it says on its two outputs.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fido_relay::app::audit::{Audit, AuditDependencies, Settings};
use fido_relay::app::clients::NewClient;
use fido_relay::app::keys;
use fido_relay::app::webhooks;
use fido_relay::backends::embedded::{FileStore, SystemClock};
use fido_relay::core::ceremony::{Ceremony, Closed};
use fido_relay::fault_point::Point;
use fido_relay::ports::{Bucket, Store, records};
use fido_relay::security::encryption::Encryptor;
use fido_relay::security::record::RecordSigner;
use fido_relay::serve::{AUDIT_DIR, DataDirectory, SEAL_KEY_FILE};
use fido_relay::tasks::Tasks;
use fido_relay_proto::http::Scope;
use fido_relay_proto::{Binding, CeremonyId, EventId, Outcome, PlainText, TenantId};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::history::Seen;
use crate::audit;
use crate::support::acts::{at_rest, make_client};
use crate::support::own_port::OwnPort;
use crate::webhooks::receiver::Receiver;

/// A start or a step takes no longer, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The file of the key that the relay signs wakes with.
const VAPID_KEY: &str = "vapid.pem";

/// What stays when a relay is killed.
#[derive(Debug)]
pub(super) struct Place {
    data_dir: TempDir,
    port: OwnPort,
    /// The initiator's webhook endpoint.
    receiver: Receiver,
}

impl Place {
    pub(super) async fn new() -> Self {
        let (data_dir, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
        let key = rcgen::KeyPair::generate().unwrap();
        std::fs::write(data_dir.path().join(VAPID_KEY), key.serialize_pem()).unwrap();
        Self { data_dir, port: OwnPort::reserve(), receiver }
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
        DataDirectory::at(self.data_dir.path()).open().unwrap()
    }

    /// The API key of an initiator that may do everything, made before any relay runs.
    pub(super) async fn api_key(&self) -> String {
        let name = PlainText::new("Example Bank").unwrap();
        let (scopes, bindings) = (Scope::ALL.to_vec(), vec![Binding::Code]);
        let new = NewClient { tenant: TenantId::default(), name, scopes, bindings };
        make_client(&at_rest(Arc::new(self.store())), new).await.1
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
        let sealer = Encryptor::load_or_make(&self.path().join(SEAL_KEY_FILE)).unwrap();
        let keys = keys::load_or_make(&*store, &sealer).await.unwrap();
        let signer = RecordSigner::new(&keys, &self.url()).unwrap();
        let published = audit::jwks(&signer);
        let directory = self.path().join(AUDIT_DIR);
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

    fn path(&self) -> &Path {
        self.data_dir.path()
    }
}

/// A running relay.
#[derive(Debug)]
pub(super) struct RelayProcess {
    process: Child,
    said: Lines<BufReader<ChildStdout>>,
    log: Arc<Mutex<Vec<String>>>,
}

impl RelayProcess {
    /// Starts it and waits until it serves.
    pub(super) async fn start(
        place: &Place,
        upstream: &str,
        armed: Option<Point>,
        tasks: &Tasks,
    ) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_fido-relay"))
            .arg("serve")
            .current_dir(place.path())
            .env_clear()
            .env("FIDO_RELAY_DATA_DIR", place.path())
            .env("FIDO_RELAY_LISTEN", place.port.address.to_string())
            .env("FIDO_RELAY_UPSTREAM__URL", upstream)
            .env("FIDO_RELAY_TENANT__RP_ID", "localhost")
            .env("FIDO_RELAY_LOG__FORMAT", "json")
            .env("FIDO_RELAY_LIMITS__ATTEMPTS_BURST", "100000")
            .env("FIDO_RELAY_PUSH__AFTER_MS", "0")
            .env("FIDO_RELAY_PUSH__WEBPUSH__KEY_FILE", place.path().join(VAPID_KEY))
            .env("FIDO_RELAY_PUSH__WEBPUSH__CONTACT", "mailto:ops@example.com")
            .env("FIDO_RELAY_PUSH__WEBPUSH__ALLOW_LOOPBACK_HTTP", "true")
            .envs(place.receiver.variables())
            .envs(armed.map(|point| ("FAULT_POINT", point.name())))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let said = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let serves = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                let serves = line.contains("\"listen\"");
                log.lock().unwrap().push(line);
                if serves {
                    return true;
                }
            }
            false
        };
        let serves = timeout(PATIENCE, serves).await;
        assert_eq!(serves, Ok(true), "the relay does not serve: {:#?}", log.lock().unwrap());
        let rest = Arc::clone(&log);
        tasks.spawn_untraced(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                rest.lock().unwrap().push(line);
            }
        });
        Self { process, said, log }
    }

    /// Waits until the relay says that it is at this point.
    pub(super) async fn at(&mut self, point: Point) {
        let line = timeout(PATIENCE, self.said.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("not at {}: {:#?}", point.name(), self.log()));
        assert_eq!(line.unwrap(), Some(format!("fault point reached: {}", point.name())));
    }

    /// SIGKILL, and waits until the process is gone.
    pub(super) async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }

    pub(super) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}
