//! Attestation with certificates: section 8.2 with `x5c`, every requirement of section 8.2.1, and
//! trust paths.

use std::time::Duration;

use ciborium::Value;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, DnValue, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
    PKCS_RSA_SHA256, SigningKey as _,
};

use super::forge::{Forge, cbor};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::attestation::{made, wants_a_statement};
use super::{ALGORITHMS, EDDSA, ES256, ES384, NOW, ORIGIN, RS256, expected, parse};
use crate::UnixTime;
use crate::attestation::{AttestationOutcome, AttestationPolicy};
use crate::failure::{CertificateFault, VerifyError};
use crate::model::Model;
use crate::registration;

const AAGUID_OID: [u64; 10] = [1, 3, 6, 1, 4, 1, 45724, 1, 1, 4];

/// A root, and cards' certificates under it.
pub(super) struct Authority {
    pub(super) issuer: Issuer<'static, KeyPair>,
    pub(super) der: Vec<u8>,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { issuer: Issuer::new(params, key), der }
    }

    /// An authority under this one.
    fn intermediate(&self, name: &str) -> Self {
        self.intermediate_with(name, |_| {})
    }

    fn intermediate_with(&self, name: &str, bend: impl Fn(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        bend(&mut params);
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Self { issuer: Issuer::new(params, key), der }
    }

    pub(super) fn issue(&self, params: &CertificateParams, key: &KeyPair) -> Vec<u8> {
        params.signed_by(key, &self.issuer).unwrap().der().to_vec()
    }
}

fn subject() -> Vec<(DnType, DnValue)> {
    vec![
        (DnType::CountryName, DnValue::PrintableString("DE".try_into().unwrap())),
        (DnType::OrganizationName, "Card maker".into()),
        (DnType::OrganizationalUnitName, "Authenticator Attestation".into()),
        (DnType::CommonName, "Card batch 1".into()),
    ]
}

pub(super) fn named(subject: Vec<(DnType, DnValue)>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for (kind, value) in subject {
        name.push(kind, value);
    }
    name
}

/// What an honest attestation certificate is made of.
pub(super) fn honest() -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = named(subject());
    params.is_ca = IsCa::ExplicitNoCa;
    params
}

pub(super) fn aaguid_extension(content: Vec<u8>) -> CustomExtension {
    CustomExtension::from_oid_content(&AAGUID_OID, content)
}

pub(super) fn octets(aaguid: [u8; 16]) -> Vec<u8> {
    [&[0x04, 0x10], aaguid.as_slice()].concat()
}

pub(super) fn p256() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

pub(super) fn statement(
    forge: &Forge,
    algorithm: i64,
    key: &KeyPair,
    chain: &[&[u8]],
) -> serde_json::Value {
    let chain = chain.iter().map(|der| Value::Bytes(der.to_vec())).collect();
    let members = vec![
        ("alg".into(), algorithm.into()),
        ("sig".into(), Value::Bytes(key.sign(&forge.message()).unwrap())),
        ("x5c".into(), Value::Array(chain)),
    ];
    forge.answer_with(&cbor(&forge.object("packed", members)))
}

fn verify_at(
    answer: &serde_json::Value,
    policy: &AttestationPolicy,
    now: UnixTime,
) -> Option<VerifyError> {
    let origins = [ORIGIN.to_owned()];
    let expected = expected(&origins, &[]);
    registration::verify(parse(answer).unwrap(), &expected, &ALGORITHMS, policy, now).err()
}

pub(super) fn verify(
    answer: &serde_json::Value,
    policy: &AttestationPolicy,
) -> Option<VerifyError> {
    verify_at(answer, policy, NOW)
}

pub(super) fn trusting(roots: &[&Authority]) -> AttestationPolicy {
    let roots = roots.iter().map(|root| root.der.clone());
    AttestationPolicy::default().with_roots(roots).unwrap()
}

