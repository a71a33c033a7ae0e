//! Answers made by hand, every part of which a case may bend before it is signed.

use std::rc::Rc;

use aws_lc_rs::digest::{SHA256, digest};
use ciborium::Value as Cbor;
use fido_relay_webauthn::KeyPair;
use serde_json::{Value, json};

use super::RP_ID;
use crate::simulation::rng::Rng;
use crate::support::key_pair::base64;

/// Flag bits of authenticator data.
pub(super) const UP: u8 = 0x01;
pub(super) const UV: u8 = 0x04;
pub(super) const BE: u8 = 0x08;
pub(super) const BS: u8 = 0x10;
pub(super) const AT: u8 = 0x40;
pub(super) const ED: u8 = 0x80;

/// The signature counter at registration.
pub(super) const COUNTER: u32 = 5;

/// Members of a CBOR map.
pub(super) type Members = Vec<(Cbor, Cbor)>;

/// A new key of a COSE algorithm.
pub(super) fn key(algorithm: i64) -> Rc<KeyPair> {
    Rc::new(KeyPair::generate(algorithm).unwrap())
}

pub(super) fn bytes(slice: &[u8]) -> Cbor {
    Cbor::Bytes(slice.to_vec())
}

pub(super) fn cbor(value: &Cbor) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

/// A card with one credential.
#[derive(Clone)]
pub(super) struct Card {
    pub(super) key: Rc<KeyPair>,
    pub(super) id: Vec<u8>,
}

impl Card {
    /// A card with this key and an id of its own.
    pub(super) fn new(key: &Rc<KeyPair>, rng: &mut Rng) -> Self {
        let id = (0..4).flat_map(|_| rng.next().to_be_bytes()).collect();
        Self { key: Rc::clone(key), id }
    }

    /// Its id and its public key (COSE), as it was registered.
    pub(super) fn registered(&self) -> (Vec<u8>, Vec<u8>) {
        (self.id.clone(), cbor(&self.key.cose()))
    }
}

/// One answer, before it is signed.
pub(super) struct Forged {
    pub(super) card: Card,
    pub(super) registration: bool,
    /// Whether the server is asked to insist on user verification.
    pub(super) required: bool,
    /// Members of the client data in place of the honest ones, or beside them; `null` leaves one out.
    pub(super) client: Vec<(&'static str, Value)>,
    /// What becomes of the client data's text.
    pub(super) client_text: fn(String) -> String,
    pub(super) rp_id: &'static str,
    pub(super) flags: u8,
    pub(super) counter: u32,
    /// The id within authenticator data.
    pub(super) id: Vec<u8>,
    pub(super) cose: Members,
    /// Behind the public key.
    pub(super) tail: Vec<u8>,
    pub(super) format: &'static str,
    /// Whether the credential's own key signs for it (format `packed`).
    pub(super) attested: bool,
    /// What becomes of the statement.
    pub(super) statement: fn(&mut Members),
    /// Who signs, instead of the card's key.
    pub(super) signer: Option<Rc<KeyPair>>,
    /// What becomes of the attestation object or of the assertion's signature.
    pub(super) outer: fn(&mut Vec<u8>),
    /// What becomes of the JSON.
    pub(super) json: fn(&mut Value),
}

impl Forged {
    /// An honest registration with attestation `none`.
    pub(super) fn registration(card: &Card) -> Self {
        Self {
            card: card.clone(),
            registration: true,
            required: true,
            client: Vec::new(),
            client_text: |text| text,
            rp_id: RP_ID,
            flags: UP | UV | AT,
            counter: COUNTER,
            id: card.id.clone(),
            cose: card.key.cose().into_map().unwrap(),
            tail: Vec::new(),
            format: "none",
            attested: false,
            statement: |_| {},
            signer: None,
            outer: |_| {},
            json: |_| {},
        }
    }

    /// An honest registration with self attestation.
    pub(super) fn packed(card: &Card) -> Self {
        Self { format: "packed", attested: true, ..Self::registration(card) }
    }

    /// An honest authentication.
    pub(super) fn authentication(card: &Card) -> Self {
        Self {
            registration: false,
            flags: UP | UV,
            counter: COUNTER + 1,
            ..Self::registration(card)
        }
    }

    pub(super) fn authenticator_data(&self) -> Vec<u8> {
        let mut data = sha256(self.rp_id.as_bytes());
        data.push(self.flags);
        data.extend(self.counter.to_be_bytes());
        if self.flags & AT != 0 {
            data.extend([5; 16]);
            data.extend((self.id.len() as u16).to_be_bytes());
            data.extend(&self.id);
            data.extend(cbor(&Cbor::Map(self.cose.clone())));
        }
        data.extend(&self.tail);
        data
    }

    fn client_data(&self, challenge: &str, origin: &str) -> String {
        let kind = if self.registration { "webauthn.create" } else { "webauthn.get" };
        let mut client = json!({
            "type": kind, "challenge": challenge, "origin": origin, "crossOrigin": false,
        });
        for (name, value) in &self.client {
            // What a case writes may refer to the honest value.
            let honest = client[*name].as_str().unwrap_or_default().to_owned();
            client[*name] = match value.as_str() {
                Some(text) => text.replace("{}", &honest).into(),
                None => value.clone(),
            };
        }
        client.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        (self.client_text)(client.to_string())
    }

    pub(super) fn finish(&self, challenge: &str, origin: &str) -> Value {
        let client_data = self.client_data(challenge, origin);
        let data = self.authenticator_data();
        let message = [data.as_slice(), &sha256(client_data.as_bytes())].concat();
        let signature = self.signer.as_ref().unwrap_or(&self.card.key).sign(&message).unwrap();
        let response = if self.registration {
            let mut statement = Members::new();
            if self.attested {
                statement.push(("alg".into(), self.card.key.algorithm().into()));
                statement.push(("sig".into(), bytes(&signature)));
            }
            (self.statement)(&mut statement);
            let mut object = cbor(&Cbor::Map(vec![
                ("fmt".into(), self.format.into()),
                ("attStmt".into(), Cbor::Map(statement)),
                ("authData".into(), bytes(&data)),
            ]));
            (self.outer)(&mut object);
            json!({ "attestationObject": base64(object) })
        } else {
            let mut signature = signature;
            (self.outer)(&mut signature);
            json!({ "authenticatorData": base64(data), "signature": base64(signature) })
        };
        let id = base64(&self.card.id);
        let mut answer =
            json!({ "id": id, "rawId": id, "type": "public-key", "response": response });
        answer["response"]["clientDataJSON"] = base64(client_data).into();
        (self.json)(&mut answer);
        answer
    }
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}
