//! Ceremonies made by hand, every part of which a test may bend: a card that lies as it is told.

use ciborium::Value;
use serde_json::json;

use super::{ORIGIN, RP_ID, sha256};
use crate::KeyPair as CardKey;
use crate::answer::Bytes;

/// Flag bits of authenticator data.
pub(super) const UP: u8 = 0x01;
pub(super) const UV: u8 = 0x04;
pub(super) const BE: u8 = 0x08;
pub(super) const BS: u8 = 0x10;
pub(super) const AT: u8 = 0x40;
pub(super) const ED: u8 = 0x80;

/// The challenge of every forged ceremony.
pub(super) const CHALLENGE: [u8; 32] = [7; 32];

/// The credential id of every forged ceremony, unless bent.
pub(super) const ID: [u8; 32] = [9; 32];

/// One credential and one answer of it, before it is signed.
pub(super) struct Forge {
    pub(super) key: CardKey,
    pub(super) id: Vec<u8>,
    pub(super) aaguid: [u8; 16],
    pub(super) rp_id: String,
    pub(super) flags: u8,
    pub(super) sign_count: u32,
    /// The public key that is told, COSE.
    pub(super) cose: Vec<u8>,
    /// Behind the public key.
    pub(super) tail: Vec<u8>,
    pub(super) client_data: serde_json::Value,
    /// Instead of `client_data`, bytes that need not be JSON.
    pub(super) client_bytes: Option<Vec<u8>>,
    pub(super) user_handle: Option<Vec<u8>>,
}

pub(super) fn cbor(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

impl Forge {
    /// An honest registration by a new key of this algorithm.
    pub(super) fn registration(algorithm: i64) -> Self {
        let key = CardKey::generate(algorithm).unwrap();
        let cose = cbor(&key.cose());
        Self {
            key,
            id: ID.to_vec(),
            aaguid: [5; 16],
            rp_id: RP_ID.to_owned(),
            flags: UP | UV | AT,
            sign_count: 0,
            cose,
            tail: Vec::new(),
            client_data: client_data("webauthn.create"),
            client_bytes: None,
            user_handle: None,
        }
    }

    /// An honest authentication by the same credential.
    pub(super) fn authentication(algorithm: i64) -> Self {
        Self {
            flags: UP | UV,
            sign_count: 1,
            client_data: client_data("webauthn.get"),
            ..Self::registration(algorithm)
        }
    }

    pub(super) fn authenticator_data(&self) -> Vec<u8> {
        let mut data = sha256(self.rp_id.as_bytes());
        data.push(self.flags);
        data.extend(self.sign_count.to_be_bytes());
        if self.flags & AT != 0 {
            data.extend(self.aaguid);
            data.extend((self.id.len() as u16).to_be_bytes());
            data.extend(&self.id);
            data.extend(&self.cose);
        }
        data.extend(&self.tail);
        data
    }

    pub(super) fn client_data(&self) -> Vec<u8> {
        self.client_bytes.clone().unwrap_or_else(|| self.client_data.to_string().into_bytes())
    }

    /// What a signature covers.
    pub(super) fn message(&self) -> Vec<u8> {
        [self.authenticator_data(), sha256(&self.client_data())].concat()
    }

    pub(super) fn signature(&self) -> Vec<u8> {
        self.key.sign(&self.message()).unwrap()
    }

    /// The statement of an honest self attestation.
    pub(super) fn packed(&self) -> Vec<(Value, Value)> {
        vec![
            ("alg".into(), self.key.algorithm().into()),
            ("sig".into(), Value::Bytes(self.signature())),
        ]
    }

    /// An attestation object's members.
    pub(super) fn object(&self, format: &str, statement: Vec<(Value, Value)>) -> Value {
        Value::Map(vec![
            ("fmt".into(), format.into()),
            ("attStmt".into(), Value::Map(statement)),
            ("authData".into(), Value::Bytes(self.authenticator_data())),
        ])
    }

    /// The answer of a registration with this attestation object.
    pub(super) fn answer_with(&self, object: &[u8]) -> serde_json::Value {
        self.answer(json!({
            "clientDataJSON": Bytes(self.client_data()),
            "attestationObject": Bytes(object.to_vec()),
        }))
    }

    /// The answer of a registration with attestation `none`.
    pub(super) fn unattested(&self) -> serde_json::Value {
        self.answer_with(&cbor(&self.object("none", Vec::new())))
    }

    /// The answer of a registration with self attestation.
    pub(super) fn self_attested(&self) -> serde_json::Value {
        self.answer_with(&cbor(&self.object("packed", self.packed())))
    }

    /// The answer of an authentication, or of a registration in the vendor sample's form.
    pub(super) fn signed(&self) -> serde_json::Value {
        self.signed_with(self.signature())
    }

    pub(super) fn signed_with(&self, signature: Vec<u8>) -> serde_json::Value {
        self.answer(json!({
            "clientDataJSON": Bytes(self.client_data()),
            "authenticatorData": Bytes(self.authenticator_data()),
            "signature": Bytes(signature),
            "userHandle": self.user_handle.clone().map(Bytes),
        }))
    }

    pub(super) fn clone_parts(&self) -> Parts {
        Parts {
            id: self.id.clone(),
            rp_id: self.rp_id.clone(),
            flags: self.flags,
            sign_count: self.sign_count,
            cose: self.cose.clone(),
            tail: self.tail.clone(),
            client_data: self.client_data.clone(),
        }
    }

    pub(super) fn restore(&mut self, parts: Parts) {
        self.client_bytes = None;
        Parts {
            id: self.id,
            rp_id: self.rp_id,
            flags: self.flags,
            sign_count: self.sign_count,
            cose: self.cose,
            tail: self.tail,
            client_data: self.client_data,
        } = parts;
    }

    fn answer(&self, response: serde_json::Value) -> serde_json::Value {
        let id = Bytes(self.id.clone());
        json!({"id": id, "rawId": id, "type": "public-key", "response": response})
    }
}

/// Everything of a [`Forge`] that tests bend.
#[derive(Clone)]
pub(super) struct Parts {
    id: Vec<u8>,
    rp_id: String,
    flags: u8,
    sign_count: u32,
    cose: Vec<u8>,
    tail: Vec<u8>,
    client_data: serde_json::Value,
}

fn client_data(kind: &str) -> serde_json::Value {
    json!({
        "type": kind,
        "challenge": Bytes(CHALLENGE.to_vec()),
        "origin": ORIGIN,
        "crossOrigin": false,
    })
}
