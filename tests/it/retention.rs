//! What is dead is removed and nothing else: a relay over days, by a clock that follows the
//! runtime's paused time.

use std::sync::Arc;

use fido_relay::app::ceremonies::{CeremonyKey, OpenRequest};
use fido_relay::app::pairings;
use fido_relay::backends::embedded::{LocalBus, MemoryStore};
use fido_relay::core::ceremony::{Begun, Event, UpstreamSession, Verdict};
use fido_relay::node::{Dependencies, Relay};
use fido_relay::ports::{BeginFault, BeginRequest, BoxFuture, Bucket, Clock, Completion, Fido};
use fido_relay::security::encryption::Encryptor;
use fido_relay::tasks::Tasks;
use fido_relay_proto::{CeremonyType, PlainText, Reason, UnixMillis};
use serde_json::value::RawValue;
use tokio::time::{Duration, Instant, sleep};

use crate::support::actions::sign_in_request;
use crate::support::actions::{app_of, operator};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// The wall clock goes as the runtime's time does.
#[derive(Debug)]
struct RuntimeClock(Instant);

impl Clock for RuntimeClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(1_800_000_000_000 + u64::try_from(self.0.elapsed().as_millis()).unwrap())
    }
}

/// No ceremony of these tests gets as far as to a FIDO2 server.
#[derive(Debug)]
struct NoFido;

impl Fido for NoFido {
    fn begin(&self, _: BeginRequest) -> BoxFuture<'_, Result<Begun, BeginFault>> {
        let fault =
            BeginFault { reason: Reason::UpstreamUnavailable, detail: "there is none".to_owned() };
        Box::pin(std::future::ready(Err(fault)))
    }

    fn complete<'a>(
        &'a self,
        _: CeremonyType,
        _: &'a UpstreamSession,
        _: &'a RawValue,
        _: u64,
    ) -> BoxFuture<'a, Completion> {
        Box::pin(std::future::ready(Verdict::NotAsked.into()))
    }
}

fn relay() -> Relay {
    let world = Dependencies {
        store: Arc::new(MemoryStore::new()),
        revocations: Arc::new(fido_relay::backends::embedded::RevocationList::in_memory()),
        bus: Arc::new(LocalBus::new()),
        fido: Arc::new(NoFido),
        cards: None,
        clock: Arc::new(RuntimeClock(Instant::now())),
        encryptor: Encryptor::new(&[7; 32]).unwrap(),
        journal: crate::support::journal(),
        recording: crate::support::recording(),
        push: None,
        counts: Arc::new(fido_relay::ports::NoCounts),
        tasks: Tasks::default(),
    };
    Relay::start(world, crate::support::patient())
}

fn order(relay: &Relay, life: Duration, key: Option<&str>) -> OpenRequest {
    let now = relay.dependencies().clock.now();
    let request = sign_in_request(now, u64::try_from(life.as_millis()).unwrap());
    OpenRequest { request, idempotency: key.map(|key| (key.to_owned(), [1; 32])) }
}

async fn opened(relay: &Relay, life: Duration, key: Option<&str>) -> CeremonyKey {
    CeremonyKey::from(&relay.ceremonies.open(order(relay, life, key)).await.unwrap())
}

async fn records(relay: &Relay, bucket: Bucket) -> usize {
    relay.dependencies().store.list(bucket, "").await.unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn a_result_is_kept_for_a_day_after_the_end_and_is_gone_soon_after_it() {
    let relay = relay();
    let key = opened(&relay, MINUTE, None).await;
    relay.ceremonies.advance(&key, Event::Cancel).await.unwrap();
    sleep(24 * HOUR - MINUTE).await;
    assert!(relay.ceremonies.load(&key).await.unwrap().is_some());
    sleep(20 * MINUTE).await;
    assert!(relay.ceremonies.load(&key).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn an_open_ceremony_is_never_swept() {
    let relay = relay();
    let ended = opened(&relay, MINUTE, None).await;
    relay.ceremonies.advance(&ended, Event::Cancel).await.unwrap();
    // Longer than any that the edge would open, so that the walks meet it open.
    let open = opened(&relay, 100 * HOUR, None).await;
    sleep(99 * HOUR).await;
    assert!(relay.ceremonies.load(&ended).await.unwrap().is_none(), "there were walks");
    assert!(
        relay.ceremonies.load(&open).await.unwrap().is_some_and(|found| found.closed().is_none())
    );
    sleep(2 * HOUR).await;
    let closed = relay.ceremonies.load(&open).await.unwrap().unwrap();
    assert!(closed.closed().is_some(), "it expired and is kept for its day");
}

#[tokio::test(start_paused = true)]
async fn an_idempotency_key_stands_for_its_ceremony_for_a_day_and_then_for_nothing() {
    let relay = relay();
    let first = opened(&relay, MINUTE, Some("key")).await;
    sleep(24 * HOUR - MINUTE).await;
    assert_eq!(opened(&relay, MINUTE, Some("key")).await, first);
    sleep(25 * MINUTE).await;
    assert_eq!(records(&relay, Bucket::Idempotency).await, 0);
    assert_ne!(opened(&relay, MINUTE, Some("key")).await, first);
}

#[tokio::test(start_paused = true)]
async fn a_pairing_token_that_nobody_used_is_removed() {
    let relay = relay();
    let world = relay.dependencies();
    let ada = PlainText::new("ada").unwrap();
    pairings::open(&app_of(world), &operator(), &ada).await.unwrap();
    assert_eq!(records(&relay, Bucket::Pairings).await, 2);
    sleep(25 * MINUTE).await;
    assert_eq!(records(&relay, Bucket::Pairings).await, 0);
}

#[tokio::test(start_paused = true)]
async fn over_days_the_store_holds_what_one_day_brought() {
    let relay = relay();
    let mut most = 0;
    for _ in 0..5 {
        for hour in 0..24 {
            for nth in 0..20 {
                let key = opened(&relay, MINUTE, Some(&format!("{hour}.{nth}"))).await;
                drop(relay.ceremonies.advance(&key, Event::Cancel).await);
            }
            sleep(HOUR).await;
            most = most.max(records(&relay, Bucket::Ceremonies).await);
        }
    }
    // A day's worth, what the walks leave for the next, and nothing of the days before.
    assert!((24 * 20..=26 * 20).contains(&most), "{most}");
}
