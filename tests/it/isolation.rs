//! Many ceremonies at once, and none that takes anything of another.

use std::collections::{BTreeMap, BTreeSet};

use fido_relay::config::Config;
use fido_relay_proto::http::{CeremonyView, Status};
use fido_relay_proto::{CeremonyId, Outcome};
use fido_relay_rig::phone::{Faults, PhoneEvent};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::support::accepting_server::{
    accepted_answer, accepting_server, completions, is_completion, upstream_at,
};
use crate::support::fido2_server::Fido2Server;
use crate::support::relay::{Initiator, TestPhone, TestRelay};
use crate::support::scripted_upstream::{Reply, ScriptedUpstream};
use crate::support::wire_phone::WirePhone;

const USERS: usize = 25;
const EACH: usize = 20;

fn roomy(config: &mut Config) {
    config.limits.frames_per_s = 1000;
    config.limits.frames_burst = 1000;
}

async fn open(bank: &Initiator, kind: &str, user: &str) -> CeremonyId {
    let order = json!({ "type": kind, "username": user, "binding": "none", "timeout_s": 600 });
    bank.open(&order).await.id
}

async fn succeeds(bank: &Initiator, id: CeremonyId, user: &str) -> CeremonyView {
    let view = bank.outcome(id).await;
    assert_eq!(view.status, Status::Ended(Outcome::Succeeded), "{user}: {view:?}");
    assert_eq!(view.username.as_ref().unwrap().as_str(), user);
    view
}

/// Keeps reading what the phone tells, so that nothing waits for its reader.
async fn ignore(phone: &mut TestPhone) {
    while phone.events.recv().await.is_some() {}
}

/// A shared cookie jar once let 499 of 500 end in another user's session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_interleaved_ceremonies_with_a_real_server_cross_no_session() {
    let what = "500 interleaved ceremonies through the relay";
    let Some(server) = Fido2Server::start(what, &[]).await else { return };
    let relay = TestRelay::start_with(|config| {
        upstream_at(server.url())(config);
        roomy(config);
    })
    .await;
    let bank = relay.initiator().await;
    let users: Vec<_> = (0..USERS).map(|number| format!("user-{number}")).collect();
    let mut phones = Vec::new();
    for user in &users {
        let paired = relay.pair(&bank, user).await;
        let mut phone = relay.connect(paired, Faults::none()).await;
        let id = open(&bank, "registration", user).await;
        phone.until(|event| matches!(event, PhoneEvent::Closed { .. })).await;
        succeeds(&bank, id, user).await;
        phones.push(phone);
    }
    let told = phones.iter_mut().map(ignore);
    let told = futures::future::join_all(told);
    // Every user's next ceremony is opened before any user's one after it.
    let orders = (0..EACH).flat_map(|_| &users);
    let ceremonies = stream::iter(orders).map(|user| {
        let bank = &bank;
        async move {
            let id = open(bank, "authentication", user).await;
            succeeds(bank, id, user).await
        }
    });
    let ceremonies = ceremonies.buffer_unordered(50).collect::<Vec<_>>();
    let views = tokio::select! {
        views = ceremonies => views,
        _ = told => panic!("the phones ended"),
    };
    assert_eq!(views.len(), USERS * EACH);
    let mut credentials = BTreeMap::<String, BTreeSet<String>>::new();
    for view in &views {
        let claims: Value = claims(view.result.as_ref().unwrap());
        assert_eq!(claims["jti"], view.id.to_string());
        let user = claims["sub"].as_str().unwrap().to_owned();
        assert_eq!(Some(user.as_str()), view.username.as_ref().map(|name| name.as_str()));
        let credential = claims["cred_hash"].as_str().unwrap().to_owned();
        credentials.entry(user).or_default().insert(credential);
    }
    assert!(credentials.values().all(|of_user| of_user.len() == 1), "each by its own card");
    let all: BTreeSet<_> = credentials.values().flatten().collect();
    assert_eq!(all.len(), USERS, "and no card for two");
}

