//! A relay without sockets, disk or FIDO2 server, on tokio's clock: with time paused, a day takes
//! no time. Its HTTP interface is called as a function.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use fido_relay::app::ceremonies::CeremonyKey;
use fido_relay::app::clients::NewClient;
use fido_relay::app::keys;
use fido_relay::backends::embedded::LocalBus;
use fido_relay::core::ceremony::{
    Begun, Ceremony, Event, UpstreamSession, Verdict, VerifiedAnswer,
};
use fido_relay::core::session;
use fido_relay::edge::listener::{Listener, ListenerSettings};
use fido_relay::edge::{self, Edge};
use fido_relay::metrics::Metrics;
use fido_relay::node::{Dependencies, Relay};
use fido_relay::ports::{
    Batch, BeginFault, BeginRequest, BoxFuture, Bucket, Clock, Completion, Fido, Revision, Store,
    StoreError, Stored,
};
use fido_relay::security::encryption::Encryptor;
use fido_relay::tasks::Tasks;
use fido_relay_proto::http::Scope;
use fido_relay_proto::{Binding, CeremonyType, PlainText, TenantId, UnixMillis};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::io::DuplexStream;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tower::ServiceExt as _;

use crate::canary::suite;
use crate::support::actions::{app_of, begun, make_client};
use crate::support::faulty_store::{Faults, FaultyStore, refused};

/// The wall clock of a world whose time is tokio's. It can be set.
#[derive(Debug)]
pub(crate) struct TokioClock {
    started: Instant,
    /// Milliseconds since the epoch at the start.
    epoch: AtomicU64,
}

impl TokioClock {
    pub(crate) fn set_forward(&self, by: Duration) {
        self.epoch.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }

    pub(crate) fn set_back(&self, by: Duration) {
        self.epoch.fetch_sub(u64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

impl Clock for TokioClock {
    fn now(&self) -> UnixMillis {
        let since = u64::try_from(self.started.elapsed().as_millis()).unwrap();
        UnixMillis(self.epoch.load(Ordering::Relaxed) + since)
    }
}

/// A FIDO2 server that takes its time and counts.
#[derive(Debug, Default)]
pub(crate) struct SlowFido {
    /// `None`: it never answers.
    pub(crate) begin_takes: Mutex<Option<Duration>>,
    pub(crate) complete_takes: Mutex<Option<Duration>>,
    pub(crate) completions: AtomicUsize,
    /// What a completion comes to; `None`: approved.
    pub(crate) verdict: Mutex<Option<Verdict>>,
}

async fn takes(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

impl Fido for SlowFido {
    fn begin(&self, _: BeginRequest) -> BoxFuture<'_, Result<Begun, BeginFault>> {
        let time = *self.begin_takes.lock().unwrap();
        Box::pin(async move {
            takes(time).await;
            Ok(begun("{}"))
        })
    }

    fn complete<'a>(
        &'a self,
        _: CeremonyType,
        _: &'a UpstreamSession,
        _: &'a RawValue,
        _: u64,
    ) -> BoxFuture<'a, Completion> {
        self.completions.fetch_add(1, Ordering::Relaxed);
        let time = *self.complete_takes.lock().unwrap();
        Box::pin(async move {
            takes(time).await;
            if let Some(verdict) = self.verdict.lock().unwrap().clone() {
                return verdict.into();
            }
            let cred_hash = "A".repeat(43);
            let approval = VerifiedAnswer { cred_hash, user_verified: Some(true), evidence: None };
            Verdict::Approved(approval).into()
        })
    }
}

/// A store in memory that can be switched off.
pub(crate) type Switchable = FaultyStore<Switch>;

#[derive(Debug, Default)]
pub(crate) struct Switch {
    pub(crate) is_down: AtomicBool,
    /// The next load of a ceremony gives this: it was read just before the last change.
    pub(crate) read_before: Mutex<Option<Stored>>,
}

impl Switch {
    fn up(&self) -> Result<(), StoreError> {
        if self.is_down.load(Ordering::Relaxed) {
            return refused("disk canary7Q is full");
        }
        Ok(())
    }
}

impl Faults for Switch {
    fn load(&self, bucket: Bucket, _: &str) -> Result<Option<Stored>, StoreError> {
        let before =
            (bucket == Bucket::Ceremonies).then(|| self.read_before.lock().unwrap().take());
        match before.flatten() {
            Some(before) => Ok(Some(before)),
            None => self.up().map(|()| None),
        }
    }

