//! A phone that loses its socket in the middle still hears how the ceremony ended. Once, one that
//! came back after its answer was taken was told nothing: the relay had shown it nothing on the
//! new socket, and so saw nothing to take down.

use fido_relay::app::ceremonies::{CeremonyKey, DeviceIdentity};
use fido_relay::core::ceremony::Event;
use fido_relay::delivery::{Connection, ConnectionAction};
use fido_relay::ports::{Bucket, Store as _};
use fido_relay_proto::{ConnectionId, DeviceId, Outcome, RelayFrame, TenantId, Username};
use fido_relay_rig::phone::{DropAt, Faults, PhoneEvent};
use serde_json::json;

use crate::support::relay::TestRelay;
use crate::support::stub_relay::StubRelay;

#[tokio::test]
async fn a_phone_that_was_away_hears_how_the_ceremony_ended() {
    let relay = TestRelay::start().await;
    let bank = relay.initiator().await;
    for (user, moment) in [("ada", DropAt::ClaimSent), ("grace", DropAt::AnswerSent)] {
        let paired = relay.pair(&bank, user).await;
        let faults = Faults { drop_at: vec![moment], ..Faults::none() };
        let mut phone = relay.connect(paired, faults).await;
        let opened = bank.open(&json!({ "type": "registration", "username": user })).await;
        phone.types(&opened);
        let told = phone.until(|event| matches!(event, PhoneEvent::Closed { .. })).await;
        let PhoneEvent::Closed { ceremony_id, outcome, .. } = told else { unreachable!() };
        assert_eq!((ceremony_id, outcome), (opened.id, Outcome::Succeeded), "{moment:?}");
    }
}

/// What is shown to a phone that returns is read before it is shown; a change in between had
/// nothing to take down on the new socket.
#[tokio::test(start_paused = true)]
async fn a_phone_that_returns_while_its_ceremony_ends_does_not_keep_the_prompt() {
    let relay = StubRelay::start().await;
    let order = json!({ "type": "authentication", "username": "ada" });
    let (id, ..) = relay.open(&order).await;
    let key = CeremonyKey { tenant: TenantId::default(), id: id.parse().unwrap() };
    let offered = relay.store.load(Bucket::Ceremonies, &key.to_string()).await.unwrap();
    relay.relay.ceremonies.advance(&key, Event::Cancel).await.unwrap();
    let owner = DeviceIdentity {
        device: DeviceId::from_bytes([1; 16]),
        tenant: TenantId::default(),
        username: Username::new("ada").unwrap(),
    };
    let connection = Connection::new(ConnectionId::from_bytes([2; 16]), owner);
    *relay.store.read_before.lock().unwrap() = offered;
    relay.relay.delivery.show_again(&key, &connection).await;
    let mut told = Vec::new();
    while let ConnectionAction::Write(frame) = connection.next() {
        told.push(RelayFrame::decode(&frame.text).unwrap());
    }
    assert!(
        matches!(&told[..], [RelayFrame::Offer(_), RelayFrame::Closed { .. }]),
        "shown, and taken down again: {told:?}"
    );
}
