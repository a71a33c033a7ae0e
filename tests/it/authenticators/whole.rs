//! Whole ceremonies of the relay with a card of another project in the phone's place.

use std::sync::{Arc, Mutex};

use fido_relay_proto::Outcome;
use fido_relay_proto::device::{CardErrorCode, Challenge};
use fido_relay_proto::http::Status;
use fido_relay_rig::phone::{Card, Faults};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::programs::{Library, answer, order};
use crate::support::child::ChildProcess;
use crate::support::relay::TestRelay;

/// A library's card, held to the phone.
struct InHand {
    program: Mutex<ChildProcess>,
    order: Value,
}

impl Card for InHand {
    fn sign(&self, challenge: &Challenge) -> Result<Box<RawValue>, CardErrorCode> {
        let options = serde_json::from_str(challenge.public_key.get()).unwrap();
        let (program, ceremony) =
            (&mut self.program.lock().unwrap(), challenge.offer.ceremony_type);
        let answer = answer(program, &self.order, ceremony, &options, &challenge.origin);
        let answer = tokio::task::block_in_place(|| Handle::current().block_on(answer)).unwrap();
        Ok(RawValue::from_string(answer.to_string()).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cards_of_other_projects_register_sign_in_and_approve_through_the_relay() {
    for (library, format, algorithm) in [
        (Library::Nid, "none", "EdDSA"),
        (Library::SoftFido2, "packed", "ES256"),
        (Library::SoftFido2, "packed", "RS256"),
    ] {
        let Some(program) = library.start() else { continue };
        let relay = TestRelay::start().await;
        let bank = relay.initiator().await;
        let paired = relay.pair(&bank, "ada").await;
        let order = order(library, format, algorithm, true, 1);
        let card = Arc::new(InHand { program: Mutex::new(program), order });
        let phone = relay.connect_with(card, paired, Faults::none()).await;
        let transaction = json!({ "title": "Payment", "fields": [
            { "label": "To", "value": "Grace" }, { "label": "Amount", "value": "120.00 EUR" } ] });
        for mut body in [
            json!({ "type": "registration", "username": "ada" }),
            json!({ "type": "authentication", "username": "ada" }),
            json!({ "type": "approval", "username": "ada", "transaction": transaction }),
        ] {
            body["options"] = json!({ "userVerification": "required" });
            let opened = bank.open(&body).await;
            phone.types(&opened);
            let closed = bank.outcome(opened.id).await;
            assert_eq!(closed.status, Status::Ended(Outcome::Succeeded), "{library:?} {closed:?}");
        }
    }
}
