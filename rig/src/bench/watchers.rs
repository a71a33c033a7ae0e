//! One watcher on one road, as a page is: with a ticket, until the outcome is there.

use fido_relay_proto::http::{CeremonyView, OpenedCeremony, Status};
use fido_relay_proto::limits::WATCH_SUBPROTOCOL;
use fido_relay_proto::watch::WatchEvent;
use fido_relay_proto::{Step, UnixMillis};
use futures::StreamExt as _;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use super::child::Server;
use crate::command::Failure;
use crate::demo::initiator::Wait;
use crate::demo::narrate::instant;
use fido_relay_kit::clock::Clock as _;
use fido_relay_kit::clock::SystemClock;

/// A way to wait that a watcher takes by itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum Road {
    Poll,
    Events,
    Socket,
}

/// When the outcome was here, and when the relay says that the ceremony closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) here: UnixMillis,
    pub(super) closed: UnixMillis,
}

impl Known {
    fn now(closed: impl FnOnce() -> Option<String>) -> Result<Self, Failure> {
        let here = SystemClock.now();
        Self::at(here, closed().as_deref())
    }

    /// An end of this time (RFC 3339), heard of then.
    pub(super) fn at(here: UnixMillis, closed: Option<&str>) -> Result<Self, Failure> {
        let closed = closed.and_then(instant);
        let closed = closed.ok_or_else(|| Failure::failed("an end came without its time"))?;
        Ok(Self { here, closed })
    }
}

/// Watches until the outcome is there. `there` is called once the watcher is on its way.
pub(super) async fn watch(
    server: &Server,
    http: &reqwest::Client,
    road: Road,
    opened: &OpenedCeremony,
    there: impl FnOnce(),
) -> Result<Known, Failure> {
    match road {
        Road::Poll => {
            there();
            poll(server, opened).await
        }
        Road::Events => events(server, http, opened, there).await,
        Road::Socket => socket(server, opened, there).await,
    }
}

async fn poll(server: &Server, opened: &OpenedCeremony) -> Result<Known, Failure> {
    loop {
        let wait = Wait { seconds: 55, since: Step::Opened.number() };
        let view = server.initiator.view_with_ticket(opened.id, &opened.ticket, wait).await;
        let view = view.map_err(Failure::failed)?;
        if view.status != Status::Pending {
            return Known::now(|| closed_in(view));
        }
    }
}

fn closed_in(view: CeremonyView) -> Option<String> {
    view.progress.into_iter().find(|entry| entry.step == Step::Closed).map(|entry| entry.at)
}

async fn events(
    server: &Server,
    http: &reqwest::Client,
    opened: &OpenedCeremony,
    there: impl FnOnce(),
) -> Result<Known, Failure> {
    let url = format!("{}v1/ceremonies/{}/events", server.url, opened.id);
    let stream = http.get(url).bearer_auth(&opened.ticket).send().await;
    let mut stream = stream
        .and_then(reqwest::Response::error_for_status)
        .map_err(|error| Failure::failed(&error))?;
    there();
    let mut text = String::new();
    while let Some(chunk) = stream.chunk().await.map_err(Failure::failed)? {
        text.push_str(&String::from_utf8_lossy(&chunk));
        if let Some((_, data)) = text.split_once("event: closed\ndata: ")
            && let Some((data, _)) = data.split_once('\n')
        {
            return Known::now(|| closed_at(data));
        }
    }
    Err(Failure::failed("a stream ended without an outcome"))
}

async fn socket(
    server: &Server,
    opened: &OpenedCeremony,
    there: impl FnOnce(),
) -> Result<Known, Failure> {
    let url = format!("{}v1/ceremonies/{}/socket", server.url, opened.id);
    let url = url.replacen("http", "ws", 1);
    let mut request = url.into_client_request().map_err(Failure::failed)?;
    let offered = format!("{WATCH_SUBPROTOCOL}, ticket.{}", opened.ticket);
    let offered = HeaderValue::from_str(&offered).map_err(Failure::failed)?;
    request.headers_mut().insert("sec-websocket-protocol", offered);
    let opening = tokio_tungstenite::connect_async(request).await;
    let (mut socket, _) = opening.map_err(Failure::failed)?;
    there();
    while let Some(message) = socket.next().await {
        match message.map_err(Failure::failed)? {
            Message::Text(text) if text.contains("\"step\":\"closed\"") => {
                return Known::now(|| closed_at(&text));
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
