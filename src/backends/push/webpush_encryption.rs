//! Message encryption for Web Push (RFC 8291): the `aes128gcm` content coding (RFC 8188) under a key
//! that only the subscription's receiver can derive. Every ciphertext has the same length.
//!
//! It knows bytes, and neither HTTP nor their meaning.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, ParsedPublicKey, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use fido_relay_proto::http::WebPushKeys;

use crate::security::random;

/// Bytes of every padded plaintext with its delimiter: longer than any wake's JSON, and with the
/// overhead below the 4096 that every service accepts (RFC 8030 section 7.2).
const PADDED: usize = 512;
/// The record size of the header; there is one record.
const RECORD_SIZE: u32 = 4_096;
/// The delimiter of the last record (RFC 8188 section 2).
const LAST: u8 = 2;

/// The keys of a subscription's receiver.
#[derive(Debug)]
pub(super) struct SubscriptionKeys {
    point: [u8; 65],
    auth: [u8; 16],
}

impl SubscriptionKeys {
    /// Parses the keys; `None` unless they are an uncompressed point of the curve and 16 bytes, in
    /// base64url with padding or without.
    pub(super) fn new(keys: &WebPushKeys) -> Option<Self> {
        let point: [u8; 65] = decode(keys.p256dh.as_str())?.try_into().ok()?;
        let auth = decode(keys.auth.as_str())?.try_into().ok()?;
        let parsed = ParsedPublicKey::try_from(UnparsedPublicKey::new(&ECDH_P256, point));
        let is_on_curve = point[0] == 4 && parsed.is_ok_and(|key| *key.alg() == ECDH_P256);
        is_on_curve.then_some(Self { point, auth })
    }

    /// Encrypts under a new key. `None`: the text is too long, or the cryptographic library fails.
    pub(super) fn encrypt(&self, text: &[u8]) -> Option<Vec<u8>> {
        if text.len() >= PADDED {
            return None;
        }
        let sender = PrivateKey::generate(&ECDH_P256).ok()?;
        self.encrypt_with(&sender, random::bytes(), text, PADDED)
    }

