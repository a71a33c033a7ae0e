//! `POST /oauth/token`: an initiator that signed who it is gets an access token (RFC 6749 section
//! 4.4, client credentials; RFC 7523, `private_key_jwt`), and the metadata that says so (RFC 8414).
//!
//! A wrong request is answered by RFC 6749 section 5.2. Every failure to authenticate is the same
//! `invalid_client`, to the byte: unknown, badly signed, from a wrong address, too late, used
//! before. An address that tries too often is refused before its body is read.

use std::borrow::Cow;
use std::net::IpAddr;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fido_relay_proto::http::{
    GrantedToken, Scope, ServerMetadata, TokenError, TokenErrorCode as Code,
};
use fido_relay_proto::{ProblemCode, UnixMillis};

use crate::app::audit::refusals::RefusalKind;
use crate::app::clients::{AssertedClient, Client};
use crate::edge::listener::Accepted;
use crate::edge::problem_response::ProblemResponse;
use crate::edge::public::Edge;
use crate::edge::public::extract::{body, caller, origin};
use crate::schema::operations::Operation;
use crate::security::access_token::{self, AccessGrant};

/// `client_assertion_type` (RFC 7523 section 2.2).
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Parameters that a request may have; six are known.
const PARAMETERS: usize = 16;

/// Why a request gets no token.
enum TokenRefusal {
    /// By RFC 6749, with its description.
    OAuth(Code, Cow<'static, str>),
    /// As on every other path.
    Problem(ProblemResponse),
}

impl<T: Into<ProblemResponse>> From<T> for TokenRefusal {
    fn from(refusal: T) -> Self {
        Self::Problem(refusal.into())
    }
}

const INVALID_CLIENT: TokenRefusal = TokenRefusal::OAuth(
    Code::InvalidClient,
    Cow::Borrowed("the client assertion was not accepted"),
);

impl IntoResponse for TokenRefusal {
    fn into_response(self) -> Response {
        let (code, description) = match self {
            Self::Problem(refusal) => return refusal.into_response(),
            Self::OAuth(code, description) => (code, description),
        };
        let status = match code {
            Code::InvalidClient => StatusCode::UNAUTHORIZED,
            Code::InvalidRequest | Code::InvalidScope | Code::UnsupportedGrantType => {
                StatusCode::BAD_REQUEST
            }
        };
        let body = Json(TokenError { error: code, error_description: description.into_owned() });
        let mut response = (status, body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            // RFC 9110 section 11.6.1 wants one; no scheme of HTTP carries an assertion.
            let challenge = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        no_store(response)
    }
}

/// `POST /oauth/token`.
pub(in crate::edge) async fn issue(State(edge): State<Edge>, request: Request) -> Response {
    match exchange(&edge, request).await {
        Ok(token) => no_store(Json(token).into_response()),
        Err(no_token) => no_token.into_response(),
    }
}

async fn exchange(edge: &Edge, request: Request) -> Result<GrantedToken, TokenRefusal> {
    // A page must not have a key that signs assertions.
    origin::none(request.headers())?;
    let from = caller::address(request.extensions());
    let network = caller::network(request.extensions().get());
    edge.inner.limits.attempt(network)?;
    let exchanged = redeem(edge, request, from).await;
    if matches!(exchanged, Err(TokenRefusal::OAuth(Code::InvalidClient, _))) {
        edge.inner.limits.attempt_failed(network);
        edge.refused(RefusalKind::Assertion, network);
    }
    exchanged
}

async fn redeem(
    edge: &Edge,
    request: Request,
    from: Option<IpAddr>,
) -> Result<GrantedToken, TokenRefusal> {
    let accepted = request.extensions().get::<Accepted>().cloned();
    let by_header = request.headers().contains_key(header::AUTHORIZATION);
    let bytes = body::plain(request, edge, "application/x-www-form-urlencoded").await?;
    let form = TokenRequest::parse(&bytes)?;
    match form.grant_type.as_deref() {
        Some("client_credentials") => {}
        Some(_) => {
            let text = "grant_type: one of client_credentials";
            return Err(TokenRefusal::OAuth(Code::UnsupportedGrantType, text.into()));
        }
        None => {
            return Err(TokenRefusal::OAuth(Code::InvalidRequest, "grant_type: missing".into()));
        }
    }
    if by_header {
        return Err(INVALID_CLIENT);
    }
    let now = edge.app().clock.now();
    let (client, key) = authenticate(edge, &form, from, now).await?;
    if let Some(accepted) = accepted {
        accepted.handle().authenticated();
    }
    let scopes = scopes(form.scope.as_deref(), &client)?;
    let scope = names(&scopes);
    let grant = AccessGrant {
        tenant: client.tenant,
        client: client.id,
        key,
        scopes,
        expires_at: now.plus_secs(access_token::LIFETIME_S),
    };
    let token = edge.inner.access_tokens.issue(&grant).ok_or(ProblemCode::Internal)?;
    tracing::debug!(client = %grant.client, "access token issued");
    Ok(GrantedToken {
        access_token: token,
        token_type: "Bearer".to_owned(),
        expires_in: access_token::LIFETIME_S,
        scope,
    })
}

/// The client that signed an assertion, and the thumbprint of its key.
async fn authenticate(
    edge: &Edge,
    form: &TokenRequest,
    from: Option<IpAddr>,
    now: UnixMillis,
) -> Result<(Client, String), TokenRefusal> {
    let assertion = form.client_assertion.as_deref().ok_or(INVALID_CLIENT)?;
    if form.client_assertion_type.as_deref() != Some(ASSERTION_TYPE) {
        return Err(INVALID_CLIENT);
    }
    let asserted = AssertedClient {
        assertion,
        client_id: form.client_id.as_deref(),
        audiences: &edge.inner.token_audiences,
        from,
    };
    let found = edge.inner.clients.by_assertion(&edge.settings().tenant, asserted, now).await?;
    found.ok_or(INVALID_CLIENT)
}

fn names(scopes: &[Scope]) -> String {
    scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" ")
}

/// The requested scopes, if the client has all of them; without a request all that it has.
fn scopes(asked: Option<&str>, client: &Client) -> Result<Vec<Scope>, TokenRefusal> {
    client.granted(asked).ok_or_else(|| {
        let text = format!("scope: this client has {}", names(&client.scopes));
        TokenRefusal::OAuth(Code::InvalidScope, text.into())
    })
}

fn no_store(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The parameters of a token request. Unknown ones are ignored (RFC 6749 section 3.2), and one
/// without a value counts as missing.
#[derive(Default)]
struct TokenRequest {
    grant_type: Option<String>,
    scope: Option<String>,
    client_id: Option<String>,
    client_assertion_type: Option<String>,
    client_assertion: Option<String>,
}

impl TokenRequest {
    fn parse(bytes: &[u8]) -> Result<Self, TokenRefusal> {
        let invalid = |text: String| TokenRefusal::OAuth(Code::InvalidRequest, text.into());
        let mut form = Self::default();
        for (count, (name, value)) in url::form_urlencoded::parse(bytes).enumerate() {
            if count >= PARAMETERS {
                return Err(invalid(format!("at most {PARAMETERS} parameters")));
            }
            let (known, place) = match &*name {
                "grant_type" => ("grant_type", &mut form.grant_type),
                "scope" => ("scope", &mut form.scope),
                "client_id" => ("client_id", &mut form.client_id),
                "client_assertion_type" => {
                    ("client_assertion_type", &mut form.client_assertion_type)
                }
                "client_assertion" => ("client_assertion", &mut form.client_assertion),
                // RFC 6749 section 2.3 allows one way to authenticate in a request.
                "client_secret" => {
                    return Err(invalid("client_secret: there are none here".to_owned()));
                }
                _ => continue,
            };
            if place.is_some() {
                return Err(invalid(format!("{known}: given twice")));
            }
            if !value.is_empty() {
                *place = Some(value.into_owned());
            }
        }
        Ok(form)
    }
}

/// `GET /.well-known/oauth-authorization-server`.
pub(in crate::edge) async fn metadata(State(edge): State<Edge>) -> Response {
    let issuer = edge.settings().public_url.clone();
    let metadata = ServerMetadata {
        token_endpoint: issuer.clone() + Operation::IssueToken.path(),
        jwks_uri: issuer.clone() + Operation::ReadKeys.path(),
        issuer,
        scopes_supported: Scope::ALL.iter().map(|scope| scope.as_str().to_owned()).collect(),
        response_types_supported: Vec::new(),
        grant_types_supported: vec!["client_credentials".to_owned()],
        token_endpoint_auth_methods_supported: vec!["private_key_jwt".to_owned()],
        token_endpoint_auth_signing_alg_values_supported: ["ES256", "EdDSA", "PS256", "RS256"]
            .map(str::to_owned)
            .to_vec(),
    };
    let mut response = Json(metadata).into_response();
    let cache = HeaderValue::from_static("public, max-age=300");
    response.headers_mut().insert(header::CACHE_CONTROL, cache);
    response
}
