//! `GET /v1/device/socket`: the upgrade. A browser's page has no business here, and cookies are
//! not looked at: a device is known by its proof alone.

mod crowd;
mod frame_guard;
mod run;

use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fido_relay_proto::ProblemCode;
use fido_relay_proto::limits::DEVICE_SUBPROTOCOL;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

pub(super) use self::crowd::Crowd;
use super::Edge;
use super::accept::Accepted;
use super::http::{Refusal, origin};

/// The WebSocket version of RFC 6455.
const VERSION: &str = "13";

/// Checks the handshake (RFC 6455 section 4.2.1) and leaves the socket to a task of its own.
pub(super) async fn upgrade(
    State(edge): State<Edge>,
    Extension(accepted): Extension<Accepted>,
    mut request: Request,
) -> Result<Response, Refusal> {
    let headers = request.headers();
    let listed = |origin: &str| edge.settings().device_origins.iter().any(|o| o == origin);
    if !origin::of(headers)?.is_none_or(listed) {
        return Err(ProblemCode::OriginNotAllowed.into());
    }
    // axum has a route for GET answer HEAD as well.
    let asks = request.method() == Method::GET
        && any(headers, &header::CONNECTION, |token| token.eq_ignore_ascii_case("upgrade"))
        && any(headers, &header::UPGRADE, |token| token.eq_ignore_ascii_case("websocket"))
        && any(headers, &header::SEC_WEBSOCKET_VERSION, |token| token == VERSION)
        && any(headers, &header::SEC_WEBSOCKET_PROTOCOL, |token| token == DEVICE_SUBPROTOCOL);
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
    let key = key.filter(|key| STANDARD.decode(key).is_ok_and(|key| key.len() == 16));
    let accept = key.map(derive_accept_key);
    let upgrade = request.extensions_mut().remove::<hyper::upgrade::OnUpgrade>();
    let (true, Some(accept), Some(upgrade)) = (asks, accept, upgrade) else {
        return Err(ProblemCode::UpgradeRequired.into());
    };
    let accept = HeaderValue::from_str(&accept).map_err(|_| ProblemCode::UpgradeRequired)?;
    if edge.relay().world().tasks.draining().is_cancelled() {
        return Err(ProblemCode::Unavailable.into());
    }
    let place = edge.inner.crowd.enter(accepted.client).ok_or(ProblemCode::TooManyRequests)?;
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

/// Whether an item of a comma-separated header is one.
fn any(headers: &HeaderMap, name: &HeaderName, is_one: impl Fn(&str) -> bool) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|item| is_one(item.trim()))
}
