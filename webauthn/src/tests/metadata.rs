//! FIDO metadata: the list's signature and signer, and what it says of models.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SigningKey as _};
use serde_json::{Value, json};

use super::attestation::made;
use super::certificates::{Authority, honest, p256, statement, verify};
use super::forge::Forge;
use super::{ES256, NOW};
use crate::attestation::AttestationPolicy;
use crate::failure::VerifyError;
use crate::metadata::{Metadata, MetadataError};
use crate::{UnixTime, parse_aaguid};

const SIGNER: &str = "mds.fidoalliance.org";
const MODEL: &str = "05050505-0505-0505-0505-050505050505";

/// Who signs a list.
struct Publisher {
    root: Authority,
    key: KeyPair,
    leaf: Vec<u8>,
}

impl Publisher {
    fn new(name: &str, algorithm: &'static rcgen::SignatureAlgorithm) -> Self {
        let (root, key) = (Authority::new("Root"), KeyPair::generate_for(algorithm).unwrap());
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let leaf = root.issue(&params, &key);
        Self { root, key, leaf }
    }

    /// The list as a JSON Web Signature.
    fn publish(&self, payload: &Value) -> String {
        let (alg, is_ecdsa) = if self.key.is_compatible(&PKCS_RSA_SHA256) {
            ("RS256", false)
        } else {
            ("ES256", true)
        };
        let header = json!({"alg": alg, "typ": "JWT", "x5c": [STANDARD.encode(&self.leaf)]});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(payload));
        let signature = self.key.sign(signed.as_bytes()).unwrap();
        let signature = if is_ecdsa { fixed(&signature) } else { signature };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn read(&self, blob: &str) -> Result<Metadata, MetadataError> {
        Metadata::verify_under(&self.root.der, blob.as_bytes(), NOW)
    }
}

/// The two integers of an ECDSA signature in ASN.1, 32 bytes each.
fn fixed(der: &[u8]) -> Vec<u8> {
    let mut rest = &der[2..];
    let mut integer = || {
        let (content, after) = rest[2..].split_at(usize::from(rest[1]));
        rest = after;
        let content = content.strip_prefix(&[0]).unwrap_or(content);
        [vec![0; 32 - content.len()], content.to_vec()].concat()
    };
    [integer(), integer()].concat()
}

fn list(root: &Authority, statuses: &[&str]) -> Value {
    let statuses: Vec<Value> = statuses.iter().map(|status| json!({"status": status})).collect();
    json!({
        "legalHeader": "", "no": 1, "nextUpdate": "2026-11-01",
        "entries": [
            {"aaid": "1234#5678", "statusReports": [], "timeOfLastStatusChange": "2020-01-01"},
            {
                "aaguid": MODEL,
                "statusReports": statuses,
                "metadataStatement": {
                    "description": "Card of tests",
                    "attestationRootCertificates": [STANDARD.encode(&root.der)],
                },
            },
        ],
    })
}

fn es256() -> Publisher {
    Publisher::new(SIGNER, &PKCS_ECDSA_P256_SHA256)
}

#[test]
fn a_list_signed_by_either_algorithm_is_read() {
    for publisher in [es256(), Publisher::new(SIGNER, &PKCS_RSA_SHA256)] {
        let metadata = publisher.read(&publisher.publish(&list(&publisher.root, &[]))).unwrap();
        assert_eq!(metadata.len(), 1, "the model without an AAGUID is left out");
        let day = |day: u64| UnixTime::since_unix_epoch(Duration::from_secs(day * 86_400));
        // 2026-11-01 is day 20,758.
        assert!(!metadata.is_outdated(day(20_758)));
        assert!(metadata.is_outdated(day(20_759)));
    }
}

