//! The crate `passki` beside this verifier: the same answers, honest and changed by a fixed seed,
//! to both. Whatever one takes and the other refuses is explained here, or the test fails.

use std::collections::BTreeMap;

use ciborium::Value as Cbor;
use passki::{AuthenticationState, Passki, PasskiError, RegistrationState, StoredPasskey};
use serde_json::{Value, json};

use super::forge::{self, AT, BE, BS, ED, Forge, UP, UV, cbor};
use super::{EDDSA, ES256, ES384, NOW, ORIGIN, RP_ID, RS256, expected, parse};
use crate::answer::Bytes;
use crate::attestation::AttestationPolicy;
use crate::authentication::{self, CredentialRecord};
use crate::registration;

/// Algorithms that both know.
const SHARED: [i64; 4] = [ES256, EDDSA, ES384, RS256];
const CASES: usize = 12_000;

/// What this verifier refuses and the other takes, by this one's words.
const STRICTER: &[(&str, &str)] = &[
    ("client data: topOrigin", "looked at there only with crossOrigin true"),
    ("client data are not JSON", "members of a wrong type or given twice are passed over there"),
    ("section 6.1: authenticator data", "of an assertion only the first 37 bytes are read there"),
    ("section 6.5.1: credential public key", "read there only where a signature needs it"),
    ("step 13: attestation object", "trailing bytes, other CBOR forms, keys twice, no attStmt"),
    ("7.1 step 20: algorithm", "the algorithm is not compared with those that were offered"),
    ("7.1 step 22: attestation statement", "members of none and further ones are passed over"),
    ("7.1 step 25: credential id too long", "there is no limit there"),
    ("7.2 step 19: backup eligibility", "not compared with the record there"),
    ("the credential ids of the answer differ from one another", "id and rawId are not compared"),
];

/// What this verifier takes and the other refuses, by the other's words.
const LAXER: &[(&str, &str)] = &[
    ("Unsupported attestation format", "taken here as no attestation, and said to be ignored"),
    ("Invalid client data JSON", "a byte order mark is taken off here, as step 5 wants"),
    ("Invalid authenticator data", "outputs of credProtect and minPinLength are not read here"),
];

/// A generator of the same numbers on every machine (SplitMix64).
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    /// Whether to do what is done in one of so many cases.
    fn one_in(&mut self, cases: usize) -> bool {
        self.below(cases) == 0
    }

    /// Changes, takes away, or puts in a byte.
    fn bend(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len().max(1));
        match self.below(4) {
            0 => bytes.insert(at, self.below(256) as u8),
            1 if !bytes.is_empty() => drop(bytes.remove(at)),
            2 => bytes.push(self.below(256) as u8),
            _ if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
            _ => {}
        }
    }

    /// Bends what the card says in a way that has a meaning.
    fn bend_meaning(&mut self, forge: &mut Forge) {
        let data = &mut forge.client_data;
        match self.below(20) {
            0 => data["crossOrigin"] = true.into(),
            1 => data["topOrigin"] = "https://other.example".into(),
            2 => data["type"] = "webauthn.other".into(),
            3 => data["challenge"] = format!("{}=", data["challenge"].as_str().unwrap()).into(),
            4 => data["origin"] = "https://example.com".into(),
            5 => data["crossOrigin"] = "no".into(),
            6 => drop(data.as_object_mut().unwrap().remove("origin")),
            7 => forge.client_bytes = Some(format!("\u{feff}{data}").into_bytes()),
            8 => {
                let twice = data.to_string().replacen('{', r#"{"origin":"https://x.example","#, 1);
                forge.client_bytes = Some(twice.into_bytes());
            }
            9 => forge.flags ^= [UP, UV, BE, BS, AT, ED][self.below(6)],
            10 => forge.flags |= BE | BS,
            11 => forge.sign_count = self.below(3) as u32,
            12 => forge.rp_id = "example.net".to_owned(),
            13 => {
                forge.flags |= ED;
                let protection = Cbor::from(self.below(5) as u64);
                forge.tail = cbor(&Cbor::Map(vec![("credProtect".into(), protection)]));
            }
            14 => forge.id = vec![1; [0, 1, 64, 1023, 1024][self.below(5)]],
            15 => self.bend(&mut forge.cose),
            16 => self.bend(&mut forge.tail),
            17 => {
                let mut bytes = forge.client_data();
                self.bend(&mut bytes);
                forge.client_bytes = Some(bytes);
            }
            _ => {}
        }
    }
}

