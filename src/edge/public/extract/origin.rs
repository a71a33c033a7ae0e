//! What the `Origin` of a request says of its caller: none for a backend or an app, one for a page.
//! An origin is compared byte for byte with what is listed.

use axum::http::{HeaderMap, header};
use fido_relay_proto::ProblemCode;

use crate::edge::problem_response::ProblemResponse;
use crate::edge::public::Edge;

/// The `Origin` of a request: none from a backend or an app, one from a browser.
///
/// # Errors
/// 403, if there are several or it is not text.
pub(in crate::edge) fn of(headers: &HeaderMap) -> Result<Option<&str>, ProblemResponse> {
    let mut origins = headers.get_all(header::ORIGIN).into_iter();
    match (origins.next(), origins.next()) {
        (None, _) => Ok(None),
        (Some(origin), None) => {
            origin.to_str().map(Some).map_err(|_| ProblemCode::OriginNotAllowed.into())
        }
        (Some(_), Some(_)) => Err(ProblemCode::OriginNotAllowed.into()),
    }
}

/// Restricts device operations to apps, which send no `Origin`, and to pages that the operator
/// lists.
///
/// # Errors
/// 403 for any other page.
pub(in crate::edge) fn of_device(edge: &Edge, headers: &HeaderMap) -> Result<(), ProblemResponse> {
    let listed = |origin: &str| edge.settings().device_origins.iter().any(|o| o == origin);
    if of(headers)?.is_none_or(listed) { Ok(()) } else { Err(ProblemCode::OriginNotAllowed.into()) }
}

/// Restricts a credential of an initiator to requests that no page made.
///
/// # Errors
/// 403 for every page.
pub(in crate::edge) fn none(headers: &HeaderMap) -> Result<(), ProblemResponse> {
    if headers.contains_key(header::ORIGIN) {
        Err(ProblemCode::OriginNotAllowed.into())
    } else {
        Ok(())
    }
}
