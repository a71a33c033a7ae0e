//! What an initiator sees of its own prompts for a user and what it may lift, on a real relay with
//! the rules as they come.

use fido_relay::config::Config;
use fido_relay_proto::Binding;
use fido_relay_proto::device::{DeclineReason, NoticeEvent};
use fido_relay_proto::http::{OpenedCeremony, Scope};
use serde_json::{Value, json};

use crate::support::accepting_server::{accepting_server, upstream_at};
use crate::support::actions::events;
use crate::support::relay::{Initiator, TestRelay};
use crate::support::scripted_upstream::ScriptedUpstream;
use crate::support::wire_phone::WirePhone;

/// A bank whose support desk may unlock and sees no presence, a shop that may see it, and Ada with
/// her phone.
struct Scene {
    relay: TestRelay,
    bank: Initiator,
    shop: Initiator,
    ada: WirePhone,
    _upstream: ScriptedUpstream,
}

impl Scene {
    async fn set() -> Self {
        let upstream = accepting_server();
        let at_upstream = upstream_at(&upstream.url());
        let relay = TestRelay::start_with(|config| {
            at_upstream(config);
            config.prompts = Config::default().prompts;
        })
        .await;
        let bank = relay.initiator_with(blind(), vec![Binding::Code]).await;
        let shop = relay.initiator().await;
        let ada = WirePhone::connect(relay.pair(&shop, "ada").await).await;
        Self { relay, bank, shop, ada, _upstream: upstream }
    }

    /// Three prompts of the shop's that lead to nothing.
    async fn tire_ada(&mut self) {
        for _ in 0..3 {
            let opened = opens(&self.shop, "ada", "none").await;
            self.ada.offer().await;
            cancels(&self.shop, &opened).await;
            self.ada.closed().await;
        }
    }
}

fn blind() -> Vec<Scope> {
    let all = Scope::ALL.into_iter();
    all.filter(|scope| *scope != Scope::PresenceRead).collect()
}

async fn opens(initiator: &Initiator, username: &str, prior_auth: &str) -> OpenedCeremony {
    let order = json!({ "type": "authentication", "username": username, "prior_auth": prior_auth });
    initiator.open(&order).await
}

async fn cancels(initiator: &Initiator, opened: &OpenedCeremony) {
    let gone = initiator.delete(&format!("/v1/ceremonies/{}", opened.id)).await;
    assert_eq!(gone.status(), 200);
}

/// With the seconds left rounded up to whole minutes: calls take a moment.
async fn prompts(initiator: &Initiator, username: &str) -> Value {
    let response = initiator.get(&format!("/v1/users/{username}/prompts")).await;
    assert_eq!(response.status(), 200);
    let mut body: Value = response.json().await.unwrap();
    for lane in ["stranger", "vouched"] {
        let seconds = body.get_mut(lane).and_then(|lane| lane.get_mut("rings_in_s"));
        if let Some(seconds) = seconds {
            *seconds = json!(seconds.as_u64().unwrap().div_ceil(60) * 60);
        }
    }
    body
}

async fn unlocks(initiator: &Initiator, username: &str) -> u16 {
    initiator.delete(&format!("/v1/users/{username}/prompts")).await.status().as_u16()
}

#[tokio::test]
async fn an_initiator_without_presence_is_told_the_same_of_a_user_and_of_nobody() {
    let mut scene = Scene::set().await;
    let free = json!({
        "stranger": { "rings": true }, "vouched": { "rings": true }, "unlocks_left": 3,
    });
    for name in ["ada", "nobody", "never-asked"] {
        assert_eq!(prompts(&scene.bank, name).await, free, "{name}");
    }
    // Others ask for Ada, and she says no: nothing of it shows.
    scene.tire_ada().await;
    assert_eq!(prompts(&scene.bank, "ada").await, free);
    assert_eq!(prompts(&scene.shop, "ada").await["stranger"]["why"], "wait");
    // Asked for alike, the two look alike, though Ada's phone rings and the other's cannot.
    let mut seen = Vec::new();
    for prior_auth in ["none", "none", "none", "none", "password", "none"] {
        let mut both = Vec::new();
        for name in ["ada", "nobody"] {
            let opened = opens(&scene.bank, name, prior_auth).await;
            cancels(&scene.bank, &opened).await;
            both.push(prompts(&scene.bank, name).await);
        }
        assert_eq!(both[0], both[1], "{prior_auth}");
        seen.push(both[0]["stranger"].clone());
    }
    let waits = json!({ "rings": false, "why": "wait", "rings_in_s": 60 });
    assert_eq!(seen[1], json!({ "rings": true }));
    assert_eq!([&seen[2], &seen[5]], [&waits; 2]);
    for name in ["ada", "nobody"] {
        assert_eq!(unlocks(&scene.bank, name).await, 204);
    }
    let lifted = prompts(&scene.bank, "ada").await;
    assert_eq!(lifted["stranger"], json!({ "rings": true }));
    assert_eq!(
        (&lifted["unlocks_left"], &lifted),
        (&json!(2), &prompts(&scene.bank, "nobody").await)
    );
}