    fn commit<'a>(
        &'a self,
        store: &'a dyn Store,
        batch: Batch,
    ) -> BoxFuture<'a, Result<Revision, StoreError>> {
        Box::pin(async move {
            self.up()?;
            store.commit(batch).await
        })
    }

    fn list(&self, _: Bucket) -> Result<(), StoreError> {
        self.up()
    }
}

/// The relay and everything that a test may turn.
pub(crate) struct StubRelay {
    pub(crate) relay: Relay,
    pub(crate) fido: Arc<SlowFido>,
    pub(crate) store: Arc<Switchable>,
    pub(crate) clock: Arc<TokioClock>,
    pub(crate) metrics: Metrics,
    router: axum::Router,
    /// An initiator that may do everything.
    pub(crate) key: String,
}

/// A WebSocket over no network.
pub(crate) type PaperSocket = WebSocketStream<DuplexStream>;

/// What an HTTP call came to.
#[derive(Debug)]
pub(crate) struct Came {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl StubRelay {
    pub(crate) async fn start() -> Self {
        Self::start_within(crate::support::patient()).await
    }

    pub(crate) async fn start_within(bounds: fido_relay::node::RelayLimits) -> Self {
        let (fido, store) = (Arc::new(SlowFido::default()), Arc::new(Switchable::default()));
        let epoch = AtomicU64::new(1_800_000_000_000);
        let clock = Arc::new(TokioClock { started: Instant::now(), epoch });
        let moment = Some(Duration::from_millis(10));
        *fido.begin_takes.lock().unwrap() = moment;
        *fido.complete_takes.lock().unwrap() = moment;
        let metrics = Metrics::default();
        let world = Dependencies {
            store: Arc::clone(&store) as Arc<dyn Store>,
            revocations: Arc::new(fido_relay::backends::embedded::RevocationList::in_memory()),
            bus: Arc::new(LocalBus::new()),
            fido: metrics.upstream(Arc::clone(&fido) as Arc<dyn Fido>),
            cards: None,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            encryptor: Encryptor::new(&[7; 32]).unwrap(),
            journal: crate::support::journal(),
            recording: crate::support::recording(),
            push: None,
            counts: metrics.ceremonies(),
            tasks: Tasks::default(),
        };
        let relay = Relay::start(world, bounds);
        relay.ceremonies.recovered().await;
        let settings = edge::EdgeSettings {
            tenant: TenantId::default(),
            network_in_result: true,
            rp_id: "example.com".to_owned(),
            public_url: "https://relay.example.com".to_owned(),
            public_aliases: Vec::new(),
            tenant_origins: Vec::new(),
            device_origins: Vec::new(),
            socket_limits: session::SessionLimits::default(),
            socket_write: Duration::from_secs(5),
            body_bytes: 64 * 1024,
            unauthenticated_per_ip: 20,
            unauthenticated_per_node: 2_000,
            watch: edge::WatchLimits { per_ceremony: 2_000, per_node: 20_000 },
            rates: fido_relay::security::limits::Rates::default(),
            refusals: Arc::default(),
            metrics: metrics.clone(),
        };
        let Dependencies { clock: time, tasks, .. } = relay.dependencies();
        let listener = Listener::start(ListenerSettings::default(), time, tasks).unwrap();
        let app = app_of(relay.dependencies());
        let keys = keys::load_or_make(&*app.store, &relay.dependencies().encryptor).await.unwrap();
        let edge = Edge::new(relay.clone(), app.clone(), &keys, settings, listener, None).unwrap();
        let new = NewClient {
            tenant: TenantId::default(),
            name: PlainText::new("Example Bank").unwrap(),
            scopes: Scope::ALL.to_vec(),
            bindings: vec![Binding::Code, Binding::None],
        };
        let (_, key) = make_client(&app, new).await;
        suite::made(&key);
        Self { metrics, router: edge::router(edge), relay, fido, store, clock, key }
    }

