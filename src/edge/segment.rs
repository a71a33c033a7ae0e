//! A path's variable segments: one or two.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use fido_relay_proto::ProblemCode;

use super::problem_response::ProblemResponse;

/// The decoded segment. One that does not decode to text names nothing, so it is not found like
/// any other name of nothing.
#[derive(Debug)]
pub(in crate::edge) struct Segment(pub(in crate::edge) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = ProblemResponse;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ProblemResponse> {
        let segment = Path::<String>::from_request_parts(parts, state).await;
        segment.map(|Path(text)| Self(text)).map_err(|_| ProblemCode::NotFound.into())
    }
}

/// Two segments of a path, as they were sent.
#[derive(Debug)]
pub(super) struct Segments(pub(super) String, pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Segments {
    type Rejection = ProblemResponse;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ProblemResponse> {
        let segments = Path::<(String, String)>::from_request_parts(parts, state).await;
        segments.map(|Path((one, two))| Self(one, two)).map_err(|_| ProblemCode::NotFound.into())
    }
}
