//! Section 7.1, step by step: an honest registration passes, and one that breaks a single step
//! fails at that step.

use ciborium::Value;
use serde_json::json;

use super::forge::{BE, BS, ED, Forge, UP, UV, cbor};
use super::{ALGORITHMS, EDDSA, ES256, NOW, ORIGIN, RS256, expected, parse};
use crate::attestation::AttestationPolicy;
use crate::failure::VerifyError;
use crate::registration::{self, NewCredential};

fn verify(answer: &serde_json::Value) -> Result<NewCredential, VerifyError> {
    let origins = [ORIGIN.to_owned()];
    let expected = expected(&origins, &[]);
    registration::verify(parse(answer)?, &expected, &ALGORITHMS, &AttestationPolicy::default(), NOW)
}

/// Bends an honest registration and tells how both forms of attestation object fare. Both must
/// agree: no check may hang on there being a signature.
fn fails_with(bend: impl Fn(&mut Forge), step: VerifyError) {
    let mut forge = Forge::registration(ES256);
    assert!(verify(&forge.unattested()).is_ok(), "honest without attestation");
    assert!(verify(&forge.self_attested()).is_ok(), "honest with self attestation");
    bend(&mut forge);
    assert_eq!(verify(&forge.unattested()).err(), Some(step));
    assert_eq!(verify(&forge.self_attested()).err(), Some(step));
}

#[test]
fn an_honest_registration_of_each_algorithm_passes_in_each_form() {
    for algorithm in ALGORITHMS {
        let forge = Forge::registration(algorithm);
        for answer in [forge.unattested(), forge.self_attested(), forge.signed()] {
            let made = verify(&answer).unwrap_or_else(|step| panic!("{algorithm}: {step}"));
            assert_eq!(made.id, forge.id);
            assert_eq!(made.public_key, forge.cose);
            assert_eq!(made.aaguid, forge.aaguid);
            assert!(made.user_verified && !made.backup_eligible && !made.backed_up);
        }
    }
}

#[test]
fn step_3_an_answer_of_another_form_is_refused() {
    let honest = Forge::registration(ES256).unattested();
    let bend = |path: &str, value: serde_json::Value| {
        let mut bent = honest.clone();
        *bent.pointer_mut(path).unwrap() = value;
        verify(&bent).err()
    };
    for (path, value) in [
        ("/type", json!("password")),
        ("/type", json!(null)),
        ("/id", json!("not base64!")),
        ("/rawId", json!(7)),
        ("/response", json!({})),
        ("/response", json!([])),
        ("/response/clientDataJSON", json!(null)),
        ("/response/attestationObject", json!(null)),
        ("/response/attestationObject", json!("*")),
    ] {
        assert_eq!(bend(path, value), Some(VerifyError::Response), "{path}");
    }
    for text in ["", "[]", "{", "null", "\"credential\""] {
        let answer = super::Answer::parse(text.as_bytes());
        assert_eq!(answer.err(), Some(VerifyError::Response), "{text}");
    }
}

#[test]
fn padded_base64_of_either_alphabet_is_read() {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    let forge = Forge::registration(ES256);
    let object = cbor(&forge.object("none", Vec::new()));
    let mut answer = forge.unattested();
    answer["response"]["attestationObject"] = STANDARD.encode(object).into();
    answer["rawId"] = URL_SAFE.encode(&forge.id).into();
    assert!(verify(&answer).is_ok());
}

#[test]
fn step_5_client_data_that_are_not_utf8_are_refused() {
    fails_with(
        |forge| forge.client_bytes = Some(b"{\"type\":\"\xff\"}".to_vec()),
        VerifyError::ClientDataText,
    );
}

#[test]
fn step_5_a_byte_order_mark_is_taken_off() {
    let mut forge = Forge::registration(ES256);
    let text = forge.client_data();
    forge.client_bytes = Some([b"\xef\xbb\xbf".as_slice(), &text].concat());
    assert!(verify(&forge.self_attested()).is_ok());
}

#[test]
fn step_6_client_data_that_are_not_the_json_are_refused() {
    let honest = String::from_utf8(Forge::registration(ES256).client_data()).unwrap();
    let twice = honest.replacen('{', "{\"type\":\"webauthn.create\",", 1);
    for text in ["", "[]", "{}", "{\"type\":1}", &format!("{honest} x"), &twice] {
        let text = text.as_bytes().to_vec();
        fails_with(|forge| forge.client_bytes = Some(text.clone()), VerifyError::ClientDataJson);
    }
}

