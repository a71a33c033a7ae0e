//! No byte of a signed answer can be changed, no item of CBOR has a second spelling, and no bytes
//! make the verifier panic.

use std::sync::LazyLock;

use ciborium::Value as Cbor;
use proptest::prelude::*;
use rcgen::SigningKey as _;
use serde_json::Value;

use super::certificates::{Authority, honest, p256, trusting};
use super::forge::{Forge, cbor};
use super::formats;
use super::{ALGORITHMS, EDDSA, ES256, NOW, ORIGIN, PS256, QUICK, RS256, expected, parse, sha256};
use crate::answer::{Bytes, bytes};
use crate::attestation::AttestationPolicy;
use crate::authentication::{self, CredentialRecord};
use crate::cbor::{Form, only_item};
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
        algorithm in prop::sample::select(&ALGORITHMS[..QUICK]),
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
        algorithm in prop::sample::select(&ALGORITHMS[..QUICK]),
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
        let forge = Forge::registration(EDDSA);
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

/// A policy, the registration, and by its name each honest attestation object of it.
type Objects = (AttestationPolicy, Forge, Vec<(&'static str, Vec<u8>)>);

/// Objects of the formats of which every byte is signed, or leads to the root.
static OBJECTS: LazyLock<Objects> = LazyLock::new(|| {
    let (root, key) = (Authority::new("Root"), p256());
    let forge = Forge::registration(ES256);
    let leaf = root.issue(&honest(), &key);
    let mut packed = forge.packed();
    packed[1].1 = Cbor::Bytes(key.sign(&forge.message()).unwrap());
    packed.push(formats::x5c(&[&leaf]));
    let nonce = formats::certify(&forge, &root, Some(formats::nonce(&forge.message())));
    let list = [formats::purposes(&[2]), formats::origin(0)].concat();
    let described = formats::description(&sha256(&forge.client_data()), &[], &list);
    let described = formats::certify(&forge, &root, Some(described));
    let public = formats::public_area(&forge);
    let certified = formats::attest(&sha256(&forge.message()), &public);
    let identity = root.issue(&formats::identity(), &key);
    let objects = [
        ("packed", packed),
        ("apple", vec![formats::x5c(&[&nonce])]),
        ("android-key", formats::android_key(&forge, &described)),
        ("tpm", formats::tpm(&certified, &public, &key, &identity)),
    ];
    let mut objects: Vec<(&str, Vec<u8>)> = objects
        .into_iter()
        .map(|(format, statement)| (format, cbor(&forge.object(format, statement))))
        .collect();
    objects.push(("self", cbor(&forge.object("packed", forge.packed()))));
    let mut policy = trusting(&[&root]);
    policy.none = false;
    (policy, forge, objects)
});

fn verifies_object(object: &[u8]) -> bool {
    let (policy, forge, _) = &*OBJECTS;
    let origins = [ORIGIN.to_owned()];
    let mut lenient = expected(&origins, &[]);
    lenient.user_verification = false;
    let answer = parse(&forge.answer_with(object)).unwrap();
    registration::verify(answer, &lenient, &ALGORITHMS, policy, NOW).is_ok()
}

/// Any item of the kinds that CTAP2 knows.
fn item() -> impl Strategy<Value = Cbor> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Cbor::from),
        any::<bool>().prop_map(Cbor::Bool),
        Just(Cbor::Null),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Cbor::Bytes),
        ".{0,40}".prop_map(Cbor::Text),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Cbor::Array),
            prop::collection::vec((inner.clone(), inner), 0..6).prop_map(Cbor::Map),
        ]
    })
}