fn registration_answer(seeded: &mut Seeded, forge: &Forge) -> Value {
    let (format, statement) = match seeded.below(6) {
        0 => ("none", vec![("x".into(), Cbor::Null)]),
        1 => ("other", Vec::new()),
        2 | 3 => ("none", Vec::new()),
        4 => {
            let mut more = forge.packed();
            more.push(("ecdaaKeyId".into(), Cbor::Null));
            ("packed", more)
        }
        _ => ("packed", forge.packed()),
    };
    let mut object = cbor(&forge.object(format, statement));
    if seeded.one_in(4) {
        seeded.bend(&mut object);
    }
    let mut answer = forge.answer_with(&object);
    if seeded.one_in(20) {
        answer["id"] = "AAAA".into();
    }
    answer
}

/// The outcomes here and there.
type Outcome = (Result<(), String>, Result<(), String>);

fn ours(outcome: Result<(), crate::VerifyError>) -> Result<(), String> {
    outcome.map_err(|step| step.to_string())
}

fn theirs(outcome: Result<(), PasskiError>) -> Result<(), String> {
    outcome.map_err(|error| error.to_string())
}

fn register(answer: &Value) -> Outcome {
    let origins = [ORIGIN.to_owned()];
    let expected = expected(&origins, &[]);
    let policy = AttestationPolicy::default();
    // One that both know is not offered.
    let offered = &SHARED[..3];
    let here = parse(answer)
        .and_then(|answer| registration::verify(answer, &expected, offered, &policy, NOW))
        .map(drop);
    let state: RegistrationState = serde_json::from_value(json!({
        "challenge": forge::CHALLENGE,
        "user": {"id": "", "name": "ada", "displayName": "Ada"},
        "user_verification": "required",
        "required_cred_protect": null,
    }))
    .unwrap();
    let there = serde_json::from_value(answer.clone())
        .map_err(PasskiError::from)
        .and_then(|credential| passki().finish_passkey_registration(&credential, &state).map(drop));
    (ours(here), theirs(there))
}

fn authenticate(answer: &Value, honest: &Forge) -> Outcome {
    let origins = [ORIGIN.to_owned()];
    let expected = expected(&origins, &[]);
    let record = CredentialRecord {
        user_handles: &[],
        public_key: &honest.cose,
        sign_count: 0,
        backup_eligible: false,
    };
    let allowed = [Bytes(forge::ID.to_vec())];
    let here = parse(answer)
        .and_then(|answer| authentication::verify(&answer, &expected, &allowed, Some(&record)))
        .map(drop);
    let state: AuthenticationState = serde_json::from_value(json!({
        "challenge": forge::CHALLENGE,
        "allowed_credentials": [forge::ID],
        "user_verification": "required",
    }))
    .unwrap();
    let stored: StoredPasskey = serde_json::from_value(json!({
        "credential_id": forge::ID,
        "public_key": honest.cose,
        "counter": 0,
        "algorithm": honest.key.algorithm(),
    }))
    .unwrap();
    let there =
        serde_json::from_value(answer.clone()).map_err(PasskiError::from).and_then(|credential| {
            passki().finish_passkey_authentication(&credential, &state, &stored).map(drop)
        });
    (ours(here), theirs(there))
}

fn passki() -> Passki {
    Passki::new(RP_ID, &[ORIGIN], "Example")
}

#[test]
fn every_difference_from_passki_has_a_reason() {
    let mut seeded = Seeded(2026);
    let mut forges: Vec<(Forge, Forge)> = SHARED
        .iter()
        .map(|number| (Forge::registration(*number), Forge::authentication(*number)))
        .collect();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut both = [0_usize; 2];
    for case in 0..CASES {
        let at = seeded.below(forges.len());
        let (registration, authentication) = &mut forges[at];
        let forge = if case % 2 == 0 { registration } else { authentication };
        let honest = forge.clone_parts();
        seeded.bend_meaning(forge);
        let outcome = if case % 2 == 0 {
            register(&registration_answer(&mut seeded, forge))
        } else {
            let mut signature = forge.signature();
            if seeded.one_in(4) {
                seeded.bend(&mut signature);
            }
            let answer = forge.signed_with(signature);
            forge.restore(honest.clone());
            authenticate(&answer, forge)
        };
        forge.restore(honest);
        let known = match &outcome {
            (Ok(()), Ok(())) | (Err(_), Err(_)) => {
                both[usize::from(outcome.0.is_ok())] += 1;
                continue;
            }
            (Err(here), Ok(())) => STRICTER.iter().find(|(words, _)| here == words),
            (Ok(()), Err(there)) => LAXER.iter().find(|(words, _)| there.starts_with(words)),
        };
        let (words, _) = known.unwrap_or_else(|| panic!("case {case}: {outcome:?}"));
        *seen.entry(words).or_default() += 1;
    }
    for (words, reason) in STRICTER.iter().chain(LAXER) {
        assert!(seen.contains_key(words), "{words} ({reason}) did not happen: {seen:?}");
    }
    assert!(both.iter().all(|count| *count > CASES / 10), "refused and taken by both: {both:?}");
}
