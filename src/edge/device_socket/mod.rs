//! `GET /v1/device/socket`: the upgrade. A browser's page has no business here, and cookies are
//! not looked at: a device is known by its proof alone.

mod crowd;
mod run;

use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use fido_relay_proto::ProblemCode;
use fido_relay_proto::limits::DEVICE_SUBPROTOCOL;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

pub(super) use self::crowd::Crowd;
use super::Edge;
use super::accept::Accepted;
use super::http::Refusal;

/// The WebSocket version of RFC 6455.
const VERSION: &str = "13";

/// Checks the handshake (RFC 6455 section 4.2.1) and leaves the socket to a task of its own.
pub(super) async fn upgrade(
    State(edge): State<Edge>,
    Extension(accepted): Extension<Accepted>,
    mut request: Request,
) -> Result<Response, Refusal> {
    let headers = request.headers();
    if let Some(origin) = headers.get(header::ORIGIN) {
        let listed = |origin: &str| edge.settings().device_origins.iter().any(|o| o == origin);
        if !origin.to_str().is_ok_and(listed) {
            return Err(ProblemCode::OriginNotAllowed.into());
        }
    }
    let asks = has_token(headers, &header::CONNECTION, "upgrade")
        && has_token(headers, &header::UPGRADE, "websocket")
        && has_token(headers, &header::SEC_WEBSOCKET_VERSION, VERSION)
        && has_token(headers, &header::SEC_WEBSOCKET_PROTOCOL, DEVICE_SUBPROTOCOL);
    let accept =
        headers.get(header::SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    let upgrade = request.extensions_mut().remove::<hyper::upgrade::OnUpgrade>();
    let (true, Some(accept), Some(upgrade)) = (asks, accept, upgrade) else {
        return Err(ProblemCode::UpgradeRequired.into());
    };
    let accept = HeaderValue::from_str(&accept).map_err(|_| ProblemCode::UpgradeRequired)?;
    let place = edge.inner.crowd.enter(accepted.peer.ip()).ok_or(ProblemCode::TooManyRequests)?;
    let tasks = edge.relay().world().tasks.clone();
    tasks.spawn_bare(run::socket(edge, upgrade, accepted, place));
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(DEVICE_SUBPROTOCOL));
    Ok(response)
}

/// Whether a comma-separated header names the token, in any case.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
}
