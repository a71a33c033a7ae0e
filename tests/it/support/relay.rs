//! A real relay on port 0, and what a test does to it: an initiator with an API key, phones.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fido_relay::app::clients::{self, ClientChange, NewClient};
use fido_relay::backends::embedded::SystemClock;
use fido_relay::config::Config;
use fido_relay::ports::Store;
use fido_relay::serve::{self, RunningServer, ServerDependencies};
use fido_relay_proto::device::{CardErrorCode, Challenge};
use fido_relay_proto::http::{CeremonyView, OpenedCeremony, OpenedPairing, Scope};
use fido_relay_proto::{Binding, CeremonyId, CeremonyType, PlainText, TenantId};
use fido_relay_rig::phone::{self, Card, Codes, DeviceKey, Paired, Phone, PhoneEvent, PhoneHandle};
use fido_relay_rig::softcard::{Prompt, SoftCard};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::own_port::OwnPort;
use crate::canary::suite;
use crate::support::actions::{make_client, operator};

/// What of a relay stays while it is stopped: its data and its port.
pub(crate) struct Place {
    directory: TempDir,
    _port: OwnPort,
}

impl Place {
    pub(crate) fn path(&self) -> &std::path::Path {
        self.directory.path()
    }
}

/// A relay in a place of its own.
pub(crate) struct TestRelay {
    pub(crate) running: RunningServer,
    place: Place,
}

