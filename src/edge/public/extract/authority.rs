//! Which server a request is for (RFC 9110 section 7.2, RFC 9112 section 3.2, RFC 9113 section
//! 8.3.1), and fields that a request must not have twice.

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderName, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use fido_relay_proto::{Problem, ProblemCode};

use crate::edge::problem_response::ProblemResponse;

/// Fields that a request may have once. Of two, a proxy may use one and the relay the other.
/// `Origin` is not among them: [`super::origin::of`] refuses two with 403.
const ONCE: [HeaderName; 7] = [
    header::HOST,
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    HeaderName::from_static("last-event-id"),
    HeaderName::from_static("idempotency-key"),
];

/// Refuses with 400 a request that names no server, or several, or has a field of [`ONCE`] twice.
pub(in crate::edge) async fn well_formed(request: Request, next: Next) -> Response {
    match check(&request) {
        Ok(()) => next.run(request).await,
        Err(detail) => {
            let problem = Problem::new(ProblemCode::InvalidRequest).with_detail(detail);
            ProblemResponse::from(problem).into_response()
        }
    }
}

fn check(request: &Request) -> Result<(), String> {
    let twice = |name: &&HeaderName| request.headers().get_all(*name).iter().nth(1).is_some();
    if let Some(name) = ONCE.iter().find(twice) {
        return Err(format!("the header {name} must not be there twice"));
    }
    let in_header = match request.headers().get(header::HOST) {
        Some(host) => match host.as_bytes().try_into() {
            Ok(host) if is_server(&host) => Some(host),
            Ok(_) | Err(_) => return Err("Host must be a host, with or without a port".to_owned()),
        },
        None => None,
    };
    match (request.version(), request.uri().authority(), &in_header) {
        // The form `GET http://host/` names the server itself, but HTTP/1.1 has Host all the same.
        (Version::HTTP_11, _, None) => Err("Host is missing".to_owned()),
        (Version::HTTP_2, None, None) => Err(":authority is missing".to_owned()),
        (Version::HTTP_2, Some(one), Some(other)) if one != other => {
            Err(":authority and Host contradict each other".to_owned())
        }
        _ => Ok(()),
    }
}

fn is_server(authority: &Authority) -> bool {
    !authority.as_str().contains('@') && !authority.host().is_empty()
}

/// The host that a request names, in lower case, without the port.
pub(in crate::edge) fn host(request: &Request) -> Option<String> {
    let in_header = || request.headers().get(header::HOST)?.as_bytes().try_into().ok();
    let authority: Authority = request.uri().authority().cloned().or_else(in_header)?;
    Some(authority.host().trim_end_matches('.').to_ascii_lowercase())
}
