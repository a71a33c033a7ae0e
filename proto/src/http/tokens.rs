//! Bodies about keys and tokens: the token endpoint (RFC 6749, RFC 7523), its metadata (RFC 8414),
//! and the keys that verify what the relay signs (RFC 7517).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::devices::P256Jwk;

/// The answer of RFC 6749 section 5.1.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GrantedToken {
    /// The token: a bearer credential like an API key.
    pub access_token: String,
    /// `Bearer`.
    #[cfg_attr(feature = "schema", schemars(extend("const" = "Bearer")))]
    pub token_type: String,
    /// Seconds until it expires.
    pub expires_in: u64,
    /// Its scopes, separated by spaces.
    pub scope: String,
}

impl fmt::Debug for GrantedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrantedToken").field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// The error codes of RFC 6749 section 5.2 that the relay gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("x-extensible-enum" = true)))]
#[serde(rename_all = "snake_case")]
pub enum TokenErrorCode {
    /// 400: a parameter is missing, repeated or unexpected.
    InvalidRequest,
    /// 401: the client did not prove who it is.
    InvalidClient,
    /// 400: the client does not have this scope.
    InvalidScope,
    /// 400: not `client_credentials`.
    UnsupportedGrantType,
}

/// The answer of RFC 6749 section 5.2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TokenError {
    /// The stable code of the error.
    pub error: TokenErrorCode,
    /// A sentence for people.
    pub error_description: String,
}

/// Authorization server metadata (RFC 8414 section 2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ServerMetadata {
    /// The relay's public URL.
    pub issuer: String,
    /// The URL that issues tokens.
    pub token_endpoint: String,
    /// The URL of the relay's keys.
    pub jwks_uri: String,
    /// All scopes.
    pub scopes_supported: Vec<String>,
    /// Empty: there is no authorization endpoint.
    pub response_types_supported: Vec<String>,
    /// `client_credentials`.
    pub grant_types_supported: Vec<String>,
    /// `private_key_jwt`.
    pub token_endpoint_auth_methods_supported: Vec<String>,
    /// Signature algorithms of assertions.
    pub token_endpoint_auth_signing_alg_values_supported: Vec<String>,
}

/// A JWK set (RFC 7517 section 5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JwkSet {
    /// The keys.
    pub keys: Vec<PublishedJwk>,
}

/// A published signature key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PublishedJwk {
    /// The key.
    #[serde(flatten)]
    pub key: P256Jwk,
    /// Its RFC 7638 thumbprint.
    pub kid: String,
    /// `ES256`.
    pub alg: String,
    /// `sig`.
    #[serde(rename = "use")]
    pub usage: String,
}
