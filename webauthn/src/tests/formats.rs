//! The statement formats besides `packed`: sections 8.3, 8.4, 8.6 and 8.8, each requirement from
//! both sides.

use ciborium::Value;
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PublicKeyData, SanType, SignatureAlgorithm,
    SigningKey as _,
};

use super::attestation::made;
use super::certificates::{
    Authority, aaguid_extension, fault, honest, octets, p256, trusting, verify,
};
use super::forge::{Forge, cbor};
use super::{ES256, ES384, RS256, sha256};
use crate::attestation::AttestationOutcome;
use crate::failure::{CertificateFault, VerifyError};

pub(super) type Statement = Vec<(Value, Value)>;

fn bytes(name: &str, value: impl Into<Vec<u8>>) -> (Value, Value) {
    (name.into(), Value::Bytes(value.into()))
}

pub(super) fn x5c(chain: &[&[u8]]) -> (Value, Value) {
    ("x5c".into(), Value::Array(chain.iter().map(|der| Value::Bytes(der.to_vec())).collect()))
}

/// What becomes of a registration with this statement where the root is trusted.
fn outcome(
    forge: &Forge,
    format: &str,
    statement: Statement,
    root: &Authority,
) -> Option<VerifyError> {
    verify(&forge.answer_with(&cbor(&forge.object(format, statement))), &trusting(&[root]))
}

/// A point on P-256.
struct Point(Vec<u8>);

impl PublicKeyData for Point {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// A certificate under `root` for the credential's own key.
pub(super) fn certify(
    forge: &Forge,
    root: &Authority,
    extension: Option<CustomExtension>,
) -> Vec<u8> {
    let key = Point(u2f_message(forge)[4].clone());
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.custom_extensions = extension.into_iter().collect();
    params.signed_by(&key, &root.issuer).unwrap().der().to_vec()
}

/// A DER element of a short form tag.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    assert!(length < 256);
    let head = if length < 128 { vec![tag, length as u8] } else { vec![tag, 0x81, length as u8] };
    [head, content.to_vec()].concat()
}

// fido-u2f

/// The message that a U2F authenticator signs, in parts.
fn u2f_message(forge: &Forge) -> [Vec<u8>; 5] {
    let cose = forge.key.cose().into_map().unwrap();
    let coordinate = |at: usize| cose[at].1.as_bytes().unwrap().clone();
    let rp = sha256(forge.rp_id.as_bytes());
    let point = [vec![4], coordinate(3), coordinate(4)].concat();
    [vec![0], rp, sha256(&forge.client_data()), forge.id.clone(), point]
}

#[test]
fn section_8_6_a_u2f_registration_message_is_signed_as_a_whole() {
    let (root, key) = (Authority::new("Root"), p256());
    let leaf = root.issue(&honest(), &key);
    let forge = Forge::registration(ES256);
    let signed = |parts: [Vec<u8>; 5]| {
        let signature = key.sign(&parts.concat()).unwrap();
        outcome(&forge, "fido-u2f", vec![bytes("sig", signature), x5c(&[&leaf])], &root)
    };
    assert_eq!(signed(u2f_message(&forge)), None);
    for part in 0..5 {
        let mut parts = u2f_message(&forge);
        parts[part][0] ^= 1;
        assert_eq!(signed(parts), Some(VerifyError::StatementSignature), "part {part}");
    }
}

#[test]
fn section_8_6_one_certificate_and_a_p256_credential_are_needed() {
    let (root, key) = (Authority::new("Root"), p256());
    let leaf = root.issue(&honest(), &key);
    let forge = Forge::registration(ES256);
    let signature = key.sign(&u2f_message(&forge).concat()).unwrap();
    let with = |statement| outcome(&forge, "fido-u2f", statement, &root);
    let malformed = Some(VerifyError::Statement);
    assert_eq!(with(vec![bytes("sig", signature.clone()), x5c(&[&leaf, &root.der])]), malformed);
    assert_eq!(with(vec![bytes("sig", signature.clone()), x5c(&[])]), malformed);
    assert_eq!(with(vec![bytes("sig", signature.clone())]), malformed);
    let more = vec![bytes("sig", signature.clone()), x5c(&[&leaf]), bytes("more", [1])];
    assert_eq!(with(more), malformed);

    let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let leaf_384 = root.issue(&honest(), &p384);
    let by_p384 = p384.sign(&u2f_message(&forge).concat()).unwrap();
    let refused = with(vec![bytes("sig", by_p384), x5c(&[&leaf_384])]);
    assert_eq!(refused, Some(VerifyError::StatementSignature), "a certificate on P-384");
    let other = Forge::registration(ES384);
    let refused = outcome(&other, "fido-u2f", vec![bytes("sig", signature), x5c(&[&leaf])], &root);
    assert_eq!(refused, Some(VerifyError::StatementAlgorithm), "a credential on P-384");
}

