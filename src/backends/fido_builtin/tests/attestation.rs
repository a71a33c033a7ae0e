//! What the server makes of a card's attestation, and what it stores of it.

use fido_relay_proto::http::{Algorithm, UpstreamOptions};
use fido_relay_proto::{CeremonyType, Username};
use fido_relay_rig::softcard::{AttestationKey, AttestationStyle, SoftCard};
use fido_relay_webauthn::{AttestationOutcome, AttestationPolicy, Model, VerifyError};
use rcgen::{BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair};

use super::super::credentials::StoredCredential;
use super::super::server::BuiltinFidoSettings;
use super::bench::{Bench, make, settings};
use crate::core::ceremony::Verdict;

/// A root, and a card whose certificate under it names another model where that is wanted.
fn card(other_model: bool) -> (Vec<u8>, SoftCard) {
    let root_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&root_key).unwrap().der().to_vec();
    let issuer = Issuer::new(params, root_key);

    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::ExplicitNoCa;
    let name = &mut params.distinguished_name;
    name.push(DnType::CountryName, rcgen::DnValue::PrintableString("US".try_into().unwrap()));
    name.push(DnType::OrganizationName, "Card maker");
    name.push(DnType::OrganizationalUnitName, "Authenticator Attestation");
    name.push(DnType::CommonName, "Card batch 1");
    if other_model {
        let content = [&[0x04, 0x10][..], &[9; 16]].concat();
        let oid = [1, 3, 6, 1, 4, 1, 45724, 1, 1, 4];
        params.custom_extensions = vec![CustomExtension::from_oid_content(&oid, content)];
    }
    let chain = vec![params.signed_by(&key, &issuer).unwrap().der().to_vec()];
    let key = AttestationKey::from_pkcs8(&key.serialize_der()).unwrap();
    (root, SoftCard::new().with_attestation(AttestationStyle::PackedX5c { key, chain }))
}

fn with_policy(attestation: AttestationPolicy) -> Bench {
    Bench::with(BuiltinFidoSettings { attestation, ..settings() })
}

async fn stored(bench: &Bench) -> StoredCredential {
    let ada = Username::new("ada").unwrap();
    bench.server.credentials.of_user(&ada).await.unwrap().remove(0)
}

#[tokio::test]
async fn a_statement_of_another_models_certificate_is_ignored_where_nothing_need_be_proven() {
    let (root, mut other) = card(true);
    let bench = Bench::new();
    assert!(matches!(bench.register(&mut other, "ada").await, Verdict::Approved(_)));
    assert_eq!(stored(&bench).await.attestation, Some(AttestationOutcome::Ignored));
    assert!(matches!(bench.authenticate(&mut other, "ada").await, Verdict::Approved(_)));

    let strict = with_policy(AttestationPolicy::default().with_roots([root]).unwrap());
    let (_, mut other) = card(true);
    assert!(!matches!(strict.register(&mut other, "ada").await, Verdict::Approved(_)));
}

#[tokio::test]
async fn what_was_proven_is_stored_with_the_credential() {
    let (root, mut proven) = card(false);
    let bench = with_policy(AttestationPolicy::default().with_roots([root]).unwrap());
    assert!(matches!(bench.register(&mut proven, "ada").await, Verdict::Approved(_)));
    assert_eq!(stored(&bench).await.attestation, Some(AttestationOutcome::Verified));
    let unproven = Bench::new();
    assert!(matches!(unproven.register(&mut SoftCard::new(), "ada").await, Verdict::Approved(_)));
    assert_eq!(stored(&unproven).await.attestation, Some(AttestationOutcome::None));
}

#[test]
fn the_words_of_a_stored_attestation_stay() {
    let word = |attested: AttestationOutcome| serde_json::to_string(&attested).unwrap();
    assert_eq!(word(AttestationOutcome::Verified), "\"verified\"");
    assert_eq!(word(AttestationOutcome::Ignored), "\"ignored\"");
    assert_eq!(word(AttestationOutcome::None), "\"none\"");
    let model = Model { name: "Card".to_owned(), claimed: true };
    assert_eq!(serde_json::to_string(&model).unwrap(), r#"{"name":"Card","claimed":true}"#);
    assert_eq!(VerifyError::Format.to_string(), "7.1 step 21: attestation statement format");
}

#[tokio::test]
async fn post_quantum_algorithms_are_offered_first_where_they_are_on_and_not_taken_else() {
    let offered = async |bench: &Bench, algorithms: Option<Vec<Algorithm>>| {
        let options = UpstreamOptions { algorithms, ..UpstreamOptions::default() };
        let begun = bench.begin(CeremonyType::Registration, "ada", options).await.ok()?;
        let object: serde_json::Value = serde_json::from_str(begun.public_key.get()).unwrap();
        let list = object["pubKeyCredParams"].as_array().unwrap();
        Some(list.iter().map(|one| one["alg"].as_i64().unwrap()).collect::<Vec<_>>())
    };
    let off = Bench::new();
    assert_eq!(offered(&off, None).await, Some(vec![-7, -8, -35, -257, -37]));
    let both = || Some(vec![Algorithm::MlDsa44, Algorithm::Es256]);
    assert_eq!(offered(&off, both()).await, Some(vec![-7]));
    assert_eq!(offered(&off, Some(vec![Algorithm::MlDsa65])).await, None);

    let on = Bench::with(BuiltinFidoSettings { post_quantum: true, ..settings() });
    assert_eq!(offered(&on, None).await, Some(vec![-49, -48, -7, -8, -35, -257, -37]));
    assert_eq!(offered(&on, both()).await, Some(vec![-48, -7]));
    for algorithm in [Algorithm::MlDsa44, Algorithm::MlDsa65] {
        let mut card = SoftCard::new().with_attestation(AttestationStyle::PackedSelf);
        let options =
            UpstreamOptions { algorithms: Some(vec![algorithm]), ..UpstreamOptions::default() };
        let begun = on.begin(CeremonyType::Registration, "ada", options).await.unwrap();
        let answer = make(&mut card, "ada", &begun).unwrap();
        let made = on.complete(CeremonyType::Registration, &begun, &answer).await;
        assert!(matches!(made, Verdict::Approved(_)), "{algorithm:?}");
        assert!(matches!(on.authenticate(&mut card, "ada").await, Verdict::Approved(_)));
    }
}
