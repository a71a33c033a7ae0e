//! No byte of a signed answer can be changed.

use proptest::prelude::*;
use serde_json::Value;

use super::forge::Forge;
use super::{ALGORITHMS, NOW, ORIGIN, expected, parse};
use crate::answer::{Bytes, bytes};
use crate::attestation::AttestationPolicy;
use crate::authentication::{self, CredentialRecord};
use crate::registration;

/// Changes one byte of one member of the response.
fn mutate(answer: &mut Value, member: &str, at: prop::sample::Index, change: u8) {
    let member = &mut answer["response"][member];
    let mut data = bytes(member.as_str().unwrap()).unwrap();
    let at = at.index(data.len());
    data[at] ^= change;
    *member = Value::String(Bytes(data).text());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_changed_byte_of_an_authentication_never_verifies(
        algorithm in prop::sample::select(&ALGORITHMS[..2]),
        member in prop::sample::select(&["clientDataJSON", "authenticatorData", "signature"][..]),
        at: prop::sample::Index,
        change in 1..=255_u8,
    ) {
        let forge = Forge::authentication(algorithm);
        let record = CredentialRecord {
            user_handles: &[],
            public_key: &forge.cose,
            sign_count: 0,
            backup_eligible: false,
        };
        let origins = [ORIGIN.to_owned()];
        let mut lenient = expected(&origins, &[]);
        lenient.user_verification = false;
        let mut answer = forge.signed();
        let verify = |answer: &Value| {
            authentication::verify(&parse(answer).unwrap(), &lenient, &[], Some(&record)).is_ok()
        };
        prop_assert!(verify(&answer));
        mutate(&mut answer, member, at, change);
        prop_assert!(!verify(&answer));
    }

    #[test]
    fn a_changed_byte_of_a_self_attested_registration_never_verifies(
        algorithm in prop::sample::select(&ALGORITHMS[..2]),
        member in prop::sample::select(&["clientDataJSON", "authenticatorData", "signature"][..]),
        at: prop::sample::Index,
        change in 1..=255_u8,
    ) {
        let forge = Forge::registration(algorithm);
        let origins = [ORIGIN.to_owned()];
        let mut lenient = expected(&origins, &[]);
        lenient.user_verification = false;
        let mut answer = forge.signed();
        let verify = |answer: &Value| {
            let policy = AttestationPolicy::default();
            registration::verify(parse(answer).unwrap(), &lenient, &ALGORITHMS, &policy, NOW)
                .is_ok()
        };
        prop_assert!(verify(&answer));
        mutate(&mut answer, member, at, change);
        prop_assert!(!verify(&answer));
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_panic(
        object in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let forge = Forge::registration(ALGORITHMS[1]);
        let origins = [ORIGIN.to_owned()];
        let expected = expected(&origins, &[]);
        let answer = parse(&forge.answer_with(&object)).unwrap();
        let policy = AttestationPolicy::default();
        prop_assert!(
            registration::verify(answer, &expected, &ALGORITHMS, &policy, NOW).is_err()
        );
        prop_assert!(crate::answer::Answer::parse(&object).is_err());
    }
}

/// RSA keys take too long to make for hundreds of cases: one key, every byte of the signature.
#[test]
fn a_changed_byte_of_an_rsa_signature_never_verifies() {
    let forge = Forge::registration(ALGORITHMS[2]);
    let origins = [ORIGIN.to_owned()];
    let expected = expected(&origins, &[]);
    let policy = AttestationPolicy::default();
    let honest = forge.signature();
    let verifies = |signature: Vec<u8>| {
        let answer = parse(&forge.signed_with(signature)).unwrap();
        registration::verify(answer, &expected, &ALGORITHMS, &policy, NOW).is_ok()
    };
    assert!(verifies(honest.clone()));
    for at in 0..honest.len() {
        let mut bent = honest.clone();
        bent[at] ^= 1;
        assert!(!verifies(bent), "byte {at}");
    }
}
