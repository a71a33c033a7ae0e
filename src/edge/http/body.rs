//! Bodies: plain and small; JSON not deep, before serde sees it.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse as _;
use fido_relay_proto::limits::{JSON_DEPTH, JSON_KEYS};
use fido_relay_proto::{Problem, ProblemCode, shape};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::refusal::Refusal;

/// For all of a body to arrive. Some of the paths that take one ask for no credential, so a body
/// that dribbles must not hold a connection.
const BODY_LIMIT: Duration = Duration::from_secs(10);

/// A body of type `T`, and the bytes that it was read from.
#[derive(Debug)]
pub(super) struct JsonBody<T> {
    pub(super) value: T,
    pub(super) bytes: Bytes,
}

impl<S, T> FromRequest<S> for JsonBody<T>
where
    S: Send + Sync,
    T: DeserializeOwned,
{
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let bytes = plain_json(request, state).await?;
        // serde also fills a struct from an array; a body is an object.
        let is_object = bytes.trim_ascii_start().first() == Some(&b'{');
        if !is_object || shape::check(&bytes, JSON_DEPTH, JSON_KEYS).is_err() {
            return Err(ProblemCode::InvalidRequest.into());
        }
        let value = serde_json::from_slice(&bytes).map_err(|error| {
            // serde's own text may repeat input; the place does not.
            let detail = format!("line {}, column {}", error.line(), error.column());
            Refusal::from(Problem::new(ProblemCode::InvalidRequest).with_detail(detail))
        })?;
        Ok(Self { value, bytes })
    }
}

/// The bytes of a body that says it is JSON and is not encoded.
pub(super) async fn plain_json<S: Send + Sync>(
    request: Request,
    state: &S,
) -> Result<Bytes, Refusal> {
    plain(request, state, "application/json").await
}

/// The bytes of a body that says it is of this type and is not encoded.
pub(super) async fn plain<S: Send + Sync>(
    request: Request,
    state: &S,
    media_type: &str,
) -> Result<Bytes, Refusal> {
    let headers = request.headers();
    if !is_of(headers, media_type) || headers.contains_key(header::CONTENT_ENCODING) {
        let detail = format!("send {media_type} without a content encoding");
        let problem = Problem::new(ProblemCode::UnsupportedMediaType).with_detail(detail);
        return Err(problem.into());
    }
    let body = timeout(BODY_LIMIT, Bytes::from_request(request, state)).await;
    body.map_err(|_| too_slow())?.map_err(|rejection| match rejection.into_response().status() {
        StatusCode::PAYLOAD_TOO_LARGE => ProblemCode::TooLarge.into(),
        _ => ProblemCode::InvalidRequest.into(),
    })
}

fn too_slow() -> Refusal {
    let detail = "the body took too long to arrive";
    Problem::new(ProblemCode::InvalidRequest).with_detail(detail).into()
}

/// Whether a body is of this type, with parameters or without (neither JSON nor forms define any).
fn is_of(headers: &HeaderMap, media_type: &str) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(media_type)
}
