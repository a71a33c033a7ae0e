//! Who is calling: tokens, their server's metadata, the relay's keys, the client itself.

use fido_relay_proto::ProblemCode::{
    Internal, OriginNotAllowed, TooLarge, TooManyRequests, Unavailable, UnsupportedMediaType,
};
use fido_relay_proto::http::{ClientView, GrantedToken, JwkSet, Scope, ServerMetadata, TokenError};
use serde_json::{Value, json};

use super::call::{OpenApiDraft, constant};
use super::examples::{CLIENT, JWS, jwk};
use crate::schema::operations::Operation;

pub(super) fn describe(draft: &mut OpenApiDraft) {
    draft
        .call(Operation::ReadClient, "Read the calling client")
        .says("For every client; no scope is needed.")
        .gives::<ClientView>(
            200,
            "The client",
            &[(
                "shop",
                json!({
                    "client_id": CLIENT, "name": "Shop", "bindings": ["code"],
                    "scopes": ["ceremony:auth", "ceremony:read"], "allow_from": ["192.0.2.0/24"],
                }),
            )],
        )
        .problems(&[]);
    token(draft);
    let base = "https://relay.example.com";
    draft
        .call(Operation::ReadServerMetadata, "Metadata of the token endpoint (RFC 8414)")
        .gives::<ServerMetadata>(
            200,
            "The metadata",
            &[(
                "metadata",
                json!({
                    "issuer": base,
                    "token_endpoint": format!("{base}/oauth/token"),
                    "jwks_uri": format!("{base}/.well-known/jwks.json"),
                    "scopes_supported": Scope::ALL,
                    "response_types_supported": [],
                    "grant_types_supported": ["client_credentials"],
                    "token_endpoint_auth_methods_supported": ["private_key_jwt"],
                    "token_endpoint_auth_signing_alg_values_supported":
                        ["ES256", "EdDSA", "PS256", "RS256"],
                }),
            )],
        )
        .with("Cache-Control", "For five minutes", json!({ "type": "string" }), true)
        .problems(&[]);
    let mut key = jwk();
    key["kid"] = "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s".into();
    key["alg"] = "ES256".into();
    key["use"] = "sig".into();
    draft
        .call(Operation::ReadKeys, "The keys that verify result tokens and receipts")
        .gives::<JwkSet>(200, "The keys (RFC 7517)", &[("one", json!({ "keys": [key] }))])
        .with("Cache-Control", "For five minutes", json!({ "type": "string" }), true)
        .problems(&[]);
}

fn token(draft: &mut OpenApiDraft) {
    let assertion_type = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let text = |about: &str| json!({ "type": "string", "description": about });
    let form = json!({
        "type": "object",
        "required": ["grant_type", "client_assertion_type", "client_assertion"],
        "properties": {
            "grant_type": constant("client_credentials"),
            "client_assertion_type": constant(assertion_type),
            "client_assertion": text(
                "A JWS by a key that the client registered: `iss` and `sub` its id, `aud` this \
                 endpoint or the issuer, `exp` within five minutes, a fresh `jti`."
            ),
            "client_id": text("If present, the same as in the assertion."),
            "scope": text("Scopes separated by spaces; by default all of the client's."),
        },
    });
    let form = draft.named("TokenRequest", form);
    let example = json!({
        "grant_type": "client_credentials", "client_assertion_type": assertion_type,
        "client_assertion": JWS, "scope": "ceremony:auth ceremony:read",
    });
    let granted = json!({
        "access_token": "at_…", "token_type": "Bearer", "expires_in": 600,
        "scope": "ceremony:auth ceremony:read",
    });
    let error =
        |code: &str, about: &str| -> Value { json!({ "error": code, "error_description": about }) };
    draft
        .call(Operation::IssueToken, "Get an access token")
        .says(
            "OAuth 2.0 client credentials with `private_key_jwt` (RFC 6749 section 4.4, RFC 7523). \
             An assertion can be used once. Unknown parameters are ignored; a repeated parameter and a client secret are refused.",
        )
        .takes_as("application/x-www-form-urlencoded", form, &[("token", example)])
        .gives::<GrantedToken>(200, "Granted", &[("granted", granted)])
        .with("Cache-Control", "RFC 6749 section 5.1", constant("no-store"), true)
        .gives::<TokenError>(400, "The request cannot be granted", &[
            ("scope", error("invalid_scope", "the client does not have this scope")),
        ])
        .gives::<TokenError>(401, "The client was not authenticated", &[(
            "client",
            error("invalid_client", "the client assertion was not accepted"),
        )])
        .with("WWW-Authenticate", "RFC 9110", constant("Bearer"), true)
        .problems(&[
            OriginNotAllowed,
            TooLarge,
            UnsupportedMediaType,
            TooManyRequests,
            Internal,
            Unavailable,
        ]);
}
