//! `/v1/device/ceremonies`, `/v1/device/claim`, `/v1/device/decline`, `/v1/device/push`: what a
//! device does without a socket. Its frames are those of the socket and read by the same rules;
//! `relay` handles them.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use fido_relay_proto::device::{FrameError, FrameErrorCode};
use fido_relay_proto::http::SetPush;
use fido_relay_proto::limits::WAIT_MAX_S;
use fido_relay_proto::{CeremonyId, DeviceFrame, Problem, ProblemCode, RelayFrame};
use serde::Deserialize;

use super::pull_call::PullCall;
use crate::app::devices::{self, SetPushError};
use crate::core::session;
use crate::delivery::PullRequest;
use crate::edge::fields;
use crate::edge::problem_response::ProblemResponse;
use crate::edge::public::Edge;
use crate::edge::segment::Segments;

/// Ceremonies that an app may list as shown.
const SHOWN: usize = 16;
/// Bytes of a state, which is more than any has.
const STATE: usize = 64;
/// `Retry-After` in seconds of what could not be stored, and of a node that restarts.
const AGAIN_S: u64 = 1;
/// The same where the device has no codes left today: it may be an hour, and may be a day.
const CODES_AGAIN_S: u64 = 60 * 60;

/// The query of `pullCeremonies`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PullQuery {
    /// Seconds to hold the answer until the state is another.
    #[serde(default)]
    wait: u32,
    /// The state that the app has.
    since: Option<String>,
    /// Ids of ceremonies that the app shows.
    shown: Option<String>,
}

/// `GET /v1/device/ceremonies`: at once, or once there is another state.
pub(in crate::edge) async fn look(
    State(edge): State<Edge>,
    call: PullCall,
) -> Result<Response, ProblemResponse> {
    let PullQuery { wait, since, shown } = fields::from_query(&call.uri)?;
    if since.as_ref().is_some_and(|since| since.len() > STATE) {
        return Err(ProblemResponse::invalid("query since: the state of an earlier answer"));
    }
    let shown = shown.filter(|shown| !shown.is_empty());
    let shown = shown.iter().flat_map(|shown| shown.split(',')).map(str::parse::<CeremonyId>);
    let shown = shown.take(SHOWN + 1).collect::<Result<Vec<_>, _>>();
    let shown = shown.ok().filter(|shown| shown.len() <= SHOWN);
    let wrong = "query shown: ids of ceremonies, at most 16, with a comma between them";
    let shown = shown.ok_or_else(|| ProblemResponse::invalid(wrong))?;
    let wait = Duration::from_secs(u64::from(wait).min(WAIT_MAX_S));
    // Only a request that may be held takes a slot. Of a device the last request alone waits.
    let _slot = match (&since, wait) {
        (None, _) | (_, Duration::ZERO) => None,
        (Some(_), _) => {
            let slot = edge.inner.watchers.acquire_unkeyed();
            Some(slot.map_err(|_| ProblemCode::Unavailable)?)
        }
    };
    let PullCall { owner, .. } = call;
    let pulled = edge.relay().delivery.pull(&owner, &PullRequest { shown, since, wait }).await?;
    // It may have been revoked while it waited.
    if !devices::is_paired(edge.app(), &owner.tenant, owner.device).await? {
        return Err(ProblemCode::ProofRefused.into());
    }
    let mut response = Json(pulled).into_response();
    if edge.app().tasks.draining().is_cancelled() {
        // A draining node holds no answers: when to ask the process that comes after this one.
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(AGAIN_S));
    }
    Ok(response)
}

/// What a device does about one ceremony.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PullAction {
    Ack,
    Claim,
    Card,
    Answer,
    Decline,
}

