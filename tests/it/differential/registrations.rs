//! Forged registrations, and how the verdicts over them may differ.

use ciborium::Value as Cbor;
use fido_relay_webauthn::{EDDSA, ES256};
use serde_json::{Value, json};

use super::Difference::{Laxer, Not, Stricter};
use super::forge::{AT, BE, BS, Card, ED, Forged, Members, UP, UV, bytes, key};
use super::{Case, Judges};
use crate::simulation::rng::Rng;

/// Puts a value in place of a COSE key's, or adds it; `null` takes it away.
fn label(forged: &mut Forged, label: i64, value: Cbor) {
    set(&mut forged.cose, label.into(), value);
}

fn set(members: &mut Members, key: Cbor, value: Cbor) {
    members.retain(|(known, _)| *known != key);
    if value != Cbor::Null {
        members.push((key, value));
    }
}

const LENIENT_KEY: &str = "the library looks at a COSE key first when it verifies with it";
const FRAMES: &str = "the library leaves frames to its caller";
const CANONICAL: &str = "the library does not insist on CTAP2's canonical CBOR";
const IDS: &str = "the library does not compare the answer's id with the attested one";

/// What is bent in a registration with attestation `none`, so that no signature notices.
pub(super) const UNATTESTED: &[Case] = &[
    ("nothing", |_| {}, Not),
    ("type", |f| f.client.push(("type", "webauthn.get".into())), Not),
    ("type of a payment", |f| f.client.push(("type", "payment.get".into())), Not),
    ("no type", |f| f.client.push(("type", Value::Null)), Not),
    ("another challenge", |f| f.client.push(("challenge", "AAAA".into())), Not),
    ("no challenge", |f| f.client.push(("challenge", Value::Null)), Not),
    (
        "a padded challenge",
        |f| f.client.push(("challenge", "{}=".into())),
        Stricter("the library decodes the challenge, WebAuthn compares its text"),
    ),
    ("another origin", |f| f.client.push(("origin", "https://example.com".into())), Not),
    ("the origin with a slash", |f| f.client.push(("origin", "{}/".into())), Not),
    ("the origin with a suffix", |f| f.client.push(("origin", "{}.example.com".into())), Not),
    ("no origin", |f| f.client.push(("origin", Value::Null)), Not),
    ("in a frame", |f| f.client.push(("crossOrigin", true.into())), Stricter(FRAMES)),
    ("within another page", |f| f.client.push(("topOrigin", "{}x".into())), Stricter(FRAMES)),
    ("crossOrigin as a text", |f| f.client.push(("crossOrigin", "no".into())), Stricter(FRAMES)),
    ("no crossOrigin", |f| f.client.push(("crossOrigin", Value::Null)), Not),
    ("a further member", |f| f.client.push(("other", json!([1]))), Not),
    (
        "type twice",
        |f| f.client_text = |text| text.replacen('{', r#"{"type":"webauthn.create","#, 1),
        Stricter("the library takes the last of two members of one name"),
    ),
    (
        "a byte order mark",
        |f| f.client_text = |text| format!("\u{feff}{text}"),
        Laxer("\"UTF-8 decode\" takes the mark off, which Python's JSON does not"),
    ),
    ("more behind the client data", |f| f.client_text = |text| format!("{text}x"), Not),
    ("another relying party", |f| f.rp_id = "example.com", Not),
    ("the user was not present", |f| f.flags = UV | AT, Not),
    ("the user was not verified, but must be", |f| f.flags = UP | AT, Not),
    (
        "the user was not verified, and need not be",
        |f| (f.flags, f.required) = (UP | AT, false),
        Not,
    ),
    ("backed up", |f| f.flags |= BE | BS, Not),
    (
        "backed up without being eligible",
        |f| f.flags |= BS,
        Stricter("the library leaves backup flags to its caller"),
    ),
    ("a reserved flag", |f| f.flags |= 0x20, Not),
    ("no credential", |f| f.flags = UP | UV, Not),
    ("no extension though its flag is set", |f| f.flags |= ED, Not),
    ("an extension", |f| (f.flags, f.tail) = (f.flags | ED, vec![0xa0]), Not),
    (
        "an extension that is no map",
        |f| (f.flags, f.tail) = (f.flags | ED, vec![0x01]),
        Stricter("the library does not look at the extension's type"),
    ),
    ("an extension without its flag", |f| f.tail = vec![0xa0], Not),
    ("a byte behind the credential", |f| f.tail = vec![0], Not),
    ("an id of no bytes", |f| f.id.clear(), Stricter(IDS)),
    ("another id", |f| f.id = vec![1; 32], Stricter(IDS)),
    ("an id twice as long", |f| f.id.extend([0; 32]), Stricter(IDS)),
    ("no id in the JSON", |f| f.json = |json| json["id"] = Value::Null, Not),
    ("id and rawId differ", |f| f.json = |json| json["id"] = "AAAA".into(), Not),
    (
        "another type in the JSON",
        |f| f.json = |json| json["type"] = "password".into(),
        Stricter("the library takes a type that it does not know for none"),
    ),
    ("no algorithm", |f| label(f, 3, Cbor::Null), Not),
    ("an unknown algorithm", |f| label(f, 3, (-999).into()), Stricter(LENIENT_KEY)),
    ("another key type", |f| label(f, 1, 3.into()), Stricter(LENIENT_KEY)),
    ("no key type", |f| label(f, 1, Cbor::Null), Stricter(LENIENT_KEY)),
    ("another curve", |f| label(f, -1, 2.into()), Stricter(LENIENT_KEY)),
    ("no y", |f| label(f, -3, Cbor::Null), Stricter(LENIENT_KEY)),
    ("a compressed point", |f| label(f, -3, true.into()), Stricter(LENIENT_KEY)),
    ("a short x", |f| label(f, -2, bytes(&[1; 31])), Stricter(LENIENT_KEY)),
    ("a point off the curve", |f| label(f, -2, bytes(&[1; 32])), Stricter(LENIENT_KEY)),
    ("a further label", |f| label(f, -70, 1.into()), Stricter(LENIENT_KEY)),
    (
        "a label twice",
        |f| f.cose.push((3.into(), (-7).into())),
        Stricter("the library takes the last of two labels"),
    ),
    ("a statement in none", |f| f.statement = |s| s.push(("x".into(), 1.into())), Not),
    ("a format that no verifier knows", |f| f.format = "x", Not),
    (
        "a length in more bytes than it needs",
        |f| f.outer = |object| drop(object.splice(..1, [0xb8, 3])),
        Stricter(CANONICAL),
    ),
    ("labels in another order", |f| f.cose.swap(0, 1), Stricter(CANONICAL)),
    ("more behind the object", |f| f.outer = |object| object.push(0), Not),
    (
        "the object cut",
        |f| f.outer = |object| object.truncate(object.len() - 1),
        Stricter("the library takes a byte string that ends early for one that is shorter"),
    ),
    ("no object", |f| f.json = |json| json["response"] = json!({ "clientDataJSON": "e30" }), Not),
];

const LENIENT_STATEMENT: &str =
    "the library passes over members of a statement that it has no use for";

/// What is bent in a registration with self attestation.
pub(super) const PACKED: &[Case] = &[
    ("nothing", |_| {}, Not),
    ("signed by another key", |f| f.signer = Some(key(ES256)), Not),
    ("signed in another algorithm", |f| f.signer = Some(key(EDDSA)), Not),
    ("another algorithm", |f| f.statement = |s| set(s, "alg".into(), (-8).into()), Not),
    ("no algorithm", |f| f.statement = |s| set(s, "alg".into(), Cbor::Null), Not),
    ("no signature", |f| f.statement = |s| set(s, "sig".into(), Cbor::Null), Not),
    ("an empty signature", |f| f.statement = |s| set(s, "sig".into(), bytes(&[])), Not),
    ("ECDAA", |f| f.statement = |s| set(s, "ecdaaKeyId".into(), bytes(&[1])), Not),
    (
        "a further member",
        |f| f.statement = |s| set(s, "x".into(), 1.into()),
        Stricter(LENIENT_STATEMENT),
    ),
    (
        "an empty chain",
        |f| f.statement = |s| set(s, "x5c".into(), Cbor::Array(Vec::new())),
        Stricter("the library takes an empty chain for none"),
    ),
    (
        "a chain of no certificates",
        |f| f.statement = |s| set(s, "x5c".into(), Cbor::Array(vec![bytes(&[1])])),
        Not,
    ),
];

#[tokio::test]
async fn both_verifiers_say_the_same_of_forged_registrations_but_for_what_is_listed() {
    let Some(mut judges) = Judges::start("forged registrations").await else { return };
    let mut rng = Rng::new(1);
    let mut wrong = Vec::new();
    for (packed, cases) in [(false, UNATTESTED), (true, PACKED)] {
        for (name, bend, difference) in cases {
            let card = Card::new(&key(ES256), &mut rng);
            let mut forged =
                if packed { Forged::packed(&card) } else { Forged::registration(&card) };
            bend(&mut forged);
            let user = judges.user();
            let verdicts = judges.judge(&user, &mut forged, |_| {}).await;
            wrong.extend(difference.complaint(name, verdicts));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
