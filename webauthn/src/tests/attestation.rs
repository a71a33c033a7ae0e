//! Attestation statements without certificates, and the policy: steps 21 to 24 of section 7.1.

use ciborium::Value;

use super::forge::{Forge, cbor};
use super::{ALGORITHMS, EDDSA, ES256, NOW, ORIGIN, expected, parse};
use crate::attestation::{AttestationOutcome, AttestationPolicy, InvalidRoot};
use crate::failure::VerifyError;
use crate::model::parse_aaguid;
use crate::registration::{self, NewCredential};

fn verify_under(answer: &serde_json::Value, policy: &AttestationPolicy) -> Option<VerifyError> {
    let origins = [ORIGIN.to_owned()];
    let expected = expected(&origins, &[]);
    registration::verify(parse(answer).unwrap(), &expected, &ALGORITHMS, policy, NOW).err()
}

fn verify_statement(
    forge: &Forge,
    format: &str,
    members: Vec<(Value, Value)>,
) -> Option<VerifyError> {
    let object = cbor(&forge.object(format, members));
    verify_under(&forge.answer_with(&object), &AttestationPolicy::default())
}

/// What a registration with this statement makes where nothing need be proven.
pub(super) fn made(answer: &serde_json::Value) -> NewCredential {
    let origins = [ORIGIN.to_owned()];
    let expected = expected(&origins, &[]);
    let policy = AttestationPolicy::default();
    registration::verify(parse(answer).unwrap(), &expected, &ALGORITHMS, &policy, NOW).unwrap()
}

/// A policy that wants a statement, so that none may be passed over.
pub(super) fn wants_a_statement() -> AttestationPolicy {
    let mut policy = AttestationPolicy::default();
    policy.none = false;
    policy
}

#[test]
fn step_21_an_unknown_format_is_refused_or_no_attestation() {
    let forge = Forge::registration(ES256);
    for format in ["", "android-safetynet", "compound", "None", "PACKED", "packed "] {
        let answer = forge.answer_with(&cbor(&forge.object(format, Vec::new())));
        let refused = verify_under(&answer, &wants_a_statement());
        assert_eq!(refused, Some(VerifyError::Format), "{format}");
        let made = made(&answer);
        assert_eq!(made.attestation, AttestationOutcome::Ignored, "{format}");
        assert_eq!(made.ignored, Some(VerifyError::Format), "{format}");
    }
    for format in ["packed", "tpm", "android-key", "fido-u2f", "apple"] {
        let refused = verify_statement(&forge, format, Vec::new());
        assert_eq!(refused, Some(VerifyError::Statement), "{format}");
    }
}

#[test]
fn a_statement_that_proves_no_model_is_none() {
    let mut forge = Forge::registration(ES256);
    for answer in [forge.unattested(), forge.self_attested(), forge.signed()] {
        let made = made(&answer);
        assert_eq!((made.attestation, made.ignored), (AttestationOutcome::None, None));
        assert_eq!(made.model, None, "of no known model");
    }
    forge.aaguid = parse_aaguid("3f59672f-20aa-4afe-b6f4-7e5e916b6d98").unwrap();
    let model = made(&forge.self_attested()).model.unwrap();
    assert_eq!(model.name, "Arculus FIDO 2.1 Key Card [P71]");
    assert!(model.claimed, "by the card alone");
}

#[test]
fn step_22_a_none_statement_with_members_is_refused() {
    let forge = Forge::registration(ES256);
    let refused = verify_statement(&forge, "none", forge.packed());
    assert_eq!(refused, Some(VerifyError::Statement));
}

#[test]
fn step_22_a_packed_statement_must_have_its_members_and_no_others() {
    let forge = Forge::registration(ES256);
    let (alg, sig) = (forge.packed()[0].clone(), forge.packed()[1].clone());
    let named = |name: &str, value: Value| (Value::from(name), value);
    for (what, members) in [
        ("nothing", Vec::new()),
        ("no alg", vec![sig.clone()]),
        ("no sig", vec![alg.clone()]),
        ("alg is text", vec![named("alg", "ES256".into()), sig.clone()]),
        ("sig is text", vec![alg.clone(), named("sig", "signature".into())]),
        ("another member", vec![alg.clone(), sig.clone(), named("ecdaaKeyId", Value::Null)]),
        ("x5c is no list", vec![alg.clone(), sig.clone(), named("x5c", Value::Null)]),
        ("x5c is empty", vec![alg.clone(), sig.clone(), named("x5c", Value::Array(Vec::new()))]),
        (
            "x5c holds no bytes",
            vec![alg.clone(), sig.clone(), named("x5c", Value::Array(vec![Value::Null]))],
        ),
    ] {
        let refused = verify_statement(&forge, "packed", members);
        assert_eq!(refused, Some(VerifyError::Statement), "{what}");
    }
}

#[test]
fn step_22_self_attestation_names_the_credentials_own_algorithm() {
    let forge = Forge::registration(ES256);
    for algorithm in [EDDSA, -257, -35, 0] {
        let mut members = forge.packed();
        members[0].1 = algorithm.into();
        let refused = verify_statement(&forge, "packed", members);
        assert_eq!(refused, Some(VerifyError::StatementAlgorithm));
    }
}

#[test]
fn step_22_a_self_attestation_by_another_key_is_refused() {
    for algorithm in ALGORITHMS {
        let forge = Forge::registration(algorithm);
        let other = Forge::registration(algorithm);
        let signature = other.key.sign(&forge.message()).unwrap();
        let mut members = forge.packed();
        members[1].1 = Value::Bytes(signature.clone());
        let refused = verify_statement(&forge, "packed", members);
        assert_eq!(refused, Some(VerifyError::StatementSignature));
        // The vendor sample's form is held to the same.
        let refused = verify_under(&forge.signed_with(signature), &AttestationPolicy::default());
        assert_eq!(refused, Some(VerifyError::StatementSignature));
    }
}

#[test]
fn step_22_a_self_attestation_of_other_client_data_is_refused() {
    let mut forge = Forge::registration(ES256);
    let members = forge.packed();
    forge.client_data["extra"] = "later".into();
    let refused = verify_statement(&forge, "packed", members);
    assert_eq!(refused, Some(VerifyError::StatementSignature));
}

#[test]
fn step_24_the_policy_decides_which_types_are_accepted() {
    let forge = Forge::registration(ES256);
    let refused = Some(VerifyError::AttestationType);
    let mut no_none = AttestationPolicy::default();
    no_none.none = false;
    assert_eq!(verify_under(&forge.unattested(), &no_none), refused);
    assert_eq!(verify_under(&forge.self_attested(), &no_none), None);
    let mut no_self = AttestationPolicy::default();
    no_self.self_signed = false;
    assert_eq!(verify_under(&forge.self_attested(), &no_self), refused);
    assert_eq!(verify_under(&forge.signed(), &no_self), refused, "the vendor sample's form");
    assert_eq!(verify_under(&forge.unattested(), &no_self), None);
}

#[test]
fn a_root_that_is_no_certificate_is_told_by_its_place() {
    let refused = AttestationPolicy::default().with_roots([vec![0x30, 0x00]]).err();
    assert_eq!(refused, Some(InvalidRoot(1)));
}
