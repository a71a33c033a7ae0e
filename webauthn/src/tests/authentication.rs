//! Section 7.2, step by step: an honest authentication passes, and one that breaks a single step
//! fails at that step.

use serde_json::json;

use super::forge::{self, AT, BE, BS, ED, Forge, UP, UV, cbor};
use super::{ALGORITHMS, ES256, ORIGIN, expected, parse};
use crate::answer::Bytes;
use crate::authentication::{self, CredentialRecord, VerifiedAssertion};
use crate::failure::VerifyError;

/// The record that an honest registration of this credential would have left.
fn record(forge: &Forge) -> CredentialRecord<'static> {
    CredentialRecord {
        user_handles: &[b"handle"],
        public_key: forge.cose.clone().leak(),
        sign_count: 0,
        backup_eligible: false,
    }
}

fn verify(
    answer: &serde_json::Value,
    record: &CredentialRecord<'_>,
) -> Result<VerifiedAssertion, VerifyError> {
    let origins = [ORIGIN.to_owned()];
    let expected = expected(&origins, &[]);
    authentication::verify(&parse(answer)?, &expected, &[Bytes(forge::ID.to_vec())], Some(record))
}

/// Bends an honest authentication before it is signed: only the step itself can refuse it.
fn fails_with(bend: impl Fn(&mut Forge), step: VerifyError) {
    let mut forge = Forge::authentication(ES256);
    let record = record(&forge);
    assert!(verify(&forge.signed(), &record).is_ok(), "honest");
    bend(&mut forge);
    assert_eq!(verify(&forge.signed(), &record).err(), Some(step));
}

#[test]
fn an_honest_authentication_of_each_algorithm_passes() {
    for algorithm in ALGORITHMS {
        let mut forge = Forge::authentication(algorithm);
        forge.sign_count = 17;
        forge.user_handle = Some(b"handle".to_vec());
        let used = verify(&forge.signed(), &record(&forge)).unwrap();
        assert_eq!(used.sign_count, 17);
        assert!(used.user_verified && !used.backed_up);
    }
}

#[test]
fn step_3_an_answer_of_another_form_is_refused() {
    let forge = Forge::authentication(ES256);
    let record = record(&forge);
    for member in ["clientDataJSON", "authenticatorData", "signature"] {
        let mut answer = forge.signed();
        answer["response"].as_object_mut().unwrap().remove(member);
        assert_eq!(verify(&answer, &record).err(), Some(VerifyError::Response), "{member}");
    }
    let registration = Forge::registration(ES256).unattested();
    assert_eq!(verify(&registration, &record).err(), Some(VerifyError::Response));
    let mut other = forge.signed();
    other["rawId"] = json!("AAAA");
    assert_eq!(verify(&other, &record).err(), Some(VerifyError::CredentialId));
}

#[test]
fn step_5_a_credential_that_was_not_asked_for_is_refused() {
    let forge = Forge::authentication(ES256);
    let record = record(&forge);
    let origins = [ORIGIN.to_owned()];
    let expected = expected(&origins, &[]);
    let answer = parse(&forge.signed()).unwrap();
    let verify =
        |allowed: &[Bytes]| authentication::verify(&answer, &expected, allowed, Some(&record));
    let others = [Bytes(vec![1; 32]), Bytes(vec![2; 32])];
    assert_eq!(verify(&others).err(), Some(VerifyError::NotAllowed));
    assert!(verify(&[]).is_ok(), "an empty list asks for any of the user's");
}

#[test]
fn step_6_a_credential_that_the_user_has_not_is_refused() {
    let forge = Forge::authentication(ES256);
    let origins = [ORIGIN.to_owned()];
    let expected = expected(&origins, &[]);
    let answer = parse(&forge.signed()).unwrap();
    let refused = authentication::verify(&answer, &expected, &[], None).err();
    assert_eq!(refused, Some(VerifyError::UnknownCredential));
}

#[test]
fn step_6_another_users_handle_is_refused_and_an_empty_one_counts_as_none() {
    fails_with(
        |forge| forge.user_handle = Some(b"somebody else".to_vec()),
        VerifyError::UserHandle,
    );
    let mut forge = Forge::authentication(ES256);
    forge.user_handle = Some(Vec::new());
    assert!(verify(&forge.signed(), &record(&forge)).is_ok());
}

#[test]
fn steps_8_and_9_client_data_that_cannot_be_read_are_refused() {
    fails_with(
        |forge| forge.client_bytes = Some(vec![b'"', 0xff, b'"']),
        VerifyError::ClientDataText,
    );
    fails_with(|forge| forge.client_bytes = Some(b"{}".to_vec()), VerifyError::ClientDataJson);
}

#[test]
fn step_10_another_type_is_refused() {
    for kind in ["webauthn.create", "payment.get", ""] {
        fails_with(|forge| forge.client_data["type"] = kind.into(), VerifyError::Type);
    }
}

#[test]
fn step_11_another_challenge_is_refused() {
    fails_with(|forge| forge.client_data["challenge"] = "AAAA".into(), VerifyError::Challenge);
}

