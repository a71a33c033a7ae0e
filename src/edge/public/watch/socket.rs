//! `GET /v1/ceremonies/{id}/socket`: the events as WebSocket text frames. A watcher sends nothing
//! but pongs, a few pings and a close: any other frame ends the socket.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use fido_relay_proto::ProblemCode;
use fido_relay_proto::limits::{TICKET_SUBPROTOCOL, WATCH_SUBPROTOCOL};
use fido_relay_proto::watch::WatchEnd;
use futures::{SinkExt as _, StreamExt as _};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{KEEP_ALIVE, ResumeQuery, WaitOutcome, WatchAccess, WatchSession, take_slots};
use crate::core::session::CloseReason;
use crate::edge::listener::Accepted;
use crate::edge::problem_response::ProblemResponse;
use crate::edge::public::Edge;
use crate::edge::public::extract::caller::Watcher;
use crate::edge::public::websocket::closing::{self, Socket};
use crate::edge::public::websocket::frame_guard::FrameGuard;
use crate::edge::public::websocket::handshake::{self, Handshake};
use crate::edge::segment::Segment;
use crate::security::ticket;

/// How long a connection may take to become a socket.
const UPGRADE_LIMIT: Duration = Duration::from_secs(10);
/// How long a closing handshake may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// Bytes of a frame that a watcher may send: no more than a control frame has.
const FRAME_BYTES: usize = 125;
/// Enough for control frames; the library's default is 128 KiB.
const READ_BUFFER: usize = 256;
/// Control frames of the watcher between two pings of the relay.
const CONTROLS: u32 = 20;
/// Pings that may stay unanswered.
const SILENT_PINGS: u32 = 2;

/// Checks the caller and spawns the task of the socket.
pub(in crate::edge) async fn upgrade(
    State(edge): State<Edge>,
    Segment(id): Segment,
    request: Request,
) -> Result<Response, ProblemResponse> {
    let (mut parts, body) = request.into_parts();
    let resume = ResumeQuery::of(&parts)?;
    // A ticket in a URL is for `EventSource`, which has no other way.
    if resume.ticket.is_some() {
        let detail = "query ticket: not taken here; offer it as a subprotocol, ticket.<ticket>";
        return Err(ProblemResponse::invalid(detail));
    }
    if let Some(bearer) = offered_ticket(&parts.headers) {
        parts.headers.insert(header::AUTHORIZATION, bearer);
    }
    let watcher = Watcher::from_request_parts(&mut parts, &edge).await?;
    let access = WatchAccess::new(watcher, &id)?.kept_verified(&parts);
    let since = resume.after(&parts.headers)?;
    let (session, view) = WatchSession::begin(&edge, access).await?;
    let since = session.access().steps(&view).resume_after(since);
    let connection = parts.extensions.get::<Accepted>().map(|it| Arc::clone(it.handle()));
    let mut request = Request::from_parts(parts, body);
    let Handshake { upgrade, response } = Handshake::accept(&mut request, WATCH_SUBPROTOCOL)?;
    let slots = take_slots(&edge, session.access(), request.extensions().get())?;
    let tasks = edge.app().tasks.clone();
    let limit = edge.settings().socket_write;
    tasks.spawn_untraced(async move {
        run(session, since, limit, upgrade).await;
        drop((slots, connection));
    });
    Ok(response)
}

/// The ticket among the subprotocols, as a bearer credential, where there is no other. An API key
/// is not taken from there: callers that cannot send headers are pages.
fn offered_ticket(headers: &HeaderMap) -> Option<HeaderValue> {
    if headers.contains_key(header::AUTHORIZATION) {
        return None;
    }
    let mut offered = handshake::items(headers, &header::SEC_WEBSOCKET_PROTOCOL);
    let ticket = offered.find_map(|offered| offered.strip_prefix(TICKET_SUBPROTOCOL))?;
    let mut bearer = HeaderValue::from_str(&format!("Bearer {ticket}")).ok()?;
    bearer.set_sensitive(true);
    ticket::is_meant(ticket).then_some(bearer)
}

