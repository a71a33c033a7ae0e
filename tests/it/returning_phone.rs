//! A phone that loses its socket in the middle still hears how the ceremony ended. Once, one that
//! came back after its answer was taken was told nothing: the relay had shown it nothing on the
//! new socket, and so saw nothing to take down.

use fido_relay::phone::{DropAt, Faults, PhoneEvent};
use fido_relay_proto::Outcome;
use serde_json::json;

use crate::support::relay::TestRelay;

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
