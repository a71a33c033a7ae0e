//! `GET /v1/device/socket`: the upgrade. A browser's page has no business here, and cookies are
//! not looked at: a device is known by its proof alone.

mod crowd;
mod run;

use axum::extract::{Extension, Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use fido_relay_proto::ProblemCode;
use fido_relay_proto::limits::DEVICE_SUBPROTOCOL;

pub(in crate::edge) use self::crowd::Crowd;
use super::handshake::Handshake;
use super::http::origin;
use crate::edge::Edge;
use crate::edge::listener::{Accepted, Refused};
use crate::edge::refusal::Refusal;

/// Checks the handshake and leaves the socket to a task of its own.
pub(super) async fn upgrade(
    State(edge): State<Edge>,
    Extension(accepted): Extension<Accepted>,
    mut request: Request,
) -> Result<Response, Refusal> {
    origin::of_device(&edge, request.headers())?;
    let Handshake { upgrade, response } = Handshake::accept(&mut request, DEVICE_SUBPROTOCOL)?;
    if edge.relay().dependencies().tasks.draining().is_cancelled() {
        return Err(ProblemCode::Unavailable.into());
    }
    let crowd = &edge.inner.crowd;
    let taken = edge
        .inner
        .door
        .device_socket(&accepted)
        .and_then(|()| crowd.enter(accepted.client, accepted.permit()).ok_or(Refused::Sockets));
    let place = match taken {
        Ok(place) => place,
        Err(refused) => {
            // There is no other use for the connection of an app that gets no socket.
            let close = [(header::CONNECTION, HeaderValue::from_static("close"))];
            return Ok((close, Refusal::from(refused)).into_response());
        }
    };
    let tasks = edge.relay().dependencies().tasks.clone();
    tasks.spawn_untraced(run::socket(edge, upgrade, accepted, place));
    Ok(response)
}