async fn run(session: WatchSession, since: u32, limit: Duration, upgrade: OnUpgrade) {
    let Ok(Ok(upgraded)) = timeout(UPGRADE_LIMIT, upgrade).await else { return };
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(16 * 1024)
        .max_message_size(Some(FRAME_BYTES))
        .max_frame_size(Some(FRAME_BYTES));
    let guarded = FrameGuard::new(TokioIo::new(upgraded), FRAME_BYTES);
    let mut stream = WebSocketStream::from_raw_socket(guarded, Role::Server, Some(config)).await;
    let end = watch(session, since, limit, &mut stream).await;
    tracing::debug!(reason = end.map(WatchEnd::name), "a watcher's socket ended");
    let frame = match end {
        Some(end) => Some(CloseFrame { code: end.code().into(), reason: end.name().into() }),
        None => match closing::reply(&stream) {
            Some(reply) => reply,
            None => return,
        },
    };
    drop(timeout(CLOSE_LIMIT, closing::close(&mut stream, frame)).await);
}

/// Sends events until the last one, or until the watcher may not see them. `None`: the peer closed,
/// or the connection broke.
async fn watch(
    mut session: WatchSession,
    mut since: u32,
    limit: Duration,
    stream: &mut Socket,
) -> Option<WatchEnd> {
    let (mut controls, mut unanswered) = (0, 0);
    let mut until = Instant::now() + KEEP_ALIVE;
    loop {
        let found = tokio::select! {
            message = stream.next() => {
                unanswered = 0;
                controls += 1;
                match message {
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) if controls <= CONTROLS => continue,
                    Some(Ok(Message::Close(_))) | None => return None,
                    Some(Ok(_)) => return Some(WatchEnd::WatcherFrame),
                    Some(Err(error)) => return fault(stream, &error),
                }
            }
            found = session.next_change(since, until) => found,
        };
        let (messages, ended) = match found {
            Ok(WaitOutcome::News(view)) => {
                let events: Vec<_> = session.access().events(&view, since).collect();
                since = events.last().map_or(since, |last| last.seq);
                let texts = events.iter().filter_map(|event| serde_json::to_string(event).ok());
                (texts.map(|text| Message::Text(text.into())).collect(), view.end.is_some())
            }
            Ok(WaitOutcome::TimedOut(_)) if unanswered >= SILENT_PINGS => {
                return Some(WatchEnd::Silent);
            }
            Ok(WaitOutcome::TimedOut(_)) => {
                (controls, unanswered) = (0, unanswered + 1);
                until = Instant::now() + KEEP_ALIVE;
                (vec![Message::Ping(Vec::new().into())], false)
            }
            Ok(WaitOutcome::Stopping(_)) => return Some(WatchEnd::Restart),
            Err(refusal) if refusal.code() == ProblemCode::Unavailable => {
                return Some(WatchEnd::Unavailable);
            }
            Err(_) => return Some(WatchEnd::Unauthorized),
        };
        for message in messages {
            match timeout(limit, stream.send(message)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => return Some(WatchEnd::Silent),
            }
        }
        if ended {
            return Some(WatchEnd::Closed);
        }
    }
}

/// How the socket ends after a read that failed.
fn fault(stream: &Socket, error: &Error) -> Option<WatchEnd> {
    match (stream.get_ref().fault(), error) {
        (Some(CloseReason::PeerClosed), _) => None,
        (Some(CloseReason::NotUtf8), _) => Some(WatchEnd::NotUtf8),
        // A data frame over the bound of a control frame.
        (Some(CloseReason::TooBig | CloseReason::Fragments), _) | (None, Error::Capacity(_)) => {
            Some(WatchEnd::WatcherFrame)
        }
        (Some(_), _) | (None, Error::Protocol(_) | Error::Utf8(_)) => Some(WatchEnd::Protocol),
        (None, _) => None,
    }
}
