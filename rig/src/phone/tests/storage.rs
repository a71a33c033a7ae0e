//! What a phone keeps between two starts.

use fido_relay_kit::random;
use fido_relay_proto::device::CardErrorCode;
use fido_relay_proto::{CeremonyType, DeviceId};
use serde_json::value::RawValue;

use super::relay::{a_challenge, an_offer};
use crate::phone::{Card, DeviceKey, Paired, PhoneState, StateError, StoredCard};
use crate::softcard::SoftCard;

fn state() -> PhoneState {
    PhoneState {
        paired: Paired {
            device_id: DeviceId::from_bytes(random::bytes()),
            socket_url: "wss://relay.example/v1/device/socket".to_owned(),
            key: DeviceKey::generate().unwrap(),
        },
        card: Some(RawValue::from_string(r#"{"credentials":[]}"#.to_owned()).unwrap()),
    }
}

#[test]
fn a_state_survives_its_file_and_only_its_owner_may_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("phone.json");
    assert!(PhoneState::load(&path).unwrap().is_none());
    let saved = state();
    saved.save(&path).unwrap();
    saved.save(&path).unwrap();
    let loaded = PhoneState::load(&path).unwrap().unwrap();
    assert_eq!(loaded.paired.device_id, saved.paired.device_id);
    assert_eq!(loaded.paired.socket_url, saved.paired.socket_url);
    assert_eq!(loaded.paired.key.jwk(), saved.paired.key.jwk());
    let card = |state: &PhoneState| {
        serde_json::from_str::<serde_json::Value>(state.card.as_ref().unwrap().get()).unwrap()
    };
    assert_eq!(card(&loaded), card(&saved));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn another_file_is_not_taken_for_a_state() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("phone.json");
    std::fs::write(&path, "{}").unwrap();
    assert!(matches!(PhoneState::load(&path), Err(StateError::Contents(_))));
}

#[test]
fn a_kept_card_is_on_disk_before_its_answer_leaves_the_phone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("phone.json");
    let card = StoredCard::new(SoftCard::new(), state(), path.clone());
    let mut challenge = a_challenge(&an_offer(0));
    // The empty card: nothing to sign with.
    assert_eq!(card.sign(&challenge).unwrap_err(), CardErrorCode::new(602).unwrap());

    challenge.offer.ceremony_type = CeremonyType::Registration;
    let options = r#"{"rp":{"id":"example.com","name":"x"},
        "user":{"id":"YWRh","name":"ada","displayName":"Ada"},"challenge":"Y2hhbGxlbmdl",
        "pubKeyCredParams":[{"type":"public-key","alg":-7}]}"#;
    challenge.public_key = RawValue::from_string(options.to_owned()).unwrap();
    let id = |answer: &RawValue| {
        let value: serde_json::Value = serde_json::from_str(answer.get()).unwrap();
        value["id"].clone()
    };
    let made = id(&card.sign(&challenge).unwrap());

    let state = PhoneState::load(&path).unwrap().unwrap();
    let again = SoftCard::from_json(state.card.as_ref().unwrap().get()).unwrap();
    let again = StoredCard::new(again, state, path.clone());
    assert_eq!(id(&again.sign(&a_challenge(&an_offer(0))).unwrap()), made);

    std::fs::remove_dir_all(folder.path()).unwrap();
    let lost = again.sign(&a_challenge(&an_offer(0))).unwrap_err();
    assert_eq!(lost, CardErrorCode::TRANSMIT_FAILED);
}
