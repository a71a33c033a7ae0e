//! How often a person is asked, on a real relay with the rules as they come: what the phone sees,
//! and that the initiator cannot tell. The rules' numbers have tests of their own beside them.

use std::sync::Arc;
use std::time::Duration;

use fido_relay::backends::embedded::MemoryStore;
use fido_relay::config::{Config, Prompts};
use fido_relay::node::RelayLimits;
use fido_relay::ports::{Bucket, Store};
use fido_relay_proto::device::{DeclineReason, FrameErrorCode};
use fido_relay_proto::http::{CeremonyView, OpenedCeremony};
use fido_relay_proto::{Outcome, Phase, Reason, RelayFrame};
use serde_json::{Value, json};

use crate::support::accepting_server::{accepting_server, upstream_at};
use crate::support::relay::{Initiator, TestRelay};
use crate::support::scripted_upstream::ScriptedUpstream;
use crate::support::stub_relay::StubRelay;
use crate::support::wire_phone::WirePhone;

/// A bank, and Ada with her phone.
struct Scene {
    relay: TestRelay,
    bank: Initiator,
    ada: WirePhone,
    _upstream: ScriptedUpstream,
}

impl Scene {
    /// With the rules as they come, but for `change`.
    async fn set(change: impl FnOnce(&mut Prompts)) -> Self {
        Self::set_on(Arc::new(MemoryStore::new()), change).await
    }

    async fn set_on(store: Arc<dyn Store>, change: impl FnOnce(&mut Prompts)) -> Self {
        let upstream = accepting_server();
        let at_upstream = upstream_at(&upstream.url());
        let relay = TestRelay::start_on(store, |config| {
            at_upstream(config);
            config.prompts = Config::default().prompts;
            change(&mut config.prompts);
        })
        .await;
        let bank = relay.initiator().await;
        let ada = WirePhone::connect(relay.pair(&bank, "ada").await).await;
        Self { relay, bank, ada, _upstream: upstream }
    }

    async fn opens(&self, prior_auth: &str) -> OpenedCeremony {
        opens(&self.bank, prior_auth).await
    }

    /// Asks for Ada's attention once more and has her phone say so or say nothing.
    async fn cancels(&self, opened: &OpenedCeremony) {
        let gone = self.bank.delete(&format!("/v1/ceremonies/{}", opened.id)).await;
        assert_eq!(gone.status(), 200);
    }

    /// Three prompts that lead to nothing: what is free.
    async fn tire_ada(&mut self) {
        for _ in 0..3 {
            let opened = self.opens("none").await;
            assert_eq!(self.ada.offer().await.ceremony_id, opened.id);
            self.ada.hears_nothing().await;
            self.cancels(&opened).await;
            assert_eq!(self.ada.closed().await.0, opened.id);
        }
    }
}

async fn opens(initiator: &Initiator, prior_auth: &str) -> OpenedCeremony {
    let order = json!({ "type": "authentication", "username": "ada", "prior_auth": prior_auth });
    initiator.open(&order).await
}

fn code(opened: &OpenedCeremony) -> String {
    opened.code.clone().unwrap()
}

/// Six digits that are none of these.
fn wrong(of: &[&OpenedCeremony]) -> String {
    let right: Vec<_> = of.iter().map(|opened| code(opened)).collect();
    (0..).map(|n| format!("{n:06}")).find(|guess| !right.contains(guess)).unwrap()
}

