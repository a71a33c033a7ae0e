//! Public keys: exactly the known kinds, exactly their members, no weak ones.

use std::sync::LazyLock;

use ciborium::Value;

use super::forge::cbor;
use super::{ALGORITHMS, EDDSA, ES256, ES384, ML_DSA_44, ML_DSA_65, PS256, QUICK, RS256};
use crate::KeyPair as CardKey;
use crate::cose::PublicKey;

type Members = Vec<(Value, Value)>;

/// One key of each algorithm serves every test here: RSA keys take long to make.
static KEYS: LazyLock<[Members; ALGORITHMS.len()]> = LazyLock::new(|| {
    ALGORITHMS.map(|number| CardKey::generate(number).unwrap().cose().into_map().unwrap())
});

fn members(algorithm: i64) -> Members {
    KEYS[ALGORITHMS.iter().position(|number| *number == algorithm).unwrap()].clone()
}

fn set(members: &mut Members, label: i64, value: Value) {
    members.iter_mut().find(|(key, _)| *key == label.into()).unwrap().1 = value;
}

fn is_key(members: Members) -> bool {
    PublicKey::from_cose_bytes(&cbor(&Value::Map(members))).is_some()
}

/// Whether the key is one with this label set otherwise.
fn with(algorithm: i64, label: i64, value: Value) -> bool {
    let mut members = members(algorithm);
    set(&mut members, label, value);
    is_key(members)
}

#[test]
fn honest_keys_are_keys_of_their_algorithm() {
    for algorithm in ALGORITHMS {
        let bytes = cbor(&Value::Map(members(algorithm)));
        assert_eq!(PublicKey::from_cose_bytes(&bytes).unwrap().algorithm(), algorithm);
    }
}

#[test]
fn another_key_type_algorithm_or_curve_is_no_key() {
    for algorithm in ALGORITHMS {
        for kty in [0, 1, 2, 3, 4, 7, -1] {
            let own = match algorithm {
                ES256 | ES384 => 2,
                EDDSA => 1,
                ML_DSA_44 | ML_DSA_65 => 7,
                _ => 3,
            };
            assert_eq!(with(algorithm, 1, kty.into()), kty == own, "{algorithm}, kty {kty}");
        }
        for alg in [-7, -8, -257, -35, -36, -37, -48, -49, -50, -258, -65535, 5, 0] {
            // The two RSA algorithms have keys of the same form.
            let rsa = [RS256, PS256];
            let own = alg == algorithm || (rsa.contains(&alg) && rsa.contains(&algorithm));
            assert_eq!(with(algorithm, 3, alg.into()), own, "{algorithm}, alg {alg}");
        }
    }
    for curve in 0..9 {
        assert_eq!(with(ES256, -1, curve.into()), curve == 1);
        assert_eq!(with(ES384, -1, curve.into()), curve == 2);
        assert_eq!(with(EDDSA, -1, curve.into()), curve == 6);
    }
    for (algorithm, other) in [(ES256, ES384), (ES384, ES256)] {
        let mut tied_to_another_curve = members(other);
        set(&mut tied_to_another_curve, 3, algorithm.into());
        assert!(!is_key(tied_to_another_curve), "section 5.8.5: {algorithm} on its own curve");
    }
}

#[test]
fn missing_superfluous_and_repeated_members_are_no_key() {
    for algorithm in ALGORITHMS {
        for at in 0..members(algorithm).len() {
            let mut less = members(algorithm);
            let removed = less.remove(at);
            assert!(!is_key(less), "{algorithm} without {:?}", removed.0);
            let mut twice = members(algorithm);
            twice.push(removed);
            assert!(!is_key(twice), "{algorithm} with a member twice");
        }
        let mut more = members(algorithm);
        more.push((4.into(), Value::Array(vec![2.into()])));
        assert!(!is_key(more), "{algorithm} with key_ops");
    }
}

#[test]
fn values_of_another_type_are_no_key() {
    for algorithm in ALGORITHMS {
        for (label, _) in members(algorithm) {
            let label = i64::try_from(label.as_integer().unwrap()).unwrap();
            for value in [Value::Null, Value::Bool(true), "text".into(), Value::Bytes(vec![2])] {
                assert!(!with(algorithm, label, value), "{algorithm}, {label}");
            }
        }
    }
}

