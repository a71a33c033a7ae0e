//! `GET /v1/ceremonies/{id}/events`: server-sent events (HTML standard, section 9.2).
//!
//! A task of its own watches and writes into a channel of one place, of which the response's body
//! is the other end. A watcher that does not take its bytes is hung up on by the listener, which
//! ends the body and with it the task and its place.

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

use super::places::Place;
use super::{Found, KEEP_ALIVE, Resume, Sight, Waiting, take_place};
use crate::edge::Edge;
use crate::edge::public::http::{Watcher, wrong};
use crate::edge::refusal::Refusal;
use crate::edge::segment::Segment;
use crate::security::random;

/// A browser whose stream ended comes back after this many milliseconds, and up to as many more:
/// after a restart they must not all come at once.
const RETRY_MS: (u64, u64) = (1_000, 4_000);

/// Checks who asks, and leaves the stream to a task of its own.
pub(in crate::edge) async fn stream(
    State(edge): State<Edge>,
    Segment(id): Segment,
    request: Request,
) -> Result<Response, Refusal> {
    let (mut parts, _) = request.into_parts();
    let resume = Resume::of(&parts)?;
    let (watcher, ticket) = match &resume.ticket {
        None => (Watcher::from_request_parts(&mut parts, &edge).await?, None),
        // Two credentials in one request contradict each other.
        Some(_) if parts.headers.contains_key(header::AUTHORIZATION) => {
            return Err(Refusal::invalid("query ticket: not beside an Authorization header"));
        }
        Some(ticket) => {
            let now = edge.relay().dependencies().clock.now();
            let opens = edge.inner.event_tickets.read(ticket, now);
            let opens = opens.ok_or_else(|| wrong(&edge, &parts.extensions))?;
            (Watcher::page(&parts.headers, opens.tenant.clone(), opens.ceremony)?, Some(opens))
        }
    };
    let sight = Sight::new(watcher, &id)?.that_lasts(&parts);
    let since = resume.after(&parts.headers)?;
    let (waiting, view) = Waiting::begin(&edge, sight).await?;
    // Used up only by whoever may see something with it, and before it is.
    if let Some(opens) = ticket
        && !edge.inner.event_tickets.redeem(&opens).await?
    {
        return Err(wrong(&edge, &parts.extensions));
    }
    let steps = waiting.sight().steps(&view);
    let since = steps.resume_after(since);
    if view.end.is_some() && !steps.has_after(since) {
        // Nothing will ever come: this tells a browser not to ask again.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let place = take_place(&edge, waiting.sight(), parts.extensions.get())?;
    Ok(respond(&edge, waiting, since, place))
}

fn respond(edge: &Edge, waiting: Waiting, since: u32, place: Place) -> Response {
    let (sender, receiver) = mpsc::channel::<Bytes>(1);
    let tasks = edge.relay().dependencies().tasks.clone();
    let limit = edge.settings().socket_write;
    tasks.spawn_untraced(async move {
        watch(waiting, since, limit, &sender).await;
        drop(place);
    });
    let body = futures::stream::unfold(receiver, async |mut receiver| {
        let bytes = receiver.recv().await?;
        Some((Ok::<_, Infallible>(bytes), receiver))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        // A proxy that compresses or collects would hold the events back.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(body)).into_response()
}

/// Tells events until there is nothing more to come, nobody to take them, or no right to them.
async fn watch(mut waiting: Waiting, mut since: u32, limit: Duration, sender: &Sender<Bytes>) {
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
            found = waiting.news(since, until) => found,
        };
        let taken = match found {
            Ok(Found::News(view)) => {
                let events: Vec<_> = waiting.sight().events(&view, since).collect();
                let text: String = events.iter().map(written).collect();
                since = events.last().map_or(since, |last| last.seq);
                let taken = text.is_empty() || write(text).await;
                if view.end.is_some() {
                    return;
                }
                taken
            }
            Ok(Found::Quiet(_)) => write(": still here\n\n".to_owned()).await,
            Ok(Found::Stopping(_)) => return,
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

/// One event.
fn written(event: &WatchEvent) -> String {
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
