//! Webhooks on a paused clock with a scripted sender: hours pass in an instant, and what arrives
//! when is the sender's own record.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use fido_relay_proto::webhook::{DeliveryState, WebhookEvent, WebhookFailure};
use fido_relay_proto::{CeremonyId, DeviceId, Outcome, PlainText};
use futures::future::BoxFuture;
use tokio::time::Instant;
use url::Url;

use super::outbox::Delivery;
use super::*;
use crate::app::ceremonies::plain_sign_in;
use crate::app::clients::{Client, NewClient};
use crate::backends::embedded::MemoryStore;
use crate::core::ceremony::Ceremony;
use crate::journal::Journal;
use crate::ports::{
    Answered, Bucket, OutgoingRequest, RetryAfter, SecurityEvent, SecurityEventKind, Unsent,
    records,
};

mod changes;
mod deliveries;
mod dispatch;
mod gone;
mod probes;
mod removals;
mod resends;
mod signatures;
mod upgraded;

const CLIENT: ClientId = ClientId::from_bytes([1; 16]);
const OTHER: ClientId = ClientId::from_bytes([2; 16]);
const HOUR: Duration = Duration::from_secs(3600);
const GOOD: &str = "https://good.example/";

/// The wall clock of a machine whose time is tokio's.
#[derive(Debug)]
struct TokioClock(Instant);

impl Clock for TokioClock {
    fn now(&self) -> UnixMillis {
        let since = u64::try_from(self.0.elapsed().as_millis()).unwrap();
        UnixMillis(1_800_000_000_000 + since)
    }
}

/// A letter that reached its endpoint, and when.
#[derive(Clone, Debug)]
struct Arrival {
    host: String,
    id: String,
    body: serde_json::Value,
    after: Duration,
    letter: OutgoingRequest,
}

/// How an endpoint answers.
#[derive(Clone, Copy, Debug)]
enum Manner {
    Status(u16),
    Busy {
        retry_after: RetryAfter,
    },
    Unreachable,
    /// It takes this long to answer 200.
    Slow(Duration),
    /// It takes this long to break off.
    Dragging(Duration),
}

/// A sender whose endpoints behave as the test says.
#[derive(Debug)]
struct Scripted {
    start: Instant,
    manners: Mutex<HashMap<String, Manner>>,
    arrivals: Mutex<Vec<Arrival>>,
    at_once: Mutex<(HashMap<String, usize>, HashMap<String, usize>)>,
}

impl Scripted {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            manners: Mutex::default(),
            arrivals: Mutex::default(),
            at_once: Mutex::default(),
        })
    }

    fn answers(&self, url: &str, manner: Manner) {
        let host = Url::parse(url).unwrap().host_str().unwrap().to_owned();
        self.manners.lock().unwrap().insert(host, manner);
    }

    fn arrivals(&self) -> Vec<Arrival> {
        self.arrivals.lock().unwrap().clone()
    }

    fn at(&self, url: &str) -> Vec<Arrival> {
        let host = Url::parse(url).unwrap().host_str().unwrap().to_owned();
        self.arrivals().into_iter().filter(|arrival| arrival.host == host).collect()
    }

    /// Counts anew, from those that are on their way.
    fn forget_most(&self) {
        let (now, most) = &mut *self.at_once.lock().unwrap();
        most.clone_from(now);
    }

    /// The most letters that were on their way to this host at once.
    fn most_at_once(&self, host: &str) -> usize {
        self.at_once.lock().unwrap().1.get(host).copied().unwrap_or_default()
    }
}

/// A letter on its way, until it is answered or given up.
struct Flight<'a>(&'a Scripted, String);

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        *self.0.at_once.lock().unwrap().0.get_mut(&self.1).unwrap() -= 1;
    }
}

impl WebhookSender for Scripted {
    fn permits(&self, url: &str, _: Registrar) -> Result<Url, Unsendable> {
        Url::parse(url).map_err(|_| Unsendable::Form)
    }

    fn send(&self, letter: OutgoingRequest) -> BoxFuture<'_, Result<Answered, Unsent>> {
        Box::pin(async move {
            let host = letter.url.host_str().unwrap().to_owned();
            let header = |name| letter.headers.iter().find(|(known, _)| *known == name).unwrap();
            let arrival = Arrival {
                host: host.clone(),
                id: header("webhook-id").1.clone(),
                body: serde_json::from_slice(&letter.body).unwrap(),
                after: self.start.elapsed(),
                letter: letter.clone(),
            };
            self.arrivals.lock().unwrap().push(arrival);
            {
                let (now, most) = &mut *self.at_once.lock().unwrap();
                let now = now.entry(host.clone()).or_default();
                *now += 1;
                let most = most.entry(host.clone()).or_default();
                *most = (*most).max(*now);
            }
            let _flight = Flight(self, host.clone());
            let manner = self.manners.lock().unwrap().get(&host).copied();
            let answered = |status| Ok(Answered { status, retry_after: None });
            match manner.unwrap_or(Manner::Status(200)) {
                Manner::Status(status) => answered(status),
                Manner::Busy { retry_after } => {
                    Ok(Answered { status: 503, retry_after: Some(retry_after) })
                }
                Manner::Unreachable => Err(Unsent::Unreachable),
                Manner::Slow(pause) => {
                    tokio::time::sleep(pause).await;
                    answered(200)
                }
                Manner::Dragging(pause) => {
                    tokio::time::sleep(pause).await;
                    Err(Unsent::Unreachable)
                }
            }
        })
    }
}

