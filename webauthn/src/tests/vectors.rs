//! The test vectors of WebAuthn Level 3, section 16: registration and authentication by the same
//! credential.

use serde_json::json;

use super::{ALGORITHMS, NOW, ORIGIN, RP_ID, parse};
use crate::answer::Bytes;
use crate::attestation::AttestationPolicy;
use crate::authentication::{self, CredentialRecord};
use crate::client_data::Expected;
use crate::failure::{CertificateFault, VerifyError};
use crate::registration;

const FILE: &str = include_str!("webauthn-3-vectors.json");

fn hex(value: &serde_json::Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn bytes(value: &serde_json::Value) -> Bytes {
    Bytes(hex(value))
}

/// Runs both ceremonies of a vector. Attestation is held against the vectors' own root alone.
fn run(name: &str, policy: &AttestationPolicy) -> Result<(), VerifyError> {
    let file: serde_json::Value = serde_json::from_str(FILE).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    let vector = vectors.iter().find(|vector| vector["name"] == name).unwrap();
    let (made, used) = (&vector["registration"], &vector["authentication"]);
    let id = bytes(&made["credential_id"]);
    let (origins, tops) = ([ORIGIN.to_owned()], ["https://example.com".to_owned()]);
    // The vectors set UV at random.
    let expected = |challenge| Expected {
        challenge,
        rp_id: RP_ID,
        origins: &origins,
        top_origins: if name.ends_with("Origin") { &tops } else { &[] },
        user_verification: false,
    };

    let answer = parse(&json!({
        "id": id, "rawId": id, "type": "public-key",
        "response": {
            "clientDataJSON": bytes(&made["clientDataJSON"]),
            "attestationObject": bytes(&made["attestationObject"]),
        },
    }))?;
    let challenge = hex(&made["challenge"]);
    let credential = registration::verify(answer, &expected(&challenge), &ALGORITHMS, policy, NOW)?;
    assert_eq!(credential.id, id.0, "{name}");

    let record = CredentialRecord {
        user_handles: &[],
        public_key: &credential.public_key,
        sign_count: credential.sign_count,
        backup_eligible: credential.backup_eligible,
    };
    let answer = parse(&json!({
        "id": id, "rawId": id, "type": "public-key",
        "response": {
            "clientDataJSON": bytes(&used["clientDataJSON"]),
            "authenticatorData": bytes(&used["authenticatorData"]),
            "signature": bytes(&used["signature"]),
        },
    }))?;
    let challenge = hex(&used["challenge"]);
    authentication::verify(&answer, &expected(&challenge), &[id], Some(&record)).map(|_| ())
}

/// A policy that trusts the vectors' root and no other.
fn policy() -> AttestationPolicy {
    let file: serde_json::Value = serde_json::from_str(FILE).unwrap();
    AttestationPolicy::default().with_roots([hex(&file["attestation_root"])]).unwrap()
}

#[test]
fn the_vectors_of_this_servers_algorithms_and_formats_verify() {
    for name in [
        "none-es256",
        "packed-self-es256",
        "none-es256-crossOrigin",
        "none-es256-topOrigin",
        "none-es256-long-credential-id",
        "packed-es256",
        "packed-es384",
        "packed-rs256",
        "packed-eddsa",
        "tpm-es256",
        "apple-es256",
        "fido-u2f-es256",
    ] {
        assert_eq!(run(name, &policy()), Ok(()), "{name}");
    }
}

/// The vector's key description says neither origin nor purpose, which section 8.4 demands.
#[test]
fn the_vector_of_android_key_attestation_breaks_section_8_4() {
    let refused = VerifyError::Certificate(CertificateFault::KeyDescription);
    assert_eq!(run("android-key-es256", &policy()), Err(refused));
    assert_eq!(run("android-key-es256", &AttestationPolicy::default()), Ok(()), "ignored");
}

#[test]
fn the_vectors_of_other_algorithms_are_refused_for_what_they_are() {
    for name in ["packed-es512", "packed-ed448"] {
        assert_eq!(run(name, &policy()), Err(VerifyError::PublicKey), "{name}");
    }
}
