//! Who learns that a phone was reached, and so that the user exists and is online: with binding
//! `code` only those who may read presence. All others get the same at the same time on every road
//! and by webhook, for every kind of user.

use std::time::Duration;

use fido_relay::app::ceremonies::CeremonyKey;
use fido_relay::app::clients::NewClient;
use fido_relay::config::Config;
use fido_relay::core::ceremony::Event;
use fido_relay::node::RelayLimits;
use fido_relay::ports::{Bucket, Store as _};
use fido_relay_proto::device::{AckOf, DeclineReason};
use fido_relay_proto::http::{OpenedCeremony, Scope};
use fido_relay_proto::{AttemptId, Binding, Outcome, PlainText, Step, TenantId};
use futures::StreamExt as _;
use futures::future::{join, join_all};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_tungstenite::tungstenite::Message;

use super::LONG;
use super::roads::{Road, Watching};
use super::stage::{DEVICE, Plot, Stage};
use crate::canary::suite;
use crate::support::actions::{app_of, make_client};
use crate::support::relay::Initiator;
use crate::support::stub_relay::StubRelay;
use crate::support::wire_phone::WirePhone;
use crate::webhooks::receiver::Receiver;
use crate::webhooks::register;

/// All scopes but the one to read presence.
fn blind() -> Vec<Scope> {
    Scope::ALL.into_iter().filter(|scope| *scope != Scope::PresenceRead).collect()
}

/// What happens to a user before and while its ceremony is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum User {
    Unknown,
    /// The person said "not me" to the one before.
    Muted,
    /// Asked too often.
    Suppressed,
    /// The prompt is on the phone at once.
    Connected,
    /// The phone comes just before one sign of life, its acknowledgement just before the next.
    ComesBack,
    /// The prompt is on the phone, and then the code is typed.
    Claims,
}

const CLAIMED_AFTER: Duration = Duration::from_secs(40);

/// A relay with the rules as they come, and an initiator that may not read presence.
struct Paper {
    relay: StubRelay,
    key: String,
}

impl Paper {
    async fn start() -> Self {
        let relay = StubRelay::start_within(RelayLimits::default()).await;
        let new = NewClient {
            tenant: TenantId::default(),
            name: PlainText::new("Example Bank").unwrap(),
            scopes: blind(),
            bindings: vec![Binding::Code, Binding::None],
        };
        let (_, key) = make_client(&app_of(relay.relay.dependencies()), new).await;
        suite::made(&key);
        Self { relay, key }
    }

    async fn open(&self, order: &Value) -> OpenedCeremony {
        let came = self.relay.call("POST", "/v1/ceremonies", &self.key, order).await;
        assert_eq!(came.status, 201, "{came:?}");
        let opened: OpenedCeremony = serde_json::from_value(came.body).unwrap();
        suite::made(&opened.ticket);
        opened
    }

    async fn drive(&self, opened: &OpenedCeremony, event: Event) {
        self.relay.relay.ceremonies.advance(&key(opened), event).await.unwrap();
    }

    /// What happened before.
    async fn prepare(&self, user: User, order: &Value) {
        match user {
            User::Unknown | User::Connected | User::ComesBack | User::Claims => {}
            User::Muted => {
                let opened = self.open(order).await;
                let reason = DeclineReason::NotMe;
                self.drive(&opened, Event::Decline { device: DEVICE, reason }).await;
            }
            User::Suppressed => {
                for _ in 0..3 {
                    let opened = self.open(order).await;
                    self.drive(&opened, Event::Sent { device: DEVICE }).await;
                    self.drive(&opened, Event::Cancel).await;
                }
            }
        }
    }