#[tokio::test]
async fn an_initiator_lifts_its_own_pauses_alone_and_the_phone_and_the_log_hear_of_it() {
    let mut scene = Scene::set().await;
    scene.tire_ada().await;
    assert_eq!(unlocks(&scene.shop, "ada").await, 204);
    let notice = scene.ada.notice().await;
    assert_eq!((notice.event, notice.device_id), (NoticeEvent::PromptsUnlocked, None));
    assert_eq!(prompts(&scene.shop, "ada").await["stranger"], json!({ "rings": true }));

    opens(&scene.bank, "ada", "none").await;
    scene.ada.hears_nothing().await;
    let rings = opens(&scene.shop, "ada", "none").await;
    assert_eq!(scene.ada.offer().await.ceremony_id, rings.id);

    let told = events(&*scene.relay.running.relay().dependencies().store).await;
    let told: Vec<_> = told.iter().filter(|it| it["event"] == "prompts_unlocked").collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&told[0]["username"], told[0].get("operator")), (&json!("ada"), None));
    let me: Value = scene.shop.get("/v1/clients/self").await.json().await.unwrap();
    assert_eq!(told[0]["client_id"], me["client_id"]);
}

#[tokio::test]
async fn no_initiator_lifts_not_me() {
    let mut scene = Scene::set().await;
    let opened = opens(&scene.shop, "ada", "password").await;
    scene.ada.offer().await;
    scene.ada.decline(opened.id, DeclineReason::NotMe).await;
    scene.ada.closed().await;
    scene.shop.outcome(opened.id).await;
    let muted = json!({ "rings": false, "why": "muted", "rings_in_s": 1200 });
    for left in [3, 2] {
        let both = json!({ "stranger": muted, "vouched": muted, "unlocks_left": left });
        assert_eq!(prompts(&scene.shop, "ada").await, both);
        assert_eq!(unlocks(&scene.shop, "ada").await, 204);
    }
    opens(&scene.shop, "ada", "none").await;
    opens(&scene.shop, "ada", "password").await;
    scene.ada.hears_nothing().await;
}

#[tokio::test]
async fn unlocking_takes_its_scope_and_ends_after_three_times_a_day() {
    let scene = Scene::set().await;
    let but = |without| blind().into_iter().filter(|scope| *scope != without).collect();
    let no_scope: Vec<Scope> = but(Scope::UserUnlock);
    let barred = scene.relay.initiator_with(no_scope, vec![Binding::Code]).await;
    let read = barred.get("/v1/users/ada/prompts").await;
    assert_eq!(read.status(), 403);
    assert_eq!(read.json::<Value>().await.unwrap()["code"], "scope_missing");
    assert_eq!(unlocks(&barred, "ada").await, 403);
    // A word that is not believed has no lane.
    let plain = scene.relay.initiator_with(but(Scope::PriorAuthAssert), vec![Binding::Code]).await;
    let own = json!({ "stranger": { "rings": true }, "unlocks_left": 3 });
    assert_eq!(prompts(&plain, "ada").await, own);

    for name in ["ada", "nobody"] {
        for _ in 0..3 {
            assert_eq!(unlocks(&scene.bank, name).await, 204);
        }
        assert_eq!(prompts(&scene.bank, name).await["unlocks_left"], 0);
        let refused = scene.bank.delete(&format!("/v1/users/{name}/prompts")).await;
        assert_eq!(refused.status(), 429);
        let after: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((86_000..=86_400).contains(&after), "{after}");
    }
    assert_eq!(unlocks(&scene.shop, "ada").await, 204, "each has its own");
}