/// What becomes of a registration whose attestation certificate is made of these parameters.
fn with_certificate(params: &CertificateParams) -> Option<VerifyError> {
    let (root, key) = (Authority::new("Root"), p256());
    let forge = Forge::registration(ES256);
    let leaf = root.issue(params, &key);
    let answer = statement(&forge, ES256, &key, &[&leaf]);
    let refused = verify(&answer, &wants_a_statement());
    // Under a root as well; where nothing need be proven, it is no attestation.
    assert_eq!(verify(&answer, &trusting(&[&root])), refused);
    assert_eq!(made(&answer).ignored, refused);
    refused
}

pub(super) fn fault(fault: CertificateFault) -> Option<VerifyError> {
    Some(VerifyError::Certificate(fault))
}

#[test]
fn every_credential_algorithm_passes_under_every_attestation_algorithm() {
    let root = Authority::new("Root");
    let policy = trusting(&[&root]);
    let forges = ALGORITHMS.map(Forge::registration);
    for attested_by in [ES256, EDDSA, ES384, RS256] {
        let key = KeyPair::generate_for(match attested_by {
            ES256 => &PKCS_ECDSA_P256_SHA256,
            ES384 => &PKCS_ECDSA_P384_SHA384,
            EDDSA => &PKCS_ED25519,
            _ => &PKCS_RSA_SHA256,
        })
        .unwrap();
        let leaf = root.issue(&honest(), &key);
        for forge in &forges {
            let algorithm = forge.key.algorithm();
            let answer = statement(forge, attested_by, &key, &[&leaf]);
            assert_eq!(verify(&answer, &policy), None, "{algorithm} attested by {attested_by}");
        }
    }
}

#[test]
fn step_22_a_signature_by_another_key_than_the_certificates_is_refused() {
    let (root, key) = (Authority::new("Root"), p256());
    let leaf = root.issue(&honest(), &key);
    let forge = Forge::registration(ES256);
    let strange = statement(&forge, ES256, &p256(), &[&leaf]);
    let policy = AttestationPolicy::default();
    assert_eq!(verify(&strange, &policy), Some(VerifyError::StatementSignature));
    for algorithm in [EDDSA, ES384, RS256] {
        let other = statement(&forge, algorithm, &key, &[&leaf]);
        assert_eq!(verify(&other, &policy), Some(VerifyError::StatementSignature));
    }
    let unknown = statement(&forge, -36, &key, &[&leaf]);
    let refused = verify(&unknown, &wants_a_statement());
    assert_eq!(refused, Some(VerifyError::UnknownStatementAlgorithm));
    assert_eq!(made(&unknown).ignored, refused, "it could not be judged");
}

#[test]
fn step_22_a_statement_with_another_member_or_too_long_a_chain_is_refused() {
    let (root, key) = (Authority::new("Root"), p256());
    let leaf = root.issue(&honest(), &key);
    let forge = Forge::registration(ES256);
    let policy = AttestationPolicy::default();
    let with_chain = |length: usize| {
        verify(&statement(&forge, ES256, &key, &vec![leaf.as_slice(); length]), &policy)
    };
    assert_eq!(with_chain(8), None);
    assert_eq!(with_chain(9), Some(VerifyError::Statement));

    let members = vec![
        ("alg".into(), ES256.into()),
        ("sig".into(), Value::Bytes(key.sign(&forge.message()).unwrap())),
        ("x5c".into(), Value::Array(vec![Value::Bytes(leaf)])),
        ("ecdaaKeyId".into(), Value::Bytes(vec![1])),
    ];
    let answer = forge.answer_with(&cbor(&forge.object("packed", members)));
    assert_eq!(verify(&answer, &policy), Some(VerifyError::Statement));
}

#[test]
fn section_8_2_1_bytes_that_are_not_one_certificate_are_refused() {
    let (root, key) = (Authority::new("Root"), p256());
    let leaf = root.issue(&honest(), &key);
    let forge = Forge::registration(ES256);
    let trailing = [leaf.as_slice(), &[0]].concat();
    for der in [&[][..], &[0x30, 0x00], &leaf[..leaf.len() - 1], &trailing] {
        let answer = statement(&forge, ES256, &key, &[der]);
        let refused = verify(&answer, &AttestationPolicy::default());
        assert_eq!(refused, fault(CertificateFault::Syntax));
    }
}

