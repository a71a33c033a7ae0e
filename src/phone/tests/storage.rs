//! What a phone keeps between two starts.

use fido_relay_proto::DeviceId;
use serde_json::value::RawValue;

use crate::phone::{DeviceKey, Paired, PhoneState, StateError};
use crate::security::random;

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
