//! Frames of the device socket as they go over the wire, byte for byte.

use fido_relay_proto::device::{
    AUTH_TYP, AckOf, AuthClaims, CardErrorCode, CardEvent, DeclineReason, FrameError,
    FrameErrorCode, KEY_POSSESSION_TYP, KEY_ROTATION_TYP, KeyClaims, PAIRING_TYP, PULL_TYP,
    PairingClaims, PullClaims,
};
use fido_relay_proto::{DeviceFrame, Outcome, Reason, RelayFrame};
use insta::assert_snapshot;
use serde::Serialize;

use super::samples::{CREDENTIAL, DEVICE, OPTIONS, device_frames, relay_frames};

#[test]
fn frames_of_the_relay_have_not_changed() {
    let frames = relay_frames();
    let wire: Vec<_> = frames.iter().map(RelayFrame::encode).collect();
    assert_eq!(wire.len(), 20);
    assert_snapshot!(wire[0], @r#"{"type":"hello","nonce":"bm9uY2U","auth_within_s":9}"#);
    assert_snapshot!(wire[1], @r#"{"type":"welcome","connection_id":"con_RERERERERERERERERERERA","heartbeat_s":25,"reauth_in_s":3540,"limits":{"frame_bytes":32768,"frames_per_s":10,"burst":30}}"#);
    assert_snapshot!(wire[2], @r#"{"type":"offer","ceremony_id":"cer_EREREREREREREREREREREQ","ceremony_type":"authentication","client_name":"Example Bank","rp_id":"bank.example","username":"ada@bank.example","display_name":"Ada \"the Countess\" Lovelace","code_length":0,"expires_in":120}"#);
    assert_snapshot!(wire[3], @r#"{"type":"offer","ceremony_id":"cer_EREREREREREREREREREREQ","ceremony_type":"approval","client_name":"Example Bank","rp_id":"bank.example","username":"ada@bank.example","display_name":"Ada \"the Countess\" Lovelace","message":"Zahlung bestätigen","transaction":{"title":"Payment to Ada","fields":[{"label":"Amount","value":"120.00 EUR"}]},"context":{"ip":"192.0.2.7","user_agent":"Firefox on Linux","location":"Vienna, AT"},"code_length":6,"expires_in":120}"#);
    assert_snapshot!(wire[4], @r#"{"type":"challenge","ceremony_id":"cer_EREREREREREREREREREREQ","ceremony_type":"authentication","client_name":"Example Bank","rp_id":"bank.example","username":"ada@bank.example","display_name":"Ada \"the Countess\" Lovelace","code_length":0,"expires_in":120,"attempt":"att_MzMzMzMzMzMzMzMzMzMzMw","challenge":"Y2hhbGxlbmdl","origin":"https://fido.bank.example","public_key":{"rpId":"bank.example", "timeout":60000.0,"allowCredentials":[ {"id":"AQ"} ]}}"#);
    assert_snapshot!(wire[5], @r#"{"type":"challenge","ceremony_id":"cer_EREREREREREREREREREREQ","ceremony_type":"approval","client_name":"Example Bank","rp_id":"bank.example","username":"ada@bank.example","display_name":"Ada \"the Countess\" Lovelace","message":"Zahlung bestätigen","transaction":{"title":"Payment to Ada","fields":[{"label":"Amount","value":"120.00 EUR"}]},"context":{"ip":"192.0.2.7","user_agent":"Firefox on Linux","location":"Vienna, AT"},"code_length":6,"expires_in":120,"attempt":"att_MzMzMzMzMzMzMzMzMzMzMw","challenge":"Y2hhbGxlbmdl","origin":"https://fido.bank.example","public_key":{"rpId":"bank.example", "timeout":60000.0,"allowCredentials":[ {"id":"AQ"} ]}}"#);
    assert_snapshot!(wire[6], @r#"{"type":"accepted","ceremony_id":"cer_EREREREREREREREREREREQ","attempt":"att_MzMzMzMzMzMzMzMzMzMzMw"}"#);
    assert_snapshot!(wire[7], @r#"{"type":"closed","ceremony_id":"cer_EREREREREREREREREREREQ","outcome":"succeeded"}"#);
    assert_snapshot!(wire[8], @r#"{"type":"closed","ceremony_id":"cer_EREREREREREREREREREREQ","outcome":"failed","reason":"card_610"}"#);
    assert_snapshot!(wire[9], @r#"{"type":"error","code":"slow_down","message":"too many frames","retryable":true}"#);
    assert_snapshot!(wire[10], @r#"{"type":"error","code":"wrong_code","message":"2 tries left","retryable":false,"ceremony_id":"cer_EREREREREREREREREREREQ"}"#);
    assert_snapshot!(wire[11], @r#"{"type":"reauth","nonce":"bm9uY2U","auth_within_s":60}"#);
    assert_snapshot!(wire[12], @r#"{"type":"goaway","reconnect_in_ms":1234}"#);
    assert_snapshot!(wire[13], @r#"{"type":"notice","notice_id":"ntc_VVVVVVVVVVVVVVVVVVVVVQ","event":"device_paired","device_id":"dev_IiIiIiIiIiIiIiIiIiIiIg","name":"Ada's new phone","platform":"android","ago_s":12}"#);
    assert_snapshot!(wire[14], @r#"{"type":"notice","notice_id":"ntc_VVVVVVVVVVVVVVVVVVVVVQ","event":"device_key_rotated","device_id":"dev_IiIiIiIiIiIiIiIiIiIiIg","platform":"ios","ago_s":0}"#);
    assert_snapshot!(wire[15], @r#"{"type":"notice","notice_id":"ntc_VVVVVVVVVVVVVVVVVVVVVQ","event":"card_removed","card_id":"ZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmY","ago_s":3}"#);
    assert_snapshot!(wire[16], @r#"{"type":"pong","id":"probe-7"}"#);
    assert_snapshot!(wire[17], @r#"{"type":"offer","ceremony_id":"cer_EREREREREREREREREREREQ","ceremony_type":"approval","client_name":"Example Bank","rp_id":"bank.example","username":"ada@bank.example","display_name":"Ada \"the Countess\" Lovelace","message":"Zahlung bestätigen","transaction":{"title":"Payment to Ada","fields":[{"label":"Amount","value":"120.00 EUR"}]},"context":{"ip":"192.0.2.7","user_agent":"Firefox on Linux","location":"Vienna, AT"},"code_length":6,"expires_in":120,"by_code":true,"rang":false,"known_browser":true,"after_not_me":false,"claim_id":"claim-3"}"#);
    assert_snapshot!(wire[18], @r#"{"type":"error","code":"wrong_code","message":"wrong code, 9 tries left today","retryable":false,"claim_id":"claim-3"}"#);
    assert_snapshot!(wire[19], @r#"{"type":"notice","notice_id":"ntc_VVVVVVVVVVVVVVVVVVVVVQ","event":"prompts_held","ago_s":3,"count":7,"since_s":900}"#);
}

#[test]
fn frames_of_a_device_have_not_changed() {
    let frames = device_frames();
    let wire: Vec<_> = frames.iter().map(DeviceFrame::encode).collect();
    assert_eq!(wire.len(), 13);
    assert_snapshot!(wire[0], @r#"{"type":"auth","proof":"e30.e30.c2ln"}"#);
    assert_snapshot!(wire[1], @r#"{"type":"ack","ceremony_id":"cer_EREREREREREREREREREREQ","of":"offer"}"#);
    assert_snapshot!(wire[2], @r#"{"type":"ack","ceremony_id":"cer_EREREREREREREREREREREQ","of":"challenge"}"#);
    assert_snapshot!(wire[3], @r#"{"type":"ack","ceremony_id":"cer_EREREREREREREREREREREQ","of":"closed"}"#);
    assert_snapshot!(wire[4], @r#"{"type":"claim","ceremony_id":"cer_EREREREREREREREREREREQ","code":"402917"}"#);
    assert_snapshot!(wire[5], @r#"{"type":"card","ceremony_id":"cer_EREREREREREREREREREREQ","event":"present"}"#);
    assert_snapshot!(wire[6], @r#"{"type":"card","ceremony_id":"cer_EREREREREREREREREREREQ","event":"error","code":608}"#);
    assert_snapshot!(wire[7], @r#"{"type":"answer","ceremony_id":"cer_EREREREREREREREREREREQ","attempt":"att_MzMzMzMzMzMzMzMzMzMzMw","credential":{ "rawId":"AQ",  "id" : "\u0041Q", "n":1.50, "big":12345678901234567890123, "response":{ } }}"#);
    assert_snapshot!(wire[8], @r#"{"type":"decline","ceremony_id":"cer_EREREREREREREREREREREQ","reason":"declined"}"#);
    assert_snapshot!(wire[9], @r#"{"type":"decline","ceremony_id":"cer_EREREREREREREREREREREQ","reason":"not_me"}"#);
    assert_snapshot!(wire[10], @r#"{"type":"ping","id":"probe-7"}"#);
    assert_snapshot!(wire[11], @r#"{"type":"claim","code":"402 917","claim_id":"claim-3"}"#);
    assert_snapshot!(wire[12], @r#"{"type":"decline","reason":"not_me"}"#);
}

#[test]
fn every_frame_is_read_as_it_was_written() {
    for frame in relay_frames() {
        let text = frame.encode();
        assert_eq!(RelayFrame::decode(&text).unwrap().encode(), text);
        assert_eq!(DeviceFrame::decode(&text).unwrap_err(), FrameError::UnknownType);
    }
    for frame in device_frames() {
        let text = frame.encode();
        let read = DeviceFrame::decode(&text).unwrap();
        assert_eq!(read.encode(), text);
        assert_eq!(read.ceremony_id(), frame.ceremony_id());
        assert_eq!(RelayFrame::decode(&text).unwrap_err(), FrameError::UnknownType);
    }
}

#[test]
fn unknown_fields_are_ignored_so_that_either_side_may_be_newer() {
    let newer = |text: &str| text.replacen('{', r#"{"later":{"a":[1,2,{"type":"x"}]},"#, 1);
    for frame in relay_frames() {
        let text = frame.encode();
        assert_eq!(RelayFrame::decode(&newer(&text)).unwrap().encode(), text);
    }
    for frame in device_frames() {
        let text = frame.encode();
        assert_eq!(DeviceFrame::decode(&newer(&text)).unwrap().encode(), text);
    }
}

#[test]
fn the_type_may_come_anywhere_in_a_frame() {
    let text = r#"{"of":"offer","type":"ack","ceremony_id":"cer_EREREREREREREREREREREQ"}"#;
    assert!(matches!(DeviceFrame::decode(text), Ok(DeviceFrame::Ack(_))));
    let escaped = text.replace("\"ack\"", "\"\\u0061ck\"");
    assert!(matches!(DeviceFrame::decode(&escaped), Ok(DeviceFrame::Ack(_))));
}

#[test]
fn what_the_card_signed_passes_byte_for_byte() {
    let answer = device_frames().into_iter().find_map(|frame| match frame {
        DeviceFrame::Answer(answer) => Some(DeviceFrame::Answer(answer).encode()),
        _ => None,
    });
    let Ok(DeviceFrame::Answer(read)) = DeviceFrame::decode(&answer.unwrap()) else {
        panic!("an answer is read as an answer")
    };
    assert_eq!(read.credential.get(), CREDENTIAL);

    let challenge = relay_frames().into_iter().find_map(|frame| match frame {
        RelayFrame::Challenge(challenge) => Some(RelayFrame::Challenge(challenge).encode()),
        _ => None,
    });
    let Ok(RelayFrame::Challenge(read)) = RelayFrame::decode(&challenge.unwrap()) else {
        panic!("a challenge is read as a challenge")
    };
    assert_eq!(read.public_key.get(), OPTIONS);
}

#[test]
fn what_is_not_a_frame_is_told_apart_from_what_is_not_known() {
    for (text, why) in [
        ("", FrameError::Invalid),
        ("null", FrameError::Invalid),
        ("[]", FrameError::Invalid),
        ("{}", FrameError::Invalid),
        (r#"{"type":7}"#, FrameError::Invalid),
        (r#"{"type":"ack"}"#, FrameError::Invalid),
        (r#"{"type":"ack","type":"ack"}"#, FrameError::Invalid),
        (r#"{"type":"ack","ceremony_id":"cer_x","of":"offer"}"#, FrameError::Invalid),
        (
            r#"{"type":"ack","ceremony_id":"cer_EREREREREREREREREREREQR","of":"offer"}"#,
            FrameError::Invalid,
        ),
        (
            r#"{"type":"ack","ceremony_id":"cer_EREREREREREREREREREREQ","of":"x"}"#,
            FrameError::Invalid,
        ),
        (
            r#"{"type":"card","ceremony_id":"cer_EREREREREREREREREREREQ","event":"error","code":599}"#,
            FrameError::Invalid,
        ),
        (r#"{"type":"auth","proof":"x"} x"#, FrameError::Invalid),
        (r#"{"type":"ping"}"#, FrameError::Invalid),
        (r#"{"type":"ping","id":""}"#, FrameError::Invalid),
        (r#"{"type":"ping","id":7}"#, FrameError::Invalid),
        (r#"{"type":"ping","id":"\u202e"}"#, FrameError::Invalid),
        (r#"{"type":"telemetry"}"#, FrameError::UnknownType),
        (r#"{"type":"Auth","proof":"x"}"#, FrameError::UnknownType),
        (r#"{"type":"hello","nonce":"x","auth_within_s":1}"#, FrameError::UnknownType),
    ] {
        assert_eq!(DeviceFrame::decode(text).unwrap_err(), why, "{text}");
    }
}

#[test]
fn words_of_the_wire_have_not_changed() {
    use FrameErrorCode as E;
    let codes = [
        E::InvalidFrame,
        E::UnknownType,
        E::UnknownCeremony,
        E::CodeMalformed,
        E::WrongCode,
        E::OtherDevice,
        E::CodeAmbiguous,
        E::TooManyCodes,
        E::DeviceLocked,
        E::ClaimedElsewhere,
        E::NotChallenged,
        E::AlreadyAnswered,
        E::AlreadyClosed,
        E::SlowDown,
        E::Unavailable,
    ];
    assert_snapshot!(codes.map(word).join(" "), @"invalid_frame unknown_type unknown_ceremony code_malformed wrong_code other_device code_ambiguous too_many_codes device_locked claimed_elsewhere not_challenged already_answered already_closed slow_down unavailable");
    let retryable: Vec<_> =
        codes.into_iter().filter(|code| code.is_retryable()).map(word).collect();
    assert_snapshot!(retryable.join(" "), @"slow_down unavailable");
    let of = [AckOf::Offer, AckOf::Challenge, AckOf::Closed];
    assert_snapshot!(of.map(word).join(" "), @"offer challenge closed");
    let events = [CardEvent::Present, CardEvent::Error];
    assert_snapshot!(events.map(word).join(" "), @"present error");
    let reasons = [DeclineReason::Declined, DeclineReason::NotMe];
    assert_snapshot!(reasons.map(word).join(" "), @"declined not_me");
    let outcomes = [
        Outcome::Succeeded,
        Outcome::Denied,
        Outcome::Rejected,
        Outcome::Failed,
        Outcome::Expired,
        Outcome::Cancelled,
        Outcome::Indeterminate,
    ];
    assert_snapshot!(outcomes.map(word).join(" "), @"succeeded denied rejected failed expired cancelled indeterminate");
}

fn word<T: Serialize>(value: T) -> String {
    let json = serde_json::to_value(value).unwrap();
    json.as_str().unwrap().to_owned()
}

#[test]
fn claims_of_the_proofs_have_not_changed() {
    let auth = AuthClaims {
        aud: "wss://relay.example/v1/device/socket".to_owned(),
        nonce: "bm9uY2U".to_owned(),
        device_id: DEVICE,
        iat: 1_700_000_000,
    };
    assert_snapshot!(serde_json::to_string(&auth).unwrap(), @r#"{"aud":"wss://relay.example/v1/device/socket","nonce":"bm9uY2U","device_id":"dev_IiIiIiIiIiIiIiIiIiIiIg","iat":1700000000}"#);
    let pull = PullClaims {
        aud: "https://relay.example".to_owned(),
        htm: "GET".to_owned(),
        htu: "https://relay.example/v1/device/ceremonies".to_owned(),
        device_id: DEVICE,
        iat: 1_700_000_000,
        jti: "0123456789abcdef".to_owned(),
        nonce: "bm9uY2U".to_owned(),
        body_sha256: "aGFzaA".to_owned(),
    };
    assert_snapshot!(serde_json::to_string(&pull).unwrap(), @r#"{"aud":"https://relay.example","htm":"GET","htu":"https://relay.example/v1/device/ceremonies","device_id":"dev_IiIiIiIiIiIiIiIiIiIiIg","iat":1700000000,"jti":"0123456789abcdef","nonce":"bm9uY2U","body_sha256":"aGFzaA"}"#);
    assert_eq!(PULL_TYP, "fido-relay-pull+jwt");
    let pairing = PairingClaims {
        aud: "https://relay.example/v1/devices".to_owned(),
        token_hash: "aGFzaA".to_owned(),
        jkt: "dGh1bWI".to_owned(),
        iat: 1_700_000_000,
    };
    assert_snapshot!(serde_json::to_string(&pairing).unwrap(), @r#"{"aud":"https://relay.example/v1/devices","token_hash":"aGFzaA","jkt":"dGh1bWI","iat":1700000000}"#);
    assert_eq!([AUTH_TYP, PAIRING_TYP], ["fido-relay-device+jwt", "fido-relay-pairing+jwt"]);
    let key = KeyClaims {
        aud: "https://relay.example/v1/device/key".to_owned(),
        device_id: DEVICE,
        old_jkt: "old".to_owned(),
        new_jkt: "new".to_owned(),
        iat: 1_795_435_200,
    };
    assert_snapshot!(serde_json::to_string(&key).unwrap(), @r#"{"aud":"https://relay.example/v1/device/key","device_id":"dev_IiIiIiIiIiIiIiIiIiIiIg","old_jkt":"old","new_jkt":"new","iat":1795435200}"#);
    let typs = [KEY_ROTATION_TYP, KEY_POSSESSION_TYP];
    assert_eq!(typs, ["fido-relay-key-rotation+jwt", "fido-relay-key-possession+jwt"]);
}

const REASONS: [(Reason, &str); 17] = [
    (Reason::Declined, "declined"),
    (Reason::NotMe, "not_me"),
    (Reason::WrongCode, "wrong_code"),
    (Reason::Deadline, "deadline"),
    (Reason::SessionExpired, "session_expired"),
    (Reason::PinFailed, "pin_failed"),
    (Reason::NoCredential, "no_credential"),
    (Reason::CardFull, "card_full"),
    (Reason::CardLimit, "card_limit"),
    (Reason::Card(605), "card_605"),
    (Reason::Card(609), "card_609"),
    (Reason::Card(617), "card_617"),
    (Reason::UpstreamRejected, "upstream_rejected"),
    (Reason::UpstreamUnavailable, "upstream_unavailable"),
    (Reason::UpstreamFull, "upstream_full"),
    (Reason::UpstreamUnknown, "upstream_unknown"),
    (Reason::Interrupted, "interrupted"),
];

#[test]
fn reasons_are_read_as_they_are_written() {
    for (reason, code) in REASONS {
        assert_eq!(reason.code(), code);
        assert_eq!(code.parse(), Ok(reason));
        assert_eq!(serde_json::to_value(reason).unwrap(), code);
        assert_eq!(serde_json::from_value::<Reason>(code.into()).unwrap(), reason);
    }
}

#[test]
fn a_reason_has_one_spelling() {
    for code in [
        "",
        "Declined",
        "card_",
        "card_0605",
        "card_+605",
        "card_ 605",
        "card_99999",
        "card_5",
        "605",
    ] {
        assert!(code.parse::<Reason>().is_err(), "{code:?}");
    }
}

#[test]
fn a_page_is_told_no_reason_that_tells_of_the_card() {
    let hidden: Vec<_> = REASONS
        .iter()
        .filter(|(reason, _)| reason.is_about_card())
        .map(|(_, code)| *code)
        .collect();
    let expected = "pin_failed no_credential card_full card_limit card_605 card_609 card_617";
    assert_eq!(hidden.join(" "), expected);
}

#[test]
fn a_card_error_is_one_of_the_cards_own_numbers() {
    for number in [0, 599, 618, u16::MAX] {
        assert!(CardErrorCode::new(number).is_err(), "{number}");
    }
    for number in 600..=617 {
        assert_eq!(CardErrorCode::new(number).unwrap().number(), Some(number));
    }
}

#[test]
fn nothing_secret_is_printed() {
    let printed = format!("{:?} {:?}", device_frames(), relay_frames());
    for secret in ["e30.e30.c2ln", "402917", "rawId", "Y2hhbGxlbmdl", "allowCredentials"] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
}