#[tokio::test]
async fn a_fourth_prompt_is_shown_to_nobody_and_its_opener_cannot_tell() {
    let mut scene = Scene::set(|_| {}).await;
    let shown = scene.opens("none").await;
    let view: Value = serde_json::to_value(scene.bank.read(shown.id).await).unwrap();
    scene.ada.offer().await;
    scene.ada.hears_nothing().await;
    scene.cancels(&shown).await;
    scene.ada.closed().await;
    for _ in 0..2 {
        let opened = scene.opens("none").await;
        scene.ada.offer().await;
        scene.ada.hears_nothing().await;
        scene.cancels(&opened).await;
        scene.ada.closed().await;
    }
    let silent = scene.opens("none").await;
    scene.ada.hears_nothing().await;

    let shape = |opened: &OpenedCeremony| {
        let value = serde_json::to_value(opened).unwrap();
        let Value::Object(fields) = value else { panic!("an object") };
        fields.into_iter().map(|(name, value)| (name, value.to_string().len())).collect::<Vec<_>>()
    };
    assert_eq!(shape(&silent), shape(&shown), "the same fields, as long as ever");
    let seen: CeremonyView = scene.bank.read(silent.id).await;
    assert_eq!(seen.phase, Phase::Offered);
    let first = serde_json::to_value(&seen).unwrap();
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&first), names(&view));
    // It can be cancelled like any other, and the phone hears nothing of that either.
    scene.cancels(&silent).await;
    scene.ada.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_ceremony_expires_like_one_whose_phone_is_away() {
    for binding in ["code", "none"] {
        let mut bounds = RelayLimits::default();
        bounds.prompts.live = 1;
        let relay = StubRelay::start_within(bounds).await;
        let mut ends = Vec::new();
        for nth in 1..=4 {
            let mut order = json!({
                "type": "authentication", "username": "ada", "timeout_s": 30, "binding": binding,
            });
            if nth == 3 {
                // While this one waits for its turn, others do not ring.
                order["timeout_s"] = json!(600);
                relay.open(&order).await;
                order["timeout_s"] = json!(30);
            }
            let (id, ..) = relay.open(&order).await;
            tokio::time::sleep(Duration::from_secs(31)).await;
            let mut view = relay.read(&id).await;
            assert_eq!(view["reason"], "deadline", "the {nth}. is over: {view}");
            view["id"].take();
            for step in view["progress"].as_array_mut().unwrap() {
                step["at"].take();
            }
            ends.push(view);
        }
        let silent = relay.store.list(Bucket::Ceremonies, "").await.unwrap();
        let silent = silent.iter().filter(|(_, stored)| {
            serde_json::from_slice::<Value>(&stored.value).unwrap()["silent"] == true
        });
        assert_eq!(silent.count(), 2, "those beside the one that waits");
        assert!(ends.windows(2).all(|pair| pair[0] == pair[1]), "{ends:?}");
    }
}

#[tokio::test]
async fn the_phone_rings_for_one_at_a_time_and_for_the_next_when_that_one_is_over() {
    let mut scene = Scene::set(|_| {}).await;
    let first = scene.opens("none").await;
    assert_eq!(scene.ada.offer().await.ceremony_id, first.id);
    let second = scene.opens("none").await;
    let third = scene.opens("none").await;
    scene.ada.hears_nothing().await;
    scene.cancels(&first).await;
    // In either order: that it is over and that the next one rings are two pieces of news.
    let (mut over, mut rings) = (false, false);
    for _ in 0..2 {
        match scene.ada.next().await {
            RelayFrame::Closed { ceremony_id, .. } => over = ceremony_id == first.id,
            RelayFrame::Offer(offer) => rings = offer.ceremony_id == second.id,
            other => panic!("{other:?}"),
        }
    }
    assert!(over && rings);
    // Taken up, it rings no more, and the next one does.
    scene.ada.claim(second.id, &code(&second)).await;
    let (mut challenged, mut offered) = (false, false);
    for _ in 0..2 {
        match scene.ada.next().await {
            RelayFrame::Challenge(challenge) => {
                challenged = challenge.offer.ceremony_id == second.id;
            }
            RelayFrame::Offer(offer) => offered = offer.ceremony_id == third.id,
            other => panic!("{other:?}"),
        }
    }
    assert!(challenged && offered);
    // And a phone that reconnects is shown the same.
    scene.ada = scene.ada.again().await;
    let mut again = Vec::new();
    for _ in 0..2 {
        match scene.ada.next().await {
            RelayFrame::Challenge(challenge) => {
                again.push(challenge.offer.ceremony_id);
            }
            RelayFrame::Offer(offer) => again.push(offer.ceremony_id),
            other => panic!("{other:?}"),
        }
    }
    again.sort_unstable();
    let mut open = vec![second.id, third.id];
    open.sort_unstable();
    assert_eq!(again, open);
}