#[test]
fn step_7_another_type_is_refused() {
    for kind in ["webauthn.get", "WebAuthn.create", "webauthn.create ", ""] {
        fails_with(|forge| forge.client_data["type"] = kind.into(), VerifyError::Type);
    }
}

#[test]
fn step_8_another_challenge_is_refused() {
    for challenge in ["", "BwcHBw", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="] {
        fails_with(
            |forge| forge.client_data["challenge"] = challenge.into(),
            VerifyError::Challenge,
        );
    }
}

#[test]
fn step_9_an_origin_that_is_not_listed_exactly_is_refused() {
    for origin in [
        "",
        "null",
        "http://example.org",
        "https://example.org/",
        "https://example.org:443",
        "https://EXAMPLE.org",
        "https://www.example.org",
        "https://example.org.evil.example",
        "https://example.org@evil.example",
        " https://example.org",
        "android:apk-key-hash:AAAA",
    ] {
        fails_with(|forge| forge.client_data["origin"] = origin.into(), VerifyError::Origin);
    }
}

#[test]
fn step_10_a_frame_is_refused_where_none_is_expected() {
    fails_with(|forge| forge.client_data["crossOrigin"] = true.into(), VerifyError::CrossOrigin);
}

#[test]
fn step_11_a_surrounding_page_is_refused_unless_it_is_listed() {
    let top = "https://portal.example";
    fails_with(|forge| forge.client_data["topOrigin"] = top.into(), VerifyError::TopOrigin);

    let (origins, tops) = ([ORIGIN.to_owned()], [top.to_owned()]);
    let expected = expected(&origins, &tops);
    let mut forge = Forge::registration(ES256);
    forge.client_data["crossOrigin"] = true.into();
    let verify = |forge: &Forge| {
        let answer = parse(&forge.unattested()).unwrap();
        let policy = AttestationPolicy::default();
        registration::verify(answer, &expected, &ALGORITHMS, &policy, NOW).err()
    };
    forge.client_data["topOrigin"] = top.into();
    assert_eq!(verify(&forge), None);
    forge.client_data["topOrigin"] = "https://other.example".into();
    assert_eq!(verify(&forge), Some(VerifyError::TopOrigin));
}

#[test]
fn step_13_a_malformed_attestation_object_is_refused() {
    let forge = Forge::registration(ES256);
    let honest = cbor(&forge.object("none", Vec::new()));
    let without = |name: &str| {
        let mut map = forge.object("none", Vec::new()).into_map().unwrap();
        map.retain(|(key, _)| key.as_text() != Some(name));
        cbor(&Value::Map(map))
    };
    let mut twice = forge.object("none", Vec::new()).into_map().unwrap();
    twice.push(("fmt".into(), "none".into()));
    let mut wide = forge.object("none", Vec::new()).into_map().unwrap();
    wide.extend((0..100).map(|number| (Value::from(number), Value::Null)));
    let deep = (0..64).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
    for (what, object) in [
        ("empty", Vec::new()),
        ("not CBOR", vec![0xff; 40]),
        ("not a map", cbor(&Value::Array(Vec::new()))),
        ("cut off", honest[..honest.len() - 1].to_vec()),
        ("trailing byte", [honest.as_slice(), &[0]].concat()),
        ("no fmt", without("fmt")),
        ("no attStmt", without("attStmt")),
        ("no authData", without("authData")),
        ("a key twice", cbor(&Value::Map(twice))),
        ("too many keys", cbor(&Value::Map(wide))),
        ("too deep", cbor(&deep)),
    ] {
        let refused = verify(&forge.answer_with(&object)).err();
        assert_eq!(refused, Some(VerifyError::AttestationObject), "{what}");
    }
}

