//! A backend's own key pair, and what it signs with it: proper client assertions, and any others.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_proto::ClientId;
use serde_json::{Value, json};

/// `client_assertion_type` of RFC 7523.
pub(crate) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

enum Private {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rsa(RsaKeyPair, &'static str),
}

/// A key pair and the name of its public half.
pub(crate) struct KeyPair {
    pub(crate) kid: String,
    private: Private,
}

impl KeyPair {
    pub(crate) fn generate(alg: &'static str, kid: &str) -> Self {
        let private = match alg {
            "ES256" => {
                Private::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
            }
            "EdDSA" => Private::EdDsa(Ed25519KeyPair::generate().unwrap()),
            rsa => Private::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap(), rsa),
        };
        Self { kid: kid.to_owned(), private }
    }

    pub(crate) fn alg(&self) -> &'static str {
        match &self.private {
            Private::Es256(_) => "ES256",
            Private::EdDsa(_) => "EdDSA",
            Private::Rsa(_, alg) => alg,
        }
    }

    /// The public half.
    pub(crate) fn jwk(&self) -> Value {
        let (kid, alg) = (&self.kid, self.alg());
        match &self.private {
            Private::Es256(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "x": base64(x), "y": base64(y),
                        "kid": kid, "alg": alg, "use": "sig" })
            }
            Private::EdDsa(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": base64(pair.public_key().as_ref()),
                        "kid": kid })
            }
            Private::Rsa(pair, _) => {
                let n = pair.public_key().modulus().big_endian_without_leading_zero();
                json!({ "kty": "RSA", "n": base64(n), "e": "AQAB", "kid": kid, "alg": alg,
                        "key_ops": ["verify"] })
            }
        }
    }

    /// The header that a proper assertion has.
    pub(crate) fn header(&self) -> Value {
        json!({ "alg": self.alg(), "typ": "JWT", "kid": self.kid })
    }

    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_texts(&header.to_string(), &claims.to_string())
    }

    /// A JWS of exactly these texts.
    pub(crate) fn sign_texts(&self, header: &str, claims: &str) -> String {
        let text = format!("{}.{}", base64(header), base64(claims));
        format!("{text}.{}", base64(self.signature(text.as_bytes())))
    }

    pub(crate) fn signature(&self, bytes: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.private {
            Private::Es256(pair) => pair.sign(&random, bytes).unwrap().as_ref().to_vec(),
            Private::EdDsa(pair) => pair.sign(bytes).as_ref().to_vec(),
            Private::Rsa(pair, alg) => {
                let padding = if *alg == "PS256" { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, bytes, &mut signature).unwrap();
                signature
            }
        }
    }
}

pub(crate) fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What a proper assertion of this client says; each time with another `jti`.
pub(crate) fn claims(client: ClientId, audience: &str, now_s: u64) -> Value {
    json!({
        "iss": client, "sub": client, "aud": audience, "iat": now_s, "exp": now_s + 60,
        "jti": fido_relay::security::random::token(),
    })
}
