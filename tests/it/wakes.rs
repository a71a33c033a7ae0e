//! Escalation: which device is woken for which prompt, when, and how often; and what a device that
//! was woken pulls. The push services are stubs here; `push` has the real ones.

use std::sync::Arc;
use std::time::Duration;

use fido_relay::app::ceremonies::{CeremonyKey, DeviceIdentity, OpenRequest};
use fido_relay::app::devices::{self, Device};
use fido_relay::backends::embedded::MemoryStore;
use fido_relay::core::ceremony::{Ceremony, FactKind, Request};
use fido_relay::core::prompt_limits::Policy;
use fido_relay::delivery::PullRequest;
use fido_relay::node::RelayLimits;
use fido_relay::ports::{Clock as _, PushFailure, Store};
use fido_relay::security::random;
use fido_relay_proto::device::{Ack, AckOf, Answer, Claim, FrameErrorCode};
use fido_relay_proto::http::Pulled;
use fido_relay_proto::life::PriorAuth;
use fido_relay_proto::{Binding, CeremonyId, DeviceFrame, DeviceId, Outcome, RelayFrame, TenantId};
use serde_json::value::RawValue;

use crate::support::actions::{add_device, device};
use crate::support::attached_phone::{AttachedPhone, refused};
use crate::support::bare_relay::BareRelay;
use crate::support::stub_push::{StubPush, target};

/// Longer than the bus, a look and a report take.
const SETTLES: Duration = Duration::from_millis(200);

struct Stage {
    relay: BareRelay,
    push: Arc<StubPush>,
}

impl Stage {
    /// A relay that waits two seconds for an acknowledgement, with the rules as they come.
    async fn new() -> Self {
        Self::after(Duration::from_secs(2)).await
    }

    async fn after(wake_after: Duration) -> Self {
        Self::on(Arc::new(MemoryStore::new()), wake_after).await
    }

    async fn on(store: Arc<dyn Store>, wake_after: Duration) -> Self {
        let push = StubPush::new();
        let bounds =
            RelayLimits { prompts: Policy::default(), wake_after, ..RelayLimits::default() };
        let recording = crate::support::recording();
        let services = Arc::clone(&push) as _;
        let relay = BareRelay::start_pushing(store, recording, bounds, Some(services)).await;
        Self { relay, push }
    }

    /// A new phone of this user's with a push address and no socket.
    async fn sleeper(&self, username: &str, token: &str) -> Device {
        let id = DeviceId::from_bytes(random::bytes());
        let device = Device { push: Some(target(token)), id, ..device(username) };
        add_device(&*self.relay.store, &device).await;
        device
    }

    /// Opens for Ada as a stranger's page does.
    async fn opens(&self, binding: Binding) -> CeremonyKey {
        let request = Request { prior_auth: PriorAuth::None, ..self.relay.request(binding) };
        let order = OpenRequest { request, idempotency: None };
        let key = CeremonyKey::from(&self.relay.relay.ceremonies.open(order).await.unwrap());
        tokio::time::sleep(SETTLES).await;
        key
    }

    /// Lets time pass, for the tasks and for the clock.
    async fn pass(&self, millis: u64) {
        self.relay.clock.forward(millis);
        tokio::time::sleep(Duration::from_millis(millis) + SETTLES).await;
    }

    async fn stored(&self, key: &CeremonyKey) -> Arc<Ceremony> {
        self.relay.relay.ceremonies.load(key).await.unwrap().unwrap()
    }

    async fn pulls(&self, device: &Device, order: &PullRequest) -> Pulled {
        self.relay.relay.delivery.pull(&owner(device), order).await.unwrap()
    }

    /// What the device is given now.
    async fn gets(&self, device: &Device) -> Vec<RelayFrame> {
        self.pulls(device, &PullRequest::default()).await.frames
    }

    async fn sends(&self, device: &Device, frame: DeviceFrame) -> Option<RelayFrame> {
        let address = [192, 0, 2, 7].into();
        self.relay.relay.delivery.receive_pulled(&owner(device), address, frame).await
    }

    async fn acks(&self, device: &Device, ceremony_id: CeremonyId) {
        let ack = DeviceFrame::Ack(Ack { ceremony_id, of: AckOf::Offer });
        assert!(self.sends(device, ack).await.is_none());
    }