impl PullAction {
    fn named(name: &str) -> Option<Self> {
        let acts = [Self::Ack, Self::Claim, Self::Card, Self::Answer, Self::Decline];
        acts.into_iter().find(|act| act.name() == name)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Ack => "ack",
            Self::Claim => "claim",
            Self::Card => "card",
            Self::Answer => "answer",
            Self::Decline => "decline",
        }
    }

    /// The action of a frame; none for frames of a socket alone.
    const fn of(frame: &DeviceFrame) -> Option<Self> {
        match frame {
            DeviceFrame::Ack(_) => Some(Self::Ack),
            DeviceFrame::Claim(_) => Some(Self::Claim),
            DeviceFrame::Card(_) => Some(Self::Card),
            DeviceFrame::Answer(_) => Some(Self::Answer),
            DeviceFrame::Decline(_) => Some(Self::Decline),
            DeviceFrame::Auth(_) | DeviceFrame::Ping(_) => None,
        }
    }
}

/// `POST /v1/device/ceremonies/{id}/{act}`: a frame about one ceremony.
pub(in crate::edge) async fn act(
    State(edge): State<Edge>,
    Segments(id, act): Segments,
    call: PullCall,
) -> Result<Response, ProblemResponse> {
    let id: CeremonyId = id.parse().map_err(|_| ProblemCode::NotFound)?;
    let act = PullAction::named(&act).ok_or(ProblemCode::NotFound)?;
    receive(&edge, call, act, Some(id)).await
}

/// `POST /v1/device/claim`: a code that no prompt asked for.
pub(in crate::edge) async fn claim(
    State(edge): State<Edge>,
    call: PullCall,
) -> Result<Response, ProblemResponse> {
    receive(&edge, call, PullAction::Claim, None).await
}

/// `POST /v1/device/decline`: "not me" to prompts that were held back.
pub(in crate::edge) async fn decline(
    State(edge): State<Edge>,
    call: PullCall,
) -> Result<Response, ProblemResponse> {
    receive(&edge, call, PullAction::Decline, None).await
}

/// Gives a frame to the relay, detached: it counts although the app hangs up.
async fn receive(
    edge: &Edge,
    call: PullCall,
    act: PullAction,
    id: Option<CeremonyId>,
) -> Result<Response, ProblemResponse> {
    let PullCall { owner, address, body, .. } = call;
    let text = std::str::from_utf8(&body).map_err(|_| FrameError::Invalid);
    let frame = match text.and_then(|text| edge.inner.socket_limits.decode(text)) {
        Ok(frame) => frame,
        Err(FrameError::UnknownType) => {
            return Ok(answer(Some(session::error(FrameErrorCode::UnknownType))));
        }
        Err(FrameError::Invalid) => {
            return Ok(answer(Some(session::error(FrameErrorCode::InvalidFrame))));
        }
    };
    if PullAction::of(&frame) != Some(act) {
        return Err(ProblemResponse::invalid("/type: that of the path"));
    }
    if frame.ceremony_id() != id {
        return Err(ProblemResponse::invalid(
            "/ceremony_id: that of the path, or none where it has none",
        ));
    }
    let relay = edge.relay().clone();
    let tasks = edge.app().tasks.clone();
    let received = tasks
        .run_detached(async move { relay.delivery.receive_pulled(&owner, address, frame).await })
        .await
        .ok_or(ProblemCode::Internal)?;
    Ok(answer(received))
}

