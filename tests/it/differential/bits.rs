//! Single bits of honest answers, changed after the card signed.

use super::attestation::{bytes, client_part, inner_part, part};
use super::forge::{Card, Forged, key};
use super::{Judges, Verdicts};
use crate::simulation::rng::Rng;
use crate::support::key_pair::base64;
use fido_relay_webauthn::{EDDSA, ES256, RS256};

/// Parts of a registration in which a changed bit may be refused here alone, and why. No bit of any
/// answer is accepted here alone.
const STRICTER: [(&str, &str); 5] = [
    ("length", "the library takes a byte string that ends early for one that is shorter"),
    ("flag BS", "the library leaves backup flags to its caller"),
    ("id", "the library does not compare the answer's id with the attested one"),
    ("public key", "the library looks at a COSE key first when it verifies with it"),
    ("end of the challenge", "the library decodes the challenge, WebAuthn compares its text"),
];

/// How many bits of which members of an answer are changed.
const REGISTRATION: [(&str, usize); 2] = [("attestationObject", 80), ("clientDataJSON", 20)];
const AUTHENTICATION: [(&str, usize); 3] =
    [("authenticatorData", 60), ("clientDataJSON", 60), ("signature", 40)];

/// Changes one bit by chance of a member of each answer that `forge` makes, and collects where the
/// verdicts differ though [`STRICTER`] does not have it.
async fn flip(
    judges: &mut Judges,
    rng: &mut Rng,
    (member, bits): (&'static str, usize),
    mut forge: impl FnMut(&mut Rng) -> (Option<String>, Forged),
) -> Vec<String> {
    let mut wrong = Vec::new();
    for _ in 0..bits {
        let (user, mut forged) = forge(rng);
        let user = user.unwrap_or_else(|| judges.user());
        let data = forged.authenticator_data();
        let mut place = "";
        let mut at = 0;
        let verdicts = judges
            .judge(&user, &mut forged, |answer| {
                let mut changed = bytes(&answer["response"][member]).unwrap();
                at = rng.below(8 * changed.len() as u64) as usize;
                place = match member {
                    "attestationObject" => part(&changed, &data, at),
                    "authenticatorData" => inner_part(&data, at),
                    "clientDataJSON" => client_part(&changed, at),
                    _ => "any",
                };
                changed[at / 8] ^= 1 << (at % 8);
                answer["response"][member] = base64(changed).into();
            })
            .await;
        let stricter = Verdicts { ours: false, theirs: true };
        let known = forged.registration && STRICTER.iter().any(|(part, _)| *part == place);
        if verdicts.ours != verdicts.theirs && !(known && verdicts == stricter) {
            wrong.push(format!("bit {at} of {member}, {place}: {verdicts:?}"));
        }
    }
    wrong
}

#[tokio::test]
async fn both_verifiers_see_the_same_bits_of_registrations_but_for_what_is_listed() {
    let Some(mut judges) = Judges::start("changed bits of registrations").await else { return };
    let mut rng = Rng::new(3);
    let keys = [ES256, EDDSA, RS256].map(key);
    let mut wrong = Vec::new();
    for key in &keys {
        for honest in [Forged::registration as fn(&Card) -> Forged, Forged::packed] {
            for what in REGISTRATION {
                let forge = |rng: &mut Rng| (None, honest(&Card::new(key, rng)));
                wrong.extend(flip(&mut judges, &mut rng, what, forge).await);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn both_verifiers_see_the_same_bits_of_authentications() {
    let Some(mut judges) = Judges::start("changed bits of authentications").await else { return };
    let mut rng = Rng::new(4);
    let keys = [ES256, EDDSA, RS256].map(key);
    let mut wrong = Vec::new();
    for key in &keys {
        let card = Card::new(key, &mut rng);
        let user = judges.user();
        let registered = judges.judge(&user, &mut Forged::registration(&card), |_| {}).await;
        assert_eq!(registered, Verdicts { ours: true, theirs: true });
        for what in AUTHENTICATION {
            let forge = |_: &mut Rng| (Some(user.clone()), Forged::authentication(&card));
            wrong.extend(flip(&mut judges, &mut rng, what, forge).await);
        }
        // None of them was taken for the card's.
        let honest = judges.judge(&user, &mut Forged::authentication(&card), |_| {}).await;
        assert_eq!(honest, Verdicts { ours: true, theirs: true });
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
