//! One watcher with a ticket, as a page is, until it has the outcome.

use fido_relay_kit::clock::Clock as _;
use fido_relay_kit::clock::SystemClock;
use fido_relay_proto::http::{CeremonyView, OpenedCeremony, Status};
use fido_relay_proto::limits::WATCH_SUBPROTOCOL;
use fido_relay_proto::watch::WatchEvent;
use fido_relay_proto::{Step, UnixMillis};
use futures::StreamExt as _;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use super::child::RelayUnderTest;
use crate::command::Failure;
use crate::demo::initiator::LongPoll;
use crate::demo::narrate::parse_timestamp;

/// A method of watching with a ticket.
#[derive(Clone, Copy, Debug)]
pub(super) enum WatchMethod {
    Poll,
    Events,
    Socket,
}

/// When this process had the outcome, and the relay's time of the step `closed`.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutcomeSeen {
    pub(super) here: UnixMillis,
    pub(super) closed: UnixMillis,
}

impl OutcomeSeen {
    fn now(closed: impl FnOnce() -> Option<String>) -> Result<Self, Failure> {
        let here = SystemClock.now();
        Self::at(here, closed().as_deref())
    }

    /// An outcome seen at `here`, with the time of `closed` (RFC 3339).
    pub(super) fn at(here: UnixMillis, closed: Option<&str>) -> Result<Self, Failure> {
        let closed = closed.and_then(parse_timestamp);
        let closed = closed.ok_or_else(|| Failure::failed("an outcome has no time"))?;
        Ok(Self { here, closed })
    }
}

/// Watches until the outcome. `started` is called once the request is sent or accepted.
pub(super) async fn watch(
    server: &RelayUnderTest,
    http: &reqwest::Client,
    method: WatchMethod,
    opened: &OpenedCeremony,
    started: impl FnOnce(),
) -> Result<OutcomeSeen, Failure> {
    match method {
        WatchMethod::Poll => {
            started();
            poll(server, opened).await
        }
        WatchMethod::Events => events(server, http, opened, started).await,
        WatchMethod::Socket => socket(server, opened, started).await,
    }
}

async fn poll(server: &RelayUnderTest, opened: &OpenedCeremony) -> Result<OutcomeSeen, Failure> {
    loop {
        let wait = LongPoll { seconds: 55, since: Step::Opened.number() };
        let view = server.initiator.view_with_ticket(opened.id, &opened.ticket, wait).await;
        let view = view.map_err(Failure::failed)?;
        if view.status != Status::Pending {
            return OutcomeSeen::now(|| closed_in(view));
        }
    }
}

fn closed_in(view: CeremonyView) -> Option<String> {
    view.progress.into_iter().find(|entry| entry.step == Step::Closed).map(|entry| entry.at)
}

async fn events(
    server: &RelayUnderTest,
    http: &reqwest::Client,
    opened: &OpenedCeremony,
    started: impl FnOnce(),
) -> Result<OutcomeSeen, Failure> {
    let url = format!("{}v1/ceremonies/{}/events", server.url, opened.id);
    let stream = http.get(url).bearer_auth(&opened.ticket).send().await;
    let mut stream = stream
        .and_then(reqwest::Response::error_for_status)
        .map_err(|error| Failure::failed(&error))?;
    started();
    let mut text = String::new();
    while let Some(chunk) = stream.chunk().await.map_err(Failure::failed)? {
        text.push_str(&String::from_utf8_lossy(&chunk));
        if let Some((_, data)) = text.split_once("event: closed\ndata: ")
            && let Some((data, _)) = data.split_once('\n')
        {
            return OutcomeSeen::now(|| closed_at(data));
        }
    }
    Err(Failure::failed("a stream ended without an outcome"))
}

async fn socket(
    server: &RelayUnderTest,
    opened: &OpenedCeremony,
    started: impl FnOnce(),
) -> Result<OutcomeSeen, Failure> {
    let url = format!("{}v1/ceremonies/{}/socket", server.url, opened.id);
    let url = url.replacen("http", "ws", 1);
    let mut request = url.into_client_request().map_err(Failure::failed)?;
    let offered = format!("{WATCH_SUBPROTOCOL}, ticket.{}", opened.ticket);
    let offered = HeaderValue::from_str(&offered).map_err(Failure::failed)?;
    request.headers_mut().insert("sec-websocket-protocol", offered);
    let opening = tokio_tungstenite::connect_async(request).await;
    let (mut socket, _) = opening.map_err(Failure::failed)?;
    started();
    while let Some(message) = socket.next().await {
        match message.map_err(Failure::failed)? {
            Message::Text(text) if text.contains("\"step\":\"closed\"") => {
                return OutcomeSeen::now(|| closed_at(&text));
            }
            Message::Text(_)
            | Message::Binary(_)
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::Close(_)
            | Message::Frame(_) => {}
        }
    }
    Err(Failure::failed("a socket ended without an outcome"))
}

fn closed_at(event: &str) -> Option<String> {
    serde_json::from_str::<WatchEvent>(event).ok().map(|event| event.at)
}