/// The frame that a socket would be sent, as an answer.
fn answer(frame: Option<RelayFrame>) -> Response {
    let Some(frame) = frame else { return StatusCode::NO_CONTENT.into_response() };
    let code = if let RelayFrame::Error { code, .. } = &frame { Some(*code) } else { None };
    let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    let status = code.map_or(StatusCode::OK, status_of);
    let mut response = (status, json, frame.encode()).into_response();
    if let Some(seconds) = code.and_then(again_in) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The status of an answer that is this error.
const fn status_of(code: FrameErrorCode) -> StatusCode {
    match code {
        FrameErrorCode::InvalidFrame | FrameErrorCode::UnknownType => StatusCode::BAD_REQUEST,
        FrameErrorCode::DeviceLocked => StatusCode::FORBIDDEN,
        FrameErrorCode::UnknownCeremony => StatusCode::NOT_FOUND,
        FrameErrorCode::OtherDevice
        | FrameErrorCode::CodeAmbiguous
        | FrameErrorCode::ClaimedElsewhere
        | FrameErrorCode::NotChallenged
        | FrameErrorCode::AlreadyAnswered
        | FrameErrorCode::AlreadyClosed => StatusCode::CONFLICT,
        FrameErrorCode::CodeMalformed | FrameErrorCode::WrongCode => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        FrameErrorCode::SlowDown | FrameErrorCode::TooManyCodes => StatusCode::TOO_MANY_REQUESTS,
        FrameErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

const fn again_in(code: FrameErrorCode) -> Option<u64> {
    match code {
        FrameErrorCode::SlowDown | FrameErrorCode::Unavailable => Some(AGAIN_S),
        FrameErrorCode::TooManyCodes => Some(CODES_AGAIN_S),
        FrameErrorCode::InvalidFrame
        | FrameErrorCode::UnknownType
        | FrameErrorCode::DeviceLocked
        | FrameErrorCode::UnknownCeremony
        | FrameErrorCode::OtherDevice
        | FrameErrorCode::CodeAmbiguous
        | FrameErrorCode::ClaimedElsewhere
        | FrameErrorCode::NotChallenged
        | FrameErrorCode::AlreadyAnswered
        | FrameErrorCode::AlreadyClosed
        | FrameErrorCode::CodeMalformed
        | FrameErrorCode::WrongCode => None,
    }
}

/// `PUT /v1/device/push`: runs to its end if the app hangs up.
pub(in crate::edge) async fn set_push(
    State(edge): State<Edge>,
    call: PullCall,
) -> Result<StatusCode, ProblemResponse> {
    let PullCall { owner, body, .. } = call;
    let SetPush { push } = fields::from_json(&body)?;
    edge.inner.limits.push_address(owner.device)?;
    let app = edge.app().clone();
    let tasks = app.tasks.clone();
    let set = tasks.run_detached(async move {
        devices::set_push(&app, &owner.tenant, owner.device, push).await
    });
    set.await.ok_or(ProblemCode::Internal)??;
    Ok(StatusCode::NO_CONTENT)
}

impl From<SetPushError> for ProblemResponse {
    fn from(error: SetPushError) -> Self {
        match error {
            SetPushError::NotSupported => {
                Problem::new(ProblemCode::NotSupported).with_detail(error.to_string()).into()
            }
            SetPushError::Unpushable(error) => Self::unprocessable(format!("/push: {error}")),
            SetPushError::NotFound => ProblemCode::ProofRefused.into(),
            SetPushError::Store(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_status_and_what_may_be_repeated_says_when() {
        let table = [
            (FrameErrorCode::InvalidFrame, 400),
            (FrameErrorCode::UnknownType, 400),
            (FrameErrorCode::DeviceLocked, 403),
            (FrameErrorCode::UnknownCeremony, 404),
            (FrameErrorCode::OtherDevice, 409),
            (FrameErrorCode::CodeAmbiguous, 409),
            (FrameErrorCode::ClaimedElsewhere, 409),
            (FrameErrorCode::NotChallenged, 409),
            (FrameErrorCode::AlreadyAnswered, 409),
            (FrameErrorCode::AlreadyClosed, 409),
            (FrameErrorCode::CodeMalformed, 422),
            (FrameErrorCode::WrongCode, 422),
            (FrameErrorCode::SlowDown, 429),
            (FrameErrorCode::TooManyCodes, 429),
            (FrameErrorCode::Unavailable, 503),
        ];
        for (code, status) in table {
            let answer = answer(Some(session::error(code)));
            assert_eq!(answer.status().as_u16(), status, "{code:?}");
            let says_when = answer.headers().contains_key(header::RETRY_AFTER);
            assert_eq!(says_when, [429, 503].contains(&status), "{code:?}");
        }
        let nothing = answer(None);
        assert_eq!(nothing.status(), StatusCode::NO_CONTENT);
        assert!(!nothing.headers().contains_key(header::CONTENT_TYPE));
    }
}