    pub(crate) async fn call(&self, method: &str, path: &str, key: &str, body: &Value) -> Came {
        self.call_with(method, path, key, body, &[]).await
    }

    /// Opens a ceremony under an idempotency key; its id.
    pub(crate) async fn open_under(&self, key: &str, order: &Value) -> String {
        let headers = [("idempotency-key", key)];
        let came = self.call_with("POST", "/v1/ceremonies", &self.key, order, &headers).await;
        assert_eq!(came.status, 201, "{came:?}");
        came.body["id"].as_str().unwrap().to_owned()
    }

    /// Cancels a ceremony a second after its opening, as a node does whose notice is lost.
    pub(crate) async fn cancel_in_store(&self, id: &str) {
        let key = CeremonyKey { tenant: TenantId::default(), id: id.parse().unwrap() }.to_string();
        let stored = self.store.load(Bucket::Ceremonies, &key).await.unwrap().unwrap();
        let mut ceremony: Ceremony = serde_json::from_slice(&stored.value).unwrap();
        let past = ceremony.request.opened_at.plus_secs(1);
        ceremony.step(past, Event::Cancel);
        let record = serde_json::to_vec(&ceremony).unwrap();
        self.store.save(Bucket::Ceremonies, &key, stored.revision, record).await.unwrap();
    }

    pub(crate) async fn call_with(
        &self,
        method: &str,
        path: &str,
        key: &str,
        body: &Value,
        headers: &[(&str, &str)],
    ) -> Came {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "relay.example.com")
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_string())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Came { status, headers, body }
    }

    /// An answer whose body is not read yet.
    pub(crate) async fn open_stream(
        &self,
        path: &str,
        bearer: Option<&str>,
    ) -> axum::response::Response {
        let mut request = Request::builder().uri(path).header("host", "relay.example.com");
        if let Some(bearer) = bearer {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        let request = request.body(Body::empty()).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// A watcher's socket, after the event with this number.
    pub(crate) async fn watch_socket(&self, id: &str, bearer: &str, since: u32) -> PaperSocket {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let service = TowerToHyperService::new(self.router.clone());
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(far), service)
            .with_upgrades();
        let tasks = &self.relay.dependencies().tasks;
        tasks.spawn_untraced(async move { drop(connection.await) });
        let url = format!("ws://relay.example.com/v1/ceremonies/{id}/socket?since={since}");
        let mut request = url.into_client_request().unwrap();
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", "fido-relay.watch.v1".parse().unwrap());
        headers.insert("authorization", format!("Bearer {bearer}").parse().unwrap());
        tokio_tungstenite::client_async(request, near).await.unwrap().0
    }

    /// Opens and gives the id, the code and the ticket.
    pub(crate) async fn open(&self, order: &Value) -> (String, Option<String>, String) {
        let came = self.call("POST", "/v1/ceremonies", &self.key, order).await;
        assert_eq!(came.status, 201, "{came:?}");
        let text = |field: &str| came.body[field].as_str().map(str::to_owned);
        suite::made(&text("ticket").unwrap());
        (text("id").unwrap(), text("code"), text("ticket").unwrap())
    }

    /// The ceremony as its opener sees it.
    pub(crate) async fn read(&self, id: &str) -> Value {
        self.call("GET", &format!("/v1/ceremonies/{id}"), &self.key, &Value::Null).await.body
    }
}