#[tokio::test]
async fn what_waits_for_another_phone_keeps_nothing_from_this_one() {
    let mut scene = Scene::set(|_| {}).await;
    let tablet = scene.relay.pair(&scene.bank, "ada").await;
    let order = json!({
        "type": "authentication", "username": "ada", "device_id": tablet.device_id.to_string(),
    });
    let elsewhere = scene.bank.open(&order).await;
    let here = scene.opens("none").await;
    assert_eq!(scene.ada.offer().await.ceremony_id, here.id);
    let mut tablet = WirePhone::connect(tablet).await;
    assert_eq!(tablet.offer().await.ceremony_id, elsewhere.id);
    tablet.hears_nothing().await;
}

#[tokio::test]
async fn the_code_says_which_one_is_meant_whichever_rang_first() {
    let mut scene = Scene::set(|_| {}).await;
    let attackers = scene.opens("none").await;
    assert_eq!(scene.ada.offer().await.ceremony_id, attackers.id);
    let own = scene.opens("none").await;
    // Ada looks at her own page and types its code into the prompt that she has: her phone shows her
    // own, and she confirms.
    scene.ada.claim(attackers.id, &code(&own)).await;
    let preview = scene.ada.offer().await;
    assert_eq!(preview.ceremony_id, own.id);
    assert!(preview.preview.is_some_and(|preview| preview.by_code && !preview.rang));
    scene.ada.claim(own.id, &code(&own)).await;
    assert_eq!(scene.ada.challenge().await.offer.ceremony_id, own.id);
    let view = scene.bank.read(attackers.id).await;
    assert_eq!(view.phase, Phase::Offered, "nothing has happened to the attacker's");
}

#[tokio::test]
async fn strangers_and_one_that_vouches_ring_beside_each_other_and_none_is_displaced() {
    let mut scene = Scene::set(|_| {}).await;
    let stranger = scene.opens("none").await;
    assert_eq!(scene.ada.offer().await.ceremony_id, stranger.id);
    let own = scene.opens("password").await;
    assert_eq!(scene.ada.offer().await.ceremony_id, own.id);
    scene.ada.claim(stranger.id, &code(&stranger)).await;
    assert_eq!(scene.ada.challenge().await.offer.ceremony_id, stranger.id);
}

#[tokio::test]
async fn not_me_mutes_the_phone_also_after_a_restart() {
    let upstream = accepting_server();
    let at_upstream = upstream_at(&upstream.url());
    let relay = TestRelay::start_with(|config| {
        at_upstream(config);
        config.prompts = Config::default().prompts;
    })
    .await;
    let bank = relay.initiator().await;
    let mut ada = WirePhone::connect(relay.pair(&bank, "ada").await).await;
    let opened = opens(&bank, "none").await;
    ada.offer().await;
    ada.decline(opened.id, DeclineReason::NotMe).await;
    assert_eq!(ada.closed().await, (opened.id, Outcome::Denied, Some(Reason::NotMe)));
    // The user's prompt state is written after the phone's answer.
    bank.outcome(opened.id).await;

    let relay = relay.restart().await;
    let paired = ada.paired.clone();
    let mut ada = WirePhone::connect(paired).await;
    opens(&bank, "none").await;
    let other_bank = relay.initiator().await;
    opens(&other_bank, "none").await;
    ada.hears_nothing().await;
    let vouched = opens(&bank, "session").await;
    assert_eq!(ada.offer().await.ceremony_id, vouched.id, "a stranger cannot lock her out");
}

