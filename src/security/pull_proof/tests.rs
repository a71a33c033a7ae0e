//! One device and its proofs, in one process and in the next.

use fido_relay_rig::phone::DeviceKey;
use serde_json::{Value, json};

use super::*;

const BASE: &str = "https://relay.example.com";
const PATH: &str = "/v1/device/claim";
const BODY: &[u8] = br#"{"type":"claim","code":"123456"}"#;

struct Scene {
    proofs: PullProofs,
    key: DeviceKey,
    device: DeviceId,
}

impl Scene {
    fn with_room(most: usize) -> Self {
        let (key, device) = (DeviceKey::generate().unwrap(), DeviceId::from_bytes([3; 16]));
        Self { proofs: PullProofs::with_room(most), key, device }
    }

    fn new() -> Self {
        Self::with_room(100)
    }

    fn claims(&self, jti: &str) -> Value {
        json!({
            "aud": BASE, "htm": "POST", "htu": format!("{BASE}{PATH}"), "device_id": self.device,
            "iat": 1, "jti": jti, "nonce": self.proofs.nonce(),
            "body_sha256": sha256_base64url(BODY),
        })
    }

    fn verify(&self, claims: &Value) -> Result<VerifiedPullProof, PullProofError> {
        let proof = self.key.sign(PULL_TYP, claims).unwrap();
        let bases = [BASE.to_owned(), "https://relay.example.org".to_owned()];
        let asked = SignedRequest { method: "POST", bases: &bases, path: PATH, body: BODY };
        self.proofs.verify(&proof, (self.device, self.key.jwk()), asked)
    }

    fn take(&self, claims: &Value) -> Result<(), PullProofError> {
        self.verify(claims).and_then(|proven| self.proofs.use_up(proven))
    }
}

#[tokio::test(start_paused = true)]
async fn a_proof_is_taken_once_while_its_nonce_is_good() {
    let scene = Scene::new();
    let claims = scene.claims("0123456789abcdef");
    assert_eq!(scene.take(&claims), Ok(()));
    assert_eq!(scene.take(&claims), Err(PullProofError::Proof), "again");
    let anew = scene.claims("0123456789abcdef");
    assert_eq!(scene.take(&anew), Err(PullProofError::Proof), "its name with another nonce");

    let late = scene.claims("another-name-of-it");
    tokio::time::advance(NONCE_LIFE - Duration::from_millis(1)).await;
    assert_eq!(scene.take(&late), Ok(()));
    let mut claims = late.clone();
    claims["jti"] = json!("a-third-name-of-it");
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(scene.take(&claims), Err(PullProofError::Nonce), "five minutes old");
}

/// Two that were verified before either was used.
#[test]
fn of_two_at_once_one_is_taken() {
    let scene = Scene::new();
    let claims = scene.claims("0123456789abcdef");
    let (one, two) = (scene.verify(&claims).unwrap(), scene.verify(&claims).unwrap());
    assert_eq!(scene.proofs.use_up(one), Ok(()));
    assert_eq!(scene.proofs.use_up(two), Err(PullProofError::Proof));
}

#[tokio::test(start_paused = true)]
async fn a_name_is_remembered_for_as_long_as_a_nonce_and_then_forgotten() {
    let scene = Scene::new();
    // Just before the generations turn, so that the name is soon one of the older.
    tokio::time::advance(NONCE_LIFE - Duration::from_secs(1)).await;
    let claims = scene.claims("0123456789abcdef");
    assert_eq!(scene.take(&claims), Ok(()));
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(scene.take(&scene.claims("turns-the-generations")), Ok(()));
    tokio::time::advance(NONCE_LIFE - Duration::from_secs(3)).await;
    assert_eq!(scene.take(&claims), Err(PullProofError::Proof));
    tokio::time::advance(3 * NONCE_LIFE).await;
    assert_eq!(scene.take(&scene.claims("the-last-of-the-names")), Ok(()));
    let state = scene.proofs.state();
    assert_eq!((state.used.len(), state.older.len()), (1, 0));
}

#[test]
fn without_room_every_nonce_ends_and_nothing_is_taken_twice() {
    let scene = Scene::with_room(3);
    let taken: Vec<_> = (0..3).map(|n| scene.claims(&format!("name-number-000{n}"))).collect();
    for claims in &taken {
        assert_eq!(scene.take(claims), Ok(()));
    }
    let (fourth, held) = (scene.claims("name-number-0004"), scene.claims("name-number-0005"));
    let held = scene.verify(&held).unwrap();
    assert_eq!(scene.take(&fourth), Err(PullProofError::Nonce));
    assert_eq!(scene.proofs.use_up(held), Err(PullProofError::Nonce), "verified by the key before");
    for claims in &taken {
        assert_eq!(scene.take(claims), Err(PullProofError::Nonce));
    }
    assert_eq!(scene.take(&scene.claims("name-number-0006")), Ok(()), "with a fresh nonce");
}

#[test]
fn a_nonce_of_another_process_or_of_a_hand_is_none() {
    let (scene, other) = (Scene::new(), PullProofs::default());
    let good = scene.proofs.nonce();
    let bytes = from_base64url(&good).unwrap();
    let mut later = bytes.clone();
    later[0] ^= 0x80;
    let nonces = [
        other.nonce(),
        String::new(),
        "0".repeat(32),
        base64url(&later),
        base64url(&bytes[..23]),
        base64url([&bytes[..], &[0]].concat()),
        format!("{good}="),
    ];
    for nonce in nonces {
        let mut claims = scene.claims("0123456789abcdef");
        claims["nonce"] = json!(nonce);
        assert_eq!(scene.take(&claims), Err(PullProofError::Nonce), "{nonce}");
    }
}

#[test]
fn every_claim_counts() {
    let scene = Scene::new();
    let wrong = [
        ("aud", json!("https://relay.example.net")),
        ("aud", json!(format!("{BASE}/"))),
        // A base of the relay, but not that of the URL.
        ("aud", json!("https://relay.example.org")),
        ("htm", json!("GET")),
        ("htm", json!("post")),
        ("htu", json!(format!("{BASE}/v1/device/decline"))),
        ("htu", json!(format!("{BASE}{PATH}?x"))),
        ("htu", json!(PATH)),
        ("device_id", json!(DeviceId::from_bytes([4; 16]))),
        ("jti", json!("0123456789abcde")),
        ("jti", json!("a".repeat(65))),
        ("jti", json!("ää".repeat(8))),
        ("body_sha256", json!(sha256_base64url(""))),
        ("body_sha256", json!("")),
    ];
    for (claim, value) in wrong {
        let mut claims = scene.claims("0123456789abcdef");
        claims[claim] = value.clone();
        assert_eq!(scene.take(&claims), Err(PullProofError::Proof), "{claim} {value}");
    }
    let names: Vec<_> = scene.claims("").as_object().unwrap().keys().cloned().collect();
    for missing in names {
        let mut claims = scene.claims("0123456789abcdef");
        claims.as_object_mut().unwrap().remove(&missing);
        assert_eq!(scene.take(&claims), Err(PullProofError::Proof), "without {missing}");
    }
    assert_eq!(scene.take(&scene.claims("0123456789abcdef")), Ok(()));
}