impl TestRelay {
    /// The built-in FIDO2 server, everything at its default.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// The default with changes.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let (config, place) = Self::configured(change);
        Self::start_again(&config, place).await
    }

    /// The default with changes, on a store of the test's own.
    pub(crate) async fn start_on(store: Arc<dyn Store>, change: impl FnOnce(&mut Config)) -> Self {
        let (config, place) = Self::configured(change);
        let listener = serve::bind(&config).unwrap();
        let ground = ServerDependencies::new(store, Arc::new(SystemClock));
        let running = serve::start_on(ground, config, listener).await.unwrap();
        Self { running, place }
    }

    fn configured(change: impl FnOnce(&mut Config)) -> (Config, Place) {
        let (directory, port) = (tempfile::tempdir().unwrap(), OwnPort::reserve());
        let listen = port.address.to_string();
        let variables = [("FIDO_RELAY_LISTEN", listen.as_str())];
        let mut config = fido_relay::config::from_texts(None, &variables).unwrap().config;
        config.data_dir = directory.path().to_path_buf();
        config.limits.drain = std::time::Duration::ZERO;
        // All parties of a test come from one address, as often as they like.
        config.limits.listener.handshakes_per_s_per_ip = 10_000;
        config.limits.listener.handshakes_per_s_per_node = 10_000;
        config.limits.listener.connections_per_ip = 10_000;
        config.prompts = super::patient_config();
        // Tests open, pair and dial as fast as they can; those of the rates set their own.
        let rates = &mut config.limits.rates;
        (rates.opens_per_s, rates.opens_burst) = (100_000, 1_000_000);
        (rates.attempts_per_s, rates.attempts_burst) = (100_000, 1_000_000);
        rates.sockets_per_min = 100_000;
        change(&mut config);
        if config.public_url.port() == Some(0) {
            config.public_url.set_port(Some(port.address.port())).unwrap();
        }
        (config, Place { directory, _port: port })
    }

    async fn run(config: &Config) -> RunningServer {
        let listener = serve::bind(config).unwrap();
        serve::start(config.clone(), listener).await.unwrap()
    }

    /// Stops the relay in order and starts it again on the same data and the same port.
    pub(crate) async fn restart(self) -> Self {
        let (config, place) = self.stop().await;
        Self::start_again(&config, place).await
    }

    /// Stops the relay in order; its data stay for as long as what is given.
    pub(crate) async fn stop(self) -> (Config, Place) {
        let Self { running, place } = self;
        let config = running.config().clone();
        assert!(running.stop().await, "everything ends in time");
        (config, place)
    }

    /// What was stopped, on its data and its port.
    pub(crate) async fn start_again(config: &Config, place: Place) -> Self {
        Self { running: Self::run(config).await, place }
    }

    pub(crate) fn url(&self) -> String {
        self.running.url()
    }

    pub(crate) fn socket_url(&self) -> String {
        format!("{}/v1/device/socket", self.url().replacen("http", "ws", 1))
    }

    /// An initiator that may do everything.
    pub(crate) async fn initiator(&self) -> Initiator {
        self.initiator_with(Scope::ALL.to_vec(), vec![Binding::Code, Binding::None]).await
    }

    pub(crate) async fn initiator_with(
        &self,
        scopes: Vec<Scope>,
        bindings: Vec<Binding>,
    ) -> Initiator {
        let name = PlainText::new("Example Bank").unwrap();
        let new = NewClient { tenant: TenantId::default(), name, scopes, bindings };
        let (_, key) = make_client(self.running.app(), new).await;
        suite::made(&key);
        Initiator { url: self.url(), key, http: http() }
    }

    /// A phone of this user, paired and not connected.
    pub(crate) async fn pair(&self, initiator: &Initiator, username: &str) -> Paired {
        let pairing = initiator.pairing(username).await;
        let url = self.url().parse().unwrap();
        let key = DeviceKey::generate().unwrap();
        phone::pair(&url, &pairing.pairing_token, None, key).await.unwrap()
    }

    /// A phone of this user with a card, whose person types the codes that `codes` is given.
    pub(crate) async fn phone(&self, initiator: &Initiator, username: &str) -> TestPhone {
        let paired = self.pair(initiator, username).await;
        self.connect(paired, phone::Faults::none()).await
    }

    /// Connects a paired phone with a card of its own.
    pub(crate) async fn connect(&self, paired: Paired, faults: phone::Faults) -> TestPhone {
        self.connect_with(Arc::new(CardInHand::default()), paired, faults).await
    }

    /// Connects a paired phone with this card.
    pub(crate) async fn connect_with(
        &self,
        card: Arc<dyn Card>,
        paired: Paired,
        faults: phone::Faults,
    ) -> TestPhone {
        let codes = Codes::default();
        let (handle, events) = Phone::new(paired, card, Arc::new(codes.clone()))
            .with_faults(faults)
            .connect(self.running.tasks());
        let mut phone = TestPhone { handle, events, codes };
        phone.until(|event| matches!(event, PhoneEvent::Connected { .. })).await;
        phone
    }
}

/// A software card, held to the phone.
#[derive(Default)]
pub(crate) struct CardInHand(Mutex<SoftCard>);

impl Card for CardInHand {
    fn sign(&self, challenge: &Challenge) -> Result<Box<RawValue>, CardErrorCode> {
        let text = tap(&mut self.0.lock().unwrap(), challenge)?;
        Ok(RawValue::from_string(text).unwrap())
    }
}

/// What a card answers to a challenge.
pub(crate) fn tap(card: &mut SoftCard, challenge: &Challenge) -> Result<String, CardErrorCode> {
    let prompt = Prompt {
        rp_id: &challenge.offer.rp_id,
        origin: &challenge.origin,
        challenge: &challenge.challenge,
        username: challenge.offer.username.as_str(),
        display_name: challenge.offer.display_name.as_str(),
        public_key: &challenge.public_key,
    };
    match challenge.offer.ceremony_type {
        CeremonyType::Registration => card.register(&prompt),
        CeremonyType::Authentication | CeremonyType::Approval => card.authenticate(&prompt),
    }
}

pub(crate) fn http() -> reqwest::Client {
    // Shorter than the relay keeps an idle connection (`limits.idle_s`): no request meets its end.
    let idle = Duration::from_secs(60);
    reqwest::Client::builder().no_proxy().pool_idle_timeout(idle).build().unwrap()
}

