//! Forged authentications, and how the verdicts over them may differ.

use fido_relay_webauthn::{EDDSA, ES256};
use serde_json::Value;

use super::Difference::{Not, Stricter};
use super::forge::{AT, BE, BS, COUNTER, Card, ED, Forged, UP, UV, key};
use super::{Case, Judges, Verdicts};
use crate::simulation::rng::Rng;

const FRAMES: &str = "the library leaves frames to its caller";
const COUNTERS: &str = "the library leaves counters to its caller";
const HANDLES: &str = "the library leaves user handles to its caller";

/// What is bent before the card signs.
const CASES: &[Case] = &[
    ("nothing", |_| {}, Not),
    ("type", |f| f.client.push(("type", "webauthn.create".into())), Not),
    ("another challenge", |f| f.client.push(("challenge", "AAAA".into())), Not),
    ("another origin", |f| f.client.push(("origin", "https://example.com".into())), Not),
    ("the origin in capitals", |f| f.client.push(("origin", "HTTP://LOCALHOST".into())), Not),
    ("in a frame", |f| f.client.push(("crossOrigin", true.into())), Stricter(FRAMES)),
    ("another relying party", |f| f.rp_id = "example.com", Not),
    ("the user was not present", |f| f.flags = UV, Not),
    ("the user was not verified, but must be", |f| f.flags = UP, Not),
    ("the user was not verified, and need not be", |f| (f.flags, f.required) = (UP, false), Not),
    (
        "backup eligible, which it was not",
        |f| f.flags |= BE,
        Stricter("the library keeps no flags of a registration"),
    ),
    (
        "backed up without being eligible",
        |f| f.flags |= BS,
        Stricter("the library leaves backup flags to its caller"),
    ),
    (
        "a credential in an assertion",
        |f| f.flags |= AT,
        Stricter("the library does not ask what the flag AT means here"),
    ),
    ("no extension though its flag is set", |f| f.flags |= ED, Not),
    ("an extension", |f| (f.flags, f.tail) = (f.flags | ED, vec![0xa0]), Not),
    ("a byte behind the authenticator data", |f| f.tail = vec![0], Not),
    ("the counter of before", |f| f.counter = COUNTER, Stricter(COUNTERS)),
    ("a counter that went back", |f| f.counter = COUNTER - 1, Stricter(COUNTERS)),
    ("a counter that stopped", |f| f.counter = 0, Stricter(COUNTERS)),
    ("the highest counter", |f| f.counter = u32::MAX, Not),
    ("signed by another key", |f| f.signer = Some(key(ES256)), Not),
    ("signed in another algorithm", |f| f.signer = Some(key(EDDSA)), Not),
    ("no signature", |f| f.outer = Vec::clear, Not),
    ("a byte behind the signature", |f| f.outer = |signature| signature.push(0), Not),
    ("another credential's id", |f| f.json = |json| name(json, "AAAA"), Not),
    ("another user's handle", |f| f.json = |json| handle(json, "AAAA"), Stricter(HANDLES)),
    ("an empty user handle", |f| f.json = |json| handle(json, ""), Not),
    ("no authenticator data", |f| f.json = |json| without(json, "authenticatorData"), Not),
    ("no client data", |f| f.json = |json| without(json, "clientDataJSON"), Not),
];

fn name(answer: &mut Value, id: &str) {
    answer["id"] = id.into();
    answer["rawId"] = id.into();
}

fn handle(answer: &mut Value, handle: &str) {
    answer["response"]["userHandle"] = handle.into();
}

fn without(answer: &mut Value, member: &str) {
    answer["response"].as_object_mut().unwrap().remove(member);
}

#[tokio::test]
async fn both_verifiers_say_the_same_of_forged_authentications_but_for_what_is_listed() {
    let Some(mut judges) = Judges::start("forged authentications").await else { return };
    let mut rng = Rng::new(2);
    let mut wrong = Vec::new();
    for (what, bend, difference) in CASES {
        let card = Card::new(&key(ES256), &mut rng);
        let user = judges.user();
        let registered = judges.judge(&user, &mut Forged::registration(&card), |_| {}).await;
        assert_eq!(registered, Verdicts { ours: true, theirs: true });
        let mut forged = Forged::authentication(&card);
        bend(&mut forged);
        let verdicts = judges.judge(&user, &mut forged, |_| {}).await;
        wrong.extend(difference.complaint(what, verdicts));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
