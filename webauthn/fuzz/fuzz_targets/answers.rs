//! Whatever an answer holds, the verifier says yes or no and does not panic. The first byte of the
//! input chooses which part the others are.
#![no_main]

use std::time::Duration;

use fido_relay_webauthn::authentication::{self, CredentialRecord};
use fido_relay_webauthn::{
    Answer, AttestationPolicy, Bytes, Expected, StoredAnswer, Metadata, UnixTime, registration,
    verify_stored,
};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_767_225_600));
const ALGORITHMS: [i64; 7] = [-7, -8, -35, -37, -48, -49, -257];
const CREATE: &[u8] =
    br#"{"type":"webauthn.create","challenge":"AA","origin":"https://example.org"}"#;
const GET: &[u8] = br#"{"type":"webauthn.get","challenge":"AA","origin":"https://example.org"}"#;

fuzz_target!(|input: &[u8]| {
    let Some((part, bytes)) = input.split_first() else { return };
    match part {
        b'j' => drop(Answer::parse(bytes)),
        b'a' => {
            let _ = verify_stored(CREATE, StoredAnswer::Attestation(bytes));
            register(CREATE, bytes);
        }
        b'c' => register(bytes, &[0xa0]),
        b'd' => authenticate(bytes, &[0; 70], &[]),
        b'k' => authenticate(&[0; 37], &[0; 70], bytes),
        b'm' => drop(Metadata::verify(bytes, NOW)),
        _ => {}
    }
});

fn expected(origins: &[String]) -> Expected<'_> {
    Expected {
        challenge: &[0],
        rp_id: "example.org",
        origins,
        top_origins: &[],
        user_verification: false,
    }
}

fn register(client_data: &[u8], object: &[u8]) {
    let origins = ["https://example.org".to_owned()];
    let answer = json!({
        "id": "AA", "rawId": "AA", "type": "public-key",
        "response": {
            "clientDataJSON": Bytes(client_data.to_vec()),
            "attestationObject": Bytes(object.to_vec()),
        },
    });
    for policy in
        [AttestationPolicy::default(), AttestationPolicy::default().with_arculus_roots()]
    {
        let answer = Answer::parse(answer.to_string().as_bytes()).expect("an answer's form");
        let made = registration::verify(answer, &expected(&origins), &ALGORITHMS, &policy, NOW);
        if let Ok(made) = made {
            assert!((1..=1023).contains(&made.id.len()));
        }
    }
}

fn authenticate(authenticator_data: &[u8], signature: &[u8], public_key: &[u8]) {
    let origins = ["https://example.org".to_owned()];
    let answer = json!({
        "id": "AA", "rawId": "AA", "type": "public-key",
        "response": {
            "clientDataJSON": Bytes(GET.to_vec()),
            "authenticatorData": Bytes(authenticator_data.to_vec()),
            "signature": Bytes(signature.to_vec()),
        },
    });
    let answer = Answer::parse(answer.to_string().as_bytes()).expect("an answer's form");
    let record =
        CredentialRecord { user_handles: &[], public_key, sign_count: 0, backup_eligible: false };
    let used = authentication::verify(&answer, &expected(&origins), &[], Some(&record));
    assert!(used.is_err(), "a signature of zeros");
}