    /// What happens at the phone while the ceremony is watched.
    async fn play(&self, user: User, opened: &OpenedCeremony, began: Instant) {
        let at = async |millis| sleep_until(began + Duration::from_millis(millis)).await;
        let reached = async |sent, delivered| {
            at(sent).await;
            self.drive(opened, Event::Sent { device: DEVICE }).await;
            at(delivered).await;
            self.drive(opened, Event::Acked { device: DEVICE, of: AckOf::Offer }).await;
        };
        match user {
            User::Unknown | User::Muted | User::Suppressed => {}
            User::Connected => reached(7, 300).await,
            User::ComesBack => reached(14_500, 29_900).await,
            User::Claims => {
                reached(7, 300).await;
                sleep_until(began + CLAIMED_AFTER).await;
                let (attempt, code) = (AttemptId::from_bytes([7; 16]), opened.code.clone());
                self.drive(
                    opened,
                    Event::Claim {
                        device: DEVICE,
                        attempt,
                        code: code.unwrap(),
                        same_network: None,
                    },
                )
                .await;
            }
        }
    }

    /// Everything that comes on this road, each with the time since the opening.
    async fn watch(&self, road: Road, id: &str, bearer: &str, began: Instant) -> Vec<Heard> {
        let mut heard = Vec::new();
        let mut hear = |text: String| heard.push((began.elapsed(), text.replace(id, "ID")));
        match road {
            Road::Poll => {
                let mut since = Value::from(0);
                loop {
                    let path = format!("/v1/ceremonies/{id}?wait=55&since={since}");
                    let came = self.relay.call("GET", &path, bearer, &Value::Null).await;
                    hear(format!("{} {:?} {}", came.status, came.headers, came.body));
                    since = came.body["seq"].clone();
                    if came.body["phase"] == "closed" {
                        break;
                    }
                }
            }
            Road::Events => {
                let path = format!("/v1/ceremonies/{id}/events");
                let response = self.relay.open_stream(&path, Some(bearer)).await;
                hear(format!("{} {:?}", response.status(), response.headers()));
                let mut body = response.into_body().into_data_stream();
                while let Some(chunk) = body.next().await {
                    let text = String::from_utf8(chunk.unwrap().to_vec()).unwrap();
                    // Which is random.
                    hear(if text.starts_with("retry: ") { "retry".to_owned() } else { text });
                }
            }
            Road::Socket => {
                let mut socket = self.relay.watch_socket(id, bearer, 0).await;
                while let Some(message) = socket.next().await {
                    hear(match message.unwrap() {
                        Message::Text(text) => text.to_string(),
                        other => format!("{other:?}"),
                    });
                }
            }
        }
        heard
    }
}

type Heard = (Duration, String);

fn key(opened: &OpenedCeremony) -> CeremonyKey {
    CeremonyKey { tenant: TenantId::default(), id: opened.id }
}

/// All that an initiator without the scope and a page hear of this user's ceremony by every road,
/// until it expires.
async fn heard_of(user: User) -> Vec<Vec<Heard>> {
    let start = Instant::now();
    let paper = Paper::start().await;
    // Neither the answer's time nor a timer may fall on a multiple of the signs of life.
    let order = json!({ "type": "authentication", "username": "ada", "timeout_s": 100 });
    paper.prepare(user, &order).await;
    sleep_until(start + Duration::from_secs(10)).await;
    let began = Instant::now();
    let opened = paper.open(&order).await;
    let stored = paper.relay.store.load(Bucket::Ceremonies, &key(&opened).to_string()).await;
    let stored: Value = serde_json::from_slice(&stored.unwrap().unwrap().value).unwrap();
    let silent = [User::Muted, User::Suppressed].contains(&user);
    assert_eq!(stored["silent"] == true, silent, "{user:?}");
    let id = opened.id.to_string();
    let bearers = [&paper.key, &opened.ticket];
    let everybody = bearers.iter().flat_map(|bearer| Road::ALL.map(|road| (*bearer, road)));
    let watching = everybody.map(|(bearer, road)| paper.watch(road, &id, bearer, began));
    let (heard, ()) = join(join_all(watching), paper.play(user, &opened, began)).await;
    let ceremony = paper.relay.relay.ceremonies.load(&key(&opened)).await.unwrap().unwrap();
    let reached = ceremony.progress().filter(|entry| entry.step.tells_presence()).count();
    let expected = match user {
        User::Unknown | User::Muted | User::Suppressed => 0,
        User::Connected | User::ComesBack | User::Claims => 2,
    };
    assert_eq!(reached, expected, "{user:?}");
    heard
}