#[test]
fn step_12_an_origin_that_is_not_listed_is_refused() {
    for origin in ["https://example.org/", "https://example.com", "http://example.org"] {
        fails_with(|forge| forge.client_data["origin"] = origin.into(), VerifyError::Origin);
    }
}

#[test]
fn step_13_a_frame_is_refused() {
    fails_with(|forge| forge.client_data["crossOrigin"] = true.into(), VerifyError::CrossOrigin);
}

#[test]
fn step_14_a_surrounding_page_is_refused() {
    fails_with(|forge| forge.client_data["topOrigin"] = ORIGIN.into(), VerifyError::TopOrigin);
}

#[test]
fn section_6_1_malformed_authenticator_data_are_refused() {
    let malformed = VerifyError::AuthenticatorData;
    fails_with(|forge| forge.tail = vec![0], malformed);
    fails_with(|forge| forge.flags |= ED, malformed);
    fails_with(|forge| forge.flags |= AT, malformed);
}

#[test]
fn extensions_that_nobody_asked_for_are_passed_over() {
    let mut forge = Forge::authentication(ES256);
    forge.flags |= ED;
    forge.tail = cbor(&ciborium::Value::Map(vec![("uvm".into(), true.into())]));
    assert!(verify(&forge.signed(), &record(&forge)).is_ok());
}

#[test]
fn step_15_another_relying_party_is_refused() {
    fails_with(|forge| forge.rp_id = "example.net".to_owned(), VerifyError::RpIdHash);
}

#[test]
fn step_16_an_absent_user_is_refused() {
    fails_with(|forge| forge.flags &= !UP, VerifyError::UserPresence);
}

#[test]
fn step_17_an_unverified_user_is_refused_where_verification_is_required() {
    fails_with(|forge| forge.flags &= !UV, VerifyError::UserVerification);
}

#[test]
fn step_17_an_unverified_user_passes_and_is_told_where_it_is_not_required() {
    let mut forge = Forge::authentication(ES256);
    forge.flags &= !UV;
    let origins = [ORIGIN.to_owned()];
    let mut expected = expected(&origins, &[]);
    expected.user_verification = false;
    let answer = parse(&forge.signed()).unwrap();
    let used = authentication::verify(&answer, &expected, &[], Some(&record(&forge))).unwrap();
    assert!(!used.user_verified);
}

#[test]
fn step_18_a_backup_of_what_cannot_be_backed_up_is_refused() {
    fails_with(|forge| forge.flags |= BS, VerifyError::BackupState);
}

#[test]
fn step_19_backup_eligibility_never_changes() {
    fails_with(|forge| forge.flags |= BE, VerifyError::BackupEligibility);
    let forge = Forge::authentication(ES256);
    let mut eligible = record(&forge);
    eligible.backup_eligible = true;
    assert_eq!(verify(&forge.signed(), &eligible).err(), Some(VerifyError::BackupEligibility));
}

#[test]
fn step_19_the_backup_state_may_change() {
    let mut forge = Forge::authentication(ES256);
    forge.flags |= BE | BS;
    let mut record = record(&forge);
    record.backup_eligible = true;
    assert!(verify(&forge.signed(), &record).unwrap().backed_up);
}

#[test]
fn step_21_a_signature_by_another_key_is_refused() {
    for algorithm in ALGORITHMS {
        let forge = Forge::authentication(algorithm);
        let record = record(&forge);
        let other = Forge::authentication(algorithm);
        let strange = forge.signed_with(other.key.sign(&forge.message()).unwrap());
        assert_eq!(verify(&strange, &record).err(), Some(VerifyError::Signature));
        let empty = forge.signed_with(Vec::new());
        assert_eq!(verify(&empty, &record).err(), Some(VerifyError::Signature));
    }
}

#[test]
fn step_21_a_signature_over_something_else_is_refused() {
    let mut forge = Forge::authentication(ES256);
    let record = record(&forge);
    let signature = forge.signature();
    forge.client_data["extra"] = "later".into();
    let refused = verify(&forge.signed_with(signature), &record).err();
    assert_eq!(refused, Some(VerifyError::Signature));
    // Over the authenticator data alone, and with hash and data the other way round.
    let data = forge.authenticator_data();
    let hash = super::sha256(&forge.client_data());
    for message in [data.clone(), [hash, data].concat()] {
        let signature = forge.key.sign(&message).unwrap();
        let refused = verify(&forge.signed_with(signature), &record).err();
        assert_eq!(refused, Some(VerifyError::Signature));
    }
}

#[test]
fn step_22_a_counter_that_does_not_grow_is_refused() {
    for (stored, told, passes) in [
        (0, 0, true),
        (0, 1, true),
        (1, 2, true),
        (5, u32::MAX, true),
        (1, 1, false),
        (5, 4, false),
        (5, 0, false),
        (u32::MAX, 0, false),
    ] {
        let mut forge = Forge::authentication(ES256);
        forge.sign_count = told;
        let mut record = record(&forge);
        record.sign_count = stored;
        let refused = (!passes).then_some(VerifyError::SignCount);
        assert_eq!(verify(&forge.signed(), &record).err(), refused, "{stored} then {told}");
    }
}