/// Writes an item, with the head of number `longer` in a longer form than it needs.
fn spell(item: &Cbor, longer: &mut i32, bytes: &mut Vec<u8>) {
    if let Some(list) = item.as_array() {
        head(0x80, list.len() as u64, longer, bytes);
        list.iter().for_each(|one| spell(one, longer, bytes));
    } else if let Some(map) = item.as_map() {
        head(0xa0, map.len() as u64, longer, bytes);
        for (key, value) in map {
            spell(key, longer, bytes);
            spell(value, longer, bytes);
        }
    } else if let Some(content) = item.as_bytes() {
        head(0x40, content.len() as u64, longer, bytes);
        bytes.extend(content);
    } else if let Some(text) = item.as_text() {
        head(0x60, text.len() as u64, longer, bytes);
        bytes.extend(text.as_bytes());
    } else if let Some(number) = item.as_integer() {
        let number = i64::try_from(number).unwrap();
        let major = if number < 0 { 0x20 } else { 0 };
        let argument = if number < 0 { !number } else { number };
        head(major, argument as u64, longer, bytes);
    } else {
        bytes.extend(cbor(item));
    }
}

fn head(major: u8, argument: u64, longer: &mut i32, bytes: &mut Vec<u8>) {
    let mut width = match argument {
        0..24 => 0,
        24..0x100 => 1,
        0x100..0x1_0000 => 2,
        0x1_0000..0x1_0000_0000 => 4,
        _ => 8,
    };
    if *longer == 0 && width < 8 {
        width = if width == 0 { 1 } else { width * 2 };
    } else if *longer == 0 {
        // There is no longer form: the next head takes the turn.
        *longer += 1;
    }
    *longer -= 1;
    match width {
        0 => bytes.push(major | argument as u8),
        _ => {
            bytes.push(major | [24, 25, 26, 27][(width as usize).ilog2() as usize]);
            bytes.extend(&argument.to_be_bytes()[8 - width as usize..]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_changed_byte_of_an_attestation_object_never_verifies(
        format in 0..5_usize,
        at: prop::sample::Index,
        change in 1..=255_u8,
    ) {
        let (format, honest) = &OBJECTS.2[format];
        prop_assert!(verifies_object(honest), "{format}");
        let mut bent = honest.clone();
        let at = at.index(bent.len());
        bent[at] ^= change;
        prop_assert!(!verifies_object(&bent), "{format}, byte {at}");
    }

    #[test]
    fn an_item_has_one_spelling(item in item(), longer in 0..30_i32) {
        let bytes = cbor(&item);
        let mut same = Vec::new();
        spell(&item, &mut -1, &mut same);
        prop_assert_eq!(&same, &bytes, "the writer of this test");
        let read = only_item(&bytes, Form::Shortest);
        // Maps with a key twice are refused, and the rest reads as what was written.
        prop_assert_eq!(&read, &only_item(&bytes, Form::Any));
        prop_assert!(read.is_none_or(|read| read == item));
        let mut spelled = Vec::new();
        spell(&item, &mut longer.clone(), &mut spelled);
        if spelled != bytes {
            prop_assert!(only_item(&spelled, Form::Shortest).is_none());
        }
    }

    #[test]
    fn arbitrary_public_keys_certificates_and_lists_are_refused_without_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        prop_assert!(crate::cose::PublicKey::from_cose_bytes(&bytes).is_none());
        prop_assert!(crate::certificate::Certificate::parse(&bytes).is_err());
        prop_assert!(crate::Metadata::verify(&bytes, NOW).is_err());
        let stored = crate::StoredAnswer::Bare { authenticator_data: &bytes, signature: &bytes };
        prop_assert!(crate::verify_stored(&bytes, stored).is_err());
    }
}

/// RSA keys take too long to make for hundreds of cases: one key each, every byte of the signature.
#[test]
fn a_changed_byte_of_an_rsa_signature_never_verifies() {
    let origins = [ORIGIN.to_owned()];
    let expected = expected(&origins, &[]);
    let policy = AttestationPolicy::default();
    for algorithm in [RS256, PS256] {
        let forge = Forge::registration(algorithm);
        let honest = forge.signature();
        let verifies = |signature: Vec<u8>| {
            let answer = parse(&forge.signed_with(signature)).unwrap();
            registration::verify(answer, &expected, &ALGORITHMS, &policy, NOW).is_ok()
        };
        assert!(verifies(honest.clone()));
        for at in 0..honest.len() {
            let mut bent = honest.clone();
            bent[at] ^= 1;
            assert!(!verifies(bent), "{algorithm}, byte {at}");
        }
    }
}
