//! The WebSocket handshake (RFC 6455 section 4.2) of both sockets: what must be in the request, and
//! the answer. Who may open which socket is theirs to say.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fido_relay_proto::ProblemCode;
use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::edge::problem_response::{ProblemResponse, WEBSOCKET_VERSION};

/// A handshake that is in order.
#[derive(Debug)]
pub(in crate::edge) struct Handshake {
    /// The connection, once it is upgraded.
    pub(in crate::edge) upgrade: OnUpgrade,
    /// What the request is answered with.
    pub(in crate::edge) response: Response,
}

impl Handshake {
    /// Checks a request for a socket that speaks this subprotocol. Of all that the request offers,
    /// the answer names this one.
    ///
    /// # Errors
    /// 426.
    pub(in crate::edge) fn accept(
        request: &mut Request,
        subprotocol: &'static str,
    ) -> Result<Self, ProblemResponse> {
        let headers = request.headers();
        // axum has a route for GET answer HEAD as well.
        let asks = request.method() == Method::GET
            && any(headers, &header::CONNECTION, |token| token.eq_ignore_ascii_case("upgrade"))
            && any(headers, &header::UPGRADE, |token| token.eq_ignore_ascii_case("websocket"))
            && headers
                .get(header::SEC_WEBSOCKET_VERSION)
                .is_some_and(|version| version == WEBSOCKET_VERSION)
            && any(headers, &header::SEC_WEBSOCKET_PROTOCOL, |token| token == subprotocol);
        let key = headers.get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
        let key = key.filter(|key| STANDARD.decode(key).is_ok_and(|key| key.len() == 16));
        let accept = key.map(derive_accept_key);
        let upgrade = request.extensions_mut().remove::<OnUpgrade>();
        let (true, Some(accept), Some(upgrade)) = (asks, accept, upgrade) else {
            return Err(ProblemCode::UpgradeRequired.into());
        };
        let accept = HeaderValue::from_str(&accept).map_err(|_| ProblemCode::UpgradeRequired)?;
        let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
        Ok(Self { upgrade, response })
    }
}

/// The items of a comma-separated header.
pub(in crate::edge) fn items<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a str> + use<'a> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

fn any(headers: &HeaderMap, name: &HeaderName, is_one: impl Fn(&str) -> bool) -> bool {
    items(headers, name).any(is_one)
}