#[test]
fn formats_that_do_not_sign_the_aaguid_attest_no_model() {
    let (root, key) = (Authority::new("Root"), p256());
    let leaf = root.issue(&honest(), &key);
    let forge = Forge::registration(ES256);
    let signature = key.sign(&u2f_message(&forge).concat()).unwrap();
    let statement = vec![bytes("sig", signature), x5c(&[&leaf])];
    let answer = forge.answer_with(&cbor(&forge.object("fido-u2f", statement)));
    let mut policy = trusting(&[&root]);
    assert_eq!(verify(&answer, &policy), None);
    policy.aaguids = vec![forge.aaguid];
    assert_eq!(verify(&answer, &policy), Some(VerifyError::ModelNotAllowed));
}

// apple

pub(super) fn nonce(message: &[u8]) -> CustomExtension {
    let content = der(0x30, &der(0xa1, &der(0x04, &sha256(message))));
    CustomExtension::from_oid_content(&[1, 2, 840, 113635, 100, 8, 2], content)
}

#[test]
fn section_8_8_the_certificate_is_for_the_credential_and_names_the_nonce() {
    let root = Authority::new("Root");
    let (forge, other) = (Forge::registration(ES256), Forge::registration(ES256));
    let with = |leaf: &[u8]| outcome(&forge, "apple", vec![x5c(&[leaf])], &root);
    assert_eq!(with(&certify(&forge, &root, Some(nonce(&forge.message())))), None);
    let strange = Some(VerifyError::StatementSubject);
    assert_eq!(with(&certify(&other, &root, Some(nonce(&forge.message())))), strange, "key");
    assert_eq!(with(&certify(&forge, &root, Some(nonce(&other.message())))), strange, "nonce");
    assert_eq!(with(&certify(&forge, &root, None)), strange, "no nonce");
    let leaf = certify(&forge, &root, Some(nonce(&forge.message())));
    let more = vec![x5c(&[&leaf]), bytes("sig", [1])];
    assert_eq!(outcome(&forge, "apple", more, &root), Some(VerifyError::Statement));
    let untrusted = outcome(&forge, "apple", vec![x5c(&[&leaf])], &Authority::new("Other"));
    assert_eq!(untrusted, Some(VerifyError::TrustPath));
}

// android-key

/// `[number] EXPLICIT content`, for numbers below 16383.
fn tagged(number: u16, content: &[u8]) -> Vec<u8> {
    let tag = if number < 31 {
        vec![0xa0 | number as u8]
    } else {
        vec![0xbf, 0x80 | (number >> 7) as u8, number as u8 & 0x7f]
    };
    [tag, vec![content.len() as u8], content.to_vec()].concat()
}

pub(super) fn purposes(list: &[u8]) -> Vec<u8> {
    tagged(1, &der(0x31, &list.iter().flat_map(|one| [2, 1, *one]).collect::<Vec<_>>()))
}

pub(super) fn origin(number: u8) -> Vec<u8> {
    tagged(702, &[2, 1, number])
}

pub(super) fn description(challenge: &[u8], software: &[u8], tee: &[u8]) -> CustomExtension {
    let head = [2, 2, 1, 0x2c, 0x0a, 1, 1, 2, 1, 0, 0x0a, 1, 1];
    let lists = [der(0x30, software), der(0x30, tee)].concat();
    let content = [&head[..], &der(4, challenge), &der(4, &[]), &lists].concat();
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 11129, 2, 1, 17], der(0x30, &content))
}

pub(super) fn android_key(forge: &Forge, leaf: &[u8]) -> Statement {
    let mut statement = forge.packed();
    statement.push(x5c(&[leaf]));
    statement
}

