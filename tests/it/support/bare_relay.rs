//! A relay without an edge, over any store: its clock is the test's, its FIDO2 server answers at
//! once and agrees with everything.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fido_relay::app::ceremonies::{CeremonyKey, OpenRequest};
use fido_relay::backends::embedded::LocalBus;
use fido_relay::core::ceremony::{
    Begun, Ceremony, Request, State, UpstreamSession, Verdict, VerifiedAnswer,
};
use fido_relay::node::{Dependencies, Relay, RelayLimits};
use fido_relay::ports::{
    BeginFault, BeginRequest, BoxFuture, Bucket, Clock, Completion, ExportHealth, Fido, NoCounts,
    Push, Store,
};
use fido_relay::security::encryption::Encryptor;
use fido_relay::tasks::Tasks;
use fido_relay_proto::{AttemptId, Binding, CeremonyType, UnixMillis, Username};
use serde_json::value::RawValue;
use tokio::sync::watch;

use crate::support::actions::{begun, sign_in_request};

/// A clock that does not run until it is moved.
#[derive(Debug)]
pub(crate) struct HandClock(AtomicU64);

impl HandClock {
    pub(crate) fn forward(&self, millis: u64) {
        self.0.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.load(Ordering::Relaxed))
    }
}

/// A FIDO2 server that agrees at once and counts.
#[derive(Debug, Default)]
pub(crate) struct AgreeingFido {
    pub(crate) begins: AtomicUsize,
    pub(crate) completions: AtomicUsize,
    /// Whether it says that it judges locally.
    pub(crate) is_local: AtomicBool,
    /// How long it takes for a challenge.
    pub(crate) begins_after: Mutex<Duration>,
    /// What it says in place of agreeing.
    pub(crate) says: Mutex<Option<Completion>>,
}

impl Fido for AgreeingFido {
    fn judges_locally(&self) -> bool {
        self.is_local.load(Ordering::Relaxed)
    }

    fn begin(&self, _: BeginRequest) -> BoxFuture<'_, Result<Begun, BeginFault>> {
        self.begins.fetch_add(1, Ordering::Relaxed);
        // About as much as a real server's options.
        let options = format!(r#"{{"challenge":"{}"}}"#, "Y".repeat(400));
        let pause = *self.begins_after.lock().unwrap();
        Box::pin(async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            Ok(begun(&options))
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
        if let Some(completion) = self.says.lock().unwrap().clone() {
            return Box::pin(std::future::ready(completion));
        }
        let cred_hash = "A".repeat(43);
        let approval = VerifiedAnswer { cred_hash, user_verified: Some(true), evidence: None };
        Box::pin(std::future::ready(Verdict::Approved(approval).into()))
    }
}

/// The relay and what a test may turn.
pub(crate) struct BareRelay {
    pub(crate) relay: Relay,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) fido: Arc<AgreeingFido>,
    pub(crate) store: Arc<dyn Store>,
}

impl BareRelay {
    pub(crate) async fn start(store: Arc<dyn Store>) -> Self {
        Self::start_with(store, crate::support::recording()).await
    }

    /// The same, with a recording that may fail.
    pub(crate) async fn start_with(
        store: Arc<dyn Store>,
        recording: watch::Receiver<ExportHealth>,
    ) -> Self {
        Self::start_within(store, recording, crate::support::patient()).await
    }

    /// The same, within bounds.
    pub(crate) async fn start_within(
        store: Arc<dyn Store>,
        recording: watch::Receiver<ExportHealth>,
        bounds: RelayLimits,
    ) -> Self {
        Self::start_pushing(store, recording, bounds, None).await
    }

    /// The same, with push services.
    pub(crate) async fn start_pushing(
        store: Arc<dyn Store>,
        recording: watch::Receiver<ExportHealth>,
        bounds: RelayLimits,
        push: Option<Arc<dyn Push>>,
    ) -> Self {
        let fido = Arc::new(AgreeingFido::default());
        let clock = Arc::new(HandClock(AtomicU64::new(1_800_000_000_000)));
        let world = Dependencies {
            store: Arc::clone(&store),
            revocations: Arc::new(fido_relay::backends::embedded::RevocationList::in_memory()),
            bus: Arc::new(LocalBus::new()),
            fido: Arc::clone(&fido) as Arc<dyn Fido>,
            cards: None,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            encryptor: Encryptor::new(&[7; 32]).unwrap(),
            journal: crate::support::journal(),
            recording,
            push,
            counts: Arc::new(NoCounts),
            tasks: Tasks::default(),
        };
        let relay = Relay::start(world, bounds);
        relay.ceremonies.recovered().await;
        Self { relay, clock, fido, store }
    }

    /// Ada's sign-in, open for a minute.
    pub(crate) fn request(&self, binding: Binding) -> Request {
        Request { binding, ..sign_in_request(self.clock.now(), 60_000) }
    }

    /// Opens it, under this idempotency key if there is one.
    pub(crate) async fn open(&self, binding: Binding, idempotency: Option<&str>) -> CeremonyKey {
        self.open_for("ada", binding, idempotency).await
    }

    /// The same for another user.
    pub(crate) async fn open_for(
        &self,
        username: &str,
        binding: Binding,
        idempotency: Option<&str>,
    ) -> CeremonyKey {
        let idempotency = idempotency.map(|key| (key.to_owned(), [1; 32]));
        let mut request = self.request(binding);
        request.username = Username::new(username).unwrap();
        let order = OpenRequest { request, idempotency };
        CeremonyKey::from(&self.relay.ceremonies.open(order).await.unwrap())
    }

    /// Waits until the ceremony's state gives what is looked for.
    pub(crate) async fn until<T>(
        &self,
        key: &CeremonyKey,
        looked_for: impl Fn(&Ceremony) -> Option<T>,
    ) -> T {
        let mut watch = self.relay.delivery.watch(key);
        loop {
            let ceremony = self.relay.ceremonies.load(key).await.unwrap().unwrap();
            if let Some(found) = looked_for(&ceremony) {
                return found;
            }
            watch.changed().await;
        }
    }

    /// Waits for the challenge.
    pub(crate) async fn challenged(&self, key: &CeremonyKey) -> AttemptId {
        self.until(key, |ceremony| match &ceremony.state {
            State::Challenged(challenge) => Some(challenge.attempt),
            _ => None,
        })
        .await
    }

    /// Records that a bucket holds.
    pub(crate) async fn count(&self, bucket: Bucket) -> usize {
        self.store.list(bucket, "").await.unwrap().len()
    }
}