#[test]
fn section_8_2_1_another_version_is_refused() {
    let (root, key) = (Authority::new("Root"), p256());
    let mut leaf = root.issue(&honest(), &key);
    // [0] EXPLICIT INTEGER 2 is version 3; nothing else checks the certificate's own signature.
    let at = leaf.windows(5).position(|bytes| bytes == [0xa0, 3, 2, 1, 2]).unwrap();
    leaf[at + 4] = 1;
    let forge = Forge::registration(ES256);
    let answer = statement(&forge, ES256, &key, &[&leaf]);
    let refused = verify(&answer, &wants_a_statement());
    assert_eq!(refused, fault(CertificateFault::Version));
    assert_eq!(made(&answer).ignored, refused);
}

#[test]
fn section_8_2_1_the_subject_must_be_complete() {
    let faults = [
        CertificateFault::Country,
        CertificateFault::Organization,
        CertificateFault::OrganizationalUnit,
        CertificateFault::CommonName,
    ];
    for (at, missing) in faults.into_iter().enumerate() {
        let mut params = honest();
        let mut less = subject();
        less.remove(at);
        params.distinguished_name = named(less);
        assert_eq!(with_certificate(&params), fault(missing));
    }
    assert_eq!(with_certificate(&honest()), None);
}

#[test]
fn section_8_2_1_the_subjects_country_and_unit_must_be_right() {
    for country in ["DEU", "de", "D"] {
        let mut params = honest();
        params
            .distinguished_name
            .push(DnType::CountryName, DnValue::PrintableString(country.try_into().unwrap()));
        assert_eq!(with_certificate(&params), fault(CertificateFault::Country), "{country}");
    }
    for unit in ["Authenticator attestation", "Cards"] {
        let mut params = honest();
        params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
        assert_eq!(with_certificate(&params), fault(CertificateFault::OrganizationalUnit));
    }
}

#[test]
fn section_8_2_1_an_authoritys_certificate_or_one_that_does_not_say_is_refused() {
    for is_ca in [IsCa::NoCa, IsCa::Ca(BasicConstraints::Unconstrained)] {
        let mut params = honest();
        params.is_ca = is_ca;
        assert_eq!(with_certificate(&params), fault(CertificateFault::BasicConstraints));
    }
}

#[test]
fn section_8_2_the_aaguid_extension_must_name_the_cards_model() {
    let aaguid = Forge::registration(ES256).aaguid;
    let with = |extensions: Vec<CustomExtension>| {
        let mut params = honest();
        params.custom_extensions = extensions;
        with_certificate(&params)
    };
    assert_eq!(with(vec![aaguid_extension(octets(aaguid))]), None);
    let refused = fault(CertificateFault::Aaguid);
    assert_eq!(with(vec![aaguid_extension(octets([0; 16]))]), refused, "another model");
    assert_eq!(with(vec![aaguid_extension(aaguid.to_vec())]), refused, "wrapped once");
    let long = [octets(aaguid), vec![0]].concat();
    assert_eq!(with(vec![aaguid_extension(long)]), refused, "trailing byte");
    let mut critical = aaguid_extension(octets(aaguid));
    critical.set_criticality(true);
    assert_eq!(with(vec![critical]), refused, "critical");
}

#[test]
fn step_24_a_certificate_must_lead_to_a_configured_root() {
    let (root, other) = (Authority::new("Root"), Authority::new("Other"));
    let impostor = Authority::new("Root");
    let (middle, key) = (root.intermediate("Middle"), p256());
    let forge = Forge::registration(ES256);
    let direct = root.issue(&honest(), &key);
    let indirect = middle.issue(&honest(), &key);
    let forged = impostor.issue(&honest(), &key);
    let untrusted = Some(VerifyError::TrustPath);
    for (what, chain, roots, outcome) in [
        ("direct", vec![&direct], vec![&root], None),
        ("one of several roots", vec![&direct], vec![&other, &root], None),
        ("by an intermediate", vec![&indirect, &middle.der], vec![&root], None),
        ("intermediate missing", vec![&indirect], vec![&root], untrusted),
        ("another root", vec![&direct], vec![&other], untrusted),
        ("a root of the same name", vec![&forged], vec![&root], untrusted),
        ("root sent along", vec![&forged, &impostor.der], vec![&root], untrusted),
    ] {
        let chain: Vec<&[u8]> = chain.into_iter().map(Vec::as_slice).collect();
        let answer = statement(&forge, ES256, &key, &chain);
        assert_eq!(verify(&answer, &trusting(&roots)), outcome, "{what}");
    }
}