    fn encrypt_with(
        &self,
        sender: &PrivateKey,
        salt: [u8; 16],
        text: &[u8],
        padded: usize,
    ) -> Option<Vec<u8>> {
        let own = sender.compute_public_key().ok()?;
        // RFC 8291 section 3.4.
        let info = [b"WebPush: info\0", &self.point[..], own.as_ref()].concat();
        let peer = UnparsedPublicKey::new(&ECDH_P256, self.point);
        let secret = agree(sender, peer, (), |shared| expand::<32>(&self.auth, shared, &info));
        let keys = ContentKeys::new(&secret.ok()?, &salt).ok()?;
        let mut body = header(salt, RECORD_SIZE, own.as_ref())?;
        body.extend(keys.record(0, text, LAST, padded)?);
        Some(body)
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

/// The header of RFC 8188 section 2.1.
fn header(salt: [u8; 16], record_size: u32, key_id: &[u8]) -> Option<Vec<u8>> {
    let length = u8::try_from(key_id.len()).ok()?;
    Some([&salt[..], &record_size.to_be_bytes(), &[length], key_id].concat())
}

/// The content encryption key and nonce of one message (RFC 8188 sections 2.2 and 2.3).
struct ContentKeys {
    key: LessSafeKey,
    nonce: [u8; 12],
}

impl ContentKeys {
    fn new(secret: &[u8], salt: &[u8; 16]) -> Result<Self, ()> {
        let key = expand::<16>(salt, secret, b"Content-Encoding: aes128gcm\0")?;
        let nonce = expand::<12>(salt, secret, b"Content-Encoding: nonce\0")?;
        let key = UnboundKey::new(&AES_128_GCM, &key).map_err(|_| ())?;
        Ok(Self { key: LessSafeKey::new(key), nonce })
    }

    /// A record: content, delimiter, zeros up to `padded` bytes, and the tag.
    fn record(&self, number: u32, text: &[u8], delimiter: u8, padded: usize) -> Option<Vec<u8>> {
        let mut nonce = self.nonce;
        for (byte, of_number) in nonce[8..].iter_mut().zip(number.to_be_bytes()) {
            *byte ^= of_number;
        }
        let mut record = [text, &[delimiter]].concat();
        record.resize(record.len().max(padded), 0);
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(nonce, Aad::empty(), &mut record).ok()?;
        Some(record)
    }
}

struct OkmLength(usize);

impl KeyType for OkmLength {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF with SHA-256 (RFC 5869).
fn expand<const N: usize>(salt: &[u8], secret: &[u8], info: &[u8]) -> Result<[u8; N], ()> {
    let mut out = [0; N];
    let key = Salt::new(HKDF_SHA256, salt).extract(secret);
    let filled = key.expand(&[info], OkmLength(N)).and_then(|okm| okm.fill(&mut out));
    filled.map(|()| out).map_err(|_| ())
}

#[cfg(test)]
mod tests {
    use fido_relay_proto::PlainText;

    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    fn keys(p256dh: &str, auth: &str) -> WebPushKeys {
        WebPushKeys { p256dh: PlainText::new(p256dh).unwrap(), auth: PlainText::new(auth).unwrap() }
    }

    /// Of RFC 8291 appendix A.
    const POINT: &str =
        "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
    const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";

    #[test]
    fn the_example_of_rfc_8291_comes_out_byte_for_byte() {
        let receiver = SubscriptionKeys::new(&keys(POINT, AUTH)).unwrap();
        let sender = bytes("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw");
        let sender = PrivateKey::from_private_key(&ECDH_P256, &sender).unwrap();
        let salt = bytes("DGv6ra1nlYgDCS1FRnbzlw").try_into().unwrap();
        let text = b"When I grow up, I want to be a watermelon";
        let body = receiver.encrypt_with(&sender, salt, text, 0).unwrap();
        let expected = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6\
             e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouB\
             WLVWGNWQexSgSxsj_Qulcy4a-fN";
        assert_eq!(URL_SAFE_NO_PAD.encode(body), expected);
    }

    #[test]
    fn both_examples_of_rfc_8188_come_out_byte_for_byte() {
        let salt: [u8; 16] = bytes("I1BsxtFttlv3u_Oo94xnmw").try_into().unwrap();
        let secret = bytes("yqdlZ-tYemfogSmv7Ws5PQ");
        let one = ContentKeys::new(&secret, &salt).unwrap();
        let mut body = header(salt, 4_096, b"").unwrap();
        body.extend(one.record(0, b"I am the walrus", LAST, 0).unwrap());
        let expected = "I1BsxtFttlv3u_Oo94xnmwAAEAAA-NAVub2qFgBEuQKRapoZu-IxkIva3MEB1PD-ly8Thjg";
        assert_eq!(URL_SAFE_NO_PAD.encode(body), expected);

        let salt: [u8; 16] = bytes("uNCkWiNYzKTnBN9ji3-qWA").try_into().unwrap();
        let two = ContentKeys::new(&bytes("BO3ZVPxUlnLORbVGMpbT1Q"), &salt).unwrap();
        let mut body = header(salt, 25, b"a1").unwrap();
        body.extend(two.record(0, b"I am th", 1, 9).unwrap());
        body.extend(two.record(1, b"e walrus", LAST, 0).unwrap());
        let expected = "uNCkWiNYzKTnBN9ji3-qWAAAABkCYTHOG8chz_gnvgOqdGYovxyjuqRyJFjEDyoF1Fvkj6hQPdPHI51OEUKEpgz3SsLWIqS_uA";
        assert_eq!(URL_SAFE_NO_PAD.encode(body), expected);
    }

    #[test]
    fn every_body_has_one_length_and_no_two_are_alike() {
        let receiver = SubscriptionKeys::new(&keys(POINT, AUTH)).unwrap();
        let bodies = [&b""[..], b"{}", &[b'x'; PADDED - 1]].map(|text| receiver.encrypt(text));
        let lengths = bodies.each_ref().map(|body| body.as_ref().unwrap().len());
        assert_eq!(lengths, [16 + 4 + 1 + 65 + PADDED + 16; 3]);
        assert_ne!(bodies[0].as_ref().unwrap()[..16], bodies[1].as_ref().unwrap()[..16]);
        assert_eq!(receiver.encrypt(&[b'x'; PADDED]), None);
    }

    #[test]
    fn keys_that_are_no_receivers_are_refused() {
        assert!(SubscriptionKeys::new(&keys(&format!("{POINT}="), &format!("{AUTH}=="))).is_some());
        let mut off_curve = bytes(POINT);
        off_curve[64] ^= 1;
        let compressed = [&[2], &bytes(POINT)[1..33]].concat();
        let hybrid = [&[6], &bytes(POINT)[1..]].concat();
        let off_curve = URL_SAFE_NO_PAD.encode(off_curve);
        let (compressed, hybrid) =
            (URL_SAFE_NO_PAD.encode(compressed), URL_SAFE_NO_PAD.encode(hybrid));
        for (point, auth) in [
            (off_curve.as_str(), AUTH),
            (&compressed, AUTH),
            (&hybrid, AUTH),
            (&POINT[1..], AUTH),
            ("AAAA", AUTH),
            ("no base64!", AUTH),
            (POINT, "AAAA"),
            (POINT, "BTBZMqHH6r4Tts7J_aSIggAA"),
        ] {
            assert!(SubscriptionKeys::new(&keys(point, auth)).is_none(), "{point} {auth}");
        }
    }
}
