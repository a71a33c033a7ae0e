//! `GET /v1/device/socket`: the upgrade. Pages are refused unless the operator lists them, and
//! cookies are ignored: a device authenticates by its proof alone.

mod connection;

use axum::extract::{Extension, Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use fido_relay_proto::ProblemCode;
use fido_relay_proto::limits::DEVICE_SUBPROTOCOL;

use crate::edge::listener::{Accepted, ListenerRefusal};
use crate::edge::problem_response::ProblemResponse;
use crate::edge::public::Edge;
use crate::edge::public::extract::origin;
use crate::edge::public::websocket::handshake::Handshake;

/// Checks the handshake and spawns the task of the socket.
pub(super) async fn upgrade(
    State(edge): State<Edge>,
    Extension(accepted): Extension<Accepted>,
    mut request: Request,
) -> Result<Response, ProblemResponse> {
    origin::of_device(&edge, request.headers())?;
    let Handshake { upgrade, response } = Handshake::accept(&mut request, DEVICE_SUBPROTOCOL)?;
    if edge.app().tasks.draining().is_cancelled() {
        return Err(ProblemCode::Unavailable.into());
    }
    let acquired = edge.inner.listener.device_socket(&accepted).and_then(|()| {
        let (limit, hang_up) = (&edge.inner.unauthenticated, accepted.handle().hang_up());
        limit.acquire(accepted.client, false, hang_up).map_err(|_| ListenerRefusal::Sockets)
    });
    let slot = match acquired {
        Ok(slot) => slot,
        Err(refused) => {
            // An app that gets no socket has no other use for the connection.
            let close = [(header::CONNECTION, HeaderValue::from_static("close"))];
            return Ok((close, ProblemResponse::from(refused)).into_response());
        }
    };
    let tasks = edge.app().tasks.clone();
    tasks.spawn_untraced(connection::run(edge, upgrade, accepted, slot));
    Ok(response)
}