#[test]
fn section_6_1_authenticator_data_must_be_what_their_flags_say() {
    let malformed = VerifyError::AuthenticatorData;
    fails_with(|forge| forge.tail = vec![0], malformed);
    fails_with(|forge| forge.flags |= ED, malformed);
    let not_a_map = cbor(&Value::Array(Vec::new()));
    fails_with(
        |forge| {
            forge.flags |= ED;
            forge.tail = not_a_map.clone();
        },
        malformed,
    );
    // A registration without a credential.
    fails_with(|forge| forge.flags = UP | UV, malformed);

    let forge = Forge::registration(ES256);
    let whole = forge.authenticator_data();
    for length in [0, 31, 32, 33, 36, 37, 52, 54, 60] {
        let object = Value::Map(vec![
            ("fmt".into(), "none".into()),
            ("attStmt".into(), Value::Map(Vec::new())),
            ("authData".into(), Value::Bytes(whole[..length].to_vec())),
        ]);
        let refused = verify(&forge.answer_with(&cbor(&object))).err();
        assert_eq!(refused, Some(malformed), "cut to {length}");
    }
}

#[test]
fn step_28_extensions_that_nobody_asked_for_are_passed_over() {
    let mut forge = Forge::registration(ES256);
    forge.flags |= ED;
    forge.tail = cbor(&Value::Map(vec![("credProtect".into(), 2.into())]));
    assert!(verify(&forge.self_attested()).is_ok());
}

#[test]
fn section_6_5_1_a_public_key_that_is_none_is_refused() {
    fails_with(|forge| forge.cose = vec![0xff], VerifyError::PublicKey);
    fails_with(|forge| forge.cose = cbor(&Value::Map(Vec::new())), VerifyError::PublicKey);
    let mut ed25519_named_es256 = Forge::registration(EDDSA).key.cose().into_map().unwrap();
    ed25519_named_es256[1].1 = ES256.into();
    let cose = cbor(&Value::Map(ed25519_named_es256));
    fails_with(|forge| forge.cose = cose.clone(), VerifyError::PublicKey);
}

#[test]
fn step_14_another_relying_party_is_refused() {
    fails_with(|forge| forge.rp_id = "example.com".to_owned(), VerifyError::RpIdHash);
}

#[test]
fn step_15_an_absent_user_is_refused() {
    fails_with(|forge| forge.flags &= !UP, VerifyError::UserPresence);
}

#[test]
fn step_16_an_unverified_user_is_refused_where_verification_is_required() {
    fails_with(|forge| forge.flags &= !UV, VerifyError::UserVerification);

    let origins = [ORIGIN.to_owned()];
    let mut lenient = expected(&origins, &[]);
    lenient.user_verification = false;
    let mut forge = Forge::registration(ES256);
    forge.flags &= !UV;
    let answer = parse(&forge.unattested()).unwrap();
    let policy = AttestationPolicy::default();
    let made = registration::verify(answer, &lenient, &ALGORITHMS, &policy, NOW).unwrap();
    assert!(!made.user_verified);
}

#[test]
fn step_17_a_backup_of_what_cannot_be_backed_up_is_refused() {
    fails_with(|forge| forge.flags |= BS, VerifyError::BackupState);
    let mut forge = Forge::registration(ES256);
    forge.flags |= BE | BS;
    let made = verify(&forge.self_attested()).unwrap();
    assert!(made.backup_eligible && made.backed_up);
}

#[test]
fn step_20_an_algorithm_that_was_not_offered_is_refused() {
    let origins = [ORIGIN.to_owned()];
    let expected = expected(&origins, &[]);
    for algorithm in ALGORITHMS {
        let offered: Vec<i64> = ALGORITHMS.into_iter().filter(|one| *one != algorithm).collect();
        let answer = parse(&Forge::registration(algorithm).self_attested()).unwrap();
        let policy = AttestationPolicy::default();
        let refused = registration::verify(answer, &expected, &offered, &policy, NOW).err();
        assert_eq!(refused, Some(VerifyError::Algorithm));
    }
}

#[test]
fn step_25_a_credential_id_of_more_than_1023_bytes_or_none_is_refused() {
    for length in [0, 1024, 2000] {
        fails_with(|forge| forge.id = vec![1; length], VerifyError::CredentialIdLength);
    }
    let mut forge = Forge::registration(RS256);
    forge.id = vec![1; 1023];
    assert!(verify(&forge.self_attested()).is_ok());
}

#[test]
fn step_27_an_answer_under_another_id_is_refused() {
    let forge = Forge::registration(ES256);
    let mut answer = forge.self_attested();
    answer["rawId"] = "AAAA".into();
    assert_eq!(verify(&answer).err(), Some(VerifyError::CredentialId));
    answer["id"] = "AAAA".into();
    assert_eq!(verify(&answer).err(), Some(VerifyError::CredentialId));
}