#[tokio::test]
async fn a_plain_no_keeps_that_initiator_quiet_and_no_other() {
    let mut scene = Scene::set(|_| {}).await;
    let opened = scene.opens("none").await;
    scene.ada.offer().await;
    scene.ada.decline(opened.id, DeclineReason::Declined).await;
    scene.ada.closed().await;
    scene.bank.outcome(opened.id).await;
    scene.opens("none").await;
    scene.ada.hears_nothing().await;
    let other = scene.relay.initiator().await;
    let opened = opens(&other, "none").await;
    assert_eq!(scene.ada.offer().await.ceremony_id, opened.id);
}

#[tokio::test]
async fn after_ten_wrong_codes_of_a_phone_not_even_the_right_one_is_looked_at_on_it() {
    let mut scene = Scene::set(|prompts| {
        prompts.free = 100;
        prompts.per_hour = 100;
    })
    .await;
    let mut wrong_codes = 0;
    while wrong_codes < 9 {
        let opened = scene.opens("none").await;
        scene.ada.offer().await;
        for left in (0..3).rev() {
            scene.ada.claim(opened.id, &wrong(&[&opened])).await;
            wrong_codes += 1;
            let told = if left == 0 {
                // It closes as well; the order of the two is not promised.
                let mut told = None;
                for _ in 0..2 {
                    match scene.ada.next().await {
                        RelayFrame::Error { code, .. } => told = Some(code),
                        RelayFrame::Closed { reason, .. } => {
                            assert_eq!(reason, Some(Reason::WrongCode));
                        }
                        other => panic!("{other:?}"),
                    }
                }
                told.unwrap()
            } else {
                scene.ada.refused().await.0
            };
            assert_eq!(told, FrameErrorCode::WrongCode);
        }
    }
    let last = scene.opens("none").await;
    scene.ada.offer().await;
    scene.ada.claim(last.id, &wrong(&[&last])).await;
    assert_eq!(scene.ada.refused().await.0, FrameErrorCode::WrongCode, "the tenth");
    scene.ada.claim(last.id, &code(&last)).await;
    assert_eq!(scene.ada.refused().await.0, FrameErrorCode::TooManyCodes);
    assert_eq!(scene.bank.read(last.id).await.phase, Phase::Offered);
    scene.ada.claim_as(None, &code(&last), None).await;
    assert_eq!(scene.ada.refused().await.0, FrameErrorCode::TooManyCodes, "without its id too");
    // Her other phone has tries of its own.
    let mut tablet = WirePhone::connect(scene.relay.pair(&scene.bank, "ada").await).await;
    assert_eq!(tablet.offer().await.ceremony_id, last.id);
    tablet.claim(last.id, &code(&last)).await;
    assert_eq!(tablet.challenge().await.offer.ceremony_id, last.id);
}

#[tokio::test]
async fn an_alarm_that_was_stored_but_not_counted_counts_when_the_relay_starts() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut scene = Scene::set_on(Arc::clone(&store), |_| {}).await;
    scene.tire_ada().await;
    let opened = scene.opens("password").await;
    scene.ada.offer().await;
    scene.ada.decline(opened.id, DeclineReason::NotMe).await;
    scene.ada.closed().await;
    scene.bank.outcome(opened.id).await;
    // As if the process had died between the two writes.
    let standings = Bucket::Standings;
    for (key, stored) in store.list(standings, "").await.unwrap() {
        store.remove(standings, &key, stored.revision).await.unwrap();
    }
    let Scene { relay, bank, ada, .. } = scene;
    let config = relay.running.config().clone();
    assert!(relay.running.stop().await);
    let listener = fido_relay::serve::bind(&config).unwrap();
    let clock = Arc::new(fido_relay::backends::embedded::SystemClock);
    let ground = fido_relay::serve::ServerDependencies::new(store, clock);
    let running = fido_relay::serve::start_on(ground, config, listener).await.unwrap();
    running.relay().ceremonies.recovered().await;
    let mut ada = WirePhone::connect(ada.paired.clone()).await;
    opens(&bank, "password").await;
    ada.hears_nothing().await;
    assert!(running.stop().await);
}