#[test]
fn step_24_roots_of_equal_names_and_other_keys_work_side_by_side() {
    let roots = [Authority::new("Root"), Authority::new("Root")];
    let stranger = Authority::new("Root");
    let forge = Forge::registration(ES256);
    for policy in [trusting(&[&roots[0], &roots[1]]), trusting(&[&roots[1], &roots[0]])] {
        for (root, outcome) in
            [(&roots[0], None), (&roots[1], None), (&stranger, Some(VerifyError::TrustPath))]
        {
            let (middle, key) = (root.intermediate("Middle"), p256());
            let direct = root.issue(&honest(), &key);
            let indirect = middle.issue(&honest(), &key);
            let answer = statement(&forge, ES256, &key, &[&direct]);
            assert_eq!(verify(&answer, &policy), outcome, "direct");
            let answer = statement(&forge, ES256, &key, &[&indirect, &middle.der]);
            assert_eq!(verify(&answer, &policy), outcome, "by an intermediate");
        }
    }
}

#[test]
fn step_24_an_intermediate_must_be_allowed_to_sign_certificates() {
    let (root, key) = (Authority::new("Root"), p256());
    let forge = Forge::registration(ES256);
    let untrusted = Some(VerifyError::TrustPath);
    let with = |bend: &dyn Fn(&mut CertificateParams)| {
        let middle = root.intermediate_with("Middle", bend);
        let leaf = middle.issue(&honest(), &key);
        verify(&statement(&forge, ES256, &key, &[&leaf, &middle.der]), &trusting(&[&root]))
    };
    use KeyUsagePurpose::{CrlSign, DigitalSignature, KeyCertSign};
    assert_eq!(with(&|_| {}), None, "no key usage: not limited");
    assert_eq!(with(&|params| params.key_usages = vec![KeyCertSign, CrlSign]), None);
    assert_eq!(with(&|params| params.key_usages = vec![CrlSign]), untrusted);
    assert_eq!(with(&|params| params.key_usages = vec![DigitalSignature]), untrusted);
    assert_eq!(with(&|params| params.is_ca = IsCa::ExplicitNoCa), untrusted);
    assert_eq!(with(&|params| params.is_ca = IsCa::NoCa), untrusted);
}

#[test]
fn step_24_the_arculus_roots_are_trusted_and_no_other_of_their_name() {
    let policy = AttestationPolicy::default().with_arculus_roots();
    let [one, other] =
        crate::model::ARCULUS_ROOTS.map(|der| X509Certificate::from_der(der).unwrap().1);
    assert_eq!(one.subject(), other.subject());
    assert_ne!(one.public_key(), other.public_key());
    let (impostor, key) = (Authority::new("CompoSecure-FIDO-CA-Root"), p256());
    let leaf = impostor.issue(&honest(), &key);
    let answer = statement(&Forge::registration(ES256), ES256, &key, &[&leaf, &impostor.der]);
    assert_eq!(verify(&answer, &policy), Some(VerifyError::TrustPath));
}