#[test]
fn trailing_bytes_are_no_key() {
    for algorithm in ALGORITHMS {
        let mut bytes = cbor(&Value::Map(members(algorithm)));
        bytes.push(0xf6);
        assert!(PublicKey::from_cose_bytes(&bytes).is_none());
    }
}

#[test]
fn points_off_the_curve_and_compressed_points_are_no_key() {
    assert!(!with(ES256, -2, Value::Bytes(vec![0; 32])), "x off the curve");
    assert!(!with(ES256, -3, Value::Bytes(vec![1; 32])), "y off the curve");
    assert!(!with(ES256, -2, Value::Bytes(vec![0xff; 32])), "x beyond the field");
    assert!(!with(ES256, -3, Value::Bool(true)), "compressed");
    for length in [0, 31, 33] {
        assert!(!with(ES256, -2, Value::Bytes(vec![1; length])), "x of {length} bytes");
    }
    let mut infinity = members(ES256);
    set(&mut infinity, -2, Value::Bytes(vec![0; 32]));
    set(&mut infinity, -3, Value::Bytes(vec![0; 32]));
    assert!(!is_key(infinity));
}

#[test]
fn ed25519_points_of_small_order_or_beyond_the_field_are_no_key() {
    let mut one = vec![0; 32];
    one[0] = 1;
    let mut minus_one = vec![0xff; 32];
    minus_one[0] = 0xec;
    minus_one[31] = 0x7f;
    let mut order_eight = b"\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\
        \xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05"
        .to_vec();
    for point in [&vec![0; 32], &one, &minus_one, &order_eight] {
        assert!(!with(EDDSA, -2, Value::Bytes(point.clone())));
        let mut other_sign = point.clone();
        other_sign[31] ^= 0x80;
        assert!(!with(EDDSA, -2, Value::Bytes(other_sign)));
    }
    order_eight.pop();
    assert!(!with(EDDSA, -2, Value::Bytes(order_eight)), "31 bytes");
    for lowest in 0xed..=0xff_u8 {
        // The prime and above: other spellings of small coordinates.
        let mut beyond = vec![0xff; 32];
        beyond[0] = lowest;
        beyond[31] = 0x7f;
        assert!(!with(EDDSA, -2, Value::Bytes(beyond)));
    }
}

#[test]
fn ml_dsa_keys_have_one_length() {
    for (algorithm, length) in [(ML_DSA_44, 1312), (ML_DSA_65, 1952)] {
        for other in [0, 32, 1312, 1952, 2592, length - 1, length + 1] {
            let is_key = with(algorithm, -1, Value::Bytes(vec![1; other]));
            assert_eq!(is_key, other == length, "{algorithm} of {other} bytes");
        }
        let key = CardKey::generate(algorithm).unwrap();
        assert!(!with(algorithm, -1, Value::Bytes(key.spki().unwrap())), "SubjectPublicKeyInfo");
    }
}

#[test]
fn a_key_pairs_spki_is_that_of_its_cose_key() {
    for algorithm in &ALGORITHMS[..QUICK] {
        let pair = CardKey::generate(*algorithm).unwrap();
        let key = PublicKey::from_cose(&pair.cose()).unwrap();
        assert_eq!(key.spki(), pair.spki(), "{algorithm}");
    }
}

#[test]
fn weak_rsa_keys_are_no_key() {
    let modulus = |bits: usize| {
        let mut n = vec![0xff; bits.div_ceil(8)];
        n[0] = 0xff >> ((8 - bits % 8) % 8);
        Value::Bytes(n)
    };
    assert!(with(RS256, -1, modulus(2048)));
    for bits in [8, 1024, 2047, 8193, 16384] {
        assert!(!with(RS256, -1, modulus(bits)), "{bits} bits");
    }
    let mut even = vec![0xff; 256];
    even[255] = 0xfe;
    assert!(!with(RS256, -1, Value::Bytes(even)));
    assert!(!with(RS256, -1, Value::Bytes([vec![0], vec![0xff; 256]].concat())), "leading zero");
    assert!(!with(RS256, -1, Value::Bytes(Vec::new())));
    for exponent in [&[][..], &[0], &[1], &[2], &[0, 1, 0, 1], &[0xff; 9]] {
        assert!(!with(RS256, -2, Value::Bytes(exponent.to_vec())), "exponent {exponent:?}");
    }
    assert!(with(RS256, -2, Value::Bytes(vec![3])));
}