    async fn types(
        &self,
        device: &Device,
        ceremony_id: Option<CeremonyId>,
        code: &str,
    ) -> Option<RelayFrame> {
        let claim = Claim { ceremony_id, code: code.to_owned(), claim_id: None };
        self.sends(device, DeviceFrame::Claim(claim)).await
    }

    async fn code(&self, key: &CeremonyKey) -> String {
        self.relay.relay.ceremonies.view(key).await.unwrap().unwrap().code.unwrap().0
    }

    /// Pulls the challenge, answers it, and gives what that was answered with.
    async fn answers(&self, device: &Device, id: CeremonyId) -> Option<RelayFrame> {
        tokio::time::sleep(SETTLES).await;
        let frames = self.gets(device).await;
        let attempt = frames.iter().find_map(|frame| match frame {
            RelayFrame::Challenge(challenge) if challenge.offer.ceremony_id == id => {
                Some(challenge.attempt)
            }
            _ => None,
        });
        let credential = RawValue::from_string("{}".to_owned()).unwrap();
        let answer = Answer { ceremony_id: id, attempt: attempt.unwrap(), credential };
        self.sends(device, DeviceFrame::Answer(answer)).await
    }
}

fn owner(device: &Device) -> DeviceIdentity {
    let Device { id, tenant, username, .. } = device.clone();
    DeviceIdentity { device: id, tenant, username }
}

fn offers(frames: &[RelayFrame]) -> Vec<CeremonyId> {
    let offered = frames.iter().filter_map(|frame| match frame {
        RelayFrame::Offer(offer) => Some(offer.ceremony_id),
        _ => None,
    });
    offered.collect()
}