#[test]
fn step_24_only_listed_models_may_register_where_models_are_listed() {
    let (root, key) = (Authority::new("Root"), p256());
    let leaf = root.issue(&honest(), &key);
    let forge = Forge::registration(ES256);
    let answer = statement(&forge, ES256, &key, &[&leaf]);
    let mut policy = trusting(&[&root]);
    let refused = Some(VerifyError::ModelNotAllowed);
    policy.aaguids = vec![[4; 16], forge.aaguid];
    assert_eq!(verify(&answer, &policy), None);
    assert_eq!(verify(&forge.unattested(), &policy), refused, "listed and not attested");
    assert_eq!(verify(&forge.self_attested(), &policy), refused, "listed and not attested");
    policy.aaguids = vec![[4; 16]];
    assert_eq!(verify(&answer, &policy), refused);
    let mut without_roots = AttestationPolicy::default();
    without_roots.aaguids = vec![forge.aaguid];
    assert_eq!(verify(&answer, &without_roots), refused, "nothing proves the model");
}

#[test]
fn a_chain_to_a_root_is_verified_and_names_the_model() {
    let (root, key) = (Authority::new("Root"), p256());
    let leaf = root.issue(&honest(), &key);
    let mut forge = Forge::registration(ES256);
    forge.aaguid = crate::parse_aaguid("9d3df6ba-282f-11ed-a261-0242ac120002").unwrap();
    let answer = statement(&forge, ES256, &key, &[&leaf]);
    let origins = [ORIGIN.to_owned()];
    let expected = expected(&origins, &[]);
    let policy = trusting(&[&root]);
    let verified =
        registration::verify(parse(&answer).unwrap(), &expected, &ALGORITHMS, &policy, NOW)
            .unwrap();
    assert_eq!((verified.attestation, verified.ignored), (AttestationOutcome::Verified, None));
    let name = "Arculus FIDO2/U2F Key Card".to_owned();
    assert_eq!(verified.model, Some(Model { name: name.clone(), claimed: false }));
    let unproven = made(&answer);
    assert_eq!(unproven.attestation, AttestationOutcome::None, "no root to hold it against");
    assert_eq!(unproven.model, Some(Model { name, claimed: true }));
}

#[test]
fn step_24_the_attestation_certificate_may_itself_be_the_configured_one() {
    let (root, key) = (Authority::new("Root"), p256());
    let leaf = root.issue(&honest(), &key);
    let forge = Forge::registration(ES256);
    let policy = AttestationPolicy::default().with_roots([leaf.clone()]).unwrap();
    assert_eq!(verify(&statement(&forge, ES256, &key, &[&leaf]), &policy), None);
}

#[test]
fn step_24_certificates_are_trusted_within_their_validity_only() {
    let (root, key) = (Authority::new("Root"), p256());
    let mut params = honest();
    params.not_before = rcgen::date_time_ymd(2025, 1, 1);
    params.not_after = rcgen::date_time_ymd(2027, 1, 1);
    let leaf = root.issue(&params, &key);
    let forge = Forge::registration(ES256);
    let answer = statement(&forge, ES256, &key, &[&leaf]);
    let policy = trusting(&[&root]);
    let untrusted = Some(VerifyError::TrustPath);
    let year = |years_from_1970: u64| {
        UnixTime::since_unix_epoch(Duration::from_secs(years_from_1970 * 31_556_952))
    };
    assert_eq!(verify_at(&answer, &policy, year(54)), untrusted, "2024");
    assert_eq!(verify_at(&answer, &policy, year(56)), None, "2026");
    assert_eq!(verify_at(&answer, &policy, year(58)), untrusted, "2028");
}

#[test]
fn step_24_the_policy_may_refuse_certificates_or_demand_them() {
    let (root, key) = (Authority::new("Root"), p256());
    let leaf = root.issue(&honest(), &key);
    let forge = Forge::registration(ES256);
    let answer = statement(&forge, ES256, &key, &[&leaf]);
    let mut none_but_self = trusting(&[&root]);
    none_but_self.certified = false;
    assert_eq!(verify(&answer, &none_but_self), Some(VerifyError::AttestationType));
    let mut only_certified = trusting(&[&root]);
    (only_certified.none, only_certified.self_signed) = (false, false);
    assert_eq!(verify(&answer, &only_certified), None);
    let refused = Some(VerifyError::AttestationType);
    assert_eq!(verify(&forge.unattested(), &only_certified), refused);
    assert_eq!(verify(&forge.self_attested(), &only_certified), refused);
}