/// A backend with an API key.
pub(crate) struct Initiator {
    pub(crate) url: String,
    pub(crate) key: String,
    pub(crate) http: reqwest::Client,
}

impl Initiator {
    pub(crate) async fn post(&self, path: &str, body: &Value) -> reqwest::Response {
        let url = format!("{}{path}", self.url);
        self.http.post(url).bearer_auth(&self.key).json(body).send().await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        self.http.get(format!("{}{path}", self.url)).bearer_auth(&self.key).send().await.unwrap()
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> reqwest::Response {
        let url = format!("{}{path}", self.url);
        self.http.patch(url).bearer_auth(&self.key).json(body).send().await.unwrap()
    }

    pub(crate) async fn delete(&self, path: &str) -> reqwest::Response {
        self.http.delete(format!("{}{path}", self.url)).bearer_auth(&self.key).send().await.unwrap()
    }

    /// Opens a pairing of this user.
    pub(crate) async fn pairing(&self, username: &str) -> OpenedPairing {
        let response = self.post("/v1/pairings", &json!({ "username": username })).await;
        assert_eq!(response.status(), 201);
        let pairing: OpenedPairing = response.json().await.unwrap();
        suite::made(&pairing.pairing_token);
        pairing
    }

    /// Lets pages of this origin watch what the initiator opens.
    pub(crate) async fn list_page(&self, relay: &TestRelay, origin: &str) {
        let me: Value = self.get("/v1/clients/self").await.json().await.unwrap();
        let id = serde_json::from_value(me["client_id"].clone()).unwrap();
        let page_origins = Some(vec![origin.parse().unwrap()]);
        let change = ClientChange { page_origins, ..ClientChange::default() };
        clients::alter(relay.running.app(), &operator(), id, &change).await.unwrap();
    }

    /// Opens a ceremony that must open.
    pub(crate) async fn open(&self, body: &Value) -> OpenedCeremony {
        let response = self.post("/v1/ceremonies", body).await;
        assert_eq!(response.status(), 201, "{}", response.text().await.unwrap());
        let opened: OpenedCeremony = response.json().await.unwrap();
        suite::made(&opened.ticket);
        opened
    }

    pub(crate) async fn read(&self, id: CeremonyId) -> CeremonyView {
        self.get(&format!("/v1/ceremonies/{id}")).await.json().await.unwrap()
    }

    /// Waits for the outcome as a backend does: long poll after long poll.
    pub(crate) async fn outcome(&self, id: CeremonyId) -> CeremonyView {
        let mut since = 0;
        loop {
            let path = format!("/v1/ceremonies/{id}?wait=30&since={since}");
            let view: CeremonyView = self.get(&path).await.json().await.unwrap();
            if view.phase == fido_relay_proto::Phase::Closed {
                return view;
            }
            assert_ne!(view.seq, since, "nothing new within 30 s: {view:?}");
            since = view.seq;
        }
    }
}

/// A connected phone and what it tells.
pub(crate) struct TestPhone {
    pub(crate) handle: PhoneHandle,
    pub(crate) events: mpsc::Receiver<PhoneEvent>,
    pub(crate) codes: Codes,
}

impl TestPhone {
    /// Reads events until one fits, and gives it.
    pub(crate) async fn until(&mut self, fits: impl Fn(&PhoneEvent) -> bool) -> PhoneEvent {
        let mut seen = Vec::new();
        let wait = async {
            while let Some(event) = self.events.recv().await {
                if fits(&event) {
                    return event;
                }
                seen.push(event);
            }
            panic!("the phone ended");
        };
        let found = tokio::time::timeout(std::time::Duration::from_secs(20), wait).await;
        found.unwrap_or_else(|_| panic!("the phone did not tell; it told {seen:?}"))
    }

    /// Types the code of this page.
    pub(crate) fn types(&self, opened: &OpenedCeremony) {
        self.codes.provide(opened.id, opened.code.clone().unwrap());
    }
}
