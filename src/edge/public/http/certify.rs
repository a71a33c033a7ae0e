//! `/fidoapi/…`: the FIDO2 server's own REST interface for client-direct programs, where it is
//! served. Its errors are that interface's, not problem details.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use fido_relay_proto::limits::JSON_OPTIONS_KEYS;
use fido_relay_proto::{Problem, ProblemCode};
use serde_json::json;

use crate::edge::fields;
use crate::edge::problem_response::ProblemResponse;
use crate::edge::public::Edge;
use crate::edge::public::extract::body::plain_json;
use crate::edge::public::extract::{authority, caller, origin};
use crate::ports::{CertifyCall, CertifyStep, latin1, latin1_bytes};

/// The prefix of every path of this interface.
const PREFIX: &str = "/fidoapi/";

/// Whether a request is for this interface, where it is served.
pub(in crate::edge) fn is_served(edge: &Edge, request: &Request) -> bool {
    edge.inner.certify.is_some() && request.uri().path().starts_with(PREFIX)
}

/// Turns this relay's own refusals into answers of the interface, with the problem's `code` as one
/// more member: programs that are written for it read `status` and `errorMessage`.
pub(in crate::edge) async fn in_own_form(
    State(edge): State<Edge>,
    request: Request,
    next: Next,
) -> Response {
    let is_served = is_served(&edge, &request);
    let mut response = next.run(request).await;
    let Some(problem) = response.extensions().get::<Problem>().filter(|_| is_served) else {
        return response;
    };
    let body = Json(json!({
        "status": "failed",
        "errorMessage": problem.detail.as_deref().unwrap_or(&problem.title),
        "statuscode": problem.status.to_string(),
        "responseCode": problem.status,
        "code": problem.code,
    }));
    let json = body.into_response();
    for header in [header::CONTENT_TYPE, header::CONTENT_LENGTH] {
        response.headers_mut().remove(&header);
        if let Some(value) = json.headers().get(&header) {
            response.headers_mut().insert(header, value.clone());
        }
    }
    *response.body_mut() = json.into_body();
    response
}

/// Begin a registration.
pub(in crate::edge) async fn attestation_options(
    State(edge): State<Edge>,
    request: Request,
) -> Result<Response, ProblemResponse> {
    call(&edge, CertifyStep::AttestationOptions, request).await
}

/// Complete a registration.
pub(in crate::edge) async fn attestation_result(
    State(edge): State<Edge>,
    request: Request,
) -> Result<Response, ProblemResponse> {
    call(&edge, CertifyStep::AttestationResult, request).await
}

/// Begin an authentication.
pub(in crate::edge) async fn assertion_options(
    State(edge): State<Edge>,
    request: Request,
) -> Result<Response, ProblemResponse> {
    call(&edge, CertifyStep::AssertionOptions, request).await
}

/// Complete an authentication.
pub(in crate::edge) async fn assertion_result(
    State(edge): State<Edge>,
    request: Request,
) -> Result<Response, ProblemResponse> {
    call(&edge, CertifyStep::AssertionResult, request).await
}

/// Checks host and origin. These paths ask for no credential, so a page under an attacker's name
/// (DNS rebinding) must not reach them, least of all on a developer's machine.
fn check_host_and_origin(edge: &Edge, request: &Request) -> Result<(), ProblemResponse> {
    let ours = |host: String| edge.inner.hosts.contains(&host);
    if !authority::host(request).is_some_and(ours) {
        let detail = "the Host must be that of public_url or of one of tenant.origins";
        return Err(Problem::new(ProblemCode::HostNotAllowed).with_detail(detail).into());
    }
    let listed = |origin: &str| edge.settings().tenant_origins.iter().any(|o| o == origin);
    if origin::of(request.headers())?.is_none_or(listed) {
        Ok(())
    } else {
        Err(ProblemCode::OriginNotAllowed.into())
    }
}

async fn call(
    edge: &Edge,
    step: CertifyStep,
    request: Request,
) -> Result<Response, ProblemResponse> {
    let certify = edge.inner.certify.as_ref().ok_or(ProblemCode::NotFound)?;
    check_host_and_origin(edge, &request)?;
    let from = caller::network(request.extensions().get());
    // HTTP/2 may split cookies over several headers (RFC 9113 section 8.2.3).
    let cookies = request.headers().get_all(header::COOKIE).into_iter();
    let cookies: Vec<_> = cookies.map(|value| latin1(value.as_bytes())).collect();
    let cookie = (!cookies.is_empty()).then(|| cookies.join("; "));
    let body = plain_json(request, edge).await?.to_vec();
    // The FIDO2 server parses it into a tree, and these callers have no credential.
    fields::hold_to_shape(&body, JSON_OPTIONS_KEYS)?;
    let reply = certify.call(CertifyCall { step, cookie, body }).await;
    let verifies = match step {
        CertifyStep::AttestationResult | CertifyStep::AssertionResult => true,
        CertifyStep::AttestationOptions | CertifyStep::AssertionOptions => false,
    };
    if verifies && (400..500).contains(&reply.status) {
        edge.inner.limits.refused(from)?;
    }
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let json: (HeaderName, &str) = (header::CONTENT_TYPE, "application/json");
    let mut response = (status, [json], reply.body).into_response();
    let cookies = reply.set_cookies.into_iter().map(|cookie| (header::SET_COOKIE, cookie));
    let encoding = reply.content_encoding.map(|encoding| (header::CONTENT_ENCODING, encoding));
    for (name, value) in cookies.chain(encoding) {
        let value = latin1_bytes(&value).and_then(|bytes| HeaderValue::from_bytes(&bytes).ok());
        if let Some(value) = value {
            response.headers_mut().append(name, value);
        }
    }
    Ok(response)
}
