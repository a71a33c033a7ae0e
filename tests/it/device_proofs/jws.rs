//! Compact JWS by hand: what a library for them would never write.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_rig::phone::DeviceKey;
use serde_json::Value;

/// The order of P-256's group (SP 800-186 section 3.2.1.3).
pub(crate) const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

pub(crate) fn sign(key: &DeviceKey, message: &str) -> Vec<u8> {
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.pkcs8()).unwrap();
    pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec()
}

pub(crate) fn sign_der(key: &DeviceKey, message: &str) -> Vec<u8> {
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.pkcs8()).unwrap();
    pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec()
}

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Header and payload as texts, signed by the key over whatever they are.
pub(crate) fn jws_of_texts(key: &DeviceKey, header: &str, payload: &str) -> String {
    let input = format!("{}.{}", b64(header), b64(payload));
    let signature = sign(key, &input);
    format!("{input}.{}", b64(signature))
}

pub(crate) fn jws(key: &DeviceKey, header: &Value, payload: &Value) -> String {
    jws_of_texts(key, &header.to_string(), &payload.to_string())
}

/// The good proof with another signature over it.
pub(crate) fn resigned(proof: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> String {
    let (input, signature) = proof.rsplit_once('.').unwrap();
    format!("{input}.{}", b64(change(URL_SAFE_NO_PAD.decode(signature).unwrap())))
}

/// `n - s`: the other signature that verifies, of the same message by the same key.
pub(crate) fn other_s(mut signature: Vec<u8>) -> Vec<u8> {
    let mut borrow = 0_i16;
    for at in (0..32).rev() {
        let byte = i16::from(ORDER[at]) - i16::from(signature[32 + at]) - borrow;
        borrow = i16::from(byte < 0);
        signature[32 + at] = u8::try_from(byte.rem_euclid(256)).unwrap();
    }
    signature
}

/// The same bytes with the unused bits of the last character set.
pub(crate) fn with_loose_bits(part: &str) -> String {
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = alphabet.find(part.chars().last().unwrap()).unwrap();
    assert_ne!(part.len() % 4, 0, "no unused bits");
    let loose = alphabet.as_bytes()[last | 1];
    assert_ne!(usize::from(loose), usize::from(part.as_bytes()[part.len() - 1]));
    format!("{}{}", &part[..part.len() - 1], char::from(loose))
}
