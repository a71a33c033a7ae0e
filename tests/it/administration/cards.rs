//! `fido-relay card` and `fido-relay user`: the cards of a user, one that is lost, and a user who is
//! gone.

use fido_relay::app::pairings::{self, PairingError, PairingSecret};
use fido_relay::serve::STORE_FILE;
use fido_relay_proto::Outcome;
use fido_relay_proto::device::NoticeEvent;
use fido_relay_proto::http::Status;
use fido_relay_rig::phone::wire::Socket;
use fido_relay_rig::softcard::SoftCard;
use serde_json::{Value, json};

use super::{run, run_json};
use crate::audit::lines;
use crate::cards::{begins, goes_through};
use crate::support::relay::{Initiator, TestRelay};
use crate::support::wire_phone::WirePhone;

async fn ids(data_dir: &std::path::Path) -> Vec<String> {
    let listed = run_json(data_dir, &["card", "list", "ada", "--json"]).await;
    let cards = listed.as_array().unwrap().iter();
    cards.map(|card| card["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_card_is_removed_by_command_with_and_without_a_relay_and_stays_so() {
    let relay = TestRelay::start().await;
    relay.running.serve_admin().unwrap();
    let data_dir = relay.running.config().data_dir.clone();
    let bank = relay.initiator().await;
    let ada = relay.pair(&bank, "ada").await;
    let (mut first, mut second) = (SoftCard::new(), SoftCard::new());
    for card in [&mut first, &mut second] {
        goes_through(&bank, &ada, card, "registration").await;
    }
    let [one, two] = <[String; 2]>::try_from(ids(&data_dir).await).unwrap();
    let shown = run(&data_dir, &["card", "list", "ada"]).await;
    let shown = shown.out;
    assert!(shown.contains(&one) && shown.contains("(claimed), has verified a PIN"), "{shown}");

    let removed = run(&data_dir, &["card", "remove", "ada", &one]).await;
    assert!(removed.code == Some(0), "{}", removed.err);
    for unknown in [["ada", &one], ["bob", &two]] {
        let refused =
            run(&data_dir, &["card", "remove", unknown[0], unknown[1]]).await.with_code(1);
        assert!(refused.contains("no such card"), "{refused}");
    }
    run(&data_dir, &["card", "remove", "ada", "x"]).await.with_code(2);

    let (config, place) = relay.stop().await;
    let store = place.path().join(STORE_FILE);
    let backup = std::fs::read(&store).unwrap();
    let removed = run(&data_dir, &["card", "remove", "ada", &two]).await;
    assert!(removed.code == Some(0), "{}", removed.err);
    assert_eq!(ids(&data_dir).await, Vec::<String>::new());
    let shown = run(&data_dir, &["card", "list", "ada"]).await;
    assert!(shown.out.contains("no card"));

    let relay = TestRelay::start_again(&config, place).await;
    let mut phone = WirePhone::connect(ada.clone()).await;
    let mut news = Vec::new();
    for _ in 0..4 {
        news.push(phone.notice().await.event);
    }
    let [added, gone] = [NoticeEvent::CardRegistered, NoticeEvent::CardRemoved];
    assert_eq!(news, [added, added, gone, gone], "also of what was done while no relay ran");
    let (config, place) = relay.stop().await;
    // The store as it was before; the list beside it is not part of that backup.
    std::fs::write(&store, backup).unwrap();
    let relay = TestRelay::start_again(&config, place).await;
    let bank = Initiator { url: relay.url(), ..bank };
    let (_, _, challenge) = begins(&bank, &ada, "authentication").await;
    assert!(challenge.is_none(), "neither is there");
}

#[tokio::test]
async fn a_removed_user_leaves_nothing_to_the_next_one_of_the_name() {
    let relay = TestRelay::start().await;
    relay.running.serve_admin().unwrap();
    let data_dir = relay.running.config().data_dir.clone();
    let bank = relay.initiator().await;
    let ada = relay.pair(&bank, "ada").await;
    let mut card = SoftCard::new();
    goes_through(&bank, &ada, &mut card, "registration").await;
    let handle = async |bank: &Initiator, ada| {
        let (_, _, challenge) = begins(bank, ada, "registration").await;
        let options: Value = serde_json::from_str(challenge.unwrap().public_key.get()).unwrap();
        options["user"]["id"].as_str().unwrap().to_owned()
    };
    let before = handle(&bank, &ada).await;
    let link = bank.pairing("ada").await;
    let open = bank.open(&json!({ "type": "registration", "username": "ada" })).await;
    let removed = run(&data_dir, &["user", "remove", "ada"]).await;
    assert!(removed.code == Some(0), "{}", removed.err);
    assert_eq!(ids(&data_dir).await, Vec::<String>::new());
    let mut socket = Socket::connect(&ada.socket_url).await.unwrap();
    assert_eq!(socket.authenticate(&ada.key, ada.device_id).await.unwrap_err().code(), Some(4401));
    assert_eq!(bank.outcome(open.id).await.status, Status::Ended(Outcome::Cancelled));
    let world = relay.running.relay().dependencies();
    for secret in
        [PairingSecret::Token(&link.pairing_token), PairingSecret::Typed(&link.typed_code)]
    {
        let found = pairings::look(&*world.store, secret, world.clock.now()).await;
        assert!(matches!(found, Err(PairingError::Unknown)), "{found:?}");
    }
    // Once more does no harm: it may have been interrupted.
    run(&data_dir, &["user", "remove", "ada"]).await.stdout();

    let next = relay.pair(&bank, "ada").await;
    assert_ne!(handle(&bank, &next).await, before);
    let (_, _, challenge) = begins(&bank, &next, "authentication").await;
    assert!(challenge.is_none(), "the card of before is nobody's");
    let (_, place) = relay.stop().await;
    let audit = lines(&place.path().join("audit")).join("\n");
    assert!(audit.contains(r#""event":"user_removed""#), "{audit}");
}