#[test]
fn section_8_4_the_key_description_must_be_of_a_key_for_signing_alone() {
    let root = Authority::new("Root");
    let forge = Forge::registration(ES256);
    let challenge = sha256(&forge.client_data());
    let with = |software: &[&[u8]], tee: &[&[u8]]| {
        let extension = description(&challenge, &software.concat(), &tee.concat());
        let leaf = certify(&forge, &root, Some(extension));
        let refused = outcome(&forge, "android-key", android_key(&forge, &leaf), &root);
        if refused.is_some() {
            // Signed as it should be: no attestation, where nothing need be proven.
            let object = forge.object("android-key", android_key(&forge, &leaf));
            let made = made(&forge.answer_with(&cbor(&object)));
            assert_eq!((made.attestation, made.ignored), (AttestationOutcome::Ignored, refused));
        }
        refused
    };
    let (sign, generated) = (purposes(&[2]), origin(0));
    let refused = fault(CertificateFault::KeyDescription);
    let all_applications = tagged(600, &[5, 0]);
    assert_eq!(with(&[], &[&sign, &generated]), None);
    assert_eq!(with(&[&sign], &[&generated]), None, "the union of both lists counts");
    assert_eq!(with(&[], &[]), refused, "nothing said");
    assert_eq!(with(&[], &[&sign]), refused, "no origin");
    assert_eq!(with(&[], &[&generated]), refused, "no purpose");
    assert_eq!(with(&[], &[&sign, &origin(2)]), refused, "imported");
    assert_eq!(with(&[&origin(2)], &[&sign, &generated]), refused, "both origins");
    assert_eq!(with(&[], &[&purposes(&[2, 3]), &generated]), refused, "for verifying too");
    assert_eq!(with(&[], &[&purposes(&[1]), &generated]), refused, "for decrypting");
    assert_eq!(with(&[], &[&sign, &all_applications, &generated]), refused);
    assert_eq!(with(&[&all_applications], &[&sign, &generated]), refused);
}

#[test]
fn section_8_4_the_certificate_is_for_the_credential_and_this_challenge() {
    let root = Authority::new("Root");
    let forge = Forge::registration(ES256);
    let list = [purposes(&[2]), origin(0)].concat();
    let extension = |challenge: &[u8]| Some(description(challenge, &[], &list));
    let hash = sha256(&forge.client_data());
    let with = |statement| outcome(&forge, "android-key", statement, &root);
    let leaf = certify(&forge, &root, extension(&hash));
    assert_eq!(with(android_key(&forge, &leaf)), None);
    let leaf = certify(&forge, &root, extension(&[7; 32]));
    assert_eq!(with(android_key(&forge, &leaf)), Some(VerifyError::StatementSubject));
    let leaf = certify(&forge, &root, None);
    assert_eq!(with(android_key(&forge, &leaf)), fault(CertificateFault::KeyDescription));

    // Another key, certified and signing.
    let mut other = Forge::registration(ES256);
    (other.cose, other.id) = (forge.cose.clone(), forge.id.clone());
    let leaf = certify(&other, &root, extension(&hash));
    assert_eq!(with(android_key(&other, &leaf)), Some(VerifyError::StatementSubject));
    let leaf = certify(&forge, &root, extension(&hash));
    let mut forged = android_key(&forge, &leaf);
    forged[1] = bytes("sig", other.signature());
    assert_eq!(with(forged), Some(VerifyError::StatementSignature));
}

// tpm

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

/// A `TPMT_PUBLIC` of the credential's key.
pub(super) fn public_area(forge: &Forge) -> Vec<u8> {
    let cose = forge.key.cose().into_map().unwrap();
    let part = |at: usize| sized(cose[at].1.as_bytes().unwrap());
    let head = |kind: u8| [0, kind, 0, 0x0b, 0, 6, 4, 0x72, 0, 0, 0, 0x10, 0, 0x10];
    match forge.key.algorithm() {
        // 2048 bits, exponent 0 for 65537.
        RS256 => [&head(0x01)[..], &[8, 0, 0, 0, 0, 0], &part(2)].concat(),
        ES384 => [&head(0x23)[..], &[0, 4, 0, 0x10], &part(3), &part(4)].concat(),
        _ => [&head(0x23)[..], &[0, 3, 0, 0x10], &part(3), &part(4)].concat(),
    }
}

/// A `TPMS_ATTEST` over this data and public area.
pub(super) fn attest(data: &[u8], public: &[u8]) -> Vec<u8> {
    let name = [vec![0, 0x0b], sha256(public)].concat();
    let head = [0xff, 0x54, 0x43, 0x47, 0x80, 0x17];
    [&head[..], &sized(&[1]), &sized(data), &[0; 25], &sized(&name), &sized(&[2])].concat()
}

/// What an honest certificate of an attestation identity key is made of.
pub(super) fn identity() -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.is_ca = IsCa::ExplicitNoCa;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 3])];
    params.custom_extensions = vec![alternative_name(&[1, 2, 3])];
    params
}

/// A Subject Alternative Name with a directory name of these attributes `2.23.133.2.*`.
fn alternative_name(attributes: &[u8]) -> CustomExtension {
    let attribute = |number: &u8| {
        let pair = [der(6, &[0x67, 0x81, 0x05, 0x02, *number]), der(0x0c, b"id:1")].concat();
        der(0x31, &der(0x30, &pair))
    };
    let names: Vec<u8> = attributes.iter().flat_map(attribute).collect();
    let content = der(0x30, &der(0xa4, &der(0x30, &names)));
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 17], content);
    extension.set_criticality(true);
    extension
}