/// Webhooks that run, and what they run on.
struct Stage {
    store: Arc<dyn Store>,
    sender: Arc<Scripted>,
    clock: Arc<TokioClock>,
    webhooks: Webhooks,
    tasks: Tasks,
}

impl Stage {
    async fn start() -> Self {
        let clock = Arc::new(TokioClock(Instant::now()));
        Self::start_on(Arc::new(MemoryStore::new()), Scripted::new(), clock).await
    }

    async fn start_on(
        store: Arc<dyn Store>,
        sender: Arc<Scripted>,
        clock: Arc<TokioClock>,
    ) -> Self {
        let sealer = Encryptor::new(&[7; 32]).unwrap();
        let tasks = Tasks::default();
        let at_rest = Webhooks::at_rest(
            Arc::clone(&store),
            sealer,
            Arc::clone(&clock) as Arc<dyn Clock>,
            Arc::clone(&sender) as Arc<dyn WebhookSender>,
        );
        let (webhooks, _) = at_rest.start(&tasks).await.unwrap();
        Self { store, sender, clock, webhooks, tasks }
    }

    /// Stops in order and starts again on the same store.
    async fn restart(self) -> Self {
        let Self { store, sender, clock, tasks, .. } = self;
        assert!(tasks.stop(Duration::from_secs(20)).await, "everything ends in time");
        Self::start_on(store, sender, clock).await
    }

    /// Commits the entries of all that has happened to a ceremony.
    async fn commit(&self, ceremony: &Ceremony) {
        let journal = Journal { audited: true, ..Journal::default() };
        let batch = journal.append_facts(Batch::new(), ceremony, &ceremony.history);
        self.store.commit(batch).await.unwrap();
    }

    async fn endpoint(&self, url: &str) -> Endpoint {
        self.endpoint_of(CLIENT, url, &WebhookEvent::ALL).await
    }

    async fn endpoint_of(&self, client: ClientId, url: &str, events: &[WebhookEvent]) -> Endpoint {
        let order = CreateWebhook {
            url: url.to_owned(),
            events: events.to_vec(),
            schemes: vec![WebhookScheme::V1a],
        };
        let tenant = TenantId::default();
        let owner = format!("{tenant}.{client}");
        // There may be one from before.
        drop(self.store.save(Bucket::Clients, &owner, Revision::ABSENT, b"{}".to_vec()).await);
        self.webhooks.register((&tenant, client), order, Some("ada")).await.unwrap().0
    }

    /// A ceremony that closes now: the person said no.
    fn closed(&self, number: u8, client: ClientId) -> Ceremony {
        let mut ceremony = self.open(number, client);
        let device = DeviceId::from_bytes([3; 16]);
        let reason = fido_relay_proto::device::DeclineReason::NotMe;
        let event = crate::core::ceremony::Event::Decline { device, reason };
        ceremony.step(self.clock.now(), event);
        assert_eq!(ceremony.closed().unwrap().outcome, Outcome::Denied);
        ceremony
    }

    fn open(&self, number: u8, client: ClientId) -> Ceremony {
        let (name, now) = (PlainText::new("Example Bank").unwrap(), self.clock.now());
        let (tenant, scopes, bindings) = (TenantId::default(), Vec::new(), Vec::new());
        let mut initiator = Client::new(NewClient { tenant, name, scopes, bindings }, now);
        initiator.id = client;
        let username = PlainText::new("ada").unwrap();
        let mut ceremony = plain_sign_in(&initiator, username, "bank.example", now);
        ceremony.request.id = CeremonyId::from_bytes([number; 16]);
        ceremony
    }

    async fn closes(&self, number: u8) {
        self.commit(&self.closed(number, CLIENT)).await;
    }

    /// Puts what tells of a ceremony that closes now among the endpoint's dead letters.
    async fn dies(&self, number: u8, endpoint: &Endpoint) -> EventId {
        let told = event::of_ceremony(&self.closed(number, CLIENT)).remove(0).told;
        let mut dead = Delivery::new(told, self.clock.now());
        dead.die(Some(WebhookFailure::Status), self.clock.now());
        let key = endpoint.key();
        outbox::save(&*self.store, &key, Revision::ABSENT, &dead).await.unwrap();
        dead.told.id
    }

    /// How many records of webhooks the store has.
    async fn records(&self) -> usize {
        let mut records = 0;
        for bucket in [Bucket::Webhooks, Bucket::Outbox] {
            records += self.store.list(bucket, "").await.unwrap().len();
        }
        records
    }

    async fn dead(&self, endpoint: &Endpoint) -> Vec<Undelivered> {
        let dead = Some(DeliveryState::Dead);
        self.webhooks.undelivered(endpoint, dead, None).await.unwrap().0
    }

    async fn waiting(&self, endpoint: &Endpoint) -> Vec<Undelivered> {
        let waiting = Some(DeliveryState::Waiting);
        self.webhooks.undelivered(endpoint, waiting, None).await.unwrap().0
    }
}

/// Lets this much time pass; whatever is due in it happens.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Lets everything happen that is due now.
async fn settle() {
    pass(Duration::from_millis(50)).await;
}