#[tokio::test(start_paused = true)]
async fn an_unknown_user_and_a_reached_phone_look_the_same_until_the_claim_or_the_end() {
    let unknown = heard_of(User::Unknown).await;
    for heard in &unknown {
        assert!(heard.len() >= 3, "an opening, a sign of life, the end: {heard:#?}");
        assert_eq!(heard.last().unwrap().0, Duration::from_secs(100), "{heard:#?}");
    }
    for user in [User::Muted, User::Suppressed, User::Connected, User::ComesBack] {
        for (heard, of_unknown) in heard_of(user).await.iter().zip(&unknown) {
            assert_eq!(heard, of_unknown, "{user:?}");
        }
    }
    for (heard, of_unknown) in heard_of(User::Claims).await.iter().zip(&unknown) {
        let before = |(at, _): &&Heard| *at < CLAIMED_AFTER;
        let [heard_before, unknown_before]: [Vec<_>; 2] =
            [heard, of_unknown].map(|all| all.iter().take_while(before).collect());
        assert_eq!(heard_before, unknown_before);
        let (at, claimed) = &heard[heard_before.len()];
        assert_eq!(*at, CLAIMED_AFTER, "{heard:#?}");
        assert!(claimed.contains("\"claimed\""), "{claimed}");
        assert!(heard.iter().all(|(_, text)| !tells_presence(text)), "nor later: {heard:#?}");
    }
}

fn tells_presence(text: &str) -> bool {
    let hidden = Step::ALL.into_iter().filter(|step| step.tells_presence());
    hidden.map(|step| format!("{step:?}").to_lowercase()).any(|step| text.contains(&step))
}

#[tokio::test(start_paused = true)]
async fn a_hidden_step_wakes_no_long_poll_and_one_with_presence_read_at_once() {
    let order = json!({ "type": "authentication", "username": "ada" });
    let mut paper = Paper::start().await;
    for (may_read, is_page) in [(false, false), (false, true), (true, true), (true, false)] {
        if may_read {
            paper.key = paper.relay.key.clone();
        }
        let sees = may_read && !is_page;
        for query in ["", "&since=10"] {
            let opened = paper.open(&order).await;
            let bearer = if is_page { &opened.ticket } else { &paper.key };
            let path = format!("/v1/ceremonies/{}?wait=5{query}", opened.id);
            let began = Instant::now();
            let step = async {
                sleep(Duration::from_secs(1)).await;
                paper.drive(&opened, Event::Sent { device: DEVICE }).await;
            };
            let poll = paper.relay.call("GET", &path, bearer, &Value::Null);
            let (came, ()) = join(poll, step).await;
            let steps = came.body["progress"].as_array().unwrap().len();
            let told = (began.elapsed().as_secs(), came.body["seq"].as_u64(), steps);
            let expected = if sees { (1, Some(11), 2) } else { (5, Some(10), 1) };
            assert_eq!(told, expected, "may read: {may_read}, page: {is_page}, {query}");
        }
    }
}