pub(super) fn tpm(certified: &[u8], public: &[u8], key: &KeyPair, leaf: &[u8]) -> Statement {
    vec![
        ("ver".into(), "2.0".into()),
        ("alg".into(), ES256.into()),
        x5c(&[leaf]),
        bytes("sig", key.sign(certified).unwrap()),
        bytes("certInfo", certified),
        bytes("pubArea", public),
    ]
}

#[test]
fn section_8_3_a_tpm_certifies_keys_of_each_of_its_kinds() {
    let (root, key) = (Authority::new("Root"), p256());
    let leaf = root.issue(&identity(), &key);
    for algorithm in [ES256, ES384, RS256] {
        let forge = Forge::registration(algorithm);
        let public = public_area(&forge);
        let certified = attest(&sha256(&forge.message()), &public);
        let statement = tpm(&certified, &public, &key, &leaf);
        assert_eq!(outcome(&forge, "tpm", statement, &root), None, "{algorithm}");
    }
}

#[test]
fn section_8_3_what_is_certified_must_be_this_key_and_this_data() {
    let (root, key) = (Authority::new("Root"), p256());
    let leaf = root.issue(&identity(), &key);
    let (forge, other) = (Forge::registration(ES256), Forge::registration(ES256));
    let data = sha256(&forge.message());
    let public = public_area(&forge);
    let strange = Some(VerifyError::StatementSubject);
    let with = |certified: &[u8], public: &[u8]| {
        outcome(&forge, "tpm", tpm(certified, public, &key, &leaf), &root)
    };
    assert_eq!(with(&attest(&data, &public), &public), None);
    let others = public_area(&other);
    assert_eq!(with(&attest(&data, &others), &others), strange, "another key");
    assert_eq!(with(&attest(&data, &others), &public), strange, "another key's name");
    assert_eq!(with(&attest(&sha256(b"other"), &public), &public), strange, "other data");
    for (at, what) in [(0, "magic"), (5, "type")] {
        let mut certified = attest(&data, &public);
        certified[at] ^= 1;
        assert_eq!(with(&certified, &public), strange, "{what}");
    }
    let long = [attest(&data, &public), vec![0]].concat();
    assert_eq!(with(&long, &public), strange, "trailing byte");
    for end in 0..public.len() {
        let short = &public[..end];
        assert_eq!(with(&attest(&data, short), short), strange, "public area cut to {end}");
    }

    let mut statement = tpm(&attest(&data, &public), &public, &key, &leaf);
    statement[3] = bytes("sig", p256().sign(&attest(&data, &public)).unwrap());
    let refused = outcome(&forge, "tpm", statement, &root);
    assert_eq!(refused, Some(VerifyError::StatementSignature));
    for version in ["1.2", "2.1", ""] {
        let mut statement = tpm(&attest(&data, &public), &public, &key, &leaf);
        statement[0].1 = version.into();
        assert_eq!(outcome(&forge, "tpm", statement, &root), Some(VerifyError::Statement));
    }
}

#[test]
fn section_8_3_1_the_certificate_must_be_an_attestation_identity_keys() {
    let root = Authority::new("Root");
    let forge = Forge::registration(ES256);
    let public = public_area(&forge);
    let certified = attest(&sha256(&forge.message()), &public);
    let with = |bend: &dyn Fn(&mut CertificateParams)| {
        let (mut params, key) = (identity(), p256());
        bend(&mut params);
        let statement = tpm(&certified, &public, &key, &root.issue(&params, &key));
        outcome(&forge, "tpm", statement, &root)
    };
    assert_eq!(with(&|_| {}), None);
    for (expected, bend) in [
        (
            CertificateFault::TpmSubject,
            &(|params: &mut CertificateParams| {
                params.distinguished_name = honest().distinguished_name;
            }) as &dyn Fn(&mut CertificateParams),
        ),
        (CertificateFault::TpmName, &|params| params.custom_extensions.clear()),
        (CertificateFault::TpmName, &|params| {
            params.custom_extensions = vec![alternative_name(&[1, 3])];
        }),
        (CertificateFault::TpmName, &|params| {
            params.custom_extensions.clear();
            params.subject_alt_names = vec![SanType::DnsName("a.example".try_into().unwrap())];
        }),
        (CertificateFault::TpmKeyUsage, &|params| params.extended_key_usages.clear()),
        (CertificateFault::TpmKeyUsage, &|params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        }),
        (CertificateFault::BasicConstraints, &|params| params.is_ca = IsCa::NoCa),
        (CertificateFault::Aaguid, &|params| {
            params.custom_extensions.push(aaguid_extension(octets([0; 16])));
        }),
    ] {
        assert_eq!(with(bend), fault(expected));
    }
}
