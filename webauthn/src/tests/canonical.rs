//! CTAP2's canonical CBOR form: what is refused, where, and what is not.

use ciborium::Value;

use super::forge::{ED, Forge, cbor};
use super::{ALGORITHMS, ES256, NOW, ORIGIN, expected, parse};
use crate::attestation::AttestationPolicy;
use crate::cbor::{Form, only_item};
use crate::failure::VerifyError;
use crate::registration;

fn verify(answer: &serde_json::Value) -> Option<VerifyError> {
    let origins = [ORIGIN.to_owned()];
    let expected = expected(&origins, &[]);
    let policy = AttestationPolicy::default();
    registration::verify(parse(answer).unwrap(), &expected, &ALGORITHMS, &policy, NOW).err()
}

/// Encodings of the same item that are not the shortest.
const LONGER: [(&[u8], &[u8]); 15] = [
    (&[0x17], &[0x18, 0x17]),
    (&[0x18, 0xff], &[0x19, 0x00, 0xff]),
    (&[0x19, 0xff, 0xff], &[0x1a, 0x00, 0x00, 0xff, 0xff]),
    (&[0x1a, 0xff, 0xff, 0xff, 0xff], &[0x1b, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]),
    (&[0x26], &[0x38, 0x06]),
    (&[0x41, 0x07], &[0x58, 0x01, 0x07]),
    (&[0x41, 0x07], &[0x5f, 0x41, 0x07, 0xff]),
    (&[0x61, 0x61], &[0x78, 0x01, 0x61]),
    (&[0x61, 0x61], &[0x7f, 0x61, 0x61, 0xff]),
    (&[0x81, 0x01], &[0x98, 0x01, 0x01]),
    (&[0x81, 0x01], &[0x9f, 0x01, 0xff]),
    (&[0xa1, 0x01, 0x01], &[0xb8, 0x01, 0x01, 0x01]),
    (&[0xa1, 0x01, 0x01], &[0xbf, 0x01, 0x01, 0xff]),
    (&[0x81, 0x81, 0x01], &[0x81, 0x9f, 0x01, 0xff]),
    (&[0x80], &[0xc2, 0x80]),
];

#[test]
fn only_the_shortest_definite_form_without_tags_is_read() {
    for (canonical, longer) in LONGER {
        for form in [Form::Shortest, Form::Canonical] {
            assert!(only_item(canonical, form).is_some(), "{canonical:02x?}");
            assert!(only_item(longer, form).is_none(), "{longer:02x?}");
        }
        assert!(only_item(longer, Form::Any).is_some() || longer[0] == 0xc2, "{longer:02x?}");
    }
}

#[test]
fn canonical_maps_are_in_order_of_major_type_length_and_bytes() {
    let map = |keys: &[Value]| {
        cbor(&Value::Map(keys.iter().map(|key| (key.clone(), Value::Null)).collect()))
    };
    let ordered: Vec<Value> =
        vec![1.into(), 3.into(), 300.into(), (-1).into(), (-300).into(), "b".into(), "aa".into()];
    assert!(only_item(&map(&ordered), Form::Canonical).is_some());
    for at in 1..ordered.len() {
        let mut swapped = ordered.clone();
        swapped.swap(at - 1, at);
        assert!(only_item(&map(&swapped), Form::Canonical).is_none(), "{at}");
        assert!(only_item(&map(&swapped), Form::Shortest).is_some(), "{at}");
    }
}

#[test]
fn section_6_5_1_a_public_key_in_another_form_is_refused() {
    let mut forge = Forge::registration(ES256);
    let members = forge.key.cose().into_map().unwrap();
    for at in 1..members.len() {
        let mut swapped = members.clone();
        swapped.swap(at - 1, at);
        forge.cose = cbor(&Value::Map(swapped));
        assert_eq!(verify(&forge.self_attested()), Some(VerifyError::PublicKey), "{at}");
    }
    let canonical = cbor(&Value::Map(members));
    forge.cose = [&[0xb8, 0x05], &canonical[1..]].concat();
    assert_eq!(verify(&forge.self_attested()), Some(VerifyError::PublicKey), "long head");
    forge.cose = [&[0xbf], &canonical[1..], &[0xff]].concat();
    assert_eq!(verify(&forge.self_attested()), Some(VerifyError::PublicKey), "indefinite");
}

#[test]
fn section_6_1_extensions_in_another_form_are_refused() {
    let mut forge = Forge::registration(ES256);
    forge.flags |= ED;
    for (tail, refused) in [
        (vec![0xa1, 0x61, 0x61, 0x02], None),
        (vec![0xa1, 0x61, 0x61, 0x18, 0x02], Some(VerifyError::AuthenticatorData)),
        (vec![0xbf, 0x61, 0x61, 0x02, 0xff], Some(VerifyError::AuthenticatorData)),
    ] {
        forge.tail = tail;
        assert_eq!(verify(&forge.self_attested()), refused);
    }
}

#[test]
fn step_13_an_attestation_object_may_have_its_members_in_any_order_and_no_other_form() {
    let forge = Forge::registration(ES256);
    let members = forge.object("packed", forge.packed()).into_map().unwrap();
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let object = cbor(&Value::Map(order.map(|at| members[at].clone()).to_vec()));
        assert_eq!(verify(&forge.answer_with(&object)), None, "{order:?}");
    }
    let canonical = cbor(&Value::Map(members));
    for object in [
        [&[0xb8, 0x03], &canonical[1..]].concat(),
        [&[0xbf], &canonical[1..], &[0xff]].concat(),
        [&[0xd9, 0xd9, 0xf7], &canonical[..]].concat(),
    ] {
        let refused = verify(&forge.answer_with(&object));
        assert_eq!(refused, Some(VerifyError::AttestationObject));
    }
}
