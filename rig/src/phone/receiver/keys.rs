//! The keys of a Web Push subscription, and opening what was encrypted to them (RFC 8291 over the
//! `aes128gcm` coding of RFC 8188). Knows nothing of HTTP.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_kit::random;

use crate::phone::key::KeyError;

/// An uncompressed P-256 point (SEC 1 section 2.3.3).
const POINT: usize = 65;
/// Salt, record size and the length of the key id, in front of the key id (RFC 8188 section 2.1).
const HEADER: usize = 16 + 4 + 1;
/// The last octet before the padding of the last record (RFC 8188 section 2).
const LAST_RECORD: u8 = 2;

/// What a subscription keeps to itself.
pub(super) struct ReceiverKeys {
    private: PrivateKey,
    public: [u8; POINT],
    auth: [u8; 16],
}

impl ReceiverKeys {
    /// Draws a key pair and a secret for one subscription.
    ///
    /// # Errors
    /// [`KeyError`] if the cryptographic library fails.
    pub(super) fn generate() -> Result<Self, KeyError> {
        let private = PrivateKey::generate(&ECDH_P256);
        Self::new(private.map_err(|_| KeyError("could not be made"))?, random::bytes())
    }

    fn new(private: PrivateKey, auth: [u8; 16]) -> Result<Self, KeyError> {
        let public = private.compute_public_key().map_err(|_| KeyError("has no public half"))?;
        let public = public.as_ref().try_into();
        let public = public.map_err(|_| KeyError("has no uncompressed public half"))?;
        Ok(Self { private, public, auth })
    }

    /// The public key, base64url.
    pub(super) fn p256dh(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.public)
    }

    /// The authentication secret, base64url.
    pub(super) fn auth(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.auth)
    }

    /// Decrypts a message of one record; `None` if it was not encrypted for these keys.
    pub(super) fn open(&self, message: &[u8]) -> Option<Vec<u8>> {
        let (header, rest) = message.split_at_checked(HEADER)?;
        let (salt, record_size) = header.split_at_checked(16)?;
        let (record_size, id_length) = record_size.split_at_checked(4)?;
        let record_size = u32::from_be_bytes(record_size.try_into().ok()?);
        if usize::from(*id_length.first()?) != POINT {
            return None;
        }
        let (sender, record) = rest.split_at_checked(POINT)?;
        if u32::try_from(record.len()).ok()? > record_size {
            return None;
        }
        let keys = agreed(&self.private, sender, &self.public, (sender, &self.auth), salt)?;
        let mut record = record.to_vec();
        let nonce = Nonce::assume_unique_for_key(keys.nonce);
        let padded = keys.content.open_in_place(nonce, Aad::empty(), &mut record).ok()?;
        let end = padded.iter().rposition(|byte| *byte != 0)?;
        (padded.get(end) == Some(&LAST_RECORD)).then(|| padded.get(..end).map(<[u8]>::to_vec))?
    }
}

/// Key and nonce of a message's one record.
struct ContentKeys {
    content: LessSafeKey,
    nonce: [u8; NONCE_LEN],
}

/// An output length of HKDF.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// Key derivation (RFC 8291 section 3.4): `private` and `peer` agree on a secret; `receiver` and
/// `sender` are the public keys in the order of the info.
fn agreed(
    private: &PrivateKey,
    peer: &[u8],
    receiver: &[u8],
    (sender, auth): (&[u8], &[u8]),
    salt: &[u8],
) -> Option<ContentKeys> {
    let peer = UnparsedPublicKey::new(&ECDH_P256, peer);
    let secret = agree(private, peer, (), |secret| Ok(secret.to_vec())).ok()?;
    let mut input = [0; 32];
    let info: [&[u8]; 3] = [b"WebPush: info\0", receiver, sender];
    Salt::new(HKDF_SHA256, auth)
        .extract(&secret)
        .expand(&info, Length(32))
        .and_then(|expanded| expanded.fill(&mut input))
        .ok()?;
    let extracted = Salt::new(HKDF_SHA256, salt).extract(&input);
    let expand = |info: &[u8], out: &mut [u8]| {
        let info = [info];
        let expanded = extracted.expand(&info, Length(out.len()));
        expanded.and_then(|expanded| expanded.fill(out)).ok()
    };
    let (mut key, mut nonce) = ([0; 16], [0; NONCE_LEN]);
    // The info's last octet is a zero, which is part of it (RFC 8188 section 2.2).
    expand(b"Content-Encoding: aes128gcm\0", &mut key)?;
    expand(b"Content-Encoding: nonce\0", &mut nonce)?;
    let content = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).ok()?);
    Some(ContentKeys { content, nonce })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Encrypts as a sender does.
    pub(in crate::phone) fn seal(p256dh: &str, auth: &str, text: &[u8]) -> Vec<u8> {
        let receiver = URL_SAFE_NO_PAD.decode(p256dh).unwrap();
        let auth = URL_SAFE_NO_PAD.decode(auth).unwrap();
        let own = PrivateKey::generate(&ECDH_P256).unwrap();
        let sender = own.compute_public_key().unwrap();
        let salt: [u8; 16] = random::bytes();
        let keys = agreed(&own, &receiver, &receiver, (sender.as_ref(), &auth), &salt).unwrap();
        let mut record = text.to_vec();
        record.extend([LAST_RECORD, 0, 0, 0]);
        let nonce = Nonce::assume_unique_for_key(keys.nonce);
        keys.content.seal_in_place_append_tag(nonce, Aad::empty(), &mut record).unwrap();
        let id_length = [u8::try_from(POINT).unwrap()];
        [&salt, &4096_u32.to_be_bytes()[..], &id_length, sender.as_ref(), &record].concat()
    }

    fn decoded(text: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    /// RFC 8291 appendix A.
    fn of_the_rfc() -> (ReceiverKeys, Vec<u8>) {
        let private = decoded("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94");
        let private = PrivateKey::from_private_key(&ECDH_P256, &private).unwrap();
        let auth = decoded("BTBZMqHH6r4Tts7J_aSIgg").try_into().unwrap();
        let message = decoded(
            "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27ml\
             mlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPT\
             pK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN",
        );
        (ReceiverKeys::new(private, auth).unwrap(), message)
    }

    #[test]
    fn the_message_of_rfc_8291_opens() {
        let (keys, message) = of_the_rfc();
        assert_eq!(
            keys.p256dh(),
            "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
        );
        let text = keys.open(&message).unwrap();
        assert_eq!(text, b"When I grow up, I want to be a watermelon");
    }

    #[test]
    fn no_other_message_opens() {
        let (keys, message) = of_the_rfc();
        for at in 0..message.len() {
            let mut other = message.clone();
            other[at] ^= 1;
            // The record size only bounds the record's length.
            let is_size = (16..20).contains(&at);
            assert!(is_size || keys.open(&other).is_none(), "octet {at} does not count");
        }
        for length in 0..message.len() {
            assert!(keys.open(&message[..length]).is_none(), "{length} octets are enough");
        }
        let (other_auth, _) = of_the_rfc();
        let other_auth = ReceiverKeys { auth: [7; 16], ..other_auth };
        assert!(other_auth.open(&message).is_none());
        assert!(ReceiverKeys::generate().unwrap().open(&message).is_none());
    }

    #[test]
    fn what_is_sealed_opens_without_its_padding() {
        let keys = ReceiverKeys::generate().unwrap();
        for text in [&b""[..], b"wake", &[0, 0], &[2, 0]] {
            assert_eq!(keys.open(&seal(&keys.p256dh(), &keys.auth(), text)).unwrap(), text);
        }
    }
}
