//! Bodies: bounded in size, time and media type, and JSON in shape before serde reads it.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse as _;
use fido_relay_proto::{Problem, ProblemCode};
use http_body_util::LengthLimitError;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::edge::fields;
use crate::edge::problem_response::ProblemResponse;

/// Time for a whole body to arrive. Some operations with a body ask for no credential, so a slow
/// body must not hold a connection.
const BODY_LIMIT: Duration = Duration::from_secs(10);

/// A body of type `T`, and the bytes that it was read from.
#[derive(Debug)]
pub(in crate::edge) struct JsonBody<T> {
    pub(in crate::edge) value: T,
    pub(in crate::edge) bytes: Bytes,
}

impl<S, T> FromRequest<S> for JsonBody<T>
where
    S: Send + Sync,
    T: DeserializeOwned,
{
    type Rejection = ProblemResponse;

    async fn from_request(request: Request, state: &S) -> Result<Self, ProblemResponse> {
        let bytes = plain_json(request, state).await?;
        Ok(Self { value: fields::from_json(&bytes)?, bytes })
    }
}

/// The bytes of a body whose headers say that it is JSON without an encoding.
pub(in crate::edge) async fn plain_json<S: Send + Sync>(
    request: Request,
    state: &S,
) -> Result<Bytes, ProblemResponse> {
    plain(request, state, "application/json").await
}

/// The bytes of a body whose headers say that it is of this type without an encoding.
pub(in crate::edge) async fn plain<S: Send + Sync>(
    request: Request,
    state: &S,
    media_type: &str,
) -> Result<Bytes, ProblemResponse> {
    hold_to_type(request.headers(), media_type)?;
    let body = timeout(BODY_LIMIT, Bytes::from_request(request, state)).await;
    let body = body.map_err(|_| late())?;
    body.map_err(|rejection| match rejection.into_response().status() {
        StatusCode::PAYLOAD_TOO_LARGE => ProblemCode::TooLarge.into(),
        _ => broken(),
    })
}

/// The bytes of a body, of at most `limit`; the caller has checked its headers.
pub(in crate::edge) async fn up_to(limit: usize, body: Body) -> Result<Bytes, ProblemResponse> {
    let body = timeout(BODY_LIMIT, to_bytes(body, limit)).await;
    body.map_err(|_| late())?.map_err(|error| {
        if error.into_inner().is::<LengthLimitError>() {
            ProblemCode::TooLarge.into()
        } else {
            broken()
        }
    })
}

/// Checks that a body is of this type and has no encoding.
pub(in crate::edge) fn hold_to_type(
    headers: &HeaderMap,
    media_type: &str,
) -> Result<(), ProblemResponse> {
    if !is_of(headers, media_type) || headers.contains_key(header::CONTENT_ENCODING) {
        let detail = format!("send {media_type} without a content encoding");
        let problem = Problem::new(ProblemCode::UnsupportedMediaType).with_detail(detail);
        return Err(problem.into());
    }
    Ok(())
}

fn late() -> ProblemResponse {
    ProblemResponse::invalid("the body took too long to arrive")
}

fn broken() -> ProblemResponse {
    ProblemResponse::invalid("the body ended early or was not framed as HTTP has it")
}

/// Whether a body is of this type, with parameters or without (neither JSON nor forms define any).
fn is_of(headers: &HeaderMap, media_type: &str) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(media_type)
}