fn woken(ceremony: &Ceremony) -> usize {
    ceremony.history.iter().filter(|fact| fact.kind == FactKind::Woken).count()
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_no_app_acknowledges_wakes_its_device_once() {
    let stage = Stage::new().await;
    let device = stage.sleeper("ada", "adas").await;
    stage.sleeper("bob", "bobs").await;
    let key = stage.opens(Binding::Code).await;
    stage.pass(1_900).await;
    assert!(stage.push.woken().is_empty(), "the app has two seconds");
    stage.pass(200).await;
    let wakes = stage.push.wakes();
    assert_eq!(wakes.len(), 1);
    assert_eq!((wakes[0].target.token.as_str(), wakes[0].ttl_s), ("adas", 57));
    assert_eq!(wakes[0].id.len(), 22);
    assert_eq!(woken(&*stage.stored(&key).await), 1);
    assert!(stage.stored(&key).await.has_woken(device.id));
    stage.pass(50_000).await;
    assert!(stage.push.woken().is_empty(), "once");
}

#[tokio::test(start_paused = true)]
async fn an_acknowledged_prompt_wakes_nothing_and_a_socket_that_is_dead_suppresses_no_wake() {
    let stage = Stage::new().await;
    let device = stage.sleeper("ada", "adas").await;
    let phone = AttachedPhone::attach(&stage.relay, device.clone()).await;
    let key = stage.opens(Binding::Code).await;
    assert_eq!(phone.offers(&stage.relay).await.len(), 1);
    stage.pass(10_000).await;
    assert!(stage.push.woken().is_empty());
    stage.relay.relay.ceremonies.cancel(&key).await.unwrap();
    phone.sees(&stage.relay).await;

    let key = stage.opens(Binding::Code).await;
    assert_eq!(phone.sees(&stage.relay).await.len(), 1, "written, and read by no app");
    stage.pass(2_100).await;
    assert_eq!(stage.push.woken(), ["adas"]);
    let phone = phone.reconnects(&stage.relay).await;
    assert_eq!(phone.offers(&stage.relay).await.len(), 1);
    tokio::time::sleep(SETTLES).await;
    assert!(stage.stored(&key).await.is_acked_by(device.id));
}

#[tokio::test(start_paused = true)]
async fn without_a_wait_a_device_without_a_socket_is_woken_at_once_and_one_with_a_socket_later() {
    let stage = Stage::after(Duration::ZERO).await;
    stage.sleeper("ada", "asleep").await;
    let awake = stage.sleeper("ada", "awake").await;
    let phone = AttachedPhone::attach(&stage.relay, awake).await;
    stage.opens(Binding::Code).await;
    stage.pass(50).await;
    assert_eq!(stage.push.woken(), ["asleep"]);
    assert_eq!(phone.sees(&stage.relay).await.len(), 1);
    stage.pass(2_100).await;
    assert_eq!(stage.push.woken(), ["awake"]);
}

#[tokio::test(start_paused = true)]
async fn a_suppressed_ceremony_wakes_nothing_and_is_pulled_by_nobody_until_its_code_is_typed() {
    let stage = Stage::new().await;
    let device = stage.sleeper("ada", "adas").await;
    for _ in 0..3 {
        let key = stage.opens(Binding::Code).await;
        stage.pass(2_100).await;
        assert_eq!(stage.push.woken().len(), 1);
        stage.relay.relay.ceremonies.cancel(&key).await.unwrap();
    }
    let key = stage.opens(Binding::Code).await;
    stage.pass(10_000).await;
    assert!(stage.push.woken().is_empty(), "each wake that a service took has counted");
    assert!(offers(&stage.gets(&device).await).is_empty());
    let code = stage.code(&key).await;
    let preview = stage.types(&device, None, &code).await;
    let Some(RelayFrame::Offer(preview)) = preview else { panic!("{preview:?}") };
    assert!(preview.preview.is_some_and(|preview| preview.by_code && !preview.rang));
    let again = stage.types(&device, Some(key.id), &code).await;
    assert!(matches!(again, Some(RelayFrame::Offer(_))), "no challenge before the app has it");
    stage.acks(&device, key.id).await;
    assert!(stage.types(&device, Some(key.id), &code).await.is_none());
    let accepted = stage.answers(&device, key.id).await;
    assert!(matches!(accepted, Some(RelayFrame::Accepted { .. })), "{accepted:?}");
    tokio::time::sleep(SETTLES).await;
    let ceremony = stage.stored(&key).await;
    assert_eq!(ceremony.closed().unwrap().outcome, Outcome::Succeeded);
    let kinds: Vec<_> = ceremony.history.iter().map(|fact| fact.kind).collect();
    assert!(
        kinds.contains(&FactKind::Previewed) && !kinds.contains(&FactKind::Delivered),
        "{kinds:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_wake_that_no_service_took_counts_for_nothing_and_ends_nothing() {
    let stage = Stage::new().await;
    stage.sleeper("ada", "adas").await;
    stage.push.says(Some(PushFailure::Failing));
    for _ in 0..5 {
        let key = stage.opens(Binding::Code).await;
        stage.pass(2_100).await;
        assert_eq!(stage.push.woken().len(), 1, "none of those before has counted");
        let ceremony = stage.stored(&key).await;
        assert!(ceremony.closed().is_none() && !ceremony.rang() && woken(&ceremony) == 0);
        stage.pass(5_100).await;
        assert_eq!(stage.push.woken().len(), 1, "the service may have recovered");
        stage.pass(60_000).await;
        assert_eq!(stage.stored(&key).await.closed().unwrap().outcome, Outcome::Expired);
        stage.push.woken();
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_that_its_service_no_longer_knows_is_forgotten() {
    let stage = Stage::new().await;
    let device = stage.sleeper("ada", "adas").await;
    stage.push.says(Some(PushFailure::Gone));
    let key = stage.opens(Binding::Code).await;
    stage.pass(2_100).await;
    assert_eq!(stage.push.woken(), ["adas"]);
    let kept = devices::load(&*stage.relay.store, &TenantId::default(), device.id).await;
    let kept = kept.unwrap().unwrap();
    assert!(kept.push.is_none() && kept.push_removed.is_some());
    assert_eq!(woken(&*stage.stored(&key).await), 0);
    stage.push.says(None);
    stage.relay.relay.ceremonies.cancel(&key).await.unwrap();
    stage.opens(Binding::Code).await;
    stage.pass(10_000).await;
    assert!(stage.push.woken().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_waits_for_its_turn_wakes_when_it_comes() {
    let stage = Stage::new().await;
    stage.sleeper("ada", "adas").await;
    let first = stage.opens(Binding::Code).await;
    let second = stage.opens(Binding::Code).await;
    stage.pass(2_100).await;
    assert_eq!(stage.push.woken().len(), 1);
    assert_eq!(woken(&*stage.stored(&second).await), 0, "one rings");
    stage.relay.relay.ceremonies.cancel(&first).await.unwrap();
    tokio::time::sleep(SETTLES).await;
    stage.pass(2_100).await;
    assert_eq!(stage.push.woken().len(), 1);
    assert_eq!(woken(&*stage.stored(&second).await), 1);
}

#[tokio::test(start_paused = true)]
async fn a_prompt_whose_turn_comes_as_another_is_taken_up_wakes_too() {
    let stage = Stage::new().await;
    let awake = stage.sleeper("ada", "awake").await;
    stage.sleeper("ada", "asleep").await;
    let phone = AttachedPhone::attach(&stage.relay, awake).await;
    let first = stage.opens(Binding::Code).await;
    let second = stage.opens(Binding::Code).await;
    assert_eq!(phone.offers(&stage.relay).await.len(), 1);
    stage.pass(2_100).await;
    assert_eq!(stage.push.woken(), ["asleep"], "of the first");
    let code = stage.code(&first).await;
    assert!(phone.types(&stage.relay, Some(first.id), &code, None).await.is_none());
    assert_eq!(phone.offers(&stage.relay).await.len(), 1, "the second rings");
    stage.pass(2_100).await;
    assert_eq!(stage.push.woken(), ["asleep"], "of the second");
    assert_eq!(woken(&*stage.stored(&second).await), 1);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_is_its_devices_no_more_is_not_woken_by_a_try_that_comes_late() {
    let stage = Stage::new().await;
    let device = stage.sleeper("ada", "adas").await;
    stage.push.takes(Duration::from_secs(30));
    stage.opens(Binding::Code).await;
    stage.pass(2_100).await;
    assert_eq!(stage.relay.relay.occupancy().waking, 1);
    let (store, tenant) = (&*stage.relay.store, TenantId::default());
    let now = stage.relay.clock.now();
    devices::revoke_listed(store, &tenant, device.id, now, |_| None).await.unwrap();
    stage.pass(1_100).await;
    assert_eq!(stage.relay.relay.occupancy().waking, 0);
    stage.pass(40_000).await;
    assert!(stage.push.woken().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_slow_service_holds_up_neither_other_wakes_nor_the_ceremony() {
    let stage = Stage::new().await;
    let device = stage.sleeper("ada", "adas").await;
    stage.sleeper("bob", "bobs").await;
    stage.push.takes(Duration::from_secs(50));
    let key = stage.opens(Binding::Code).await;
    stage.relay.open_for("bob", Binding::Code, None).await;
    tokio::time::sleep(SETTLES).await;
    stage.pass(2_100).await;
    assert_eq!(stage.relay.relay.occupancy().waking, 2);
    let code = stage.code(&key).await;
    assert_eq!(offers(&stage.gets(&device).await), [key.id]);
    stage.acks(&device, key.id).await;
    assert!(stage.types(&device, Some(key.id), &code).await.is_none());
    let accepted = stage.answers(&device, key.id).await;
    assert!(matches!(accepted, Some(RelayFrame::Accepted { .. })), "{accepted:?}");
    tokio::time::sleep(SETTLES).await;
    assert_eq!(stage.stored(&key).await.closed().unwrap().outcome, Outcome::Succeeded);
    assert_eq!(stage.relay.relay.occupancy().waking, 1, "what is moot is not sent");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(stage.push.woken(), ["bobs"]);
    assert_eq!(stage.relay.relay.occupancy().waking, 0);
    assert_eq!(woken(&*stage.stored(&key).await), 0, "the end came before");
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_devices_are_woken_that_were_not_before() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let stage = Stage::on(Arc::clone(&store), Duration::from_secs(2)).await;
    stage.sleeper("ada", "one").await;
    let key = stage.opens(Binding::Code).await;
    stage.pass(2_100).await;
    assert_eq!(stage.push.woken(), ["one"]);
    stage.sleeper("ada", "two").await;
    stage.relay.relay.dependencies().tasks.stop(Duration::from_secs(1)).await;
    let stage = Stage::on(store, Duration::from_secs(2)).await;
    stage.pass(2_100).await;
    assert_eq!(stage.push.woken(), ["two"]);
    assert_eq!(woken(&*stage.stored(&key).await), 2);
}

#[tokio::test(start_paused = true)]
async fn without_a_code_the_challenge_itself_wakes() {
    let stage = Stage::new().await;
    let device = stage.sleeper("ada", "adas").await;
    let key = stage.opens(Binding::None).await;
    stage.pass(2_100).await;
    assert_eq!(stage.push.woken(), ["adas"]);
    let accepted = stage.answers(&device, key.id).await;
    assert!(matches!(accepted, Some(RelayFrame::Accepted { .. })), "{accepted:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_what_is_new_and_a_newer_one_of_the_device_ends_an_older() {
    let stage = Stage::new().await;
    let device = stage.sleeper("ada", "adas").await;
    let nothing = stage.pulls(&device, &PullRequest::default()).await;
    assert!(nothing.frames.is_empty());
    let wait = Duration::from_secs(25);
    let since = Some(nothing.state.clone());
    let order = PullRequest { since, wait, ..PullRequest::default() };
    let began = tokio::time::Instant::now();
    let same = stage.pulls(&device, &order).await;
    assert_eq!((same.state.as_str(), began.elapsed()), (nothing.state.as_str(), wait));

    let (owner, relay) = (owner(&device), stage.relay.relay.clone());
    let waits = async { relay.delivery.pull(&owner, &order).await.unwrap() };
    let began = tokio::time::Instant::now();
    let (pulled, key) = tokio::join!(waits, stage.opens(Binding::Code));
    assert_eq!(offers(&pulled.frames), [key.id]);
    assert!(began.elapsed() < Duration::from_secs(1));
    tokio::time::sleep(SETTLES).await;
    assert!(stage.stored(&key).await.rang(), "what was listed was sent");

    let order = PullRequest { since: Some(pulled.state), wait, ..PullRequest::default() };
    let older = async { relay.delivery.pull(&owner, &order).await.unwrap() };
    let newer = async {
        tokio::time::sleep(SETTLES).await;
        let began = tokio::time::Instant::now();
        let newer = relay.delivery.pull(&owner, &order);
        tokio::join!(newer, async { stage.relay.relay.ceremonies.cancel(&key).await.unwrap() })
            .0
            .unwrap();
        began
    };
    let shown = PullRequest { shown: vec![key.id], ..PullRequest::default() };
    let (older, _) = tokio::join!(older, newer);
    assert_eq!(offers(&older.frames), [key.id], "it stood when the newer one came");
    let frames = stage.pulls(&device, &shown).await.frames;
    let [RelayFrame::Closed { ceremony_id, outcome: Outcome::Cancelled, .. }] = &*frames else {
        panic!("{frames:?}")
    };
    assert_eq!(*ceremony_id, key.id);
    assert_eq!(stage.relay.relay.occupancy().pulling, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_another_users_is_unknown_by_pull_as_by_socket() {
    let stage = Stage::new().await;
    let (ada, bob) = (stage.sleeper("ada", "adas").await, stage.sleeper("bob", "bobs").await);
    let key = stage.opens(Binding::Code).await;
    let code = stage.code(&key).await;
    assert_eq!(
        refused(stage.types(&bob, Some(key.id), &code).await),
        FrameErrorCode::UnknownCeremony
    );
    let order = PullRequest { shown: vec![key.id], ..PullRequest::default() };
    let frames = stage.pulls(&bob, &order).await.frames;
    let never =
        PullRequest { shown: vec![CeremonyId::from_bytes([9; 16])], ..PullRequest::default() };
    let unknown = stage.pulls(&bob, &never).await.frames;
    for frames in [frames, unknown] {
        let [frame] = <[RelayFrame; 1]>::try_from(frames).unwrap();
        assert_eq!(refused(Some(frame)), FrameErrorCode::UnknownCeremony);
    }
    assert_eq!(offers(&stage.gets(&ada).await), [key.id]);
}

#[tokio::test(start_paused = true)]
async fn a_user_without_a_phone_wakes_nothing() {
    let stage = Stage::new().await;
    stage.sleeper("ada", "adas").await;
    stage.relay.open_for("nemo", Binding::Code, None).await;
    stage.pass(10_000).await;
    assert!(stage.push.woken().is_empty());
}

#[tokio::test(start_paused = true)]
async fn only_who_may_know_presence_sees_that_a_phone_was_woken() {
    let stage = Stage::new().await;
    stage.sleeper("ada", "adas").await;
    let key = stage.opens(Binding::Code).await;
    stage.pass(2_100).await;
    let view = stage.relay.relay.ceremonies.view(&key).await.unwrap().unwrap();
    let numbers = |with_presence| {
        view.steps(with_presence).iter().map(|moment| moment.seq).collect::<Vec<_>>()
    };
    assert_eq!(numbers(true), [10, 12]);
    assert_eq!(numbers(false), [10]);
}