#[tokio::test]
async fn webhooks_bodies_and_a_restart_tell_nothing_of_a_phone_that_has_the_prompt() {
    let receiver = Receiver::start().await;
    let mut stage = Stage::set_with(|config| {
        receiver.allow(config);
        config.prompts = Config::default().prompts;
    })
    .await;
    stage.initiator = stage.relay.initiator_with(blind(), vec![Binding::Code]).await;
    let bank = &stage.initiator;
    // Known to the relay, but its one phone was revoked.
    let revoked = stage.relay.pair(bank, "no-phone").await;
    bank.delete(&format!("/v1/devices/{}", revoked.device_id)).await;
    stage.relay.pair(bank, "away").await;
    let connected =
        async |username| WirePhone::connect(stage.relay.pair(bank, username).await).await;
    let mut muted = connected("muted").await;
    let asked = stage.open_for("muted", Binding::Code, LONG, Some(false)).await;
    muted.offer().await;
    muted.decline(asked.id, DeclineReason::NotMe).await;
    assert_eq!(muted.closed().await.1, Outcome::Denied);
    let mut suppressed = connected("suppressed").await;
    for _ in 0..3 {
        let asked = stage.open_for("suppressed", Binding::Code, LONG, Some(false)).await;
        suppressed.offer().await;
        stage.play(&asked, Plot::Cancelled).await;
        assert_eq!(suppressed.closed().await.1, Outcome::Cancelled);
    }
    let mut here = connected("connected").await;
    register(bank, &json!({ "url": receiver.url() })).await;

    let users = ["unknown", "no-phone", "away", "muted", "suppressed", "connected"];
    let expiring =
        join_all(users.map(|user| stage.open_for(user, Binding::Code, 1_500, Some(false))));
    let expiring = expiring.await;
    let mut watching = Vec::new();
    for opened in &expiring {
        for bearer in [&bank.key, &opened.ticket] {
            for road in Road::ALL {
                watching.push(Watching::after(0, road, bank, opened.id, bearer).await);
            }
        }
    }
    let acknowledges = async {
        let offer = here.offer().await;
        here.ack(offer.ceremony_id, AckOf::Offer).await;
        assert_eq!(here.closed().await.1, Outcome::Expired);
    };
    let (all, ()) = join(join_all(watching.iter_mut().map(Watching::rest)), acknowledges).await;
    let told = |events: &Vec<_>| -> Vec<Value> {
        let events = events.iter().map(|event| serde_json::to_value(event).unwrap());
        events.map(|event| without(event, &["at"])).collect()
    };
    let told: Vec<Vec<_>> =
        all.chunks(6).map(|of_user| of_user.iter().map(told).collect()).collect();
    for (user, of_user) in users.iter().zip(&told) {
        assert_eq!(of_user, &told[0], "{user}");
        assert!(of_user.iter().all(|events| events.len() == 2), "{of_user:?}");
    }
    let reached = stage.progress(expiring[5].id).await;
    assert_eq!(reached, [Step::Opened, Step::Sent, Step::Delivered, Step::Closed]);
    let webhooks = receiver.until(users.len()).await;
    let bodies = webhooks.iter().map(|received| {
        without(received.json(), &["timestamp"])["data"].as_object().unwrap().clone()
    });
    let mut bodies: Vec<_> = bodies.collect();
    for body in &mut bodies {
        let id = body.remove("id").unwrap();
        assert!(expiring.iter().any(|opened| json!(opened.id) == id), "{id}");
        assert_eq!(
            body,
            &json!({ "type": "authentication", "outcome": "expired",
            "reason": "deadline", "seq": 60 })
            .as_object()
            .unwrap()
            .clone()
        );
    }

    let held = join_all(users.map(|user| stage.open_for(user, Binding::Code, LONG, Some(false))));
    let held = held.await;
    let offer = here.offer().await;
    here.ack(offer.ceremony_id, AckOf::Offer).await;
    while stage.progress(held[5].id).await.len() < 3 {
        tokio::task::yield_now().await;
    }
    let answers = held.iter().map(async |opened| {
        let url = format!("{}/v1/ceremonies/{}?wait=55&since=10", bank.url, opened.id);
        let response = bank.http.get(url).bearer_auth(&opened.ticket).send().await.unwrap();
        let mut headers = response.headers().clone();
        headers.remove("date");
        assert_eq!(headers["retry-after"], "1");
        let body = without(response.json().await.unwrap(), &["id", "progress", "expires_in"]);
        format!("{headers:?} {body}")
    });
    let stop = async {
        while stage.relay.running.relay().occupancy().watched < users.len() {
            tokio::task::yield_now().await;
        }
        stage.relay.running.tasks().stopping().cancel();
    };
    let (answers, ()) = join(join_all(answers), stop).await;
    for (user, answer) in users.iter().zip(&answers) {
        assert_eq!(answer, &answers[0], "{user}");
    }
}