#[test]
fn a_list_that_is_not_the_publishers_is_refused() {
    let publisher = es256();
    let blob = publisher.publish(&list(&publisher.root, &[]));
    assert_eq!(es256().read(&blob).err(), Some(MetadataError::Signer), "another root");
    let stranger = Publisher::new("mds.example", &PKCS_ECDSA_P256_SHA256);
    let others = stranger.publish(&list(&stranger.root, &[]));
    assert_eq!(stranger.read(&others).err(), Some(MetadataError::Signer), "another name");
    assert_eq!(Metadata::verify(blob.as_bytes(), NOW).err(), Some(MetadataError::Signer));
    let parts: Vec<&str> = blob.split('.').collect();
    let payload = URL_SAFE_NO_PAD.encode(list(&publisher.root, &["REVOKED"]).to_string());
    let forged = format!("{}.{payload}.{}", parts[0], parts[2]);
    assert_eq!(publisher.read(&forged).err(), Some(MetadataError::Signature));
    let header = URL_SAFE_NO_PAD
        .encode(json!({"alg": "none", "x5c": [STANDARD.encode(&publisher.leaf)]}).to_string());
    let unsigned = format!("{header}.{}.", parts[1]);
    assert_eq!(publisher.read(&unsigned).err(), Some(MetadataError::Algorithm));
    for broken in ["", "a.b", "a.b.c", parts[1]] {
        assert_eq!(publisher.read(broken).err(), Some(MetadataError::Syntax), "{broken}");
    }
    for payload in [json!({}), json!({"nextUpdate": "soon", "entries": []})] {
        let blob = publisher.publish(&payload);
        assert_eq!(publisher.read(&blob).err(), Some(MetadataError::Payload));
    }
}

fn policy(root: &Authority, statuses: &[&str]) -> AttestationPolicy {
    let metadata = Metadata::from_payload(list(root, statuses).to_string().as_bytes()).unwrap();
    let mut policy = AttestationPolicy::default();
    policy.metadata = Some(Arc::new(metadata));
    policy
}

#[test]
fn step_24_the_roots_of_a_models_entry_are_that_models() {
    let (root, key) = (Authority::new("Root"), p256());
    let leaf = root.issue(&honest(), &key);
    let policy = policy(&root, &["FIDO_CERTIFIED"]);
    let mut forge = Forge::registration(ES256);
    assert_eq!(parse_aaguid(MODEL), Some(forge.aaguid));
    assert_eq!(verify(&statement(&forge, ES256, &key, &[&leaf]), &policy), None);
    let other = Authority::new("Root").issue(&honest(), &key);
    let untrusted = Some(VerifyError::TrustPath);
    assert_eq!(verify(&statement(&forge, ES256, &key, &[&other]), &policy), untrusted);
    forge.aaguid = [6; 16];
    let answer = statement(&forge, ES256, &key, &[&leaf]);
    assert_eq!(verify(&answer, &policy), untrusted, "a model without an entry");
    assert_eq!(made(&answer).model, None);
}

#[test]
fn step_24_a_revoked_or_compromised_model_is_refused_in_every_form() {
    let (root, key) = (Authority::new("Root"), p256());
    let leaf = root.issue(&honest(), &key);
    let forge = Forge::registration(ES256);
    for (status, compromised) in [
        ("REVOKED", true),
        ("ATTESTATION_KEY_COMPROMISE", true),
        ("USER_KEY_REMOTE_COMPROMISE", true),
        ("USER_KEY_PHYSICAL_COMPROMISE", true),
        ("USER_VERIFICATION_BYPASS", true),
        ("UPDATE_AVAILABLE", false),
        ("NOT_FIDO_CERTIFIED", false),
    ] {
        let policy = policy(&root, &["FIDO_CERTIFIED_L1", status]);
        let refused = compromised.then_some(VerifyError::ModelCompromised);
        for answer in
            [statement(&forge, ES256, &key, &[&leaf]), forge.unattested(), forge.self_attested()]
        {
            assert_eq!(verify(&answer, &policy), refused, "{status}");
        }
    }
}

#[test]
fn an_aaguid_has_one_text_form() {
    assert_eq!(parse_aaguid(MODEL), Some([5; 16]));
    for text in [
        "",
        "05050505050505050505050505050505",
        "0505050-50505-0505-0505-050505050505",
        "{05050505-0505-0505-0505-05050505050}",
        "+5050505-0505-0505-0505-050505050505",
    ] {
        assert_eq!(parse_aaguid(text), None, "{text}");
    }
}