fn claims(token: &str) -> Value {
    use base64::Engine as _;
    let payload = token.split('.').nth(1).unwrap();
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

/// The answer names its ceremony and the cookie its session: the server holds one to the other.
#[tokio::test]
async fn every_answer_reaches_the_server_in_the_session_that_it_began() {
    let upstream = accepting_server();
    let relay = TestRelay::start_with(|config| {
        upstream_at(&upstream.url())(config);
        roomy(config);
    })
    .await;
    let bank = relay.initiator().await;
    let mut phones = Vec::new();
    for number in 0..10 {
        let paired = relay.pair(&bank, &format!("user-{number}")).await;
        phones.push(WirePhone::connect(paired).await);
    }
    // All begin before the first ends.
    let mut open_at = Vec::new();
    for round in 0..5 {
        for (number, phone) in phones.iter_mut().enumerate() {
            let id = open(&bank, "authentication", &format!("user-{number}")).await;
            let challenge = phone.challenge().await;
            assert_eq!(challenge.offer.ceremony_id, id, "round {round}");
            assert_eq!(challenge.offer.username.as_str(), format!("user-{number}"));
            open_at.push((number, challenge));
        }
    }
    // And end in another order.
    open_at.sort_by_key(|(number, challenge)| (number * 7 % 10, challenge.challenge.clone()));
    for (number, challenge) in &open_at {
        let credential = format!(
            r#"{{"id":"AQIDBA","rawId":"AQIDBA","type":"public-key","response":{{}},"of":"{}"}}"#,
            challenge.challenge
        );
        let id = challenge.offer.ceremony_id;
        phones[*number].answer(id, challenge.attempt, &credential).await;
    }
    for (number, challenge) in &open_at {
        succeeds(&bank, challenge.offer.ceremony_id, &format!("user-{number}")).await;
    }
    assert_eq!(completions(&upstream), 50);
    hold_to_their_sessions(&upstream);
}

fn hold_to_their_sessions(upstream: &ScriptedUpstream) {
    let received = upstream.received();
    let mut sessions = BTreeMap::new();
    for (number, request) in received.iter().enumerate().filter(|(_, one)| !is_completion(one)) {
        assert!(request.all("cookie").is_empty(), "a begin carries nobody's session");
        let body: Value = serde_json::from_str(&accepted_answer(number, request).body).unwrap();
        sessions
            .insert(body["challenge"].as_str().unwrap().to_owned(), format!("session=s{number}"));
    }
    for request in received.iter().filter(|one| is_completion(one)) {
        let body: Value = serde_json::from_str(&request.body).unwrap();
        let session = &sessions[body["of"].as_str().unwrap()];
        assert_eq!(request.all("cookie"), [session.as_str()]);
    }
}

/// A call that hangs for one user delays no other user.
#[tokio::test]
async fn a_completion_that_hangs_holds_up_no_other_ceremony() {
    let upstream = ScriptedUpstream::listening(|number, request| {
        if is_completion(request) && request.body.contains("hang") {
            return Reply::Hang;
        }
        Reply::Answer(accepted_answer(number, request))
    });
    let relay = TestRelay::start_with(upstream_at(&upstream.url())).await;
    let bank = relay.initiator().await;
    let mut phone = WirePhone::connect(relay.pair(&bank, "ada").await).await;
    let answer = |text: &str| {
        format!(
            r#"{{"id":"AQIDBA","rawId":"AQIDBA","type":"public-key","response":{{}},"x":"{text}"}}"#
        )
    };
    let hanging = open(&bank, "authentication", "ada").await;
    let challenge = phone.challenge().await;
    phone.answer(hanging, challenge.attempt, &answer("hang")).await;
    phone.accepted().await;
    let started = tokio::time::Instant::now();
    for _ in 0..10 {
        let id = open(&bank, "authentication", "ada").await;
        let challenge = phone.challenge().await;
        phone.answer(id, challenge.attempt, &answer("fine")).await;
        phone.accepted().await;
        assert_eq!(phone.closed().await, (id, Outcome::Succeeded, None));
    }
    assert!(started.elapsed() < std::time::Duration::from_secs(9), "they waited for the other");
    assert_eq!(
        bank.read(hanging).await.status,
        Status::Pending,
        "and it still waits for its own answer"
    );
}