/// An answer without what is each ceremony's own.
fn without(mut answer: Value, fields: &[&str]) -> Value {
    for field in fields {
        answer.as_object_mut().unwrap().remove(*field);
    }
    answer
}

#[tokio::test]
async fn show_delivery_needs_presence_read_and_prior_auth_and_shows_the_page_every_step() {
    let stage = Stage::set().await;
    let bank = &stage.initiator;
    let without = stage.relay.initiator_with(blind(), vec![Binding::Code, Binding::None]).await;
    let order = |prior_auth: &str, binding: &str| {
        json!({
            "type": "authentication", "username": "ada", "binding": binding,
            "prior_auth": prior_auth, "show_delivery": true,
        })
    };
    let refused = async |by: &Initiator, order: &Value| {
        let response = by.post("/v1/ceremonies", order).await;
        assert_eq!(response.status(), 403, "{order}");
        let problem: Value = response.json().await.unwrap();
        [&problem["code"], &problem["detail"]].map(|text| text.as_str().unwrap().to_owned())
    };
    for binding in ["code", "none"] {
        for prior_auth in ["none", "password", "session"] {
            let order = order(prior_auth, binding);
            let says = ["scope_missing", "/show_delivery: needs the scope presence:read"];
            assert_eq!(refused(&without, &order).await, says);
        }
        let says = ["prior_auth_required", "/show_delivery: needs a prior_auth other than none"];
        assert_eq!(refused(bank, &order("none", binding)).await, says);
    }
    for (order, shown) in [
        (order("password", "code"), true),
        (order("session", "code"), true),
        (json!({ "type": "authentication", "username": "ada", "prior_auth": "session" }), false),
    ] {
        let opened = bank.open(&order).await;
        stage.drive(opened.id, Event::Sent { device: DEVICE }).await;
        stage.drive(opened.id, Event::Acked { device: DEVICE, of: AckOf::Offer }).await;
        stage.drive(opened.id, Event::Cancel).await;
        let expected: &[u32] = if shown { &[10, 11, 13, 60] } else { &[10, 60] };
        for road in Road::ALL {
            let mut page = Watching::after(0, road, bank, opened.id, &opened.ticket).await;
            assert_eq!(numbers(&mut page).await, expected, "{order} on {road:?}");
            let mut backend = Watching::after(0, road, bank, opened.id, &bank.key).await;
            assert_eq!(numbers(&mut backend).await, [10, 11, 13, 60], "{order} on {road:?}");
        }
    }
}

async fn numbers(watching: &mut Watching) -> Vec<u32> {
    watching.rest().await.iter().map(|event| event.seq).collect()
}

#[tokio::test]
async fn who_saw_hidden_steps_before_the_upgrade_misses_nothing_and_sees_nothing_twice() {
    let stage = Stage::set().await;
    for road in Road::ALL {
        for since in [11, 13] {
            // The app has it before the code is typed, or only the challenge after it.
            for early in [true, false] {
                let opened = stage.open_for("ada", Binding::Code, LONG, None).await;
                let reached = async {
                    stage.drive(opened.id, Event::Sent { device: DEVICE }).await;
                    stage.drive(opened.id, Event::Acked { device: DEVICE, of: AckOf::Offer }).await;
                };
                if early {
                    reached.await;
                } else {
                    stage.claim(&opened, true).await;
                    stage.challenged(opened.id).await;
                    stage.drive(opened.id, Event::Sent { device: DEVICE }).await;
                    let of = AckOf::Challenge;
                    stage.drive(opened.id, Event::Acked { device: DEVICE, of }).await;
                }
                let (by, ticket) = (&stage.initiator, &opened.ticket);
                let mut page = Watching::after(since, road, by, opened.id, ticket).await;
                let play = async {
                    if early {
                        stage.claim(&opened, true).await;
                    }
                    stage.answer(opened.id, Plot::Succeeds).await;
                };
                let (seen, ()) = join(numbers(&mut page), play).await;
                let expected: &[u32] = if early { &[20, 30, 50, 60] } else { &[50, 60] };
                assert_eq!(seen, expected, "{road:?} after {since}, early: {early}");
            }
        }
    }
}
