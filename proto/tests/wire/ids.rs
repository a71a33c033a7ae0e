//! Ids are parsed in one form and no other.

use fido_relay_proto::{
    AttemptId, CeremonyId, ClientId, ConnectionId, DeviceId, EventId, TenantId, WebhookId,
};
use insta::assert_snapshot;
use proptest::prelude::*;

use super::samples::{ATTEMPT, CEREMONY, CONNECTION, DEVICE};

#[test]
fn their_form_has_not_changed() {
    assert_snapshot!(CEREMONY, @"cer_EREREREREREREREREREREQ");
    assert_snapshot!(DEVICE, @"dev_IiIiIiIiIiIiIiIiIiIiIg");
    assert_snapshot!(ATTEMPT, @"att_MzMzMzMzMzMzMzMzMzMzMw");
    assert_snapshot!(CONNECTION, @"con_RERERERERERERERERERERA");
    assert_snapshot!(ClientId::from_bytes([0xFF; 16]), @"cli______________________w");
    assert_snapshot!(WebhookId::from_bytes([0; 16]), @"whk_AAAAAAAAAAAAAAAAAAAAAA");
    assert_snapshot!(EventId::from_bytes([0; 16]), @"msg_AAAAAAAAAAAAAAAAAAAAAA");
    assert_snapshot!(TenantId::default(), @"default");
}

#[test]
fn only_their_own_form_is_read() {
    let good = CEREMONY.to_string();
    assert_eq!(good.parse(), Ok(CEREMONY));
    let bad = [
        String::new(),
        "cer_".to_owned(),
        DEVICE.to_string(),
        good.to_uppercase(),
        good.replace("cer_", "cer"),
        good.replace("cer_", ""),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{good}=="),
        format!("{good}A"),
        good[..good.len() - 1].to_owned(),
        // The last character carries four bits; another with the same bits is another text.
        format!("{}R", &good[..good.len() - 1]),
        good.replacen('E', "+", 1),
        good.replacen('E', "/", 1),
        good.replacen('E', ".", 1),
        good.replacen('E', "\u{415}", 1),
    ];
    for text in bad {
        let error = text.parse::<CeremonyId>().unwrap_err();
        assert_eq!(error.to_string(), "not a valid ceremony id", "{text:?} is not repeated");
    }
}

#[test]
fn a_kind_of_id_is_not_read_as_another() {
    let all = [
        CEREMONY.to_string(),
        DEVICE.to_string(),
        ATTEMPT.to_string(),
        CONNECTION.to_string(),
        ClientId::from_bytes([1; 16]).to_string(),
    ];
    for (index, text) in all.iter().enumerate() {
        let read = [
            text.parse::<CeremonyId>().is_ok(),
            text.parse::<DeviceId>().is_ok(),
            text.parse::<AttemptId>().is_ok(),
            text.parse::<ConnectionId>().is_ok(),
            text.parse::<ClientId>().is_ok(),
        ];
        for (kind, is_ok) in read.into_iter().enumerate() {
            assert_eq!(is_ok, kind == index, "{text}");
        }
    }
}

#[test]
fn a_tenant_is_a_short_name_that_is_safe_in_a_subject() {
    for name in ["a", "default", "bank-2", &"x".repeat(32)] {
        assert_eq!(name.parse::<TenantId>().unwrap().as_str(), name);
    }
    for name in ["", "Bank", "a.b", "a*", "a>", "a b", "a/b", "a_b", "\u{E4}", &"x".repeat(33)] {
        assert!(name.parse::<TenantId>().is_err(), "{name:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_make_an_id_that_is_read_back_and_safe_everywhere(bytes: [u8; 16]) {
        let id = DeviceId::from_bytes(bytes);
        let text = id.to_string();
        prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'));
        prop_assert_eq!(text.parse::<DeviceId>(), Ok(id));
        prop_assert_eq!(id.as_bytes(), &bytes);
    }

    #[test]
    fn whatever_is_read_as_an_id_is_written_the_same(
        text in prop_oneof!["cer_[A-Za-z0-9_-]{21,23}", "\\PC{0,30}", "[a-z]{3}_[A-Za-z0-9+/=]{22}"]
    ) {
        if let Ok(id) = text.parse::<CeremonyId>() {
            prop_assert_eq!(id.to_string(), text);
        }
    }
}
