//! A lost card is taken back in one call, and stays so: at once, in a ceremony that had begun, after
//! a restart and with a restored backup of the store.

use std::collections::BTreeMap;

use fido_relay::serve::STORE_FILE;
use fido_relay_proto::device::{Challenge, NoticeEvent};
use fido_relay_proto::http::{CardAttestation, CardList, OpenedCeremony, Status};
use fido_relay_proto::{Outcome, Reason, RelayFrame};
use fido_relay_rig::phone::Paired;
use fido_relay_rig::softcard::SoftCard;
use serde_json::{Value, json};

use crate::audit::lines;
use crate::support::accepting_server::{accepting_server, upstream_at};
use crate::support::relay::{Initiator, TestRelay, tap};
use crate::support::wire_phone::WirePhone;
use crate::webhooks::receiver::Receiver;

const CARDS: &str = "/v1/users/ada/cards";

/// A ceremony of ada's up to the challenge; none if it ended before.
pub(crate) async fn begins(
    bank: &Initiator,
    ada: &Paired,
    kind: &str,
) -> (OpenedCeremony, WirePhone, Option<Box<Challenge>>) {
    let username = "ada";
    let opened = bank.open(&json!({ "type": kind, "username": username })).await;
    let mut phone = WirePhone::connect(ada.clone()).await;
    // What was open before for this phone is sent again, too.
    loop {
        match phone.next().await {
            RelayFrame::Offer(offer) if offer.ceremony_id == opened.id => break,
            RelayFrame::Offer(_) | RelayFrame::Challenge(_) | RelayFrame::Closed { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    phone.claim(opened.id, opened.code.as_ref().unwrap()).await;
    let challenge = loop {
        match phone.next().await {
            RelayFrame::Challenge(challenge) if challenge.offer.ceremony_id == opened.id => {
                break Some(challenge);
            }
            RelayFrame::Closed { ceremony_id, .. } if ceremony_id == opened.id => break None,
            RelayFrame::Offer(_) | RelayFrame::Challenge(_) | RelayFrame::Closed { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    (opened, phone, challenge)
}

/// A whole ceremony of ada's, and how it ended.
pub(crate) async fn goes_through(
    bank: &Initiator,
    ada: &Paired,
    card: &mut SoftCard,
    kind: &str,
) -> (Status, Option<Reason>) {
    let (opened, mut phone, challenge) = begins(bank, ada, kind).await;
    if let Some(challenge) = challenge {
        let answer = tap(card, &challenge).unwrap();
        phone.answer(opened.id, challenge.attempt, &answer).await;
    }
    let view = bank.outcome(opened.id).await;
    (view.status, view.reason)
}

const SUCCEEDED: (Status, Option<Reason>) = (Status::Ended(Outcome::Succeeded), None);
const NO_CREDENTIAL: (Status, Option<Reason>) =
    (Status::Ended(Outcome::Failed), Some(Reason::NoCredential));

async fn cards(bank: &Initiator) -> CardList {
    let response = bank.get(CARDS).await;
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

#[tokio::test]
async fn a_removed_card_is_refused_at_once_after_a_restart_and_after_a_restored_backup() {
    let receiver = Receiver::start().await;
    let relay = TestRelay::start_with(|config| receiver.allow(config)).await;
    let bank = relay.initiator().await;
    let events = json!({ "url": receiver.url(), "events": ["card.registered", "card.removed"] });
    assert_eq!(bank.post("/v1/webhooks", &events).await.status(), 201);
    let ada = relay.pair(&bank, "ada").await;
    let unknown = bank.get("/v1/users/nobody/cards").await.text().await.unwrap();
    assert_eq!(bank.get(CARDS).await.text().await.unwrap(), unknown);

    let mut lost = SoftCard::new();
    assert_eq!(goes_through(&bank, &ada, &mut lost, "registration").await, SUCCEEDED);
    let card = cards(&bank).await.cards.remove(0);
    assert_eq!((card.attestation, card.claimed), (CardAttestation::None, true));
    assert_eq!((card.last_used_at, card.can_verify_user), (None, true));
    assert_eq!(goes_through(&bank, &ada, &mut lost, "authentication").await, SUCCEEDED);
    let used = cards(&bank).await.cards.remove(0);
    assert_eq!(used.id, card.id);
    assert!(used.last_used_at.unwrap() > used.registered_at);

    let (config, place) = relay.stop().await;
    let (store, backup) = (place.path().join(STORE_FILE), place.path().join("backup"));
    std::fs::copy(&store, &backup).unwrap();
    let relay = TestRelay::start_again(&config, place).await;
    let bank = Initiator { url: relay.url(), ..bank };

    let (open, mut phone, challenge) = begins(&bank, &ada, "authentication").await;
    let challenge = challenge.unwrap();
    let answer = tap(&mut lost, &challenge).unwrap();
    let path = format!("{CARDS}/{}", card.id);
    for (nobodys, expected) in [
        (format!("/v1/users/bob/cards/{}", card.id), 404),
        (format!("{CARDS}/47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"), 404),
        (format!("{CARDS}/dev_AAAAAAAAAAAAAAAAAAAAAA"), 404),
        (path.clone(), 204),
        (path.clone(), 404),
    ] {
        assert_eq!(bank.delete(&nobodys).await.status(), expected, "{nobodys}");
    }
    phone.answer(open.id, challenge.attempt, &answer).await;
    assert_eq!(bank.outcome(open.id).await.status, Status::Ended(Outcome::Rejected));
    assert_eq!(goes_through(&bank, &ada, &mut lost, "authentication").await, NO_CREDENTIAL);
    assert_eq!(bank.get(CARDS).await.text().await.unwrap(), unknown);
    let mut again = WirePhone::connect(ada.clone()).await;
    for event in [NoticeEvent::CardRegistered, NoticeEvent::CardRemoved] {
        let notice = again.notice().await;
        assert_eq!((notice.event, notice.card_id), (event, Some(card.id)));
        assert_eq!((notice.device_id, notice.platform), (None, None));
    }

    let relay = relay.restart().await;
    let bank = Initiator { url: relay.url(), ..bank };
    assert_eq!(goes_through(&bank, &ada, &mut lost, "authentication").await, NO_CREDENTIAL);
    let (config, place) = relay.stop().await;
    std::fs::copy(&backup, &store).unwrap();
    let relay = TestRelay::start_again(&config, place).await;
    let bank = Initiator { url: relay.url(), ..bank };
    assert_eq!(bank.delete(&path).await.status(), 404);
    assert_eq!(goes_through(&bank, &ada, &mut lost, "authentication").await, NO_CREDENTIAL);
    // The card may come back, as a new credential.
    assert_eq!(goes_through(&bank, &ada, &mut lost, "registration").await, SUCCEEDED);
    assert_eq!(goes_through(&bank, &ada, &mut lost, "authentication").await, SUCCEEDED);
    let second = cards(&bank).await.cards.remove(0).id;
    assert_ne!(second, card.id);

    let mut told: Vec<(String, String)> = Vec::new();
    for received in receiver.until(3).await {
        let body = received.json();
        assert_eq!(body["data"]["username"], "ada");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        told.push((text(&body["type"]), text(&body["data"]["id"])));
    }
    told.sort_unstable();
    let mut expected =
        [("card.registered", card.id), ("card.registered", second), ("card.removed", card.id)]
            .map(|(event, id)| (event.to_owned(), id.to_string()));
    expected.sort_unstable();
    assert_eq!(told, expected);

    let (_, place) = relay.stop().await;
    let mut heard: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in lines(&place.path().join("audit")) {
        let entry: Value = serde_json::from_str(&line).unwrap();
        let event = entry["event"].as_str().unwrap_or_default().to_owned();
        heard.entry(event).or_default().push(entry);
    }
    assert_eq!(heard["card_registered"].len(), 2);
    let removed = &heard["card_removed"];
    assert_eq!(removed.len(), 1, "applying it again is no removal: {removed:?}");
    assert_eq!((&removed[0]["card_id"], &removed[0]["username"]), (&json!(card.id), &json!("ada")));
    assert!(removed[0]["client_id"].is_string());
}

#[tokio::test]
async fn cards_of_another_fido2_server_are_not_the_relays_to_list() {
    let upstream = accepting_server();
    let relay = TestRelay::start_with(upstream_at(&upstream.url())).await;
    let bank = relay.initiator().await;
    let path = format!("{CARDS}/47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU");
    for response in [bank.get(CARDS).await, bank.delete(&path).await] {
        assert_eq!(response.status(), 501);
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["code"], "not_supported");
    }
}
