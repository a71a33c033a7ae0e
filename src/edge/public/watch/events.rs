//! `GET /v1/ceremonies/{id}/events`: server-sent events (HTML standard, section 9.2).
//!
//! A task watches and writes into a channel with room for one message; the response's body is the
//! other end. The listener hangs up on a watcher that does not read, which drops the body and with
//! it the task and its slots.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use fido_relay_proto::WireName;
use fido_relay_proto::watch::{WatchEvent, event_name};
use tokio::sync::mpsc::{self, Sender};
use tokio::time::{Instant, timeout};

use super::{
    KEEP_ALIVE, ResumeQuery, WaitOutcome, WatchAccess, WatchSession, WatchSlots, take_slots,
};
use crate::app::event_tickets;
use crate::edge::problem_response::ProblemResponse;
use crate::edge::public::Edge;
use crate::edge::public::extract::caller::{Watcher, wrong_credential};
use crate::edge::segment::Segment;
use crate::security::random;

/// Milliseconds after which a browser reconnects: at least, and up to so many more, so that not all
/// reconnect at once after a restart.
const RETRY_MS: (u64, u64) = (1_000, 4_000);

/// Checks the caller and spawns the task of the stream.
pub(in crate::edge) async fn stream(
    State(edge): State<Edge>,
    Segment(id): Segment,
    request: Request,
) -> Result<Response, ProblemResponse> {
    let (mut parts, _) = request.into_parts();
    let resume = ResumeQuery::of(&parts)?;
    let (watcher, ticket) = match &resume.ticket {
        None => (Watcher::from_request_parts(&mut parts, &edge).await?, None),
        // Two credentials in one request contradict each other.
        Some(_) if parts.headers.contains_key(header::AUTHORIZATION) => {
            return Err(ProblemResponse::invalid(
                "query ticket: not beside an Authorization header",
            ));
        }
        Some(ticket) => {
            let now = edge.app().clock.now();
            let opens = edge.inner.event_tickets.read(ticket, now);
            let opens = opens.ok_or_else(|| wrong_credential(&edge, &parts.extensions))?;
            (Watcher::page(&parts.headers, opens.tenant.clone(), opens.ceremony)?, Some(opens))
        }
    };
    let access = WatchAccess::new(watcher, &id)?.kept_verified(&parts);
    let since = resume.after(&parts.headers)?;
    let (session, view) = WatchSession::begin(&edge, access).await?;
    // Used up only by a watcher that may see the ceremony, and before it sees anything.
    if let Some(opens) = ticket
        && !event_tickets::use_up(edge.app(), &opens).await?
    {
        return Err(wrong_credential(&edge, &parts.extensions));
    }
    let steps = session.access().steps(&view);
    let since = steps.resume_after(since);
    if view.end.is_some() && !steps.has_after(since) {
        // There will be no more events; by 204 a browser does not reconnect.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let slots = take_slots(&edge, session.access(), parts.extensions.get())?;
    Ok(respond(&edge, session, since, slots))
}

fn respond(edge: &Edge, session: WatchSession, since: u32, slots: WatchSlots) -> Response {
    let (sender, receiver) = mpsc::channel::<Bytes>(1);
    let tasks = edge.app().tasks.clone();
    let limit = edge.settings().socket_write;
    tasks.spawn_untraced(async move {
        watch(session, since, limit, &sender).await;
        drop(slots);
    });
    let body = futures::stream::unfold(receiver, async |mut receiver| {
        let bytes = receiver.recv().await?;
        Some((Ok::<_, Infallible>(bytes), receiver))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        // A proxy that compresses or buffers would hold the events back.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(body)).into_response()
}

/// Writes events until the last one, until the watcher is gone, or until it may not see them.
async fn watch(mut session: WatchSession, mut since: u32, limit: Duration, sender: &Sender<Bytes>) {
    let write = async |text: String| {
        matches!(timeout(limit, sender.send(Bytes::from(text))).await, Ok(Ok(())))
    };
    let retry = RETRY_MS.0 + random::below(RETRY_MS.1);
    // At once, so that a browser knows that it is connected.
    if !write(format!("retry: {retry}\n\n")).await {
        return;
    }
    loop {
        let until = Instant::now() + KEEP_ALIVE;
        let found = tokio::select! {
            biased;
            () = sender.closed() => return,
            found = session.next_change(since, until) => found,
        };
        let taken = match found {
            Ok(WaitOutcome::News(view)) => {
                let events: Vec<_> = session.access().events(&view, since).collect();
                let text: String = events.iter().map(formatted).collect();
                since = events.last().map_or(since, |last| last.seq);
                let taken = text.is_empty() || write(text).await;
                if view.end.is_some() {
                    return;
                }
                taken
            }
            Ok(WaitOutcome::TimedOut(_)) => write(": still here\n\n".to_owned()).await,
            Ok(WaitOutcome::Stopping(_)) => return,
            Err(refusal) => {
                tracing::debug!(reason = %WireName(refusal.code()), "a stream of events ended");
                return;
            }
        };
        if !taken {
            return;
        }
    }
}

/// An event in the format of the stream.
fn formatted(event: &WatchEvent) -> String {
    let name = event_name(event.step);
    let mut text = format!("id: {}\nevent: {name}\ndata: ", event.seq);
    // JSON has no line breaks of its own, so it is one line of data.
    match serde_json::to_string(event) {
        Ok(json) => text.push_str(&json),
        Err(error) => tracing::error!(%error, "an event has no JSON form"),
    }
    let _ = text.write_str("\n\n");
    text
}
